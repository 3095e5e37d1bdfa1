"""How a bone breaks: rough surfaces that part a bone, and how far its pieces move."""

from dataclasses import dataclass, replace

import numpy as np

from fracturelib.simulate.anatomy import Bone, rotation, translation

# Bone gives way in many places at once only under a force along it, or a great one; else it parts at one surface.
SHATTERED = ("comminuted", "impacted")
KINDS = ("transverse", "oblique", "spiral", "comminuted", "impacted", "avulsion", "buckle", "greenstick", "hairline")


@dataclass(frozen=True)
class Cut:
    """A rough surface across a bone, in its own axes (mm): `value` is the signed distance to it, distally positive."""

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
    """A part of the bone: where every `sign * cut` is above `shift` mm; `move` (4, 4) moves it from its place."""

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
    chips: tuple[tuple[float, float, float, float], ...] = ()  # small loose ones: world rest coordinates and radius, mm


def rough_cut(
    rng: np.random.Generator,
    bone: Bone,
    fraction: float,
    *,
    tilt: float,
    roughness: float = 1.0,
    teeth: float = 1.0,
    twist: float = 0.0,
) -> Cut:
    """A surface across `bone` at `fraction` of its length, leaning by `tilt` radians.

    `roughness` scales its waves, and `teeth` what makes its short ones steep, as those of broken bone are.
    """
    origin = bone.frame.T @ bone.point(fraction)
    turn = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.cos(tilt), np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn)])
    size = max(bone.width, 4.0)
    lengths = size * np.array([1.2, 0.7, 0.38, 0.2, 0.12])
    direction = rng.standard_normal((5, 3)) * [0.15, 1, 1]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    heights = roughness * (lengths + teeth * size * np.array([0, 0, 0.15, 0.2, 0.2])) * rng.uniform(0.04, 0.1, 5)
    return Cut(
        origin,
        normal,
        direction * (2 * np.pi / lengths)[:, None],
        heights,
        rng.uniform(0, 2 * np.pi, 5),
        twist,
        rng.uniform(0, 2 * np.pi),
    )


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
    size = min(bone.width, 30.0)  # the pelvis moves no further than the femur
    cut = _first_cut(bone, kind, rng, fraction, size)
    site = bone.frame @ cut.origin
    side = _across(rng)
    if kind in ("hairline", "buckle"):
        return _cracked(bone, kind, rng, cut, side, severity=severity, gap=gap)
    width = gap if gap is not None else rng.uniform(0.9, 1.8) + 2.5 * severity * rng.uniform(0.1, 1)
    if kind == "avulsion":
        return _avulsion(bone, rng, cut, fraction, width)
    angle = np.deg2rad(rng.uniform(0, 3) + 30 * severity * rng.uniform(0.2, 1))
    if kind == "greenstick":
        return _bent(bone, rng, cut, side, severity)
    offset_scale = 0.8 + 0.95 * size * severity**1.3  # mm
    shift = side * offset_scale * rng.uniform(0.5, 1.0)
    if kind == "impacted":
        shift = shift * 0.4 - np.array([rng.uniform(0.8, 1.5) + 2.2 * severity, 0, 0])
        width = 0.0 if gap is None else gap
    elif kind in ("oblique", "spiral", "comminuted"):
        shift = shift - np.array([rng.uniform(0, 0.25) * offset_scale, 0, 0])
    parted = _Parted(cut, width, shift, _move(bone, cut.origin, shift, _hinge(side), angle))
    near = Piece(((cut, -1.0, width / 2),), np.eye(4))
    if kind == "comminuted":
        pieces = (near, *_shattered(bone, rng, parted, fraction, severity))
    else:
        pieces = (near, Piece(((cut, 1.0, width / 2),), parted.move, True))
    far_point = np.linalg.norm((parted.move @ [*site, 1])[:3] - site) + width + np.sin(angle) * size / 2
    chips = _chips(rng, site, size, severity) if kind in SHATTERED else ()
    return Break(bone.name, kind, site, round(float(far_point), 2), pieces, chips=chips)


@dataclass(frozen=True)
class _Parted:
    """A bone in two: the surface, the gap (mm), and how the far part goes: its shift (mm) and whole move (4, 4)."""

    cut: Cut
    width: float
    shift: np.ndarray
    move: np.ndarray


def _first_cut(bone: Bone, kind: str, rng: np.random.Generator, fraction: float, size: float) -> Cut:
    """The surface at which a bone gives way."""
    tilt = {"transverse": 0.1, "oblique": 0.75, "spiral": 0.35, "comminuted": 0.5, "impacted": 0.2}.get(kind, 0.3)
    tilt *= rng.uniform(0.6, 1.3)
    roughness = rng.uniform(0.8, 1.6)
    twist = size * rng.uniform(1.4, 2.4) if kind == "spiral" else 0.0
    return rough_cut(rng, bone, fraction, tilt=tilt, roughness=roughness, twist=twist)


