"""Sets of studies, in the layouts that they come in: class folders, a manifest, MRNet's and KneeMRI's own."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from fracturelib._io.files import InputError, counted, printable
from fracturelib._io.tables import read_table
from fracturelib._io.words import STUDY
from fracturelib.data.dicom_series import SUFFIXES as DICOM
from fracturelib.data.dicom_series import are_mri
from fracturelib.data.found import Found
from fracturelib.data.labels import LABEL_OF, STUDY_LABEL_OF, plain
from fracturelib.data.manifest import MANIFEST
from fracturelib.data.npy import npy_shape
from fracturelib.data.volumes import PICKLE, PICKLES, SUFFIXES, stem
from fracturelib.data.walk import IMAGE_SUFFIXES, Walk

MASKS = "masks"  # beside the splits: truth, named like its study
MRNET_PLANES = ("sagittal", "coronal", "axial")
MRNET_TABLE = re.compile(r"(train|valid)-(abnormal|acl|meniscus)\.csv", re.IGNORECASE)
KNEEMRI_TABLE, KNEEMRI_COLUMNS = "metadata.csv", ("volumeFilename", "aclDiagnosis")
KNEEMRI_TEARS = ("none", "partial", "complete")  # by aclDiagnosis
STUDY_HEADS = ("train-acl.csv", "valid-acl.csv", KNEEMRI_TABLE)  # where one of these lies, a published set begins
STUDY_TABLES = re.compile(rf"(.*/)?({MRNET_TABLE.pattern}|{KNEEMRI_TABLE})", re.IGNORECASE)
ONLY_STUDIES = {word for word in STUDY_LABEL_OF if word not in LABEL_OF}


def is_study_set(walk: Walk) -> bool:
    """Whether a folder holds studies, not images: by its layout, its classes, or for want of anything else."""
    volumes = [name for name in walk.others if name.lower().endswith(SUFFIXES)]
    if volumes and any(_is_table(name) for name in walk.others):
        return True
    slices = [name for name in walk.images if not _is_picture(name)]
    folders = {name.rpartition("/")[0] for name in (*volumes, *slices)}
    if any(plain(part) in ONLY_STUDIES for folder in folders for part in folder.split("/")):
        return True
    if any(_lists_studies(walk.folder / name) for name in walk.others if name.rpartition("/")[2] == MANIFEST):
        return bool(volumes) or _are_mri(walk, slices)
    if walk.images:
        return _are_mri(walk, slices)
    return any(_is_volume(walk.folder / name) for name in volumes)


def _are_mri(walk: Walk, slices: list[str]) -> bool:
    """Whether all images of a folder are DICOM files, and those slices of MRI."""
    return len(slices) == len(walk.images) and are_mri([walk.folder / name for name in slices])


def as_studies(walk: Walk) -> Walk:
    """The walk of a study set, with one name for each study where those of its images were.

    A folder with DICOM files in it is one study. Where the folder itself is one, names are relative to that above it.
    """
    slices = [name for name in walk.images if not _is_picture(name)]
    series = sorted({name.rpartition("/")[0] for name in slices})
    files = [name for name in walk.others if name.lower().endswith(SUFFIXES) and MASKS not in name.split("/")[:-1]]
    studies = [*files, *series]
    used = {*files, *slices}
    rest = [n for n in (*walk.images, *walk.others) if n not in used and MASKS not in n.split("/")[:-1]]
    folder = walk.folder
    if "" in series:
        folder, prefix = Path(os.path.abspath(folder)).parent, f"{Path(os.path.abspath(folder)).name}/"
        studies, rest = [(prefix + n).rstrip("/") for n in studies], [prefix + n for n in rest]
    return Walk(folder, sorted(studies), sorted(rest), walk.passed, studies=True)


def add_study_layout(found: Found, walk: Walk, root: str, *, complete: bool = True) -> bool:
    """Labels and splits of MRNet or KneeMRI; False if it has neither's layout. What it cannot take, it says."""
    found.noun = STUDY
    pickles = [name for name in walk.images if name.lower().endswith(PICKLES)]
    kneemri = _kneemri_table(walk, root)
    known = True
    if any(MRNET_TABLE.fullmatch(name.removeprefix(root)) for name in walk.others):
        _add_mrnet(found, walk, root, complete)
    elif kneemri:
        _add_kneemri(found, kneemri, complete)
    else:
        known = False
    if not known or kneemri:
        lone = [name for name in pickles if not any(f"{stem(name)}{s}" in walk.images for s in (".npy", ".nii"))]
        if lone and len(pickles) == len(walk.images):
            more = f" (and {counted(len(lone) - 1, 'more pickle')})" if len(lone) > 1 else ""
            found.refuse("layout", lone[0], f"{PICKLE}{more}")
        else:
            found.say("unreadable", lone, PICKLE, f"pickles are left out: {PICKLE}")
            found.others += lone
    found.images = found.images[~found.images["file"].isin(pickles)].reset_index(drop=True)
    return known


