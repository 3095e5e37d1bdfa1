"""One film of one patient: who is photographed, how, and what comes out."""

import zlib
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from fracturelib._files import InputError
from fracturelib.simulate import objects
from fracturelib.simulate.anatomy import REGIONS, Bone, Region, load_pack, pose, region_of
from fracturelib.simulate.fractures import KINDS, Break, Bulge, Piece, Slit, break_bone, choose_site, rough_cut
from fracturelib.simulate.physics import MATERIALS, Exposure, display, expose, transmit
from fracturelib.simulate.render import Camera, Capsule, Shadow, Tissue, cast_bone, cast_flesh, place_flesh

PREVALENCE = 0.36
SPOT_TO_PATIENT = 1000.0  # mm
BOTH = "both"  # frontal and lateral side by side on one film


@dataclass(frozen=True)
class SimulatedImage:
    """A film and the truth about it.

    `image` is uint8 (h, w); `masks` holds one uint8 0/1 (h, w) for each fracture visible in this projection; `metadata` what
    the manifest says of it.
    """

    image: np.ndarray
    masks: list[np.ndarray]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class PathLengths:
    """What the beam meets on its way to each pixel: mm through each of `physics.MATERIALS`, float32 (h, w)."""

    paths: dict[str, np.ndarray]
    masks: list[np.ndarray]
    pixel: float
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Patient:
    """A person's build, and what is broken. `size` scales the pack's adult man."""

    seed: int
    region: str
    sex: str
    age_group: str
    side: str
    size: float
    fat: float
    flesh: float
    spongy: float
    cortex: float
    bends: dict[str, float]
    breaks: tuple[Break, ...]
    healed: tuple[Break, ...]
    things: objects.Things

    @property
    def child(self) -> bool:
        return self.age_group == "child"


def _rng(seed: int, region: str, *stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(region.encode()), *stream])


def make_patient(
    region: str, *, seed: int, fracture: str | None = "random", gap: float | None = None, severity: float | None = None
) -> Patient:
    """Draw a patient. The same seed gives the same person, whatever is broken."""
    rng = _rng(seed, region, 0)
    age = str(rng.choice(["child", "adult", "senior"], p=[0.2, 0.52, 0.28]))
    sex = str(rng.choice(["F", "M"]))
    size = {"child": rng.uniform(0.62, 0.88), "adult": rng.normal(0.97, 0.04), "senior": rng.normal(0.95, 0.04)}[age]
    size *= 0.94 if sex == "F" and age != "child" else 1.0
    density = {"child": 1.0, "adult": 1.05, "senior": 0.78}[age] * rng.uniform(0.85, 1.15)
    spec = region_of(region)
    bends = {name: float(rng.uniform()) for name in sorted({*spec.bend, *spec.lateral_bend})}
    things = objects.draw_things(rng, region, spec.bones)
    bones, _ = load_pack()
    lottery = _rng(seed, region, 1)
    broken = lottery.uniform() < PREVALENCE if fracture == "random" else fracture is not None
    kind = fracture if fracture in KINDS else None
    breaks: tuple[Break, ...] = ()
    if broken:
        bone, fraction, kind = choose_site(region, lottery, child=age == "child", kind=kind)
        hard = float(lottery.beta(1.5, 1.7))
        hard = hard if severity is None else severity
        breaks = (break_bone(bones[bone], kind, lottery, fraction=fraction, severity=hard, gap=None if gap is None else gap / size),)
        pair = _PAIRS.get(bone)
        if fracture in ("random", "any") and pair in spec.bones and 0.15 < fraction < 0.97 and kind != "hairline" and lottery.uniform() < 0.4:
            second = str(lottery.choice(["transverse", "oblique"]))
            beside = float(np.clip(fraction + lottery.normal(0, 0.05), 0.1, 0.96))
            breaks += (break_bone(bones[pair], second, lottery, fraction=beside, severity=hard * lottery.uniform(0.2, 1)),)
    healed = _healed(_rng(seed, region, 2), region, bones)
    return Patient(
        seed, region, sex, age, str(rng.choice(["L", "R"])), float(size), float(rng.gamma(3.0, 1.3) + 1.0),
        float(rng.normal(1.0, 0.07)), 0.2 * density, 0.9 * density, bends, breaks, healed, things,
    )  # fmt: skip


