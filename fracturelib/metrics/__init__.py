"""How good a classifier is, with its uncertainty.

Counts, curves, intervals that resample patients, operating points, calibration, and whether it helps anybody. Only
NumPy and SciPy, no network.
"""

from fracturelib.metrics.bootstrap import group_bootstrap, paired_group_bootstrap
from fracturelib.metrics.calibration import calibration_error, calibration_line, fit_calibrator
from fracturelib.metrics.classification import confusion_at, roc_auc, sweep
from fracturelib.metrics.decision_curve import net_benefit, prior_shift
from fracturelib.metrics.evaluate import evaluate
from fracturelib.metrics.intervals import wilson_interval
from fracturelib.metrics.operating_point import choose_threshold
from fracturelib.metrics.summary import by_subgroup

__all__ = [
    "by_subgroup",
    "calibration_error",
    "calibration_line",
    "choose_threshold",
    "confusion_at",
    "evaluate",
    "fit_calibrator",
    "group_bootstrap",
    "net_benefit",
    "paired_group_bootstrap",
    "prior_shift",
    "roc_auc",
    "sweep",
    "wilson_interval",
]
