"""From a table of scores to the whole picture: JSON, tables and figures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fracturelib._files import InputError, atomic_path
from fracturelib.metrics import (
    average_precision,
    by_subgroup,
    confusion_at,
    group_bootstrap,
    operating_point_table,
    roc_auc,
    sweep,
    undefined_reason,
)
from fracturelib.plots import calibration_plot, confusion_plot, curves_plot, score_histogram, sweep_plot

SUBGROUPS = ("region", "view", "hardware", "fracture_type")


def evaluate(
    frame: pd.DataFrame, *, threshold: float | None = None, out: str | Path | None = None, seed: int = 0, n: int = 1000
) -> dict[str, Any]:
    """Judge a table of scores.

    Parameters
    ----------
    frame : DataFrame
        As `read_predictions` gives it: label, score, group, perhaps split and metadata.
    threshold : float, optional
        A film is called fractured if its score is at least this; 0.5 if not given.
    out : path, optional
        Folder for evaluation.json, operating_point.csv, sweep.csv and figures.
    seed, n : int
        Of the bootstrap by patients, and its resamples.

    Returns
    -------
    dict
        threshold, splits: for each split (or "all") films, groups, fractured, prevalence, auc, average_precision (each
        value, low, high), undefined (the reason, or None), operating_point (rows), subgroups.

    Raises
    ------
    InputError
        If the threshold is not in 0..1.
    """
    threshold = 0.5 if threshold is None else threshold
    if not 0 <= threshold <= 1:
        raise InputError(f"--threshold is {threshold}; expected a number in 0..1")
    parts = dict(iter(frame.groupby("split", sort=False))) if "split" in frame else {"all": frame}
    result = {
        "threshold": threshold,
        "notice": "For education and research, not for clinical use.",
        "splits": {str(name): judge(part, threshold, seed=seed, n=n) for name, part in parts.items()},
    }
    if out is not None:
        write_report(result, {str(k): v for k, v in parts.items()}, threshold, Path(out))
    return result


def judge(frame: pd.DataFrame, threshold: float, *, seed: int, n: int) -> dict[str, Any]:
    """The figures of one split, as plain values."""
    y, score, group = frame["label"].to_numpy(), frame["score"].to_numpy(), list(frame["group"])
    intervals = {}
    for name, metric in (("auc", roc_auc), ("average_precision", average_precision)):
        interval = group_bootstrap(metric, y, score, group, n=n, seed=seed)
        intervals[name] = {"value": interval.value, "low": interval.low, "high": interval.high}
    table = operating_point_table(y, score, threshold, group, n=n, seed=seed)
    counts = confusion_at(y, score, threshold)
    return {
        "films": len(y),
        "groups": int(frame["group"].nunique()),
        "fractured": int(y.sum()),
        "prevalence": float(y.mean()),
        **intervals,
        "undefined": undefined_reason(y),
        "confusion": {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn},
        "operating_point": json.loads(table.to_json(orient="records")),
        "subgroups": {
            column: json.loads(
                by_subgroup(frame, column, threshold=threshold, n=200, seed=seed).to_json(orient="index")
            )
            for column in SUBGROUPS
            if column in frame and frame[column].nunique() > 1
        },
    }


def write_report(result: dict[str, Any], parts: dict[str, pd.DataFrame], threshold: float, out: Path) -> None:
    """Leave the results in a folder, each file whole."""
    with atomic_path(out / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(_plain(result), indent=2) + "\n", encoding="utf-8")
    rows = [{"split": name, **row} for name, part in result["splits"].items() for row in part["operating_point"]]
    with atomic_path(out / "operating_point.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    for name, frame in parts.items():
        y, score = frame["label"].to_numpy(), frame["score"].to_numpy()
        figures = {
            "curves": curves_plot(y, score, threshold),
            "sweep": sweep_plot(sweep(y, score), threshold),
            "confusion": confusion_plot(confusion_at(y, score, threshold)),
            "scores": score_histogram(y, score, threshold),
            "calibration": calibration_plot(y, score),
        }
        for figure, made in figures.items():
            with atomic_path(out / f"{name}-{figure}.png") as temporary:
                made.savefig(temporary, dpi=110)


def _plain(value: Any) -> Any:
    """NaN is not JSON: it becomes null."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def format_table(result: dict[str, Any]) -> str:
    """Lines for the terminal."""
    lines = [result["notice"]]
    for name, part in result["splits"].items():
        lines.append(f"\n{name}: {part['films']} films of {part['groups']} groups, {part['fractured']} fractured")
        if part["undefined"]:
            lines.append(f"  AUC {part['undefined']}")
        for key, label in (("auc", "AUC"), ("average_precision", "average precision")):
            lines.append(f"  {label:<18}{_with_interval(part[key])}")
        lines.append(f"  at threshold {result['threshold']:.3f}:")
        for row in part["operating_point"]:
            counts = f"   {row['numerator']} of {row['denominator']}" if row["numerator"] is not None else ""
            lines.append(f"  {row['metric']:<18}{_with_interval(row)}{counts}")
    return "\n".join(lines)


def _with_interval(row: dict[str, Any]) -> str:
    values = [float("nan") if row[k] is None else row[k] for k in ("value", "low", "high")]
    if not np.isfinite(values[0]):
        return "undefined"
    return f"{values[0]:.3f}  ({values[1]:.3f} to {values[2]:.3f}, 95 % by groups)"
