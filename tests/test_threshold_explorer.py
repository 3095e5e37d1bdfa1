"""The linked view: what it shows is what the library computes, and it shows it fast."""

import re

import cv2
import numpy as np
import pytest

from fracturelib._io.files import InputError
from fracturelib.metrics.classification import confusion_at
from fracturelib.metrics.decision_curve import net_benefit, prior_shift
from fracturelib.viz.threshold_explorer import OUTCOMES, SHOWN, THUMB, Chart, Ranking, ThresholdExplorer, cells, charts

RNG = np.random.default_rng(0)
Y = np.r_[np.zeros(130, int), np.ones(70, int)]
SCORE = np.round(np.clip(RNG.normal(0.35 + 0.25 * Y, 0.15), 0, 1), 2)
IMAGES = RNG.integers(0, 255, (200, 96, 96), dtype=np.uint8)


@pytest.fixture
def view():  # type: ignore[no-untyped-def]
    made = ThresholdExplorer(Y, SCORE, images=IMAGES, files=[f"image <{i}>" for i in range(200)])
    yield made
    made.close()


def test_counts_by_bisection() -> None:
    ranking = Ranking.of(Y.astype(np.int64), SCORE)
    for threshold in (0.0, 0.31, 0.5, 0.505, 1.0):
        assert ranking.at(threshold) == confusion_at(Y, SCORE, threshold)
    for t, se, sp in zip(ranking.grid, ranking.sensitivity, ranking.specificity, strict=True):
        at = confusion_at(Y, SCORE, t)
        assert (se, sp) == pytest.approx((at.sensitivity, at.specificity))
    assert (ranking.sensitivity[0], ranking.sensitivity[-1]) == (1, 0)


def test_risk_and_benefit_are_the_librarys() -> None:
    ranking = Ranking.of(Y.astype(np.int64), SCORE)
    share = float(Y.mean())
    assert ranking.risk(SCORE, 0.02) == pytest.approx(prior_shift(SCORE, before=share, after=0.02))
    for prevalence in (share, 0.05):
        at = confusion_at(Y, SCORE, 0.4)
        ours = ranking.benefit(at.sensitivity, at.specificity, 0.4, prevalence)
        assert ours == pytest.approx(net_benefit(Y, SCORE, [0.4], prevalence=prevalence)["model"][0])


def test_everything_moves_with_the_threshold(view: ThresholdExplorer) -> None:
    before = view.text.value, view.charts.value, {k: (c.value, p.value) for k, (c, p) in view.galleries.items()}
    view.threshold.value = 0.3
    assert view.counts == confusion_at(Y, SCORE, 0.3)
    assert view.text.value != before[0] and view.charts.value != before[1]
    for name, (caption, picture) in view.galleries.items():
        assert f"<b>{getattr(view.counts, name)}</b>" in caption.value
        assert (caption.value, picture.value) != before[2][name]


def test_prevalence_moves_what_depends_on_it_and_nothing_else(view: ThresholdExplorer) -> None:
    galleries = {k: (c.value, p.value) for k, (c, p) in view.galleries.items()}
    before = view.charts.value
    view.prevalence.value = 0.02
    after = view.charts.value
    dots = [re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', text) for text in (before, after)]
    assert dots[0][0] == dots[1][0], "the point on the ROC curve does not depend on the prevalence"
    assert all(a != b for a, b in zip(dots[0][1:], dots[1][1:], strict=True))
    assert {k: (c.value, p.value) for k, (c, p) in view.galleries.items()} == galleries
    at = confusion_at(Y, SCORE, 0.5)
    ppv, npv = at.predictive_values(0.02)
    assert f"PPV <b>{ppv:.2f}</b>" in view.text.value and f"NPV <b>{npv:.2f}</b>" in view.text.value


def test_the_dot_lies_where_the_chart_puts_it() -> None:
    at = confusion_at(Y, SCORE, 0.5)
    x, y = Chart("", "", "").place(1 - at.specificity, at.sensitivity)
    first = re.search(r'<circle cx="([\d.]+)" cy="([\d.]+)"', charts(Ranking.of(Y.astype(np.int64), SCORE), 0.5, 0.1))
    assert first is not None and (float(first[1]), float(first[2])) == pytest.approx((x, y), abs=0.06)


def test_galleries_show_the_images_nearest_to_the_threshold(view: ThresholdExplorer) -> None:
    view.threshold.value = 0.45
    missed = np.flatnonzero((Y == 1) & (SCORE < 0.45))
    near = missed[np.argsort(0.45 - SCORE[missed], kind="stable")[:SHOWN]]
    caption, picture = view.galleries["fn"]
    assert ", ".join(f"{s:.2f}" for s in SCORE[near]) in caption.value
    assert f"image &lt;{near[0]}&gt;" in caption.value, "names are escaped"
    shown = cv2.imdecode(np.frombuffer(picture.value, np.uint8), cv2.IMREAD_GRAYSCALE)
    expected = cv2.resize(IMAGES[near[0]], (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    assert np.abs(shown[:, :THUMB].astype(int) - expected).mean() < 8


def test_empty_cells_are_said_to_be_empty(view: ThresholdExplorer) -> None:
    view.threshold.value = 1.0
    assert "PPV <b>undefined</b>" in view.text.value and "none" in view.galleries["tp"][0].value
    view.threshold.value = 0.0
    assert "NPV <b>undefined</b>" in view.text.value and "none" in view.galleries["fn"][0].value


def test_without_pictures_there_are_no_galleries() -> None:
    plain = ThresholdExplorer(Y, SCORE)
    assert len(plain.widget.children) == 4 and plain.prevalence.value == Y.mean()
    assert len(ThresholdExplorer(Y, SCORE, images=IMAGES).widget.children) == 5
    assert set(OUTCOMES) == {"tp", "fp", "fn", "tn"}


def test_who_cannot_see_the_charts_is_told() -> None:
    text = charts(Ranking.of(Y.astype(np.int64), SCORE), 0.5, 0.1)
    assert text.count('role="img" aria-label="') == 4 and "sensitivity 0." in text
    assert "Of 1,000 images" in cells(confusion_at(Y, SCORE, 0.5), 0.1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 1], [0.1, 0.2]), {}, "one class"),
        (([0, 1], [0.1, 1.2]), {}, "probabilities"),
        (([0, 1], [0.1, 0.2]), {"images": IMAGES}, "images has 200 values; expected 2"),
        (([0, 1], [0.1, 0.2]), {"files": ["a"]}, "files has 1 values; expected 2"),
    ],
)
def test_bad_input_is_one_line(arguments, options, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        ThresholdExplorer(*arguments, **options)
