"""A network that is taught where: EfficientNet-Lite0, a class head, and a head that marks fractures on a fine grid."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fracturelib.lite import CHANNELS, Lite0, pretrained_lite0

FINE = 112  # channels of stage3, on a grid of a sixteenth of the film
STRONGEST = 3  # places of the map whose mean speaks for a fracture


class TaughtLite0(nn.Module):
    """Two logits of a film, and a logit for each place: (n, 1, h, w) float32 -> (n, 2), and `mark` -> (n, h/16, w/16).

    Parameters
    ----------
    width : int
        Channels of the head that marks.

    Notes
    -----
    The input is (grey value / 255 - 0.5) / 0.5. The logit of "fractured" is that of the class head plus `trust` times
    the mean of the strongest places of the map, so that score and map are one model. The class head sees a grid of a
    thirty-second, on which a heat map lies beside the bone that it means; the map is learnt from outlines, on a grid
    twice as fine.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        features = Lite0()
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            features.stage1, features.stage2, features.stage3, features.stage4,
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(CHANNELS, 2)
        self.fine = nn.Conv2d(FINE, width, 1)
        self.context = nn.Linear(CHANNELS, width)
        self.where = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 1, 1),
        )  # fmt: skip
        nn.init.constant_(self.where[-1].bias, -4.0)  # type: ignore[arg-type]  # few places show a fracture
        self.trust = nn.Parameter(torch.tensor(0.3))

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 1, h, w) -> fine (n, 112, h/16, w/16), and the film as a whole (n, 1280)."""
        fine = self.stage3(self.stage2(self.stage1(x.expand(-1, 3, -1, -1))))
        return fine, self.pool(self.stage4(fine)).flatten(1)

    def judge(self, fine: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """What the heads make of features: logits (n, 2), and of each place (n, h/16, w/16)."""
        marked = self.where(self.fine(fine) + self.context(whole)[:, :, None, None])[:, 0]
        strongest = marked.flatten(1).topk(min(STRONGEST, marked[0].numel()), dim=1).values.mean(dim=1)
        logits = self.head(self.drop(whole))
        return torch.stack([logits[:, 0], logits[:, 1] + self.trust * strongest], dim=1), marked

    def forward(self, x: Tensor) -> Tensor:
        """Logits of "not fractured" and "fractured"."""
        return self.judge(*self.features(x))[0]

    def mark(self, x: Tensor) -> Tensor:
        """A logit of "a fracture is here" for each place of the grid."""
        return self.judge(*self.features(x))[1]

    def heads(self) -> list[nn.Parameter]:
        """What is learnt when the features are frozen."""
        frozen = {id(p) for stage in (self.stage1, self.stage2, self.stage3, self.stage4) for p in stage.parameters()}
        return [p for p in self.parameters() if id(p) not in frozen]


def with_imagenet(model: TaughtLite0) -> TaughtLite0:
    """Give the features their ImageNet weights, in place."""
    pretrained = pretrained_lite0()
    for name in ("stage1", "stage2", "stage3", "stage4"):
        getattr(model, name).load_state_dict(getattr(pretrained, name).state_dict())
    return model


def grid_of(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which places of a grid hold a part of a fracture: (n, s, s) of 0 and 1 -> (n, h, w) float32 of 0 and 1."""
    return F.adaptive_max_pool2d(masks[:, None].float(), grid)[:, 0]


def focal_loss(logits: Tensor, truth: Tensor, *, gamma: float = 2.0, positive: float = 0.75) -> Tensor:
    """Cross-entropy of places in which the easy ones count little (Lin et al. 2017, arXiv 1708.02002).

    Parameters
    ----------
    logits, truth : (n, h, w) float32
        Truth is 0 or 1.
    gamma : float
        How much less the easy places count; 0 is the weighted cross-entropy.
    positive : float
        Weight of places with a fracture; those without have one minus it.

    Returns
    -------
    () float32
        Sum over the places, for each place with a fracture (at least one).
    """
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    missed = 1 - torch.exp(-plain)
    weight = positive * truth + (1 - positive) * (1 - truth)
    return (weight * missed**gamma * plain).sum() / truth.sum().clamp_min(1.0)
