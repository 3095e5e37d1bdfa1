"""The exercises of lesson 03."""

import numpy as np
import pandas as pd
import pytest

from fracturelib.checks import check
from fracturelib.metrics import confusion_at, sweep
from tests.checks.conftest import Case, judged
from tests.conftest import ROOT

SCORES = pd.read_csv(ROOT / "data" / "checkpoints" / "demo-small-cnn-predictions.csv")
VAL = SCORES[SCORES["split"] == "val"].reset_index(drop=True)
TEST = SCORES[SCORES["split"] == "test"].reset_index(drop=True)


def sens_spec(y, score, threshold):
    predicted = score >= threshold
    return (predicted & (y == 1)).sum() / (y == 1).sum(), (~predicted & (y == 0)).sum() / (y == 0).sum()


def in_a_list(y, score, threshold):
    found = [s >= threshold for s, label in zip(score, y, strict=True) if label]
    quiet = [s < threshold for s, label in zip(score, y, strict=True) if not label]
    return [sum(found) / len(found), sum(quiet) / len(quiet)]


def greater(y, score, threshold):
    return sens_spec(y, score, threshold + 1e-9)


def of_all(y, score, threshold):
    predicted = score >= threshold
    return (predicted & (y == 1)).mean(), (~predicted & (y == 0)).mean()


def of_predicted(y, score, threshold):
    predicted = score >= threshold
    return (predicted & (y == 1)).sum() / predicted.sum(), (~predicted & (y == 0)).sum() / (~predicted).sum()


def precision_second(y, score, threshold):
    return sens_spec(y, score, threshold)[0], of_predicted(y, score, threshold)[0]


def swapped(y, score, threshold):
    return sens_spec(y, score, threshold)[::-1]


def only_one(y, score, threshold):
    return sens_spec(y, score, threshold)[0]


def mistakes(y, score, threshold):
    return 1 - np.array(sens_spec(y, score, threshold))


def changes_its_input(y, score, threshold):
    score[:] = score >= threshold
    return sens_spec(y, score, 0.5)


def draw_patients(group, rng):
    names = np.unique(group)
    drawn = rng.choice(names, len(names))
    return np.concatenate([np.flatnonzero(group == name) for name in drawn])


def drawn_in_a_list(group, rng):
    rows = pd.Series(range(len(group))).groupby(group).apply(list).to_list()
    return [r for i in rng.integers(0, len(rows), len(rows)) for r in rows[i]]


def draw_images(group, rng):
    return rng.integers(0, len(group), len(group))


def no_replacement(group, rng):
    return np.concatenate([np.flatnonzero(group == name) for name in rng.permutation(np.unique(group))])


def own_generator(group, rng):
    return draw_patients(group, np.random.default_rng(1))


def other_generator(group, rng):
    return draw_patients(group, np.random.default_rng())


def in_blocks(group, rng):
    _, first, count = np.unique(group, return_index=True, return_counts=True)
    drawn = rng.integers(0, len(first), len(first))
    return np.concatenate([np.arange(first[i], min(first[i] + count[i], len(group))) for i in drawn])


def lists(group, rng):
    return [list(np.flatnonzero(group == name)) for name in ("ann", "bob", *rng.choice(np.unique(group), 3))]


def spoils_the_groups(group, rng):
    rows = draw_patients(group, rng)
    group[:] = "ann"
    return rows


def once_each(group, rng):
    return np.flatnonzero(np.isin(group, rng.choice(np.unique(group), len(np.unique(group)))))


def mask(group, rng):
    return np.isin(group, rng.choice(np.unique(group), len(np.unique(group))))


def first_image(group, rng):
    names = np.unique(group)
    return np.array([np.flatnonzero(group == name)[0] for name in rng.choice(names, len(names))])


def by_name(group, rng):
    return rng.choice(np.unique(group), len(np.unique(group)))


def too_many(group, rng):
    names = np.unique(group)
    return np.concatenate([np.flatnonzero(group == name) for name in rng.choice(names, len(group))])


def by_images(group, rng):
    names = np.unique(group)
    return np.concatenate([np.flatnonzero(group == name) for name in rng.choice(group, len(names))])


BEST = min(t for t in VAL["score"] if confusion_at(VAL["label"], VAL["score"], t).specificity >= 0.9)
ON_TEST = min(t for t in TEST["score"] if confusion_at(TEST["label"], TEST["score"], t).specificity >= 0.9)
SENSITIVE = max(t for t in VAL["score"] if confusion_at(VAL["label"], VAL["score"], t).sensitivity >= 0.9)
NO_ALARM = min(t for t in VAL["score"] if confusion_at(VAL["label"], VAL["score"], t).specificity == 1)
PROJECT = {"sensitivity": 0.81, "specificity": 0.26, "prevalence": 0.02}