def _add_mrnet(found: Found, walk: Walk, root: str, complete: bool) -> None:
    """MRNet (Bien et al. 2018, doi 10.1371/journal.pmed.1002699): train/sagittal/0000.npy, train-acl.csv, valid/...

    Its `valid` becomes test; nothing is set aside for validation. No patients are named: an exam stands for one.
    """
    found.kind, found.without_val = "MRNet", True
    tables = {name: MRNET_TABLE.fullmatch(name.removeprefix(root)) for name in walk.others}
    said: dict[str, dict[tuple[str, str], int]] = {}
    for name, match in tables.items():
        if match:
            labels = said.setdefault(match[2].lower(), {})
            for exam, label in _pairs(found.folder / name):
                if labels.setdefault((match[1].lower(), exam), label) != label:
                    where = printable(found.folder / name)
                    raise InputError(f"{where}: exam {exam} is there as 0 and as 1; expected one row an exam")
    places = [_mrnet_place(file.removeprefix(root)) for file in found.images["file"]]
    planes = [plane for _, plane, _ in places]
    found.images = found.images.assign(
        split=[{"train": "train", "valid": "test"}.get(part, "") for part, _, _ in places],
        label=pd.array([said.get("acl", {}).get((part, exam)) for part, _, exam in places], dtype="Int64"),
        group=[exam for _, _, exam in places],
        name=[f"{exam}.npy" for _, _, exam in places],
        **{name: pd.array([own.get((p, e)) for p, _, e in places], dtype="Int64") for name, own in said.items()
           if name != "acl"},
    )  # fmt: skip
    if others := sum(plane in MRNET_PLANES[1:] for plane in planes):
        found.notes.append(
            f"{counted(others, 'coronal or axial study', 'coronal and axial studies')} left out: one plane"
        )
    kept = found.images[[plane == MRNET_PLANES[0] for plane in planes]].reset_index(drop=True)
    found.say("image_without_row", list(kept.loc[kept["label"].isna(), "file"]), "in no table of MRNet")
    there = set(zip([p for p, plane, _ in places if plane == MRNET_PLANES[0]], kept["group"], strict=True))
    gone = sorted(f"{part}/{exam}" for part, exam in set(said.get("acl", {})) - there)
    note = "rows of MRNet's tables have no sagittal study"
    found.say("row_without_image", gone if complete else [], "in a table of MRNet only", note)
    found.images = kept
    found.notes.append("MRNet's valid is taken as test; validation comes out of its train")
    found.notes.append("MRNet names no patients: each exam is taken for one")


def _mrnet_place(name: str) -> tuple[str, str, str]:
    """Part, plane and exam of a file, each empty if it is not where MRNet has them."""
    parts = name.split("/")
    if len(parts) != 3 or parts[0].lower() not in ("train", "valid") or parts[1].lower() not in MRNET_PLANES:
        return "", "", stem(parts[-1])
    return parts[0].lower(), parts[1].lower(), stem(parts[2])


