"""The explorer without a browser: what each knob does, and what it costs."""

import io

import numpy as np
import pytest
from ipywidgets import Widget
from PIL import Image

from fracturelib._files import InputError
from fracturelib.checkpoint import Classifier
from fracturelib.explorer import OUTCOMES, Explorer, draw, outcomes
from fracturelib.models import build_model
from tests.films import film


@pytest.fixture
def explorer() -> Explorer:
    images = np.stack([film(i, fractured=i % 2 == 1, width=64, height=64) for i in range(12)])
    masks = np.zeros_like(images)
    masks[1::2, 20:30, 20:40] = 1
    classifier = Classifier(build_model("small_cnn", seed=0, width=4), {"name": "small_cnn", "width": 4}, 64, 0.3, 0.2)
    labels = np.arange(12) % 2
    scores = np.linspace(0.05, 0.95, 12)
    return Explorer(classifier, images, labels, scores=scores, masks=masks, files=[f"f{i}.jpg" for i in range(12)])


def picture(explorer: Explorer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explorer.image.value)))


def test_outcomes_are_sorted_by_sureness() -> None:
    y, s = [1, 1, 1, 0, 0, 0, 1], [0.9, 0.6, 0.2, 0.7, 0.1, 0.3, 0.5]
    names = list(OUTCOMES)
    assert outcomes(y, s, 0.5, names[0]) == list(range(7))
    assert outcomes(y, s, 0.5, names[1]) == [0, 1, 6]
    assert outcomes(y, s, 0.5, names[2]) == [2]
    assert outcomes(y, s, 0.5, names[3]) == [3]
    assert outcomes(y, s, 0.5, names[4]) == [4, 5]


def test_it_shows_a_picture_and_says_what_it_is(explorer: Explorer) -> None:
    assert picture(explorer).shape == (448, 904, 3)
    assert "f0.jpg" in explorer.text.value and "is not fractured" in explorer.text.value


def test_cheap_knobs_run_no_network(explorer: Explorer) -> None:
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
    ):
        knob.value = value
        seen.add(explorer.image.value)
    assert explorer.passes == passes and len(seen) >= 3
    explorer.position.value = 1
    assert explorer.passes == passes + 1
    explorer.position.value = 0
    assert explorer.passes == passes + 1


def test_the_opacity_is_seen(explorer: Explorer) -> None:
    explorer.position.value = 3
    pictures = {}
    for opacity in (0.0, 1.0):
        explorer.opacity.value = opacity
        pictures[opacity] = picture(explorer)[:, 456:].astype(int)
    colour = {k: np.abs(v - v.mean(axis=2, keepdims=True)).mean() for k, v in pictures.items()}
    has_evidence = "no evidence" not in explorer.text.value
    assert has_evidence and colour[1.0] > colour[0.0] + 1


def test_picking_an_outcome(explorer: Explorer) -> None:
    explorer.outcome.value = list(OUTCOMES)[2]
    assert "is fractured" in explorer.text.value and "called not fractured" in explorer.text.value
    assert explorer.position.max == 2
    explorer.threshold.value = 0.0
    assert "No film is among" in explorer.text.value
    explorer.threshold.value = 1.0
    assert explorer.position.max == 5 and "No film" not in explorer.text.value


def test_a_film_stays_when_the_threshold_moves(explorer: Explorer) -> None:
    explorer.outcome.value = list(OUTCOMES)[1]
    explorer.position.value = 1
    name = explorer.text.value.split(":")[0]
    explorer.threshold.value = 0.6
    assert explorer.text.value.split(":")[0] == name


def test_the_outline_is_drawn_only_where_it_is_known(explorer: Explorer) -> None:
    def outlined() -> bool:
        left = picture(explorer)[:, :448].astype(int)
        return bool(((left[..., 2] - left[..., 0]) > 100).sum() > 50)

    explorer.position.value = 1
    assert outlined() and "of it lies there" in explorer.text.value
    explorer.outline.value = False
    assert not outlined()
    explorer.outline.value = True
    explorer.position.value = 2
    assert not outlined() and "of it lies there" not in explorer.text.value


def test_an_empty_map_is_said_and_left_empty() -> None:
    square = film(1, width=64, height=64)
    empty = draw(square, np.full((4, 4), -1, np.float32))
    assert np.array_equal(empty[:, :448], empty[:, 456:])


def test_closing_frees_every_widget() -> None:
    import ipywidgets.widgets.widget as module

    registry = getattr(module, "_instances", None)
    images = np.stack([film(i, width=64, height=64) for i in range(3)])
    classifier = Classifier(build_model("small_cnn", seed=0, width=2), {"name": "small_cnn", "width": 2}, 64, 0.3, 0.2)

    def alive() -> int:
        return len(registry) if registry is not None else len(Widget.widgets)

    Explorer(classifier, images, [0, 1, 0]).close()
    before = alive()
    for _ in range(20):
        Explorer(classifier, images, [0, 1, 0]).close()
    assert alive() == before
    assert not any(m._forward_hooks for m in classifier.model.modules())


def test_lengths_must_agree(explorer: Explorer) -> None:
    with pytest.raises(InputError, match="labels has 1 values; expected 12"):
        Explorer(explorer.classifier, explorer.images, [1])
    with pytest.raises(InputError, match="images is empty"):
        Explorer(explorer.classifier, explorer.images[:0], [])
