"""Noticing and repairing a shift: against definitions, brute force, and cases whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import ks_2samp, norm

from fracturelib._io.files import InputError
from fracturelib.metrics import confusion_at, fit_calibrator, prior_shift, roc_auc
from fracturelib.metrics.bootstrap import paired_group_bootstrap
from fracturelib.metrics.calibration import calibration_line
from fracturelib.metrics.operating_point import threshold_for_sensitivity
from fracturelib.shift import Predictions
from fracturelib.shift.acquisition import case_mix

SEEDS = st.integers(0, 2**32 - 1)


def calibrated(n: int, prevalence: float, seed: int, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores that are P(fractured) exactly, at this prevalence: two normal classes `apart`."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < prevalence).astype(np.int64)
    x = rng.normal(apart * y, 1)
    odds = norm.pdf(x, apart) * prevalence / (norm.pdf(x) * (1 - prevalence))
    return y, odds / (1 + odds)


def predictions(y: np.ndarray, score: np.ndarray, images_a_patient: int = 1) -> Predictions:
    return Predictions(y, score, np.arange(len(y)) // images_a_patient)


def test_em_recovers_a_known_prevalence_and_climbs_to_the_top_of_the_likelihood() -> None:
    y, score = calibrated(20_000, 0.4, 0)
    shares = np.linspace(0.001, 0.999, 999)
    for prevalence in (0.05, 0.2, 0.7):
        mix = case_mix(y, np.arange(len(y)), prevalence)
        found = prior_shift(score[mix], before=0.4).mean()
        assert found == pytest.approx(prevalence, abs=0.02)
        s = score[mix, None]
        top = shares[np.argmax(np.log(s * shares / 0.4 + (1 - s) * (1 - shares) / 0.6).mean(axis=0))]
        assert found == pytest.approx(top, abs=0.001)


def test_permutation_by_patients_is_honest_where_images_are_alike() -> None:
    # No difference between hospitals, but six images a patient that are nearly the same.
    group, y = np.repeat(np.arange(20), 6), np.zeros(120, np.int64)
    false_alarms = textbook = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        a, b = (expit(np.repeat(rng.normal(size=20), 6) + 0.05 * rng.normal(size=120)) for _ in range(2))
        p = Predictions(y, a, group).permutation_test(Predictions(y, b, group), n=99, seed=seed)
        false_alarms += p <= 0.05
        textbook += ks_2samp(a, b).pvalue <= 0.05
    assert false_alarms <= 9 and textbook > 20


def test_permutation_sees_scores_that_rise_fall_or_spread() -> None:
    rng, y = np.random.default_rng(0), np.zeros(100, np.int64)
    home = predictions(y, expit(rng.normal(size=100)))
    for middle, spread in ((1, 1), (-1, 1), (0, 6)):
        there = predictions(y, expit(rng.normal(middle, spread, 100)))
        assert home.permutation_test(there, n=99) == there.permutation_test(home, n=99) == pytest.approx(0.01)


def test_costs_are_paired_differences() -> None:
    y, score = calibrated(200, 0.4, 2)
    home = predictions(y, score, 2)
    worse = expit(logit(score) + np.random.default_rng(0).normal(size=200))
    higher = expit(logit(score) + 1.5)
    changed = {"same": score, "worse": worse, "higher": higher}
    table = home.changes({name: predictions(y, s, 2) for name, s in changed.items()}, 0.4, n=200)
    cell = table.set_index(["change", "metric"])
    assert (cell.loc["same", ["value", "low", "high"]] == 0).all(axis=None)
    assert not cell.loc["same", "certain"].any()
    expected = paired_group_bootstrap(roc_auc, y, worse, score, home.groups, n=200)
    assert cell.loc[("worse", "AUC"), "low"] == expected.low
    # A rising change leaves the order alone, and carries scores across the threshold.
    assert cell.loc[("higher", "AUC"), "value"] == pytest.approx(0)
    moved = confusion_at(y, higher, 0.4).specificity - confusion_at(y, score, 0.4).specificity
    assert cell.loc[("higher", "specificity"), "value"] == pytest.approx(moved)
    assert moved < -0.1 and cell.loc[("higher", "specificity"), "certain"]


def test_an_evaluation_holds_the_library_s_own_figures() -> None:
    y, score = calibrated(300, 0.4, 3)
    table = predictions(y, score, 3).evaluate(0.3, n=100).set_index("metric")
    assert list(table.index) == ["AUC", "sensitivity", "specificity", "ECE", "slope", "intercept"]
    assert table.loc["AUC", "value"] == pytest.approx(roc_auc(y, score))
    assert table.loc["slope", "value"] == pytest.approx(calibration_line(y, score).slope)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()


@given(SEEDS, st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_no_patient_repairs_and_judges(seed: int, images: int) -> None:
    group = [f"P{g}" for g in np.random.default_rng(seed).integers(0, 30, 90)]
    there = Predictions(np.zeros(90, np.int64), np.zeros(90), np.array(group))
    repair, judge = there.split(images, seed=seed)
    assert not {group[i] for i in repair} & {group[i] for i in judge}
    assert sorted([*repair, *judge]) == list(range(90)) and len(repair) >= images
    largest = max(group.count(g) for g in set(group))
    assert len(repair) < images + largest, "no more patients than it takes"
    assert np.array_equal(repair, there.split(images, seed=seed)[0])


def test_few_labels_judges_on_others_and_narrows_with_more() -> None:
    y, score = calibrated(600, 0.3, 5)
    score = expit(logit(score) + 1.5)
    there = predictions(y, score, 2)
    table = there.few_labels([20, 200], draws=60)
    assert set(table["labelled"]) == {20, 200}
    row = table.iloc[0]
    few, rest = there.split(20, seed=int(row["seed"]))
    threshold = np.sort(score[few][y[few] == 1])[::-1][int(np.ceil(0.9 * y[few].sum() - 1e-9)) - 1]
    assert row["threshold"] == threshold and row["fractured"] == y[few].sum()
    assert row["sensitivity"] == (score[rest][y[rest] == 1] >= threshold).mean()
    spread = table.groupby("labelled")[["sensitivity", "specificity"]].std()
    assert (spread.loc[200] < 0.7 * spread.loc[20]).all()
    many = table[table["labelled"] == 200]
    assert (many["intercept"] < many["none"]).mean() > 0.95
    lonely = predictions((np.arange(600) == 0).astype(np.int64), score, 2).few_labels([20], draws=5)
    assert lonely.empty, "with one fracture, a class is missing in one of the parts"


def test_repairs_are_judged_on_others_over_draws() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random(300) < 0.3).astype(np.int64)
    shifted = expit(rng.normal(2 * y - 1, 1) + 2)
    there = predictions(y, shifted, 2)
    frozen, repaired = there.judge_over_draws(60, threshold=0.4, draws=21), there.judge_over_draws(60, draws=21)
    for table in (frozen, repaired):
        assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    found = []
    for seed in range(21):
        few, rest = there.split(60, seed=seed)
        mended = fit_calibrator(y[few], shifted[few], "intercept")(shifted)
        t = threshold_for_sensitivity(y[few], mended[few], 0.9)
        found.append((roc_auc(y[rest], shifted[rest]), confusion_at(y[rest], mended[rest], t).specificity))
    auc, specificity = np.median(found, axis=0)
    before, after = (table.set_index("metric")["value"] for table in (frozen, repaired))
    assert after["AUC"] == before["AUC"] == pytest.approx(auc), "labels change no order"
    assert after["specificity"] == pytest.approx(specificity)
    assert after["ECE"] < before["ECE"]


def test_some_predictions_keep_their_patients() -> None:
    there = Predictions(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.2, 0.3]), np.array(["A", "A", "B", "B"]))
    for which in ([1, 2], np.array([False, True, True, False])):
        part = there.some(which)
        assert part.labels.tolist() == [1, 0] and part.scores.tolist() == [0.9, 0.2] and list(part.groups) == ["A", "B"]


def test_columns_of_a_shuffled_table_are_asked_by_place() -> None:
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 20)
    table = pd.DataFrame({"y": y, "s": np.clip(rng.normal(0.3 + 0.4 * y, 0.1), 0, 1), "g": np.repeat(np.arange(20), 2)})
    table = table.sample(frac=1, random_state=0)
    there, plain = Predictions(table["y"], table["s"], table["g"]), Predictions(*table.to_numpy().T)
    few, rest = there.split(6)
    assert not set(there.some(few).groups) & set(there.some(rest).groups)
    assert there.judge_over_draws(6, draws=5).equals(plain.judge_over_draws(6, draws=5))


def test_what_means_nothing_is_refused() -> None:
    there = Predictions(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.2, 0.3]), np.array([1, 1, 2, 2]))
    for message, call in {
        r"after\['x'\] has other labels or patients": lambda: there.changes({"x": there.some([3, 2, 1, 0])}, 0.5),
        "n is -5": lambda: there.permutation_test(there, n=-5),
        "groups is None": lambda: Predictions(there.labels, there.scores, None),  # type: ignore[arg-type]
        "expected places below 4": lambda: there.some([99]),
    }.items():
        with pytest.raises(InputError, match=message):
            call()


def test_errors_name_the_argument() -> None:
    there = Predictions(np.array([0, 1, 0, 1]), np.full(4, 0.5), np.array([1, 1, 2, 2]))
    with pytest.raises(InputError, match=r"labelled is 9; expected 1\.\.4"):
        there.split(9)
    with pytest.raises(InputError, match="no patient is left"):
        there.split(4)
    with pytest.raises(InputError, match="score"):
        Predictions(there.labels, np.array([]), there.groups)
    with pytest.raises(InputError, match="group"):
        Predictions(there.labels, there.scores, there.groups[:3])
