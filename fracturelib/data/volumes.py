"""From a file or a folder to a study, whatever format it has."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fracturelib._io.files import InputError, printable
from fracturelib.data.dicom_series import read_series, series_files
from fracturelib.data.nifti import read_nifti
from fracturelib.data.npy import read_npy
from fracturelib.data.pixels import MAX_BYTES
from fracturelib.data.study import PLANES, Study, resample_study

PICKLES = (".pck", ".pkl", ".pickle")
SUFFIXES = (".npy", ".nii", ".nii.gz", *PICKLES)
MOST_SLICES = 64  # that a network is given; MRNet's longest study has 61
FORMATS = "expected .npy, NIfTI (.nii, .nii.gz) or a folder of DICOM files"
PICKLE = (
    "a pickle, which can run any program when it is opened, so it is not; where you trust who made it, convert it "
    "yourself, once: numpy.save(name + '.npy', pickle.load(open(name + '.pck', 'rb')))"
)


def read_study(path: str | Path) -> Study:
    """Read a study: `.npy` (slices, height, width), NIfTI, or a folder that is a DICOM series.

    Nothing is unpickled. What a file is, its name says.

    Parameters
    ----------
    path : str or Path
        A file or folder; NIfTI where nibabel is installed, DICOM where pydicom is.

    Returns
    -------
    Study
        With slices in the order in which they lie, and notes on gaps, doubles and what was left out.

    Raises
    ------
    InputError
        If it is missing, damaged, too large, a pickle, or no stack of slices.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder) / "knee.npy", np.zeros((20, 64, 64), np.uint8))
    ...     study = read_study(Path(folder) / "knee.npy")
    >>> study.pixels.shape
    (20, 64, 64)
    """
    path = Path(path)
    kind = _kind(path)
    try:
        return read_series(path) if kind == "series" else read_nifti(path) if kind == "nifti" else read_npy(path)
    except OSError as error:
        raise InputError(f"{printable(path)}: {(error.strerror or 'cannot be read').lower()}; {FORMATS}") from None


def read_sagittal(path: str | Path) -> Study:
    """A study whose slices are sagittal, or in a plane that is not known: what a network of studies learns from.

    Raises
    ------
    InputError
        As `read_study`, or if the slices are coronal or axial.
    """
    study = read_study(path)
    if study.plane not in ("", PLANES[0]):
        raise InputError(f"{printable(path)}: {study.plane} slices; expected {PLANES[0]} ones")
    return study


def study_input(path: str | Path, size: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """What a network sees of a study: (slices, size, size) uint8; and what a reader should know of how it was read.

    More than `MOST_SLICES` slices are interpolated to so many, since the longest study decides how much memory all
    others take.

    Raises
    ------
    InputError
        As `read_sagittal`.
    """
    study = read_sagittal(path)
    if (count := len(study.pixels)) <= MOST_SLICES:
        return resample_study(study, shape=(size, size)), study.notes
    note = f"{count} slices: interpolated to {MOST_SLICES}"
    return resample_study(study, shape=(MOST_SLICES, size, size)), (*study.notes, note)


def is_study(path: str | Path) -> bool:
    """Whether a path is one of a study: a file by its name, or a folder with DICOM files in it."""
    path = Path(path)
    if path.is_dir():
        try:
            return bool(series_files(path))
        except OSError:
            return False
    return path.name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """A study's name without the suffix of its format."""
    return next((name[: -len(s)] for s in SUFFIXES if name.lower().endswith(s) and len(name) > len(s)), name)


def _kind(path: Path) -> str:
    """series, npy or nifti; InputError for a path that is none of them, or may not be read."""
    name = printable(path)
    if path.is_dir():
        return "series"
    if not path.is_file():
        raise InputError(f"{name}: {'not a file' if path.exists() else 'no such file or folder'}; {FORMATS}")
    low = path.name.lower()
    if low.endswith(PICKLES):
        raise InputError(f"{name}: {PICKLE}")
    if not low.endswith(SUFFIXES):
        raise InputError(f"{name}: not a study; {FORMATS}")
    if not 0 < (size := path.stat().st_size) <= MAX_BYTES:
        raise InputError(f"{name}: {size:,} bytes; expected 1 to {MAX_BYTES:,}")
    return "npy" if low.endswith(".npy") else "nifti"
