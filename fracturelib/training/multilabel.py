"""Several labels from one network: heads on a shared trunk, and a loss to which an unknown label says nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from fracturelib._io.files import InputError, counted
from fracturelib.metrics._checks import require_resamples
from fracturelib.metrics.bootstrap import Groups, draws, group_bootstrap, group_codes, percentile_limits, weighted
from fracturelib.metrics.classification import roc_auc
from fracturelib.training.config import require_within

UNKNOWN = -1
COLUMNS = ["task", "class", "images", "with", "auc", "low", "high", "note"]

Probabilities = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Tasks:
    """Questions about an image, and what becomes of the answers: targets, a network, and tables that judge it.

    Probabilities are those of `SeveralHeads.probabilities`: the name of a task -> (n, c) float64. Targets are those of
    `encode`. Groups, (n,), are the patients of the images; each image is its own if they are not given.

    Attributes
    ----------
    classes : mapping of str to tuple of str
        The column of a manifest that holds the answer -> the possible answers as text, two or more.

    Raises
    ------
    InputError
        If there is no task, or a task has not two classes or more that differ.

    Examples
    --------
    >>> tasks = Tasks({"fracture": ("0", "1"), "region": ("hand", "hip")})
    >>> tasks.encode(pd.DataFrame({"fracture": [1, 0], "region": ["hip", None]})).tolist()
    [[1, 1], [0, -1]]
    >>> tasks.names, tasks[:1].names
    (('fracture', 'region'), ('fracture',))
    """

    classes: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if not self.classes:
            raise InputError("classes is empty; expected at least one task")
        for name, given in self.classes.items():
            if isinstance(given, str) or len(given) < 2 or len(set(given)) < len(given):
                raise InputError(f"task {name!r} has the classes {given!r}; expected two or more that differ")

    @classmethod
    def found(cls, frame: pd.DataFrame, columns: Sequence[str], *, least: int = 20) -> "Tasks":
        """The fracture first, and what else images can teach: of each column, answers that `least` of them have.

        Columns that are missing or have one such answer are left out. The fracture's answers are always "0" and "1".

        Examples
        --------
        >>> frame = pd.DataFrame({"fracture": [0, 1] * 20, "view": ["frontal", "lateral"] * 20, "cast": [0] * 40})
        >>> Tasks.found(frame, ("view", "cast", "region")).classes
        {'fracture': ('0', '1'), 'view': ('frontal', 'lateral')}
        """
        tasks: dict[str, tuple[str, ...]] = {"fracture": ("0", "1")}
        for column in [c for c in columns if c in frame]:
            counts = answers(frame, column).value_counts()
            classes = tuple(sorted(str(c) for c in counts[counts >= least].index))
            tasks |= {column: classes} if len(classes) > 1 else {}
        return cls(tasks)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tasks, in the order of the columns of the targets."""
        return tuple(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, part: slice) -> "Tasks":
        """Some of the tasks, as columns of targets are taken."""
        if not isinstance(part, slice):
            raise InputError(f"tasks[{part!r}]: expected a slice, such as tasks[:1]")
        return Tasks({name: self.classes[name] for name in self.names[part]})

    def encode(self, frame: pd.DataFrame, *, others: str = "error") -> NDArray[np.int64]:
        """Which class of each task an image has: (n, t) int64, -1 where it is unknown because the value is missing.

        A value that is none of the classes is an InputError, or, where `others` is "unknown", unknown too.
        """
        if others not in ("error", "unknown"):
            raise InputError(f"others is {others!r}; expected 'error' or 'unknown'")
        targets = np.full((len(frame), len(self)), UNKNOWN, np.int64)
        for t, (name, classes) in enumerate(self.classes.items()):
            text = answers(frame, name)
            targets[:, t] = pd.Index(classes).get_indexer(pd.Index(text))
            odd = text[text.notna().to_numpy() & (targets[:, t] == UNKNOWN)]
            if len(odd) and others == "error":
                raise InputError(f"column {name!r} has the value {odd.iloc[0]!r}; expected {', '.join(classes)}")
        return targets

    def fit(
        self, features: NDArray[np.float32], targets: NDArray[np.int64], *,
        width: int = 64, epochs: int = 40, batch: int = 64,
        learning_rate: float = 1e-3, weight_decay: float = 0.1, seed: int = 0,
    ) -> "SeveralHeads":  # fmt: skip
        """A network for all tasks, by the masked loss and AdamW: (n, f), (n, t). The same seed gives the same network.

        Raises InputError if shapes do not fit, nothing is known of a task, or a setting is out of range.
        """
        require_within({"width": width, "epochs": epochs, "batch": batch, "learning_rate": learning_rate,
                        "weight_decay": weight_decay, "seed": seed})  # fmt: skip
        learnt, truth = np.array(features, np.float32), self._checked(targets)
        known = truth != UNKNOWN
        if len(truth) != len(learnt) or not known.any(axis=0).all():
            expected = f"({len(learnt)}, {len(self)}) with a known image in each column"
            raise InputError(f"targets has shape {truth.shape}, {known.sum()} known; expected {expected}")
        if learnt.ndim != 2 or not np.isfinite(learnt).all():
            raise InputError(
                f"features has shape {learnt.shape} or values that are not finite; expected numbers (n, f)"
            )
        x, y = torch.from_numpy(learnt), torch.from_numpy(truth)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = SeveralHeads(x.shape[1], self, width=width)
            model.mean, model.std = x.mean(0), x.std(0, correction=0).clamp(min=1e-3)
            optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
            for _ in range(epochs):
                for images in torch.randperm(len(x)).split(batch):
                    loss = masked_cross_entropy(model(x[images]), y[images])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
        return model.eval()

    def _checked(self, targets: ArrayLike) -> NDArray[np.int64]:
        """Targets as an array; InputError unless they have a column a task, of its classes or -1."""
        found = np.array(targets)
        if found.ndim != 2 or found.shape[1] != len(self):
            raise InputError(f"targets has shape {found.shape}; expected (n, {len(self)}), a column a task")
        if found.dtype.kind not in "iu":
            raise InputError(f"targets are of type {found.dtype}; expected whole numbers")
        for name, column in zip(self.names, found.T, strict=True):
            most = len(self.classes[name]) - 1
            if len(odd := column[(column < UNKNOWN) | (column > most)]):
                raise InputError(f"targets of {name!r} has {odd[0]}; expected 0 to {most}, or {UNKNOWN} for unknown")
        return found.astype(np.int64)

    def _with_scores(self, score: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Both as arrays, of the same images."""
        truth = self._checked(targets)
        try:
            scores = np.asarray(score, float)
        except (TypeError, ValueError):
            raise InputError("score has values that are no numbers; expected one for each image") from None
        if scores.shape != (len(truth),):
            raise InputError(f"score has shape {scores.shape}; expected ({len(truth)},), one for each image")
        return scores, truth

    def _require_fitting(self, probabilities: Probabilities, targets: NDArray[np.int64]) -> None:
        """Raise InputError unless probabilities are of these tasks and of as many images."""
        for name, found in probabilities.items():
            if name not in self.classes:
                raise InputError(f"probabilities has {name!r}; expected some of {', '.join(self.names)}")
            rows, classes, shape = len(targets), len(self.classes[name]), np.shape(found)
            if len(shape) != 2 or shape[0] != rows or shape[1] < classes:  # a network may know more answers than judged
                raise InputError(
                    f"probabilities of {name!r} have shape {shape}; expected ({rows}, {classes}) or more columns"
                )
            if not np.isfinite(found).all():
                raise InputError(f"probabilities of {name!r} have values that are not finite; expected 0..1")

    def judge(
        self, probabilities: Probabilities, targets: NDArray[np.int64], group: Groups | None = None, *,
        least: int = 10, n: int = 500, seed: int = 0,
    ) -> pd.DataFrame:  # fmt: skip
        """AUC of each class against the rest, on the images where it is known, with an interval by groups.

        Columns: task, class, images (known), with (of the class), auc, low, high, note; the index is "task: class". A
        task of two classes has one row, of the second. Where fewer than `least` groups have the class, or do not,
        nothing is claimed: NaN, and a note. A task of which there are no probabilities is left out.
        """
        targets = self._checked(targets)
        self._require_fitting(probabilities, targets)
        codes, rows = group_codes(group, len(targets)), []
        for t, (task, classes) in enumerate(self.classes.items()):
            if task not in probabilities:
                continue
            for k, known, is_it, few in _sides(targets[:, t], codes, len(classes)):
                row = (task, classes[k], len(is_it), int(is_it.sum()))
                if few < max(least, 1):
                    rows.append((*row, *[float("nan")] * 3, f"{counted(few, 'group')} on one side: nothing is claimed"))
                    continue
                found = group_bootstrap(roc_auc, is_it, probabilities[task][known, k], codes[known], n=n, seed=seed)
                rows.append((*row, found.value, found.low, found.high, found.undefined or found.note))
        return _labelled(pd.DataFrame(rows, columns=COLUMNS))

    @staticmethod
    def summary(judged: pd.DataFrame) -> pd.DataFrame:
        """A table of `judge`, to be read: images with the label, AUC with its interval, and what is to be said."""
        rows = []
        for row in judged.to_dict("records"):
            area = "-" if np.isnan(row["auc"]) else f"{row['auc']:.2f}"
            if np.isfinite(row["low"]):
                area += f" ({row['low']:.2f} to {row['high']:.2f})"
            rows.append((f"{row['with']} of {row['images']}", area, (row["note"] or "").split(" of ")[0]))
        return pd.DataFrame(rows, judged.index, ["images with it", "AUC", "remark"])

    def compare(
        self, a: Probabilities, b: Probabilities, targets: NDArray[np.int64], group: Groups | None = None, *,
        least: int = 10, n: int = 500, seed: int = 0,
    ) -> pd.DataFrame:  # fmt: skip
        """AUC of two networks, `a` minus `b`, the mean over the answers of each task, paired, with intervals by groups.

        Columns: task, class (how many answers the mean is of), auc (the difference), low, high; the index is "task:
        class". Answers that fewer than `least` groups have, or do not have, are left out; a task of which none is left
        has NaN.
        """
        require_resamples(n)
        targets = self._checked(targets)
        for which in (a, b):
            self._require_fitting(which, targets)
            if lacking := [name for name in self.names if name not in which]:
                raise InputError(f"probabilities lack {', '.join(lacking)}; expected those of {', '.join(self.names)}")
        codes, rows = group_codes(group, len(targets)), []
        for t, (task, classes) in enumerate(self.classes.items()):
            pairs, known = [], np.flatnonzero(targets[:, t] != UNKNOWN)
            for k, _, is_it, few in _sides(targets[:, t], codes, len(classes)):
                if few >= max(least, 1):
                    pairs.append([weighted(roc_auc, is_it, np.asarray(p[task][known, k], float)) for p in (a, b)])
            if not pairs:
                rows.append((task, "none", *[float("nan")] * 3))
                continue
            each = np.ones(len(known), np.int64)
            samples = [each, *(w[known] for w in draws(codes, n, seed))]
            values = np.array([np.mean([first(w) - second(w) for first, second in pairs]) for w in samples])
            drawn = values[1:][np.isfinite(values[1:])]
            count = "1 answer" if len(pairs) == 1 else f"{len(pairs)} answers"
            alone = len(np.unique(codes[known])) == 1  # no sample of one group differs, which makes nothing certain
            limits = (float("nan"), float("nan")) if alone else percentile_limits(drawn, 0.95)
            rows.append((task, count, values[0], *limits))
        return _labelled(pd.DataFrame(rows, columns=["task", "class", "auc", "low", "high"]))

    def leaning(
        self, score: NDArray[np.float64], targets: NDArray[np.int64], group: Groups | None = None, *, n: int = 500
    ) -> pd.DataFrame:
        """Where nothing is broken, how well the fracture score tells each other label apart: a table of `judge`.

        The first task is the fracture; only images that are known to have none are judged. At 0.5 the score does not
        care.
        """
        score, targets = self._with_scores(score, targets)
        sound = targets[:, 0] == 0
        instead = {name: np.tile(score[sound, None], len(self.classes[name])) for name in self.names[1:]}
        return self.judge(instead, targets[sound], group_codes(group, len(targets))[sound], n=n)

    def within(
        self, score: NDArray[np.float64], targets: NDArray[np.int64], group: Groups | None = None, *, n: int = 500
    ) -> pd.DataFrame:
        """AUC for fractures among the images of one answer, where that answer cannot help: a table of `judge`."""
        score, targets = self._with_scores(score, targets)
        codes, both = group_codes(group, len(targets)), np.stack([1 - score, score], axis=1)
        parts = [pd.DataFrame(columns=COLUMNS)]
        for t, name in enumerate(self.names[1:], start=1):
            for k, answer in enumerate(self.classes[name]):
                here = targets[:, t] == k
                part = self.judge({self.names[0]: both[here]}, targets[here], codes[here], n=n)
                parts.append(part.assign(**{"task": name, "class": answer}))
        return _labelled(pd.concat(parts[1:] or parts))


def answers(frame: pd.DataFrame, column: str) -> "pd.Series[str]":
    """A column as text, missing where it is missing or empty; whole numbers without a point, so that 0.0 is "0"."""
    if list(frame.columns).count(column) != 1:
        many = "no column" if column not in frame else "more than one column"
        raise InputError(f"frame has {many} {column!r}; it has {', '.join(map(str, frame.columns))}; expected it once")
    text = frame[column].astype("string").str.strip().str.replace(r"^(-?\d+)\.0+$", r"\1", regex=True)
    return text.replace({"": pd.NA, "True": "1", "False": "0"})


def masked_cross_entropy(logits: Sequence[Tensor], targets: Tensor) -> Tensor:
    """The sum over tasks of the mean cross-entropy of the images whose label is known: t times (n, c), (n, t) -> ().

    An image with -1 counts nothing in its task's loss and gets no gradient; a task of which no image is known gives 0.

    Examples
    --------
    >>> round(float(masked_cross_entropy([torch.zeros(3, 2)], torch.tensor([[0], [1], [-1]]))), 3)
    0.693
    """
    if targets.ndim != 2 or targets.shape[1] != len(logits):
        raise InputError(f"targets has shape {tuple(targets.shape)}; expected (n, {len(logits)}), one column a task")
    losses = []
    for head, target in zip(logits, targets.T, strict=True):
        known = target != UNKNOWN
        total = F.cross_entropy(head[known], target[known], reduction="sum")
        losses.append(total / known.sum().clamp(min=1))  # the mean of no image would be NaN
    return torch.stack(losses).sum()


class SeveralHeads(nn.Module):
    """Frozen features (n, f), standardised -> a shared trunk -> one linear head for each task: t times (n, c)."""

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, tasks: Tasks, *, width: int = 64) -> None:
        super().__init__()
        self.tasks = tasks.names
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.trunk = nn.Sequential(nn.Dropout(0.5), nn.Linear(features, width), nn.ReLU(), nn.Dropout(0.5))
        self.heads = nn.ModuleList(nn.Linear(width, len(classes)) for classes in tasks.classes.values())

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features (n, d) to the logits of each task (n, classes)."""
        shared = self.trunk((x - self.mean) / self.std)  # (n, width)
        return [head(shared) for head in self.heads]

    @torch.inference_mode()
    def probabilities(self, features: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Of each class, by the name of the task: (n, f) -> (n, c) float64 each, rows that add up to 1."""
        found = self.eval()(torch.from_numpy(np.array(features, np.float32)))
        if not all(bool(torch.isfinite(x).all()) for x in found):
            raise InputError("features give probabilities that are not finite; expected numbers")
        return {name: torch.softmax(x.double(), 1).numpy() for name, x in zip(self.tasks, found, strict=True)}


def _sides(
    target: NDArray[np.int64], codes: NDArray[np.int64], classes: int
) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.int64], int]]:
    """Of each class of a task, of two the second only: its number, where the task is known, which of these are of it.

    Last comes the smaller number of groups that have it, or do not.
    """
    known = np.flatnonzero(target != UNKNOWN)
    for k in range(int(classes == 2), classes):
        is_it = (target[known] == k).astype(np.int64)
        yield k, known, is_it, min(len(np.unique(codes[known][is_it == value])) for value in (0, 1))


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """With the index "task: class"."""
    return table.set_index((table["task"] + ": " + table["class"]).rename("label"))
