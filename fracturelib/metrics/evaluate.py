"""From a table of scores to its judgement as plain values, for the terminal, for JSON and for the page."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io import NOTICE
from fracturelib._io.files import InputError, printable
from fracturelib._io.words import words_of
from fracturelib.metrics.bootstrap import group_bootstrap
from fracturelib.metrics.calibration import brier_parts, calibration_error, calibration_line
from fracturelib.metrics.classification import average_precision, confusion_at, partial_auc, roc_auc, undefined_reason
from fracturelib.metrics.decision_curve import net_benefit, workload
from fracturelib.metrics.intervals import delong_interval
from fracturelib.metrics.operating_point import OperatingPoint, choose_threshold, scores_fingerprint
from fracturelib.metrics.rates import operating_point_table
from fracturelib.metrics.summary import by_subgroup, compare_models

VERSION = 3  # of what `evaluate` gives; until 2 there was one threshold for all images, and 1 said films for images
MOST_VALUES = 12
NO_SUBGROUP = {
    "file", "label", "score", "group", "split", "width", "height", "decision", "reason", "threshold", "doubt", "fold",
    "first_look", "closer_look",
}  # fmt: skip


def evaluate(
    frame: pd.DataFrame,
    *,
    threshold: float | OperatingPoint | None = None,
    compare: pd.DataFrame | None = None,
    threshold_compare: float | None = None,
    seed: int = 0,
    n: int = 1000,
) -> dict[str, Any]:
    """Judge a table of scores.

    Parameters
    ----------
    frame : DataFrame
        As `read_predictions` gives it: label, score, group, perhaps split and metadata.
    threshold : float or OperatingPoint, optional
        An image is predicted fractured if its score is at least this. If not given: the column threshold, in which
        images may have their own where there is a column region; else 0.5.
    compare : DataFrame, optional
        Another model's scores of the same images.
    threshold_compare : float, optional
        The other model's threshold. If not given: its column threshold where that of `frame` is used, else the same.
    seed, n : int
        Of the bootstrap by groups, and its resamples.

    Returns
    -------
    dict
        notice, version, threshold (None if images have their own), threshold_source (in words), operating_point (where
        it comes from, or None), splits: for each split (or "all") images, groups, fractured, prevalence, flatters,
        undefined (the reason, or None), auc, average_precision (each value, low, high, note), delong, partial_auc,
        confusion, operating_point (rows), calibration, utility, subgroups, comparison.

    Raises
    ------
    InputError
        If the threshold is not in 0..1, the other table has other images or labels, or models are compared at
        thresholds of each image's own.
    """
    point = threshold if isinstance(threshold, OperatingPoint) else None
    at, source = _threshold_of(frame, threshold)
    other = None if compare is None else aligned(frame, compare)
    limit = at if compare is None else _limit(compare, at, threshold_compare, given=threshold is not None)
    splits = {}
    for name, part in splits_of(frame).items():
        rows = judge(part, at, point=point, seed=seed, n=n)
        if other is not None and at is not None and limit is not None:
            y, a, b = part["label"], part["score"], other.loc[part.index]
            table = compare_models(y, a, b, part["group"], threshold_a=at, threshold_b=limit, n=n, seed=seed)
            rows["comparison"] = {"threshold": limit, "rows": records(table)}
        splits[name] = rows
    return {
        "notice": NOTICE,
        "version": VERSION,
        "threshold": at,
        "threshold_source": source,
        "operating_point": point.as_dict() if point else None,
        "resamples": n,
        "splits": splits,
    }


def _limit(compare: pd.DataFrame, at: float | None, given_limit: float | None, *, given: bool) -> float:
    """The other model's threshold."""
    own = None if given or given_limit is not None else _written_threshold(compare)
    limit = next((limit for limit in (given_limit, None if own is None else own[0], at) if limit is not None), None)
    if at is None or limit is None or (own is not None and own[0] is None):
        raise InputError("--compare: images have thresholds of their own; expected --threshold or --threshold-from")
    return limit


