"""Exercises of lesson 06: energy by hand, squared maps, another image's map, the centre as rival, and a marker."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracturelib.checks.answers import (
    Reply,
    choice,
    exercise,
    judge_number,
    near,
    not_yet,
    number,
    proportion,
    right,
    sides,
)
from fracturelib.explain.localization import energy_in_mask, grown, peak, tolerance_at
from fracturelib.explain.pixel_orders import paired_limits
from fracturelib.metrics import roc_auc

Array = NDArray[np.float64]


# 6.1 --------------------------------------------------------------------------------------------------------------


@exercise("6.1")
def energy_by_hand(answer: object, *, heat: Array, mask: NDArray[np.uint8]) -> Reply:
    """The proportion of the evidence inside of an outline."""
    toy, inside = np.asarray(heat, np.float64), np.asarray(mask) > 0
    evidence = np.maximum(toy, 0)
    truth = energy_in_mask(toy.astype(np.float32), np.asarray(mask, np.uint8))
    value, total = number(answer), float(evidence.sum())
    sums = [
        (float(evidence[inside].sum()), "that is the evidence inside the outline; divide it by all there is"),
        (float(toy[inside].sum()), "that is a sum, and negative places were taken from it; a proportion is asked for"),
    ]
    for wrong, words in sums:
        if near(value, wrong, 1e-6) and not near(wrong, truth):
            not_yet(words)
    shares = [
        (
            float(toy[inside].sum() / toy.sum()) if toy.sum() else np.nan,
            "negative places were added in: they are no evidence for a fracture, and count as 0, inside and outside",
        ),
        (float(evidence[inside].sum() / np.abs(toy).sum()), "what you divide by counts evidence against as evidence"),
        (float(evidence[inside].mean()), "that is the mean inside the outline, not a share of the whole"),
        (float(inside.mean()), "that is the outline's share of the pixels, which is what chance would get"),
        (float((evidence[inside] > 0).sum() / max((evidence > 0).sum(), 1)), "you counted places; weigh them, too"),
        (float(evidence[~inside].sum() / total) if total else np.nan, "that is the share that lies outside"),
    ]
    meaning = "so much of the evidence lies in the fracture. Without a rival you cannot know whether that is good."
    return judge_number(proportion(value), truth, meaning, shares)


# 6.2 --------------------------------------------------------------------------------------------------------------


def _pairs(maps: NDArray[np.float32], masks: NDArray[np.uint8], tolerance: int) -> NDArray[np.bool_]:
    """Whether the peak of map j lies within a tolerance of fracture i: (i, j) bool."""
    peaks = [peak(m) for m in maps]
    wide = [grown(m, tolerance) for m in masks]
    return np.array([[p is not None and bool(w[p]) for p in peaks] for w in wide])


@exercise("6.2")
def another_images_map(answer: object, *, maps: NDArray[np.float32], masks: NDArray[np.uint8]) -> Reply:
    """How often the map of another image points near, over all pairs of different images."""
    value, tolerance = proportion(answer), tolerance_at(masks.shape[1])
    hits, n = _pairs(maps, masks, tolerance), len(maps)
    own = float(np.diag(hits).mean())
    off = ~np.eye(n, dtype=bool)
    truth = float(hits[off].mean())
    exact = float(_pairs(maps, masks, 0)[off].mean())
    neighbours = [float(np.mean([hits[i, (i + k) % n] for i in range(n)])) for k in (1, -1)]
    wrongs = [
        (own, "that is each image's own map; give every fracture the maps of all the other images"),
        (exact, "these peaks lie in the fracture itself; near is asked for, with the tolerance"),
        (float(hits[off].sum() / n), "that is a number of maps for each image; divide by the number of pairs"),
        *(
            (s, "each image got a single partner, which is luck: take all pairs of different images")
            for s in neighbours
        ),
        (
            float(np.mean([grown(m, tolerance).mean() for m in masks])),
            "that is chance, a pixel anywhere in the image; another image's map is not anywhere",
        ),
    ]
    lead = own - truth
    more = "more" if lead >= 0 else "less"
    meaning = (
        f"an image's own map points near {abs(100 * lead):.0f} percentage points {more} often "
        f"than a stranger's ({own:.0%} against {truth:.0%}). Only that lead is about the image; the rest is where "
        "fractures, and this network's maps, usually lie."
    )
    return judge_number(value, truth, meaning, wrongs)


# 6.3 --------------------------------------------------------------------------------------------------------------

MAP, CENTRE, RANDOM = "by the map", "from the centre", "at random"


@exercise("6.3")
def against_the_centre(
    gap: object, verdict: object, *, deletion: Mapping[str, Array], insertion: Mapping[str, Array], groups: Any
) -> Reply:
    """The mean paired difference of two areas, and what its interval allows to say."""
    value = number(gap, "the difference")
    paired = np.asarray(deletion[MAP]) - np.asarray(deletion[CENTRE])
    truth = float(paired.mean())
    wrongs: Sequence[tuple[float, str]] = [
        (
            float((np.asarray(deletion[MAP]) - np.asarray(deletion[RANDOM])).mean()),
            "that is against a random order, the weakest rival there is; the image's centre is harder to beat",
        ),
        (-truth, "the sign is turned round: the map's area minus the centre's"),
        (
            float((np.asarray(insertion[MAP]) - np.asarray(insertion[CENTRE])).mean()),
            "that is insertion; deletion is asked for",
        ),
        (float(paired.sum()), "that is the sum over the images; take the mean"),
        (float(np.asarray(deletion[MAP]).mean()), "that is the map's area by itself; subtract the centre's"),
        (float(np.mean(paired < 0)), "that is the share of images in which the map is better, not the difference"),
    ]
    otherwise = "for each image, the area by the map minus the area from the centre; then the mean"
    judge_number(value, truth, "", wrongs, otherwise=otherwise)
    low, high = paired_limits(paired, groups)
    names = {"below": "yes", "above": "no", "across": "not shown"}
    words = {
        "yes": "the difference is right, and not the verdict: a smaller area is better, but does its interval over "
        "patients leave out zero?",
        "no": "the difference is right, and not the verdict: 'no' claims that the centre is better. Does the interval "
        "lie wholly above zero?",
        "not shown": "the difference is right, and not the verdict: draw patients, take the middle 95 %, and see on "
        "which side of zero it lies",
    }
    choice(verdict, {names[side] for side in sides(low, high)}, words)
    other_low, other_high = paired_limits(np.asarray(insertion[MAP]) - np.asarray(insertion[CENTRE]), groups)
    deleted, inserted = high < 0, other_low > 0
    meaning = (
        "Both say that the map names what the network uses sooner than the centre does"
        if deleted and inserted
        else "The two do not agree; report both, and rest no claim on one of them"
        if deleted or inserted
        else "Neither says that the map knows this body better than the centre does"
    )
    return right(
        f"deletion {low:+.2f} to {high:+.2f} logit units, where below 0 the map is better; insertion "
        f"{other_low:+.2f} to {other_high:+.2f}, where above 0 it is. {meaning}."
    )


# 6.4 --------------------------------------------------------------------------------------------------------------


@exercise("6.4")
def marker_without_a_map(answer: object, *, labels: Any, marker: Any, scores: Any) -> Reply:
    """The AUC of the score for the marker, among the images without a fracture."""
    y, m, s = np.asarray(labels), np.asarray(marker).astype(int), np.asarray(scores, np.float64)
    value = proportion(answer)
    sound = y == 0
    truth = _auc(m[sound], s[sound])
    wrongs = [
        (
            _auc(m, s),
            "all images are in it, and in most of them the marker and the label say the same: keep the label fixed, or "
            "you cannot tell which of the two the score follows",
        ),
        (_auc(y, s), "that is the AUC for the fracture: the number that everybody admired. Ask for the marker"),
        (
            _auc(m[~sound], s[~sound]),
            "the label is fixed, which is the idea, but these are the fractured ones; take the others",
        ),
        (1 - truth, "the sign is turned round: does the score rise with the marker?"),
        (
            _auc(y[m == 1], s[m == 1]),
            "you fixed the marker and asked for the fracture; do it the other way round",
        ),
        (float(np.mean(m[sound])), "that is how often these images have a marker, not how well the score tells them"),
    ]
    meaning = (
        "none of these images shows a fracture, so an honest score would be near one half here. No map was needed: a "
        "list of what else is on the image, and one label at a time."
    )
    if not np.isfinite(truth):
        not_yet("all of these images have the marker, or none has: there is nothing to compare")
    return judge_number(value, truth, meaning, wrongs)


def _auc(y: NDArray[np.int64], s: Array) -> float:
    return float(roc_auc(y, s)) if len(np.unique(y)) == 2 else float("nan")
