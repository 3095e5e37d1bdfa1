"""How sure: against pROC, SciPy and brute force."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fracturelib._io.files import InputError
from fracturelib.metrics.bootstrap import (
    curve_bands,
    draws,
    group_bootstrap,
    group_codes,
    paired_group_bootstrap,
    percentile_limits,
    rate_at,
    weighted,
)
from fracturelib.metrics.classification import average_precision, confusion_at, roc_auc
from fracturelib.metrics.intervals import (
    Interval,
    delong_covariance,
    delong_interval,
    delong_test,
    mcnemar_test,
    wilson_interval,
)
from fracturelib.metrics.limits import newcombe_auc_limits
from tests.test_metrics import Case, cases


@pytest.fixture
def asah(oracles: Path) -> pd.DataFrame:
    frame = pd.read_csv(oracles / "aSAH.csv")
    return frame.assign(y=(frame["outcome"] == "Poor").astype(int))


def brier(y: np.ndarray, score: np.ndarray) -> float:
    """A metric that the bootstrap knows no short way for."""
    return float(((score - y) ** 2).mean())


def clustered(seed: int, *, groups: int = 80, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and groups; the images of a group share label and most of their score."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 5, groups)
    label = (rng.random(groups) < 0.4).astype(int)
    group = np.repeat(np.arange(groups), size)
    centre = 1.2 * label + rng.normal(size=groups)
    z = centre[group] + noise * 0.3 * rng.normal(size=len(group))
    return label[group], 1 / (1 + np.exp(-z)), group


# pROC's published figures for aSAH


def test_delong_variances_and_covariances(asah: pd.DataFrame) -> None:
    names = ["wfns", "ndka", "s100b"]
    aucs, found = delong_covariance(asah["y"], [asah[n] for n in names])
    expected = [
        [0.00146991470882363, -0.000532967856762438, 0.00119615567376754],
        [-0.000532967856762438, 0.0031908105493913, -0.000756164938056579],
        [0.00119615567376754, -0.000756164938056579, 0.00266868245717244],
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert aucs == pytest.approx([0.823678861788618, 0.611957994579946, 0.7313685636856369], abs=1e-12)


def test_delong_interval(asah: pd.DataFrame) -> None:
    found = delong_interval(asah["y"], asah["ndka"])
    assert (found.low, found.value, found.high) == pytest.approx(
        (0.501244999271703, 0.611957994579946, 0.722670989888189), abs=1e-12
    )


@pytest.mark.parametrize(
    ("a", "b", "z", "p", "low", "high"),
    [
        ("wfns", "s100b", 2.20898359144091, 0.0271757822291882, 0.0104061769564846, 0.174214419249478),
        ("wfns", "ndka", 2.79777591868904, 0.00514557970691098, 0.0634011709339876, 0.3600405634833566),
        ("ndka", "s100b", -1.39077002573558, 0.164295175223054, -0.2876917446341914, 0.0488706064228094),
    ],
)
def test_delong_paired(asah: pd.DataFrame, a: str, b: str, z: float, p: float, low: float, high: float) -> None:
    found = delong_test(asah["y"], asah[a], asah[b])
    assert (found.statistic, found.p, found.low, found.high) == pytest.approx((z, p, low, high), abs=1e-10)


def test_delong_on_published_predictions(oracles: Path) -> None:
    frame = pd.read_csv(oracles / "dca_df_binary.csv")
    y = frame["cancer"].astype(int)
    marker, model = delong_interval(y, frame["marker"]), delong_interval(y, frame["cancerpredmarker"])
    assert (marker.value, marker.low, marker.high) == pytest.approx(
        (0.70874861572536, 0.6495211142552242, 0.7679761171954957), abs=1e-9
    )
    assert (model.value, model.low, model.high) == pytest.approx(
        (0.8606275378368402, 0.8219268470738671, 0.8993282285998133), abs=1e-9
    )
    test = delong_test(y, frame["marker"], frame["cancerpredmarker"])
    assert (test.statistic, test.p) == pytest.approx((-5.376978700925183, 7.574613000824845e-08), abs=1e-9)


# DeLong against its definition


@settings(max_examples=200, deadline=None)
@given(cases())
def test_delong_is_its_definition(case: Case) -> None:
    y, score = case
    above, below = score[y == 1], score[y == 0]
    wins = (above[:, None] > below) + 0.5 * (above[:, None] == below)
    aucs, found = delong_covariance(y, [score])
    assert aucs[0] == pytest.approx(roc_auc(y, score), abs=1e-12)
    if min(wins.shape) < 2:
        assert np.isnan(found[0, 0])
        assert "one image" in (delong_interval(y, score).undefined or "")
    else:
        expected = wins.mean(axis=1).var(ddof=1) / len(above) + wins.mean(axis=0).var(ddof=1) / len(below)
        assert found[0, 0] == pytest.approx(expected, abs=1e-12)
    rank = stats.mannwhitneyu(above, below).statistic / wins.size
    assert aucs[0] == pytest.approx(rank, abs=1e-12)


def test_delong_of_two_rankings_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [70, 30])  # unlike numbers, so that neither stands for the other
    a = rng.normal(y, 1)
    b = a + rng.normal(0, 0.8, 100)
    wins = [(s[y == 1][:, None] > s[y == 0]).astype(float) for s in (a, b)]
    covariance = np.cov([w.mean(axis=1) for w in wins]) / 30 + np.cov([w.mean(axis=0) for w in wins]) / 70
    np.testing.assert_allclose(delong_covariance(y, [a, b])[1], covariance, rtol=1e-12)
    auc, spread = wins[0].mean(), np.sqrt(covariance[0, 0])
    one = delong_interval(y, a, level=0.9)
    assert (one.low, one.high) == pytest.approx((auc - 1.6448536 * spread, auc + 1.6448536 * spread), abs=1e-8)
    both = delong_test(y, a, b)
    z = (wins[0].mean() - wins[1].mean()) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (both.statistic, both.p) == pytest.approx((z, 2 * stats.norm.sf(abs(z))), rel=1e-9)


def test_delong_takes_a_hundred_thousand_scores() -> None:
    rng = np.random.default_rng(0)
    y, score = rng.integers(0, 2, 100_000), rng.random(100_000)
    tracemalloc.start()
    found = delong_interval(y, score)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1e8, "all pairs would be 2.5 billion"
    assert found.low < 0.5 < found.high + 0.01


def test_delong_where_it_is_undefined() -> None:
    none = delong_interval([0, 0], [0.1, 0.2])
    assert np.isnan([none.value, none.low, none.high]).all() and "none of the 2" in (none.undefined or "")
    perfect = delong_interval([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert (perfect.low, perfect.value, perfect.high) == (newcombe_auc_limits(1.0, 2, 2)[0], 1, 1)
    assert perfect.note == "DeLong's variance is 0: Newcombe's interval of 2 + 2 images"
    same = delong_test([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], [0.2, 0.7, 0.6, 0.8])
    assert same.difference == 0 and np.isnan(same.p) and "rank alike" in (same.undefined or "")


# Wilson and McNemar


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95]))
def test_wilson_is_its_formula(case: tuple[int, int], level: float) -> None:
    k, n = case
    z = stats.norm.ppf((1 + level) / 2)
    middle, half = (k + z**2 / 2) / (n + z**2), z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    found = wilson_interval(k, n, level=level)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-9)
    assert found.value == k / n


def test_wilson_at_the_edges() -> None:
    assert np.isnan(wilson_interval(0, 0).value) and "no images" in (wilson_interval(0, 0).undefined or "")
    with pytest.raises(InputError, match="0 <= successes <= n"):
        wilson_interval(3, 2)
    assert str(Interval(0.5, 0.25, 0.75)) == "0.50 (0.25 to 0.75)"


def test_mcnemar_counts_what_only_one_gets_right() -> None:
    y = np.array([1] * 20)
    a, b = np.r_[np.ones(15), np.zeros(5)] == 1, np.r_[np.zeros(3), np.ones(2), np.zeros(15)] == 1
    found = mcnemar_test(y, a, b)
    # Only a: 13, only b: 0.
    assert found.statistic == 13 and found.p == pytest.approx(2 * 0.5**13)
    assert found.difference == pytest.approx(0.75 - 0.10)
    same = mcnemar_test(y, a, a)
    assert same.difference == 0 and np.isnan(same.p) and "same images" in (same.undefined or "")


# Bootstrap


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(0, 1000))
def test_weights_give_what_the_sample_gives(case: Case, seed: int) -> None:
    y, score = case
    rng = np.random.default_rng(seed)
    codes = group_codes(rng.integers(0, 6, len(y)), len(y))
    for w in draws(codes, 4, seed):
        sample = np.repeat(np.arange(len(y)), w)
        for metric in (roc_auc, average_precision, rate_at("precision", 0.4), rate_at("mcc", 0.5), brier):
            expected = metric(y[sample], score[sample])
            assert weighted(metric, y, score)(w) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_whole_groups_are_drawn() -> None:
    codes = group_codes(["a", "b", "a", "c", "b"], 5)
    assert codes.tolist() == [0, 1, 0, 2, 1]
    seen = np.array(list(draws(codes, 3000, 0)))
    assert (seen[:, 0] == seen[:, 2]).all() and (seen[:, 1] == seen[:, 4]).all()
    assert (seen[:, [0, 1, 3]].sum(axis=1) == 3).all()
    # Each group is drawn once on average, and never with probability (2/3)^3.
    assert seen[:, 3].mean() == pytest.approx(1, abs=0.06)
    assert (seen[:, 3] == 0).mean() == pytest.approx((2 / 3) ** 3, abs=0.03)


def test_the_seed_decides() -> None:
    y, score, group = clustered(0)
    first, again, other = (group_bootstrap(roc_auc, y, score, group, n=200, seed=s) for s in (1, 1, 2))
    assert first == again and first != other
    assert first.low < first.value < first.high and first.resamples == 200


def test_groups_widen_the_interval() -> None:
    y, score, group = clustered(3)
    by_group, by_image = group_bootstrap(roc_auc, y, score, group), group_bootstrap(roc_auc, y, score)
    assert by_group.high - by_group.low > 1.2 * (by_image.high - by_image.low)


def test_group_bootstrap_is_close_to_delong_for_independent_images() -> None:
    rng = np.random.default_rng(2)
    y = (rng.random(600) < 0.3).astype(int)
    score = rng.normal(size=600) + y
    a, b = group_bootstrap(roc_auc, y, score), delong_interval(y, score)
    assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=0.01)


def test_bootstrap_where_it_is_undefined() -> None:
    found = group_bootstrap(roc_auc, [0, 0, 0], [0.1, 0.2, 0.3], n=50)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.resamples == 0 and "none of the 3" in (found.undefined or "")
    # With one fractured image some samples have none: they are left out, and counted.
    rare = group_bootstrap(roc_auc, [0] * 9 + [1], np.arange(10) / 10, n=500)
    assert 200 < rare.resamples < 450


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": [1, 2]}, "group has 2 values; expected 3"),
        ({"group": ["a", None, "b"]}, "missing for 1 images"),
        ({"n": 0}, "at least one resample"),
        ({"level": 1.0}, "between 0 and 1"),
    ],
)
def test_bad_options_are_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        group_bootstrap(roc_auc, [0, 1, 1], [0.1, 0.2, 0.3], **options)  # type: ignore[arg-type]


def test_a_rate_has_to_be_one() -> None:
    with pytest.raises(InputError, match="expected a figure"):
        rate_at("sensitvity", 0.5)


def test_paired_difference() -> None:
    y, score, group = clustered(4, groups=150)
    worse = np.clip(score + np.random.default_rng(0).normal(scale=0.4, size=len(y)), 0, 1)
    found = paired_group_bootstrap(roc_auc, y, score, worse, group, n=600)
    assert found.difference == pytest.approx(roc_auc(y, score) - roc_auc(y, worse))
    assert 0 < found.low < found.difference < found.high and found.p < 0.05
    same = paired_group_bootstrap(roc_auc, y, score, score, group, n=100)
    assert (same.low, same.high, same.p) == (0, 0, 1)
    pair = paired_group_bootstrap(
        (rate_at("sensitivity", 0.3), rate_at("sensitivity", 0.6)), y, score, score, group, n=300
    )
    assert pair.difference == confusion_at(y, score, 0.3).sensitivity - confusion_at(y, score, 0.6).sensitivity
    assert pair.difference > 0 and pair.low >= 0


def test_the_paired_p_value_has_two_sides() -> None:
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], 100)
    a, b = rng.normal(y, 1), rng.normal(y, 1)
    exact = delong_test(y, a, b).p
    assert 0.1 < exact < 0.6
    assert paired_group_bootstrap(roc_auc, y, a, b, n=2000).p == pytest.approx(exact, abs=0.06)


def test_samples_are_drawn_with_replacement() -> None:
    """So that each leaves out about one group of e, and has as many as there are."""
    drawn = np.array(list(draws(np.arange(300), 200, 0)))
    assert (drawn.sum(axis=1) == 300).all()
    assert (drawn == 0).mean() == pytest.approx(np.exp(-1), abs=0.01)
    assert drawn.mean(axis=0).std() < 0.1


def test_percentile_limits_leave_out_as_much_on_either_side() -> None:
    values = np.append(np.arange(1001) / 1000, [np.nan, np.inf])
    assert percentile_limits(values, 0.9) == pytest.approx((0.05, 0.95))
    assert percentile_limits(values, 0.5) == pytest.approx((0.25, 0.75))


def test_pairing_narrows_the_interval() -> None:
    y, score, group = clustered(6, groups=150)
    other = np.clip(score + np.random.default_rng(1).normal(scale=0.05, size=len(y)), 0, 1)
    paired = paired_group_bootstrap(roc_auc, y, score, other, group, n=500)
    alone = group_bootstrap(roc_auc, y, score, group, n=500)
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


@pytest.mark.parametrize("kind", ["roc", "pr"])
def test_bands_hold_the_curve(kind: str) -> None:
    y, score, group = clustered(9)
    band = curve_bands(y, score, group, kind=kind, n=300)
    inside = (band["low"] <= band["value"] + 1e-12) & (band["value"] <= band["high"] + 1e-12)
    assert inside.mean() > 0.85 and (band["high"] - band["low"]).max() > 0.05
    if kind == "roc":
        assert band["value"].is_monotonic_increasing and band["value"].iloc[-1] == 1
    else:
        assert band["value"].iloc[-1] == pytest.approx(y[score >= score[y == 1].min()].mean())
    assert curve_bands([0, 0], [0.1, 0.2], kind=kind, n=10)["value"].isna().all()


# Where no sample differs


def newcombe_by_hand(auc: float, m: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Method 5 on a fine grid: the AUCs that are no further off than chance, by Hanley & McNeil's own Q1 and Q2."""
    z = stats.norm.ppf((1 + level) / 2)
    limit = np.linspace(1e-7, 1 - 1e-7, 2_000_001)
    q1, q2, more = limit / (2 - limit), 2 * limit**2 / (1 + limit), (m + n) / 2 - 1
    spread = np.sqrt((limit * (1 - limit) + more * (q1 - limit**2) + more * (q2 - limit**2)) / (m * n))
    inside = limit[np.abs(auc - limit) <= z * spread]
    return float(inside.min()), float(inside.max())


