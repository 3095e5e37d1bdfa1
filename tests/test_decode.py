"""Files to grey values: every promised format in its unusual kinds, and what is damaged, hostile or another thing."""

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fracturelib._io.files import InputError
from fracturelib.data.decode import DAMAGED_EXIF, decode, image_size, orientation, read_grey
from fracturelib.data.pixels import FIRST_OF_SEVERAL, noted
from tests.conftest import ROOT
from tests.pictures import chunk, png, tiff
from tests.radiographs import plain_folder, radiograph, save

CASES = ROOT / "tests" / "reference" / "cases" / "images"
RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (32, 1))
DEEP = np.tile(np.arange(64, dtype=np.uint16) * 64, (32, 1))  # 12 bits
SHOWN = (DEEP // 16).astype(np.uint8)
STORED = np.add.outer(np.arange(40) * 2, np.arange(64) * 2).astype(np.uint8)
TURN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose,
    6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a.T, 2), 8: lambda a: np.rot90(a, 1),
}  # fmt: skip


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def saved(path: Path, pixels: np.ndarray, **options: object) -> Path:
    return save(pixels, path, **options)


def refused(path: Path) -> str:
    """The one line that says why a file cannot be read."""
    with pytest.raises(InputError) as caught:
        decode(path)
    line = str(caught.value)
    assert line.startswith(str(path)) and "\n" not in line
    return line


@pytest.mark.parametrize("direction", range(1, 9))
@pytest.mark.parametrize(
    "how", ["plain", "big-endian", "tiles", "deflate", "lzw", "jpeg", "16 bits", "16-bit colour", "planes"]
)
def test_tiff_in_all_eight_orientations(tmp_path: Path, how: str, direction: int) -> None:
    path, stored = tmp_path / "image.tif", STORED
    if how in ("lzw", "jpeg"):
        quality = {"quality": 100} if how == "jpeg" else {}
        Image.fromarray(stored).save(
            path, compression=f"tiff_{how}" if how == "lzw" else how, tiffinfo={274: direction}, **quality
        )
    else:
        colour = np.stack([stored] * 3, axis=-1)
        pixels = {
            "16 bits": stored.astype(np.uint16) * 256,
            "16-bit colour": colour.astype(np.uint16) * 256,
            "planes": colour,
        }
        write(path, tiff(
            pixels.get(how, stored), orientation=direction, order=">" if how == "big-endian" else "<",
            tile=32 if how == "tiles" else 0, deflate=how == "deflate", apart=how == "planes",
        ))  # fmt: skip
    inversion_detector = TURN[direction](stored)
    grey = read_grey(path)
    assert grey.shape == inversion_detector.shape and np.abs(grey.astype(int) - inversion_detector).max() <= (
        3 if how == "jpeg" else 0
    )
    assert image_size(path) == grey.shape[::-1] and orientation(path) == direction


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_tiff_of_every_type_of_number(tmp_path: Path, kind: str, order: str, white_is_zero: bool) -> None:
    path = write(tmp_path / "image.tif", tiff(DEEP.astype(kind), order=order, photometric=0 if white_is_zero else 1))
    assert np.array_equal(read_grey(path), 255 - SHOWN if white_is_zero else SHOWN)


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_fractions_are_black_to_white(tmp_path: Path, white_is_zero: bool) -> None:
    photometric = 0 if white_is_zero else 1
    path = write(tmp_path / "image.tif", tiff((RAMP / 255).astype(np.float32), photometric=photometric))
    assert np.array_equal(read_grey(path), 255 - RAMP if white_is_zero else RAMP)


def test_negative_numbers_are_shown_from_the_darkest_to_the_brightest(tmp_path: Path) -> None:
    path = write(tmp_path / "image.tif", tiff(DEEP.astype(np.int16) - 2016))
    assert np.abs(read_grey(path).astype(int) - np.round(DEEP / 4032 * 255)).max() <= 1


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    values = (RAMP / 255).astype(np.float32)
    values[3, 3] = np.nan
    assert "pixels that are not numbers" in refused(write(tmp_path / "image.tif", tiff(values)))


