"""Every kind of image that hospitals and web sites hand out."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fracturelib.data.images
from fracturelib._io.files import InputError
from fracturelib.data.decode import image_size, read_grey
from fracturelib.data.images import load_images, square_geometry, to_square
from fracturelib.data.masks import mask_to_square
from tests.radiographs import plain_folder, radiograph, save

RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (32, 1))


def dicom(path: Path, values: np.ndarray, *, photometric: str = "MONOCHROME2", **attributes: object) -> Path:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PhotometricInterpretation = photometric
    dataset.PixelData = values.astype(np.uint16).tobytes()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_lossless_kinds_give_the_same_grey(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    Image.fromarray(RAMP).convert(mode).save(path)
    assert np.abs(read_grey(path).astype(int) - RAMP).max() <= 1
    assert image_size(path) == (64, 32)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_kinds_give_nearly_the_same_grey(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(RAMP).convert(mode).save(path, quality=95)
    assert np.abs(read_grey(path).astype(int) - RAMP).max() <= 4


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_more_than_8_bits(tmp_path: Path, bits: int) -> None:
    path = save(np.uint16(RAMP.astype(int) * (2**bits - 1) // 255), tmp_path / "image.png")
    assert np.abs(read_grey(path).astype(int) - RAMP).max() <= 1


def test_transparent_parts_are_black(tmp_path: Path) -> None:
    pixels = np.full((32, 32, 4), 200, np.uint8)
    pixels[:, :16, 3], pixels[:, 16:, 3] = 0, 255
    grey = read_grey(save(pixels, tmp_path / "image.png"))
    assert (grey[:, :16] == 0).all() and (grey[:, 16:] == 200).all()


@pytest.mark.parametrize("direction", range(1, 9))
def test_the_exif_orientation_is_applied(tmp_path: Path, direction: int) -> None:
    inversion_detector = radiograph(1, width=24, height=32)
    back = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
            6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a.T, 2), 8: lambda a: np.rot90(a, -1)}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = direction
    path = save(np.ascontiguousarray(back[direction](inversion_detector)), tmp_path / "image.png", exif=exif)
    assert np.array_equal(read_grey(path), inversion_detector)
    assert image_size(path) == (24, 32)


def test_dicom_with_a_window(tmp_path: Path) -> None:
    values = np.tile(np.arange(64) * 64, (32, 1))
    grey = read_grey(dicom(tmp_path / "a.dcm", values, WindowCenter=2048, WindowWidth=1024))
    assert (grey[:, :24] == 0).all() and (grey[:, 40:] == 255).all()
    assert 120 <= grey[0, 32] <= 136 and (np.diff(grey[0].astype(int)) >= 0).all()


def test_dicom_monochrome1_is_inverted_and_found_without_a_suffix(tmp_path: Path) -> None:
    values = np.tile(np.arange(64) * 64, (32, 1))
    dark = read_grey(dicom(tmp_path / "inverted", values, photometric="MONOCHROME1"))
    light = read_grey(dicom(tmp_path / "plain", values))
    assert np.array_equal(dark, 255 - light) and light[0, 0] == 0 and light[0, -1] == 255


def test_to_square_pads_the_short_side() -> None:
    square = to_square(np.full((40, 20), 200, np.uint8), 80)
    assert square.shape == (80, 80) and square.dtype == np.uint8
    assert (square[:, 20:60] == 200).all() and not square[:, :20].any() and not square[:, 60:].any()


@given(st.integers(16, 3000), st.integers(16, 3000), st.sampled_from([64, 224, 384]))
def test_the_geometry_goes_there_and_back(width: int, height: int, size: int) -> None:
    geometry = square_geometry(width, height, size)
    corners = np.array([[0, 0], [width, height]], dtype=float)
    there = geometry.to_square(corners)
    assert (there >= 0).all() and (there <= size + 1e-9).all() and np.isclose(np.ptp(there, axis=0).max(), size)
    assert np.allclose(geometry.to_image(there), corners)


def test_a_thin_mask_never_vanishes() -> None:
    mask = np.zeros((2000, 1500), np.uint8)
    mask[1001, 700] = 1
    square = mask_to_square(mask, 64)
    assert square.sum() == 1 and square[32, 30] == 1
    assert not mask_to_square(np.zeros_like(mask), 64).any()


def test_images_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = plain_folder(tmp_path, splits={"train": 3})
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg"))
    decoded: list[Path] = []

    def counted(path: Path) -> np.ndarray:
        decoded.append(path)
        return read_grey(path)

    monkeypatch.setattr(fracturelib.data.images, "read_grey", counted)
    first = load_images(folder, files, size=32)
    again = load_images(folder, files, size=32)
    assert len(decoded) == 6 and first.shape == (6, 32, 32) and np.array_equal(first, again)
    assert np.array_equal(first[2], to_square(read_grey(folder / files[2]), 32))
    load_images(folder, files, size=40)
    assert len(decoded) == 12
    save(radiograph(99), folder / files[0])
    assert not np.array_equal(load_images(folder, files, size=32)[0], first[0])


def test_the_cache_may_be_written_to_in_memory_only(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path, splits={"train": 1})
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg"))
    load_images(folder, files, size=32)[0] = 7
    assert not (load_images(folder, files, size=32)[0] == 7).all()


def test_an_image_that_cannot_be_read_leaves_no_cache(tmp_path: Path, own_cache: Path) -> None:
    folder = plain_folder(tmp_path, splits={"train": 2})
    bad = folder / "train" / "fractured" / "image000.jpg"
    bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    before = sorted(own_cache.iterdir())
    with pytest.raises(InputError, match=r"image000.jpg: damaged or truncated"):
        load_images(folder, ["train/fractured/image001.jpg", "train/fractured/image000.jpg"], size=32)
    assert sorted(own_cache.iterdir()) == before


def test_no_images() -> None:
    assert load_images(Path(), [], size=32).shape == (0, 32, 32)


def test_reading_warns_of_nothing(tmp_path: Path) -> None:
    path = save(np.zeros((9500, 9500), np.uint8), tmp_path / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_grey(path).shape == (9500, 9500)
