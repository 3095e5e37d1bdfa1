"""Thresholds by region: the network judges the region, and the threshold of its images is moved."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from fracturelib._io.files import InputError
from fracturelib.cli import main
from fracturelib.data.dataset import load_manifest
from fracturelib.data.images import load_images
from fracturelib.metrics.evaluate import evaluate
from fracturelib.metrics.operating_point import threshold_for_sensitivity
from fracturelib.models.classifier import Classifier, load_classifier, save_classifier
from fracturelib.models.regions import FEWEST, OTHER, SHARE, Regions, fit_regions, shifts_of
from fracturelib.models.registry import build_model
from fracturelib.training.config import TrainConfig
from fracturelib.training.folds import train_folds
from fracturelib.training.runs import Run, train_folder
from fracturelib.training.train import with_regions
from fracturelib.viz.gradcam_explorer import GradCAMExplorer
from fracturelib.workflows import explain_paths, predict_paths
from tests.radiographs import plain_folder, radiograph, save

CONFIG = TrainConfig(size=64, epochs=8, batch=8, seed=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every second image shows a leg, which is far darker at its left than a hand; a few of train show neither.

    One label in five is wrong, so that no score is near 0 or 1.
    """
    folder = tmp_path_factory.mktemp("regions") / "data"
    plain_folder(folder, splits={"train": 30, "val": 24, "test": 8})
    frame = load_manifest(folder)
    for i, row in enumerate(frame.iloc[::5].itertuples()):
        save(radiograph(1000 + i, fractured=not row.label), folder / row.file, quality=90)
    frame["region"] = ["leg" if i % 2 else "hand" for i in range(len(frame))]
    frame.loc[frame.index[frame["split"] == "train"][::10], "region"] = "shoulder"
    for file in frame.loc[frame["region"] == "leg", "file"]:
        image = cv2.imread(str(folder / file), cv2.IMREAD_GRAYSCALE)
        image[:, :24] = image[:, :24] // 6
        cv2.imwrite(str(folder / file), image)
    frame[["file", "split", "label", "group", "width", "height", "region"]].to_csv(folder / "manifest.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_folder(data, tmp_path_factory.mktemp("run") / "run", CONFIG, by_region=True, progress=False)


def test_shifts_are_half_of_how_much_more_suspicious_unbroken_images_are() -> None:
    """Of regions with enough fractures; a region that is not known has none."""
    region = ["hand"] * 30 + ["leg"] * 30 + ["hip"] * 12 + [None] * 3
    labels = np.array([1] * FEWEST + [0] * (30 - FEWEST) + [1] * 15 + [0] * 15 + [1] * (FEWEST - 1) + [0] * 3 + [1] * 3)
    evidence = np.random.default_rng(0).normal(size=75)
    table = pd.DataFrame({"evidence": evidence, "label": labels, "region": region})
    unbroken = table[table["label"] == 0]
    every = unbroken["evidence"].mean()
    expected = {r: SHARE * (unbroken.loc[unbroken["region"] == r, "evidence"].mean() - every) for r in ("hand", "leg")}
    assert shifts_of(evidence, labels, region) == pytest.approx(expected)


@pytest.mark.parametrize("names", [("hand", "leg"), ("hand", "leg", "hip")])
def test_the_region_is_judged_by_a_logistic_regression(names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(len(names))
    region = rng.choice(names, 300)
    features = rng.normal(3, 5, (300, 6)) + 4 * np.array([np.eye(6)[names.index(r)] for r in region])
    shifts = {"hand": 1.0, "hip": -2.0} if "hip" in names else {"hand": 1.0}
    found = fit_regions(features, list(region), shifts)
    told = np.where(np.isin(region, list(shifts)), region, OTHER)
    scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-3)
    expected = LogisticRegression(C=0.01, max_iter=1000).fit(scaled, told).predict(scaled)
    assert (np.array(found.names)[found.judged(features)] == expected).mean() > 0.99
    assert found.by_name == {**shifts, OTHER: 0.0}
    again = Regions.of_values(json.loads(json.dumps(found.values())))
    assert again.by_name == found.by_name and np.array_equal(again.judged(features), found.judged(features))


@pytest.mark.parametrize("threshold", [0.0, 1.0, np.inf])
def test_a_threshold_at_the_end_stays_there(threshold: float) -> None:
    regions = Regions(("hand", OTHER), (3.0, 0.0), np.zeros((2, 2), np.float32), np.zeros(2, np.float32))
    assert list(regions.thresholds(threshold, np.array([0, 1]))) == [threshold, threshold]


def test_thresholds_are_chosen_on_moved_scores(data: Path, run: Run) -> None:
    """Nine fractures in ten of all regions are found, at thresholds which differ by the shifts."""
    classifier = run.classifier
    assert classifier.regions is not None and set(classifier.regions.names) == {"hand", "leg", OTHER}
    val = run.predictions[run.predictions["split"] == "val"]
    evidence = logit(val["score"].clip(1e-15, 1 - 1e-15))
    shifts = shifts_of(evidence.to_numpy(), val["label"].to_numpy(), list(val["region"]))
    assert {name: classifier.regions.by_name[name] for name in shifts} == pytest.approx(shifts, abs=1e-6)
    moved = expit(evidence - val["region"].map(shifts))
    expected = threshold_for_sensitivity(val["label"].to_numpy(), moved.to_numpy(), 0.90)
    assert classifier.threshold == pytest.approx(expected, rel=1e-5)
    right = expit(logit(classifier.threshold) + val["region"].map(shifts))
    assert (np.abs(val["threshold"] - right) < 1e-6).mean() > 0.9  # where the region is judged rightly
    assert ((val["score"] >= val["threshold"]) == (val["decision"] == "Fractured")).all()


def test_the_commands_decide_as_the_training_did(
    data: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = run.folder / "model.pt"
    assert main(["predict", str(data / "test"), "--model", str(model), "--csv", str(tmp_path / "s.csv")]) == 0
    assert ", by region, chosen by sensitivity=0.90 on 48 validation images" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "s.csv").sort_values("file", ignore_index=True)
    known = run.predictions[run.predictions["split"] == "test"].assign(
        file=lambda t: t["file"].str.removeprefix("test/")
    )
    known = known.sort_values("file", ignore_index=True)
    assert list(table["file"]) == list(known["file"]) and table["threshold"].nunique() > 1
    np.testing.assert_allclose(table["threshold"], known["threshold"], rtol=1e-5)
    assert list(table["decision"]) == list(known["decision"])
    assert (table["region"] == known["region"]).mean() > 0.9
    frame = explain_paths([data / "test"], model, tmp_path / "maps", progress=False).sort_values(
        "file", ignore_index=True
    )
    assert list(frame["decision"]) == list(table["decision"]) and list(frame["region"]) == list(table["region"])
    np.testing.assert_allclose(frame["threshold"], table["threshold"], rtol=1e-5)
    assert "by region" in (tmp_path / "maps" / "index.html").read_text()


def test_an_inverted_image_has_the_threshold_of_its_negative(data: Path, run: Run, tmp_path: Path) -> None:
    for path in sorted((data / "test").rglob("*.jpg")):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(tmp_path / f"{path.parent.name}-{path.stem}.png"), 255 - image)
        cv2.imwrite(str(tmp_path / f"{path.parent.name}-{path.stem}-plain.png"), image)
    table = predict_paths([tmp_path], run.folder / "model.pt", progress=False).set_index("file")
    turned = [file for file, doubt in table["doubt"].items() if "inverted" in str(doubt)]
    assert turned
    for file in turned:
        plain = table.loc[file.replace(".png", "-plain.png")]
        assert table.loc[file, "threshold"] == pytest.approx(plain["threshold"], rel=1e-4)
        assert table.loc[file, "region"] == plain["region"]


