"""Calibration: against published examples, scikit-learn, and truths that are known because they were made."""

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import expit, logit
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from fracturelib._io.files import InputError
from fracturelib.metrics.calibration import (
    bin_of,
    brier_parts,
    calibration_error,
    calibration_line,
    fit_calibrator,
    log_loss,
    reliability,
)
from fracturelib.metrics.classification import roc_auc
from fracturelib.metrics.intervals import wilson_interval
from tests.test_metrics import Case, cases

PROB = [0.22, 0.48, 0.49, 0.96, 0.55, 0.64, 0.78, 0.82, 0.34, 0.87]
TRUTH = [0, 1, 0, 0, 1, 1, 1, 1, 1, 0]


def made(n: int, *, slope: float = 1.0, intercept: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose chance of a fracture is expit(slope * logit(score) + intercept)."""
    rng = np.random.default_rng(seed)
    score = expit(rng.normal(scale=1.5, size=n) - 0.5)
    return (rng.random(n) < expit(slope * logit(score) + intercept)).astype(int), score


@pytest.mark.parametrize(("bins", "mean"), [(2, 0.109), (5, 0.315), (10, 0.359)])
def test_published_calibration_errors(bins: int, mean: float) -> None:
    assert calibration_error(TRUTH, PROB, bins=bins, by="width") == pytest.approx(mean, abs=1e-12)


def test_published_brier_and_log_loss() -> None:
    assert brier_parts(TRUTH, PROB).brier == pytest.approx(0.30859, abs=1e-12)
    assert log_loss(TRUTH, PROB) == pytest.approx(0.9484717803815528, abs=1e-12)
    assert roc_auc(TRUTH, PROB) == pytest.approx(0.4166666666666667, abs=1e-15)


@settings(max_examples=200, deadline=None)
@given(cases(both=False))
def test_brier_is_scikit_learns_and_its_parts_add_up(case: Case) -> None:
    y, score = case
    parts = brier_parts(y, score)
    assert parts.brier == pytest.approx(sk.brier_score_loss(y, score), abs=1e-12)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within
    assert total == pytest.approx(parts.brier, abs=1e-12)
    assert parts.reliability >= 0 and parts.resolution >= 0
    alike = bin_of(score, 10, "mass") / 10  # all scores of a bin are equal
    assert brier_parts(y, alike).within == pytest.approx(0, abs=1e-12)


def test_brier_skill() -> None:
    y = np.array([0, 1, 1, 0])
    assert brier_parts(y, [0.5] * 4).skill == 0
    assert brier_parts(y, y.astype(float)).skill == 1
    assert np.isnan(brier_parts([1, 1], [0.5, 0.5]).skill)


@pytest.mark.parametrize("images", [7, 70, 210])
def test_reliability_is_scikit_learns(images: int) -> None:
    y, score = made(images, seed=images)
    found = reliability(y, score, bins=7)
    observed, said = calibration_curve(y, score, n_bins=7, strategy="quantile")
    assert np.allclose(found["observed"], observed) and np.allclose(found["mean_score"], said)
    assert found["images"].tolist() == [images / 7] * 7


@settings(max_examples=100, deadline=None)
@given(cases())
def test_reliability_leaves_nobody_out(case: Case) -> None:
    y, score = case
    found = reliability(y, score, bins=7)
    assert found["images"].sum() == len(y) and found["fractured"].sum() == y.sum()
    assert ((found["low"] <= found["observed"]) & (found["observed"] <= found["high"])).all()


def test_a_score_on_an_edge_is_in_the_bin_below() -> None:
    assert bin_of(np.array([0, 0.1, 0.25, 0.5, 0.75, 0.76, 1]), 4, "width").tolist() == [0, 0, 0, 1, 2, 3, 3]


def test_equal_mass_keeps_ties_together_and_forgets_the_order() -> None:
    score = np.array([0.1] * 6 + [0.2, 0.3, 0.4, 0.5])
    assert len(set(bin_of(score, 5, "mass")[:6])) == 1
    order = np.random.default_rng(0).permutation(10)
    assert np.array_equal(bin_of(score[order], 5, "mass"), bin_of(score, 5, "mass")[order])
    even = bin_of(np.arange(100) / 100, 10, "mass")
    assert np.bincount(even).tolist() == [10] * 10
    with pytest.raises(InputError, match="'mass' or 'width'"):
        bin_of(score, 5, "count")


def test_groups_widen_reliability() -> None:
    y, score = made(200, seed=1)
    y, score, group = np.repeat(y, 4), np.repeat(score, 4), np.repeat(np.arange(200), 4)
    by_image, by_group = reliability(y, score, bins=5), reliability(y, score, bins=5, group=group, n=400)
    wide = (by_group["high"] - by_group["low"]) / (by_image["high"] - by_image["low"])
    assert 1.6 < wide.mean() < 2.4


def test_slope_and_intercept_are_found_again() -> None:
    y, score = made(40_000, slope=0.6, intercept=-0.4)
    line = calibration_line(y, score)
    assert line.slope_low < 0.6 < line.slope_high and line.slope_high - line.slope_low < 0.06
    assert line.joint_intercept == pytest.approx(-0.4, abs=0.05)
    # With the slope held at 1, the mean of what is said must become the mean of what is.
    assert expit(logit(score) + line.intercept).mean() == pytest.approx(y.mean(), abs=1e-9)
    right = calibration_line(*made(40_000, seed=10))
    assert right.slope_low < 1 < right.slope_high and right.intercept_low < 0 < right.intercept_high


def test_slope_is_scikit_learns() -> None:
    y, score = made(500, slope=1.4, seed=2)
    peer = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logit(score)[:, None], y)
    assert calibration_line(y, score).slope == pytest.approx(peer.coef_[0, 0], rel=1e-5)


def test_slope_is_robust_to_groups() -> None:
    y, score = made(400, seed=4)
    y4, score4, group = np.repeat(y, 4), np.repeat(score, 4), np.repeat(np.arange(400), 4)
    one, naive, robust = (
        calibration_line(y, score),
        calibration_line(y4, score4),
        calibration_line(y4, score4, group=group),
    )
    width = [line.slope_high - line.slope_low for line in (one, naive, robust)]
    assert width[1] == pytest.approx(width[0] / 2, rel=1e-6) and width[2] == pytest.approx(width[0], rel=0.1)


def test_slope_where_it_is_undefined() -> None:
    for y, score, word in (
        ([1, 1], [0.2, 0.9], "all of the 2"),
        ([0, 1, 0, 1], [0.4] * 4, "equal"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], "separates"),
    ):
        line = calibration_line(y, score)
        assert np.isnan(line.slope) and word in (line.undefined or "")


def test_scores_of_0_and_1_are_allowed() -> None:
    y, score = [0, 1, 0, 1, 1, 0], [0.0, 1.0, 0.3, 0.4, 0.0, 1.0]
    assert np.isfinite(calibration_line(y, score).slope)
    assert log_loss(y, score) == np.inf
    assert np.isfinite(fit_calibrator(y, score, "temperature")(score)).all()


def test_scores_outside_are_refused() -> None:
    for function in (log_loss, calibration_error, reliability, calibration_line, brier_parts):
        with pytest.raises(InputError, match=r"score has the value 1\.5"):
            function([0, 1], [0.5, 1.5])


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_calibrators_mend_what_is_broken(method: str) -> None:
    y, score = made(6000, slope=0.4, seed=5)
    new_y, new_score = made(6000, slope=0.4, seed=6)
    mended = fit_calibrator(y, score, method)(new_score)
    assert log_loss(new_y, np.clip(mended, 1e-6, 1 - 1e-6)) < log_loss(new_y, new_score) - 0.02
    assert calibration_error(new_y, mended) < 0.5 * calibration_error(new_y, new_score)
    assert (np.diff(mended[np.argsort(new_score)]) >= -1e-12).all()
    if method != "isotonic":
        assert roc_auc(new_y, mended) == roc_auc(new_y, new_score)


def test_temperature_is_found_again() -> None:
    y, score = made(60_000, slope=0.5, seed=7)
    assert 1 / fit_calibrator(y, score, "temperature").slope == pytest.approx(2, rel=0.05)


def test_isotonic_is_scikit_learns() -> None:
    y, score = made(300, seed=8)
    grid = np.linspace(0, 1, 101)
    peer = IsotonicRegression(out_of_bounds="clip").fit(score, y)
    np.testing.assert_allclose(fit_calibrator(y, score, "isotonic")(grid), peer.predict(grid), atol=1e-12)


def test_platt_fits_his_smoothed_targets() -> None:
    # Perfectly separated: without the smoothing it would run away.
    y, score = [0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8, 0.9]
    found = fit_calibrator(y, score, "platt")
    target = np.where(np.array(y) == 1, 3 / 4, 1 / 5)
    x, residual = logit(score), target - found(score)
    assert residual.sum() == pytest.approx(0, abs=1e-9) and (residual * x).sum() == pytest.approx(0, abs=1e-9)


def test_an_intercept_makes_the_mean_score_the_prevalence() -> None:
    rng = np.random.default_rng(4)
    y = (rng.random(400) < 0.3).astype(int)
    shifted = expit(rng.normal(2 * y, 1) + 1)
    found = fit_calibrator(y, shifted, "intercept")
    assert found(shifted).mean() == pytest.approx(y.mean())
    assert found.intercept == pytest.approx(calibration_line(y, shifted).intercept, abs=1e-8)
    assert found.slope == 1 and log_loss(y, found(shifted)) < log_loss(y, shifted)
    # Classes apart: a slope would run away, a shift does not.
    split = fit_calibrator([0, 0, 1], [0.1, 0.2, 0.9], "intercept")
    assert split([0.1, 0.2, 0.9]).mean() == pytest.approx(1 / 3)
    assert np.isfinite(fit_calibrator([0, 1], [0.0, 1.0], "intercept").intercept)


def test_calibrators_need_both_classes_and_a_known_name() -> None:
    with pytest.raises(InputError, match="none of the 2"):
        fit_calibrator([0, 0], [0.1, 0.2], "platt")
    with pytest.raises(InputError, match="'temperature', 'intercept', 'platt' or 'isotonic'"):
        fit_calibrator([0, 1], [0.1, 0.2], "beta")


# Scores that hardly differ


NARROW = {
    "spread over 1e-5": 0.5 + 1e-5 * np.linspace(0, 1, 40),
    "spread over 1e-13": 0.5 + 1e-13 * np.linspace(0, 1, 40),
    "as float32": (0.3 + 1e-6 * np.linspace(0, 1, 40)).astype(np.float32),
    "around 1e-300": 1e-300 * np.linspace(1, 2, 40),
    "near 1": 1 - 1e-14 * np.linspace(1, 2, 40),
    "near 1, and 1": 1 - 1e-14 * np.linspace(0, 2, 40),
    "0 and 1e-200": np.arange(40) % 2 * 1e-200,
}


@pytest.mark.parametrize("name", NARROW)
def test_platt_asks_not_how_far_apart_scores_are(name: str) -> None:
    score = NARROW[name]
    y = ((np.arange(40) * 7) % 40 + 2 * np.argsort(np.argsort(score, kind="stable")) > 60).astype(int)
    fitted = fit_calibrator(y, score, "platt")
    found = fitted(score)
    # His equations: the smoothed labels and what is said agree in sum, and in sum weighted by the logit.
    target = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    x = logit(np.clip(score.astype(float), fitted.edge, min(1 - fitted.edge, np.nextafter(1.0, 0))))
    x = (x - x.mean()) / x.std()
    rounding = 1e-3 if name == "spread over 1e-13" else 1e-6  # of the slope, 10^14, times the logit
    assert (target - found).sum() == pytest.approx(0, abs=rounding)
    assert ((target - found) * x).sum() == pytest.approx(0, abs=rounding)
    assert found.std() > 0.05 and 0.002 < found.min() < found.max() < 1
    assert np.isfinite(fit_calibrator(y, score, "temperature")(score)).all()
    if name == "spread over 1e-5":
        wide = expit((logit(score) - logit(score).mean()) * 1e5)  # the same logits, a hundred thousand times as far
        peer = fit_calibrator(y, wide, "platt")(wide)
        np.testing.assert_allclose(found, peer, atol=1e-7)
        assert calibration_line(y, score).slope == pytest.approx(1e5 * calibration_line(y, wide).slope, rel=1e-6)


def test_platt_of_narrow_scores_that_are_separated() -> None:
    y = np.array([0] * 5 + [1] * 5)
    score = np.where(y == 1, 0.2 + 1e-9, 0.2)
    found = fit_calibrator(y, score, "platt")(score)
    np.testing.assert_allclose(found, np.where(y == 1, 6 / 7, 1 / 7), atol=1e-6)
    line = calibration_line(y, score)
    assert np.isnan(line.slope) and "one value separates" in (line.undefined or "")


def test_scores_that_are_equal_are_named() -> None:
    with pytest.raises(InputError, match=r"score: all 4 scores are 0\.4; expected at least two different ones"):
        fit_calibrator([0, 1, 0, 1], [0.4] * 4, "platt")
    assert "all scores are equal" in (calibration_line([0, 1, 0, 1], [0.4] * 4).undefined or "")


def test_a_bin_of_one_kind_is_not_certain() -> None:
    y = np.repeat([0, 0, 0, 0, 1, 1, 1, 1], 3)
    score, group = np.repeat([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9], 3), np.repeat(np.arange(8), 3)
    found = reliability(y, score, bins=2, group=group, n=100)
    assert found["observed"].tolist() == [0, 1]
    assert found["high"].tolist() == pytest.approx([wilson_interval(0, 4).high, 1])
    assert found["low"].tolist() == pytest.approx([0, wilson_interval(4, 4).low])
    one = reliability([0, 1, 1], [0.4, 0.4, 0.4], bins=1, group=["a"] * 3, n=20)
    assert one["observed"].tolist() == pytest.approx([2 / 3]) and one["low"].isna().all()
