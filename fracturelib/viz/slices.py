"""Figures about the slices of a study: all of them side by side, and what each adds to the evidence."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import Maps
from fracturelib.explain.overlay import normalise, overlay
from fracturelib.viz.figures import BLUE, GREEN, ORANGE, RED, figure, montage

NAMES = {
    "change": "change of the evidence\nwithout the slice",
    "evidence": "evidence of the\nslice alone",
    "contribution": "weight times evidence",
    "weight": "weight in the pooling",
}


def slices_plot(
    study: NDArray[np.uint8],
    *,
    mask: NDArray[np.bool_] | None = None,
    maps: Maps | None = None,
    current: int | None = None,
    deciding: int | None = None,
    columns: int = 5,
    width: float = 11.0,
) -> Figure:
    """A study slice by slice.

    Parameters
    ----------
    study : (s, h, w) uint8
    mask : (s, h, w) bool, optional
        Where the tear is: outlined, and its slices are named.
    maps : (s, h, w) float32, optional
        Those of `slice_maps`, laid over the slices, all on one scale.
    current, deciding : int, optional
        A slice of interest, and the one that decided: each gets a frame and a word.
    columns, width
        As for `montage`.

    Raises
    ------
    InputError
        If shapes do not fit, or there is no such slice.

    Examples
    --------
    >>> import numpy as np
    >>> len(slices_plot(np.zeros((6, 32, 32), np.uint8), deciding=2, columns=3).axes)
    6
    """
    for name, values in (("mask", mask), ("maps", maps)):
        if values is not None and values.shape != study.shape:
            raise InputError(f"{name} has shape {values.shape}; expected that of the study, {study.shape}")
    marks = (("shown", current, ORANGE, ":"), ("decides", deciding, RED, "-"))
    _check_place("current", current, len(study))
    _check_place("deciding", deciding, len(study))
    pictures = list(study)
    if maps is not None:
        top = float(maps.max(initial=0))
        pictures = [overlay(i, normalise(m, top=top)[0], opacity=0.6) for i, m in zip(study, maps, strict=True)]
    titles = []
    for i in range(len(study)):
        words = [name for name, place, _, _ in marks if place == i]
        words += ["tear"] if mask is not None and mask[i].any() else []
        titles.append(f"{i}" + (": " + ", ".join(words) if words else ""))
    made = montage(
        pictures, titles, masks=None if mask is None else mask.astype(np.uint8), columns=columns, width=width
    )
    for k, (_, place, colour, line) in enumerate(marks):
        if place is not None:
            inset = 1.5 * (1 - k)  # both can be seen where they are the same slice
            size = study.shape[2] - 1 - 2 * inset, study.shape[1] - 1 - 2 * inset
            frame = Rectangle((inset, inset), *size, fill=False, edgecolor=colour, linewidth=3, linestyle=line)
            made.axes[place].add_patch(frame)
    return made


def evidence_plot(
    tables: pd.DataFrame | dict[str, pd.DataFrame],
    *,
    truth: Sequence[int] | NDArray[np.bool_] | None = None,
    column: str = "change",
    current: int | None = None,
) -> Figure:
    """What each slice adds to the evidence for a tear, as bars; the deciding slice has a triangle.

    Parameters
    ----------
    tables : DataFrame, or a mapping of names to DataFrames
        Of `slice_evidence`; several, such as those of several poolings, get a panel each.
    truth : (s,) bool or sequence of int, optional
        Slices that show the tear: shaded.
    column : str
        "change", "evidence", "contribution" or "weight".
    current : int, optional
        A slice of interest: a dotted line.

    Raises
    ------
    InputError
        If there is no such column or slice, or no table.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"weight": [0.2, 0.8], "change": [-0.1, 1.0]})
    >>> [float(bar.get_height()) for bar in evidence_plot(table, truth=[1]).axes[0].containers[0]]
    [-0.1, 1.0]
    """
    named = {"": tables} if isinstance(tables, pd.DataFrame) else dict(tables)
    if not named:
        raise InputError("tables is empty; expected at least one of slice_evidence")
    made, axes = figure(9, 2.4 * len(named) + 0.5, rows=len(named), squeeze=False, sharex=True)
    for ax, (name, table) in zip(axes[:, 0], named.items(), strict=True):
        if column not in NAMES or column not in table:
            raise InputError(f"column is {column!r}; expected one of {', '.join(c for c in NAMES if c in table)}")
        shown = _true_slices(truth, len(table))
        _check_place("current", current, len(table))
        for k, i in enumerate(shown):
            ax.axvspan(i - 0.5, i + 0.5, color=GREEN, alpha=0.25, linewidth=0, label=None if k else "shows the tear")
        values = table[column].to_numpy(float)
        decides = int(table["change"].where(table["weight"] > 0).idxmax())
        at = max(float(values[decides]), 0.0)
        ax.bar(range(len(values)), values, 0.7, color=[RED if v > 0 else BLUE for v in values])
        spread = max(float(np.ptp([*values, 0.0])), 1e-9)
        ax.plot(decides, at + 0.09 * spread, "v", color="black", markersize=9, label="decides")
        if current is not None:
            ax.axvline(current, color="black", linestyle=":", label="shown")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.margins(x=0.01, y=0.12)
        ax.set(ylabel=NAMES[column], title=name)
        ax.grid(visible=False, axis="x")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[-1, 0].set_xlabel("slice")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return made


def _check_place(name: str, place: int | None, count: int) -> None:
    if place is not None and not 0 <= place < count:
        raise InputError(f"{name} is slice {place}; expected 0 to {count - 1}")


def _true_slices(truth: Sequence[int] | NDArray[np.bool_] | None, count: int) -> list[int]:
    """Numbers of slices, of numbers or of a mask (s,)."""
    if truth is None:
        return []
    given = np.asarray(truth)
    if given.dtype == bool:
        if given.shape != (count,):
            raise InputError(f"truth has shape {given.shape}; expected ({count},), a value for each slice")
        return [int(i) for i in np.flatnonzero(given)]
    for i in given.tolist():
        _check_place("truth", i, count)
    return [int(i) for i in given]
