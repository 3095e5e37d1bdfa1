"""Can a score on this folder mean anything? What is broken, what is copied, what leaks, what gives the label away."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fracturelib._io.files import printable
from fracturelib._io.words import STUDY, WORDS
from fracturelib.curate.duplicates import Copies, find_copies
from fracturelib.curate.findings import Audit, CopyLookUp
from fracturelib.curate.folder import check_boxes, read_source_folder
from fracturelib.curate.keypoints import PLAIN, Look, look_at
from fracturelib.curate.shortcuts import Shortcut, find_shortcuts, number_in_name
from fracturelib.curate.study_copies import find_study_copies
from fracturelib.curate.study_looks import StudyLook, look_at_studies
from fracturelib.data.found import Found, Problem
from fracturelib.data.groups import joined
from fracturelib.data.pixels import noted

OWN = ("file", "split", "label", "group", "copy_group", "readable", *PLAIN)
LABELS_TOO = ("tear", "abnormal", "meniscus")  # of studies: the label in more words, or what follows from it


def audit_folder(folder: str | Path, *, progress: bool = False, seed: int = 0) -> Audit:
    """Look at every image of a folder, whatever its layout, and say what is wrong with it as a data set.

    What was computed of each image is kept in the cache by its content: a second run, or one after a stop, goes on.

    Raises
    ------
    InputError
        If it is no folder, or has no image.
    """
    source = read_source_folder(folder)
    looks, copies = _looked(source, progress)
    labels_too = LABELS_TOO if source.noun == STUDY else ()
    images = _table(source, looks, copies)
    said = {file: look.notes for file, look in zip(images["file"], looks, strict=True)}
    problems = [*_broken(images, looks), *check_boxes(source, list(images["width"]), list(images["height"]))]
    groups = copies.groups
    split, label = images["split"].to_numpy(), images["label"].to_numpy(dtype=float, na_value=np.nan)
    return Audit(
        folder=Path(folder),
        images=images,
        problems=tuple(sorted([*source.problems, *problems], key=lambda p: (p.kind, p.file, p.detail))),
        copies=copies,
        leaks=tuple(i for i, g in enumerate(groups) if len(set(split[g]) - {""}) > 1),
        contradictions=tuple(i for i, g in enumerate(groups) if {0.0, 1.0} <= set(label[g])),
        shared_patients=_shared(images),
        lookup=_look_up(images),
        shortcuts=_shortcuts(images.drop(columns=[*labels_too], errors="ignore"), _figures(looks), seed),
        pictures={i: looks[i].picture for group in groups for i in group},
        notes=(*source.notes, *noted(said, nouns=WORDS[source.noun].nouns)),
        errors=tuple(source.errors),
        noun=source.noun,
    )


def _looked(source: Found, progress: bool) -> tuple[Sequence[Look | StudyLook], Copies]:
    """Every file looked at, and the copies among them."""
    paths = list(source.images["path"])
    if source.noun == STUDY:
        studies = look_at_studies(paths, progress=progress)
        return studies, find_study_copies(studies, progress=progress)
    looks = look_at(paths, progress=progress)
    return looks, find_copies(looks, progress=progress)


def _figures(looks: Sequence[Look | StudyLook]) -> list[str]:
    """What the plain figures of a set's files are called."""
    return list(looks[0].names) if looks else list(PLAIN)


def _table(source: Found, looks: Sequence[Look | StudyLook], copies: Copies) -> pd.DataFrame:
    images = source.images.assign(file=source.images["file"].map(printable))
    plain = pd.DataFrame(np.array([look.plain for look in looks]), columns=_figures(looks))
    readable = [not look.reason for look in looks]
    first = images[["file", "split", "label", "group"]].assign(copy_group=copies.group, readable=readable)
    known = ["path", "name", "file", "split", "label", "group", "width", "height"]
    rest = images.drop(columns=[*known, *["slices"] * (source.noun == STUDY)], errors="ignore")
    rest = rest.rename(columns={c: f"{c} (table)" for c in rest.columns if c in (*OWN, *plain.columns)})
    return pd.concat([first, plain, rest], axis=1)


def _broken(images: pd.DataFrame, looks: Sequence[Look | StudyLook]) -> list[Problem]:
    found = []
    for file, look in zip(images["file"], looks, strict=True):
        if look.reason:
            found.append(Problem("unreadable", file, look.reason.split("\n")[0]))
        elif look.plain[look.names.index("contrast")] < 0.5:
            found.append(Problem("blank", file, f"grey value {look.plain[look.names.index('mean')]:.0f} everywhere"))
    return found


def _shared(images: pd.DataFrame) -> tuple[str, ...]:
    known = images[(images["group"] != "") & (images["split"] != "")]
    spread = known.groupby("group")["split"].nunique()
    return tuple(sorted(map(str, spread.index[spread > 1])))


def _look_up(images: pd.DataFrame) -> CopyLookUp | None:
    labelled = images[images["label"].notna()]
    test = labelled[labelled["split"] == "test"]
    seen = labelled[labelled["split"].isin(["train", "val"])]
    if test.empty or seen.empty:
        return None
    commoner = float(seen["label"].mean() >= 0.5)
    known = seen.groupby("copy_group")["label"].mean().astype(float)
    told = test["copy_group"].map(known)
    found = told.notna().to_numpy()
    predicted = np.where(found, (told.fillna(0) >= 0.5).astype(float), commoner)
    right = predicted == test["label"].to_numpy(dtype=float)
    return CopyLookUp(
        images=len(test),
        found=int(found.sum()),
        accuracy=float(right.mean()),
        guessing=float((test["label"].to_numpy(dtype=float) == commoner).mean()),
        found_accuracy=float(right[found].mean()) if found.any() else float("nan"),
    )


def _shortcuts(images: pd.DataFrame, figures: Sequence[str], seed: int) -> tuple[Shortcut, ...]:
    good = images[images["label"].notna() & images["readable"]]
    if good.empty:
        return ()
    own = [group or f"image {i}" for i, group in zip(good.index, good["group"], strict=True)]
    groups = joined(own, [str(g) for g in good["copy_group"]])
    variables: dict[str, Any] = {name: good[name] for name in figures}
    kinds = ["picture"] * len(figures)
    variables["number in the name"] = number_in_name(list(good["file"]))
    kinds.append("order")
    for column in good.columns:
        if column not in (*OWN, *figures):
            variables[column] = good[column]
            kinds.append("metadata")
    frame = pd.DataFrame(variables, index=good.index)
    return find_shortcuts(frame, kinds, good["label"].astype(int).tolist(), groups, seed=seed)
