"""Painting tissues into a stack: edges by distance, so that a voxel on an edge holds part of each tissue."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np

from fracturelib.simulate.knee_space import ALL, Box, Space


@dataclass
class Canvas:
    """The signal of the water and of the fat in every plane, painted tissue by tissue: float32 (planes, h, w) each."""

    space: Space
    signals: dict[str, tuple[float, float]]
    water: np.ndarray = field(init=False)
    fat: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        water, fat = self.signals["fat"]  # what lies where nothing else does
        self.water = np.full_like(self.space.u, water)
        self.fat = np.full_like(self.space.u, fat)

    def paint(self, cover: np.ndarray, tissue: str, box: Box = ALL) -> None:
        """Replace what is there by a tissue: all of it where `cover`, of the box's shape, is 1, none where it is 0."""
        for signal, value in zip((self.water, self.fat), self.signals[tissue], strict=True):
            part = signal[box]
            part += cover * (np.float32(value) - part)

    def edge(self, distance: np.ndarray) -> np.ndarray:
        """How much of a voxel lies inside a surface at a signed distance in mm, negative inside: float32, 0..1."""
        return soft(distance, self.space.step)


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """From 1 inside to 0 outside of a surface, linearly over `width` mm."""
    return np.clip(0.5 - distance * np.float32(1 / width), 0, 1)


def extent(inside: np.ndarray, box: Box) -> Box | None:
    """The smallest box around what is true in a box; None if nothing is."""
    spans = []
    for axis, whole in enumerate(box):
        found = np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis})))
        if not len(found):
            return None
        start = whole.start or 0
        spans.append(slice(start + int(found[0]), start + int(found[-1]) + 1))
    return spans[0], spans[1], spans[2]


def near_path(space: Space, box: Box, path: np.ndarray, flat: Sequence[float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """Distance in mm to a line through points (n, 3), as if the world were flattened by `flat`: float32 of the box."""
    scale = 1 / np.array(flat, np.float32)
    u, a, s = (c[box] * f for c, f in zip((space.u, space.a, space.s), scale, strict=True))
    points = (path * scale).astype(np.float32)
    best = np.full(u.shape, np.float32(1e9))
    for start, end in pairwise(points):
        way = end - start
        du, da, ds = u - start[0], a - start[1], s - start[2]
        m = np.clip((du * way[0] + da * way[1] + ds * way[2]) / max(float(way @ way), 1e-6), 0, 1)
        np.minimum(best, (du - m * way[0]) ** 2 + (da - m * way[1]) ** 2 + (ds - m * way[2]) ** 2, out=best)
    return np.asarray(np.sqrt(best))


def smooth_path(points: np.ndarray, pieces: int) -> np.ndarray:
    """A curve (Catmull-Rom) through points, float (n, 3): float (pieces + 1, 3)."""
    p = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    at = np.linspace(0, len(p) - 3 - 1e-9, pieces + 1)
    i, t = at.astype(int), (at % 1)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


class Texture:
    """Random fields of mean 0 and standard deviation about 1 over a stack, by the size of their grains in mm."""

    def __init__(self, space: Space, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.known: dict[tuple[float, int, float], np.ndarray] = {}

    def __call__(self, grain: float, number: int = 0, *, stretch: float = 1.0) -> np.ndarray:
        """The field of that grain and number: float32 (planes, h, w). Asked for again, it is the same.

        Grains are `stretch` times as long from head to foot.
        """
        key = (grain, number, stretch)
        if key not in self.known:
            stack = self.space.stack
            depth = stack.depths
            size = (stack.width, stack.height)
            planes = max(int(np.ptp(depth) / grain) + 2, 2)
            h = max(int(stack.height * stack.pixel / grain / stretch) + 2, 2)
            w = max(int(stack.width * stack.pixel / grain) + 2, 2)
            knots = self.rng.standard_normal((planes, h, w), dtype=np.float32)
            knots = np.stack([cv2.resize(k, size, interpolation=cv2.INTER_CUBIC) for k in knots])
            at = (depth - depth[0]) / max(float(np.ptp(depth)), 1e-6) * (planes - 1.001)
            low, part = at.astype(int), (at % 1).astype(np.float32)[:, None, None]
            field = knots[low]
            field *= np.sqrt(1 - part)
            field += np.sqrt(part) * knots[low + 1]
            field *= np.float32(1.3)  # interpolation makes it smoother
            self.known[key] = field
        return self.known[key]
