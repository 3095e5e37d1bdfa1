"""The checks of lesson 01, and what its lesson plants."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from fracturelib.checks import check
from fracturelib.metrics import group_bootstrap, roc_auc, wilson_interval
from fracturelib.tutorial import Split
from tests.checks.conftest import Case, judged


def manifest() -> pd.DataFrame:
    """Validation of 60 patients with three images each, a quarter of them fractured; train of one image a patient."""
    rng = np.random.default_rng(5)
    rows = []
    for patient in range(60):
        weak = rng.normal()
        rows += [("val", f"V{patient:02d}", int(patient % 4 == 0), weak + 0.05 * rng.normal()) for _ in range(3)]
    rows += [("train", f"T{patient:02d}", patient % 2, 0.0) for patient in range(40)]
    rows += [("val", "V60", 1, 0.3)]
    frame = pd.DataFrame(rows, columns=["split", "group", "label", "score"])
    return frame.assign(file=[f"{i}.jpg" for i in range(len(frame))])


FRAME = manifest()
VAL = FRAME[FRAME["split"] == "val"]
SCORES = VAL["score"].to_numpy()
BY_PATIENT = group_bootstrap(roc_auc, VAL["label"], SCORES, list(VAL["group"]))
ANEW = group_bootstrap(roc_auc, VAL["label"], SCORES, list(VAL["group"]), seed=9)
BY_IMAGE = group_bootstrap(roc_auc, VAL["label"], SCORES)
SOUND = int((VAL["label"] == 0).sum())
NIR, RARER = wilson_interval(SOUND, len(VAL)), wilson_interval(len(VAL) - SOUND, len(VAL))
PATIENTS = wilson_interval(round(NIR.value * 61), 61)


def shared(frame: pd.DataFrame) -> pd.Index:
    splits = frame.groupby("group")["split"].nunique()
    return splits.index[splits > 1]


def by_hand(frame: pd.DataFrame) -> list[object]:
    return [g for g in set(frame["group"]) if len(set(frame.loc[frame["group"] == g, "split"])) > 1]


def as_column(frame: pd.DataFrame) -> pd.Series:
    pairs = frame[["group", "split"]].drop_duplicates()
    return pairs.loc[pairs["group"].duplicated(), "group"]


def filtered(frame: pd.DataFrame) -> object:
    return frame.groupby("group").filter(lambda part: part["split"].nunique() > 1)["group"].unique()


def exactly_two(frame: pd.DataFrame) -> set[object]:
    splits = frame.groupby("group")["split"].nunique()
    return set(splits[splits == 2].index)


def same_file(frame: pd.DataFrame) -> set[object]:
    return set(frame.loc[frame["file"].duplicated(), "group"])


def between(*others: str, first: str = "train"):
    def found(frame: pd.DataFrame) -> set[object]:
        of = {split: set(part["group"]) for split, part in frame.groupby("split")}
        return set().union(*(of.get(first, set()) & of.get(other, set()) for other in others))

    return found


def spoiling(frame: pd.DataFrame) -> pd.Index:
    frame["group"] = "A"
    return frame.index


CASES = [
    Case(
        "1.1",
        right=[(181 / 61,), (2.97,), (np.float64(2.967),)],
        wrong=[
            ((181 / 61.0 - 0.5,), "two digits after the point"),
            ((181 / int(VAL["label"].sum()),), "fractured images"),
            ((61 / 181,), "upside down"),
            ((221 / 101,), "all splits together"),
            ((61,), "how many patients there are"),
            ((181,), "how many images there are"),
            ((3,), "the most images"),
        ],
        given={"frame": FRAME},
    ),
    Case(
        "1.2",
        right=[
            *[(shared,), (by_hand,), (as_column,), (filtered,)],
            *[(lambda f, kind=kind: kind(shared(f)),) for kind in (set, np.array, pd.Series, pd.array, iter)],
        ],
        wrong=[
            ((lambda f: f.groupby("group")["split"].nunique() > 1,), "the groups themselves"),
            ((same_file,), "several files"),
            ((between("test"),), "train with test only"),
            ((between("val"),), "train with val only"),
            ((between("val", "test"),), "in val and in test"),
            ((lambda f: set(f.loc[f["group"].duplicated(), "group"]),), "several images"),
            ((lambda f: set(f["group"]),), "all patients"),
            ((lambda f: len(shared(f)),), "how many there are"),
            ((lambda f: len(shared(f)) > 0,), "whether there are any"),
            ((lambda f: f.groupby("group")["split"].nunique().loc[lambda n: n > 1],), "a table of counts"),
            ((lambda f: f.groupby("group")["split"].nunique(),), "keep those above 1"),
            ((lambda f: set(f.loc[f["file"].duplicated(), "file"]),), "those are files"),
            ((exactly_two,), "in all three splits"),
            ((lambda f: [[g] for g in shared(f)],), "something else"),
            ((spoiling,), "changes what it is given"),
            ((lambda f: dict.fromkeys(f["split"]),), "something else on a table"),
            ((list("AB"),), "a function is expected"),
        ],
    ),
    Case(
        "1.3",
        right=[
            (BY_PATIENT.low, BY_PATIENT.high, "not shown"),
            (round(BY_PATIENT.low, 2), round(BY_PATIENT.high, 2), " Not Shown"),
            (ANEW.low, ANEW.high, "not shown"),
        ],
        wrong=[
            ((BY_IMAGE.low, BY_IMAGE.high, "not shown"), "one witness"),
            ((BY_PATIENT.low, BY_PATIENT.high, "lower"), "outside of it or inside"),
            ((BY_PATIENT.high, BY_PATIENT.low, "not shown"), "swap the two"),
            ((BY_PATIENT.value, BY_PATIENT.value, "not shown"), "twice"),
            ((1 - BY_PATIENT.high, 1 - BY_PATIENT.low, "not shown"), "turned round"),
            ((0.02, 0.99, "not shown"), "another interval"),
            ((BY_PATIENT.low, BY_PATIENT.high, "yes"), "choose one of"),
            ((100 * BY_PATIENT.low, 100 * BY_PATIENT.high, "not shown"), "write 50 % as 0.5"),
        ],
        given={"val": VAL, "scores": SCORES},
    ),
    Case(
        "1.4",
        right=[(NIR.value, NIR.low, NIR.high), (round(NIR.value, 2), round(NIR.low, 2), round(NIR.high, 2))],
        wrong=[
            ((1 - NIR.value, RARER.low, RARER.high), "the rarer class"),
            ((0.5, NIR.low, NIR.high), "that is a coin"),
            ((NIR.value, RARER.low, RARER.high), "the other class"),
            ((NIR.value, PATIENTS.low, PATIENTS.high), "you counted patients"),
            ((NIR.value, NIR.value, NIR.value), "a lower and an upper end"),
            ((NIR.value, NIR.value, NIR.high), "from the rate to one end"),
            (((181 - SOUND) / SOUND, NIR.low, NIR.high), "the odds"),
            ((0.99, NIR.low, NIR.high), "belong to the commoner class"),
            ((NIR.value, 0.01, 0.99), "the count and the number of images"),
            ((100 * NIR.value, NIR.low, NIR.high), "write 50 % as 0.5"),
        ],
        given={"val": VAL},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case: Case) -> None:
    judged(case)


@pytest.mark.parametrize(("sign", "verdict"), [(1, "higher"), (-1, "lower")])
def test_the_verdict_follows_the_data(sign: int, verdict: str) -> None:
    scores = sign * (VAL["label"].to_numpy() + 0.5 * SCORES)
    truth = group_bootstrap(roc_auc, VAL["label"], scores, list(VAL["group"]))
    given = {"val": VAL, "scores": scores}
    assert check("1.3", truth.low, truth.high, verdict, **given).state == "right"
    reply = check("1.3", truth.low, truth.high, "not shown", **given)
    assert reply.state == "not yet" and "on which side" in reply.words


def test_where_no_patients_are_known_one_image_is_one_patient() -> None:
    frame = FRAME.assign(group=FRAME["file"])
    assert check("1.1", 1, frame=frame).words.startswith("one, because")
    own = frame[frame["split"] == "val"]
    truth = group_bootstrap(roc_auc, own["label"], SCORES)
    for reply in (
        check("1.3", truth.low, truth.high, "not shown", val=own, scores=SCORES),
        check("1.4", NIR.value, NIR.low, NIR.high, val=own),
    ):
        assert reply.state == "right" and "No patients are known here" in reply.words


@pytest.fixture
def split() -> Split:
    """Fifty patients with two images each, of which the first half is fractured; each image a grey of its own."""
    groups = [f"P{i // 2}" for i in range(100)]
    images = np.stack([np.full((16, 16), 2 * i + 20, np.uint8) for i in range(100)])
    labels = np.array([int(i < 50) for i in range(100)])
    return Split(pd.DataFrame({"group": groups}), images, labels, None)


def test_what_is_planted_keeps_its_label_and_its_patient(split: Split, tmp_path: Path) -> None:
    planted = split.plant_copies(tmp_path, lambda image: image[:, ::-1], pairs=20)
    assert planted["copied"].sum() == 7 and len(planted) == 20
    greys = {2 * i + 20: i for i in range(100)}
    for i, row in planted.iterrows():
        for name in ("train", "val"):
            (file,) = (tmp_path / name).glob(f"*/{name}{i:03d}.png")
            place = greys[int(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)[0, 0])]
            assert place == row[name]
            assert (file.parent.name == "Fractured") == bool(split.labels[place])
    groups = np.array(split.frame["group"])
    others = planted[~planted["copied"]]
    used = [*groups[planted["train"]], *groups[others["val"]]]
    assert len(set(used)) == len(used)  # but for the copies, every image is of another patient
    assert (planted["train"] == planted["val"]).equals(planted["copied"])


def test_few_patients_give_few_pairs(split: Split, tmp_path: Path) -> None:
    few = Split(split.frame.iloc[46:54], split.images[46:54], split.labels[46:54], None)
    planted = few.plant_copies(tmp_path, lambda image: image)
    assert len(planted) == 2 and planted["copied"].sum() == 1


def test_the_mean_of_all_splits_is_not_that_of_validation_where_they_are_close() -> None:
    close = pd.concat([VAL, pd.DataFrame({"split": "train", "group": [f"N{i // 3}" for i in range(30)], "label": 0})])
    assert "all splits together" in check("1.1", len(close) / close["group"].nunique(), frame=close).words


def test_another_bootstrap_of_few_patients_is_right_too() -> None:
    few = VAL.groupby("group").head(1).head(16).reset_index(drop=True)
    scores = np.random.default_rng(3).random(len(few))
    for seed in range(5):
        found = group_bootstrap(roc_auc, few["label"], scores, list(few["group"]), seed=seed)
        verdict = "lower" if found.high < 0.5 else "higher" if found.low > 0.5 else "not shown"
        reply = check("1.3", found.low, found.high, verdict, val=few, scores=scores)
        assert reply.state == "right", (seed, reply)
