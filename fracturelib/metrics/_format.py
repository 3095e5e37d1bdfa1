"""Results in words and tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fracturelib._io.files import printable
from fracturelib._io.words import WORDS, Words


def plain(value: Any) -> Any:
    """What JSON can say: neither NaN nor infinity is a number there, and becomes null."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def with_interval(row: Mapping[str, Any]) -> str:
    """A row as "value (low to high)", with a reason for an interval that is made otherwise or none; or why not."""
    value, low, high = (float("nan") if row[k] is None else float(row[k]) for k in ("value", "low", "high"))
    if np.isnan(value):
        return str(row.get("note") or "undefined")
    note = str(row.get("note") or "")
    if np.isfinite(low):
        return f"{value:.3f} ({low:.3f} to {high:.3f}{'; ' if note else ''}{note})"
    return f"{value:.3f} ({note})" if note else f"{value:.3f}"


def threshold_line(result: Mapping[str, Any], words: Words = WORDS["image"]) -> str:
    """Where the threshold comes from, in one line."""
    at, point = result["threshold"], result["operating_point"]
    if at is None:
        return f"each {words.one} at its own threshold, {words.said(result['threshold_source'])}"
    if point is None:
        return f"threshold {at:.3f}, {result['threshold_source']}"
    spread = f", {point['low']:.3f} to {point['high']:.3f} with other patients" if np.isfinite(point["low"]) else ""
    return (
        f"threshold {at:.3f}, chosen by {point['rule']} on {point['images']} {words.many} "
        f"({point['fractured']} {words.classes[1]}){spread}"
    )


def format_table(result: Mapping[str, Any], words: Words = WORDS["image"]) -> str:
    """Lines for the terminal; `words` say what was judged."""
    said, lines = words.said, [result["notice"], threshold_line(result, words)]
    for name, part in result["splits"].items():
        lines.append(
            f"\n{printable(name)}: {part['images']} {words.many} of {part['groups']} groups, "
            f"{part['fractured']} {words.classes[1]}"
        )
        if part["flatters"]:
            lines.append(f"  the threshold was chosen on these very {words.many}: what it reaches here flatters")
        if part["undefined"]:
            lines.append(f"  AUC {said(part['undefined'])}")
        for key, label in (("auc", "AUC"), ("average_precision", "average precision")):
            lines.append(f"  {label:<18}{said(with_interval(part[key]))}")
        for row in part["operating_point"]:
            counts = f"   {row['numerator']} of {row['denominator']}" if row["numerator"] is not None else ""
            lines.append(f"  {row['metric']:<18}{said(with_interval(row))}{counts}")
        for row in part.get("comparison", {}).get("rows", []):
            p = "undefined" if row["p"] is None else f"{row['p']:.3f}"
            found = said(with_interval({**row, "value": row["difference"]}))
            lines.append(f"  difference in {row['metric']:<18}{found}   p {p} ({row['test']})")
    lines.append(f"\nintervals: 95 %, {result['resamples']} samples of whole groups")
    return "\n".join(lines)
