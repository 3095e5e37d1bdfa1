"""The anterior cruciate ligament, fibre by fibre: whole, degenerated, partly or wholly torn."""

from dataclasses import dataclass

import numpy as np

from fracturelib.simulate.knee_landmarks import ends_of
from fracturelib.simulate.knee_paint import Canvas, Texture, extent, soft
from fracturelib.simulate.knee_space import Box, Space

TEARS = ("none", "degenerated", "partial", "complete")
FIBRES = 24
_TABLE = 64  # places along the ligament


@dataclass(frozen=True)
class Bundle:
    """Fibres of a ligament, as tables along it.

    `middle` (2, 64) is the middle line's offset from the straight one, `offset` (n, 2, 64) each fibre's from the middle
    line, in mm along the two axes across; `whole` (n, 64) is 1 where the fibre is, 0 where it is torn; `radius` (64,)
    the radius of all of them together. `site` and `gap` say where the tear is, as fractions, and `wet` (0..1) how much
    the tissue between the fibres has given way to fluid.
    """

    middle: np.ndarray
    offset: np.ndarray
    whole: np.ndarray
    radius: np.ndarray
    site: float
    gap: float
    fibre: float
    wet: float


def draw_bundle(tear: str, length: float, rng: np.random.Generator) -> Bundle:
    """Draw a ligament of a length in mm, with a tear of that kind."""
    at = np.linspace(0, 1, _TABLE)
    spot = rng.normal(0, 1, (FIBRES, 2)) / 1.6
    spot /= np.maximum(np.linalg.norm(spot, axis=1, keepdims=True), 1)
    size = rng.normal(1, 0.08) * (rng.uniform(1.3, 1.65) if tear == "degenerated" else 1)
    wide = size * np.interp(at, (0, 0.3, 0.6, 1), (4.4, 3.7, 3.7, 4.9))
    long = size * np.interp(at, (0, 0.3, 0.6, 1), (4.8, 3.6, 3.9, 6.2))
    offset = spot[:, :, None] * np.stack([wide, long])
    wave = rng.normal(0, 0.25, (FIBRES, 2, 4))
    middle = np.zeros((2, _TABLE))
    middle[1] -= rng.normal(0.6, 0.5) * np.sin(np.pi * at)  # a slight bow, towards the back
    site = float(np.clip(rng.beta(2.2, 2.8), 0.16, 0.8))
    gap = float((rng.uniform(3.0, 6.5) if tear == "complete" else rng.uniform(3.5, 6.0)) / length)
    whole = np.ones((FIBRES, _TABLE))
    torn = np.zeros(FIBRES, bool)
    if tear == "complete":
        torn[:] = True
    if tear == "partial":
        angle = rng.uniform(0, 2 * np.pi)
        order = np.argsort(spot @ [np.cos(angle), np.sin(angle)])
        torn[order[: int(FIBRES * rng.uniform(0.5, 0.75))]] = True
    if torn.any():
        centre = site + rng.normal(0, 0.035, FIBRES)[:, None]
        half = gap * rng.uniform(0.6, 1.5, FIBRES)[:, None]
        whole[torn] = (np.abs(at - centre) > half)[torn]
        wave[torn] += rng.normal(0, 0.9 if tear == "complete" else 0.5, (int(torn.sum()), 2, 4))
        loose = np.clip(1 - np.abs(at - site) / 0.45, 0, 1)
        offset[torn] += loose * np.interp(at, (0, 0.3, 0.7, 1), (0, 1, 1, 0)) * rng.normal(0, 1.0, (FIBRES, 2, 1))[torn]
    if tear == "complete":  # the stumps sag: the lower one forward and down, the upper one backward and down
        sag = rng.uniform(1.0, 5.0)
        lower = np.where(at > site, (1 - at) / (1 - site), 0) * sag * np.sin(np.pi * np.clip(at, 0, 1))
        upper = np.where(at <= site, at / site, 0) * rng.uniform(0, 2.5)
        middle[1] += lower - upper
        middle[0] += rng.normal(0, 1.2) * np.sin(np.pi * at)
    knots = np.linspace(0, 1, 6)
    for fibre in range(FIBRES):
        for axis in range(2):
            offset[fibre, axis] += np.interp(at, knots, [0, *wave[fibre, axis], 0])
    thin, wet = 0.8 if tear == "degenerated" else 1.1, float(rng.uniform(0.4, 1.0))
    return Bundle(middle, offset, whole, (wide + long) / 2, site, gap, thin, wet)


@dataclass(frozen=True)
class _Along:
    """Voxels in the axes of a ligament: `m` 0..1 along it, `row` in its tables, `p` and `q` across it in mm."""

    box: Box
    m: np.ndarray
    row: np.ndarray
    p: np.ndarray
    q: np.ndarray


