"""Cast the shadow of posed bones and flesh onto an image: path lengths in mm."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy import ndimage

from fracturelib.simulate.anatomy import Bone
from fracturelib.simulate.fractures import Bulge, Piece, Slit
from fracturelib.simulate.regions import Flesh

Capsule = tuple[np.ndarray, np.ndarray, float, float]  # start and end in the world, radii; mm
BLOCK = 4  # pixels; blocks of samples that lie outside the bone are skipped


@dataclass(frozen=True)
class Camera:
    """A cone beam: `centre` (world mm) projects to `middle` (x, y pixels); `right`, `down`, `beam` are unit vectors.

    `pixel` is mm at the centre's depth, `distance` mm from the focal spot to it.
    """

    centre: np.ndarray
    right: np.ndarray
    down: np.ndarray
    beam: np.ndarray
    pixel: float
    width: int
    height: int
    middle: tuple[float, float]
    distance: float = 1000.0

    def see(self, points: np.ndarray) -> np.ndarray:
        """World points (n, 3) to pixel x, y and depth in mm: (n, 3)."""
        offset = points - self.centre
        z = offset @ self.beam
        scale = self.pixel * (1 + z / self.distance)
        return np.stack(
            [offset @ self.right / scale + self.middle[0], offset @ self.down / scale + self.middle[1], z], axis=-1
        )


@dataclass(frozen=True)
class Tissue:
    """How a patient's bone is made: cortical thickness (mm) in mid-shaft and at the ends, bone in the marrow."""

    cortex: float
    rim: float
    spongy: float
    hollow: float
    stretch: tuple[float, float] = (1.0, 1.0)
    bow: tuple[float, float] = (0.0, 0.0)
    ripple: tuple[float, float, float, float] = (0.0, 0.1, 0.1, 0.0)  # mm, 1/mm, 1/mm, phase


@dataclass
class Shadow:
    """Path lengths in mm, float32 (h, w): mineral as cortical bone, all inside bones, the zone beside a fracture."""

    mineral: np.ndarray
    bone: np.ndarray
    zone: np.ndarray

    @classmethod
    def empty(cls, camera: Camera) -> "Shadow":
        """Of nothing."""
        return cls(*(np.zeros((camera.height, camera.width), np.float32) for _ in range(3)))


