"""What is no threshold, level, count, rule or group is refused in one line, and one patient makes nothing certain."""

import warnings
from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.metrics._format import format_table, threshold_line
from fracturelib.metrics.bootstrap import (
    curve_bands,
    group_bootstrap,
    group_codes,
    paired_group_bootstrap,
    percentile_limits,
    rate_at,
)
from fracturelib.metrics.calibration import calibration_line, reliability
from fracturelib.metrics.classification import Confusion, checked, confusion_at, roc_auc, sweep
from fracturelib.metrics.decision_curve import (
    net_benefit,
    predictive_value_curve,
    prior_shift,
    selective_prediction,
    workload,
)
from fracturelib.metrics.evaluate import evaluate, judge, point_from, splits_of
from fracturelib.metrics.intervals import delong_interval, delong_test, wilson_interval
from fracturelib.metrics.limits import newcombe_auc_limits, wilson_limits
from fracturelib.metrics.operating_point import (
    OperatingPoint,
    Rule,
    choose_threshold,
    parse_rule,
    threshold_for_sensitivity,
)
from fracturelib.metrics.rates import operating_point_table
from fracturelib.metrics.summary import by_subgroup, compare_models
from fracturelib.viz.evaluation import bands_plot, compared_plot, decision_plot, predictive_values_plot
from fracturelib.viz.html_report import report

Y = np.array([0, 0, 1, 0, 1, 0, 1, 1, 0, 1])
S = np.array([0.1, 0.4, 0.35, 0.8, 0.6, 0.2, 0.9, 0.7, 0.3, 0.55])
ONE = ["p"] * 10
Call = Callable[[Any], object]


def table(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"file": [f"{i}.png" for i in range(10)], "label": Y, "score": S, "group": list("aabbccddee")})
    return frame.assign(**columns)


