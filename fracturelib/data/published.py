"""Published sets, in the layouts that they are published in."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from fracturelib._io.files import InputError
from fracturelib._io.tables import read_table
from fracturelib.data.found import Found
from fracturelib.data.labels import split_of
from fracturelib.data.walk import Walk
from fracturelib.data.yolo import Yolo

LONGEST_RUN = 12  # images; no patient of FracAtlas is known to have more
TABLE = "dataset.csv"
REGIONS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")
FRACATLAS_COCO = "Annotations/COCO JSON/COCO_fracture_masks.json"
MURA_FOLDER = "XR_"  # of a region: train/XR_WRIST/patient00001/study1_positive/image1.png
MURA_STUDY = re.compile(r"study(\d+)_(positive|negative)")
GRAZ_COLUMNS = ("filestem", "patient_id", "fracture_visible")
GRAZ_CLASSES = dict(enumerate((  # of the published YOLO labels, where no meta.yaml says it
    "boneanomaly", "bonelesion", "foreignbody", "fracture", "metal", "periostealreaction", "pronatorsign", "softtissue",
    "text",
)))  # fmt: skip
GRAZ_METADATA = {
    "projection": "view", "laterality": "side", "gender": "sex", "age": "age", "metal": "hardware", "cast": "cast",
    "osteopenia": "osteopenia", "diagnosis_uncertain": "uncertain", "initial_exam": "first_exam",
    "ao_classification": "ao",
}  # fmt: skip
GRAZ_ONES = ("metal", "cast", "osteopenia", "diagnosis_uncertain")  # published as 1 or empty
GRAZ_VIEWS = {1: "frontal", 2: "lateral", 3: "oblique"}


def add_fracatlas(found: Found, table_file: str, *, complete: bool = True) -> None:
    """FracAtlas (Abedeen et al. 2023, doi 10.1038/s41597-023-02432-4): table, regions and stand-ins for patients.

    Folder and mask overrule `dataset.csv`. There are no patient numbers: runs of consecutive numbers of one region, at
    most `LONGEST_RUN` long, stand in for patients.
    """
    found.kind = "FracAtlas"
    images = found.images.assign(name=[Path(file).name for file in found.images["file"]])
    table = _fracatlas_table(found.folder / table_file)
    if not found.annotations:
        found.notes.append("no COCO annotations: the masks are missing")
    images = images.merge(table, on="name", how="left", indicator=True)
    known = images["_merge"] == "both"
    found.say("image_without_row", list(images.loc[~known, "file"]), f"not in {TABLE}", f"images are not in {TABLE}")
    gone = list(table.loc[~table["name"].isin(images["name"]), "name"]) if complete else []
    found.say("row_without_image", gone, f"in {TABLE} only", f"rows of {TABLE} have no image")
    images["label"] = images["label"].fillna(images["table_label"])
    differs = known & images["table_label"].notna() & (images["table_label"] != images["label"]).fillna(False)
    found.say(
        "labels_disagree", list(images.loc[differs, "file"]), f"folder and {TABLE} say the opposite of each other",
        f"images have another label in {TABLE} than their folder; the folder holds",
    )  # fmt: skip
    masked = images["file"].isin(found.annotations)
    found.say(
        "labels_disagree", list(images.loc[masked & (images["label"] == 0), "file"]),
        "labelled not fractured, has a mask",
        "images labelled not fractured have a mask; the mask holds",
    )  # fmt: skip
    if found.annotations:
        bare = list(images.loc[~masked & (images["label"] == 1), "file"])
        found.say("fracture_without_annotation", bare, "has no mask", "fractured images have no mask")
    images.loc[masked & images["label"].notna(), "label"] = 1
    images = images.drop(columns=["_merge", "table_label"])
    for column in ("region", "view"):
        images[column] = images[column].fillna("unknown")
    images["group"] = consecutive_groups(images["name"], images["region"])
    found.images = images.sort_values(["name", "file"]).reset_index(drop=True)


def _fracatlas_table(path: Path) -> pd.DataFrame:
    table = read_table(path, text=("image_id",))
    missing = [c for c in ("image_id", "fractured", *REGIONS, *VIEWS) if c not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; expected FracAtlas's {TABLE}")

    def words(row: pd.Series, names: Sequence[str]) -> str:
        return "+".join(n for n in names if row[n] == 1) or "unknown"

    label = pd.to_numeric(table["fractured"], errors="coerce")
    result = pd.DataFrame({"name": table["image_id"].astype(str)})
    result["table_label"] = label.where(label.isin([0, 1])).astype("Int64")
    result["region"] = [words(row, REGIONS) for _, row in table.iterrows()]
    result["view"] = [words(row, VIEWS) for _, row in table.iterrows()]
    for column in ("hardware", "multiscan"):
        if column in table:
            result[column] = table[column]
    return result.drop_duplicates("name")


def is_mura(walk: Walk) -> bool:
    """Whether a folder has MURA's layout: regions in splits, or studies of patients."""
    for image in walk.images:
        parts = image.split("/")
        for split, region in pairwise(parts[:-1]):
            if split_of(split) and region.startswith(MURA_FOLDER):
                return True
    return False


