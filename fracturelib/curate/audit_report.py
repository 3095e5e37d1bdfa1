"""The audit for people and for programs: text, JSON, and one HTML page that loads nothing.

The JSON, whose names and meanings stay within a `version`:

    format, version     "fracture-audit", 2
    folder, verdict     as given; one line
    clean               true if nothing was found (exit code 0)
    splits              [{split, images, radiographs, fractured, not_fractured, unlabelled, unreadable}]; radiographs
                        are images without their copies; split is "all" where there are none
    problems            [{kind, file, detail}], kinds as in `found.KINDS`
    groups              [{files, splits, labels, leak, contradiction, links: [{first, second, how, likeness}]}], largest
                        first; labels are 0, 1 or null, one for each file; likeness is 0..1
    copies              images that are copies of another
    leaks               groups in more than one split
    contradictions      groups with both labels
    shared_patients     [patient]: those with images in more than one split
    lookup              null, or {images, found, accuracy, guessing, found_accuracy}: test images, those with a copy in
                        train or val, and the shares right by looking up, by always saying the commoner class, and
                        among those found (null if none)
    shortcuts           [{name, kind, auc, low, high, images, describes, suspect}], worst first; auc is cross-validated
                        by groups, with a 95 % interval; describes: filled in for one class only
    notes               [line]: what was taken for what, what was not taken, how patients are known and images read
    balance             [{column, value, images, fractured, proportion}]
    advice              [line], most urgent first

That of a set of studies also has `of`, "study": images are studies, then, radiographs scans, and fractured is torn.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import cv2
import pandas as pd

from fracturelib._io.files import json_mark, printable
from fracturelib._io.pages import beginning, inlined, page
from fracturelib.curate.findings import PLAINLY, Audit, by_kind, copy_groups, copy_lines, problem_line
from fracturelib.metrics._format import plain

VERSION = 2

HTML_MARK = "<title>Audit of a folder of X-rays</title>"
OURS = {"json": json_mark("format", "fracture-audit"), "html": beginning(HTML_MARK)}  # how what may be replaced begins

PICTURED, PER_GROUP = 60, 8  # groups with pictures on the page, and pictures in each
LISTED = 500  # rows of a table on the page


def to_dict(audit: Audit) -> dict[str, Any]:
    """The audit as plain values, as the module's head says."""
    return {
        "format": "fracture-audit",
        "version": VERSION,
        "folder": printable(audit.folder),
        "verdict": audit.verdict,
        "clean": audit.clean,
        "splits": audit.summary().to_dict("records"),
        "problems": [asdict(p) for p in audit.problems],
        "groups": copy_groups(audit),
        "copies": audit.extra,
        "leaks": len(audit.leaks),
        "contradictions": len(audit.contradictions),
        "shared_patients": list(audit.shared_patients),
        "lookup": plain(asdict(audit.lookup)) if audit.lookup else None,
        "shortcuts": [
            plain(
                {"name": s.name, "kind": s.kind, "auc": s.auc.value, "low": s.auc.low, "high": s.auc.high}
                | {"images": s.images, "describes": s.describes, "suspect": s.suspect}
            )
            for s in audit.shortcuts
        ],
        "notes": list(audit.notes),
        "balance": audit.balance().to_dict("records"),
        "advice": audit.advice(),
    } | ({} if audit.noun == "image" else {"of": audit.noun})


def to_json(audit: Audit) -> str:
    """`to_dict` as text."""
    return json.dumps(to_dict(audit), indent=1, allow_nan=False) + "\n"


def to_html(audit: Audit) -> str:
    """One page, pictures inside: the verdict, what was found, what to do."""
    groups = copy_groups(audit)
    order = sorted(
        range(len(groups)),
        key=lambda i: (not groups[i]["contradiction"], not groups[i]["leak"], -len(groups[i]["files"])),
    )
    return page(
        "audit",
        mark=HTML_MARK,
        audit=audit,
        summary=_named(audit, audit.summary()),
        told=[f"{line.rstrip('.:')}." for line in copy_lines(audit) if not line.startswith("  ")],
        groups=[_pictured(audit, groups[i], audit.copies.groups[i]) for i in order[:PICTURED]],
        more_groups=len(order[PICTURED:]),
        problems=_problem_tables(audit),
        shortcuts=_shortcut_table(audit),
        balance=_named(audit, audit.balance().round({"proportion": 3})),
        advice=audit.advice(),
        listed=LISTED,
    )


def _named(audit: Audit, table: pd.DataFrame) -> pd.DataFrame:
    """A table with its columns named for what the set holds."""
    words = audit.words
    names = {"images": words.many, "radiographs": words.scans, "fractured": words.classes[1]}
    return table.rename(columns=names | {"not_fractured": words.classes[0].replace(" ", "_")})


def _pictured(audit: Audit, group: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """A group as the page shows it: its first images, and how many more there are."""
    how = {link["second"]: link["how"] for link in group["links"]}
    images = []
    for row in rows[:PER_GROUP]:
        file, label = audit.images["file"].iloc[row], audit.images["label"].iloc[row]
        said = "" if pd.isna(label) else audit.words.classes[int(label)]
        says = [text for text in (file, said, how.get(file, "")) if text]
        images.append({"file": file, "says": says, "picture": _inline(audit, row)})
    return group | {"images": images, "more": len(rows[PER_GROUP:])}


def _inline(audit: Audit, row: int) -> str:
    picture = audit.pictures.get(row)
    if picture is None or not picture.size:
        return ""
    return inlined(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes(), "jpeg")


def _problem_tables(audit: Audit) -> list[tuple[str, pd.DataFrame]]:
    """Caption and rows of each kind of problem."""
    return [
        (
            problem_line(kind, found),
            pd.DataFrame([{"file": p.file, "detail": p.detail} for p in found]),
        )
        for kind, found in by_kind(audit.problems).items()
    ]


def _shortcut_table(audit: Audit) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "variable": PLAINLY.get(s.name, s.name),
                "kind": s.kind,
                "AUC (95 % interval)": str(s.auc),
                audit.words.many: s.images,
                "verdict": f"describes the {audit.words.sought}" if s.describes else "suspect" if s.suspect else "",
            }
            for s in audit.shortcuts
        ]
    )
