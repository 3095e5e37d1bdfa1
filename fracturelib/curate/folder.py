"""What `layouts.read_folder` found, as the audit looks at it: every image, by a name that can be shown."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from fracturelib._io.files import InputError, printable
from fracturelib._io.words import STUDY
from fracturelib.data.decode import TURNED, orientation
from fracturelib.data.found import KINDS, Problem
from fracturelib.data.layouts import read_folder

__all__ = ["KINDS", "Problem", "Source", "check_boxes", "read_source_folder"]


@dataclass
class Source:
    """What a folder holds.

    Attributes
    ----------
    folder : Path
    paths : list of Path
    images : DataFrame
        file (shown, relative), split ("" if none), label (Int64, missing if unknown), group ("" if unknown), then
        metadata; one row for each path.
    problems : list of Problem
    boxes : dict
        file -> list of (x, y, width, height).
    sizes : dict
        file -> (width, height) that its annotations are meant for.
    listed : dict
        file -> (width, height) that its manifest says.
    notes, errors : list of str
        What the reader should know, and why the folder cannot be trained on as it is.
    noun : str
        What a row of `images` is: an image, or a study.
    """

    folder: Path
    paths: list[Path]
    images: pd.DataFrame
    problems: list[Problem] = field(default_factory=list)
    boxes: dict[str, list[tuple[float, float, float, float]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    listed: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    noun: str = "image"


def read_source_folder(folder: str | Path) -> Source:
    """List a folder's images, whatever its layout: with or without splits, classes, manifest.

    Raises
    ------
    InputError
        If it is no folder, or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{printable(folder)}: no such folder; expected a folder of X-rays")
    found = read_folder(folder)
    left = found.not_taken()
    if found.images.empty:
        seen = f" ({left})" if left else ""
        raise InputError(
            f"{printable(folder)}: has no image{seen}; expected files such as .jpg, .png or .dcm, at any depth"
        )
    images = found.images.drop(columns=["path", "name"]).assign(file=[printable(f) for f in found.images["file"]])
    listed = {}
    if {"width", "height"} <= set(images.columns):
        rows = images[["file", "width", "height"]].dropna().itertuples(index=False)
        listed = {str(file): (int(width), int(height)) for file, width, height in rows}
    return Source(
        folder=folder,
        paths=list(found.images["path"]),
        images=images.drop(columns=["width", "height", *["slices"] * (found.noun == STUDY)], errors="ignore"),
        problems=found.problems,
        boxes={printable(file): [a.bbox for a in instances] for file, instances in found.annotations.items()},
        sizes={printable(file): size for file, size in found.sizes.items()},
        listed=listed,
        notes=[*found.notes, *([left] if left else [])],
        errors=found.errors,
        noun=found.noun,
    )


def check_boxes(source: Source, width: list[float], height: list[float]) -> list[Problem]:
    """Boxes that leave the image, and images that are not as their annotations take them to be; sizes in pixels."""
    found = []
    rows = zip(source.images["file"], source.paths, width, height, strict=True)
    for file, path, w, h in rows:
        if not w > 0:
            continue
        meant = source.sizes.get(file, (int(w), int(h)))
        if meant != (int(w), int(h)):
            turned = orientation(path) in TURNED and meant == (int(h), int(w))
            kind = "turned" if turned else "size_differs"
            detail = f"annotated as {meant[0]} x {meant[1]}, shown as {int(w)} x {int(h)} pixels"
            found.append(Problem(kind, file, detail))
        told = source.listed.get(file, (int(w), int(h)))
        if told != (int(w), int(h)):
            detail = f"{told[0]} x {told[1]} in the table, {int(w)} x {int(h)} pixels in truth"
            found.append(Problem("size_in_table", file, detail))
        for x, y, bw, bh in source.boxes.get(file, []):
            # Rounding may put a box one pixel over the edge.
            if not (x >= -1 and y >= -1 and x + bw <= meant[0] + 1 and y + bh <= meant[1] + 1 and bw > 0 and bh > 0):
                found.append(
                    Problem("box_outside", file, f"box {x:g}, {y:g}, {bw:g}, {bh:g} on {meant[0]} x {meant[1]} pixels")
                )
    return found
