"""Localizing networks as one, with the stages that they share computed once."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from fracturelib.models.efficientnet_lite import Lite0
from fracturelib.models.localizer import STAGES, LocalizingEfficientNet, LocalizingHeads, looked_at


class ParallelStages(nn.ModuleList):
    """The same stage of several networks as one layer, each with its own channels: (n, m k, h, w) -> (n, m k', h', w').

    So a heat map of the layer is one map of all of them. With `common`, all of them read the same (n, k, h, w).
    """

    def __init__(self, modules: Iterable[nn.Module], *, common: bool = False) -> None:
        super().__init__(modules)
        self.common = common

    def forward(self, x: Tensor) -> Tensor:
        """All members' features side by side: (n, c, h, w) to (n, c', h', w')."""
        parts = [x] * len(self) if self.common else x.chunk(len(self), dim=1)
        return torch.cat([stage(part) for stage, part in zip(self, parts, strict=True)], dim=1)


class DeepEnsemble(nn.Module):
    """Several `LocalizingEfficientNet`, trained apart, as one network: the means of their logits and of their maps.

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
    A deep ensemble (Lakshminarayanan et al. 2017, arXiv 1612.01474). Scores are one look at each image, maps are
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
            else ParallelStages((getattr(f, name) for f in features), common=i == shared)
            for i, name in enumerate(STAGES)
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.heads = nn.ModuleList(LocalizingHeads(width) for _ in range(members))

    @classmethod
    def of(cls, members: Sequence[LocalizingEfficientNet], *, maps: int | None = None) -> "DeepEnsemble":
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

    def member(self, i: int) -> LocalizingEfficientNet:
        """One of the networks that it was made of, with copies of its weights."""
        heads = self.heads[i]
        made = LocalizingEfficientNet(heads.middle.out_channels)  # type: ignore[union-attr,arg-type]
        for name, stage in self.stages_of(i).items():
            getattr(made, name).load_state_dict(stage.state_dict())
        made.load_state_dict(heads.state_dict(), strict=False)
        return made

    def stages_of(self, i: int) -> dict[str, nn.Module]:
        """The stages that one member is computed by, by their names."""
        stages = {name: getattr(self, name) for name in STAGES}
        return {name: stage[i] if isinstance(stage, ParallelStages) else stage for name, stage in stages.items()}

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
