"""A study set goes through the same reader, import and audit as a set of images."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib._io.words import WORDS
from fracturelib.cli import main
from fracturelib.curate.audit import audit_folder
from fracturelib.curate.audit_report import to_dict, to_html
from fracturelib.curate.importer import import_dataset
from fracturelib.data.dataset import load_manifest
from fracturelib.data.layouts import read_folder
from fracturelib.data.predictions import read_predictions
from fracturelib.data.studies import holds_studies, load_studies, load_truth, load_volumes
from fracturelib.data.study import Study, resample_study, to_grey
from fracturelib.data.volumes import MOST_SLICES, read_study, study_input
from fracturelib.metrics.classification import Confusion
from fracturelib.training.config import StudyConfig
from fracturelib.training.distributed import ProcessGroup
from fracturelib.training.runs import Recipe, read_images
from fracturelib.viz.figures import confusion_plot, score_histogram
from fracturelib.viz.html_report import _put_in
from fracturelib.workflows import collect
from tests.mrnet import make_kneemri, make_mrnet, volume
from tests.radiographs import plain_folder
from tests.series import make_truth, write_series
from tests.study_copies import KINDS, altered


def write_set(folder: Path, *, each: int = 4, manifest: bool = False) -> pd.DataFrame:
    """A small study set in splits and classes; patients of two studies each."""
    rows, seed = [], 0
    for split in ("train", "val", "test"):
        for label, name in enumerate(("Whole", "Torn")):
            for i in range(each):
                seed += 1
                file = f"{split}/{name}/p{seed // 2:03d}_{i}.npy"
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                np.save(folder / file, volume(seed, slices=8 + i % 2))
                rows.append((file, split, label, f"{split}{name}{i // 2}", 8 + i % 2, 64, 64, 4.0, 1.0, "LR"[i % 2]))
    names = ["file", "split", "label", "group", "slices", "height", "width", "slice_mm", "pixel_mm", "laterality"]
    frame = pd.DataFrame(rows, columns=names)
    if manifest:
        frame.to_csv(folder / "manifest.csv", index=False)
    return frame


@pytest.mark.parametrize("manifest", [True, False])
def test_one_reader_serves_studies(tmp_path: Path, manifest: bool) -> None:
    told = write_set(tmp_path, manifest=manifest)
    found = read_folder(tmp_path)
    assert found.noun == "study" and found.errors == [] and found.classes == ("Whole", "Torn")
    assert found.images.set_index("file")["label"].to_dict() == told.set_index("file")["label"].to_dict()
    assert holds_studies(tmp_path)
    frame = load_manifest(tmp_path)
    assert list(frame.columns[:7]) == ["file", "split", "label", "group", "width", "height", "slices"]
    assert frame["slices"].tolist() == told.sort_values("file")["slices"].tolist()
    assert frame.attrs["noun"] == "study" and len(frame) == 24


def test_a_part_of_a_study_set_is_read_by_its_manifest(tmp_path: Path) -> None:
    write_set(tmp_path, manifest=True)
    for part in ("test", "test/Torn"):
        found = read_folder(tmp_path / part, inside=True)
        assert found.noun == "study" and set(found.images["split"]) == {"test"} and found.images["label"].notna().all()
        assert found.kind == "a manifest" and (found.images["laterality"] != "").all()


def test_images_beside_arrays_stay_images(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "train" / "Fractured").mkdir(parents=True)
    Image.fromarray(volume(0)[0]).save(tmp_path / "train" / "Fractured" / "a.png")
    np.save(tmp_path / "scores.npy", np.ones(5))
    np.save(tmp_path / "train" / "features.npy", np.ones((2, 16, 16)))
    found = read_folder(tmp_path)
    assert found.noun == "image" and found.others == ["scores.npy", "train/features.npy"]
    assert not holds_studies(tmp_path)


def test_arrays_that_are_no_stacks_are_not_taken_for_studies(tmp_path: Path) -> None:
    np.save(tmp_path / "scores.npy", np.ones(5))
    assert read_folder(tmp_path).noun == "image"


def test_studies_are_loaded_with_their_slices(tmp_path: Path) -> None:
    write_set(tmp_path, manifest=True)
    studies, table = load_studies(tmp_path, "train")
    assert studies.shape == (8, 9, 64, 64) and studies.dtype == np.uint8
    for study, file, slices in zip(studies, table["file"], table["slices"], strict=True):
        assert np.array_equal(study[:slices], read_study(tmp_path / file).pixels) and not study[slices:].any()
    with pytest.raises(InputError, match="split is 'all'; expected one of train, val, test"):
        load_studies(tmp_path, "all")


def test_truth_is_loaded_like_its_studies(tmp_path: Path) -> None:
    table = write_set(tmp_path, manifest=True)
    (tmp_path / "masks").mkdir()
    for file, slices in zip(table["file"], table["slices"], strict=True):
        mask = np.zeros((slices, 64, 64), bool)
        mask[slices // 2, 20:30, 20:30] = True
        np.savez_compressed(tmp_path / "masks" / f"{Path(file).stem}.npz", mask=mask)
    assert read_folder(tmp_path).others == []
    studies, rows = load_studies(tmp_path, "test")
    truth = load_truth(tmp_path, rows, studies.shape[1:])
    assert truth.shape == studies.shape and truth.sum(axis=(1, 2, 3)).tolist() == [100] * len(rows)
    (tmp_path / "masks" / f"{Path(rows.at[0, 'file']).stem}.npz").unlink()
    with pytest.raises(InputError, match=r"no mask \(FileNotFoundError\); expected one a study"):
        load_truth(tmp_path, rows, studies.shape[1:])


@pytest.mark.parametrize("side", [50, 200])
def test_resampling_keeps_proportions(side: int) -> None:
    pixels = np.zeros((5, 100, 80), np.uint8)
    pixels[:, 40:60, 30:50] = 200  # about the centre
    square = resample_study(Study(pixels), shape=(side, side))
    assert square.shape == (5, side, side)
    inside = np.argwhere(square[2] > 100)
    assert len(inside) == pytest.approx((0.2 * side) ** 2, rel=0.1)
    assert inside.mean(axis=0) == pytest.approx(2 * [(side - 1) / 2], abs=0.6)


def test_slices_are_interpolated() -> None:
    fewer = resample_study(
        Study(np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((16, 16), "u1")), shape=(3, 16, 16)
    )
    assert fewer[:, 8, 8].tolist() == [0, 2, 4]


def test_a_window_is_that_of_the_whole_study() -> None:
    pixels = np.random.default_rng(0).normal(1000, 200, (4, 32, 32)).astype(np.float32)
    pixels[1] *= 2
    grey = to_grey(pixels)
    assert grey[1].mean() > 1.8 * grey[0].mean() and grey.min() == 0 and grey.max() == 255


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (np.array([{"a": 1}]), "holds Python objects, which are a pickle; expected an array of numbers"),
        (np.ones((4, 4)), r"an array of 4 x 4; expected slices x height x width"),
        (np.ones((3, 8, 20)), r"3 slices of 8 x 20 pixels; expected 1 to 2000 of at least 16 x 16"),
        (np.full((3, 16, 16), np.nan), "has values that are not finite; expected numbers"),
        (np.full((3, 16, 16), "a"), "holds <U1; expected an array of numbers"),
    ],
)
def test_what_is_no_study_is_one_line(tmp_path: Path, content: np.ndarray, line: str) -> None:
    np.save(tmp_path / "knee.npy", content)
    with pytest.raises(InputError, match=rf"knee\.npy: {line}"):
        read_study(tmp_path / "knee.npy")


def test_a_file_that_is_cut_off_or_another_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "knee.npy"
    np.save(path, volume(0))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"1,000 of 49,280 bytes; expected a whole file"):
        read_study(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"not a \.npy file"):
        read_study(path)
    (tmp_path / "knee.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"not a study; expected \.npy, NIfTI"):
        read_study(tmp_path / "knee.jpg")
    (tmp_path / "knee.pck").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a pickle, which can run any program .*numpy\.save"):
        read_study(tmp_path / "knee.pck")


def test_mrnet_is_imported_as_published(tmp_path: Path) -> None:
    """Its valid becomes test; validation comes out of its train, by patient; one plane."""
    make_mrnet(tmp_path / "source")
    out = tmp_path / "out"
    assert main(["data", "import", str(tmp_path / "source"), str(out), "--quiet"]) == 0
    frame = load_manifest(out)
    assert set(frame.query("split == 'test'")["group"]) == {str(1130 + i) for i in range(8)}
    assert frame["split"].value_counts()["test"] == 8 and len(frame) == 48
    part = {split: set(frame.loc[frame["split"] == split, "group"]) for split in ("train", "val")}
    assert part["train"] | part["val"] == {f"{i:04d}" for i in range(40)} and not part["train"] & part["val"]
    assert 4 <= len(part["val"]) <= 8
    assert set(frame.query("split == 'val'")["label"]) == {0, 1}
    assert all(row.label == int(int(row.group) % 4 == 0) for row in frame.itertuples())
    assert (frame["abnormal"] == 1).all()
    for row in frame.itertuples():
        assert row.file == f"{row.split}/{('Whole', 'Torn')[row.label]}/{row.group}.npy"
        assert np.array_equal(np.load(out / row.file), volume(int(row.group), slices=8 + int(row.group) % 3, size=48))
    audit = audit_folder(tmp_path / "source")  # sees the same before the import, of the splits that are published
    assert dict(zip(audit.images["group"], audit.images["label"], strict=True)) == dict(
        zip(frame["group"], frame["label"], strict=True)
    )
    assert audit.images["split"].value_counts().to_dict() == {"train": 40, "test": 8} and not audit.copies.groups
    again = import_dataset(tmp_path / "source", out, progress=False)
    assert not again.changed and again.summary.startswith(f"{out}: 48 studies of 48 groups from MRNet; it was there")
    assert any("valid is taken as test" in note for note in again.notes)


def test_copies_in_mrnet_are_kept_together(tmp_path: Path) -> None:
    root = make_mrnet(tmp_path, train=36, valid=8)
    noisy = altered(volume(1131, slices=8 + 1131 % 3, size=48), "noise", np.random.default_rng(0))
    np.save(root / "train" / "sagittal" / "0007.npy", noisy)
    report = import_dataset(root, tmp_path / "out", progress=False)
    frame = load_manifest(report.folder)
    pair = frame[[Path(f).stem in ("0007", "1131") for f in frame["file"]]]
    assert pair["group"].nunique() == 1 and pair["split"].nunique() == 1 and "test" not in set(pair["split"])
    assert frame.groupby("group")["split"].nunique().max() == 1


def test_kneemri_is_refused_until_it_is_converted(tmp_path: Path) -> None:
    source = make_kneemri(tmp_path / "source")
    with pytest.raises(InputError) as caught:
        import_dataset(source, tmp_path / "out", progress=False)
    line = str(caught.value)
    assert "400000-5.pck: a pickle, which can run any program when it is opened" in line and "\n" not in line
    assert (
        "numpy.save(name + '.npy', pickle.load(open(name + '.pck', 'rb')))" in line and "(and 11 more pickles)" in line
    )
    assert main(["data", "import", str(source), str(tmp_path / "out"), "--quiet"]) == 2
    for i, path in enumerate(sorted(source.rglob("*.pck"))):
        np.save(path.with_suffix(".npy"), volume(i, size=32).astype(np.int16) * 7)
    report = import_dataset(source, tmp_path / "out", progress=False)
    assert report.kind == "KneeMRI" and report.images == 12
    frame = load_manifest(tmp_path / "out")
    assert dict(zip(frame["tear"], frame["label"], strict=True)) == {"none": 0, "partial": 1, "complete": 1}
    assert np.load(tmp_path / "out" / frame.at[0, "file"]).dtype == np.uint8


def test_a_pickle_among_studies_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, manifest=False)
    (tmp_path / "train" / "Torn" / "a.pck").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    frame = load_manifest(tmp_path)
    assert len(frame) == 24 and any("a pickle, which can run any program" in note for note in frame.attrs["notes"])
    assert [source.name for source in collect([tmp_path])] == list(frame["file"])
    assert "not taken: 1 file (1 .pck)" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"a\.pck: a pickle, which can run any program"):
        collect([tmp_path / "train" / "Torn" / "a.pck"])


def test_tables_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    root = make_mrnet(tmp_path / "a", train=8)
    with (root / "train-acl.csv").open("a") as file:
        file.write("0000,1\n0000,0\n")
    with pytest.raises(InputError, match=r"train-acl\.csv: exam 0000 is there as 0 and as 1"):
        import_dataset(tmp_path / "a", tmp_path / "out", progress=False)
    kneemri = make_kneemri(tmp_path / "b")
    lines = (kneemri / "metadata.csv").read_text()
    line = lines.splitlines()[1].split(",")
    for value, said in (("2", "400000-5.pck is there with two diagnoses"), ("7", "of 400000-5.pck is 7; expected 0")):
        line[2] = value
        (kneemri / "metadata.csv").write_text(lines + ",".join(line) + "\n")
        with pytest.raises(InputError, match=said):
            import_dataset(kneemri, tmp_path / "out", progress=False)


def test_one_damaged_study_does_not_stop_the_others(tmp_path: Path) -> None:
    write_set(tmp_path, manifest=False)
    torn, good = tmp_path / "train" / "Torn", volume(1).astype(np.float32)
    good[3, 2, 1] = np.nan
    np.save(torn / "nan.npy", good)
    np.save(torn / "flat.npy", np.ones((8, 1, 1), np.uint8))
    np.save(torn / "none.npy", np.ones((0, 48, 48), np.uint8))
    np.save(torn / "large.npy", np.full((8, 32, 32), 1e300))
    head = np.lib.format.header_data_from_array_1_0(np.ones((8, 16, 16), np.uint8)) | {"shape": (True, 16, 16)}
    with (torn / "true.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        file.write(bytes(256))
    frame = load_manifest(tmp_path)
    assert len(frame) == 24 and (frame["slices"] >= 8).all()
    said = dict(frame.attrs["unreadable"])
    assert {Path(file).stem for file in said} == {"nan", "flat", "none", "large", "true"}
    assert "not finite" in said["train/Torn/large.npy"] and "its shape is (True, 16, 16)" in said["train/Torn/true.npy"]


def test_a_long_study_does_not_make_all_others_long(tmp_path: Path) -> None:
    for name, n in (("short", 8), ("long", 700)):
        np.save(tmp_path / f"{name}.npy", np.tile(volume(0), (n // 4, 1, 1))[:n])
    array, notes = load_volumes(tmp_path, ["short.npy", "long.npy"], size=32)
    assert notes == {"short.npy": (), "long.npy": ("700 slices: interpolated to 64",)}
    assert array.shape == (2, MOST_SLICES, 32, 32) and array[0, 8:].max() == 0 < array[1, -1].max()
    assert study_input(tmp_path / "long.npy", 32)[1] == notes["long.npy"]


def test_a_damaged_first_slice_does_not_turn_studies_into_images(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    for name in ("a", "b"):
        paths = write_series(tmp_path / name / "1", make_truth(1, slices=6), 1)
    sorted(paths[0].parent.parent.parent.glob("a/1/*"))[0].write_bytes(b"junk")
    assert holds_studies(tmp_path)
    assert [source.name for source in collect([tmp_path], noun="study")] == ["a/1", "b/1"]


def test_a_series_that_changes_in_place_is_read_again(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    for split in ("train", "val"):
        for i, name in enumerate(("Torn", "Whole")):
            write_series(tmp_path / split / name / "k", make_truth(i, slices=6), i)
    slices = sorted((tmp_path / "train" / "Torn" / "k").iterdir())
    good = [path.read_bytes() for path in slices]
    for path in slices:
        path.write_bytes(b"junk")
    assert dict(load_manifest(tmp_path).attrs["unreadable"]).keys() == {"train/Torn/k"}
    for path, data in zip(slices, good, strict=True):
        path.write_bytes(data)
    frame = load_manifest(tmp_path)
    assert len(frame) == 4 and frame.attrs["unreadable"] == []


def test_a_column_of_slices_does_not_turn_radiographs_into_studies(tmp_path: Path) -> None:
    plain_folder(tmp_path, splits={"train": 2, "val": 2}, size=(32, 40))
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    rows = [f"{file},{file.split('/')[0]},{int('not ' not in file)},p{i},32,40,1" for i, file in enumerate(files)]
    header = "file,split,label,group,width,height,slices"
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    write_series(tmp_path / "test", make_truth(1, slices=6), 1)
    assert not holds_studies(tmp_path)


@pytest.mark.parametrize(
    ("columns", "noun"),
    [
        ({"label": ["fractured", "not fractured"], "slices": [1, 1]}, "image"),
        ({"label": ["torn", "Whole"]}, "study"),
        ({"label": [1, 0], "decision": ["torn", "whole"]}, "study"),
        ({"label": [1, 0], "decision": ["Fractured", "Not Fractured"], "slices": [1, 1]}, "image"),
        ({"label": [1, 0], "slices": [20, 21]}, "study"),
        ({"label": [1, 0]}, "image"),
    ],
)
def test_words_say_what_a_table_is_of(tmp_path: Path, columns: dict[str, list[object]], noun: str) -> None:
    table = pd.DataFrame({"file": ["a", "b"], "score": [0.9, 0.1], **columns})
    table.to_csv(tmp_path / "scores.csv", index=False)
    found = read_predictions(tmp_path / "scores.csv")
    assert found.attrs["noun"] == noun and found["label"].tolist() == [1, 0]


def test_a_table_of_both_is_refused(tmp_path: Path) -> None:
    table = pd.DataFrame({"file": ["a", "b"], "score": [0.9, 0.1], "label": [1, 0], "decision": ["Torn", "Fractured"]})
    table.to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(InputError, match="column decision has torn and fractured; expected words of images or of"):
        read_predictions(tmp_path / "scores.csv")


def test_a_series_that_is_given_has_its_name_and_label(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    for name in ("a", "b"):
        write_series(tmp_path / "train" / "Torn" / name, make_truth(1, slices=6), 1)
    one, two = collect([tmp_path / "train" / "Torn" / "b", tmp_path / "train" / "Torn" / "a"])
    assert (one.name, two.name, one.label, one.split) == ("b", "a", 1, "train")


def test_nifti_that_is_no_volume_of_numbers_is_one_line(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel, which reads NIfTI, is not installed")
    affine = np.diag([1.0, 1, 4, 1])
    for values, line in (
        (np.ones((20, 20, 8), np.complex64), "holds complex64; expected one number a voxel"),
        (np.ones((8, 48, 48, 0), np.int16), "an array of 8 x 48 x 48 x 0; expected a volume"),
    ):
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii")
        with pytest.raises(InputError, match=line):
            read_study(tmp_path / "a.nii")


def test_distances_that_cannot_be_are_said_with_the_name(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    for path in write_series(tmp_path, make_truth(2, slices=6), 2):
        data = pydicom.dcmread(path)
        data.PixelSpacing = ["0.000001", "100"]
        data.save_as(path)
    with pytest.raises(InputError, match=rf"^{tmp_path}: pixels of .* mm; expected sides that are nearly alike$"):
        read_study(tmp_path)


def test_series_are_imported_in_millimetres(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    for i in range(12):
        truth = make_truth(i, slices=8, side="LR"[i % 2])
        truth = type(truth)(volume(i, slices=8, size=32).astype(np.int16), 3.5, 0.6, truth.side)
        write_series(tmp_path / "source" / ("Torn", "Whole")[i % 2] / f"p{i:02d}" / "sag", truth, i)
    report = import_dataset(tmp_path / "source", tmp_path / "out", progress=False)
    assert report.images == 12 and report.counts["train"]["Torn"] > 0
    frame = load_manifest(tmp_path / "out")
    assert frame["slice_mm"].to_numpy() == pytest.approx(3.5, abs=1e-3) and (frame["pixel_mm"] == 0.6).all()
    assert set(frame["laterality"]) == {"L", "R"}


def test_another_plane_is_left_out(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK, which makes the files, is not installed")
    pytest.importorskip("nibabel", reason="nibabel, which reads NIfTI, is not installed")
    for i in range(9):
        image = sitk.GetImageFromArray(volume(i))
        image.SetSpacing((0.5, 0.5, 4.0))
        if i < 8:  # columns to the back, rows to the foot, slices to the left
            image.SetDirection((0, 0, 1, 1, 0, 0, 0, -1, 0))
        path = tmp_path / "source" / ("Torn", "Whole")[i % 2] / f"knee{i}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path))
    report = import_dataset(tmp_path / "source", tmp_path / "out", progress=False)
    assert report.images == 8 and report.left_out == (("Torn/knee8.nii.gz", "axial slices; expected sagittal ones"),)
    problems = audit_folder(tmp_path / "source").problems
    assert [(p.file, p.detail) for p in problems] == [("Torn/knee8.nii.gz", "axial slices; expected sagittal ones")]
    frame = load_manifest(tmp_path / "out")
    one = frame[[file.endswith("knee3.npy") for file in frame["file"]]].iloc[0]
    assert (one["slice_mm"], one["pixel_mm"]) == (4.0, 0.5) and one["file"].split("/")[1] == "Whole"


def test_masks_come_along_with_their_studies(tmp_path: Path) -> None:
    table = write_set(tmp_path / "source", manifest=True)
    (tmp_path / "source" / "masks").mkdir()
    for file in table["file"]:
        np.savez_compressed(tmp_path / "source" / "masks" / f"{Path(file).stem}.npz", mask=np.ones((8, 64, 64), bool))
    import_dataset(tmp_path / "source", tmp_path / "out", progress=False)
    frame = load_manifest(tmp_path / "out")
    assert all((tmp_path / "out" / "masks" / f"{Path(f).stem}.npz").is_file() for f in frame["file"])


def test_an_audit_of_studies_speaks_of_studies(tmp_path: Path) -> None:
    frame = write_set(tmp_path, manifest=True)
    audit = audit_folder(tmp_path)
    assert audit.clean and audit.verdict.startswith("Clean: 24 studies, no copies, nothing broken, too few of both")
    assert "train: 8 studies, 8 scans; 4 torn, 4 not" in str(audit) and to_dict(audit)["of"] == "study"
    page = to_html(audit)
    assert "Studies" in page and "No scan is there twice" in page and "fractured" not in page.lower()
    copied = tmp_path / "test" / "Torn" / "again.npy"
    np.save(copied, np.load(tmp_path / frame.at[0, "file"])[::-1])
    row = frame.iloc[0].to_dict() | {"file": "test/Torn/again.npy", "split": "test", "label": 1, "group": "z"}
    pd.concat([frame, pd.DataFrame([row])]).to_csv(tmp_path / "manifest.csv", index=False)
    audit = audit_folder(tmp_path)
    assert audit.verdict.startswith("A score on this test set means little: 1 of 9 test studies is a copy of training")
    assert len(audit.leaks) == len(audit.contradictions) == 1
    assert audit.copies.found[0].how == "8 of 8 slices identical" and "1 scan is there more than once" in str(audit)
    assert main(["audit", str(tmp_path), "--quiet", "--html", str(tmp_path.parent / "a.html")]) == 1


def test_what_cannot_be_read_is_a_problem_of_the_audit(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "train" / "Torn" / "broken.npy").write_bytes(b"x")
    np.save(tmp_path / "train" / "Torn" / "flat.npy", np.full((6, 32, 32), 9, np.uint8))
    audit = audit_folder(tmp_path)
    assert [(p.kind, p.file) for p in audit.problems] == [
        ("blank", "train/Torn/flat.npy"), ("unreadable", "train/Torn/broken.npy"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_found_and_strangers_are_not(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    for i in range(16):
        np.save(tmp_path / f"a{i:02d}.npy", volume(i, slices=16, size=96))
    for i in range(4):
        np.save(tmp_path / f"b{i:02d}.npy", altered(volume(i, slices=16, size=96), kind, rng))
    audit = audit_folder(tmp_path)
    files = list(audit.images["file"])
    assert sorted(sorted(files[i] for i in group) for group in audit.copies.groups) == [
        [f"a{i:02d}.npy", f"b{i:02d}.npy"] for i in range(4)
    ]
    if kind in ("reversed", "mixed"):
        said = "identical" if kind == "reversed" else "slices reversed"
        assert all(said in copy.how for copy in audit.copies.found)


def test_a_series_under_other_names_is_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    truth = make_truth(3, slices=6)
    for i, path in enumerate(write_series(tmp_path / "a", truth, 3)):
        (tmp_path / "b").mkdir(exist_ok=True)
        shutil.copyfile(path, tmp_path / "b" / f"{9 - i}.dcm")
    audit = audit_folder(tmp_path)
    assert len(audit.images) == 2 and audit.copies.found[0].how == "identical bytes"


def test_what_is_said_of_a_series_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pydicom")
    write_series(tmp_path / "a", make_truth(4, slices=8), 4)[3].unlink()
    (line,) = [note for note in audit_folder(tmp_path).notes if "missing" in note]
    assert line.startswith("1 study: 1 slice missing at 1 place: gaps of ") and line.endswith("(a)")
    how = {"closer_look": False, "by_region": False, "progress": False}
    read_images(tmp_path, ["a"], Recipe.of(StudyConfig(size=32), None, None, "", ProcessGroup(), **how))
    assert capsys.readouterr().out == f"note: {line}\n"


def test_what_rows_are_called() -> None:
    knee, film = WORDS["study"], WORDS["image"]
    text = "An image is not fractured; 2 images are Fractured, of 1 radiograph: no fracture, or fractures"
    assert knee.said(text) == "A study is whole; 2 studies are Torn, of 1 scan: no tear, or tears"
    assert film.said(text) == text and knee.said("by which fracture predict decided") == (
        "by which fracture predict decided"
    )
    assert knee.said("predicted not fractured: is not") == "predicted whole: is"
    assert knee.count(1, "test ") == "1 test study" and knee.nouns == ("study", "studies")


@pytest.mark.parametrize(
    ("columns", "noun"),
    [
        ({"file": ["a.npy", "b.nii.gz"]}, "study"),
        ({"file": ["a.npy", "b.png"]}, "image"),
        ({"file": ["a", "b"]}, "image"),
        ({"file": ["knee1", "knee2"], "slices": [20, 22]}, "study"),
        ({"file": ["a.png", "b.png"], "slices": [20, 22]}, "image"),
        ({"file": ["knee1", "knee2"], "decision": ["Torn", None]}, "study"),
        ({"file": ["a.npy", "b.npy"], "decision": ["Fractured", "Not Fractured"]}, "image"),
    ],
)
def test_a_table_says_what_its_rows_are(tmp_path: Path, columns: dict[str, list], noun: str) -> None:
    pd.DataFrame({"label": [0, 1], "score": [0.1, 0.9], **columns}).to_csv(tmp_path / "s.csv", index=False)
    assert read_predictions(tmp_path / "s.csv").attrs["noun"] == noun


def test_a_table_of_studies_has_their_classes(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("file,label,score\na.npy,Torn,0.9\nb.npy,Whole,0.1\n")
    assert read_predictions(tmp_path / "s.csv")["label"].tolist() == [1, 0]
    (tmp_path / "s.csv").write_text("file,label,score\na.npy,1,0.9\na.npy,0,0.1\n")
    with pytest.raises(InputError, match=r"a\.npy is there twice; expected one row a study"):
        read_predictions(tmp_path / "s.csv")


def test_a_manifest_of_studies_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = write_set(tmp_path, manifest=True)
    (tmp_path / told["file"].iloc[0]).unlink()
    told.iloc[:-1].to_csv(tmp_path / "manifest.csv", index=False)
    found = read_folder(tmp_path)
    assert found.notes[:2] == [
        f"1 row of manifest.csv has no study: {told['file'].iloc[0]}",
        f"1 study is not in manifest.csv and was left out: {told['file'].iloc[-1]}",
    ]
    pd.concat([told, told.tail(1)]).to_csv(tmp_path / "manifest.csv", index=False)
    assert "is there twice; expected one row a study" in read_folder(tmp_path).errors[0]
    assert main(["audit", str(tmp_path), "--quiet"]) == 1
    assert "is there twice; expected one row a study" in capsys.readouterr().out


def test_what_a_source_lacks_is_said_of_studies(tmp_path: Path) -> None:
    write_set(tmp_path / "in", manifest=True)
    shutil.rmtree(tmp_path / "in" / "val")
    (tmp_path / "in" / "manifest.csv").unlink()
    notes = import_dataset(tmp_path / "in", tmp_path / "out", progress=False).notes
    assert any(note.endswith("make one in the source, or import its studies without their splits") for note in notes)


@pytest.mark.parametrize("splits", [True, False])
def test_one_class_is_said_with_splits_and_without(tmp_path: Path, splits: bool) -> None:
    write_set(tmp_path / "in")
    for split in ("train", "val", "test"):
        shutil.rmtree(tmp_path / "in" / split / "Whole")
        if not splits:
            shutil.move(tmp_path / "in" / split / "Torn", tmp_path / "in" / f"Torn {split}")
    if not splits:
        (tmp_path / "flat" / "Torn").mkdir(parents=True)
        for file in (tmp_path / "in").rglob("*.npy"):
            shutil.move(file, tmp_path / "flat" / "Torn")
    notes = import_dataset(tmp_path / ("in" if splits else "flat"), tmp_path / "out", progress=False).notes
    assert "there are only 'Torn' studies: nothing can be learnt from them" in notes


def test_an_audit_without_enough_studies_says_so(tmp_path: Path) -> None:
    write_set(tmp_path, each=1)
    assert "There are too few labelled studies of both classes" in to_html(audit_folder(tmp_path))


def test_a_report_of_studies_speaks_of_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "predictions.csv"
    rows = [f"knee{i}.npy,{i % 2},{0.2 + 0.05 * i + 0.1 * (i % 2):.2f},{'ab'[i % 4 // 2]}" for i in range(12)]
    table.write_text("\n".join(["file,label,score,coil", *rows]))
    for _ in range(2):  # it may replace its own
        command = ["evaluate", str(table), "--threshold-from", str(table), "--out", str(tmp_path / "ev")]
        assert main(command) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "on 12 studies (6 torn)" in said and "all: 12 studies of 12 groups, 6 torn" in said
    assert "chosen on these very studies" in said and "image" not in said and "fractured" not in said
    page = re.sub(r"data:image/png[^\"]*", "", (tmp_path / "ev" / "report.html").read_text())
    assert "Of 1,000 such studies" in page and "A study is predicted torn if" in page and ">torn</th>" in page
    words = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not re.search(r"\b(images?|fractur\w*)\b", words)
    assert (tmp_path / "ev" / "table.md").read_text().startswith("all: 12 studies of 12 groups, 6 torn; ")
    kept = json.loads((tmp_path / "ev" / "evaluation.json").read_text())["splits"]["all"]
    assert kept["images"] == 12 and kept["fractured"] == 6 and "noun" not in kept


def test_figures_of_a_report_of_studies() -> None:
    made = confusion_plot(Confusion(tp=1, fp=2, fn=3, tn=4))
    _put_in(WORDS["study"], made)
    made.canvas.draw()
    assert [label.get_text() for label in made.axes[0].get_yticklabels()] == ["whole", "torn"]
    made = score_histogram([0, 1], [0.2, 0.8], 0.5)
    _put_in(WORDS["study"], made)
    assert made.axes[0].get_xlabel() == "score: P(Torn)" and made.axes[0].get_ylabel() == "studies"


def test_what_evaluate_lacks_is_said_of_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("file,label,score\na.npy,0,0.9\nb.npy,0,0.1\n")
    (tmp_path / "b.csv").write_text("file,label,score\na.npy,0,0.9\n")
    a, b = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    assert main(["evaluate", a, "--threshold-from", a]) == 2
    assert "no study is torn; expected at least one" in capsys.readouterr().err
    assert main(["evaluate", a, "--compare", b]) == 2
    assert "no score for 1 studies, such as b.npy; expected the same studies" in capsys.readouterr().err