def refused(call: Callable[[], object], *words: str) -> None:
    """One line of the form NAME is VALUE; expected ..., and no warning of numpy's on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as raised:
            call()
    text = str(raised.value)
    assert "\n" not in text and "expected" in text
    assert all(word in text for word in words), text


THRESHOLD: dict[str, Call] = {
    "confusion_at": lambda t: confusion_at(Y, S, t),
    "rate_at": lambda t: rate_at("sensitivity", t),
    "operating_point_table": lambda t: operating_point_table(Y, S, t, n=5),
    "compare_models a": lambda t: compare_models(Y, S, S, threshold_a=t, threshold_b=0.5, n=5),
    "compare_models b": lambda t: compare_models(Y, S, S, threshold_a=0.5, threshold_b=t, n=5),
    "predictive_value_curve": lambda t: predictive_value_curve(Y, S, t, n=5),
    "by_subgroup": lambda t: by_subgroup(table(), "group", threshold=t, n=5),
    "OperatingPoint": lambda t: OperatingPoint(t, "youden", "", 10, 5).evaluate(Y, S, n=5),
    "judge": lambda t: judge(table(), t, n=5),
}


@pytest.mark.parametrize("bad", [float("nan"), np.float32("nan"), "0.5", None, [0.5], S, True, pd.Timestamp(0)])
@pytest.mark.parametrize("call", THRESHOLD.values(), ids=THRESHOLD)
def test_what_is_no_threshold(call: Call, bad: object) -> None:
    refused(lambda: call(bad), "threshold", "expected a number")


@pytest.mark.parametrize("call", [c for k, c in THRESHOLD.items() if k != "judge"])
def test_a_threshold_may_be_any_number(call: Call) -> None:
    for good in (float("inf"), -float("inf"), 1, np.float32(0.5), np.array(0.5), Fraction(1, 2)):
        call(good)
    assert confusion_at(Y, S, float("inf")) == Confusion(0, 0, 5, 5)
    refused(lambda: selective_prediction(Y, S, "0.5"), "threshold is '0.5'")  # type: ignore[arg-type]


RESAMPLES: dict[str, Call] = {
    "group_bootstrap": lambda n: group_bootstrap(roc_auc, Y, S, n=n),
    "paired_group_bootstrap": lambda n: paired_group_bootstrap(roc_auc, Y, S, S, n=n),
    "operating_point_table": lambda n: operating_point_table(Y, S, 0.5, n=n),
    "evaluate": lambda n: evaluate(table(), n=n),
    "curve_bands": lambda n: curve_bands(Y, S, n=n),
    "predictive_value_curve": lambda n: predictive_value_curve(Y, S, 0.5, n=n),
    "reliability": lambda n: reliability(Y, S, n=n),
    "reliability by groups": lambda n: reliability(Y, S, group=ONE, n=n),
    "compare_models": lambda n: compare_models(Y, S, S, threshold_a=0.5, threshold_b=0.5, n=n),
    "by_subgroup": lambda n: by_subgroup(table(), "group", threshold=0.5, n=n),
}
NONE_ASKED: dict[str, Call] = {
    "choose_threshold": lambda n: choose_threshold(Y, S, "youden", n=n),
    "net_benefit": lambda n: net_benefit(Y, S, n=n),
    "point_from": lambda n: point_from(table(), "youden", n=n),
}


@pytest.mark.parametrize("bad", [0, -1, 2.5, 2.0, None, "10", float("nan"), True])
@pytest.mark.parametrize("call", RESAMPLES.values(), ids=RESAMPLES)
def test_what_is_no_number_of_resamples(call: Call, bad: object) -> None:
    refused(lambda: call(bad), f"n is {bad!r}; expected a whole number, at least one resample")


@pytest.mark.parametrize("call", NONE_ASKED.values(), ids=NONE_ASKED)
def test_no_resamples_ask_for_no_interval(call: Call) -> None:
    found: Any = call(0)
    assert np.all(np.isnan(found.low))
    for bad in (-1, 2.5, None, "10"):
        refused(lambda bad=bad: call(bad), f"n is {bad!r}; expected", "or 0 for no interval")


def test_one_resample_has_no_interval() -> None:
    found = group_bootstrap(roc_auc, Y, S, n=1)
    assert found.value == roc_auc(Y, S) and np.isnan([found.low, found.high]).all()
    assert "only one sample" in str(found) and "nan" not in str(found)
    pair = paired_group_bootstrap(roc_auc, Y, S, S[::-1], n=1)
    assert np.isnan([pair.low, pair.high]).all() and "only one sample" in str(pair) and "nan" not in str(pair)
    assert np.isnan(percentile_limits(np.array([0.5, np.nan]), 0.95)).all()


def test_one_resample_has_no_band() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert curve_bands(Y, S, n=1)[["low", "high"]].isna().all(axis=None)
        assert predictive_value_curve(Y, S, 0.5, n=1)[["ppv_low", "npv_high"]].isna().all(axis=None)
        assert net_benefit(Y, S, n=1)[["low", "gain_high"]].isna().all(axis=None)
        assert np.isnan(choose_threshold(Y, S, "youden", n=1).low)
        found = reliability(Y, S, group=np.arange(10), n=1, bins=5)
        mixed = found[found["observed"].between(0, 1, inclusive="neither")]
        assert len(mixed) and mixed["low"].isna().all()
        assert np.isfinite(evaluate(table(), n=1)["splits"]["all"]["auc"]["value"])


LEVEL: dict[str, Call] = {
    "group_bootstrap": lambda v: group_bootstrap(roc_auc, Y, S, n=5, level=v),
    "paired_group_bootstrap": lambda v: paired_group_bootstrap(roc_auc, Y, S, S, n=5, level=v),
    "operating_point_table": lambda v: operating_point_table(Y, S, 0.5, n=5, level=v),
    "curve_bands": lambda v: curve_bands(Y, S, n=5, level=v),
    "predictive_value_curve": lambda v: predictive_value_curve(Y, S, 0.5, n=5, level=v),
    "net_benefit": lambda v: net_benefit(Y, S, n=5, level=v),
    "reliability": lambda v: reliability(Y, S, level=v),
    "reliability by groups": lambda v: reliability(Y, S, group=ONE, n=5, level=v),
    "calibration_line": lambda v: calibration_line(Y, S, level=v),
    "choose_threshold": lambda v: choose_threshold(Y, S, "youden", n=5, level=v),
    "delong_interval": lambda v: delong_interval(Y, S, level=v),
    "delong_test": lambda v: delong_test(Y, S, S, level=v),
    "wilson_interval": lambda v: wilson_interval(1, 2, level=v),
    "wilson_interval of none": lambda v: wilson_interval(0, 0, level=v),
    "wilson_limits": lambda v: wilson_limits(1, 2, level=v),
    "newcombe_auc_limits": lambda v: newcombe_auc_limits(1.0, 2, 2, level=v),
    "percentile_limits": lambda v: percentile_limits(S, v),
}


@pytest.mark.parametrize("bad", [2, 95, -1, 0, 1.0, float("nan"), float("inf"), None, "0.95"])
@pytest.mark.parametrize("call", LEVEL.values(), ids=LEVEL)
def test_what_is_no_level(call: Call, bad: object) -> None:
    refused(lambda: call(bad), f"level is {bad!r}; expected a number between 0 and 1")


def test_rows_without_a_split_are_kept() -> None:
    frame = table(split=["test"] * 4 + [None] * 3 + [float("nan"), " ", "none"])
    assert {k: len(v) for k, v in splits_of(frame).items()} == {"test": 4, "none": 6}
    result = evaluate(table(split=None), n=5)
    assert {k: v["images"] for k, v in result["splits"].items()} == {"none": 10}
    kinds = table(split=pd.Categorical(["test"] * 6 + [None] * 4))
    assert {k: len(v) for k, v in splits_of(kinds).items()} == {"test": 6, "none": 4}
    refused(lambda: point_from(frame, "youden"), "the splits test, none")


def test_labels_that_are_text() -> None:
    for labels in (list("01"), np.array(["0", "1"], object), pd.Series(["0", "1"], dtype="string"), [b"0", b"1"]):
        refused(
            lambda labels=labels: roc_auc(labels, [0.1, 0.2]),
            "y has the label",
            "is text; expected the numbers 0 and 1",
        )
    refused(lambda: roc_auc([0, 2], [0.1, 0.2]), "y has the label 2; expected 0 and 1")
    refused(lambda: roc_auc([[0], [0, 1]], [0.1, 0.2]), "y has rows of different lengths")  # type: ignore[list-item]
    refused(lambda: roc_auc([0, 1], [[0], [0, 1]]), "score has rows of different lengths")  # type: ignore[list-item]


def test_scores_that_are_dates() -> None:
    days = np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")
    for dates in (days, days - days[0], pd.Series(days), [datetime(2020, 1, 1)] * 2, list(days), days.astype(object)):
        refused(lambda dates=dates: checked([0, 1], dates), "score has values of type", "expected numbers")
    refused(lambda: checked([0, 1], np.array([1j, 2j])), "complex128")


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ([("a", i) for i in range(10)], "group has the shape (10, 2); expected (10,)"),
        (np.zeros((10, 1)), "group has the shape (10, 1); expected (10,)"),
        ("abcdefghij", "group is one value of type str; expected 10"),
        (3, "group is one value of type int; expected 10"),
        (set("abcdefghij"), "group is one value of type set; expected 10"),
        (["a"] * 9, "group has 9 values; expected 10"),
        ([[1], [1, 2], *[[3]] * 8], "group has lists"),
    ],
)
def test_what_is_no_group(group: Any, words: str) -> None:
    refused(lambda: group_codes(group, 10), words)
    refused(lambda: group_bootstrap(roc_auc, Y, S, group, n=5), words)


def test_a_table_without_groups_has_each_image_as_its_own() -> None:
    alone = evaluate(table(group=[f"{i}.png" for i in range(10)]), n=20)
    for columns in (["group"], ["group", "file"]):
        frame = table().drop(columns=columns)
        assert repr(evaluate(frame, n=20)) == repr(alone)
        assert repr(judge(frame, 0.5, n=20)) == repr(alone["splits"]["all"])
        assert repr(point_from(frame, "youden", n=20)) == repr(choose_threshold(Y, S, "youden", n=20))
    compared = evaluate(table().drop(columns="group"), compare=table(), n=20)
    assert compared["splits"]["all"]["groups"] == 10 and "comparison" in compared["splits"]["all"]


@pytest.mark.parametrize("pair", [(0.5, 10), (5, 10.5), (float("nan"), 10), (1, float("inf")), ("5", 10), (5, None)])
def test_what_is_no_count(pair: tuple[Any, Any]) -> None:
    refused(lambda: wilson_interval(*pair), "expected a whole number")
    refused(lambda: wilson_limits(*pair), "expected a whole number")
    assert wilson_interval(np.float64(5.0), np.int64(10)) == wilson_interval(5, 10)  # type: ignore[arg-type]


def test_other_numbers_that_mean_nothing() -> None:
    for share in (float("nan"), 0, 1, "0.1", None):
        refused(lambda share=share: prior_shift(S, before=share), "before is")
    refused(lambda: prior_shift(S, before=0.1, after=1), "after is 1; expected a prevalence")
    refused(lambda: prior_shift([], before=0.1), "score is empty")
    refused(lambda: Confusion(0, 2, 0, 4).predictive_values(0.1), "sensitivity is undefined, because")
    for beta in (float("nan"), float("inf"), -1, 1e300, "2"):
        refused(lambda beta=beta: sweep(Y, S, beta=beta), "beta is")
        refused(lambda beta=beta: Confusion(1, 2, 3, 4).f_beta(beta), "beta is")
    refused(lambda: workload("high", 0.8, 0.1), "no numbers")  # type: ignore[arg-type]
    for target in (float("nan"), "0.9", None):
        refused(lambda target=target: threshold_for_sensitivity(Y, S, target), "target is")


@pytest.mark.parametrize(
    "text",
    ["", " ", "f_beta=1e300", "cost=1e308:1e-308", "cost=1:1e308", "score=1e999", "sensitivity=7", "sensitivity=0",
     "alerts=1.1", "cost=1:1@1", "cost=1:1:1", "nonsense=1"],
)  # fmt: skip
def test_rules_whose_numbers_mean_nothing(text: str) -> None:
    refused(lambda: parse_rule(text), f"rule is {text!r}; expected")
    refused(lambda: point_from(table(), text), f"rule is {text!r}; expected")


@pytest.mark.parametrize("text", ["f_beta=1e9", "f_beta=1e-9", "cost=1e9:1e-9", "cost=1e-9:1e9@1e-9", "score=0"])
def test_rules_of_the_widest_range(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.isnan(choose_threshold(Y, S, text, n=20).threshold)


def test_a_rule_is_text_or_a_rule() -> None:
    for rule in (0.5, None, ["youden"]):
        refused(lambda rule=rule: choose_threshold(Y, S, rule), "rule is", "'youden'")
    for bad in (("sensitivity", 7), ("best",), ("f_beta", 1e300), ("score", float("nan")), ("cost", "1")):
        refused(lambda bad=bad: Rule(*bad), "rule is")
    assert repr(choose_threshold(Y, S, Rule("youden"))) == repr(choose_threshold(Y, S, "youden"))


def test_a_score_that_no_image_can_have_is_the_rules_mistake() -> None:
    refused(lambda: point_from(table(), "score=2"), "rule is 'score=2'; expected a score in 0..1")
    assert choose_threshold(Y, S * 9 - 3, "score=2").threshold == 2  # logits may have it
    assert point_from(table(label=1 - Y), "cost=1:1000").threshold == np.inf


def test_one_patient_makes_nothing_certain() -> None:
    line = calibration_line(Y, S, group=ONE)
    assert np.isfinite([line.slope, line.intercept]).all() and line.undefined is None
    assert np.isnan([line.slope_low, line.slope_high, line.intercept_low, line.intercept_high]).all()
    for made in (
        net_benefit(Y, S, group=ONE, n=20)[["low", "high", "gain_low", "gain_high"]],
        predictive_value_curve(Y, S, 0.5, group=ONE, n=20)[["ppv_low", "ppv_high", "npv_low", "npv_high"]],
        curve_bands(Y, S, ONE, n=20)[["low", "high"]],
        curve_bands(Y, S, ONE, kind="pr", n=20)[["low", "high"]],
    ):
        assert made.isna().all(axis=None)
    point = choose_threshold(Y, S, "youden", group=ONE, n=20)
    assert np.isnan([point.low, point.high]).all()
    assert np.isfinite(choose_threshold(Y, S, "youden", group=[*ONE[:9], "q"], n=20).low)


def test_predictive_values_of_patients_who_are_alike() -> None:
    """Each has all kinds of images in equal numbers, so that no sample differs, and no rate is 0 or 1."""
    y, score, group = [0, 0, 1, 1] * 3, [0.2, 0.8] * 6, np.repeat([0, 1, 2], 4)
    found = predictive_value_curve(y, score, 0.5, group=group, n=50)
    assert found["ppv"].notna().all() and found[["ppv_low", "npv_high"]].isna().all(axis=None)
    # One perfect patient has Wilson's interval of one of one, as the rates have.
    perfect = predictive_value_curve([0, 1], [0.2, 0.8], 0.5, group=["p"] * 2, n=5)
    assert ((perfect["ppv_low"] < 0.99) & (perfect["ppv_high"] == 1)).all()


def test_reports_say_nothing_of_one_patients_limits(tmp_path: Any) -> None:
    frame = table(group=ONE)
    point = point_from(frame, "youden", n=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        result = evaluate(frame, threshold=0.5, n=20)
        text = format_table(result) + threshold_line(
            {"threshold": point.threshold, "operating_point": point.as_dict(), "threshold_source": ""}
        )
        report(frame, tmp_path / "report", threshold=0.5, n=20)
        curve = predictive_value_curve(Y, S, 0.5, group=ONE, n=20)
        for made in (
            bands_plot(Y, S, ONE, 0.5, n=5),
            compared_plot(Y, {"a": S, "b": S[::-1]}, {"a": 0.5, "b": 0.5}),
            decision_plot(net_benefit(Y, S, group=ONE, n=20)),
            predictive_values_plot(curve, 0.5),
        ):
            made.canvas.draw()
            plt.close(made)
    assert "nan" not in text and "with other patients" not in text and "interval undefined" in text
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Calibration slope" in page and ">nan" not in page and "nan to" not in page
