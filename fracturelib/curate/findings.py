"""What an audit found in a folder, and what it says of it in words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import counted
from fracturelib._io.words import WORDS, Words
from fracturelib.curate.duplicates import Copies
from fracturelib.curate.shortcuts import Shortcut
from fracturelib.data.found import KINDS, Problem
from fracturelib.data.labels import SPLITS

BALANCED_BY = ("region", "view")
NAMED = 5  # files that the text names of each kind
ONE = {  # what `KINDS` says, of one file, where more changes than its first word
    "blank": "shows nothing: one grey value",
    "labels_disagree": "has another label in its folder, the table or the annotations",
    "fracture_without_annotation": "is labelled fractured, and has no annotation, though others have",
    "turned": "is turned by its EXIF orientation against its annotations",
    "table": "is a table or annotations that cannot be read or used",
    "class_folder": "is a class folder whose name is not known",
    "split_folder": "is a folder beside train, val and test whose name is not known",
    "layout": "is not where its layout has it",
    "size_in_table": "has a size in the table that is none, or another than it has",
    "link": "is a link that was not followed",
}
PLAINLY = {  # names that need a word more, for people; JSON has the names alone
    "aspect": "aspect (width / height)",
    "border": "border (grey value along the edge)",
    "bytes": "bytes (size of the file)",
    "contrast": "contrast (spread of the grey values)",
    "kv": "kv (setting of the X-ray tube)",
    "mean": "mean (of the grey values)",
}


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
        figures of `keypoints.PLAIN`, then metadata.
    problems : tuple of Problem
    copies : Copies
        By row of `images`.
    leaks, contradictions : tuple of int
        Groups of copies (places in `copies.groups`) in more than one split, and with both labels.
    shared_patients : tuple of str
        Patients (the manifest's group) with images in more than one split.
    lookup : CopyLookUp or None
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
        return _text(self)

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
            return f"{files} a look; there are no copies, and {self._shortcuts_found}."
        if self.images["label"].isna().all():
            return f"No copies and nothing broken, but no label to judge by: {words.count(images)}."
        return f"Clean: {words.count(images)}, no copies, nothing broken, {self._shortcuts_found}."

    @property
    def _shortcuts_found(self) -> str:
        return "no shortcut found" if self.shortcuts else "too few of both classes to look for shortcuts"

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
        if len(known := set(self.images["label"].dropna())) == 1:
            (only,) = known
            said.append(f"All labels say {self.words.classes[only]}: nothing can be learnt without the other class.")
        return said or ["Nothing needs doing. Split by patient if patients are known."]


def copy_groups(audit: Audit) -> list[dict[str, Any]]:
    """The groups of copies as plain values, as the head of `audit_report` describes them."""
    files, splits = list(audit.images["file"]), list(audit.images["split"])
    labels = [None if pd.isna(v) else int(v) for v in audit.images["label"]]
    links: dict[int, list[dict[str, Any]]] = {}
    for copy in audit.copies.found:
        link = {"first": files[copy.first], "second": files[copy.second], "how": copy.how}
        links.setdefault(int(audit.copies.group[copy.first]), []).append({**link, "likeness": round(copy.likeness, 4)})
    return [
        {
            "files": [files[i] for i in group],
            "splits": [splits[i] for i in group],
            "labels": [labels[i] for i in group],
            "leak": number in audit.leaks,
            "contradiction": number in audit.contradictions,
            "links": links[int(audit.copies.group[group[0]])],
        }
        for number, group in enumerate(audit.copies.groups)
    ]


def _text(audit: Audit) -> str:
    """Some lines for the terminal, the verdict first."""
    words = audit.words
    lines = [audit.verdict, ""]
    for row in audit.summary().to_dict("records"):
        lines.append(
            f"  {row['split']}: {words.count(row['images'])}, {counted(row['radiographs'], words.scan)}; "
            f"{row['fractured']} {words.classes[1]}, {row['not_fractured']} not"
            + (f", {row['unlabelled']} without a label" if row["unlabelled"] else "")
        )
    lines += [f"  note: {note}" for note in audit.notes]
    lines += copy_lines(audit)
    for kind, found in by_kind(audit.problems).items():
        lines.append(f"{problem_line(kind, found)}:")
        lines += [f"  {p.file}: {p.detail}" for p in found[:NAMED]] + (["  ..."] if len(found) > NAMED else [])
    if audit.shortcuts:
        lines.append(f"Guessing the label without looking for a {words.sought}, cross-validated AUC (0.5 is chance):")
        told = [s for s in audit.shortcuts if not s.describes]
        lines += [f"  {s.auc}  {PLAINLY.get(s.name, s.name)}{'  <- suspect' if s.suspect else ''}" for s in told[:8]]
    lines += ["What to do:"] + [f"  {line}" for line in audit.advice()]
    return "\n".join(lines)


def by_kind(problems: Sequence[Problem]) -> dict[str, list[Problem]]:
    """Problems of each kind; a file may have several of one."""
    return {kind: [p for p in problems if p.kind == kind] for kind in dict.fromkeys(p.kind for p in problems)}


def problem_line(kind: str, found: Sequence[Problem]) -> str:
    """How many files have problems of one kind, and which."""
    count, many = len({p.file for p in found}), KINDS[kind]
    one = ONE.get(kind) or many.replace("are ", "is ", 1).replace("have ", "has ", 1)
    return f"{counted(count, 'file')} {one if count == 1 else many}"


def copy_lines(audit: Audit) -> list[str]:
    """What is said of copies and of patients in more than one split, line by line."""
    lines, words = [], audit.words
    groups = copy_groups(audit)
    if groups:
        lines.append(
            f"{counted(len(groups), f'{words.scan} is', f'{words.scans} are')} there more than once "
            f"({counted(audit.extra, 'copy', 'copies')}); {len(audit.leaks)} of them in more than one split, "
            f"{len(audit.contradictions)} with both labels:"
        )
        urgent = sorted(groups, key=lambda g: (not g["contradiction"], not g["leak"], -len(g["files"])))
        for group in urgent[:NAMED]:
            how = Counter(link["how"] for link in group["links"]).most_common(1)[0][0]
            lines.append(f"  {', '.join(group['files'][:4])}{' ...' if len(group['files']) > 4 else ''} ({how})")
    if audit.shared_patients:
        lines.append(
            f"{counted(len(audit.shared_patients), 'patient is', 'patients are')} in more than one split: "
            f"{', '.join(audit.shared_patients[:5])}"
        )
    if (look := audit.lookup) and look.found:
        lines.append(
            f"Copying the labels of copies, and giving the others the commoner answer, is right about "
            f"{100 * look.accuracy:.1f} % of {words.count(look.images, 'test ')}; the commoner answer alone, about "
            f"{100 * look.guessing:.1f} %."
        )
    return lines
