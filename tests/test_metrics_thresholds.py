"""Choosing a threshold: each rule against trying every threshold."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fracturelib._io.files import InputError
from fracturelib.metrics.classification import Confusion, confusion_at
from fracturelib.metrics.operating_point import (
    Rule,
    SameDataWarning,
    choose_threshold,
    parse_rule,
    scores_fingerprint,
    threshold_for_sensitivity,
)
from fracturelib.metrics.summary import by_subgroup
from tests.test_metrics import Case, cases


def picked(case: Case, rule: str) -> float:
    """The threshold that a rule chooses, as a command line names it."""
    return choose_threshold(*case, rule, n=0).threshold


def tried(case: Case) -> list[tuple[float, Confusion]]:
    """Every threshold that makes a difference, highest first."""
    return [(t, confusion_at(*case, t)) for t in sorted(set(case[1]), reverse=True)]


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(0, 20))
def test_sensitivity_and_specificity(case: Case, twentieths: int) -> None:
    target = twentieths / 20
    reached = [t for t, c in tried(case) if c.tp * 20 >= twentieths * (c.tp + c.fn)]
    assert threshold_for_sensitivity(*case, target) == max(reached)
    spared = [t for t, c in tried(case) if c.tn * 20 >= twentieths * (c.tn + c.fp)]
    assert choose_threshold(*case, Rule("specificity", target)).threshold == min(spared, default=np.inf)


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from([0.5, 1.0, 2.0]))
def test_youden_and_f_beta(case: Case, beta: float) -> None:
    best = max(c.youden for _, c in tried(case))
    assert confusion_at(*case, picked(case, "youden")).youden == pytest.approx(best)
    best = max(c.f_beta(beta) for _, c in tried(case))
    assert confusion_at(*case, picked(case, f"f_beta={beta}")).f_beta(beta) == pytest.approx(best)


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from([1.0, 3.0, 10.0]), st.sampled_from([None, 0.02, 0.5]))
def test_cost(case: Case, missed: float, prevalence: float | None) -> None:
    share = float(np.mean(case[0])) if prevalence is None else prevalence

    def cost(c: Confusion) -> float:
        return missed * share * (1 - c.sensitivity) + (1 - share) * (1 - c.specificity)

    options = [(np.inf, confusion_at(*case, np.inf)), *tried(case)]
    found = picked(case, f"cost={missed}:1" + ("" if prevalence is None else f"@{prevalence}"))
    least = min(cost(c) for _, c in options)
    assert cost(confusion_at(*case, found)) == pytest.approx(least, abs=1e-9)
    assert found == max(t for t, c in options if cost(c) < least + 1e-9)


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(1, 20))
def test_alert_budget(case: Case, twentieths: int) -> None:
    within = [t for t, c in tried(case) if (c.tp + c.fp) * 20 <= twentieths * c.n]
    assert picked(case, f"alerts={twentieths / 20}") == min(within, default=np.inf)


def test_published_cutpoint(oracles: Path) -> None:
    frame = pd.read_csv(oracles / "suicide.csv")
    assert picked(((frame["suicide"] == "yes").astype(int), frame["dsi"]), "youden") == 2


def test_published_youden_of_asah(oracles: Path) -> None:
    frame = pd.read_csv(oracles / "aSAH.csv")
    y = (frame["outcome"] == "Poor").astype(int)
    # Theirs is 0.205, half way between the scores 0.19 and 0.22.
    threshold = picked((y, frame["s100b"]), "youden")
    assert threshold == 0.22
    assert confusion_at(y, frame["s100b"], threshold) == Confusion(tp=26, fp=14, fn=15, tn=58)


@pytest.mark.parametrize(
    "text",
    [
        "sensitivity=0.95",
        "specificity=0.9",
        "youden",
        "f_beta=2",
        "cost=10:1",
        "cost=10:1@0.02",
        "alerts=0.2",
        "score=0.5",
    ],
)
def test_rules_are_read_and_written(text: str) -> None:
    assert str(parse_rule(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "best", "sensitivity", "sensitivity=1.5", "sensitivity=0", "cost=1", "cost=0:1", "cost=1:1@2", "youden=1",
     "sensitivity=0.9@0.1", "f_beta=-1", "sensitivity=..", "alerts=high"],
)  # fmt: skip
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"expected .sensitivity=0\.95."):
        parse_rule(text)


def test_a_missing_class_is_refused() -> None:
    for rule in ("sensitivity=0.9", "youden", "f_beta=1", "cost=2:1"):
        with pytest.raises(InputError, match="no image is fractured"):
            choose_threshold([0, 0], [0.1, 0.2], rule)
    with pytest.raises(InputError, match="no image is not fractured"):
        choose_threshold([1, 1], [0.1, 0.2], "specificity=0.9")
    with pytest.raises(InputError, match=r"target is 1\.5"):
        threshold_for_sensitivity([0, 1], [0.1, 0.2], 1.5)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(100), 3)
    y = (rng.random(100) < 0.4).astype(int)[group]
    return y, 1 / (1 + np.exp(-(rng.normal(size=300) + 1.5 * y - 0.7))), group


def test_a_chosen_threshold_knows_where_it_comes_from(images) -> None:  # type: ignore[no-untyped-def]
    y, score, group = images
    point = choose_threshold(y, score, "sensitivity=0.9", group=group, n=300)
    assert point.threshold == threshold_for_sensitivity(y, score, 0.9)
    assert (point.images, point.fractured, point.rule) == (300, y.sum(), "sensitivity=0.9")
    assert point.low < point.threshold < point.high and {point.low, point.high} <= set(score)
    shuffled = np.random.default_rng(1).permutation(300)
    assert scores_fingerprint(y[shuffled], score[shuffled]) == point.fingerprint
    assert scores_fingerprint(1 - y, score) != point.fingerprint
    with pytest.raises(AttributeError):
        point.threshold = 0.5  # type: ignore[misc]


def test_judging_it_on_its_own_images_warns(images) -> None:  # type: ignore[no-untyped-def]
    y, score, group = images
    val, test = slice(0, 150), slice(150, 300)
    point = choose_threshold(y[val], score[val], "youden")
    with pytest.warns(SameDataWarning, match="chosen on these very images"):
        point.evaluate(y[val], score[val], n=10)
    with pytest.warns(SameDataWarning):
        point.evaluate(y[val][::-1], score[val][::-1], group[val], n=10)
    frame = pd.DataFrame({"label": y[val], "score": score[val], "group": group[val], "region": "hand"})
    with pytest.warns(SameDataWarning):
        by_subgroup(frame, "region", threshold=point, n=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = point.evaluate(y[test], score[test], n=10).set_index("metric")
        assert table.loc["youden", "value"] == confusion_at(y[test], score[test], point.threshold).youden
        choose_threshold(y, score, "score=0.5").evaluate(y, score, n=10)


def test_the_spread_of_a_rare_rule_may_be_infinite() -> None:
    y, score = np.array([0, 1] * 20), np.linspace(0, 1, 40)
    point = choose_threshold(y, score, "alerts=0.01", n=100)
    assert point.threshold == np.inf and point.high == np.inf
