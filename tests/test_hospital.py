"""A hospital as one value, and repairs over many draws: against the functions that they are made of."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from fracturelib.metrics import choose_threshold, confusion_at, roc_auc
from fracturelib.shift import (
    OLD_DETECTOR,
    Hospital,
    Site,
    delivered,
    fit_intercept,
    fit_inversion_detector,
    harmonizing_steps,
    other_hospital,
    repair_and_judge,
    repairs_over_draws,
    told_apart,
)
from fracturelib.shift.harmonize import harmonize
from fracturelib.viz import changes_plot


@pytest.fixture(scope="module")
def home() -> Hospital:
    """Smooth images, brighter in the middle, of 60 patients with two images each."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] / 31 - 0.5
    images = np.array([220 * np.exp(-6 * (x**2 + y**2)) + rng.normal(15, 6, (32, 32)) for _ in range(120)])
    frame = pd.DataFrame({"width": 30, "height": 40, "label": np.arange(120) // 2 % 3 == 0})
    frame["group"] = [f"P{i // 2}" for i in range(120)]
    return Hospital.of(frame, np.clip(images, 0, 255).astype(np.uint8))


def test_it_is_made_delivered_and_cut_like_its_parts(home: Hospital) -> None:
    assert str(home) == "120 images of 60 patients" and home.labels.sum() == 40
    assert (home.boxes[:, 2:] == [24, 32]).all() and not home.real
    assert np.array_equal(home.delivered(OLD_DETECTOR).images, delivered(home.images, OLD_DETECTOR, boxes=home.boxes))
    assert np.array_equal(home.delivered(Site()).images, home.images)
    assert home.greys().sum() == pytest.approx(1)
    assert home.without_margins().images.shape == home.images.shape


def test_rarer_halves_the_odds_and_keeps_patients_whole(home: Hospital) -> None:
    places = home.rarer(0.5)
    rarer = home.some(places)
    assert rarer.labels.mean() == pytest.approx(0.2, abs=0.02)
    left = set(home.groups) - set(rarer.groups)
    assert len(rarer.images) == 120 - 2 * len(left) and (rarer.labels == 0).sum() == 80


def test_the_other_hospital_is_home_delivered_and_rarer(home: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRACTURE_EXTERNAL", raising=False)
    there = other_hospital(home)
    expected = home.delivered(OLD_DETECTOR).some(home.rarer())
    assert np.array_equal(there.images, expected.images) and list(there.groups) == list(expected.groups)
    noisy = told_apart(home, home.delivered(Site(noise=30)))
    assert noisy["all together"].low > 0.9, "noise can be told from none"


def test_steps_end_where_harmonizing_does(home: Hospital) -> None:
    detector = fit_inversion_detector(home.images, home.boxes)
    there = home.delivered(Site(gamma=1.8, margin=0.3, inverted=0.3))
    steps = harmonizing_steps(there, detector, home)
    whole = harmonize(there.images, there.boxes, detector, home.without_margins().greys())
    assert list(steps) == ["as delivered", "turned", "margins cut", "greys matched"]
    assert np.array_equal(steps["greys matched"].images, whole.images)
    assert np.array_equal(steps["margins cut"].boxes, whole.boxes)


def test_repairs_are_judged_on_others_over_draws() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random(300) < 0.3).astype(int)
    score = expit(rng.normal(2 * y - 1, 1))
    shifted, group = expit(logit(score) + 2), np.arange(300) // 2
    table = repairs_over_draws(y, {"home": score, "there": shifted}, group, 0.4, labelled=60, draws=21)
    cell = table.set_index(["step", "metric"])
    assert list(table["step"].unique()) == ["home", "there", "there, 60 labels"]
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    found = []
    for seed in range(21):
        few, rest = repair_and_judge(group, 60, seed=seed)
        mend = fit_intercept(y[few], shifted[few])
        t = choose_threshold(y[few], mend(shifted[few]), "sensitivity=0.9").threshold
        found.append((roc_auc(y[rest], shifted[rest]), confusion_at(y[rest], mend(shifted[rest]), t).specificity))
    auc, specificity = np.median(found, axis=0)
    assert cell.loc[("there, 60 labels", "AUC"), "value"] == pytest.approx(auc)
    assert cell.loc[("there", "AUC"), "value"] == pytest.approx(auc), "labels change no order"
    assert cell.loc[("there, 60 labels", "specificity"), "value"] == pytest.approx(specificity)
    assert cell.loc[("there, 60 labels", "ECE"), "value"] < cell.loc[("there", "ECE"), "value"]


def test_details_are_cut_from_the_same_place_and_stay_inside() -> None:
    image = np.arange(60 * 60, dtype=np.int64).reshape(60, 60).astype(np.uint8)
    made = changes_plot({"home": image, "darker": image // 2}, {"home": image, "blur": image}, at=(2, 58), side=20)
    assert [ax.get_title() for ax in made.axes] == ["home", "darker", "home, magnified", "blur, magnified"]
    assert np.array_equal(made.axes[2].images[0].get_array(), image[:20, 40:])
    assert made._repr_png_()