@pytest.mark.parametrize(("auc", "m", "n"), [(1.0, 1, 1), (1.0, 5, 5), (1.0, 3, 20), (0.0, 4, 7), (0.8, 10, 15)])
def test_newcombes_auc_limits(auc: float, m: int, n: int) -> None:
    expected = newcombe_by_hand(auc, m, n)
    assert newcombe_auc_limits(auc, m, n) == pytest.approx(expected, abs=2e-6)
    assert newcombe_auc_limits(1 - auc, m, n) == pytest.approx((1 - expected[1], 1 - expected[0]), abs=2e-6)


def perfect(groups: int, each: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = np.repeat(np.arange(2 * groups) % 2, each)
    return y, np.where(y == 1, 0.9, 0.1) + 0.01 * (np.arange(len(y)) % 5), np.repeat(np.arange(2 * groups), each)


@pytest.mark.parametrize("groups", [1, 5, 50])
def test_a_perfect_score_is_as_sure_as_its_patients_allow(groups: int) -> None:
    y, score, group = perfect(groups, each=3)
    wilson, counts = wilson_interval(groups, groups), f"{groups} group{'s' * (groups > 1)}"
    found = group_bootstrap(roc_auc, y, score, group, n=200)
    assert (found.value, found.low, found.high) == (1, newcombe_auc_limits(1.0, groups, groups)[0], 1)
    assert found.note == f"no sample differs: Newcombe's interval of {groups} + {groups} groups"
    for metric in (average_precision, rate_at("sensitivity", 0.5), rate_at("specificity", 0.5), rate_at("npv", 0.5)):
        found = group_bootstrap(metric, y, score, group, n=200)
        assert (found.value, found.high) == (1, 1) and found.low == pytest.approx(wilson.low, abs=1e-12)
        assert found.note == f"no sample differs: Wilson's interval of {counts}" and found.undefined is None
        assert str(found).startswith(f"1.00 ({wilson.low:.2f} to 1.00; no sample differs")
    wrong = group_bootstrap(rate_at("sensitivity", 0.5), y, 1 - score, group, n=200)
    assert (wrong.value, wrong.low) == (0, 0) and wrong.high == pytest.approx(1 - wilson.low, abs=1e-12)
    assert group_bootstrap(roc_auc, y, 1 - score, group, n=200).high == pytest.approx(
        1 - newcombe_auc_limits(1.0, groups, groups)[0], abs=1e-9
    )
    # Two figures at once, and a proportion in other words.
    below = 2 * (1 - wilson.low) ** 2
    youden = group_bootstrap(rate_at("youden", 0.5), y, score, group, n=200)
    assert (youden.value, youden.low, youden.high) == pytest.approx((1, 1 - below**0.5, 1), abs=1e-12)
    balanced = group_bootstrap(rate_at("balanced_accuracy", 0.5), y, score, group, n=200)
    assert balanced.low == pytest.approx(1 - below**0.5 / 2, abs=1e-12)
    f1 = group_bootstrap(rate_at("f1", 0.5), y, score, group, n=200)
    assert (f1.value, f1.low, f1.high) == pytest.approx((1, 2 * wilson.low / (1 + wilson.low), 1), abs=1e-12)


@pytest.mark.parametrize("metric", [brier, rate_at("mcc", 0.5), rate_at("lr_minus", 0.5)])
def test_a_figure_that_does_not_vary_and_has_no_limits_says_so(metric: object) -> None:
    y = np.arange(10) % 2
    found = group_bootstrap(metric, y, y.astype(float), n=100)  # type: ignore[arg-type]
    assert np.isnan([found.low, found.high]).all() and np.isfinite(found.value)
    assert found.undefined == "interval undefined, because no sample of 10 groups differs"
    assert "nan" not in str(found) and found.undefined in str(found)


def test_one_patient_is_no_sample() -> None:
    y, score = np.array([0, 1, 1, 0, 1]), np.array([0.1, 0.2, 0.8, 0.6, 0.9])
    half = group_bootstrap(rate_at("sensitivity", 0.5), y, score, ["a"] * 5, n=100)
    assert half.value == pytest.approx(2 / 3) and np.isnan(half.low)
    assert half.undefined == "interval undefined, because no sample of 1 group differs"
    auc = group_bootstrap(roc_auc, y, score, ["a"] * 5, n=100)
    assert auc.low < 0.3 and auc.high > 0.9 and "1 + 1 groups" in auc.note


def test_what_varies_is_as_it_was() -> None:
    """One image of forty wrong: percentiles, as before."""
    y, score, group = perfect(20)
    score[0] = 0.95
    found = group_bootstrap(roc_auc, y, score, group, n=400, seed=3)
    values = [roc_auc(np.repeat(y, w), np.repeat(score, w)) for w in draws(group_codes(group, 40), 400, 3)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)
    assert not found.note and str(found) == f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


@pytest.mark.parametrize("patients", [3, 5, 12])
def test_intervals_of_perfect_scores_hold_the_truth(patients: int) -> None:
    """Images so easy that most small samples are perfect: a point would miss the truth each time."""
    rng = np.random.default_rng(patients)
    truth = {"auc": stats.norm.cdf(3.2 / 2**0.5), "sensitivity": stats.norm.cdf(1.6)}
    held, points, trials = {"auc": 0, "sensitivity": 0}, 0, 300
    for _ in range(trials):
        y = np.repeat(np.arange(2 * patients) % 2, 2)
        score = 3.2 * y + np.repeat(rng.normal(size=2 * patients), 2)  # two images alike of each patient
        group = np.repeat(np.arange(2 * patients), 2)
        for name, metric in (("auc", roc_auc), ("sensitivity", rate_at("sensitivity", 1.6))):
            found = group_bootstrap(metric, y, score, group, n=60)
            if found.value == 1:
                points += 1
                held[name] += found.low <= truth[name] <= found.high
            else:
                held[name] += found.low <= truth[name] <= 1  # the percentiles' own faults are not judged here
    assert points > 0.3 * trials
    assert min(held.values()) > 0.93 * trials, held


def test_two_perfect_models_may_differ() -> None:
    y, a, group = perfect(10)
    b = a**2
    low = newcombe_auc_limits(1.0, 10, 10)[0]
    auc = paired_group_bootstrap(roc_auc, y, a, b, group, n=100)
    assert (auc.difference, auc.low, auc.high, auc.p) == pytest.approx((0, low - 1, 1 - low, 1))
    assert "Newcombe's intervals of 10 + 10 groups" in auc.note and auc.undefined is None
    most = wilson_interval(0, 10).high
    for name in ("sensitivity", "specificity", "precision"):
        found = paired_group_bootstrap(rate_at(name, 0.5), y, a, b, group, n=100)
        assert (found.low, found.high, found.p) == pytest.approx((-most, most, 1)) and "10 groups" in found.note
    youden = paired_group_bootstrap(rate_at("youden", 0.5), y, a, b, group, n=100)
    assert youden.high == pytest.approx(2**0.5 * most)
    opposite = paired_group_bootstrap(rate_at("sensitivity", 0.5), y, a, 1 - a, group, n=100)
    assert opposite.difference == 1 and 0.5 < opposite.low < 0.7 and opposite.high == 1
    assert np.isnan(opposite.p) and "no sample differs" in (opposite.undefined or "")
    # A model with itself, and a calibration, which leaves an imperfect ranking as it is.
    a[0] = 0.95
    for other in (a, a**2):
        same = paired_group_bootstrap(roc_auc, y, a, other, group, n=100)
        assert (same.low, same.high, same.p) == (0, 0, 1)


def test_calls_that_are_alike_may_differ_elsewhere() -> None:
    y, score, group = clustered(2)
    found = paired_group_bootstrap(rate_at("sensitivity", 0.5), y, score, score**1.0001, group, n=100)
    most = wilson_interval(0, len(np.unique(group[y == 1]))).high
    assert found.difference == 0 and (found.low, found.high) == pytest.approx((-most, most))


def test_mcnemar_where_nobody_differs() -> None:
    both = mcnemar_test([1] * 10, [True] * 10, [True] * 10)
    most = wilson_interval(0, 10).high
    assert (both.low, both.high) == pytest.approx((-most, most)) and "Wilson's of 10 images" in both.note
    apart = mcnemar_test([1] * 10, [True] * 10, [False] * 10)
    assert apart.difference == 1 and apart.high == 1 and apart.low == pytest.approx(1 - 2**0.5 * most)
    assert apart.p == pytest.approx(2 * 0.5**10)


def test_the_band_of_a_perfect_curve() -> None:
    y, score, group = perfect(10)
    low = wilson_interval(10, 10).low
    roc, pr = (curve_bands(y, score, group, kind=kind, n=50) for kind in ("roc", "pr"))
    assert np.allclose(roc["low"][:-1], low) and roc["low"].iloc[-1] == 1 and (roc["high"] == 1).all()
    assert np.allclose(pr["low"], low) and (pr["value"] == 1).all()
