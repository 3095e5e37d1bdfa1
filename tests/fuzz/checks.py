"""What must hold of the results of each command."""

import csv
import json
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fracturelib.data.volumes import stem
from fracturelib.data.walk import is_image_file
from tests.fuzz.watch import Case, Outcome

DECISIONS = ("Fractured", "Not Fractured", "Torn", "Whole")


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none if it is not there."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.field_size_limit(10**9)
        return list(csv.DictReader(file))


def number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def strict(path: Path) -> Any:
    """A JSON file, without NaN and infinity."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def formulas(path: Path) -> Iterator[str]:
    for row in rows(path):
        for value in row.values():
            if isinstance(value, str) and value.startswith(("=", "@", "\t", "\r")):
                yield f"a formula in a cell | {value[:80]!r}"


def predicted(case: Case, outcome: Outcome) -> Iterator[str]:
    """Each file has a row with a finite score in 0..1 and a decision, or with a reason; or a line names it."""
    table = next((path for path in case.outputs if path.suffix == ".csv"), None)
    if table is None:
        return
    listed = rows(table)
    for row in listed:
        score, name = number(row.get("score")), row.get("file")
        if row.get("score"):
            if not 0 <= score <= 1:
                yield f"a score outside 0..1 | {name} {row['score']}"
            if row.get("decision") not in DECISIONS or row.get("reason"):
                yield f"a score without a decision, or with a reason | {row}"
        elif not row.get("reason") or row.get("decision"):
            yield f"neither a score nor a reason | {row}"
        if "\n" in (row.get("reason") or ""):
            yield f"a reason of several lines | {row}"
    outcome.refused = sum(1 for row in listed if row.get("reason"))
    yield from lost(case, {Path(row["file"]).name for row in listed if row.get("file")}, outcome.out)
    yield from formulas(table)


def lost(case: Case, said: set[str], text: str) -> Iterator[str]:
    for name in case.named:
        if name not in said and f"{stem(name)}.npy" not in said and name not in text:
            yield f"a file is lost without a word | {name}"


def refused(case: Case) -> list[str]:
    """The damaged images, or studies, that cannot be read."""
    from fracturelib._io.files import InputError
    from fracturelib.data.decode import read_grey
    from fracturelib.data.volumes import is_study, read_study

    found = []
    paths = {path for source in case.sources for path in source.rglob("*") if path.name in case.named}
    with warnings.catch_warnings(action="ignore"):
        for path in sorted(paths):
            try:
                (read_study if is_study(path) else read_grey)(path)
            except InputError:
                found.append(path.name)
    return found


def audited(case: Case, outcome: Outcome) -> Iterator[str]:
    """The JSON is strict; each unreadable image is named, each image counted; no name becomes markup."""
    report = case.root / "out" / "audit.json"
    try:
        found = strict(report)
    except (OSError, ValueError) as error:
        yield f"no JSON, or not strict | {error}"
        return
    named = {Path(p["file"]).name for p in found["problems"]}
    unreadable = refused(case) if case.named else []
    outcome.refused = len(unreadable)
    for name in unreadable:
        if name not in named and name not in outcome.out:
            yield f"an unreadable image is not named | {name}"
    if case.named:
        counted = sum(split["images"] for split in found["splits"])
        files = [path for source in case.sources for path in source.rglob("*") if path.is_file()]
        there = sum(is_image_file(path) for path in files)
        unnamed = [name for name in case.named if name in named or name in outcome.out]
        if not there - len(unnamed) <= counted <= there:
            yield f"images are not counted | {counted} of {there}, {len(unnamed)} named"
    yield from markup(case.root / "out" / "audit.html")
    if outcome.code == 0 and not found["clean"]:
        yield "exit code 0, but not clean | "


def named_studies(case: Case, outcome: Outcome) -> Iterator[str]:
    """The JSON is strict, and each study that cannot be read is named."""
    if outcome.code == 2:
        return
    try:
        found = strict(case.root / "out" / "audit.json")
    except (OSError, ValueError) as error:
        yield f"no JSON, or not strict | {error}"
        return
    named = {Path(problem["file"]).name for problem in found["problems"]}
    unreadable = refused(case)
    outcome.refused = len(unreadable)
    for name in unreadable:
        if name not in named and name not in outcome.out:
            yield f"an unreadable study is not named | {name}"


def markup(page: Path) -> Iterator[str]:
    if page.is_file() and "<script>alert(" in page.read_text(encoding="utf-8"):
        yield "a name became a script | "


def imported(case: Case, outcome: Outcome) -> Iterator[str]:
    """Each image is in the manifest or among those left out; the result keeps the contract."""
    out = case.root / "out" / "set"
    listed, left = rows(out / "manifest.csv"), rows(out / "left_out.csv")
    said = {Path(row["file"]).name for row in (*listed, *left)}
    outcome.refused = len(left) if case.named else 0
    yield from lost(case, said, outcome.out)
    if not listed:
        yield "imported without a manifest | "
    splits: dict[str, set[str]] = {}
    for row in listed:
        splits.setdefault(row["group"], set()).add(row["split"])
        if row["split"] not in ("train", "val", "test") or row["label"] not in ("0", "1"):
            yield f"a row against the contract | {row}"
        if not (out / row["file"]).is_file() or not number(row["width"]) >= 16 <= number(row["height"]):
            yield f"a row without its image or its size | {row}"
    for group, where in splits.items():
        if len(where) > 1:
            yield f"a group in two splits | {group}: {sorted(where)}"
    if len({row["file"].casefold() for row in listed}) != len(listed):
        yield "two rows of one file | "
    yield from formulas(out / "manifest.csv")
    if (out / "annotations.json").is_file():
        try:
            strict(out / "annotations.json")
        except ValueError as error:
            yield f"annotations that are no JSON | {error}"


def trained(case: Case, outcome: Outcome) -> Iterator[str]:
    """Scores of val and test, finite; each unreadable image named."""
    listed = rows(case.root / "out" / "run" / "predictions.csv")
    if not listed or not (case.root / "out" / "run" / "model.pt").is_file():
        yield "trained without a model or scores | "
    for row in listed:
        if not 0 <= number(row.get("score")) <= 1 or row.get("label") not in ("0", "1"):
            yield f"a score or label against the contract | {row}"
    for row in rows(case.root / "out" / "run" / "history.csv"):
        if not all(math.isfinite(number(value)) for value in row.values()):
            yield f"a history that is not finite | {row}"
    unreadable = refused(case) if case.named else []
    outcome.refused = len(unreadable)
    for name in unreadable:
        if name not in outcome.out:
            yield f"an unreadable image is not named | {name}"


def explained(case: Case, outcome: Outcome) -> Iterator[str]:
    """Each image has a picture, or a line says why not."""
    outcome.refused = outcome.out.count("left out: ")
    pictures = [path.name for path in (case.root / "out").rglob("*.png")]
    for name in case.named:
        if name not in outcome.out and not any(Path(name).stem in picture for picture in pictures):
            yield f"neither a picture nor a reason | {name}"


def evaluated(case: Case, outcome: Outcome) -> Iterator[str]:
    """What is printed is no NaN, and the JSON is strict."""
    if " nan " in f" {outcome.out} ".replace("(", " "):
        yield f"nan is printed | {next(line for line in outcome.out.splitlines() if 'nan' in line)}"
    for path in (case.root / "out").rglob("*.json"):
        try:
            strict(path)
        except ValueError as error:
            yield f"a JSON that is not strict | {path.name} {error}"
    for page in (case.root / "out").rglob("*.html"):
        yield from markup(page)


def must_refuse(what: str) -> Callable[[Case, Outcome], Iterator[str]]:
    """A checkpoint that means nothing is not taken."""

    def check(case: Case, outcome: Outcome) -> Iterator[str]:
        yield f"a checkpoint that means nothing was taken: {what} | {outcome.out[-200:]}"

    return check
