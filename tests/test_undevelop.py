"""Undoing what a department does: against what was done, which the tests know because they did it."""

import numpy as np
import pytest

from fracturelib._io.files import InputError
from fracturelib.data.images import to_square
from fracturelib.shift.acquisition import Site, delivered, image_boxes, whole_squares
from fracturelib.shift.harmonize import (
    crop_margins,
    fit_inversion_detector,
    grey_curve,
    grey_shares,
    harmonize,
    ranked,
    recoloured,
    turned,
)
from tests.radiographs import radiograph

SIZE = 64


def squares(n: int = 20, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    images = np.stack([to_square(radiograph(first + i, fractured=bool(i % 2)), SIZE) for i in range(n)])
    return images, image_boxes([48] * n, [64] * n, SIZE)


def test_ranks_are_those_of_a_definition_and_know_no_display_curve() -> None:
    image = radiograph(3)
    brute = np.array([[(image < g).mean() + (image == g).mean() / 2 for g in row] for row in image]) - 0.5
    np.testing.assert_allclose(ranked(image), brute, atol=1e-6)
    np.testing.assert_allclose(ranked(255 - image), -ranked(image), atol=1e-6)
    few = (image // 4).astype(np.uint8)  # 64 values, which a curve that rises strictly keeps apart
    np.testing.assert_array_equal(ranked(few), ranked((few.astype(int) ** 2 // 16 + few).astype(np.uint8)))


def test_an_upright_image_and_its_negative_get_opposite_answers() -> None:
    images, boxes = squares()
    inversion_detector = fit_inversion_detector(images, boxes)
    others, places = squares(20, first=100)
    assert not inversion_detector.inverted(others, places).any()
    assert inversion_detector.inverted(turned(others, places, np.ones(20, bool)), places).all()
    dark = delivered(others, Site(gamma=2.5, inverted=1.0), boxes=places)
    assert inversion_detector.inverted(dark, places).all(), "whatever the display curve"


def test_a_margin_decides_which_way_round() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((2, SIZE, SIZE), np.uint8)
    images[:, 10:50, 10:50] = rng.integers(60, 200, (2, 40, 40))
    boxes = whole_squares(images)
    inversion_detector = fit_inversion_detector(*squares())
    assert (
        not inversion_detector.inverted(images, boxes).any() and inversion_detector.inverted(255 - images, boxes).all()
    )


def test_turning_leaves_the_padding_and_the_original_alone() -> None:
    images, boxes = squares(3)
    which = np.array([True, False, True])
    found = turned(images, boxes, which)
    assert np.array_equal(found[1], images[1]) and np.array_equal(turned(found, boxes, which), images)
    assert not found[0][:, : boxes[0, 0]].any() and found[0, 30, boxes[0, 0]] == 255 - images[0, 30, boxes[0, 0]]


def test_margins_are_cut_and_the_image_lies_as_if_it_had_been_loaded_so() -> None:
    image = radiograph(1, width=40, height=30)
    framed = np.zeros((SIZE, SIZE), np.uint8)
    framed[20:50, 5:45] = image
    found, boxes = crop_margins(framed[None], whole_squares(framed[None]))
    assert np.array_equal(found[0], to_square(image, SIZE))
    assert np.array_equal(boxes, image_boxes([40], [30], SIZE))
    images, places = squares(4)
    same, where = crop_margins(images, places)
    assert np.array_equal(same, images) and np.array_equal(where, places), "no margin, nothing to cut"
    black = np.zeros((1, 8, 8), np.uint8)
    assert np.array_equal(crop_margins(black, whole_squares(black))[0], black)


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
        # Of other images of the same kind: nothing but the curve is to be the same.
        assert np.abs(back - other).mean() < 2, gamma


def test_matching_greys_to_themselves_is_the_identity() -> None:
    images, boxes = squares()
    shares = grey_shares(images, boxes)
    assert shares.sum() == pytest.approx(1) and shares.shape == (256,)
    assert np.array_equal(recoloured(images, boxes, grey_curve(shares, shares)), images)


def test_undo_undoes_all_three_at_once() -> None:
    home, home_boxes = squares(30)
    radiographs, boxes = squares(30, first=200)
    reference = grey_shares(*crop_margins(home, home_boxes))
    inversion_detector = fit_inversion_detector(home, home_boxes)
    site = Site(gamma=1.6, margin=0.3, inverted=0.4)
    there = delivered(radiographs, site, boxes=boxes, seed=5)
    found = harmonize(there, boxes, inversion_detector, reference)
    bare = delivered(radiographs, Site(gamma=1.6, margin=0.3), boxes=boxes, seed=5)
    assert np.array_equal(found.inverted, (there != bare).any(axis=(1, 2))) and 0 < found.inverted.sum() < 30

    def off(images: np.ndarray) -> float:
        return float(np.abs(images.astype(int) - radiographs).mean())

    assert off(found.images) < 0.25 * off(there) and off(found.images) < 8


def test_errors_name_the_argument() -> None:
    with pytest.raises(InputError, match="there has shape"):
        grey_curve(np.ones(3), np.ones(256))
    with pytest.raises(InputError, match="no images"):
        grey_shares(np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4), np.int64))
