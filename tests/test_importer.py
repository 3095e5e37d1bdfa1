"""From any layout to the one layout."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fracturelib._io.files import InputError
from fracturelib.curate.cleaning import Drop
from fracturelib.curate.importer import import_dataset
from fracturelib.curate.split_table import read_split_table
from fracturelib.data.coco import Annotation, fracture_mask, turn
from fracturelib.data.dataset import fingerprint, load_annotations, load_manifest
from fracturelib.data.groups import in_one_split, joined, split_by_group
from fracturelib.data.layouts import read_folder
from fracturelib.data.published import consecutive_groups
from fracturelib.models.classifier import load_classifier
from fracturelib.models.shipped import PRETRAINED, PRETRAINED_SPLITS
from tests.radiographs import plain_folder, radiograph, save


def made_up_fracatlas(root: Path, n: int = 60) -> Path:
    """The published layout with made-up images: every third fractured, hands in even tens and hips in odd ones."""
    rows, images, annotations = [], [], []
    for i in range(n):
        name, fractured = f"IMG{i:07d}.jpg", i % 3 == 0
        hand = (i // 10) % 2 == 0
        save(
            radiograph(i, fractured=fractured), root / "images" / ("Fractured" if fractured else "Non_fractured") / name
        )
        rows.append([name, int(hand), 0, int(not hand), 0, 0, 0, 0, int(fractured), int(fractured), 1, 0, 0])
        if fractured:
            images.append({"id": i, "file_name": name, "width": 48, "height": 64})
            box = {"bbox": [10, 20, 8, 4], "segmentation": [[10, 20, 18, 20, 18, 24, 10, 24]]}
            annotations.append({"id": i, "image_id": i, "category_id": 0, **box})
    columns = "image_id hand leg hip shoulder mixed hardware multiscan fractured fracture_count frontal lateral oblique"
    pd.DataFrame(rows, columns=columns.split()).to_csv(root / "dataset.csv", index=False)
    coco = root / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    coco.parent.mkdir(parents=True)
    coco.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 0, "name": "f"}]}))
    return root


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_fracatlas_as_published(tmp_path: Path) -> None:
    source = made_up_fracatlas(tmp_path / "FracAtlas")
    report = import_dataset(source, tmp_path / "out", progress=False)
    frame = load_manifest(tmp_path / "out")
    assert report.images == len(frame) == 60 and report.changed and not report.left_out and not report.notes
    assert set(frame["region"]) == {"hand", "hip"} and set(frame["view"]) == {"frontal"}
    assert set(frame["split"]) == {"train", "val", "test"}
    assert frame.groupby("group")["split"].nunique().max() == 1
    annotations = load_annotations(tmp_path / "out")
    assert sorted(annotations) == sorted(frame.loc[frame["label"] == 1, "file"])
    first = frame[frame["file"].str.endswith("IMG0000000.jpg")].iloc[0]
    assert first["group"] == "IMG0000000" and fracture_mask(annotations[first["file"]], width=48, height=64).sum() == 45
    copied = tmp_path / "out" / first["file"]
    assert copied.read_bytes() == (source / "images" / "Fractured" / "IMG0000000.jpg").read_bytes()


def test_a_zip_gives_the_same(tmp_path: Path) -> None:
    source = made_up_fracatlas(tmp_path / "in" / "FracAtlas", 30)
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "in")
    import_dataset(source, tmp_path / "a", progress=False)
    import_dataset(packed, tmp_path / "b", progress=False)
    assert load_manifest(tmp_path / "a").equals(load_manifest(tmp_path / "b"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "in", "packed.zip"]


def test_a_zip_that_leaves_its_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../outside.txt", "x")
    with pytest.raises(InputError, match=r"'\.\./outside.txt' leaves the folder"):
        import_dataset(tmp_path / "bad.zip", tmp_path / "in" / "out", progress=False)
    assert not (tmp_path / "in" / "outside.txt").exists() and not (tmp_path / "in" / "out").exists()


def test_folder_and_mask_overrule_the_table(tmp_path: Path) -> None:
    source = made_up_fracatlas(tmp_path / "FracAtlas", 30)
    table = pd.read_csv(source / "dataset.csv")
    table.loc[4, "fractured"] = 1
    table.drop(index=5).to_csv(source / "dataset.csv", index=False)
    masked = source / "images" / "Fractured" / "IMG0000006.jpg"
    masked.rename(source / "images" / "Non_fractured" / "IMG0000006.jpg")
    found = read_folder(source)
    label = found.images.set_index("name")["label"]
    assert label["IMG0000004.jpg"] == 0 and label["IMG0000006.jpg"] == 1
    notes = "\n".join(found.notes)
    assert "1 image is not in dataset.csv: IMG0000005.jpg" in notes
    assert "2 images have another label in dataset.csv than their folder; the folder holds: IMG0000004.jpg" in notes
    assert "1 image labelled not fractured has a mask; the mask holds: IMG0000006.jpg" in notes


def test_a_second_import_changes_nothing(tmp_path: Path) -> None:
    source = made_up_fracatlas(tmp_path / "FracAtlas", 30)
    first = import_dataset(source, tmp_path / "out", progress=False)
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (tmp_path / "out").rglob("*")}
    second = import_dataset(source, tmp_path / "out", progress=False)
    assert not second.changed and "nothing was changed" in second.summary
    assert (second.images, second.groups, second.counts) == (first.images, first.groups, first.counts)
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (tmp_path / "out").rglob("*")}


def test_two_imports_are_equal(tmp_path: Path) -> None:
    source = made_up_fracatlas(tmp_path / "FracAtlas", 30)
    for name in ("a", "b"):
        import_dataset(source, tmp_path / name, progress=False)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize("occupied", ["by another import", "by something else"])
def test_what_is_in_the_way_stays(tmp_path: Path, occupied: str) -> None:
    source = made_up_fracatlas(tmp_path / "FracAtlas", 30)
    if occupied == "by another import":
        import_dataset(source, tmp_path / "out", seed=1, progress=False)
    else:
        save(radiograph(1), tmp_path / "out" / "mine.jpg")
    before = digests(tmp_path / "out")
    with pytest.raises(InputError, match="expected a new folder"):
        import_dataset(source, tmp_path / "out", progress=False)
    assert digests(tmp_path / "out") == before


def test_unreadable_images_are_left_out_and_listed(tmp_path: Path) -> None:
    source = made_up_fracatlas(tmp_path / "FracAtlas", 30)
    half = source / "images" / "Fractured" / "IMG0000000.jpg"
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    (source / "images" / "Non_fractured" / "IMG0000001.jpg").write_bytes(b"")
    report = import_dataset(source, tmp_path / "out", progress=False)
    assert [f for f, _ in report.left_out] == ["Fractured/IMG0000000.jpg", "Non_fractured/IMG0000001.jpg"]
    assert report.images == 28 and "left out: 2" in report.summary
    assert len(json.loads((tmp_path / "out" / "import.json").read_text())["left_out"]) == 2


@pytest.mark.parametrize("splits", [{"train": 6, "val": 3}, {"Training": 6, "valid": 3, "TEST": 2}])
def test_class_folders_with_splits_keep_them(tmp_path: Path, splits: dict[str, int]) -> None:
    report = import_dataset(plain_folder(tmp_path / "in", splits=splits), tmp_path / "out", progress=False)
    expected = dict(zip(("train", "val", "test"), splits.values(), strict=False))
    assert report.counts == {s: {"Fractured": n, "Not Fractured": n} for s, n in expected.items()}
    assert (tmp_path / "out" / "train" / "Not Fractured" / "image000.jpg").is_file()


def test_class_folders_without_splits_are_split(tmp_path: Path) -> None:
    plain_folder(tmp_path, splits={"in": 40}, names=("Normal", "Positive"))
    report = import_dataset(tmp_path / "in", tmp_path / "out", progress=False)
    assert report.counts["train"] == {"Fractured": 28, "Not Fractured": 28}
    assert any("no patient is known" in note for note in report.notes)
    other = import_dataset(tmp_path / "in", tmp_path / "other", seed=1, progress=False)
    assert other.counts == report.counts
    assert not load_manifest(tmp_path / "out").equals(load_manifest(tmp_path / "other"))


def test_patients_by_a_pattern_stay_together(tmp_path: Path) -> None:
    for i in range(60):
        name = f"patient{i // 3:02d}_view{i % 3}.png"
        save(radiograph(i, fractured=i % 2 == 0), tmp_path / "in" / ("fractured" if i % 2 == 0 else "normal") / name)
    import_dataset(tmp_path / "in", tmp_path / "out", group_pattern=r"patient(\d+)", progress=False)
    frame = load_manifest(tmp_path / "out")
    assert frame["group"].nunique() == 20 and frame.groupby("group")["split"].nunique().max() == 1
    with pytest.raises(InputError, match="is not found in"):
        import_dataset(tmp_path / "in", tmp_path / "no", group_pattern=r"study(\d+)", progress=False)
    with pytest.raises(InputError, match="expected a regular expression"):
        import_dataset(tmp_path / "in", tmp_path / "no", group_pattern=r"patient(", progress=False)


def test_byte_identical_images_share_a_group(tmp_path: Path) -> None:
    plain_folder(tmp_path, splits={"in": 20})
    for i in range(10):
        shutil.copy(tmp_path / "in" / "fractured" / "image000.jpg", tmp_path / "in" / "fractured" / f"copy{i}.jpg")
    import_dataset(tmp_path / "in", tmp_path / "out", progress=False)
    frame = load_manifest(tmp_path / "out")
    copies = frame[frame["file"].str.contains("copy|fractured/image000", case=False) & (frame["label"] == 1)]
    assert len(copies) == 11 and copies["group"].nunique() == 1 and copies["split"].nunique() == 1


def test_a_leak_in_the_source_is_said(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "in", splits={"train": 3, "val": 3})
    shutil.copy(folder / "train" / "fractured" / "image000.jpg", folder / "val" / "fractured" / "again.jpg")
    report = import_dataset(folder, tmp_path / "out", progress=False)
    assert any("1 groups are in more than one split" in note for note in report.notes)


def test_unknown_layouts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        import_dataset(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no known layout; expected FracAtlas"):
        import_dataset(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(InputError, match="neither a folder nor a zip file"):
        import_dataset(tmp_path / "text.zip", tmp_path / "out")


def test_nothing_readable(tmp_path: Path) -> None:
    for name in ("fractured", "normal"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "a.jpg").write_text("no picture")
    with pytest.raises(InputError, match="none of 2 images can be read"):
        import_dataset(tmp_path / "in", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_runs_of_consecutive_numbers() -> None:
    numbers = [1, 2, 3, 5, 6, 7, 8, *range(20, 50)]
    regions = ["hand", "hand", "hip", "hip", "hip", "hand", "hand", *["leg"] * 30]
    names = pd.Series([f"IMG{n:07d}.jpg" for n in numbers])
    groups = consecutive_groups(names, pd.Series(regions))
    found = [len(g) for _, g in groups.groupby(groups)]
    assert found == [2, 1, 2, 2, 12, 12, 6] and groups.iloc[0] == groups.iloc[1] == "IMG0000001"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40))
def test_joined_groups_are_the_connected_ones(pairs: list[tuple[int, int]]) -> None:
    result = joined([f"g{a}" for a, _ in pairs], [f"d{b}" for _, b in pairs])
    for (a, b), one in zip(pairs, result, strict=True):
        for (c, d), other in zip(pairs, result, strict=True):
            if a == c or b == d:
                assert one == other
    assert set(result) <= {f"g{a}" for a, _ in pairs}


def test_a_split_shares_out_each_stratum() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(400), rng.integers(1, 4, 400)).astype(str)
    strata = np.where(rng.random(len(groups)) < 0.2, "1 hand", "0 hand")
    split = split_by_group(strata, groups, seed=0)
    frame = pd.DataFrame({"group": groups, "split": split, "positive": strata == "1 hand"})
    assert frame.groupby("group")["split"].nunique().max() == 1
    share = frame["split"].value_counts(normalize=True)
    assert abs(share["test"] - 0.15) < 0.02 and abs(share["val"] - 0.15) < 0.02
    assert np.ptp(frame.groupby("split")["positive"].mean()) < 0.04


def test_a_region_of_few_images_is_shared_out_as_well() -> None:
    """By chance alone its share would differ by about 0.06 between splits."""
    rng = np.random.default_rng(0)
    groups = np.arange(800).astype(str)
    foot = rng.random(800) < 0.1
    strata = np.char.add(rng.integers(0, 2, 800).astype(str), np.where(foot, " foot", " hand"))
    for seed in range(5):
        split = pd.Series(split_by_group(strata, groups, seed=seed))
        assert np.ptp(pd.Series(foot).groupby(split).mean()) < 0.03


def test_groups_in_two_splits_go_to_train_or_else_to_val() -> None:
    rows = [("a", "train", 1), ("a", "test", 1), ("b", "val", 0), ("b", "test", 0), ("c", "train", 0), ("d", "val", 1)]
    alone = [("e", "test", 1), ("f", "test", 0)]
    images, said = in_one_split(pd.DataFrame(rows + alone, columns=["group", "split", "label"]))
    assert images["split"].tolist() == ["train", "train", "val", "val", "train", "val", "test", "test"]
    assert said[0].startswith("2 groups") and "2 of their images were moved to train or val" in said[0]
    images, said = in_one_split(pd.DataFrame(rows + alone[:1], columns=["group", "split", "label"]))
    assert images["split"].tolist() == [split for _, split, _ in rows + alone[:1]]  # test would have lost a class
    assert "would empty a split" in said[0]
    assert in_one_split(images.iloc[4:])[1] == []


@pytest.mark.parametrize("each", range(2, 20))
def test_few_images_are_split_so_that_every_split_holds_both_classes(each: int) -> None:
    label = pd.Series(["1", "0"] * each)
    split = split_by_group(label, [str(i) for i in range(2 * each)], seed=each)
    expected = ("train", "val", "test") if each > 2 else ("train", "val")
    assert {(s, c) for s, c in zip(split, label, strict=True)} == {(s, c) for s in expected for c in "01"}
    assert each < 5 or (split == "train").mean() > 0.5


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("mixed", [True, False])
def test_few_patients_are_split_so_that_every_split_holds_both_classes(seed: int, mixed: bool) -> None:
    """16 and 16 images of 8 patients, each with both classes or with one; no patient is torn apart."""
    patient = np.repeat(np.arange(8), 4)
    label = pd.Series(np.where(np.arange(32) % 2 if mixed else patient % 2, "1 hand", "0 hand"))
    split = split_by_group(label, patient.astype(str), seed=seed)
    frame = pd.DataFrame({"split": split, "label": label, "patient": patient})
    assert (frame.groupby("split")["label"].nunique() == 2).all() and frame["split"].nunique() == 3
    assert frame.groupby("patient")["split"].nunique().max() == 1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1)), min_size=2, max_size=40), st.integers(0, 3))
def test_splits_of_any_small_set(rows: list[tuple[int, int]], seed: int) -> None:
    group, label = [f"g{g}" for g, _ in rows], [str(c) for _, c in rows]
    frame = pd.DataFrame({"group": group, "label": label})
    kinds = frame.groupby("group")["label"].agg(lambda v: "".join(sorted(set(v))))
    possible = int((kinds == "01").sum()) + min(int((kinds == "0").sum()), int((kinds == "1").sum()))
    if len(set(label)) < 2:
        return
    if possible < 2:
        with pytest.raises(InputError, match="expected at least 2 of each, so that train and val hold both classes"):
            split_by_group(label, group, seed=seed)
        return
    frame["split"] = split_by_group(label, group, seed=seed)
    assert (frame.groupby("split")["label"].nunique() == 2).all()
    assert frame["split"].nunique() == min(3, possible) and frame.groupby("group")["split"].nunique().max() == 1


def test_three_images_a_class_are_imported_and_can_be_trained_on(tmp_path: Path) -> None:
    plain_folder(tmp_path, splits={"in": 3})
    report = import_dataset(tmp_path / "in", tmp_path / "out", progress=False)
    assert report.counts == {s: {"Fractured": 1, "Not Fractured": 1} for s in ("train", "val", "test")}
    shutil.rmtree(tmp_path / "out")
    for name in ("fractured", "not fractured"):
        (tmp_path / "in" / name / "image000.jpg").unlink()
    report = import_dataset(tmp_path / "in", tmp_path / "out", progress=False)
    assert set(report.counts) == {"train", "val"} and "too few patients for a test split" in report.notes[-1]


def test_a_source_without_val_is_said(tmp_path: Path) -> None:
    report = import_dataset(plain_folder(tmp_path / "in", splits={"train": 3, "test": 2}), tmp_path / "out")
    assert sum("the source has no val: training needs both" in note for note in report.notes) == 1


def test_a_changed_label_file_is_another_import(tmp_path: Path) -> None:
    source = made_up_graz(tmp_path / "GRAZ")
    import_dataset(source, tmp_path / "out", progress=False)
    label = next(p for p in sorted(source.rglob("labels/*.txt")) if p.read_text().count("\n") == 2)
    label.write_text("3 0.5 0.5 0.25 0.25\n")
    with pytest.raises(InputError, match="holds another import"):
        import_dataset(source, tmp_path / "out", progress=False)


@pytest.mark.parametrize("direction", range(1, 9))
def test_annotations_are_turned_with_the_image(tmp_path: Path, direction: int) -> None:
    stored = np.zeros((40, 60), np.uint8)
    stored[5:12, 20:41] = 255
    exif = Image.Exif()
    exif[0x0112] = direction
    path = save(stored, tmp_path / "image.png", exif=exif)
    from fracturelib.data.decode import read_grey

    shown = read_grey(path)
    corners = np.array([[20, 5], [41, 5], [41, 12], [20, 12]], dtype=float)
    turned = turn(Annotation((corners,), (20, 5, 21, 7)), 60, 40, direction)
    x, y, w, h = (round(v) for v in turned.bbox)
    assert (shown[y : y + h, x : x + w] == 255).all() and (shown > 0).sum() == w * h
    assert turned.polygons[0].min(axis=0).tolist() == [x, y]


def test_fracatlas_itself(fracatlas: Path, tmp_path: Path) -> None:
    found = read_folder(fracatlas)
    assert len(found.images) == 3218 and int(found.images["label"].sum()) == 577
    assert len(found.annotations) == 577 and found.images.groupby("group").size().max() <= 12


def made_up_mura(root: Path, patients: int = 8) -> Path:
    """The published layout with made-up images: each patient with a study of two images, every other one abnormal."""
    for i in range(patients):
        split, kind = ("valid" if i % 4 == 3 else "train"), ("positive" if i % 2 else "negative")
        region = "XR_WRIST" if i < patients // 2 else "XR_ELBOW"
        study = root / split / region / f"patient{i:05d}" / f"study1_{kind}"
        for j in (1, 2):
            save(radiograph(2 * i + j, fractured=bool(i % 2)), study / f"image{j}.png")
        (study / "._image1.png").write_bytes(b"of a Mac")
    (root / "train_labeled_studies.csv").write_text("")
    return root


def test_mura_as_published(tmp_path: Path) -> None:
    report = import_dataset(made_up_mura(tmp_path / "MURA-v1.1"), tmp_path / "out", progress=False)
    frame = load_manifest(tmp_path / "out")
    assert report.kind == "MURA" and len(frame) == 16 and "abnormal" in report.notes[0]
    assert set(frame["region"]) == {"wrist", "elbow"} and frame["group"].nunique() == 8
    assert (frame["split"] == "val").sum() == 4 and (frame["label"] == frame["file"].str.contains("/Fractured/")).all()
    assert "train/Fractured/wrist-patient00001-study1-image1.png" in set(frame["file"])


def test_mura_that_is_not_as_published(tmp_path: Path) -> None:
    source = made_up_mura(tmp_path / "MURA-v1.1")
    stray = save(radiograph(99), source / "train" / "XR_WRIST" / "patient00001" / "image1.png")
    with pytest.raises(InputError, match=rf"{stray}: not MURA's layout; expected XR_REGION"):
        import_dataset(source, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def made_up_graz(root: Path, n: int = 40, names: str = "") -> Path:
    """The published layout with made-up 16-bit images in two parts: two of each patient, every third fractured."""
    rows = []
    for i in range(n):
        stem, fractured = f"{i // 2:04d}_{i:010d}_01_WRI-{'LR'[i % 2]}1_M011", i % 3 == 0
        save(
            radiograph(i, fractured=fractured).astype(np.uint16) * 257, root / f"images_part{1 + i % 2}" / f"{stem}.png"
        )
        rows.append([stem, i // 2, 11.5, "LR"[i % 2], 1 + i % 2, 1.0 if fractured else None, 1.0 if i == 5 else None])
        labels = root / "folder_structure" / "yolov5" / "labels"
        labels.mkdir(parents=True, exist_ok=True)
        number = 1 if names else 3
        lines = f"8 0.1 0.1 0.1 0.1\n{number} 0.5 0.25 0.25 0.125\n" if fractured else "8 0.1 0.1 0.1 0.1\n"
        (labels / f"{stem}.txt").write_text(lines)
    columns = "filestem patient_id age laterality projection fracture_visible metal"
    pd.DataFrame(rows, columns=columns.split()).to_csv(root / "dataset.csv", index=False)
    if names:
        (root / "folder_structure" / "yolov5" / "meta.yaml").write_text(f"nc: 2\nnames: [{names}]\n")
    return root


@pytest.mark.parametrize("names", ["", "'text', 'fracture'"])
def test_graz_as_published(tmp_path: Path, names: str) -> None:
    report = import_dataset(made_up_graz(tmp_path / "GRAZ", names=names), tmp_path / "out", progress=False)
    frame = load_manifest(tmp_path / "out")
    assert report.kind == "GRAZPEDWRI-DX" and len(frame) == 40 and not report.notes
    assert frame["group"].nunique() == 20 and frame.groupby("group")["split"].nunique().max() == 1
    assert set(frame["view"]) == {"frontal", "lateral"} and frame["hardware"].sum() == 1 and frame["label"].sum() == 14
    annotations = load_annotations(tmp_path / "out")
    assert set(annotations) == set(frame.loc[frame["label"] == 1, "file"])
    assert {a.bbox for found in annotations.values() for a in found} == {(18.0, 12.0, 12.0, 8.0)}


def test_graz_with_images_and_rows_missing(tmp_path: Path) -> None:
    source = made_up_graz(tmp_path / "GRAZ")
    table = pd.read_csv(source / "dataset.csv", dtype=str)
    (source / "images_part1" / f"{table['filestem'][0]}.png").unlink()
    table.drop(index=1).to_csv(source / "dataset.csv", index=False)
    report = import_dataset(source, tmp_path / "out", progress=False)
    assert report.images == 38
    assert report.notes[0].startswith("1 row of dataset.csv has no image: 0000_")
    assert report.notes[1].startswith("1 image is not in dataset.csv and was left out: 0000_")
    labels = next((source / "folder_structure").rglob(f"{table['filestem'][3]}.txt"))
    labels.write_text("3 0.5 wide\n")
    with pytest.raises(InputError, match=r"'3 0.5 wide' is not a YOLO label; expected class, x, y, width, height"):
        import_dataset(source, tmp_path / "again", progress=False)


def test_a_split_that_was_used_before(tmp_path: Path) -> None:
    source = made_up_fracatlas(tmp_path / "FracAtlas")
    import_dataset(source, tmp_path / "first", seed=3, progress=False)
    first = load_manifest(tmp_path / "first")
    names = first["file"].map(lambda file: Path(file).name)
    table = pd.DataFrame({"name": names, "split": first["split"]})
    unlisted = table["name"].isin(
        first.loc[first["group"] == first["group"].iloc[0], "file"].map(lambda f: Path(f).name)
    )
    table[~unlisted].to_csv(tmp_path / "splits.csv", index=False)
    import_dataset(source, tmp_path / "again", seed=0, splits=tmp_path / "splits.csv", progress=False)
    again = load_manifest(tmp_path / "again")
    found = again.set_index(again["file"].map(lambda file: Path(file).name))["split"]
    assert (found[table["name"]].to_numpy() == table["split"].where(~unlisted, "test")).all()
    assert set(load_annotations(tmp_path / "again")) == set(again.loc[again["label"] == 1, "file"])


def test_a_table_that_has_decided_what_is_left_out(tmp_path: Path) -> None:
    source = made_up_fracatlas(tmp_path / "FracAtlas")
    images = source / "images" / "Non_fractured"
    shutil.copyfile(images / "IMG0000001.jpg", images / "IMG0000002.jpg")  # both listed: they stay
    shutil.copyfile(images / "IMG0000001.jpg", images / "IMG0000059.jpg")  # not listed
    import_dataset(source, tmp_path / "first", progress=False)
    first = load_manifest(tmp_path / "first")
    names = first["file"].map(lambda file: Path(file).name)
    table = pd.DataFrame({"name": names, "split": first["split"], "group": "of the table " + first["group"]})
    table.loc[table["name"] == "IMG0000004.jpg", ["split", "group"]] = ("left out", "")
    table.loc[table["name"] == "IMG0000002.jpg", "group"] = "alone"
    table = table[~table["name"].isin(["IMG0000058.jpg", "IMG0000059.jpg"])]
    table.to_csv(tmp_path / "splits.csv", index=False)
    report = import_dataset(
        source, tmp_path / "again", splits=tmp_path / "splits.csv", drop=Drop(copies=True), progress=False
    )
    again = load_manifest(tmp_path / "again")
    again.index = again["file"].map(lambda file: Path(file).name)
    assert dict(report.left_out) == {
        "Non_fractured/IMG0000004.jpg": "left out by splits.csv",
        "Non_fractured/IMG0000059.jpg": "a copy of Non_fractured/IMG0000001.jpg",
    }
    # Not named, but of a group that is: with the others of that group.
    assert again.loc["IMG0000058.jpg", "group"] == again.loc["IMG0000056.jpg", "group"]
    assert again.loc["IMG0000058.jpg", "split"] == again.loc["IMG0000056.jpg", "split"]
    listed = table[table["split"] != "left out"].set_index("name")
    assert (again.loc[listed.index, ["split", "group"]] == listed).all(axis=None)
    assert set(again.columns) == set(first.columns)
    report = import_dataset(source, tmp_path / "only", splits=tmp_path / "splits.csv", listed_only=True, progress=False)
    assert dict(report.left_out) == {
        "Non_fractured/IMG0000004.jpg": "left out by splits.csv",
        "Non_fractured/IMG0000058.jpg": "not in splits.csv",
        "Non_fractured/IMG0000059.jpg": "not in splits.csv",
    }
    only = load_manifest(tmp_path / "only")
    only.index = only["file"].map(lambda file: Path(file).name)
    assert len(only) == len(listed) and (only.loc[listed.index, ["split", "group"]] == listed).all(axis=None)
    with pytest.raises(InputError, match="listed_only is given without splits; expected the table"):
        import_dataset(source, tmp_path / "none", listed_only=True, progress=False)


def test_the_table_of_the_shipped_network_gives_the_images_that_it_was_trained_on(
    tmp_path: Path, fracatlas: Path
) -> None:
    everything = Drop(copies=True, contradictions=True, broken=True)
    import_dataset(
        fracatlas, tmp_path / "out", splits=PRETRAINED_SPLITS, listed_only=True, drop=everything, progress=False
    )
    learnt = load_manifest(tmp_path / "out").assign(split="train")  # folds share out train and val
    assert fingerprint(learnt) == load_classifier(PRETRAINED).fingerprint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,split\na.jpg,train\n", "has no column name; expected name and split"),
        ("name,split\na.jpg,trian\n", "split is 'trian'; expected one of train, val, test, left out"),
        ("name,split\na.jpg,train\n", "names none of the 60 to import; expected names such as IMG0000000.jpg"),
        ("", "not a table"),
    ],
)
def test_tables_of_splits_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    source, table = made_up_fracatlas(tmp_path / "FracAtlas"), tmp_path / "splits.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=said):
        import_dataset(source, tmp_path / "out", splits=table, progress=False)
    assert not (tmp_path / "out").exists()


def test_graz_with_a_damaged_image_and_a_strange_label(tmp_path: Path) -> None:
    source = made_up_graz(tmp_path / "GRAZ")
    table = pd.read_csv(source / "dataset.csv", dtype=str)
    (source / "images_part1" / f"{table['filestem'][0]}.png").write_bytes(b"no picture")
    report = import_dataset(source, tmp_path / "out", progress=False)
    assert report.images == 39 and [file.split("/")[-1] for file, _ in report.left_out] == [
        f"{table['filestem'][0]}.png"
    ]
    table.assign(fracture_visible="perhaps").to_csv(source / "dataset.csv", index=False)
    with pytest.raises(InputError, match=r"dataset\.csv: fracture_visible is 'perhaps'; expected 1, 0 or nothing"):
        import_dataset(source, tmp_path / "again", progress=False)


def test_a_table_that_decides_has_each_group_in_one_split(tmp_path: Path) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("name,split,group\na.jpg,train,p1\nb.jpg,val,p1\nc.jpg,left out,p1\n")
    with pytest.raises(InputError, match=r"splits\.csv: group p1 is in 2 splits; expected each group in one"):
        read_split_table(path, listed_only=False)
    path.write_text("name,split,group\na.jpg,train,p1\nb.jpg,left out,p1\n")
    assert read_split_table(path, listed_only=False).decides
    assert read_split_table(PRETRAINED_SPLITS, listed_only=True).decides
