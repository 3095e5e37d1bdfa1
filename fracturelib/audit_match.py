"""Lay one film upon another: by which turn, mirror and stretch do they meet, and do they then show the same?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fracturelib.audit_films import Look

Floats = NDArray[np.float32]

# What becomes of the 4 x 4 x 8 bins of a SIFT descriptor when its film is mirrored, or its grey values are inverted.
_BINS = np.arange(128).reshape(4, 4, 8)
_MIRROR, _INVERT = _BINS[::-1][:, :, -np.arange(8) % 8].ravel(), _BINS[::-1, ::-1].ravel()
CHANGES = ((False, False), (True, False), (False, True), (True, True))  # mirrored, inverted
CHANGED_BINS = np.stack([_BINS.ravel(), _MIRROR, _INVERT, _MIRROR[_INVERT]])

_FIRST = np.unique(CHANGED_BINS.min(axis=0))  # one bin of each set that the two changes carry into each other

ALIKE = 0.8  # least cosine of two descriptors of one point
LEAST_POINTS, LEAST_SHARE, MOST_STRETCH = 5, 0.2, 1.5
MOST_DIFFERENT, LEAST_OVERLAP = 0.047, 0.5
WINDOW = 21  # pixels, of the correlation round each pixel


@dataclass(frozen=True)
class Meeting:
    """How film a lies upon film b.

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
        Share of the smaller film's structure that lies upon the other's: 0..1.
    """

    mirrored: bool
    inverted: bool
    affine: NDArray[np.float64]
    points: int
    share: float
    offset: float
    likeness: float = -1.0
    overlap: float = 0.0

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

        The limits were chosen on planted copies of simulated and of real films against their nearest strangers, among
        them retakes of one patient (benchmarks/audit.py).
        """
        differs = (1.01 - self.likeness) * max(self.offset, 0.2) / np.sqrt(self.share)
        return bool(differs < MOST_DIFFERENT and self.overlap > LEAST_OVERLAP)


def meet(a: Look, b: Look) -> Meeting | None:
    """How a lies upon b, if they share enough points; else None."""
    return meet_each(a, [b])[0]


def meet_each(a: Look, others: Sequence[Look]) -> list[Meeting | None]:
    """How a lies upon each of the others."""
    ours = unit(alike_both_ways(a.words))
    found = [_by_points(a, ours, b) for b in others]
    return [
        _compared(a, b, meeting) if meeting is not None and _is_worth_it(meeting) else None
        for b, meeting in zip(others, found, strict=True)
    ]


def _is_worth_it(meeting: Meeting) -> bool:
    return meeting.share >= LEAST_SHARE and _stretch(meeting) <= MOST_STRETCH


def _stretch(meeting: Meeting) -> float:
    long, short = np.linalg.svd(meeting.affine[:, :2], compute_uv=False)
    return float(long / max(short, 1e-9))


def alike_both_ways(words: NDArray[np.uint8]) -> Floats:
    """Descriptors that stay the same when a film is mirrored or inverted: (k, 128) uint8 -> (k, 128) float32.

    Each bin and its images under the two changes are replaced by the absolute values of their four sums and
    differences (the characters of the group of both changes).
    """
    a, b, c, d = (words[:, bins[_FIRST]].astype(np.float32) for bins in CHANGED_BINS)
    return np.abs(np.concatenate([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], axis=1)) / 2


def unit(rows: Floats) -> Floats:
    """Rows of length 1."""
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-6)


def _by_points(a: Look, ours: Floats, b: Look) -> Meeting | None:
    if min(len(a.words), len(b.words)) < LEAST_POINTS:
        return None
    alike = ours @ unit(alike_both_ways(b.words)).T
    there, back = alike.argmax(axis=1), alike.argmax(axis=0)
    chosen = np.flatnonzero(back[there] == np.arange(len(there)))
    theirs = b.words[there[chosen]].astype(np.float32)
    # How alike the points are in each of the four ways that one film may be changed into the other.
    changed = a.words[chosen].astype(np.float32)[:, CHANGED_BINS]  # pairs, 4, 128
    cosine = np.einsum("pcd,pd->cp", changed, theirs) / 512**2
    ways = (-(cosine > ALIKE).sum(axis=1)).argsort(kind="stable")[:2]  # the right one may come second
    found = [_in_one_way(a, b, chosen, there[chosen], cosine, int(way)) for way in ways]
    return max((m for m in found if m is not None), key=lambda m: m.points, default=None)


