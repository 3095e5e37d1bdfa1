"""Figures of heat maps beside their rivals."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from fracturelib.explain.localization import Judged, judged_table
from fracturelib.explain.rivals import SHOWN
from fracturelib.metrics.bootstrap import Groups
from fracturelib.viz.figures import BLUE, GREEN, GREY, MARKERS, ORANGE, RED, figure

COLOURS = (BLUE, ORANGE, GREEN, RED, "black", GREY)


def rivals_plot(
    judged: Mapping[str, Judged], groups: Groups | None = None, *, metrics: Sequence[str] = SHOWN, n: int = 500
) -> Figure:
    """Figures of several kinds of maps of the same images, with intervals by patient.

    Parameters
    ----------
    judged : mapping of str to Judged
        Such as of `OutlinedImages.rivals`; the first is the one that the others are beside.
    groups : (images,), optional
        The patient of each image.
    metrics : sequence of str
        Names of `judged_table`.
    n : int
        Bootstrap samples.
    """
    table = judged_table(judged, groups, n=n)
    made, ax = figure(9, 0.28 * len(judged) * len(metrics) * 0.6 + 1.4)
    for k, name in enumerate(judged):
        part = table[table["who"] == name].set_index("metric").loc[list(metrics)]
        y = np.arange(len(metrics)) + 0.15 * (k - (len(judged) - 1) / 2)
        colour = COLOURS[k % len(COLOURS)]
        ax.hlines(y, part["low"], part["high"], color=colour, linewidth=1.4)
        marker = "D" if k == 0 else MARKERS[(k - 1) % len(MARKERS)]
        ax.plot(part["value"], y, marker, color=colour, markersize=7 if k == 0 else 5, label=name)
    ax.set_yticks(range(len(metrics)), metrics)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(metrics) - 0.5, -0.5), xlabel="mean over images, with 95 % intervals")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return made
