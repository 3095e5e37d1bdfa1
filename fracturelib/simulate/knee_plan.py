"""What a set of simulated knees holds: patients, splits, and signs that say nothing of the label, or do on purpose."""

from dataclasses import dataclass

import numpy as np

from fracturelib._io.files import InputError
from fracturelib.simulate.knee_patient import DRY, WET
from fracturelib.simulate.knee_study import SHAPE, KneeStudy, simulate_knee

KNEE_SPLITS = {"train": 0.60, "val": 0.15, "test": 0.25}  # of the patients
KINDS = {"none": 0.34, "degenerated": 0.18, "partial": 0.12, "complete": 0.36}  # of the studies of each split
KNEE_SHORTCUTS = ("effusion",)
TIES = ("independent", "tied", "reversed")


@dataclass(frozen=True)
class PlannedKnee:
    """One study to make, by name; what decides it is in the arguments of `simulate_knee`."""

    name: str
    split: str
    group: str
    seed: int
    tear: str
    effusion: float
    bruise: bool
    field: float
    laterality: str

    @property
    def label(self) -> int:
        """1 where the ligament is torn, partly or wholly; otherwise 0."""
        return int(self.tear in ("partial", "complete"))

    def make(self, shape: tuple[int, int, int] = SHAPE) -> KneeStudy:
        """The study."""
        return simulate_knee(
            self.seed, tear=self.tear, effusion=self.effusion, bruise=self.bruise, field=self.field,
            laterality=self.laterality, shape=shape,
        )  # fmt: skip


def plan_knees(
    studies: int, *, seed: int = 0, shortcut: str | None = None, test: str = "independent"
) -> list[PlannedKnee]:
    """What to make: a study each of so many patients, with tears, effusion, bruises, fields and sides in even shares.

    Parameters as in `simulate_knees`. Within each split and label half of the knees have an effusion, half of these and
    of the others a bruise, half of each were taken at 3 T, as far as the numbers allow.
    """
    check_plan(studies, shortcut, test)
    rng = np.random.default_rng([seed, 25, studies])
    order = _shares(studies, KNEE_SPLITS, rng)
    plan = []
    for split in KNEE_SPLITS:
        members = [number for number in range(studies) if order[number] == split]
        kinds = _shares(len(members), KINDS, rng)
        torn = np.array([kind in ("partial", "complete") for kind in kinds], bool)
        signs = np.zeros((len(members), 4), bool)  # effusion, bruise, 3 T, left
        for label in (False, True):
            signs[torn == label] = _balanced(int((torn == label).sum()), 4, rng)
        tie = ("tied" if split != "test" else test) if shortcut else "independent"
        wet = {"independent": signs[:, 0], "tied": torn, "reversed": ~torn}[tie]
        depth = np.where(wet, rng.uniform(*WET, len(members)), rng.uniform(*DRY, len(members)))
        for place, number in enumerate(members):
            _, bruise, strong, left = (bool(v) for v in signs[place])
            plan.append(
                PlannedKnee(
                    f"K{number:04d}", split, f"K{number:04d}", seed * 1_000_003 + number, kinds[place],
                    round(float(depth[place]), 2), bruise, 3.0 if strong else 1.5, "L" if left else "R",
                )
            )  # fmt: skip
    return sorted(plan, key=lambda knee: knee.name)


def _shares(count: int, shares: dict[str, float], rng: np.random.Generator) -> list[str]:
    """A name for each of `count`, in these shares as nearly as whole numbers allow, in random order."""
    edges = np.cumsum([0.0, *shares.values()]) * count / sum(shares.values())
    whole = np.floor(edges + 0.5).astype(int)
    names = [name for name, n in zip(shares, np.diff(whole), strict=True) for _ in range(n)]
    return [names[i] for i in rng.permutation(count)]


def _balanced(count: int, signs: int, rng: np.random.Generator) -> np.ndarray:
    """Combinations of some signs, in random order, each sign on in half of the rows or one more: bool (count, signs).

    Each combination is followed by its opposite, and all come once before any comes again.
    """
    codes: list[int] = []
    while len(codes) < count:
        for code in rng.permutation(2 ** (signs - 1)):
            pair = [int(code), 2**signs - 1 - int(code)]
            codes += pair if rng.uniform() < 0.5 else pair[::-1]
    found = (rng.permutation(codes[:count])[:, None] >> np.arange(signs)) & 1
    return np.asarray(found.astype(bool))


def check_plan(studies: int, shortcut: str | None, test: str) -> None:
    """Raise InputError unless such a set can be planned."""
    if studies < 20:
        raise InputError(f"studies is {studies}; expected at least 20, so that each split has some of each label")
    if shortcut is not None and shortcut not in KNEE_SHORTCUTS:
        raise InputError(f"shortcut is {shortcut!r}; expected one of {', '.join(KNEE_SHORTCUTS)}")
    if test not in TIES:
        raise InputError(f"test is {test!r}; expected one of {', '.join(TIES)}")
    if test != "independent" and shortcut is None:
        raise InputError(f"test is {test!r} without a shortcut; expected shortcut='effusion' with it")
