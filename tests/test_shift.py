"""Noticing, estimating and repairing a shift: against definitions, brute force, and cases whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import ks_2samp, norm

from fracturelib._io.files import InputError
from fracturelib.metrics.bootstrap import paired_group_bootstrap
from fracturelib.metrics.calibration import calibration_line, log_loss
from fracturelib.metrics.classification import confusion_at, roc_auc
from fracturelib.metrics.decision_curve import estimate_prevalence
from fracturelib.metrics.intervals import wilson_interval
from fracturelib.shift.acquisition import Site, case_mix, delivered, whole_squares
from fracturelib.shift.drift import costs, group_permutation_test, image_statistics, ks_statistic, site_table
from fracturelib.shift.recalibration import (
    few_labels,
    fit_intercept,
    fractures_needed,
    prior_likelihood,
    repair_and_judge,
)

SEEDS = st.integers(0, 2**32 - 1)


def calibrated(n: int, prevalence: float, seed: int, apart: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores that are P(fractured) exactly, at this prevalence: two normal classes `apart`."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < prevalence).astype(np.int64)
    x = rng.normal(apart * y, 1)
    odds = norm.pdf(x, apart) * prevalence / (norm.pdf(x) * (1 - prevalence))
    return y, odds / (1 + odds)


def test_em_recovers_a_known_prevalence_and_climbs_to_the_top_of_the_likelihood() -> None:
    y, score = calibrated(20_000, 0.4, 0)
    shares = np.linspace(0.001, 0.999, 999)
    for prevalence in (0.05, 0.2, 0.7):
        mix = case_mix(y, np.arange(len(y)), prevalence)
        found = estimate_prevalence(score[mix], before=0.4)
        assert found == pytest.approx(prevalence, abs=0.02)
        top = shares[np.argmax(prior_likelihood(score[mix], shares, before=0.4))]
        assert found == pytest.approx(top, abs=0.001)


def test_likelihood_is_that_of_the_mixture() -> None:
    _, score = calibrated(300, 0.4, 1)
    share = 0.15
    brute = np.mean([np.log(s * share / 0.4 + (1 - s) * (1 - share) / 0.6) for s in score])
    assert prior_likelihood(score, [share], before=0.4)[0] == pytest.approx(brute)
    assert prior_likelihood(score, [0.4], before=0.4)[0] == pytest.approx(0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:scipy")  # of its p value
@given(SEEDS, st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_gap_is_that_of_scipy(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 6, n) / 5, rng.integers(0, 6, m) / 5  # with ties
    assert ks_statistic(a, b) == pytest.approx(ks_2samp(a, b, method="asymp").statistic)
    assert ks_statistic(a, b) == pytest.approx(ks_statistic(b, a))


def test_permutation_by_patients_is_honest_where_images_are_alike() -> None:
    # No difference between hospitals, but six images a patient that are nearly the same.
    false_alarms = textbook = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(20), 6)
        a, b = (np.repeat(rng.normal(size=20), 6) + 0.05 * rng.normal(size=120) for _ in range(2))
        false_alarms += group_permutation_test(a, b, group, group, n=99, seed=seed) <= 0.05
        textbook += ks_2samp(a, b).pvalue <= 0.05
    assert false_alarms <= 9 and textbook > 20
    rng = np.random.default_rng(0)
    group = np.arange(100)
    assert group_permutation_test(rng.normal(size=100), rng.normal(1, 1, 100), group, group, n=99) == pytest.approx(
        0.01
    )


def test_statistics_follow_what_is_done_to_the_images() -> None:
    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(120, 40, (5, 32, 32)), 0, 255).astype(np.uint8)
    boxes = whole_squares(images)
    plain = image_statistics(images, boxes)
    assert len(plain) == 5 and np.isfinite(plain.to_numpy()).all()
    assert plain["mean"][0] == pytest.approx(images[0].mean()) and plain["spread"][0] == pytest.approx(images[0].std())
    assert (image_statistics(delivered(images, Site(gamma=1.8)), boxes)["mean"] < plain["mean"]).all()
    blurred = image_statistics(delivered(images, Site(blur=0.05)), boxes)
    assert (blurred["sharpness"] < plain["sharpness"]).all() and (blurred["grain"] < plain["grain"]).all()
    assert (image_statistics(delivered(images, Site(margin=0.5)), boxes)["black"] > plain["black"]).all()
    inner = image_statistics(np.pad(images, ((0, 0), (4, 4), (4, 4))), boxes + np.array([4, 4, 0, 0]))
    pd.testing.assert_frame_equal(inner, plain)  # the padding is not looked at


def test_costs_are_paired_differences() -> None:
    y, score = calibrated(200, 0.4, 2)
    group = np.arange(200) // 2
    worse = expit(logit(score) + np.random.default_rng(0).normal(size=200))
    higher = expit(logit(score) + 1.5)
    table = costs(y, score, {"same": score, "worse": worse, "higher": higher}, group, 0.4, n=200)
    cell = table.set_index(["change", "metric"])
    assert (cell.loc["same", ["difference", "low", "high"]] == 0).all(axis=None)
    assert not cell.loc["same", "certain"].any()
    expected = paired_group_bootstrap(roc_auc, y, worse, score, group, n=200)
    assert cell.loc[("worse", "AUC"), "low"] == expected.low
    # A rising change leaves the order alone, and carries scores across the threshold.
    assert cell.loc[("higher", "AUC"), "difference"] == pytest.approx(0)
    moved = confusion_at(y, higher, 0.4).specificity - confusion_at(y, score, 0.4).specificity
    assert cell.loc[("higher", "specificity"), "difference"] == pytest.approx(moved)
    assert moved < -0.1 and cell.loc[("higher", "specificity"), "certain"]


def test_site_table_holds_the_library_s_own_figures() -> None:
    y, score = calibrated(300, 0.4, 3)
    table = site_table(y, score, np.arange(300) // 3, 0.3, n=100).set_index("metric")
    assert list(table.index) == ["AUC", "sensitivity", "specificity", "ECE", "slope", "intercept"]
    assert table.loc["AUC", "value"] == pytest.approx(roc_auc(y, score))
    assert table.loc["slope", "value"] == pytest.approx(calibration_line(y, score).slope)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()


def test_intercept_makes_the_mean_score_the_share_of_fractures() -> None:
    y, score = calibrated(400, 0.3, 4)
    shifted = expit(logit(score) + 1.2)
    mend = fit_intercept(y, shifted)
    assert mend(shifted).mean() == pytest.approx(y.mean())
    assert mend.intercept == pytest.approx(calibration_line(y, shifted).intercept, abs=1e-8)
    assert mend.slope == 1 and log_loss(y, mend(shifted)) < log_loss(y, shifted)
    split = fit_intercept([0, 0, 1], [0.1, 0.2, 0.9])  # classes apart: a slope would run away, a shift does not
    assert split([0.1, 0.2, 0.9]).mean() == pytest.approx(1 / 3)
    assert np.isfinite(fit_intercept([0, 1], [0.0, 1.0]).intercept)
    with pytest.raises(InputError, match="expected both classes"):
        fit_intercept([0, 0], [0.1, 0.2])


@given(SEEDS, st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_no_patient_repairs_and_judges(seed: int, images: int) -> None:
    group = [f"P{g}" for g in np.random.default_rng(seed).integers(0, 30, 90)]
    repair, judge = repair_and_judge(group, images, seed=seed)
    assert not {group[i] for i in repair} & {group[i] for i in judge}
    assert sorted([*repair, *judge]) == list(range(90)) and len(repair) >= images
    largest = max(group.count(g) for g in set(group))
    assert len(repair) < images + largest, "no more patients than it takes"
    assert np.array_equal(repair, repair_and_judge(group, images, seed=seed)[0])


def test_few_labels_judges_on_others_and_narrows_with_more() -> None:
    y, score = calibrated(600, 0.3, 5)
    score = expit(logit(score) + 1.5)
    group = np.arange(600) // 2
    table = few_labels(y, score, group, [20, 200], draws=60)
    assert set(table["labelled"]) == {20, 200}
    row = table.iloc[0]
    few, rest = repair_and_judge(group, 20, seed=int(row["seed"]))
    threshold = np.sort(score[few][y[few] == 1])[::-1][int(np.ceil(0.9 * y[few].sum() - 1e-9)) - 1]
    assert row["threshold"] == threshold and row["fractured"] == y[few].sum()
    assert row["sensitivity"] == (score[rest][y[rest] == 1] >= threshold).mean()
    spread = table.groupby("labelled")[["sensitivity", "specificity"]].std()
    assert (spread.loc[200] < 0.7 * spread.loc[20]).all()
    many = table[table["labelled"] == 200]
    assert (many["intercept"] < many["none"]).mean() > 0.95
    lonely = few_labels((np.arange(600) == 0).astype(int), score, group, [20], draws=5)
    assert lonely.empty, "with one fracture, a class is missing in one of the parts"


def test_fractures_needed_is_the_least_that_does() -> None:
    for n, found in ((10, 9), (100, 90), (1000, 900)):
        interval = wilson_interval(found, n)
        half = (interval.high - interval.low) / 2
        assert fractures_needed(half + 1e-9) == n and fractures_needed(half - 1e-9) == n + 1
    assert fractures_needed(0.05) > 3 * fractures_needed(0.1)


def test_errors_name_the_argument() -> None:
    with pytest.raises(InputError, match="empty"):
        ks_statistic([], [1.0])
    with pytest.raises(InputError, match=r"images is 9; expected 1\.\.4"):
        repair_and_judge([1, 1, 2, 2], 9)
    with pytest.raises(InputError, match="no patient is left"):
        repair_and_judge([1, 1, 2, 2], 4)
    with pytest.raises(InputError, match=r"half_width is 0\.7"):
        fractures_needed(0.7)