def _threshold_of(frame: pd.DataFrame, threshold: float | OperatingPoint | None) -> tuple[float | None, str]:
    """The threshold, None if each image has its own, and where it comes from.

    A rule may find that predicting nobody fractured is best, and say infinity; a user's number has to be a score.
    """
    if isinstance(threshold, OperatingPoint) and (0 <= threshold.threshold <= 1 or threshold.threshold == np.inf):
        return float(threshold.threshold), f"chosen by {threshold.rule}"
    if threshold is not None:
        at = float(threshold.threshold if isinstance(threshold, OperatingPoint) else threshold)
        if not 0 <= at <= 1:
            raise InputError(f"--threshold is {at}; expected a number in 0..1")
        return at, "as given"
    return _written_threshold(frame) or (0.5, "since none was given")


def _written_threshold(frame: pd.DataFrame) -> tuple[float | None, str] | None:
    """The threshold in a table of `fracture predict`, None if images have their own; None of another table."""
    if not {"threshold", "decision"} <= set(frame.columns):
        return None
    written = pd.to_numeric(frame["threshold"], errors="coerce").unique()
    if np.isnan(written).any():
        said = frame["threshold"][pd.to_numeric(frame["threshold"], errors="coerce").isna()].iloc[0]
        raise InputError(f"the column threshold holds {printable(said)}; expected a number in 0..1, or --threshold")
    if len(written) != 1 and "region" not in frame:  # such as tables of two networks, one below the other
        raise InputError(f"the column threshold has {len(written)} values; expected one, or --threshold")
    for value in written:
        if not (0 <= value <= 1 or value == np.inf):
            raise InputError(f"the column threshold is {value}; expected a number in 0..1, or --threshold")
    if len(written) == 1:
        return float(written[0]), "by which fracture predict decided"
    most = f"{written.min():.3f} to {written.max():.3f}"
    return None, f"{most}, as it was scored; where these images also chose the thresholds, the rates flatter"


def decisions(frame: pd.DataFrame, threshold: float | None) -> tuple[NDArray[np.float64], float]:
    """What rates are judged by, and at which threshold: scores; or 1 and 0, where each image has its own threshold."""
    score = frame["score"].to_numpy(float)
    if threshold is not None:
        return score, threshold
    if "threshold" not in frame:
        raise InputError("threshold is None, without a column threshold; expected a number")
    return (score >= pd.to_numeric(frame["threshold"]).to_numpy(float)).astype(float), 0.5


