"""How a bone breaks: rough surfaces that part a bone, and how far its pieces move.

Where and how often follows Court-Brown & Caesar, "Epidemiology of adult fractures: a review", Injury 37:691-697 (2006),
doi 10.1016/j.injury.2006.04.130, table of incidence, within each region; the kinds in children follow the textbooks'
order: buckle and greenstick fractures are theirs alone.
"""

from dataclasses import dataclass

import numpy as np

from fracturelib.simulate.anatomy import Bone, rotation, translation

KINDS = ("transverse", "oblique", "spiral", "comminuted", "impacted", "avulsion", "buckle", "greenstick", "hairline")


@dataclass(frozen=True)
class Cut:
    """A rough surface across a bone, in the bone's own axes (mm): `value` is the signed distance to it, distally positive."""

    origin: np.ndarray  # (3,)
    normal: np.ndarray  # (3,)
    waves: np.ndarray  # (m, 3): wave vectors, 1/mm
    heights: np.ndarray  # (m,): mm
    phases: np.ndarray  # (m,)
    twist: float = 0.0  # mm by which the surface climbs in a turn
    start: float = 0.0

    def value(self, q: np.ndarray) -> np.ndarray:
        """Signed distance in mm at points q float32 (3, ...)."""
        r = [q[i] - np.float32(self.origin[i]) for i in range(3)]
        f = sum(r[i] * np.float32(self.normal[i]) for i in range(3))
        for k, height, phase in zip(self.waves, self.heights, self.phases, strict=True):
            along = sum(r[i] * np.float32(k[i]) for i in range(3))
            f = f + np.float32(height) * np.sin(along + np.float32(phase))
        if self.twist:
            f = f + np.float32(self.twist / 2) * np.sin(np.arctan2(r[2], r[1]) + np.float32(self.start))
        return f


@dataclass(frozen=True)
class Slit:
    """A thin gap that does not part the bone: `gap` mm wide, on the side where `reach` holds."""

    cut: Cut
    gap: float
    side: np.ndarray  # (3,): unit vector across the bone
    reach: float  # mm: it runs where the coordinate along `side` exceeds -reach
    sclerosis: float = 0.0  # dense margin, as in a growth plate


@dataclass(frozen=True)
class Bulge:
    """The cortex pushed out by `height` mm around `origin`, over `width` mm along the bone, mostly towards `side`."""

    origin: np.ndarray
    height: float
    width: float
    side: np.ndarray
    fresh: bool = True  # or the callus of an old fracture


@dataclass(frozen=True)
class Piece:
    """A part of the bone: where every `sign * cut` is above `shift` mm; `move` (4, 4) takes it from the whole bone's place."""

    keep: tuple[tuple[Cut, float, float], ...]
    move: np.ndarray
    carries: bool = False  # whether what is distal goes with it


@dataclass(frozen=True)
class Break:
    """One broken bone."""

    bone: str
    kind: str
    site: np.ndarray  # (3,) world rest coordinates
    displacement: float  # mm: the gap plus the furthest shift at the fracture
    pieces: tuple[Piece, ...] = ()
    slits: tuple[Slit, ...] = ()
    bulges: tuple[Bulge, ...] = ()


def rough_cut(rng: np.random.Generator, bone: Bone, fraction: float, *, tilt: float, roughness: float = 1.0, twist: float = 0.0) -> Cut:
    """A surface across `bone` at `fraction` of its length, leaning by `tilt` radians."""
    origin = bone.frame.T @ bone.point(fraction)
    turn = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.cos(tilt), np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn)])
    size = max(bone.width, 4.0)
    lengths = size * np.array([1.2, 0.7, 0.38, 0.2, 0.12])
    direction = rng.standard_normal((5, 3)) * [0.15, 1, 1]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    heights = roughness * lengths * rng.uniform(0.03, 0.075, 5)
    return Cut(
        origin, normal, direction * (2 * np.pi / lengths)[:, None], heights, rng.uniform(0, 2 * np.pi, 5), twist,
        rng.uniform(0, 2 * np.pi),
    )  # fmt: skip


