"""Made-up DICOM series whose truth is known: a sagittal knee of numbers, scanned in any direction."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SYNTAX = "1.2.840.10008.1.2.1"  # explicit little endian
MR_STORAGE = "1.2.840.10008.5.1.4.1.1.4"


@dataclass(frozen=True, eq=False)
class Truth:
    """What a reader should find: (slices, height, width) as `Study` has them, distances in mm, the side."""

    pixels: NDArray[np.int16]
    slice_mm: float
    pixel_mm: float
    side: str


def make_truth(seed: int, *, slices: int | None = None, side: str | None = None) -> Truth:
    rng = np.random.default_rng(seed)
    count = slices or int(rng.integers(6, 13))
    shape = (count, int(rng.integers(16, 22)), int(rng.integers(16, 22)))
    side = ("L", "R", "")[int(rng.integers(3))] if side is None else side
    pixels = rng.integers(0, 3000, shape).astype(np.int16)
    return Truth(pixels, float(rng.uniform(2, 5)), float(rng.uniform(0.3, 0.9)), side)


def write_series(folder: Path, truth: Truth, seed: int, **given: Any) -> list[Path]:
    """Write a series that is scanned in one of many ways: to the left or right, rows and columns any way round.

    The slices' names and instance numbers are shuffled, each in its own way. `given` may say `flips` (three truth
    values: columns, rows, slices), `swapped` (rows with columns), `oblique` (degrees), `position` (HFS or FFS), `uid`
    and `description`. The files are in the order of the truth's slices.
    """
    rng = np.random.default_rng(seed)
    flips = given.get("flips", tuple(rng.random(3) < 0.5))
    swapped = given.get("swapped", bool(rng.random() < 0.3))
    # Columns of the truth run to the back, its rows to the foot, its slices to the left.
    along, down, through = np.array([0.0, 1, 0]), np.array([0.0, 0, -1]), np.array([1.0, 0, 0])
    tilt = _turned(rng, given.get("oblique", float(rng.uniform(0, 12))))
    along, down, through = tilt @ along, tilt @ down, tilt @ through
    corner = rng.uniform(-80, 80, 3)
    pixels, n = truth.pixels, len(truth.pixels)
    places = [corner + i * truth.slice_mm * through for i in range(n)]
    if flips[0]:
        pixels = pixels[:, :, ::-1]
        places = [p + (pixels.shape[2] - 1) * truth.pixel_mm * along for p in places]
        along = -along
    if flips[1]:
        pixels = pixels[:, ::-1]
        places = [p + (pixels.shape[1] - 1) * truth.pixel_mm * down for p in places]
        down = -down
    if swapped:
        pixels, along, down = pixels.transpose(0, 2, 1), down, along
    order = np.arange(n)[::-1] if flips[2] else np.arange(n)
    numbers, names = rng.permutation(n) + 1, rng.permutation(n)
    uid = given.get("uid", f"1.2.3.{seed + 1}")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for k, i in enumerate(order):
        header = {
            "SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid}.{i + 1}", "InstanceNumber": int(numbers[k]),
            "ImagePositionPatient": [round(float(v), 5) for v in places[i]],
            "ImageOrientationPatient": [round(float(v), 8) for v in (*along, *down)],
            "PixelSpacing": [truth.pixel_mm, truth.pixel_mm], "SliceThickness": truth.slice_mm * 0.9,
            "PatientPosition": given.get("position", ("HFS", "FFS")[int(rng.integers(2))]),
            "SeriesDescription": given.get("description", "pd_tse_fs_sag"),
        }  # fmt: skip
        if truth.side:
            header["Laterality"] = truth.side
        paths[i] = folder / f"IM{names[k]:04d}.dcm"
        write_slice(paths[i], pixels[i], **header)
    return [paths[i] for i in range(n)]


def write_slice(path: Path, pixels: NDArray[np.int16], **header: Any) -> None:
    """One slice of MRI, with what its header is to say besides."""
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = SYNTAX, MR_STORAGE
    meta.MediaStorageSOPInstanceUID = header.get("SOPInstanceUID", "1.2.3")
    data = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.Modality, data.FrameOfReferenceUID, data.StudyInstanceUID = MR_STORAGE, "MR", "1.9", "1.8"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    for name, value in header.items():
        setattr(data, name, value)
    data.PixelData = np.ascontiguousarray(pixels, "<i2").tobytes()
    data.save_as(path, enforce_file_format=True)


def _turned(rng: np.random.Generator, degrees: float) -> NDArray[np.float64]:
    """A turn by so many degrees about an axis at random."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def as_one_file(paths: list[Path], out: Path, seed: int, *, slopes: dict[int, float] | None = None) -> Path:
    """The slices of several files as the frames of one, in any order, as Enhanced MR has them.

    `slopes` are those by which the numbers of some slices are multiplied, in their own groups.
    """
    from pydicom import Dataset, dcmread
    from pydicom.dataset import FileDataset

    files = [dcmread(path) for path in paths]
    first, order = files[0], np.random.default_rng(seed).permutation(len(files))
    data = FileDataset(out, {}, file_meta=first.file_meta, preamble=bytes(128))
    for name in (
        "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "SeriesDescription", "Rows", "Columns",
        "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    ):  # fmt: skip
        setattr(data, name, first[name].value)
    data.NumberOfFrames = len(files)

    def group(**values: Any) -> list[Dataset]:
        inner = Dataset()
        for name, value in values.items():
            setattr(inner, name, value)
        return [inner]

    shared = Dataset()
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=first.ImageOrientationPatient)
    shared.PixelMeasuresSequence = group(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    if side := first.get("Laterality"):
        shared.FrameAnatomySequence = group(FrameLaterality=side)
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for i in order:
        own = Dataset()
        own.PlanePositionSequence = group(ImagePositionPatient=files[i].ImagePositionPatient)
        if i in (slopes or {}):
            own.PixelValueTransformationSequence = group(RescaleSlope=slopes[i], RescaleIntercept=0)
        frames.append(own)
    data.PerFrameFunctionalGroupsSequence = frames
    data.PixelData = b"".join(files[i].PixelData for i in order)
    data.save_as(out, enforce_file_format=True)
    return out
