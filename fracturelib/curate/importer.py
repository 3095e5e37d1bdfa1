"""From any layout that is known to the one layout, split by patient."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from fracturelib._io.filenames import distinct_names, safe_name
from fracturelib._io.files import InputError, atomic_path, counted, printable, require_place, temporary_folder
from fracturelib._io.tables import write_table
from fracturelib._io.threads import in_threads
from fracturelib._io.words import STUDY, WORDS, Words
from fracturelib.curate.archive import unzip
from fracturelib.curate.cleaning import LEFT_OUT_FILE, Drop, LeftOut, repaired, with_copies
from fracturelib.curate.split_table import SplitTable, read_split_table
from fracturelib.curate.study_import import copy_mask, readable_studies, study_bytes, with_val, write_study
from fracturelib.data.annotations import ANNOTATIONS
from fracturelib.data.coco import Annotation, turn, write_coco
from fracturelib.data.decode import TURNED, decode, orientation
from fracturelib.data.found import Found
from fracturelib.data.groups import in_one_split, joined, split_by_group
from fracturelib.data.labels import SPLITS
from fracturelib.data.layouts import read_folder, unknown_layout
from fracturelib.data.manifest import MANIFEST
from fracturelib.data.pixels import noted
from fracturelib.data.volumes import stem

__all__ = ["ImportReport", "import_dataset", "joined", "split_by_group", "turn", "unzip", "write_coco"]
IMPORT_FILE = "import.json"
WORKING = (  # columns for the import only
    "path", "name", "key", "import_copy", "import_contrast", "import_bytes", "import_group", "import_decided",
)  # fmt: skip

FIRST = {  # columns of the manifest
    "image": ("file", "split", "label", "group", "width", "height"),
    STUDY: ("file", "split", "label", "group", "slices", "height", "width", "slice_mm", "pixel_mm", "laterality"),
}
OURS = WORKING[2:]  # of these, a table may have columns of its own


@dataclass(frozen=True)
class ImportReport:
    """What an import did: folder, counts, what was left out (file, reason), and notes."""

    folder: Path
    kind: str
    images: int
    groups: int
    counts: dict[str, dict[str, int]]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    changed: bool
    noun: str = "image"

    @property
    def summary(self) -> str:
        """Some lines for the terminal."""
        said = WORDS[self.noun].count
        head = f"{self.folder}: {said(self.images)} of {counted(self.groups, 'group')} from {self.kind}"
        lines = [head if self.changed else f"{head}; it was there already, nothing was changed"]
        for split, count in self.counts.items():
            lines.append(f"  {split}: " + ", ".join(f"{n} {name}" for name, n in count.items()))
        lines += [f"  note: {printable(note)}" for note in self.notes]
        if self.left_out:
            lines.append(f"  left out: {said(len(self.left_out))} (all in {LEFT_OUT_FILE})")
            lines += [f"    {printable(file)}: {printable(reason)}" for file, reason in self.left_out[:5]]
        return "\n".join(lines)


def import_dataset(
    source: str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    group_pattern: str | None = None,
    splits: Path | None = None,
    listed_only: bool = False,
    drop: Drop = Drop(),  # noqa: B008, it cannot change
    progress: bool = True,
) -> ImportReport:
    """Copy a data set into the one layout, bytes unchanged, with a manifest, annotations and a split by group.

    Copies of one radiograph share a group, so that they are never in two splits. A study becomes one array.

    Parameters
    ----------
    source : str or Path
        A folder or zip: FracAtlas, MURA, GRAZPEDWRI-DX, MRNet or KneeMRI as published, or class folders of images or
        studies (.npy, NIfTI, DICOM series), with splits or without.
    out : str or Path
        The folder to make. It appears only when whole. If this very import made it before, nothing changes.
    seed : int
        Of the split, where the source has none.
    group_pattern : str, optional
        A regular expression; its first group, found in an image's path, is the patient.
    splits : Path, optional
        A table with the columns name (of an image's file) and split, such as the one beside a checkpoint: the split
        that its network was trained on. Images that it does not name are test images, unless their group says
        otherwise. If it names some as "left out", it decides, so that an import is the same on every machine: the
        others that it names stay whatever `drop` says, and are in the groups of its column group, if any.
    listed_only : bool
        Leave out also the images that the table does not name: the very images that a checkpoint was judged on.
    drop : Drop
        What to leave out besides images that cannot be read; all that is left out is listed in `left_out.csv`.
    progress : bool
        Show a bar.

    Raises
    ------
    InputError
        If the source has no known layout or no readable image, `out` holds something else, or `listed_only` is given
        without a table.
    """
    source, out = Path(source), Path(out)
    _require_source(source, splits, listed_only)
    _require_out(source, out)
    with _opened(source, out) as folder:
        found = _read(folder, group_pattern)
        table = None if splits is None else read_split_table(splits, listed_only=listed_only)
        found.images = found.images if table is None else table.applied(found.images)
        options = f"{seed} {group_pattern} {drop}" + ("" if table is None else table.signature)
        signature = _signature(found, options=options)
        if (earlier := _earlier(out, signature, WORDS[found.noun])) is not None:
            return earlier
        chosen = _chosen(source, found, table, drop, progress=progress)
        return _write(found, _with_splits(chosen, found, seed), out, signature, progress=progress)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The images that are taken over, those that are not, and what was noticed on the way."""

    images: pd.DataFrame
    left_out: list[LeftOut]
    notes: list[str]


def _require_source(source: Path, splits: Path | None, listed_only: bool) -> None:
    if listed_only and splits is None:
        raise InputError("listed_only is given without splits; expected the table that names the images")
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; expected a data set")


def _require_out(source: Path, out: Path) -> None:
    """Raise InputError if the folder to make would be a part of the source, or cannot be where it is to be."""
    if source.is_dir() and source.resolve() in out.resolve().parents:
        raise InputError(f"{out}: is inside {source}, which is to be imported; expected a folder outside it")
    if not os.path.lexists(out):
        require_place(out)


def _chosen(source: Path, found: Found, table: SplitTable | None, drop: Drop, *, progress: bool) -> _Chosen:
    """What is left of what was found: what can be read, what a table does not leave out, and what `drop` leaves."""
    many = WORDS[found.noun].many
    if found.noun == STUDY:
        images, unreadable, notes = readable_studies(found.images, progress=progress)
    else:
        images, unreadable, notes = _decodable(found.images, progress)
    if images.empty:
        raise InputError(
            f"{source}: none of {len(unreadable)} {many} can be read ({unreadable[0].file}: {unreadable[0].reason})"
        )
    decides = table is not None and table.decides
    images, listed = table.taken(images) if table is not None and decides else (images, [])
    stay = images["import_decided"] if decides else pd.Series(False, index=images.index)
    if decides and stay.all():
        images = images.assign(import_copy=range(len(images)))  # the table leaves nothing for copies to decide
    elif "import_copy" not in images:
        images = with_copies(images, progress=progress)
    groups = joined(list(images["group"].astype(str)), list(images["import_copy"].astype(str)))
    images["group"] = _hosted(groups, list(images["import_group"])) if decides else groups
    images, dropped = repaired(images, found.annotations, drop, stay=stay)
    if images.empty:
        gone = dropped or listed
        raise InputError(f"{source}: none of {len(gone)} {many} is left ({gone[0].file}: {gone[0].reason})")
    return _Chosen(images, [*unreadable, *listed, *dropped], notes)


@contextmanager
def _opened(source: Path, out: Path) -> Iterator[Path]:
    """The source as a folder; a zip is unpacked beside `out` and removed afterwards."""
    if source.is_dir():
        yield source
        return
    if not zipfile.is_zipfile(source):
        raise InputError(f"{source}: neither a folder nor a zip file; expected a data set")
    with temporary_folder(out) as temporary:
        unzip(source, temporary)
        try:
            yield temporary
        except InputError as error:
            # The temporary folder is gone when the line is read; what it names lies in the zip.
            text = str(error.args[0])
            for inside in (str(temporary), printable(temporary)):
                text = text.replace(inside, str(source))
            raise InputError(text) from None


def _read(folder: Path, group_pattern: str | None) -> Found:
    """What there is to import, each image with a label and a group; InputError if there is nothing."""
    found = read_folder(folder, group_pattern=group_pattern)
    found.require()
    taken = found.taken.rename(columns={c: f"{c} (table)" for c in OURS if c in found.taken})
    if taken.empty:
        if (found.images["split"] != "").any() or found.images["label"].notna().any():
            name = "name.npy" if found.noun == STUDY else "name.jpg"
            one = WORDS[found.noun].one
            raise InputError(f"{folder}: has no {one} in its class folders; expected files such as {name}")
        raise unknown_layout(folder)
    group = taken["group"].where(taken["group"] != "", taken["file"])
    images = taken.assign(label=taken["label"].astype("int64"), group=group).rename(columns={"file": "key"})
    images = images.drop(columns=["width", "height"], errors="ignore")
    if not found.is_split:
        images = images.drop(columns="split")
    elif not found.without_val and (
        missing := [split for split in ("train", "val") if not (images["split"] == split).any()]
    ):
        found.notes.append(
            f"the source has no {' and no '.join(missing)}: training needs both; "
            f"make one in the source, or import its {WORDS[found.noun].many} without their splits"
        )
    found.notes += filter(None, [found.not_taken()])
    found.images = images.sort_values("path").reset_index(drop=True)
    return found


def _signature(found: Found, *, options: str) -> str:
    """Changes with what is to be imported, whatever file of the source says it."""
    digest = hashlib.sha256(options.encode())
    for path, key in sorted(found.images[["path", "key"]].itertuples(index=False)):
        digest.update(f"{key}|{study_bytes(path)}\n".encode(errors="surrogatepass"))
        for one in found.annotations.get(key, []):
            digest.update(b"".join(p.tobytes() for p in one.polygons))
    table = found.images.drop(columns="path").sort_values("key")
    digest.update(table.to_csv(index=False, lineterminator="\n").encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]


def _earlier(out: Path, signature: str, words: Words) -> ImportReport | None:
    """The report of this very import if it was done before; InputError if something else is in the way."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    path = out / IMPORT_FILE
    if not path.is_file():
        raise InputError(f"{out}: exists and was not made by an import; expected a new folder")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["signature"] != signature:
            raise InputError(f"{out}: holds another import (other {words.many}, seed or groups); expected a new folder")
        _require_report(kept)
        return ImportReport(
            folder=out,
            kind=kept["kind"],
            images=kept["images"],
            groups=kept["groups"],
            counts=kept["counts"],
            left_out=tuple((f, r) for f, r in kept["left_out"]),
            notes=tuple(kept["notes"]),
            changed=False,
            noun=kept.get("noun", "image"),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not what an import left ({type(error).__name__}); expected a new folder") from None


def _require_report(kept: dict[str, Any]) -> None:
    """Raise TypeError unless values are what `_write` keeps of a report: somebody may have edited them."""
    counts = [kept["images"], kept["groups"], *(n for split in kept["counts"].values() for n in split.values())]
    if kept.get("noun", "image") not in WORDS:
        raise TypeError
    texts = [kept["kind"], *kept["notes"], *(text for f, r in kept["left_out"] for text in (f, r))]
    if not all(type(n) is int for n in counts) or not all(isinstance(text, str) for text in texts):
        raise TypeError


def _decodable(images: pd.DataFrame, progress: bool) -> tuple[pd.DataFrame, list[LeftOut], list[str]]:
    """Images with file (for the log), width, height, contrast and bytes, those that cannot be read, and notes."""
    notes: dict[str, tuple[str, ...]] = {}

    def look(path: Path) -> tuple[int, int, float, int] | str:
        try:
            seen = decode(path)
        except InputError as error:
            return str(error).removeprefix(f"{printable(path)}: ")
        notes[f"{path.parent.name}/{path.name}"] = seen.notes
        return seen.grey.shape[1], seen.grey.shape[0], float(seen.grey.std()), path.stat().st_size

    seen = list(in_threads(look, list(images["path"]), desc="reading", unit="image", progress=progress))
    good = np.array([not isinstance(s, str) for s in seen], dtype=bool)
    files = [f"{path.parent.name}/{path.name}" for path in images["path"]]
    left_out = [LeftOut(f, "unreadable", s) for f, s in zip(files, seen, strict=True) if isinstance(s, str)]
    readable = images.assign(file=files)[good].reset_index(drop=True)
    values = np.array([s for s in seen if not isinstance(s, str)]).reshape(-1, 4)
    for i, name in enumerate(("width", "height", "import_contrast", "import_bytes")):
        readable[name] = values[:, i] if name == "import_contrast" else values[:, i].astype(np.int64)
    return readable, left_out, noted(dict(sorted(notes.items())))


def _hosted(groups: list[str], listed: list[str]) -> list[str]:
    """Groups as a table lists them ("" if not); an image that it does not list goes to those it shares a group with."""
    host = {group: name for group, name in reversed(list(zip(groups, listed, strict=True))) if name}
    return [name or host.get(group, group) for group, name in zip(groups, listed, strict=True)]


def _with_splits(chosen: _Chosen, found: Found, seed: int) -> _Chosen:
    """The same images, each in a split, and all of a group in one."""
    images = chosen.images
    both = images["label"].nunique() == 2
    if "split" in images:
        images, notes = in_one_split(images)
    else:
        regions = " " + images["region"].astype(str) if both and "region" in images else ""
        strata = images["label"].astype(str) + regions
        images = images.assign(split=split_by_group(strata, images["group"], seed=seed))
        tested = not both or (images["split"] == "test").any()
        notes = [] if tested else ["too few patients for a test split that holds both classes"]
    if not both:
        only = f"{found.classes[images['label'].iloc[0]]!r} {WORDS[found.noun].many}"
        notes = [*notes, f"there are only {only}: nothing can be learnt from them"]
    images = with_val(images, seed) if found.without_val else images
    return replace(chosen, images=images, notes=[*chosen.notes, *notes])


def _write(found: Found, chosen: _Chosen, out: Path, signature: str, *, progress: bool) -> ImportReport:
    """Copy the images, and write down what they are; the folder appears when it is whole."""
    images = _named(chosen.images, found)
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    with atomic_path(out) as temporary:
        temporary.mkdir()
        for row in tqdm(images.itertuples(), total=len(images), desc="copying", unit=found.noun, disable=not progress):
            target = temporary / str(row.file)
            target.parent.mkdir(parents=True, exist_ok=True)
            if found.noun == STUDY:
                write_study(row.path, target)
                copy_mask(found.folder, row.path, temporary, target.name)
            else:
                shutil.copyfile(row.path, target)
        first = [*FIRST[found.noun]]
        rest = [c for c in images.columns if c not in [*first, *WORKING]]
        write_table(images[first + rest], temporary / MANIFEST)
        if chosen.left_out:
            write_table(pd.DataFrame([asdict(one) for one in chosen.left_out]), temporary / LEFT_OUT_FILE)
        instances, turned = _instances(found, images)
        if instances:
            write_coco(temporary / ANNOTATIONS, images, instances)
        report = ImportReport(
            folder=out,
            kind=found.kind,
            images=len(images),
            groups=int(images["group"].nunique()),
            counts=_counts(images, found.classes),
            left_out=tuple((one.file, one.reason) for one in chosen.left_out),
            notes=(*found.notes, *chosen.notes, *turned),
            changed=True,
            noun=found.noun,
        )
        names = ("kind", "images", "groups", "counts", "left_out", "notes", *["noun"] * (found.noun == STUDY))
        kept = {name: getattr(report, name) for name in names}
        (temporary / IMPORT_FILE).write_text(
            json.dumps(kept | {"signature": signature}, indent=1) + "\n", encoding="utf-8"
        )
    return report


def _named(images: pd.DataFrame, found: Found) -> pd.DataFrame:
    """The images with the file that each becomes, in their order."""
    names = [f"{stem(str(name))}.npy" if found.noun == STUDY else name for name in images["name"]]
    rows = zip(images["split"], images["label"], names, strict=True)
    files = [
        "/".join([split, found.classes[label], *map(safe_name, str(name).split("/"))]) for split, label, name in rows
    ]
    return images.assign(file=distinct_names(files)).sort_values("file").reset_index(drop=True)


def _counts(images: pd.DataFrame, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """How many of each class are in each split."""
    return {
        split: {
            classes[label]: int(((images["split"] == split) & (images["label"] == label)).sum()) for label in (1, 0)
        }
        for split in SPLITS
        if (images["split"] == split).any()
    }


def _instances(found: Found, images: pd.DataFrame) -> tuple[dict[str, list[Annotation]], list[str]]:
    """Annotations by the new file name, turned with the image where its EXIF turns it."""
    result, turned = {}, []
    for row in images.itertuples():
        if row.key not in found.annotations:
            continue
        instances = found.annotations[str(row.key)]
        meant = found.sizes.get(str(row.key))
        shown = (int(row.width), int(row.height))
        if meant is not None and meant != shown:
            direction = orientation(row.path)
            if direction in TURNED and meant == shown[::-1]:
                instances = [turn(a, meant[0], meant[1], direction) for a in instances]
                turned.append(str(row.name))
            else:
                turned.append(
                    f"{row.name} (its annotations are for {meant[0]} x {meant[1]} pixels, not {shown[0]} x {shown[1]})"
                )
        result[str(row.file)] = instances
    one, many = ("image is turned by its", "its"), ("images are turned by their", "their")
    turn_, whose = one if len(turned) == 1 else many
    notes = [f"{len(turned)} {turn_} EXIF orientation against {whose} annotations: {', '.join(turned[:5])}"]
    return result, notes if turned else []