def test_each_image_is_judged_at_its_own_threshold(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Rates are of the decisions, areas of the scores; what one threshold alone can say is not said."""
    table = run.predictions
    result = evaluate(table, n=50)
    assert result["threshold"] is None and "as it was scored" in result["threshold_source"]
    alone = evaluate(table.drop(columns=["threshold", "decision"]), threshold=0.5, n=50)
    for name, part in result["splits"].items():
        rows = table[table["split"] == name]
        broken, said = rows["label"] == 1, rows["decision"] == "Fractured"
        rates = {row["metric"]: row["value"] for row in part["operating_point"]}
        assert rates["sensitivity"] == pytest.approx(said[broken].mean())
        assert rates["specificity"] == pytest.approx(1 - said[~broken].mean())
        assert part["auc"] == alone["splits"][name]["auc"] and part["utility"]["net_benefit"] is None
        for row in part["subgroups"]["region"]:
            own = rows["region"] == row["value"]
            if row["sensitivity"] is not None:
                assert row["sensitivity"] == pytest.approx(said[broken & own].mean())
            others = {r["value"]: r for r in alone["splits"][name]["subgroups"]["region"]}
            assert row["auc"] == others[row["value"]]["auc"]
    predictions = run.folder / "predictions.csv"
    assert main(["evaluate", str(predictions), "--out", str(tmp_path / "report")]) == 0
    assert "each image at its own threshold, 0." in capsys.readouterr().out
    assert json.loads((tmp_path / "report" / "evaluation.json").read_text())["threshold"] is None
    assert "each image at its own threshold" in (tmp_path / "report" / "table.md").read_text().lower()
    assert main(["evaluate", str(predictions), "--out", str(tmp_path / "report")]) == 0  # its own report is replaced
    capsys.readouterr()
    assert main(["evaluate", str(predictions), "--compare", str(predictions)]) == 2
    assert "images have thresholds of their own; expected --threshold" in capsys.readouterr().err
    assert main(["evaluate", str(predictions), "--compare", str(predictions), "--threshold", "0.5"]) == 0
    assert main(["evaluate", str(predictions), "--threshold-from", str(predictions)]) == 0
    assert "thresholds differ from image to image; without --threshold-from each counts" in capsys.readouterr().out


def test_out_of_fold(data: Path, tmp_path: Path) -> None:
    """Each fold moves its threshold by its own validation images, the last network by all scores out of fold."""
    plain = train_folds(data, tmp_path / "run", CONFIG, folds=2, progress=False)
    found = train_folds(data, tmp_path / "run", CONFIG, folds=2, by_region=True, progress=False)  # goes on
    assert plain is not None and found is not None
    held = found.run.predictions[found.run.predictions["fold"].notna()]
    before = plain.run.predictions[plain.run.predictions["fold"].notna()]
    assert held["score"].equals(before["score"])
    assert ((held["score"] >= held["threshold"]) == (held["decision"] == "Fractured")).all()
    assert found.run.predictions["threshold"].notna().all()
    last = found.run.classifier
    assert last.regions is not None and last.regions.by_name.keys() == {"hand", "leg", OTHER}
    assert load_classifier(tmp_path / "run" / "fold-1" / "model.pt").regions is not None
    with pytest.raises(InputError, match="was trained with thresholds by region; expected --by-region"):
        train_folds(data, tmp_path / "run", CONFIG, folds=2, progress=False)
    again = train_folds(data, tmp_path / "run", CONFIG, folds=2, by_region=True, progress=False)
    assert again is not None and again.run.predictions.equals(found.run.predictions)


def test_what_is_needed_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    frame = pd.read_csv(data / "manifest.csv")
    for split in ("train", "val", "test"):
        (tmp_path / split).symlink_to(data / split)
    frame.drop(columns="region").to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(InputError, match=r"without a column region in manifest\.csv; expected images with it"):
        train_folder(tmp_path, tmp_path / "run", CONFIG, by_region=True, progress=False)
    frame.assign(region=[f"r{i % 40}" for i in range(len(frame))]).to_csv(tmp_path / "manifest.csv", index=False)
    run = train_folder(tmp_path, tmp_path / "run", replace(CONFIG, epochs=1), by_region=True, progress=False)
    assert f"no region has {FEWEST} fractures among 48 validation images" in capsys.readouterr().out
    assert run.predictions["threshold"].nunique() == 1 and ", by region" not in run.classifier.threshold_in_words
    assert load_classifier(tmp_path / "run" / "model.pt").regions is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": []}, "names of regions is"),
        ({"names": ["hand", "hand", "leg"]}, "names of regions is"),
        ({"names": ["hand", "leg", "a\nb"]}, "names of regions is"),
        ({"shifts": [1.0, float("nan"), 0.0]}, "shifts of regions are not 3 numbers"),
        ({"shifts": [1.0, 1e3, 0.0]}, "shifts of regions are not 3 numbers"),
        ({"weights": [[0.0, 1.0]]}, "weights of regions are not 3 numbers"),
        ({"weights": [[0.0, 1.0, 2.0]]}, "regions are of 1 features"),
        ({"added": None}, "added of regions are not 3 numbers"),
        ({"more": 1}, "regions is"),
    ],
    ids=str,
)
def test_damaged_regions_are_refused(run: Run, tmp_path: Path, changes: dict, said: str, monkeypatch) -> None:
    regions = run.classifier.regions
    assert regions is not None
    values = {**regions.values(), **changes}
    monkeypatch.setattr("fracturelib.models.classifier.check_values", lambda values: None)
    monkeypatch.setattr(Regions, "values", lambda self: values)
    save_classifier(run.classifier, tmp_path / "model.pt")
    monkeypatch.undo()
    with pytest.raises(InputError, match=said):
        load_classifier(tmp_path / "model.pt")


def test_without_regions_nothing_changes() -> None:
    plain = Classifier(build_model("small_cnn", seed=0), {"name": "small_cnn"}, 64, 0.5, 0.2)
    judged = plain.judge(np.zeros((3, 64, 64), np.uint8))
    assert judged.regions is None and list(judged.thresholds) == [0.5] * 3 and not judged.strangeness.any()
    assert plain.threshold_in_words == "0.500"


def as_held(region: list[str], rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    labels = rng.integers(0, 2, len(region))
    moved = np.array([{"hand": 2.0, "leg": -2.0, "hip": -6.0}[r] for r in region])
    return pd.DataFrame({"label": labels, "region": region}), rng.normal(2 * labels + moved)


PLAIN = Classifier(build_model("small_cnn", seed=0), {"name": "small_cnn"}, 64, 0.5, 0.2)


def test_numbers_are_names_of_regions_too() -> None:
    rng = np.random.default_rng(1)
    images, region = rng.integers(0, 255, (60, 64, 64), dtype=np.uint8), ["hand", "leg"] * 30
    held, evidence = as_held(["hand", "leg"] * 100, rng)
    numbers = {"hand": 1, "leg": 2}
    named = with_regions(PLAIN, images, pd.Series(region), held, evidence)
    found = with_regions(PLAIN, images, pd.Series(region).map(numbers), held.replace({"region": numbers}), evidence)
    assert found.thresholds == named.thresholds and found.regions is not None
    assert found.regions.by_name.keys() == {"1", "2"}


def test_what_training_never_showed_moves_nothing(capsys: pytest.CaptureFixture) -> None:
    """A region of validation that the network cannot name; one region alone; none that both know."""
    rng = np.random.default_rng(2)
    images = rng.integers(0, 255, (60, 64, 64), dtype=np.uint8)
    held, evidence = as_held(["hand", "leg", "hip"] * 80, rng)
    found = with_regions(PLAIN, images, pd.Series(["hand", "leg"] * 30), held, evidence).regions
    assert found is not None and found.names == ("hand", "leg")
    alone = with_regions(PLAIN, images, pd.Series(["hand"] * 60), held, evidence).regions
    assert alone is not None and alone.names == ("hand",) and list(alone.judged(np.ones((3, 96)))) == [0] * 3
    assert capsys.readouterr().out == ""
    none = with_regions(PLAIN, images, pd.Series(["foot"] * 60), held, evidence).regions
    assert none is not None and none.by_name == {OTHER: 0.0} and "one threshold for all" in capsys.readouterr().out


def test_a_region_called_other_is_left_with_the_rest() -> None:
    labels = np.array([0, 1] * 40)
    evidence = np.random.default_rng(0).normal(size=80)
    assert OTHER not in shifts_of(evidence, labels, [OTHER] * 40 + ["hand"] * 40)
    few = [1] * 30 + [0] * (FEWEST - 1)  # hands that are not broken are too few to say how they look
    assert "hand" not in shifts_of(evidence[:79], np.array(few + [0, 1] * 20), ["hand"] * 39 + ["leg"] * 40)


def test_the_image_that_chose_a_threshold_is_at_it() -> None:
    rng = np.random.default_rng(0)
    scores, shifts = rng.random(2000), rng.normal(size=2000)
    for score, shift in zip(scores, shifts, strict=True):
        regions = Regions(("hand",), (float(shift),), np.zeros((1, 1)), np.zeros(1))
        assert score >= regions.thresholds(float(expit(logit(score) - shift)), np.array([0]))[0]


def test_names_are_checked_before_the_training(data: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / split).symlink_to(data / split)
    frame = pd.read_csv(data / "manifest.csv")
    many = [f"r{i}" for i in range(len(frame))]
    for region, said in (
        ("x" * 300, r"manifest\.csv: region is xxx.*; expected at most 200 characters"),
        (many, r"manifest\.csv: has 124 regions; expected at most 63"),
    ):
        frame.assign(region=region).to_csv(tmp_path / "manifest.csv", index=False)
        with pytest.raises(InputError, match=said):
            train_folder(tmp_path, tmp_path / "run", CONFIG, by_region=True, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_with_regions_is_not_replaced_by_one_without(data: Path, run: Run) -> None:
    with pytest.raises(InputError, match="was trained with thresholds by region; expected --by-region"):
        train_folder(data, run.folder, CONFIG, progress=False)


def test_a_folds_table_is_not_believed(data: Path, tmp_path: Path) -> None:
    """Decisions are made anew; a threshold that is none is refused; regions are those of the manifest."""
    config = replace(CONFIG, epochs=2)
    whole = train_folds(data, tmp_path / "run", config, folds=2, by_region=True, progress=False)
    path = tmp_path / "run" / "fold-1" / "predictions.csv"
    table = pd.read_csv(path)
    table.assign(decision="", region="foot").to_csv(path, index=False)
    again = train_folds(data, tmp_path / "run", config, folds=2, by_region=True, progress=False)
    assert whole is not None and again is not None
    assert list(again.run.predictions["decision"]) == list(whole.run.predictions["decision"])
    assert again.run.classifier.regions is not None and whole.run.classifier.regions is not None
    assert again.run.classifier.regions.by_name == whole.run.classifier.regions.by_name
    for odd in (table.drop(columns="threshold"), table.assign(threshold="abc")):
        odd.to_csv(path, index=False)
        with pytest.raises(InputError, match=r"expected a threshold in 0\.\.1 for each image; remove"):
            train_folds(data, tmp_path / "run", config, folds=2, by_region=True, progress=False)


def test_the_explorer_repeats_what_predict_says_by_region(run: Run, data: Path) -> None:
    held = run.predictions[run.predictions["split"] == "val"].head(3)
    images = load_images(data, list(held["file"]), size=64)
    explorer = GradCAMExplorer(run.classifier, images, held["label"])
    for i, row in enumerate(held.itertuples()):
        said = next(line for line in explorer.caption(i) if line.startswith("fracture predict: "))
        assert f"score {row.score:.3f} " in said and f"threshold {row.threshold:.3f} for " in said
        assert f"predicted {row.decision.lower()}" in said
    passes = explorer.passes
    explorer.caption(0)
    assert explorer.passes == passes, "it is asked once"
    explorer.close()


def test_odd_thresholds_in_a_table_are_said(run: Run) -> None:
    table = run.predictions.astype({"threshold": object})
    table.loc[3, "threshold"] = "abc"
    with pytest.raises(InputError, match="the column threshold holds abc; expected a number"):
        evaluate(table, n=20)
    plain = table.drop(columns=["threshold", "decision"])
    found = evaluate(plain, compare=run.predictions, threshold_compare=0.4, n=20)
    assert found["splits"]["val"]["comparison"]["threshold"] == 0.4