def _hinge(side: np.ndarray) -> np.ndarray:
    """The axis about which a bone opens towards `side`."""
    return np.cross([1.0, 0, 0], side)


def _cracked(
    bone: Bone,
    kind: str,
    rng: np.random.Generator,
    cut: Cut,
    side: np.ndarray,
    *,
    severity: float,
    gap: float | None,
) -> Break:
    """A hairline or a buckle: the bone stays in one piece."""
    size = min(bone.width, 30.0)
    width = height = 0.0
    if kind == "hairline":
        width = gap if gap is not None else rng.uniform(0.45, 1.0)
    slits = (Slit(cut, width, side, rng.uniform(0.0, 0.6) * size),) if width else ()
    if kind == "buckle":
        height = gap if gap is not None else rng.uniform(0.09, 0.14 + 0.1 * severity) * size
    bulges = (Bulge(cut.origin, height, rng.uniform(2.5, 4.5), side),) if height else ()
    return Break(bone.name, kind, bone.frame @ cut.origin, round(width + height, 2), slits=slits, bulges=bulges)


def _bent(bone: Bone, rng: np.random.Generator, cut: Cut, side: np.ndarray, severity: float) -> Break:
    """A greenstick: opened on one side about the other, which holds."""
    size = min(bone.width, 30.0)
    pivot = cut.origin - side * size * 0.45
    opened = np.deg2rad(rng.uniform(7, 12) + 14 * severity)
    move = _move(bone, pivot, np.zeros(3), _hinge(side), opened)
    pieces = (Piece(((cut, -1.0, 0.1),), np.eye(4)), Piece(((cut, 1.0, 0.1),), move, True))
    displacement = round(0.9 * size * np.sin(opened), 2)
    return Break(bone.name, "greenstick", bone.frame @ cut.origin, displacement, pieces)


def _shattered(
    bone: Bone, rng: np.random.Generator, parted: _Parted, fraction: float, severity: float
) -> tuple[Piece, ...]:
    """What lies beyond the first surface: the far part of the bone, and between them two to five fragments.

    Each surface along the bone splits off a proportion of what the ones before it left, so that fragments are of many
    sizes.
    """
    size, cut, width, shift = bone.width, parted.cut, parted.width, parted.shift
    across = rough_cut(rng, bone, fraction, tilt=rng.uniform(0.3, 0.9), roughness=1.2)
    across = replace(across, origin=cut.origin + np.array([rng.uniform(0.35, 0.9) * size, 0, 0]))
    pieces = [Piece(((cut, 1.0, width / 2), (across, 1.0, width / 2)), parted.move, True)]
    between: tuple[tuple[Cut, float, float], ...] = ((cut, 1.0, width / 2), (across, -1.0, width / 2))
    crack = min(0.3 * width, 0.6)
    for left in reversed(range(1 + min(int(rng.poisson(0.8 + 1.5 * severity)), 4))):
        lengthwise = rough_cut(rng, bone, fraction, tilt=np.pi / 2 - rng.uniform(-0.3, 0.3), roughness=0.8)
        lengthwise = replace(lengthwise, origin=cut.origin + lengthwise.normal * rng.uniform(-0.3, 0.15) * size)
        nudge = rng.uniform(0.3, 0.9) * shift + _across(rng) * rng.uniform(0.2, 0.8 + 2 * severity)
        loose = _move(bone, cut.origin, nudge, _across(rng), rng.uniform(-0.2, 0.2) * (0.3 + severity))
        pieces.append(Piece((*between, (lengthwise, 1.0, crack)), loose))
        between = (*between, (lengthwise, -1.0, crack))
        if left == 0:
            pieces.append(Piece(between, _move(bone, cut.origin, 0.6 * shift, _across(rng), 0.0)))
    return tuple(pieces)


def _chips(
    rng: np.random.Generator, site: np.ndarray, size: float, severity: float
) -> tuple[tuple[float, float, float, float], ...]:
    """Small loose fragments around a shattered bone: few, and the smaller the more (a power law, exponent 2)."""
    count = min(int(rng.poisson(0.3 + 2.5 * severity)), 6)
    places = site + rng.standard_normal((count, 3)) * size * (0.3 + 0.15 * severity)
    radii = np.minimum((0.4 + 0.02 * size) / np.sqrt(1 - rng.uniform(0, 1, count)), 0.4 + 0.16 * size)
    return tuple((float(x), float(y), float(z), float(r)) for (x, y, z), r in zip(places, radii, strict=True))


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
