"""What else lies in the beam: markers, casts, plates and screws, jewellery, the collimator."""

from dataclasses import dataclass

import cv2
import numpy as np

from fracturelib.simulate.anatomy import Bone
from fracturelib.simulate.regions import Region
from fracturelib.simulate.render import Camera, Capsule, cast_flesh

_LETTERS = {  # strokes in a unit square, y downward
    "L": [[0, 0], [0, 1], [1, 1]],
    "R": [[0, 1], [0, 0], [0.7, 0], [1, 0.15], [1, 0.38], [0.7, 0.52], [0, 0.52], [0.45, 0.52], [1, 1]],
}


@dataclass(frozen=True)
class Things:
    """What a patient wears, independent of what is broken."""

    marker: bool
    cast: bool
    hardware: str | None  # the bone that carries a plate
    jewel: str | None  # the bone that carries a ring
    splint: bool = False


@dataclass(frozen=True)
class Frame:
    """The collimator: proportion of the beam it lets through (h, w), and where the display is blanked (h, w) bool."""

    beam: np.ndarray
    shutter: np.ndarray


@dataclass(frozen=True)
class Scene:
    """A patient before the tube: bones and their places in the world, and flesh as capsules, one for each of `spec`."""

    spec: Region
    camera: Camera
    bones: dict[str, Bone]
    places: dict[str, np.ndarray]
    capsules: list[Capsule]


def draw_things(rng: np.random.Generator, region: str, bones: tuple[str, ...]) -> Things:
    """What a patient happens to wear."""
    long = [b for b in bones if b in ("radius", "ulna", "humerus", "tibia", "fibula", "femur")]
    plate = str(rng.choice(long)) if long and rng.uniform() < 0.07 else None
    rings = [b for b in bones if b in ("pp2", "pp3", "pp4")]
    jewel = str(rng.choice(rings)) if rings and rng.uniform() < 0.1 else None
    return Things(
        bool(rng.uniform() < 0.5),
        bool(rng.uniform() < 0.09) and region not in ("hip", "shoulder"),
        plate,
        jewel,
        bool(rng.uniform() < 0.4),
    )


