"""Figures: what is drawn is what was given, labelled, and drawn by no global state."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from fracturelib._io.files import InputError
from fracturelib.metrics.calibration import reliability
from fracturelib.metrics.classification import confusion_at, roc_auc, sweep
from fracturelib.metrics.decision_curve import net_benefit, predictive_value_curve, selective_prediction
from fracturelib.viz import evaluation as curves
from fracturelib.viz import figures as plots
from fracturelib.viz import forest_plot

RNG = np.random.default_rng(0)
Y = np.r_[np.zeros(60, int), np.ones(40, int)]
SCORE = np.clip(RNG.normal(0.35 + 0.25 * Y, 0.15), 0, 1)
GROUP = np.arange(100) // 2
IMAGES = RNG.integers(0, 255, (6, 32, 32), dtype=np.uint8)
MASKS = np.zeros((6, 32, 32), np.uint8)
MASKS[0, 18:24, 4:12] = 1
BENEFIT = net_benefit(Y, SCORE, group=GROUP, n=20)
PREDICTIVE = predictive_value_curve(Y, SCORE, 0.5, group=GROUP, n=20)

DOTS = pd.DataFrame(
    {
        "network": list("aabb"),
        "auc": [0.8, 0.6, 0.7, np.nan],
        "low": [0.7, 0.5, 0.6, np.nan],
        "high": [0.9, 0.7, 0.8, np.nan],
    },
    index=["hand", "hip"] * 2,
)

FIGURES = {
    "montage": lambda: plots.montage(IMAGES, [f"image {i}" for i in range(6)], masks=MASKS, columns=4),
    "dots": lambda: forest_plot({"AUC": DOTS, "AUC, elsewhere": DOTS}, "auc", series="network", line=0.5),
    "score_histogram": lambda: plots.score_histogram(Y, SCORE, 0.5),
    "curves": lambda: plots.curves_plot(Y, SCORE, {"strict": 0.7, "lenient": 0.2}),
    "sweep": lambda: plots.sweep_plot(sweep(Y, SCORE), 0.5),
    "confusion": lambda: plots.confusion_plot(confusion_at(Y, SCORE, 0.5)),
    "bands": lambda: curves.bands_plot(Y, SCORE, GROUP, 0.5, n=20),
    "compared": lambda: curves.compared_plot(Y, {"a": SCORE, "b": SCORE**2}, {"a": 0.5, "b": 0.3}),
    "reliability": lambda: curves.reliability_plot(Y, {"before": SCORE, "after": SCORE**2}, GROUP, n=20),
    "decision": lambda: curves.decision_plot(BENEFIT, 0.5),
    "predictive": lambda: curves.predictive_values_plot(PREDICTIVE, 0.4),
    "selective": lambda: curves.selective_plot(Y, SCORE, 0.5),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_their_own_and_can_be_saved(name: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    before = dict(matplotlib.rcParams)
    made = FIGURES[name]()
    assert isinstance(made, Figure) and not pyplot.get_fignums(), "a notebook would draw it twice"
    assert dict(matplotlib.rcParams) == before
    made.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 2000


@pytest.mark.parametrize("name", [n for n in FIGURES if n not in ("montage", "reliability", "dots")])
def test_every_axis_has_a_name(name: str) -> None:
    for ax in FIGURES[name]().axes:
        assert ax.get_xlabel() and ax.get_ylabel(), f"{name} has an axis without a name"


@pytest.mark.parametrize("name", FIGURES)
def test_a_notebook_shows_the_same_bytes_each_time(name: str) -> None:
    first, again = (FIGURES[name]()._repr_png_() for _ in range(2))  # type: ignore[attr-defined]
    assert first[:8] == b"\x89PNG\r\n\x1a\n" and first == again


def line(ax, label: str) -> np.ndarray:  # type: ignore[no-untyped-def]
    return next(drawn for drawn in ax.lines if str(drawn.get_label()).startswith(label)).get_xydata()


def test_the_operating_point_is_where_it_is() -> None:
    at = confusion_at(Y, SCORE, 0.5)
    left, right = plots.curves_plot(Y, SCORE, 0.5).axes
    assert line(left, "threshold")[0] == pytest.approx([1 - at.specificity, at.sensitivity])
    assert line(right, "threshold")[0] == pytest.approx([at.sensitivity, at.precision])
    xy = line(left, "AUC")
    assert np.trapezoid(xy[:, 1], xy[:, 0]) == pytest.approx(roc_auc(Y, SCORE))


def test_each_of_two_models_has_its_operating_point() -> None:
    left, right = FIGURES["compared"]().axes
    points = [[tuple(*p.get_xydata()) for p in ax.lines if len(p.get_xydata()) == 1] for ax in (left, right)]
    counts = [confusion_at(Y, SCORE, 0.5), confusion_at(Y, SCORE**2, 0.3)]
    assert points[0] == [pytest.approx((1 - at.specificity, at.sensitivity)) for at in counts]
    assert points[1] == [pytest.approx((at.sensitivity, at.precision)) for at in counts]


def test_the_montage_outlines_what_is_masked() -> None:
    made = FIGURES["montage"]()
    outlined = [bool(ax.lines) for ax in made.axes]
    assert outlined == [True] + [False] * 7
    points = made.axes[0].lines[-1].get_xydata()
    assert (*points.min(axis=0), *points.max(axis=0)) == (3, 17, 12, 24)  # a pixel outside of rows 18 to 23
    with pytest.raises(InputError, match="expected 6, one for each image"):
        plots.montage(IMAGES, ["only one"])


def test_values_and_intervals_are_drawn_in_the_row_of_their_label() -> None:
    made = forest_plot({"AUC": DOTS}, "auc", series="network", line=0.5)
    ax = made.axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["hand", "hip"] and ax.get_xlabel() == "AUC"
    marks = {line.get_label(): line.get_xydata().tolist() for line in ax.lines[:2]}
    assert marks == {"a": [[0.8, -0.15], [0.6, 0.85]], "b": [[0.7, 0.15]]}
    segments = [part.tolist() for drawn in ax.collections for part in drawn.get_segments()]
    assert segments == [[[0.7, -0.15], [0.9, -0.15]], [[0.5, 0.85], [0.7, 0.85]], [[0.6, 0.15], [0.8, 0.15]]]
    assert [text.get_text() for text in made.legends[0].get_texts()] == ["a", "b"]
    alone = forest_plot({"AUC": DOTS.iloc[3:], "without": DOTS[["auc"]]}, "auc")
    assert "no row" in alone.axes[0].get_title() and not alone.axes[1].collections and not alone.legends
    with pytest.raises(InputError, match="network has 6 values; expected at most 5"):
        forest_plot({"AUC": DOTS.iloc[[0] * 6].assign(network=range(6))}, "auc", series="network")


def test_pictures_of_what_does_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"panels\['AUC'\] has no column score; it has "):
        forest_plot({"AUC": DOTS}, "score")
    with pytest.raises(InputError, match="panels is empty"):
        forest_plot({}, "auc")
    with pytest.raises(InputError, match="masks has 1 values; expected 6"):
        plots.montage(IMAGES, list("abcdef"), masks=MASKS[:1])
    with pytest.raises(InputError, match=r"masks\[0\] has shape \(64, 64\); expected \(32, 32\)"):
        plots.montage(IMAGES[:1], ["a"], masks=np.ones((1, 64, 64), np.uint8))
    with pytest.raises(InputError, match=r"heats\[0\] has shape \(8,\); expected \(h, w\), or None"):
        plots.montage(IMAGES[:1], ["a"], heats=np.ones((1, 8), np.float32))


def test_titles_of_a_montage_may_be_numbers() -> None:
    assert plots.montage(IMAGES[:1], [1]).axes[0].get_title() == "1"


def test_marks_tell_what_leaves_the_line_out() -> None:
    def marks(made: Figure) -> list[list[tuple[str, list[int]]]]:
        drawn = [[x for x in ax.lines if x.get_marker() != "None"] for ax in made.axes]
        return [[(x.get_marker(), x.get_ydata().tolist()) for x in lines if len(x.get_ydata())] for lines in drawn]

    auc = pd.DataFrame({"auc": [-0.1, 0.0], "auc_low": [-0.2, -0.1], "auc_high": [-0.05, 0.1]}, index=["blur", "noise"])
    rate = pd.DataFrame({"auc": [-0.1, 0.3], "low": [-0.2, 0.15], "high": [0.1, 0.4]}, index=["blur", "noise"])
    made = forest_plot({"AUC": auc, "specificity": rate}, "auc", line=0)
    assert marks(made) == [[("o", [1]), ("D", [0])], [("o", [0]), ("D", [1])]]
    assert len({ax.get_xlim() for ax in made.axes}) == 1, "panels of the same rows are to be compared"
    own = forest_plot({"AUC": auc, "specificity": rate}, "auc", line={"AUC": -0.15, "specificity": -0.1})
    assert marks(own) == [[("o", [0]), ("D", [1])], [("o", [0]), ("D", [1])]]
    assert marks(forest_plot({"AUC": auc}, "auc")) == [[("o", [0, 1])]]
    one = forest_plot({"AUC": auc, "mean": rate.head(1)}, "auc", line={"AUC": 0})
    assert [len(ax.lines) for ax in one.axes] == [3, 1], "a line where there is one to draw"
    assert made._repr_png_() == forest_plot({"AUC": auc, "specificity": rate}, "auc", line=0)._repr_png_()


def test_the_confusion_shows_its_counts() -> None:
    counts = confusion_at(Y, SCORE, 0.5)
    texts = [t.get_text().split("\n")[0] for t in FIGURES["confusion"]().axes[0].texts]
    assert texts == [str(c) for c in (counts.tn, counts.fp, counts.fn, counts.tp)]


def test_reliability_has_its_bins() -> None:
    for images, bins in ((100, 4), (50, 3)):
        ax = curves.reliability_plot(Y[-images:], SCORE[-images:]).axes[0]
        table = reliability(Y[-images:], SCORE[-images:], bins=bins)
        assert np.allclose(line(ax, "images in equal bins"), table[["mean_score", "observed"]])


def test_net_benefit_and_selection_are_drawn_as_computed() -> None:
    ax = curves.decision_plot(BENEFIT).axes[0]
    assert np.allclose(line(ax, "the classifier")[:, 1], BENEFIT["model"])
    table = selective_prediction(Y, SCORE, 0.5)
    assert np.allclose(line(curves.selective_plot(Y, SCORE, 0.5).axes[0], "wrong among")[:, 1], table["error"])


def test_one_class_can_be_drawn() -> None:
    y = np.zeros(10, int)
    score = np.linspace(0, 1, 10)
    for made in (
        plots.score_histogram(y, score, 0.5),
        plots.confusion_plot(confusion_at(y, score, 0.5)),
        plots.sweep_plot(sweep(y, score), 0.5),
        plots.curves_plot(y, score, 0.5),
        curves.bands_plot(y, score, None, 0.5, n=5),
        curves.reliability_plot(y, score, n=5),
        curves.decision_plot(net_benefit(y, score)),
    ):
        made.draw_without_rendering()
