"""Can a score on this folder mean anything? What is broken, what is copied, what leaks, what gives the label away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import counted
from fracturelib._io.words import STUDY, WORDS, Words
from fracturelib.curate.audit_report import to_text
from fracturelib.curate.duplicates import Copies, find_copies
from fracturelib.curate.folder import Source, check_boxes, read_source_folder
from fracturelib.curate.keypoints import PLAIN, Look, look_at
from fracturelib.curate.shortcuts import Shortcut, find_shortcuts, number_in_name
from fracturelib.curate.study_copies import find_study_copies
from fracturelib.curate.study_looks import StudyLook, look_at_studies
from fracturelib.data.found import Problem
from fracturelib.data.groups import joined
from fracturelib.data.labels import SPLITS
from fracturelib.data.pixels import noted

BALANCED_BY = ("region", "view")
OWN = ("file", "split", "label", "group", "copy_group", "readable", *PLAIN)
LABELS_TOO = ("tear", "abnormal", "meniscus")  # of studies: the label in more words, or what follows from it


@dataclass(frozen=True)
class CopyLookUp:
    """What a mere look-up of copies would get on the test images.

    Attributes
    ----------
    images, found : int
        Test images, and those of which train or val holds a copy.
    accuracy, guessing : float
        Share right if an image found gets its copy's label, and any other the commoner class; and if all get the
        latter.
    found_accuracy : float
        Share right among those found; NaN if none is.
    """

    images: int
    found: int
    accuracy: float
    guessing: float
    found_accuracy: float


@dataclass(frozen=True)
class Audit:
    """What was found in a folder; printed, it says all of it.

    Attributes
    ----------
    folder : Path
    images : DataFrame
        One row an image file: file, split ("" if none), label (Int64), group, copy_group (int64), readable (bool), the
        figures of `audit_images.PLAIN`, then metadata.
    problems : tuple of Problem
    copies : Copies
        By row of `images`.
    leaks, contradictions : tuple of int
        Groups of copies (places in `copies.groups`) in more than one split, and with both labels.
    shared_patients : tuple of str
        Patients (the manifest's group) with images in more than one split.
    lookup : LookUp or None
        None without train and test labels.
    shortcuts : tuple of Shortcut
        Worst first; empty without enough images of both classes.
    pictures : mapping
        row of `images` -> (h, w) uint8, of images in groups of copies.
    notes, errors : tuple of str
        What was taken for what, what was not taken, and what is to be known of how images were read; and why the folder
        cannot be trained on as it is.
    noun : str
        What a row of `images` is: an image, or a study.
    """

    folder: Path
    images: pd.DataFrame
    problems: tuple[Problem, ...]
    copies: Copies
    leaks: tuple[int, ...]
    contradictions: tuple[int, ...]
    shared_patients: tuple[str, ...]
    lookup: CopyLookUp | None
    shortcuts: tuple[Shortcut, ...]
    pictures: Mapping[int, NDArray[np.uint8]]
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    noun: str = "image"

    def __str__(self) -> str:
        """All that was found, in some lines: the verdict first, what to do last."""
        return to_text(self)

    @property
    def words(self) -> Words:
        """What the files of this set are called."""
        return WORDS[self.noun]

    @property
    def extra(self) -> int:
        """Images that are copies of another: how many fewer radiographs than images there are."""
        return sum(len(group) - 1 for group in self.copies.groups)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        suspects = any(s.suspect for s in self.shortcuts)
        return not (self.errors or self.problems or self.copies.groups or self.shared_patients or suspects)

    @property
    def verdict(self) -> str:
        """One line: the worst that was found."""
        images, words = len(self.images), self.words
        if self.errors:
            return f"This set cannot be used as it is: {self.errors[0]}"
        if self.lookup and self.lookup.found:
            look = self.lookup
            copies = "is a copy" if look.found == 1 else "are copies"
            return (
                f"A score on this test set means little: {look.found} of {words.count(look.images, 'test ')} {copies} "
                f"of training {words.many}. Copying their labels, and giving the others the commoner answer, is right "
                f"about {100 * look.accuracy:.0f} % of the test {words.many} without any network; the commoner answer "
                f"alone, about {100 * look.guessing:.0f} %."
            )
        if self.leaks:
            many = counted(len(self.leaks), f"{words.scan} is", f"{words.scans} are")
            return f"The splits leak: {many} in more than one of them."
        if self.shared_patients:
            many = counted(len(self.shared_patients), "patient has", "patients have")
            return f"The splits leak: {many} {words.many} in more than one of them."
        if self.contradictions:
            many = counted(len(self.contradictions), f"{words.scan} has", f"{words.scans} have")
            return f"The labels contradict each other: {many} both."
        if self.copies.groups:
            copies = "is a copy of another" if self.extra == 1 else "are copies of others"
            return f"{self.extra} of {words.count(images)} {copies}: split by {words.scan}, not by file."
        if suspects := [s for s in self.shortcuts if s.suspect]:
            worst = suspects[0]
            auc = f"AUC {worst.auc.value:.2f} from {worst.name}"
            return f"The label can be guessed without looking for a {words.sought}: {auc}."
        if self.problems:
            files = counted(len({p.file for p in self.problems}), "file needs", "files need")
            return f"{files} a look; there are no copies and no shortcuts."
        if self.images["label"].isna().all():
            return f"No copies and nothing broken, but no label to judge by: {words.count(images)}."
        return f"Clean: {words.count(images)}, no copies, nothing broken, no shortcut found."

    def summary(self) -> pd.DataFrame:
        """By split ("all" if there are none): images, radiographs, fractured, not_fractured, unlabelled, unreadable."""
        names = [s for s in (*SPLITS, "") if (self.images["split"] == s).any()]
        rows = []
        for name in names:
            part = self.images[self.images["split"] == name]
            rows.append(
                {
                    "split": name or ("all" if len(names) == 1 else "none"),
                    "images": len(part),
                    "radiographs": part["copy_group"].nunique(),
                    "fractured": int((part["label"] == 1).sum()),
                    "not_fractured": int((part["label"] == 0).sum()),
                    "unlabelled": int(part["label"].isna().sum()),
                    "unreadable": int((~part["readable"]).sum()),
                }
            )
        return pd.DataFrame(rows)

    def balance(self) -> pd.DataFrame:
        """By split and by region and view where they are known: column, value, images, fractured, proportion."""
        rows = []
        for column in ("split", *(c for c in BALANCED_BY if c in self.images)):
            known = self.images[self.images["label"].notna() & self.images[column].notna()]
            for value, part in known.groupby(known[column].astype(str)):
                fractured = int((part["label"] == 1).sum())
                rows.append(
                    {
                        "column": column,
                        "value": str(value) or "none",
                        "images": len(part),
                        "fractured": fractured,
                        "proportion": fractured / len(part),
                    }
                )
        return pd.DataFrame(rows, columns=["column", "value", "images", "fractured", "proportion"])

    def advice(self) -> list[str]:
        """What to do about it, most urgent first."""
        said = []
        if self.leaks or self.shared_patients:
            said.append(
                f"Do not report a score on these splits. Import the {self.words.many} without their splits: `fracture "
                "data import` keeps copies and patients together."
            )
        if self.contradictions:
            said.append("Ask a reader which label holds, or leave both out: --drop-contradictions.")
        if self.copies.groups:
            words = self.words
            said.append(f"Keep one {words.one} of each {words.scan}: `fracture data import DIR OUT --drop-copies`.")
        if any(p.kind in ("unreadable", "blank") for p in self.problems):
            said.append("Fetch broken files again, or leave them out: --drop-broken.")
        if self.errors or any(p.kind not in ("unreadable", "blank") for p in self.problems):
            said.append(f"Correct names, table and the annotations where they disagree with the {self.words.many}.")
        if any(s.suspect for s in self.shortcuts):
            said.append(
                "Compare every network with what the shortcuts reach, and report its AUC within their strata: a "
                "network can learn them, too."
            )
        return said or ["Nothing needs doing. Split by patient if patients are known."]


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
    said = {file: look.notes for file, look in zip(source.images["file"], looks, strict=True)}
    labels_too = LABELS_TOO if source.noun == STUDY else ()
    images = _table(source.images, looks, copies)
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


def _looked(source: Source, progress: bool) -> tuple[Sequence[Look | StudyLook], Copies]:
    """Every file looked at, and the copies among them."""
    if source.noun == STUDY:
        studies = look_at_studies(source.paths, progress=progress)
        return studies, find_study_copies(studies, progress=progress)
    looks = look_at(source.paths, progress=progress)
    return looks, find_copies(looks, progress=progress)


def _figures(looks: Sequence[Look | StudyLook]) -> list[str]:
    """What the plain figures of a set's files are called."""
    return list(looks[0].names) if looks else list(PLAIN)


def _table(images: pd.DataFrame, looks: Sequence[Look | StudyLook], copies: Copies) -> pd.DataFrame:
    plain = pd.DataFrame(np.array([look.plain for look in looks]), columns=_figures(looks))
    readable = [not look.reason for look in looks]
    first = images[["file", "split", "label", "group"]].assign(copy_group=copies.group, readable=readable)
    rest = images.drop(columns=["file", "split", "label", "group"])
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