CASES = [
    Case(
        "3.1",
        right=[(sens_spec,), (in_a_list,), (lambda *a: [round(float(v), 2) for v in sens_spec(*a)],)],
        wrong=[
            ((greater,), "a score equal to the threshold"),
            ((of_all,), "you divide by all images"),
            ((of_predicted,), "and get PPV and NPV"),
            ((precision_second,), "your second number is the precision"),
            ((swapped,), "in the wrong order"),
            ((only_one,), "return both"),
            ((mistakes,), "proportions of mistakes"),
            ((changes_its_input,), "work on a copy"),
            ((lambda y, score, t: (0.5, 0.5),), "something else on a table where scores equal"),
        ],
    ),
    Case(
        "3.2",
        right=[(BEST,), (round(BEST, 2),), (np.float32(BEST),)],
        wrong=[
            ((ON_TEST,), "frozen, on validation"),
            ((0.90,), "is the specificity that you want"),
            ((SENSITIVE,), "*sensitivity*"),
            ((0.3,), "too many false alarms"),
            ((NO_ALARM,), "gives away fractures that you could keep"),
            ((0.72,), "a lower threshold keeps it"),
            ((55,), "write 50 % as 0.5"),
        ],
        given={"val": VAL, "test": TEST},
    ),
    Case(
        "3.3",
        right=[(draw_patients,), (drawn_in_a_list,), (lambda *a: pd.Series(draw_patients(*a)),)],
        wrong=[
            ((draw_images,), "you draw images one by one"),
            ((no_replacement,), "everybody once"),
            ((own_generator,), "use the generator"),
            ((other_generator,), "with the same seed"),
            ((lists,), "unequal lengths"),
            ((spoils_the_groups,), "work on a copy"),
            ((once_each,), "nobody is ever in a sample twice"),
            ((mask,), "a mask of True and False"),
            ((first_image,), "with *all* their images"),
            ((by_name,), "the patients' names"),
            ((too_many,), "as many patients as there are"),
            ((by_images,), "far more often than others"),
        ],
        given={"test": TEST},
    ),
    Case(
        "3.4",
        right=[(0.0162 / (0.0162 + 0.74 * 0.98),), (0.022,), (0.0218,)],
        wrong=[
            ((0.62,), "that is the precision that was claimed"),
            ((0.81,), "that is the sensitivity"),
            ((0.26,), "that is the specificity"),
            ((0.02,), "that is the prevalence"),
            ((0.985,), "that is the NPV"),
            ((0.0162,), "divide by all that are predicted fractured"),
            ((0.7414,), "how many of *them* are"),
            ((0.978,), "the share of alarms that are false"),
            ((0.0598,), "the false alarms are 1 - specificity"),
            ((0.4,), "imagine 1,000 patients"),
            ((2.2,), "write 50 % as 0.5"),
        ],
        given=PROJECT,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case: Case) -> None:
    judged(case)


def test_a_stub_is_untried() -> None:
    assert check("3.1", lambda y, score, threshold: ...).state == "untried"
    assert check("3.3", lambda group, rng: ..., test=TEST).state == "untried"


def test_it_works_where_test_is_val_and_each_image_is_a_patient() -> None:
    few = VAL.groupby("label").head(6).reset_index(drop=True)
    alone = few.assign(group=few["file"])
    assert check("3.3", draw_patients, test=alone).state == "right"
    best = min(t for t in few["score"] if confusion_at(few["label"], few["score"], t).specificity >= 0.9)
    assert check("3.2", best, val=few, test=few).state == "right"


def test_the_reader_s_function_is_not_called_again_and_again_on_all_test_images() -> None:
    calls = []

    def counting(group, rng):
        calls.append(len(group))
        return draw_patients(group, rng)

    assert check("3.3", counting, test=TEST).state == "right"
    assert max(calls) < 20 and len(calls) < 100  # a slow but right function takes seconds for each
    assert "no interval" in check("3.3", draw_patients, test=TEST.assign(label=0)).words


def test_where_no_score_keeps_the_specificity_infinity_does() -> None:
    val = pd.DataFrame({"label": [0, 0, 0, 1, 1], "score": [0.1, 0.2, 0.9, 0.3, 0.8]})
    table = sweep(val["label"], val["score"])
    best = table.loc[table["specificity"] >= 0.9, "threshold"].min()
    assert np.isinf(best)
    assert check("3.2", best, val=val, test=val).state == check("3.2", 0.95, val=val, test=val).state == "right"
    assert check("3.2", 0.85, val=val, test=val).state == "not yet"


def test_images_of_a_patient_need_not_stand_together() -> None:
    assert "with *all* their images" in check("3.3", in_blocks, test=TEST).words
