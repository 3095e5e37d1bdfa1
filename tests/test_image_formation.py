"""The view of how an image comes to be: real path lengths, real physics, and nothing left behind."""

import cv2
import ipywidgets as widgets
import numpy as np
import pytest

from fracturelib._io.files import InputError
from fracturelib.simulate.image import formed
from fracturelib.simulate.view import path_lengths
from fracturelib.viz.image_formation import PANELS, ImageFormationView


def decoded(view: ImageFormationView) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(view.picture.value, np.uint8), cv2.IMREAD_GRAYSCALE)


def test_both_knobs_change_the_picture_and_the_physics() -> None:
    view = ImageFormationView(seed=5)
    first, through = decoded(view), view.formation.transmission
    view.kv.value = 110
    assert not np.array_equal(first, decoded(view))
    assert (view.formation.transmission >= through - 1e-6).all(), "a harder beam gets through better"
    bone = view.formation.bone.copy()
    view.gap.value = 5
    assert view.formation.bone.sum() < bone.sum(), "a wider gap is less bone in the beam's way"
    view.close()


def test_a_tick_of_the_voltage_casts_no_bone() -> None:
    view = ImageFormationView(seed=5)
    misses = view.lengths.cache_info().misses
    view.kv.value = 100
    assert view.lengths.cache_info().misses == misses
    view.close()


def test_it_shows_what_the_physics_gives() -> None:
    view = ImageFormationView(seed=5)
    view.kv.value, view.gap.value = 60, 3
    lengths = path_lengths(
        "forearm", seed=5, view="frontal", fracture="transverse", gap=3, severity=0, size=300, cast=False
    )
    alone = formed(lengths, "forearm", seed=5, kv=60)
    assert np.array_equal(view.formation.image, alone.image)
    shown = view.panels()
    assert list(shown) == list(PANELS) and np.array_equal(shown["image"], alone.image)
    assert all(p.dtype == np.uint8 and p.shape == alone.image.shape for p in shown.values())
    view.close()


def test_a_voltage_out_of_range_is_refused() -> None:
    view = ImageFormationView(seed=5)
    with pytest.raises(InputError, match="kv is 500; expected 40 to 120"):
        formed(view.lengths(2.0), "forearm", seed=5, kv=500)
    view.close()


def test_closing_frees_its_widgets() -> None:
    import ipywidgets.widgets.widget as module

    registry = getattr(module, "_instances", None)

    def alive() -> int:
        return len(registry) if registry is not None else len(widgets.Widget.widgets)

    ImageFormationView(seed=5).close()
    before = alive()
    for _ in range(5):
        ImageFormationView(seed=5).close()
    assert alive() == before
