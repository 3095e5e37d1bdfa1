"""The page that leads to the pictures of `fracture explain`: one row an image, the highest score first."""

import os
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from fracturelib._io import OF_A_MAP
from fracturelib._io.files import atomic_path
from fracturelib._io.pages import page

INDEX = "index.html"
MARK = '<meta name="generator" content="fracture explain">'  # what says that an index.html may be replaced


def write_index(frame: pd.DataFrame, out: Path, threshold: str, rule: str) -> None:
    """Leave index.html in `out`, which loads nothing but the pictures there, each when it comes into view.

    Parameters
    ----------
    frame : DataFrame
        file, score (NaN: left out), decision, reason, doubt, picture (relative to `out`), as `explain_paths` returns.
    threshold, rule : str
        In words, and how it was chosen.
    """
    with atomic_path(out / INDEX) as temporary:
        temporary.write_text(index_page(frame, threshold, rule), encoding="utf-8")


def index_page(frame: pd.DataFrame, threshold: str, rule: str) -> str:
    """The page as text; `rule` says how the threshold was chosen."""
    frame = frame.assign(link=[quote(os.fsencode(str(name))) for name in frame["picture"]])
    shown = frame[frame["picture"] != ""].sort_values("score", ascending=False, kind="stable")
    return page(
        "explain",
        mark=f"{MARK}<title>Where the network looks</title>",
        notice=OF_A_MAP,
        shown=shown.to_dict("records"),
        left_out=frame[frame["picture"] == ""].to_dict("records"),
        threshold=threshold,
        rule=rule,
        predicted=int((shown["decision"] == "Fractured").sum()),
    )
