"""Files of what can be computed again, which say themselves whether they are whole: what is damaged is dropped."""

import errno
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fracturelib._io.files import FULL, atomic_path, no_room
from fracturelib._io.parts import remove
from fracturelib._io.threads import in_threads

MAGIC = b"crc32-01"
SEAL = struct.Struct("<8sI")  # at the end of a file; NumPy reads no further than its array
BLOCK = 1 << 24  # bytes that one thread checks at a time


def sealed(content: bytes) -> bytes:
    """Bytes with their checksum after them."""
    return content + SEAL.pack(MAGIC, zlib.crc32(content))


def unsealed(content: bytes) -> bytes | None:
    """Bytes without their checksum; None if they are not those that were sealed."""
    inside = content[: -SEAL.size]
    return inside if len(content) >= SEAL.size and content == sealed(inside) else None


def write_sealed(path: Path, content: bytes) -> None:
    """Write a small file whole, with its checksum."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(sealed(content))


def read_sealed(path: Path) -> bytes | None:
    """What `write_sealed` wrote; None if there is nothing, or it was damaged: then it is dropped."""
    try:
        content = unsealed(path.read_bytes())
    except OSError:
        _drop_folder(path)
        return None
    if content is None:
        remove(path)
    return content


def _drop_folder(path: Path) -> None:
    """Remove a folder that is where a file of the cache should be: the file could not be put there."""
    if path.is_dir():
        remove(path)


@contextmanager
def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Yield a function that appends the next rows of an array, which appears at `path` when whole, with its checksum.

    All of its room is reserved first, and rows are written one after the other: a memory map of a file that a full disk
    has no room for ends the process by a signal.

    Raises
    ------
    NoRoomError
        Naming the folder and the bytes that the array needs.
    """
    dtype = np.dtype(dtype)
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        end = file.tell() + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        try:
            _reserve(file, end + SEAL.size)
            yield lambda rows: _append(file, rows, dtype)
            if file.tell() != end:
                raise ValueError(f"{path.name}: {file.tell()} bytes were written; expected {end}")
            file.flush()
            file.write(SEAL.pack(MAGIC, _checksum(temporary, end)))
        except OSError as error:
            if error.errno not in FULL:
                raise
            file.truncate(0)
            what = f"for {end + SEAL.size:,} bytes of {path.name}"
            raise no_room(path.parent, what, error.errno or errno.ENOSPC) from None


def open_array(path: Path, *, mode: Literal["r", "c"], check: bool = True) -> NDArray[Any] | None:
    """A memory map of what `new_array` wrote; None if there is nothing, or it was damaged: then it is dropped.

    Parameters
    ----------
    path : Path
    mode : "r" or "c"
        "c" for changes that stay in memory.
    check : bool
        Read it whole and compare its checksum; not needed for what has just been written.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END) - SEAL.size
            file.seek(max(end, 0))
            seal = file.read()
        if end >= 0 and seal == SEAL.pack(MAGIC, _checksum(path, end) if check else SEAL.unpack(seal)[1]):
            return np.load(path, mmap_mode=mode)
    except OSError:
        _drop_folder(path)
        return None
    except (ValueError, EOFError):  # of NumPy, about the head of the file
        pass
    remove(path)
    return None


def kept_arrays(
    paths: Sequence[Path], make: Callable[[], None], *, mode: Literal["r", "c"] = "r"
) -> list[NDArray[Any]]:
    """What the files of a cache hold, which `make` writes by `new_array` where one of them is missing or damaged.

    Raises
    ------
    FileNotFoundError
        If they are still not there when they were made three times: somebody else removes them.
    """
    found = [open_array(path, mode=mode) for path in paths]
    for _ in range(3):
        whole = [array for array in found if array is not None]
        if len(whole) == len(found):
            return whole
        make()
        found = [open_array(path, mode=mode, check=False) for path in paths]
    whole = [array for array in found if array is not None]
    if len(whole) < len(found):
        raise FileNotFoundError(
            errno.ENOENT, "it was written and is gone; expected a cache that keeps files", str(paths[0])
        )
    return whole


def _append(file: IO[bytes], rows: NDArray[Any], dtype: np.dtype[Any]) -> None:
    file.write(np.ascontiguousarray(rows, dtype=dtype).data)


def _reserve(file: IO[bytes], size: int) -> None:
    """Room for a file, before anything is written; an OSError where there is not enough."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in FULL:
                raise  # other systems of files cannot reserve; writing will tell


def _checksum(path: Path, end: int) -> int:
    """Of the first `end` bytes of a file: that of the checksums of its blocks, found on all cores."""

    def one(start: int) -> int:
        with path.open("rb") as file:
            file.seek(start)
            return zlib.crc32(file.read(min(BLOCK, end - start)))

    return zlib.crc32(np.array(list(in_threads(one, range(0, end, BLOCK))), "<u4").tobytes())
