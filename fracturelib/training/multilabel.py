"""Several labels from one network: heads on a shared trunk, and a loss to which an unknown label says nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fracturelib._io.files import InputError
from fracturelib.metrics.bootstrap import Groups, draws, group_bootstrap, group_codes, percentile_limits, weighted
from fracturelib.metrics.classification import roc_auc

UNKNOWN = -1
COLUMNS = ["task", "class", "images", "with", "auc", "low", "high", "note"]


@dataclass(frozen=True)
class Task:
    """One question about an image: the column that holds the answer, and the possible answers as text, two or more."""

    name: str
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.classes, str) or len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise InputError(f"task {self.name!r} has the classes {self.classes!r}; expected two or more that differ")


def answers(frame: pd.DataFrame, column: str) -> "pd.Series[str]":
    """A column as text, missing where it is missing or empty; whole numbers without a point, so that 0.0 is "0"."""
    if column not in frame:
        raise InputError(f"frame has no column {column!r}; it has {', '.join(map(str, frame.columns))}")
    text = frame[column].astype("string").str.strip().str.replace(r"^(-?\d+)\.0+$", r"\1", regex=True)
    return text.replace({"": pd.NA, "True": "1", "False": "0"})


def find_tasks(frame: pd.DataFrame, columns: Sequence[str], *, least: int = 20) -> list[Task]:
    """What the training images can teach: of each column, the answers that `least` images or more have."""
    tasks = []
    for column in [c for c in columns if c in frame]:
        counts = answers(frame, column).value_counts()
        classes = tuple(sorted(str(c) for c in counts[counts >= least].index))
        tasks += [Task(column, classes)] if len(classes) > 1 else []
    return tasks


def encode_labels(frame: pd.DataFrame, tasks: Sequence[Task], *, others: str = "error") -> NDArray[np.int64]:
    """Which class of each task an image has: (n, t) int64, -1 where it is unknown because the value is missing.

    A value that is none of the classes is an error, or, where `others` is "unknown", unknown too.
    """
    if others not in ("error", "unknown"):
        raise InputError(f"others is {others!r}; expected 'error' or 'unknown'")
    targets = np.full((len(frame), len(_checked(tasks))), UNKNOWN, np.int64)
    for t, task in enumerate(tasks):
        text = answers(frame, task.name)
        targets[:, t] = pd.Index(task.classes).get_indexer(pd.Index(text))
        odd = text[text.notna().to_numpy() & (targets[:, t] == UNKNOWN)]
        if len(odd) and others == "error":
            raise InputError(f"column {task.name!r} has the value {odd.iloc[0]!r}; expected {', '.join(task.classes)}")
    return targets


def masked_cross_entropy(logits: Sequence[Tensor], targets: Tensor) -> Tensor:
    """The sum over tasks of the mean cross-entropy of the images whose label is known: t times (n, c), (n, t) -> ().

    An image with -1 counts nothing in its task's loss and gets no gradient; a task of which no image is known gives 0.
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

    def __init__(self, features: int, tasks: Sequence[Task], *, width: int = 64, drop: float = 0.5) -> None:
        super().__init__()
        self.tasks = _checked(tasks)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.trunk = nn.Sequential(nn.Dropout(drop), nn.Linear(features, width), nn.ReLU(), nn.Dropout(drop))
        self.heads = nn.ModuleList(nn.Linear(width, len(task.classes)) for task in tasks)

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
        return {t.name: torch.softmax(x.double(), 1).numpy() for t, x in zip(self.tasks, found, strict=True)}


