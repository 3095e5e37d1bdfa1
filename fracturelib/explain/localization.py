"""Is the heat map right? Maps against the outlines of fractures, with chance and ceiling beside every figure.

A map is evidence (h, w) float32, of which only what is above 0 counts; a mask is (h, w) uint8, of which only what is
above 0 is fracture. A map without any evidence is a miss, and counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import InputError
from fracturelib.explain.overlay import highest_of, upsample
from fracturelib.metrics.bootstrap import Groups, Weights, draws, group_codes, percentile_limits, unvarying
from fracturelib.metrics.intervals import NAN
from fracturelib.metrics.limits import Limits, difference_limits, wilson_limits

Heat = NDArray[np.float32]
Mask = NDArray[np.uint8]
Values = NDArray[np.float64]
FIGURES = ("pointing", "pointing, near", "energy", "rank accuracy", "IoU, Otsu", "IoU, tuned")

AP, EMPTY = "AP at IoU 0.5", "empty maps"
CUTS: Values = np.arange(0, 20) / 20
TOLERANCE = 15 / 384  # of an image's side: what "near" means wherever a peak is judged


def _fits(heat: Heat, mask: Mask) -> None:
    if heat.shape != mask.shape:
        raise InputError(f"heat has shape {heat.shape}; expected that of the mask, {mask.shape}")
    highest_of(heat)


def peak(heat: Heat) -> tuple[int, int] | None:
    """Row and column of the strongest evidence, (h, w) -> two int; None if there is none."""
    if not highest_of(heat) > 0:
        return None
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return int(row), int(column)


def tolerance_at(size: int) -> int:
    """How many pixels beside a fracture still count as near, on images of a size: at 384 pixels 15, at 224 pixels 9."""
    if size < 1:
        raise InputError(f"size is {size}; expected at least 1 pixel")
    return round(TOLERANCE * size)


def grown(mask: Mask, tolerance: int) -> Mask:
    """The places within `tolerance` pixels of a mask: (h, w) of 0 and 1 -> the same."""
    if tolerance <= 0:
        return (np.asarray(mask) > 0).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * tolerance + 1, 2 * tolerance + 1))
    return np.asarray(cv2.dilate((np.asarray(mask) > 0).astype(np.uint8), disc), dtype=np.uint8)


def pointing_game(heat: Heat, mask: Mask, *, tolerance: int = 0) -> bool:
    """The pointing game (Zhang et al. 2018, doi 10.1007/s11263-017-1059-x): whether the peak lies in the fracture.

    Parameters
    ----------
    heat : (h, w) float32
        Evidence; a map without any is a miss.
    mask : (h, w) of 0 and 1
    tolerance : int
        Pixels beside the mask that still count.

    Examples
    --------
    >>> heat = np.array([[0.1, 0.9], [0.2, 0.3]], np.float32)
    >>> pointing_game(heat, np.array([[0, 1], [0, 0]], np.uint8))
    True
    """
    _fits(heat, mask)
    place = peak(heat)
    return place is not None and bool(grown(mask, tolerance)[place])


def energy_in_mask(heat: Heat, mask: Mask) -> float:
    """Proportion of the evidence that lies in the fracture, 0..1 (Wang et al. 2020, doi 10.1109/CVPRW50498.2020.00020).

    A map without evidence has none in the fracture: 0.

    Examples
    --------
    >>> heat = np.array([[1, 3], [0, 0]], np.float32)
    >>> round(energy_in_mask(heat, np.array([[0, 1], [0, 0]], np.uint8)), 2)
    0.75
    """
    _fits(heat, mask)
    positive = np.clip(heat, 0, None).astype(np.float64)
    total = float(positive.sum())
    return float(positive[np.asarray(mask) > 0].sum()) / total if total > 0 else 0.0


def rank_accuracy(heat: Heat, mask: Mask) -> float:
    """Proportion of the k strongest pixels that lie in the fracture, which has k pixels (Arras et al. 2022).

    doi 10.1016/j.inffus.2021.11.008. It does not ask how strong, only in which order: a map that is squared stays as
    good as it was.

    Parameters
    ----------
    heat : (h, w) float32
        Pixels without evidence are never among the strongest; of equal ones at the edge, each counts in part.
    mask : (h, w) of 0 and 1

    Returns
    -------
    float in 0..1
        NaN for an empty mask.
    """
    _fits(heat, mask)
    inside = np.asarray(mask).ravel() > 0
    values = np.asarray(heat).ravel()
    k = int(inside.sum())
    if not k:
        return NAN
    edge = np.partition(values, -k)[-k]  # the k-th strongest
    if edge <= 0:
        return float(inside[values > 0].sum()) / k
    above, level = values > edge, values == edge
    left = k - int(above.sum())
    return (float(inside[above].sum()) + left * float(inside[level].mean())) / k


def marked(heat: Heat, cut: float) -> NDArray[np.bool_]:
    """Where the evidence exceeds `cut` (0..1) times the map's own maximum: (h, w) float32 -> (h, w) bool.

    Examples
    --------
    >>> marked(np.array([[0.1, 0.9, 0.5]], np.float32), 0.5)
    array([[False,  True,  True]])
    """
    top = highest_of(heat)
    return np.asarray(heat > cut * top) if top > 0 else np.zeros(heat.shape, bool)


def otsu_cut(heat: Heat) -> float:
    """The cut that parts a map into two kinds of pixels (Otsu 1979, doi 10.1109/TSMC.1979.4310076), on 256 levels.

    Needs no masks, so nothing is tuned. As a proportion of the map's own maximum, 0..1.
    """
    top = highest_of(heat)
    if top <= 0:
        return 0.0
    levels = np.round(np.clip(heat / top, 0, 1) * 255).astype(np.uint8)
    level, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return (level + 0.5) / 255


def iou(region: NDArray[np.bool_], mask: Mask) -> float:
    """Intersection over union (Jaccard 1912) of two regions (h, w): 0..1; NaN if both are empty.

    Examples
    --------
    >>> region = np.array([[1, 1, 0, 0]], bool)
    >>> mask = np.array([[0, 1, 1, 0]], np.uint8)
    >>> round(iou(region, mask), 3)
    0.333
    """
    inside = np.asarray(mask) > 0
    union = int((region | inside).sum())
    return int((region & inside).sum()) / union if union else NAN


def tuned_cut(heats: Heat, masks: Mask) -> float:
    """The cut with the best mean IoU: for the validation images, so that the test images are judged at a fixed one.

    Parameters
    ----------
    heats : (n, h, w) float32
    masks : (n, h, w) of 0 and 1

    Returns
    -------
    float
        Of `CUTS`, proportions of a map's maximum; the first of equally good ones.
    """
    _images_fit(heats, masks)
    means = [np.mean([iou(marked(h, c), m) for h, m in zip(heats, masks, strict=True)]) for c in CUTS]
    return float(CUTS[int(np.argmax(means))])


def components(region: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The connected parts of a region, pixels that touch at a corner being connected: (h, w) -> list of (h, w) bool."""
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    return [labels == i for i in range(1, count)]


