"""Bones, joints and flesh: the pack's volumes, the pose of a patient, and what each region shows.

World axes, in mm: x to the body's left, y to the back, z up, the right limb of a standing person whose arms hang. A left
limb is the mirror image of a right one, so that it is made as a right one and flipped as a film.
"""

from dataclasses import dataclass, field, replace
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
        return self.ends[1] - self.ends[0]

    def point(self, fraction: float, across: float = 0.0, over: float = 0.0) -> np.ndarray:
        """A place in world rest coordinates: `fraction` 0..1 along the bone, then mm along its other two axes."""
        a = self.ends[0] + fraction * self.length
        row = int(np.clip((a - self.low[0]) / self.spacing, 0, self.distance.shape[0] - 1))
        inside = np.argwhere(self.distance[row] < 0)
        middle = inside.mean(axis=0) if len(inside) else np.array(self.distance.shape[1:]) / 2
        local = np.array([a, *(self.low[1:] + middle * self.spacing)]) + [0, across, over]
        return self.frame @ local


@dataclass(frozen=True)
class Joint:
    anchor: np.ndarray
    axis: np.ndarray
    limits: tuple[float, float]


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
        for name in ("pelvis", "femur"):  # the other side, for films that show both
            right = bones[name]
            bones[f"{name}_left"] = replace(right, name=f"{name}_left", frame=np.diag([-1.0, 1, 1]) @ right.frame, joints=())
        joints = {
            str(name): Joint(anchor, axis, (float(limits[0]), float(limits[1])))
            for name, anchor, axis, limits in zip(
                pack["joints/names"], pack["joints/anchor"], pack["joints/axis"], pack["joints/range"], strict=True
            )
        }
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
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def pose(bone: str, angles: dict[str, float]) -> np.ndarray:
    """Where the joints carry a bone: (4, 4) from the rest pose to the world."""
    bones, joints = load_pack()
    matrix = np.eye(4)
    chain = bones[bone].joints
    if bone == "patella":  # it glides half as far as the tibia turns
        chain = (*(j for j in bones["femur"].joints), "knee_angle_r")
    for name in chain:
        angle = angles.get(name, 0.0) * (0.6 if bone == "patella" and name == "knee_angle_r" else 1.0)
        if angle:
            matrix = matrix @ rotation(joints[name].axis, angle, joints[name].anchor)
    return matrix


@dataclass(frozen=True)
class Flesh:
    """A tapered capsule of soft tissue along a bone, from `start` to `end` (fractions), with radii in mm."""

    bone: str
    start: float
    end: float
    radius0: float
    radius1: float
    across: float = 0.0
    over: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)  # world rest coordinates, mm
    to: str = ""  # the bone on which the end lies, if another one
    fat: float = 1.0  # thickness of the fat relative to the patient's


@dataclass(frozen=True)
class Region:
    """What a film of a region shows.

    `centre` names a bone and a fraction along it; `along` is the bone whose length stands upright on the film; `side` a
    world rest direction that lies across it in the frontal view; `field` the long side of the film in mm; `turn` the angle of
    each view about the length, in degrees; `bend` the range of each joint's angle (radians), by view where it differs.
    """

    bones: tuple[str, ...]
    centre: tuple[str, float]
    along: str
    side: tuple[float, float, float]
    field: tuple[float, float]
    turn: dict[str, float]
    kv: tuple[float, float]
    bend: dict[str, tuple[float, float]] = field(default_factory=dict)
    lateral_bend: dict[str, tuple[float, float]] = field(default_factory=dict)
    flesh: tuple[Flesh, ...] = ()
    length: tuple[float, float, float] | None = None  # what stands upright, if not the length of the bone `along`
    lie: dict[str, float] = field(default_factory=dict)  # degrees by which a view is turned on the film
    air: tuple[Flesh, ...] = ()  # the lung


