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
"""

import base64
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from math import isfinite
from typing import Any

import cv2
import pandas as pd

from fracturelib._io.files import printable
from fracturelib.curate.audit import Audit
from fracturelib.data.found import KINDS

VERSION = 2

JSON_MARK, HTML_MARK = '"format": "fracture-audit"', "<title>Audit of a folder of X-rays</title>"  # ours, if replaced
NAMED = 5  # files that the text names of each kind

PICTURED, PER_GROUP = 60, 8  # groups with pictures on the page, and pictures in each
LISTED = 500  # rows of a table on the page
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .8rem;border-bottom:1px solid #ccc;text-align:left;vertical-align:top;overflow-wrap:anywhere}
caption{text-align:left;font-weight:600}.wide{overflow-x:auto}.verdict{font-size:1.3rem;border-left:6px solid #D55E00;
padding:.4rem 1rem;background:#fdf3ec}.clean{border-color:#009E73;background:#eef8f4}
.group{margin:1.2rem 0}.images{display:flex;flex-wrap:wrap;gap:.6rem}figure{margin:0;width:11rem}
img{max-width:100%;height:10rem;object-fit:contain;background:#000}figcaption{font-size:.8rem;overflow-wrap:anywhere}
.bad{color:#A33C00;font-weight:600}
"""


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
    }


def to_json(audit: Audit) -> str:
    """`to_dict` as text."""
    return json.dumps(to_dict(audit), indent=1, allow_nan=False) + "\n"


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in row.items()}


def _groups(audit: Audit) -> list[dict[str, Any]]:
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


def to_text(audit: Audit) -> str:
    """Some lines for the terminal, the verdict first."""
    lines = [audit.verdict, ""]
    for row in audit.summary().to_dict("records"):
        lines.append(
            f"  {row['split']}: {row['images']} images, {row['radiographs']} radiographs; "
            f"{row['fractured']} fractured, {row['not_fractured']} not"
            + (f", {row['unlabelled']} without a label" if row["unlabelled"] else "")
        )
    lines += [f"  note: {note}" for note in audit.notes]
    lines += _copy_lines(audit)
    for kind, count in Counter(p.kind for p in audit.problems).items():
        lines.append(f"{count} files {KINDS[kind]}:")
        some = [p for p in audit.problems if p.kind == kind][:NAMED]
        lines += [f"  {p.file}: {p.detail}" for p in some] + (["  ..."] if count > NAMED else [])
    if audit.shortcuts:
        lines.append("Guessing the label without looking for a fracture, cross-validated AUC (0.5 is chance):")
        told = [s for s in audit.shortcuts if not s.describes]
        lines += [f"  {s.auc}  {s.name}{'  <- suspect' if s.suspect else ''}" for s in told[:8]]
    lines += ["What to do:"] + [f"  {line}" for line in audit.advice()]
    return "\n".join(lines)


def _copy_lines(audit: Audit) -> list[str]:
    lines = []
    groups = _groups(audit)
    if groups:
        lines.append(
            f"{len(groups)} radiographs are there more than once ({audit.extra} copies); {len(audit.leaks)} of them in "
            f"more than one split, {len(audit.contradictions)} with both labels:"
        )
        urgent = sorted(groups, key=lambda g: (not g["contradiction"], not g["leak"], -len(g["files"])))
        for group in urgent[:NAMED]:
            how = Counter(link["how"] for link in group["links"]).most_common(1)[0][0]
            lines.append(f"  {', '.join(group['files'][:4])}{' ...' if len(group['files']) > 4 else ''} ({how})")
    if audit.shared_patients:
        lines.append(
            f"{len(audit.shared_patients)} patients are in more than one split: {', '.join(audit.shared_patients[:5])}"
        )
    if look := audit.lookup:
        lines.append(
            f"Looking up copies alone gets {100 * look.accuracy:.1f} % of {look.images} test images right; "
            f"always saying the commoner class, {100 * look.guessing:.1f} %."
        )
    return lines


