"""A model soup: one network whose weights are the mean of those of several (Wortsman et al. 2022, arXiv 2203.05482).

Trainings that tune the same pretrained features often end close enough to each other that the mean of their weights
judges about as well as all of them together, at the price of one. That has to be measured each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fracturelib._io.files import InputError
from fracturelib.models.classifier import Classifier, load_classifier
from fracturelib.training.config import FineTuneConfig


@dataclass(frozen=True)
class Soup:
    """Checkpoints of one pretrained network, trained alike from different beginnings, to be averaged."""

    models: tuple[Path, ...]
    first: Classifier
    begun_with: tuple[dict[str, Any] | None, ...]

    @classmethod
    def of(cls, models: Sequence[Path]) -> "Soup":
        """Raise InputError if there are fewer than two, if two began alike, or if anything else of them differs."""
        if len(models) < 2:
            raise InputError(f"{len(models)} network is given; expected at least two, whose weights are averaged")
        members = [load_classifier(path) for path in models]
        for path, member in zip(models, members, strict=True):
            _require_alike(path, member, models[0], members[0])
        begun = tuple(member.extra.get("start") for member in members)
        for i, start in enumerate(begun):
            if start in begun[:i]:
                other = models[begun.index(start)]
                raise InputError(
                    f"{models[i]}: began as {other} did; expected another beginning, such as --start gives"
                )
        return cls(tuple(models), members[0], begun)

    @property
    def config(self) -> FineTuneConfig:
        """How each was trained."""
        return FineTuneConfig(**self.first.extra["config"])

    def of_fold(self, fold: int) -> "Soup":
        """The networks of a fold, where those here are the last ones of cross-validations."""
        return replace(self, models=tuple(path.parent / f"fold-{fold}" / path.name for path in self.models))

    def network(self, fingerprint: str) -> Classifier:
        """The network with the mean of their weights, not calibrated yet.

        Raises
        ------
        InputError
            If one learnt from other images than `fingerprint` says.
        """
        members = [load_classifier(path) for path in self.models]
        for path, member in zip(self.models, members, strict=True):
            if member.fingerprint != fingerprint:
                raise InputError(f"{path}: learnt from other images than those of now; expected the same")
        model, states = members[0].model, [member.model.state_dict() for member in members]
        model.load_state_dict({name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]})
        if self.first.closer_look is not None:
            model.half().float()  # as it will be kept
        c = members[0]
        extra = {"config": c.extra["config"]}
        return Classifier(model, c.architecture, c.size, c.mean, c.std, fingerprint, classes=c.classes, extra=extra)


def _require_alike(path: Path, member: Classifier, first_path: Path, first: Classifier) -> None:
    """Raise InputError unless two checkpoints are of one pretrained network and of trainings with the same settings."""
    config, expected = (c.extra.get("config", {}) for c in (member, first))
    if "unfreeze" not in config:
        raise InputError(f"{path}: is {member.architecture['name']}; expected a network of pretrained features")
    for name in sorted({*config, *expected}):
        if config.get(name) != expected.get(name):
            said = f"{path}: was trained with {name} = {config.get(name)}, {first_path} with {expected.get(name)}"
            raise InputError(f"{said}; expected the same")
    for name, option in (("closer_look", "--closer-look"), ("regions", "--by-region")):
        if (getattr(member, name) is None) != (getattr(first, name) is None):
            raise InputError(f"{path} and {first_path}: one was trained with {option}, one without; expected two alike")