def _local(camera: Camera, bone: Bone, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bone's axes as seen by the camera: q = origin + m x right + m y down + z beam, each (3,), in mm."""
    inverse = np.linalg.inv(place)
    turn = bone.frame.T @ inverse[:3, :3]
    origin = bone.frame.T @ (inverse[:3, :3] @ camera.centre + inverse[:3, 3])
    return origin, turn @ camera.right, turn @ camera.down, turn @ camera.beam


def _extent(camera: Camera, bone: Bone, place: np.ndarray) -> tuple[int, int, int, int, float, float] | None:
    top = bone.low + (np.array(bone.distance.shape) - 1) * bone.spacing
    corners = np.array([[(bone.low, top)[(i >> k) & 1][k] for k in range(3)] for i in range(8)])
    seen = camera.see(corners @ bone.frame.T @ place[:3, :3].T + place[:3, 3])
    x0, y0 = np.maximum(np.floor(seen[:, :2].min(axis=0)).astype(int) - 1, 0) // BLOCK * BLOCK
    x1, y1 = np.minimum(np.ceil(seen[:, :2].max(axis=0)).astype(int) + 2, (camera.width, camera.height))
    if x1 <= x0 or y1 <= y0:
        return None
    return int(x0), int(y0), int(x1), int(y1), float(seen[:, 2].min()), float(seen[:, 2].max())


@dataclass(frozen=True)
class _Changes:
    """What is not as in the whole bone of an adult; see `cast_bone`."""

    piece: Piece | None
    slits: tuple[Slit, ...]
    plates: tuple[Slit, ...]
    bulges: tuple[Bulge, ...]
    marked: bool


@dataclass(frozen=True)
class _Grid:
    """Samples along the rays that may meet a bone, in blocks of `BLOCK` pixels and steps each way."""

    camera: Camera
    bone: Bone
    tissue: Tissue
    axes: tuple[np.ndarray, ...]  # of `_local`, float32
    corners: tuple[int, int, int, int]  # x0, y0, x1, y1, pixels
    first: float  # depth in mm
    step: float  # mm
    blocks: tuple[int, int, int]  # how many: rows, columns, depths

    @classmethod
    def over(cls, camera: Camera, bone: Bone, place: np.ndarray, tissue: Tissue) -> "_Grid | None":
        """None if the bone is not on the image."""
        extent = _extent(camera, bone, place)
        if extent is None:
            return None
        x0, y0, x1, y1, z0, z1 = extent
        axes = tuple(v.astype(np.float32) for v in _local(camera, bone, place))
        step = float(np.clip(1.25 * camera.pixel, 0.75, max(1.2, 0.9 * bone.spacing)))
        ny, nx = -(-(y1 - y0) // BLOCK), -(-(x1 - x0) // BLOCK)
        nz = max(int(np.ceil((z1 - z0) / (BLOCK * step))), 1)
        return cls(camera, bone, tissue, axes, (x0, y0, x1, y1), z0, step, (ny, nx, nz))

    def points(self, i: np.ndarray, j: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Samples by row, column and depth, in the bone's axes (mm): float32 (3, ...)."""
        camera, (x0, y0, *_) = self.camera, self.corners
        origin, right, down, beam = self.axes
        z = (self.first + (k + 0.5) * self.step).astype(np.float32)
        m = 1 + z / np.float32(camera.distance)
        u = m * ((j + (x0 - camera.middle[0])) * camera.pixel).astype(np.float32)
        v = m * ((i + (y0 - camera.middle[1])) * camera.pixel).astype(np.float32)
        q = np.empty((3, *np.broadcast_shapes(u.shape, v.shape)), np.float32)
        for a in range(3):
            np.add(u * right[a] + (origin[a] + z * beam[a]), v * down[a], out=q[a])
        return _unbend(q, self.bone, self.tissue)

    def near(self, changes: _Changes) -> tuple[np.ndarray, ...]:
        """Row, column and depth of each block that may hold some of the bone."""
        bone, pixel = self.bone, self.camera.pixel
        half = (BLOCK - 1) / 2
        places = np.meshgrid(*(np.arange(n) for n in self.blocks), indexing="ij")
        centre = self.points(*(place * BLOCK + half for place in places))
        index = [
            np.clip(((centre[a] - bone.low[a]) / bone.spacing + 0.5).astype(int), 0, bone.distance.shape[a] - 1)
            for a in range(3)
        ]
        beyond = (
            BLOCK * np.sqrt(2 * pixel**2 + self.step**2) / 2
            + 0.9 * bone.spacing
            + max(pixel, 0.5)
            + (2.0 if changes.bulges else 0.0)
        )
        near = (bone.distance[index[0], index[1], index[2]] < beyond) & _within(centre, bone)
        for cut, sign, shift in changes.piece.keep if changes.piece else ():  # blocks that lie wholly in another piece
            near[near] &= cut.value(centre[:, near]) * sign - shift > -2 * beyond
        return tuple(place[near] for place in places)

    def inside(self, blocks: tuple[np.ndarray, ...]) -> np.ndarray:
        """All samples of some blocks, in the bone's axes (mm): float32 (3, n, BLOCK, BLOCK, BLOCK)."""
        within = np.ix_(*[np.arange(BLOCK)] * 3)  # open, so that only sums of the three are made in full
        return self.points(*(b[:, None, None, None] * BLOCK + w for b, w in zip(blocks, within, strict=True)))

    def add(self, target: np.ndarray, values: np.ndarray, blocks: tuple[np.ndarray, ...]) -> None:
        """Add what the samples of some blocks hold, summed along the rays, to an image."""
        (ny, nx, _), (x0, y0, x1, y1) = self.blocks, self.corners
        cells = np.zeros((ny * nx, BLOCK, BLOCK), np.float32)
        np.add.at(cells, blocks[0] * nx + blocks[1], values.sum(axis=-1) * np.float32(self.step))
        picture = cells.reshape(ny, nx, BLOCK, BLOCK).swapaxes(1, 2).reshape(ny * BLOCK, nx * BLOCK)
        target[y0:y1, x0:x1] += picture[: y1 - y0, : x1 - x0]


def cast_bone(
    shadow: Shadow,
    camera: Camera,
    bone: Bone,
    place: np.ndarray,
    tissue: Tissue,
    *,
    piece: Piece | None = None,
    slits: tuple[Slit, ...] = (),
    plates: tuple[Slit, ...] = (),
    bulges: tuple[Bulge, ...] = (),
    marked: bool = False,
) -> None:
    """Add one bone, or one piece of it, to `shadow`.

    Parameters
    ----------
    place : ndarray (4, 4)
        From the bone's rest place to the world.
    piece : Piece, optional
        The part to draw; its own move must be in `place` already.
    slits, plates : tuple of Slit
        Thin gaps of fractures, and growth plates.
    marked : bool
        Whether to fill `shadow.zone` beside the piece's cuts, the slits and the bulges.
    """
    if not marked and camera.pixel < bone.spacing * 0.55:  # a coarse volume needs no fine grid
        small = _coarse(camera)
        part = Shadow.empty(small)
        cast_bone(part, small, bone, place, tissue, plates=plates, bulges=bulges)
        _add_coarse(shadow, part)
        return
    grid = _Grid.over(camera, bone, place, tissue)
    if grid is None:
        return
    changes = _Changes(piece, slits, plates, bulges, marked)
    blocks = grid.near(changes)
    if blocks[0].size == 0:
        return
    q = grid.inside(blocks)
    voxel = (q - bone.low[:, None, None, None, None]) * np.float32(1 / bone.spacing)
    distance = ndimage.map_coordinates(bone.distance, voxel, order=1, prefilter=False, mode="nearest")
    mineral, inside, zone = _substance(q, distance, bone, tissue, camera.pixel, changes)
    grid.add(shadow.mineral, mineral, blocks)
    grid.add(shadow.bone, inside, blocks)
    if zone is not None:
        grid.add(shadow.zone, zone, blocks)


def _coarse(camera: Camera) -> Camera:
    """The same view in pixels of twice the size."""
    return replace(
        camera,
        pixel=2 * camera.pixel,
        width=-(-camera.width // 2),
        height=-(-camera.height // 2),
        middle=((camera.middle[0] - 0.5) / 2, (camera.middle[1] - 0.5) / 2),
    )


def _add_coarse(shadow: Shadow, part: Shadow) -> None:
    """Add the shadow in a `_coarse` view to that in the fine one."""
    for target, values in ((shadow.mineral, part.mineral), (shadow.bone, part.bone)):
        height, width = values.shape
        large = cv2.resize(values, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
        target += large[: target.shape[0], : target.shape[1]]


def _within(q: np.ndarray, bone: Bone) -> np.ndarray:
    top = bone.low + (np.array(bone.distance.shape) - 1) * bone.spacing
    margin = 3.0
    return np.logical_and.reduce([(q[a] > bone.low[a] - margin) & (q[a] < top[a] + margin) for a in range(3)])


def _unbend(q: np.ndarray, bone: Bone, tissue: Tissue) -> np.ndarray:
    """From a patient's shape of the bone to the pack's: stretched across, bowed along."""
    middle = np.float32((bone.ends[0] + bone.ends[1]) / 2)
    s = (q[0] - middle) / np.float32(bone.length / 2)
    arch = 1 - s * s
    for axis in (1, 2):
        centre = np.float32(bone.low[axis] + bone.spacing * bone.distance.shape[axis] / 2)
        q[axis] = (
            (q[axis] - centre) / np.float32(tissue.stretch[axis - 1]) + centre - np.float32(tissue.bow[axis - 1]) * arch
        )
    return q


def _step(x: np.ndarray, width: float) -> np.ndarray:
    return np.clip(0.5 + x / np.float32(width), 0, 1)


def _substance(
    q: np.ndarray,
    distance: np.ndarray,
    bone: Bone,
    tissue: Tissue,
    pixel: float,
    changes: _Changes,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Proportion of cortical-equivalent mineral, of bone, and of the fracture's zone at each sample."""
    width = max(pixel, 0.5)
    s = np.abs((2 * q[0] - np.float32(sum(bone.ends))) / np.float32(bone.length))
    height, k1, k2, phase = tissue.ripple
    distance = distance + np.float32(height) * np.sin(k1 * q[0] + phase) * np.sin(k2 * (q[1] + q[2]) + phase)
    zone = np.zeros_like(distance) if changes.marked else None
    for bulge in changes.bulges:
        r = [q[a] - np.float32(bulge.origin[a]) for a in range(3)]
        towards = sum(r[a] * np.float32(bulge.side[a]) for a in (1, 2)) / np.float32(bone.width / 2)
        push = np.exp(-((r[0] / np.float32(bulge.width)) ** 2)) * (0.35 + 0.65 * np.clip(towards, -0.5, 1.2))
        distance = distance - np.float32(bulge.height) * push
        if zone is not None and bulge.fresh:
            zone = np.maximum(zone, (push > 0.35) & (np.abs(distance) < 1.5))
    flare = np.clip((s - 0.35) / 0.5, 0, 1) ** 1.5
    thick = np.float32(tissue.cortex) * (1 - flare) + np.float32(tissue.rim) * flare
    whole = _step(-distance, width)
    core = _step(-distance - thick, width)
    share = np.float32(tissue.hollow) * (1 - flare) + np.float32(tissue.spongy) * flare
    mineral = whole - core + core * share * (1 + 0.6 * np.clip(1 + distance / 9, 0, 1))
    for cut, sign, shift in changes.piece.keep if changes.piece else ():
        f = cut.value(q) * np.float32(sign) - np.float32(shift)
        kept = _step(f, width)
        mineral, whole = mineral * kept, whole * kept
        if zone is not None:
            zone = np.maximum(zone, (f < 1.2) & (f > -0.5) & (whole > 0.3))
    for slit in (*changes.slits, *changes.plates):
        f = np.abs(slit.cut.value(q))
        lost = np.clip((slit.gap / 2 + width / 2 - f) / width, 0, min(1.0, slit.gap / float(width)))
        r = sum((q[a] - np.float32(slit.cut.origin[a])) * np.float32(slit.side[a]) for a in range(3))
        reach = _step(r + np.float32(slit.reach), 2.0)
        if slit.sclerosis:
            mineral = mineral * (1 + slit.sclerosis * np.exp(-(((f - slit.gap) / 1.2) ** 2)))
        mineral = mineral * (1 - lost * reach)
        if zone is not None and any(slit is s for s in changes.slits):
            zone = np.maximum(zone, (f < 1.0) & (reach > 0.5) & (whole > 0.3))
    return mineral, whole, None if zone is None else zone * whole


def cast_flesh(camera: Camera, flesh: list[Capsule], shrink: float = 0.0) -> np.ndarray:
    """Path length in mm through the union of tapered capsules: float32 (h, w).

    Parameters
    ----------
    flesh : list of Capsule
        In world mm. A ray meets each capsule in one interval; the union of the intervals is measured exactly.
    """
    half = 2
    h, w = -(-camera.height // half), -(-camera.width // half)
    y, x = np.mgrid[:h, :w].astype(np.float32) * half + (half - 1) / 2
    pixel = camera.pixel
    begins, ends, far = [], [], np.float32(1e6)
    for start, end, r0, r1 in flesh:
        a, b = camera.see(np.stack([start, end])).tolist()
        r0, r1 = max(r0 - shrink, 1.0), max(r1 - shrink, 1.0)
        pad = max(r0, r1) / pixel
        if (
            max(a[0], b[0]) + pad < 0
            or min(a[0], b[0]) - pad > camera.width
            or max(a[1], b[1]) + pad < 0
            or min(a[1], b[1]) - pad > camera.height
        ):
            continue
        along = (b[0] - a[0], b[1] - a[1])
        length = along[0] ** 2 + along[1] ** 2 + 1e-6
        t = np.clip(((x - a[0]) * along[0] + (y - a[1]) * along[1]) / length, 0, 1)
        away = ((x - a[0] - t * along[0]) ** 2 + (y - a[1] - t * along[1]) ** 2) * pixel**2
        radius = r0 + t * (r1 - r0)
        lean = length**0.5 * pixel / np.hypot(length**0.5 * pixel, b[2] - a[2])
        chord = np.sqrt(np.maximum(radius**2 - away, 0)) / max(float(lean), 0.6)
        depth = a[2] + t * (b[2] - a[2])
        hit = chord > 0
        begins.append(np.where(hit, depth - chord, far))
        ends.append(np.where(hit, depth + chord, far))
    if not begins:
        return np.zeros((camera.height, camera.width), np.float32)
    first = np.stack(begins)
    order = np.argsort(first, axis=0)
    first = np.take_along_axis(first, order, axis=0)
    last = np.take_along_axis(np.stack(ends), order, axis=0)
    reached = np.full((h, w), -1e6, np.float32)
    total = np.zeros((h, w), np.float32)
    for lo, hi in zip(first, last, strict=True):
        total += np.where(lo < 1e5, np.maximum(hi - np.maximum(lo, reached), 0), 0)
        reached = np.where(lo < 1e5, np.maximum(reached, hi), reached)
    big = cv2.resize(total.astype(np.float32), (w * half, h * half), interpolation=cv2.INTER_LINEAR)[
        : camera.height, : camera.width
    ]
    return cv2.GaussianBlur(big, (0, 0), max(1.1 / pixel, 0.8))


def place_flesh(part: Flesh, bones: dict[str, Bone], places: dict[str, np.ndarray], scale: float) -> Capsule:
    """A capsule in the world."""
    ends = []
    for name, fraction in ((part.bone, part.start), (part.to or part.bone, part.end)):
        place = places[name]
        ends.append(place[:3, :3] @ (_axis_point(bones[name], fraction) + np.array(part.shift)) + place[:3, 3])
    return ends[0], ends[1], part.radius0 * scale, part.radius1 * scale


def _axis_point(bone: Bone, fraction: float) -> np.ndarray:
    """Along the bone's axis, also beyond its ends."""
    clipped = float(np.clip(fraction, 0.03, 0.97))
    return bone.point(clipped) + bone.frame[:, 0] * ((fraction - clipped) * bone.length)
