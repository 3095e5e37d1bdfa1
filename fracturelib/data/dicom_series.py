"""A DICOM series as one study: its slices in the order in which they lie in the patient, whatever they are called.

A file holds one slice, or, as newer scanners write them (Enhanced MR, PS3.3, A.36), one in each of its frames.
Its position says where a slice lies (ImagePositionPatient), along the normal of the slices (ImageOrientationPatient),
in mm to the patient's left, back and head (DICOM PS3.3, C.7.6.2). Names of files and instance numbers decide nothing.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracturelib._io.files import InputError, counted, printable
from fracturelib.data.dicom import (
    GROUPS,
    dicom_errors,
    dicom_values,
    functional_groups,
    is_dicom,
    read_elements,
    require_whole,
)
from fracturelib.data.study import PLANES, Study, require_volume, square_pixels

USED = (
    "SeriesInstanceUID", "SeriesDescription", "ProtocolName", "StudyDescription", "ImageType", "Modality",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices",
    "EchoTime", "InstanceNumber", "SOPInstanceUID", "Rows", "Columns", "Laterality", "ImageLaterality",
    "FrameLaterality",
)  # fmt: skip
PER_FRAME = GROUPS[1]
OF_FRAMES = {  # where a file of several frames has what one of a single frame says in its header
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelMeasuresSequence": {name: name for name in ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")},
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRImageFrameTypeSequence": {"FrameType": "ImageType"},
    "FrameAnatomySequence": {"FrameLaterality": "FrameLaterality"},
    "FrameContentSequence": {"StackID": "StackID"},
}
PLACES = ("ImagePositionPatient", "ImageOrientationPatient")
MRI = "MR"
SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})
ONE_WAY = 0.999  # cosine between normals of slices that lie parallel: 2.6 degrees
FAR_MM = 100_000  # no slice lies so far from the scanner's middle
SAME_MM = 0.05  # nearer than this, two slices are at one place
GAP = 1.5  # so many times the usual distance from slice to slice, and one is missing
# The directions in which columns and rows run in a picture of each plane, and the slices, in left, back, head.
WANTED = {
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, -1)),
}
SIDES = re.compile(r"\b(?:(left|lt|li|links)|(right|rt|re|rechts))\b")


@dataclass(frozen=True, eq=False)
class Slice:
    """What a header says of a slice; rows, columns and position in mm, to the patient's left, back, head."""

    path: Path
    frame: int  # of the file, counted from 0
    header: Any
    series: tuple[str, str, str]  # and the stack and kind of frame in it, where a file holds several
    position: NDArray[np.float64]
    along_row: NDArray[np.float64]
    down_column: NDArray[np.float64]

    @property
    def normal(self) -> NDArray[np.float64]:
        """The direction of the slices, of length 1."""
        return np.cross(self.along_row, self.down_column)

    @property
    def plane(self) -> str:
        """Which of `PLANES` it is nearest to."""
        return PLANES[int(np.argmax(np.abs(self.normal)))]

    @property
    def spacing(self) -> tuple[float, float]:
        """From row to row and from column to column, in mm; NaN if unknown."""
        found = _lengths(self.header, "PixelSpacing")
        return (found[0], found[1]) if len(found) == 2 else (np.nan, np.nan)


