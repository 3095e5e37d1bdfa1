"""The explorer without a browser: what each knob does, and what it costs."""

import base64
import gc
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from ipywidgets import FloatSlider, Widget
from PIL import Image
from torch import nn

from fracturelib._io import OF_A_MAP
from fracturelib._io.files import InputError
from fracturelib.explain.cam_methods import METHODS
from fracturelib.explain.gradcam import TARGETS
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import build_model
from fracturelib.viz._explorer_cache import OCCLUSION, PLAIN, SCORE, MapMemory, head_weights
from fracturelib.viz._explorer_render import (
    COLOUR_MAPS,
    GAP,
    ORDERS,
    OUTCOMES,
    SIDE,
    Look,
    blended,
    enlarged,
    levels,
    outcomes,
    outline_of,
    panel,
    picked,
    pointed,
    with_caption,
    wrapped,
    writable,
    zoomed,
)
from fracturelib.viz.gradcam_explorer import SCALES, ZOOM_AT, GradCAMExplorer
from fracturelib.viz.threshold_explorer import SHOWN, THUMB, ThresholdExplorer
from tests.radiographs import radiograph


@pytest.fixture
def explorer(tmp_path: Path) -> GradCAMExplorer:
    images = np.stack([radiograph(i, fractured=i % 2 == 1, width=64, height=64) for i in range(12)])
    masks = np.zeros_like(images)
    masks[1::2, 20:30, 20:40] = 1
    classifier = Classifier(build_model("small_cnn", seed=0, width=4), {"name": "small_cnn", "width": 4}, 64, 0.3, 0.2)
    labels = np.arange(12) % 2
    scores = np.linspace(0.05, 0.95, 12)
    regions = ["wrist", "knee", "hip"] * 4
    made = GradCAMExplorer(
        classifier, images, labels, scores=scores, masks=masks, files=[f"f{i}.jpg" for i in range(12)],
        regions=regions, save_to=tmp_path / "saved",
    )  # fmt: skip
    made.order.value = "as in the folder"
    made.position.value = 0
    return made


def picture(explorer: GradCAMExplorer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explorer.image.value)))


def test_outcomes_are_sorted_by_sureness() -> None:
    y, s = [1, 1, 1, 0, 0, 0, 1], [0.9, 0.6, 0.2, 0.7, 0.1, 0.3, 0.5]
    names = list(OUTCOMES)
    assert outcomes([1, 0, 1, 0], [0.9, 0.1, 0.3, 0.45], 0.4, names[0]) == [0, 1, 2, 3], "furthest from the threshold"
    assert outcomes([1, 0, 1, 0], [0.3, 0.45, 0.9, 0.1], 0.4, names[0]) == [2, 3, 0, 1]
    assert outcomes(y, s, 0.5, names[1]) == [0, 1, 6]
    assert outcomes(y, s, 0.5, names[2]) == [2]
    assert outcomes(y, s, 0.5, names[3]) == [3]
    assert outcomes(y, s, 0.5, names[4]) == [4, 5]


def test_it_shows_a_picture_and_says_what_it_is(explorer: GradCAMExplorer) -> None:
    assert picture(explorer).shape == (SIDE, 2 * SIDE + GAP, 3)
    assert "f0.jpg" in explorer.text.value and "is not fractured" in explorer.text.value


def test_every_knob_stands_on_a_step(explorer: GradCAMExplorer) -> None:
    """A page moves a value between two steps to the nearer one: 0.083 became 0.085, and with it what is predicted."""
    for threshold in (0.0828, 0.1749, 0.9996):
        made = GradCAMExplorer(explorer.classifier, np.stack(explorer.images), [0] * len(explorer.images),
                               threshold=threshold)  # fmt: skip
        knobs = [knob for knob in made._made if isinstance(knob, FloatSlider)]
        assert len(knobs) > 3 and made.threshold.value == round(threshold, 3)
        for knob in knobs:
            steps = (knob.value - knob.min) / knob.step
            assert abs(steps - round(steps)) < 1e-6, f"{knob.description} {knob.value}"
        made.close()
    view = ThresholdExplorer([0, 0, 1], [0.1, 0.2, 0.3])
    for knob in (view.threshold, view.prevalence):
        steps = (knob.value - knob.min) / knob.step
        assert abs(steps - round(steps)) < 1e-6, f"{knob.description} {knob.value}"
    view.close()