_PAIRS = {"radius": "ulna", "ulna": "radius", "tibia": "fibula", "fibula": "tibia"}  # they break together


def _healed(rng: np.random.Generator, region: str, bones: dict[str, Bone]) -> tuple[Break, ...]:
    """An old fracture that left a bump and a bend, in some patients."""
    bone, fraction, _ = choose_site(region, rng, child=False, kind="oblique")
    side = rng.uniform(0, 2 * np.pi)
    if rng.uniform() > 0.08:
        return ()
    width = bones[bone].width
    place = bones[bone].frame.T @ bones[bone].point(fraction)
    callus = tuple(
        Bulge(place, float(rng.uniform(0.08, 0.16) * width), float(rng.uniform(0.4, 0.8) * width), np.array([0, np.cos(side + t), np.sin(side + t)]), False)
        for t in (0.0, 2.5)
    )
    return (Break(bone, "healed", bones[bone].frame @ place, 0.0, bulges=callus),)


def _tissue(patient: Patient, bone: Bone) -> Tissue:
    rng = _rng(patient.seed, bone.name, 3)
    long = bone.length > 3.5 * bone.width
    cortex = patient.cortex * (0.24 if long else 0.08) * bone.width * 0.6 if long else 0.0
    cortex = float(np.clip(cortex, 1.0, 5.0)) if long else 0.75 * patient.cortex
    rim = (0.55 + 0.018 * bone.width) * patient.cortex
    stretch = rng.normal(1.0, 0.035, 2)
    bow = rng.normal(0, 0.006, 2) * bone.length if long else np.zeros(2)
    wave = 2 * np.pi / (rng.uniform(0.5, 0.9, 2) * max(bone.width * 1.6, 10))
    ripple = (float(0.02 * bone.width * rng.uniform(0.3, 1)), float(wave[0]), float(wave[1]), float(rng.uniform(0, 6)))
    return Tissue(
        cortex, rim, patient.spongy, 0.35 * patient.spongy if long else patient.spongy,
        (float(stretch[0]), float(stretch[1])), (float(bow[0]), float(bow[1])), ripple,
    )  # fmt: skip


_PLATES = {  # where children's long bones grow, as fractions of their length
    "radius": (0.945, 0.045), "ulna": (0.955,), "humerus": (0.93, 0.1), "femur": (0.945, 0.07), "tibia": (0.055, 0.955),
    "fibula": (0.05, 0.945), "mc1": (0.13,), **{f"mc{r}": (0.84,) for r in (2, 3, 4, 5)},
    **{f"{k}{r}": (0.12,) for k in ("pp", "mp", "dp") for r in (1, 2, 3, 4, 5)},
    "mt1": (0.13,), **{f"mt{r}": (0.86,) for r in (2, 3, 4, 5)}, **{f"pp{r}t": (0.14,) for r in (1, 2, 3, 4, 5)},
}  # fmt: skip
_ALL_ROUND = np.array([0.0, 1.0, 0.0])


