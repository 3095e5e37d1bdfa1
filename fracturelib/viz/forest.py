"""Forest plots: values with their intervals, to be compared row by row."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fracturelib._io.files import InputError
from fracturelib.viz.figures import GREY, MARKS, RED, figure


def forest_plot(
    panels: Mapping[str, pd.DataFrame],
    value: str,
    *,
    series: str | None = None,
    line: float | Mapping[str, float] | None = None,
) -> Figure:
    """Values with their intervals: a panel for each table, a row for each label, a mark for each series.

    Parameters
    ----------
    panels : mapping of str to DataFrame
        What the horizontal axis says -> a table whose index names the rows. Rows without a value are left out, and a
        panel of which none is left says so. Panels with the same rows share their axes.
    value : str
        The column that is drawn. Its interval is in the columns low and high, or in those with the value's name before
        them (auc_low), where there are any.
    series : str, optional
        The column that tells the marks of a row apart, up to five.
    line : float or mapping of panel to float, optional
        Where a dotted line is drawn, such as what a coin would get. Where there is one series, a mark whose interval
        leaves it out is a diamond.

    Examples
    --------
    >>> table = pd.DataFrame({"auc": [0.8, 0.6], "low": [0.7, 0.4], "high": [0.9, 0.8]}, index=["hand", "hip"])
    >>> made = forest_plot({"AUC": table}, "auc", line=0.5)
    >>> [label.get_text() for label in made.axes[0].get_yticklabels()]
    ['hand', 'hip']
    """
    _require_columns(panels, {value} | ({series} if series else set()))
    names = [""] if series is None else list(pd.concat(panels.values())[series].unique())
    if len(names) > len(MARKS):
        raise InputError(f"{series} has {len(names)} values; expected at most {len(MARKS)}")
    tables = {x: table.dropna(subset=value) for x, table in panels.items()}
    rows = {x: table.index.unique() for x, table in tables.items()}
    alike = len({tuple(labels) for labels in rows.values()}) == 1
    most = max((len(labels) for labels in rows.values()), default=1)
    made, axes = figure(
        min(5.5 * len(panels) + 1, 10 if alike else 12), max(0.34, 0.14 * len(names)) * max(most, 2) + 1.5,
        columns=len(panels), sharex=alike, sharey=alike, squeeze=False,
    )  # fmt: skip
    for ax, (x, table) in zip(axes[0], tables.items(), strict=True):
        at = line.get(x) if isinstance(line, Mapping) else line
        for name, mark, shift in zip(names, MARKS, _shifts(len(names)), strict=False):
            part = table if series is None else table[table[series] == name]
            y, beside = rows[x].get_indexer(part.index) + shift, at if series is None else None
            _draw(ax, part, value, y, mark, line=beside, label=name)
        if at is not None:
            ax.axvline(at, color=GREY, linestyle=":")
        ax.set(xlabel=x, ylim=(max(len(rows[x]), 1) - 0.5, -0.5))
        if rows[x].empty:
            ax.set_title("no row has a value")
        if ax is axes[0, 0] or not alike:
            ax.set_yticks(range(len(rows[x])), rows[x])
    made.get_layout_engine().set(w_pad=0.12)  # type: ignore[union-attr, call-arg]
    if series is not None:
        made.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
    return made


def _require_columns(panels: Mapping[str, pd.DataFrame], wanted: set[str]) -> None:
    for x, table in panels.items():
        if lacking := wanted - set(table.columns):
            has = ", ".join(map(str, table.columns))
            raise InputError(f"panels[{x!r}] has no column {', '.join(sorted(lacking))}; it has {has}")
    if not panels:
        raise InputError("panels is empty; expected at least one table")


def _shifts(series: int) -> list[float]:
    """How far each series' marks lie from the middle of their row."""
    most = 0.0 if series == 1 else 0.15 if series < 4 else 0.3
    return np.linspace(-most, most, series).tolist()


def _draw(
    ax: Axes, part: pd.DataFrame, value: str, y: np.ndarray, mark: tuple[str, str], *, line: float | None, label: str
) -> None:
    """The marks of one series at heights `y`, with their intervals."""
    colour, marker = mark
    apart = np.zeros(len(part), bool)
    ends = [f"{value}_low", f"{value}_high"] if f"{value}_low" in part else ["low", "high"]
    if set(ends) <= set(part.columns):
        low, high = part[ends].to_numpy(float).T
        if line is not None:
            apart = (low > line) | (high < line)
        ax.hlines(y, low, high, color=np.where(apart, RED, colour).tolist(), linewidth=2)
    ax.plot(part[value][~apart], y[~apart], marker, color=colour, label=label)
    if apart.any():
        ax.plot(part[value][apart], y[apart], "D", color=RED)