def _hand_flesh() -> tuple[Flesh, ...]:
    digits = [Flesh(b, -0.05, 1.02, 8.6 if b[0] == "p" else 7.8, 7.6 if b[0] != "d" else 6.6, fat=0.35) for b in FINGERS]
    tips = [Flesh(f"dp{r}", 0.5, 1.2, 6.8, 5.6, fat=0.35) for r in (1, *RAYS)]
    palm = [Flesh(f"mc{r}", -0.1, 1.05, 14.0, 11.0, fat=0.4) for r in RAYS]
    palm += [Flesh("mc3", 0.0, 0.8, 15, 13, shift=(7, 9, 0)), Flesh("mc4", 0.0, 0.8, 15, 13, shift=(7, 4, 0))]
    thumb = [Flesh("mc1", 0.0, 1.0, 15, 11, fat=0.4), Flesh("mc1", 0.35, 0.3, 13, 13, to="mc3", fat=0.4), Flesh("mc1", 0.75, 0.6, 9, 12, to="mc2", fat=0.3)]
    return (*digits, *tips, *palm, *thumb, Flesh("mc5", -0.2, 0.9, 13, 11, shift=(6, 2, 0), fat=0.4))


def _forearm_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("radius", 0.55, 1.05, 25, 17, fat=0.6), Flesh("ulna", 0.6, 1.04, 24, 16, fat=0.6),
        Flesh("radius", 0.15, 0.55, 35, 25, fat=0.8), Flesh("ulna", 0.12, 0.6, 36, 24, fat=0.8),
        Flesh("ulna", 0.06, 0.17, 26, 36, fat=0.8), Flesh("radius", 0.97, 0.1, 19, 17, to="mc2", fat=0.5),
        Flesh("radius", 1.0, 0.1, 18, 17, to="mc3", fat=0.5), Flesh("ulna", 0.97, 0.1, 18, 15, to="mc5", fat=0.5),
        Flesh("ulna", 0.97, 0.1, 18, 16, to="mc4", fat=0.5), Flesh("radius", 0.99, 0.3, 15, 15, to="mc1", fat=0.5),
    )  # fmt: skip


def _upper_arm_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("humerus", 0.12, 0.55, 48, 43), Flesh("humerus", 0.55, 0.9, 43, 33), Flesh("humerus", 0.9, 0.07, 30, 26, to="ulna"),
        Flesh("humerus", 0.9, 0.07, 32, 31, shift=(0, -5, 0), to="radius"),
    )  # fmt: skip


def _shoulder_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("humerus", 0.0, 0.3, 40, 47), Flesh("humerus", 0.02, 0.3, 38, 44, shift=(-6, 0, 0)),
        Flesh("clavicle", 0.0, 1.0, 30, 30, shift=(0, 10, -8)), Flesh("clavicle", 0.0, 0.04, 34, 36, to="humerus"),
        Flesh("ribs", 0.05, 0.06, 52, 40, shift=(-10, 30, 0), to="humerus"),
        Flesh("ribs", 0.15, 0.95, 84, 118, shift=(40, 12, 0)), Flesh("ribs", 0.2, 1.1, 70, 100, shift=(-6, 6, 0)),
        Flesh("ribs", -0.6, 0.3, 52, 60, shift=(88, 0, 30)),
    )  # fmt: skip


def _hip_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("femur", 0.02, 0.3, 78, 76), Flesh("femur", 0.02, 0.2, 70, 74, shift=(0, 18, 0)),
        Flesh("sacrum", 0.3, 0.1, 84, 76, to="femur"), Flesh("sacrum", -0.9, 0.7, 84, 88, shift=(-68, -30, 0)),
        Flesh("sacrum", -0.9, 0.7, 84, 92, shift=(0, -30, 0)), Flesh("sacrum", -0.9, 0.7, 84, 88, shift=(68, -30, 0)),
        Flesh("sacrum", 0.3, 0.1, 84, 76, to="femur_left"), Flesh("femur_left", 0.02, 0.5, 80, 72),
    )  # fmt: skip


