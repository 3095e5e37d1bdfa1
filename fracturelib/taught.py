"""A network that is taught where: EfficientNet-Lite0, a class head, and a head that marks fractures on a fine grid."""

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fracturelib.lite import CHANNELS, Lite0, fold, pretrained_lite0

MIDDLE, FINE = 40, 112  # channels of stage2, on a grid of an eighth of the film, and of stage3, on a sixteenth
STRONGEST = 6  # places of the map whose mean speaks for a fracture
ZOOMS = (7 / 6, 4 / 3)  # of the film, for its map: 448 and 512 pixels of 384
STAGES = ("stage1", "stage2", "stage3", "stage4")


def looked_at(marks: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The mean of the maps of a film that is looked at closely: enlarged by each of `ZOOMS`, as it is and mirrored.

    Parameters
    ----------
    marks : callable
        One look: films (n, 1, h, w) -> a logit for each place (n, h/8, w/8).
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
        film = F.interpolate(x, size=larger, mode="bilinear", align_corners=False)
        for found in (marks(film), marks(film.flip(3)).flip(2)):
            looks.append(F.interpolate(found[:, None], size=grid, mode="bilinear", align_corners=False)[:, 0])
    return torch.stack(looks).mean(dim=0)


class TaughtHeads(nn.Module):
    """What judges the features of a film: a class head, and a head that marks places."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.add_heads(width)

    def add_heads(self, width: int) -> None:
        """Make the heads; a network draws the weights of its features first."""
        self.head = nn.Linear(CHANNELS, 2)
        self.middle = nn.Conv2d(MIDDLE, width, 1)
        self.fine = nn.Conv2d(FINE, width, 1)
        self.context = nn.Linear(CHANNELS, width)
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

        `keep` (n, 1280) is the dropout of a training step: zero, or one over the share that is kept.
        """
        told = self.fine(fine) + self.context(whole)[:, :, None, None]
        told = F.interpolate(told, size=middle.shape[2:], mode="bilinear", align_corners=False)
        marked = self.where(told + self.middle(middle))[:, 0]
        strongest = marked.flatten(1).topk(min(STRONGEST, marked[0].numel()), dim=1).values.mean(dim=1)
        logits = self.head(whole if keep is None else whole * keep)
        return torch.stack([logits[:, 0], logits[:, 1] + self.trust * strongest], dim=1), marked


class TaughtLite0(TaughtHeads):
    """Two logits of a film, and a logit for each place: (n, 1, h, w) float32 -> (n, 2), and `mark` -> (n, h/8, w/8).

    Parameters
    ----------
    width : int
        Channels of the head that marks, a multiple of 8.

    Notes
    -----
    The input is (grey value / 255 - 0.5) / 0.5. The logit of "fractured" is that of the class head plus `trust` times
    the mean of the strongest places of the map, so that score and map are one model. The class head sees a grid of a
    thirty-second, on which a heat map lies beside the bone that it means; the map is learnt from outlines, on a grid
    four times as fine. `forward` is one look at the film. `mark` looks at it four times: enlarged twice, and mirrored.

    Nothing in it depends on the other films of a batch: the batch normalisation of the features is folded into their
    convolutions.
    """

    def __init__(self, width: int = 64) -> None:
        nn.Module.__init__(self)
        features = Lite0(folded=True)
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            features.stage1, features.stage2, features.stage3, features.stage4,
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.add_heads(width)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, 1, h, w) -> middle (n, 40, h/8, w/8), fine (n, 112, h/16, w/16), the film as a whole (n, 1280)."""
        middle = self.stage2(self.stage1(x.expand(-1, 3, -1, -1)))
        fine = self.stage3(middle)
        return middle, fine, self.whole(fine)

    def whole(self, fine: Tensor) -> Tensor:
        """The film as a whole, (n, 1280), from the fine features."""
        return self.pool(self.stage4(fine)).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of "not fractured" and "fractured"."""
        return self.judge(*self.features(x))[0]

    def mark(self, x: Tensor) -> Tensor:
        """A logit of "a fracture is here" for each place of the grid, from several looks (`looked_at`)."""
        return looked_at(lambda film: self.judge(*self.features(film))[1], x)


