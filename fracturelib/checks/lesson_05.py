"""Exercises of lesson 05: Grad-CAM by hand, the difference of two maps, covering the peak, and what adds up."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracturelib.checks.answers import Reply, exercise, judge_function, judge_number, not_yet, number, right
from fracturelib.explain import GradCAM
from fracturelib.models.registry import stages

Array = NDArray[np.float64]


# 5.1 --------------------------------------------------------------------------------------------------------------


def _map(activation: Array, gradient: Array) -> Array:
    """Grad-CAM: (k, h, w), (k, h, w) -> (h, w)."""
    return np.maximum(_signed(activation, gradient), 0)


def _signed(activation: Array, gradient: Array) -> Array:
    return np.einsum("k,khw->hw", gradient.mean(axis=(1, 2)), activation)


def _weighed_by(weigh: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda a, g: np.maximum(np.einsum("k,khw->hw", weigh(g), a), 0)


def _each_place(activation: Array, gradient: Array) -> Array:
    return np.maximum((activation * gradient).sum(axis=0), 0)


def _rectified_early(activation: Array, gradient: Array) -> Array:
    return np.einsum("k,khw->hw", np.maximum(gradient.mean(axis=(1, 2)), 0), activation)


def _mean_of_channels(activation: Array, gradient: Array) -> Array:
    return _map(activation, gradient) / len(activation)


@exercise("5.1")
def map_by_hand(function: object) -> Reply:
    """A function of what a layer said and of the gradient, (k, h, w) each."""
    rng = np.random.default_rng(51)
    cases = {
        "three channels on a grid of 4 x 5": (np.abs(rng.normal(size=(3, 4, 5))), rng.normal(size=(3, 4, 5))),
        "two channels that disagree": (np.ones((2, 2, 2)), np.array([[[1.0, 3], [2, 2]], [[-1, -1], [-4, 0]]])),
        "a gradient that speaks against everywhere": (np.ones((2, 3, 3)), -np.ones((2, 3, 3))),
    }
    wrongs: Sequence[tuple[Callable[..., Any], str]] = [
        (
            _weighed_by(lambda g: g.sum(axis=(1, 2))),
            "your weights are sums, so the map is too large by the number of places, and no longer in logit units: "
            "average the gradient over the grid",
        ),
        (
            _weighed_by(lambda g: g.max(axis=(1, 2))),
            "one place decides each of your weights, the one with the largest gradient; Grad-CAM asks all places: mean",
        ),
        (_signed, "your map has negative places: keep only what speaks for a fracture, at the very end"),
        (
            _each_place,
            "your weights differ from place to place, which has a name of its own, HiResCAM; Grad-CAM has one weight "
            "per channel, its mean gradient",
        ),
        (
            _rectified_early,
            "channels that speak against were silenced before they could object: add up all of them first, then drop "
            "what is negative",
        ),
        (_mean_of_channels, "add up the channels; your map is their mean"),
        (
            _weighed_by(lambda g: np.abs(g).mean(axis=(1, 2))),
            "a channel with a negative gradient counts against a fracture; the absolute value makes it count for one",
        ),
    ]
    meaning = (
        "that is all of Grad-CAM: one weight a channel, a sum, and a cut at zero. Whoever shows you such a map has "
        "shown you no more than this."
    )
    return judge_function(function, cases, _map, meaning, wrongs, tolerance=1e-5)


# 5.2 --------------------------------------------------------------------------------------------------------------


def _array(answer: object, what: str) -> Array:
    if answer is None or isinstance(answer, str | bool) or callable(answer):
        not_yet(f"{what} is a {type(answer).__name__}; an array is expected")
    try:
        values = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        not_yet(f"{what} is a {type(answer).__name__}; an array of numbers is expected")
    if not np.isfinite(values).all():
        not_yet(f"{what} has values that are not finite")
    return values


@exercise("5.2")
def difference_of_maps(answer: object, *, fractured: Array, not_fractured: Array) -> Reply:
    """The map of the difference of the logits from the signed maps of both."""
    a, b = np.squeeze(fractured).astype(np.float64), np.squeeze(not_fractured).astype(np.float64)
    values = np.squeeze(_array(answer, "the difference"))
    if values.shape != a.shape:
        not_yet(f"the difference has the shape {values.shape}; expected that of the maps, {a.shape}")
    scale = max(float(np.abs(a - b).max()), 1e-9)

    def is_(other: Array) -> bool:
        return bool(np.allclose(values, other, rtol=0, atol=1e-3 * scale))

    wrongs = [
        (np.maximum(a, 0) - np.maximum(b, 0), "both maps were rectified first: what speaks against was thrown away"),
        (np.maximum(a - b, 0), "the difference was rectified: the places that speak for 'not fractured' are missing"),
        (b - a, "the sign is turned round: evidence for a fracture should be positive"),
        (a + b, "that is the sum; evidence for 'not fractured' is evidence against a fracture"),
        (a, "that is the map of 'fractured' by itself: only one of the two logits"),
        ((a - b) / 2, "that is half of it: subtract, without taking a mean"),
        (np.abs(a - b), "the sign is lost: without it, evidence against looks like evidence for"),
    ]
    if not is_(a - b):
        not_yet(next((words for other, words in wrongs if is_(other)), "these are not the numbers of that map"))
    return right(
        "a map is linear in its logit, so the map of a difference is the difference of the maps. And it is the "
        "difference that decides: the score is its sigmoid."
    )


# 5.3 --------------------------------------------------------------------------------------------------------------


def _covered(image: NDArray[np.uint8], row: float, column: float, side: int) -> NDArray[np.uint8]:
    """A square of mean grey about a place, moved inside the image where it would stick out."""
    height, width = image.shape
    top = int(np.clip(round(row - side / 2), 0, height - side))
    left = int(np.clip(round(column - side / 2), 0, width - side))
    changed = image.copy()
    changed[top : top + side, left : left + side] = round(float(image.mean()))
    return changed


def _fall_words(value: float, spot: tuple[Array, Array, Array], slack: float) -> str | None:
    """Why a fall at the peak is not right yet; None if it is. `spot` has the falls there, of the score, elsewhere."""
    at_peak, of_score, at_grid = spot
    if at_peak.min() - slack <= value <= at_peak.max() + slack:
        return None
    if at_peak.min() - slack <= -value <= at_peak.max() + slack:
        return "the sign is turned round: a fall is the logit before minus the logit after"
    if np.abs(of_score - value).min() < 0.02:
        return (
            "that is the fall of the score. Where the network is sure, a sigmoid is flat and hides almost everything: "
            "take the logit"
        )
    if np.abs(at_grid - value).min() < max(slack / 4, 0.005):
        return (
            "the square seems to lie at the place's number on the grid. A place of the grid is many pixels wide: in a "
            "grid of 14 on 224 pixels, place 5 begins at pixel 80"
        )
    return "covering the peak changes the logit by something else: which pixels are covered, and with what grey?"


@exercise("5.3")
def covering(
    at_peak: object, elsewhere: object, *, classifier: Any, image: NDArray[np.uint8], heat: Array, side: int = 32
) -> Reply:
    """How far the logit falls if the peak is covered, and if twenty random squares are."""
    value = number(at_peak, "the fall at the peak")
    others = np.atleast_1d(np.squeeze(_array(elsewhere, "the falls elsewhere")))
    if others.ndim != 1 or len(others) < 10:
        not_yet("compared with what? A square anywhere costs something: hand in the falls of twenty random ones, too")
    row, column = map(int, np.unravel_index(int(np.argmax(heat)), heat.shape))
    places = [(row + dy, column + dx) for dy in (-2, 0, 2) for dx in (-2, 0, 2)]
    coarse = [(row / k, column / k) for k in (8, 16, 32)]
    middles = [float(m) for m in np.arange(side / 2, image.shape[0], side)]
    lattice = [(y, x) for y in middles for x in middles]
    pictures = np.stack([image, *(_covered(image, y, x, side) for y, x in (*places, *coarse, *lattice))])
    logits = np.asarray(classifier.logits(pictures))[:, 1]
    scores = np.asarray(classifier.scores(pictures))
    falls = logits[0] - logits[1:]
    spread = max(float(np.ptp(falls)), 1e-6)
    here, there = falls[: len(places)], falls[len(places) + len(coarse) :]
    spot = (here, scores[0] - scores[1 : len(places) + 1], falls[len(places) : len(places) + len(coarse)])
    words = _fall_words(value, spot, 0.02 * spread)
    if words:
        not_yet(words)
    if np.ptp(others) < 1e-9:
        not_yet("all squares elsewhere cost the same to the last digit: is a new place drawn for each of them?")
    if others.min() < falls.min() - spread or others.max() > falls.max() + spread:
        not_yet("some of the falls elsewhere are beyond what any square of this image does: one square at a time?")
    if np.std(others) < 0.1 * np.std(there):
        not_yet("the falls elsewhere hardly vary: are they falls of the score, and not of the logit?")
    beaten = int((others < value).sum())
    return right(
        f"the peak costs more than {beaten} of your {len(others)} random squares. A random place does as well in "
        f"{(len(others) - beaten + 1) / (len(others) + 1):.0%} of such draws, and this image was picked because its "
        "map fits: a hint, not a finding. Lesson 06 asks it of many images."
    )


# 5.4 --------------------------------------------------------------------------------------------------------------


@exercise("5.4")
def what_does_not_add_up(answer: object, *, classifier: Any, image: NDArray[np.uint8]) -> Reply:
    """Sum of the signed map of stage3 minus (the logit minus the bias)."""
    value = number(answer, "the gap")
    model, x = classifier.model, classifier.tensor(image[None])
    layers = stages(model)
    names = list(layers)
    with GradCAM(model, layers) as cam:
        signed = {n: float(m.sum()) for n, m in cam(x, relu=False).items()}
        rectified = {n: float(m.sum()) for n, m in cam(x).items()}
    logit, bias = float(classifier.logits(image[None])[0, 1]), float(model.head.bias[1].detach())
    target, name = logit - bias, names[-2]
    truth = signed[name] - target
    wrongs = [
        (rectified[name] - target, "that is the rectified map: with relu=False, what speaks against counts, too"),
        (signed[names[-1]] - target, "that is the last layer, which adds up; take the one before it"),
        (signed[name] - logit, "the bias is still in the logit: no place in the image can claim it"),
        (signed[name], "that is the sum of the map alone; how far is it from what it should be?"),
        (signed[name] / target if target else np.nan, "that is their ratio; the difference is asked for"),
        (signed[name] / max(_places(model, x, name), 1) - target, "that is the map's mean: add its places up"),
    ]
    return judge_number(
        abs(value),
        abs(truth),
        "the parts and the whole differ: between this layer and the logit lie bends (the ReLUs) and maxima that no "
        "weighted sum of its channels can follow. An earlier layer is sharper, but no longer adds up.",
        [(abs(wrong), words) for wrong, words in wrongs],
        tolerance=0.006 + 0.01 * abs(truth),
        otherwise=f"it should be the sum of {name}'s signed map, minus what the logit has besides its bias",
    )


def _places(model: Any, x: Any, name: str) -> int:
    with GradCAM(model, stages(model)[name]) as cam:
        return int(cam(x).size)
