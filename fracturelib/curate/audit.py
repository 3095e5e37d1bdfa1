"""Can a score on this folder mean anything? What is broken, what is copied, what leaks, what gives the label away."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib.curate.duplicates import Copies, find_copies
from fracturelib.curate.folder import check_boxes, read_source_folder
from fracturelib.curate.keypoints import PLAIN, Look, look_at
from fracturelib.curate.shortcuts import Shortcut, find_shortcuts, number_in_name
from fracturelib.data.found import Problem
from fracturelib.data.groups import joined
from fracturelib.data.labels import SPLITS
from fracturelib.data.pixels import noted

BALANCED_BY = ("region", "view")
OWN = ("file", "split", "label", "group", "copy_group", "readable", *PLAIN)


@dataclass(frozen=True)
class LookUp:
    """What a mere look-up of copies would get on the test films.

    Attributes
    ----------
    films, found : int
        Test films, and those of which train or val holds a copy.
    accuracy, guessing : float
        Share right if a film found gets its copy's label, and any other the commoner class; and if all get the latter.
    found_accuracy : float
        Share right among those found; NaN if none is.
    """

    films: int
    found: int
    accuracy: float
    guessing: float
    found_accuracy: float


@dataclass(frozen=True)
class Audit:
    """What was found in a folder.

    Attributes
    ----------
    folder : Path
    films : DataFrame
        One row an image file: file, split ("" if none), label (Int64), group, copy_group (int64), readable (bool), the
        figures of `audit_films.PLAIN`, then metadata.
    problems : tuple of Problem
    copies : Copies
        By row of `films`.
    leaks, contradictions : tuple of int
        Groups of copies (places in `copies.groups`) in more than one split, and with both labels.
    shared_patients : tuple of str
        Patients (the manifest's group) with films in more than one split.
    lookup : LookUp or None
        None without train and test labels.
    shortcuts : tuple of Shortcut
        Worst first; empty without enough films of both classes.
    pictures : mapping
        row of `films` -> (h, w) uint8, of films in groups of copies.
    notes, errors : tuple of str
        What was taken for what, what was not taken, and what is to be known of how images were read; and why the folder
        cannot be trained on as it is.
    """

    folder: Path
    films: pd.DataFrame
    problems: tuple[Problem, ...]
    copies: Copies
    leaks: tuple[int, ...]
    contradictions: tuple[int, ...]
    shared_patients: tuple[str, ...]
    lookup: LookUp | None
    shortcuts: tuple[Shortcut, ...]
    pictures: Mapping[int, NDArray[np.uint8]]
    notes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()

    @property
    def extra(self) -> int:
        """Films that are copies of another: how many fewer radiographs than films there are."""
        return sum(len(group) - 1 for group in self.copies.groups)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        suspects = any(s.suspect for s in self.shortcuts)
        return not (self.errors or self.problems or self.copies.groups or self.shared_patients or suspects)

    @property
    def verdict(self) -> str:
        """One line: the worst that was found."""
        films = len(self.films)
        if self.errors:
            return f"This set cannot be used as it is: {self.errors[0]}"
        if self.lookup and self.lookup.found:
            look = self.lookup
            return (
                f"A score on this test set means little: {look.found} of {look.films} test films are copies of "
                f"training films, and looking those up without any network gets {100 * look.accuracy:.0f} % right."
            )
        if self.leaks:
            return f"The splits leak: {len(self.leaks)} radiographs are in more than one of them."
        if self.shared_patients:
            return f"The splits leak: {len(self.shared_patients)} patients have films in more than one of them."
        if self.contradictions:
            return f"The labels contradict each other: {len(self.contradictions)} radiographs have both."
        if self.copies.groups:
            return f"{self.extra} of {films} films are copies of others: split by radiograph, not by file."
        if suspects := [s for s in self.shortcuts if s.suspect]:
            worst = suspects[0]
            return (
                f"The label can be guessed without looking for a fracture: AUC {worst.auc.value:.2f} from {worst.name}."
            )
        if self.problems:
            return f"{len({p.file for p in self.problems})} files need a look; there are no copies and no shortcuts."
        return f"Clean: {films} films, no copies, nothing broken, no shortcut found."

    def summary(self) -> pd.DataFrame:
        """By split ("all" if there are none): films, radiographs, fractured, not_fractured, unlabelled, unreadable."""
        names = [s for s in (*SPLITS, "") if (self.films["split"] == s).any()]
        rows = []
        for name in names:
            part = self.films[self.films["split"] == name]
            rows.append(
                {
                    "split": name or ("all" if len(names) == 1 else "none"),
                    "films": len(part),
                    "radiographs": part["copy_group"].nunique(),
                    "fractured": int((part["label"] == 1).sum()),
                    "not_fractured": int((part["label"] == 0).sum()),
                    "unlabelled": int(part["label"].isna().sum()),
                    "unreadable": int((~part["readable"]).sum()),
                }
            )
        return pd.DataFrame(rows)

    def balance(self) -> pd.DataFrame:
        """By split and by region and view where they are known: column, value, films, fractured, share."""
        rows = []
        for column in ("split", *(c for c in BALANCED_BY if c in self.films)):
            known = self.films[self.films["label"].notna() & self.films[column].notna()]
            for value, part in known.groupby(known[column].astype(str)):
                fractured = int((part["label"] == 1).sum())
                rows.append(
                    {
                        "column": column,
                        "value": str(value) or "none",
                        "films": len(part),
                        "fractured": fractured,
                        "share": fractured / len(part),
                    }
                )
        return pd.DataFrame(rows, columns=["column", "value", "films", "fractured", "share"])

    def advice(self) -> list[str]:
        """What to do about it, most urgent first."""
        said = []
        if self.leaks or self.shared_patients:
            said.append(
                "Do not report a score on these splits. Import the films without their splits: `fracture data import` "
                "keeps copies and patients together."
            )
        if self.contradictions:
            said.append("Ask a reader which label holds, or leave both out: --drop-contradictions.")
        if self.copies.groups:
            said.append("Keep one film of each radiograph: `fracture data import DIR OUT --drop-copies`.")
        if any(p.kind in ("unreadable", "blank") for p in self.problems):
            said.append("Fetch broken files again, or leave them out: --drop-broken.")
        if self.errors or any(p.kind not in ("unreadable", "blank") for p in self.problems):
            said.append("Correct names, table and the annotations where they disagree with the films.")
        if any(s.suspect for s in self.shortcuts):
            said.append(
                "Compare every network with what the shortcuts reach, and report its AUC within their strata: a "
                "network can learn them, too."
            )
        return said or ["Nothing needs doing. Split by patient if patients are known."]


def audit_folder(folder: str | Path, *, progress: bool = False, seed: int = 0) -> Audit:
    """Look at every film of a folder, whatever its layout, and say what is wrong with it as a data set.

    What was computed of each film is kept in the cache by its content: a second run, or one after a stop, goes on.

    Raises
    ------
    InputError
        If it is no folder, or has no image.
    """
    source = read_source_folder(folder)
    looks = look_at(source.paths, progress=progress)
    copies = find_copies(looks, progress=progress)
    films = _table(source.films, looks, copies)
    problems = [*_broken(films, looks), *check_boxes(source, list(films["width"]), list(films["height"]))]
    groups = copies.groups
    split, label = films["split"].to_numpy(), films["label"].to_numpy(dtype=float, na_value=np.nan)
    return Audit(
        folder=Path(folder),
        films=films,
        problems=tuple(sorted([*source.problems, *problems], key=lambda p: (p.kind, p.file, p.detail))),
        copies=copies,
        leaks=tuple(i for i, g in enumerate(groups) if len(set(split[g]) - {""}) > 1),
        contradictions=tuple(i for i, g in enumerate(groups) if {0.0, 1.0} <= set(label[g])),
        shared_patients=_shared(films),
        lookup=_look_up(films),
        shortcuts=_shortcuts(films, seed),
        pictures={i: looks[i].small for group in groups for i in group},
        notes=(*source.notes, *noted({file: look.notes for file, look in zip(films["file"], looks, strict=True)})),
        errors=tuple(source.errors),
    )


def _table(films: pd.DataFrame, looks: list[Look], copies: Copies) -> pd.DataFrame:
    plain = pd.DataFrame(np.array([look.plain for look in looks]), columns=list(PLAIN))
    readable = [not look.reason for look in looks]
    first = films[["file", "split", "label", "group"]].assign(copy_group=copies.group, readable=readable)
    rest = films.drop(columns=["file", "split", "label", "group"])
    rest = rest.rename(columns={c: f"{c} (table)" for c in rest.columns if c in OWN})
    return pd.concat([first, plain, rest], axis=1)


def _broken(films: pd.DataFrame, looks: list[Look]) -> list[Problem]:
    found = []
    for file, look in zip(films["file"], looks, strict=True):
        if look.reason:
            found.append(Problem("unreadable", file, look.reason.split("\n")[0]))
        elif look.plain[PLAIN.index("contrast")] < 0.5:
            found.append(Problem("blank", file, f"grey value {look.plain[PLAIN.index('mean')]:.0f} everywhere"))
    return found


def _shared(films: pd.DataFrame) -> tuple[str, ...]:
    known = films[(films["group"] != "") & (films["split"] != "")]
    spread = known.groupby("group")["split"].nunique()
    return tuple(sorted(map(str, spread.index[spread > 1])))


def _look_up(films: pd.DataFrame) -> LookUp | None:
    labelled = films[films["label"].notna()]
    test = labelled[labelled["split"] == "test"]
    seen = labelled[labelled["split"].isin(["train", "val"])]
    if test.empty or seen.empty:
        return None
    commoner = float(seen["label"].mean() >= 0.5)
    known = seen.groupby("copy_group")["label"].mean().astype(float)
    told = test["copy_group"].map(known)
    found = told.notna().to_numpy()
    called = np.where(found, (told.fillna(0) >= 0.5).astype(float), commoner)
    right = called == test["label"].to_numpy(dtype=float)
    return LookUp(
        films=len(test),
        found=int(found.sum()),
        accuracy=float(right.mean()),
        guessing=float((test["label"].to_numpy(dtype=float) == commoner).mean()),
        found_accuracy=float(right[found].mean()) if found.any() else float("nan"),
    )


def _shortcuts(films: pd.DataFrame, seed: int) -> tuple[Shortcut, ...]:
    good = films[films["label"].notna() & films["readable"]]
    if good.empty:
        return ()
    own = [group or f"film {i}" for i, group in zip(good.index, good["group"], strict=True)]
    groups = joined(own, [str(g) for g in good["copy_group"]])
    variables: dict[str, Any] = {name: good[name] for name in PLAIN}
    kinds = ["picture"] * len(PLAIN)
    variables["number in the name"] = number_in_name(list(good["file"]))
    kinds.append("order")
    for column in good.columns:
        if column not in OWN:
            variables[column] = good[column]
            kinds.append("metadata")
    frame = pd.DataFrame(variables, index=good.index)
    return find_shortcuts(frame, kinds, good["label"].astype(int).tolist(), groups, seed=seed)