def fit_several(
    features: NDArray[np.float32], targets: NDArray[np.int64], tasks: Sequence[Task], *,
    width: int = 64, epochs: int = 40, batch: int = 64,
    learning_rate: float = 1e-3, weight_decay: float = 0.1, seed: int = 0,
) -> SeveralHeads:  # fmt: skip
    """Trunk and heads together, by the masked loss and AdamW: (n, f), (n, t). The same seed gives the same network."""
    if targets.shape != (len(features), len(tasks)) or not (targets != UNKNOWN).any(axis=0).all():
        expected = f"({len(features)}, {len(tasks)}) with a known image in each column"
        raise InputError(f"targets has shape {targets.shape}, {(targets != UNKNOWN).sum()} known; expected {expected}")
    x, y = torch.from_numpy(np.array(features, np.float32)), torch.from_numpy(np.array(targets, np.int64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SeveralHeads(x.shape[1], tasks, width=width)
        model.mean, model.std = x.mean(0), x.std(0, correction=0).clamp(min=1e-3)
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        for _ in range(epochs):
            for images in torch.randperm(len(x)).split(batch):
                loss = masked_cross_entropy(model(x[images]), y[images])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return model.eval()


def judged_labels(
    probabilities: Mapping[str, NDArray[np.float64]], targets: NDArray[np.int64], tasks: Sequence[Task],
    group: Groups | None = None, *, least: int = 10, n: int = 500, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """AUC of each class against the rest, on the images where it is known, with an interval by groups.

    Columns: task, class, images (known), with (of the class), auc, low, high, note. A task of two classes has one row,
    of the second. Where fewer than `least` groups have the class, or do not, nothing is claimed: NaN, and a note.
    """
    codes, rows = group_codes(group, len(targets)), []
    for t, task in enumerate(tasks):
        known = targets[:, t] != UNKNOWN
        for k in range(int(len(task.classes) == 2), len(task.classes)):
            is_it = (targets[known, t] == k).astype(np.int64)
            few = min(len(np.unique(codes[known][is_it == value])) for value in (0, 1))
            row = (task.name, task.classes[k], len(is_it), int(is_it.sum()))
            if few < max(least, 1):
                rows.append((*row, *[float("nan")] * 3, f"{few} groups on one side: nothing is claimed"))
                continue
            found = group_bootstrap(roc_auc, is_it, probabilities[task.name][known, k], codes[known], n=n, seed=seed)
            rows.append((*row, found.value, found.low, found.high, found.undefined or found.note))
    return pd.DataFrame(rows, columns=COLUMNS)


def label_table(judged: pd.DataFrame) -> pd.DataFrame:
    """A table of `judged_labels`, to be read: label, images with it, AUC with its interval, and what is to be said."""
    rows = []
    for row in judged.to_dict("records"):
        area = "-" if np.isnan(row["auc"]) else f"{row['auc']:.2f}"
        if np.isfinite(row["low"]):
            area += f" ({row['low']:.2f} to {row['high']:.2f})"
        label = f"{row['task']}: {row['class']}"
        rows.append((label, f"{row['with']} of {row['images']}", area, (row["note"] or "").split(" of ")[0]))
    return pd.DataFrame(rows, columns=["label", "images with it", "AUC", "remark"]).set_index("label")


def compared_tasks(
    a: Mapping[str, NDArray[np.float64]], b: Mapping[str, NDArray[np.float64]],
    targets: NDArray[np.int64], tasks: Sequence[Task],
    group: Groups | None = None, *, least: int = 10, n: int = 500, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """AUC of two networks, `a` minus `b`, the mean over the answers of each task, paired and with intervals by groups.

    Columns: task, class (how many answers the mean is of), auc (the difference), low, high. Answers that fewer than
    `least` groups have, or do not have, are left out; a task of which none is left has NaN.
    """
    codes, rows = group_codes(group, len(targets)), []
    for t, task in enumerate(tasks):
        known = np.flatnonzero(targets[:, t] != UNKNOWN)
        pairs = []
        for k in range(int(len(task.classes) == 2), len(task.classes)):
            is_it = (targets[known, t] == k).astype(np.int64)
            if min(len(np.unique(codes[known][is_it == value])) for value in (0, 1)) >= max(least, 1):
                pairs.append([weighted(roc_auc, is_it, np.asarray(p[task.name][known, k], float)) for p in (a, b)])
        if not pairs:
            rows.append((task.name, "none", *[float("nan")] * 3))
            continue
        each = np.ones(len(known), np.int64)
        samples = [each, *(w[known] for w in draws(codes, n, seed))]
        values = np.array([np.mean([first(w) - second(w) for first, second in pairs]) for w in samples])
        drawn = values[1:][np.isfinite(values[1:])]
        count = "1 answer" if len(pairs) == 1 else f"{len(pairs)} answers"
        rows.append((task.name, count, values[0], *percentile_limits(drawn, 0.95)))
    return pd.DataFrame(rows, columns=["task", "class", "auc", "low", "high"])


def leaning(
    score: NDArray[np.float64], targets: NDArray[np.int64], tasks: Sequence[Task],
    group: Groups | None = None, *, n: int = 500,
) -> pd.DataFrame:  # fmt: skip
    """Where nothing is broken, how well the fracture score tells each other label apart: a table of `judged_labels`.

    The first task is the fracture; only images that are known to have none are judged. At 0.5 the score does not care.
    """
    sound = targets[:, 0] == 0
    instead = {task.name: np.tile(score[sound, None], len(task.classes)) for task in tasks[1:]}
    return judged_labels(instead, targets[sound, 1:], tasks[1:], group_codes(group, len(targets))[sound], n=n)


def within_labels(
    score: NDArray[np.float64], targets: NDArray[np.int64], tasks: Sequence[Task],
    group: Groups | None = None, *, n: int = 500,
) -> pd.DataFrame:  # fmt: skip
    """AUC for fractures among the images of one answer, where that answer cannot help: a table of `judged_labels`."""
    codes, parts = group_codes(group, len(targets)), []
    both = np.stack([1 - score, score], axis=1)
    for t, task in enumerate(tasks[1:], start=1):
        for k, answer in enumerate(task.classes):
            here = targets[:, t] == k
            part = judged_labels({tasks[0].name: both[here]}, targets[here, :1], tasks[:1], codes[here], n=n)
            parts.append(part.assign(**{"task": task.name, "class": answer}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _checked(tasks: Sequence[Task]) -> tuple[Task, ...]:
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise InputError(f"tasks are {', '.join(names) or 'none'}; expected at least one, each with a name of its own")
    return tuple(tasks)
