"""A model soup: one network whose weights are the mean of those of several (Wortsman et al. 2022, arXiv 2203.05482).

Trainings that tune the same pretrained features often end close enough to each other that the mean of their weights
judges about as well as all of them together, at the price of one. That has to be measured each time.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    config: FineTuneConfig  # how each was trained
    begun_with: tuple[dict[str, Any] | None, ...]
    digests: tuple[str, ...]  # of the files
    attribution: str  # whose data, of all of them

    @classmethod
    def of(cls, models: Sequence[Path]) -> "Soup":
        """Raise InputError if there are fewer than two, two are the same or trained otherwise, or one is an average."""
        if len(models) < 2:
            raise InputError(f"{len(models)} network is given; expected at least two, whose weights are averaged")
        members = [load_classifier(path) for path in models]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in models]
        for i, (path, member) in enumerate(zip(models, members, strict=True)):
            _require_alike(path, member, models[0], members[0])
            if digests[i] in digests[:i]:
                raise InputError(
                    f"{path}: is the same network as {models[digests.index(digests[i])]}; expected another"
                )
        try:
            config = FineTuneConfig(**members[0].extra["config"])
        except (TypeError, InputError) as error:
            raise InputError(f"{models[0]}: its settings are not of this version ({error}); train it anew") from None
        said = "; ".join(dict.fromkeys(filter(None, (member.extra.get("attribution", "") for member in members))))
        begun = tuple(member.extra.get("start") for member in members)
        for path, start in zip(models, begun, strict=True):
            if start and "average of" in start:
                raise InputError(f"{path}: is an average itself; expected the networks that it was made of")
        return cls(tuple(models), members[0], config, begun, tuple(digests), said)

    def of_fold(self, fold: int) -> "Soup":
        """The networks of a fold, where those here are the last ones of cross-validations, trained as these were."""
        found = Soup.of([path.parent / f"fold-{fold}" / path.name for path in self.models])
        _require_alike(found.models[0], found.first, self.models[0], self.first)
        for path, last, own, start in zip(found.models, self.models, found.begun_with, self.begun_with, strict=True):
            if own != start:
                raise InputError(f"{path}: began otherwise than {last}; expected a fold of that cross-validation")
        return found

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
        means = {
            name: torch.stack([state[name] for state in states]).mean(dim=0)
            for name, weight in states[0].items()
            if weight.is_floating_point()  # a count of batches is none
        }
        model.load_state_dict(states[0] | means)
        if self.first.closer_look is not None:
            model.half().float()  # as it will be kept
        c, extra = members[0], {"config": asdict(self.config)}
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
    if member.architecture != first.architecture or member.size != first.size:
        raise InputError(f"{path} and {first_path}: are different networks; expected two alike")
