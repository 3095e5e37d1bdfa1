"""Utility: against R's dcurves, against counting, and against Bayes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fracturelib._io.files import InputError
from fracturelib.metrics.calibration import _logistic
from fracturelib.metrics.classification import confusion_at, predictive_values
from fracturelib.metrics.decision_curve import (
    net_benefit,
    predictive_value_curve,
    prior_shift,
    selective_prediction,
    workload,
)
from fracturelib.metrics.intervals import wilson_interval
from tests.test_metrics import Case, cases

share = st.floats(0.01, 0.99)


@pytest.fixture
def cancer(oracles: Path) -> tuple[np.ndarray, pd.DataFrame]:
    frame = pd.read_csv(oracles / "dca_df_binary.csv")
    return frame["cancer"].astype(int).to_numpy(), frame


@pytest.mark.parametrize(("table", "name"), [("dca_r_expected", "age"), ("dca_r_famhistory", "famhistory")])
def test_net_benefit_is_that_of_dcurves(
    cancer: tuple[np.ndarray, pd.DataFrame], oracles: Path, table: str, name: str
) -> None:
    y, frame = cancer
    theirs = pd.read_csv(oracles / f"{table}.csv")
    risk = frame[name].to_numpy(float)
    if name == "age":
        # No probability: theirs fits a logistic regression to it.
        design = np.stack([np.ones(len(y)), risk - risk.mean()], axis=1)
        fitted = _logistic(design, y.astype(float), np.zeros(len(y)))
        assert fitted is not None
        risk = 1 / (1 + np.exp(-design @ fitted[0]))
    checked = 0
    for model, column in ((name, "model"), ("all", "all"), ("none", "none")):
        rows = theirs[theirs["variable"] == model]
        # At 0 they count a risk of exactly 0 as negative; everybody's score is at least 0.
        rows = rows[(rows["threshold"] > 0) | (model == "all")]
        ours = net_benefit(y, risk, rows["threshold"].to_numpy())
        np.testing.assert_allclose(ours[column], rows["net_benefit"], rtol=0, atol=1e-9)
        if column == "model":
            np.testing.assert_allclose(ours["tp_rate"], rows["tp_rate"], rtol=0, atol=1e-9)
            np.testing.assert_allclose(ours["fp_rate"], rows["fp_rate"], rtol=0, atol=1e-9)
        checked += len(rows)
    assert checked >= 297


@settings(max_examples=100, deadline=None)
@given(cases(both=False), st.lists(st.integers(0, 19), min_size=1, max_size=5))
def test_net_benefit_is_counted(case: Case, twentieths: list[int]) -> None:
    y, score = case
    for row in net_benefit(y, score, np.array(twentieths) / 20).to_dict("records"):
        t, counts = row["threshold"], confusion_at(y, score, row["threshold"])
        assert row["model"] == pytest.approx((counts.tp - counts.fp * t / (1 - t)) / counts.n)
        everybody = confusion_at(y, score, -np.inf)
        assert row["all"] == pytest.approx((everybody.tp - everybody.fp * t / (1 - t)) / counts.n)
        assert row["gain"] == pytest.approx(row["model"] - max(row["all"], 0))


def test_net_benefit_at_another_prevalence() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.5).astype(int)
    score = np.clip(rng.normal(0.3 + 0.3 * y, 0.2), 0, 1)
    row = net_benefit(y, score, [0.1], prevalence=0.02).iloc[0]
    c = confusion_at(y, score, 0.1)
    assert row["model"] == pytest.approx(0.02 * c.sensitivity - 0.98 * (1 - c.specificity) / 9)
    same = net_benefit(y, score, [0.1], prevalence=float(y.mean())).iloc[0]
    assert same["model"] == pytest.approx(net_benefit(y, score, [0.1]).iloc[0]["model"])


def test_net_benefit_limits_hold_it_and_groups_widen_them() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random(100) < 0.4).astype(int)
    score = np.clip(rng.normal(0.3 + 0.3 * y, 0.2), 0, 1)
    y, score, group = np.repeat(y, 4), np.repeat(score, 4), np.repeat(np.arange(100), 4)
    by_image, by_group = (net_benefit(y, score, [0.2, 0.4], group=g, n=400) for g in (None, group))
    for table in (by_image, by_group):
        assert ((table["low"] < table["model"]) & (table["model"] < table["high"])).all()
        assert (table["gain_low"] < table["gain_high"]).all()
    wide = (by_group["high"] - by_group["low"]) / (by_image["high"] - by_image["low"])
    assert 1.6 < wide.mean() < 2.4


def test_gain_is_over_the_better_of_everybody_and_nobody() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [60, 40])
    table = net_benefit(y, np.clip(rng.normal(0.3 + 0.4 * y, 0.2), 0, 1), [0.1, 0.3, 0.6, 0.9])
    assert (table["all"] > 0).tolist() == [True, True, False, False]
    better = np.where(table["all"] > 0, table["all"], table["none"])
    np.testing.assert_allclose(table["gain"], table["model"] - better, atol=1e-12)


def test_net_benefit_at_its_edges() -> None:
    table = net_benefit([0, 1], [0.2, 0.7], [0.0, 1.0], n=20)
    assert table["model"][0] == table["all"][0] == 0.5 and np.isnan(table["model"][1]) and np.isnan(table["all"][1])
    with pytest.raises(InputError, match="thresholds has values outside"):
        net_benefit([0, 1], [0.2, 0.7], [1.2])
    assert len(net_benefit([0, 1], [0.2, 0.7])) == 100


@given(share, share, share)
def test_predictive_values_are_counted(se: float, sp: float, prevalence: float) -> None:
    ppv, npv = predictive_values(se, sp, prevalence)
    load = workload(se, sp, prevalence)
    assert ppv == pytest.approx(load.found / load.flagged)
    assert npv == pytest.approx((1000 - load.fractured - load.false_alarms) / (1000 - load.flagged))
    assert load.found + load.missed == pytest.approx(load.fractured)


def test_predictive_values_at_the_images_own_prevalence_are_precision_and_npv() -> None:
    rng = np.random.default_rng(2)
    y = rng.permutation(np.repeat([0, 1], [210, 90]))
    score = rng.random(300) * 0.6 + 0.4 * y * rng.random(300)
    counts = confusion_at(y, score, 0.4)
    curve = predictive_value_curve(y, score, 0.4, n=300)
    own = curve[np.isclose(curve["prevalence"], 0.3)]
    assert (own["ppv"].item(), own["npv"].item()) == pytest.approx((counts.precision, counts.npv))
    assert curve["ppv"].is_monotonic_increasing and curve["npv"].is_monotonic_decreasing
    assert ((curve["ppv_low"] < curve["ppv"]) & (curve["ppv"] < curve["ppv_high"])).all()
    assert predictive_value_curve([0, 0], [0.1, 0.2], 0.5, n=5)["ppv"].isna().all()
    assert counts.predictive_values(float(y.mean())) == pytest.approx((counts.precision, counts.npv))
    assert np.allclose(counts.predictive_values(curve["prevalence"])[0], curve["ppv"])
    ppv, npv = predictive_values(0.0, 1.0, 0.3)
    assert np.isnan(ppv) and npv == pytest.approx(0.7)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), share, share)
def test_prior_shift_goes_back_and_keeps_the_order(scores: list[float], before: float, after: float) -> None:
    moved = prior_shift(scores, before=before, after=after)
    np.testing.assert_allclose(prior_shift(moved, before=after, after=before), scores, atol=1e-9)
    assert (np.diff(moved[np.argsort(scores)]) >= 0).all()
    np.testing.assert_allclose(prior_shift(scores, before=before, after=before), scores, atol=1e-12)
    assert prior_shift([before], before=before, after=after)[0] == pytest.approx(after)


def test_prevalence_is_found_without_labels() -> None:
    rng = np.random.default_rng(3)
    y = (rng.random(40_000) < 0.1).astype(int)
    z = rng.normal(size=len(y)) + 2 * y
    # Calibrated where half are fractured: log odds of two unit normals two apart.
    score = 1 / (1 + np.exp(-(2 * z - 2)))
    moved = prior_shift(score, before=0.5)
    assert moved.mean() == pytest.approx(0.1, abs=0.01)
    np.testing.assert_allclose(moved, prior_shift(score, before=0.5, after=moved.mean()), atol=1e-6)
    with pytest.raises(InputError, match="between 0 and 1"):
        prior_shift([0.5], before=0.0, after=0.5)


def test_workload() -> None:
    load = workload(0.9, 0.8, 0.1)
    found = (load.fractured, load.found, load.missed, load.false_alarms, load.flagged)
    assert found == pytest.approx((100, 90, 10, 180, 270)) and load.images_per_find == pytest.approx(3)
    assert workload(0, 0.5, 0.1).images_per_find == np.inf and np.isnan(workload(0, 1, 0.1).images_per_find)


@settings(max_examples=100, deadline=None)
@given(cases(both=False), st.sampled_from([0.3, 0.5]))
def test_selective_prediction_is_counted(case: Case, threshold: float) -> None:
    y, score = case
    table = selective_prediction(y, score, threshold)
    with np.errstate(divide="ignore"):
        margin = np.abs(np.log(score / (1 - score)) - np.log(threshold / (1 - threshold)))
    for row in table.to_dict("records"):
        kept = margin >= row["margin"] - 1e-6
        counts = confusion_at(y[kept], score[kept], threshold)
        assert row["coverage"] == pytest.approx(kept.mean()) and row["error"] == pytest.approx(1 - counts.accuracy)
        assert row["sensitivity"] == pytest.approx(counts.sensitivity, nan_ok=True)
        assert row["specificity"] == pytest.approx(counts.specificity, nan_ok=True)
    assert table["coverage"].iloc[-1] == 1 and table["coverage"].is_monotonic_increasing


def test_predictive_values_without_a_false_alarm_are_not_certain() -> None:
    y = np.arange(20) % 2
    table = predictive_value_curve(y, y.astype(float), 0.5, n=50).iloc[[9, 49]]
    least = wilson_interval(10, 10).low
    ppv, npv = predictive_values(least, least, np.array([0.1, 0.5]))
    assert (table[["ppv", "npv", "ppv_high", "npv_high"]] == 1).all(axis=None)
    assert np.allclose(table["ppv_low"], ppv) and np.allclose(table["npv_low"], npv) and (ppv < 0.8).all()