class SideBySide(nn.ModuleList):
    """The same stage of several networks as one layer, each with its own channels: (n, m k, h, w) -> (n, m k', h', w').

    So a heat map of the layer is one map of all of them. With `common`, all of them read the same (n, k, h, w).
    """

    def __init__(self, modules: Iterable[nn.Module], *, common: bool = False) -> None:
        super().__init__(modules)
        self.common = common

    def forward(self, x: Tensor) -> Tensor:
        parts = [x] * len(self) if self.common else x.chunk(len(self), dim=1)
        return torch.cat([stage(part) for stage, part in zip(self, parts, strict=True)], dim=1)


class TaughtEnsemble(nn.Module):
    """Several `TaughtLite0` that were trained apart, as one network: the means of their logits and of their maps.

    Parameters
    ----------
    members : int
        How many.
    width : int
        Of each.
    shared : int
        How many stages, 0 to 4 from the first on, all members have in common; they are kept and computed once.
    maps : int, optional
        How many of the members, from the first on, the map is the mean of; all of them if not given.

    Raises
    ------
    ValueError
        If `shared` or `maps` is out of range.

    Notes
    -----
    A deep ensemble (Lakshminarayanan et al. 2017, arXiv 1612.01474). Scores are one look at each film, maps are
    several, as those of a member.
    """

    def __init__(self, members: int = 2, width: int = 64, shared: int = 0, maps: int | None = None) -> None:
        super().__init__()
        self.shared = shared
        self.maps = members if maps is None else maps
        if not 0 <= shared <= len(STAGES) or not 1 <= self.maps <= members:
            raise ValueError(
                f"{members} members with {shared} shared stages and maps of {maps}; expected 0 to 4, 1 or more"
            )
        features = [Lite0(folded=True) for _ in range(members)]
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            getattr(features[0], name) if i < shared
            else SideBySide((getattr(f, name) for f in features), common=i == shared)
            for i, name in enumerate(STAGES)
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.heads = nn.ModuleList(TaughtHeads(width) for _ in range(members))

    @classmethod
    def of(cls, members: Sequence[TaughtLite0], *, maps: int | None = None) -> "TaughtEnsemble":
        """An ensemble with the weights of networks of one width, which are copied; equal first stages are shared."""
        shared = 0
        while shared < len(STAGES) and _all_equal([getattr(m, STAGES[shared]) for m in members]):
            shared += 1
        made = cls(len(members), members[0].middle.out_channels, shared, maps)
        for i, member in enumerate(members):
            for name, stage in made.stages_of(i).items():
                stage.load_state_dict(getattr(member, name).state_dict())
            heads = {k: v for k, v in member.state_dict().items() if not k.startswith("stage")}
            made.heads[i].load_state_dict(heads)
        return made

    def member(self, i: int) -> TaughtLite0:
        """One of the networks that it was made of, with copies of its weights."""
        heads = self.heads[i]
        made = TaughtLite0(heads.middle.out_channels)  # type: ignore[union-attr,arg-type]
        for name, stage in self.stages_of(i).items():
            getattr(made, name).load_state_dict(stage.state_dict())
        made.load_state_dict(heads.state_dict(), strict=False)
        return made

    def stages_of(self, i: int) -> dict[str, nn.Module]:
        """The stages that one member is computed by, by their names."""
        stages = {name: getattr(self, name) for name in STAGES}
        return {name: stage[i] if isinstance(stage, SideBySide) else stage for name, stage in stages.items()}

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means of the logits (n, 2), and of the logits of each place (n, h/8, w/8)."""
        middle = self.stage2(self.stage1(x.expand(-1, 3, -1, -1)))
        fine = self.stage3(middle)
        whole = self.pool(self.stage4(fine)).flatten(1)
        each = [self._apart(v, stage) for v, stage in ((middle, 2), (fine, 3), (whole, 4))]
        logits, marked = zip(*(heads.judge(*own) for heads, *own in zip(self.heads, *each, strict=True)), strict=True)
        return torch.stack(logits).mean(dim=0), torch.stack(marked).mean(dim=0)

    def _apart(self, features: Tensor, stage: int) -> Sequence[Tensor]:
        """What each member has of the features after a stage, which are one for all while stages are shared."""
        count = len(self.heads)
        return [features] * count if stage <= self.shared else features.chunk(count, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of "not fractured" and "fractured": (n, 1, h, w) float32 -> (n, 2)."""
        return self.judge(x)[0]

    def mark_once(self, x: Tensor) -> Tensor:
        """A logit for each place from one look, the mean of those of the first `maps` members: (n, h/8, w/8)."""
        if self.maps == len(self.heads):
            return self.judge(x)[1]
        return torch.stack([self._marks_of(i, x) for i in range(self.maps)]).mean(dim=0)

    def _marks_of(self, i: int, x: Tensor) -> Tensor:
        stage1, stage2, stage3, stage4 = self.stages_of(i).values()
        middle = stage2(stage1(x.expand(-1, 3, -1, -1)))
        fine = stage3(middle)
        found: Tensor = self.heads[i].judge(middle, fine, self.pool(stage4(fine)).flatten(1))[1]  # type: ignore[operator]
        return found

    def mark(self, x: Tensor) -> Tensor:
        """A logit of "a fracture is here" for each place of the grid, from several looks (`looked_at`)."""
        return looked_at(self.mark_once, x)


