"""What a file of `torch.save` says that it holds, read without building anything of it.

`torch.load(weights_only=True)` runs no code, but it believes what the file says: how large a storage is, how far a
tensor reaches in it, how much a compressed entry unpacks to. All of that stands in the file's directory and in one
short record, and is compared here before anything is allocated.
"""

import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from fracturelib._io.files import InputError, printable

# Bytes of one number in each kind of storage that is read.
STORAGES = {
    "DoubleStorage": ("float64", 8), "FloatStorage": ("float32", 4), "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2), "LongStorage": ("int64", 8), "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2), "CharStorage": ("int8", 1), "ByteStorage": ("uint8", 1), "BoolStorage": ("bool", 1),
}  # fmt: skip
MOST_RECORD = 16 * 2**20  # bytes of the record of names, shapes and plain values
MOST_BYTES = 4 * 2**30
MOST_ENTRIES = 65_534  # more need the other form of a zip's directory
MOST_NOTE = 4096  # bytes of an entry beside the record and the storages, such as the version

DEEPEST, MOST_VALUES = 32, 200_000


@dataclass(frozen=True)
class TensorHeader:
    """A tensor as the file announces it."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Storage:
    dtype: str
    numbers: int


class _RefusedError(Exception):
    """What is wrong with a file, in a few words."""


# What torch writes; a set, or a key that is no text or number, would be hashed, which a nested one can make endless.
_OPCODES = (
    b"\x80.(0t)\x85\x86\x87]}aesuNIJKM\x88\x89\x8aG"  # stop, marks, tuples, lists, dicts, None, numbers
    b"X\x8cUqrhjcRbQ"  # text, memo, the three globals, REDUCE, BUILD, storages
)
_Unpickler: Any = pickle._Unpickler  # the one in Python, to which a jump in its memo costs nothing


class _Reader(_Unpickler):
    """Names, shapes and plain values of a file; every other object is refused by its name."""

    dispatch: ClassVar[dict[int, Any]] = {c: step for c, step in _Unpickler.dispatch.items() if c in _OPCODES}

    def __init__(self, record: bytes, sizes: dict[str, int]) -> None:
        super().__init__(BytesIO(record))
        self.sizes = sizes
        self.used = {"data.pkl"}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _ordered
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, numbers = pid
        dtype, width = STORAGES[kind]
        held = self.sizes.get(f"data/{key}")
        if not _count(numbers) or held != numbers * width:
            raise _RefusedError(f"a storage of {numbers} x {dtype} has {held} bytes")
        self.used.add(f"data/{key}")
        return _Storage(dtype, numbers)

    def load_setitem(self) -> None:
        _require_key(self.stack[-2])
        super().load_setitem()

    def load_setitems(self) -> None:
        for key in self.stack[::2]:
            _require_key(key)
        super().load_setitems()

    def load_build(self) -> None:
        self.stack.pop()  # notes that a state_dict carries beside its tensors
        if not isinstance(self.stack[-1], OrderedDict):
            raise _RefusedError("a state for something that has none")

    dispatch |= {ord("s"): load_setitem, ord("u"): load_setitems, ord("b"): load_build}


def _require_key(key: Any) -> None:
    if not isinstance(key, str | int):
        raise _RefusedError(f"a key of type {type(key).__name__}")


def _ordered() -> "OrderedDict[Any, Any]":
    return OrderedDict()


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**48


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, _grad: Any, hooks: Any) -> TensorHeader:
    if not isinstance(storage, _Storage) or type(shape) is not tuple or type(stride) is not tuple or hooks:
        raise _RefusedError("a tensor without a storage, or with hooks")
    if len(shape) != len(stride) or len(shape) > 8 or not all(map(_count, (offset, *shape, *stride))):
        raise _RefusedError(f"a tensor of shape {shape} and strides {stride}")
    numbers, reach = 1, offset
    for size, step in zip(shape, stride, strict=True):
        numbers, reach = numbers * size, reach + max(size - 1, 0) * step
    if numbers and (reach >= storage.numbers or numbers > storage.numbers):
        raise _RefusedError(f"a tensor of shape {shape} and strides {stride} on {storage.numbers} numbers")
    return TensorHeader(storage.dtype, shape)


def read_header(path: Path, *, expected: str) -> Any:
    """The plain values of a file, with a `TensorHeader` in place of each tensor.

    Raises
    ------
    InputError
        If it is no such file, is damaged, holds other objects, or says of a tensor what its bytes cannot be.
    """
    try:
        with path.open("rb") as file:
            record, sizes = _record_of(file)
        reader = _Reader(record, sizes)
        header = reader.load()
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds Python objects or is damaged, and was not opened; "
            f"expected a {expected}, which has tensors and plain values only ({printable(error)})"
        ) from None
    except Exception as error:  # a damaged record raises whatever its bytes happen to say
        reason = printable(error) if isinstance(error, _RefusedError | OSError) and str(error) else type(error).__name__
        raise InputError(f"{path}: not a {expected}, or damaged ({reason[:200]})") from None
    if isinstance(header, dict) and header.get("format") == expected:
        _require_plain(header, path, expected)
        _require_no_strays({name: size for name, size in sizes.items() if name not in reader.used}, path, expected)
    return header


def require_undamaged(path: Path, *, expected: str) -> None:
    """Raise InputError if a byte of it changed since it was written."""
    with zipfile.ZipFile(path) as archive:
        try:
            damaged = archive.testzip()
        except Exception as error:  # its own headers may be what changed
            damaged = type(error).__name__
    if damaged is not None:
        raise InputError(
            f"{path}: not a {expected}, or damaged ({printable(damaged)} is not as it was written); expected it whole"
        )


def _record_of(file: Any) -> tuple[bytes, dict[str, int]]:
    """The record, and the bytes of each entry by its name below the first folder; nothing in it is compressed."""
    total = file.seek(0, 2)
    if total > MOST_BYTES:
        raise _RefusedError(f"{total} bytes")
    file.seek(max(total - 22, 0))
    end = file.read(22)  # torch writes no comment behind it
    if end[:4] != b"PK\x05\x06" or int.from_bytes(end[10:12], "little") > MOST_ENTRIES:
        raise _RefusedError("no zip file as torch writes it")
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        odd = [e for e in entries if e.compress_type != zipfile.ZIP_STORED or e.compress_size != e.file_size]
        if odd or sum(e.file_size for e in entries) > total:
            name = printable(odd[0].filename) if odd else "entries"
            raise _RefusedError(f"{name}: compressed, or longer than the file")
        sizes = {e.filename.partition("/")[2]: e.file_size for e in entries}
        records = [e for e in entries if e.filename.partition("/")[2] == "data.pkl"]
        if len(sizes) != len(entries) or len(records) != 1 or records[0].file_size > MOST_RECORD:
            raise _RefusedError(f"{len(records)} records data.pkl among {len(entries)} entries")
        return archive.read(records[0]), sizes


def _require_no_strays(rest: dict[str, int], path: Path, expected: str) -> None:
    """Refuse entries that nothing refers to; torch notes a few bytes in some, and newer ones may in others."""
    for name, size in rest.items():
        if size > MOST_NOTE or not (name in ("version", "byteorder") or name.startswith(".")):
            shown = printable(name)[:100]
            raise InputError(
                f"{path}: holds {shown!r}, {size} bytes that nothing refers to; expected a {expected} only"
            )


def _require_plain(header: Any, path: Path, expected: str) -> None:
    """Refuse what is nested too deeply, or without end, for anything that walks it later."""
    level, seen = [header], 0
    for _ in range(DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple | set | frozenset):
                below += value
            if seen + len(below) > MOST_VALUES:
                raise InputError(f"{path}: more than {MOST_VALUES} values; expected a {expected}")
        seen, level = seen + len(below), below
        if not level:
            return
    raise InputError(f"{path}: values nested more than {DEEPEST} deep; expected a {expected}")