def splits_of(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each split, those without one as "none"; of a table without splits all of them, as "all"."""
    frame = _grouped(frame)
    if "split" not in frame:
        return {"all": frame}
    names = ["none" if pd.isna(value) or not str(value).strip() else str(value) for value in frame["split"]]
    return {str(k): v for k, v in frame.groupby(pd.Series(names, index=frame.index), sort=False)}


def _grouped(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with a column group: the image itself where there is none, as `read_predictions` has it."""
    if "group" in frame:
        return frame
    return frame.assign(group=frame["file"] if "file" in frame else np.arange(len(frame)))


def aligned(frame: pd.DataFrame, compare: pd.DataFrame) -> pd.Series:
    """The other model's score of each image of `frame`, in its order.

    Raises
    ------
    InputError
        If an image is missing there, or has another label.
    """
    other = compare.set_index("file").reindex(frame["file"])
    missing = other["score"].isna().to_numpy()
    if missing.any():
        many = words_of(frame).many
        raise InputError(f"--compare: has no score for {int(missing.sum())} {many}, such as "
                         f"{frame['file'][missing].iloc[0]}; expected the same {many}")  # fmt: skip
    differs = other["label"].to_numpy() != frame["label"].to_numpy()
    if differs.any():
        raise InputError(f"--compare: {frame['file'][differs].iloc[0]} has another label there; expected the same")
    return pd.Series(other["score"].to_numpy(float), index=frame.index)


def point_from(frame: pd.DataFrame, rule: str, *, seed: int = 0, n: int = 1000) -> OperatingPoint:
    """Choose a threshold on the images of split "val", or on all if there are no splits.

    Raises
    ------
    InputError
        If there are splits but no val among them, the rule is none, or a class is missing.
    """
    if "split" in frame:
        found = ", ".join(splits_of(frame))
        frame = frame[frame["split"] == "val"]
        if frame.empty:
            raise InputError(f"--threshold-from: has the splits {found}; expected val among them, or no column split")
    try:
        point = choose_threshold(frame["label"], frame["score"], rule, group=frame.get("group"), n=n, seed=seed)
    except InputError as error:
        raise InputError(words_of(frame).said(str(error))) from None
    # No image is called by an infinite threshold, which a rule may find best; one that it states has to be a score.
    if not (0 <= point.threshold <= 1 or point.threshold == np.inf):
        raise InputError(f"rule is {rule!r}; expected a score in 0..1")
    return point


def judge(
    frame: pd.DataFrame, threshold: float | None, *, point: OperatingPoint | None = None, seed: int = 0, n: int = 1000
) -> dict[str, Any]:
    """The figures of one split, as plain values; a threshold of None is that in the column of this name."""
    frame = _grouped(frame)
    y, score, group = frame["label"].to_numpy(), frame["score"].to_numpy(), frame["group"].to_numpy()
    said, limit = decisions(frame, threshold)
    counts = confusion_at(y, said, limit)
    table = operating_point_table(y, said, limit, group, n=n, seed=seed)
    intervals = {
        "auc": group_bootstrap(roc_auc, y, score, group, n=n, seed=seed),
        "average_precision": group_bootstrap(average_precision, y, score, group, n=n, seed=seed),
        "delong": delong_interval(y, score),
    }
    return {
        "images": len(y),
        "groups": int(frame["group"].nunique()),
        "fractured": int(y.sum()),
        "prevalence": float(y.mean()),
        "flatters": point is not None and point.fingerprint == scores_fingerprint(y, score),
        "undefined": undefined_reason(y),
        **{
            name: {"value": i.value, "low": i.low, "high": i.high, "note": i.undefined or i.note}
            for name, i in intervals.items()
        },
        "partial_auc": {"specificity": [0.9, 1.0], "corrected": partial_auc(y, score)},
        "confusion": asdict(counts),
        "operating_point": records(table),
        "calibration": {
            "brier": asdict(brier_parts(y, score)),
            "ece_mass": calibration_error(y, score),
            "ece_width": calibration_error(y, score, by="width"),
            "line": asdict(calibration_line(y, score, group=group)),
        },
        "utility": utility(frame, threshold, n=n, seed=seed),
        "subgroups": {
            column: records(
                subgroups_at(frame, column, threshold, n=min(n, 300), seed=seed)
                .rename_axis("value")  # a column's own name may be that of a figure, such as auc
                .reset_index()
            )
            for column in subgroup_columns(frame)
        },
    }


def subgroups_at(frame: pd.DataFrame, column: str, threshold: float | None, *, n: int, seed: int) -> pd.DataFrame:
    """As `by_subgroup`; the rates are those of `decisions`."""
    said, limit = decisions(frame, threshold)
    table = by_subgroup(frame, column, threshold=limit, n=n, seed=seed)
    if threshold is None:
        rates = by_subgroup(frame.assign(score=said), column, threshold=limit, n=n, seed=seed)
        table = rates.assign(**{name: table[name] for name in table if name.startswith("auc")})
    return table


def utility(frame: pd.DataFrame, threshold: float | None, *, n: int, seed: int) -> dict[str, Any]:
    """Net benefit at the threshold, and the work it makes among 1,000 images like these.

    What a false alarm costs against a miss is said by one threshold; without one there is no net benefit.
    """
    y, score = frame["label"].to_numpy(), frame["score"].to_numpy()
    counts = confusion_at(y, *decisions(frame, threshold))
    result: dict[str, Any] = {"net_benefit": None, "per_1000": None}
    if threshold is not None and threshold < 1:
        row = net_benefit(y, score, [threshold], group=frame["group"], n=n, seed=seed).iloc[0]
        result["net_benefit"] = {
            k: float(row[k]) for k in ("model", "low", "high", "all", "gain", "gain_low", "gain_high")
        }
    if undefined_reason(y) is None:
        load = workload(counts.sensitivity, counts.specificity, counts.prevalence)
        result["per_1000"] = {**asdict(load), "images_per_find": load.images_per_find}
    return result


def subgroup_columns(frame: pd.DataFrame) -> list[str]:
    """Columns that part the images into a few kinds."""
    return [c for c in frame.columns if c not in NO_SUBGROUP and 2 <= frame[c].nunique() <= MOST_VALUES]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values, with None where there is no number."""
    return json.loads(table.to_json(orient="records", double_precision=15))
