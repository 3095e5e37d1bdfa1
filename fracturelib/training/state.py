"""What of a training must survive a kill, for every loop: saved after each epoch, and gone on from."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fracturelib._io.files import InputError, atomic_path, printable
from fracturelib.models.classifier import load_payload
from fracturelib.training.config import FineTuneConfig, TrainConfig, best_epoch

STATE_VERSION = 1
STATE_FILE = "state.pt"


@dataclass
class TrainingState:
    """What a training has come to after its last whole epoch.

    Chance is not in it: order, augmentation and dropout of an epoch follow from the seed and the epoch's number alone.

    Attributes
    ----------
    format : str
        The kind of training, in words; a file of another kind is refused.
    parts : dict of str to object
        What has a `state_dict`, by name: "model", "optimizer", and what else changes while it learns.
    signature : dict
        What a training must have in common with the file that it goes on from: `begun_with`.
    path : Path, optional
        The file; nothing is saved without.
    history : list of dict
        One row an epoch.
    best : dict, optional
        Weights of the best epoch; None where no epoch is chosen.
    """

    format: str
    parts: dict[str, Any]
    signature: dict[str, Any]
    path: Path | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """Which one is the best, counted from 0."""
        return best_epoch([row["val_auc"] for row in self.history], [row["val_loss"] for row in self.history])

    def save(self) -> None:
        """Write the file."""
        if self.path is None:
            return
        payload = {
            "format": self.format,
            "format_version": STATE_VERSION,
            "signature": self.signature,
            **{name: part.state_dict() for name, part in self.parts.items()},
            "history": self.history,
        }
        if self.best is not None:
            payload["best"] = self.best
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            torch.save(payload, file)

    def resume(self) -> None:
        """Go on from the file, if there is one.

        Raises
        ------
        InputError
            If it cannot be read, or is of a training that was begun as another one.
        """
        if self.path is None or not self.path.is_file():
            return
        with _readable(self.path):
            payload = load_payload(self.path, expected=self.format, version=STATE_VERSION)
            _require_same_training(self.path.parent, dict(payload["signature"]), self.signature)
            self.history = list(payload["history"])
            if not all(isinstance(value, int | float) for row in self.history for value in row.values()):
                raise ValueError("a history of something else than numbers")
            if self.history:
                _ = self.best_epoch
            if self.best is not None:
                self.best = payload["best"]
                self.parts["model"].load_state_dict(self.best)  # since it will be needed
            for name, part in self.parts.items():
                part.load_state_dict(payload[name])


def begun_with(
    config: TrainConfig | FineTuneConfig, fingerprint: str, start: dict[str, Tensor] | None
) -> dict[str, Any]:
    """What a training must have in common with the state that it goes on from."""
    signature = {**asdict(config), "data": fingerprint}
    if start is not None:
        key = hashlib.blake2b(digest_size=8)
        for value in start.values():
            key.update(value.detach().cpu().contiguous().numpy().tobytes())
        signature["start"] = f"weights {key.hexdigest()}"
    return signature


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What reads a training's state: whatever is wrong with the file becomes one line that says how to go on."""
    try:
        yield
    except InputError as error:
        if str(error).startswith(f"{printable(path)}: "):
            raise _unreadable(path, str(error).removeprefix(f"{printable(path)}: ")) from None
        raise
    except Exception as error:  # a damaged file raises many kinds
        raise _unreadable(path, (str(error).splitlines() or [type(error).__name__])[0][:200]) from None


def _unreadable(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path}: cannot be gone on from ({reason}); expected the state of a training: train into another folder, or "
        "remove it together with what else the folder holds"
    )


def _require_same_training(folder: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise InputError if a training in `folder` was begun as another one than is asked for now."""
    for name in now | begun:
        if name == "data" and begun.get(name) != now.get(name):
            raise InputError(f"{folder}: was begun with other data; expected the same, or another output folder")
        if begun.get(name) != now.get(name):
            raise InputError(
                f"{folder}: was begun with {name} = {begun.get(name)}, now {now.get(name)}; "
                "expected the same, or another output folder"
            )
