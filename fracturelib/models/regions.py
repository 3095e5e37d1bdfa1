"""Thresholds by region: which part of the body an image shows, as the network judges it, moves the threshold.

Where one region's images look more suspicious than another's, one threshold for all calls most of the one fractured and
misses fractures of the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

FEWEST = 10  # fractures, and unbroken images, that a region has which has a threshold of its own
SHARE = 0.5  # of the way from one threshold for all to where unbroken images of every region lie alike
OTHER = "other"
STIFFNESS = 0.01  # C of the regression that judges the region


@dataclass(frozen=True)
class Regions:
    """How a network judges the region, and how far each region's threshold lies from that for all.

    Attributes
    ----------
    names : tuple of str
        The regions with a threshold of their own, and "other".
    shifts : tuple of float
        Of each, in logits; added to the threshold. That of "other" is 0.
    weights : (d, r) float32
        Of a multinomial logistic regression on the features that `familiarity.collected_features` gives.
    added : (r,) float32
    """

    names: tuple[str, ...]
    shifts: tuple[float, ...]
    weights: NDArray[np.float32]
    added: NDArray[np.float32]

    @property
    def by_name(self) -> dict[str, float]:
        """What is added to each region's threshold, in logits."""
        return dict(zip(self.names, self.shifts, strict=True))

    def values(self) -> dict[str, Any]:
        """As a checkpoint keeps it, in plain values."""
        return {
            "names": list(self.names), "shifts": list(self.shifts),
            "weights": self.weights.tolist(), "added": self.added.tolist(),
        }  # fmt: skip

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "Regions":
        """As it was kept."""
        weights, added = (np.array(values[name], np.float32) for name in ("weights", "added"))
        return cls(tuple(values["names"]), tuple(values["shifts"]), weights, added)

    def judged(self, features: NDArray[np.floating]) -> NDArray[np.int64]:
        """The region of each image, an index of `names`: (n, d) -> (n,)."""
        return np.argmax(features @ self.weights + self.added, axis=1)

    def thresholds(self, threshold: float, region: NDArray[np.int64]) -> NDArray[np.float64]:
        """The threshold for each image, of its `judged` region: (n,) -> (n,); an infinite one stays so.

        Examples
        --------
        >>> made = Regions(("hand", "other"), (1.0, 0.0), np.zeros((3, 2)), np.zeros(2))
        >>> made.thresholds(0.2, np.array([0, 1])).round(3)
        array([0.405, 0.2  ])
        """
        if not np.isfinite(threshold):
            return np.full(len(region), threshold)
        moved = expit(logit(threshold) + np.array(self.shifts)[region])
        return moved * (1 - 1e-12) if 0 < threshold < 1 else moved  # there and back, a score must not fall below itself


def shifts_of(evidence: NDArray[np.floating], labels: NDArray[np.int64], region: Sequence[object]) -> dict[str, float]:
    """How far the threshold of each region moves, by the evidence (n,) in images that the network did not learn from.

    `SHARE` of how far the evidence in the region's unbroken images lies, on average, above that in all of them. Only
    of regions with `FEWEST` fractures and as many unbroken images; one that is called "other" is left with the rest.
    """
    table = pd.DataFrame({"evidence": evidence, "label": labels, "region": pd.Series(region, dtype="string")})
    unbroken, fewest = table[table["label"] == 0], table.groupby(["region", "label"]).size().unstack(fill_value=0)
    means = unbroken.groupby("region")["evidence"].mean() - unbroken["evidence"].mean()
    known = fewest.reindex(columns=[0, 1], fill_value=0).min(axis=1) >= FEWEST
    return {str(r): SHARE * float(means[r]) for r in known.index[known] if r != OTHER}


def fit_regions(features: NDArray[np.floating], region: Sequence[object], shifts: dict[str, float]) -> Regions:
    """From features (n, d) of images whose regions are known, (n,), and the shifts of those that have one."""
    known = pd.Series(region, dtype="string")
    told = known.where(known.isin(list(shifts)), OTHER).to_numpy(str)
    centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
    if len(set(told)) == 1:
        name = str(told[0])
        none = np.zeros((len(centre), 1), np.float32)
        return Regions((name,), (shifts.get(name, 0.0),), none, np.zeros(1, np.float32))
    line = LogisticRegression(C=STIFFNESS, max_iter=1000).fit((features - centre) / scale, told)
    weights, added = line.coef_, line.intercept_
    if len(line.classes_) == 2:  # scikit-learn keeps one row for both
        weights, added = np.stack([-weights[0], weights[0]]) / 2, np.array([-added[0], added[0]]) / 2
    weights = weights / scale
    return Regions(
        tuple(map(str, line.classes_)), tuple(shifts.get(name, 0.0) for name in map(str, line.classes_)),
        np.asarray(weights.T, np.float32), np.asarray(added - weights @ centre, np.float32),
    )  # fmt: skip
