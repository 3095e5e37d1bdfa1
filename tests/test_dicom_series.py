"""A DICOM series is read in the order in which its slices lie, whatever its files are called."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fracturelib._io.files import InputError
from fracturelib.data import dicom
from fracturelib.data.dicom_series import are_mri, read_series
from fracturelib.data.volumes import read_study
from tests.series import as_one_file, make_truth, write_series, write_slice

pydicom = pytest.importorskip("pydicom")


@pytest.mark.slow
def test_the_order_is_right_in_200_series(tmp_path: Path) -> None:
    """Names and instance numbers shuffled; to the left and the right, head and feet first, turned any way round."""
    by_name = by_number = 0
    for seed in range(200):
        truth = make_truth(seed)
        paths = write_series(tmp_path / str(seed), truth, seed)
        study = read_study(tmp_path / str(seed))
        assert np.array_equal(study.pixels, truth.pixels), seed
        assert study.plane == "sagittal" and study.laterality == truth.side and study.notes == ()
        assert study.slice_mm == pytest.approx(truth.slice_mm, abs=1e-3)
        assert study.pixel_mm == pytest.approx(truth.pixel_mm, abs=1e-6)
        by_name += paths in (sorted(paths), sorted(paths)[::-1])
        numbers = [_number(path) for path in paths]
        by_number += numbers in (sorted(numbers), sorted(numbers)[::-1])
    assert by_name < 5 and by_number < 5  # the names and the numbers would have misled


def _number(path: Path) -> int:
    return int(pydicom.dcmread(path, stop_before_pixels=True).InstanceNumber)


@pytest.mark.parametrize(("seed", "side"), [(1001, "R"), (1002, "L"), (1003, "")])
def test_an_independent_reader_agrees(tmp_path: Path, seed: int, side: str) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK, the independent reader, is not installed")
    truth = make_truth(seed, slices=11, side=side)
    write_series(tmp_path, truth, seed)
    study = read_series(tmp_path)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    turned = sitk.DICOMOrient(image, "PIL")  # columns to the back, rows to the foot, slices to the left
    assert np.array_equal(sitk.GetArrayFromImage(turned), study.pixels)
    assert turned.GetSpacing() == pytest.approx((study.pixel_mm, study.pixel_mm, study.slice_mm), abs=1e-3)


def test_nifti_made_by_an_independent_program_is_the_same_study(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK, which makes the file, is not installed")
    pytest.importorskip("nibabel", reason="nibabel, which reads NIfTI, is not installed")
    truth = make_truth(7, side="")
    write_series(tmp_path / "series", truth, 7)
    study = read_study(tmp_path / "series")
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "series")))
    for name in ("knee.nii", "knee.nii.gz"):
        sitk.WriteImage(image, str(tmp_path / name))
        again = read_study(tmp_path / name)
        assert np.array_equal(again.pixels, study.pixels) and again.plane == "sagittal" and again.laterality == ""
        assert (again.slice_mm, again.pixel_mm) == pytest.approx((study.slice_mm, study.pixel_mm), abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_one_file_are_slices(tmp_path: Path, seed: int) -> None:
    truth = make_truth(seed, side="LRLR"[seed])
    paths = write_series(tmp_path / "series", truth, seed)
    (tmp_path / "one").mkdir()
    made = as_one_file(paths, tmp_path / "one" / "IM0001", seed)
    study, apart = read_study(tmp_path / "one"), read_series(tmp_path / "series")
    assert np.array_equal(study.pixels, truth.pixels) and study.notes == ()
    assert (study.slice_mm, study.pixel_mm) == pytest.approx((apart.slice_mm, apart.pixel_mm))
    assert (study.plane, study.laterality) == ("sagittal", truth.side) and are_mri([made])


def test_what_holds_for_a_frame_does_not_for_the_next(tmp_path: Path) -> None:
    truth = make_truth(5, slices=8)
    paths = write_series(tmp_path / "series", truth, 5)
    (tmp_path / "one").mkdir()
    slopes = {i: 1 + i / 4 for i in range(8) if i != 3}
    path = as_one_file(paths, tmp_path / "one" / "all.dcm", 5, slopes=slopes)
    expected = np.stack([one * np.float32(slopes.get(i, 1)) for i, one in enumerate(truth.pixels)])
    assert np.array_equal(read_series(tmp_path / "one").pixels, expected)
    file = pydicom.dcmread(path)
    file.compress(pydicom.uid.RLELossless)
    file.save_as(path)
    assert np.array_equal(read_series(tmp_path / "one").pixels, expected)


def test_what_a_frame_says_goes_before_what_the_file_says(tmp_path: Path) -> None:
    truth, folder = make_truth(5, slices=8, side="L"), tmp_path / "one"
    folder.mkdir()
    path = as_one_file(write_series(tmp_path / "series", truth, 5), folder / "all.dcm", 5)
    file = pydicom.dcmread(path)
    file.ImagePositionPatient, file.EchoTime, file.ImageType = [1, 2, 3], 5, ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    for frame in file.PerFrameFunctionalGroupsSequence:
        frame.MRImageFrameTypeSequence = [pydicom.Dataset()]
        frame.MRImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "M"]
    file.save_as(path)
    study = read_series(folder)
    assert np.array_equal(study.pixels, truth.pixels) and study.notes == ()
    del file.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    file.save_as(path)
    assert "1 slice without a position left out (all.dcm)" in read_series(folder).notes


def test_stacks_of_one_file_are_not_mixed(tmp_path: Path) -> None:
    """Two echoes of each slice, shuffled; and the same as stacks, of which one is taken."""
    truth, folder = make_truth(5, slices=6, side="L"), tmp_path / "one"
    folder.mkdir()
    path = as_one_file(write_series(tmp_path / "series", truth, 5), folder / "all.dcm", 5)
    file = pydicom.dcmread(path)
    frames, size = list(file.PerFrameFunctionalGroupsSequence), len(file.PixelData) // 6
    each = []
    for i, frame in enumerate(frames):
        for echo in (80.125, 12.5):
            own = pydicom.Dataset()
            own.update(frame)
            own.MREchoSequence, own.FrameContentSequence = [pydicom.Dataset()], [pydicom.Dataset()]
            own.MREchoSequence[0].EffectiveEchoTime = echo
            each.append((own, file.PixelData[i * size : (i + 1) * size] if echo < 50 else bytes(size)))
    each = [each[i] for i in np.random.default_rng(0).permutation(12)]
    file.NumberOfFrames, file.PixelData = 12, b"".join(pixels for _, pixels in each)
    file.PerFrameFunctionalGroupsSequence = [own for own, _ in each]
    file.EchoTime = 3
    file.save_as(path)
    study = read_series(folder)
    assert np.array_equal(study.pixels, truth.pixels) and "shortest echo time" in study.notes[0]
    for own, _ in each:
        own.FrameContentSequence[0].StackID = "1" if own.MREchoSequence[0].EffectiveEchoTime < 50 else "2"
    file.save_as(path)
    study = read_series(folder)
    assert np.array_equal(study.pixels, truth.pixels)
    assert study.notes[0].startswith("2 series, stacks or kinds of frames in one folder: 'pd_tse_fs_sag' was taken")
    assert study.notes[0].endswith("; a folder is one study: give each its own to read them all")


def test_what_is_not_mri_is_left_out(tmp_path: Path) -> None:
    truth = make_truth(3, slices=6)
    write_series(tmp_path / "one", truth, 3)
    others = write_series(tmp_path / "others", make_truth(4, slices=9), 4, description="Segmentation")
    for i, path in enumerate(others):
        file = pydicom.dcmread(path)
        file.Modality = "SEG"
        file.save_as(tmp_path / "one" / f"mask{i}.dcm")
        file.Modality = "CT"
        file.save_as(path)
    study = read_series(tmp_path / "one")
    assert np.array_equal(study.pixels, truth.pixels) and "9 slices of SEG left out" in study.notes
    assert "its slices are not of MRI (CT)" in read_series(tmp_path / "others").notes


def test_a_file_of_many_frames_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, folder = make_truth(5, slices=12), tmp_path / "one"
    folder.mkdir()
    as_one_file(write_series(tmp_path / "series", truth, 5), folder / "all.dcm", 5)
    reads = []
    read = dicom.read_elements
    monkeypatch.setattr(dicom, "read_elements", lambda path, **how: reads.append(path) or read(path, **how))
    assert np.array_equal(read_series(folder).pixels, truth.pixels)
    assert len(reads) == 2  # its header, and all of it


def test_a_slice_that_is_turned_about_is_left_out(tmp_path: Path) -> None:
    truth = make_truth(8, slices=7)
    paths = write_series(tmp_path, truth, 8)
    file = pydicom.dcmread(paths[3])
    file.ImageOrientationPatient = [-v for v in file.ImageOrientationPatient]
    file.save_as(paths[3])
    study = read_series(tmp_path)
    assert np.array_equal(study.pixels, np.delete(truth.pixels, 3, axis=0))
    assert "1 slice in another direction, or of another size or spacing, left out" in study.notes


def test_an_independent_reader_agrees_on_frames(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK, the independent reader, is not installed")
    truth = make_truth(9, slices=7)
    (tmp_path / "one").mkdir()
    made = as_one_file(write_series(tmp_path / "series", truth, 9), tmp_path / "one" / "all.dcm", 9)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(made)))
    assert {v.tobytes() for v in read_series(tmp_path / "one").pixels.astype(np.int16)} <= {
        np.ascontiguousarray(turned).astype(np.int16).tobytes()
        for one in values
        for way in (one, one.T)
        for turned in (way, way[::-1], way[:, ::-1], way[::-1, ::-1])
    }


def test_frames_without_a_place_are_refused(tmp_path: Path) -> None:
    path = as_one_file(write_series(tmp_path / "series", make_truth(6), 6), tmp_path / "series" / "all", 6)
    for other in (tmp_path / "series").glob("*.dcm"):
        other.unlink()
    file = pydicom.dcmread(path)
    file.PerFrameFunctionalGroupsSequence = file.PerFrameFunctionalGroupsSequence[:-2]
    file.save_as(path)
    count = int(file.NumberOfFrames)
    with pytest.raises(InputError, match=f"{count} frames, of which its header describes {count - 2}; expected a file"):
        read_series(tmp_path / "series")
    del file.PerFrameFunctionalGroupsSequence
    file.save_as(path)
    with pytest.raises(InputError, match=f"{count} frames, of which its header describes 0"):
        read_series(tmp_path / "series")


def test_a_missing_slice_is_said(tmp_path: Path) -> None:
    truth = make_truth(1, slices=10)
    paths = write_series(tmp_path, truth, 1)
    paths[4].unlink()
    paths[7].unlink()
    paths[8].unlink()
    study = read_series(tmp_path)
    assert np.array_equal(study.pixels, np.delete(truth.pixels, [4, 7, 8], axis=0))
    (note,) = study.notes
    assert note.startswith("3 slices missing at 2 places: gaps of ") and f"{truth.slice_mm:.1f} mm apart" in note


def test_of_slices_at_one_place_the_first_echo_is_taken(tmp_path: Path) -> None:
    truth = make_truth(2, slices=6, side="R")
    paths = write_series(tmp_path, truth, 2, flips=(False, False, False), swapped=False)
    for i in (1, 3):
        _again(paths[i], tmp_path / f"a{i}.dcm", truth.pixels[i] + 1, EchoTime=80)
    for path in paths:
        _again(path, path, None, EchoTime=20)
    study = read_series(tmp_path)
    assert np.array_equal(study.pixels, truth.pixels)
    assert study.notes == (
        "2 slices are at the place of another: of each place the one with the shortest echo time was taken",
    )


def _again(path: Path, target: Path, pixels: Any, **header: Any) -> None:
    """The same slice with other pixels and elements."""
    import pydicom

    data = pydicom.dcmread(path)
    for name, value in header.items():
        setattr(data, name, value)
    if pixels is not None:
        data.PixelData = np.ascontiguousarray(pixels, "<i2").tobytes()
        data.SOPInstanceUID = f"{data.SOPInstanceUID}.9"
    data.save_as(target)


def test_localizers_are_left_out(tmp_path: Path) -> None:
    truth = make_truth(3, slices=8)
    write_series(tmp_path, truth, 3)
    own = make_truth(4, slices=3)
    for i, path in enumerate(write_series(tmp_path / "scout", own, 4, uid="1.5")):
        _again(path, tmp_path / f"scout{i}.dcm", None, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    study = read_series(tmp_path)
    assert np.array_equal(study.pixels, truth.pixels) and study.notes == ("3 slices of 1 localizer left out",)


def test_slices_across_the_others_are_left_out(tmp_path: Path) -> None:
    truth = make_truth(5, slices=8, side="R")
    write_series(tmp_path, truth, 5, uid="1.6", oblique=0.0)
    for i in range(2):
        write_slice(
            tmp_path / f"across{i}.dcm", truth.pixels[0], SeriesInstanceUID="1.6", PixelSpacing=[0.5, 0.5],
            ImagePositionPatient=[0, 0, 4.0 * i], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )  # fmt: skip
    study = read_series(tmp_path)
    assert np.array_equal(study.pixels, truth.pixels)
    assert study.notes == ("2 slices in another direction, or of another size or spacing, left out",)


def test_of_several_series_the_sagittal_one_is_taken(tmp_path: Path) -> None:
    truth = make_truth(6, slices=7, side="R")
    write_series(tmp_path, truth, 6, uid="1.7.1", description="sag PD fs")
    for i in range(9):
        write_slice(
            tmp_path / f"axial{i}.dcm", truth.pixels[0], SeriesInstanceUID="1.7.2", PixelSpacing=[0.5, 0.5],
            ImagePositionPatient=[0, 0, 4.0 * i], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )  # fmt: skip
    study = read_series(tmp_path)
    assert np.array_equal(study.pixels, truth.pixels)
    assert study.notes == ("2 series in one folder: 'sag PD fs' was taken, 7 sagittal slices; left out: 9 axial",)


@pytest.mark.parametrize(
    ("words", "side"),
    [("Knee left PD", "L"), ("KNIE_RE_sag", "R"), ("left and right", ""), ("pd tse", ""), ("lt knee", "L")],
)
def test_the_side_may_be_said_in_words(tmp_path: Path, words: str, side: str) -> None:
    truth = make_truth(8, slices=6, side="")
    write_series(tmp_path, truth, 8, description=words)
    study = read_series(tmp_path)
    assert study.laterality == side and np.array_equal(study.pixels, truth.pixels)


def test_pixels_that_are_not_square_become_so(tmp_path: Path) -> None:
    truth = make_truth(9, slices=6, side="R")
    for path in write_series(tmp_path, truth, 9, flips=(False, False, False), swapped=False):
        _again(path, path, None, PixelSpacing=[0.8, 0.4])
    study = read_series(tmp_path)
    slices, height, width = truth.pixels.shape
    assert study.pixels.shape == (slices, 2 * height, width) and study.pixel_mm == 0.4


def test_what_is_no_series_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder; expected \.npy, NIfTI"):
        read_study(tmp_path / "gone")
    with pytest.raises(InputError, match="no DICOM slice says where it lies; expected slices with ImagePosition"):
        read_study(tmp_path)
    write_slice(tmp_path / "a.dcm", np.zeros((16, 16), np.int16))
    with pytest.raises(InputError, match=r"1 slice without a position left out \(a.dcm\)"):
        read_study(tmp_path)
    (tmp_path / "b.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 50)
    (tmp_path / "c.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[:200])
    with pytest.raises(InputError, match=r"2 files could not be read \(b.dcm: not a DICOM.*; 1 slice without"):
        read_study(tmp_path)


def test_a_slice_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    truth = make_truth(10, slices=6)
    paths = write_series(tmp_path, truth, 10)
    paths[2].write_bytes(paths[2].read_bytes()[:-200])
    with pytest.raises(InputError, match=rf"{paths[2].name}: a DICOM file that cannot be shown"):
        read_study(tmp_path)
