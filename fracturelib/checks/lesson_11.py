"""Exercises of lesson 11, the capstone: ten lines about a folder with two planted faults."""

from collections.abc import Iterable
from pathlib import PurePosixPath

import pandas as pd

from fracturelib.checks.answers import (
    Reply,
    exercise,
    judge_choice,
    judge_number,
    near,
    not_yet,
    number,
    proportion,
    right,
    which_interval,
)
from fracturelib.metrics import group_bootstrap, roc_auc
from fracturelib.simulate.unseen import UnseenFolder, plan_unseen, predictions_of


def _auc(frame: pd.DataFrame) -> float:
    return float(roc_auc(frame["label"].to_numpy(), frame["score"].to_numpy()))


def _test(plan: UnseenFolder) -> pd.DataFrame:
    table = predictions_of(plan)
    return table[table["split"] == "test"]


def _kept(plan: UnseenFolder, *, copies: bool = False, swapped: bool = False) -> pd.DataFrame:
    """Test images without the copies and without the region of swapped labels, unless these are asked for."""
    test = _test(plan)
    inside = pd.Series(True, index=test.index)
    if not copies:
        inside &= ~test["file"].isin(plan.copies)
    if not swapped:
        inside &= test["region"] != plan.swapped
    return test[inside]


# 11.1: lines 1 to 3 -----------------------------------------------------------------------------------------------


@exercise("11.1")
def as_delivered(images: object, patients: object, auc: object, *, seed: int) -> Reply:
    """Images and patients of the test split, and the AUC as the hospital would report it."""
    plan = plan_unseen(seed)
    table, test = predictions_of(plan), _test(plan)
    count, people, area = number(images, "line 1"), number(patients, "line 2"), proportion(auc, "line 3")
    if near(count, len(table)):
        not_yet("line 1: that is validation and test together; take the rows whose split is test")
    if near(count, int(test["label"].sum())):
        not_yet("line 1: those are the fractured ones; count all images of test")
    if not near(count, len(test)):
        not_yet("line 1: that is not the number of images in test; each row of the table is one image")
    if near(people, len(test)):
        not_yet("line 2: that is the number of images; patients are the different values of `group`")
    if near(people, table["group"].nunique()):
        not_yet("line 2: those are the patients of validation and test; only test is judged here")
    if not near(people, test["group"].nunique()):
        not_yet("line 2: count each value of `group` in test once")
    if near(area, _auc(table)):
        not_yet("line 3: that is the AUC of validation and test together; the letter speaks of test")
    if near(area, _auc(table[table["split"] == "val"])):
        not_yet("line 3: that is the AUC on validation")
    if near(area, 1 - _auc(test)):
        not_yet("line 3: that is one minus it: labels first, then scores")
    if not near(area, _auc(test)):
        not_yet("line 3: another number; `roc_auc` of the test rows as they were delivered, faults and all")
    return right(
        "you can repeat the hospital's number. That a number can be repeated says that it was computed rightly, and "
        "not yet that it means anything."
    )


# 11.2: lines 4 and 5 ----------------------------------------------------------------------------------------------


def _names(answer: object) -> set[str]:
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        not_yet(f"line 4 is a {type(answer).__name__}; a list of files is expected, such as ['test/Fractured/...jpg']")
    files = list(answer)
    if not files:
        not_yet("line 4 names no file, but the audit does")
    if not all(isinstance(file, str | PurePosixPath) for file in files):
        not_yet("line 4 holds something else than names of files; take them from the column `file`")
    return {str(file).replace("\\", "/") for file in files}


@exercise("11.2")
def first_fault(files: object, why: object, *, seed: int) -> Reply:
    """Which test files must go, and why the manifest did not show it."""
    plan = plan_unseen(seed)
    said, test = _names(files), set(_test(plan)["file"])
    originals = {i.copy_of for i in plan.images if i.copy_of}
    known = {i.file for i in plan.images}
    if unknown := said - known:
        not_yet(f"line 4: {sorted(unknown)[0]!r} is not in the folder; give files as the table does, with their split")
    if said == originals:
        not_yet("line 4: these are the training images that were copied; the test must do without their copies")
    if said - test and plan.copies <= said:
        not_yet("line 4: both of each pair are on your list; the training image may stay, if its copy leaves the test")
    if said - test:
        not_yet("line 4: some of these are not in test; a pair has one image in train and one in test")
    if said >= test:
        not_yet("line 4: that is the whole test split; most of it is sound")
    if extra := said - plan.copies:
        many = "one of these is" if len(extra) == 1 else "some of these are"
        not_yet(f"line 4: {many} nobody's copy; take those that the audit pairs with a training image")
    if said != plan.copies:
        not_yet(
            "line 4: all of these are copies, and there are more; the text names five pairs, `audit` holds them all"
        )
    return judge_choice(
        why,
        "b",
        "the copies bear new names, so that every rule about names is kept and broken all the same. The network knows "
        "these images by heart; they test its memory.",
        {
            "a": "line 5: look in the manifest: is any value of `group` in two splits?",
            "c": "line 5: compare the two files of a pair: they agree byte for byte. What is it that differs?",
            "d": "line 5: twice the same patient by chance does not give twice the same pixels",
        },
    )