def _details(patient: Patient, bone: Bone) -> tuple[Slit, ...]:
    """What resembles a fracture and is none: growth plates, and the canal of the nutrient artery."""
    rng = _rng(patient.seed, bone.name, 4)
    found = []
    for fraction in _PLATES.get(bone.name, ()) if patient.child else ():
        cut = rough_cut(rng, bone, fraction, tilt=0.03, roughness=0.45)
        found.append(Slit(cut, float(rng.uniform(0.9, 1.9)), _ALL_ROUND, 1000.0, 0.35))
    if bone.length > 4 * bone.width and rng.uniform() < 0.4:
        cut = rough_cut(rng, bone, rng.uniform(0.35, 0.55), tilt=rng.uniform(1.15, 1.3), roughness=0.15)
        angle = rng.uniform(0, 2 * np.pi)
        found.append(Slit(cut, 0.35, np.array([0, np.cos(angle), np.sin(angle)]), -0.3 * bone.width))
    return tuple(found)


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
    patient: Patient, spec: Region, view: str, places: dict[str, np.ndarray], rng: np.random.Generator, size: int, half: bool
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
    spin = np.deg2rad(spec.lie.get(view, 0) + rng.normal(0, 9) + (180 if rng.uniform() < 0.12 else 0) + (90 if rng.uniform() < 0.08 else 0))
    right = np.cross(down, beam)
    right, down = right * np.cos(spin) + down * np.sin(spin), down * np.cos(spin) - right * np.sin(spin)
    bone, fraction = spec.centre
    centre = places[bone] @ [*bones[bone].point(fraction), 1]
    long_side = rng.uniform(*spec.field) / patient.size  # small patients are taken on films as large
    long_side = long_side * (0.5 + 0.5 * patient.size)
    pixel = long_side / size
    short = int(size * rng.choice([0.78, 0.8, 0.83, 0.87, 1.0]))
    width, height = (short, size) if rng.uniform() < 0.72 else (size, short)
    if half:  # beside another view
        width, height = size // 2, round(0.85 * size)
    middle = (width / 2 + rng.normal(0, 0.05) * width, height / 2 + rng.normal(0, 0.06) * height)
    return Camera(centre[:3], right, down, beam, pixel, width, height, middle, SPOT_TO_PATIENT / patient.size)


def _downstream(bone: str) -> tuple[str, ...]:
    """The bones that go along with what is broken off."""
    bones, _ = load_pack()
    chain = bones[bone].joints
    if bone in ("ulna", "fibula", "patella", "clavicle", "scapula", "pelvis", "sacrum"):
        return ()
    return tuple(n for n, b in bones.items() if len(b.joints) > len(chain) and b.joints[: len(chain)] == chain)


def _cast_all(patient: Patient, spec: Region, camera: Camera, places: dict[str, np.ndarray]) -> tuple[Shadow, list[np.ndarray]]:
    bones, _ = load_pack()
    shadow = Shadow.empty(camera)
    broken = {b.bone: b for b in patient.breaks}
    healed = {b.bone: b for b in patient.healed}
    zones = []
    for name in spec.bones:
        bone, tissue, plates = bones[name], _tissue(patient, bones[name]), _details(patient, bones[name])
        bulges = healed[name].bulges if name in healed else ()
        if name not in broken:
            cast_bone(shadow, camera, bone, places[name], tissue, plates=plates, bulges=bulges)
            continue
        now = broken[name]
        part = Shadow.empty(camera)
        for piece in now.pieces or (Piece((), np.eye(4)),):
            place = places[name] @ piece.move
            cast_bone(part, camera, bone, place, tissue, piece=piece, slits=now.slits, plates=plates, bulges=(*now.bulges, *bulges), marked=True)
        shadow.mineral += part.mineral
        shadow.bone += part.bone
        zones.append(part.zone)
    return shadow, zones


def _swollen(capsule: Capsule, patient: Patient, places: dict[str, np.ndarray]) -> Capsule:
    """Flesh near a fresh fracture is thicker, the more the further it is displaced."""
    start, end, r0, r1 = capsule
    for now in patient.breaks:
        site = (places[now.bone] @ [*now.site, 1])[:3]
        grow = [1 + 0.025 * min(now.displacement, 5) * np.exp(-((np.linalg.norm(p - site) / (25 + r)) ** 2)) for p, r in ((start, r0), (end, r1))]
        r0, r1 = float(r0 * grow[0]), float(r1 * grow[1])
    return start, end, r0, r1


