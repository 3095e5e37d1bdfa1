"""What `layouts.read_folder` found, as the audit looks at it: every image, with a label or without one."""

from pathlib import Path

import pandas as pd

from fracturelib._io.files import InputError, printable
from fracturelib.data.decode import TURNED, orientation
from fracturelib.data.found import Found, Problem
from fracturelib.data.layouts import read_folder


def read_source_folder(folder: str | Path) -> Found:
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
    if left := found.not_taken():
        found.notes.append(left)
    if found.images.empty:
        seen = f" ({left})" if left else ""
        raise InputError(
            f"{printable(folder)}: has no image{seen}; expected files such as .jpg, .png or .dcm, at any depth"
        )
    return found


def check_boxes(source: Found, width: list[float], height: list[float]) -> list[Problem]:
    """Boxes that leave the image, and images that are not as their annotations take them to be; sizes in pixels."""
    found = []
    listed = source.images.reindex(columns=["file", "path", "width", "height"]).itertuples(index=False)
    for (file, path, *table), w, h in zip(listed, width, height, strict=True):
        if not w > 0:
            continue
        shown = printable(file)
        meant = source.sizes.get(file, (int(w), int(h)))
        if meant != (int(w), int(h)):
            turned = orientation(path) in TURNED and meant == (int(h), int(w))
            kind = "turned" if turned else "size_differs"
            detail = f"annotated as {meant[0]} x {meant[1]}, shown as {int(w)} x {int(h)} pixels"
            found.append(Problem(kind, shown, detail))
        told = [None if pd.isna(side) else int(side) for side in table]
        if any(side not in (None, int(own)) for side, own in zip(told, (w, h), strict=True)):
            words = " x ".join("?" if side is None else str(side) for side in told)
            found.append(Problem("size_in_table", shown, f"{words} in the table, {int(w)} x {int(h)} pixels in truth"))
        for x, y, bw, bh in (outline.bbox for outline in source.annotations.get(file, [])):
            # Rounding may put a box one pixel over the edge.
            if not (x >= -1 and y >= -1 and x + bw <= meant[0] + 1 and y + bh <= meant[1] + 1 and bw > 0 and bh > 0):
                found.append(
                    Problem("box_outside", shown, f"box {x:g}, {y:g}, {bw:g}, {bh:g} on {meant[0]} x {meant[1]} pixels")
                )
    return found
