"""What is where in published sets and in plain class folders, before anything is copied."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._decode import image_size
from fracturelib._files import InputError
from fracturelib.data import (
    CLASSES,
    LABEL_OF,
    MANIFEST,
    SPLIT_OF,
    Annotation,
    class_label,
    is_image_name,
    labelled_films,
    load_annotations,
    load_manifest,
    plain,
    read_coco,
    subfolders,
)

LONGEST_RUN = 12  # films; no patient of FracAtlas is known to have more


@dataclass
class Found:
    """What a source holds, before anything is copied.

    Attributes
    ----------
    kind : str
        Name of the layout.
    films : DataFrame
        path (Path), name (str, of the copy), key (str, unique), label, group, perhaps split, and metadata.
    annotations : dict
        key -> instances, in the pixels that the annotator saw.
    notes : list of str
        What the reader should know: disagreements, missing files.
    sizes : dict
        key -> width, height that the annotations are meant for.
    """

    kind: str
    films: pd.DataFrame
    annotations: dict[str, list[Annotation]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_source(folder: Path, group_pattern: str | None = None) -> Found:
    """Recognise the layout and list what is there."""
    for root in [folder, *_only_children(folder)]:
        if (root / "dataset.csv").is_file():
            return read_graz(root) if is_graz(root) else read_fracatlas(root)
        if is_mura(root):
            return read_mura(root)
        names = {plain(p.name) for p in subfolders(root)}
        if (root / MANIFEST).is_file() or names & set(SPLIT_OF) or names & set(LABEL_OF):
            return read_class_folders(root, group_pattern)
    raise InputError(
        f"{folder}: no known layout; expected FracAtlas (dataset.csv, images/), MURA (train/XR_WRIST/...), "
        "GRAZPEDWRI-DX (dataset.csv with filestem, images), train/ and val/, "
        f"or class folders called {CLASSES[1]} and {CLASSES[0]}"
    )


def _only_children(folder: Path) -> Iterator[Path]:
    """The folder in the folder, as zip files often have it."""
    children = subfolders(folder)
    while len(children) == 1:
        yield children[0]
        children = subfolders(children[0])


def read_class_folders(root: Path, group_pattern: str | None) -> Found:
    """Class folders, with or without splits, with or without a manifest."""
    names = {plain(p.name) for p in subfolders(root)}
    notes: list[str] = []
    if (root / MANIFEST).is_file() or names & set(SPLIT_OF):
        frame = load_manifest(root)
        # What cannot be read is met again, and reported, when the films are decoded.
        lost = pd.DataFrame(
            [_row_of_lost(root, file) for file, _ in frame.attrs["unreadable"] if (root / file).is_file()],
            columns=["file", "split", "label", "group"],
        )
        films = pd.concat([frame.drop(columns=["width", "height"]), lost], ignore_index=True)
        films["name"] = ["/".join(Path(f).parts[2:]) or Path(f).name for f in films["file"]]
        films.insert(0, "path", [root / f for f in films["file"]])
    else:
        rows = [(path, path.relative_to(root).as_posix(), label) for label, path in labelled_films(root)]
        films = pd.DataFrame(rows, columns=["path", "file", "label"])
        films["name"] = ["/".join(Path(f).parts[1:]) for f in films["file"]]
        films["group"] = films["file"]
    if films.empty:
        raise InputError(f"{root}: has no image in its class folders; expected files such as name.jpg")
    if group_pattern is not None:
        films["group"] = _by_pattern(films["file"], group_pattern)
    elif (films["group"] == films["file"]).all():
        notes.append("no patient is known: each film is its own group; name patients with --group-pattern")
    return Found(
        kind="class folders",
        films=films.rename(columns={"file": "key"}).sort_values("path").reset_index(drop=True),
        annotations=load_annotations(root),
        notes=notes,
    )


def _row_of_lost(root: Path, file: str) -> tuple[str, str, int, str]:
    parts = Path(file).parts
    return file, SPLIT_OF.get(plain(parts[0]), "train"), class_label(parts[1]), file


def _by_pattern(files: pd.Series, pattern: str) -> pd.Series:
    try:
        groups = files.str.extract(f"(?:{pattern})", expand=True)
    except (re.error, ValueError) as error:
        raise InputError(
            f"--group-pattern is {pattern!r}: {error}; expected a regular expression with a group"
        ) from None
    if groups[0].isna().any():
        raise InputError(f"--group-pattern {pattern!r} is not found in {files[groups[0].isna()].iloc[0]}")
    return groups[0].astype(str)


REGIONS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")


def read_fracatlas(root: Path) -> Found:
    """FracAtlas (Abedeen et al. 2023, doi 10.1038/s41597-023-02432-4) in its published layout.

    Folder and mask overrule `dataset.csv`. There are no patient numbers: runs of consecutive numbers of one region, at
    most `LONGEST_RUN` long, stand in for patients.
    """
    films = pd.DataFrame(
        [(path, path.name, label) for label, path in labelled_films(root / "images")], columns=["path", "name", "label"]
    )
    if films.empty:
        raise InputError(f"{root / 'images'}: has no image; expected Fractured/ and Non_fractured/ with .jpg files")
    table = _fracatlas_table(root / "dataset.csv")
    notes = []
    coco = root / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    annotations = read_coco(coco) if coco.is_file() else {}
    if not annotations:
        notes.append("no COCO annotations: the masks are missing")
    films = films.merge(table, on="name", how="left", indicator=True)
    _note(notes, films.loc[films["_merge"] != "both", "name"], "films are not in dataset.csv")
    _note(notes, table.loc[~table["name"].isin(films["name"]), "name"], "rows of dataset.csv have no film")
    differs = (films["_merge"] == "both") & (films["table_label"] != films["label"])
    _note(
        notes, films.loc[differs, "name"], "films have another label in dataset.csv than their folder; the folder holds"
    )
    masked = films["name"].isin(annotations)
    _note(
        notes,
        films.loc[masked & (films["label"] == 0), "name"],
        "films called not fractured have a mask; the mask holds",
    )
    if annotations:
        _note(notes, films.loc[~masked & (films["label"] == 1), "name"], "fractured films have no mask")
    films.loc[masked, "label"] = 1
    films = films.drop(columns=["_merge", "table_label"])
    films["region"] = films["region"].fillna("unknown")
    films["view"] = films["view"].fillna("unknown")
    films["group"] = consecutive_groups(films["name"], films["region"])
    films = films.sort_values("name").reset_index(drop=True)
    return Found("FracAtlas", films.assign(key=films["name"]), annotations, notes, _coco_sizes(coco))


def _fracatlas_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not a table ({str(error).splitlines()[0]}); expected comma-separated values"
        ) from None
    missing = [c for c in ("image_id", "fractured", *REGIONS, *VIEWS) if c not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; expected FracAtlas's dataset.csv")

    def words(row: pd.Series, names: Sequence[str]) -> str:
        return "+".join(n for n in names if row[n] == 1) or "unknown"

    result = pd.DataFrame({"name": table["image_id"].astype(str), "table_label": table["fractured"]})
    result["region"] = [words(row, REGIONS) for _, row in table.iterrows()]
    result["view"] = [words(row, VIEWS) for _, row in table.iterrows()]
    for column in ("hardware", "multiscan"):
        if column in table:
            result[column] = table[column]
    return result.drop_duplicates("name")


MURA_FOLDER = "XR_"  # of a region: train/XR_WRIST/patient00001/study1_positive/image1.png


def is_mura(root: Path) -> bool:
    """Whether a folder has MURA's layout."""
    return any(
        plain(split.name) in SPLIT_OF and any(region.name.startswith(MURA_FOLDER) for region in subfolders(split))
        for split in subfolders(root)
    )