def _leg_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("femur", 0.15, 0.62, 82, 68), Flesh("femur", 0.62, 0.9, 68, 53), Flesh("femur", 0.88, 0.06, 53, 49, to="tibia"),
        Flesh("tibia", 0.06, 0.33, 47, 49, shift=(-8, 14, 0)), Flesh("tibia", 0.05, 0.4, 44, 38),
        Flesh("tibia", 0.33, 0.62, 49, 38, shift=(-8, 12, 0)), Flesh("tibia", 0.62, 0.9, 38, 29, shift=(-8, 8, 0)),
        Flesh("tibia", 0.88, 1.0, 30, 31, shift=(0, 2, 0)), Flesh("fibula", 0.85, 0.99, 19, 17, fat=0.5),
        Flesh("patella", 0.2, 0.8, 25, 25, fat=0.6), Flesh("femur", 0.85, 0.06, 45, 40, shift=(0, -12, 0), to="tibia"),
    )  # fmt: skip


def _foot_flesh() -> tuple[Flesh, ...]:
    sole = [Flesh(f"mt{r}", 0.0, 1.0, 17, 12, fat=0.4, shift=(0, 0, -4)) for r in (1, *RAYS)]
    toes = [Flesh(b, -0.1, 1.05, 9.0 if b[0] == "p" else 8.0, 7.5, fat=0.3) for b in TOES if b[-2] != "1"]
    big = [Flesh("pp1t", -0.1, 1.0, 14, 12, fat=0.3), Flesh("dp1t", 0, 1.05, 12, 10, fat=0.3)]
    heel = [
        Flesh("calcaneus", 0.15, 0.85, 25, 24, fat=0.5), Flesh("tibia", 0.97, 0.5, 32, 29, to="talus", fat=0.5),
        Flesh("talus", 0.5, 0.2, 29, 17, to="mt1", fat=0.4), Flesh("talus", 0.5, 0.2, 28, 17, to="mt2", fat=0.4),
        Flesh("talus", 0.5, 0.2, 27, 16, to="mt3", fat=0.4), Flesh("calcaneus", 0.5, 0.2, 25, 15, to="mt4", fat=0.4),
        Flesh("calcaneus", 0.5, 0.2, 24, 15, to="mt5", fat=0.4), Flesh("tibia", 0.9, 0.5, 24, 22, to="calcaneus", shift=(0, 14, 0), fat=0.5),
    ]  # fmt: skip
    return (*sole, *toes, *big, *heel)


_BEND_FINGERS = {
    **{f"mcp{r}_flexion_r": (-0.1, 0.35) for r in RAYS}, **{f"mcp{r}_abduction_r": (-0.12, 0.12) for r in RAYS},
    **{f"pm{r}_flexion{'' if r == 4 else '_r'}": (0.0, 0.4) for r in RAYS},
    **{f"md{r}_flexion{'' if r == 3 else '_r'}": (0.0, 0.25) for r in RAYS},
    "cmc_abduction": (-0.2, 0.6), "cmc_flexion": (-0.3, 0.3), "mp_flexion_r": (-0.3, 0.2), "ip_flexion_r": (-0.4, 0.2),
    "deviation_r": (-0.12, 0.25), "flexion_r": (-0.25, 0.25),
}  # fmt: skip
_SUPINE = {"pro_sup_r": (-1.3, -1.0)}

