"""The page that leads to the pictures of `fracture explain`: one row an image, the highest score first."""

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from fracturelib._io.files import atomic_path, printable
from fracturelib.models.classifier import Classifier

INDEX = "index.html"
NOTICE = "For education and research, not for clinical use. A heat map is not a finding."
MARK = '<meta name="generator" content="fracture explain">'  # what says that an index.html may be replaced
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
.note{border-left:4px solid #D55E00;padding:.2rem .8rem;background:#fdf3ec}ul{padding-left:1.2rem}
article{display:grid;grid-template-columns:15rem 1fr;gap:1rem;align-items:center;border-top:1px solid #ccc;
padding:.6rem 0;content-visibility:auto;contain-intrinsic-size:auto 16rem}
h2{font-size:1rem;margin:0}p{margin:.3rem 0}article *,li{overflow-wrap:anywhere}.yes{color:#A33C00;font-weight:600}
img{display:block;width:100%;height:15rem;object-fit:contain}@media(max-width:40rem){article{grid-template-columns:1fr}}
"""


def write_index(frame: pd.DataFrame, out: Path, classifier: Classifier) -> None:
    """Leave index.html in `out`, which loads nothing but the pictures there, each when it comes into view.

    Parameters
    ----------
    frame : DataFrame
        file, score (NaN: left out), decision, reason, picture (relative to `out`), as `explain_paths` returns.
    """
    with atomic_path(out / INDEX) as temporary:
        temporary.write_text(index_page(frame, classifier.threshold, classifier.default_rule), encoding="utf-8")


def index_page(frame: pd.DataFrame, threshold: float, rule: str) -> str:
    """The page as text; `rule` says how the threshold was chosen."""
    shown = frame[frame["picture"] != ""].sort_values("score", ascending=False, kind="stable")
    left_out = frame[frame["picture"] == ""]
    predicted = int((shown["decision"] == "Fractured").sum())
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{MARK}<title>Where the network looks</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>Where the network looks</h1><p class=note><strong>{NOTICE}</strong></p>"
        f"<p>{len(shown)} images, the highest score first. An image is predicted fractured if its score is at least "
        f"{threshold:.3f} ({escape(printable(rule))}): {predicted} are. Each map is scaled to its own maximum.</p>"
    )
    if len(left_out):
        head += f'<p><a href="#left-out">{len(left_out)} left out</a></p>'
    rows = [_row(row) for row in shown.to_dict("records")]
    if len(left_out):
        lines = (
            f"<li>{_text(row['file'])}: {_text(row['reason'] or 'no reason given')}</li>"
            for row in left_out.to_dict("records")
        )
        rows.append(f'<h2 id="left-out">Left out</h2><ul>{"".join(lines)}</ul>')
    return f"{head}{''.join(rows)}</body></html>\n"


def _row(row: dict[str, object]) -> str:
    link, name, decision = quote(os.fsencode(str(row["picture"]))), _text(row["file"]), _text(row["decision"])
    emphasis = " class=yes" if row["decision"] == "Fractured" else ""
    return (
        f"<article><div><h2>{name}</h2><p>score {row['score']:.3f}</p><p{emphasis}>{decision}</p></div>"
        f'<a href="{link}"><img loading="lazy" src="{link}" alt="{name}: image, heat map and overlay"></a></article>'
    )


def _text(value: object) -> str:
    return escape(printable(value))
