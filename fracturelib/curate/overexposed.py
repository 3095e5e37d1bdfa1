"""Images burnt to white: their copies, found by what the light has left of them.

A brighter copy of which a third is pure white shares few points with its source, whose points lie mostly where the copy
is white. So the source is burnt in the same way before the two are laid upon each other: the pixels that are white in
the copy are, crop aside, the brightest of the source. As this means to look at images again, it is done only for burnt
images of which no copy was found, with the few images that look most like them from afar.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from fracturelib.curate.keypoints import Look, points_of
from fracturelib.curate.registration import (
    CHANGED_BINS,
    CHANGES,
    LEAST_OVERLAP,
    Registration,
    alike_both_ways,
    by_pairs,
    by_points,
    changed_points,
    compared,
    is_worth_it,
    unit,
)

Floats = NDArray[np.float32]
WHITE = 250  # grey value; above it are white, and what JPEG makes of it
LEAST_BURNT = 0.15  # proportion of an image; images burnt less are found by their points
STEPS = (0.03, 0.06, 0.0)  # by so much less of the source is burnt: crops and noise make the proportion uncertain
LEAST_SHARE = 0.12  # of points that meet before they are sought again where they are expected
MOST_DIFFERENT = 0.08  # the nearest strangers of planted copies: 0.106

FEW, MANY = 10, 100  # images a burnt one is compared with, at least and at most

PAIRS, AT_LEAST = 0.25, 1500  # compared in all, as a proportion of the whole set, or so many: what this may cost

NEAR, ALIKE = 8.0, 0.7  # pixels, and least cosine, of a point and the one expected there
AFAR = 16  # side, in pixels, of the pictures in which images are compared from afar

TURNS, SIZES = range(0, 360, 10), (0.9, 1.05)


def burnt_copies(
    looks: Sequence[Look], among: Sequence[int], wanted: Sequence[int], *, progress: bool = False
) -> list[tuple[int, int, Registration]]:
    """Copies of burnt images.

    Parameters
    ----------
    looks : sequence of Look
    among, wanted : sequence of int
        Which images may be copies, and which of them are burnt and without a copy. If there are so many that all would
        take too long, only the most burnt are looked at.
    progress : bool
        Show a bar.

    Returns
    -------
    list of (image, burnt image, how the one lies upon the other)
    """
    budget = max(AT_LEAST, int(PAIRS * len(among)))
    burnt_most = sorted(wanted, key=lambda i: -burnt_share(looks[i].small))[: budget // FEW]
    if not burnt_most:
        return []
    each = min(MANY, budget // len(burnt_most))
    squares = from_afar([looks[i] for i in among])

    def first_copy(b: int) -> tuple[int, int, Registration] | None:
        for place in nearest_from_afar(looks[b], squares, each + 1):
            a = among[place]
            meeting = register_burnt(looks[a], looks[b]) if a != b else None
            if meeting is not None and is_burnt_copy(meeting):
                return a, b, meeting
        return None

    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        sought = pool.map(first_copy, burnt_most)
        found = tqdm(sought, total=len(burnt_most), desc="burnt", unit="image", disable=not progress)
        by_pair = {frozenset(copy[:2]): copy for copy in found if copy is not None}
        return list(by_pair.values())


def burnt_share(small: NDArray[np.uint8]) -> float:
    """How much of an image, without fill, is white."""
    white = small >= WHITE
    return float(white.sum()) / max(1, int((white | ~is_fill(small)).sum()))


def is_fill(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a picture is perfectly flat and not white: black corners and the like."""
    square, wide = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)
    flat = (cv2.dilate(small, square) - cv2.erode(small, square) <= 1).astype(np.uint8)
    grown = cv2.dilate(cv2.morphologyEx(flat, cv2.MORPH_OPEN, wide), wide)
    return np.asarray((grown > 0) & (small < WHITE - 10))


def burnt(look: Look, share: float) -> Look:
    """The image as it looks with the brightest `share` of it white."""
    image = look.small[~is_fill(look.small)]
    level = np.quantile(image, np.clip(1 - share, 0, 1)) if image.size else WHITE
    small = np.minimum(look.small, np.uint8(min(level, WHITE)))
    points, words = points_of(small)
    return replace(look, small=small, points=points, words=words)


def register_burnt(a: Look, b: Look) -> Registration | None:
    """How an image lies upon a burnt one when it is burnt in the same way, if they may be copies; else None."""
    share = burnt_share(b.small)
    white = burnt(b, 0.0)
    best: Registration | None = None
    for step in STEPS:
        meeting = _met_twice(burnt(a, share - step), white)
        if meeting is not None and (best is None or meeting.differs < best.differs):
            best = meeting
        if best is None or is_burnt_copy(best):  # most strangers do not meet at all: they cost one look
            break
    return best