def add_mura(found: Found) -> None:
    """MURA (Rajpurkar et al. 2017, arXiv 1712.06957): patients are known, places are not.

    Its positive studies are *abnormal*: fractures, but also hardware, arthritis and lesions; every image of such a
    study is called positive, whether it shows it or not.
    """
    found.kind = "MURA"
    rows = []
    for file in found.images["file"]:
        parts = file.split("/")
        study = MURA_STUDY.fullmatch(parts[-2]) if len(parts) >= 4 else None
        if study is None or not parts[-4].startswith(MURA_FOLDER):
            rows.append((parts[-1], pd.NA, "", "unknown"))
            if not any(part.startswith(MURA_FOLDER) for part in parts[:-1]):
                continue  # a picture beside the set
            expected = "not MURA's layout; expected XR_REGION/patientNUMBER/studyNUMBER_positive/image"
            found.refuse("layout", file, expected)
            continue
        region = parts[-4].removeprefix(MURA_FOLDER).lower()
        name = f"{region}-{parts[-3]}-study{study[1]}-{parts[-1]}"
        rows.append((name, int(study[2] == "positive"), parts[-3], region))
    added = pd.DataFrame(rows, columns=["name", "label", "group", "region"]).astype({"label": "Int64"})
    found.images = found.images.assign(**{c: added[c].array for c in added.columns})
    found.notes.append("MURA's positive means abnormal, not fractured: hardware, arthritis and lesions are among them")


def add_graz(found: Found, table_file: str, boxes: Yolo, *, complete: bool = True) -> None:
    """GRAZPEDWRI-DX (Nagy et al. 2022, doi 10.1038/s41597-022-01328-z): patients are known, fractures have boxes.

    `dataset.csv`; images in folders of any name (images/, images_part1/ ...); boxes, where they are, as YOLO text files
    in a folder called labels.
    """
    found.kind = "GRAZPEDWRI-DX"
    path = found.folder / table_file
    table = read_table(path, text=("filestem", "patient_id"))
    missing = [c for c in GRAZ_COLUMNS if c not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; expected GRAZPEDWRI-DX's table")
    images = found.images.assign(name=[Path(f).name for f in found.images["file"]])
    stem = pd.Series([Path(f).stem for f in images["file"]], dtype=str)
    gone = list(table.loc[~table["filestem"].isin(stem), "filestem"].astype(str)) if complete else []
    found.say("row_without_image", gone, f"in {TABLE} only", f"rows of {TABLE} have no image")
    here = stem.isin(table["filestem"])
    said = f"images are not in {TABLE} and were left out"
    found.say("image_without_row", list(images.loc[~here, "file"]), f"not in {TABLE}", said)
    again = here & stem.duplicated()
    said = "images are there a second time and were left out"
    found.say("listed_twice", list(images.loc[again, "file"]), "another image has its name", said)
    if not here.any() and complete:
        raise InputError(
            f"{found.folder}: no image of {TABLE} is there; expected files such as {table['filestem'].min()}.png"
        )
    rows = table.drop_duplicates("filestem").set_index("filestem").reindex(stem.where(here & ~again)).reset_index()
    rows["known"] = (here & ~again).to_numpy()
    images["label"] = _ones(found, path, rows, "fracture_visible")
    images["group"] = rows["patient_id"].fillna("").to_numpy()
    images["region"] = "wrist"
    for column, name in GRAZ_METADATA.items():
        if column in rows:
            images[name] = _ones(found, path, rows, column) if column in GRAZ_ONES else rows[column].to_numpy()
    if "view" in images:
        images["view"] = images["view"].map(GRAZ_VIEWS).fillna("unknown")
    if not boxes.found:
        found.notes.append("no YOLO labels: the boxes are missing")
    boxed = images["file"].isin(found.annotations)
    bare = list(images.loc[boxed & (images["label"] == 0), "file"])
    found.say(
        "labels_disagree", bare, "no fracture is visible, but boxed", "images without a visible fracture have a box"
    )
    if boxes.found:
        bare = list(images.loc[~boxed & (images["label"] == 1), "file"])
        found.say("fracture_without_annotation", bare, "has no box", "fractured images have no box")
    found.images = images.iloc[np.argsort(stem.to_numpy(), kind="stable")].reset_index(drop=True)


def _ones(found: Found, path: Path, rows: pd.DataFrame, column: str) -> pd.arrays.IntegerArray:
    """A column of 1 or nothing as 1 and 0; missing for an image that is not in the table."""
    values = pd.to_numeric(rows[column], errors="coerce").where(rows[column].notna(), 0)
    strange = rows.loc[rows["known"] & ~values.isin([0, 1]), column]
    if len(strange):
        found.refuse("table", TABLE, f"{column} is {strange.iloc[0]!r}; expected 1, 0 or nothing", where=path)
    return pd.array(values.where(rows["known"] & values.isin([0, 1])), dtype="Int64")


def consecutive_groups(names: pd.Series, regions: pd.Series) -> pd.Series:
    """One group for each run of consecutive numbers of one region, of at most `LONGEST_RUN`; named after its first."""
    frame = pd.DataFrame({"name": names, "region": regions})
    frame["number"] = pd.to_numeric(frame["name"].str.extract(r"(\d+)", expand=False), errors="coerce").fillna(-1)
    frame = frame.sort_values(["number", "name"])
    begins = (frame["number"].diff() != 1) | (frame["region"] != frame["region"].shift())
    place = frame.groupby(begins.cumsum()).cumcount()
    begins |= place % LONGEST_RUN == 0
    first = frame["name"].where(begins).ffill()
    return first.reindex(names.index).map(lambda name: Path(name).stem)
