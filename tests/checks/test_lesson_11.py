"""The exercises of the capstone, and the folder that it is about."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fracturelib.checks import check
from fracturelib.data import InputError
from fracturelib.metrics import group_bootstrap, roc_auc
from fracturelib.simulate import unseen
from fracturelib.simulate.unseen import plan_unseen, predictions_of, unseen_folder
from tests.checks.conftest import Case, judged

SEED = 3
PLAN = plan_unseen(SEED)
TABLE = predictions_of(PLAN)
TEST = TABLE[TABLE["split"] == "test"]
VAL = TABLE[TABLE["split"] == "val"]


def auc(frame):
    return roc_auc(frame["label"], frame["score"])


COPIES = sorted(PLAN.copies)
ORIGINALS = [i.copy_of for i in PLAN.images if i.copy_of]
WITHOUT_COPIES = TEST[~TEST["file"].isin(PLAN.copies)]
HONEST = WITHOUT_COPIES[WITHOUT_COPIES["region"] != PLAN.swapped]
ONLY_REGION_OUT = TEST[TEST["region"] != PLAN.swapped]
FLIPPED = WITHOUT_COPIES["region"] == PLAN.swapped
CORRECTED = WITHOUT_COPIES.assign(label=WITHOUT_COPIES["label"].where(~FLIPPED, 1 - WITHOUT_COPIES["label"]))
BY_PATIENT = group_bootstrap(roc_auc, HONEST["label"], HONEST["score"], list(HONEST["group"]), n=500, seed=7)
BY_IMAGE = group_bootstrap(roc_auc, HONEST["label"], HONEST["score"], n=1000)
ENDS = (BY_PATIENT.low, BY_PATIENT.high)
AREAS = {region: auc(part) for region, part in TEST.groupby("region")}
BEST = max(AREAS, key=AREAS.get)
MIDDLE = sorted(AREAS, key=AREAS.get)[1]
IMAGES, PATIENTS, LEFT = len(TEST), TEST["group"].nunique(), HONEST["group"].nunique()


CASES = [
    Case(
        "11.1",
        right=[(IMAGES, PATIENTS, auc(TEST)), (np.int64(IMAGES), float(PATIENTS), round(auc(TEST), 2))],
        wrong=[
            ((len(TABLE), PATIENTS, auc(TEST)), "validation and test together; take"),
            ((int(TEST["label"].sum()), PATIENTS, auc(TEST)), "fractured ones"),
            ((IMAGES, IMAGES, auc(TEST)), "number of images"),
            ((IMAGES, TABLE["group"].nunique(), auc(TEST)), "patients of validation and test"),
            ((IMAGES, PATIENTS, auc(TABLE)), "the letter speaks of test"),
            ((IMAGES, PATIENTS, auc(VAL)), "AUC on validation"),
            ((IMAGES, PATIENTS, 1 - auc(TEST)), "one minus"),
            ((IMAGES, PATIENTS, 100 * auc(TEST)), "0.5"),
        ],
        given={"seed": SEED},
    ),
    Case(
        "11.2",
        right=[(COPIES, "b"), (set(COPIES), "B"), (np.array(COPIES), "b"), (pd.Series(COPIES), "b")],
        wrong=[
            ((ORIGINALS, "b"), "training images that were copied"),
            (([*COPIES, *ORIGINALS], "b"), "both of each pair"),
            (([*COPIES[:3], *ORIGINALS[:2]], "b"), "not in test"),
            ((list(TEST["file"]), "b"), "whole test split"),
            (([*COPIES, HONEST["file"].iloc[0]], "b"), "one of these is nobody's copy"),
            ((COPIES[:5], "b"), "there are more"),
            (([Path(file).name for file in COPIES], "b"), "is not in the folder"),
            ((COPIES[0], "b"), "a list of files"),
            ((COPIES, "a"), "in two splits"),
            ((COPIES, "c"), "byte for byte"),
            ((COPIES, "d"), "same pixels"),
        ],
        given={"seed": SEED},
    ),
    Case(
        "11.3",
        right=[(PLAN.swapped, "b"), (PLAN.swapped.upper(), "B")],
        wrong=[
            ((BEST, "b"), "the other end"),
            ((MIDDLE, "b"), "ignorance"),
            (("hand", "b"), "one of ankle"),
            ((PLAN.swapped, "a"), "the test that it sits"),
            ((PLAN.swapped, "c"), "you know better"),
            ((PLAN.swapped, "d"), "chooses a result"),
        ],
        given={"seed": SEED},
    ),
    Case(
        "11.4",
        right=[(auc(HONEST), *ENDS), tuple(round(v, 2) for v in (auc(HONEST), *ENDS))],
        wrong=[
            ((auc(TEST), *ENDS), "as delivered"),
            ((auc(WITHOUT_COPIES), *ENDS), "copies are gone"),
            ((auc(ONLY_REGION_OUT), *ENDS), "copies are still in it"),
            ((auc(CORRECTED), *ENDS), "marked its own test"),
            ((1 - auc(HONEST), *ENDS), "one minus"),
            ((auc(HONEST), BY_IMAGE.low, BY_IMAGE.high), "draw patients"),
            ((auc(HONEST), *ENDS[::-1]), "upside down"),
            ((auc(HONEST), 0.7, 0.7), "two ends"),
        ],
        given={"seed": SEED},
    ),
    Case(
        "11.5",
        right=[(4 * LEFT, "c"), (float(4 * LEFT), "C"), (4 * LEFT + 1, "c")],
        wrong=[
            ((2 * LEFT, "c"), "square root of their number"),
            ((LEFT, "c"), "so many you have"),
            ((4 * len(HONEST), "c"), "not new witnesses"),
            ((3 * LEFT, "c"), "in all"),
            ((4 * LEFT, "a"), "can be repeated"),
            ((4 * LEFT, "b"), "lower end"),
            ((4 * LEFT, "d"), "of the network you know"),
        ],
        given={"seed": SEED},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case):
    judged(case)


@pytest.mark.parametrize("seed", range(6))
def test_every_seed_plants_both_faults(seed):
    plan = plan_unseen(seed)
    assert plan == plan_unseen(seed)
    frame = pd.DataFrame([vars(image) for image in plan.images])
    assert len(plan.copies) == 8 and frame["file"].is_unique
    assert (frame.groupby("group")["split"].nunique() == 1).all()
    wrong = frame[frame["label"] != frame["truth"]]
    assert set(wrong["region"]) == {plan.swapped} and set(wrong["split"]) == {"test"} and len(wrong) == 12
    assert not set(wrong["file"]) & plan.copies
    assert frame.groupby("split")["label"].nunique().eq(2).all()


def test_the_folder_is_what_was_planned(tmp_path, monkeypatch):
    few = {"train": 3, "val": 1, "test": 1}
    monkeypatch.setattr(unseen, "PATIENTS", few)
    monkeypatch.setattr(unseen, "REGIONS", ("lower leg", "wrist"))
    monkeypatch.setattr(unseen, "COPIED", 2)
    monkeypatch.setattr(unseen, "VIEWS", 1)
    table = unseen_folder(tmp_path / "it", seed=1, size=64)
    plan = plan_unseen(1)
    assert sorted(p.relative_to(tmp_path / "it").as_posix() for p in (tmp_path / "it").rglob("*.jpg")) == [
        image.file for image in plan.images
    ]
    manifest = pd.read_csv(tmp_path / "it" / "manifest.csv")
    assert list(manifest["file"]) == [image.file for image in plan.images]
    assert not {"truth", "copy_of", "patient"} & set(manifest.columns)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "it" / "predictions.csv"), table)
    recipe = json.loads((tmp_path / "it" / "unseen.json").read_text())
    assert recipe == {"seed": 1, "size": 64}
    with pytest.raises(InputError, match="another data set"):
        unseen_folder(tmp_path / "it", seed=2, size=64)


@pytest.mark.parametrize("seed", [1, 5, 10])
def test_the_interval_by_images_is_told_from_that_by_patients(seed):
    plan = plan_unseen(seed)
    test = predictions_of(plan).query("split == 'test'")
    left = test[~test["file"].isin(plan.copies) & (test["region"] != plan.swapped)]
    by_image = group_bootstrap(roc_auc, left["label"], left["score"], n=1000)
    assert "draw patients" in check("11.4", auc(left), by_image.low, by_image.high, seed=seed).words
    for other in (0, 5, 6):
        found = group_bootstrap(roc_auc, left["label"], left["score"], list(left["group"]), n=1000, seed=other)
        assert check("11.4", auc(left), found.low, found.high, seed=seed).state == "right", other


def test_a_wrong_number_of_patients_does_not_get_the_factor():
    assert "four" not in check("11.5", 50, "c", seed=SEED).words
