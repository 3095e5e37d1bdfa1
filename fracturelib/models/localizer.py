"""A network trained to localize: EfficientNet-Lite0, a class head, and a head that marks fractures on a fine grid."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fracturelib.models.efficientnet_lite import CHANNELS, Lite0, fold, pretrained_lite0

MIDDLE, FINE = 40, 112  # channels of stage2, on a grid of an eighth of the image, and of stage3, on a sixteenth
STRONGEST = 6  # places of the map whose mean speaks for a fracture
ZOOMS = (7 / 6, 4 / 3)  # of the image, for its map: 448 and 512 pixels of 384
STAGES = ("stage1", "stage2", "stage3", "stage4")


def looked_at(localize: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The mean of the maps of an image that is looked at closely: enlarged by each of `ZOOMS`, as it is and mirrored.

    Parameters
    ----------
    marks : callable
        One look: images (n, 1, h, w) -> a logit for each place (n, h/8, w/8).
    x : (n, 1, h, w) float32

    Returns
    -------
    (n, h/8, w/8) float32
        Each look is brought to this grid by bilinear interpolation.
    """
    grid = (x.shape[2] // 8, x.shape[3] // 8)
    looks = []
    for zoom in ZOOMS:
        larger = [32 * max(1, round(side * zoom / 32)) for side in x.shape[2:]]
        image = F.interpolate(x, size=larger, mode="bilinear", align_corners=False)
        for found in (localize(image), localize(image.flip(3)).flip(2)):
            looks.append(F.interpolate(found[:, None], size=grid, mode="bilinear", align_corners=False)[:, 0])
    return torch.stack(looks).mean(dim=0)


class LocalizingHeads(nn.Module):
    """What judges the features of an image: a class head, and a head that marks places."""

    def add_heads(self, width: int, channels: tuple[int, int, int] = (MIDDLE, FINE, CHANNELS)) -> None:
        """Make the heads, for features of so many `channels`; a network draws the weights of its features first."""
        middle, fine, whole = self.channels = channels
        self.head = nn.Linear(whole, 2)
        self.middle = nn.Conv2d(middle, width, 1)
        self.fine = nn.Conv2d(fine, width, 1)
        self.context = nn.Linear(whole, width)
        self.where = nn.Sequential(
            nn.GroupNorm(8, width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(8, width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2, bias=False), nn.GroupNorm(8, width), nn.ReLU(),
            nn.Conv2d(width, 1, 1),
        )  # fmt: skip
        nn.init.constant_(self.where[-1].bias, -4.0)  # type: ignore[arg-type]  # few places show a fracture
        self.trust = nn.Parameter(torch.tensor(0.3))

    def judge(
        self, middle: Tensor, fine: Tensor, whole: Tensor, *, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What the heads make of features: logits (n, 2), and of each place (n, h/8, w/8).

        `keep` (n, c) is the dropout of a training step: zero, or one over the proportion that is kept.
        """
        told = self.fine(fine) + self.context(whole)[:, :, None, None]
        told = F.interpolate(told, size=middle.shape[2:], mode="bilinear", align_corners=False)
        marked = self.where(told + self.middle(middle))[:, 0]
        strongest = marked.flatten(1).topk(min(STRONGEST, marked[0].numel()), dim=1).values.mean(dim=1)
        logits = self.head(whole if keep is None else whole * keep)
        return torch.stack([logits[:, 0], logits[:, 1] + self.trust * strongest], dim=1), marked


class LocalizingNetwork(LocalizingHeads):
    """Two logits of an image, and a logit for each place: (n, 1, h, w) float32 -> (n, 2), and `mark` -> (n, h/8, w/8).

    Features in four stages, which leave the image at a quarter, an eighth, a sixteenth and a thirty-second of its side,
    and heads on them. The input is (grey value / 255 - 0.5) / 0.5.

    Notes
    -----
    The logit of "fractured" is that of the class head plus `trust` times the mean of the strongest places of the map,
    so that score and map are one model. The class head sees a grid of a thirty-second, on which a heat map lies beside
    the bone that it means; the map is learnt from outlines, on a grid four times as fine. `forward` is one look at the
    image. `mark` looks at it four times: enlarged twice, and mirrored.
    """

    stage1: nn.Module
    stage2: nn.Module
    stage3: nn.Module
    stage4: nn.Module
    pool: nn.Module

    def coloured(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) to (n, 3, h, w), as the features were taught to see images."""
        return x.expand(-1, 3, -1, -1)

    def early(self, x: Tensor) -> Tensor:
        """What the first stage leaves, (n, c, h/4, w/4)."""
        found: Tensor = self.stage1(self.coloured(x))
        return found

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, 1, h, w) -> middle (n, c, h/8, w/8), fine (n, c', h/16, w/16), the image as a whole (n, c'')."""
        middle = self.stage2(self.early(x))
        fine = self.stage3(middle)
        return middle, fine, self.whole(fine)

    def whole(self, fine: Tensor) -> Tensor:
        """The image as a whole, (n, c''), from the fine features."""
        found: Tensor = self.pool(self.stage4(fine)).flatten(1)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits of "not fractured" and "fractured"."""
        return self.judge(*self.features(x))[0]

    def mark(self, x: Tensor) -> Tensor:
        """A logit of "a fracture is here" for each place of the grid, from several looks (`looked_at`)."""
        return looked_at(lambda image: self.judge(*self.features(image))[1], x)


class LocalizingEfficientNet(LocalizingNetwork):
    """`LocalizingNetwork` on EfficientNet-Lite0: features of 40, 112 and 1280 channels.

    Parameters
    ----------
    width : int
        Channels of the head that marks, a multiple of 8.
    closer : bool
        With a second network, `closer`, of the same kind, which judges cuts of images (`closer_look`); what is said
        here of the network does not include it.

    Notes
    -----
    Nothing in it depends on the other images of a batch: the batch normalisation of the features is folded into their
    convolutions.
    """

    def __init__(self, width: int = 64, closer: bool = False) -> None:
        super().__init__()
        features = Lite0(folded=True)
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            features.stage1, features.stage2, features.stage3, features.stage4,
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.add_heads(width)
        if closer:
            self.closer = LocalizingEfficientNet(width)


UNFREEZE = ("heads", "last", "most", "all")


def free(model: LocalizingNetwork, tune: str) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Freeze all that is not to be tuned, in place; give what is left: of the heads, and of the features.

    Parameters
    ----------
    model : LocalizingNetwork
    tune : str
        "heads"; "last", also the last stage; "most", also all stages but the first; "all". In "last" and "most" the
        filters that look about within one channel stay as ImageNet made them: there are few of them, and their
        gradient would take longer than that of all the others.
    """
    begins = {"heads": 4, "last": 3, "most": 1, "all": 0}[tune]
    tuned: list[nn.Parameter] = []
    for i, name in enumerate(STAGES):
        for layer in getattr(model, name).modules():
            looks_about = isinstance(layer, nn.Conv2d) and layer.groups > 1
            for p in layer.parameters(recurse=False):
                p.requires_grad_(i >= begins and not (looks_about and tune != "all"))
                if p.requires_grad:
                    tuned.append(p)
    heads = [p for name, p in model.named_parameters() if not name.startswith("stage")]
    return heads, tuned


def with_imagenet_weights(model: LocalizingEfficientNet) -> LocalizingEfficientNet:
    """Give the features their ImageNet weights, in place."""
    pretrained = fold(pretrained_lite0())
    for name in STAGES:
        getattr(model, name).load_state_dict(getattr(pretrained, name).state_dict())
    return model
