"""The explorer of studies, and the view of a spin echo: what they show is what was computed."""

import io
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
from PIL import Image

from fracturelib._io.files import InputError
from fracturelib.explain import SliceExplainer
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import build_model
from fracturelib.simulate import TISSUES
from fracturelib.simulate.knee_slice import _painted, knee_slice, tissue_signals
from fracturelib.simulate.knee_space import KneePose, Stack, make_space
from fracturelib.simulate.knee_tissues import signals
from fracturelib.viz import SpinEchoView, StudyExplorer, spin_echo
from fracturelib.viz._explorer_render import encode
from fracturelib.viz._study_render import PANEL, bars_svg, nearest, slice_picture, spans, squared
from fracturelib.viz.spin_echo import SATURATED, windowed
from tests.volumes import volumes

STUDIES, MASKS = volumes(6, 3)


SCORES = [0.1, 0.9, 0.6, 0.7, 0.2, 0.3]


def network(scores: list[float] | None = None, threshold: float = 0.5) -> Classifier:
    """One that knows nothing, and says these scores if they are given."""
    model = build_model("study_network", seed=0, pooling="attention", width=4).eval()
    described = {"name": "study_network", "pooling": "attention", "width": 4}
    thresholds = {"score=0.5": threshold}
    made = Classifier(model, described, 48, 0.4, 0.2, classes=("Whole", "Torn"), thresholds=thresholds)
    if scores is not None:
        object.__setattr__(made, "scores", lambda _studies: np.array(scores))
    return made


def explorer(threshold: float = 0.5, **options: Any) -> StudyExplorer:
    options = {"masks": list(MASKS), **options}
    return StudyExplorer(network(SCORES, threshold), STUDIES.images, STUDIES.labels, **options)


def decoded(image: widgets.Image) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image.value)).convert("RGB"))


def test_it_begins_at_the_deciding_slice_of_the_surest_tear() -> None:
    view = explorer()
    assert view.study.value == 1 and view.slice.max == 7
    assert view.slice.value == SliceExplainer(view.classifier).deciding_slice(STUDIES.images[1])
    assert "study 1: is torn; score 0.900 ≥ 0.500: predicted torn" in view.text.value


def test_what_is_shown_is_the_slice_and_its_map() -> None:
    view = explorer()
    maps = SliceExplainer(view.classifier).maps(STUDIES.images[1])
    for at in (0, 3, 7):
        view.slice.value = at
        expected = slice_picture(STUDIES.images[1, at], maps[at], top=float(maps.max()), opacity=0.6)
        assert view.image.value == encode(expected)
        assert f"slice {at} of 0 to 7" in view.text.value and f"slice {at} is shown" in view.row.value
    picture = decoded(view.image)
    assert picture.shape == (PANEL, 2 * PANEL + 8, 3)
    assert view.image.tooltip == "Slice 7, and the same slice with Grad-CAM of stage4"


def test_going_through_slices_asks_the_network_never() -> None:
    view = explorer()
    before, shown = view.passes, set()
    for at in range(8):
        view.slice.value = at
        shown.add(view.image.value)
    view.opacity.value, view.truth.value, view.bars.value = 0.2, True, "pooling weight"
    assert view.passes == before == 1 and len(shown) == 8
    view.layer.value = "stage2"
    assert view.passes == 2
    view.layer.value = "stage4"
    assert view.passes == 2


def test_bars_are_the_evidence() -> None:
    view = explorer()
    table = SliceExplainer(view.classifier).evidence(STUDIES.images[1])
    for name, column in (("change without it", "change"), ("pooling weight", "weight")):
        view.bars.value = name
        low, high = table[column].min(), table[column].max()
        assert f"for 8 slices, from {low:.2f} to {high:.2f}" in view.row.value
    svg = bars_svg([1.0, -1.0, 0.5], current=2, deciding=0)
    heights = [float(part.split('height="')[1].split('"')[0]) for part in svg.split("<rect")[1:]]
    assert heights[0] == pytest.approx(heights[1]) and heights[2] == pytest.approx(heights[0] / 2, abs=0.1)


def test_the_tear_is_marked_where_known_and_switched_on() -> None:
    view = explorer(masks=[None if i == 3 else mask for i, mask in enumerate(MASKS)])
    torn = np.flatnonzero(MASKS[1].any(axis=(1, 2)))
    view.slice.value = int(torn[0])
    plain = decoded(view.image).astype(int)
    assert "the tear is in" not in view.row.value + view.text.value
    view.truth.value = True
    marked = decoded(view.image).astype(int)
    assert (np.abs(marked - plain).max(axis=2) > 60).sum() > 50
    assert f"the tear is in {spans(torn.tolist())}" in view.row.value
    assert f"the tear is in {spans(torn.tolist())}" in view.text.value
    view.study.value = 3
    assert "the tear is in" not in view.row.value and "no tear is marked in this study" in view.text.value
    assert explorer(masks=None).truth.disabled


def test_studies_are_picked_by_outcome() -> None:
    view = explorer()
    view.outcome.value = "false negatives: torn, missed"
    assert [i for _, i in view.study.options] == [5] and view.study.value == 5
    assert "study 5: is torn" in view.text.value
    view.outcome.value = "false positives: false alarms"
    assert [i for _, i in view.study.options] == [2]
    none = explorer(threshold=0.95)
    none.outcome.value = "true positives: torn, found"
    assert none.study.value is None and none.decide.disabled and "No study is among" in none.text.value
    none.slice.value = 3
    none.outcome.value = "all studies"
    assert none.study.value is not None and not none.decide.disabled


