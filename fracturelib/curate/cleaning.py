"""What an import leaves out when it is asked to repair a set, and how copies end up in one split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fracturelib.curate.duplicates import copies_in
from fracturelib.data.coco import Annotation

LEFT_OUT_FILE = "left_out.csv"


@dataclass(frozen=True)
class Drop:
    """What to leave out: all but one of each radiograph's copies; radiographs with both labels; broken images."""

    copies: bool = False
    contradictions: bool = False
    broken: bool = False


@dataclass(frozen=True)
class LeftOut:
    """An image that is not taken over: its file, a kind (unreadable, broken, contradiction, copy, listed), and why."""

    file: str
    kind: str
    reason: str


def with_copies(images: pd.DataFrame, *, progress: bool) -> pd.DataFrame:
    """The images with a column import_copy: a number that images share that are one radiograph."""
    return images.assign(import_copy=copies_in(list(images["path"]), progress=progress).group)


def repaired(
    images: pd.DataFrame, annotations: dict[str, list[Annotation]], drop: Drop, *, stay: pd.Series
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The images that stay, and those that are left out.

    Parameters
    ----------
    images : DataFrame
        key, file (as it is to be called in the log), label, width, height, import_contrast (0 for a blank image),
        import_bytes and import_copy.
    annotations : dict
        key -> instances.
    drop : Drop
    stay : Series of bool
        Of each image, whether it stays whatever `drop` says.
    """
    out: dict[int, LeftOut] = {}
    if drop.broken:
        for row in images[~stay].itertuples():
            if reason := _broken(row, annotations.get(str(row.key), [])):
                out[int(str(row.Index))] = LeftOut(str(row.file), "broken", reason)
    for _, group in images[~images.index.isin(list(out))].groupby("import_copy"):
        if len(group) == 1:
            continue
        if drop.contradictions and group["label"].nunique() > 1:
            others = ", ".join(group["file"])
            for i in group.index[~stay[group.index]]:
                out[i] = LeftOut(group.at[i, "file"], "contradiction", f"one radiograph, both labels: {others}")
        elif drop.copies:
            kept = _best(group[stay[group.index]] if stay[group.index].any() else group, annotations)
            for i in group.index[(group.index != kept) & ~stay[group.index]]:
                out[i] = LeftOut(group.at[i, "file"], "copy", f"a copy of {group.at[kept, 'file']}")
    stays = images[~images.index.isin(list(out))].reset_index(drop=True)
    return stays, [out[i] for i in sorted(out)]


def _broken(row: object, instances: Sequence[Annotation]) -> str:
    width, height = getattr(row, "width"), getattr(row, "height")  # noqa: B009
    if getattr(row, "import_contrast") < 0.5:  # noqa: B009
        return "blank: one grey value"
    for x, y, w, h in (a.bbox for a in instances):
        turned = x + w <= height + 1 and y + h <= width + 1
        if not (x >= -1 and y >= -1 and x + w <= width + 1 and y + h <= height + 1) and not turned:
            return f"box {x:g}, {y:g}, {w:g}, {h:g} leaves the image of {width} x {height} pixels"
    return ""


def _best(group: pd.DataFrame, annotations: dict[str, list[Annotation]]) -> int:
    """The image to keep: an annotated one before others, then the largest in pixels, then in bytes, then the first."""
    annotated = group["key"].astype(str).isin(list(annotations))
    pixels = group["width"] * group["height"]
    order = np.lexsort((group["file"], -group["import_bytes"], -pixels, ~annotated))
    return int(group.index[order[0]])
