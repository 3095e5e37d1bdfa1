"""A hospital as one value, and what can be asked of its images: against definitions, and cases whose truth is known."""

import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.shift import Hospital, Site
from fracturelib.shift.acquisition import OLD_DETECTOR
from tests.hospitals import whole


@pytest.fixture(scope="module")
def home() -> Hospital:
    """Smooth images, brighter in the middle, of 60 patients with two images each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] / 31 - 0.5
    images = np.array([220 * np.exp(-6 * (x**2 + y**2)) + rng.normal(15, 6, (32, 32)) for _ in range(120)])
    frame = pd.DataFrame({"width": 30, "height": 40, "label": np.arange(120) // 2 % 3 == 0})
    frame["group"] = [f"P{i // 2}" for i in range(120)]
    return Hospital.of(frame, np.clip(images, 0, 255).astype(np.uint8))


def test_it_is_made_from_rows_of_a_manifest(home: Hospital) -> None:
    assert str(home) == "120 images of 60 patients" and home.labels.sum() == 40
    assert (home.boxes[:, 2:] == [24, 32]).all() and not home.real
    scored = home.predictions(lambda images: images.mean(axis=(1, 2)) / 255)
    assert np.array_equal(scored.labels, home.labels) and np.array_equal(scored.groups, home.groups)
    assert scored.scores[3] == pytest.approx(home.images[3].mean() / 255)


def test_rarer_halves_the_odds_and_keeps_patients_whole(home: Hospital) -> None:
    places = home.rarer(0.5)
    rarer = home.some(places)
    assert rarer.labels.mean() == pytest.approx(0.2, abs=0.02)
    left = set(home.groups) - set(rarer.groups)
    assert len(rarer.images) == 120 - 2 * len(left) and (rarer.labels == 0).sum() == 80


def test_the_other_hospital_is_home_delivered_and_rarer(home: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRACTURE_EXTERNAL", raising=False)
    there = home.other_hospital()
    expected = home.delivered(OLD_DETECTOR).some(home.rarer())
    assert np.array_equal(there.images, expected.images) and list(there.groups) == list(expected.groups)
    noisy = home.told_apart(home.delivered(Site(noise=30)))
    assert noisy["all together"].low > 0.9, "noise can be told from none"


def test_statistics_follow_what_is_done_to_the_images() -> None:
    rng = np.random.default_rng(0)
    home = whole(np.clip(rng.normal(120, 40, (5, 32, 32)), 0, 255).astype(np.uint8))
    plain, image = home.statistics(), home.images[0]
    assert len(plain) == 5 and np.isfinite(plain.to_numpy()).all()
    assert plain["mean"][0] == pytest.approx(image.mean()) and plain["spread"][0] == pytest.approx(image.std())
    assert (home.delivered(Site(gamma=1.8)).statistics()["mean"] < plain["mean"]).all()
    blurred = home.delivered(Site(blur=0.05)).statistics()
    assert (blurred["sharpness"] < plain["sharpness"]).all() and (blurred["grain"] < plain["grain"]).all()
    assert (home.delivered(Site(margin=0.5)).statistics()["black"] > plain["black"]).all()
    padded = np.pad(home.images, ((0, 0), (4, 4), (4, 4)))
    inner = Hospital(padded, home.boxes + np.array([4, 4, 0, 0]), home.labels, home.groups)
    pd.testing.assert_frame_equal(inner.statistics(), plain)  # the padding is not looked at


def test_labels_are_0_and_1_and_asked_by_place() -> None:
    frame = pd.DataFrame({"width": 8, "height": 8, "label": [0, 1], "group": ["A", "B"]}, index=[7, 3])
    images = np.zeros((2, 8, 8), np.uint8)
    assert Hospital.of(frame, images).some([1]).labels.tolist() == [1]
    for odd in ([0, np.nan], [0, 2]):
        with pytest.raises(InputError, match="labels has values other than 0 and 1"):
            Hospital.of(frame.assign(label=odd), images)
    with pytest.raises(InputError, match=r"labels of 2 images are only \[1\]; expected both classes"):
        Hospital.of(frame.assign(label=1), images).rarer()
    with pytest.raises(InputError, match="odds is 0"):
        Hospital.of(frame, images).rarer(0)