def to_html(audit: Audit) -> str:
    """One page, pictures inside: the verdict, what was found, what to do."""
    mood = "verdict clean" if audit.clean else "verdict"
    advice = "".join(f"<li>{escape(line)}</li>" for line in audit.advice())
    parts = [
        f"<p class='{mood}'>{escape(audit.verdict)}</p>",
        _table("Images", audit.summary()),
        *_html_copies(audit),
        *_html_problems(audit),
        *_html_shortcuts(audit),
        _table("Balance", audit.balance().round({"proportion": 3})),
        f"<h2>What to do</h2><ol>{advice}</ol>",
        "<p>Copies are found by shared points and then by laying one image upon the other; a pair counts if its fine "
        "structure agrees. For education and research, not for clinical use.</p>",
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{HTML_MARK}'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(printable(audit.folder))}</h1>{''.join(parts)}</body></html>\n"
    )


def _table(caption: str, frame: pd.DataFrame) -> str:
    if frame.empty:
        return ""
    head = "".join(f"<th scope=col>{escape(str(c).replace('_', ' '))}</th>" for c in frame.columns)
    rows = [
        "<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row) + "</tr>"
        for row in frame.head(LISTED).itertuples(index=False)
    ]
    more = f"<p>... and {len(frame) - LISTED} more, all in the JSON.</p>" if len(frame) > LISTED else ""
    title = f"<caption>{escape(caption)}</caption>"
    return f"<div class=wide><table>{title}<tr>{head}</tr>{''.join(rows)}</table></div>{more}"


def _html_copies(audit: Audit) -> list[str]:
    groups = _groups(audit)
    if not groups:
        return ["<h2>Copies</h2><p>No radiograph is there twice.</p>"]
    told = "".join(f"<p>{escape(line)}</p>" for line in _copy_lines(audit) if not line.startswith("  "))
    order = sorted(
        range(len(groups)),
        key=lambda i: (not groups[i]["contradiction"], not groups[i]["leak"], -len(groups[i]["files"])),
    )
    shown_groups = [_html_group(audit, groups[i], audit.copies.groups[i]) for i in order[:PICTURED]]
    more = f"<p>... and {len(order) - PICTURED} more groups, all in the JSON.</p>" if len(order) > PICTURED else ""
    return ["<h2>Copies</h2>", told, *shown_groups, more]


def _html_group(audit: Audit, group: dict[str, Any], rows: Sequence[int]) -> str:
    says = [f"{len(rows)} images of one radiograph"]
    says += ["<span class=bad>in more than one split</span>"] if group["leak"] else []
    says += ["<span class=bad>both labels</span>"] if group["contradiction"] else []
    how = {link["second"]: link["how"] for link in group["links"]}
    figures = []
    for row in rows[:PER_GROUP]:
        file, label = audit.images["file"].iloc[row], audit.images["label"].iloc[row]
        said = "" if pd.isna(label) else ("fractured" if label == 1 else "not fractured")
        caption = "<br>".join(escape(t) for t in (file, said, how.get(file, "")) if t)
        figures.append(
            f'<figure><img alt="{escape(file)}" src="{_inline(audit, row)}"><figcaption>{caption}</figcaption></figure>'
        )
    more = f"<p>... and {len(rows) - PER_GROUP} more</p>" if len(rows) > PER_GROUP else ""
    return f"<div class=group><p>{', '.join(says)}</p><div class=images>{''.join(figures)}</div>{more}</div>"


def _inline(audit: Audit, row: int) -> str:
    picture = audit.pictures.get(row)
    if picture is None or not picture.size:
        return ""
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _html_problems(audit: Audit) -> list[str]:
    if not audit.problems:
        return ["<h2>Broken</h2><p>Every file can be read, and nothing contradicts itself.</p>"]
    parts = ["<h2>Broken or contradictory</h2>"]
    for kind, count in Counter(p.kind for p in audit.problems).items():
        rows = [{"file": p.file, "detail": p.detail} for p in audit.problems if p.kind == kind]
        parts.append(_table(f"{count} files {KINDS[kind]}", pd.DataFrame(rows)))
    return parts


def _html_shortcuts(audit: Audit) -> list[str]:
    if not audit.shortcuts:
        return ["<h2>Shortcuts</h2><p>There are too few labelled images of both classes to look for them.</p>"]
    rows = [
        {
            "variable": s.name,
            "kind": s.kind,
            "AUC (95 % interval)": str(s.auc),
            "images": s.images,
            "verdict": "describes the fracture" if s.describes else "suspect" if s.suspect else "",
        }
        for s in audit.shortcuts
    ]
    return [
        "<h2>Shortcuts</h2><p>How well the label can be guessed without looking for a fracture, cross-validated by "
        "groups; 0.5 is chance.</p>",
        _table("Worst first", pd.DataFrame(rows)),
    ]