def found_parts(heat: Heat, mask: Mask, cut: float) -> tuple[Values, NDArray[np.bool_], int]:
    """The parts of a map as detections of the parts of a mask.

    A part finds a fracture if the IoU of both is at least 0.5: no other part finds it then, and the part no other one.

    Parameters
    ----------
    heat, mask : (h, w)
    cut : float
        As for `marked`.

    Returns
    -------
    strength : (d,) float64
        The strongest evidence in each part, in falling order.
    hit : (d,) bool
        Whether it finds a fracture.
    fractures : int
        Parts of the mask.
    """
    _fits(heat, mask)
    parts, fractures = components(marked(heat, cut)), components(np.asarray(mask) > 0)
    strength = np.array([heat[part].max() for part in parts], np.float64)
    order = np.argsort(-strength, kind="stable")
    found = [any(iou(parts[i], f) >= 0.5 for f in fractures) for i in order]  # type: ignore[arg-type]
    return strength[order], np.array(found, bool), len(fractures)


@dataclass(frozen=True)
class Judged:
    """What there is to say of each image's map; figures and intervals are means over images.

    Attributes
    ----------
    images : DataFrame
        One row an image: `FIGURES` in 0..1, and "empty maps", 1 where there was no evidence at all.
    image : (d,) int64
        Which image a detection is of.
    strength : (d,) float64
    hit : (d,) bool
    fractures : (n,) int64
        How many there are to find in each image.
    """

    images: pd.DataFrame
    image: NDArray[np.int64]
    strength: Values
    hit: NDArray[np.bool_]
    fractures: NDArray[np.int64]

    @property
    def empty(self) -> int:
        """How many maps had no evidence at all; each of them is a miss in every figure."""
        return int(self.images[EMPTY].sum())


