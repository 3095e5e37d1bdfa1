"""Counting: against scikit-learn on random cases with ties, against pROC's published figures, and at the edges."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fracturelib._io.files import InputError
from fracturelib.metrics.classification import (
    Confusion,
    average_precision,
    checked,
    checked_probabilities,
    confusion_at,
    partial_auc,
    roc_auc,
    sweep,
    undefined_reason,
)

Case = tuple[np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn, both: bool = True) -> Case:
    """Labels and scores with many ties, up to 60 images; with both classes if asked."""
    n = draw(st.integers(2, 60))
    y = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    if both:
        y[:2] = 0, 1
    levels = draw(st.sampled_from([2, 5, 1000]))
    score = np.array(draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))) / levels
    return y, score


@settings(max_examples=1000, deadline=None)
@given(cases())
def test_areas_and_curves_are_scikit_learns(case: Case) -> None:
    y, score = case
    assert roc_auc(y, score) == pytest.approx(sk.roc_auc_score(y, score), abs=1e-13)
    assert average_precision(y, score) == pytest.approx(sk.average_precision_score(y, score), abs=1e-13)
    table = sweep(y, score)
    curve = table["fp"] / table["fp"].iloc[-1], table["sensitivity"], table["threshold"]
    for ours, theirs in zip(curve, sk.roc_curve(y, score, drop_intermediate=False), strict=True):
        assert np.array_equal(ours, theirs)
    precision, recall, threshold = sk.precision_recall_curve(y, score)
    ours = table.iloc[:0:-1]  # without the row of infinity, where no precision is defined
    assert np.array_equal(ours["precision"], precision[:-1]) and np.array_equal(ours["sensitivity"], recall[:-1])
    assert np.array_equal(ours["threshold"], threshold)


@settings(max_examples=200, deadline=None)
@given(cases())
def test_mcclish_is_scikit_learns(case: Case) -> None:
    y, score = case
    assert partial_auc(y, score) == pytest.approx(sk.roc_auc_score(y, score, max_fpr=0.1), abs=1e-12)


@settings(max_examples=300, deadline=None)
@given(cases(both=False))
def test_every_row_of_the_sweep_is_the_confusion_there(case: Case) -> None:
    y, score = case
    for row in sweep(y, score, beta=2.0).to_dict("records"):
        counts = confusion_at(y, score, row["threshold"])
        assert (counts.tp, counts.fp, counts.fn, counts.tn) == tuple(row[k] for k in ("tp", "fp", "fn", "tn"))
        for name, value in row.items():
            if name not in ("threshold", "tp", "fp", "fn", "tn"):
                expected = counts.f_beta(2.0) if name == "f_beta" else getattr(counts, name)
                assert value == pytest.approx(expected, abs=1e-12, nan_ok=True), name


@settings(max_examples=200, deadline=None)
@given(cases(), st.floats(0, 1))
def test_rates_are_scikit_learns(case: Case, threshold: float) -> None:
    y, score = case
    predicted = (score >= threshold).astype(int)
    counts = confusion_at(y, score, threshold)
    tn, fp, fn, tp = sk.confusion_matrix(y, predicted, labels=[0, 1]).ravel()
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (tp, fp, fn, tn)
    assert counts.accuracy == sk.accuracy_score(y, predicted)
    assert counts.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(y, predicted))
    assert counts.f1 == pytest.approx(sk.f1_score(y, predicted))
    assert counts.f_beta(2) == pytest.approx(sk.fbeta_score(y, predicted, beta=2, zero_division=0))
    if 0 < predicted.sum() < len(y):
        assert counts.mcc == pytest.approx(sk.matthews_corrcoef(y, predicted))
        assert counts.precision == sk.precision_score(y, predicted)


def test_small_published_case() -> None:
    y, score = [0, 0, 0, 1, 1, 1], [0.21, 0.35, 0.63, 0.92, 0.32, 0.79]
    assert roc_auc(y, score) == pytest.approx(0.7777777777777778, abs=1e-15)
    assert average_precision(y, score) == pytest.approx(0.8666666666666667, abs=1e-15)


@pytest.fixture
def asah(oracles: Path) -> pd.DataFrame:
    frame = pd.read_csv(oracles / "aSAH.csv")
    return frame.assign(y=(frame["outcome"] == "Poor").astype(int))


def test_areas_are_those_of_proc(asah: pd.DataFrame) -> None:
    published = {"wfns": 0.823678861788618, "s100b": 0.7313685636856369, "ndka": 0.611957994579946}
    for name, auc in published.items():
        assert roc_auc(asah["y"], asah[name]) == pytest.approx(auc, abs=1e-12)
    assert partial_auc(asah["y"], asah["wfns"]) == pytest.approx(0.649693339038653, abs=1e-12)
    for name, area in {"wfns": 0.0334417344173442, "ndka": 0.0107046070460705}.items():  # before the correction
        assert partial_auc(asah["y"], asah[name]) == pytest.approx((1 + (area - 0.005) / 0.095) / 2, abs=1e-11)


def test_the_51_operating_points_of_proc(asah: pd.DataFrame, oracles: Path) -> None:
    theirs = pd.read_csv(oracles / "aSAH_s100b_coords_pROC.csv")
    ours = sweep(asah["y"], asah["s100b"]).iloc[::-1].reset_index(drop=True)
    assert len(ours) == len(theirs) == 51
    # Their thresholds lie half way between two scores, ours on the upper one; they leave the -1 out of Youden's J.
    upper = theirs["threshold"].to_numpy()
    assert ((ours["threshold"] > upper) | np.isinf(ours["threshold"])).all()
    ours["youden"] += 1
    names = {"ppv": "precision", "lr_pos": "lr_plus", "lr_neg": "lr_minus"}
    for theirs_name in theirs.columns.drop(["threshold", "closest.topleft"]):
        name = names.get(theirs_name, theirs_name)
        np.testing.assert_allclose(ours[name], theirs[theirs_name], rtol=0, atol=1e-9, err_msg=name)


def test_cutpoint_of_a_published_screening_scale(oracles: Path) -> None:
    frame = pd.read_csv(oracles / "suicide.csv")
    y = (frame["suicide"] == "yes").astype(int)
    assert roc_auc(y, frame["dsi"]) == pytest.approx(0.923779, abs=5e-7)
    counts = confusion_at(y, frame["dsi"], 2)
    assert counts == Confusion(tp=32, fp=68, fn=4, tn=428)
    assert (round(counts.sensitivity, 6), round(counts.specificity, 6)) == (0.888889, 0.862903)


BAD = [
    ([], [], "y is empty"),
    ([0, 1], [0.1], "shapes (2,) and (1,)"),
    ([[0, 1]], [[0.1, 0.2]], "shapes (1, 2)"),
    ([0, 1], [0.1, float("nan")], "1 NaN"),
    ([0, 2], [0.1, 0.2], "the label 2"),
    ([0, -1], [0.1, 0.2], "the label -1"),
    (["a", "b"], [0.1, 0.2], "the label a"),
    ([0, None], [0.1, 0.2], "the label None"),
    ([0, float("nan")], [0.1, 0.2], "the label nan"),
    ([0, 1], ["low", "high"], "expected numbers"),
]


@pytest.mark.parametrize(("y", "score", "message"), BAD)
@pytest.mark.parametrize("function", [roc_auc, average_precision, sweep, partial_auc, checked])
def test_bad_input_is_one_line(function, y, score, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError) as raised:
        function(y, score)
    assert message in str(raised.value) and "\n" not in str(raised.value) and "expected" in str(raised.value)


def test_labels_may_be_bool_float_or_integer() -> None:
    score = [0.1, 0.9, 0.8]
    for kind in (bool, float, np.uint8):
        assert roc_auc(np.array([0, 1, 1], kind), score) == 1.0


@pytest.mark.parametrize(("y", "word"), [([0, 0, 0], "none of the 3"), ([1, 1], "all of the 2")])
def test_one_class_is_undefined_and_says_why(y: list[int], word: str) -> None:
    score = np.linspace(0, 1, len(y))
    assert word in (undefined_reason(y) or "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(roc_auc(y, score)) and np.isnan(partial_auc(y, score))
        table = sweep(y, score)
    missing, known = ("sensitivity", "specificity") if y[0] == 0 else ("specificity", "sensitivity")
    assert table[missing].isna().all() and table[known].notna().all()
    assert np.isnan(average_precision([0, 0], [0.1, 0.2])) and average_precision([1, 1], [0.1, 0.2]) == 1.0
    assert undefined_reason([0, 1]) is None


def test_all_scores_equal_is_a_coin() -> None:
    assert roc_auc([0, 1, 0, 1], [0.3] * 4) == 0.5
    assert partial_auc([0, 1, 0, 1], [0.3] * 4) == pytest.approx(0.5)
    assert len(sweep([0, 1, 0, 1], [0.3] * 4)) == 2


def test_infinite_scores_have_an_order() -> None:
    y, score = [0, 1, 0, 1], [-np.inf, np.inf, 0.2, 0.1]
    assert roc_auc(y, score) == 0.75
    table = sweep(y, score)
    assert list(table["threshold"]) == [np.inf, 0.2, 0.1, -np.inf] and list(table["tp"]) == [1, 1, 2, 2]
    with pytest.raises(InputError, match="-inf; expected probabilities"):
        checked_probabilities(y, score)


def test_undefined_figures_say_why() -> None:
    nobody = Confusion(tp=0, fp=0, fn=3, tn=4)
    assert (
        np.isnan(nobody.precision)
        and nobody.undefined("precision") == "undefined, because no image is predicted fractured"
    )
    assert nobody.sensitivity == 0 and nobody.undefined("sensitivity") is None
    assert np.isnan(nobody.lr_plus) and "no image is predicted" in (nobody.undefined("lr_plus") or "")
    everybody = Confusion(tp=3, fp=4, fn=0, tn=0)
    assert "every image is predicted" in (everybody.undefined("npv") or "")
    assert "every image is predicted" in (everybody.undefined("lr_minus") or "")
    assert Confusion(2, 0, 1, 4).lr_plus == np.inf and Confusion(2, 1, 1, 0).lr_minus == np.inf
    sound_only = Confusion(tp=0, fp=1, fn=0, tn=4)
    for name in ("sensitivity", "youden", "mcc", "lr_plus", "balanced_accuracy"):
        assert np.isnan(getattr(sound_only, name)) and "no image is fractured" in (sound_only.undefined(name) or "")
    for counts in (nobody, everybody, sound_only, Confusion(0, 0, 2, 0), Confusion(0, 0, 0, 2), Confusion(2, 0, 0, 0)):
        for name in ("sensitivity", "specificity", "precision", "npv", "f1", "mcc", "youden", "lr_plus", "lr_minus"):
            value = getattr(counts, name)
            assert np.isnan(value) == (counts.undefined(name) is not None), (counts, name)


def test_the_seed_projects_figures_are_worth_little() -> None:
    counts = Confusion(tp=81, fp=74, fn=19, tn=26)
    assert counts.youden == pytest.approx(0.07) and counts.lr_plus == pytest.approx(0.81 / 0.74)


def test_a_corrected_part_is_a_half_for_a_coin_and_one_for_perfection() -> None:
    y = np.repeat([0, 1], 50)
    assert partial_auc(y, np.zeros(100)) == pytest.approx(0.5)
    assert partial_auc(y, y) == pytest.approx(1)
