"""What a folder holds, as a plain value: images, labels, splits, patients, outlines, and what is wrong with them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fracturelib._io.files import InputError, counted, printable
from fracturelib._io.words import STUDY, WORDS
from fracturelib.data.coco import Annotation
from fracturelib.data.labels import CLASSES, LABEL_OF, STUDY_CLASSES, STUDY_LABEL_OF

KINDS = {
    "unreadable": "cannot be read",
    "blank": "show nothing: one grey value",
    "labels_disagree": "have another label in their folder, the table or the annotations",
    "row_without_image": "are in the table, but not in the folder",
    "image_without_row": "are in the folder, but not in the table",
    "annotation_without_image": "are annotated, but not in the folder",
    "fracture_without_annotation": "are labelled fractured, and have no annotation, though others have",
    "box_outside": "have a box that leaves the image",
    "turned": "are turned by their EXIF orientation against their annotations",
    "size_differs": "have annotations for another size",
    "table": "are tables or annotations that cannot be read or used",
    "class_folder": "are class folders whose name is not known",
    "split_folder": "are folders beside train, val and test whose name is not known",
    "layout": "are not where their layout has them",
    "listed_twice": "are listed twice, or under two spellings",
    "size_in_table": "have a size in the table that is none, or another than they have",
    "outline": "have an outline that cannot be used",
    "ambiguous": "are named in a way that several images fit",
    "link": "are links that were not followed",
    "not_a_file": "could not be opened",
    "name": "have a name that cannot be written down",
}


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with one file: its kind (see `KINDS`), the file, and what exactly."""

    kind: str
    file: str
    detail: str


@dataclass
class Found:
    """What a folder holds.

    Attributes
    ----------
    kind : str
        Name of the layout.
    folder : Path
        What all names are relative to.
    images : DataFrame
        One row an image: path (Path), file (str), name (str, of a copy), split ("" if none), label (Int64, missing if
        unknown), group (the patient, "" if unknown), then metadata.
    annotations : dict
        file -> instances, in the pixels that the annotator saw.
    sizes : dict
        file -> width, height that the annotations are meant for.
    notes : list of str
        What the reader should know, a line each: disagreements, what was taken for what.
    problems : list of Problem
    errors : list of str
        Why the folder cannot be trained on or imported as it is, a line each.
    missing : list of str
        Images that a table lists and that are not there.
    guessed : bool
        Whether patients were guessed from names.
    others : list of str
        Files that are neither images nor were of use.
    noun : str
        What a row of `images` is: an image, or a study, which is a stack of slices.
    without_val : bool
        The source has splits, but no validation images by its own plan: an import takes them from train, by patient.
    """

    kind: str
    folder: Path
    images: pd.DataFrame
    annotations: dict[str, list[Annotation]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    guessed: bool = False
    others: list[str] = field(default_factory=list)
    noun: str = "image"
    without_val: bool = False

    @property
    def classes(self) -> tuple[str, str]:
        """What the labels 0 and 1 are called."""
        return STUDY_CLASSES if self.noun == STUDY else CLASSES

    @property
    def words(self) -> Mapping[str, int]:
        """Which label a class folder's name means."""
        return STUDY_LABEL_OF if self.noun == STUDY else LABEL_OF

    @property
    def is_split(self) -> bool:
        """Whether any image is in a split."""
        return bool((self.images["split"] != "").any())

    @property
    def taken(self) -> pd.DataFrame:
        """The images that count: those with a label and, where there are splits, in one of them."""
        counts = self.images["label"].notna() & ((self.images["split"] != "") | (not self.is_split))
        return self.images[counts].reset_index(drop=True)

    def require(self) -> None:
        """Raise InputError with the first error, if any."""
        if self.errors:
            more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
            raise InputError(self.errors[0] + more)

    def say(self, kind: str, files: Sequence[str], detail: str, note: str = "") -> None:
        """Keep a problem of each file, and one line about all of them, whose `note` is put as it is of images."""
        self.problems += [Problem(kind, printable(file), detail) for file in files]
        if note and len(files):
            # The folders of several patients may hold studies of one name, such as 1.
            shown = [file if self.noun == STUDY else Path(file).name for file in files[:5]]
            names, said = ", ".join(map(printable, shown)), WORDS[self.noun].said(as_many(len(files), note))
            self.notes.append(f"{said}: {names}{' ...' if len(files) > 5 else ''}")

    def refuse(self, kind: str, file: str, detail: str, *, where: str | Path | None = None) -> None:
        """Keep a problem that stands in the way of training, and its line; `where` is what the line begins with."""
        self.problems.append(Problem(kind, printable(file), detail))
        self.errors.append(f"{printable(self.folder / file if where is None else where)}: {detail}")

    def not_taken(self, *, unlabelled: bool = True) -> str:
        """One line that counts what was not taken; empty if all was. Scoring takes images without a label, too."""
        parts = []
        if self.others:
            kinds = Counter(Path(f).suffix.lower() or "without suffix" for f in self.others)
            named = ", ".join(f"{n} {printable(kind)}" for kind, n in kinds.most_common(4))
            parts.append(f"{counted(len(self.others), 'file')} ({named}{', ...' if len(kinds) > 4 else ''})")
        if unlabelled:
            bare = self.images.loc[self.images["label"].isna(), "file"]
            away = self.images["label"].notna() & (self.images["split"] == "") & self.is_split
            for images, why in ((bare, "without a label"), (self.images.loc[away, "file"], "in no split")):
                if len(images):
                    parts.append(f"{WORDS[self.noun].count(len(images))} {why} ({_some(images)})")
        for kind, what in (
            ("link", "links that lead nowhere, back or to what is there already"),
            ("not_a_file", "names that cannot be opened"),
            ("name", "names not in UTF-8"),
        ):
            files = [p.file for p in self.problems if p.kind == kind]
            if files:
                parts.append(f"{as_many(len(files), what)} ({_some(files)})")
        return f"not taken: {', '.join(parts)}" if parts else ""


_NOUNS = re.compile(r"\b(image|row|name|annotation|label|link)s\b(?!\.)")
_VERBS = {"are": "is", "were": "was", "have": "has", "their": "its", "fit": "fits", "count": "counts", "lead": "leads"}


def as_many(number: int, many: str) -> str:
    """A number and what is said of so many, in the singular where it is one."""
    if number == 1:
        many = _NOUNS.sub(r"\1", many, count=1)
        many = re.sub(rf"\b({'|'.join(_VERBS)})\b(?!\.)", lambda m: _VERBS[m[1]], many)
    return f"{number} {many}"


def _some(files: Sequence[str] | pd.Series) -> str:
    return f"{printable(next(iter(files)))}{' ...' if len(files) > 1 else ''}"
