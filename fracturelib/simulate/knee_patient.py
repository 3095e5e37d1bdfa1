"""Who is scanned and how: build, position, signs of injury, whatever the ligament is like."""

from dataclasses import dataclass

import numpy as np

from fracturelib.simulate.knee_anatomy import Build
from fracturelib.simulate.knee_space import KneePose, Stack
from fracturelib.simulate.knee_tissues import FIELDS

SIDES = ("R", "L")
WET, DRY = (3.0, 9.0), (0.3, 2.0)  # mm of fluid above the patella, with an effusion and without


@dataclass(frozen=True)
class Subject:
    """A patient on a scanner's table; what a caller of `simulate_knee` says comes before what is drawn."""

    build: Build
    pose: KneePose
    stack: Stack
    laterality: str
    field: float
    effusion: float
    bruise: bool


def draw_subject(streams: "Streams", shape: tuple[int, int, int], tear: str) -> Subject:
    """Draw a patient and a position. Only the tibia's place has anything to do with the tear."""
    build, pose, stack = draw_build(streams.who), draw_pose(streams, tear), draw_stack(streams.where, shape)
    side, field = str(streams.who.choice(SIDES)), float(streams.who.choice(FIELDS))
    wet = float(streams.signs.uniform(*(WET if streams.signs.uniform() < 0.5 else DRY)))
    return Subject(build, pose, stack, side, field, wet, bool(streams.signs.uniform() < 0.5))


@dataclass(frozen=True)
class Streams:
    """Independent sources of chance of one study, so that another tear leaves the patient as they are."""

    who: np.random.Generator
    where: np.random.Generator
    scan: np.random.Generator
    tear: np.random.Generator
    signs: np.random.Generator

    @classmethod
    def of(cls, seed: int) -> "Streams":
        """Those of a seed."""
        return cls(*(np.random.default_rng([seed, 24, part]) for part in range(5)))


def draw_pose(streams: Streams, tear: str) -> KneePose:
    """How the knee lies. A tibia whose ligament is torn lies a little further forward, as far as muscles let it."""
    rng = streams.where
    turn = np.deg2rad(rng.normal([0, 0, 2], [4, 3, 6]))
    shift = rng.normal([0, 0, 8], [7, 4, 5]).clip([-14, -9, -3], [14, 9, 19])
    slide = rng.normal(0, 0.9) + streams.tear.uniform(0, 2.5) * (tear == "complete")
    size, flexion = rng.normal(1.0, 0.06), rng.uniform(0.0, 0.13)
    return KneePose(
        float(size), float(flexion), float(slide), (float(turn[0]), float(turn[1]), float(turn[2])),
        (float(shift[0]), float(shift[1]), float(shift[2])),
    )  # fmt: skip


def draw_stack(rng: np.random.Generator, shape: tuple[int, int, int]) -> Stack:
    """Slices that cover about 80 mm, of about 132 mm."""
    spacing = float(rng.uniform(3.7, 4.4)) * 20 / shape[0]
    pixel = float(rng.normal(132, 5)) / max(shape[1:])
    return Stack(*shape, pixel, spacing, spacing * float(rng.uniform(0.8, 0.95)))


def draw_build(rng: np.random.Generator) -> Build:
    """Fat, muscle, cartilage and red marrow as they vary between people."""
    fat, muscle, cartilage = rng.gamma(4, 1.6) + 2.5, rng.normal(1, 0.09), np.clip(rng.normal(1, 0.1), 0.7, 1.3)
    return Build(float(fat), float(muscle), float(cartilage), float(rng.uniform(0, 0.9)))
