"""Checks of lesson 01: images behind a patient, patients in two splits, a coin's interval, the no-information rate."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fracturelib.checks.answers import (
    Reply,
    exercise,
    judge_function,
    judge_number,
    near,
    not_yet,
    number,
    proportion,
    right,
    which_interval,
)
from fracturelib.metrics import group_bootstrap, roc_auc, wilson_interval


@exercise("1.1")
def images_a_patient(answer: object, *, frame: pd.DataFrame) -> Reply:
    """Images for each patient of the validation split."""
    val = frame[frame["split"] == "val"]
    patients, fractured = val["group"].nunique(), int(val["label"].sum())
    truth = len(val) / patients
    meaning = (
        f"the {len(val)} images of validation come from {patients} patients: that many witnesses, not {len(val)}. "
        "Every interval in this course draws patients for that reason"
    )
    if patients == len(val):
        meaning = (
            "one, because no patients are known here: each image counts as a patient of its own, and every interval "
            "will come out too narrow by an amount that nobody can tell"
        )
    return judge_number(
        number(answer),
        truth,
        meaning,
        (
            (len(val) / max(fractured, 1), "you divided by the fractured images; patients are in the column group"),
            (1 / truth, "upside down: that is patients for each image"),
            (len(frame) / frame["group"].nunique(), "that is for all splits together; take validation alone"),
            (patients, "that is how many patients there are; divide the images by them"),
            (len(val), "that is how many images there are; divide them by the patients"),
            (val.groupby("group").size().max(), "that is the patient with the most images; the mean is asked for"),
        ),
        tolerance=0.011 if truth != round(truth) else 0.001,
        otherwise="both numbers stand in the row val of the table above; give two digits after the point",
    )


def _table(rows: Sequence[tuple[str, str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["file", "split", "group"])
    return frame.assign(label=[i % 2 for i in range(len(frame))])


def _hidden_tables() -> dict[str, tuple[pd.DataFrame]]:
    """Tables on which `shared` is tried."""
    whole = [("a1", "train", "A"), ("a2", "train", "A"), ("b1", "val", "B"), ("c1", "test", "C"), ("c2", "test", "C")]
    apart = [*whole, ("d1", "val", "D"), ("d2", "test", "D"), ("d3", "test", "D")]
    several = [*apart, ("e1", "train", "E"), ("e2", "val", "E"), ("f1", "train", "F"), ("f2", "test", "F")]
    several += [(f"g{split}", split, "G") for split in ("train", "val", "test")]
    counted = [("x.jpg", "train", 7), ("x.jpg", "train", 8), ("y.jpg", "val", 7), ("z.jpg", "val", 9)]
    shuffled = _table(several).sample(frac=1, random_state=3).set_index(np.arange(100, 100 + len(several)))
    return {
        "a table in which nobody is shared": (_table(whole),),
        "a table in which one patient is in val and in test": (_table(apart),),
        "a table with several shared patients": (_table(several),),
        "a table in another order, with another index": (shuffled,),
        "a table whose groups are numbers and whose file names recur": (_table(counted),),
    }


def _shared(frame: pd.DataFrame) -> set[Any]:
    splits = frame.groupby("group")["split"].nunique()
    return set(splits.index[splits > 1])


def _in_exactly_two(frame: pd.DataFrame) -> set[Any]:
    splits = frame.groupby("group")["split"].nunique()
    return set(splits.index[splits == 2])


def _between(frame: pd.DataFrame, one: str, other: str) -> set[Any]:
    return set(frame.loc[frame["split"] == one, "group"]) & set(frame.loc[frame["split"] == other, "group"])


@exercise("1.2")
def patients_in_two_splits(function: object) -> Reply:
    """A function from a manifest to the groups that are in more than one split."""
    return judge_function(
        function,
        _hidden_tables(),
        _shared,
        "a patient in two splits makes the test a test of memory. These few lines find it in any manifest, and the "
        "audit at the end of this lesson does it for yours",
        (
            (
                lambda f: f.groupby("group")["split"].nunique() > 1,
                "return the groups themselves (a list, set or index), not a True or False for every group",
            ),
            (lambda f: set(f.loc[f["file"].duplicated(), "group"]), "you compare files: one patient has several files"),
            (lambda f: set(f.loc[f["file"].duplicated(), "file"]), "those are files; patients are in the column group"),
            (lambda f: _between(f, "train", "test"), "you compare train with test only: val can leak, too"),
            (lambda f: _between(f, "train", "val"), "you compare train with val only: test can leak, too"),
            (
                lambda f: _between(f, "train", "val") | _between(f, "train", "test"),
                "you compare train with the others; somebody may be in val and in test",
            ),
            (
                lambda f: set(f.loc[f["group"].duplicated(), "group"]),
                "those are patients with several images; in one and the same split that is no leak",
            ),
            (_in_exactly_two, "somebody may be in all three splits, too"),
            (lambda f: set(f["group"]), "those are all patients; keep the ones that are in more than one split"),
            (lambda f: len(_shared(f)), "that is how many there are; return which ones"),
            (lambda f: bool(_shared(f)), "that says whether there are any; return which ones"),
            (_counts, "that is a table of counts; the groups themselves are its index"),
            (
                lambda f: f.groupby("group")["split"].nunique(),
                "that counts the splits of every group; keep those above 1",
            ),
        ),
    )


def _counts(frame: pd.DataFrame) -> pd.Series:
    splits = frame.groupby("group")["split"].nunique()
    return splits[splits > 1]


_VERDICTS = ("lower", "higher", "not shown")


@exercise("1.3")
def other_than_a_coin(low: object, high: object, verdict: object, *, val: pd.DataFrame, scores: Any) -> Reply:
    """The interval of the metadata's AUC by patients, and whether it differs from a coin."""
    start, end = proportion(low, "low"), proportion(high, "high")
    if start > end:
        not_yet("low lies above high: swap the two")
    groups, labels = list(val["group"]), val["label"]
    by_patient, by_image = group_bootstrap(roc_auc, labels, scores, groups), group_bootstrap(roc_auc, labels, scores)
    if np.isnan(by_patient.low):
        not_yet(f"these data give no interval ({by_patient.undefined}); the demo set does")
    drawn = which_interval((start, end), (by_patient.low, by_patient.high), (by_image.low, by_image.high))
    if drawn is False:
        not_yet(
            "you drew images; that interval is too narrow: two views of one wrist are one witness. Hand the groups to "
            "the bootstrap, too"
        )
    if drawn is None:
        if near(start, by_patient.value) and near(end, by_patient.value):
            not_yet("that is the AUC itself, twice; its interval has a lower and an upper end")
        if _agree(start, end, 1 - by_patient.high, 1 - by_patient.low):
            not_yet("labels or scores are turned round: a higher score must mean a fracture")
        not_yet("that is another interval: 95 %, of the validation split, for the scores of the metadata")
    said = str(verdict).strip().casefold() if isinstance(verdict, str) else ""
    if said not in _VERDICTS:
        not_yet(f"the interval is right; for the verdict choose one of {', '.join(map(repr, _VERDICTS))}, in quotes")
    expected = _verdict(by_patient.low, by_patient.high)
    if said not in (expected, _verdict(start, end)):  # rounded ends may meet one half
        not_yet(_WHY[expected])
    wider = (by_patient.high - by_patient.low) / (by_image.high - by_image.low)
    return right(
        f"{_MEANING[said]}. {_width(val, f'The interval by patients is {wider:.1f} times as wide as by images')}"
    )