def _images_fit(heats: Heat | None, masks: Mask) -> None:
    if masks.ndim != 3 or not len(masks):
        raise InputError(f"masks has shape {masks.shape}; expected (images, height, width), with at least one image")
    if heats is not None and heats.shape != masks.shape:
        raise InputError(f"heats has shape {heats.shape}; expected that of the masks, {masks.shape}")
    if heats is not None and not np.isfinite(heats).all():
        raise InputError("heats has values that are not finite; expected numbers")
    bare = np.flatnonzero(~(np.asarray(masks) > 0).any(axis=(1, 2)))
    if len(bare):
        raise InputError(f"mask {bare[0]} is empty; expected a fracture in each, because only known ones can be judged")


def judge_images(heats: Heat, masks: Mask, *, tolerance: int, cut: float) -> Judged:
    """Every figure of every map.

    Parameters
    ----------
    heats : (n, h, w) float32
        Evidence, at the images' size.
    masks : (n, h, w) of 0 and 1
        None of them empty.
    tolerance : int
        Pixels beside the mask that still count as pointing near; see `tolerance_at`.
    cut : float
        Proportion of a map's maximum for the tuned IoU and for the parts; see `tuned_cut`.

    Raises
    ------
    InputError
        If shapes do not fit, a value is not finite, or a mask is empty.
    """
    _images_fit(heats, masks)
    rows, parts = [], []
    for heat, mask in zip(heats, masks, strict=True):
        near = pointing_game(heat, mask, tolerance=tolerance)
        points = pointing_game(heat, mask), near
        amounts = energy_in_mask(heat, mask), rank_accuracy(heat, mask)
        bounds = iou(marked(heat, otsu_cut(heat)), mask), iou(marked(heat, cut), mask)
        rows.append((*points, *amounts, *bounds, peak(heat) is None))
        parts.append(found_parts(heat, mask, cut))
    return Judged(
        pd.DataFrame(np.array(rows, np.float64), columns=[*FIGURES, EMPTY]),
        np.repeat(np.arange(len(parts)), [len(p[0]) for p in parts]).astype(np.int64),
        np.concatenate([p[0] for p in parts]),
        np.concatenate([p[1] for p in parts]),
        np.array([p[2] for p in parts], np.int64),
    )


def chance_images(masks: Mask, *, tolerance: int) -> Judged:
    """What blind choice gives, in expectation and exactly: for (n, h, w) masks.

    A pixel drawn at random lies in the mask as often as the mask is large, and so do evidence that is spread at random
    and the first pixels of a random order. For the overlap, and as the one part of the map, the whole image is marked.
    No blind choice of a proportion p of the image betters that on average: the intersection is p m in expectation and
    the union at least max(p, m), so that the overlap is at most min(p, m), and m is what the whole image gets.
    """
    _images_fit(None, masks)
    share = (np.asarray(masks) > 0).mean(axis=(1, 2))
    near = np.array([grown(mask, tolerance).mean() for mask in masks])
    whole = [found_parts(np.ones(mask.shape, np.float32), mask, 0.0) for mask in masks]
    columns = [share, near, share, share, share, share, np.zeros(len(masks))]
    return Judged(
        pd.DataFrame(dict(zip([*FIGURES, EMPTY], columns, strict=True))),
        np.arange(len(masks), dtype=np.int64),
        np.ones(len(masks)),
        np.array([p[1][0] for p in whole]),
        np.array([p[2] for p in whole], np.int64),
    )


