"""The audit for people and for programs: text, JSON, and one HTML page that loads nothing.

The JSON, whose names and meanings stay within a `version`:

    format, version     "fracture-audit", 1
    folder, verdict     as given; one line
    clean               true if nothing was found (exit code 0)
    splits              [{split, images, radiographs, fractured, not_fractured, unlabelled, unreadable}]; radiographs
                        are images without their copies; split is "all" where there are none
    problems            [{kind, file, detail}], kinds as in `folder.KINDS`
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
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

import cv2
import pandas as pd

from fracturelib._io.files import counted, json_mark, printable
from fracturelib._io.pages import beginning, inlined, page
from fracturelib.data.found import KINDS

if TYPE_CHECKING:
    from fracturelib.curate.audit import Audit

VERSION = 2

HTML_MARK = "<title>Audit of a folder of X-rays</title>"
OURS = {"json": json_mark("format", "fracture-audit"), "html": beginning(HTML_MARK)}  # how what may be replaced begins
NAMED = 5  # files that the text names of each kind

ONE = {  # what `KINDS` says, of one file, where more changes than its first word
    "blank": "shows nothing: one grey value",
    "labels_disagree": "has another label in its folder, the table or the annotations",
    "fracture_without_annotation": "is predicted fractured, and has no annotation, though others have",
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
PICTURED, PER_GROUP = 60, 8  # groups with pictures on the page, and pictures in each
LISTED = 500  # rows of a table on the page


def to_dict(audit: "Audit") -> dict[str, Any]:
    """The audit as plain values, as the module's head says."""
    return {
        "format": "fracture-audit",
        "version": VERSION,
        "folder": printable(audit.folder),
        "verdict": audit.verdict,
        "clean": audit.clean,
        "splits": audit.summary().to_dict("records"),
        "problems": [asdict(p) for p in audit.problems],
        "groups": _groups(audit),
        "copies": audit.extra,
        "leaks": len(audit.leaks),
        "contradictions": len(audit.contradictions),
        "shared_patients": list(audit.shared_patients),
        "lookup": _finite(asdict(audit.lookup)) if audit.lookup else None,
        "shortcuts": [
            _finite(
                {"name": s.name, "kind": s.kind, "auc": s.auc.value, "low": s.auc.low, "high": s.auc.high}
                | {"images": s.images, "describes": s.describes, "suspect": s.suspect}
            )
            for s in audit.shortcuts
        ],
        "notes": list(audit.notes),
        "balance": audit.balance().to_dict("records"),
        "advice": audit.advice(),
    } | ({} if audit.noun == "image" else {"of": audit.noun})


def to_json(audit: "Audit") -> str:
    """`to_dict` as text."""
    return json.dumps(to_dict(audit), indent=1, allow_nan=False) + "\n"


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in row.items()}


def _groups(audit: "Audit") -> list[dict[str, Any]]:
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


def to_text(audit: "Audit") -> str:
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
    lines += _copy_lines(audit)
    for kind, count in Counter(p.kind for p in audit.problems).items():
        lines.append(f"{_problem(kind, count)}:")
        some = [p for p in audit.problems if p.kind == kind][:NAMED]
        lines += [f"  {p.file}: {p.detail}" for p in some] + (["  ..."] if count > NAMED else [])
    if audit.shortcuts:
        lines.append(f"Guessing the label without looking for a {words.sought}, cross-validated AUC (0.5 is chance):")
        told = [s for s in audit.shortcuts if not s.describes]
        lines += [f"  {s.auc}  {PLAINLY.get(s.name, s.name)}{'  <- suspect' if s.suspect else ''}" for s in told[:8]]
    lines += ["What to do:"] + [f"  {line}" for line in audit.advice()]
    return "\n".join(lines)


def _problem(kind: str, count: int) -> str:
    """How many files have a problem, and which."""
    many = KINDS[kind]
    one = ONE.get(kind) or many.replace("are ", "is ", 1).replace("have ", "has ", 1)
    return f"{counted(count, 'file')} {one if count == 1 else many}"


def _copy_lines(audit: "Audit") -> list[str]:
    lines, words = [], audit.words
    groups = _groups(audit)
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


def to_html(audit: "Audit") -> str:
    """One page, pictures inside: the verdict, what was found, what to do."""
    groups = _groups(audit)
    order = sorted(
        range(len(groups)),
        key=lambda i: (not groups[i]["contradiction"], not groups[i]["leak"], -len(groups[i]["files"])),
    )
    return page(
        "audit",
        mark=HTML_MARK,
        audit=audit,
        summary=_named(audit, audit.summary()),
        told=[f"{line.rstrip('.:')}." for line in _copy_lines(audit) if not line.startswith("  ")],
        groups=[_pictured(audit, groups[i], audit.copies.groups[i]) for i in order[:PICTURED]],
        more_groups=len(order[PICTURED:]),
        problems=_problem_tables(audit),
        shortcuts=_shortcut_table(audit),
        balance=_named(audit, audit.balance().round({"proportion": 3})),
        advice=audit.advice(),
        listed=LISTED,
    )


def _named(audit: "Audit", table: pd.DataFrame) -> pd.DataFrame:
    """A table with its columns named for what the set holds."""
    words = audit.words
    names = {"images": words.many, "radiographs": words.scans, "fractured": words.classes[1]}
    return table.rename(columns=names | {"not_fractured": words.classes[0].replace(" ", "_")})


def _pictured(audit: "Audit", group: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """A group as the page shows it: its first images, and how many more there are."""
    how = {link["second"]: link["how"] for link in group["links"]}
    images = []
    for row in rows[:PER_GROUP]:
        file, label = audit.images["file"].iloc[row], audit.images["label"].iloc[row]
        said = "" if pd.isna(label) else audit.words.classes[int(label)]
        says = [text for text in (file, said, how.get(file, "")) if text]
        images.append({"file": file, "says": says, "picture": _inline(audit, row)})
    return group | {"images": images, "more": len(rows[PER_GROUP:])}


def _inline(audit: "Audit", row: int) -> str:
    picture = audit.pictures.get(row)
    if picture is None or not picture.size:
        return ""
    return inlined(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes(), "jpeg")


def _problem_tables(audit: "Audit") -> list[tuple[str, pd.DataFrame]]:
    """Caption and rows of each kind of problem."""
    return [
        (
            _problem(kind, count),
            pd.DataFrame([{"file": p.file, "detail": p.detail} for p in audit.problems if p.kind == kind]),
        )
        for kind, count in Counter(p.kind for p in audit.problems).items()
    ]


def _shortcut_table(audit: "Audit") -> pd.DataFrame:
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
