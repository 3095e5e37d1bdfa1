"""How good a classifier is, with its uncertainty.

Counts, curves, intervals that resample patients, operating points, calibration, and whether it helps anybody. Only
NumPy and SciPy, no network.
"""

from fracturelib.metrics.bootstrap import group_bootstrap, paired_group_bootstrap
from fracturelib.metrics.calibration import calibration_error, calibration_line, fit_calibrator, log_loss
from fracturelib.metrics.classification import confusion_at, roc_auc, sweep
from fracturelib.metrics.decision_curve import net_benefit, predictive_values, prior_shift
from fracturelib.metrics.evaluate import evaluate
from fracturelib.metrics.intervals import wilson_interval
from fracturelib.metrics.operating_point import choose_threshold, threshold_for_sensitivity, threshold_youden
from fracturelib.metrics.summary import (
    by_subgroup,
    comparison_table,
    operating_point_table,
    subgroup_table,
)

__all__ = [
    "by_subgroup",
    "calibration_error",
    "calibration_line",
    "choose_threshold",
    "comparison_table",
    "confusion_at",
    "evaluate",
    "fit_calibrator",
    "group_bootstrap",
    "log_loss",
    "net_benefit",
    "operating_point_table",
    "paired_group_bootstrap",
    "predictive_values",
    "prior_shift",
    "roc_auc",
    "subgroup_table",
    "sweep",
    "threshold_for_sensitivity",
    "threshold_youden",
    "wilson_interval",
]
