"""DICOM to grey values: what the standard's pipeline gives, with published examples and pydicom's own as references."""

import csv
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fracturelib._io.files import InputError
from fracturelib.data.decode import decode, image_size, read_grey
from fracturelib.data.pixels import FIRST_OF_SEVERAL
from tests.conftest import ROOT
from tests.radiographs import radiograph
from tests.test_decode import jpeg_of, measured, refused, write
from tests.test_images import dicom

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.sequence import Sequence as Items  # noqa: E402

CASES = ROOT / "tests" / "reference" / "cases" / "dicom"
SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"  # they come with pydicom
VALUES = np.tile(np.arange(64) * 64, (32, 1))
FULL = np.round(np.arange(64) / 63 * 255).astype(np.uint8)


def expected() -> list[list[str]]:
    with (CASES / "expected.csv").open(encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


@pytest.mark.parametrize(("name", "what", "row"), expected(), ids=[f"{r[0]}: {r[1]}" for r in expected()])
def test_published_rows(name: str, what: str, row: str) -> None:
    grey = read_grey(CASES / name)
    assert " ".join(map(str, grey[0, ::7])) == row
    assert (grey == grey[0]).all() and image_size(CASES / name) == grey.shape[::-1]


def lut(entries: np.ndarray, first: int, bits: int, *, packed: bool = False) -> Items:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 2**16, first, bits])
    data = entries.astype(np.uint8 if packed else "<u2").tobytes()
    item.add_new("LUTData", "OW", data + bytes(len(data) % 2))
    return Items([item])


def shown(path: Path, values: np.ndarray = VALUES, **attributes: object) -> np.ndarray:
    """The first row of an image with these attributes."""
    return read_grey(dicom(path, values, **attributes))[0]


@settings(max_examples=40, deadline=None)
@given(
    centre=st.floats(-3000, 3000), width=st.floats(1, 5000), slope=st.sampled_from([1, 2, 0.5, -1]),
    intercept=st.sampled_from([0, -1024, 100]), function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)  # fmt: skip
