"""Each study looked at once: whether it can be read, its plain figures, and the points by which one knows a copy."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fracturelib._io.files import InputError, printable
from fracturelib._io.threads import in_threads
from fracturelib.curate.keypoints import digest_of, points_of, shrunk
from fracturelib.data.dicom_series import series_files
from fracturelib.data.study import Study, to_grey
from fracturelib.data.volumes import read_sagittal

SIDE = 128  # long side, in pixels, of the small slices in which points are sought
POINTS = 30  # at most, of one slice
QUIET = 1.0  # pixels of the blur that takes noise away before points are sought
PLAIN = ("slices", "width", "height", "aspect", "bytes", "mean", "contrast", "border")


@dataclass(frozen=True)
class StudyLook:
    """What is kept of a study.

    Attributes
    ----------
    digest : str
        Of the bytes, 32 hexadecimal digits; of a series, whatever its files are called.
    reason : str
        Why it cannot be read; empty if it can.
    notes : tuple of str
        What else is to be said of it (`Study.notes`).
    plain : (8,) float64
        The figures named in `PLAIN`; NaN if it cannot be read.
    slice_mm, pixel_mm : float
        As of `Study`.
    laterality, plane : str
        As of `Study`.
    small : (s, h, w) uint8
        The slices, long side `SIDE`; empty if it cannot be read.
    points : (k, 3) float32
        x and y in pixels of `small`, and the slice, of the points of all slices.
    words : (k, 128) uint8
        Their descriptors, as `keypoints.Look` has them.
    slices : tuple of str
        A digest of each slice that shows something.
    """

    digest: str
    reason: str
    plain: NDArray[np.float64]
    small: NDArray[np.uint8]
    points: NDArray[np.float32]
    words: NDArray[np.uint8]
    notes: tuple[str, ...] = ()
    slice_mm: float = float("nan")
    pixel_mm: float = float("nan")
    laterality: str = ""
    plane: str = ""
    slices: tuple[str, ...] = ()

    names = PLAIN  # of the figures in `plain`

    @property
    def picture(self) -> NDArray[np.uint8]:
        """What a page shows of it, the slice in the middle: (h, w) uint8."""
        return self.small[len(self.small) // 2] if len(self.small) else np.zeros((0, 0), np.uint8)


def look_at_studies(paths: Sequence[Path], *, progress: bool = False) -> list[StudyLook]:
    """Look at studies; one that is missing or unreadable gets a `reason`. One for each path, in their order."""
    return list(in_threads(look_at_study, paths, desc="looking", unit="study", progress=progress))


def look_at_study(path: Path) -> StudyLook:
    """Look at one study."""
    digest = _digest(path)
    try:
        study = read_sagittal(path)
    except InputError as error:
        nothing = np.zeros((0, 0, 0), np.uint8), np.zeros((0, 3), np.float32), np.zeros((0, 128), np.uint8)
        return StudyLook(digest, str(error).removeprefix(f"{printable(path)}: "), np.full(len(PLAIN), np.nan), *nothing)
    size = sum(file.stat().st_size for file in (series_files(path) if path.is_dir() else [path]))
    return look_of(study, digest, size)


def look_of(study: Study, digest: str = "", size: int = 0) -> StudyLook:
    """What is kept of a study that has been read; `size` is that of its files in bytes."""
    grey = to_grey(study.pixels)
    small = _shrunk(grey)
    points, words = [], []
    for number, picture in enumerate(small):
        found, descriptors = points_of(np.asarray(cv2.GaussianBlur(picture, (0, 0), QUIET)), POINTS)
        points.append(np.column_stack([found[:, :2], np.full(len(found), number, np.float32)]))
        words.append(descriptors)
    return StudyLook(
        digest, "", _plain(grey, size), small, np.concatenate(points), np.concatenate(words), study.notes,
        study.slice_mm, study.pixel_mm, study.laterality, study.plane,
        tuple(hashlib.blake2b(one.tobytes(), digest_size=16).hexdigest() for one in grey if np.ptp(one) > 0),
    )  # fmt: skip


def _digest(path: Path) -> str:
    if not path.is_dir():
        return digest_of(path)
    try:
        parts = sorted(digest_of(file) for file in series_files(path))
    except OSError:
        return ""
    return hashlib.blake2b("".join(parts).encode(), digest_size=16).hexdigest() if parts else ""


def _shrunk(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The slices without rows and columns that are flat in all of them, long side `SIDE`."""
    for axis in (1, 2):
        others = (0, 3 - axis)
        alive = np.flatnonzero(np.ptp(grey, axis=others) > 0)
        if len(alive):
            grey = np.take(grey, np.arange(alive[0], alive[-1] + 1), axis=axis)
    return np.stack([shrunk(one, SIDE) for one in grey])


def _plain(grey: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    slices, height, width = grey.shape
    edge = max(1, round(0.02 * min(height, width)))
    border = np.ones((height, width), bool)
    border[edge:-edge, edge:-edge] = False
    return np.array(
        [slices, width, height, width / height, size, grey.mean(), grey.std(), grey[:, border].mean()], np.float64
    )
