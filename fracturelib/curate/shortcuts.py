"""How well could one guess the label without looking for a fracture? Each plain variable, and all of them together."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedGroupKFold

from fracturelib.metrics.bootstrap import draws, group_codes, percentile_limits, unvarying, weighted
from fracturelib.metrics.classification import roc_auc
from fracturelib.metrics.intervals import NAN, Interval
from fracturelib.metrics.limits import newcombe_auc_limits

FOLDS, RESAMPLES, BINS = 5, 500, 12
SUSPECT = 0.6  # a lower limit above this is reported as a finding
TOGETHER = "all together"
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Shortcut:
    """A variable that should know nothing of a fracture.

    Attributes
    ----------
    name : str
    kind : str
        "picture" (size, file, grey values), "order" (number in the file's name), "metadata" or "all".
    auc : Interval
        Cross-validated by groups: the mean over folds; 95 % by drawing whole groups.
    images : int
        That have a value.
    describes : bool
        Whether it is only filled in for one class: then it describes the fracture, and is nothing to guess from.
    """

    name: str
    kind: str
    auc: Interval
    images: int
    describes: bool = False

    @property
    def suspect(self) -> bool:
        """Whether the label can be guessed from it, beyond doubt."""
        return not self.describes and self.auc.low > SUSPECT


def number_in_name(names: Sequence[str]) -> Scores:
    """Rank of each image by the numbers in its name, letters aside: (n,) float64; NaN where there is none."""
    keys = [tuple(int(part) for part in re.findall(r"[0-9]{1,15}", name.rsplit("/", 1)[-1])) for name in names]
    rank = {key: i for i, key in enumerate(sorted(set(keys) - {()}))}
    return np.array([rank.get(key, NAN) for key in keys], dtype=np.float64)


def find_shortcuts(
    variables: pd.DataFrame, kinds: Sequence[str], label: Sequence[int], group: Sequence[object], *, seed: int = 0
) -> tuple[Shortcut, ...]:
    """Cross-validated AUC of each variable and of all together, worst first.

    Parameters
    ----------
    variables : DataFrame
        (n, k), numbers or text; missing values are values, too.
    kinds : sequence of str
        Of each column.
    label : (n,) of 0 and 1
    group : (n,)
        Images of one patient, and copies of one image, share a group, and a fold.
    seed : int
        Of folds and bootstrap.
    """
    y, codes = np.asarray(label, dtype=np.int64), group_codes(np.asarray(group, dtype=object), len(label))
    folds = _folds(y, codes, seed)
    if not folds:
        return ()
    found, usable = [], []
    for column, kind in zip(variables.columns, kinds, strict=True):
        values = variables[column]
        if values.nunique(dropna=False) < 2 or (not _is_number(values) and values.nunique() > max(20, len(y) // 10)):
            continue
        auc = _cross_validated(_guess_by_bins, _coded(values)[:, None], y, codes, folds, seed)
        describes = kind == "metadata" and _one_sided(values, y)
        found.append(Shortcut(str(column), kind, auc, int(values.notna().sum()), describes))
        if not describes:
            usable.append(_coded(values))
    if len(usable) > 1:
        auc = _cross_validated(_guess_by_trees, np.column_stack(usable), y, codes, folds, seed)
        found.append(Shortcut(TOGETHER, "all", auc, len(y)))
    return tuple(sorted(found, key=lambda s: (s.describes, -np.nan_to_num(s.auc.value), s.name)))


def _folds(y: NDArray[np.int64], codes: NDArray[np.int64], seed: int) -> list[tuple[NDArray, NDArray]]:
    """Train and test rows; none if a class has too few groups to be in each part."""
    fewest = min((len(set(codes[y == c].tolist())) for c in (0, 1)), default=0)
    if fewest < 2 * FOLDS:
        return []
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(y)), y, codes))


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values)


def _coded(values: pd.Series) -> Scores:
    if _is_number(values):
        return values.to_numpy(dtype=np.float64, na_value=NAN)
    codes = pd.factorize(values, sort=True)[0].astype(np.float64)
    return np.where(codes < 0, NAN, codes)


def _one_sided(values: pd.Series, y: NDArray[np.int64]) -> bool:
    empty = values.isna() | (values.astype(str).str.strip() == "")
    if _is_number(values) and values.nunique() > 5:
        empty |= values == 0  # a measured size of nothing, not a yes or no
    filled = [float((~empty)[y == c].mean()) for c in (0, 1)]
    return min(filled) < 0.02 and max(filled) > 0.5


Guess = Callable[[Scores, NDArray[np.int64], Scores], Scores]


def _guess_by_bins(x: Scores, y: NDArray[np.int64], other: Scores) -> Scores:
    """The proportion of fractured images among those of the same value, or of the same twelfth."""
    known = x[np.isfinite(x)]
    values = np.unique(known)
    edges = values if len(values) <= 20 else np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))

    def cell(v: Scores) -> NDArray[np.int64]:
        return np.where(np.isfinite(v), np.searchsorted(edges, v[:, 0] if v.ndim > 1 else v, "left") + 1, 0)

    ours = cell(x[:, 0])
    count = np.bincount(ours, minlength=len(edges) + 2)
    fractured = np.bincount(ours, weights=y, minlength=len(edges) + 2)
    return ((fractured + 2 * y.mean()) / (count + 2))[cell(other[:, 0])]


def _guess_by_trees(x: Scores, y: NDArray[np.int64], other: Scores) -> Scores:
    trees = HistGradientBoostingClassifier(max_iter=60, max_depth=3, learning_rate=0.1, random_state=0)
    return trees.fit(x, y).predict_proba(other)[:, 1]


def _cross_validated(
    guess: Guess, x: Scores, y: NDArray[np.int64], codes: NDArray[np.int64], folds: list, seed: int
) -> Interval:
    """Mean of the folds' AUCs. Pooled, the scores of different folds would not be comparable, and biased below 0.5."""
    parts = []
    for train, test in folds:
        score = guess(x[train], y[train], x[test])
        parts.append((test, weighted(roc_auc, y[test], score)))

    def mean(w: NDArray[np.int64]) -> float:
        aucs = np.array([of(w[test]) for test, of in parts])
        return float(np.nanmean(aucs)) if np.isfinite(aucs).any() else NAN

    value = mean(np.ones(len(y), np.int64))
    drawn = np.array([mean(w) for w in draws(codes, RESAMPLES, seed)])
    drawn = drawn[np.isfinite(drawn)]
    low, high = percentile_limits(drawn, 0.95) if len(drawn) else (NAN, NAN)
    if unvarying(drawn, value):  # as a perfect one is
        low, high = newcombe_auc_limits(value, *(len(np.unique(codes[y == label])) for label in (1, 0)))
    return Interval(value, low, high, 0.95, "mean of folds, group bootstrap", len(drawn))
