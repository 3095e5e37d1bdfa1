"""Arrays in NumPy's own format, of which nothing is unpickled."""

from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fracturelib._io.files import InputError, printable
from fracturelib.data.pixels import one_line
from fracturelib.data.study import Study, require_volume


def npy_shape(path: Path) -> tuple[int, ...]:
    """The shape of the array in a file, from its header alone.

    Raises
    ------
    InputError
        If it is no such file, or holds Python objects instead of numbers.
    """
    name = printable(path)
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
            begin = file.tell()
    except Exception as error:  # a damaged header raises whatever its parser stumbles over
        raise InputError(f"{name}: not a .npy file ({one_line(error)}); expected an array of numbers") from None
    if not all(type(n) is int and n >= 0 for n in shape):
        raise InputError(f"{name}: not a .npy file (its shape is {shape}); expected an array of numbers")
    if dtype.kind not in "buif":
        what = "Python objects, which are a pickle" if dtype.hasobject else f"{dtype}"
        raise InputError(f"{name}: holds {what}; expected an array of numbers")
    size = begin + int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
    if path.stat().st_size < size:
        raise InputError(f"{name}: {path.stat().st_size:,} of {size:,} bytes; expected a whole file")
    return tuple(int(n) for n in shape)


def read_npy(path: Path) -> Study:
    """A study of an array (slices, height, width) of numbers; uint8 as it is, other numbers as float32.

    Raises
    ------
    InputError
        If it is no such array, is truncated, or has values that are not numbers.
    """
    name = printable(path)
    require_volume(name, npy_shape(path))
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # as above
        raise InputError(f"{name}: cannot be read ({one_line(error)}); expected an array of numbers") from None
    return Study(finite(name, array))


def finite(name: str, array: NDArray[np.generic]) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Numbers as uint8, which stays, or float32; InputError if some are no numbers."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array, np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinite, and is refused
        values = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{name}: has values that are not finite; expected numbers")
    return values