def centre_map(size: int) -> Heat:
    """A map that always points at the middle of the image: a Gaussian, a quarter of a side wide, (size, size) float32.

    Pointing, rank accuracy and a tuned IoU do not depend on the width, only on the order of the pixels.
    """
    if size < 1:
        raise InputError(f"size is {size}; expected at least 1 pixel")
    away = (np.arange(size) - (size - 1) / 2) / (0.25 * size)
    one = np.exp(-(away**2) / 2)
    return np.outer(one, one).astype(np.float32)


def ceiling_map(mask: Mask, grid: tuple[int, int]) -> Heat:
    """The map of somebody who knows the fracture but has only the layer's grid: (h, w) of 0 and 1 -> (h, w) float32.

    Each place of the grid (rows, columns) holds the proportion of its area that is fracture, and is enlarged as any
    map.
    """
    height, width = mask.shape
    _check_grid(grid, mask)
    inside = (np.asarray(mask) > 0).astype(np.float32)
    coarse = cv2.resize(inside, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
    return upsample(np.asarray(coarse, np.float32), (height, width))


def _check_grid(grid: tuple[int, int], mask: Mask) -> None:
    if not (1 <= grid[0] <= mask.shape[-2] and 1 <= grid[1] <= mask.shape[-1]):
        raise InputError(f"grid is {grid}; expected at least (1, 1) and at most the mask's {mask.shape[-2:]}")


def most_energy(mask: Mask, grid: tuple[int, int]) -> float:
    """The largest proportion of its evidence that any map of a grid can have in the mask: (h, w) of 0 and 1 -> 0..1.

    The evidence in the mask and in all are both sums over the grid's places, so that the best map has one place only.
    """
    _check_grid(grid, mask)
    down, across = (_spread(n, size) for n, size in zip(grid, mask.shape, strict=True))
    inside = down.T @ (np.asarray(mask) > 0).astype(np.float64) @ across
    return float((inside / np.outer(down.sum(axis=0), across.sum(axis=0))).max())


def possible_peaks(grid: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where an enlarged map can have its peak, the pixels next to the grid's places: size (h, w) -> (h, w) bool."""
    down, across = (_spread(n, s) for n, s in zip(grid, size, strict=True))
    rows, columns = ((one >= one.max(axis=0) - 1e-6).any(axis=1) for one in (down, across))
    return np.asarray(np.outer(rows, columns))


def _spread(places: int, size: int) -> Values:
    """What each place of a line gives to each pixel when it is enlarged: (size, places) float64."""
    return upsample(np.eye(places, dtype=np.float32), (size, places)).astype(np.float64)


def ceiling_images(masks: Mask, grid: tuple[int, int], *, tolerance: int, cut: float) -> Judged:
    """What the layer's resolution allows: no map on a grid (rows, columns) can point better or have more energy inside.

    In the other figures it is the map that knows the fracture, `ceiling_map`, which a map made for one of them alone
    may still better a little. Parameters as for `judge_images`.
    """
    _images_fit(None, masks)
    known = judge_images(np.stack([ceiling_map(m, grid) for m in masks]), masks, tolerance=tolerance, cut=cut)
    places = possible_peaks(grid, masks.shape[1:])
    best = {
        "pointing": [float((places & (m > 0)).any()) for m in masks],
        "pointing, near": [float((places & (grown(m, tolerance) > 0)).any()) for m in masks],
        "energy": [most_energy(m, grid) for m in masks],
    }
    return replace(known, images=known.images.assign(**best))


def parts_precision(judged: Judged, weights: Weights | None = None) -> float:
    """Average precision of the parts as detections, over all images (Everingham et al. 2010).

    doi 10.1007/s11263-009-0275-4. The area under precision against recall, the precision at a recall being the best at
    that recall or a higher one. There are only fractured images here: false alarms on negative ones are not in it.

    Parameters
    ----------
    judged : Judged
    weights : (n,) int64, optional
        How often each image counts.
    """
    w = np.ones(len(judged.fractures), np.int64) if weights is None else weights
    truths = int(w @ judged.fractures)
    if not truths:
        return NAN
    if not len(judged.strength):
        return 0.0
    order = np.argsort(-judged.strength, kind="stable")
    last = np.append(np.flatnonzero(np.diff(judged.strength[order])), len(order) - 1)  # equal ones come together
    drawn = w[judged.image[order]]
    predicted, right = np.cumsum(drawn)[last], np.cumsum(drawn * judged.hit[order])[last]
    precision = right / np.maximum(predicted, 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.diff(right, prepend=0) @ best) / truths


def _resampled(judged: Judged, times: Weights) -> Values:
    """Every figure of each sample of images: times (n, images) -> (n, figures), in the order of the table."""
    means = times @ judged.images.to_numpy(np.float64) / times.sum(axis=1, keepdims=True)
    parts = np.array([parts_precision(judged, w) for w in times])
    return np.column_stack([means[:, :-1], parts, means[:, -1]])


def judged_table(judged: Mapping[str, Judged], groups: Groups | None = None, *, n: int = 1000) -> pd.DataFrame:
    """All figures of several kinds of maps of the same images, with 95 % intervals by drawing whole patients.

    Parameters
    ----------
    judged : mapping of str to Judged
        By name, such as "map", "chance", "centre". The first is compared with each other one on the same draws.
    groups : (images,), optional
        The patient of each image.
    n : int
        Bootstrap samples.

    Returns
    -------
    DataFrame
        who, metric, value, low, high (0..1; "empty maps" is their share), and first_minus, first_minus_low,
        first_minus_high: the first's figure minus this one's. A figure that is 0 or 1 in every sample has Wilson's
        interval, with groups in place of images; one of another value that is the same in every sample has none: NaN.
    """
    if not judged or n < 1:
        raise InputError(f"judged has {len(judged)} kinds of maps, n is {n}; expected at least one each")
    lengths = {name: len(one.images) for name, one in judged.items()}
    images = next(iter(lengths.values()))
    for name, length in lengths.items():
        if length != images:
            raise InputError(f"judged[{name!r}] has {length} images; expected {images}, as the first")
    codes = group_codes(groups, images)
    times = np.array([np.ones(images, np.int64), *draws(codes, n, 0)])  # the first row is the images as they are
    figures = {name: _resampled(one, times) for name, one in judged.items()}
    first, groups_in = next(iter(figures.values())), int(codes.max()) + 1
    rows = []
    for name, values in figures.items():
        for j, metric in enumerate([*FIGURES, AP, EMPTY]):
            own = _limits(values[:, j], groups_in)
            apart = first[:, j] - values[:, j]
            if values is not first and unvarying(apart[1:], float(apart[0])):
                of_first = _limits(first[:, j], groups_in)
                less = difference_limits(float(first[0, j]), of_first, float(values[0, j]), own)
            else:
                less = percentile_limits(apart[1:], 0.95)
            rows.append((name, metric, values[0, j], *own, apart[0], *less))
    columns = ["who", "metric", "value", "low", "high", "first_minus", "first_minus_low", "first_minus_high"]
    return pd.DataFrame(rows, columns=columns)


def _limits(values: Values, groups: int) -> Limits:
    """Of a figure, from what it is (the first value) and what it is in each sample."""
    if not unvarying(values[1:], float(values[0])):
        return percentile_limits(values[1:], 0.95)
    nearest = round(float(values[0]))
    return wilson_limits(nearest * groups, groups) if abs(values[0] - nearest) < 1e-12 else (NAN, NAN)
