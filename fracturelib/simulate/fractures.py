"""How a bone breaks: rough surfaces that part a bone, and how far its pieces move."""

from dataclasses import dataclass

import numpy as np

from fracturelib.simulate.anatomy import Bone, rotation, translation

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
    chips: tuple[tuple[float, float, float, float], ...] = ()  # splinters: world rest coordinates and radius, mm


def rough_cut(
    rng: np.random.Generator, bone: Bone, fraction: float, *, tilt: float, roughness: float = 1.0, twist: float = 0.0
) -> Cut:
    """A surface across `bone` at `fraction` of its length, leaning by `tilt` radians."""
    origin = bone.frame.T @ bone.point(fraction)
    turn = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.cos(tilt), np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn)])
    size = max(bone.width, 4.0)
    lengths = size * np.array([1.2, 0.7, 0.38, 0.2, 0.12])
    direction = rng.standard_normal((5, 3)) * [0.15, 1, 1]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    heights = roughness * lengths * rng.uniform(0.04, 0.1, 5)
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
    size = bone.width
    offset_scale = size * (0.05 + 0.95 * severity**1.3)
    tilt = {"transverse": 0.1, "oblique": 0.75, "spiral": 0.35, "comminuted": 0.5, "impacted": 0.2}.get(kind, 0.3)
    tilt *= rng.uniform(0.6, 1.3)
    cut = rough_cut(
        rng,
        bone,
        fraction,
        tilt=tilt,
        roughness=rng.uniform(0.8, 1.6),
        twist=size * rng.uniform(1.4, 2.4) if kind == "spiral" else 0.0,
    )
    site = bone.frame @ cut.origin
    side = _across(rng)
    if kind in ("hairline", "buckle"):
        width = (gap if gap is not None else rng.uniform(0.45, 1.0)) if kind == "hairline" else 0.0
        slits = (Slit(cut, width, side, rng.uniform(0.0, 0.6) * size),) if width else ()
        height = (
            (gap if gap is not None else rng.uniform(0.09, 0.14 + 0.1 * severity) * size) if kind == "buckle" else 0.0
        )
        bulges = (Bulge(cut.origin, height, rng.uniform(2.5, 4.5), side),) if height else ()
        return Break(bone.name, kind, site, round(width + height, 2), slits=slits, bulges=bulges)
    width = gap if gap is not None else rng.uniform(0.9, 1.8) + 3.0 * severity * rng.uniform(0.1, 1)
    if kind == "avulsion":
        return _avulsion(bone, rng, cut, fraction, width)
    angle = np.deg2rad(rng.uniform(1, 6) + 30 * severity * rng.uniform(0.2, 1))
    hinge = np.cross([1.0, 0, 0], side)
    if kind == "greenstick":
        pivot = cut.origin - side * size * 0.45
        opened = np.deg2rad(rng.uniform(7, 12) + 14 * severity)
        move = _move(bone, pivot, np.zeros(3), hinge, opened)
        far = Piece(((cut, 1.0, 0.1),), move, True)
        return Break(
            bone.name, kind, site, round(0.9 * size * np.sin(opened), 2), (Piece(((cut, -1.0, 0.1),), np.eye(4)), far)
        )
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
        loose = _move(
            bone,
            cut.origin,
            0.5 * shift + _across(rng) * rng.uniform(0.5, 1.5 + 2 * severity),
            _across(rng),
            rng.uniform(0, 0.25),
        )
        far = Piece(((cut, 1.0, width / 2), (wedge, 1.0, width / 2)), move, True)
        pieces = (near, far, Piece(((cut, 1.0, width / 2), (wedge, -1.0, width / 2)), loose))
    far_point = np.linalg.norm((move @ [*site, 1])[:3] - site) + width + np.sin(angle) * size / 2
    chips = _splinters(rng, site, size, severity * (1.5 if kind == "comminuted" else 1.0))
    return Break(bone.name, kind, site, round(float(far_point), 2), pieces, chips=chips)


def _splinters(
    rng: np.random.Generator, site: np.ndarray, size: float, severity: float
) -> tuple[tuple[float, float, float, float], ...]:
    """Small loose fragments around a displaced fracture."""
    count = int(rng.poisson(1 + 6 * severity)) if severity > 0.25 else 0
    places = site + rng.standard_normal((count, 3)) * size * (0.35 + 0.2 * severity)
    radii = rng.uniform(0.05, 0.13, count) * size + 0.4
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