def test_a_threshold_that_the_slider_shows_rounded_decides_as_it_is(explorer: GradCAMExplorer) -> None:
    """A threshold is often the score of an image, which it must find."""
    made = GradCAMExplorer(explorer.classifier, np.stack(explorer.images[:1]), [1], scores=[0.4006], threshold=0.4006)
    assert "score 0.401 ≥ threshold 0.401: predicted fractured" in made.caption(0)
    made.threshold.value = 0.402
    assert "score 0.401 < threshold 0.402: predicted not fractured" in made.caption(0)
    made.close()


def on(explorer: GradCAMExplorer) -> int:
    """Which image is shown."""
    return explorer._picked[explorer.position.value]


def peaks(places: dict[int, tuple[int, int]]) -> Callable[..., np.ndarray]:
    """Maps with one peak: where it is said, else in the corner."""

    def raw(index: int, *_: str) -> np.ndarray:
        heat = np.zeros((8, 8), np.float32)
        heat[places.get(index, (0, 0))] = 1
        return heat

    return raw


def test_it_begins_with_a_fracture_that_the_map_finds(
    explorer: GradCAMExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images 1, 3, ... 11 are fractured, the last ones surely; outlines lie at rows 20 to 30, columns 20 to 40."""

    def first(**options: object) -> int:
        images = np.stack(explorer.images)
        made = GradCAMExplorer(explorer.classifier, images, np.arange(12) % 2, scores=explorer.scores, **options)
        assert made.outcome.value == "all images" and made.order.value == "surest first"
        shown = on(made)
        made.close()
        return shown

    masks = np.stack(explorer.masks)
    monkeypatch.setattr(MapMemory, "raw", lambda _self, *given: peaks({7: (3, 3), 9: (3, 4), 3: (3, 3)})(*given))
    assert first(masks=masks) == 9, "the surest of those that are found"
    masks[9, :40, :40] = 1  # hard to miss
    assert first(masks=masks) == 7, "a small one is a better example"
    masks[7] = masks[3] = 1
    assert first(masks=masks) == 9, "a large one is better than one that is not found"
    assert first(masks=masks, threshold=0.99) == 11, "none is found: the surest of the missed"
    assert first(masks=np.zeros_like(masks)) == first() == 11
    monkeypatch.setattr(MapMemory, "raw", lambda _self, *given: peaks({})(*given))
    assert first(masks=np.stack(explorer.masks)) == 11


def test_without_a_fracture_it_begins_with_the_surest_image(explorer: GradCAMExplorer) -> None:
    made = GradCAMExplorer(explorer.classifier, np.stack(explorer.images), [0] * 12, scores=explorer.scores)
    assert made.position.value == 0 and on(made) in (0, 11)


def test_image_and_score_come_first_and_rare_knobs_are_folded(explorer: GradCAMExplorer) -> None:
    picture_, words, knobs, folds = explorer.widget.children
    assert picture_ is explorer.image and words is explorer.text
    assert re.search(r"<b>score 0\.050 [≥&lt;]+ threshold 0\.\d+: predicted", words.value)
    assert folds.selected_index is None and len(folds.titles) == len(folds.children) == 4
    seen = [knob for column in knobs.children for knob in column.children]
    folded = [knob for column in folds.children for knob in column.children]
    for rare in ("compare", "second_layer", "colours", "scale", "smooth", "zoom", "zoom_at", "occlude", "down"):
        assert getattr(explorer, rare) in folded, rare
    for usual in (
        "outcome",
        "order",
        "position",
        "threshold",
        "layer",
        "method",
        "target",
        "opacity",
        "save",
        "upload",
    ):
        assert getattr(explorer, usual) in seen, usual


def test_a_missed_fracture_shows_its_outline(explorer: GradCAMExplorer) -> None:
    explorer.outcome.value = list(OUTCOMES)[2]
    assert explorer.position.max >= 1
    for place in range(explorer.position.max + 1):
        explorer.position.value = place
        for part in (picture(explorer)[:, :SIDE], picture(explorer)[:, SIDE + GAP :]):
            blue = part[..., 2].astype(int) - part[..., 0]
            assert (blue > 100).sum() > 50


def test_cheap_knobs_run_no_network(explorer: GradCAMExplorer) -> None:
    passes = explorer.passes
    seen = {explorer.image.value}
    explorer.target.value = "not fractured"
    explorer.target.value = "fractured"
    passes = explorer.passes
    for knob, value in (
        (explorer.opacity, 0.2),
        (explorer.map_threshold, 0.5),
        (explorer.layer, "stage2"),
        (explorer.outline, False),
        (explorer.colours, "viridis"),
        (explorer.method, "LayerCAM"),
        (explorer.smooth, 8),
        (explorer.zoom, 2.0),
        (explorer.compare, True),
        (explorer.second_method, "Eigen-CAM"),
    ):
        knob.value = value
        seen.add(explorer.image.value)
    assert explorer.passes == passes and len(seen) >= 7
    explorer.position.value = 1
    assert explorer.passes == passes + 1
    explorer.position.value = 0
    assert explorer.passes == passes + 1


def test_the_opacity_is_seen(explorer: GradCAMExplorer) -> None:
    explorer.position.value = 3
    pictures = {}
    for opacity in (0.0, 1.0):
        explorer.opacity.value = opacity
        pictures[opacity] = picture(explorer)[:, SIDE + GAP :].astype(int)
    colour = {k: np.abs(v - v.mean(axis=2, keepdims=True)).mean() for k, v in pictures.items()}
    has_evidence = "no evidence" not in explorer.text.value
    assert has_evidence and colour[1.0] > colour[0.0] + 1


def test_picking_an_outcome(explorer: GradCAMExplorer) -> None:
    explorer.outcome.value = list(OUTCOMES)[2]
    assert "is fractured" in explorer.text.value and "predicted not fractured" in explorer.text.value
    assert explorer.position.max == 2
    explorer.threshold.value = 0.0
    assert "No image is among" in explorer.text.value
    explorer.threshold.value = 1.0
    assert explorer.position.max == 5 and "No image" not in explorer.text.value


def test_an_image_stays_when_the_threshold_moves(explorer: GradCAMExplorer) -> None:
    explorer.outcome.value = list(OUTCOMES)[1]
    explorer.position.value = 1
    name = explorer.text.value.split(":")[0]
    explorer.threshold.value = 0.6
    assert explorer.text.value.split(":")[0] == name


def test_the_outline_is_drawn_only_where_it_is_known(explorer: GradCAMExplorer) -> None:
    def outlined() -> bool:
        left = picture(explorer)[:, :SIDE].astype(int)
        return bool(((left[..., 2] - left[..., 0]) > 100).sum() > 50)

    explorer.position.value = 1
    assert outlined() and "of it lies there" in explorer.text.value
    explorer.outline.value = False
    assert not outlined()
    explorer.outline.value = True
    explorer.position.value = 2
    assert not outlined() and "of it lies there" not in explorer.text.value


def test_an_empty_map_is_said_and_left_empty() -> None:
    square = enlarged(radiograph(1, width=64, height=64))
    empty = panel(square, levels(np.full((4, 4), -1, np.float32)), Look())
    assert np.array_equal(empty, panel(square, None, Look()))


def test_orders_and_regions() -> None:
    y, s, r = [1, 1, 0, 0, 1], [0.9, 0.4, 0.7, 0.1, 0.6], ["a", "b", "a", "b", "b"]
    every, *_ = OUTCOMES
    found = {order: picked(y, s, 0.5, outcome=every, order=order) for order in ORDERS}
    assert found["score, falling"] == [0, 2, 4, 1, 3] and found["score, rising"] == [3, 1, 4, 2, 0]
    assert found["nearest to the threshold"] == [1, 4, 2, 0, 3] and found["as in the folder"] == [0, 1, 2, 3, 4]
    assert picked(y, s, 0.5, outcome=every, regions=r, region="b") == [3, 1, 4], "surest first"


def test_levels_keep_zero_and_share_a_scale() -> None:
    raw = np.array([[0, 1], [2, -4]], np.float32)
    own, shared = levels(raw, side=64), levels(raw, side=64, top=4.0)
    assert own.max() == 255 and own[-1, -1] == 0
    assert shared.max() == pytest.approx(128, abs=1)
    assert not levels(-np.abs(raw), side=64).any() and not levels(raw * 0, side=64, top=1.0).any()


@pytest.mark.parametrize("colours", COLOUR_MAPS)
def test_blending_is_what_the_formula_says(colours: str) -> None:
    """The colours are those of Matplotlib, and what lies below the threshold leaves the image as it is."""
    from matplotlib import colormaps

    rng = np.random.default_rng(0)
    grey, level = (rng.integers(0, 256, (64, 64), dtype=np.uint8) for _ in range(2))
    look = Look(opacity=0.7, map_threshold=0.3, colour_map=colours)
    weight = 0.7 * np.where(level >= 0.3 * 255, level / 255, 0)[..., None]
    expected = grey[..., None] * (1 - weight) + 255 * colormaps[colours](level)[..., :3] * weight
    found = blended(grey, level, look)[..., ::-1].astype(int)
    off = np.abs(found - expected).max(axis=2)
    assert np.mean(off <= 2) > 0.99 and np.array_equal(found[level < 76], np.repeat(grey[level < 76][:, None], 3, 1))


def test_evidence_at_the_threshold_is_shown() -> None:
    grey, level = np.full((1, 3), 100, np.uint8), np.array([[50, 51, 255]], np.uint8)
    shown = blended(grey, level, Look(map_threshold=0.2))  # 51 of 255
    assert (shown != 100).any(axis=2).tolist() == [[False, True, True]]


def test_zoom_shows_a_part() -> None:
    panel = np.zeros((64, 64, 3), np.uint8)
    panel[:32, :32] = 200
    assert zoomed(panel, 1.0, (0.0, 0.0)) is panel
    assert (zoomed(panel, 2.0, (0.0, 0.0)) == 200).mean() > 0.95
    assert (zoomed(panel, 4.0, (1.0, 1.0)) == 0).all()


def test_zoom_shows_the_part_that_is_asked_for() -> None:
    """Row first, then column, and at the edge as much as there is."""
    rows, columns = np.mgrid[:256, :256]
    picture = np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)
    for centre, top, left in (
        ((0.25, 0.75), 0, 128),
        ((0.75, 0.25), 128, 0),
        ((0.5, 0.3), 64, 13),
        ((1.0, 0.0), 128, 0),
    ):
        shown = zoomed(picture, 2.0, centre)
        assert shown.shape == picture.shape
        assert np.abs(shown[:, 128, 0].astype(float) - (top + rows[:, 0] / 2)).max() < 2
        assert np.abs(shown[128, :, 1].astype(float) - (left + columns[0] / 2)).max() < 2


def test_outline_and_rectangle_lie_where_they_are_said_to() -> None:
    """High up and to the right, wider than high, in the colours that are told apart: blue-green and orange."""
    mask, image = np.zeros((64, 64), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    mask[4:12, 40:60] = 1
    (contour,) = outline_of(mask)
    assert contour[:, 0].min(axis=0).tolist() == pytest.approx([320, 32], abs=4)  # x, y
    assert contour[:, 0].max(axis=0).tolist() == pytest.approx([480, 96], abs=4)
    shown = panel(image, None, Look(), contours=[contour])
    rows, columns = np.nonzero(shown.any(axis=2))
    assert (rows.min(), columns.min()) == pytest.approx((32, 320), abs=5)
    blue, green, red = shown.max(axis=(0, 1)).tolist()  # drawn smoothly, so not at full strength
    assert blue > green > 150 and red == 0
    shown = panel(image, None, Look(), box=(20, 300, 50, 100))
    rows, columns = np.nonzero(shown.any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((20, 69, 300, 399), abs=2)
    assert shown.max(axis=(0, 1)).tolist() == [0, 159, 230]


def test_picking_a_region(explorer: GradCAMExplorer) -> None:
    explorer.region.value = "knee"
    assert explorer.position.max == 3 and "f1.jpg" in explorer.text.value
    explorer.outcome.value = list(OUTCOMES)[1]
    explorer.threshold.value = 1.0
    assert "No image of the knee is among the true positives" in explorer.text.value


def test_the_plain_map_is_grad_cam_of_the_last_layer_and_of_no_other(explorer: GradCAMExplorer) -> None:
    maps = explorer.memory.maps(0, "difference")
    grad, plain = maps["stage4", "Grad-CAM"], maps["stage4", PLAIN]
    places = grad.size
    assert np.allclose(plain / places, grad, atol=1e-6)
    assert {layer for layer, method in maps if method == PLAIN} == {"stage4"}
    explorer.method.value = PLAIN
    explorer.layer.value = "stage2"
    assert "needs the last layer" in explorer.text.value


@pytest.mark.parametrize("logits", [1, 2, 3])
def test_the_head_speaks_for_the_target(logits: int) -> None:
    model = build_model("small_cnn", seed=0, width=4)
    model.head = nn.Linear(32, logits)
    rows = model.head.weight.detach()
    expected = {
        1: {"fractured": rows[0], "not fractured": -rows[0], "difference": rows[0]},
        2: {"fractured": rows[-1], "not fractured": rows[0], "difference": rows[-1] - rows[0]},
    }.get(logits)
    for target in TARGETS:
        found = head_weights(model, target, 32)
        assert found is None if expected is None else torch.equal(found, expected[target])  # of three, who knows
    assert head_weights(model, "fractured", 16) is None


@pytest.mark.parametrize("method", [SCORE, OCCLUSION])
def test_slow_maps_wait_for_the_button(explorer: GradCAMExplorer, method: str) -> None:
    explorer.layer.value = "stage3"
    assert explorer.slow.layout.display == "none"
    passes = explorer.passes
    explorer.method.value = method
    assert explorer.passes == passes and "press Compute" in explorer.text.value
    assert not explorer.compute_button.disabled
    assert explorer.slow.layout.display is None, "the button is to be seen"
    explorer.compute_button.click()
    assert explorer.passes > passes and "press Compute" not in explorer.text.value
    assert explorer.compute_button.disabled and method in explorer.text.value
    passes = explorer.passes
    explorer.opacity.value = 0.3
    explorer.layer.value = "stage4"
    explorer.layer.value = "stage3"
    assert explorer.passes == passes


def test_one_scale_for_all_images(explorer: GradCAMExplorer) -> None:
    explorer.target.value = "difference"
    explorer.position.value = 3
    explorer.scale.value = SCALES[1]
    tops = [explorer.memory.raw(i, "stage4", "Grad-CAM", "difference").max() for i in range(12)]
    assert explorer.memory.top("stage4", "Grad-CAM", "difference") == pytest.approx(max(tops))


def test_covering_a_rectangle_scores_again(explorer: GradCAMExplorer) -> None:
    passes = explorer.passes
    explorer.occlude.value = True
    assert explorer.passes == passes + 1 and "with the rectangle covered" in explorer.text.value
    before = explorer.image.value
    explorer.down.value = (0.0, 1.0)
    explorer.across.value = (0.0, 1.0)
    assert explorer.image.value != before
    index = explorer._picked[explorer.position.value]
    grey = np.full_like(explorer.images[index], 0)[None]
    x = explorer.classifier.tensor(explorer.images[index][None])
    flat = x.mean().expand_as(x)
    logits = explorer.classifier.model(flat) / explorer.classifier.temperature
    expected = float(logits.detach().double().softmax(dim=1)[0, 1])
    assert explorer.memory.score_without(index, (0, 0, *grey.shape[1:])) == pytest.approx(expected, abs=1e-5)
    assert f"covered {expected:.3f}" in explorer.text.value


def mouse(explorer: GradCAMExplorer, kind: str, x: float, y: float, buttons: int = 1) -> None:
    """What the page sends, for the picture at its full size."""
    content = {
        "type": kind, "button": 0, "buttons": buttons, "relativeX": x, "relativeY": y,
        "boundingRectWidth": 2 * SIDE + GAP, "boundingRectHeight": SIDE,
    }  # fmt: skip
    explorer.mouse._handle_mouse_msg(None, content, [])


def test_a_rectangle_is_dragged_over_the_image(explorer: GradCAMExplorer) -> None:
    passes = explorer.passes
    mouse(explorer, "mousemove", 50, 50, 0)
    mouse(explorer, "mouseup", 50, 50, 0)
    assert not explorer.occlude.value and "mousemove" not in explorer.mouse.watched_events
    mouse(explorer, "mousedown", 0.75 * SIDE, 0.5 * SIDE)
    assert "mousemove" in explorer.mouse.watched_events
    mouse(explorer, "mousemove", 0.5 * SIDE, 0.6 * SIDE)
    assert explorer.occlude.value and explorer.across.value == pytest.approx((0.5, 0.75))
    assert "let go of the mouse" in explorer.text.value
    assert explorer.passes == passes, "the network ran while the rectangle was being dragged"
    mouse(explorer, "mousemove", 0.25 * SIDE, 0.75 * SIDE)
    mouse(explorer, "mouseup", 0.25 * SIDE, 1.0 * SIDE, 0)
    assert explorer.down.value == pytest.approx((0.5, 1.0)) and explorer.across.value == pytest.approx((0.25, 0.75))
    assert explorer.passes == passes + 1 and "with the rectangle covered" in explorer.text.value
    assert "mousemove" not in explorer.mouse.watched_events
    mouse(explorer, "mousedown", 10, 10)
    mouse(explorer, "mouseup", 10, 10, 0)  # a click leaves it as it was
    assert explorer.down.value == pytest.approx((0.5, 1.0)) and "with the rectangle covered" in explorer.text.value


def test_a_rectangle_stays_in_the_panel_where_it_began(explorer: GradCAMExplorer) -> None:
    mouse(explorer, "mousedown", SIDE + GAP + 0.1 * SIDE, 0.1 * SIDE)
    mouse(explorer, "mousemove", 0.9 * SIDE, 0.2 * SIDE)
    mouse(explorer, "mouseleave", 0.9 * SIDE, 0.3 * SIDE)
    assert explorer.across.value == pytest.approx((0.0, 0.1)) and explorer.down.value == pytest.approx((0.1, 0.3))
    assert explorer._corner is None


def test_a_place_of_the_page_is_a_place_of_the_image() -> None:
    full = 2 * SIDE + GAP
    assert pointed(0.25 * SIDE, 0.5 * SIDE, full, SIDE, Look()) == pytest.approx((0.5, 0.25, False))
    # Half as large, in the middle of a frame that is too high.
    assert pointed(0.125 * SIDE, 0.25 * SIDE + SIDE / 4, full / 2, SIDE, Look()) == pytest.approx((0.5, 0.25, False))
    assert pointed(full, SIDE, full, SIDE, Look()) == pytest.approx((1, 1, True))
    assert pointed(full, SIDE, full, SIDE, Look(zoom=2)) == pytest.approx((0.75, 0.75, True))
    image_ = np.zeros((SIDE, SIDE, 3), np.uint8)
    image_[300:303, 200:203] = 255
    look = Look(zoom=3, centre=(0.6, 0.4))
    rows, columns = np.nonzero(zoomed(image_, look.zoom, look.centre)[..., 0] > 128)
    row, column, _ = pointed(columns.mean(), rows.mean(), full, SIDE, look)
    assert (row * SIDE, column * SIDE) == pytest.approx((301.5, 201.5), abs=1)


def test_two_maps_side_by_side(explorer: GradCAMExplorer) -> None:
    explorer.compare.value = True
    explorer.layer.value, explorer.second_layer.value = "stage4", "stage2"
    words = explorer.text.value
    assert "left: Grad-CAM of stage4: " in words and "right: Grad-CAM of stage2: " in words
    shown = picture(explorer).astype(int)
    assert np.abs(shown[:, :SIDE] - shown[:, SIDE + GAP :]).mean() > 0.5
    explorer.method.value = explorer.second_method.value = OCCLUSION
    passes = explorer.passes
    explorer.compute_button.click()
    places = int((64 - 8) / 4 + 1) ** 2
    assert explorer.passes == passes + -(-places // 32), "it is the same for all layers, and computed once"


def sent(name: str, content: bytes) -> tuple[dict[str, object], ...]:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    file = {"name": name, "type": "image/png", "size": len(content), "content": memoryview(content)}
    return ({**file, "last_modified": when},)


def test_an_image_of_ones_own(explorer: GradCAMExplorer) -> None:
    buffer = io.BytesIO()
    Image.fromarray(radiograph(40, width=90, height=120)).save(buffer, format="png")
    explorer.outcome.value = list(OUTCOMES)[2]
    explorer.upload.value = sent("mine.png", buffer.getvalue())
    assert "mine.png: your own image, truth unknown" in explorer.text.value and explorer.position.max == 12
    explorer.outcome.value = list(OUTCOMES)[1]
    assert "mine.png" not in explorer.text.value
    explorer.upload.value = sent("notes.png", b"no image")
    assert "notes.png: " in explorer.text.value and "expected" in explorer.text.value
    assert len(explorer.images) == 13


def test_saving_the_view_with_its_caption(explorer: GradCAMExplorer) -> None:
    first, second = explorer.save_view(), explorer.save_view()
    assert first.name == "f0-01.png" and second.name == "f0-02.png"
    with Image.open(first) as saved:
        assert saved.size[0] == 2 * SIDE + GAP and saved.size[1] > SIDE + 60
        words = np.asarray(saved)[SIDE + 4 :]
    assert (words < 128).any()


def test_the_saved_view_is_offered_and_said_to_lie_where_it_lies(
    explorer: GradCAMExplorer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    explorer.save_to = Path("results/explorer")  # relative to the kernel's folder, which nobody sees
    explorer.save.click()
    path = tmp_path / "results" / "explorer" / "f0-01.png"
    assert f"saved as {path}" in explorer.text.value and 'download="f0-01.png"' in explorer.text.value
    (sent_,) = re.findall(r"data:image/png;base64,([\w+/=]+)", explorer.text.value)
    assert base64.b64decode(sent_) == path.read_bytes()
    explorer.opacity.value = 0.1
    assert "saved" not in explorer.text.value and "base64" not in explorer.text.value
    explorer.save_to = path  # a file: no folder can be made of it
    explorer.save.click()
    assert f"not saved in {path}" in explorer.text.value and 'download="f0.png"' in explorer.text.value
    explorer.threshold.value = 1.0
    explorer.outcome.value = list(OUTCOMES)[1]
    explorer.save.click()  # no image is shown, and none is saved
    assert "saved" not in explorer.text.value


def test_every_letter_of_the_saved_picture_has_its_glyph(explorer: GradCAMExplorer) -> None:
    for index in (0, 11):
        for line in [*explorer.caption(index), OF_A_MAP, "Übung é µ ≤ ≥ < … “quoted”"]:
            assert writable(line) == line
    assert writable("骨折 ≥.png") == "?? ≥.png"
    white = np.full((SIDE, 2 * SIDE + GAP, 3), 255, np.uint8)
    box, sign, other = (with_caption(white, [text]) for text in ("\uffff", "≥", "<"))
    assert not np.array_equal(sign, other) and not np.array_equal(sign, box)


def test_a_long_line_of_the_saved_picture_is_wrapped(explorer: GradCAMExplorer) -> None:
    text = "strongest evidence " * 12 + "i" * 400
    lines = wrapped(text, 600)
    assert len(lines) > 3 and "".join(lines).replace(" ", "") == text.replace(" ", "")
    picture_ = np.full((SIDE, 2 * SIDE + GAP, 3), 255, np.uint8)
    page = with_caption(picture_, [text])
    assert page.shape[0] > SIDE + 2 * 22 and (page[:, -5:] == 255).all()


@pytest.mark.parametrize("place", ZOOM_AT)
def test_zoom_at(explorer: GradCAMExplorer, place: str) -> None:
    explorer.position.value = 3
    before = explorer.image.value
    explorer.zoom.value = 3.0
    explorer.zoom_at.value = place
    assert explorer.image.value != before


def test_smoothing_is_said(explorer: GradCAMExplorer) -> None:
    assert "smoothed" not in explorer.text.value
    explorer.smooth.value = 8
    assert "smoothed over 8 pixels" in explorer.text.value


def test_every_control_has_a_label(explorer: GradCAMExplorer) -> None:
    from ipyevents import Event
    from ipywidgets import HTML, Box, FloatProgress
    from ipywidgets import Image as Shown

    for widget in explorer._made:
        if not isinstance(widget, (HTML, Box, FloatProgress, Shown, Event)):
            assert widget.description, type(widget)
    assert set(METHODS) < set(explorer.method.options)


@pytest.mark.slow
def test_closing_frees_every_widget() -> None:
    import ipywidgets.widgets.widget as module

    registry = getattr(module, "_instances", None)
    images = np.stack([radiograph(i, width=64, height=64) for i in range(3)])
    classifier = Classifier(build_model("small_cnn", seed=0, width=2), {"name": "small_cnn", "width": 2}, 64, 0.3, 0.2)

    def alive() -> int:
        return len(registry) if registry is not None else len(Widget.widgets)

    def once() -> None:
        explorer = GradCAMExplorer(classifier, images, [0, 1, 0])
        explorer.position.value = 2
        explorer.opacity.value = 0.2
        explorer.close()

    psutil = pytest.importorskip("psutil", reason="psutil is not installed: pip install -e '.[browser]'")
    for _ in range(20):
        once()
    gc.collect()
    before, memory = alive(), psutil.Process().memory_info().rss
    for _ in range(200):
        once()
    gc.collect()
    assert alive() == before
    assert psutil.Process().memory_info().rss <= 1.05 * memory
    assert not any(m._forward_hooks for m in classifier.model.modules())


def test_lengths_must_agree(explorer: GradCAMExplorer) -> None:
    with pytest.raises(InputError, match="labels has 1 values; expected 12"):
        GradCAMExplorer(explorer.classifier, explorer.images, [1])
    with pytest.raises(InputError, match="images is empty"):
        GradCAMExplorer(explorer.classifier, explorer.images[:0], [])


def test_the_taught_map_stands_beside_the_untaught() -> None:
    from fracturelib.viz._explorer_cache import LOCALIZER

    images = np.stack(
        [radiograph(i, fractured=fracture, width=64, height=64) for i, fracture in ((0, False), (1, True))]
    )
    localizing = Classifier(
        build_model("localizing_efficientnet", seed=0, width=8),
        {"name": "localizing_efficientnet", "width": 8},
        64,
        0.5,
        0.5,
    )
    explorer = GradCAMExplorer(localizing, images, [0, 1])
    explorer.method.value = LOCALIZER
    assert "Taught map, learnt from outlines" in explorer.text.value and "8 x 8 places" in explorer.text.value
    found = explorer.memory.raw(0, "stage4", LOCALIZER, "fractured")
    assert np.array_equal(found, localizing.localize(images[:1])[0]) and 0 <= found.min() <= found.max() <= 1
    plain = Classifier(build_model("small_cnn", seed=0, width=2), {"name": "small_cnn", "width": 2}, 64, 0.3, 0.2)
    assert LOCALIZER not in GradCAMExplorer(plain, images, [0, 1]).method.options
    with pytest.raises(InputError, match="small_cnn was not trained to localize; expected localizing_efficientnet"):
        plain.localize(images)


def test_a_map_that_is_no_number_is_said_and_not_shown_as_empty(tmp_path: Path) -> None:
    images = np.stack([radiograph(i, width=64, height=64) for i in range(4)])
    model = build_model("small_cnn", seed=0, width=4)
    with torch.no_grad():
        model.stage4[-1][1].weight.fill_(1e20)
        model.head.weight.fill_(1e30)
    odd = Classifier(model, {"name": "small_cnn", "width": 4}, 64, 0.3, 0.2)
    shown = GradCAMExplorer(odd, images, [0, 1, 0, 1], scores=[0.1, 0.2, 0.3, 0.4], save_to=tmp_path)
    assert "nothing to show, because the logits: not finite" in shown.text.value
    assert "no evidence" not in shown.text.value
    with pytest.raises(InputError, match="gives no number"):
        GradCAMExplorer(odd, images, [0, 1, 0, 1], save_to=tmp_path)
    with pytest.raises(InputError, match="1 of 4 scores are not finite"):
        GradCAMExplorer(odd, images, [0, 1, 0, 1], scores=[0.1, float("nan"), 0.3, 0.4], save_to=tmp_path)
    with pytest.raises(InputError, match="gives no number"):
        shown.memory.add(images[0])
    assert len(shown.images) == 4


def test_only_the_missed_fractures_of_the_threshold_explorer_are_outlined() -> None:
    images = np.full((8, 96, 96), 120, np.uint8)
    masks = np.zeros_like(images)
    masks[:4, 40:60, 30:70] = 1
    masks[0] = 0  # not every fracture has an outline
    y, score = np.r_[np.ones(4), np.zeros(4)].astype(int), np.array([0.1, 0.2, 0.7, 0.3, 0.1, 0.2, 0.8, 0.9])
    view = ThresholdExplorer(y, score, images=images, masks=masks)

    def outlined(name: str) -> list[bool]:
        strip = np.asarray(Image.open(io.BytesIO(view.galleries[name][1].value)).convert("RGB")).astype(int)
        places = [strip[:, k * (THUMB + 4) : k * (THUMB + 4) + THUMB] for k in range(SHOWN)]
        return [bool((place[..., 2] - place[..., 0] > 60).sum() > 20) for place in places]

    assert outlined("fn") == [True, True, False, False, False, False]
    assert not any(outlined(name)[0] for name in ("tp", "fp", "tn"))
    assert "the line surrounds the fracture" in view.galleries["fn"][0].value
    assert "the line surrounds" not in view.galleries["tp"][0].value
    view.threshold.value = 0.15
    assert outlined("fn")[0] is False and "the line surrounds" not in view.galleries["fn"][0].value
    plain = ThresholdExplorer(y, score, images=images)
    assert "the line surrounds" not in plain.galleries["fn"][0].value
    with pytest.raises(InputError, match="masks has 2 values; expected 8"):
        ThresholdExplorer(y, score, images=images, masks=masks[:2])
