"""Maps against outlines whose truth is plain to see."""

import numpy as np
import pytest

from fracturelib._files import InputError
from fracturelib.localize import energy_in_mask, grown, peak, peak_in_mask

MASK = np.zeros((20, 20), np.uint8)
MASK[5:8, 10:14] = 1


def heat_at(row: int, column: int) -> np.ndarray:
    heat = np.full((20, 20), -1, np.float32)
    heat[row, column] = 3
    return heat


def test_the_peak() -> None:
    assert peak(heat_at(6, 11)) == (6, 11)
    assert peak(np.zeros((3, 3), np.float32)) is None and peak(np.full((3, 3), -1, np.float32)) is None


@pytest.mark.parametrize(("row", "column", "tolerance", "hit"), [
    (5, 10, 0, True), (7, 13, 0, True), (8, 13, 0, False), (8, 13, 1, True), (12, 12, 4, False), (12, 12, 5, True),
])  # fmt: skip
def test_the_pointing_game(row: int, column: int, tolerance: int, hit: bool) -> None:
    assert peak_in_mask(heat_at(row, column), MASK, tolerance=tolerance) is hit


def test_an_empty_map_is_a_miss_and_not_an_error() -> None:
    assert not peak_in_mask(np.zeros((20, 20), np.float32), np.ones((20, 20), np.uint8))
    assert energy_in_mask(np.full((20, 20), -1, np.float32), MASK) == 0


def test_energy_is_a_share_of_the_positive_evidence() -> None:
    heat = np.full((20, 20), -9, np.float32)
    heat[5, 10], heat[0, 0] = 3, 1
    assert energy_in_mask(heat, MASK) == pytest.approx(0.75)
    assert energy_in_mask(np.ones((20, 20), np.float32), MASK) == pytest.approx(MASK.mean())


def test_growing_is_by_distance() -> None:
    one = np.zeros((21, 21), np.uint8)
    one[10, 10] = 1
    rows, columns = np.nonzero(grown(one, 5))
    assert np.hypot(rows - 10, columns - 10).max() <= 5.5 and len(rows) > 60
    assert np.array_equal(grown(one, 0), one)


def test_shapes_must_fit() -> None:
    for measure in (peak_in_mask, energy_in_mask):
        with pytest.raises(InputError, match=r"heat has shape \(2, 2\); expected that of the mask"):
            measure(np.zeros((2, 2), np.float32), MASK)