def series_files(folder: Path) -> list[Path]:
    """The DICOM files that lie in a folder itself, by their suffix or first bytes, in the order of their names."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
            continue
        if path.suffix.lower() in SUFFIXES:
            found.append(path)
            continue
        with path.open("rb") as file:
            if is_dicom(file.read(132)):
                found.append(path)
    return found


def read_series(folder: Path) -> Study:
    """The study that the DICOM files in a folder are.

    Of several series the sagittal one with the most slices is taken; localizers and slices across the others are left
    out, and so is all but one of several slices at one place. The notes say so, and where slices are missing.

    Raises
    ------
    InputError
        If no file is a slice with a position, or one cannot be read.
    """
    name = printable(folder)
    slices, notes = _slices(folder)
    chosen, said = _one_series(slices)
    notes += said
    chosen, said = _parallel(chosen)
    notes += said
    chosen, said = _in_order(chosen)
    notes += said
    shape = (int(chosen[0].header.Rows), int(chosen[0].header.Columns))
    require_volume(name, (len(chosen), *shape))
    values = _values(chosen)
    if values.shape[1:] != shape or not np.isfinite(values).all():
        raise InputError(f"{name}: slices of other sizes than their headers say, or not of numbers; expected numbers")
    first = chosen[0]
    values = _upright(values, first)
    row_mm, column_mm = first.spacing[::-1] if _is_swapped(first) else first.spacing
    pixels, pixel_mm = square_pixels(name, values, row_mm, column_mm)
    return Study(pixels, _step(chosen), pixel_mm, _side(first.header), first.plane, tuple(notes))


def are_mri(paths: Sequence[Path]) -> bool:
    """Whether DICOM files are slices of MRI, as the first says that says anything; False if none does."""
    for path in paths:
        try:
            with dicom_errors(path):
                header = read_elements(path, pixels=False, more=("Modality", "ImagePositionPatient"))
                if modality := str(header.get("Modality") or ""):
                    return modality == MRI and any(name in header for name in ("ImagePositionPatient", PER_FRAME))
        except (InputError, OSError):
            continue
    return False


def _slices(folder: Path) -> tuple[list[Slice], list[str]]:
    """The slices that say where they lie, and what is to be said of the other files."""
    name = printable(folder)
    if not folder.is_dir():
        raise InputError(f"{name}: no such folder; expected a DICOM series")
    files = series_files(folder)
    found, unplaced, broken, others = [], [], [], 0
    for path in files:
        try:
            with dicom_errors(path):
                header = read_elements(path, pixels=False, more=USED)
                for element in USED:  # pydicom decodes at first use, and what it cannot decode is said here
                    header.get(element)
                require_whole(header)
                if "SOPInstanceUID" not in header and "Rows" not in header:
                    raise InputError(f"{printable(path)}: not a DICOM file; expected a slice")
                if "Rows" not in header or "Columns" not in header:
                    others += 1
                    continue
                placed = [_placed(path, i, own) for i, own in enumerate(_headers(path, header))]
                found += [one for one in placed if one is not None]
                unplaced += [path.name] * placed.count(None)
        except InputError as error:
            broken.append(f"{printable(path.name)}: {str(error).removeprefix(f'{printable(path)}: ')}")
    notes = []
    if broken:
        notes.append(f"{counted(len(broken), 'file')} could not be read ({broken[0]})")
    if unplaced:
        notes.append(f"{counted(len(unplaced), 'slice')} without a position left out ({printable(unplaced[0])})")
    if others:
        notes.append(f"{counted(others, 'DICOM file')} without an image left out")
    strange = sorted({kind for one in found if (kind := str(one.header.get("Modality") or MRI)) != MRI})
    own = [one for one in found if str(one.header.get("Modality") or MRI) == MRI]
    if strange and own:
        notes.append(f"{counted(len(found) - len(own), 'slice')} of {', '.join(map(printable, strange))} left out")
        found = own
    elif strange:
        notes.append(f"its slices are not of MRI ({', '.join(map(printable, strange))})")
    if not found:
        why = f" ({'; '.join(notes)})" if notes else ""
        raise InputError(f"{name}: no DICOM slice says where it lies{why}; expected slices with ImagePositionPatient")
    return found, notes


def _headers(path: Path, header: Any) -> list[Any]:
    """What a file's header says of each of its frames."""
    from pydicom.dataset import Dataset

    frames, told = int(header.get("NumberOfFrames") or 1), len(header.get(PER_FRAME) or ())
    if PER_FRAME not in header and frames == 1:
        return [header]
    if frames != told:
        raise InputError(
            f"{printable(path)}: {frames} frames, of which its header describes {told}; expected a file for each "
            "slice, or a frame for each with its position"
        )
    whole = [element for element in header if element.keyword in USED and element.keyword not in PLACES]
    found = []
    for frame in range(frames):
        own = Dataset()
        own.update({element.tag: element for element in whole})
        own.StackID = ""
        for item in functional_groups(header, frame):
            for name, keywords in OF_FRAMES.items():
                for values in (item.get(name) or [])[:1]:
                    for keyword, called in keywords.items():
                        if keyword in values:
                            own.pop(called, None)  # the element itself is that of all frames
                            setattr(own, called, values[keyword].value)
        found.append(own)
    return found


