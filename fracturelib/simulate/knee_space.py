"""Where the voxels of a study lie in the knee: position, obliquity, smooth warps, and the distance to each bone.

Axes of the knee, in mm: u to the outside (lateral), a to the front, s up; the origin lies between the tibia's spines.
The bones are those of the pack, bent at the knee as the pack's joints say, the patella with them. Their cartilage is
missing, so that the tibia is moved down and tilted a little to make room for it, and forward until its back is flush
with that of the femoral condyles, as it is in the straight knee.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from fracturelib.simulate.anatomy import load_pack, pose, rotation

ORIGIN = np.array([-77.0, 52.0, 496.0])  # of the knee's axes, in those of the pack
BONES = ("femur", "tibia", "fibula", "patella")
MOVED = {
    "femur": (0.0, 0.0, 0.0),
    "tibia": (0.0, 7.0, -3.7),
    "fibula": (0.0, 7.0, -3.7),
    "patella": (0.0, 0.0, 0.0),
}  # u, a, s
TILT = 0.06  # radians by which the tibia is turned, to make as much room on the inner side as on the outer
FAR = 7.62  # mm; no distance of the pack is larger
_FLIP = np.diag([-1.0, -1.0, 1.0])  # from the knee's axes to the pack's, and back
_ROWS = np.arange(-160.0, 160.0, 0.5)  # mm, for what depends on s alone
_SMOOTH = np.hanning(33)[1:-1] / np.hanning(33).sum()  # over some 8 mm
Box = tuple[slice, slice, slice]
ALL: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class KneePose:
    """How a knee lies in the scanner. Angles in radians, lengths in mm; `flexion` of the joint, `shift` (u, a, s)."""

    size: float
    flexion: float
    slide: float  # of the tibia, forward
    turn: tuple[float, float, float]
    shift: tuple[float, float, float]
    bend: float = 2.2  # of the warps: standard deviation in mm


@dataclass(frozen=True)
class Stack:
    """The voxels: `slices` of `height` x `width` pixels, with `sub` planes each.

    A pixel measures `pixel` mm, a slice is `thick` mm, and slices are `spacing` mm apart from middle to middle.
    """

    slices: int
    height: int
    width: int
    pixel: float
    spacing: float
    thick: float
    sub: int = 2

    @property
    def depths(self) -> np.ndarray:
        """Where each plane lies along the slice normal, from the stack's middle: float (slices * sub,) in mm."""
        slices = (np.arange(self.slices) - (self.slices - 1) / 2) * self.spacing
        within = (np.arange(self.sub) - (self.sub - 1) / 2) * self.thick / self.sub
        return (slices[:, None] + within).ravel()


@dataclass(frozen=True)
class Space:
    """All planes of a stack: `u`, `a`, `s` are float32 (planes, height, width) in mm, in the undeformed knee's axes.

    `distance` holds the signed distance to each bone in mm, negative inside, of the same shape.
    """

    stack: Stack
    pose: KneePose
    u: np.ndarray
    a: np.ndarray
    s: np.ndarray
    distance: dict[str, np.ndarray]
    row: np.ndarray
    affine: "Affine"

    @property
    def step(self) -> float:
        """A pixel's size in the undeformed knee, mm."""
        return self.stack.pixel / self.pose.size

    def along(self, at: Sequence[float], values: Sequence[float], box: Box = ALL) -> np.ndarray:
        """A quantity that depends on height alone, known at some heights: interpolated smoothly at a box's voxels."""
        table = np.convolve(np.pad(np.interp(_ROWS, at, values), 15, "edge"), _SMOOTH, "valid").astype(np.float32)
        return np.asarray(table.take(self.row[box]))

    def box(self, low: Sequence[float], high: Sequence[float]) -> Box:
        """The smallest block of voxels that surely holds a block of the knee."""
        spare = 3.2 * self.pose.bend + 1.0
        return self.affine.box(np.array(low) - spare, np.array(high) + spare)


