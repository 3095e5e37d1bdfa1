"""Which studies are one study, or share slices: with other noise, cut otherwise, or with their slices reversed.

A study is known by the points of all its slices. Those of two studies that are one meet under one map of the picture
and one shift of the slices, forwards or backwards; then the slices that meet must look alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fracturelib._io.threads import in_threads
from fracturelib.curate.duplicates import Copies, Copy, candidate_pairs, grouped, signatures
from fracturelib.curate.registration import CHANGED_BINS, alike_both_ways, unit
from fracturelib.curate.study_looks import StudyLook

Floats = NDArray[np.float32]

NEIGHBOURS = 4  # candidates of a study
LEAST_MATCHES = 6  # points that must meet at one shift of the slices before anything is laid upon another
NEAR = 3.0  # pixels within which points meet
MOST_STRETCH = 1.6  # of a copy, against its original
FINE, COARSE = 1.2, 4.0  # pixels: what a copy must share is coarser than noise and finer than anatomy
LEAST_OVERLAP = 0.4  # of the smaller picture
LEAST_LIKENESS = 0.7  # planted copies have .9 and more, their nearest strangers .5


@dataclass(frozen=True)
class StudyRegistration:
    """How study a lies upon study b.

    Attributes
    ----------
    mirrored, reverse : bool
        Whether a's slices must be mirrored, left to right; whether they run the other way.
    shift : int
        Slice i of a is slice shift + i of b, or shift - i if they run the other way.
    affine : (2, 3) float64
        Carries pixels of a's small slices to those of b's.
    points : int
        How many points meet.
    slices : int
        How many slices lie upon each other.
    likeness : float
        Median over the slices of the correlation of their structure, -1..1.
    overlap : float
        Proportion of the smaller slice that lies upon the other, 0..1.
    """

    mirrored: bool
    reverse: bool
    shift: int
    affine: NDArray[np.float64]
    points: int
    slices: int = 0
    likeness: float = -1.0
    overlap: float = 0.0

    @property
    def is_copy(self) -> bool:
        """Whether the two show the same (`benchmarks/study_copies.py`)."""
        return self.likeness > LEAST_LIKENESS and self.overlap > LEAST_OVERLAP


def find_study_copies(looks: Sequence[StudyLook], *, progress: bool = False) -> Copies:
    """Which studies are one, wholly or in some slices: other noise or grey values, another crop, slices reversed ...

    Two studies of one patient are not copies.

    Parameters
    ----------
    looks : sequence of StudyLook
    progress : bool
        Show a bar.
    """
    first_of: dict[str, int] = {}
    found = []
    for i, look in enumerate(looks):
        first = first_of.setdefault(look.digest, i) if look.digest else i
        if first != i and look.small.size:
            found.append(Copy(first, i, "identical bytes", 1.0))
    found += _same_slices(looks, list(first_of.values()))
    alone = [i for i in first_of.values() if len(looks[i].words)]
    if len(alone) > 1:
        pairs = candidate_pairs(signatures([looks[i] for i in alone]), NEIGHBOURS)
        found += _verified(looks, [(alone[a], alone[b]) for a, b in pairs], progress)
    best: dict[tuple[int, int], Copy] = {}
    for copy in found:
        best.setdefault((copy.first, copy.second), copy)
    return grouped(len(looks), sorted(best.values(), key=lambda copy: (copy.first, copy.second)))


def _same_slices(looks: Sequence[StudyLook], alone: Sequence[int]) -> list[Copy]:
    """Studies that share slices to the pixel."""
    holders: dict[str, list[int]] = {}
    for i in alone:
        for digest in set(looks[i].slices):
            holders.setdefault(digest, []).append(i)
    shared: dict[tuple[int, int], int] = {}
    for held in holders.values():
        for b in held[1:]:
            shared[held[0], b] = shared.get((held[0], b), 0) + 1
    return [
        Copy(a, b, f"{n} of {min(len(looks[a].slices), len(looks[b].slices))} slices identical", 1.0)
        for (a, b), n in shared.items()
    ]


def _verified(looks: Sequence[StudyLook], pairs: Sequence[tuple[int, int]], progress: bool) -> list[Copy]:
    """Those pairs that are copies."""
    with threadpool_limits(1):
        laid = list(in_threads(
            lambda pair: register_studies(looks[pair[0]], looks[pair[1]]), pairs,
            desc="comparing", unit="pair", progress=progress,
        ))  # fmt: skip
    return [
        Copy(a, b, in_words(found, looks[a], looks[b]), found.likeness)
        for (a, b), found in zip(pairs, laid, strict=True)
        if found is not None and found.is_copy
    ]


def register_studies(a: StudyLook, b: StudyLook) -> StudyRegistration | None:
    """How a lies upon b; None if their points do not meet."""
    if min(len(a.words), len(b.words)) < LEAST_MATCHES:
        return None
    alike = unit(alike_both_ways(a.words)) @ unit(alike_both_ways(b.words)).T
    there, back = alike.argmax(axis=1), alike.argmax(axis=0)
    ours = np.flatnonzero(back[there] == np.arange(len(there)))
    theirs = there[ours]
    best = None
    for mirrored in (False, True):
        changed = a.words[ours].astype(np.float32)[:, CHANGED_BINS[int(mirrored)]]
        same = (unit(changed) * unit(b.words[theirs].astype(np.float32))).sum(axis=1) > 0.8
        found = _by_shift(a, b, ours[same], theirs[same], mirrored)
        if found is not None and (best is None or found.points > best.points):
            best = found
    return None if best is None else compared(a, b, best)


def _by_shift(
    a: StudyLook, b: StudyLook, ours: NDArray[np.int64], theirs: NDArray[np.int64], mirrored: bool
) -> StudyRegistration | None:
    """The shift of the slices, forwards or backwards, at which most points meet."""
    if len(ours) < LEAST_MATCHES:
        return None
    first, second = a.points[ours, 2].astype(int), b.points[theirs, 2].astype(int)
    tried = []
    for reverse in (False, True):
        shifts = second + first if reverse else second - first
        values, counts = np.unique(shifts, return_counts=True)
        tried += [(int(n), reverse, int(v)) for v, n in zip(values, counts, strict=True) if n >= LEAST_MATCHES]
    best = None
    for _, reverse, shift in sorted(tried, reverse=True)[:3]:
        at = (second + first if reverse else second - first) == shift
        start = a.points[ours[at], :2].copy()
        if mirrored:
            start[:, 0] = a.small.shape[2] - 1 - start[:, 0]
        affine, met = cv2.estimateAffine2D(
            start, b.points[theirs[at], :2].copy(), method=cv2.RANSAC, ransacReprojThreshold=NEAR, maxIters=1000
        )
        if affine is None:
            continue
        points = int(met.sum())
        long, short = np.linalg.svd(np.asarray(affine)[:, :2], compute_uv=False)
        if points >= LEAST_MATCHES and long < MOST_STRETCH * min(1.0, short * MOST_STRETCH):
            found = StudyRegistration(mirrored, reverse, shift, np.asarray(affine, np.float64), points)
            best = found if best is None or points > best.points else best
    return best


def compared(a: StudyLook, b: StudyLook, found: StudyRegistration) -> StudyRegistration:
    """The registration with how alike the slices are that lie upon each other."""
    pairs = [
        (i, j) for i in range(len(a.small)) if 0 <= (j := found.shift + (-i if found.reverse else i)) < len(b.small)
    ]
    height, width = b.small.shape[1:]
    size, matrix = (width, height), found.affine.astype(np.float32)
    there = cv2.warpAffine(np.ones(a.small.shape[1:], np.float32), matrix, size) > 0.99
    own = abs(float(np.linalg.det(found.affine[:, :2]))) * a.small[0].size
    overlap = float(there.sum() / min(own, height * width))
    likenesses = []
    for i, j in pairs:
        ours = a.small[i][:, ::-1] if found.mirrored else a.small[i]
        laid = cv2.warpAffine(np.ascontiguousarray(ours), matrix, size, flags=cv2.INTER_LINEAR)
        likenesses.append(_correlation(laid, b.small[j], there))
    return StudyRegistration(
        found.mirrored, found.reverse, found.shift, found.affine, found.points, len(pairs),
        float(np.median(likenesses)) if likenesses else -1.0, min(1.0, overlap),
    )  # fmt: skip


def _correlation(x: NDArray[Any], y: NDArray[Any], there: NDArray[np.bool_]) -> float:
    """Correlation of the structure of two pictures where both are there: -1..1; -1 if little is."""
    inner = cv2.erode(there.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inner.sum() < 300:
        return -1.0
    first, second = (_band(v)[inner] for v in (x, y))
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum() + 1e-6))


def _band(picture: NDArray[Any]) -> Floats:
    """Structure between noise and anatomy, as strong everywhere."""
    values = picture.astype(np.float32)
    band = cv2.GaussianBlur(values, (0, 0), FINE) - cv2.GaussianBlur(values, (0, 0), COARSE)
    local = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 2 * COARSE))
    return np.asarray(band / (local + 0.5 * float(band.std()) + 1e-3), np.float32)


def in_words(found: StudyRegistration, a: StudyLook, b: StudyLook) -> str:
    """What was done to a to get b, as far as it can be seen."""
    said = []
    if found.reverse and found.slices > 1:
        said.append("slices reversed")
    if found.mirrored:
        said.append("mirrored")
    if found.slices < max(len(a.small), len(b.small)):
        said.append(f"{found.slices} slices of {len(a.small)} and {len(b.small)}")
    if found.overlap < 0.97 or abs(np.log(abs(np.linalg.det(found.affine[:, :2])))) > 0.06:
        said.append("cut or resized")
    return ", ".join(said) or "other noise or grey values"