_REGIONS: dict[str, Region] = {
    "hand": Region(
        ("radius", "ulna", *HAND), ("mc3", 0.75), "mc3", (0, 1, 0), (180, 255), {"frontal": 0, "oblique": 42, "lateral": 90},
        (50, 58), _BEND_FINGERS, {}, (*_hand_flesh(), *_forearm_flesh()),
    ),
    "wrist": Region(
        ("radius", "ulna", *HAND), ("capitate", 0.0), "radius", (0, 1, 0), (120, 190),
        {"frontal": 0, "oblique": 45, "lateral": 90}, (50, 60), _BEND_FINGERS, {}, (*_hand_flesh(), *_forearm_flesh()),
    ),
    "forearm": Region(
        ("humerus", "radius", "ulna", *HAND), ("radius", 0.5), "ulna", (1, 0.1, 0), (265, 345),
        {"frontal": 0, "lateral": 90}, (52, 62), {**_BEND_FINGERS, **_SUPINE}, {"elbow_flexion_r": (0.3, 1.5)},
        (*_hand_flesh(), *_forearm_flesh(), *_upper_arm_flesh()),
    ),
    "elbow": Region(
        ("humerus", "radius", "ulna", *CARPALS), ("humerus", 0.97), "humerus", (1, 0, 0), (140, 220),
        {"frontal": 0, "oblique": 40, "lateral": 90}, (54, 63), {"elbow_flexion_r": (0.0, 0.25), **_SUPINE},
        {"elbow_flexion_r": (1.0, 1.8), "pro_sup_r": (-1.2, 0.3)}, (*_forearm_flesh(), *_upper_arm_flesh()), lie={"lateral": -50},
    ),
    "shoulder": Region(
        ("clavicle", "scapula", "humerus", "ribs"), ("humerus", 0.06), "scapula", (1, 0, 0), (190, 270),
        {"frontal": 0, "oblique": 30, "lateral": -40}, (64, 74),
        {"shoulder_elv_r": (0.0, 0.45), "shoulder_rot_r": (-0.5, 0.7)}, {}, (*_upper_arm_flesh()[:2], *_shoulder_flesh()),
        length=(0, 0, -1), air=(Flesh("ribs", 0.3, 0.9, 48, 78, shift=(8, 10, 0)),),
    ),
    "hip": Region(
        ("pelvis", "sacrum", "femur", "pelvis_left", "femur_left"), ("femur", 0.07), "pelvis", (1, 0, 0), (200, 290),
        {"frontal": 0, "lateral": 0, "oblique": 28}, (70, 80), {"hip_rotation_r": (-0.3, 0.35), "hip_adduction_r": (-0.3, 0.05)},
        {"hip_flexion_r": (0.6, 1.0), "hip_adduction_r": (-0.7, -0.4), "hip_rotation_r": (-0.7, -0.4)},
        (*_hip_flesh(), *_leg_flesh()[:1]), length=(0, 0, -1),
    ),
    "knee": Region(
        ("femur", "tibia", "fibula", "patella"), ("tibia", 0.02), "tibia", (1, 0, 0), (150, 250),
        {"frontal": 0, "oblique": 45, "lateral": 90}, (58, 67), {"knee_angle_r": (0.0, 0.12)}, {"knee_angle_r": (0.25, 1.2)}, _leg_flesh(),
    ),
    "lower leg": Region(
        ("femur", "tibia", "fibula", "patella", *FOOT), ("tibia", 0.52), "tibia", (1, 0, 0), (330, 420), {"frontal": 0, "lateral": 90},
        (56, 66), {"knee_angle_r": (0.0, 0.15), "ankle_angle_r": (-0.2, 0.2)}, {"knee_angle_r": (0.1, 0.7)}, (*_leg_flesh(), *_foot_flesh()),
    ),
    "ankle": Region(
        ("tibia", "fibula", *FOOT), ("tibia", 0.97), "tibia", (1, 0.1, 0), (135, 215), {"frontal": 0, "oblique": -32, "lateral": 90},
        (54, 63), {"ankle_angle_r": (-0.35, 0.15), "subtalar_angle_r": (-0.15, 0.15), "mtp_angle_r": (-0.2, 0.3)}, {},
        (*_leg_flesh()[3:9], *_foot_flesh()),
    ),
    "foot": Region(
        ("tibia", "fibula", *FOOT), ("mt3", 0.25), "mt2", (1, 0, 0), (205, 285), {"frontal": 0, "oblique": 38, "lateral": 90},
        (52, 60), {"ankle_angle_r": (-0.7, -0.35), "mtp_angle_r": (-0.15, 0.25)}, {"ankle_angle_r": (-0.4, 0.1)},
        (*_leg_flesh()[5:9], *_foot_flesh()), lie={"lateral": 90},
    ),
}  # fmt: skip
REGIONS: tuple[str, ...] = tuple(_REGIONS)


def region_of(name: str) -> Region:
    return _REGIONS[name]
