"""NIfTI, where nibabel is installed."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fracturelib._io.files import InputError, printable
from fracturelib.data.npy import finite
from fracturelib.data.pixels import one_line
from fracturelib.data.study import PLANES, Study, require_volume, square_pixels

INSTALL = 'pip install ".[mri]"'  # in the project's folder
FIRST_OF_VOLUMES = "holds more than one volume; the first was taken"
# Which of the axes to the right, the front and the head (RAS) become slices, rows and columns.
TURNS = {"sagittal": (0, 2, 1), "coronal": (1, 2, 0), "axial": (2, 1, 0)}


def read_nifti(path: Path) -> Study:
    """A study of a NIfTI file, turned by its affine; its slices lie along the axis of the longest voxels.

    Raises
    ------
    InputError
        If nibabel is not installed, or the file is damaged or no volume.
    """
    name = printable(path)
    try:
        nibabel: Any = import_module("nibabel")
    except ModuleNotFoundError:
        raise InputError(f"{name}: NIfTI needs nibabel; expected `{INSTALL}` to have been run") from None
    try:
        with np.errstate(all="ignore"):  # of an affine that cannot be, nibabel divides by 0
            image = nibabel.load(os.fspath(path))
        shape = tuple(int(n) for n in image.shape)
        kind = image.get_data_dtype()
        if kind.kind not in "buif":
            raise InputError(f"{name}: holds {kind.name}; expected one number a voxel")
        if min(shape, default=0) < 1:
            raise InputError(f"{name}: an array of {' x '.join(map(str, shape))}; expected a volume")
        spacing = [float(n) for n in image.header.get_zooms()[:3]]
        notes: tuple[str, ...] = ()
        if len(shape) > 3:
            notes = (FIRST_OF_VOLUMES,) * (int(np.prod(shape[3:])) > 1)
            require_volume(name, shape[:3])
            image = nibabel.Nifti1Image(
                np.asarray(image.dataobj[(..., *(0 for _ in shape[3:]))], np.float32), image.affine
            )
        axis = int(np.argmax(spacing)) if len(spacing) == 3 else 0
        require_volume(name, (shape[axis], *(n for i, n in enumerate(shape[:3]) if i != axis)))
        with np.errstate(all="ignore"):
            upright = nibabel.as_closest_canonical(image)
        values = np.asarray(upright.dataobj, np.float32)
        spacing = [float(n) for n in upright.header.get_zooms()[:3]]
    except InputError:
        raise
    except Exception as error:  # a damaged file raises whatever its reader stumbles over
        raise InputError(f"{name}: a NIfTI file that cannot be read ({one_line(error)}); expected a volume") from None
    longest = max(spacing)
    plane = PLANES[0] if longest < 1.1 * min(spacing) else PLANES[int(np.argmax(spacing))]
    turn = TURNS[plane]
    # All three axes are turned round: to the left, to the back, to the foot.
    values = np.ascontiguousarray(values.transpose(turn)[::-1, ::-1, ::-1])
    slice_mm, row_mm, column_mm = (spacing[i] for i in turn)
    pixels, pixel_mm = square_pixels(name, finite(name, values), row_mm, column_mm)
    return Study(pixels, slice_mm, pixel_mm, plane=plane, notes=notes)
