"""Intervals of figures that no bootstrap sample changes: all of ten is not all of a thousand."""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from fracturelib.metrics._checks import require_counts, require_level

Limits = tuple[float, float]


def wilson_limits(successes: int, n: int, *, level: float = 0.95) -> Limits:
    """Wilson's score limits of a proportion (Wilson 1927, doi 10.1080/01621459.1927.10502953)."""
    require_level(level)
    require_counts(successes, n)
    found = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def newcombe_auc_limits(auc: float, fractured: int, negative: int, *, level: float = 0.95) -> Limits:
    """Limits of an AUC that has any value, 0 and 1 among them: Newcombe's method 5.

    Those AUCs from which the one that was found is just as far as chance takes it, with the variance of Hanley & McNeil
    (1982, doi 10.1148/radiology.143.1.7063747) at the limit itself, so that it is not 0 for a perfect ranking
    (Newcombe 2006, doi 10.1002/sim.2324).

    Parameters
    ----------
    auc : float
    fractured, sound : int
        How many there are of each class that are independent of each other, at least 1.
    """
    require_level(level)
    z = float(norm.ppf((1 + level) / 2))
    more = (fractured + negative) / 2 - 1

    def beyond(limit: float) -> float:
        spread = limit * (1 - limit) / (fractured * negative)
        spread *= 1 + more * ((1 - limit) / (2 - limit) + limit / (1 + limit))
        return (auc - limit) ** 2 - z**2 * spread

    low = 0.0 if auc <= 0 else float(brentq(beyond, 0.0, min(auc, 1 - 1e-12)))
    high = 1.0 if auc >= 1 else float(brentq(beyond, max(auc, 1e-12), 1.0))
    return low, high


def added_limits(values: Limits, first: Limits, second: Limits) -> Limits:
    """Limits of a sum of two figures from the limits of each, taken as independent: square and add.

    Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I; Zou & Donner 2008,
    doi 10.1002/sim.3095. Of two figures of the same images that rise together it is too wide rather than too narrow.
    """
    (a, b), total = values, sum(values)
    below, above = np.hypot(a - first[0], b - second[0]), np.hypot(first[1] - a, second[1] - b)
    return float(total - below), float(total + above)


def difference_limits(a: float, of_a: Limits, b: float, of_b: Limits) -> Limits:
    """Limits of a - b from those of each; see `added_limits`."""
    return added_limits((a, -b), of_a, (-of_b[1], -of_b[0]))


def f1_from(jaccard: float) -> float:
    """F1 from the proportion TP / (TP + FP + FN), which is a proportion (Hand et al. 2021)."""
    return 2 * jaccard / (1 + jaccard)