def _all_equal(modules: Sequence[nn.Module]) -> bool:
    first, *others = (m.state_dict() for m in modules)
    return all(torch.equal(value, other[name]) for other in others for name, value in first.items())


def mean_of_weights(members: Sequence[TaughtLite0]) -> TaughtLite0:
    """A network with the means of the weights of several that began alike, which are left as they are.

    Networks that were tuned from the same weights lie in one basin, and the mean of them is often better than each
    (Wortsman et al. 2022, arXiv 2203.05482), at the cost of one.
    """
    made = TaughtLite0(members[0].middle.out_channels)
    states = [m.state_dict() for m in members]
    made.load_state_dict({name: torch.stack([s[name] for s in states]).mean(dim=0) for name in states[0]})
    return made


TUNES = ("heads", "last", "most", "all")


def free(model: TaughtLite0, tune: str) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Freeze all that is not to be tuned, in place; give what is left: of the heads, and of the features.

    Parameters
    ----------
    model : TaughtLite0
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


def with_imagenet(model: TaughtLite0) -> TaughtLite0:
    """Give the features their ImageNet weights, in place."""
    pretrained = fold(pretrained_lite0())
    for name in STAGES:
        getattr(model, name).load_state_dict(getattr(pretrained, name).state_dict())
    return model


def grid_of(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which places of a grid hold a part of a fracture: (n, s, s) of 0 and 1 -> (n, h, w) float32 of 0 and 1."""
    return F.adaptive_max_pool2d(masks[:, None].float(), grid)[:, 0]


def focal_loss(
    logits: Tensor, truth: Tensor, *, gamma: float = 2.0, positive: float = 0.75, places: float | None = None
) -> Tensor:
    """Cross-entropy of places in which the easy ones count little (Lin et al. 2017, arXiv 1708.02002).

    Parameters
    ----------
    logits, truth : (n, h, w) float32
        Truth is 0 or 1.
    gamma : float
        How much less the easy places count; 0 is the weighted cross-entropy.
    positive : float
        Weight of places with a fracture; those without have one minus it.
    places : float, optional
        By how many the sum is divided; those with a fracture (at least one) if not given.

    Returns
    -------
    () float32
    """
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    missed = 1 - torch.exp(-plain)
    weight = positive * truth + (1 - positive) * (1 - truth)
    return (weight * missed**gamma * plain).sum() / (truth.sum().clamp_min(1.0) if places is None else places)


def point_loss(marks: Tensor, truth: Tensor, *, films: float | None = None) -> Tensor:
    """How surprised a map is that its strongest place is not in the fracture: cross-entropy over the places of a film.

    A softmax over all places of a film says where the fracture is, if there is one; the loss is minus the logarithm
    of what it gives to the places with a part of the fracture together. Films without one do not count.

    Parameters
    ----------
    marks, truth : (n, h, w) float32
        Logits, and 0 or 1.
    films : float, optional
        By how many the sum is divided; those with a fracture (at least one) if not given.

    Returns
    -------
    () float32
    """
    marks, inside = marks.flatten(1), truth.flatten(1) > 0
    known = inside.any(dim=1)
    within = marks[known].masked_fill(~inside[known], -torch.inf).logsumexp(dim=1)
    missed = marks[known].logsumexp(dim=1) - within
    return missed.sum() / (known.sum().clamp_min(1) if films is None else films)


def peak_hits(marks: Tensor, truth: Tensor) -> float:
    """Share of films whose strongest place holds a part of the fracture: two (n, h, w) -> 0..1."""
    best = marks.flatten(1).argmax(dim=1)
    return float(truth.flatten(1)[torch.arange(len(truth)), best].mean())
