"""A split of a study set as one array: studies of different lengths, with a mask that says which slices are there."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import InputError, printable
from fracturelib._io.threads import in_threads
from fracturelib._io.words import STUDY
from fracturelib.data.dataset import load_manifest
from fracturelib.data.labels import SPLITS
from fracturelib.data.study import resample_study
from fracturelib.data.study_sets import MASKS, is_study_set
from fracturelib.data.volumes import read_study, stem, study_input
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


def load_studies(
    folder: str | Path, split: str, *, size: int | None = None, field_mm: float | None = None, progress: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], pd.DataFrame]:
    """The studies of a split, each with the slices that it has, padded with black ones to the longest.

    Parameters
    ----------
    folder : str or Path
        A study set: with a `manifest.csv`, or `train/` and `val/` with class folders.
    split : str
        train, val or test.
    size : int, optional
        Side of the slices, in pixels, which become squares. If not given, they stay as they are where they are all
        alike, and become squares of the longest side where they are not.
    field_mm : float, optional
        Side of the square that is cut out about the centre, in mm, where a study says how large its pixels are
        (`resample_study`).
    progress : bool
        Show a bar.

    Returns
    -------
    studies : (n, slices, height, width) uint8
    there : (n, slices) bool
        Which slices are those of the study; the others are padding, after them.
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
    ...     studies, there, table = load_studies(folder, "train")
    >>> studies.shape, there.sum(axis=1).tolist(), table["label"].tolist()
    ((2, 19, 32, 32), [19, 18], [1, 0])
    """
    folder = Path(folder)
    if split not in SPLITS:
        raise InputError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    frame = load_manifest(folder)
    table = frame[frame["split"] == split].reset_index(drop=True)
    if frame.attrs["noun"] != STUDY or table.empty:
        what = "has no study in " + split if frame.attrs["noun"] == STUDY else "holds images, not studies"
        raise InputError(f"{printable(folder)}: {what}; expected a study set with some in {split}")
    shape = _shape(table, field_mm) if size is None else (size, size)
    mm = list(table["pixel_mm"].astype(float)) if "pixel_mm" in table else [float("nan")] * len(table)
    paths = [folder / file for file in table["file"]]
    read = in_threads(
        lambda one: _resampled(one[0], one[1], shape, field_mm), list(zip(paths, mm, strict=True)),
        desc="reading", unit="study", progress=progress,
    )  # fmt: skip
    return *padded(list(read)), table


def _resampled(path: Path, pixel_mm: float, shape: tuple[int, int], field_mm: float | None) -> NDArray[np.uint8]:
    """A study in another matrix; `pixel_mm` is what a table says of it, where it does not say so itself."""
    study = read_study(path)
    known = study.pixel_mm if np.isfinite(study.pixel_mm) else pixel_mm
    return resample_study(replace(study, pixel_mm=known), shape=shape, field_mm=field_mm)


def _shape(table: pd.DataFrame, field_mm: float | None) -> tuple[int, int]:
    """Height and width of slices that are to stay as they are; of the largest square where they are not alike."""
    sides = table[["height", "width"]].to_numpy()
    if field_mm is None and (sides == sides[0]).all():
        return int(sides[0, 0]), int(sides[0, 1])
    return int(sides.max()), int(sides.max())


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
    return padded(list(slices))[0], dict(zip(files, notes, strict=True))


def padded(studies: list[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Studies of several lengths as one array, (n, S, h, w), and which of its slices are theirs, (n, S) bool.

    Examples
    --------
    >>> array, there = padded([np.ones((2, 4, 4), np.uint8), np.ones((3, 4, 4), np.uint8)])
    >>> array.shape, there.tolist()
    ((2, 3, 4, 4), [[True, True, False], [True, True, True]])
    """
    longest = max(map(len, studies))
    array = np.zeros((len(studies), longest, *studies[0].shape[1:]), studies[0].dtype)
    there = np.zeros((len(studies), longest), bool)
    for place, study in enumerate(studies):
        array[place, : len(study)] = study
        there[place, : len(study)] = True
    return array, there


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
