"""Small hospitals to test with."""

import numpy as np
import pandas as pd

from fracturelib.data.images import to_square
from fracturelib.shift import Hospital
from tests.radiographs import radiograph

SIZE = 64


def whole(images: np.ndarray) -> Hospital:
    """Images (n, s, s) that fill their squares, each of another patient."""
    n, height, width = images.shape
    frame = pd.DataFrame({"width": width, "height": height, "label": np.arange(n) % 2, "group": np.arange(n)})
    return Hospital.of(frame, images)


def hospital(n: int = 20, first: int = 0, size: int = SIZE) -> Hospital:
    """Radiographs of 48 x 64 in their squares, every other one fractured, each of another patient."""
    images = np.stack([to_square(radiograph(first + i, fractured=bool(i % 2)), size) for i in range(n)])
    frame = pd.DataFrame({"width": 48, "height": 64, "label": np.arange(n) % 2, "group": np.arange(n)})
    return Hospital.of(frame, images)
