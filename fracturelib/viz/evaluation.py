"""Figures of judgement: bands, calibration, net benefit, predictive values, and what is left to people."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from fracturelib.metrics.bootstrap import Groups, curve_bands
from fracturelib.metrics.calibration import reliability
from fracturelib.metrics.classification import average_precision, confusion_at, roc_auc
from fracturelib.metrics.decision_curve import selective_prediction
from fracturelib.viz.figures import BLUE, GREY, ORANGE, RED, figure, pr_curve_on, roc_curve_on

# Two models are told apart by colour and by line.
MODELS = ((BLUE, "-"), (RED, "--"))


def bands_plot(
    y: ArrayLike, score: ArrayLike, group: Groups | None = None, threshold: float | None = None, *, n: int = 500
) -> Figure:
    """ROC and precision-recall with 95 % bands by groups and the operating point: (n,) labels, (n,) scores."""
    made, axes = figure(10, 4.6, columns=2)
    for ax, kind, draw in zip(axes, ("roc", "pr"), (roc_curve_on, pr_curve_on), strict=True):
        band = curve_bands(y, score, group, kind=kind, n=n)
        ax.fill_between(
            band["x"], band["low"], band["high"], color=BLUE, alpha=0.15, linewidth=0, label="95 % by groups"
        )
        draw(ax, y, score, threshold)
    return made


def compared_plot(y: ArrayLike, scores: Mapping[str, ArrayLike], thresholds: Mapping[str, float]) -> Figure:
    """ROC and precision-recall of two models on the same images, each with its operating point."""
    made, (left, right) = figure(10, 4.6, columns=2)
    for (name, score), (colour, style) in zip(scores.items(), MODELS, strict=False):
        roc, pr = curve_bands(y, score, kind="roc", n=1), curve_bands(y, score, kind="pr", n=1)
        left.plot(
            roc["x"], roc["value"], style, color=colour, linewidth=2, label=f"{name}: AUC {roc_auc(y, score):.2f}"
        )
        area = average_precision(y, score)
        right.plot(
            pr["x"], pr["value"], style, color=colour, linewidth=2, label=f"{name}: average precision {area:.2f}"
        )
        at = confusion_at(y, score, thresholds[name])
        left.plot(1 - at.specificity, at.sensitivity, "o", color=colour, markersize=9)
        right.plot(at.sensitivity, at.precision, "o", color=colour, markersize=9)
    left.plot([0, 1], [0, 1], ":", color=GREY, label="a coin")
    right.axhline(float(np.mean(np.asarray(y))), linestyle=":", color=GREY, label="prevalence")
    left.set(xlabel="1 - specificity (false alarms)", ylabel="sensitivity", title="ROC")
    right.set(xlabel="sensitivity (recall)", ylabel="precision", title="Precision and recall")
    for ax, place in ((left, "lower right"), (right, "lower left")):
        _unit_square(ax)
        ax.legend(loc=place)
    return made


def _unit_square(ax: Axes) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def reliability_plot(
    y: ArrayLike,
    scores: ArrayLike | Mapping[str, ArrayLike],
    group: Groups | None = None,
    *,
    n: int = 500,
) -> Figure:
    """Observed proportion of fractures against the score with 95 % intervals, and how many images have which score.

    Scores (n,) in 0..1, or two of them by name, such as before and after a calibration. There is a bin for each 25
    images, at least 3 and at most 10.
    """
    bins = int(np.clip(len(np.asarray(y)) // 25, 3, 10))
    made, (ax, below) = figure(5.2, 5.6, rows=2, height_ratios=[3, 1], sharex=True)
    named: Mapping[str, ArrayLike] = scores if isinstance(scores, Mapping) else {"images in equal bins": scores}
    ax.plot([0, 1], [0, 1], ":", color=GREY, label="perfectly calibrated")
    for (name, score), (colour, style), marker in zip(named.items(), MODELS, "os", strict=False):
        table = reliability(y, score, bins=bins, group=group, n=n)
        ax.vlines(table["mean_score"], table["low"], table["high"], color=colour, linewidth=1.2)
        ax.plot(
            table["mean_score"], table["observed"], marker + style, color=colour, linewidth=1, label=f"{name}, 95 %"
        )
        below.hist(np.asarray(score), bins=np.linspace(0, 1, 31), histtype="step", color=colour, linestyle=style)
    ax.set(ylabel="proportion fractured", title="Calibration")
    _unit_square(ax)
    below.set(xlabel="score: P(Fractured)", ylabel="images")
    ax.legend(loc="upper left")
    return made


def decision_plot(table: pd.DataFrame, threshold: float | None = None) -> Figure:
    """Net benefit against the risk at which one acts: a table of `metrics.net_benefit`."""
    made, ax = figure(8, 3.8)
    if table["low"].notna().any():
        ax.fill_between(
            table["threshold"], table["low"], table["high"], color=BLUE, alpha=0.15, linewidth=0, label="95 %"
        )
    ax.plot(table["threshold"], table["model"], color=BLUE, linewidth=2, label="the classifier")
    ax.plot(table["threshold"], table["all"], "--", color=RED, label="treat everybody")
    ax.plot(table["threshold"], table["none"], ":", color=GREY, linewidth=2, label="treat nobody")
    if threshold is not None:
        ax.axvline(threshold, color="black", linestyle=":", label=f"threshold {threshold:.2f}")
    top = float(np.nanmax(np.r_[table["model"], table["high"].fillna(0), 0.01]))
    ax.set(xlabel="risk at which one acts", ylabel="net benefit per image", xlim=(0, 1), ylim=(-0.25 * top, 1.1 * top))
    ax.legend(loc="upper right")
    return made


def predictive_values_plot(table: pd.DataFrame, prevalence: float | None = None) -> Figure:
    """PPV and NPV against prevalence with their bands: a table of `metrics.predictive_value_curve`."""
    made, ax = figure(8, 3.8)
    for name, colour, style, label in (
        ("ppv", RED, "-", "predicted fractured: is"),
        ("npv", BLUE, "--", "predicted not fractured: is not"),
    ):
        ax.fill_between(
            table["prevalence"], table[f"{name}_low"], table[f"{name}_high"], color=colour, alpha=0.15, linewidth=0
        )
        ax.plot(table["prevalence"], table[name], style, color=colour, linewidth=2, label=label)
    ax.plot(table["prevalence"], table["prevalence"], ":", color=GREY, label="before the call")
    if prevalence is not None:
        ax.axvline(prevalence, color="black", linestyle=":", label=f"here: {prevalence:.2f}")
    ax.set(xlabel="prevalence", ylabel="proportion that is right")
    _unit_square(ax)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return made


def thousand_plot(sensitivity: float, specificity: float, prevalences: Sequence[float]) -> Figure:
    """What becomes of a thousand images where fractures are rare and where they are common: a square each."""
    made, axes = figure(3.9 * len(prevalences), 4.2, columns=len(prevalences), squeeze=False)
    kinds = (
        ("found", BLUE, "s"),
        ("missed", "black", "x"),
        ("false alarms", ORANGE, "s"),
        ("no alarm", "#dddddd", "s"),
    )
    images, across = 1000, 40
    for ax, prevalence in zip(axes[0], prevalences, strict=True):
        fractured = round(images * prevalence)
        found, quiet = round(fractured * sensitivity), round((images - fractured) * specificity)
        counts = (found, fractured - found, images - fractured - quiet, quiet)
        place = 0
        for (name, colour, marker), count in zip(kinds, counts, strict=True):
            at = np.arange(place, place + count)
            ax.scatter(at % across, at // across, s=11, marker=marker, color=colour, linewidths=1, label=name)
            place += count
        title = f"{fractured} of {images} fractured\n{found} found, {fractured - found} missed"
        ax.set_title(f"{title}\n{counts[2]} false alarms")
        ax.set(aspect="equal", xlim=(-1, across), ylim=(-(-images // across), -1))
        ax.set_axis_off()
    handles, names = axes[0, 0].get_legend_handles_labels()
    made.legend(handles, names, loc="outside lower center", ncols=4, markerscale=2)
    return made


def selective_plot(y: ArrayLike, score: ArrayLike, threshold: float) -> Figure:
    """Errors against the proportion of images that is decided, those nearest to the threshold left to people first."""
    made, ax = figure(8, 3.4)
    table = selective_prediction(y, score, threshold)
    ax.plot(table["coverage"], table["error"], color=BLUE, linewidth=2, label="wrong among the decided")
    ax.axhline(table["error"].iloc[-1], linestyle=":", color=GREY, label="wrong when all are decided")
    ax.set(xlabel="proportion of images that is decided", ylabel="proportion that is wrong", xlim=(0, 1.02))
    ax.set_ylim(bottom=0)
    ax.legend(loc="best")
    return made
