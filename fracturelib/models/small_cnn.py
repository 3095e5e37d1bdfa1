"""Networks: grey squares in, two logits out."""

import torch.nn.functional as F
from torch import Tensor, nn


def conv_block(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, batch normalisation, ReLU: (n, channels_in, h, w) -> (n, channels_out, h/stride, w/stride)."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class LocalContrast(nn.Module):
    """Each grey value relative to its neighbourhood: (n, 1, h, w) -> (n, 1, h, w) float32. Nothing in it is learnt.

    Minus the local mean, divided by the local standard deviation. How dark an image is depends on the exposure; a
    fracture is a matter of neighbouring pixels (Jarrett et al. 2009, doi 10.1109/ICCV.2009.5459469).

    Parameters
    ----------
    cell : int
        Side in pixels of the cells whose means are interpolated.
    floor : float
        Added to the standard deviation, in the input's units, so that noise on an empty background stays small.
    """

    def __init__(self, cell: int = 16, floor: float = 0.1) -> None:
        super().__init__()
        self.cell, self.floor = cell, floor

    def local_mean(self, x: Tensor) -> Tensor:
        """Of the surroundings of each pixel: (n, 1, h, w) to the same shape."""
        cells = F.avg_pool2d(x, min(self.cell, *x.shape[2:]), ceil_mode=True)
        return F.interpolate(cells, size=x.shape[2:], mode="bilinear", align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        """Each pixel against its surroundings: (n, 1, h, w) to the same shape."""
        difference = x - self.local_mean(x)
        return difference / (self.local_mean(difference**2).sqrt() + self.floor)


class SmallCNN(nn.Module):
    """A plain convolutional network: local contrast, four stages, a global average, one linear layer.

    Parameters
    ----------
    width : int
        Channels of the first stage; each later stage has twice as many.

    Notes
    -----
    The stages see the image at 1/2, 1/4, 1/8 and 1/16 of its size. Because the head is linear in the spatial average of
    the last stage, the logit is the mean over places of a map: class activation mapping (Zhou et al. 2016,
    doi 10.1109/CVPR.2016.319) is exact for it.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        w = width
        self.contrast = LocalContrast()
        self.stage1 = nn.Sequential(conv_block(1, w, stride=2), conv_block(w, w))
        self.stage2 = nn.Sequential(nn.MaxPool2d(2), conv_block(w, 2 * w), conv_block(2 * w, 2 * w))
        self.stage3 = nn.Sequential(nn.MaxPool2d(2), conv_block(2 * w, 4 * w), conv_block(4 * w, 4 * w))
        self.stage4 = nn.Sequential(nn.MaxPool2d(2), conv_block(4 * w, 8 * w), conv_block(8 * w, 8 * w))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8 * w, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of "not fractured" and "fractured": (n, 1, h, w) float32 -> (n, 2) float32."""
        x = self.contrast(x)  # (n, 1, h, w)
        x = self.stage1(x)  # (n, w, h/2, w/2)
        x = self.stage2(x)  # (n, 2w, h/4, w/4)
        x = self.stage3(x)  # (n, 4w, h/8, w/8)
        x = self.stage4(x)  # (n, 8w, h/16, w/16)
        x = self.pool(x).flatten(1)  # (n, 8w)
        return self.head(x)  # (n, 2)