@pytest.mark.parametrize("samples", [2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_12_bits_in_16_bit_colour(tmp_path: Path, samples: int, suffix: str) -> None:
    pixels = np.stack([DEEP] * (1 if samples == 2 else 3) + [np.full_like(DEEP, 65535)] * (samples in (2, 4)), axis=-1)
    pixels[:8, ..., -1] = 0 if samples in (2, 4) else pixels[:8, ..., -1]
    data = png(pixels) if suffix == ".png" else tiff(pixels, extra=2 if samples in (2, 4) else None)
    path = write(tmp_path / f"image{suffix}", data)
    if (samples, suffix) == (2, ".tif"):
        assert "2 samples of 16 bits, which is not read; expected grey, RGB or RGBA" in refused(path)
        return
    grey = read_grey(path)
    assert np.array_equal(grey[8:], SHOWN[8:])
    assert not grey[:8].any() if samples in (2, 4) else np.array_equal(grey[:8], SHOWN[:8])


def test_deep_colours_have_the_luma_of_their_8_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 40, 3)).astype(np.uint16)
    usual = read_grey(saved(tmp_path / "8.png", pixels.astype(np.uint8)))
    for name, data in (
        ("png", png(pixels * 257)),
        ("tif", tiff(pixels * 257)),
        ("be.tif", tiff(pixels * 257, order=">")),
    ):
        assert np.abs(read_grey(write(tmp_path / f"16.{name}", data)).astype(int) - usual).max() <= 1


def test_a_transparent_grey_value_of_16_bits_is_black(tmp_path: Path) -> None:
    path = write(tmp_path / "image.png", png(DEEP, chunk(b"tRNS", struct.pack(">H", 640))))
    grey = read_grey(path)
    assert (grey[:, 10] == 0).all() and np.array_equal(np.delete(grey, 10, 1), np.delete(SHOWN, 10, 1))


