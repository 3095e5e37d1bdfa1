"""Undoing what a department does: against what was done, which the tests know because they did it."""

import numpy as np
import pytest

from fracturelib._io.files import InputError
from fracturelib.data.images import to_square
from fracturelib.shift import Harmonizer, Site
from fracturelib.shift.acquisition import image_boxes
from fracturelib.shift.harmonize import grey_curve, ranked
from tests.hospitals import SIZE, hospital, whole
from tests.radiographs import radiograph


def test_ranks_are_those_of_a_definition_and_know_no_display_curve() -> None:
    image = radiograph(3)
    brute = np.array([[(image < g).mean() + (image == g).mean() / 2 for g in row] for row in image]) - 0.5
    np.testing.assert_allclose(ranked(image), brute, atol=1e-6)
    np.testing.assert_allclose(ranked(255 - image), -ranked(image), atol=1e-6)
    few = (image // 4).astype(np.uint8)  # 64 values, which a curve that rises strictly keeps apart
    np.testing.assert_array_equal(ranked(few), ranked((few.astype(int) ** 2 // 16 + few).astype(np.uint8)))


def test_an_upright_image_and_its_negative_get_opposite_answers() -> None:
    harmonizer, others = Harmonizer.of(hospital()), hospital(first=100)
    assert not harmonizer.inverted(others).any()
    assert harmonizer.inverted(others.turned(np.ones(20, bool))).all()
    assert harmonizer.inverted(others.delivered(Site(gamma=2.5, inverted=1.0))).all(), "whatever the display curve"


def test_a_margin_decides_which_way_round() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((2, SIZE, SIZE), np.uint8)
    images[:, 10:50, 10:50] = rng.integers(60, 200, (2, 40, 40))
    harmonizer = Harmonizer.of(hospital())
    assert not harmonizer.inverted(whole(images)).any() and harmonizer.inverted(whole(255 - images)).all()


def test_turning_leaves_the_padding_and_the_original_alone() -> None:
    home, which = hospital(3), np.array([True, False, True])
    images, left = home.images.copy(), home.boxes[0, 0]
    found = home.turned(which)
    assert np.array_equal(found.images[1], images[1]) and np.array_equal(found.turned(which).images, images)
    assert not found.images[0][:, :left].any() and found.images[0, 30, left] == 255 - images[0, 30, left]
    assert np.array_equal(home.images, images)


def test_margins_are_cut_and_the_image_lies_as_if_it_had_been_loaded_so() -> None:
    image = radiograph(1, width=40, height=30)
    framed = np.zeros((SIZE, SIZE), np.uint8)
    framed[20:50, 5:45] = image
    found = whole(framed[None]).without_margins()
    assert np.array_equal(found.images[0], to_square(image, SIZE))
    assert np.array_equal(found.boxes, image_boxes([40], [30], SIZE))
    home = hospital(4)
    same = home.without_margins()
    assert np.array_equal(same.images, home.images) and np.array_equal(same.boxes, home.boxes), "nothing to cut"
    black = np.zeros((1, 8, 8), np.uint8)
    assert np.array_equal(whole(black).without_margins().images, black)


def test_quantile_matching_undoes_a_display_curve() -> None:
    rng = np.random.default_rng(0)
    smooth, other = (whole(np.clip(rng.normal(120, 45, (12, SIZE, SIZE)), 0, 255).astype(np.uint8)) for _ in range(2))
    for gamma in (0.6, 1.0, 1.8):
        there = other.delivered(Site(gamma=gamma))
        curve = grey_curve(there.greys(), smooth.greys())
        assert (np.diff(curve.astype(int)) >= 0).all()
        back = there.recoloured(curve).images.astype(int)
        # Of other images of the same kind: nothing but the curve is to be the same.
        assert np.abs(back - other.images).mean() < 2, gamma


def test_matching_greys_to_themselves_is_the_identity() -> None:
    home = hospital()
    greys = home.greys()
    assert greys.sum() == pytest.approx(1) and greys.shape == (256,)
    assert np.array_equal(home.recoloured(grey_curve(greys, greys)).images, home.images)


def test_harmonizing_undoes_all_three_at_once() -> None:
    radiographs = hospital(30, first=200)
    harmonizer = Harmonizer.of(hospital(30))
    there = radiographs.delivered(Site(gamma=1.6, margin=0.3, inverted=0.4), seed=5)
    steps = harmonizer.steps(there)
    assert list(steps) == ["as delivered", "turned", "margins cut", "greys matched"]
    bare = radiographs.delivered(Site(gamma=1.6, margin=0.3), seed=5)
    inverted = harmonizer.inverted(there)
    assert np.array_equal(inverted, (there.images != bare.images).any(axis=(1, 2))) and 0 < inverted.sum() < 30
    assert np.array_equal(steps["turned"].images, bare.images)

    def off(images: np.ndarray) -> float:
        return float(np.abs(images.astype(int) - radiographs.images).mean())

    found = steps["greys matched"]
    assert off(found.images) < 0.25 * off(there.images) and off(found.images) < 8
    assert list(found.groups) == list(there.groups) and np.array_equal(found.boxes, steps["margins cut"].boxes)


def test_errors_name_the_argument() -> None:
    with pytest.raises(InputError, match="there has shape"):
        grey_curve(np.ones(3), np.ones(256))
    with pytest.raises(InputError, match="no images"):
        hospital(2).some([False, False]).greys()
