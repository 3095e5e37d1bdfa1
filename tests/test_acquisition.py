"""Images of another department: each change does what it says and nothing else, and patients stay whole."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fracturelib._io.files import InputError
from fracturelib.shift import Hospital, Site
from fracturelib.shift.acquisition import OLD_DETECTOR, case_mix, inside, open_external
from tests.hospitals import SIZE, hospital, whole
from tests.radiographs import plain_folder

ALONE = [replace(Site(), **{f.name: getattr(OLD_DETECTOR, f.name)}) for f in fields(Site)]
SEEDS = st.integers(0, 2**32 - 1)


def padding(found: Hospital) -> np.ndarray:
    outside = np.ones(found.images.shape, bool)
    for mask, box in zip(outside, found.boxes, strict=True):
        inside(mask, box)[:] = False
    return found.images[outside]


def delivered(images: np.ndarray, site: Site) -> np.ndarray:
    return whole(images).delivered(site).images


def test_home_changes_nothing_and_gives_a_copy() -> None:
    home = hospital(6)
    found = home.delivered(Site())
    assert np.array_equal(found.images, home.images) and not np.shares_memory(found.images, home.images)


@pytest.mark.parametrize("site", [OLD_DETECTOR, *ALONE])
def test_a_site_changes_images_but_neither_shape_nor_padding_nor_the_original(site: Site) -> None:
    home = hospital(12, size=224)
    before = home.images.copy()
    found = home.delivered(site, seed=3)
    assert found.images.shape == before.shape and found.images.dtype == np.uint8
    assert np.array_equal(home.images, before) and not np.array_equal(found.images, before)
    assert not padding(found).any(), "the square's padding is no part of the image"
    assert np.array_equal(found.images, home.delivered(site, seed=3).images)


def test_an_image_gets_the_same_whatever_comes_after_it() -> None:
    home = hospital(6)
    found = home.delivered(OLD_DETECTOR).images
    assert np.array_equal(found[:2], home.some([0, 1]).delivered(OLD_DETECTOR).images)
    assert not np.array_equal(found, home.delivered(OLD_DETECTOR, seed=1).images)


def test_each_change_is_what_it_says() -> None:
    home = hospital(6)
    images = home.images
    assert np.array_equal(delivered(images, Site(inverted=1.0)), 255 - images)
    curve = np.round(255 * (np.arange(256) / 255) ** 1.8).astype(np.uint8)
    assert np.array_equal(delivered(images, Site(gamma=1.8)), curve[images])
    flat = np.full((1, SIZE, SIZE), 120, np.uint8)
    assert np.array_equal(delivered(flat, Site(blur=0.02)), flat)
    noisy = delivered(flat, Site(noise=5.0)).astype(float)
    assert noisy.mean() == pytest.approx(120, abs=0.5) and noisy.std() == pytest.approx(5, abs=0.3)
    edges = np.abs(np.diff(images.astype(int), axis=2)).mean()
    assert np.abs(np.diff(delivered(images, Site(blur=0.02)).astype(int), axis=2)).mean() < 0.8 * edges
    framed = delivered(np.full((4, SIZE, SIZE), 200, np.uint8), Site(margin=0.4))
    share = (framed == 200).mean(axis=(1, 2))
    assert set(np.unique(framed)) == {0, 200} and (share > 0.6**2 - 0.03).all() and (share < 0.88**2 + 0.03).all()
    stored = home.delivered(Site(quality=20)).images.astype(int)
    assert 0 < np.abs(stored - images).mean() < 12


def test_the_share_of_inverted_images_is_met() -> None:
    images = np.zeros((400, 8, 8), np.uint8)
    turned = delivered(images, Site(inverted=0.25)).any(axis=(1, 2)).mean()
    assert turned == pytest.approx(0.25, abs=0.07)


@given(SEEDS, st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_case_mix_leaves_out_whole_patients_of_one_kind_only(seed: int, prevalence: float) -> None:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 60, 150)
    broken = rng.random(60) < 0.4
    y = (broken[group] & (rng.random(150) < 0.7)).astype(np.int64)
    if not 0 < y.sum() < 150:
        return
    kept = case_mix(y, group, prevalence, seed=seed)
    assert np.array_equal(kept, case_mix(y, group, prevalence, seed=seed)) and (np.diff(kept) > 0).all()
    gone = np.setdiff1d(np.arange(150), kept)
    assert not set(group[kept]) & set(group[gone]), "a patient is there whole or not at all"
    has = np.isin(group, group[y == 1])
    assert not has[gone].any() if prevalence > y.mean() else has[gone].all()
    assert abs(y[kept].mean() - prevalence) <= abs(y.mean() - prevalence) + 1e-12


def test_case_mix_meets_the_prevalence_where_patients_are_many() -> None:
    y = (np.arange(2000) % 5 < 2).astype(np.int64)
    for prevalence in (0.1, 0.25, 0.6):
        kept = case_mix(y, np.arange(2000), prevalence)
        assert y[kept].mean() == pytest.approx(prevalence, abs=0.001)
    assert len(case_mix(y, np.arange(2000), float(y.mean()))) == 2000


@pytest.mark.parametrize(
    "wrong",
    [{"blur": -0.1}, {"noise": 101}, {"gamma": 0.0}, {"margin": 0.9}, {"inverted": 1.1}, {"quality": 0}],
)
def test_a_site_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Site(**wrong)


def test_errors_name_the_argument() -> None:
    home = hospital(6)
    for name in ("boxes", "labels", "groups"):
        with pytest.raises(InputError, match=f"{name} has 2 rows; expected 6"):
            replace(home, **{name: getattr(home, name)[:2]})
        with pytest.raises(InputError, match=f"{name} has 0 rows; expected 6"):
            replace(home, **{name: None})
    with pytest.raises(InputError, match="prevalence is 1"):
        case_mix([0, 1], [0, 1], 1.0)
    with pytest.raises(InputError, match="a class is missing"):
        case_mix([0, 0], [0, 1], 0.5)


def test_a_real_hospital_is_read_from_the_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRACTURE_EXTERNAL", raising=False)
    assert open_external(32) is None
    plain_folder(tmp_path / "there", splits={"train": 2, "val": 3, "test": 4})
    monkeypatch.setenv("FRACTURE_EXTERNAL", str(tmp_path / "there"))
    found = open_external(32)
    assert found is not None
    frame, images = found
    assert set(frame["split"]) == {"test"} and images.shape == (8, 32, 32) and frame["label"].sum() == 4
    plain_folder(tmp_path / "other", splits={"train": 2, "val": 3})
    monkeypatch.setenv("FRACTURE_EXTERNAL", str(tmp_path / "other"))
    other = open_external(32)
    assert other is not None and set(other[0]["split"]) == {"val"}
