"""Sound files to begin with, made on the fly: images of every promised kind, DICOM, and folders of each layout."""

import gzip
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.radiographs import plain_folder, radiograph
from tests.series import make_truth, write_series
from tests.volumes import study_set, volumes

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
TIFFS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def images() -> Iterator[tuple[str, bytes]]:
    """Suffix and content of small images: every format, mode and compression that is promised."""
    grey = [Image.fromarray(radiograph(seed, fractured=bool(seed % 2), width=32, height=40)) for seed in range(4)]
    deep = Image.fromarray(np.asarray(grey[0]).astype(np.uint16) * 257)
    single = Image.fromarray(np.asarray(grey[0]).astype(np.float32) / 255)
    colours = [grey[0].convert(mode) for mode in ("RGB", "RGBA", "LA", "P", "1")]
    for image in (*grey[:2], colours[0], grey[2].convert("CMYK")):
        yield ".jpg", encoded(image, "JPEG", quality=80)
    yield ".jpg", encoded(grey[3], "JPEG", progressive=True)
    yield ".jpg", encoded(grey[3], "MPO", save_all=True, append_images=[grey[1]])
    for image in (*grey[:2], deep, *colours):
        yield ".png", encoded(image, "PNG")
    yield ".png", encoded(grey[0], "PNG", save_all=True, append_images=[grey[1]])
    for image in (grey[0], colours[0], colours[3], colours[4]):
        yield ".bmp", encoded(image, "BMP")
    for image in (grey[0], colours[0], colours[1]):
        yield ".webp", encoded(image, "WEBP", lossless=True)
        yield ".webp", encoded(image, "WEBP", exif=b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\1\0\0\0\0\0\0\0")
    yield ".webp", encoded(grey[0], "WEBP", save_all=True, append_images=[grey[1]])
    for compression in TIFFS:
        yield ".tif", encoded(grey[1], "TIFF", compression=compression)
        yield ".tif", encoded(colours[0], "TIFF", compression=compression)
    yield ".tif", encoded(colours[4], "TIFF", compression="group4")
    for image in (deep, single, colours[2], colours[3], grey[2].convert("I"), grey[2].convert("CMYK")):
        yield ".tif", encoded(image, "TIFF")
    yield ".tif", encoded(grey[0], "TIFF", save_all=True, append_images=[grey[1]])


def demo_images(count: int = 20) -> list[tuple[str, bytes]]:
    """Images of the demo set."""
    paths = sorted((DEMO / "test").rglob("*.jpg"))
    return [(".jpg", path.read_bytes()) for path in paths[:: max(1, len(paths) // count)][:count]]


def dicoms() -> Iterator[Any]:
    """Sound DICOM files as datasets: 8 to 16 bits, colour, and each compression that can be written here."""
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    def dataset(pixels: np.ndarray, syntax: str, data: bytes | None = None, **values: object) -> Any:
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
        d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = "1.2.3"
        d.file_meta.TransferSyntaxUID = uid.UID(syntax)
        d.SOPClassUID, d.Modality, d.PatientID = uid.DigitalXRayImageStorageForPresentation, "DX", "P1"
        d.Rows, d.Columns = pixels.shape[:2]
        d.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        d.PixelRepresentation, d.BitsAllocated = int(pixels.dtype.kind == "i"), 8 * pixels.itemsize
        d.BitsStored, d.HighBit = d.BitsAllocated, d.BitsAllocated - 1
        d.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
        if pixels.ndim == 3:
            d.PlanarConfiguration = 0
        for name, value in values.items():
            setattr(d, name, value)
        d.PixelData = encapsulate([data]) if data else pixels.tobytes()
        return d

    grey = radiograph(5, width=32, height=40)
    deep, colour = (grey.astype(np.uint16) * 16, np.asarray(Image.fromarray(grey).convert("RGB")))
    plain = uid.ExplicitVRLittleEndian
    yield dataset(grey, plain)
    yield dataset(deep, plain, BitsStored=12, HighBit=11, WindowCenter=2000, WindowWidth=3000)
    yield dataset(deep, uid.ImplicitVRLittleEndian, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2,
                  RescaleIntercept=-1000)  # fmt: skip
    yield dataset(deep.astype(np.int16), plain, PixelPaddingValue=0, VOILUTFunction="SIGMOID", WindowCenter=[9, 1000],
                  WindowWidth=[9, 2000])  # fmt: skip
    yield dataset(colour, plain)
    yield dataset(grey, uid.DeflatedExplicitVRLittleEndian)
    yield dataset(np.stack([grey, grey]), plain, Rows=40, Columns=32, SamplesPerPixel=1, NumberOfFrames=2,
                  PhotometricInterpretation="MONOCHROME2")  # fmt: skip
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [256, 0, 16], np.arange(0, 65536, 256, np.uint16).tobytes()
    yield dataset(grey, plain, VOILUTSequence=[lut])
    palette: dict[str, object] = {}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = np.arange(0, 65536, 256, np.uint16).tobytes()
    yield dataset(grey, plain, PhotometricInterpretation="PALETTE COLOR", **palette)
    image = Image.fromarray(grey)
    yield dataset(grey, uid.JPEGBaseline8Bit, encoded(image, "JPEG"))
    yield dataset(grey, uid.JPEG2000Lossless, encoded(image, "JPEG2000"))
    for syntax in (uid.RLELossless, uid.JPEGLSLossless):
        compressed = dataset(grey, plain)
        try:
            compressed.compress(syntax)
        except Exception:
            continue  # its encoder is not installed
        yield compressed


def written(dataset: Any) -> bytes:
    """The bytes of a DICOM file, values unchecked."""
    import pydicom

    buffer = io.BytesIO()
    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        dataset.save_as(buffer, enforce_file_format=True)
    finally:
        pydicom.config.settings.writing_validation_mode = before
    return buffer.getvalue()


def studies() -> Iterator[tuple[str, bytes]]:
    """Suffix and content of small studies: arrays of several kinds and, where nibabel is there, NIfTI."""
    grey = volumes(2, 0, slices=6, size=36)[0].images
    for array in (grey[0], grey[1].astype(np.uint16) * 100, np.asfortranarray(grey[0]), grey[1].astype(">f4") / 255):
        buffer = io.BytesIO()
        np.save(buffer, array)
        yield ".npy", buffer.getvalue()
    try:
        import nibabel
    except ModuleNotFoundError:
        return
    affine = np.array([[0.0, 0, 4, 0], [0, -1.2, 0, 0], [-1.2, 0, 0, 0], [0, 0, 0, 1]])
    for array in (grey[0], grey[1].astype(np.int16) * 50):
        data = nibabel.Nifti1Image(array.transpose(1, 2, 0), affine).to_bytes()
        yield ".nii", data
        yield ".nii.gz", gzip.compress(data, mtime=0)


def series(folder: Path) -> None:
    """Two DICOM series in a folder."""
    for seed in (1, 2):
        (folder / str(seed)).mkdir(parents=True)
        write_series(folder / str(seed), make_truth(seed), seed)


@dataclass(frozen=True)
class Corpus:
    """Everything that cases damage: suffix and content of images and of studies, DICOM files, a folder of sound things.

    `base` holds `set` (class folders, 32 x 40 pixels), `run` (trained on it for two epochs), `cache` of that, `graz`
    and `fracatlas` (published layouts), `knees` (a study set), `knees-run` (trained on it), and `series`.
    """

    images: list[tuple[str, bytes]]
    dicom_bytes: list[bytes]
    studies: list[tuple[str, bytes]]
    series: list[list[bytes]]
    base: Path

    @property
    def model(self) -> Path:
        return self.base / "run" / "model.pt"


TRAIN = ("--size", "32", "--epochs", "2", "--batch", "16", "--quiet")


def prepare(base: Path) -> None:
    """Make the folder of sound things, the same each time; `base` does not exist yet."""
    os.environ |= {"FRACTURE_CACHE": str(base / "cache"), "MPLCONFIGDIR": str(base / "mpl"), "OMP_NUM_THREADS": "1"}
    import matplotlib.font_manager  # noqa: F401, lists the fonts once for all workers

    from fracturelib.cli import main

    plain_folder(base / "set", splits={"train": 6, "val": 4, "test": 3}, size=(32, 40))
    manifest_and_coco(base / "set")
    graz(base / "graz")
    fracatlas(base / "fracatlas")
    study_set(base / "knees", train=8, val=4, test=4)
    series(base / "series")
    for name, run in (("set", "run"), ("knees", "knees-run")):
        if main(["train", str(base / name), "--out", str(base / run), *TRAIN]):
            raise RuntimeError(f"the sound data set {name} cannot be trained on")


def opened(base: Path) -> Corpus:
    """The corpus on such a folder."""
    scans = [[path.read_bytes() for path in sorted(folder.iterdir())] for folder in sorted((base / "series").iterdir())]
    dicom_bytes = [written(dataset) for dataset in dicoms()]
    return Corpus([*images(), *demo_images()], dicom_bytes, list(studies()), scans, base)


def manifest_and_coco(folder: Path) -> None:
    """Leave `manifest.csv` and `annotations.json` of a folder beside it, as `folder`.csv and `folder`.json."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg"))
    rows = ["file,split,label,group,width,height,region"]
    pictures, instances = [], []
    for number, file in enumerate(files):
        split, label = file.split("/")[0], int("not " not in file)
        rows.append(f"{file},{split},{label},P{number:03d},32,40,{'hand' if number % 2 else 'wrist'}")
        pictures.append({"id": number, "file_name": file, "width": 32, "height": 40})
        if label:
            polygon = [[8, 8, 20, 8, 20, 20, 8, 20]]
            instances.append({"id": number, "image_id": number, "category_id": 0, "iscrowd": 0, "area": 144,
                          "segmentation": polygon, "bbox": [8, 8, 12, 12]})  # fmt: skip
    text = json.dumps({"images": pictures, "annotations": instances, "categories": [{"id": 0, "name": "fracture"}]})
    folder.with_suffix(".csv").write_text("\n".join(rows) + "\n")
    folder.with_suffix(".json").write_text(text)


def graz(folder: Path) -> None:
    """GRAZPEDWRI-DX's layout: dataset.csv, images, YOLO labels and meta.yaml."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    rows = ["filestem,patient_id,projection,laterality,fracture_visible,metal,cast"]
    for i in range(16):
        stem = f"{i // 2:04d}_{i:03d}"
        Image.fromarray(radiograph(100 + i, fractured=bool(i % 2), width=32, height=40)).save(
            folder / "images" / f"{stem}.png"
        )
        rows.append(f"{stem},{i // 2},{1 + i % 2},L,{1 if i % 2 else ''},,{i % 3 // 2}")
        (folder / "labels" / f"{stem}.txt").write_text("3 0.5 0.5 0.25 0.25\n" if i % 2 else "8 0.5 0.5 0.1 0.1\n")
    names = "['boneanomaly', 'bonelesion', 'foreignbody', 'fracture', 'metal', 'periostealreaction', 'text']"
    (folder / "meta.yaml").write_text(f"nc: 7\nnames: {names}\n")
    (folder / "dataset.csv").write_text("\n".join(rows) + "\n")


def fracatlas(folder: Path) -> None:
    """FracAtlas's layout: dataset.csv, class folders in images, COCO masks."""
    rows = ["image_id,hand,leg,hip,shoulder,mixed,hardware,multiscan,fractured,fracture_count,frontal,lateral,oblique"]
    pictures, instances = [], []
    for i in range(16):
        name, label = f"IMG{i * 20:07d}.jpg", i % 2
        place = folder / "images" / ("Fractured" if label else "Non_fractured")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(radiograph(200 + i, fractured=bool(label), width=32, height=40)).save(place / name)
        rows.append(f"{name},1,0,0,0,0,0,0,{label},{label},1,0,0")
        pictures.append({"id": i, "file_name": name, "width": 32, "height": 40})
        if label:
            instances.append({"id": i, "image_id": i, "category_id": 0, "segmentation": [[8, 8, 20, 8, 20, 20, 8, 20]],
                          "bbox": [8, 8, 12, 12]})  # fmt: skip
    coco = folder / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    coco.parent.mkdir(parents=True)
    coco.write_text(
        json.dumps({"images": pictures, "annotations": instances, "categories": [{"id": 0, "name": "fracture"}]})
    )
    (folder / "dataset.csv").write_text("\n".join(rows) + "\n")