def _values(slices: Sequence[Slice]) -> NDArray[np.float32]:
    """The numbers of slices, (slices, height, width), each file read once."""
    frames: dict[Path, list[int]] = {}
    for one in slices:
        frames.setdefault(one.path, []).append(one.frame)
    read = {
        (path, frame): values
        for path, own in frames.items()
        for frame, values in zip(own, dicom_values(path, own), strict=True)
    }
    return np.stack([read[one.path, one.frame] for one in slices])


def _placed(path: Path, frame: int, header: Any) -> Slice | None:
    """A slice with a position and an orientation that can be; None if it has none."""
    try:
        position = np.array([float(v) for v in header.ImagePositionPatient])
        six = np.array([float(v) for v in header.ImageOrientationPatient])
    except (AttributeError, TypeError, ValueError):
        return None
    if position.shape != (3,) or six.shape != (6,) or not (np.abs([*position, *six]) < FAR_MM).all():
        return None
    row, column = six[:3], six[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(row @ column) > 0.01:
        return None
    several = "StackID" in header
    uid = str(header.get("SeriesInstanceUID") or (path.name if several else ""))
    series = (uid, str(header.get("StackID") or ""), "\\".join(_kinds(header)) if several else "")
    return Slice(path, frame, header, series, position, row / lengths[0], column / lengths[1])


def _one_series(slices: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """The series to take of those that lie in a folder, and what is to be said of the others."""
    series: dict[tuple[str, str, str], list[Slice]] = {}
    for one in slices:
        series.setdefault(one.series, []).append(one)
    localizers = {uid for uid, own in series.items() if any(_is_localizer(one) for one in own)}
    if len(localizers) == len(series):
        localizers = set()  # there is nothing else
    notes = []
    if localizers:
        count = sum(len(series.pop(uid)) for uid in localizers)
        notes.append(f"{counted(count, 'slice')} of {counted(len(localizers), 'localizer')} left out")
    order = sorted(series, key=lambda uid: (_main_plane(series[uid]) != PLANES[0], -len(series[uid]), uid))
    if len(order) > 1:
        taken = series[order[0]]
        others = ", ".join(f"{len(series[uid])} {_main_plane(series[uid])}" for uid in order[1:4])
        rival = any(_main_plane(series[uid]) == _main_plane(taken) for uid in order[1:])
        advice = "; a folder is one study: give each its own to read them all" if rival else ""
        which = "series" if len({key[0] for key in order}) == len(order) else "series, stacks or kinds of frames"
        notes.append(
            f"{len(order)} {which} in one folder: {_called(taken[0])} was taken, {len(taken)} {_main_plane(taken)} "
            f"slices; left out: {others}{advice}"
        )
    return series[order[0]], notes


def _is_localizer(one: Slice) -> bool:
    return any(kind.upper() == "LOCALIZER" for kind in _kinds(one.header))


def _kinds(header: Any) -> list[str]:
    """The words of its type, such as ORIGINAL, PRIMARY, M."""
    said = header.get("ImageType") or []
    return [str(kind) for kind in ([said] if isinstance(said, str) else said)]


def _main_plane(slices: Sequence[Slice]) -> str:
    return Counter(one.plane for one in slices).most_common(1)[0][0]


def _called(one: Slice) -> str:
    return repr(printable(str(one.header.get("SeriesDescription") or "the one without a description"))[:60])


def _parallel(slices: list[Slice]) -> tuple[list[Slice], list[str]]:
    """The most slices that are parallel and alike in size and spacing; a series may have a scout across them."""
    rows, columns = (np.array([getattr(one, name) for one in slices]) for name in ("along_row", "down_column"))
    sizes = np.array([(one.header.Rows, one.header.Columns) for one in slices])
    spacings = np.array([one.spacing for one in slices])
    best = np.zeros(len(slices), bool)
    for i in range(len(slices)):
        if best[i]:
            continue
        alike = (rows @ rows[i] > ONE_WAY) & (columns @ columns[i] > ONE_WAY) & (sizes == sizes[i]).all(axis=1)
        alike &= np.isclose(spacings, spacings[i], rtol=0.01, equal_nan=True).all(axis=1)
        if alike.sum() > best.sum():
            best = alike
        if best.sum() > len(slices) / 2:
            break
    away = len(slices) - int(best.sum())
    said = f"{counted(away, 'slice')} in another direction, or of another size or spacing, left out"
    return [one for one, chosen in zip(slices, best, strict=True) if chosen], [said] * bool(away)


def _in_order(slices: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """Slices by their place along the normal, one at each place; and what is to be said of doubles and gaps."""
    normal = slices[0].normal
    places = np.array([one.position @ normal for one in slices])
    order = sorted(range(len(slices)), key=lambda i: (places[i], _echo(slices[i]), _uid(slices[i])))
    kept: list[int] = []
    doubles = 0
    for i in order:
        if kept and places[i] - places[kept[-1]] < SAME_MM:
            doubles += 1
            if (_echo(slices[i]), _uid(slices[i])) < (_echo(slices[kept[-1]]), _uid(slices[kept[-1]])):
                kept[-1] = i
        else:
            kept.append(i)
    notes = []
    if doubles:
        notes.append(
            f"{counted(doubles, 'slice is', 'slices are')} at the place of another: of each place the one with the "
            "shortest echo time was taken"
        )
    steps = np.diff(places[kept])
    usual = float(np.median(steps)) if len(steps) else np.nan
    wide = np.flatnonzero(steps > GAP * usual)
    if len(wide):
        missing = int(sum(round(steps[i] / usual) - 1 for i in wide))
        where = ", ".join(f"{steps[i]:.1f} mm" for i in wide[:3])
        notes.append(
            f"{counted(missing, 'slice')} missing at {counted(len(wide), 'place')}: gaps of {where} where slices are "
            f"{usual:.1f} mm apart"
        )
    return [slices[i] for i in kept], notes


def _echo(one: Slice) -> float:
    try:
        return float(one.header.get("EchoTime") or 0)
    except (TypeError, ValueError):
        return 0.0


def _uid(one: Slice) -> tuple[str, int]:
    return str(one.header.get("SOPInstanceUID") or one.path.name), one.frame


def _step(slices: Sequence[Slice]) -> float:
    """From slice to slice, in mm; of a single one what its header says."""
    if len(slices) > 1:
        return float(np.median(np.diff([one.position @ slices[0].normal for one in slices])))
    header = slices[0].header
    said = _lengths(header, "SpacingBetweenSlices") or _lengths(header, "SliceThickness")
    return said[0] if said else float("nan")


def _lengths(header: Any, name: str) -> list[float]:
    """The lengths in mm that an element holds, above 0; none if it holds anything else."""
    said = header.get(name)
    try:
        found = [float(v) for v in (said if isinstance(said, Sequence) and not isinstance(said, str) else [said])]
    except (TypeError, ValueError):
        return []
    return found if all(0 < v < np.inf for v in found) else []


def _side(header: Any) -> str:
    """L or R, if a header says it: in an element of its own, or in words."""
    for name in ("ImageLaterality", "FrameLaterality", "Laterality"):
        if (said := str(header.get(name) or "").strip().upper()) in ("L", "R"):
            return said
    for name in ("SeriesDescription", "ProtocolName", "StudyDescription"):
        words = re.sub(r"[_\W]+", " ", str(header.get(name) or "").lower())
        sides = {"L" if match[1] else "R" for match in SIDES.finditer(words)}
        if len(sides) == 1:
            return sides.pop()
    return ""


def _is_swapped(one: Slice) -> bool:
    """Whether what should be columns are rows in the file."""
    columns = np.array(WANTED[one.plane][0], float)
    return bool(abs(one.along_row @ columns) < abs(one.down_column @ columns))


def _upright(values: NDArray[np.float32], first: Slice) -> NDArray[np.float32]:
    """Slices, rows and columns in the directions that `Study` has.

    Along its normal the first slice comes first; `values` are (slices, height, width).
    """
    columns, rows, through = (np.array(way, float) for way in WANTED[first.plane])
    along, down = first.along_row, first.down_column
    if _is_swapped(first):
        values, along, down = values.transpose(0, 2, 1), down, along
    if down @ rows < 0:
        values = values[:, ::-1]
    if along @ columns < 0:
        values = values[:, :, ::-1]
    if first.normal @ through < 0:
        values = values[::-1]
    return np.ascontiguousarray(values)