def test_every_window_is_the_standards(
    tmp_path_factory: pytest.TempPathFactory, centre: float, width: float, slope: float, intercept: float, function: str
) -> None:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, written down once more."""
    text = {"WindowCenter": f"{centre:.6g}", "WindowWidth": f"{max(width, 1):.6g}"}
    row = shown(
        tmp_path_factory.mktemp("window") / "a.dcm", **text, VOILUTFunction=function, RescaleSlope=slope,
        RescaleIntercept=intercept,
    )  # fmt: skip
    x, c, w = VALUES[0] * slope + intercept, float(text["WindowCenter"]), float(text["WindowWidth"])
    if function == "SIGMOID":
        y = 1 / (1 + np.exp(np.clip(-4 * (x - c) / w, -700, 700)))
    else:
        c, w = (c - 0.5, w - 1) if function == "LINEAR" else (c, w)
        inside = (x > c - w / 2) & (x <= c + w / 2)
        y = np.where(inside, (x - c) / (w or 1) + 0.5, x > c + w / 2)
    assert np.abs(row - np.round(y * 255)).max() <= (1 if function == "SIGMOID" else 0)


def test_of_several_windows_the_first(tmp_path: Path) -> None:
    one = shown(tmp_path / "one.dcm", WindowCenter=2048, WindowWidth=1024)
    assert np.array_equal(shown(tmp_path / "a.dcm", WindowCenter=[2048, 9], WindowWidth=[1024, 9]), one)
    assert np.array_equal(shown(tmp_path / "b.dcm", WindowCenter=[2048, 9], WindowWidth=1024), one)


@pytest.mark.parametrize(
    "broken",
    [
        {"WindowCenter": 2048, "WindowWidth": 0}, {"WindowCenter": "", "WindowWidth": 100}, {"WindowCenter": 2048},
        {"WindowCenter": None, "WindowWidth": None}, {"VOILUTSequence": Items([])}, {"RescaleSlope": None},
        {"VOILUTSequence": Items([Dataset()])}, {"VOILUTFunction": ""},
    ],
)  # fmt: skip
def test_a_window_that_says_nothing_is_none(tmp_path: Path, broken: dict[str, object]) -> None:
    assert np.array_equal(shown(tmp_path / "a.dcm", **broken), FULL)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("packed", [False, True])
def test_a_voi_lut_has_the_range_that_it_declares(tmp_path: Path, bits: int, packed: bool) -> None:
    if packed and bits > 8:
        return
    entries = np.arange(4096) * (2**bits - 1) // 4095 // 2
    row = shown(tmp_path / "a.dcm", VOILUTSequence=lut(entries, 0, bits, packed=packed))
    assert np.array_equal(row, np.round(entries[VALUES[0]] / (2**bits - 1) * 255))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_modality_lut_comes_before_the_window(tmp_path: Path, bits: int) -> None:
    entries = (np.arange(4096) // 16 * (2**bits - 1)) // 255
    row = shown(
        tmp_path / "a.dcm", ModalityLUTSequence=lut(entries, 0, bits), WindowCenter=2 ** (bits - 1), WindowWidth=2**bits
    )
    low = 2 ** (bits - 1) - 0.5 - (2**bits - 1) / 2
    assert np.array_equal(row, np.round(np.clip((entries[VALUES[0]] - low) / (2**bits - 1), 0, 1) * 255))


def test_a_modality_lut_then_a_voi_lut(tmp_path: Path) -> None:
    modality, voi = np.arange(4096) // 2, np.arange(2048)[::-1] * 2
    row = shown(tmp_path / "a.dcm", ModalityLUTSequence=lut(modality, 0, 12), VOILUTSequence=lut(voi, 0, 12))
    assert np.array_equal(row, np.round(voi[modality[VALUES[0]]] / 4095 * 255))


@pytest.mark.parametrize("first", [-1000, -1000 + 2**16])
def test_a_lut_of_negative_values_whatever_the_sign_of_its_first(tmp_path: Path, first: int) -> None:
    entries = np.arange(4096)
    row = shown(
        tmp_path / "a.dcm", RescaleSlope=1, RescaleIntercept=-1000, VOILUTSequence=lut(entries, first, 12)
    )  # fmt: skip
    assert np.array_equal(row, np.round(VALUES[0] / 4095 * 255))


def test_beyond_a_lut_its_ends_go_on(tmp_path: Path) -> None:
    row = shown(tmp_path / "a.dcm", VOILUTSequence=lut(np.array([10, 100, 200]), 2000, 8))
    assert row.tolist() == [10] * 32 + [200] * 32


@pytest.mark.parametrize("slope", [1, 0.5, 3, -1])
def test_a_rescale_alone_changes_no_order(tmp_path: Path, slope: float) -> None:
    row = shown(tmp_path / "a.dcm", RescaleSlope=slope, RescaleIntercept=-1000)
    assert np.array_equal(row, FULL if slope > 0 else FULL[::-1])


@pytest.mark.parametrize(
    ("photometric", "shape", "inverse"),
    [
        ("MONOCHROME2", None, False), ("MONOCHROME2", "IDENTITY", False), ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", None, True), ("MONOCHROME1", "INVERSE", True), ("MONOCHROME1", "IDENTITY", True),
    ],
)  # fmt: skip
def test_black_and_white_are_turned_about_once(
    tmp_path: Path, photometric: str, shape: str | None, inverse: bool
) -> None:
    """In digital X-ray MONOCHROME1 goes with INVERSE (PS3.3 C.8.11.3): both say one thing."""
    shapes = {} if shape is None else {"PresentationLUTShape": shape}
    row = shown(tmp_path / "a.dcm", photometric=photometric, **shapes)
    assert np.array_equal(row, 255 - FULL if inverse else FULL)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_not_counted_and_black(tmp_path: Path, photometric: str, window: dict[str, int]) -> None:
    values = VALUES // 2 + 500
    plain = read_grey(dicom(tmp_path / "plain.dcm", values[:, 10:], photometric=photometric, **window))
    values[:, :5], values[:, 5:10] = 4000, 3990
    padding = {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 3980}
    grey = read_grey(dicom(tmp_path / "a.dcm", values, photometric=photometric, **padding, **window))
    assert not grey[:, :10].any() and np.array_equal(grey[:, 10:], plain)
    one = read_grey(dicom(tmp_path / "b.dcm", values, photometric=photometric, PixelPaddingValue=4000, **window))
    assert not one[:, :5].any() and (one[:, 5] > 200).all() == (photometric == "MONOCHROME2")


def test_an_image_of_padding_alone_is_black(tmp_path: Path) -> None:
    assert not read_grey(dicom(tmp_path / "a.dcm", np.full((32, 64), 7), PixelPaddingValue=7)).any()


def test_signed_values_and_their_padding(tmp_path: Path) -> None:
    values = VALUES - 2000
    grey = shown(tmp_path / "a.dcm", values.astype(np.int16).view(np.uint16), PixelRepresentation=1)
    assert np.array_equal(grey, FULL)
    values[:, 0] = -2048
    path = dicom(tmp_path / "b.dcm", values.astype(np.int16).view(np.uint16), PixelRepresentation=1)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 2**16 - 2048)  # with the wrong sign, as some write it
    dataset.save_as(path)
    grey = read_grey(path)[0]
    assert grey[0] == 0 and grey[1] == 0 and grey[-1] == 255


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [11, 13, 15])
def test_bits_beside_the_value_are_overlays(tmp_path: Path, high: int, signed: bool) -> None:
    rng = np.random.default_rng(0)
    below = high - 11
    meant = (VALUES - 2000 if signed else VALUES) & 0xFFF
    other = rng.integers(0, 2**16, VALUES.shape) & ~(0xFFF << below)
    grey = read_grey(dicom(
        tmp_path / "a.dcm", (meant << below) | other, HighBit=high, PixelRepresentation=int(signed)
    ))  # fmt: skip
    assert (grey == FULL).all()


@pytest.mark.parametrize("bits", [1, 8, 16, 32])
def test_every_width_of_numbers(tmp_path: Path, bits: int) -> None:
    values = np.tile(np.arange(64) // 32 if bits == 1 else np.arange(64), (32, 1))
    path = dicom(tmp_path / "a.dcm", VALUES, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = (
        np.packbits(values.astype(np.uint8), axis=None, bitorder="little")
        if bits == 1
        else values.astype(f"<u{bits // 8}")
    ).tobytes()
    dataset.save_as(path)
    assert np.array_equal(read_grey(path)[0], values[0] * 255 if bits == 1 else FULL)


def test_numbers_with_a_point(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", VALUES, BitsAllocated=32)
    dataset = pydicom.dcmread(path)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.FloatPixelData = (VALUES / 3000 - 0.5).astype("<f4").tobytes()
    dataset.save_as(path)
    assert np.array_equal(read_grey(path)[0], FULL)


def colour(path: Path, pixels: np.ndarray, *, bits: int = 8, planar: int = 0, photometric: str = "RGB") -> Path:
    dicom(path, np.zeros(pixels.shape[:2]), photometric=photometric, SamplesPerPixel=3, PlanarConfiguration=planar,
          BitsAllocated=8 if bits <= 8 else 16, BitsStored=bits, HighBit=bits - 1)  # fmt: skip
    dataset = pydicom.dcmread(path)
    stored = np.moveaxis(pixels, -1, 0) if planar else pixels
    dataset.PixelData = stored.astype("u1" if bits <= 8 else "<u2").tobytes()
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_colour_of_8_and_more_bits(tmp_path: Path, bits: int, planar: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2**bits, (32, 40, 3))
    grey = read_grey(colour(tmp_path / "a.dcm", pixels, bits=bits, planar=planar))
    luma = pixels @ [0.299, 0.587, 0.114] / (2**bits - 1) * 255
    assert np.abs(grey - luma).max() <= 1


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    luma = np.tile(np.arange(64) * 4, (32, 1))
    pixels = np.stack([luma, np.full_like(luma, 128), np.full_like(luma, 128)], axis=-1)
    grey = read_grey(colour(tmp_path / "a.dcm", pixels, photometric="YBR_FULL"))
    assert np.abs(grey - luma).max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_is_looked_up(tmp_path: Path, bits: int) -> None:
    entries = np.arange(256)[::-1] * (257 if bits == 16 else 1)
    path = dicom(tmp_path / "a.dcm", VALUES // 64, photometric="PALETTE COLOR")
    dataset = pydicom.dcmread(path)
    for name in ("Red", "Green", "Blue"):
        data = entries.astype("<u2" if bits == 16 else "u1").tobytes()
        dataset.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
        dataset.add_new(f"{name}PaletteColorLookupTableData", "OW", data)
    dataset.save_as(path)
    assert np.array_equal(read_grey(path)[0], 255 - np.arange(64))


def test_pydicoms_own_palette() -> None:
    from pydicom.pixels import apply_color_lut

    path = SAMPLES / "examples_palette.dcm"
    dataset = pydicom.dcmread(path)
    rgb = apply_color_lut(dataset.pixel_array, dataset)
    assert np.abs(read_grey(path) - rgb @ [0.299, 0.587, 0.114] / np.iinfo(rgb.dtype).max * 255).max() <= 1


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_what_becomes_no_number_is_refused_without_a_warning(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", VALUES, VOILUTFunction="SIGMOID", WindowCenter=9, WindowWidth="inf")
    with pytest.raises(InputError, match=r"a\.dcm: a DICOM file that cannot be shown \("):
        decode(path)


def with_raw(path: Path, name: str, kind: str, value: bytes) -> Path:
    """The file with these bytes as the value of an element."""
    dataset, tag = pydicom.dcmread(path), pydicom.tag.Tag(name)
    dataset[tag] = pydicom.dataelem.RawDataElement(tag, kind, len(value), value, 0, False, True)
    dataset.save_as(path)
    return path


def test_an_empty_number_of_frames_is_one(tmp_path: Path) -> None:
    path = with_raw(dicom(tmp_path / "a.dcm", VALUES), "NumberOfFrames", "IS", b"\0\0")
    assert np.array_equal(read_grey(path)[0], FULL)


@pytest.mark.parametrize(
    ("name", "kind", "value", "said"),
    [
        ("Rows", "US", b"abcd", r"Rows is '\[25185, 25699\]'; expected one whole number"),
        ("Rows", "US", b"", "Rows is empty; expected one whole number"),
        ("NumberOfFrames", "IS", b"inf ", "NumberOfFrames is .*; expected one whole number"),
        ("ModalityLUTSequence", "US", b"ab", "ModalityLUTSequence is '25185'; expected items"),
        ("VOILUTSequence", "US", b"abcd", "VOILUTSequence is .*; expected items"),
        ("NumberOfFrames", "IS", b"two ", "NumberOfFrames is .*two.*; expected one whole number"),
        ("BitsStored", "US", b"abcd", "BitsStored is .*; expected one whole number"),
        ("PhotometricInterpretation", "CS", b"A\\B ", r"PhotometricInterpretation is .*; expected one word"),
        ("PixelData", "OW", b"", r"\(no pixels\); expected a header and pixels that agree"),
        ("PixelData", "OW", b"ab", r"less than expected.*\); expected a header and pixels that agree"),
        ("ModalityLUTSequence", "SQ", bytes.fromhex("feff00e000000000"), "a lookup table without descriptor or data"),
    ],
)
def test_a_damaged_header_is_refused_by_its_element(
    tmp_path: Path, name: str, kind: str, value: bytes, said: str
) -> None:
    path = with_raw(dicom(tmp_path / "a.dcm", VALUES), name, kind, value)
    with pytest.raises(InputError, match=rf"a\.dcm: .*{said}"):
        decode(path)


def recompressed(path: Path, syntax: str) -> Path:
    codecs = pytest.importorskip("imagecodecs")
    dataset = pydicom.dcmread(path)
    values, bits = dataset.pixel_array, dataset.BitsStored
    target = path.with_name(f"{syntax}.dcm")
    if syntax == "RLELossless":
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(target)
        return target
    frame = {
        "JPEGLossless": lambda: codecs.jpeg8_encode(values, lossless=True, predictor=5, bitspersample=bits),
        "JPEGLosslessSV1": lambda: codecs.jpeg8_encode(values, lossless=True, predictor=1, bitspersample=bits),
        "JPEGExtended12Bit": lambda: codecs.jpeg8_encode(values, 95, bitspersample=bits),
        "JPEGLSLossless": lambda: codecs.jpegls_encode(values),
        "JPEG2000Lossless": lambda: codecs.jpeg2k_encode(values, codecformat="j2k", bitspersample=bits),
        "JPEG2000": lambda: codecs.jpeg2k_encode(values, 60, codecformat="j2k", bitspersample=bits, reversible=False),
    }[syntax]()
    dataset.PixelData = pydicom.encaps.encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    dataset.save_as(target)
    return target


@pytest.mark.parametrize(
    "syntax",
    [
        "JPEGLossless",
        "JPEGLosslessSV1",
        "JPEGLSLossless",
        "JPEG2000Lossless",
        "JPEG2000",
        "RLELossless",
    ],
)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_compressed_pixels_are_as_uncompressed(tmp_path: Path, syntax: str, bits: int) -> None:
    values = radiograph(1, width=64, height=80).astype(int) * (2**bits - 1) // 255
    path = dicom(tmp_path / "plain.dcm", values, BitsStored=bits, HighBit=bits - 1, WindowCenter=2 ** (bits - 1),
                 WindowWidth=2**bits)  # fmt: skip
    if bits == 8:
        dataset = pydicom.dcmread(path)
        dataset.BitsAllocated, dataset.PixelData = 8, values.astype(np.uint8).tobytes()
        dataset.save_as(path)
    plain = read_grey(path)
    grey = read_grey(recompressed(path, syntax))
    assert np.abs(grey.astype(int) - plain).max() <= (8 if syntax == "JPEG2000" else 0)


def test_jpeg_of_12_bits(tmp_path: Path) -> None:
    values = radiograph(1, width=64, height=80).astype(int) * 16
    path = dicom(tmp_path / "plain.dcm", values, WindowCenter=2048, WindowWidth=4096)
    grey = read_grey(recompressed(path, "JPEGExtended12Bit"))
    assert np.abs(grey.astype(int) - read_grey(path)).max() <= 6
    # Decoded by libjpeg's reference implementation, its mean is 14.383 and its brightest value 264.
    assert read_grey(SAMPLES / "JPGExtended.dcm").mean() == pytest.approx(14.383 / 264 * 255, abs=0.05)


@pytest.mark.parametrize("name", ["RLE", "jp2klossless", "jpeg_ls_lossless", "bigendian", "implicit", "expb"])
def test_pydicoms_own_samples_agree(name: str) -> None:
    assert np.array_equal(read_grey(SAMPLES / f"MR_small_{name}.dcm"), read_grey(SAMPLES / "MR_small.dcm"))


def test_a_missing_decoder_is_named_with_the_whole_command() -> None:
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from fracturelib.data.decode import decode; from fracturelib._io.files import InputError\n"
        "for path in sys.argv[1:]:\n"
        "    try: decode(path)\n"
        "    except InputError as error: print(error)\n"
    )
    names = ("MR_small_jpeg_ls_lossless.dcm", "JPGExtended.dcm")
    paths = [str(SAMPLES / name) for name in names]
    said = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = said.stdout.splitlines()
    assert len(lines) == 2 and not said.stderr
    for line, path in zip(lines, paths, strict=True):
        assert line.startswith(path) and 'not installed; expected `pip install ".[dicom]"` to have been run' in line


def test_without_pydicom_the_whole_command_is_named(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", VALUES)
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from fracturelib.data.decode import decode; from fracturelib._io.files import InputError\n"
        "try: decode(sys.argv[1])\n"
        "except InputError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, cwd=ROOT)
    assert 'a.dcm: DICOM needs pydicom; expected `pip install ".[dicom]"` to have been run' in said.stdout


@pytest.mark.parametrize("name", ["test-SR", "reportsi", "waveform_ecg", "rtplan"])
def test_dicom_without_an_image_is_a_sentence(name: str) -> None:
    line = refused(SAMPLES / f"{name}.dcm")
    kind = str(pydicom.dcmread(SAMPLES / f"{name}.dcm").SOPClassUID.name)
    assert f"DICOM without an image ({kind}); expected a radiograph" in line


@pytest.mark.parametrize("suffix", ["", ".dcm", ".jpg"])
def test_a_data_set_without_preamble(tmp_path: Path, suffix: str) -> None:
    whole = dicom(tmp_path / "whole.dcm", VALUES, WindowCenter=2048, WindowWidth=1024)
    dataset = pydicom.dcmread(whole)
    path = tmp_path / f"bare{suffix}"
    if suffix == ".jpg":
        path.write_bytes(whole.read_bytes())  # DICOM by another name
    else:
        path.write_bytes(whole.read_bytes()[132:] if suffix else b"")
        if not suffix:
            dataset.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)
            data = path.read_bytes()
            path.write_bytes(data[132:] if data[128:132] == b"DICM" else data)
    assert np.array_equal(read_grey(path), read_grey(whole)) and image_size(path) == (64, 32)


def test_of_several_frames_the_first(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.concatenate([VALUES, VALUES[:, ::-1]]), Rows=32, NumberOfFrames=2)
    seen = decode(path)
    assert seen.notes == (FIRST_OF_SEVERAL,) and np.array_equal(seen.grey[0], FULL)
    assert decode(SAMPLES / "examples_ybr_color.dcm").grey.shape == (240, 320)


def test_the_window_of_an_enhanced_image(tmp_path: Path) -> None:
    window, frame, path = Dataset(), Dataset(), dicom(tmp_path / "a.dcm", VALUES)
    window.WindowCenter, window.WindowWidth = 2048, 1024
    frame.FrameVOILUTSequence = Items([window])
    dataset = pydicom.dcmread(path)
    dataset.SharedFunctionalGroupsSequence = Items([frame])
    dataset.save_as(path)
    assert np.array_equal(read_grey(path)[0], shown(tmp_path / "b.dcm", WindowCenter=2048, WindowWidth=1024))


def deflated(path: Path, plain: bytes) -> Path:
    whole = dicom(path, VALUES)
    dataset = pydicom.dcmread(whole)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    if plain:
        data = path.read_bytes()
        at = 144 + struct.unpack("<I", data[140:144])[0]
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        path.write_bytes(data[:at] + packer.compress(plain) + packer.flush())
    return path


def test_a_deflated_file(tmp_path: Path) -> None:
    assert np.array_equal(read_grey(deflated(tmp_path / "a.dcm", b""))[0], FULL)


def elements(count: int) -> bytes:
    """Empty elements of a sequence without an end, in explicit little endian."""
    item = b"".join(struct.pack("<HH2sH", 0x0009, 0x1000 + i % 0xE000, b"LO", 0) for i in range(4096))
    start = struct.pack("<HH2sHI", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return start + item * (count // 4096)


def rle(path: Path) -> Path:
    """A frame of 32 x 64 pixels whose run-length coded data become 2 GB."""
    from pydicom.encaps import encapsulate

    dicom(path, VALUES)
    dataset = pydicom.dcmread(path)
    run = b"\x81\0" * (32 * 2**20 // 2)
    head = struct.pack("<16I", 2, 64, 64 + len(run), *[0] * 13)
    dataset.PixelData = encapsulate([head + run + run])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.RLELossless
    dataset.save_as(path)
    return path


def jpeg_wider_than_its_header(path: Path) -> Path:
    from pydicom.encaps import encapsulate

    from tests.test_decode import jpeg_of

    colour(path, np.zeros((32, 64, 3)))
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([jpeg_of(60_000, 60_000)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    dataset.save_as(path)
    return path


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "rows": lambda p: dicom(p, VALUES, Rows=60_000, Columns=60_000),
    "samples": lambda p: dicom(p, VALUES, Rows=9_000, Columns=9_000, SamplesPerPixel=3, BitsAllocated=32),
    "no rows": lambda p: dicom(p, VALUES, Rows=0),
    "fewer pixels": lambda p: dicom(p, VALUES, Rows=4_000, Columns=4_000),
    "frames": lambda p: dicom(p, VALUES, NumberOfFrames=2**31 - 1, Rows=9_000, Columns=9_000),
    "deflate": lambda p: deflated(p, bytes(600 * 2**20)),
    "elements": lambda p: write(p, dicom(p, VALUES).read_bytes()[:132 + 200] + elements(8_000_000)),
    "run length": rle,
    "jpeg": jpeg_wider_than_its_header,
    "negative bits": lambda p: dicom(p, VALUES, BitsAllocated=0),
    "kind of window": lambda p: dicom(p, VALUES, WindowCenter=9, WindowWidth=9, VOILUTFunction="CUBIC"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_fill_the_memory_is_refused_early(tmp_path: Path, name: str) -> None:
    path = HOSTILE[name](tmp_path / "a.dcm")
    line, megabytes = measured(path)
    assert line.startswith(f"{path}: ") and megabytes < 1000, (line, megabytes)


@pytest.mark.parametrize("seed", range(200))
def test_any_damage_is_one_line(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = sorted(CASES.glob("*.dcm"))
    data = bytearray(names[seed % len(names)].read_bytes())
    for place in rng.integers(128, len(data), int(rng.integers(1, 20))):
        data[place] = int(rng.integers(256))
    path = write(tmp_path / "a.dcm", bytes(data[: int(rng.integers(200, len(data) + 1))] if seed % 3 == 0 else data))
    for look in (decode, image_size):
        try:
            look(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


# What the data of a compressed image and its header say against each other


def encapsulated(path: Path, frame: bytes, syntax: str, shape: tuple[int, ...], **tags: object) -> Path:
    dataset = pydicom.dcmread(dicom(path, np.zeros(shape, int), **tags))
    dataset.PixelData = pydicom.encaps.encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    dataset.save_as(path)
    return path


def bones(bits: int, shape: tuple[int, int] = (80, 64)) -> Any:
    return (radiograph(1, width=shape[1], height=shape[0]).astype(int) * (2**bits - 1) // 255).astype(np.uint16)


@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("syntax", ["JPEGLosslessSV1", "JPEGExtended12Bit"])
def test_a_frame_that_is_cut_off_is_refused(tmp_path: Path, syntax: str, part: float) -> None:
    codecs = pytest.importorskip("imagecodecs")
    lossless = {"lossless": True, "predictor": 1} if syntax == "JPEGLosslessSV1" else {}
    frame = codecs.jpeg8_encode(bones(12), bitspersample=12, **lossless)
    whole = encapsulated(tmp_path / "whole.dcm", frame, syntax, (80, 64), BitsStored=12, HighBit=11)
    assert read_grey(whole).std() > 10
    path = encapsulated(tmp_path / "cut.dcm", frame[: int(len(frame) * part)], syntax, (80, 64))
    with pytest.raises(InputError, match=r"cut\.dcm: .*its data are cut off"):
        decode(path)
    nothing = frame[: frame.index(b"\xff\xda") + 10] + b"\xff\xd9"
    with pytest.raises(InputError, match="its data are cut off"):
        decode(encapsulated(tmp_path / "empty.dcm", nothing, syntax, (80, 64)))


@pytest.mark.parametrize("syntax", ["JPEGLosslessSV1", "JPEGLSLossless", "JPEG2000Lossless"])
def test_data_of_more_bits_than_the_header_says_are_refused(tmp_path: Path, syntax: str) -> None:
    codecs = pytest.importorskip("imagecodecs")
    frame = {
        "JPEGLosslessSV1": lambda: codecs.jpeg8_encode(bones(12), lossless=True, predictor=1, bitspersample=12),
        "JPEGLSLossless": lambda: codecs.jpegls_encode(bones(12)),
        "JPEG2000Lossless": lambda: codecs.jpeg2k_encode(bones(12), codecformat="j2k", bitspersample=12),
    }[syntax]()
    path = encapsulated(tmp_path / "a.dcm", frame, syntax, (80, 64), BitsStored=10, HighBit=9)
    with pytest.raises(InputError, match=r"its data are of 12 bits, its header says 10"):
        decode(path)


def test_data_of_another_size_than_the_header_says_are_refused(tmp_path: Path) -> None:
    codecs = pytest.importorskip("imagecodecs")
    frame = codecs.jpeg8_encode(bones(8).astype(np.uint8), 90)
    path = encapsulated(tmp_path / "a.dcm", frame, "JPEGBaseline8Bit", (64, 80), BitsStored=8, HighBit=7)
    with pytest.raises(InputError, match=r"of 64 x 80 pixels, its header says 80 x 64"):
        decode(path)


@pytest.mark.parametrize("extended", [False, True])
def test_signs_lie_within_the_stored_bits(tmp_path: Path, extended: bool) -> None:
    codecs = pytest.importorskip("imagecodecs")
    values = bones(12).astype(int) - 2048
    coded = (values if extended else values & 0xFFF).astype(np.int16).view(np.uint16)
    path = encapsulated(
        tmp_path / "a.dcm", codecs.jpegls_encode(coded), "JPEGLSLossless", (80, 64),
        BitsStored=12, HighBit=11, PixelRepresentation=1, WindowCenter=0, WindowWidth=4096,
    )  # fmt: skip
    assert np.abs(read_grey(path).astype(int) - radiograph(1, width=64, height=80)).max() <= 1


def test_padding_is_a_value_and_not_a_word(tmp_path: Path) -> None:
    values = np.tile(np.arange(-1000, 1048, 32), (64, 1))
    values[:4] = -2048
    words = values & 0xFFF  # signed, of 12 bits, and the four above are empty
    path = dicom(tmp_path / "a.dcm", words, BitsStored=12, HighBit=11, PixelRepresentation=1)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "SS", -2048)
    dataset.save_as(path)
    grey = read_grey(path)
    assert (grey[:4] == 0).all() and grey[10, 0] == 0 and grey[10, -1] == 255


@pytest.mark.parametrize("kind", ["YBR_PARTIAL_420", "HSV", "MONOCHROME2"])
def test_colours_that_are_not_read_are_named(tmp_path: Path, kind: str) -> None:
    path = dicom(tmp_path / "a.dcm", np.zeros((32, 96), int))
    dataset = pydicom.dcmread(path)
    dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 32, 3, 0
    dataset.PhotometricInterpretation = kind
    dataset.save_as(path)
    with pytest.raises(InputError, match=rf"three samples of a pixel as {kind}; expected"):
        decode(path)


def test_unused_bits_of_colours_are_left_out(tmp_path: Path) -> None:
    rgb = np.repeat(bones(12)[..., None], 3, axis=2).astype(int)
    path = dicom(tmp_path / "a.dcm", (rgb << 4 | 9).reshape(80, 192), BitsStored=12, HighBit=15)
    dataset = pydicom.dcmread(path)
    dataset.Columns, dataset.SamplesPerPixel, dataset.PlanarConfiguration = 64, 3, 0
    dataset.PhotometricInterpretation = "RGB"
    dataset.save_as(path)
    assert np.abs(read_grey(path).astype(int) - radiograph(1, width=64, height=80)).max() <= 1


def test_a_transfer_syntax_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = encapsulated(tmp_path / "a.dcm", b"\0" * 64, "MPEG2MPML", (80, 64))
    with pytest.raises(InputError, match=r"its pixels are MPEG2 .*; expected JPEG, JPEG-LS"):
        decode(path)


def test_a_jpeg_of_thousands_of_scans_is_refused_within_dicom_too(tmp_path: Path) -> None:
    frame = jpeg_of(6000, 6000, progressive=True) + b"\xff\xda\0\x08\1\1\0\1\1\0" * 3000
    path = encapsulated(tmp_path / "a.dcm", frame, "JPEGBaseline8Bit", (64, 64), BitsStored=8, HighBit=7)
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 6000
    dataset.save_as(path)
    with pytest.raises(InputError, match=r"a\.dcm: a JPEG of 3,0\d\d scans of 36,000,000 pixels; expected a dozen"):
        decode(path)
