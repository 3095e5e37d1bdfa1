"""A split of a study set as one array: studies of different lengths, padded with black slices."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import InputError, printable
from fracturelib._io.threads import in_threads
from fracturelib._io.words import STUDY
from fracturelib.data.dataset import load_manifest
from fracturelib.data.labels import SPLITS
from fracturelib.data.study_sets import MASKS, is_study_set
from fracturelib.data.volumes import stem, study_input
from fracturelib.data.walk import walk_folder


def holds_studies(folder: str | Path) -> bool:
    """Whether a folder is a set of studies, and not of images.

    Raises
    ------
    InputError
        If it is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{printable(folder)}: no such folder; expected a data set")
    return is_study_set(walk_folder(folder))


def load_studies(folder: str | Path, split: str) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    """The studies of a split, as `load_volumes` gives them in squares of their longest side, and their table.

    Parameters
    ----------
    folder : str or Path
        A study set: with a `manifest.csv`, or `train/` and `val/` with class folders.
    split : str
        train, val or test.

    Returns
    -------
    studies : (n, slices, size, size) uint8
    table : DataFrame
        n rows, as `load_manifest`: file, split, label, group and what else is known.

    Raises
    ------
    InputError
        If it is no study set, the split has no study, or one cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i, name in enumerate(("Whole", "Torn")):
    ...         (Path(folder) / "train" / name).mkdir(parents=True)
    ...         np.save(Path(folder) / "train" / name / "a.npy", np.ones((18 + i, 32, 32), np.uint8))
    ...     studies, table = load_studies(folder, "train")
    >>> studies.shape, table["slices"].tolist(), table["label"].tolist()
    ((2, 19, 32, 32), [19, 18], [1, 0])
    """
    if split not in SPLITS:
        raise InputError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    frame = load_manifest(folder)
    table = frame[frame["split"] == split].reset_index(drop=True)
    if frame.attrs["noun"] != STUDY or table.empty:
        what = "has no study in " + split if frame.attrs["noun"] == STUDY else "holds images, not studies"
        raise InputError(f"{printable(folder)}: {what}; expected a study set with some in {split}")
    size = int(table[["height", "width"]].to_numpy().max())
    return load_volumes(folder, list(table["file"]), size=size)[0], table


def load_volumes(
    folder: str | Path, files: Sequence[str], *, size: int, progress: bool = False
) -> tuple[NDArray[np.uint8], dict[str, tuple[str, ...]]]:
    """Studies as one array, in squares, padded with black slices to the longest; and of each what was noted of it.

    Each is as `study_input` gives it to a network, such as with slices interpolated, or with a gap.

    Parameters
    ----------
    folder : str or Path
    files : sequence of str
        Relative to `folder`; their order is the order of the result.
    size : int
        Side of the squares, in pixels.
    progress : bool
        Show a bar.

    Returns
    -------
    studies : (n, slices, size, size) uint8
    notes : dict
        File -> its notes.

    Raises
    ------
    InputError
        Naming the first study that cannot be read.
    """
    if not files:
        return np.zeros((0, 0, size, size), np.uint8), {}
    read = in_threads(
        lambda file: study_input(Path(folder) / file, size), files,
        desc="reading", unit="study", progress=progress,
    )  # fmt: skip
    slices, notes = zip(*read, strict=True)
    return padded(list(slices)), dict(zip(files, notes, strict=True))


def padded(studies: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Studies of several lengths as one array, (n, S, h, w), with black slices after those of the shorter ones.

    Examples
    --------
    >>> array = padded([np.ones((2, 4, 4), np.uint8), np.ones((3, 4, 4), np.uint8)])
    >>> array.shape, array.max(axis=(2, 3)).tolist()
    ((2, 3, 4, 4), [[1, 1, 0], [1, 1, 1]])
    """
    array = np.zeros((len(studies), max(map(len, studies)), *studies[0].shape[1:]), studies[0].dtype)
    for place, study in enumerate(studies):
        array[place, : len(study)] = study
    return array


def load_truth(folder: str | Path, table: pd.DataFrame, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Masks of the studies in a table, where a set has them: (n, *shape) bool, padded like the studies.

    Parameters
    ----------
    folder : str or Path
        A study set whose masks are in `masks/NAME.npz`, key mask, named like their studies.
    table : DataFrame
        As `load_studies` gives it.
    shape : (slices, height, width)
        Of one study in the array; a mask of another height or width is an error.

    Raises
    ------
    InputError
        If a mask is missing, or not of its study's shape.
    """
    result = np.zeros((len(table), *shape), bool)
    for place, file in enumerate(table["file"]):
        path = Path(folder) / MASKS / f"{stem(Path(file).name)}.npz"
        try:
            with np.load(path, allow_pickle=False) as kept:
                mask = kept["mask"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{printable(path)}: no mask ({type(error).__name__}); expected one a study") from None
        if mask.dtype != bool or mask.ndim != 3 or mask.shape[1:] != shape[1:] or len(mask) > shape[0]:
            raise InputError(f"{printable(path)}: {mask.dtype} of shape {mask.shape}; expected bool within {shape}")
        result[place, : len(mask)] = mask
    return result
