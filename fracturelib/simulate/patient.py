"""Who is photographed: build, bones, what is broken, and what only looks like it."""

import zlib
from dataclasses import dataclass

import numpy as np

from fracturelib.simulate import objects
from fracturelib.simulate.anatomy import Bone, load_pack
from fracturelib.simulate.fractures import KINDS, Break, Bulge, Slit, break_bone, rough_cut
from fracturelib.simulate.regions import region_of
from fracturelib.simulate.render import Tissue
from fracturelib.simulate.sites import choose_severity, choose_site

PREVALENCE = 0.36


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
    complaint: tuple[str, float]  # where it hurts: a bone, and a fraction along it
    breaks: tuple[Break, ...]
    healed: tuple[Break, ...]
    things: objects.Things

    @property
    def child(self) -> bool:
        """Whether growth plates are open."""
        return self.age_group == "child"


def stream(seed: int, region: str, *numbers: int) -> np.random.Generator:
    """An independent source of chance for one purpose of one patient."""
    return np.random.default_rng([seed, zlib.crc32(region.encode()), *numbers])


def make_patient(
    region: str, *, seed: int, fracture: str | None = "random", gap: float | None = None, severity: float | None = None
) -> Patient:
    """Draw a patient. The same seed gives the same person, whatever is broken."""
    rng = stream(seed, region, 0)
    age = str(rng.choice(["child", "adult", "senior"], p=[0.16, 0.54, 0.3]))
    sex = str(rng.choice(["F", "M"]))
    size = {"child": rng.uniform(0.62, 0.88), "adult": rng.normal(0.97, 0.04), "senior": rng.normal(0.95, 0.04)}[age]
    size *= 0.94 if sex == "F" and age != "child" else 1.0
    density = {"child": 1.0, "adult": 1.05, "senior": 0.78}[age] * rng.uniform(0.85, 1.15)
    spec = region_of(region)
    bends = {name: float(rng.uniform()) for name in sorted({*spec.bend, *spec.lateral_bend})}
    things = objects.draw_things(rng, region, spec.bones)
    bones, _ = load_pack()
    lottery = stream(seed, region, 1)
    broken = lottery.uniform() < PREVALENCE if fracture == "random" else fracture is not None
    kind = fracture if fracture in KINDS else None
    breaks: tuple[Break, ...] = ()
    bone, fraction, kind = choose_site(
        region, lottery, child=age == "child", kind=kind
    )  # it hurts there, broken or not
    if broken:
        hard = choose_severity(bone, fraction, lottery)
        hard = hard if severity is None else severity
        breaks = (
            break_bone(
                bones[bone], kind, lottery, fraction=fraction, severity=hard, gap=None if gap is None else gap / size
            ),
        )
        pair = _PAIRS.get(bone)
        if (
            fracture in ("random", "any")
            and pair in spec.bones
            and 0.15 < fraction < 0.97
            and kind != "hairline"
            and lottery.uniform() < 0.15 + 0.5 * hard
        ):
            second = str(lottery.choice(["transverse", "oblique"]))
            beside = float(np.clip(fraction + lottery.normal(0, 0.05), 0.1, 0.96))
            breaks += (
                break_bone(bones[pair], second, lottery, fraction=beside, severity=hard * lottery.uniform(0.2, 1)),
            )
    healed = _healed(stream(seed, region, 2), region, bones)
    return Patient(
        seed,
        region,
        sex,
        age,
        str(rng.choice(["L", "R"])),
        float(size),
        float(rng.gamma(3.0, 1.3) + 1.0),
        float(rng.normal(1.0, 0.07)),
        0.2 * density,
        0.9 * density,
        bends,
        (bone, fraction),
        breaks,
        healed,
        things,
    )


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
        Bulge(
            place,
            float(rng.uniform(0.08, 0.16) * width),
            float(rng.uniform(0.4, 0.8) * width),
            np.array([0, np.cos(side + t), np.sin(side + t)]),
            False,
        )
        for t in (0.0, 2.5)
    )
    return (Break(bone, "healed", bones[bone].frame @ place, 0.0, bulges=callus),)


def tissue_of(patient: Patient, bone: Bone) -> Tissue:
    """How this patient's bone of that name is made."""
    rng = stream(patient.seed, bone.name, 3)
    long = bone.length > 3.5 * bone.width
    cortex = patient.cortex * (0.24 if long else 0.08) * bone.width * 0.6 if long else 0.0
    cortex = float(np.clip(cortex, 1.0, 5.0)) if long else 0.75 * patient.cortex
    rim = (0.55 + 0.018 * bone.width) * patient.cortex
    stretch = rng.normal(1.0, 0.035, 2)
    bow = rng.normal(0, 0.006, 2) * bone.length if long else np.zeros(2)
    wave = 2 * np.pi / (rng.uniform(0.5, 0.9, 2) * max(bone.width * 1.6, 10))
    ripple = (float(0.02 * bone.width * rng.uniform(0.3, 1)), float(wave[0]), float(wave[1]), float(rng.uniform(0, 6)))
    return Tissue(
        cortex,
        rim,
        patient.spongy,
        0.35 * patient.spongy if long else patient.spongy,
        (float(stretch[0]), float(stretch[1])),
        (float(bow[0]), float(bow[1])),
        ripple,
    )


_PLATES = {  # where children's long bones grow, as fractions of their length
    "radius": (0.945, 0.045),
    "ulna": (0.955,),
    "humerus": (0.93, 0.1),
    "femur": (0.945, 0.07),
    "tibia": (0.055, 0.955),
    "fibula": (0.05, 0.945),
    "mc1": (0.13,),
    **{f"mc{r}": (0.84,) for r in (2, 3, 4, 5)},
    **{f"{k}{r}": (0.12,) for k in ("pp", "mp", "dp") for r in (1, 2, 3, 4, 5)},
    "mt1": (0.13,),
    **{f"mt{r}": (0.86,) for r in (2, 3, 4, 5)},
    **{f"pp{r}t": (0.14,) for r in (1, 2, 3, 4, 5)},
}
_ALL_ROUND = np.array([0.0, 1.0, 0.0])


def details_of(patient: Patient, bone: Bone) -> tuple[Slit, ...]:
    """What resembles a fracture and is none: growth plates, and the canal of the nutrient artery."""
    rng = stream(patient.seed, bone.name, 4)
    found = []
    for fraction in _PLATES.get(bone.name, ()) if patient.child else ():
        cut = rough_cut(rng, bone, fraction, tilt=0.03, roughness=0.9, teeth=0.0)
        found.append(Slit(cut, float(rng.uniform(0.7, 1.4)), _ALL_ROUND, 1000.0, 0.35))
    if bone.length > 4 * bone.width and rng.uniform() < 0.15:
        cut = rough_cut(rng, bone, rng.uniform(0.35, 0.55), tilt=rng.uniform(1.15, 1.3), roughness=0.15, teeth=0.0)
        angle = rng.uniform(0, 2 * np.pi)
        found.append(Slit(cut, 0.35, np.array([0, np.cos(angle), np.sin(angle)]), -0.3 * bone.width))
    return tuple(found)
