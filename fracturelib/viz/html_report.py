"""The report as files: JSON, tables, figures, and one page that holds them all."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

from fracturelib._io.filenames import distinct_names, safe_name
from fracturelib._io.files import atomic_path, json_mark, may_replace, printable, table_mark
from fracturelib._io.pages import beginning, inlined, page
from fracturelib._io.tables import table_text
from fracturelib._io.words import Words, words_of
from fracturelib.metrics._format import plain, threshold_line, with_interval
from fracturelib.metrics.classification import confusion_at, sweep
from fracturelib.metrics.decision_curve import net_benefit, predictive_value_curve
from fracturelib.metrics.evaluate import aligned, decisions, evaluate, splits_of
from fracturelib.viz.evaluation import (
    bands_plot,
    compared_plot,
    decision_plot,
    predictive_values_plot,
    reliability_plot,
    selective_plot,
)
from fracturelib.viz.figures import confusion_plot, score_histogram, sweep_plot

NAMES = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "PPV (precision)",
    "npv": "NPV",
    "accuracy": "Accuracy",
    "youden": "Youden's J",
    "auc": "AUC",
    "average_precision": "Average precision",
}

TITLE, SOFTWARE = "<title>How good is this classifier?</title>", "fracture evaluate"  # what marks a file as ours
FIGURES = (
    "scores", "confusion", "curves", "sweep", "calibration", "decision", "predictive-values", "selective", "compared",
)  # fmt: skip
SWEEP_COLUMNS = (
    "threshold,tp,fp,fn,tn,sensitivity,specificity,precision,npv,accuracy,balanced_accuracy,f1,f_beta,mcc,youden,"
    "lr_plus,lr_minus(,alert_rate)?"
)
# Only what was compared with the published list is named.
CHECKLIST = (
    "Of the STARD 2015 list (doi 10.1136/bmj.h5527) this answers item 12a (the cut-off, and whether it was set "
    "beforehand), item 14 (how accuracy was estimated and compared) and item 17 (how it varies, by subgroups); the "
    "other items, of which patients and by what reference standard, only the study itself can answer."
)


def figures(
    frame: pd.DataFrame, threshold: float | None, other: pd.Series | None, other_threshold: float | None
) -> Iterator[tuple[str, str, Figure]]:
    """Name, caption and figure of everything that there is to see in a split; of `judge`'s threshold."""
    y, score, group = frame["label"], frame["score"], frame["group"]
    said, limit = decisions(frame, threshold)
    about = "" if threshold is None else " about the threshold"
    yield "scores", f"How the scores of both classes lie{about}.", score_histogram(y, score, threshold)
    yield (
        "confusion",
        "Predictions against the truth, which is in the rows.",
        confusion_plot(confusion_at(y, said, limit)),
    )
    yield (
        "curves",
        "ROC and precision-recall with 95 % bands by groups" + (" and the operating point." if about else "."),
        bands_plot(y, score, group, threshold, n=300),
    )
    yield "sweep", "What each threshold would reach.", sweep_plot(sweep(y, score), threshold)
    yield (
        "calibration",
        "Whether a score means what it says: observed proportion against mean score, 95 % by groups.",
        reliability_plot(y, score, group, n=300),
    )
    yield (
        "decision",
        "Net benefit against that of calling everybody or nobody.",
        decision_plot(net_benefit(y, score, group=group, n=300), threshold if (threshold or 0) < 1 else None),
    )
    if y.nunique() == 2:
        curve = predictive_value_curve(y, said, limit, group=group, n=300)
        yield (
            "predictive-values",
            "What a call is worth where fractures are more or less common.",
            predictive_values_plot(curve, float(y.mean())),
        )
    if threshold is not None and 0 < threshold < 1:
        yield (
            "selective",
            "Errors among the images that are decided, if those nearest to the threshold are left to people.",
            selective_plot(y, score, threshold),
        )
    if other is not None and threshold is not None and other_threshold is not None:
        scores, at = {"first": score, "second": other}, {"first": threshold, "second": other_threshold}
        yield "compared", "Both models on the same images, each at its threshold.", compared_plot(y, scores, at)