def _across(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([0.0, np.cos(angle), np.sin(angle)])


def _move(bone: Bone, origin: np.ndarray, offset: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Offset and rotation in the bone's axes, as a (4, 4) in world rest coordinates."""
    local = translation(offset) @ rotation(axis, angle, origin)
    frame = np.eye(4)
    frame[:3, :3] = bone.frame
    return frame @ local @ frame.T


def break_bone(
    bone: Bone, kind: str, rng: np.random.Generator, *, fraction: float, severity: float, gap: float | None = None
) -> Break:
    """Break `bone` at `fraction` (0 proximal, 1 distal) of its length.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    severity : float
        From 0, hardly displaced, to 1.
    gap : float, optional
        Width of the gap in mm; if not given, it follows from the severity.
    """
    size = bone.width
    offset_scale = size * (0.05 + 0.95 * severity**1.3)
    tilt = {"transverse": 0.1, "oblique": 0.75, "spiral": 0.35, "comminuted": 0.5, "impacted": 0.2}.get(kind, 0.3)
    tilt *= rng.uniform(0.6, 1.3)
    cut = rough_cut(
        rng, bone, fraction, tilt=tilt, roughness=rng.uniform(0.8, 1.6), twist=size * rng.uniform(1.4, 2.4) if kind == "spiral" else 0.0
    )
    site = bone.frame @ cut.origin
    side = _across(rng)
    if kind in ("hairline", "buckle"):
        width = (gap if gap is not None else rng.uniform(0.45, 1.0)) if kind == "hairline" else 0.0
        slits = (Slit(cut, width, side, rng.uniform(0.0, 0.6) * size),) if width else ()
        height = (gap if gap is not None else rng.uniform(0.09, 0.14 + 0.1 * severity) * size) if kind == "buckle" else 0.0
        bulges = (Bulge(cut.origin, height, rng.uniform(2.5, 4.5), side),) if height else ()
        return Break(bone.name, kind, site, round(width + height, 2), slits=slits, bulges=bulges)
    width = gap if gap is not None else rng.uniform(0.5, 1.2) + 2.2 * severity * rng.uniform(0, 1)
    if kind == "avulsion":
        return _avulsion(bone, rng, cut, fraction, width)
    angle = np.deg2rad(rng.uniform(1, 6) + 30 * severity * rng.uniform(0.2, 1))
    hinge = np.cross([1.0, 0, 0], side)
    if kind == "greenstick":
        pivot = cut.origin - side * size * 0.45
        opened = np.deg2rad(rng.uniform(7, 12) + 14 * severity)
        move = _move(bone, pivot, np.zeros(3), hinge, opened)
        far = Piece(((cut, 1.0, 0.1),), move, True)
        return Break(bone.name, kind, site, round(0.9 * size * np.sin(opened), 2), (Piece(((cut, -1.0, 0.1),), np.eye(4)), far))
    shift = side * offset_scale * rng.uniform(0.5, 1.0)
    if kind == "impacted":
        shift = shift * 0.4 - np.array([rng.uniform(0.8, 1.5) + 2.2 * severity, 0, 0])
        width = 0.0 if gap is None else gap
    elif kind in ("oblique", "spiral", "comminuted"):
        shift = shift - np.array([rng.uniform(0, 0.25) * offset_scale, 0, 0])
    move = _move(bone, cut.origin, shift, hinge, angle)
    near, far = Piece(((cut, -1.0, width / 2),), np.eye(4)), Piece(((cut, 1.0, width / 2),), move, True)
    pieces: tuple[Piece, ...] = (near, far)
    if kind == "comminuted":
        wedge = rough_cut(rng, bone, fraction, tilt=rng.uniform(0.75, 1.0), roughness=1.2)
        origin = wedge.origin + np.array([rng.uniform(0.15, 0.5) * size, 0, 0])
        wedge = Cut(origin, wedge.normal, wedge.waves, wedge.heights, wedge.phases)
        loose = _move(bone, cut.origin, 0.5 * shift + _across(rng) * rng.uniform(0.5, 1.5 + 2 * severity), _across(rng), rng.uniform(0, 0.25))
        far = Piece(((cut, 1.0, width / 2), (wedge, 1.0, width / 2)), move, True)
        pieces = (near, far, Piece(((cut, 1.0, width / 2), (wedge, -1.0, width / 2)), loose))
    far_point = np.linalg.norm((move @ [*site, 1])[:3] - site) + width + np.sin(angle) * size / 2
    return Break(bone.name, kind, site, round(float(far_point), 2), pieces)


def _avulsion(bone: Bone, rng: np.random.Generator, cut: Cut, fraction: float, width: float) -> Break:
    """A flake torn off a corner of the bone's end."""
    end = 1.0 if fraction > 0.5 else -1.0
    side = _across(rng)
    lean = rng.uniform(0.6, 1.3)
    normal = np.array([end * np.cos(lean), *(np.sin(lean) * side[1:])])
    inside = np.argwhere(bone.distance < -0.5) * bone.spacing + bone.low
    reach = inside @ normal
    depth = rng.uniform(0.22, 0.4) * bone.width
    top = inside[np.argmax(reach)]
    origin = top - normal * depth
    flake = Cut(origin, normal, cut.waves, cut.heights * 0.5, cut.phases)
    move = _move(bone, top, normal * (width + rng.uniform(0.2, 1.2)), _across(rng), rng.uniform(0, 0.3))
    shifted = float(np.linalg.norm(move[:3, 3] + move[:3, :3] @ (bone.frame @ top) - bone.frame @ top))
    pieces = (Piece(((flake, -1.0, 0.0),), np.eye(4)), Piece(((flake, 1.0, 0.0),), move))
    return Break(bone.name, "avulsion", bone.frame @ origin, round(shifted, 2), pieces)


# Within a region: bone, weight (Court-Brown & Caesar), range along the bone, kinds with weights.
_SHAFT = {"transverse": 2, "oblique": 3, "spiral": 2, "comminuted": 2, "hairline": 2}
_END = {"transverse": 3, "oblique": 2, "impacted": 3, "comminuted": 2, "hairline": 2, "avulsion": 1}
_SMALL = {"transverse": 3, "oblique": 3, "hairline": 3, "comminuted": 1, "avulsion": 2}
_CARPAL = {"transverse": 2, "hairline": 4, "avulsion": 2}
Site = tuple[str, float, tuple[float, float], dict[str, float]]
_DISTAL_FOREARM: tuple[Site, ...] = (
    ("radius", 17.5, (0.88, 0.95), _END), ("ulna", 4.0, (0.86, 0.97), _END | {"avulsion": 3}), ("scaphoid", 2.2, (0.35, 0.65), _CARPAL),
    ("triquetrum", 0.6, (0.3, 0.7), {"avulsion": 3, "hairline": 1}), ("mc5", 2.0, (0.15, 0.5), _SMALL), ("mc1", 1.5, (0.08, 0.3), _SMALL),
)  # fmt: skip
_HAND: tuple[Site, ...] = (
    ("mc5", 5.0, (0.3, 0.85), _SMALL), *((f"mc{r}", 1.8, (0.2, 0.85), _SHAFT) for r in (2, 3, 4)), ("mc1", 1.5, (0.1, 0.6), _SMALL),
    *((f"pp{r}", 1.1, (0.12, 0.85), _SMALL) for r in (1, 2, 3, 4, 5)), *((f"mp{r}", 0.6, (0.12, 0.85), _SMALL) for r in (2, 3, 4, 5)),
    *((f"dp{r}", 0.6, (0.1, 0.8), _SMALL) for r in (1, 2, 3, 4, 5)),
)  # fmt: skip
SITES: dict[str, tuple[Site, ...]] = {
    "hand": _HAND,
    "wrist": _DISTAL_FOREARM,
    "forearm": (
        ("radius", 4.0, (0.3, 0.9), _SHAFT), ("ulna", 3.0, (0.25, 0.9), _SHAFT), ("radius", 4.0, (0.88, 0.95), _END),
        ("ulna", 1.0, (0.05, 0.12), _END), ("radius", 1.2, (0.03, 0.09), _END),
    ),
    "elbow": (
        ("radius", 5.0, (0.02, 0.08), _END), ("ulna", 1.6, (0.04, 0.11), _END), ("humerus", 2.0, (0.9, 0.96), _END),
        ("humerus", 0.8, (0.72, 0.88), _SHAFT),
    ),
    "shoulder": (
        ("humerus", 5.7, (0.07, 0.17), _END), ("clavicle", 2.6, (0.35, 0.85), _SHAFT), ("humerus", 0.8, (0.18, 0.35), _SHAFT),
        ("scapula", 0.3, (0.3, 0.7), {"hairline": 2, "transverse": 1}),
    ),
    "hip": (
        ("femur", 11.6, (0.065, 0.15), {"oblique": 4, "comminuted": 3, "impacted": 3, "hairline": 3, "avulsion": 1}),
        ("femur", 1.5, (0.16, 0.26), _SHAFT), ("pelvis", 1.5, (0.7, 0.95), {"hairline": 3, "oblique": 2}),
    ),
    "knee": (
        ("tibia", 1.6, (0.025, 0.1), _END), ("patella", 1.2, (0.3, 0.7), {"transverse": 4, "comminuted": 2, "hairline": 2, "avulsion": 1}),
        ("femur", 0.9, (0.86, 0.96), _END), ("fibula", 0.6, (0.03, 0.14), _SMALL), ("tibia", 0.4, (0.12, 0.3), _SHAFT),
    ),
    "lower leg": (("tibia", 1.9, (0.2, 0.88), _SHAFT), ("fibula", 1.4, (0.15, 0.9), _SHAFT)),
    "ankle": (
        ("fibula", 5.0, (0.9, 0.975), _SMALL | {"spiral": 3}), ("tibia", 3.0, (0.95, 0.985), _END | {"avulsion": 4}),
        ("talus", 0.4, (0.3, 0.7), _CARPAL), ("calcaneus", 0.8, (0.3, 0.75), _CARPAL | {"comminuted": 2}), ("tibia", 0.7, (0.86, 0.94), _SHAFT),
    ),
    "foot": (
        ("mt5", 3.0, (0.06, 0.3), _SMALL), *((f"mt{r}", 1.3, (0.3, 0.88), _SMALL) for r in (2, 3, 4, 5)), ("mt1", 0.7, (0.2, 0.8), _SMALL),
        *((f"pp{r}t", 0.7, (0.2, 0.8), _SMALL) for r in (1, 2, 3, 4, 5)), ("calcaneus", 1.2, (0.3, 0.75), _CARPAL | {"comminuted": 2}),
        ("navicular", 0.3, (0.35, 0.65), _CARPAL), ("dp1t", 0.6, (0.25, 0.8), _SMALL),
    ),
}  # fmt: skip


def choose_site(region: str, rng: np.random.Generator, *, child: bool, kind: str | None = None) -> tuple[str, float, str]:
    """A bone, a fraction along it and a kind of fracture, by their frequencies in a region."""
    sites = SITES[region]
    if kind is not None and kind not in ("buckle", "greenstick"):
        sites = tuple(s for s in sites if kind in s[3]) or sites
    elif kind is not None:
        sites = tuple(s for s in sites if _tubular(s[0])) or sites
    weights = np.array([s[1] for s in sites], float) ** 0.75
    bone, _, (low, high), kinds = sites[rng.choice(len(sites), p=weights / weights.sum())]
    if child and _tubular(bone) and kind is None:
        kinds = {**kinds, "buckle": 4.0 if 0.8 < high or low < 0.2 else 1.0, "greenstick": 3.0}
    names = sorted(kinds)
    chance = np.array([kinds[n] for n in names], float)
    chosen = kind if kind is not None else names[rng.choice(len(names), p=chance / chance.sum())]
    return bone, float(rng.uniform(low, high)), chosen


def _tubular(bone: str) -> bool:
    return bone in ("radius", "ulna", "humerus", "tibia", "fibula", "femur") or bone[:2] in ("mc", "mt", "pp")
