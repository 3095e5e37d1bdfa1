"""Lay one image upon another: by which turn, mirror and stretch they meet, and whether they then show the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fracturelib.curate.affine import LEAST_POINTS, fitted
from fracturelib.curate.keypoints import Look, is_image

Floats = NDArray[np.float32]

# What becomes of the 4 x 4 x 8 bins of a SIFT descriptor when its image is mirrored, or its grey values are inverted.
_BINS = np.arange(128).reshape(4, 4, 8)

_MIRROR, _INVERT = _BINS[::-1][:, :, -np.arange(8) % 8].ravel(), _BINS[::-1, ::-1].ravel()
CHANGES = ((False, False), (True, False), (False, True), (True, True))  # mirrored, inverted
CHANGED_BINS = np.stack([_BINS.ravel(), _MIRROR, _INVERT, _MIRROR[_INVERT]])
_FIRST = np.unique(CHANGED_BINS.min(axis=0))  # one bin of each set that the two changes carry into each other
ALIKE = 0.8  # least cosine of two descriptors of one point

LEAST_SHARE, MOST_STRETCH = 0.2, 1.5

MOST_DIFFERENT, MOST_DIFFERENT_IF_FINER = 0.046, 0.036
LEAST_OVERLAP, LEAST_OVERLAP_IF_FINER = 0.5, 0.65  # what is made to fit by its greys must share more of them

LEAST_EXACT, LEAST_LIKENESS = 45, 0.7  # so many points meet so well that noise may differ; no strangers exceed 33
WINDOW = 21  # pixels, of the correlation round each pixel


@dataclass(frozen=True)
class Registration:
    """How image a lies upon image b.

    Attributes
    ----------
    mirrored, inverted : bool
        Whether a must be mirrored (left to right, before the rest), and its grey values inverted.
    affine : (2, 3) float64
        Then carries pixels of a's small picture to those of b's.
    points : int
        How many points meet.
    share : float
        Of the points that lie in both pictures, those that meet: 0..1.
    offset : float
        Median distance of points that meet, in pixels of the small picture.
    likeness : float
        Median over the pictures of the local correlation of their fine structure: -1..1.
    overlap : float
        Proportion of the smaller image's structure that lies upon the other's: 0..1.
    finer : bool
        Whether the map was made to look as alike as can be: even strangers do so a little, then.
    """

    mirrored: bool
    inverted: bool
    affine: NDArray[np.float64]
    points: int
    share: float
    offset: float
    likeness: float = -1.0
    overlap: float = 0.0
    finer: bool = False

    @property
    def scale(self) -> float:
        """Size of b's content relative to a's."""
        return float(np.sqrt(abs(np.linalg.det(self.affine[:, :2]))))

    @property
    def degrees(self) -> float:
        """Turn from a to b, -180 to 180, after mirroring; clockwise is positive."""
        a = self.affine
        return float(np.degrees(np.arctan2(a[1, 0] - a[0, 1], a[0, 0] + a[1, 1])))

    @property
    def is_copy(self) -> bool:
        """Whether the two are one radiograph: they look alike, the more so the fewer and the less exact their points.

        The limits were chosen on planted copies of simulated and of real images against their nearest strangers, among
        them retakes of one patient (benchmarks/audit.py).
        """
        most = MOST_DIFFERENT_IF_FINER if self.finer else MOST_DIFFERENT
        exact = self.points * self.share / max(self.offset, 0.2)
        alike = self.differs < most or (exact > LEAST_EXACT and self.likeness > LEAST_LIKENESS)
        return alike and self.overlap > (LEAST_OVERLAP_IF_FINER if self.finer else LEAST_OVERLAP)

    @property
    def differs(self) -> float:
        """Little if the two look alike, and the less the more, and the more exactly, their points meet."""
        off = max(self.offset, 0.2) / np.sqrt(self.share * max(self.points, 20) / 20)
        return float((1.01 - self.likeness) * off)


def register_each(a: Look, others: Sequence[Look]) -> list[Registration | None]:
    """How a lies upon each of the others, if the two share enough points; else None."""
    ours = unit(alike_both_ways(a.words))
    found = [by_points(a, ours, b) for b in others]
    return [
        compared(a, b, meeting) if meeting is not None and is_worth_it(meeting) else None
        for b, meeting in zip(others, found, strict=True)
    ]


def is_worth_it(meeting: Registration) -> bool:
    """Whether enough points meet, in a way in which images are changed, to look closer."""
    return meeting.share >= LEAST_SHARE and _stretch(meeting) <= MOST_STRETCH


def _stretch(meeting: Registration) -> float:
    long, short = np.linalg.svd(meeting.affine[:, :2], compute_uv=False)
    return float(long / max(short, 1e-9))


def alike_both_ways(words: NDArray[np.uint8]) -> Floats:
    """Descriptors that stay the same when an image is mirrored or inverted: (k, 128) uint8 -> (k, 128) float32.

    Each bin and its images under the two changes are replaced by the absolute values of their four sums and
    differences (the characters of the group of both changes).
    """
    a, b, c, d = (words[:, bins[_FIRST]].astype(np.float32) for bins in CHANGED_BINS)
    return np.abs(np.concatenate([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], axis=1)) / 2


def unit(rows: Floats) -> Floats:
    """Rows of length 1."""
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6)


def by_points(a: Look, ours: Floats, b: Look) -> Registration | None:
    """How a lies upon b by their points alone, of which `ours` are the descriptors of a, alike both ways."""
    if min(len(a.words), len(b.words)) < LEAST_POINTS:
        return None
    alike = ours @ unit(alike_both_ways(b.words)).T
    there, back = alike.argmax(axis=1), alike.argmax(axis=0)
    chosen = np.flatnonzero(back[there] == np.arange(len(there)))
    theirs = b.words[there[chosen]].astype(np.float32)
    # How alike the points are in each of the four ways that one image may be changed into the other.
    changed = a.words[chosen].astype(np.float32)[:, CHANGED_BINS]  # pairs, 4, 128
    cosine = np.einsum("pcd,pd->cp", changed, theirs) / 512**2
    ways = (-(cosine > ALIKE).sum(axis=1)).argsort(kind="stable")[:2]  # the right one may come second
    found = [_in_one_way(a, b, chosen, there[chosen], cosine, int(way)) for way in ways]
    return max((m for m in found if m is not None), key=lambda m: m.points, default=None)


def _in_one_way(
    a: Look, b: Look, ours: NDArray[np.int64], theirs: NDArray[np.int64], cosine: Floats, way: int
) -> Registration | None:
    alike = cosine[way] > ALIKE
    return by_pairs(a, b, ours[alike], theirs[alike], way)


def by_pairs(a: Look, b: Look, ours: NDArray[np.int64], theirs: NDArray[np.int64], way: int) -> Registration | None:
    """How a, changed in one of the `CHANGES`, lies upon b, if its points `ours` may be the points `theirs` of b."""
    mirrored, inverted = CHANGES[way]
    points = changed_points(a, mirrored=mirrored, inverted=inverted)
    found = fitted(points[ours], b.points[theirs])
    if found is None:
        return None
    affine, met, offset = found
    seen = min(_inside(points, affine, b), _inside(b.points, _back(affine), a))
    return Registration(mirrored, inverted, affine, met, min(1.0, met / max(seen, 1)), offset)


def changed_points(look: Look, *, mirrored: bool, inverted: bool) -> Floats:
    """The points of the image when it is mirrored or inverted: (k, 4) x, y, size, angle."""
    points = look.points.copy()
    if mirrored:
        points[:, 0] = look.small.shape[1] - 1 - points[:, 0]
        points[:, 3] = 180 - points[:, 3]
    if inverted:
        points[:, 3] += 180
    return points


def _inside(points: Floats, affine: NDArray[np.float64], other: Look) -> int:
    height, width = other.small.shape
    x, y = affine[:, :2] @ points[:, :2].T + affine[:, 2:]
    return int(((x > 3) & (y > 3) & (x < width - 4) & (y < height - 4)).sum())


@dataclass(frozen=True)
class _Pair:
    """Two pictures, the first to be carried by `affine` to the coarser second; and where each shows an image at all."""

    a: Floats
    a_image: Floats
    b: Floats
    b_image: Floats
    affine: NDArray[np.float64]
    scale: float


def compared(a: Look, b: Look, meeting: Registration) -> Registration:
    """The meeting with likeness and overlap, its map made finer where that may decide."""
    pair = _pair(a, b, meeting)
    likeness, overlap = _likeness(pair, pair.affine)
    found = replace(meeting, likeness=likeness, overlap=overlap)
    # Where many points meet, the map is good already: what is unlike then stays so.
    hopeful = overlap > LEAST_OVERLAP - 0.05 and likeness > (0.5 if meeting.points >= 12 else 0.1)
    if hopeful and not found.is_copy and (finer := _aligned(pair)) is not None:
        better = _likeness(pair, finer)
        if better[0] > likeness:
            forward = finer if meeting.scale <= 1 else _back(finer)
            found = replace(meeting, affine=forward, likeness=better[0], overlap=better[1], finer=True)
    return found


def _pair(a: Look, b: Look, meeting: Registration) -> _Pair:
    ours, theirs = a.small.astype(np.float32), b.small.astype(np.float32)
    our_image, their_image = is_image(a.small), is_image(b.small)
    if meeting.mirrored:
        ours, our_image = np.ascontiguousarray(ours[:, ::-1]), np.ascontiguousarray(our_image[:, ::-1])
    if meeting.inverted:
        ours = 255 - ours
    if meeting.scale <= 1:
        return _Pair(ours, our_image, theirs, their_image, meeting.affine, meeting.scale)
    back = _back(meeting.affine)
    return _Pair(theirs, their_image, ours, our_image, back, 1 / meeting.scale)


def _likeness(pair: _Pair, affine: NDArray[np.float64]) -> tuple[float, float]:
    height, width = pair.b.shape
    carried: NDArray[Any] = pair.a
    if pair.scale < 0.95:  # as coarse as the other before it is sampled as coarsely
        carried = cv2.GaussianBlur(carried, (0, 0), 0.5 * float(np.sqrt(pair.scale**-2 - 1)))
    matrix, size = affine.astype(np.float32), (width, height)
    laid = cv2.warpAffine(carried, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    image = ((cv2.warpAffine(pair.a_image, matrix, size) > 0.99) & (pair.b_image > 0)).astype(np.float32)
    x, y = (fine * image for fine in _bands(image, 0.8, 2.2, np.asarray(laid, np.float32), pair.b))
    xy, xx, yy = (cv2.blur(v, (WINDOW, WINDOW)) for v in (x * y, x * x, y * y))
    seen = (image > 0) & (cv2.blur(image, (WINDOW, WINDOW)) > 0.3)
    if seen.sum() < 300:
        return -1.0, 0.0
    energy = np.sqrt(np.maximum(xx * yy, 0))[seen]
    local = xy[seen] / np.maximum(energy, 1e-3)
    weight = np.sqrt(energy)
    # A lead marker is the strongest structure of many images and the same on all of them: it must not decide.
    weight = np.minimum(weight, np.quantile(weight, 0.7))
    order = np.argsort(local)
    running = np.cumsum(weight[order])
    area = min(float(pair.b_image.sum()), float(pair.a_image.sum()) * pair.scale**2)
    return float(local[order][np.searchsorted(running, running[-1] / 2)]), min(1.0, float(image.sum()) / area)


def _back(affine: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(cv2.invertAffineTransform(affine), np.float64)


def _bands(image: Floats, fine: float, coarse: float, *pictures: Floats) -> list[Floats]:
    """What a blur leaves of pictures and a wider one does not; black corners and fill do not shine into it."""
    little, more = (np.maximum(cv2.GaussianBlur(image, (0, 0), sigma), 1e-3) for sigma in (fine, coarse))
    seen = [x * image for x in pictures]
    return [
        np.asarray(cv2.GaussianBlur(x, (0, 0), fine) / little - cv2.GaussianBlur(x, (0, 0), coarse) / more, np.float32)
        for x in seen
    ]


def _aligned(pair: _Pair) -> NDArray[np.float64] | None:
    """A finer map by the enhanced correlation coefficient (Evangelidis & Psarakis 2008, doi 10.1109/TPAMI.2008.113).

    Of fine structure alone, as strong everywhere: a bright edge, of the image or of a lead marker, must not decide.
    """
    wide = 1 / pair.scale
    a = _even_band(pair.a, pair.a_image, wide)
    b = _even_band(pair.b, pair.b_image, 1.0)
    back: NDArray[Any] = _back(pair.affine).astype(np.float32)
    both = pair.a_image * cv2.warpAffine(pair.b_image, back, pair.a.shape[::-1])
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 1e-4)
    try:
        _, back = cv2.findTransformECC(b, a, back, cv2.MOTION_AFFINE, stop, (both > 0.99).astype(np.uint8), 1)
    except cv2.error:  # it does not converge
        return None
    return _back(np.asarray(back, np.float64))


def _even_band(x: Floats, image: Floats, scale: float) -> Floats:
    (band,) = _bands(image, scale, 3 * scale, x)
    seen = np.maximum(cv2.blur(image, (15, 15)), 0.01)
    return np.asarray(band / np.sqrt(cv2.blur(band * band * image, (15, 15)) / seen + 0.05), np.float32)
