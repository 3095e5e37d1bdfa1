"""What an image of each region shows: bones, flesh, views, tube voltage, and how the joints may be bent."""

from dataclasses import dataclass, field

from fracturelib.simulate.anatomy import CARPALS, FINGERS, FOOT, HAND, RAYS, TOES


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
    """What an image of a region shows.

    `centre` names a bone and a fraction along it, from which the beam is moved by `coned` (0..1) of the way to where it
    hurts; `along` is the bone whose length stands upright on the image;
    `side` a world rest direction that lies across it in the frontal view; `width` the long side of the image in mm, as
    the beam is narrowed to where it hurts; `turn` the angle of each view about the length, in degrees; `bend` the range
    of each joint's angle (radians), by view where it differs.
    """

    bones: tuple[str, ...]
    centre: tuple[str, float]
    along: str
    side: tuple[float, float, float]
    width: tuple[float, float]
    turn: dict[str, float]
    kv: tuple[float, float]
    bend: dict[str, tuple[float, float]] = field(default_factory=dict)
    lateral_bend: dict[str, tuple[float, float]] = field(default_factory=dict)
    flesh: tuple[Flesh, ...] = ()
    length: tuple[float, float, float] | None = None  # what stands upright, if not the length of the bone `along`
    lie: dict[str, float] = field(default_factory=dict)  # degrees by which a view is turned on the image
    air: tuple[Flesh, ...] = ()  # the lung
    coned: float = 0.88


def _hand_flesh() -> tuple[Flesh, ...]:
    digits = [
        Flesh(b, -0.05, 1.02, 8.6 if b[0] == "p" else 7.8, 7.6 if b[0] != "d" else 6.6, fat=0.35) for b in FINGERS
    ]
    tips = [Flesh(f"dp{r}", 0.5, 1.2, 6.8, 5.6, fat=0.35) for r in (1, *RAYS)]
    palm = [Flesh(f"mc{r}", -0.1, 1.05, 14.0, 11.0, fat=0.4) for r in RAYS]
    palm += [Flesh("mc3", 0.0, 0.8, 15, 13, shift=(7, 9, 0)), Flesh("mc4", 0.0, 0.8, 15, 13, shift=(7, 4, 0))]
    thumb = [
        Flesh("mc1", 0.0, 1.0, 15, 11, fat=0.4),
        Flesh("mc1", 0.35, 0.3, 13, 13, to="mc3", fat=0.4),
        Flesh("mc1", 0.75, 0.6, 9, 12, to="mc2", fat=0.3),
    ]
    return (*digits, *tips, *palm, *thumb, Flesh("mc5", -0.2, 0.9, 13, 11, shift=(6, 2, 0), fat=0.4))


def _forearm_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("radius", 0.55, 1.05, 25, 17, fat=0.6),
        Flesh("ulna", 0.6, 1.04, 24, 16, fat=0.6),
        Flesh("radius", 0.15, 0.55, 35, 25, fat=0.8),
        Flesh("ulna", 0.12, 0.6, 36, 24, fat=0.8),
        Flesh("ulna", 0.06, 0.17, 26, 36, fat=0.8),
        Flesh("radius", 0.97, 0.1, 19, 17, to="mc2", fat=0.5),
        Flesh("radius", 1.0, 0.1, 18, 17, to="mc3", fat=0.5),
        Flesh("ulna", 0.97, 0.1, 18, 15, to="mc5", fat=0.5),
        Flesh("ulna", 0.97, 0.1, 18, 16, to="mc4", fat=0.5),
        Flesh("radius", 0.99, 0.3, 15, 15, to="mc1", fat=0.5),
    )


def _upper_arm_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("humerus", 0.12, 0.55, 48, 43),
        Flesh("humerus", 0.55, 0.9, 43, 33),
        Flesh("humerus", 0.9, 0.07, 30, 26, to="ulna"),
        Flesh("humerus", 0.9, 0.07, 32, 31, shift=(0, -5, 0), to="radius"),
    )


def _shoulder_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("humerus", 0.0, 0.3, 40, 47),
        Flesh("humerus", 0.02, 0.3, 38, 44, shift=(-6, 0, 0)),
        Flesh("clavicle", 0.0, 1.0, 30, 30, shift=(0, 10, -8)),
        Flesh("clavicle", 0.0, 0.04, 34, 36, to="humerus"),
        Flesh("ribs", 0.05, 0.06, 52, 40, shift=(-10, 30, 0), to="humerus"),
        Flesh("ribs", 0.15, 0.95, 84, 118, shift=(40, 12, 0)),
        Flesh("ribs", 0.2, 1.1, 70, 100, shift=(-6, 6, 0)),
        Flesh("ribs", -0.6, 0.3, 52, 60, shift=(88, 0, 30)),
    )


