"""Bones and joints: the pack's volumes, and the pose of a patient.

World axes, in mm: x to the body's left, y to the back, z up: the right limb of a standing person whose arms hang.
A left limb is the mirror image of a right one: it is made as a right one, and its image is flipped.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

STEP_MM = 0.06  # of the stored distance
PACK = Path(__file__).with_name("bones.npz")
RAYS = (2, 3, 4, 5)
CARPALS = ("lunate", "scaphoid", "pisiform", "triquetrum", "capitate", "trapezium", "trapezoid", "hamate")
FINGERS = ("pp1", "dp1", *(f"{kind}{ray}" for ray in RAYS for kind in ("pp", "mp", "dp")))
HAND = (*CARPALS, *(f"mc{ray}" for ray in (1, *RAYS)), *FINGERS)
TARSALS = ("talus", "calcaneus", "navicular", "cuboid", "cuneiform1", "cuneiform2", "cuneiform3")
TOES = ("pp1t", "dp1t", *(f"{kind}{ray}t" for ray in RAYS for kind in ("pp", "mp", "dp")))
FOOT = (*TARSALS, *(f"mt{ray}" for ray in (1, *RAYS)), *TOES)


@dataclass(frozen=True)
class Bone:
    """A bone of the pack.

    `distance` is float32 (a, b, c): signed distance to the surface in mm, negative inside. Its first axis is the bone's
    length, from proximal to distal. `frame` (3, 3) has the axes as columns, `low` (3,) is the grid's corner along them.
    """

    name: str
    distance: np.ndarray
    frame: np.ndarray
    low: np.ndarray
    spacing: float
    joints: tuple[str, ...]
    ends: tuple[float, float]
    width: float

    @property
    def length(self) -> float:
        """From end to end, in mm."""
        return self.ends[1] - self.ends[0]

    def point(self, fraction: float, across: float = 0.0, over: float = 0.0) -> np.ndarray:
        """A place in world rest coordinates: `fraction` 0..1 along the bone, then mm along its other two axes."""
        a = self.ends[0] + fraction * self.length
        row = int(np.clip((a - self.low[0]) / self.spacing, 0, self.distance.shape[0] - 1))
        inside = np.argwhere(self.distance[row] < 0)
        middle = inside.mean(axis=0) if len(inside) else np.array(self.distance.shape[1:]) / 2
        local = np.array([a, *(self.low[1:] + middle * self.spacing + [across, over])])
        return self.frame @ local


@dataclass(frozen=True)
class Joint:
    """A hinge (radians) or a slide (mm) about or along `axis` (3,) through `anchor` (3,), in the rest pose.

    A joint with a `driver` moves with that joint: by the sum of `polynomial[i] * angle ** (i + 1)`, from its rest.
    """

    anchor: np.ndarray
    axis: np.ndarray
    limits: tuple[float, float]
    slides: bool = False
    driver: str = ""
    polynomial: tuple[float, ...] = ()

    def moved(self, by: float) -> np.ndarray:
        """What it does to the bones behind it: (4, 4)."""
        return translation(self.axis * by) if self.slides else rotation(self.axis, by, self.anchor)


@lru_cache(maxsize=1)
def load_pack() -> tuple[dict[str, Bone], dict[str, Joint]]:
    """All bones and joints, by name."""
    with np.load(PACK) as pack:
        names = [key.removesuffix("/distance") for key in pack.files if key.endswith("/distance")]
        bones = {}
        for name in names:
            distance = pack[f"{name}/distance"].astype(np.float32) * STEP_MM
            low, spacing = pack[f"{name}/low"], float(pack[f"{name}/spacing"])
            area = (distance < 0).sum(axis=(1, 2)) * spacing**2
            rows = np.flatnonzero(area)
            ends = (float(low[0] + rows[0] * spacing), float(low[0] + rows[-1] * spacing))
            bones[name] = Bone(
                name, distance, pack[f"{name}/frame"], low, spacing, tuple(pack[f"{name}/joints"].tolist()), ends,
                width=float(2 * np.sqrt(np.median(area[rows]) / np.pi)),
            )  # fmt: skip
        for name in ("pelvis", "femur"):  # the other side, for images that show both
            right = bones[name]
            bones[f"{name}_left"] = replace(
                right, name=f"{name}_left", frame=np.diag([-1.0, 1, 1]) @ right.frame, joints=()
            )
        parts = ("names", "anchor", "axis", "range", "slides", "driver", "polynomial")
        joints = {
            str(name): Joint(
                anchor, axis, (float(limits[0]), float(limits[1])), bool(slides), str(driver),
                tuple(polynomial.tolist()) if driver else (),
            )
            for name, anchor, axis, limits, slides, driver, polynomial in zip(
                *(pack[f"joints/{part}"] for part in parts), strict=True
            )
        }  # fmt: skip
    return bones, joints


def rotation(axis: np.ndarray, angle: float, anchor: np.ndarray | None = None) -> np.ndarray:
    """Rotation by `angle` radians about `axis` through `anchor`: float (4, 4)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    if anchor is not None:
        matrix[:3, 3] = anchor - matrix[:3, :3] @ anchor
    return matrix


def translation(offset: np.ndarray) -> np.ndarray:
    """A shift in mm, as (4, 4)."""
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def pose(bone: str, angles: dict[str, float]) -> np.ndarray:
    """Where the joints carry a bone: (4, 4) from the rest pose to the world."""
    bones, joints = load_pack()
    return chain_pose(bones[bone].joints, joints, angles)


def chain_pose(chain: tuple[str, ...], joints: dict[str, Joint], angles: dict[str, float]) -> np.ndarray:
    """What a chain of joints does to the bone at its end; joints that are driven follow theirs."""
    matrix = np.eye(4)
    for name in chain:
        joint = joints[name]
        turned = angles.get(joint.driver or name, 0.0)
        by = sum(c * turned ** (i + 1) for i, c in enumerate(joint.polynomial)) if joint.driver else turned
        if by:
            matrix = matrix @ joint.moved(by)
    return matrix
