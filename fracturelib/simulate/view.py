"""How a patient is placed before the tube, and what the beam meets on its way."""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

from fracturelib._io.files import InputError
from fracturelib.simulate import objects
from fracturelib.simulate.anatomy import load_pack, pose
from fracturelib.simulate.fractures import KINDS, SHATTERED, Break, Piece
from fracturelib.simulate.patient import Patient, details_of, make_patient, stream, tissue_of
from fracturelib.simulate.physics import MATERIALS
from fracturelib.simulate.regions import REGIONS, Region, region_of
from fracturelib.simulate.render import Camera, Capsule, Shadow, cast_bone, cast_flesh, place_flesh

SPOT_TO_PATIENT = 1000.0  # mm
BOTH = "both"  # frontal and lateral side by side on one image


@dataclass(frozen=True)
class PathLengths:
    """What the beam meets on its way to each pixel: mm through each of `physics.MATERIALS`, float32 (h, w)."""

    paths: dict[str, np.ndarray]
    masks: list[np.ndarray]
    pixel: float
    metadata: dict[str, Any]


def _view(region: str, view: str | None, rng: np.random.Generator) -> str:
    views = tuple(region_of(region).turn)
    if view is None:
        return str(rng.choice(views))
    if view not in views:
        raise InputError(f"view is {view!r}; expected one of {', '.join(views)} or {BOTH} for the {region}")
    return view


def _angles(patient: Patient, spec: Region, view: str) -> dict[str, float]:
    ranges = {**spec.bend, **(spec.lateral_bend if view == "lateral" else {})}
    return {name: low + patient.bends[name] * (high - low) for name, (low, high) in ranges.items()}


def _aim(
    patient: Patient,
    spec: Region,
    view: str,
    places: dict[str, np.ndarray],
    rng: np.random.Generator,
    *,
    size: int,
    half: bool,
) -> Camera:
    """Where tube and detector stand."""
    bones, _ = load_pack()
    main = places[spec.along]
    length = main[:3, :3] @ (bones[spec.along].frame[:, 0] if spec.length is None else np.array(spec.length, float))
    side = main[:3, :3] @ np.array(spec.side, float)
    side -= length * (side @ length)
    side /= np.linalg.norm(side)
    normal = np.cross(length, side)
    turn = np.deg2rad(spec.turn[view] + rng.normal(0, 5))
    beam = normal * np.cos(turn) + side * np.sin(turn)
    beam = beam + length * np.tan(np.deg2rad(rng.normal(0, 3)))
    beam /= np.linalg.norm(beam)
    down = length - beam * (length @ beam)
    down /= np.linalg.norm(down)
    spin = np.deg2rad(spec.lie.get(view, 0) + rng.normal(0, 9))
    right = np.cross(down, beam)
    right, down = right * np.cos(spin) + down * np.sin(spin), down * np.cos(spin) - right * np.sin(spin)
    bone, fraction = spec.centre
    centre = places[bone] @ [*bones[bone].point(fraction), 1]
    painful, there = patient.complaint
    centre = (1 - spec.coned) * centre + spec.coned * (places[painful] @ [*bones[painful].point(there), 1])
    long_side = rng.uniform(*spec.width) / patient.size  # small patients are taken on images as large
    long_side = long_side * (0.5 + 0.5 * patient.size)
    pixel = long_side / size
    short = int(size * rng.choice([0.78, 0.8, 0.83, 0.87, 1.0]))
    width, height = (short, size) if rng.uniform() < 0.72 else (size, short)
    if half:  # beside another view
        width, height = int(0.495 * size), round(0.85 * size)
    middle = (width / 2 + rng.normal(0, 0.05) * width, height / 2 + rng.normal(0, 0.06) * height)
    return Camera(centre[:3], right, down, beam, pixel, width, height, middle, SPOT_TO_PATIENT / patient.size)


def _downstream(bone: str) -> tuple[str, ...]:
    """The bones that go along with what is broken off."""
    bones, _ = load_pack()
    chain = bones[bone].joints
    if bone in ("ulna", "fibula", "patella", "clavicle", "scapula", "pelvis", "sacrum"):
        return ()
    return tuple(n for n, b in bones.items() if len(b.joints) > len(chain) and b.joints[: len(chain)] == chain)


