"""The hand-over between a model, anybody's, and its judgement: one table of scores."""

from pathlib import Path

import numpy as np
import pandas as pd

from fracturelib._io.files import InputError
from fracturelib._io.tables import read_table, write_table
from fracturelib._io.words import STUDY, WORDS
from fracturelib.data.labels import CLASSES, LABEL_OF, SPLIT_OF, STUDY_CLASSES, STUDY_LABEL_OF, parse_label, plain
from fracturelib.data.volumes import stem
from fracturelib.data.walk import IMAGE_SUFFIXES

REQUIRED = ("file", "label", "score")


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read a table of scores.

    Parameters
    ----------
    path : str or Path
        Separated by commas, semicolons or tabs, with the columns file (any name of the image, each once), label (0, 1
        or a class name), score (P(Fractured), 0..1), and perhaps group (the patient; the image itself where it is
        missing), split and others.

    Returns
    -------
    DataFrame
        file (str), label (int64), group (str), score (float64), then the other columns. `attrs["left_out"]` lists
        (file, reason) of rows that `fracture predict` left without a score or a label; `attrs["noun"]` is image or
        study, as what decided or the names of the files say.

    Raises
    ------
    InputError
        If it is missing or no table, lacks a column or has no row; if a score is missing, not a number or outside 0..1;
        if an image is there twice; if a label is unknown.
    """
    path = Path(path)
    if not path.is_file():
        what = "not a file" if path.exists() else "no such file"
        raise InputError(f"{path}: {what}; expected a table with the columns {', '.join(REQUIRED)}")
    frame = read_table(path, text=("file", "group", "label", "score", "split", "reason"))
    left_out = pd.Series(False, index=frame.index)
    if {*REQUIRED, "reason"} <= set(frame.columns):
        left_out = frame["file"].notna() & (frame["score"].isna() | frame["label"].isna())
    without = frame[left_out]
    checked = checked_predictions(frame[~left_out] if len(without) < len(frame) else frame, path)
    reasons = without["reason"].fillna("no label") if len(without) else []
    checked.attrs["left_out"] = list(zip(without["file"], reasons, strict=True))
    return checked


def checked_predictions(frame: pd.DataFrame, name: str | Path) -> pd.DataFrame:
    """The same table with the contract enforced; `name` is what messages call it. See `read_predictions`."""
    missing = [c for c in REQUIRED if c not in frame.columns]
    if missing:
        raise InputError(f"{name}: has no column {', '.join(missing)}; expected {', '.join(REQUIRED)}")
    if frame.empty:
        raise InputError(f"{name}: has no row; expected one for each image")
    if frame["file"].isna().any():
        raise InputError(f"{name}: row {int(frame['file'].isna().argmax()) + 2} has no file; expected the image's name")
    noun = _noun(frame, name)
    if frame["file"].duplicated().any():
        twice = frame["file"][frame["file"].duplicated()].iloc[0]
        raise InputError(f"{name}: {twice} is there twice; {WORDS[noun].said('expected one row an image')}")
    if frame["label"].isna().any():
        row = frame["file"][frame["label"].isna()].iloc[0]
        raise InputError(f"{name}: {row} has no label; expected 0 or 1")
    score = pd.Series([_number(value) for value in frame["score"]], index=frame.index)
    bad = ~((score >= 0) & (score <= 1))
    if bad.any():
        where = int(np.argmax(bad))
        found = frame["score"].iloc[where]
        percent = (score.max() > 1 and score.between(0, 100).all()) or str(found).strip().endswith("%")
        raise InputError(
            f"{name}: {frame['file'].iloc[where]} has score {found}; expected a number in 0..1"
            + (", so percentages divided by 100" if percent else "")
        )
    words = (STUDY_LABEL_OF, STUDY_CLASSES) if noun == STUDY else (LABEL_OF, CLASSES)
    label = [parse_label(value, name, *words) for value in frame["label"]]
    group = frame["group"].fillna(frame["file"]) if "group" in frame else frame["file"]
    rest = frame.drop(columns=[c for c in ("file", "label", "group", "score") if c in frame])
    if "split" in rest:
        rest["split"] = [_split(value) for value in rest["split"]]
    first = pd.DataFrame(
        {
            "file": frame["file"].astype(str),
            "label": np.asarray(label, dtype=np.int64),
            "group": group.astype(str),
            "score": score,
        }
    )
    checked = pd.concat([first, rest], axis=1).reset_index(drop=True)
    checked.attrs["noun"] = noun
    return checked


def _noun(frame: pd.DataFrame, name: str | Path) -> str:
    """What a table's rows are: studies, if decisions or labels are torn or whole, or if none has the name of an image.

    A series of DICOM files is a folder, whose name says nothing: its manifest has a column slices.
    """
    for column in ("decision", "label"):
        said = {plain(str(value)) for value in frame[column].dropna()} if column in frame else set()
        studies = said & (STUDY_LABEL_OF.keys() - LABEL_OF.keys())
        images = said & (LABEL_OF.keys() - STUDY_LABEL_OF.keys())
        if studies and images:
            some = f"{min(studies)} and {min(images)}"
            raise InputError(f"{name}: column {column} has {some}; expected words of images or of studies, not both")
        if studies or images:
            return STUDY if studies else "image"
    files = [str(file).lower() for file in frame["file"]]
    if "slices" in frame:
        return "image" if any(Path(file).suffix in IMAGE_SUFFIXES for file in files) else STUDY
    return STUDY if all(stem(file) != file for file in files) else "image"


def _split(value: object) -> str:
    """A split's name as it is understood everywhere; "none" for a row that has none."""
    text = "" if pd.isna(value) else str(value).strip()
    return SPLIT_OF.get(plain(text), text) or "none"


def _number(value: object) -> float:
    """Exact to the last bit, which `to_numeric` does not promise, also with a comma; NaN for what is no number."""
    try:
        return float(value.replace(",", ".") if isinstance(value, str) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def write_predictions(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table of scores, whole or not at all; scores keep every bit. See `read_predictions` for its columns."""
    write_table(checked_predictions(frame, path), path)
