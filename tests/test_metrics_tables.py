"""The tables: figures, intervals, and honesty where there are too few images."""

import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.metrics.classification import confusion_at, roc_auc
from fracturelib.metrics.intervals import delong_test, wilson_interval
from fracturelib.metrics.rates import operating_point_table
from fracturelib.metrics.summary import by_subgroup, compare_models


@pytest.fixture
def images() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(120), 2)
    y = (rng.random(120) < 0.4).astype(int)[group]
    score = 1 / (1 + np.exp(-(rng.normal(size=120)[group] + 0.3 * rng.normal(size=240) + 1.8 * y - 0.9)))
    region = np.where(group < 70, "hand", np.where(group < 115, "wrist", "hip"))
    return pd.DataFrame({"label": y, "score": score, "group": group.astype(str), "region": region})


def test_operating_point(images: pd.DataFrame) -> None:
    y, score, group = images["label"], images["score"], images["group"]
    counts = confusion_at(y, score, 0.5)
    table = operating_point_table(y, score, 0.5, group, n=500).set_index("metric")
    for name, row in table.iterrows():
        assert row["value"] == getattr(counts, str(name)) and row["low"] < row["value"] < row["high"]
        if not pd.isna(row["numerator"]):
            assert row["value"] == row["numerator"] / row["denominator"]
    assert pd.isna(table.loc["youden", "numerator"]) and (table["note"] == "").all()
    alone = operating_point_table(y, score, 0.5, n=500).set_index("metric")
    wider = (table["high"] - table["low"]) / (alone["high"] - alone["low"])
    assert wider.mean() > 1.15


def test_undefined_figures_have_a_note(images: pd.DataFrame) -> None:
    table = operating_point_table(images["label"], images["score"], 2.0, images["group"], n=50).set_index("metric")
    row = table.loc["precision"]
    assert np.isnan([row["value"], row["low"], row["high"]]).all() and row["note"].endswith(
        "no image is predicted fractured"
    )
    with pytest.raises(InputError, match="expected a figure"):
        operating_point_table([0, 1], [0.1, 0.2], 0.5, names=["recall"])


def test_all_found_is_not_certainty(images: pd.DataFrame) -> None:
    y, score, group = images["label"], images["score"], images["group"]
    table = operating_point_table(y, score, float(score[y == 1].min()), group, n=100).set_index("metric")
    row, patients = table.loc["sensitivity"], group[y == 1].nunique()
    assert row["value"] == row["high"] == 1 and row["numerator"] == 2 * patients
    assert row["low"] == wilson_interval(patients, patients).low and f"{patients} groups" in row["note"]
    nothing = operating_point_table(y, score, 2.0, group, n=100).set_index("metric").loc["sensitivity"]
    assert nothing["value"] == nothing["low"] == 0 and nothing["high"] == wilson_interval(0, patients).high


def test_subgroups(images: pd.DataFrame) -> None:
    table = by_subgroup(images, "region", threshold=0.5, n=100)
    assert list(table.index) == ["hand", "wrist", "hip"]
    assert table["fractured"].sum() == images["label"].sum()
    hand = images[images["region"] == "hand"]
    assert table.loc["hand", "auc"] == roc_auc(hand["label"], hand["score"])
    assert table.loc["hand", "auc_low"] < table.loc["hand", "auc"] < table.loc["hand", "auc_high"]
    assert list(table["images"]) == [140, 90, 10] and list(table["patients"]) == [70, 45, 5]
    assert (table["images"] == table["fractured"] + table["not_fractured"]).all()
    few = table.loc["hip"]
    assert few["fractured"] + few["not_fractured"] == 10 and np.isnan(few[["auc", "auc_low", "auc_high"]]).all()


def test_nothing_is_claimed_for_few_images_of_a_class(images: pd.DataFrame) -> None:
    kinds = images.assign(fracture_type=np.where(images["label"] == 1, "hairline", None))
    table = by_subgroup(kinds, "fracture_type", threshold=0.5, n=100)
    assert list(table.index) == ["hairline"] and table.loc["hairline", "not_fractured"] == 0
    assert np.isnan(table.loc["hairline", "auc"]) and table.loc["hairline", "sensitivity_low"] > 0
    nobody = by_subgroup(kinds.assign(x=None), "x", threshold=0.5)
    assert nobody.empty and list(nobody.columns) == list(table.columns)
    with pytest.raises(InputError, match="has no column view"):
        by_subgroup(images, "view", threshold=0.5)


def test_two_models(images: pd.DataFrame) -> None:
    y, score, group = images["label"].to_numpy(), images["score"].to_numpy(), images["group"]
    worse = np.clip(score + np.random.default_rng(1).normal(scale=0.5, size=len(y)), 0, 1)
    table = compare_models(y, score, worse, group, threshold_a=0.5, threshold_b=0.4, n=300)
    assert (table["difference"] - (table["a"] - table["b"])).abs().max() < 1e-12
    assert ((table["low"] <= table["difference"]) & (table["difference"] <= table["high"])).all()
    first = table.iloc[0]
    assert first["test"] == "paired DeLong" and first["p"] == delong_test(y, score, worse).p < 0.01
    sensitivity = table[table["metric"] == "sensitivity"]
    assert list(sensitivity["test"]) == ["paired group bootstrap, percentile", "exact McNemar"]
    assert np.ptp(sensitivity["difference"]) < 1e-12
    itself = compare_models(y, score, score, group, threshold_a=0.5, threshold_b=0.5, n=50)
    assert (itself["difference"] == 0).all() and "rank alike" in itself["note"][0]
