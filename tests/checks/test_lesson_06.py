"""The exercises of lesson 06, on made-up maps and curves."""

import numpy as np
import pytest

from fracturelib.checks import check
from fracturelib.explain.localization import grown, pointing_game, tolerance_at
from fracturelib.metrics import roc_auc
from tests.checks.conftest import Case, judged

# 6.1: the toy of the lesson
TOY = np.array([[0, 1, 2, 0], [-3, 4, 6, 1], [0, 2, 3, -1], [1, 0, 0, 0]], float)
INSIDE = np.array([[0, 0, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], np.uint8)
HELD = np.maximum(TOY, 0)[INSIDE > 0].sum()

# 6.2: peaks in fractures, just below them, and anywhere
RNG = np.random.default_rng(11)
N, SIZE = 14, 48
MASKS = np.zeros((N, SIZE, SIZE), np.uint8)
MAPS = RNG.random((N, SIZE, SIZE)).astype(np.float32)
for i in range(N):
    y, x = RNG.integers(6, 30, 2)
    MASKS[i, y : y + 11, x : x + 10] = 1
    row, column = (y + 3, x + 3) if i % 2 else (y + 12, x + 2) if i % 4 else RNG.integers(8, 40, 2)
    MAPS[i, row, column] = 3
NEAR = tolerance_at(SIZE)
HITS = np.array([[pointing_game(h, m, tolerance=NEAR) for h in MAPS] for m in MASKS])
EXACT = np.array([[pointing_game(h, m) for h in MAPS] for m in MASKS])
OFF = ~np.eye(N, dtype=bool)
CHANCE = float(np.mean([grown(m, NEAR).mean() for m in MASKS]))

# 6.3: the map beats a random order by far, and the centre not surely
LEAN = RNG.normal(0, 1, 20)
DELETION = {"by the map": LEAN - 0.75, "from the centre": LEAN - 0.6 + RNG.normal(0, 0.9, 20), "at random": LEAN + 0.5}
INSERTION = {"by the map": LEAN + 1, "from the centre": LEAN + 0.3, "at random": LEAN}
GAP = float((DELETION["by the map"] - DELETION["from the centre"]).mean())
CURVES = {"deletion": DELETION, "insertion": INSERTION, "groups": np.repeat(np.arange(10), 2)}
CLEAR = {**CURVES, "deletion": {**DELETION, "from the centre": LEAN + RNG.normal(0, 0.05, 20)}}
CLEAR_GAP = float((CLEAR["deletion"]["by the map"] - CLEAR["deletion"]["from the centre"]).mean())

# 6.4
LABELS = RNG.permutation(np.repeat([0, 1], [140, 80]))
MARKER = np.where(RNG.random(220) < 0.85, LABELS, 1 - LABELS)
SCORES = 1 / (1 + np.exp(-(2.0 * MARKER - 1.3 + 0.9 * LABELS + RNG.normal(0, 1, 220))))
SOUND = LABELS == 0
TRUTH = roc_auc(MARKER[SOUND], SCORES[SOUND])

CASES = [
    Case(
        "6.1",
        right=[(HELD / np.maximum(TOY, 0).sum(),), (13 / 20,), (np.float32(0.65),)],
        wrong=[
            ((TOY[INSIDE > 0].sum() / TOY.sum(),), "negative places were added in"),
            ((HELD / np.abs(TOY).sum(),), "evidence against as evidence"),
            ((HELD,), "divide it by all"),
            ((float(TOY[INSIDE > 0].sum()),), "that is a sum"),
            ((INSIDE.mean(),), "chance"),
            ((1 - 0.65,), "outside"),
            ((3 / 8,), "you counted places"),
            ((65,), "write 50 % as 0.5"),
            ((0.123,), "another number"),
        ],
        given={"heat": TOY, "mask": INSIDE},
    ),
    Case(
        "6.2",
        right=[(HITS[OFF].mean(),), (round(float(HITS[OFF].mean()), 2),)],
        wrong=[
            ((np.diag(HITS).mean(),), "own map"),
            ((EXACT[OFF].mean(),), "near is asked for"),
            ((np.mean([HITS[i, (i + 1) % N] for i in range(N)]),), "single partner"),
            ((CHANCE,), "that is chance"),
            ((45,), "write 50 % as 0.5"),
            ((0.987,), "another number"),
        ],
        given={"maps": MAPS, "masks": MASKS},
    ),
    Case(
        "6.3",
        right=[(GAP, "not shown"), (round(GAP, 2), "Not shown")],
        wrong=[
            ((float((DELETION["by the map"] - DELETION["at random"]).mean()), "yes"), "weakest rival"),
            ((-GAP, "not shown"), "turned round"),
            ((float((INSERTION["by the map"] - INSERTION["from the centre"]).mean()), "yes"), "that is insertion"),
            ((GAP * 20, "not shown"), "sum over the images"),
            ((float(DELETION["by the map"].mean()), "yes"), "by itself"),
            ((GAP, "yes"), "leave out zero"),
            ((GAP, "no"), "claims that the centre is better"),
            ((GAP, "perhaps"), "one of 'no'"),
            ((77.0, "yes"), "for each image"),
        ],
        given=CURVES,
    ),
    Case(
        "6.3",
        right=[(CLEAR_GAP, "yes")],
        wrong=[
            ((CLEAR_GAP, "not shown"), "on which side of zero"),
            ((CLEAR_GAP, "no"), "wholly above zero"),
            ((-CLEAR_GAP, "yes"), "turned round"),
        ],
        given=CLEAR,
    ),
    Case(
        "6.4",
        right=[(TRUTH,), (round(TRUTH, 2),)],
        wrong=[
            ((roc_auc(MARKER, SCORES),), "keep the label fixed"),
            ((roc_auc(LABELS, SCORES),), "everybody admired"),
            ((roc_auc(MARKER[~SOUND], SCORES[~SOUND]),), "these are the fractured ones"),
            ((1 - TRUTH,), "rise with the marker"),
            ((MARKER[SOUND].mean(),), "how often"),
            ((80,), "write 50 % as 0.5"),
        ],
        given={"labels": LABELS, "marker": MARKER, "scores": SCORES},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.number} {c.right[0][-1]!r:.12}")
def test_it_answers(case: Case) -> None:
    judged(case)


def test_the_lead_of_the_map_over_the_centre_is_not_shown() -> None:
    assert abs(GAP) > 0.02 and abs(GAP - (DELETION["by the map"] - DELETION["at random"]).mean()) > 0.1


def test_one_patient_shows_nothing() -> None:
    given = {**CURVES, "groups": np.zeros(20)}
    assert check("6.3", GAP, "not shown", **given).state == "right"
    assert check("6.3", GAP, "yes", **given).state == "not yet"