def read_mura(root: Path) -> Found:
    """MURA (Rajpurkar et al. 2017, arXiv 1712.06957) in its published layout: patients are known, places are not.

    Its positive studies are *abnormal*: fractures, but also hardware, arthritis and lesions; every film of such a study
    is called positive, whether it shows it or not.
    """
    rows = []
    for split in subfolders(root):
        if plain(split.name) not in SPLIT_OF:
            continue
        for path in sorted(p for p in split.rglob("*") if p.is_file() and is_image_name(p)):
            parts = path.relative_to(split).parts
            study = re.fullmatch(r"study(\d+)_(positive|negative)", parts[2]) if len(parts) == 4 else None
            if study is None or not parts[0].startswith(MURA_FOLDER):
                raise InputError(
                    f"{path}: not MURA's layout; expected XR_REGION/patientNUMBER/studyNUMBER_positive/image"
                )
            region = parts[0].removeprefix(MURA_FOLDER).lower()
            name = f"{region}-{parts[1]}-study{study[1]}-{path.name}"
            label = int(study[2] == "positive")
            rows.append((path, name, name, SPLIT_OF[plain(split.name)], label, parts[1], region))
    if not rows:
        raise InputError(f"{root}: MURA's folders hold no image; expected files such as image1.png")
    films = pd.DataFrame(rows, columns=["path", "name", "key", "split", "label", "group", "region"])
    notes = ["MURA's positive means abnormal, not fractured: hardware, arthritis and lesions are among them"]
    return Found("MURA", films, notes=notes)


