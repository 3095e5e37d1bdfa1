"""Folders such as people bring: few images, often without test, manifest, outlines or metadata.

`python -m tests.own_folders OUT` leaves them all below OUT.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from fracturelib.data.dataset import load_manifest
from fracturelib.data.labels import CLASSES
from fracturelib.tutorial import DEMO

Rows = Iterator[tuple[str, str, int, Path]]


def drawn(
    counts: dict[str, tuple[int, int]], *, region: str | None = None, named: bool = False, each: bool = False
) -> Rows:
    """Name, split, label and path of images of the demo set: for each split so many not fractured, so many fractured.

    Patients stay whole in one split, since each of the demo set's splits gives its own; with `each`, every image is of
    another one. Without `named`, names say nothing of patients.
    """
    frame, count = load_manifest(DEMO), 0
    if region:
        frame = frame[frame["region"] == region]
    for split, numbers in counts.items():
        for label, number in enumerate(numbers):
            rows = frame[(frame["split"] == split) & (frame["label"] == label)]
            if region:  # too few of one region in a split: any will do
                rows = pd.concat([rows, frame[(frame["split"] == "train") & (frame["label"] == label)].iloc[::-1]])
            if each:
                rows = rows.drop_duplicates("group")
            for row in rows.head(number).to_dict("records"):
                count += 1
                yield Path(row["file"]).stem if named else f"scan{count:03d}", split, label, DEMO / row["file"]


def write_dicom(image: np.ndarray, path: Path) -> None:
    """An uncompressed DICOM file of a grey image, (h, w) uint8."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = image.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = image.tobytes() + b"\0" * (image.size % 2)
    dataset.save_as(path, enforce_file_format=True)


def laid_out(
    folder: Path,
    rows: Rows,
    *,
    name: Callable[[str, str, int], str] = lambda stem, split, label: f"{split}/{CLASSES[label]}/{stem}.jpg",
) -> pd.DataFrame:
    """Write the images under the names that `name` makes of stem, split and label: file, split, label."""
    listed = []
    for stem, split, label, source in rows:
        file = name(stem, split, label)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".dcm"):
            write_dicom(cv2.imread(str(source), cv2.IMREAD_GRAYSCALE), folder / file)
        else:
            (folder / file).write_bytes(source.read_bytes())
        listed.append((file, split, label))
    return pd.DataFrame(listed, columns=["file", "split", "label"])


def twenty(folder: Path) -> None:
    """20 images in class folders, without test."""
    laid_out(folder, drawn({"train": (7, 6), "val": (4, 3)}))


def dicom(folder: Path) -> None:
    """40 DICOM files, without test."""
    rows = drawn({"train": (16, 12), "val": (7, 5)})
    laid_out(folder, rows, name=lambda stem, split, label: f"{split}/{CLASSES[label]}/{stem}.dcm")


def mura_names(folder: Path) -> None:
    """60 images called as MURA calls them, several of a patient, without test."""
    laid_out(
        folder,
        drawn({"train": (24, 16), "val": (12, 8)}, named=True),
        name=lambda stem, split, label: (
            f"{split}/{('negative', 'positive')[label]}/"
            f"XR_WRIST_patient{stem.split('_')[0][1:]}_study1_image{stem.split('_')[1]}.jpg"
        ),
    )


def one_region(folder: Path) -> None:
    """30 images of wrists, with a manifest that has a region and nothing else, without test."""
    frame = laid_out(folder, drawn({"train": (12, 8), "val": (6, 4)}, region="wrist"))
    frame.assign(region="wrist").to_csv(folder / "manifest.csv", index=False)


def small_test(folder: Path) -> None:
    """24 images with a test of 6, the metadata with gaps, and no groups."""
    frame = laid_out(folder, drawn({"train": (6, 6), "val": (3, 3), "test": (3, 3)}))
    view = ["ap", "", "lateral", ""] * 6
    frame.assign(view=view, region=["wrist", "", "ankle"] * 8).to_csv(folder / "manifest.csv", index=False)


def test_of_one_class(folder: Path) -> None:
    """40 images with few fractured, and none of them in test."""
    laid_out(folder, drawn({"train": (18, 4), "val": (8, 2), "test": (8, 0)}))


def outlined(folder: Path) -> None:
    """66 images with outlines, a test and patients."""
    frame = laid_out(folder, drawn({"train": (16, 14), "val": (8, 10), "test": (8, 10)}, named=True, each=True))
    known = load_manifest(DEMO).set_index("file")["group"].rename(lambda file: Path(file).name)
    frame.assign(group=[known[Path(file).name] for file in frame["file"]]).to_csv(folder / "manifest.csv", index=False)
    coco = json.loads((DEMO / "annotations.json").read_text())
    kept = {i["id"]: i for i in coco["images"] if (folder / i["file_name"]).is_file()}
    coco["images"] = list(kept.values())
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] in kept]
    (folder / "annotations.json").write_text(json.dumps(coco))


FOLDERS = {f.__name__: f for f in (twenty, dicom, mura_names, one_region, small_test, test_of_one_class, outlined)}
test_of_one_class.__test__ = False  # type: ignore[attr-defined]


def main(out: Path) -> None:
    for name, make in FOLDERS.items():
        make(out / name)
        print(f"{name}: {make.__doc__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