@pytest.mark.parametrize("photometric", [0, 1])
def test_planes_of_16_bits_are_refused_not_scrambled(tmp_path: Path, photometric: int) -> None:
    pixels = np.stack([DEEP] * 3, axis=-1)
    assert "one plane each" in refused(write(tmp_path / "image.tif", tiff(pixels, apart=True)))


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK", "YCbCr", "RGB"])
def test_every_mode_of_tiff(tmp_path: Path, mode: str) -> None:
    usual = np.where(RAMP > 127, 255, 0).astype(np.uint8) if mode == "1" else RAMP
    Image.fromarray(usual).convert(mode).save(tmp_path / "image.tif")
    assert np.abs(read_grey(tmp_path / "image.tif").astype(int) - usual).max() <= 2


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits(tmp_path: Path, bits: int) -> None:
    codes = np.tile(np.arange(64) * 2**bits // 64, (32, 1)).astype(np.uint8)
    image = Image.fromarray(codes, "P")
    image.putpalette([v for i in range(2**bits) for v in [round(255 * i / (2**bits - 1))] * 3])
    image.save(tmp_path / "image.png", bits=bits)
    image.save(tmp_path / "image.bmp")
    for name in ("image.png", "image.bmp"):
        assert np.array_equal(read_grey(tmp_path / name), np.round(codes * 255.0 / (2**bits - 1)).astype(np.uint8))


def test_a_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P")
    image.save(tmp_path / "image.png", transparency=200)
    grey = read_grey(tmp_path / "image.png")
    there = np.asarray(image) != 200
    assert (grey[~there] == 0).all() and np.abs(grey.astype(int) - RAMP)[there].max() <= 1


@pytest.mark.parametrize("size", [12, 40, 108, 124])
@pytest.mark.parametrize("upside", [False, True])
def test_bmp_with_other_headers(tmp_path: Path, size: int, upside: bool) -> None:
    if size == 12 and upside:
        return  # the oldest header has no sign
    height, width = RAMP.shape
    if size == 12:
        header = struct.pack("<IHHHH", size, width, height, 1, 24)
    else:
        header = struct.pack("<IiiHHIIiiII", size, width, -height if upside else height, 1, 24, 0, 0, 0, 0, 0, 0)
    header = header.ljust(size, b"\0")
    rows = np.stack([np.add.outer(np.arange(32, dtype=np.uint8), RAMP[0] // 2)] * 3, -1).astype(np.uint8)
    data = (rows if upside else rows[::-1]).tobytes()
    path = write(tmp_path / "image.bmp", b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + size) + header + data)
    assert np.array_equal(read_grey(path), rows[..., 0])


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_with_other_sampling(tmp_path: Path, subsampling: str, progressive: bool) -> None:
    colour = np.stack([RAMP] * 3, axis=-1)
    path = saved(tmp_path / "image.jpg", colour, quality=95, subsampling=subsampling, progressive=progressive)
    assert np.abs(read_grey(path).astype(int) - RAMP).max() <= 4


def test_cmyk_as_adobe_writes_it(tmp_path: Path) -> None:
    Image.fromarray(RAMP).convert("CMYK").save(tmp_path / "image.jpg", quality=95)
    assert b"Adobe" in (tmp_path / "image.jpg").read_bytes()
    assert np.abs(read_grey(tmp_path / "image.jpg").astype(int) - RAMP).max() <= 4


@pytest.mark.parametrize("name", ["image.jpg", "image.png", "image.webp"])
@pytest.mark.parametrize("direction", range(1, 9))
def test_exif_of_every_format(tmp_path: Path, name: str, direction: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = direction
    lossless = {"lossless": True} if name.endswith("webp") else {"quality": 98} if name.endswith("jpg") else {}
    path = saved(tmp_path / name, STORED, exif=exif, **lossless)
    grey = read_grey(path)
    assert np.abs(grey.astype(int) - TURN[direction](STORED)).max() <= 3
    assert image_size(path) == grey.shape[::-1] and orientation(path) == direction


def test_exif_after_the_pixels_of_a_png(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png(STORED)
    end = data.index(b"IEND") - 4
    path = write(tmp_path / "image.png", data[:end] + chunk(b"eXIf", exif.tobytes()[6:]) + data[end:])
    assert image_size(path) == (40, 64) and np.array_equal(read_grey(path), TURN[6](STORED))


@pytest.mark.parametrize("name", ["exif-1.jpg", "exif-2.webp"])
def test_exif_with_a_bad_byte_is_not_believed(name: str) -> None:
    seen = decode(CASES / name)
    assert seen.grey.shape == (80, 96) and seen.notes == (DAMAGED_EXIF,)
    assert image_size(CASES / name) == (96, 80) and orientation(CASES / name) == 1


def test_every_bad_byte_in_exif(tmp_path: Path) -> None:
    whole = (CASES / "exif-1.jpg").read_bytes()
    rng = np.random.default_rng(0)
    start, stop = whole.index(b"Exif"), whole.index(b"Exif") + 200
    for i in range(start + 6, stop):
        data = bytearray(whole)
        data[i] = int(rng.integers(256))
        path = write(tmp_path / "image.jpg", bytes(data))
        assert image_size(path) == decode(path).grey.shape[::-1]
        assert 1 <= orientation(path) <= 8


@pytest.mark.parametrize("name", ["tags.tif", "size-1.png"])
def test_damaged_files_are_named(name: str) -> None:
    assert "damaged" in refused(CASES / name)


def test_a_cut_png_is_named_by_its_size_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.png", radiograph(1, width=400, height=400))
    write(path, path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"image.png: damaged or truncated \("):
        image_size(path)
    assert "damaged or truncated (" in refused(path)


@pytest.mark.parametrize("kind", ["png", "tif", "colour.png", "colour.tif", "jpg", "webp", "bmp"])
def test_no_cut_file_is_read_as_if_whole(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (64, 64)).astype(np.uint16)
    colour = np.stack([grey * 257] * 3, axis=-1)
    data = {
        "png": png(grey * 257), "tif": tiff(grey * 257), "colour.png": png(colour), "colour.tif": tiff(colour),
    }.get(kind)  # fmt: skip
    path = write(tmp_path / f"image.{kind}", data) if data else saved(tmp_path / f"image.{kind}", grey.astype(np.uint8))
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.95):
        refused(write(path, whole[: int(len(whole) * share)]))


def animated(path: Path, **options: object) -> Path:
    frames = [Image.fromarray(np.full((32, 40), value, np.uint8)) for value in (10, 200, 90)]
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


@pytest.mark.parametrize("name", ["pages.tif", "animated.webp", "animated.png", "several.mpo.jpg"])
def test_the_first_of_several_is_taken_and_said(tmp_path: Path, name: str) -> None:
    path = animated(
        tmp_path / name, **{"format": "MPO"} if "mpo" in name else {"lossless": True} if "webp" in name else {}
    )
    seen = decode(path)
    assert seen.notes == (FIRST_OF_SEVERAL,) and np.abs(seen.grey.astype(int) - 10).max() <= 1


def test_notes_are_counted() -> None:
    said = {"a.tif": (FIRST_OF_SEVERAL,), "b.jpg": (), "c\x1b.tif": (FIRST_OF_SEVERAL,), "d.jpg": (DAMAGED_EXIF,)}
    assert noted(said) == [f"2 images: {FIRST_OF_SEVERAL} (a.tif, c\\x1b.tif)", f"1 image: {DAMAGED_EXIF} (d.jpg)"]


def test_what_a_file_is_its_first_bytes_say(tmp_path: Path) -> None:
    for name, kind in (
        ("jpeg.dcm", "JPEG"),
        ("png.jpg", "PNG"),
        ("tiff.png", "TIFF"),
        ("bmp", "BMP"),
        ("webp.ima", "WEBP"),
    ):
        Image.fromarray(RAMP).save(tmp_path / name, format=kind)
        assert np.abs(read_grey(tmp_path / name).astype(int) - RAMP).max() <= 8
        assert image_size(tmp_path / name) == (64, 32)


OTHERS: list[tuple[str, bytes]] = [
    ("postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n{} loop\n%%EOF\n"),
    ("gif.png", b"GIF89a" + bytes(30)),
    ("ppm.bmp", b"P6 64 64 255\n" + bytes(64 * 64 * 3)),
    ("pdf.tif", b"%PDF-1.4\n"),
    ("fits.jpg", b"SIMPLE  =                    T".ljust(2880)),
    ("icon.png", b"\0\0\1\0\1\0" + bytes(40)),
    ("photoshop.jpg", b"8BPS\0\1" + bytes(40)),
    ("jpeg2000.jpg", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40)),
    ("targa.jpg", bytes([0, 0, 2]) + bytes(9) + struct.pack("<HHBB", 64, 64, 24, 0) + bytes(64 * 64 * 3)),
    ("text.dcm", b"Dear colleague, this is no image.\n" * 9),
    ("one byte.dcm", b"x"),
]


@pytest.mark.parametrize(("name", "data"), OTHERS, ids=[name for name, _ in OTHERS])
def test_only_the_promised_formats(tmp_path: Path, name: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("another program was started"))
    path = write(tmp_path / name, data)
    assert "not an image; expected JPEG, PNG, TIFF, BMP, WebP or DICOM" in refused(path)
    with pytest.raises(InputError):
        image_size(path)


def test_every_opening_of_an_image_names_its_formats() -> None:
    for folder in ("fracturelib", "tools", "benchmarks", "notebooks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in (".py", ".ipynb") or ".ipynb_checkpoints" in path.parts:
                continue
            for line in path.read_text(encoding="utf-8").splitlines():
                assert "Image.open(" not in line or "formats=" in line, f"{path}: {line.strip()}"


@cache
def zeros() -> bytes:
    """300 MB of them, in 300 kB."""
    return zlib.compress(bytes(300 * 2**20), 1)


def bomb_chunk(kind: bytes) -> bytes:
    text = zeros()
    return chunk(kind, {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind] + text)


def wide_png(width: int, height: int, *, bits: int = 8) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 6, 0, 0, 0))
    data = zeros()
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def canvas_webp(side: int) -> bytes:
    image = io.BytesIO()
    Image.fromarray(RAMP).save(image, "WEBP", lossless=True)
    inner = image.getvalue()[12:]
    wide = struct.pack("<I", side - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes([0, 0, 0, 0]) + wide * 2 + inner
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_of(width: int, height: int, *, progressive: bool = False, mode: str = "RGB") -> bytes:
    image = io.BytesIO()
    Image.new(mode, (64, 64)).save(image, "JPEG", progressive=progressive)
    data = bytearray(image.getvalue())
    at = next(i for i in range(len(data)) if data[i : i + 2] in (b"\xff\xc0", b"\xff\xc2"))
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


TILE_BOMB = tiff(np.zeros((64, 64), np.uint8), tags=[(322, 4, 40_000), (323, 4, 40_000)])
HOSTILE: dict[str, Callable[[], bytes]] = {
    "text.png": lambda: png(RAMP, bomb_chunk(b"zTXt")),
    "international.png": lambda: png(RAMP, bomb_chunk(b"iTXt")),
    "wide.png": lambda: wide_png(30_000, 30_000),
    "thin.png": lambda: wide_png(1_000_000, 20_000),
    "wide.jpg": lambda: jpeg_of(65_000, 65_000),
    "scans.jpg": lambda: jpeg_of(9_000, 9_000, progressive=True) + b"\xff\xda\0\x08\1\1\0\1\1\0" * 1000,
    "exif.jpg": lambda: jpeg_of(64, 64)[:2] + (b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 600 + jpeg_of(64, 64)[2:],
    "canvas.webp": lambda: canvas_webp(16_383),
    "large.webp": lambda: canvas_webp(9_000),
    "deep.png": lambda: wide_png(10_000, 10_000, bits=16),
    "chunks.png": lambda: png(RAMP, chunk(b"abCd", b"") * 1_000_000),
    "comments.jpg": lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 3_000_000 + jpeg_of(64, 64)[2:],
    "others.jpg": lambda: b"\xff\xd8" + b"\xff\xe5\0\2" * 3_000_000 + jpeg_of(64, 64)[2:],
    "zeros.jpg": lambda: jpeg_of(64, 64)[:20] + bytes(40_000_000),
    "colours.jpg": lambda: jpeg_of(9_990, 9_990, progressive=True),
    "inks.jpg": lambda: jpeg_of(9_990, 9_990, progressive=True, mode="CMYK"),
    "run.bmp": lambda: (
        b"BM" + bytes(8) + struct.pack("<IIiiHHIIiiII", 54, 40, 64, 64, 1, 8, 1, 0, 0, 0, 0, 0) + bytes(40_000_000)
    ),
    "tags.tif": lambda: b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**40) + bytes(20_000_000),
    "wide.tif": lambda: tiff(RAMP, tags=[(256, 4, 100_000), (257, 4, 100_000)]),
    "tiles.tif": lambda: TILE_BOMB,
    "samples.tif": lambda: tiff(DEEP.astype(np.float64), tags=[(256, 4, 9_000), (257, 4, 9_000)]),
    "wide.bmp": lambda: b"BM" + bytes(8) + struct.pack("<IIiiHHIIiiII", 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_fill_the_memory_is_refused_early(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, HOSTILE[name]())
    line, megabytes = measured(path)
    assert line.startswith(f"{path}: ") and megabytes < 1000, (line, megabytes)


def test_a_profile_that_unpacks_to_much_costs_nothing(tmp_path: Path) -> None:
    line, megabytes = measured(write(tmp_path / "profile.png", png(RAMP, bomb_chunk(b"iCCP"))))
    assert megabytes < 1000 and (line == "(32, 64)" or "profile.png: " in line)


@pytest.mark.parametrize("name", ["sparse.jpg", "sparse.dcm", "sparse.tif", "sparse.png"])
def test_a_sparse_file_of_40_gb_is_not_read(tmp_path: Path, name: str) -> None:
    beginning = {".png": png(RAMP), ".tif": tiff(RAMP)}.get(Path(name).suffix, b"\xff\xd8\xff")
    path = write(tmp_path / name, beginning)
    os.truncate(path, 40 * 2**30)
    line, megabytes = measured(path)
    assert "42,949,672,960 bytes; expected an image of at most" in line and megabytes < 500


def measured(path: Path) -> tuple[str, float]:
    """What a process of its own says of a file, within a minute, and the memory that it held at most, in MB."""
    code = (
        "import sys\n"
        "from fracturelib.data.decode import decode, image_size\n"
        "from fracturelib._io.files import InputError\n"
        "from tests.fuzz.watch import peak_megabytes\n"
        "for look in (image_size, decode):\n"
        "    try:\n"
        "        said = look(sys.argv[1])\n"
        "        said = getattr(said, 'grey', said)\n"
        "        said = getattr(said, 'shape', said)\n"
        "    except InputError as error:\n"
        "        said = error\n"
        "print(said)\n"
        "print(peak_megabytes())\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    line, megabytes = shown.stdout.strip().rsplit("\n", 1)
    assert "\n" not in line and not shown.stderr, shown.stderr
    return line, float(megabytes)


@pytest.mark.parametrize("kind", ["fifo", "folder", "nothing", "closed"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.jpg"
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    if kind == "closed":
        path = Path("a\0b.jpg")
        with pytest.raises(InputError, match="expected an image"):
            decode(path)
        return
    assert "no such file; expected an image" in refused(path)


def test_ordinary_files_are_as_pillow_reads_them(tmp_path: Path) -> None:
    """Bit for bit: the scores of the shipped networks rest on it."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (60, 50, 3)).astype(np.uint8)
    transparent = np.concatenate([colour, rng.integers(0, 256, (60, 50, 1)).astype(np.uint8)], axis=2)
    for name, pixels in (("a.jpg", colour), ("b.jpg", colour[..., 0]), ("c.png", colour), ("d.png", colour[..., 0])):
        path = saved(tmp_path / name, pixels, icc_profile=profile)
        with Image.open(path) as image:
            assert np.array_equal(read_grey(path), np.asarray(image.convert("L")))
    with Image.open(saved(tmp_path / "e.png", transparent)) as image:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        usual = np.asarray(Image.alpha_composite(black, image.convert("RGBA")).convert("L"))
    assert np.array_equal(read_grey(tmp_path / "e.png"), usual)


def test_odd_names_stay_on_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a\n\x1b[31mb.jpg", b"no image")
    with pytest.raises(InputError) as caught:
        decode(path)
    assert "a\\n\\x1b[31mb.jpg: not an image" in str(caught.value) and str(caught.value).isprintable()


def test_a_damaged_image_stops_no_set(tmp_path: Path) -> None:
    from fracturelib.data.dataset import load_manifest

    folder = plain_folder(tmp_path / "set", splits={"train": 3})
    for case in sorted(CASES.iterdir()):
        write(folder / "train" / "fractured" / case.name, case.read_bytes())
    frame = load_manifest(folder)
    assert {file for file, _ in frame.attrs["unreadable"]} == {
        f"train/fractured/{n}" for n in ("size-1.png", "tags.tif")
    }
    assert {f"train/fractured/{n}" for n in ("exif-1.jpg", "exif-2.webp")} <= set(frame["file"])


def test_import_and_audit_say_what_was_taken_of_several(tmp_path: Path) -> None:
    from fracturelib.curate.audit import audit_folder
    from fracturelib.curate.importer import import_dataset

    folder = plain_folder(tmp_path / "set", splits={"train": 3, "val": 3})
    animated(folder / "train" / "fractured" / "pages.tif")
    line = f"1 image: {FIRST_OF_SEVERAL} (fractured/pages.tif)"
    assert line in import_dataset(folder, tmp_path / "out", progress=False).notes
    said = f"  note: 1 image: {FIRST_OF_SEVERAL} (train/fractured/pages.tif)"
    for _ in range(2):  # computed, and then remembered
        assert said in str(audit_folder(folder)).splitlines()


def test_predict_says_what_was_taken_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fracturelib.workflows import predict_paths

    path = animated(tmp_path / "pages.tif")
    frame = predict_paths([path], sorted((ROOT / "data" / "checkpoints").glob("demo-*.pt"))[0], progress=False)
    assert f"note: 1 image: {FIRST_OF_SEVERAL} (pages.tif)" in capsys.readouterr().out
    assert 0 <= frame["score"].iloc[0] <= 1


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_transparent_grey_is_black(tmp_path: Path, bits: int) -> None:
    most = 2**bits - 1
    values = np.tile(np.arange(64) % (most + 1), (32, 1))
    rows = (
        (values.astype(int).reshape(32, -1, 8 // bits) << np.arange(8 - bits, -1, -bits)).sum(axis=2).astype(np.uint8)
    )
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 32, bits, 0, 0, 0, 0)) + chunk(b"tRNS", struct.pack(">H", 3))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))) + chunk(b"IEND", b"")
    grey = read_grey(write(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n" + header + data))
    assert np.array_equal(grey, np.where(values == 3, 0, values * 255 // most))


def test_a_fraction_a_little_over_one_is_white(tmp_path: Path) -> None:
    values = np.linspace(0, 1.004, 32 * 64, dtype=np.float32).reshape(32, 64)
    grey = read_grey(write(tmp_path / "a.tif", tiff(values)))
    assert np.abs(grey - np.minimum(values, 1) * 255).max() <= 0.5


def test_signed_bytes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", tiff(RAMP, tags=[(339, 3, 2)]))
    with pytest.raises(InputError, match=r"a\.tif: a TIFF of signed 8-bit samples; expected unsigned ones"):
        decode(path)