def _width(val: pd.DataFrame, words: str) -> str:
    """The words about patients, or that none are known."""
    known = val["group"].nunique() < len(val)
    return (
        words if known else "No patients are known here, so the interval is too narrow, and nobody can tell by how much"
    )


def _verdict(low: float, high: float) -> str:
    return "lower" if high < 0.5 else "higher" if low > 0.5 else "not shown"


_WHY = {
    "not shown": "the interval is right; now see where one half lies, outside of it or inside",
    "lower": "the interval is right; now see on which side of one half the whole of it lies, the lower or the upper",
    "higher": "the interval is right; now see on which side of one half the whole of it lies, the upper or the lower",
}
_MEANING = {
    "not shown": "a coin could have done this. That does not prove that the metadata say nothing: it was not shown "
    "that they do",
    "lower": "the whole interval lies below one half: what the metadata said on train, they say the other way round on "
    "validation. The two differ, or chance did it; look before you train",
    "higher": "the label can be guessed in part without a look at the bone. A network must beat this number, and "
    "within the strata of the metadata, before anybody believes that it sees fractures",
}


def _agree(low: float, high: float, other_low: float, other_high: float) -> bool:
    """Whether two intervals are the same but for rounding and the chance of the draws."""
    return near(low, other_low, 0.013) and near(high, other_high, 0.013)


@exercise("1.4")
def no_information(rate: object, low: object, high: object, *, val: pd.DataFrame) -> Reply:
    """The share of the commoner class of validation, with Wilson's interval."""
    share = proportion(rate, "rate")
    ends = sorted((proportion(low, "low"), proportion(high, "high")))
    broken, images = int(val["label"].sum()), len(val)
    commoner = max(broken, images - broken)
    truth, rarer = wilson_interval(commoner, images), wilson_interval(images - commoner, images)
    judge_number(
        share,
        truth.value,
        "",
        (
            (rarer.value, "that is the share of the rarer class; whoever always gives one answer picks the commoner"),
            (0.5, "that is a coin; always giving the same answer does better than that wherever one class is commoner"),
            (broken / max(images - broken, 1), "that is the odds, fractured against not; a share divides by all"),
        ),
        otherwise="of all images of validation, how many belong to the commoner class?",
    )
    wilson, agree = (truth.low, truth.high), _agree(ends[0], ends[1], truth.low, truth.high)
    if not agree and near(ends[0], rarer.low, 0.013) and near(ends[1], rarer.high, 0.013):
        not_yet("the rate is right, but that is the interval of the other class")
    if not agree:
        patients = val["group"].nunique()
        few = wilson_interval(round(truth.value * patients), patients)
        if _agree(ends[0], ends[1], few.low, few.high):
            not_yet("the rate is right; you counted patients, and Wilson's interval here wants images")
        if near(ends[1] - ends[0], (wilson[1] - wilson[0]) / 2, 0.013):
            not_yet("the rate is right; you went from the rate to one end: an interval has two")
        if near(ends[0], ends[1]):
            not_yet("the rate is right; its interval has a lower and an upper end")
        not_yet("the rate is right; for the interval, hand Wilson's function the count and the number of images")
    by_patient = group_bootstrap(_share_of(commoner == broken), val["label"], val["label"], list(val["group"]))
    wider = (by_patient.high - by_patient.low) / (wilson[1] - wilson[0])
    width = (
        f"Wilson took each image for a witness of its own; drawn by patients, the interval is {wider:.1f} times as wide"
    )
    return right(
        "an accuracy must beat this, and be shown to: that is how often one is right without a look. "
        + _width(val, width)
    )


def _share_of(broken: bool) -> Callable[[Any, Any], float]:
    return lambda labels, _: float(np.mean(np.asarray(labels) == int(broken)))
