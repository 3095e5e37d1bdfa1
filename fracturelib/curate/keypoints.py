"""Each image looked at once: whether it can be read, its plain figures, and the points by which one knows a copy."""

import errno
import hashlib
import io
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from tqdm.auto import tqdm

from fracturelib._io.cache import sealed, unsealed
from fracturelib._io.files import InputError, cache_dir, no_room, printable
from fracturelib._io.parts import remove
from fracturelib._io.threads import in_threads
from fracturelib.data.decode import FORMATS, decode
from fracturelib.data.pixels import MAX_PIXELS

LOOK_VERSION = 2  # a part of the cache's name: raise it when what is kept changes
SIDE = 160  # long side, in pixels, of the small picture in which points are sought
POINTS = 100  # at most, of one image
CHUNK = 64  # images between two writes to the cache
PLAIN = ("width", "height", "aspect", "bytes", "mean", "contrast", "border")
FLAT = 12  # grey levels: a row at the edge that varies less is fill, not image


@dataclass(frozen=True)
class Look:
    """What is kept of an image.

    Attributes
    ----------
    digest : str
        Of the file's bytes, 32 hexadecimal digits.
    reason : str
        Why it cannot be read; empty if it can.
    notes : tuple of str
        What else is to be said of it (`decode.Decoded`).
    plain : (7,) float64
        The figures named in `PLAIN`: pixels, pixels, width / height, bytes, mean and standard deviation of the grey
        values (0..255), mean of the outermost 2 %; NaN if it cannot be read.
    small : (h, w) uint8
        The image without flat edges, long side `SIDE`; of a truncated image the part that is left; empty if none is.
    points : (k, 4) float32
        x, y and size in pixels of `small`, and angle in degrees, of at most `POINTS` SIFT points.
    words : (k, 128) uint8
        Their RootSIFT descriptors times 512.
    """

    digest: str
    reason: str
    plain: NDArray[np.float64]
    small: NDArray[np.uint8]
    points: NDArray[np.float32]
    words: NDArray[np.uint8]
    notes: tuple[str, ...] = ()

    names = PLAIN  # of the figures in `plain`

    @property
    def picture(self) -> NDArray[np.uint8]:
        """What a page shows of it: (h, w) uint8."""
        return self.small


def look_at(paths: Sequence[Path], *, progress: bool = False) -> list[Look]:
    """Look at images, or remember having done so.

    What was computed is kept in the cache by content, so that a moved, renamed or second copy costs nothing, and a run
    that was stopped goes on where it was.

    Parameters
    ----------
    paths : sequence of Path
        Files; one that is missing or unreadable gets a `reason`.
    progress : bool
        Show a bar.

    Returns
    -------
    list of Look
        One for each path, in their order; equal contents share one.
    """
    digests = list(in_threads(digest_of, paths))
    path_of = {digest: path for digest, path in zip(digests, paths, strict=True) if digest}
    with _memory() as memory:
        known = memory.read(list(path_of))
        missing = [digest for digest in path_of if digest not in known]
        bar = tqdm(total=len(path_of), initial=len(known), desc="looking", unit="image", disable=not progress)
        with bar:
            rest = iter(missing)
            while chunk := list(islice(rest, CHUNK)):
                # Images under way when the user stops are lost, those of earlier chunks are kept.
                found = list(in_threads(lambda digest: _look(path_of[digest], digest), chunk))
                found = [_salvaged(path_of[one.digest], one) if one.reason else one for one in found]
                memory.write(found)
                known.update((one.digest, one) for one in found)
                bar.update(len(found))
    gone = {path: _unread("", f"{_why_gone(path)}") for path, digest in zip(paths, digests, strict=True) if not digest}
    return [known[digest] if digest else gone[path] for path, digest in zip(paths, digests, strict=True)]


def digest_of(path: Path) -> str:
    """32 hexadecimal digits of the bytes; empty if they cannot be had."""
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return ""


def _why_gone(path: Path) -> str:
    try:
        path.read_bytes()
    except OSError as error:
        return f"{(error.strerror or 'cannot be opened').lower()}; expected an image"
    return "changed while it was read; expected a file at rest"