def _in_one_way(
    a: Look, b: Look, ours: NDArray[np.int64], theirs: NDArray[np.int64], cosine: Floats, way: int
) -> Meeting | None:
    mirrored, inverted = CHANGES[way]
    alike = cosine[way] > ALIKE
    points = changed_points(a, mirrored=mirrored, inverted=inverted)
    found = fitted(points[ours[alike]], b.points[theirs[alike]])
    if found is None:
        return None
    affine, met, offset = found
    seen = min(_inside(points, affine, b), _inside(b.points, _back(affine), a))
    return Meeting(mirrored, inverted, affine, met, min(1.0, met / max(seen, 1)), offset)


def changed_points(look: Look, *, mirrored: bool, inverted: bool) -> Floats:
    """The points of the film when it is mirrored or inverted: (k, 4) x, y, size, angle."""
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


def fitted(p: Floats, q: Floats) -> tuple[NDArray[np.float64], int, float] | None:
    """The affine map that carries most of the points p to q.

    Each pair of points, having size and angle, proposes one map; the one that most others agree with is refined.

    Returns
    -------
    affine (2, 3), how many points meet, and their median distance; None if fewer than `LEAST_POINTS` agree
    """
    if len(p) < LEAST_POINTS:
        return None
    here, there = p[:, 0] + 1j * p[:, 1], q[:, 0] + 1j * q[:, 1]
    size, turn = np.log(q[:, 2] / p[:, 2]), np.radians(q[:, 3] - p[:, 3])
    factor = np.exp(size + 1j * turn)
    far = np.abs(factor[:, None] * (here[None] - here[:, None]) + there[:, None] - there[None])
    turned = np.abs((turn[:, None] - turn[None] + np.pi) % (2 * np.pi) - np.pi)
    agree = (far < 6) & (np.abs(size[:, None] - size[None]) < 0.4) & (turned < 0.45)
    met = agree[agree.sum(axis=1).argmax()]
    affine, off = np.zeros((2, 3)), np.zeros(len(p))
    for limit in (6, 4, 3, 2):
        if met.sum() < LEAST_POINTS:
            return None
        affine = _similarity(here[met], there[met]) if limit == 6 or met.sum() < 8 else _affine(p[met], q[met])
        off = np.hypot(*(affine[:, :2] @ p[:, :2].T + affine[:, 2:] - q[:, :2].T))
        closer = off < limit
        # With few points a strict limit would throw away what a slightly better map would keep.
        met = closer if closer.sum() >= LEAST_POINTS else met
    return affine, int(met.sum()), float(np.median(off[met]))


def _similarity(here: NDArray[np.complexfloating], there: NDArray[np.complexfloating]) -> NDArray[np.float64]:
    centre, target = here.mean(), there.mean()
    apart = here - centre
    factor = np.vdot(apart, there - target) / max(float(np.vdot(apart, apart).real), 1e-9)
    shift = target - factor * centre
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _affine(p: Floats, q: Floats) -> NDArray[np.float64]:
    ones = np.column_stack([p[:, :2].astype(np.float64), np.ones(len(p))])
    return np.linalg.lstsq(ones, q[:, :2].astype(np.float64), rcond=None)[0].T


@dataclass(frozen=True)
class _Pair:
    """Two pictures, the first to be carried by `affine` to the second, which is the coarser; and where each is film."""

    a: Floats
    a_film: Floats
    b: Floats
    b_film: Floats
    affine: NDArray[np.float64]
    scale: float


def _compared(a: Look, b: Look, meeting: Meeting) -> Meeting:
    pair = _pair(a, b, meeting)
    likeness, overlap = _likeness(pair, pair.affine)
    found = replace(meeting, likeness=likeness, overlap=overlap)
    # Where many points meet, the map is good already: what is unlike then stays so.
    hopeful = overlap > LEAST_OVERLAP - 0.05 and likeness > (0.5 if meeting.points >= 12 else 0.1)
    if hopeful and not found.is_copy and (finer := _aligned(pair)) is not None:
        better = _likeness(pair, finer)
        if better[0] > likeness:
            forward = finer if meeting.scale <= 1 else _back(finer)
            found = replace(meeting, affine=forward, likeness=better[0], overlap=better[1])
    return found


