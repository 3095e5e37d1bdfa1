"""Forest plots: values with their intervals, to be compared row by row."""

import pandas as pd
from matplotlib.figure import Figure

from fracturelib.viz.figures import BLUE, RED, figure


def forest_plot(table: pd.DataFrame, *, line: float | None = None) -> Figure:
    """A row for each name, a panel for each metric, a mark for each value, with its interval.

    Parameters
    ----------
    table : DataFrame
        The names in its first column; metric, value, low, high. Each name has each metric.
    line : float, optional
        What values are compared with, such as 0 for differences; those of the first name if not given. Where an
        interval leaves it out, the mark is a red diamond.
    """
    first = table.columns[0]
    names, metrics = list(table[first].unique()), list(table["metric"].unique())
    height = 0.36 * len(names) + 1.2
    made, axes = figure(10, height, columns=len(metrics), sharex=True, sharey=True, squeeze=False)
    for ax, metric in zip(axes[0], metrics, strict=True):
        part = table[table["metric"] == metric].set_index(first).loc[names]
        reference = part["value"].iloc[0] if line is None else line
        for y, row in enumerate(part.itertuples()):
            apart = row.low > reference or row.high < reference
            ax.hlines(y, row.low, row.high, color=RED if apart else BLUE, linewidth=2)
            ax.plot(row.value, y, "D" if apart else "o", color=RED if apart else BLUE, markersize=7)
        ax.axvline(reference, color="black", linestyle=":", linewidth=1)
        ax.set_title(metric)
    axes[0, 0].set(ylim=(len(names) - 0.5, -0.5))
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].locator_params(axis="x", nbins=5)
    return made