def _line(shape: tuple[int, int], a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """A bar from a to b (x, y pixels), antialiased, 0..1."""
    picture = np.zeros(shape, np.float32)
    along = (b - a) / (np.linalg.norm(b - a) + 1e-6)
    across = np.array([-along[1], along[0]]) * width / 2
    corners = np.stack([a - across, b - across, b + across, a + across])
    cv2.fillConvexPoly(picture, np.round(corners * 16).astype(np.int32), 1.0, cv2.LINE_8, 4)
    return cv2.GaussianBlur(picture, (0, 0), 0.5)


def add_things(paths: dict[str, np.ndarray], things: Things, scene: Scene, rng: np.random.Generator) -> None:
    """Add the path lengths of plate, ring and cast."""
    if things.hardware in scene.places:
        _add_plate(paths, scene.camera, scene.bones[things.hardware], scene.places[things.hardware], rng)
    if things.jewel in scene.places:
        _add_ring(paths, scene.camera, scene.bones[things.jewel], scene.places[things.jewel])
    if things.cast:
        _add_cast(paths, scene, rng)


def _add_ring(paths: dict[str, np.ndarray], camera: Camera, bone: Bone, place: np.ndarray) -> None:
    middle = camera.see((place @ [*bone.point(0.45), 1])[None, :3])[0]
    axis = camera.see((place @ [*bone.point(0.6), 1])[None, :3])[0] - middle
    angle = float(np.rad2deg(np.arctan2(axis[1], axis[0]))) + 90
    ring = np.zeros_like(paths["lead"])
    centre = (round(middle[0] * 16), round(middle[1] * 16))
    half = (round(9.5 / camera.pixel * 16), round(2.2 / camera.pixel * 16))
    line = max(round(1.6 / camera.pixel), 1)
    cv2.ellipse(ring, centre, half, angle, 0, 360, 1.0, line, cv2.LINE_8, 4)
    paths["lead"] += 0.8 * ring


def _add_cast(paths: dict[str, np.ndarray], scene: Scene, rng: np.random.Generator) -> None:
    camera = scene.camera
    wrapped = [c for c, part in zip(scene.capsules, scene.spec.flesh, strict=True) if part.fat >= 0.4]
    gap, thick = rng.uniform(1.5, 4), rng.uniform(4, 8)
    shell = cast_flesh(camera, wrapped, -(gap + thick)) - cast_flesh(camera, wrapped, -gap)
    grain = cv2.GaussianBlur(rng.standard_normal(shell.shape, dtype=np.float32), (0, 0), 1.6 / camera.pixel) * 3
    paths["bone"] += np.maximum(shell, 0) * np.float32(rng.uniform(0.2, 0.4)) * np.clip(1 + 0.25 * grain, 0.3, 2)


_SESAMOIDS = (  # bone, fraction, shift in world rest mm, radius in mm, how often
    ("pp1", 0.03, (4, 6, 0), 2.3, 0.9),
    ("pp1", 0.03, (7, 1, 0), 2.0, 0.9),
    ("pp2", 0.03, (6, 3, 0), 1.4, 0.4),
    ("pp5", 0.03, (6, 0, 0), 1.4, 0.4),
    ("pp1t", 0.02, (4, 0, -9), 4.2, 1.0),
    ("pp1t", 0.02, (-5, 0, -9), 4.0, 1.0),
    ("femur", 0.96, (-14, 32, 4), 4.0, 0.2),
    ("mt5", 0.02, (-3, 8, -2), 3.0, 0.15),
)


def sesamoids(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Small round bones in tendons, which resemble torn-off flakes: path length in mm, float32 (h, w)."""
    camera, places, bones = scene.camera, scene.places, scene.bones
    total = np.zeros((camera.height, camera.width), np.float32)
    y, x = np.mgrid[: camera.height, : camera.width].astype(np.float32)
    for name, fraction, shift, radius, chance in _SESAMOIDS:
        size, there = radius * rng.uniform(0.8, 1.2), rng.uniform() < chance
        if name in scene.spec.bones and there:
            u, v, _ = camera.see((places[name] @ [*(bones[name].point(fraction) + np.array(shift)), 1])[None, :3])[
                0
            ].tolist()
            total += np.sqrt(np.maximum(size**2 - ((x - u) ** 2 + (y - v) ** 2) * camera.pixel**2, 0))
    return total


def _add_plate(
    paths: dict[str, np.ndarray], camera: Camera, bone: Bone, place: np.ndarray, rng: np.random.Generator
) -> None:
    first = rng.uniform(0.25, 0.45)
    last = first + rng.uniform(0.25, 0.4)
    turn = rng.uniform(0, 2 * np.pi)
    out = bone.frame @ np.array([0, np.cos(turn), np.sin(turn)])
    radius = bone.width / 2
    shape = paths["titanium"].shape

    def spot(fraction: float, away: float) -> np.ndarray:
        return (place @ [*(bone.point(fraction) + out * away), 1])[:3]

    seen = camera.see(np.stack([spot(first, radius + 1.5), spot(last, radius + 1.5)]))
    facing = abs(float((place[:3, :3] @ out) @ camera.beam))
    wide = (3.0 + 7.0 * facing) / camera.pixel
    plate = _line(shape, seen[0, :2], seen[1, :2], max(wide, 1.5)) * (10 - 7 * facing)
    for fraction in np.linspace(first + 0.02, last - 0.02, int(rng.integers(4, 8))):
        screw = camera.see(np.stack([spot(fraction, radius + 2.5), spot(fraction, -radius - 1.5)]))
        length = float(np.linalg.norm(screw[0, :2] - screw[1, :2])) * camera.pixel
        plate = np.maximum(
            plate,
            _line(shape, screw[0, :2], screw[1, :2] + 0.5, 3.2 / camera.pixel)
            * min(3 * 2 * (radius + 2) / max(length, 3), 12),
        )
    paths["titanium"] += plate


def add_marker(paths: dict[str, np.ndarray], things: Things, side: str, rng: np.random.Generator) -> None:
    """A lead letter in a corner where little else is."""
    h, w = paths["lead"].shape
    height = rng.uniform(0.045, 0.07) * max(h, w)
    spots = [(x, y) for y in (0.12, 0.25, 0.75, 0.88) for x in (0.12, 0.88)]
    body = paths["muscle"] + paths["fat"]
    jitter = rng.uniform(-0.03, 0.03, (len(spots), 2))
    covered = [
        body[int(np.clip(y * h - 8, 0, h - 17)) :, int(np.clip(x * w - 8, 0, w - 17)) :][:17, :17].mean()
        for x, y in spots
    ]
    best = int(np.argmin(np.array(covered) + 0.3 * rng.uniform(size=len(spots)) * (np.mean(covered) + 1)))
    (x, y), spin = np.array(spots[best]) + jitter[best], rng.normal(0, 12)
    if not things.marker:
        return
    picture = np.zeros((h, w), np.uint8)
    strokes = (np.array(_LETTERS[side]) - 0.5) * [0.7 * height, height] + [x * w, y * h]
    cv2.polylines(
        picture, [np.round(strokes * 16).astype(np.int32)], False, 255, max(round(0.17 * height), 1), cv2.LINE_AA, 4
    )
    if rng.uniform() < 0.5:
        frame = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * height * 0.95 + [x * w, y * h]
        cv2.polylines(
            picture, [np.round(frame * 16).astype(np.int32)], True, 150, max(round(0.07 * height), 1), cv2.LINE_AA, 4
        )
    matrix = cv2.getRotationMatrix2D((x * w, y * h), spin, 1.0)
    paths["lead"] += cv2.warpAffine(picture, matrix, (w, h)) * np.float32(1.2 / 255)


def draw_collimator(rng: np.random.Generator, shape: tuple[int, ...], pixel: float) -> Frame:
    """Edges of the field: none, bright where the detector got nothing, or blanked black."""
    h, w = shape[:2]
    kind = rng.choice(["none", "bright", "black"], p=[0.6, 0.2, 0.2])
    edges = rng.uniform(0.0, 0.055, 4) * (rng.uniform(size=4) < 0.7)
    tilt = np.deg2rad(rng.normal(0, 1.2))
    y, x = np.mgrid[:h, :w].astype(np.float32)
    u = (x - w / 2) * np.cos(tilt) + (y - h / 2) * np.sin(tilt) + w / 2
    v = (y - h / 2) * np.cos(tilt) - (x - w / 2) * np.sin(tilt) + h / 2
    depth = np.minimum.reduce([u - edges[0] * w, w * (1 - edges[1]) - u, v - edges[2] * h, h * (1 - edges[3]) - v])
    if kind == "none":
        return Frame(np.ones((h, w), np.float32), np.zeros((h, w), bool))
    if kind == "black":
        return Frame(np.ones((h, w), np.float32), depth < 0)
    return Frame(np.clip(depth / (1.5 / pixel) + 0.5, 0.03, 1).astype(np.float32), np.zeros((h, w), bool))
