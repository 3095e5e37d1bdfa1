"""Figures about heat maps: how good they are beside their baselines, and what becomes of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fracturelib._io.files import InputError
from fracturelib.explain.localization import Judged, judged_table
from fracturelib.explain.overlay import normalise, overlay, upsample
from fracturelib.explain.rivals import SHOWN
from fracturelib.metrics.bootstrap import Groups
from fracturelib.viz.figures import BLUE, GREEN, GREY, MARKERS, ORANGE, RED, figure, montage

COLOURS = (BLUE, ORANGE, GREEN, RED, "black", GREY)
LINES = ("-", "--", ":", "-.")


def baselines_plot(table: pd.DataFrame) -> Figure:
    """Every figure of several kinds of maps, with intervals: a table of `localization.judged_table`."""
    names, metrics = list(dict.fromkeys(table["who"])), list(dict.fromkeys(table["metric"]))
    made, ax = figure(9, 0.28 * len(names) * len(metrics) * 0.6 + 1.4)
    for k, name in enumerate(names):
        part = table[table["who"] == name].set_index("metric").loc[metrics]
        y = np.arange(len(metrics)) + 0.15 * (k - (len(names) - 1) / 2)
        colour = COLOURS[k % len(COLOURS)]
        ax.hlines(y, part["low"], part["high"], color=colour, linewidth=1.4)
        marker = "D" if k == 0 else MARKERS[(k - 1) % len(MARKERS)]
        ax.plot(part["value"], y, marker, color=colour, markersize=7 if k == 0 else 5, label=name)
    ax.set_yticks(range(len(metrics)), metrics)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(metrics) - 0.5, -0.5), xlabel="mean over images, with 95 % intervals")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return made


def rivals_plot(
    judged: Mapping[str, Judged], groups: Groups | None = None, *, metrics: Sequence[str] = SHOWN, n: int = 500
) -> Figure:
    """Figures of several kinds of maps of the same images, with intervals by patient."""
    table = judged_table(judged, groups, n=n)
    return baselines_plot(table[table["metric"].isin(metrics)])


def heat_montage(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    heats: Sequence[NDArray[np.float32] | None] | NDArray[np.float32],
    titles: Sequence[str],
    *,
    masks: Sequence[NDArray[np.uint8]] | NDArray[np.uint8] | None = None,
    columns: int = 3,
    width: float = 11.0,
    opacity: float = 0.7,
    peaks: bool = False,
) -> Figure:
    """Images with maps laid over them, each map scaled to its own maximum; the fracture outlined where it is known.

    Parameters
    ----------
    images : (n, h, w) uint8
    heats : n of (h', w') float32
        None, or a map without evidence, leaves the image as it is.
    titles : n of str
    masks : (n, h, w) of 0 and 1, optional
    columns, width
        As for `montage`.
    opacity : float
        Of the strongest evidence, 0..1.
    peaks : bool
        A cross where the map is strongest.
    """
    if len(heats) != len(images):
        raise InputError(f"heats has {len(heats)} maps; expected {len(images)}, one for each image")
    large = [None if h is None else upsample(h, i.shape[:2]) for i, h in zip(images, heats, strict=True)]
    pictures = [
        np.repeat(image[..., None], 3, axis=2) if heat is None else overlay(image, normalise(heat)[0], opacity=opacity)
        for image, heat in zip(images, large, strict=True)
    ]
    made = montage(pictures, titles, masks=masks, columns=columns, width=width)
    for ax, heat in zip(made.axes, large, strict=False):
        if peaks and heat is not None and heat.max() > 0:
            row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
            ax.plot(column, row, "+", color="white", markersize=13, markeredgewidth=4.5)
            ax.plot(column, row, "+", color=GREEN, markersize=12, markeredgewidth=2.2)
    return made


def cascade_plot(table: pd.DataFrame, strangers: Mapping[str, float]) -> Figure:
    """How alike maps are to those of the whole network, part after part forgotten: rows parts, columns measures.

    `strangers` has the same measure for maps of different images, by column.
    """
    made, ax = figure(8, 3.6)
    for k, name in enumerate(table.columns):
        if name not in strangers:
            raise InputError(f"strangers has {', '.join(strangers)}; expected {name!r} too")
        colour = COLOURS[k % len(COLOURS)]
        ax.plot(range(len(table)), table[name], MARKERS[k] + LINES[k], color=colour, label=name)
        ax.axhline(strangers[name], color=colour, linestyle=LINES[k], alpha=0.4, linewidth=3)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_xticks(range(len(table)), list(table.index))
    ax.set(xlabel="forgotten so far", ylabel="likeness to the map of the\ntrained network", ylim=(None, 1.05))
    ax.legend(loc="upper right", title="pale line: other images")
    return made


def ordered_plot(
    share: NDArray[np.float64], curves: Mapping[str, Sequence[Mapping[str, NDArray[np.float64]]]]
) -> Figure:
    """Mean deletion and insertion curves: by baseline (panels side by side), the pair of them by order of pixels."""
    made, axes = figure(10, 3.4 * len(curves), columns=2, rows=len(curves), squeeze=False, sharey="row")
    for row, (baseline, pair) in zip(axes, curves.items(), strict=True):
        for ax, title, orders in zip(row, ("deleted", "inserted"), pair, strict=True):
            for k, (name, curve) in enumerate(orders.items()):
                ax.plot(share, curve, LINES[k], color=COLOURS[k], linewidth=2, label=name)
            ax.set(xlabel=f"proportion of pixels {title}, baseline: {baseline}", xlim=(0, 1))
        row[0].set_ylabel("logit of a fracture")
        row[1].legend(loc="best")
    return made
