"""Copies of every kind are found, and strangers are not called copies."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fracturelib._io.files import cache_dir
from fracturelib.curate.duplicates import MANY, Copies, candidate_pairs, copies_in, find_copies, white_proportion
from fracturelib.curate.keypoints import _look, digest_of, look_at
from fracturelib.curate.registration import CHANGES, Registration, alike_both_ways, changed_points, register_each
from tests.conftest import ROOT
from tests.copies import KINDS, altered, planted, rotated
from tests.radiographs import radiograph, save

DEMO = ROOT / "data" / "demo"


@pytest.fixture(scope="module")
def set_with_copies(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], pd.DataFrame]:
    """304 images, and 8 copies of each of 12 kinds."""
    images = sorted(DEMO.rglob("*.jpg"))
    chosen = [images[i] for i in np.random.default_rng(5).permutation(len(images))[:304]]
    table = planted(chosen, tmp_path_factory.mktemp("copies"), each=8, seed=5)
    return [*chosen, *table["copy"]], table


@pytest.fixture(scope="module")
def found(set_with_copies: tuple[list[Path], pd.DataFrame]) -> Copies:
    return copies_in(set_with_copies[0])


def test_copies_of_each_kind_are_found(set_with_copies: tuple[list[Path], pd.DataFrame], found: Copies) -> None:
    paths, table = set_with_copies
    group = dict(zip(paths, found.group, strict=True))
    hit = pd.Series([group[s] == group[c] for s, c in zip(table["source"], table["copy"], strict=True)])
    recall = hit.groupby(table["kind"]).mean()
    assert set(recall.index) == set(KINDS)
    assert (recall == 1).all(), recall.to_dict()


def test_strangers_are_no_copies(set_with_copies: tuple[list[Path], pd.DataFrame], found: Copies) -> None:
    paths, table = set_with_copies
    source = dict(zip(table["copy"], table["source"], strict=True))
    for copy in found.found:
        a, b = paths[copy.first], paths[copy.second]
        assert source.get(a, a) == source.get(b, b), copy
    assert all(len(group) <= 2 for group in found.groups)


def test_what_was_done_is_said(set_with_copies: tuple[list[Path], pd.DataFrame], found: Copies) -> None:
    paths, table = set_with_copies
    kind = {paths.index(copy): kind for kind, copy in zip(table["kind"], table["copy"], strict=True)}
    said: dict[str, list[str]] = {}
    for copy in found.found:
        said.setdefault(kind[copy.second], []).append(copy.how)
    assert set(said["identical"]) == {"identical bytes"}
    assert all("inverted" in how for how in said["inverted"])
    assert all("mirrored" in how for how in said["mirrored"])
    assert all("turned by" in how for how in said["turned"])
    assert all("truncated" in how for how in said["truncated"])
    assert all("resized by" in how for how in said["resized"])


def test_a_second_look_reads_nothing(
    set_with_copies: tuple[list[Path], pd.DataFrame], found: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fracturelib.curate.keypoints._look", None)
    again = look_at(set_with_copies[0][:50])
    assert len(again) == 50 and all(look.small.size for look in again)


def test_the_same_twice(set_with_copies: tuple[list[Path], pd.DataFrame]) -> None:
    paths = set_with_copies[0][-60:] + set_with_copies[0][:60]
    one, two = copies_in(paths), copies_in(paths)
    assert one.found == two.found and (one.group == two.group).all()


def test_what_was_computed_survives_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("fracturelib.curate.keypoints.CHUNK", 10)
    paths = [save(radiograph(i), tmp_path / "images" / f"{i:02d}.png") for i in range(40)]
    looked = []

    def stopped(path: Path, digest: str):  # type: ignore[no-untyped-def]
        looked.append(digest)
        if len(looked) == 25:
            raise KeyboardInterrupt
        return _look(path, digest)

    monkeypatch.setattr("fracturelib.curate.keypoints._look", stopped)
    with pytest.raises(KeyboardInterrupt):
        look_at(paths)
    first = len(looked)
    assert len(look_at(paths)) == 40
    assert len(looked) - first <= 20, "what two whole chunks held was computed again"


def test_a_damaged_cache_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))
    path = save(radiograph(1), tmp_path / "image.png")
    look_at([path])
    memory = next(cache_dir().glob("audit-*.sqlite"))
    memory.write_bytes(b"no database" * 1000)
    assert look_at([path])[0].reason == "" and look_at([path])[0].digest == digest_of(path)


@pytest.mark.parametrize("change", CHANGES)
def test_descriptors_under_mirror_and_inversion(tmp_path: Path, change: tuple[bool, bool]) -> None:
    mirrored, inverted = change
    with Image.open(sorted(DEMO.rglob("*.jpg"))[0]) as opened:
        image = np.asarray(opened)
    other = image[:, ::-1] if mirrored else image
    other = 255 - other if inverted else other
    a, b = look_at([save(image, tmp_path / "a.png"), save(np.ascontiguousarray(other), tmp_path / "b.png")])
    (meeting,) = register_each(a, [b])
    assert meeting is not None and meeting.is_copy
    assert (meeting.mirrored, meeting.inverted) == (mirrored, inverted)
    assert abs(meeting.degrees) < 1 and meeting.scale == pytest.approx(1, abs=0.01)
    ours, theirs = changed_points(a, mirrored=mirrored, inverted=inverted), b.points
    far = np.abs(ours[:, None, :2] - theirs[None, :, :2]).sum(axis=2)
    nearest = far.argmin(axis=1)
    same = far.min(axis=1) < 1
    assert same.mean() > 0.7
    x, y = alike_both_ways(a.words)[same], alike_both_ways(b.words)[nearest[same]]
    alike = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert np.median(alike) > 0.95


def test_few_or_no_images(tmp_path: Path) -> None:
    assert find_copies([]).groups == []
    blank = save(np.full((64, 64), 7, np.uint8), tmp_path / "blank.png")
    assert copies_in([blank]).groups == []
    other = save(np.full((64, 80), 7, np.uint8), tmp_path / "other.png")
    assert copies_in([blank, other]).groups == []
    assert copies_in([tmp_path / "missing.png", tmp_path / "gone.png"]).groups == []
    twice = save(radiograph(1), tmp_path / "one.png")
    (tmp_path / "two.png").write_bytes(twice.read_bytes())
    assert copies_in([twice, tmp_path / "two.png", blank]).groups == [[0, 1]]


def test_made_up_images_are_no_copies(tmp_path: Path) -> None:
    """Shafts on a noisy ground that differ in their noise only: little to tell them apart by."""
    paths = [save(radiograph(i), tmp_path / f"{i}.png") for i in range(60)]
    assert copies_in(paths).groups == []


def test_views_of_one_patient_are_no_copies() -> None:
    manifest = pd.read_csv(DEMO / "manifest.csv")
    several = manifest[manifest["group"].duplicated(keep=False)].sort_values("group").head(120)
    assert copies_in([DEMO / file for file in several["file"]]).groups == []


def overexposed(images: list[Path], folder: Path, share: float) -> list[Path]:
    """The images, so bright that `share` of each is white, as JPEG."""
    paths = []
    for path in images:
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("L")).astype(np.float64)
        level = max(1.0, float(np.quantile(image, 1 - share)))
        paths.append(folder / f"overexposed-{path.stem}.jpg")
        Image.fromarray(np.clip(image / level * 255, 0, 255).astype(np.uint8)).save(paths[-1], quality=85)
    return paths


@pytest.fixture(scope="module")
def some_images() -> list[Path]:
    images = sorted(DEMO.rglob("*.jpg"))
    return [images[i] for i in np.random.default_rng(8).permutation(len(images))[:120]]


def test_copies_that_are_overexposed_are_found(some_images: list[Path], tmp_path: Path) -> None:
    """An eighth of each is white: its points are fewer, but enough."""
    found = copies_in([*some_images, *overexposed(some_images[:20], tmp_path, 0.12)])
    right = [copy.second - 120 == copy.first for copy in found.found]
    assert sum(right) >= 19 and all(right)


def test_different_images_overexposed_are_no_copies(some_images: list[Path], tmp_path: Path) -> None:
    bright = overexposed(some_images[:24], tmp_path, 0.5)
    assert copies_in(bright).groups == []
    assert copies_in([*some_images[24:64], *bright]).groups == []


def test_blank_images_are_no_copies(tmp_path: Path) -> None:
    white = np.full((96, 128), 255, np.uint8)
    other = white.copy()
    other[40:50, 20:100] = np.arange(80, dtype=np.uint8) * 3
    paths = [
        save(white, tmp_path / "white.png"),
        save(other, tmp_path / "other.png"),
        save(radiograph(2), tmp_path / "f.png"),
    ]
    looks = look_at(paths)
    assert white_proportion(looks[0].small) == 1
    assert copies_in(paths).groups == []


@pytest.mark.parametrize(
    ("points", "likeness", "overlap", "copy"),
    [(40, 0.8, 0.9, True), (15, 0.8, 0.9, False), (15, 0.95, 0.9, True), (40, 0.6, 0.9, False), (40, 0.8, 0.4, False)],
)
def test_many_exact_points_outweigh_noise(points: int, likeness: float, overlap: float, copy: bool) -> None:
    meeting = Registration(False, False, np.eye(2, 3), points, 0.4, 0.3, likeness, overlap)
    assert meeting.is_copy is copy


def test_some_images_have_more_candidates() -> None:
    signature = np.random.default_rng(0).normal(size=(200, 30)).astype(np.float32)
    few, more = set(candidate_pairs(signature)), set(candidate_pairs(signature, many=[7]))
    assert few < more and all(7 in pair for pair in more - few)
    assert sum(7 in pair for pair in more) >= MANY


def test_black_corners_do_not_make_copies_unlike(some_images: list[Path], tmp_path: Path) -> None:
    """An image turned within its frame has black wedges whose edges are far stronger than what it shows."""
    likeness = []
    for i, path in enumerate(some_images[:12]):
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("L"))
        a, b = look_at([path, save(rotated(image, 12, expand=False), tmp_path / f"{i}.png")])
        (meeting,) = register_each(a, [b])
        assert meeting is not None and meeting.is_copy
        likeness.append(meeting.likeness)
    assert min(likeness) > 0.85 and np.median(likeness) > 0.95


def test_kinds_change_what_they_say() -> None:
    image = radiograph(3, width=120, height=160)
    for kind in set(KINDS) - {"identical", "encoded", "truncated"}:
        assert not np.array_equal(altered(image, kind, np.random.default_rng(1)), image), kind
