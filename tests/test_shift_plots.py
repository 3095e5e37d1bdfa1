"""Figures about a shift: they draw what they are given."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fracturelib.viz.shift import (
    costs_plot,
    few_labels_plot,
    likelihood_plot,
    repairs_plot,
    scores_plot,
)


def drawn(made: Figure) -> bytes:
    return made._repr_png_()


def rows(first: str, names: tuple[str, ...], **more: object) -> pd.DataFrame:
    metrics = ("AUC", "sensitivity", "specificity")
    table = pd.DataFrame([(n, m) for n in names for m in metrics], columns=[first, "metric"])
    return table.assign(value=0.6, difference=-0.1, low=-0.2, high=0.7, **more)


def test_costs_mark_what_is_certain() -> None:
    table = rows("change", ("blur", "noise"), certain=[True, False, False] * 2)
    made = costs_plot(table)
    assert [ax.get_title() for ax in made.axes] == ["AUC", "sensitivity", "specificity"]
    markers = [[line.get_marker() for line in ax.lines if line.get_marker() != "None"] for ax in made.axes]
    assert markers == [["D", "D"], ["o", "o"], ["o", "o"]]
    assert len({ax.get_xlim() for ax in made.axes}) == 1, "panels are to be compared"
    assert drawn(made) == drawn(costs_plot(table))


def test_scores_end_at_one() -> None:
    rng = np.random.default_rng(0)
    made = scores_plot({"home": rng.random(30), "there": rng.random(20)}, 0.3)
    assert all(line.get_ydata()[-1] == 1 for line in made.axes[0].lines[:2]) and drawn(made)


def test_likelihood_has_its_top_at_zero() -> None:
    x = np.linspace(0, 1, 101)
    made = likelihood_plot(x, {"a": (-((x - 0.3) ** 2) - 7, [0.5, 0.4], 0.3), "b": (-(x**2), [0.5], 0.2)})
    assert [ax.lines[0].get_ydata().max() for ax in made.axes] == [0, 0] and drawn(made)


def test_repairs_and_few_labels_show_every_step_and_size() -> None:
    made = repairs_plot(rows("step", ("home", "delivered", "undone")))
    assert [t.get_text() for t in made.axes[0].get_yticklabels()] == ["home", "delivered", "undone"]
    table = pd.DataFrame({"labelled": np.repeat([25, 50], 10)})
    for name in ("sensitivity", "specificity", "none", "intercept", "platt"):
        table[name] = np.linspace(0.2, 0.9, 20)
    made = few_labels_plot(table, 0.9)
    assert [t.get_text() for t in made.axes[0].get_xticklabels()] == ["25", "50"]
    assert drawn(made)