def _hip_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("femur", 0.02, 0.3, 78, 76),
        Flesh("femur", 0.02, 0.2, 70, 74, shift=(0, 18, 0)),
        Flesh("sacrum", 0.3, 0.1, 84, 76, to="femur"),
        Flesh("sacrum", -0.9, 0.7, 84, 88, shift=(-68, -30, 0)),
        Flesh("sacrum", -0.9, 0.7, 84, 92, shift=(0, -30, 0)),
        Flesh("sacrum", -0.9, 0.7, 84, 88, shift=(68, -30, 0)),
        Flesh("sacrum", 0.3, 0.1, 84, 76, to="femur_left"),
        Flesh("femur_left", 0.02, 0.5, 80, 72),
    )


def _leg_flesh() -> tuple[Flesh, ...]:
    return (
        Flesh("femur", 0.15, 0.62, 82, 68),
        Flesh("femur", 0.62, 0.9, 68, 53),
        Flesh("femur", 0.88, 0.06, 53, 49, to="tibia"),
        Flesh("tibia", 0.06, 0.33, 47, 49, shift=(-8, 14, 0)),
        Flesh("tibia", 0.05, 0.4, 44, 38),
        Flesh("tibia", 0.33, 0.62, 49, 38, shift=(-8, 12, 0)),
        Flesh("tibia", 0.62, 0.9, 38, 29, shift=(-8, 8, 0)),
        Flesh("tibia", 0.88, 1.0, 30, 31, shift=(0, 2, 0)),
        Flesh("fibula", 0.85, 0.99, 19, 17, fat=0.5),
        Flesh("patella", 0.1, 0.9, 23, 22, fat=0.6),
        Flesh("femur", 0.72, 0.2, 42, 23, fat=0.6, to="patella"),  # the extensor's tendon, above and below
        Flesh("patella", 0.8, 0.12, 22, 30, fat=0.6, to="tibia"),
        Flesh("femur", 0.85, 0.06, 45, 40, shift=(0, -12, 0), to="tibia"),
    )


def _foot_flesh() -> tuple[Flesh, ...]:
    sole = [Flesh(f"mt{r}", 0.0, 1.0, 17, 12, fat=0.4, shift=(0, 0, -4)) for r in (1, *RAYS)]
    toes = [Flesh(b, -0.1, 1.05, 9.0 if b[0] == "p" else 8.0, 7.5, fat=0.3) for b in TOES if b[-2] != "1"]
    big = [Flesh("pp1t", -0.1, 1.0, 14, 12, fat=0.3), Flesh("dp1t", 0, 1.05, 12, 10, fat=0.3)]
    heel = [
        Flesh("calcaneus", 0.15, 0.85, 25, 24, fat=0.5),
        Flesh("tibia", 0.97, 0.5, 32, 29, to="talus", fat=0.5),
        Flesh("talus", 0.5, 0.2, 29, 17, to="mt1", fat=0.4),
        Flesh("talus", 0.5, 0.2, 28, 17, to="mt2", fat=0.4),
        Flesh("talus", 0.5, 0.2, 27, 16, to="mt3", fat=0.4),
        Flesh("calcaneus", 0.5, 0.2, 25, 15, to="mt4", fat=0.4),
        Flesh("calcaneus", 0.5, 0.2, 24, 15, to="mt5", fat=0.4),
        Flesh("tibia", 0.9, 0.5, 24, 22, to="calcaneus", shift=(0, 14, 0), fat=0.5),
    ]
    return (*sole, *toes, *big, *heel)


_BEND_FINGERS = {
    **{f"mcp{r}_flexion_r": (-0.1, 0.35) for r in RAYS},
    "mcp2_abduction_r": (-0.03, 0.16),  # a little spread, so that no finger lies in another
    "mcp3_abduction_r": (-0.05, 0.05),
    "mcp4_abduction_r": (-0.12, 0.03),
    "mcp5_abduction_r": (-0.22, 0.0),
    **{f"pm{r}_flexion{'' if r == 4 else '_r'}": (0.0, 0.4) for r in RAYS},
    **{f"md{r}_flexion{'' if r == 3 else '_r'}": (0.0, 0.25) for r in RAYS},
    "cmc_abduction": (-0.2, 0.6),
    "cmc_flexion": (-0.3, 0.3),
    "mp_flexion_r": (-0.3, 0.2),
    "ip_flexion_r": (-0.4, 0.2),
    "deviation_r": (-0.12, 0.25),
    "flexion_r": (-0.25, 0.25),
}
_SUPINE = {"pro_sup_r": (-1.3, -1.0)}

