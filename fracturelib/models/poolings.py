"""How the slices of a study may be put together; apart from the network, so that reading it loads no torch."""

POOLINGS = ("softmax", "max", "mean", "attention", "middle")
SHARPNESS = 3.0  # of "softmax": the more of it, the nearer to the maximum