def test_a_button_and_a_click_go_to_a_slice() -> None:
    view = explorer()
    deciding = view.slice.value
    view._on_click({"relativeX": 699.0, "boundingRectWidth": 700.0})
    assert view.slice.value == 7
    view._on_click({"relativeX": 0.0, "boundingRectWidth": 700.0})
    assert view.slice.value == 0
    view.decide.click()
    assert view.slice.value == deciding
    assert [nearest(x, 100, 5) for x in (-9, 12, 13, 49, 200)] == [0, 0, 1, 2, 4]


def test_lengths_may_differ() -> None:
    uneven = [s[: 8 - i] for i, s in enumerate(STUDIES.images)]
    other = StudyExplorer(network(), uneven, STUDIES.labels)
    assert other.slice.max == len(uneven[other.study.value]) - 1
    expected = [float(network().scores(s[None])[0]) for s in uneven]
    assert np.allclose(other.scores, expected, atol=1e-6)
    alone = StudyExplorer(network(), [STUDIES.images[0][:1]], [0])
    assert alone.slice.disabled and "for 1 slices" in alone.row.value
    assert squared(np.ones((2, 3, 6), np.uint8))[0].sum(axis=1).tolist() == [0, 6, 6, 6, 0, 0]


def test_wrong_input_is_a_line() -> None:
    small = Classifier(build_model("small_cnn", width=4).eval(), {"name": "small_cnn", "width": 4}, 48, 0.4, 0.2)
    wrong: dict[str, Callable[[], object]] = {
        "the network is small_cnn; expected study_network": lambda: StudyExplorer(
            small, STUDIES.images, STUDIES.labels
        ),
        "labels has 2 values; expected 6": lambda: StudyExplorer(network(), STUDIES.images, [0, 1]),
        "labels has values other than 0 and 1": lambda: StudyExplorer(network(), STUDIES.images, [0, 1, 2, 0, 1, 0]),
        "studies is empty": lambda: StudyExplorer(network(), [], []),
        "study 0 is no uint8 array": lambda: StudyExplorer(network(), [np.zeros((3, 8, 8))], [0]),
        "mask 0 has shape": lambda: explorer(masks=[m[:2] for m in MASKS]),
        "size is 8; expected 32 to 512": lambda: knee_slice(size=8),
        "offset is 90; expected": lambda: knee_slice(offset=90),
        "tear is 'odd'; expected one of": lambda: knee_slice(tear="odd"),
        "tissues holds 'wood'; expected some of": lambda: tissue_signals(("wood",), tr=1, te=1),
    }
    for line, call in wrong.items():
        with pytest.raises(InputError) as caught:
            call()
        assert line in str(caught.value)


def test_a_network_that_gives_no_number_is_said() -> None:
    broken = network([0.5] * 6)
    broken.model.head.weight.data.fill_(float("nan"))
    view = StudyExplorer(broken, STUDIES.images, STUDIES.labels)
    assert "nothing to explain, because" in view.text.value and view.row.value == ""


def test_proportions_give_what_painting_the_signals_gives() -> None:
    knee = knee_slice(1, tear="complete", size=64)
    stack = Stack(1, 64, 64, 130 / 64, 3.0, 3.0)
    pose = KneePose(1.0, 0.05, 0.0, (0.0, 0.0, 0.0), (2.0, 0.0, 8.0), bend=1.5)
    space = make_space(stack, pose, np.random.default_rng([1, 25, 0]))
    for tr, te, taken in ((3000, 30, 0.9), (500, 12, 0.0)):
        water, fat = _painted(space, 1, "complete", signals(3.0, tr=tr, te=te))
        assert np.allclose(knee.signal(tr=tr, te=te, fat_saturation=taken), water + fat * (1 - taken), atol=0.02)
    inside = knee.proportions.sum(axis=0)
    assert inside[40:, :2].max() < 0.01 and abs(np.median(inside[20:44, 20:44]) - 1) < 0.05
    assert "oedema" in knee.tissues and "oedema" not in knee_slice(1, size=64).tissues
    assert "meniscus" in knee_slice(1, size=64, offset=20).tissues


@pytest.fixture
def small_knee(monkeypatch: pytest.MonkeyPatch) -> None:
    knee = knee_slice(size=64)
    monkeypatch.setattr(spin_echo, "knee_slice", lambda: knee)


def test_times_and_switch_change_the_picture_as_the_equation_says(small_knee: None) -> None:
    view = SpinEchoView()
    fat, first = TISSUES["fat"], view.picture.value
    for tr, te, on in ((600, 12, False), (4000, 90, True)):
        view.tr.value, view.te.value, view.fat_saturation.value = tr, te, on
        expected = fat.signal(tr=tr, te=te, fat_saturation=SATURATED * on)
        assert view.signals["fat"] == pytest.approx(expected)
        noisy = view.knee.signal(tr=tr, te=te, fat_saturation=SATURATED * on) + view._noise[0]
        assert np.array_equal(view.image, windowed(np.hypot(noisy, view._noise[1])))
        assert f"fat {expected:.2f}" in view.charts.value
        assert view.picture.value != first
    assert "T2-weighted, fat saturated" in view.caption.value and "T2-weighted" in view.picture.tooltip
    view.close()


def test_closing_frees_the_widgets(small_knee: None) -> None:
    import ipywidgets.widgets.widget as module

    registry = getattr(module, "_instances", None)

    def alive() -> int:
        return len(registry) if registry is not None else len(widgets.Widget.widgets)

    SpinEchoView().close()
    explorer().close()
    before = alive()
    for _ in range(3):
        SpinEchoView().close()
        explorer().close()
    assert alive() == before