def _pairs(path: Path) -> Iterator[tuple[str, int]]:
    """Exam and label in the lines of a table without a header; InputError for a line that is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{printable(path)}: cannot be read ({error}); expected lines such as 0000,1") from None
    for number, line in enumerate(lines, start=1):
        match = re.fullmatch(r'"?(\w+)"?,"?([01])(?:\.0)?"?', line)
        if match:
            yield match[1], int(match[2])
        elif number > 1:
            raise InputError(f"{printable(path)}: line {number} is {printable(line)[:60]!r}; expected such as 0000,1")


def _kneemri_table(walk: Walk, root: str) -> str:
    """The name of KneeMRI's table; empty if there is none."""
    name = root + KNEEMRI_TABLE
    if name not in walk.others:
        return ""
    with (walk.folder / name).open(encoding="utf-8", errors="replace") as file:
        header = file.readline(10_000)
    return name if all(column in header for column in KNEEMRI_COLUMNS) else ""


def _add_kneemri(found: Found, table_file: str, complete: bool) -> None:
    """KneeMRI (Stajduhar et al. 2017, doi 10.1016/j.cmpb.2016.12.006): vol01/329637-8.pck, metadata.csv.

    Torn is partial or complete, as `tear` tells; an exam stands for a patient. Volumes must have been converted.
    """
    found.kind = "KneeMRI"
    path = found.folder / table_file
    table = read_table(path, text=("volumeFilename", "examId")).dropna(subset=["volumeFilename"])
    table = table.assign(key=[stem(str(name).rpartition("/")[2]) for name in table["volumeFilename"]])
    diagnosis = pd.to_numeric(table["aclDiagnosis"], errors="coerce")
    if (strange := ~diagnosis.isin([0, 1, 2])).any():
        value, volume = table.loc[strange, ["aclDiagnosis", "volumeFilename"]].iloc[0]
        said = f"aclDiagnosis of {printable(str(volume))} is {printable(str(value))}"
        raise InputError(f"{printable(path)}: {said}; expected 0, 1 or 2")
    table = table.assign(diagnosis=diagnosis.astype(int)).drop_duplicates(["key", "diagnosis"])
    if (twice := table["key"].duplicated()).any():
        volume = printable(str(table.loc[twice, "volumeFilename"].iloc[0]))
        raise InputError(f"{printable(path)}: {volume} is there with two diagnoses; expected one row a volume")
    table = table.set_index("key")
    keys = [stem(file.rpartition("/")[2]) for file in found.images["file"]]
    rows = table.reindex(keys)
    found.images = found.images.assign(
        label=pd.array((rows["diagnosis"] > 0).where(rows["diagnosis"].notna()), dtype="Int64"),
        group=[str(exam) if pd.notna(exam) else "" for exam in rows.get("examId", pd.Series(pd.NA, index=rows.index))],
        tear=[KNEEMRI_TEARS[int(d)] if pd.notna(d) else pd.NA for d in rows["diagnosis"]],
        name=[f"{key}.npy" for key in keys],
    )
    if "kneeLR" in rows:
        found.images["knee_lr"] = rows["kneeLR"].to_numpy()  # as published, which does not say which is which
    said = f"not in {KNEEMRI_TABLE}"
    found.say("image_without_row", list(found.images.loc[found.images["label"].isna(), "file"]), said)
    gone = [key for key in table.index if key not in set(keys)]
    note = f"rows of {KNEEMRI_TABLE} have no study"
    found.say("row_without_image", gone if complete else [], f"in {KNEEMRI_TABLE} only", note)
    found.notes.append("KneeMRI names no patients: each exam is taken for one")


def _is_picture(name: str) -> bool:
    """Whether an image is surely no DICOM file, by its suffix."""
    suffix = Path(name).suffix.lower()
    return suffix in IMAGE_SUFFIXES and suffix not in DICOM


def _is_table(name: str) -> bool:
    """Whether a table is one of MRNet's."""
    return bool(MRNET_TABLE.fullmatch(name.rpartition("/")[2]))


def _lists_studies(path: Path) -> bool:
    """Whether a manifest is one of studies: it says how many slices each has."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return "slices" in [c.strip().strip('"') for c in re.split("[,;\t]", file.readline(10_000))]
    except OSError:
        return False


def _is_volume(path: Path) -> bool:
    """Whether a file is a stack of slices, as far as its name and header tell; a pickle is taken for one."""
    if path.suffix.lower() != ".npy":
        return path.name.lower().endswith((".nii", ".nii.gz", ".pck"))
    try:
        return len(npy_shape(path)) == 3
    except (InputError, OSError):
        return False