def _cast_all(
    patient: Patient, spec: Region, camera: Camera, places: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[Shadow, list[np.ndarray]]:
    """The shadow of all bones, and for each fracture the zone in which it lies."""
    bones, _ = load_pack()
    shadow = Shadow.empty(camera)
    broken = {b.bone: b for b in patient.breaks}
    healed = {b.bone: b for b in patient.healed}
    zones = []
    for name in spec.bones:
        bone, tissue, plates = bones[name], tissue_of(patient, bones[name]), details_of(patient, bones[name])
        bulges = healed[name].bulges if name in healed else ()
        if name not in broken:
            cast_bone(shadow, camera, bone, places[name], tissue, plates=plates, bulges=bulges)
            continue
        now = broken[name]
        part = Shadow.empty(camera)
        for piece in now.pieces or (Piece((), np.eye(4)),):
            place = places[name] @ piece.move
            cast_bone(
                part,
                camera,
                bone,
                place,
                tissue,
                piece=piece,
                slits=now.slits,
                plates=plates,
                bulges=(*now.bulges, *bulges),
                marked=True,
            )
        _cast_chips(part, camera, now, places[name])
        points = np.array([[*bone.point(f), 1] for f in (0.03, 0.97)]) @ places[name].T
        along = np.subtract(*camera.see(points[:, :3])[:, :2])
        _crush(part, camera, now, bone.width, along / max(float(np.linalg.norm(along)), 1e-6), rng)
        shadow.mineral += part.mineral
        shadow.bone += part.bone
        zones.append(part.zone)
    return shadow, zones


def _harm(now: Break) -> float:
    """From 0 to 1: what a fracture does to what is around it."""
    mild = 0.5 if now.kind in ("avulsion", "buckle", "greenstick") else 1.0
    return float(mild * (1 - np.exp(-now.displacement / 2.0)))


def _network(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Thin lines that cross each other, 0..1; `cell` is their distance in pixels."""
    cells = (max(round(shape[1] / cell), 2) + 1, max(round(shape[0] / cell), 2) + 1)
    noise = [cv2.resize(rng.standard_normal(cells[::-1], dtype=np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)]
    noise.append(
        cv2.resize(rng.standard_normal(cells[::-1], dtype=np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    )
    return np.maximum(*(np.exp(-((n / 0.22) ** 2)) for n in noise))


def _shards(
    rng: np.random.Generator, near: np.ndarray, along: np.ndarray, cell: float, line: float
) -> tuple[np.ndarray, np.ndarray]:
    """Splintered bone as seen on an image: a tone for each shard, and the lines between them; float32 (h, w) each.

    `near` (0..1) thins the shards out, `along` is the bone's direction on the image (unit x, y), `cell` and `line` are
    the size of a middling shard and the width of a line in pixels; shards are of a tenth to four times that area. Lines
    are below 0 where shards gape and above where they overlap; most are closed and do not show.
    """
    tone, lines = np.zeros_like(near), np.zeros_like(near)
    rows, columns = np.nonzero(near > 0.02)
    if rows.size == 0:
        return tone, lines
    shape = near.shape

    def waves(size: float) -> np.ndarray:
        knots = rng.standard_normal([max(round(n / size), 2) + 1 for n in shape], dtype=np.float32)
        return np.asarray(cv2.resize(knots, shape[::-1], interpolation=cv2.INTER_CUBIC)[rows, columns])

    x, y = columns + 0.1 * cell * waves(0.8 * cell), rows + 0.1 * cell * waves(0.8 * cell)
    # Splinters are longer than wide, along the bone: distances along it count less.
    spot = np.stack([(x * along[0] + y * along[1]) / 1.9, x * -along[1] + y * along[0]], axis=-1)
    chance = np.clip(near[rows, columns] ** 2, 0.06, 1) * np.exp(1.6 * waves(2 * cell) - 0.6) * 1.5 / cell**2
    seeds = spot[rng.uniform(size=rows.size) < chance]
    if len(seeds) < 3:
        return tone, lines
    (first, second), (i, j) = (v.T for v in cKDTree(seeds).query(spot, k=2))
    shade = rng.standard_normal(len(seeds)).astype(np.float32)
    # Each border has its own fate, which both sides must agree on.
    low, high = np.minimum(i, j), np.maximum(i, j)
    fate = np.modf(np.abs(np.sin(low * 12.9898 + high * 78.233)) * 43758.5453)[0]
    gape = np.select([fate < 0.4, fate < 0.52], [-0.5 - 1.1 * fate, 0.35], 0.0)
    edge = np.exp(-(((second - first) / (line * (0.8 + 1.4 * fate))) ** 2))
    tone[rows, columns] = np.clip(shade[i], -1.5, 1.5)
    lines[rows, columns] = gape * edge
    return tone, lines


def _crush(
    shadow: Shadow, camera: Camera, now: Break, width: float, along: np.ndarray, rng: np.random.Generator
) -> None:
    """The bone beside a shattered fracture is splintered; that beside any other is whole up to its edge."""
    harm = _harm(now)
    if now.kind not in SHATTERED:
        return
    reach = float(np.clip(0.2 * width, 1.3, 4.5)) / camera.pixel
    near = np.clip(2.0 * cv2.GaussianBlur((shadow.zone > 0.35).astype(np.float32), (0, 0), reach), 0, 1)
    cell = max(float(np.clip(0.25 * width, 2.2, 7.0)) / camera.pixel, 7.0)
    tone, lines = _shards(rng, near, along, cell, max(0.5 / camera.pixel, 1.2))
    shadow.mineral *= np.maximum(1 + harm * near * (0.08 + 0.1 * tone + lines), 0.05)
    if harm > 0.4:
        shadow.zone = np.maximum(shadow.zone, ((near > 0.55) & (shadow.bone > 0.5)).astype(np.float32))


def _oedema(camera: Camera, patient: Patient, zones: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Fluid that strands the soft tissue around a fresh fracture: mm, float32 (h, w)."""
    total = np.zeros((camera.height, camera.width), np.float32)
    for zone, now in zip(zones, patient.breaks, strict=False):
        web = _network(rng, total.shape, max(3.5 / camera.pixel, 6.0))
        spread = cv2.GaussianBlur((zone > 0.35).astype(np.float32), (0, 0), 11 / camera.pixel)
        total += _harm(now) * np.clip(4 * spread, 0, 1) * (0.8 + 4.0 * web)
    return total


def _cast_chips(shadow: Shadow, camera: Camera, now: Break, place: np.ndarray) -> None:
    """Splinters, as small angular plates."""
    for number, (x, y, z, radius) in enumerate(now.chips):
        u, v, _ = camera.see((place @ [x, y, z, 1])[None, :3])[0]
        rng = np.random.default_rng([number, int(1000 * radius)])
        angles = np.sort(rng.uniform(0, 2 * np.pi, 6))
        reach = radius * rng.uniform(0.7, 1.5, 6) / camera.pixel
        corners = np.stack([u + reach * np.cos(angles), v + reach * np.sin(angles)], axis=-1)
        chip = np.zeros_like(shadow.mineral)
        cv2.fillPoly(chip, [np.round(corners * 16).astype(np.int32)], 1.0, cv2.LINE_8, 4)
        chip = cv2.GaussianBlur(chip, (0, 0), 0.5) * np.float32(radius)
        shadow.mineral += 1.1 * chip
        shadow.bone += 1.1 * chip
        shadow.zone += chip


def _swollen(capsule: Capsule, patient: Patient, places: dict[str, np.ndarray]) -> Capsule:
    """Flesh near a fresh fracture is thicker, the more the further it is displaced."""
    start, end, r0, r1 = capsule
    for now in patient.breaks:
        site = (places[now.bone] @ [*now.site, 1])[:3]
        grow = [
            1 + 0.025 * min(now.displacement, 5) * np.exp(-((np.linalg.norm(p - site) / (25 + r)) ** 2))
            for p, r in ((start, r0), (end, r1))
        ]
        r0, r1 = float(r0 * grow[0]), float(r1 * grow[1])
    return start, end, r0, r1


def outline(zone: np.ndarray, pixel: float) -> np.ndarray | None:
    """Where a fracture shows: the shadow of the zone beside its surfaces, closed and a little widened."""
    seen: np.ndarray = (zone > 0.35).astype(np.uint8)
    radius = max(round(1.5 / pixel), 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    seen = cv2.morphologyEx(cv2.dilate(seen, disc), cv2.MORPH_CLOSE, disc)
    return seen if seen.sum() >= 12 else None


def path_lengths(
    region: str,
    *,
    seed: int,
    view: str | None = None,
    fracture: str | None = "random",
    gap: float | None = None,
    severity: float | None = None,
    size: int = 320,
    image: int = 0,
    cast: bool | None = None,
    marker: bool | None = None,
) -> PathLengths:
    """What the beam of one image meets, before any physics. Parameters as in `simulate_image`."""
    _check(region, fracture, size)
    patient = make_patient(region, seed=seed, fracture=fracture, gap=gap, severity=severity)
    things = patient.things
    things = replace(
        things, cast=things.cast if cast is None else cast, marker=things.marker if marker is None else marker
    )
    if view != BOTH:
        return _one_view(replace(patient, things=things), view, image, size, half=False)
    left = _one_view(replace(patient, things=things), "frontal", image, size, half=True)
    right = _one_view(replace(patient, things=replace(things, marker=False)), "lateral", image, size, half=True)
    strip = np.zeros((left.paths["lead"].shape[0], size - 2 * left.paths["lead"].shape[1]), np.float32)
    paths = {
        name: np.hstack([left.paths[name], strip + 0.4 * (name == "lead"), right.paths[name]]) for name in left.paths
    }
    width = paths["lead"].shape[1]
    masks = [np.pad(m, ((0, 0), (0, width - m.shape[1]))) for m in left.masks]
    masks += [np.pad(m, ((0, 0), (width - m.shape[1], 0))) for m in right.masks]
    metadata = {**(left if left.masks else right).metadata, "view": BOTH, "marker": int(things.marker)}
    return PathLengths(paths, masks, left.pixel, metadata)


def _one_view(patient: Patient, view: str | None, image: int, size: int, *, half: bool) -> PathLengths:
    region, seed, things = patient.region, patient.seed, patient.things
    spec = region_of(region)
    rng = stream(seed, region, 10, image)
    view = _view(region, view, rng)
    places = _places(patient, spec, view)
    camera = _aim(patient, spec, view, places, rng, size=size, half=half)
    _carry(patient, places)  # only now: the aim must not tell of the break
    harmed = stream(seed, region, 12, image)
    shadow, zones = _cast_all(patient, spec, camera, places, harmed)
    bones, _ = load_pack()
    capsules = [_swollen(place_flesh(part, bones, places, patient.flesh), patient, places) for part in spec.flesh]
    scene = objects.Scene(spec, camera, bones, places, capsules)
    total, muscle = _flesh(patient, scene, shadow)
    grain = _grain(rng, camera)
    mineral = shadow.mineral * (1 + 0.035 * grain)
    paths = {name: np.zeros_like(total) for name in MATERIALS}
    paths["bone"] = mineral + objects.sesamoids(stream(seed, region, 5), scene)
    paths["muscle"] = np.maximum(muscle - shadow.bone, 0)
    paths["fat"] = np.maximum(total - muscle, 0) + np.maximum(np.minimum(shadow.bone, muscle) - mineral, 0)
    paths["muscle"] += _oedema(camera, patient, zones, harmed) * (total > 4) * np.minimum(60 / np.maximum(total, 1), 1)
    objects.add_things(paths, things, scene, rng)
    paths = {name: path * np.float32(patient.size) for name, path in paths.items()}
    outlines = [o for o in (outline(z, camera.pixel) for z in zones) if o is not None]
    if patient.side == "L":
        paths = {name: np.ascontiguousarray(path[:, ::-1]) for name, path in paths.items()}
        outlines = [np.ascontiguousarray(o[:, ::-1]) for o in outlines]
    objects.add_marker(paths, things, patient.side, rng)
    metadata = _metadata(patient, view, broken=bool(outlines))
    return PathLengths(paths, outlines, camera.pixel * patient.size, metadata)


def _places(patient: Patient, spec: Region, view: str) -> dict[str, np.ndarray]:
    """Where the bones that the image needs are, before any break."""
    angles = _angles(patient, spec, view)
    needed = {
        *spec.bones,
        patient.complaint[0],
        spec.along,
        spec.centre[0],
        *(b for f in (*spec.flesh, *spec.air) for b in (f.bone, f.to or f.bone)),
    }
    return {name: pose(name, angles) for name in sorted(needed)}


def _carry(patient: Patient, places: dict[str, np.ndarray]) -> None:
    """Move the bones that go along with what is broken off."""
    for now in patient.breaks:
        for piece in now.pieces:
            if piece.carries:
                carried = [n for n in _downstream(now.bone) if n in places]
                moved = places[now.bone] @ piece.move @ np.linalg.inv(places[now.bone])
                places |= {n: moved @ places[n] for n in carried}


def _flesh(patient: Patient, scene: objects.Scene, shadow: Shadow) -> tuple[np.ndarray, np.ndarray]:
    """Path lengths in mm through all there is within the skin, and through what of it is not fat: float32 (h, w)."""
    spec, camera = scene.spec, scene.camera
    thin = [np.clip(part.fat, 0.2, 1.5) for part in spec.flesh]
    fat = patient.fat / patient.size
    pairs = zip(scene.capsules, thin, strict=True)
    whole = [(a, b, r0 + (fat - 4) * f, r1 + (fat - 4) * f) for (a, b, r0, r1), f in pairs]
    lean = [(a, b, r0 - fat * f, r1 - fat * f) for (a, b, r0, r1), f in zip(whole, thin, strict=True)]
    total = np.maximum(cast_flesh(camera, whole), shadow.bone)
    muscle = np.minimum(cast_flesh(camera, lean), total)
    if spec.air:
        lung = cast_flesh(camera, [place_flesh(part, scene.bones, scene.places, 1.0) for part in spec.air])
        muscle = np.maximum(muscle - 0.8 * lung, 0.15 * muscle)
        total = np.maximum(total - 0.8 * lung, muscle)
    return total, muscle


def _metadata(patient: Patient, view: str, *, broken: bool) -> dict[str, Any]:
    """What the manifest says of an image; `broken` if a fracture shows."""
    things, broken = patient.things, broken and bool(patient.breaks)
    return {
        "region": patient.region,
        "view": view,
        "side": patient.side,
        "sex": patient.sex,
        "age_group": patient.age_group,
        "hardware": int(things.hardware is not None),
        "cast": int(things.cast),
        "marker": int(things.marker),
        "fracture_type": patient.breaks[0].kind if broken else "",
        "displacement": round(patient.breaks[0].displacement * patient.size, 2) if broken else 0.0,
        "bone": patient.breaks[0].bone if broken else "",
    }


def _check(region: str, fracture: str | None, size: int) -> None:
    if region not in REGIONS:
        raise InputError(f"region is {region!r}; expected one of {', '.join(REGIONS)}")
    if fracture is not None and fracture not in ("random", "any", *KINDS):
        raise InputError(f"fracture is {fracture!r}; expected None, 'random', 'any' or one of {', '.join(KINDS)}")
    if not 64 <= size <= 2048:
        raise InputError(f"size is {size}; expected 64 to 2048 pixels")


def _grain(rng: np.random.Generator, camera: Camera) -> np.ndarray:
    """Unevenness of trabecular bone, mean 0, in three sizes of some mm."""
    total = np.zeros((camera.height, camera.width), np.float32)
    for mm, weight in ((0.8, 0.7), (1.8, 0.8), (6.0, 0.6)):
        cells = [max(round(n * camera.pixel / mm), 2) + 1 for n in (camera.width, camera.height)]
        noise = rng.standard_normal((cells[1], cells[0]), dtype=np.float32)
        total += weight * cv2.resize(noise, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
    return total
