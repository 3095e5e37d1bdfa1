"""A network for studies: one small CNN reads every slice, and a pooling decides how much each of them counts."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fracturelib._io.files import InputError
from fracturelib.models.poolings import POOLINGS, SHARPNESS
from fracturelib.models.small_cnn import conv_block

READ = 0.6  # of the slices of a study, the middle ones: a joint fills the middle of its stack


def present_slices(x: Tensor) -> Tensor:
    """Which slices show anything, that is, more than one grey value: (n, s, h, w) -> (n, s) bool.

    A study with fewer slices than the longest of a batch is filled up with empty ones, which must not count.

    Examples
    --------
    >>> x = torch.zeros(1, 3, 8, 8)
    >>> x[0, :2, 4, 4] = 1
    >>> present_slices(x)
    tensor([[ True,  True, False]])
    """
    slices = x.flatten(2)
    return slices.amax(dim=2) > slices.amin(dim=2)


def centre(height: int, width: int) -> tuple[slice, slice]:
    """The rows and columns of the middle half of a slice, where a study of a joint has the joint.

    Examples
    --------
    >>> centre(128, 96)
    (slice(32, 96, None), slice(24, 72, None))
    """
    return slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)


class StudyNetwork(nn.Module):
    """Multiple-instance learning: a study is a bag of slices with one label for all of them.

    Each of the middle slices (`READ`) gets two logits from the same small CNN, which reads its middle half (`centre`),
    and the study's logits are their weighted mean. The pooling decides the weights:

    - "softmax": the more evidence for a tear a slice has, the more it counts, so that the study's evidence is a smooth
      maximum (McFee et al. 2018, doi 10.1109/TASLP.2018.2858559): at first all slices learn, in the end one decides;
    - "max": all of it to the slice with the most evidence for a tear (Dietterich et al. 1997,
      doi 10.1016/S0004-3702(96)00034-3: a bag is positive if any of its instances is);
    - "mean": the same to each;
    - "attention": learnt, gated (Ilse et al. 2018, arXiv 1802.04712). As the head is linear, the weighted mean of the
      slices' logits is what it makes of the weighted mean of their features;
    - "middle": all of it to the middle slice, which is the only one that is read: for comparison.

    Parameters
    ----------
    pooling : str
        One of `POOLINGS`.
    width : int
        Channels of the first stage.

    Raises
    ------
    InputError
        If there is no such pooling.

    Notes
    -----
    The stages see what is read at 1/2, 1/4, 1/4 and 1/4 of its size. A slice's features are the largest value of each
    channel of the last stage: a tear is small, and a mean over the slice would drown it.

    Examples
    --------
    >>> model = StudyNetwork("mean", width=4).eval()
    >>> model(torch.rand(2, 5, 32, 32)).shape
    torch.Size([2, 2])
    """

    def __init__(self, pooling: str = "softmax", width: int = 12) -> None:
        if pooling not in POOLINGS:
            raise InputError(f"pooling is {pooling!r}; expected one of {', '.join(POOLINGS)}")
        super().__init__()
        self.pooling, w = pooling, width
        self.stage1 = nn.Sequential(conv_block(1, w, stride=2), conv_block(w, w))
        self.stage2 = nn.Sequential(nn.MaxPool2d(2), conv_block(w, 2 * w), conv_block(2 * w, 2 * w))
        self.stage3 = conv_block(2 * w, 4 * w)
        self.stage4 = conv_block(4 * w, 4 * w)
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.head = nn.Linear(4 * w, 2)
        if pooling == "attention":
            self.seen, self.gate = nn.Linear(4 * w, 32), nn.Linear(4 * w, 32)
            self.attention = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of "whole" and "torn" of each study: those of its slices, weighted.

        Parameters
        ----------
        x : (n, s, h, w) float32
            The slices of each study, in the order in which they lie.

        Returns
        -------
        (n, 2) float32
        """
        places, read = self.places(x)
        features, logits = self.each_slice(x.gather(1, places[:, :, None, None].expand(-1, -1, *x.shape[2:])))
        return (self.weights(features, logits, read).unsqueeze(2) * logits).sum(dim=1)  # (n, 2)

    def places(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which slices are read: places (n, k) int64, and which of these do not merely fill up, (n, k) bool.

        Studies with fewer than k are filled up with other slices, which get the weight 0.

        Raises
        ------
        InputError
            If `x` is no (studies, slices, height, width).
        """
        if x.ndim != 4:
            raise InputError(f"x has shape {tuple(x.shape)}; expected (studies, slices, height, width)")
        present = present_slices(x)
        present = present | ~present.any(dim=1, keepdim=True)  # of a study that shows nothing, all are read
        wanted = middle_slices(present, 0.0 if self.pooling == "middle" else READ)
        places = torch.sort((~wanted).to(torch.uint8), dim=1, stable=True).indices[:, : int(wanted.sum(dim=1).max())]
        return places, wanted.gather(1, places)

    def each_slice(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of every slice by itself: (n, s, h, w) -> (n, s, 4 width), (n, s, 2)."""
        n, s = x.shape[:2]
        rows, columns = centre(*x.shape[2:])
        x = x[:, :, rows, columns].flatten(0, 1).unsqueeze(1)  # (n s, 1, h/2, w/2)
        x = self.stage1(x.contiguous(memory_format=torch.channels_last))  # (n s, w, h/4, w/4)
        x = self.stage2(x)  # (n s, 2w, h/8, w/8)
        x = self.stage3(x)  # (n s, 4w, h/8, w/8)
        x = self.stage4(x)  # (n s, 4w, h/8, w/8)
        features = self.pool(x).flatten(1).unflatten(0, (n, s))  # (n, s, 4w)
        return features, self.head(features)

    def weights(self, features: Tensor, logits: Tensor, present: Tensor) -> Tensor:
        """How much each slice counts: features (n, s, k), logits (n, s, 2), present (n, s) bool -> (n, s)."""
        if self.pooling == "max":
            evidence = (logits[..., 1] - logits[..., 0]).masked_fill(~present, -torch.inf)
            return F.one_hot(evidence.argmax(dim=1), logits.shape[1]).to(logits.dtype)
        if self.pooling == "softmax":
            evidence = (logits[..., 1] - logits[..., 0]).masked_fill(~present, -torch.inf)
            # Without a gradient of the weights this is taught as log-sum-exp is. With it, slices of little evidence are
            # pushed the wrong way, and learning stalls.
            return (SHARPNESS * evidence.detach()).softmax(dim=1)
        if self.pooling == "attention":
            gated = torch.tanh(self.seen(features)) * torch.sigmoid(self.gate(features))  # (n, s, 32)
            return self.attention(gated).squeeze(2).masked_fill(~present, -torch.inf).softmax(dim=1)
        return present / present.sum(dim=1, keepdim=True)


def middle_slices(present: Tensor, proportion: float) -> Tensor:
    """The middle ones of the slices that are present, at least one of each study: (n, s) bool -> (n, s) bool.

    Examples
    --------
    >>> present = torch.tensor([[True, True, True, True, True, False, False]])
    >>> middle_slices(present, 0.6).int()
    tensor([[0, 1, 1, 1, 0, 0, 0]], dtype=torch.int32)
    """
    count = present.sum(dim=1, keepdim=True)
    kept = (count * proportion).round().long().clamp_min(1)
    first = (count - kept + 1) // 2
    rank = present.cumsum(dim=1) - 1
    return present & (rank >= first) & (rank < first + kept)