def is_burnt_copy(meeting: Registration) -> bool:
    """Whether an image and a burnt one are one radiograph, once both are burnt."""
    return meeting.differs < MOST_DIFFERENT and meeting.overlap > LEAST_OVERLAP


def _met_twice(a: Look, b: Look) -> Registration | None:
    """How a lies upon b; if not well, with their points paired anew, each with one where the first try carries it."""
    meeting = by_points(a, unit(alike_both_ways(a.words)), b)
    if meeting is None or not is_worth_it(meeting, LEAST_SHARE):
        return None
    first = compared(a, b, meeting)
    if is_burnt_copy(first) or (second := _again(a, b, meeting)) is None:
        return first
    second = compared(a, b, second)
    return min(first, second, key=lambda m: m.differs)


def _again(a: Look, b: Look, meeting: Registration) -> Registration | None:
    way = CHANGES.index((meeting.mirrored, meeting.inverted))
    points = changed_points(a, mirrored=meeting.mirrored, inverted=meeting.inverted)
    there = points[:, :2] @ meeting.affine[:, :2].T + meeting.affine[:, 2]
    far = np.hypot(*(there[:, None] - b.points[None, :, :2]).transpose(2, 0, 1))
    turn = (points[:, None, 3] + meeting.degrees - b.points[None, :, 3] + 180) % 360 - 180
    size = np.log(meeting.scale * points[:, None, 2] / b.points[None, :, 2])
    expected = (far < NEAR) & (np.abs(turn) < 30) & (np.abs(size) < 0.5)
    cosine = a.words[:, CHANGED_BINS[way]].astype(np.float32) @ b.words.astype(np.float32).T / 512**2
    cosine = np.where(expected, cosine, 0)
    theirs, back = cosine.argmax(axis=1), cosine.argmax(axis=0)
    ours = np.flatnonzero((back[theirs] == np.arange(len(theirs))) & (cosine.max(axis=1) > ALIKE))
    found = by_pairs(a, b, ours, theirs[ours], way)
    return found if found is not None and is_worth_it(found, LEAST_SHARE) else None


def from_afar(looks: Sequence[Look]) -> Floats:
    """The images in squares of `AFAR` pixels, for `nearest_from_afar`: (n, AFAR**2) float32."""
    rows = np.zeros((len(looks), AFAR * AFAR), np.float32)
    for row, look in zip(rows, looks, strict=True):
        height, width = look.small.shape
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        bars = top, side - height - top, left, side - width - left
        square = cv2.copyMakeBorder(look.small, *bars, cv2.BORDER_REPLICATE)
        row[:] = cv2.resize(square, (AFAR, AFAR), interpolation=cv2.INTER_AREA).ravel()
    return rows


def nearest_from_afar(look: Look, squares: Floats, most: int) -> list[int]:
    """The images most like a burnt one, best first: whatever its turn, mirror and crop, by correlation from afar.

    Each is burnt as much as this one.
    """
    share = burnt_share(look.small)
    level = np.quantile(squares, 1 - share, axis=1, method="lower", keepdims=True)
    others = np.minimum(squares, level)
    others = others - others.mean(axis=1, keepdims=True)
    found = np.full(len(squares), -1, np.float32)
    for picture, image in _turned(look.small):
        seen = image.sum(axis=1, keepdims=True) + 1e-3
        apart = (picture - (picture * image).sum(axis=1, keepdims=True) / seen) * image
        theirs = (image @ (others * others).T) - (image @ others.T) ** 2 / seen
        scale = (apart * apart).sum(axis=1, keepdims=True) * np.maximum(theirs, 1e-3) + 1e-3
        alike = apart @ others.T / np.sqrt(scale) * (seen > 0.3 * image.shape[1])
        found = np.maximum(found, alike.max(axis=0))
    return [int(i) for i in np.argsort(-found, kind="stable")[:most]]


def _turned(small: NDArray[np.uint8]) -> Iterator[tuple[Floats, Floats]]:
    """The image and where it is image, seen from afar in every turn and some sizes: as it is, and mirrored."""
    height, width = small.shape
    image = (~is_fill(small)).astype(np.float32)
    side = max(height, width)
    even = cv2.GaussianBlur(np.minimum(small, WHITE).astype(np.float32), (0, 0), side / AFAR / 3)
    shift = np.array([AFAR - width, AFAR - height]) / 2
    for mirror in (False, True):
        pair = [np.ascontiguousarray(x[:, ::-1]) if mirror else x for x in (even, image)]
        rows: list[list[Floats]] = [[], []]
        for turn, size in product(TURNS, SIZES):
            turned = np.array(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, size * AFAR / side))
            turned[:, 2] = turned[:, 2] + shift
            for row, x in zip(rows, pair, strict=True):
                row.append(np.asarray(cv2.warpAffine(x, turned, (AFAR, AFAR)), np.float32).ravel())
        yield np.array(rows[0]), (np.array(rows[1]) > 0.9).astype(np.float32)