def report_files(splits: Sequence[str]) -> dict[str, str | re.Pattern[str]]:
    """What a report may consist of: the name of each file, and what marks it as one of a report."""
    files: dict[str, str | re.Pattern[str]] = {
        "evaluation.json": json_mark("notice", "For education"),
        "operating_point.csv": table_mark("split,metric,value,low,high,numerator,denominator(,note)?"),
        "table.md": re.compile(
            r"[^\n]*: \d+ (images?|study|studies) of \d+ groups?, \d+ (fractured|torn); [^\n]*95 % intervals by "
        ),
        "report.html": beginning(TITLE),
    }
    for name in split_names(splits):
        files[f"{name}-sweep.csv"] = table_mark(SWEEP_COLUMNS)
        files |= dict.fromkeys((f"{name}-{figure}.png" for figure in FIGURES), SOFTWARE)
    return files


def split_names(splits: Sequence[str]) -> list[str]:
    """What files of each split begin with: its name, as far as it can be that of a file, and no two alike."""
    return distinct_names([safe_name(split, most=80) for split in splits])


def require_free(splits: Sequence[str], out: Path) -> None:
    """Raise InputError if a report in `out` would replace anything but an earlier report."""
    for name, mark in report_files(splits).items():
        may_replace(out / name, mark)


def report(
    frame: pd.DataFrame, out: str | Path, *, compare: pd.DataFrame | None = None, **options: Any
) -> dict[str, Any]:
    """Judge a table of scores as `metrics.evaluate` does, with its options, and leave a report in a folder.

    Each file appears whole: evaluation.json, tables as CSV and Markdown, figures, and report.html, which needs none of
    them.

    Raises
    ------
    InputError
        As `metrics.evaluate` does, or if anything but an earlier report would be replaced.
    """
    parts = splits_of(frame)
    require_free(list(parts), Path(out))
    result = evaluate(frame, compare=compare, **options)
    other = None if compare is None else aligned(frame, compare)
    _write(result, parts, Path(out), other, words_of(frame))
    return result


