"""Who is a copy of whom: candidates for all images at once, each then laid upon the other; and the groups they make."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from fracturelib._io.threads import in_threads
from fracturelib.curate.keypoints import Look, look_at
from fracturelib.curate.registration import Registration, alike_both_ways, register_each

Floats = NDArray[np.float32]

VOCABULARY, REDUCED = 512, 16  # words, and dimensions in which they are told apart
NEIGHBOURS = 5  # candidates, an image; planted copies that are not among the first four are not among sixteen either
FEW_POINTS = 10  # with fewer, an overexposed image is no copy
OVEREXPOSED = 0.15  # proportion of an image that is white
WHITE = 250  # grey value; above it are white, and what JPEG makes of it
MANY = 30  # candidates of an image that is truncated: many of its points are gone


@dataclass(frozen=True)
class Copy:
    """Two images that are one radiograph.

    Attributes
    ----------
    first, second : int
        Which images, in the order in which they were given; first < second.
    how : str
        What was done to one to get the other, such as "mirrored, turned by 90 degrees"; "identical bytes".
    likeness : float
        Correlation of their fine structure, 1 for identical bytes.
    """

    first: int
    second: int
    how: str
    likeness: float


@dataclass(frozen=True)
class Copies:
    """Which images are one radiograph.

    Attributes
    ----------
    group : (n,) int64
        Of each image; an image without copies has its own. Numbered by first appearance.
    found : tuple of Copy
        What joins them, in the order of the images.
    """

    group: NDArray[np.int64]
    found: tuple[Copy, ...]

    @property
    def groups(self) -> list[list[int]]:
        """The images of each group of two or more, largest first."""
        order = np.argsort(self.group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(self.group[order])) + 1) if len(order) else []
        return sorted(([int(i) for i in part] for part in parts if len(part) > 1), key=lambda g: (-len(g), g))


def copies_in(paths: Sequence[Path], *, progress: bool = False) -> Copies:
    """Look at images (or remember it) and find copies among them. Files that cannot be read may be copies, too."""
    return find_copies(look_at(paths, progress=progress), progress=progress)


def find_copies(looks: Sequence[Look], *, progress: bool = False) -> Copies:
    """Which images are one radiograph: re-encoded, resized, cropped a little, turned, mirrored, inverted, truncated ...

    Two views, or two exposures, of one patient are not copies.

    Parameters
    ----------
    looks : sequence of Look
    progress : bool
        Show a bar.
    """
    first_of: dict[str, int] = {}
    found = []
    for i, look in enumerate(looks):
        first = first_of.setdefault(look.digest, i) if look.digest else i
        if first != i and look.small.size:
            found.append(Copy(first, i, "identical bytes", 1.0))
    alone = [i for i in first_of.values() if len(looks[i].words)]
    if len(alone) > 1:
        overexposed = {i for i in alone if white_proportion(looks[i].small) > OVEREXPOSED}
        many = [place for place, i in enumerate(alone) if looks[i].reason]
        pairs = candidate_pairs(signatures([looks[i] for i in alone]), many=many)
        found += _verified(looks, [(alone[a], alone[b]) for a, b in pairs], overexposed, progress)
    return grouped(len(looks), found)


def _verified(
    looks: Sequence[Look], pairs: Sequence[tuple[int, int]], overexposed: set[int], progress: bool
) -> list[Copy]:
    """Those pairs that are copies; what little is left of overexposed images may be alike in strangers, too."""
    others: dict[int, list[int]] = {}
    for a, b in pairs:
        others.setdefault(a, []).append(b)
    found = []
    # Each pair is small: one thread an image is faster than many threads for one product of matrices.
    with threadpool_limits(1):
        laid = in_threads(
            lambda a: register_each(looks[a], [looks[b] for b in others[a]]), list(others),
            desc="comparing", unit="image", progress=progress,
        )  # fmt: skip
        for a, each in zip(others, laid, strict=True):
            for b, one in zip(others[a], each, strict=True):
                if one is not None and one.is_copy and not (one.points < FEW_POINTS and {a, b} & overexposed):
                    found.append(Copy(a, b, in_words(one, looks[a], looks[b]), one.likeness))
    return found


def white_proportion(small: NDArray[np.uint8]) -> float:
    """How much of an image (h, w) uint8 is white, 0..1; perfectly flat ground that is not white does not count."""
    square, wide = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)
    flat = (cv2.dilate(small, square) - cv2.erode(small, square) <= 1).astype(np.uint8)
    ground = cv2.dilate(cv2.morphologyEx(flat, cv2.MORPH_OPEN, wide), wide) > 0
    white = small >= WHITE
    return float(white.sum()) / max(1, int((white | ~(ground & (small < WHITE - 10))).sum()))


def grouped(n: int, found: Sequence[Copy]) -> Copies:
    """The copies among n images, in the order of the images, and the groups that they make."""
    found = sorted(found, key=lambda copy: (copy.first, copy.second))
    return Copies(_components(n, found), tuple(found))


def _components(n: int, found: Sequence[Copy]) -> NDArray[np.int64]:
    ends = np.array([(c.first, c.second) for c in found], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64) if n else np.zeros(0, np.int64)


def in_words(meeting: Registration, a: Look, b: Look) -> str:
    """What was done to a to get b, as far as it can be seen."""
    said = []
    if meeting.mirrored:
        said.append("mirrored")
    if abs(meeting.degrees) > 2:
        said.append(f"turned by {meeting.degrees:.0f} degrees")
    if meeting.inverted:
        said.append("inverted")
    if any(look.reason for look in (a, b)):
        said.append("truncated")
    if not any(look.reason for look in (a, b)) and not abs(meeting.degrees) > 2:
        factor = meeting.scale * (max(b.plain[:2]) / max(b.small.shape)) / (max(a.plain[:2]) / max(a.small.shape))
        if abs(np.log(factor)) > 0.03:
            said.append(f"resized by {factor:.2f}")
    return ", ".join(said) or "encoded again or other grey values"


class Worded(Protocol):
    """What points have been found in, with their descriptors (k, 128) uint8."""

    @property
    def words(self) -> NDArray[np.uint8]:
        """Descriptors of the points."""


def signatures(looks: Sequence[Worded]) -> Floats:
    """One vector an image, unit length, near for images that share points: VLAD (Jegou et al. 2010), (n, d) float32.

    Its words are learnt from the images themselves.
    """
    rng = np.random.default_rng(0)
    each = max(4, 30_000 // len(looks))
    sample = np.concatenate([alike_both_ways(_some(look.words, each, rng)) for look in looks])
    mean = sample.mean(axis=0)
    vectors = np.linalg.eigh(np.cov((sample - mean).T, bias=True))[1]
    basis = vectors[:, ::-1][:, :REDUCED].astype(np.float32)
    start = (_some(sample, VOCABULARY, rng) - mean) @ basis
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster of a small set does no harm
        centres = kmeans2((sample - mean) @ basis, start, iter=8, minit="matrix", missing="warn")[0].astype(np.float32)
    result = np.zeros((len(looks), centres.size), np.float32)
    squares = (centres**2).sum(axis=1)
    for i, look in enumerate(looks):
        x = (alike_both_ways(look.words) - mean) @ basis
        word = (squares - 2 * x @ centres.T).argmin(axis=1)
        own = np.zeros_like(centres)
        np.add.at(own, word, x - centres[word])
        result[i] = (own / (np.linalg.norm(own, axis=1, keepdims=True) + 1e-6)).ravel()
    result -= result.mean(axis=0)
    return result / (np.linalg.norm(result, axis=1, keepdims=True) + 1e-6)


def _some(rows: NDArray, most: int, rng: np.random.Generator) -> NDArray:
    return rows[rng.permutation(len(rows))[:most]]


def candidate_pairs(signature: Floats, k: int = NEIGHBOURS, *, many: Sequence[int] = ()) -> list[tuple[int, int]]:
    """Pairs of images of which one is among the k most like the other: i < j, in order.

    The images `many` have up to `MANY` candidates, n more in all.
    """
    n = len(signature)
    k = min(k, n - 1)
    pairs = set()
    more = min(n - 1, MANY, max(k, n // max(1, len(many))))
    for i in many:
        similar = signature @ signature[i]
        similar[i] = -2
        pairs |= {(min(i, int(j)), max(i, int(j))) for j in np.argsort(-similar, kind="stable")[:more]}
    for start in range(0, n, 512):
        similar = signature[start : start + 512] @ signature.T
        rows = np.arange(len(similar))
        similar[rows, start + rows] = -2
        nearest = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        pairs |= {(min(start + i, int(j)), max(start + i, int(j))) for i in rows.tolist() for j in nearest[i]}
    return sorted(pairs)
