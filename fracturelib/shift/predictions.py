"""A frozen classifier's scores at one hospital: what they are worth, whether they shifted, what labels would repair."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp

from fracturelib._io.files import InputError
from fracturelib.metrics._checks import require_resamples
from fracturelib.metrics.bootstrap import Metric, group_bootstrap, group_codes, paired_group_bootstrap, rate_at
from fracturelib.metrics.calibration import calibration_error, calibration_line, fit_calibrator, log_loss
from fracturelib.metrics.classification import Labels, Scores, checked_probabilities, confusion_at, roc_auc
from fracturelib.metrics.operating_point import threshold_for_sensitivity


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a frozen classifier says of the images of one hospital, and what is known of them.

    Attributes
    ----------
    labels : (n,) int64
        Of 0 and 1.
    scores : (n,) float64
        In 0..1.
    groups : (n,)
        The patient of each image.

    Raises
    ------
    InputError
        If there are no images, lengths differ, or labels and scores are not what they should be.

    Examples
    --------
    >>> labels, scores = np.array([0, 1, 0, 1]), np.array([0.2, 0.9, 0.4, 0.3])
    >>> there = Predictions(labels, scores, np.array(["A", "A", "B", "B"]))
    >>> there.evaluate(0.5).set_index("metric")["value"]["sensitivity"]
    np.float64(0.5)
    >>> few, rest = there.split(1)
    >>> set(there.groups[few]) & set(there.groups[rest])
    set()
    """

    labels: Labels
    scores: Scores
    groups: NDArray[Any]

    def __post_init__(self) -> None:
        labels, scores = checked_probabilities(self.labels, self.scores)
        if self.groups is None:
            raise InputError("groups is None; expected the patient of each image")
        group_codes(self.groups, len(labels))  # is an error where they are not as many
        # Columns of a table keep the names of their rows, and are not asked by place.
        for name, values in (("labels", labels), ("scores", scores), ("groups", np.asarray(self.groups, object))):
            object.__setattr__(self, name, values)

    def some(self, which: ArrayLike) -> "Predictions":
        """Only some of them: their places (k,), or (n,) bool."""
        chosen = places_of(which, len(self.labels))
        return Predictions(self.labels[chosen], self.scores[chosen], self.groups[chosen])

    # What they are worth
    def evaluate(self, threshold: float, *, n: int = 500, seed: int = 0) -> pd.DataFrame:
        """The classifier at this hospital, with 95 % intervals over patients.

        Parameters
        ----------
        threshold : float
        n, seed
            Of the bootstrap. Slope and intercept have Wald intervals, robust to images of one patient being alike.

        Returns
        -------
        DataFrame
            metric (AUC, sensitivity, specificity, ECE, slope, intercept), value, low, high.
        """
        metrics: dict[str, Metric] = {
            "AUC": roc_auc,
            "sensitivity": rate_at("sensitivity", threshold),
            "specificity": rate_at("specificity", threshold),
            "ECE": calibration_error,
        }
        rows: list[tuple[str, float, float, float]] = []
        for name, metric in metrics.items():
            found = group_bootstrap(metric, self.labels, self.scores, self.groups, n=n, seed=seed)
            rows.append((name, found.value, found.low, found.high))
        line = calibration_line(self.labels, self.scores, group=self.groups)
        rows.append(("slope", line.slope, line.slope_low, line.slope_high))
        rows.append(("intercept", line.intercept, line.intercept_low, line.intercept_high))
        return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])

    def changes(
        self, after: Mapping[str, "Predictions"], threshold: float, *, n: int = 500, seed: int = 0
    ) -> pd.DataFrame:
        """What each change does to AUC, sensitivity and specificity of the same images: paired, 95 % over patients.

        Parameters
        ----------
        after : mapping of str to Predictions
            Name of a change -> predictions for the same images under it.
        threshold : float
            The same before and after.

        Returns
        -------
        DataFrame
            change, metric, value (the difference: after - before), low, high, certain (the interval leaves out 0).
        """
        metrics: dict[str, Metric] = {"AUC": roc_auc}
        metrics |= {name: rate_at(name, threshold) for name in ("sensitivity", "specificity")}
        rows = []
        for change, there in after.items():
            if not (np.array_equal(there.labels, self.labels) and np.array_equal(there.groups, self.groups)):
                raise InputError(f"after[{change!r}] has other labels or patients; expected those of the same images")
            for name, metric in metrics.items():
                scores = there.scores, self.scores
                found = paired_group_bootstrap(metric, self.labels, *scores, self.groups, n=n, seed=seed)
                certain = found.low > 0 or found.high < 0
                rows.append((change, name, found.difference, found.low, found.high, certain))
        return pd.DataFrame(rows, columns=["change", "metric", "value", "low", "high", "certain"])

    # Whether they shifted, without labels
    def permutation_test(self, other: "Predictions", *, n: int = 999, seed: int = 0) -> float:
        """P value of the widest gap between the distributions of scores (Kolmogorov & Smirnov); at least 1 / (n + 1).

        Whole patients are dealt out to the two hospitals anew. The textbook's p value takes images as independent, and
        is too small where patients have several. Patients of one hospital are not those of the other, whatever they
        are called.
        """
        require_resamples(n)
        codes_a, codes_b = (group_codes(p.groups, len(p.scores)) for p in (self, other))
        here = int(codes_a.max()) + 1
        codes, scores = np.concatenate([codes_a, codes_b + here]), np.concatenate([self.scores, other.scores])
        observed, rng = _widest_gap(self.scores, other.scores), np.random.default_rng(seed)
        groups, reached = int(codes.max()) + 1, 0
        for _ in range(n):
            dealt = np.zeros(groups, bool)
            dealt[rng.permutation(groups)[:here]] = True
            reached += _widest_gap(scores[dealt[codes]], scores[~dealt[codes]]) >= observed - 1e-12
        return (reached + 1) / (n + 1)

    # What a few labels repair
    def split(self, labelled: int, *, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Images to be labelled for a repair and images to judge it by: whole patients, so that none is in both.

        Patients are drawn at random until there are at least `labelled` images.

        Returns
        -------
        repair, judge : (k,), (n - k,) int64
            Rising.
        """
        codes = group_codes(self.groups, len(self.groups))
        order = np.random.default_rng(seed).permutation(int(codes.max()) + 1)
        counted = np.cumsum(np.bincount(codes)[order])
        if not 1 <= labelled <= counted[-1]:
            raise InputError(f"labelled is {labelled}; expected 1..{counted[-1]}")
        chosen = order[: int(np.searchsorted(counted, labelled)) + 1]
        drawn = np.isin(codes, chosen)
        if drawn.all():
            raise InputError(f"labelled is {labelled}: no patient is left to judge by; expected fewer")
        return np.flatnonzero(drawn), np.flatnonzero(~drawn)

    def _splits(self, images: int, draws: int) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Seed, repair and judge of each draw that has both classes in both parts."""
        for seed in range(draws):
            few, rest = self.split(images, seed=seed)
            if min(np.ptp(self.labels[few]), np.ptp(self.labels[rest])) > 0:
                yield seed, few, rest

    def few_labels(self, sizes: Sequence[int], *, target: float = 0.9, draws: int = 200) -> pd.DataFrame:
        """What a new threshold and a new calibration are worth, by how many images were labelled for them.

        Each draw labels other patients, and is judged on all those that it did not label. Draws without both classes in
        both parts are left out.

        Parameters
        ----------
        sizes : sequence of int
            How many images are labelled.
        target : float
            Sensitivity that the new threshold has to reach on the labelled images.
        draws : int
            For each size; draw k has seed k.

        Returns
        -------
        DataFrame
            labelled (the size), seed, fractured (among the labelled), threshold, sensitivity, specificity, and the log
            loss of the scores as they are ("none"), with "intercept" and with "platt".
        """
        labels, scores, methods = self.labels, self.scores, ("intercept", "platt")
        rows = []
        for size in sizes:
            for seed, few, rest in self._splits(size, draws):
                threshold = threshold_for_sensitivity(labels[few], scores[few], target)
                at = confusion_at(labels[rest], scores[rest], threshold)
                mended = [fit_calibrator(labels[few], scores[few], method)(scores[rest]) for method in methods]
                losses = [log_loss(labels[rest], s) for s in (scores[rest], *mended)]
                found = (threshold, at.sensitivity, at.specificity, *losses)
                rows.append((size, seed, int(labels[few].sum()), *found))
        names = ["labelled", "seed", "fractured", "threshold", "sensitivity", "specificity", "none", *methods]
        return pd.DataFrame(rows, columns=names)

    def judge_over_draws(
        self, labelled: int, *, threshold: float | None = None, target: float = 0.9, draws: int = 100
    ) -> pd.DataFrame:
        """AUC, sensitivity, specificity and ECE on images that were not labelled, over many draws of those that were.

        Each draw labels other patients. Draws without both classes in both parts are left out.

        Parameters
        ----------
        labelled : int
            How many images are labelled.
        threshold : float, optional
            A frozen one: the labels are not used. If not given, they repair: all logits are shifted by one number, and
            the threshold is the one that finds the proportion `target` of the labelled fractures.
        draws : int
            Draw k has seed k.

        Returns
        -------
        DataFrame
            metric, value (the middle draw), low, high (where the middle 95 % of the draws lie).
        """
        rows = []
        for _, few, rest in self._splits(labelled, draws):
            scores, at = self.scores, threshold
            if at is None:
                scores = fit_calibrator(self.labels[few], scores[few], "intercept")(scores)
                at = threshold_for_sensitivity(self.labels[few], scores[few], target)
            y, s = self.labels[rest], scores[rest]
            found = confusion_at(y, s, at)
            rows.append((roc_auc(y, s), found.sensitivity, found.specificity, calibration_error(y, s)))
        table = pd.DataFrame(rows, columns=["AUC", "sensitivity", "specificity", "ECE"], dtype=float)
        limits = table.quantile([0.5, 0.025, 0.975]).T.set_axis(["value", "low", "high"], axis=1)
        return limits.rename_axis("metric").reset_index()


def places_of(which: ArrayLike, images: int) -> NDArray[np.int64]:
    """Which of so many images are meant, by places (k,) or (n,) bool: their places."""
    chosen = np.asarray(which)
    if chosen.ndim == 1 and chosen.dtype == bool and len(chosen) == images:
        return np.flatnonzero(chosen)
    whole = chosen.ndim == 1 and (chosen.dtype.kind in "iu" or not chosen.size)
    if not whole or (chosen.size and not (-images <= chosen.min() and chosen.max() < images)):
        raise InputError(
            f"which is {chosen.dtype} of shape {chosen.shape}; expected places below {images}, or as many bool"
        )
    return chosen.astype(np.int64)


def _widest_gap(a: Scores, b: Scores) -> float:
    return float(ks_2samp(a, b, method="asymp").statistic)