GRAZ_COLUMNS = ("filestem", "patient_id", "fracture_visible")
GRAZ_FRACTURE = 3  # its number in the published YOLO labels, where no meta.yaml says it
GRAZ_METADATA = {
    "projection": "view", "laterality": "side", "gender": "sex", "age": "age", "metal": "hardware", "cast": "cast",
    "osteopenia": "osteopenia", "diagnosis_uncertain": "uncertain", "initial_exam": "first_exam",
    "ao_classification": "ao",
}  # fmt: skip
GRAZ_ONES = ("metal", "cast", "osteopenia", "diagnosis_uncertain")  # published as 1 or empty
GRAZ_VIEWS = {1: "frontal", 2: "lateral", 3: "oblique"}


def is_graz(root: Path) -> bool:
    """Whether a folder's dataset.csv is that of GRAZPEDWRI-DX."""
    with (root / "dataset.csv").open(encoding="utf-8", errors="replace") as file:
        return "filestem" in file.readline()


def read_graz(root: Path) -> Found:
    """GRAZPEDWRI-DX (Nagy et al. 2022, doi 10.1038/s41597-022-01328-z) in its published layout.

    `dataset.csv`; images in folders of any name (images/, images_part1/ ...); boxes, where they are, as YOLO text files
    in a folder called labels. Patients are known.
    """
    try:
        table = pd.read_csv(root / "dataset.csv", dtype={"filestem": str, "patient_id": str})
    except (ValueError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{root / 'dataset.csv'}: not a table ({reason}); expected comma-separated values") from None
    missing = [c for c in GRAZ_COLUMNS if c not in table.columns]
    if missing:
        raise InputError(f"{root / 'dataset.csv'}: has no column {', '.join(missing)}; expected GRAZPEDWRI-DX's table")
    paths = {p.stem: p for p in sorted(root.rglob("*")) if p.is_file() and is_image_name(p)}
    notes: list[str] = []
    _note(notes, table.loc[~table["filestem"].isin(paths), "filestem"], "rows of dataset.csv have no film")
    unknown = pd.Series(sorted(set(paths) - set(table["filestem"])), dtype=str)
    _note(notes, unknown, "films are not in dataset.csv and were left out")
    table = table[table["filestem"].isin(paths)].drop_duplicates("filestem").sort_values("filestem")
    if table.empty:
        raise InputError(f"{root}: no film of dataset.csv is there; expected files such as {paths and min(paths)}.png")
    films = pd.DataFrame(
        {
            "path": [paths[stem] for stem in table["filestem"]],
            "name": [paths[stem].name for stem in table["filestem"]],
            "key": list(table["filestem"]),
            "label": _ones(root, table, "fracture_visible"),
            "group": list(table["patient_id"]),
            "region": "wrist",
        }
    )
    for column, name in GRAZ_METADATA.items():
        if column in table:
            films[name] = _ones(root, table, column) if column in GRAZ_ONES else table[column].to_numpy()
    if "view" in films:
        films["view"] = films["view"].map(GRAZ_VIEWS).fillna("unknown")
    annotations = _yolo_boxes(root, paths, set(films["key"]))
    if not annotations:
        notes.append("no YOLO labels: the boxes are missing")
    boxed = films["key"].isin(annotations)
    _note(notes, films.loc[boxed & (films["label"] == 0), "name"], "films without a visible fracture have a box")
    if annotations:
        _note(notes, films.loc[~boxed & (films["label"] == 1), "name"], "fractured films have no box")
    return Found("GRAZPEDWRI-DX", films.reset_index(drop=True), annotations, notes)


def _ones(root: Path, table: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """A column of 1 or nothing as 1 and 0."""
    values = pd.to_numeric(table[column], errors="coerce").fillna(-1).where(table[column].notna(), 0)
    strange = table.loc[~values.isin([0, 1]), column]
    if len(strange):
        raise InputError(f"{root / 'dataset.csv'}: {column} is {strange.iloc[0]!r}; expected 1, 0 or nothing")
    return values.to_numpy(np.int64)


def _yolo_boxes(root: Path, paths: dict[str, Path], keys: set[str]) -> dict[str, list[Annotation]]:
    """Boxes of fractures from YOLO text files: class, centre and size as shares of the film."""
    found: dict[str, list[Annotation]] = {}
    for path in sorted(root.rglob("labels/**/*.txt")):
        if path.stem not in keys or path.name.startswith("."):
            continue
        try:
            width, height = image_size(paths[path.stem])
        except InputError:
            continue  # it is met again, and listed, when the films are decoded
        number = _fracture_number(path)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.strip():
                continue
            try:
                kind, x, y, w, h = (float(v) for v in line.split())
            except ValueError:
                raise InputError(f"{path}: {line!r} is not a YOLO label; expected class, x, y, width, height") from None
            if kind == number:
                box = (x - w / 2) * width, (y - h / 2) * height, w * width, h * height
                corners = np.array([[box[0], box[1]], [box[0] + box[2], box[1]], [box[0] + box[2], box[1] + box[3]],
                                    [box[0], box[1] + box[3]]])  # fmt: skip
                found.setdefault(path.stem, []).append(Annotation((corners,), box))
    return found


def _fracture_number(label: Path) -> int:
    """The number of the class "fracture" in the meta.yaml or data.yaml near the labels, or the published one."""
    for folder in label.parents[:3]:
        for name in ("meta.yaml", "data.yaml"):
            if (folder / name).is_file():
                listed = re.search(r"names:\s*\[([^]]*)\]", (folder / name).read_text(encoding="utf-8"))
                names = [n.strip(" '\"\n") for n in listed[1].split(",")] if listed else []
                if "fracture" in names:
                    return names.index("fracture")
    return GRAZ_FRACTURE


def _coco_sizes(path: Path) -> dict[str, tuple[int, int]]:
    if not path.is_file():
        return {}
    images = json.loads(path.read_text(encoding="utf-8"))["images"]
    return {str(i["file_name"]): (int(i["width"]), int(i["height"])) for i in images if "width" in i and "height" in i}


def _note(notes: list[str], names: pd.Series, what: str) -> None:
    if len(names):
        notes.append(f"{len(names)} {what}: {', '.join(names.iloc[:5])}{' ...' if len(names) > 5 else ''}")


def consecutive_groups(names: pd.Series, regions: pd.Series, *, longest: int = LONGEST_RUN) -> pd.Series:
    """One group for each run of consecutive numbers of one region, cut after `longest`; named after its first film."""
    frame = pd.DataFrame({"name": names, "region": regions})
    frame["number"] = pd.to_numeric(frame["name"].str.extract(r"(\d+)", expand=False), errors="coerce").fillna(-1)
    frame = frame.sort_values(["number", "name"])
    begins = (frame["number"].diff() != 1) | (frame["region"] != frame["region"].shift())
    place = frame.groupby(begins.cumsum()).cumcount()
    begins |= place % longest == 0
    first = frame["name"].where(begins).ffill()
    return first.reindex(names.index).map(lambda name: Path(name).stem)
