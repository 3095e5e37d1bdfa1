"""What the import of studies does otherwise than that of images: it measures them, and writes each as one array."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from fracturelib._io.words import STUDY, WORDS
from fracturelib.curate.cleaning import LeftOut
from fracturelib.curate.study_copies import find_study_copies
from fracturelib.curate.study_looks import StudyLook, look_at_studies
from fracturelib.data.dicom_series import series_files
from fracturelib.data.groups import split_by_group
from fracturelib.data.pixels import noted
from fracturelib.data.study import to_grey
from fracturelib.data.study_sets import MASKS
from fracturelib.data.volumes import read_study, stem

MEASURED = ("slice_mm", "pixel_mm", "laterality")  # of a file where it says them, else of a table


def readable_studies(images: pd.DataFrame, *, progress: bool) -> tuple[pd.DataFrame, list[LeftOut], list[str]]:
    """The studies that can be read, those that are left out, and notes.

    Each gets file (for the log), slices, height, width, what is known of `MEASURED`, and import_copy, import_contrast
    and import_bytes as an image has them.
    """
    looks = look_at_studies(list(images["path"]), progress=progress)
    files = [f"{path.parent.name}/{path.name}" for path in images["path"]]
    reasons = [look.reason for look in looks]
    left_out = [LeftOut(file, "unreadable", reason) for file, reason in zip(files, reasons, strict=True) if reason]
    kept = [place for place, reason in enumerate(reasons) if not reason]
    good = [looks[place] for place in kept]
    readable = images.assign(file=files).iloc[kept].reset_index(drop=True)
    plain = pd.DataFrame([look.plain for look in good], columns=list(StudyLook.names))
    for column in ("slices", "height", "width"):
        readable[column] = plain[column].astype(np.int64)
    for column in MEASURED:
        own = pd.Series([getattr(look, column) or None for look in good], index=readable.index)
        known = readable[column] if column in readable else pd.Series(None, index=readable.index, dtype=object)
        readable[column] = own.where(own.notna(), known)
    readable["import_contrast"], readable["import_bytes"] = plain["contrast"], plain["bytes"].astype(np.int64)
    readable["import_copy"] = find_study_copies(good, progress=progress).group
    notes = {file: look.notes for file, look in sorted(zip(files, looks, strict=True), key=lambda pair: pair[0])}
    return readable, left_out, noted(notes, nouns=WORDS[STUDY].nouns)


def study_bytes(path: Path) -> int:
    """The size of a file, or of a series' files together; -1 if there is none."""
    if path.is_dir():
        return sum(file.stat().st_size for file in series_files(path))
    return path.stat().st_size if path.exists() else -1


def write_study(path: Path, target: Path) -> None:
    """A study as an array of uint8: its file as it is if it is one, else its grey values."""
    study = read_study(path)
    if study.pixels.dtype == np.uint8 and path.suffix.lower() == ".npy":
        shutil.copyfile(path, target)
    else:
        np.save(target, to_grey(study.pixels), allow_pickle=False)


def copy_mask(folder: Path, path: Path, out: Path, name: str) -> None:
    """The truth of a study, where the set has it, under the study's new name."""
    for above in path.parents:
        mask = above / MASKS / f"{stem(path.name)}.npz"
        if mask.is_file():
            target = out / MASKS / f"{stem(name)}.npz"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(mask, target)
        if mask.is_file() or above == folder:
            return


def with_val(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The images with validation taken out of train, by patient, where none has been set aside."""
    train = images["split"] == "train"
    if not train.any() or (images["split"] == "val").any():
        return images
    part = images[train]
    split = split_by_group(part["label"].astype(str), part["group"].astype(str), seed=seed)
    split = np.where(split == "val", "val", "train")
    return images.assign(split=images["split"].where(~train, pd.Series(split, index=part.index)))
