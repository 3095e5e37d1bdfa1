"""Figures about another hospital: what it changes, how one would notice, and what repairs are worth."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from fracturelib.viz.figures import BLUE, GREEN, GREY, ORANGE, RED, figure

KINDS = ((BLUE, "-", "o"), (RED, "--", "s"), (GREEN, "-.", "^"), (ORANGE, ":", "D"))


def changes_plot(
    whole: Mapping[str, NDArray[np.uint8]],
    close: Mapping[str, NDArray[np.uint8]],
    *,
    at: tuple[float, float],
    side: int = 40,
) -> Figure:
    """Versions of one image: some whole, and below them a detail of others, magnified so far that pixels show.

    Parameters
    ----------
    whole, close : mapping of str to (s, s)
        As many of one as of the other; the first of `whole` is framed where the details lie.
    at : (row, column)
        The middle of the detail, in pixels; it is moved inwards where it would leave the image.
    side : int
        Of the detail, in pixels.
    """
    height, width = next(iter(whole.values())).shape
    top, left = (int(np.clip(m - side / 2, 0, most - side)) for m, most in zip(at, (height, width), strict=True))
    columns = max(len(whole), len(close))
    made, axes = figure(10, 2 * (10 / columns + 0.3), columns=columns, rows=2, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, (name, image) in zip(axes[0], whole.items(), strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
        ax.set_title(name)
    axes[0, 0].add_patch(Rectangle((left, top), side, side, fill=False, color=ORANGE, linewidth=1.5))
    for ax, (name, image) in zip(axes[1], close.items(), strict=False):
        detail = image[top : top + side, left : left + side]
        ax.imshow(detail, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(f"{name}, magnified")
    return made


def costs_plot(table: pd.DataFrame) -> Figure:
    """Differences by change (rows) and metric (panels) with their intervals: a table of `shift.costs`."""
    changes, metrics = list(dict.fromkeys(table["change"])), list(dict.fromkeys(table["metric"]))
    made, axes = figure(10, 0.36 * len(changes) + 1.2, columns=len(metrics), sharey=True, squeeze=False)
    for ax, metric in zip(axes[0], metrics, strict=True):
        part = table[table["metric"] == metric].set_index("change").loc[changes]
        for y, row in enumerate(part.itertuples()):
            colour = RED if row.certain else GREY
            ax.hlines(y, row.low, row.high, color=colour, linewidth=2)
            ax.plot(row.difference, y, "D" if row.certain else "o", color=colour, markersize=7)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(title=metric, xlabel="difference to home", ylim=(len(changes) - 0.5, -0.5))
        ax.locator_params(axis="x", nbins=5)
    ends = min(table["low"].min(), -0.02), max(table["high"].max(), 0.02)
    for ax in axes[0]:
        ax.set_xlim(1.08 * ends[0], 1.08 * ends[1])
    axes[0, 0].set_yticks(range(len(changes)), changes)
    return made


def scores_plot(scores: Mapping[str, ArrayLike], threshold: float) -> Figure:
    """Proportion of images with a score below, for several sets of images, and the threshold: name -> (n,) in 0..1."""
    made, ax = figure(8, 3.6)
    for (colour, line, _), (name, values) in zip(KINDS, scores.items(), strict=False):
        x = np.sort(np.asarray(values, float))
        heights = np.append(0, np.arange(1, len(x) + 1) / len(x))
        ax.step(np.append(0, x), heights, line, where="post", color=colour, linewidth=2, label=name)
    ax.axvline(threshold, color="black", linewidth=1, label=f"threshold {threshold:.2f}")
    ax.set(
        xlabel="score: P(Fractured)",
        ylabel="proportion of images with\na score up to this",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    ax.legend(loc="lower right")
    return made


def likelihood_plot(shares: ArrayLike, curves: Mapping[str, tuple[ArrayLike, ArrayLike, float]]) -> Figure:
    """How well each prevalence explains unlabelled scores, and the steps that expectation-maximisation takes.

    Parameters
    ----------
    shares : (k,)
        Prevalences.
    curves : mapping of str to (likelihood (k,), steps (m,), truth)
        A panel each.
    """
    x = np.asarray(shares, float)
    made, axes = figure(10, 3.8, columns=len(curves), sharey=True, squeeze=False)
    for ax, (name, (likelihood, steps, truth)) in zip(axes[0], curves.items(), strict=True):
        height = np.asarray(likelihood, float) - np.max(np.asarray(likelihood, float))
        walked = np.asarray(steps, float)
        ax.plot(x, height, color=BLUE, linewidth=2)
        ax.plot(walked, np.interp(walked, x, height), "o", color=BLUE, markersize=5, label="steps of EM")
        ax.axvline(truth, color=RED, linestyle="--", linewidth=2, label="true prevalence")
        ax.set(title=name, xlabel="prevalence", xlim=(0, 1), ylim=(-0.3, 0.02))
    axes[0, 0].set_ylabel("mean log-likelihood,\nbelow its maximum")
    made.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return made


def few_labels_plot(table: pd.DataFrame, wanted: float) -> Figure:
    """What repairs are worth by how many images were labelled, over draws: a table of `shift.few_labels`."""
    made, (left, right) = figure(10, 4, columns=2)
    sizes = sorted(set(table["labelled"]))
    panels = ((left, ("sensitivity", "specificity")), (right, ("none", "intercept", "platt")))
    for ax, names in panels:
        for k, (name, (colour, _, marker)) in enumerate(zip(names, KINDS, strict=False)):
            limits = table.groupby("labelled")[name].quantile([0.025, 0.5, 0.975]).unstack().loc[sizes]
            place = np.arange(len(sizes)) + 0.18 * (k - (len(names) - 1) / 2)
            ax.vlines(place, limits[0.025], limits[0.975], color=colour, linewidth=2)
            ax.plot(place, limits[0.5], marker, color=colour, markersize=7, label=name)
        ax.set_xticks(range(len(sizes)), [str(s) for s in sizes])
        ax.set(xlabel="images labelled there", xlim=(-0.5, len(sizes) - 0.5))
    left.axhline(wanted, color="black", linestyle=":", label="wanted")
    left.set(ylabel="on images that were not labelled", ylim=(-0.02, 1.22), title="a new threshold")
    left.set_yticks(np.linspace(0, 1, 6))
    right.set(ylabel="log loss (less is better)", title="a new calibration")
    left.legend(loc="upper center", ncols=3)
    low, high = right.get_ylim()
    right.set_ylim(low, high + 0.2 * (high - low))
    right.legend(loc="upper center", ncols=3)
    return made


def repairs_plot(table: pd.DataFrame) -> Figure:
    """Figures before and after each repair, with 95 % intervals: columns step, metric, value, low, high."""
    steps, metrics = list(dict.fromkeys(table["step"])), list(dict.fromkeys(table["metric"]))
    made, axes = figure(10, 0.36 * len(steps) + 1.2, columns=len(metrics), sharey=True, squeeze=False)
    for ax, metric in zip(axes[0], metrics, strict=True):
        part = table[table["metric"] == metric].set_index("step").loc[steps]
        for y, row in enumerate(part.itertuples()):
            colour = GREEN if y == 0 else BLUE
            ax.hlines(y, row.low, row.high, color=colour, linewidth=2)
            ax.plot(row.value, y, "D" if y == 0 else "o", color=colour, markersize=7)
        ax.axvline(part["value"].iloc[0], color=GREEN, linestyle=":", linewidth=1)
        ax.set(title=metric, ylim=(len(steps) - 0.5, -0.5))
        ax.locator_params(axis="x", nbins=5)
    axes[0, 0].set_yticks(range(len(steps)), steps)
    return made