def _along(space: Space, first: np.ndarray, last: np.ndarray) -> _Along:
    spare = 10.0
    box = space.box(np.minimum(first, last) - spare, np.maximum(first, last) + spare)
    way = last - first
    length = float(np.linalg.norm(way))
    way = way / length
    across = np.cross(way, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    front = np.cross(across, way)
    front *= np.sign(front[1])
    at = np.stack([c[box] for c in (space.u, space.a, space.s)]) - first.astype(np.float32)[:, None, None, None]
    m, p, q = np.tensordot(np.stack([way / length, across, front]).astype(np.float32), at, axes=1)
    tight = extent((p * p + q * q < 110) & (np.abs(m - 0.5) < 0.62), box)  # within 10 mm, and a little beyond the ends
    if tight is not None:
        inner = tuple(slice(t.start - b.start, t.stop - b.start) for t, b in zip(tight, box, strict=True))
        box, m, p, q = tight, m[inner], p[inner], q[inner]
    row = np.clip(m * (_TABLE - 1) + 0.5, 0, _TABLE - 1).astype(np.intp)
    return _Along(box, m, row, p, q)


def paint_acl(
    canvas: Canvas, texture: Texture, tear: str, *, flexion: float, slide: float, rng: np.random.Generator
) -> np.ndarray:
    """Paint the ligament; which part of each voxel is torn or degenerated: float32 (planes, h, w), 0..1."""
    space = canvas.space
    first, last = ends_of("acl", flexion, slide)
    length = float(np.linalg.norm(last - first))
    bundle = draw_bundle(tear, length, rng)
    along = _along(space, first, last)
    box, row = along.box, along.row
    table = bundle.middle.astype(np.float32)
    p, q = along.p - table[0][row], along.q - table[1][row]
    beyond = np.maximum(-along.m, along.m - 1) * np.float32(length)
    free = soft(-np.minimum(space.distance["femur"][box], space.distance["tibia"][box]) - 0.4, 1.0)
    free = free * soft(beyond - 3, 1.5)
    rough = texture(4)[box]
    radius = bundle.radius.astype(np.float32)[row]
    far = np.sqrt(p * p + q * q)
    body = soft(far - radius + 0.3 * rough, 1.2) * free
    truth = np.zeros_like(space.u)
    canvas.paint(body * 0.9, "between fibres" if tear != "degenerated" else "mucoid", box)
    if tear == "degenerated":
        truth[box] = body * soft(np.abs(along.m - 0.5) - 0.46, 0.05)
    fibres, torn = _fibres(bundle, along, p, q)
    if tear in ("partial", "complete"):
        truth[box] = _paint_tear(canvas, bundle, along, far=far, torn=torn, free=free, rough=rough, tear=tear)
    canvas.paint(fibres * free, "ligament", box)
    return truth


def _fibres(bundle: Bundle, along: _Along, p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of each voxel is fibre, and how much would be if none were torn: float32, 0..1."""
    left, gone = np.ones_like(p), np.ones_like(p)
    for offset, whole in zip(bundle.offset.astype(np.float32), bundle.whole.astype(np.float32), strict=True):
        d = (p - offset[0][along.row]) ** 2 + (q - offset[1][along.row]) ** 2
        cover = soft(np.sqrt(d) - bundle.fibre, 0.9)
        there = whole[along.row]
        left *= 1 - 0.95 * cover * there
        gone *= 1 - cover * (1 - there)
    return 1 - left, 1 - gone


def _paint_tear(
    canvas: Canvas, bundle: Bundle, along: _Along, *, far: np.ndarray, torn: np.ndarray, free: np.ndarray,
    rough: np.ndarray, tear: str,
) -> np.ndarray:  # fmt: skip
    """Oedema and fluid where fibres are torn; how much of each voxel that is."""
    radius = bundle.radius.astype(np.float32)[along.row]
    away = np.abs(along.m - bundle.site) / (2.0 * bundle.gap)
    near = np.exp(-(away**2))
    if tear == "complete":
        swollen = soft(far - radius * (1.0 + 0.45 * near) + 0.5 * rough, 1.5) * free
        hurt = swollen * np.clip(1.4 * near - 0.1, 0, 1)
        tissue = "oedema" if bundle.wet > 0.5 else "mucoid"
        canvas.paint(hurt * np.clip(0.8 + 0.2 * rough, 0.3, 1), tissue, along.box)
        split = swollen * soft(np.abs(along.m - bundle.site) - 0.8 * bundle.gap, 0.5 * bundle.gap)
        canvas.paint(split * bundle.wet * np.clip(0.55 + 0.3 * rough, 0, 1), "fluid", along.box)
        return np.asarray(swollen * soft(away - 0.85, 0.2))
    hurt = np.clip(1.3 * torn, 0, 1) * free
    canvas.paint(hurt * np.clip(0.8 + 0.2 * rough, 0.3, 1), "oedema", along.box)
    return np.asarray(hurt)