def _outline(zone: np.ndarray, pixel: float) -> np.ndarray | None:
    """Where a fracture shows: the shadow of the zone beside its surfaces, closed and a little widened."""
    seen = (zone > 0.35).astype(np.uint8)
    radius = max(round(1.5 / pixel), 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    seen = cv2.morphologyEx(cv2.dilate(seen, disc), cv2.MORPH_CLOSE, disc)
    return seen if seen.sum() >= 12 else None


def path_lengths(
    region: str, *, seed: int, view: str | None = None, fracture: str | None = "random", gap: float | None = None,
    severity: float | None = None, size: int = 320, film: int = 0, cast: bool | None = None, marker: bool | None = None,
) -> PathLengths:  # fmt: skip
    """What the beam of one film meets, before any physics. Parameters as in `simulate_image`."""
    _check(region, fracture, size)
    patient = make_patient(region, seed=seed, fracture=fracture, gap=gap, severity=severity)
    things = patient.things
    things = replace(things, cast=things.cast if cast is None else cast, marker=things.marker if marker is None else marker)
    if view != BOTH:
        return _one_view(replace(patient, things=things), view, film, size, half=False)
    left = _one_view(replace(patient, things=things), "frontal", film, size, half=True)
    right = _one_view(replace(patient, things=replace(things, marker=False)), "lateral", film, size, half=True)
    strip = np.zeros((left.paths["lead"].shape[0], max(size // 100, 2)), np.float32)
    paths = {name: np.hstack([left.paths[name], strip + 0.4 * (name == "lead"), right.paths[name]]) for name in left.paths}
    width = paths["lead"].shape[1]
    masks = [np.pad(m, ((0, 0), (0, width - m.shape[1]))) for m in left.masks]
    masks += [np.pad(m, ((0, 0), (width - m.shape[1], 0))) for m in right.masks]
    metadata = {**(left if left.masks else right).metadata, "view": BOTH, "marker": int(things.marker)}
    return PathLengths(paths, masks, left.pixel, metadata)


def _one_view(patient: Patient, view: str | None, film: int, size: int, *, half: bool) -> PathLengths:
    region, seed, things = patient.region, patient.seed, patient.things
    spec = region_of(region)
    rng = _rng(seed, region, 10, film)
    view = _view(region, view, rng)
    bones, _ = load_pack()
    angles = _angles(patient, spec, view)
    needed = {*spec.bones, spec.along, spec.centre[0], *(b for f in (*spec.flesh, *spec.air) for b in (f.bone, f.to or f.bone))}
    places = {name: pose(name, angles) for name in sorted(needed)}
    camera = _aim(patient, spec, view, places, rng, size, half)  # before the break moves anything: it must not tell
    for now in patient.breaks:
        for piece in now.pieces:
            if piece.carries:
                carried = [n for n in _downstream(now.bone) if n in places]
                moved = places[now.bone] @ piece.move @ np.linalg.inv(places[now.bone])
                places |= {n: moved @ places[n] for n in carried}
    shadow, zones = _cast_all(patient, spec, camera, places)
    capsules = [place_flesh(part, bones, places, patient.flesh) for part in spec.flesh]
    capsules = [_swollen(c, patient, places) for c in capsules]
    thin = [np.clip(part.fat, 0.2, 1.5) for part in spec.flesh]
    fat = patient.fat / patient.size
    whole = [(a, b, r0 + (fat - 4) * f, r1 + (fat - 4) * f) for (a, b, r0, r1), f in zip(capsules, thin, strict=True)]
    lean = [(a, b, r0 - fat * f, r1 - fat * f) for (a, b, r0, r1), f in zip(whole, thin, strict=True)]
    total = np.maximum(cast_flesh(camera, whole), shadow.bone)
    muscle = np.minimum(cast_flesh(camera, lean), total)
    if spec.air:
        lung = cast_flesh(camera, [place_flesh(part, bones, places, 1.0) for part in spec.air])
        muscle = np.maximum(muscle - 0.8 * lung, 0.15 * muscle)
        total = np.maximum(total - 0.8 * lung, muscle)
    grain = _grain(rng, camera)
    mineral = shadow.mineral * (1 + 0.16 * grain)
    paths = {name: np.zeros_like(total) for name in MATERIALS}
    paths["bone"] = mineral + objects.sesamoids(_rng(seed, region, 5), camera, places, bones, spec.bones)
    paths["muscle"] = np.maximum(muscle - shadow.bone, 0)
    paths["fat"] = np.maximum(total - muscle, 0) + np.maximum(np.minimum(shadow.bone, muscle) - mineral, 0)
    objects.add_things(paths, things, patient.side, camera, places, bones, capsules, spec, rng)
    paths = {name: path * np.float32(patient.size) for name, path in paths.items()}
    outlines = [o for o in (_outline(z, camera.pixel) for z in zones) if o is not None]
    kind = patient.breaks[0].kind if patient.breaks and outlines else ""
    metadata = {
        "region": region, "view": view, "side": patient.side, "sex": patient.sex, "age_group": patient.age_group,
        "hardware": int(things.hardware is not None), "cast": int(things.cast), "marker": int(things.marker), "fracture_type": kind,
        "displacement": round(patient.breaks[0].displacement * patient.size, 2) if kind else 0.0, "bone": patient.breaks[0].bone if kind else "",
    }  # fmt: skip
    if patient.side == "L":
        paths = {name: np.ascontiguousarray(path[:, ::-1]) for name, path in paths.items()}
        outlines = [np.ascontiguousarray(o[:, ::-1]) for o in outlines]
    objects.add_marker(paths, things, patient.side, camera.pixel * patient.size, rng)
    return PathLengths(paths, outlines, camera.pixel * patient.size, metadata)


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
    for mm, weight in ((1.2, 0.6), (3.0, 0.8), (9.0, 0.6)):
        cells = [max(round(n * camera.pixel / mm), 2) + 1 for n in (camera.width, camera.height)]
        noise = rng.standard_normal((cells[1], cells[0]), dtype=np.float32)
        total += weight * cv2.resize(noise, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
    return total


def draw_exposure(spec: Region, rng: np.random.Generator, *, kv: float | None = None, poor: bool | None = None) -> Exposure:
    """Settings of a film as they vary from one to the next; `poor` underexposes it."""
    drawn = rng.uniform(*spec.kv)
    bad = rng.uniform() < 0.12
    bad = bad if poor is None else poor
    motion = rng.uniform(1.0, 2.2) if rng.uniform() < 0.06 else 0.0
    angle, heel = rng.uniform(0, np.pi, 2)
    return Exposure(
        float(drawn) if kv is None else kv, float(rng.uniform(700, 2500) * (0.06 if bad else 1)), float(rng.uniform(0.2, 0.45)),
        float(rng.uniform(0.05, 0.2)), float(motion), float(angle), float(rng.uniform(0, 0.1)), float(2 * heel),
        float(rng.uniform(0.04, 0.12)), float(rng.uniform(0.85, 1.2)), float(rng.uniform(0.85, 1.15)) * (1.35 if bad else 1.0),
        float(rng.uniform(0.3, 0.9)), float(rng.uniform(0.1, 0.35) + max(drawn - 62, 0) / 70),
    )  # fmt: skip


def simulate_image(
    region: str, *, seed: int, view: str | None = None, fracture: str | None = "random", kv: float | None = None,
    gap: float | None = None, severity: float | None = None, size: int = 320, film: int = 0, cast: bool | None = None,
    marker: bool | None = None, poor: bool | None = None,
) -> SimulatedImage:  # fmt: skip
    """One simulated radiograph.

    Parameters
    ----------
    region : str
        One of `REGIONS`.
    seed : int
        The patient. The same seed with another `view` or `film` is the same patient, broken in the same place.
    view : str, optional
        "frontal", "oblique" or "lateral", as far as the region has it, or "both": frontal and lateral on one film.
    fracture : str or None
        "random" (a patient as they come), "any" for some fracture, None for whole bones, or one of `fractures.KINDS`.
    kv : float, optional
        Tube voltage, 40 to 120; what is usual for the region if not given.
    gap : float, optional
        Width of the fracture's gap in mm (of a buckle fracture: its height).
    severity : float, optional
        Displacement, from 0 to 1.
    size : int
        Long side in pixels.
    film : int
        Number of the film of this patient: another position, exposure and noise.
    cast, marker, poor : bool, optional
        Force a cast, a lead marker or a poor exposure; as it comes if not given.

    Returns
    -------
    SimulatedImage

    Raises
    ------
    InputError
        If an argument is none of these.
    """
    if kv is not None and not 40 <= kv <= 120:
        raise InputError(f"kv is {kv}; expected 40 to 120")
    lengths = path_lengths(
        region, seed=seed, view=view, fracture=fracture, gap=gap, severity=severity, size=size, film=film, cast=cast, marker=marker
    )
    rng = _rng(seed, region, 11, film)
    exposure = draw_exposure(region_of(region), rng, kv=kv, poor=poor)
    return develop(lengths, exposure, rng)


@dataclass(frozen=True)
class Formation:
    """The steps by which a radiograph comes to be; all (h, w).

    `bone` and `soft` are path lengths in mm (float32), `transmission` is the share of the beam that gets through (0..1),
    `detector` what is measured of it after scatter, blur and noise, `image` the displayed film (uint8).
    """

    bone: np.ndarray
    soft: np.ndarray
    transmission: np.ndarray
    detector: np.ndarray
    image: np.ndarray
    masks: list[np.ndarray]


def film_formation(
    region: str, *, seed: int, kv: float = 55.0, view: str | None = None, fracture: str | None = "random", gap: float | None = None,
    severity: float | None = None, size: int = 320,
) -> Formation:  # fmt: skip
    """How a film comes to be: path length, attenuation at a tube voltage, exposure, display. Parameters as in `simulate_image`."""
    lengths = path_lengths(region, seed=seed, view=view, fracture=fracture, gap=gap, severity=severity, size=size, cast=False)
    rng = _rng(seed, region, 11, 0)
    exposure = draw_exposure(region_of(region), rng, kv=kv, poor=False)
    soft = lengths.paths["muscle"] + lengths.paths["fat"]
    primary = transmit(lengths.paths, kv)
    detector = expose(primary, exposure, pixel=lengths.pixel, thickness=soft + lengths.paths["bone"], rng=rng)
    image = display(detector, exposure, pixel=lengths.pixel)
    return Formation(lengths.paths["bone"], soft, primary, detector, image, lengths.masks)


def develop(lengths: PathLengths, exposure: Exposure, rng: np.random.Generator) -> SimulatedImage:
    """Expose and display what `path_lengths` found."""
    thickness = sum(lengths.paths[name] for name in ("bone", "muscle", "fat"))
    primary = transmit(lengths.paths, exposure.kv)
    frame = objects.draw_collimator(rng, primary.shape, lengths.pixel)
    signal = expose(primary * frame.beam, exposure, pixel=lengths.pixel, thickness=np.asarray(thickness), rng=rng)
    image = display(signal, exposure, pixel=lengths.pixel)
    image = np.where(frame.shutter, np.uint8(rng.integers(0, 14)), image).astype(np.uint8)
    masks = [m * ~frame.shutter for m in lengths.masks]
    masks = [m.astype(np.uint8) for m in masks if m.sum() >= 12]
    metadata = {**lengths.metadata, "kv": round(exposure.kv, 1)}
    if not masks:
        metadata |= {"fracture_type": "", "displacement": 0.0, "bone": ""}
    return SimulatedImage(image, masks, metadata)