@dataclass(frozen=True)
class Affine:
    """From depth (mm), row and column to the knee's axes, but for the warp: `linear` (3, 3) and `offset` (3,)."""

    linear: np.ndarray
    offset: np.ndarray
    depths: np.ndarray
    rows: int
    columns: int

    @classmethod
    def of(cls, stack: Stack, knee: KneePose, step: int = 1) -> "Affine":
        """Of every `step`-th row and column of a stack: turned, shifted and scaled to the undeformed knee."""
        x, y, z = knee.turn
        about_u = rotation(np.array([1.0, 0, 0]), x)[:3, :3]
        about_a = rotation(np.array([0, 1.0, 0]), y)[:3, :3]
        about_s = rotation(np.array([0, 0, 1.0]), z)[:3, :3]
        turn = about_u @ about_a @ about_s / knee.size
        steps = np.array([[1, 0, 0], [0, 0, -stack.pixel], [0, -stack.pixel, 0]])
        linear = turn @ steps
        middle = np.array([0, (stack.height - 1) / 2, (stack.width - 1) / 2])
        offset = turn @ np.array(knee.shift) - linear @ middle
        offset = offset + linear @ np.array([0, (step - 1) / 2, (step - 1) / 2])
        return cls(linear * [1, step, step], offset, stack.depths, stack.height // step, stack.width // step)

    def box(self, low: np.ndarray, high: np.ndarray) -> Box:
        """Which planes, rows and columns a block of the knee may touch."""
        corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        found = np.linalg.solve(self.linear, (corners - self.offset).T)
        planes = np.searchsorted(self.depths, [found[0].min(), found[0].max()])
        first = np.floor(found.min(axis=1)).astype(int)[1:].clip(0, [self.rows, self.columns])
        last = (np.ceil(found.max(axis=1)).astype(int)[1:] + 1).clip(first, [self.rows, self.columns])
        return (
            slice(int(planes[0]), int(planes[1])),
            slice(int(first[0]), int(last[0])),
            slice(int(first[1]), int(last[1])),
        )

    def points(self, bend: np.ndarray) -> np.ndarray:
        """The knee's coordinates of all voxels, warped by a coarse picture of the warp: float32 (3, planes, h, w)."""
        rows, columns = (np.arange(n, dtype=np.float32) for n in (self.rows, self.columns))
        depths = self.depths.astype(np.float32)
        found = np.empty((3, len(depths), self.rows, self.columns), np.float32)
        for axis, (along, down, across) in enumerate(self.linear.astype(np.float32)):
            plane = np.float32(self.offset[axis]) + down * rows[:, None] + across * columns
            found[axis] = enlarge(bend[axis], self.rows, self.columns)
            found[axis] += plane
            found[axis] += (along * depths)[:, None, None]
        return found


def make_space(stack: Stack, knee: KneePose, rng: np.random.Generator) -> Space:
    """Place a stack in a knee, and warp the knee into that of a patient."""
    bend = _warp(stack, knee, rng)
    affine, half = Affine.of(stack, knee), Affine.of(stack, knee, 2)
    u, a, s = affine.points(bend)
    coarse = half.points(bend)
    distance = {n: enlarge(_distance(n, knee, coarse, half), stack.height, stack.width) for n in BONES}
    row = np.clip((s - _ROWS[0]) * 2 + 0.5, 0, len(_ROWS) - 1).astype(np.intp)
    return Space(stack, knee, u, a, s, distance, row, affine)


def _warp(stack: Stack, knee: KneePose, rng: np.random.Generator) -> np.ndarray:
    """Smooth displacements by some mm, three knots across the stack and five down: float32 (3, planes, ~h/8, ~w/8)."""
    knots = rng.normal(0, knee.bend, (3, 5, 7, 7)).astype(np.float32)
    sizes = (len(stack.depths), max(stack.height // 8, 2), max(stack.width // 8, 2))
    at = np.meshgrid(*[np.linspace(1, k - 2, n) for k, n in zip((5, 7, 7), sizes, strict=True)], indexing="ij")
    return np.stack([map_coordinates(k, at, order=3, mode="nearest") for k in knots]).astype(np.float32)


def _distance(name: str, knee: KneePose, at: np.ndarray, affine: Affine) -> np.ndarray:
    """Signed distance to a bone, float32 of the shape of `at` without its first axis."""
    bones, _ = load_pack()
    bone = bones[name]
    place = bone_place(name, knee.flexion, knee.slide)
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in bone.distance.shape], indexing="ij"), axis=-1).reshape(-1, 3)
    spots = (corners * bone.spacing + bone.low) @ bone.frame.T @ place[:3, :3].T + place[:3, 3]
    spare = 3.2 * knee.bend
    box = affine.box(spots.min(axis=0) - spare, spots.max(axis=0) + spare)
    back = np.linalg.inv(place)
    turn = (bone.frame.T @ back[:3, :3] / bone.spacing).astype(np.float32)
    offset = ((bone.frame.T @ back[:3, 3] - bone.low) / bone.spacing).astype(np.float32)
    index = np.tensordot(turn, at[(slice(None), *box)], axes=1) + offset[:, None, None, None]
    found = np.full(at.shape[1:], FAR, np.float32)
    found[box] = map_coordinates(bone.distance, index, order=1, mode="constant", cval=FAR, output=np.float32)
    return found


def bone_place(name: str, flexion: float, slide: float = 0.0) -> np.ndarray:
    """From a bone's rest place in the pack to the knee's axes, when the knee is bent: (4, 4)."""
    moved = np.array(MOVED[name]) + (np.array([0, slide, 0]) if name in ("tibia", "fibula") else 0)
    there = np.eye(4)
    there[:3, :3] = _FLIP
    there[:3, 3] = -_FLIP @ ORIGIN
    if name in ("tibia", "fibula"):
        there = rotation(np.array([0.0, 1.0, 0.0]), -TILT) @ there
    there[:3, 3] += moved
    return np.asarray(there @ pose(name, {"knee_angle_r": flexion}))


def enlarge(planes: np.ndarray, h: int, w: int) -> np.ndarray:
    """Each plane resized bilinearly: float32 (planes, h, w)."""
    return np.stack([cv2.resize(p, (w, h), interpolation=cv2.INTER_LINEAR) for p in planes])