_REGIONS: dict[str, Region] = {
    "hand": Region(
        ("radius", "ulna", *HAND),
        ("mc3", 0.75),
        "mc3",
        (0, 1, 0),
        (64, 90),
        {"frontal": 0, "oblique": 42, "lateral": 90},
        (50, 58),
        _BEND_FINGERS,
        {},
        (*_hand_flesh(), *_forearm_flesh()),
    ),
    "wrist": Region(
        ("radius", "ulna", *HAND),
        ("capitate", 0.0),
        "radius",
        (0, 1, 0),
        (55, 80),
        {"frontal": 0, "oblique": 45, "lateral": 90},
        (50, 60),
        _BEND_FINGERS,
        {},
        (*_hand_flesh(), *_forearm_flesh()),
    ),
    "forearm": Region(
        ("humerus", "radius", "ulna", *HAND),
        ("radius", 0.5),
        "ulna",
        (1, 0.1, 0),
        (90, 122),
        {"frontal": 0, "lateral": 90},
        (52, 62),
        {**_BEND_FINGERS, **_SUPINE},
        {"elbow_flexion_r": (0.3, 1.5)},
        (*_hand_flesh(), *_forearm_flesh(), *_upper_arm_flesh()),
    ),
    "elbow": Region(
        ("humerus", "radius", "ulna", *CARPALS),
        ("humerus", 0.97),
        "humerus",
        (1, 0, 0),
        (62, 92),
        {"frontal": 0, "oblique": 40, "lateral": 90},
        (54, 63),
        {"elbow_flexion_r": (0.0, 0.25), **_SUPINE},
        {"elbow_flexion_r": (1.0, 1.8), "pro_sup_r": (-1.2, 0.3)},
        (*_forearm_flesh(), *_upper_arm_flesh()),
        lie={"lateral": -50},
    ),
    "shoulder": Region(
        ("clavicle", "scapula", "humerus", "ribs"),
        ("humerus", 0.06),
        "scapula",
        (1, 0, 0),
        (80, 112),
        {"frontal": 0, "oblique": 30, "lateral": -40},
        (64, 74),
        {"shoulder_elv_r": (0.0, 0.45), "shoulder_rot_r": (-0.5, 0.7)},
        {},
        (*_upper_arm_flesh()[:2], *_shoulder_flesh()),
        length=(0, 0, -1),
        air=(Flesh("ribs", 0.3, 0.9, 48, 78, shift=(8, 10, 0)),),
    ),
    "hip": Region(
        ("pelvis", "sacrum", "femur", "pelvis_left", "femur_left"),
        ("femur", 0.07),
        "pelvis",
        (1, 0, 0),
        (86, 118),
        {"frontal": 0, "lateral": 0, "oblique": 28},
        (70, 80),
        {"hip_rotation_r": (-0.3, 0.35), "hip_adduction_r": (-0.3, 0.05)},
        {"hip_flexion_r": (0.6, 1.0), "hip_adduction_r": (-0.7, -0.4), "hip_rotation_r": (-0.7, -0.4)},
        (*_hip_flesh(), *_leg_flesh()[:1]),
        length=(0, 0, -1),
    ),
    "knee": Region(
        ("femur", "tibia", "fibula", "patella"),
        ("femur", 0.98),
        "tibia",
        (1, 0, 0),
        (104, 140),
        {"frontal": 0, "oblique": 45, "lateral": 90},
        (58, 67),
        {"knee_angle_r": (0.0, 0.12)},
        {"knee_angle_r": (0.25, 1.2)},
        _leg_flesh(),
        coned=0.4,  # a knee without its joint and patella is none
    ),
    "lower leg": Region(
        ("femur", "tibia", "fibula", "patella", *FOOT),
        ("tibia", 0.52),
        "tibia",
        (1, 0, 0),
        (104, 140),
        {"frontal": 0, "lateral": 90},
        (56, 66),
        {"knee_angle_r": (0.0, 0.15), "ankle_angle_r": (-0.2, 0.2)},
        {"knee_angle_r": (0.1, 0.7)},
        (*_leg_flesh(), *_foot_flesh()),
    ),
    "ankle": Region(
        ("tibia", "fibula", *FOOT),
        ("tibia", 0.97),
        "tibia",
        (1, 0.1, 0),
        (60, 90),
        {"frontal": 0, "oblique": -32, "lateral": 90},
        (54, 63),
        {"ankle_angle_r": (-0.35, 0.15), "subtalar_angle_r": (-0.15, 0.15), "mtp_angle_r": (-0.2, 0.3)},
        {},
        (*_leg_flesh()[3:9], *_foot_flesh()),
    ),
    "foot": Region(
        ("tibia", "fibula", *FOOT),
        ("mt3", 0.25),
        "mt2",
        (1, 0, 0),
        (70, 100),
        {"frontal": 0, "oblique": 38, "lateral": 90},
        (52, 60),
        {"ankle_angle_r": (-0.7, -0.35), "mtp_angle_r": (-0.15, 0.25)},
        {"ankle_angle_r": (-0.4, 0.1)},
        (*_leg_flesh()[5:9], *_foot_flesh()),
        lie={"lateral": 90},
    ),
}
REGIONS: tuple[str, ...] = tuple(_REGIONS)


def region_of(name: str) -> Region:
    """The region of a name in `REGIONS`."""
    return _REGIONS[name]