# 11.3: lines 6 and 7 ----------------------------------------------------------------------------------------------


@exercise("11.3")
def second_fault(region: object, then: object, *, seed: int) -> Reply:
    """The region whose labels are exchanged, and what to do with it."""
    plan = plan_unseen(seed)
    regions = sorted({i.region for i in plan.images})
    said = str(region).strip().casefold() if isinstance(region, str) else ""
    if said not in regions:
        not_yet(f"line 6: one of {', '.join(regions)} is expected, in quotes")
    if said != plan.swapped:
        area = _auc(_test(plan)[lambda t: t["region"] == said])
        if area > 0.9:
            not_yet(f"line 6: in the {said} the scores and the labels agree very well; look at the other end")
        not_yet(f"line 6: nothing is strange in the {said}; an AUC near one half is ignorance, what is far *below* it?")
    return judge_choice(
        then,
        "b",
        "an AUC far below one half is knowledge with the wrong sign, and on validation nothing speaks against it. Only "
        "somebody who reads the images again may change a label: whoever lets the network do it lets it mark its "
        "own test.",
        {
            "a": "line 7: then the network would correct the test that it sits; who says which of the two is wrong?",
            "c": "line 7: you know better, and whoever reads your number does not",
            "d": "line 7: whoever leaves out what does not fit, and does not say so, chooses a result",
        },
    )


# 11.4: line 8 -----------------------------------------------------------------------------------------------------


@exercise("11.4")
def honest_number(auc: object, low: object, high: object, *, seed: int) -> Reply:
    """The AUC on what is left of the test, with its interval by patients."""
    plan = plan_unseen(seed)
    honest = _kept(plan)
    value, ends = proportion(auc, "the AUC"), (proportion(low, "the lower end"), proportion(high, "the upper end"))
    _judge_auc(value, _auc(honest), plan)
    if ends[0] > ends[1]:
        not_yet("the interval is upside down: the lower end first")
    y, score = honest["label"], honest["score"]
    by_patient = group_bootstrap(roc_auc, y, score, list(honest["group"]), n=1000)
    by_image = group_bootstrap(roc_auc, y, score, n=1000)
    found = which_interval(ends, (by_patient.low, by_patient.high), (by_image.low, by_image.high))
    if found is False:
        not_yet("the AUC is right, its interval too narrow: draw patients, not images")
    if found is None:
        if ends[0] == ends[1]:
            not_yet("the AUC is right; an interval has two ends that differ")
        not_yet("the AUC is right, its interval another: 95 %, by patients, of the rows that are left")
    one, other = _auc(_kept(plan, swapped=True)), _auc(_kept(plan, copies=True))
    return right(
        f"about {value:.2f}, and anything from {ends[0]:.2f} to {ends[1]:.2f}. The two faults pulled in opposite "
        f"directions: without the copies alone it is {one:.2f}, without the region alone {other:.2f}."
    )


def _judge_auc(value: float, truth: float, plan: UnseenFolder) -> None:
    """Nothing if it is the honest AUC, else which one it is instead."""
    back = _kept(plan, swapped=True)
    turned = back["region"] == plan.swapped
    corrected = back.assign(label=back["label"].where(~turned, 1 - back["label"]))
    wrongs = (
        (_auc(_test(plan)), "that is the number as delivered, with both faults in it"),
        (_auc(_kept(plan, swapped=True)), "the copies are gone; the region with exchanged labels is still in it"),
        (_auc(_kept(plan, copies=True)), "the region is left out; the copies are still in it"),
        (_auc(corrected), "you exchanged the labels back because the network disagreed: it has marked its own test"),
        (1 - truth, "that is one minus it: labels first, then scores"),
    )
    otherwise = "that is another number: the test rows without the files of line 4 and without the region of line 6"
    judge_number(value, truth, "", wrongs, otherwise=otherwise)


# 11.5: lines 9 and 10 ---------------------------------------------------------------------------------------------


@exercise("11.5")
def what_you_would_say(patients: object, sentence: object, *, seed: int) -> Reply:
    """How many patients make the interval half as wide, and the sentence for the hospital."""
    honest = _kept(plan_unseen(seed))
    people, images = honest["group"].nunique(), len(honest)
    value = number(patients, "line 9")
    for wrong, words in (
        (2 * people, "the width falls with the square root of their number: twice as many do not halve it"),
        (people, "so many you have; how many would you need?"),
        (4 * images, "those are images; new views of the same patients are not new witnesses"),
        (3 * people, "so many *more*, perhaps; how many in all?"),
        (people / 4, "fewer patients make an interval wider"),
    ):
        if near(value, wrong):
            not_yet(f"line 9: {words}")
    if not near(value, 4 * people, 0.05 * 4 * people):
        not_yet(
            "line 9: by which factor must your patients grow, if the width falls with the square root of their number?"
        )
    return judge_choice(
        sentence,
        "c",
        "it says what was wrong, what is known, how surely, and what would have to be done to know more. That is what "
        "this course is for.",
        {
            "a": "line 10: a number that can be repeated is not a number that is true; you have just shown why",
            "b": "line 10: that the number rose does not make the test larger: look at the lower end of the interval",
            "d": "line 10: the *folder* is faulty; of the network you know a little, and it is not that it is useless",
        },
    )
