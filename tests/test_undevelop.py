"""Undoing what a department does: against what was done, which the tests know because they did it."""

import numpy as np
import pytest

from fracturelib._io.files import InputError
from fracturelib.data.images import to_square
from fracturelib.shift.acquisition import Site, delivered, film_boxes, whole_squares
from fracturelib.shift.harmonize import (
    grey_curve,
    grey_shares,
    ranked,
    recoloured,
    teach_upright,
    turned,
    undo,
    without_margins,
)
from tests.films import film

SIZE = 64


def squares(n: int = 20, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    images = np.stack([to_square(film(first + i, fractured=bool(i % 2)), SIZE) for i in range(n)])
    return images, film_boxes([48] * n, [64] * n, SIZE)


def test_ranks_are_those_of_a_definition_and_know_no_display_curve() -> None:
    image = film(3)
    brute = np.array([[(image < g).mean() + (image == g).mean() / 2 for g in row] for row in image]) - 0.5
    np.testing.assert_allclose(ranked(image), brute, atol=1e-6)
    np.testing.assert_allclose(ranked(255 - image), -ranked(image), atol=1e-6)
    few = (image // 4).astype(np.uint8)  # 64 values, which a curve that rises strictly keeps apart
    np.testing.assert_array_equal(ranked(few), ranked((few.astype(int) ** 2 // 16 + few).astype(np.uint8)))


def test_an_upright_film_and_its_negative_get_opposite_answers() -> None:
    images, boxes = squares()
    upright = teach_upright(images, boxes)
    others, places = squares(20, first=100)
    assert not upright.inverted(others, places).any()
    assert upright.inverted(turned(others, places, np.ones(20, bool)), places).all()
    dark = delivered(others, Site(gamma=2.5, inverted=1.0), boxes=places)
    assert upright.inverted(dark, places).all(), "whatever the display curve"


def test_a_margin_decides_which_way_round() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((2, SIZE, SIZE), np.uint8)
    images[:, 10:50, 10:50] = rng.integers(60, 200, (2, 40, 40))
    boxes = whole_squares(images)
    upright = teach_upright(*squares())
    assert not upright.inverted(images, boxes).any() and upright.inverted(255 - images, boxes).all()


def test_turning_leaves_the_padding_and_the_original_alone() -> None:
    images, boxes = squares(3)
    which = np.array([True, False, True])
    found = turned(images, boxes, which)
    assert np.array_equal(found[1], images[1]) and np.array_equal(turned(found, boxes, which), images)
    assert not found[0][:, : boxes[0, 0]].any() and found[0, 30, boxes[0, 0]] == 255 - images[0, 30, boxes[0, 0]]


def test_margins_are_cut_and_the_film_lies_as_if_it_had_been_loaded_so() -> None:
    image = film(1, width=40, height=30)
    framed = np.zeros((SIZE, SIZE), np.uint8)
    framed[20:50, 5:45] = image
    found, boxes = without_margins(framed[None], whole_squares(framed[None]))
    assert np.array_equal(found[0], to_square(image, SIZE))
    assert np.array_equal(boxes, film_boxes([40], [30], SIZE))
    images, places = squares(4)
    same, where = without_margins(images, places)
    assert np.array_equal(same, images) and np.array_equal(where, places), "no margin, nothing to cut"
    black = np.zeros((1, 8, 8), np.uint8)
    assert np.array_equal(without_margins(black, whole_squares(black))[0], black)


def test_quantile_matching_undoes_a_display_curve() -> None:
    rng = np.random.default_rng(0)
    smooth = np.clip(rng.normal(120, 45, (12, SIZE, SIZE)), 0, 255).astype(np.uint8)
    other = np.clip(rng.normal(120, 45, (12, SIZE, SIZE)), 0, 255).astype(np.uint8)
    boxes = whole_squares(smooth)
    for gamma in (0.6, 1.0, 1.8):
        there = delivered(other, Site(gamma=gamma))
        curve = grey_curve(grey_shares(there, boxes), grey_shares(smooth, boxes))
        assert (np.diff(curve.astype(int)) >= 0).all()
        back = recoloured(there, boxes, curve).astype(int)
        # Of other films of the same kind: nothing but the curve is to be the same.
        assert np.abs(back - other).mean() < 2, gamma


def test_matching_greys_to_themselves_is_the_identity() -> None:
    images, boxes = squares()
    shares = grey_shares(images, boxes)
    assert shares.sum() == pytest.approx(1) and shares.shape == (256,)
    assert np.array_equal(recoloured(images, boxes, grey_curve(shares, shares)), images)


def test_undo_undoes_all_three_at_once() -> None:
    home, home_boxes = squares(30)
    films, boxes = squares(30, first=200)
    reference = grey_shares(*without_margins(home, home_boxes))
    upright = teach_upright(home, home_boxes)
    site = Site(gamma=1.6, margin=0.3, inverted=0.4)
    there = delivered(films, site, boxes=boxes, seed=5)
    found = undo(there, boxes, upright, reference)
    bare = delivered(films, Site(gamma=1.6, margin=0.3), boxes=boxes, seed=5)
    assert np.array_equal(found.inverted, (there != bare).any(axis=(1, 2))) and 0 < found.inverted.sum() < 30

    def off(images: np.ndarray) -> float:
        return float(np.abs(images.astype(int) - films).mean())

    assert off(found.images) < 0.25 * off(there) and off(found.images) < 8


def test_errors_name_the_argument() -> None:
    with pytest.raises(InputError, match="there has shape"):
        grey_curve(np.ones(3), np.ones(256))
    with pytest.raises(InputError, match="no films"):
        grey_shares(np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4), np.int64))