def _write(
    result: Mapping[str, Any], parts: Mapping[str, pd.DataFrame], out: Path, other: pd.Series | None, words: Words
) -> None:
    rows = [{"split": name, **row} for name, part in result["splits"].items() for row in part["operating_point"]]
    texts = {
        "evaluation.json": json.dumps(plain(result), indent=2, allow_nan=False) + "\n",
        "operating_point.csv": table_text(pd.DataFrame(rows)),
        "table.md": "".join(f"{markdown_table(result, name, words)}\n" for name in parts),
    }
    splits = []
    for (name, frame), file in zip(parts.items(), split_names(list(parts)), strict=True):
        texts[f"{file}-sweep.csv"] = table_text(sweep(frame["label"], frame["score"]))
        part = result["splits"][name]
        limit = part.get("comparison", {}).get("threshold", result["threshold"])
        shown = []
        drawn = figures(frame, result["threshold"], None if other is None else other.loc[frame.index], limit)
        for figure, caption, made in drawn:
            buffer = BytesIO()
            _put_in(words, made)
            made.savefig(buffer, format="png", dpi=100, metadata={"Software": SOFTWARE})
            with atomic_path(out / f"{file}-{figure}.png") as temporary:
                temporary.write_bytes(buffer.getvalue())
            shown.append((words.said(caption), inlined(buffer.getvalue(), "png")))
        splits.append((name, part, tables(part, words), shown))
    texts["table.md"] += f"\n{CHECKLIST}\n"
    texts["report.html"] = page(
        "report", mark=TITLE, notice=result["notice"], threshold=threshold_line(result, words), splits=splits,
        resamples=result["resamples"], checklist=CHECKLIST, words=words,
    )  # fmt: skip
    for name, text in texts.items():
        with atomic_path(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _put_in(words: Words, made: Figure) -> None:
    """Put all that stands in a figure in these words."""
    for ax in made.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if isinstance(axis.get_major_locator(), FixedLocator):  # whose labels are drawn anew from what was set
                labels = [label.get_text() for label in axis.get_ticklabels()]
                if (said := [words.said(label) for label in labels]) != labels:
                    axis.set_ticklabels(said)
    for text in made.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(words.said(text.get_text()))


def tables(part: Mapping[str, Any], words: Words) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    """Caption, head and rows of each table of one split."""
    yield "Operating point", ["figure", "value (95 % interval)", words.many], operating_rows(part, words)
    yield "Ranking, calibration and use", ["figure", "value"], calibration_rows(part, words)
    for column, rows in part["subgroups"].items():
        cells = [
            [row["value"], row["fractured"], row["not_fractured"]]
            + [
                with_interval({"value": row[k], "low": row[f"{k}_low"], "high": row[f"{k}_high"], "note": "too few"})
                for k in ("auc", "sensitivity", "specificity")
            ]
            for row in rows
        ]
        yield f"By {column}", [column, *words.classes[::-1], "AUC", "sensitivity", "specificity"], cells
    if "comparison" in part:
        cells = [
            [NAMES[row["metric"]], _number(row["a"]), _number(row["b"]),
             words.said(with_interval({**row, "value": row["difference"]})), _number(row["p"]), row["test"]]
            for row in part["comparison"]["rows"]
        ]  # fmt: skip
        head = ["figure", "first", "second", "difference (95 % interval)", "p", "test"]
        yield f"Two models; threshold of the second {part['comparison']['threshold']:.3f}", head, cells


def operating_rows(part: Mapping[str, Any], words: Words) -> list[list[Any]]:
    """Figure, value with interval, and what it counts."""
    rows: list[list[Any]] = [[NAMES[k], words.said(with_interval(part[k])), ""] for k in ("auc", "average_precision")]
    for row in part["operating_point"]:
        counts = "" if row["numerator"] is None else f"{row['numerator']} of {row['denominator']}"
        rows.append([NAMES[row["metric"]], words.said(with_interval(row)), counts])
    return rows


def calibration_rows(part: Mapping[str, Any], words: Words) -> list[list[Any]]:
    """Figures that have no place in the first table."""
    line, parts, use = part["calibration"]["line"], part["calibration"]["brier"], part["utility"]
    rows = [
        ["AUC, DeLong (images as independent)", with_interval(part["delong"])],
        ["Partial AUC, specificity 0.9 to 1, McClish", _number(part["partial_auc"]["corrected"])],
        ["Calibration slope", line["undefined"] or _triple(line, "slope")],
        ["Calibration in the large", line["undefined"] or _triple(line, "intercept")],
        ["Calibration error, bins of equal mass", _number(part["calibration"]["ece_mass"])],
        ["Brier score", _number(parts["brier"])],
        ["Brier: reliability, resolution, uncertainty",
         ", ".join(_number(parts[k]) for k in ("reliability", "resolution", "uncertainty"))],
        ["Brier skill", _number(parts["skill"])],
    ]  # fmt: skip
    if use["net_benefit"]:
        row = use["net_benefit"]
        gain = {"value": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}
        rows.append(["Net benefit over the better of calling all and none", with_interval(gain)])
    if use["per_1000"]:
        load = use["per_1000"]
        rows.append(
            [
                "Of 1,000 such images",
                f"{load['flagged']:.0f} flagged, {load['false_alarms']:.0f} of them for nothing; "
                f"{load['missed']:.0f} of {load['fractured']:.0f} fractures missed",
            ]
        )
    return [[words.said(text) for text in row] for row in rows]


def _triple(line: Mapping[str, Any], name: str) -> str:
    return with_interval({"value": line[name], "low": line[f"{name}_low"], "high": line[f"{name}_high"]})


def _number(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{value:.3f}"


def markdown_table(result: Mapping[str, Any], name: str, words: Words) -> str:
    """The operating point, to be pasted into a paper."""
    part = result["splits"][name]
    lines = [
        f"{printable(name)}: {part['images']} {words.many} of {part['groups']} groups, "
        f"{part['fractured']} {words.classes[1]}; "
        f"{threshold_line(result, words)}. 95 % intervals by {result['resamples']} samples of whole groups.",
        "",
        f"| Figure | Value (95 % interval) | {words.many.capitalize()} |",
        "|---|---|---|",
    ]
    lines += [f"| {a} | {b} | {c} |" for a, b, c in operating_rows(part, words)]
    return "\n".join(lines) + "\n"