def _unread(digest: str, reason: str) -> Look:
    nothing = np.zeros((0, 0), np.uint8)
    return Look(
        digest, reason, np.full(len(PLAIN), np.nan), nothing, np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)
    )


def _look(path: Path, digest: str) -> Look:
    try:
        seen = decode(path)
    except InputError as error:
        return _unread(digest, str(error).removeprefix(f"{printable(path)}: "))
    small = shrunk(trimmed(seen.grey))
    return Look(digest, "", _plain(seen.grey, path.stat().st_size), small, *points_of(small), notes=seen.notes)


def _salvaged(path: Path, look: Look) -> Look:
    """What is left of a truncated image, so that its whole copies can be found; it stays unreadable."""
    if not look.reason.startswith("damaged or truncated") or not (image := _salvage(path)).size:
        return look
    small = shrunk(trimmed(image))
    return Look(look.digest, look.reason, look.plain, small, *points_of(small))


def _salvage(path: Path) -> NDArray[np.uint8]:
    before, nothing = ImageFile.LOAD_TRUNCATED_IMAGES, np.zeros((0, 0), np.uint8)
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # of the whole process: hence outside the pool, and put back at once
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
            return np.asarray(image.convert("L")) if image.width * image.height <= MAX_PIXELS else nothing
    except Exception:  # a damaged file raises whatever its decoder happens to stumble over
        return nothing
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _plain(image: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    height, width = image.shape
    mean, contrast = (float(v[0, 0]) for v in cv2.meanStdDev(image))
    edge = max(1, round(0.02 * min(height, width)))
    inner = image[edge:-edge, edge:-edge]
    border = (mean * image.size - float(inner.sum(dtype=np.int64))) / (image.size - inner.size)
    return np.array([width, height, width / height, size, mean, contrast, border])


def trimmed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image without flat rows and columns at its edges: padding, black borders, the fill of a truncated file."""
    for axis in (1, 0):
        spread = image.max(axis=axis).astype(np.int16) - image.min(axis=axis)
        alive = np.flatnonzero(spread > FLAT)
        if len(alive):
            kept = slice(alive[0], alive[-1] + 1)
            image = image[kept] if axis == 1 else image[:, kept]
    return image


def shrunk(image: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """The image with such a long side."""
    scale = side / max(image.shape)
    size = max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size, interpolation=how), np.uint8)


def is_image(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """1 where a picture has structure, 0 in and beside what is perfectly flat: black corners, fill, saturation."""
    square = np.ones((3, 3), np.uint8)
    flat = (cv2.dilate(small, square) - cv2.erode(small, square) <= 1).astype(np.uint8)
    image = 1 - cv2.dilate(cv2.morphologyEx(flat, cv2.MORPH_OPEN, square), np.ones((7, 7), np.uint8))
    image[:4] = image[-4:] = 0
    image[:, :4] = image[:, -4:] = 0
    return image.astype(np.float32)


def evened(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Local contrast made equal, so that brightness, contrast and exposure do not matter: (h, w) float32, mean 0."""
    x = small.astype(np.float32)
    spread = float(x.std())
    apart = x - _smooth(x)
    local = np.sqrt(np.maximum(_smooth(apart * apart), 0))
    return np.asarray(apart / (local + 0.1 * spread + 1e-3), np.float32)


def _smooth(x: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = x.shape
    few = cv2.resize(x, (max(2, width // 4), max(2, height // 4)), interpolation=cv2.INTER_AREA)
    few = cv2.GaussianBlur(few, (0, 0), SIDE / 64)
    return np.asarray(cv2.resize(few, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def points_of(small: NDArray[np.uint8], most: int = POINTS) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """SIFT points (Lowe 2004, doi 10.1023/B:VISI.0000029664.99615.94), RootSIFT (Arandjelovic & Zisserman 2012)."""
    even = np.clip(128 + 50 * evened(small), 0, 255).astype(np.uint8)
    sift = cv2.SIFT.create(nfeatures=most, contrastThreshold=0.02)
    found, descriptors = sift.detectAndCompute(even, None)
    if descriptors is None or not len(found):
        return np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)
    points = np.array([(*p.pt, p.size, p.angle) for p in found[:most]], np.float32)
    root = np.sqrt(descriptors[:most] / np.maximum(descriptors[:most].sum(axis=1, keepdims=True), 1e-6))
    return points, np.minimum(np.round(root * 512), 255).astype(np.uint8)


FORGETFUL = Path(":memory:")  # SQLite's name for a database that is nowhere
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, 0)  # 0: of Python, about text that is none


class _Memory:
    """Looks by digest, in one SQLite file. What is damaged in it is forgotten, and looked at again.

    Where no file can be, nothing is kept, and a line on stderr says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = self._connected()

    def _connected(self) -> sqlite3.Connection:
        connection = None
        try:
            connection = sqlite3.connect(self.path, timeout=60)
            connection.execute("create table if not exists looks (digest text primary key, look blob) without rowid")
        except sqlite3.DatabaseError as error:
            if connection is not None:
                connection.close()
            self._drop(error)
            return self._connected()
        return connection

    def _drop(self, error: sqlite3.DatabaseError) -> None:
        """Remove the file if it is damaged, or no file; any other error is one of the place."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if self.path.is_dir():
            remove(self.path)
            if not self.path.exists():
                return
        if code in DAMAGED:
            for path in (self.path, self.path.with_name(f"{self.path.name}-journal")):
                remove(path)
        if code in DAMAGED and not self.path.exists():
            return
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise no_room(self.path.parent, f"for {self.path.name}") from None
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):  # another audit may want what this one would lose
            raise OSError(errno.EIO, f"{error}; expected a file that can be written", str(self.path)) from None
        _say_forgetful(self.path, str(error))
        self.path = FORGETFUL

    def read(self, digests: Sequence[str]) -> dict[str, Look]:
        found: dict[str, Look] = {}
        try:
            for start in range(0, len(digests), 500):
                part = digests[start : start + 500]
                placeholders = ",".join("?" * len(part))
                for digest, blob in self.connection.execute(
                    f"select digest, cast(look as blob) from looks where digest in ({placeholders})", part
                ):
                    content = unsealed(blob)
                    if content is not None and content.startswith(digest.encode()):
                        found[digest] = _unpacked(digest, content[len(digest) :])
        except sqlite3.DatabaseError as error:
            self._again(error)
        return found

    def write(self, looks: Sequence[Look]) -> None:
        rows = [(look.digest, sealed(look.digest.encode() + _packed(look))) for look in looks]
        for _ in range(2):
            try:
                with self.connection:
                    self.connection.executemany("insert or replace into looks values (?, ?)", rows)
                return
            except sqlite3.DatabaseError as error:
                self._again(error)

    def _again(self, error: sqlite3.DatabaseError) -> None:
        self.connection.close()
        self._drop(error)
        self.connection = self._connected()


def _say_forgetful(path: Path, reason: str) -> None:
    line = f"note: {printable(path)}: {printable(reason)}; nothing is kept for the next audit"
    print(line, file=sys.stderr)


@contextmanager
def _memory() -> Iterator[_Memory]:
    try:
        path = cache_dir() / f"audit-{LOOK_VERSION}.sqlite"
    except OSError as error:
        _say_forgetful(Path(error.filename), str(error.strerror).partition(";")[0])
        path = FORGETFUL
    memory = _Memory(path)
    try:
        yield memory
    finally:
        memory.connection.close()


def _packed(look: Look) -> bytes:
    buffer = io.BytesIO()
    said = np.frombuffer("\n".join((look.reason, *look.notes)).encode(), np.uint8)
    for array in (said, look.plain, look.small, look.points, look.words):
        np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _unpacked(digest: str, blob: bytes) -> Look:
    buffer = io.BytesIO(blob)
    said, plain, small, points, words = (np.load(buffer, allow_pickle=False) for _ in range(5))
    reason, *notes = said.tobytes().decode().split("\n")
    return Look(digest, reason, plain, small, points, words, notes=tuple(notes))
