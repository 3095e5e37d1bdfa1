"""manifest.csv: which images count, with which label, split and patient; what a row says wrongly is named."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from fracturelib._io.files import InputError, printable
from fracturelib._io.tables import MAX_BYTES, read_table
from fracturelib._io.words import WORDS
from fracturelib.data.found import Found, Problem
from fracturelib.data.labels import SPLIT_OF, SPLITS, parse_label, plain
from fracturelib.data.names import FileNames, cleaned
from fracturelib.data.walk import Walk

MANIFEST = "manifest.csv"
MAX_SIDE = 100_000
MAX_ROWS = 2_000_000
IMAGE = "image that is meant"  # a column for the reading only


def add_manifest(found: Found, walk: Walk, root: str, complete: bool) -> bool:
    """Splits, labels, patients and metadata of manifest.csv, which decides what counts; False if it is no table."""
    path = found.folder / (root + MANIFEST)
    columns = ("file", "split", "label", "group", "width", "height")
    try:
        _require_few_rows(path)
        table = read_table(path, text=columns)
        missing = [c for c in ("file", "split", "label") if c not in table.columns]
        if missing:
            raise InputError(f"{path}: has no column {', '.join(missing)}; expected {', '.join(columns)}")
    except InputError as error:
        found.problems.append(Problem("table", root + MANIFEST, str(error).removeprefix(f"{printable(path)}: ")))
        found.errors.append(str(error))
        return False
    found.kind = "a manifest"
    table = table.assign(**_checked(found, walk, table, root, path))
    if complete:
        note = f"rows of {MANIFEST} have no image"
        found.say("row_without_image", found.missing, f"in {MANIFEST} only", note)
    rows = table[table[IMAGE].notna()].drop_duplicates(IMAGE).set_index(IMAGE)
    here = rows.reindex(found.images["file"])
    unlisted = list(found.images.loc[~found.images["file"].isin(rows.index), "file"])
    found.say("image_without_row", unlisted, f"not in {MANIFEST}", f"images are not in {MANIFEST} and were left out")
    folder_says = found.images["label"]
    told = pd.array(here["label"], dtype="Int64")
    differs = ((folder_says != told) & folder_says.notna() & pd.Series(told).notna()).fillna(False)
    for file, label in zip(found.images.loc[differs, "file"], folder_says[differs], strict=True):
        detail = f"folder says {found.classes[int(label)].lower()}, {MANIFEST} the opposite"
        found.problems.append(Problem("labels_disagree", printable(file), detail))
    group = here["group"].astype(object).fillna("").to_numpy() if "group" in here else ""
    found.images = found.images.assign(split=here["split"].fillna("").to_numpy(), label=told, group=group)
    rest = [c for c in table.columns if c not in ("file", IMAGE, "split", "label", "group", "path", "name")]
    found.images = pd.concat([found.images, here[rest].reset_index(drop=True)], axis=1)
    return True


def _require_few_rows(path: Path) -> None:
    size = path.stat().st_size if path.is_file() else 0
    if not MAX_ROWS < size <= MAX_BYTES:  # what is larger, the reader refuses
        return
    with path.open("rb") as file:
        rows = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    if rows > MAX_ROWS + 1:
        raise InputError(f"{printable(path)}: {size / 1e6:.0f} MB with {rows:,} rows; expected at most {MAX_ROWS:,}")


def _checked(found: Found, walk: Walk, table: pd.DataFrame, root: str, path: Path) -> dict[str, Any]:
    """Columns image (the file that is meant), split, label, width and height of a manifest; what is wrong is kept."""
    names, own = FileNames(walk.images), WORDS[found.noun]
    result: dict[str, list[Any]] = {c: [] for c in (IMAGE, "split", "label", "width", "height")}
    seen: dict[str, str] = {}
    for number, row in enumerate(table.to_dict("records"), start=2):

        def wrong(detail: str, kind: str = "table", file: object = row["file"]) -> None:
            found.refuse(kind, root + MANIFEST if pd.isna(file) else str(file), detail, where=path)

        for column in ("file", "split", "label"):
            if pd.isna(row[column]):
                wrong(f"row {number} has no {column}; expected one in each row")
        name = "" if pd.isna(row["file"]) else str(row["file"])
        image = _listed_image(found, names, name, root, wrong) if name else None
        key = image or cleaned(name)
        if key and key in seen:
            spelt = "" if seen[key] == name else f" (as {printable(seen[key])})"
            wrong(f"{printable(name)} is there twice{spelt}; {own.said('expected one row an image')}", "listed_twice")
        elif name and image is None:
            found.missing.append(root + cleaned(name))
        seen[key] = name
        result[IMAGE].append(image)
        split = None if pd.isna(row["split"]) else SPLIT_OF.get(plain(str(row["split"]).strip()))
        if split is None and pd.notna(row["split"]):
            wrong(f"split {printable(row['split'])!r} is not known; expected one of {', '.join(SPLITS)}")
        result["split"].append(split)
        result["label"].append(None)
        if pd.notna(row["label"]):
            try:
                result["label"][-1] = parse_label(row["label"], path, found.words, found.classes)
            except InputError as error:
                wrong(str(error).removeprefix(f"{path}: "))
        for column in ("width", "height"):
            value = row.get(column)
            size = None if value is None or pd.isna(value) else _side(value)
            if size is None and value is not None and pd.notna(value):
                said = f"{column} is {printable(value)!r} in {MANIFEST}; the {own.one}'s own is taken"
                found.problems.append(Problem("size_in_table", printable(name), said))
            result[column].append(size)
    odd = [p.file for p in found.problems if p.kind == "size_in_table"]
    if odd:
        said = "widths and heights" if len(odd) > 1 else "width or height"
        are = "are no sizes" if len(odd) > 1 else "is no size"
        found.notes.append(f"{len(odd)} {said} in {MANIFEST} {are}, such as of {odd[0]}")
    return {c: v for c, v in result.items() if c in table or c == IMAGE}


def _listed_image(found: Found, names: FileNames, name: str, root: str, wrong: Any) -> str | None:
    if root + name in names.files:
        return root + name
    text = name.strip()
    outside = PurePosixPath(text).is_absolute() or PureWindowsPath(text).drive or ".." in PureWindowsPath(text).parts
    if outside:
        wrong(f"{printable(name)} leaves the folder; expected paths relative to it")
        return None
    try:
        image = names.find(name, base=root)
    except LookupError as error:
        wrong(f"{printable(name)} may be {printable(error)}; expected its path", "ambiguous")
        return None
    if image is None and (found.folder / root / cleaned(name)).exists():
        # A link to an image that is taken by its own name is that image.
        real = os.path.relpath(os.path.realpath(found.folder / root / cleaned(name)), os.path.realpath(found.folder))
        return real if real in names.files else None
    return image


def _side(value: object) -> int | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if 1 <= number <= MAX_SIDE and number.is_integer() else None