def _pair(a: Look, b: Look, meeting: Meeting) -> _Pair:
    ours, theirs = a.small.astype(np.float32), b.small.astype(np.float32)
    our_film, their_film = is_film(a.small), is_film(b.small)
    if meeting.mirrored:
        ours, our_film = np.ascontiguousarray(ours[:, ::-1]), np.ascontiguousarray(our_film[:, ::-1])
    if meeting.inverted:
        ours = 255 - ours
    if meeting.scale <= 1:
        return _Pair(ours, our_film, theirs, their_film, meeting.affine, meeting.scale)
    back = _back(meeting.affine)
    return _Pair(theirs, their_film, ours, our_film, back, 1 / meeting.scale)


def is_film(small: NDArray[np.uint8]) -> Floats:
    """1 where a picture has structure, 0 in and beside what is perfectly flat: black corners, fill, saturation."""
    square = np.ones((3, 3), np.uint8)
    flat = (cv2.dilate(small, square) - cv2.erode(small, square) <= 1).astype(np.uint8)
    film = 1 - cv2.dilate(cv2.morphologyEx(flat, cv2.MORPH_OPEN, square), np.ones((7, 7), np.uint8))
    film[:3] = film[-3:] = 0
    film[:, :3] = film[:, -3:] = 0
    return film.astype(np.float32)


def _likeness(pair: _Pair, affine: NDArray[np.float64]) -> tuple[float, float]:
    height, width = pair.b.shape
    carried: NDArray[Any] = pair.a
    if pair.scale < 0.95:  # as coarse as the other before it is sampled as coarsely
        carried = cv2.GaussianBlur(carried, (0, 0), 0.5 * float(np.sqrt(pair.scale**-2 - 1)))
    matrix, size = affine.astype(np.float32), (width, height)
    laid = cv2.warpAffine(carried, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    film = ((cv2.warpAffine(pair.a_film, matrix, size) > 0.99) & (pair.b_film > 0)).astype(np.float32)
    x, y = _fine(np.asarray(laid, np.float32)) * film, _fine(pair.b) * film
    xy, xx, yy = (cv2.blur(v, (WINDOW, WINDOW)) for v in (x * y, x * x, y * y))
    seen = (film > 0) & (cv2.blur(film, (WINDOW, WINDOW)) > 0.3)
    if seen.sum() < 300:
        return -1.0, 0.0
    energy = np.sqrt(np.maximum(xx * yy, 0))[seen]
    local = xy[seen] / np.maximum(energy, 1e-3)
    weight = np.sqrt(energy)
    # A lead marker is the strongest structure of many films and the same on all of them: it must not decide.
    weight = np.minimum(weight, np.quantile(weight, 0.7))
    order = np.argsort(local)
    running = np.cumsum(weight[order])
    area = min(float(pair.b_film.sum()), float(pair.a_film.sum()) * pair.scale**2)
    return float(local[order][np.searchsorted(running, running[-1] / 2)]), min(1.0, float(film.sum()) / area)


def _back(affine: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(cv2.invertAffineTransform(affine), np.float64)


def _fine(x: Floats) -> Floats:
    return cv2.GaussianBlur(x, (0, 0), 0.8) - cv2.GaussianBlur(x, (0, 0), 2.2)


def _smoothed(x: Floats, film: Floats, sigma: float) -> Floats:
    """Blurred, with only the film counted, so that black corners and fill do not shine into it."""
    seen = cv2.GaussianBlur(film, (0, 0), sigma)
    return np.asarray(cv2.GaussianBlur(x * film, (0, 0), sigma) / np.maximum(seen, 1e-3), np.float32)


def _aligned(pair: _Pair) -> NDArray[np.float64] | None:
    """A finer map by the enhanced correlation coefficient (Evangelidis & Psarakis 2008, doi 10.1109/TPAMI.2008.113)."""
    wide = 1 / pair.scale
    a = _smoothed(pair.a, pair.a_film, max(1.0, wide)) - _smoothed(pair.a, pair.a_film, 6 * wide)
    b = _smoothed(pair.b, pair.b_film, 1.0) - _smoothed(pair.b, pair.b_film, 6)
    back: NDArray[Any] = _back(pair.affine).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 1e-4)
    try:
        _, back = cv2.findTransformECC(b, a, back, cv2.MOTION_AFFINE, stop, (pair.a_film > 0).astype(np.uint8), 1)
    except cv2.error:  # it does not converge
        return None
    return _back(np.asarray(back, np.float64))
