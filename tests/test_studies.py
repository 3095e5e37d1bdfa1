"""Studies of many slices: the network, its training and commands, the leak by slice, and its explanation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fracturelib import cli
from fracturelib._io.files import InputError
from fracturelib.data.labels import STUDY_CLASSES
from fracturelib.explain.localization import grown, tolerance_at
from fracturelib.explain.slices import SliceExplainer, grown_in_slices, volume_peak
from fracturelib.models.classifier import Classifier, load_classifier, save_classifier
from fracturelib.models.poolings import POOLINGS
from fracturelib.models.registry import build_model
from fracturelib.models.study import StudyNetwork, middle_slices, present_slices
from fracturelib.training.augment import augmented_studies
from fracturelib.training.config import StudyConfig
from fracturelib.training.leaks import held_out, leak_by_slice, stacked_slices
from fracturelib.training.runs import train_folder
from fracturelib.training.train import Images, fit
from fracturelib.workflows import print_notes
from tests.volumes import study_set, volumes

DEMO = Path(__file__).parents[1] / "data" / "demo"
SMALL = StudyConfig(size=48, epochs=12, width=4, learning_rate=4e-3)


def network(pooling: str, *, seed: int = 0) -> StudyNetwork:
    model = build_model("study_network", seed=seed, pooling=pooling, width=4).eval()
    assert isinstance(model, StudyNetwork)
    return model


def judged(pooling: str) -> Classifier:
    return Classifier(
        network(pooling), {"name": "study_network", "pooling": pooling, "width": 4}, 48, 0.4, 0.2, classes=STUDY_CLASSES
    )


@pytest.fixture(scope="module")
def trained() -> dict[str, Classifier]:
    train, val = volumes(64, 0)[0], volumes(24, 1)[0]
    return {p: fit(train, val, replace(SMALL, pooling=p), progress=False)[0] for p in POOLINGS}


def test_poolings_by_hand() -> None:
    x = torch.rand(2, 5, 32, 32)
    for pooling in POOLINGS:
        model = network(pooling)
        with torch.inference_mode():
            _, each = model.each_slice(x)
            each = each[:, 1:4]  # the middle ones of five
            evidence = each[..., 1] - each[..., 0]
            expected = {
                "max": torch.stack([each[i, int(evidence[i].argmax())] for i in range(2)]),
                "softmax": ((3 * evidence).softmax(dim=1).unsqueeze(2) * each).sum(dim=1),
                "mean": each.mean(dim=1),
                "middle": each[:, 1],
            }
            found = model(x)
            places, read = model.places(x)
            features, logits = model.each_slice(x[:, places[0]])
            weights = model.weights(features, logits, read)
        assert torch.allclose(weights.sum(dim=1), torch.ones(2)) and bool((weights >= 0).all())
        assert read.all() and places.tolist() == 2 * [[2] if pooling == "middle" else [1, 2, 3]]
        if pooling in expected:
            assert torch.allclose(found, expected[pooling], atol=1e-6)


def test_attention_is_that_of_the_mean_of_features() -> None:
    model, x = network("attention"), torch.rand(3, 4, 32, 32)
    with torch.inference_mode():
        features, _ = model.each_slice(x[:, 1:3])
        gated = torch.tanh(model.seen(features)) * torch.sigmoid(model.gate(features))
        weights = model.attention(gated).softmax(dim=1)  # (3, 4, 1)
        assert torch.allclose(model(x), model.head((weights * features).sum(dim=1)), atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_empty_slices_do_not_count(pooling: str) -> None:
    model, x = network(pooling), torch.rand(2, 5, 32, 32)
    filled = torch.full((2, 9, 32, 32), -1.7)
    filled[:, :5] = x
    with torch.inference_mode():
        assert torch.allclose(model(x), model(filled), atol=1e-5)
        assert bool(torch.isfinite(model(torch.zeros(1, 3, 32, 32))).all())


def test_the_middle_of_what_is_there() -> None:
    present = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)
    assert middle_slices(present, 0.0).int().argmax(dim=1).tolist() == [2, 1, 2, 4]
    assert middle_slices(present, 0.6).int().tolist() == [
        [0, 1, 1, 1, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1],
    ]
    assert middle_slices(torch.ones(1, 20, dtype=torch.bool), 0.6)[0].nonzero().flatten().tolist() == [*range(4, 16)]
    assert present_slices(torch.zeros(1, 2, 8, 8)).tolist() == [[False, False]]


def test_images_are_no_study() -> None:
    with pytest.raises(InputError, match=r"x has shape \(2, 32, 32\); expected \(studies, slices, height, width\)"):
        network("max")(torch.rand(2, 32, 32))
    with pytest.raises(InputError, match="pooling is 'sum'; expected one of softmax, max, mean, attention, middle"):
        StudyNetwork("sum")
    with pytest.raises(InputError, match="pooling is 'sum'; expected one of"):
        StudyConfig(pooling="sum")


def test_a_slice_is_read_by_itself_and_in_its_middle() -> None:
    model, x = network("mean"), torch.rand(2, 5, 32, 32)
    with torch.inference_mode():
        features, logits = model.each_slice(x)
        assert torch.allclose(model.each_slice(x[1:, 2:3])[1][0, 0], logits[1, 2], atol=1e-5)
        assert features.shape == (2, 5, 16) and torch.equal(model.head(features), logits)
        x[:, :, :8] = x[:, :, :, -8:] = 0.5
        assert torch.equal(model.each_slice(x)[1], logits)


def test_augmented_studies_keep_empty_slices_and_their_slices_together() -> None:
    studies = torch.from_numpy(volumes(16, 0)[0].images)
    studies[:, 6:] = 0
    changed = augmented_studies(studies, torch.Generator().manual_seed(3))
    assert changed.shape == studies.shape and changed.dtype == torch.uint8
    shown = present_slices(changed.float())
    assert sorted(set(shown.int().argmax(dim=1).tolist())) == [0, 2]  # as it lies, and in reversed order
    assert shown.sum(dim=1).tolist() == [6] * 16
    assert torch.equal(changed, augmented_studies(studies, torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("pooling", ["softmax", "max", "mean", "attention"])
def test_it_learns_from_labels_of_studies(trained: dict[str, Classifier], pooling: str) -> None:
    test, masks = volumes(40, 2)
    classifier = trained[pooling]
    assert roc_auc_score(test.labels, classifier.scores(test.images)) > 0.9
    torn = np.flatnonzero(test.labels)
    found = SliceExplainer(classifier).judge(test.images[torn], masks[torn])
    assert found["slice"].mean() > 0.8 > 0.5 > found["slice by chance"].mean()


def test_the_middle_slice_alone_is_not_enough(trained: dict[str, Classifier]) -> None:
    test, _ = volumes(80, 2)
    aucs = {p: roc_auc_score(test.labels, c.scores(test.images)) for p, c in trained.items()}
    assert aucs["middle"] < min(aucs["max"], aucs["attention"]) - 0.1


def test_a_checkpoint_of_a_study_network(tmp_path: Path, trained: dict[str, Classifier]) -> None:
    test, _ = volumes(6, 2)
    for pooling, classifier in trained.items():
        path = tmp_path / f"{pooling}.pt"
        save_classifier(classifier, path)
        again = load_classifier(path)
        assert again.classes == ("Whole", "Torn") and again.architecture["pooling"] == pooling
        assert np.array_equal(again.scores(test.images), classifier.scores(test.images))
        assert set(again.decide(again.scores(test.images))) <= {"Whole", "Torn"}
    odd = replace(trained["max"], architecture={"name": "study_network", "pooling": "sum", "width": 4})
    with pytest.raises(InputError, match="pooling is 'sum'; expected one of softmax"):
        save_classifier(odd, tmp_path / "odd.pt")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_evidence_adds_up(pooling: str) -> None:
    classifier, study = judged(pooling), volumes(2, 5)[0].images[1]
    explainer = SliceExplainer(classifier)
    table = explainer.evidence(study)
    whole, torn = classifier.logits(study[None])[0]
    assert len(table) == len(study) and table["weight"].sum() == pytest.approx(1)
    assert table["contribution"].sum() == pytest.approx(torn - whole, abs=1e-5)
    assert explainer.deciding_slice(study) == table["change"].argmax()
    x = classifier.tensor(study[None])
    assert set(np.flatnonzero(table["weight"])) <= ({4} if pooling == "middle" else {2, 3, 4, 5, 6})
    for i in (2, 3, 4, 5, 6):
        others = [j for j in (2, 3, 4, 5, 6) if j != i]
        with torch.inference_mode():
            features, logits = network(pooling).each_slice(x[:, others])
            weights = network(pooling).weights(features, logits, torch.ones(1, 4, dtype=torch.bool))[0]
            without = float(weights @ (logits[0, :, 1] - logits[0, :, 0]))
        expected = (torn - whole) * (i == 4) if pooling == "middle" else torn - whole - without
        assert table["change"][i] == pytest.approx(expected, abs=1e-5)


def test_evidence_of_one_slice_and_of_empty_ones() -> None:
    study = volumes(2, 5)[0].images[1]
    for pooling in POOLINGS:
        explainer = SliceExplainer(judged(pooling))
        alone = explainer.evidence(study[:1])
        assert alone["change"][0] == pytest.approx(alone["evidence"][0], abs=1e-6)
        filled = np.concatenate([study, np.zeros_like(study[:3])])
        table = explainer.evidence(filled)
        assert table["weight"][8:].sum() == table["change"][8:].abs().sum() == 0
        assert np.allclose(table["change"][:8], explainer.evidence(study)["change"], atol=1e-5)


def test_maps_through_the_slices(trained: dict[str, Classifier]) -> None:
    study = volumes(2, 5)[0].images[1]
    for pooling, classifier in trained.items():
        explainer = SliceExplainer(classifier)
        maps = explainer.maps(study)
        assert maps.shape == study.shape and maps.dtype == np.float32 and maps.min() >= 0
        weights = explainer.evidence(study)["weight"].to_numpy()
        assert not maps[weights == 0].any() and not maps[:, :12].any() and not maps[:, :, 36:].any()
        assert pooling != "middle" or maps[[0, 1, 2, 3, 5, 6, 7]].max() == 0
    with pytest.raises(InputError, match="layer is 'stage9'; expected one of stage1, stage2, stage3, stage4"):
        SliceExplainer(trained["max"]).maps(study, layer="stage9")


def test_a_map_that_knows_is_judged_right() -> None:
    mask = np.zeros((4, 20, 20), bool)
    mask[2, 5:8, 5:8] = True
    near = grown_in_slices(mask)
    assert tolerance_at(20) == 1 and np.array_equal(near[2], grown(mask[2].astype(np.uint8), 1) > 0)
    assert near[2, 4, 6] and not near[2, 3, 6] and not near[1].any()
    assert volume_peak(mask.astype(np.float32)) == (2, 5, 5) and volume_peak(np.zeros((2, 2, 2), np.float32)) is None
    study = volumes(2, 5)[0].images[1]
    middle = np.zeros(study.shape, bool)
    middle[4, 20:28, 20:28] = True
    explainer = SliceExplainer(judged("middle"))
    found = explainer.judge([study], [middle]).iloc[0]
    near = grown_in_slices(middle).sum()
    assert found["slice"] == found["slice of the middle"] == found["peak of the middle"] == 1
    assert (
        found["slice by chance"] == pytest.approx(1 / 5)
        and found["peak by chance"] == pytest.approx(near / 24**2 / 5)
        and near > 64
    )
    with pytest.raises(InputError, match="mask 0 has shape"):
        explainer.judge([study], [np.zeros(study.shape, bool)])
    with pytest.raises(InputError, match="mask 0 has values other than 0 and 1"):
        explainer.judge([study], [np.where(middle, np.nan, 0.0)])
    with pytest.raises(InputError, match="masks has 0 volumes"):
        explainer.judge([study], [])
    with pytest.raises(InputError, match="study 0 has one grey value in each slice"):
        explainer.judge([np.full_like(study, 7)], [middle])


def test_other_networks_and_volumes_are_refused() -> None:
    small = Classifier(build_model("small_cnn", width=4).eval(), {"name": "small_cnn", "width": 4}, 48, 0.4, 0.2)
    with pytest.raises(InputError, match="the network is small_cnn; expected study_network"):
        SliceExplainer(small)
    with pytest.raises(InputError, match=r"study is float64 of shape \(3, 48, 48\); expected uint8"):
        SliceExplainer(judged("max")).evidence(np.zeros((3, 48, 48)))  # type: ignore[arg-type]


def test_the_leak_by_slice() -> None:
    rng = np.random.default_rng(0)
    knees = rng.integers(40, 200, (40, 1, 8, 8)).repeat(6, axis=1).repeat(6, axis=2).repeat(6, axis=3)  # each its own
    images = (knees + rng.integers(0, 12, knees.shape)).astype(np.uint8)
    studies = Images(images, np.arange(40) % 2)
    quick = StudyConfig(size=32, epochs=10, batch=32, learning_rate=4e-3, augment=False, pooling="mean", width=4)
    found = leak_by_slice(studies, labels="random", draws=3, slices=6, config=quick)
    means = found.groupby("split")[["auc", "accuracy"]].mean()
    assert means.loc["slice", "auc"] > 0.75 > 0.7 > means.loc["study", "auc"]
    assert list(found.columns) == ["draw", "split", "labels", "auc", "accuracy"] and len(found) == 6
    again = leak_by_slice(studies, labels="random", draws=1, slices=6, config=quick)
    assert found.iloc[:2].equals(again)


def test_random_labels_are_dealt_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[list[int]] = []

    def kept(train: Images, *_: object, **__: object) -> tuple[Classifier, None]:
        learnt.append(train.labels[:: len(train.labels) // 7].tolist())
        return judged("mean"), None

    monkeypatch.setattr("fracturelib.training.leaks.fit", kept)
    studies = volumes(24, 0)[0]
    quick = replace(SMALL, size=32)
    leak_by_slice(studies, labels="true", draws=1, slices=6, config=quick)
    leak_by_slice(studies, labels="random", draws=3, slices=6, config=quick)
    assert len({tuple(labels) for labels in learnt[::2]}) == 4  # the true ones, and three others


def test_held_out_slices() -> None:
    of = np.repeat(np.arange(10), 6)
    by_study, by_slice = held_out(of, "study"), held_out(of, "slice")
    assert set(by_study.reshape(10, 6).mean(axis=1)) == {0.0, 1.0} and by_study.sum() == by_slice.sum() == 18
    assert 0 < by_slice.reshape(10, 6).mean(axis=1).max() < 1
    images, study = stacked_slices(
        Images(np.arange(1, 41, dtype=np.uint8).reshape(2, 5, 2, 2), np.arange(2)), slices=3, size=2
    )
    assert images[:, 0, 0, 0].tolist() == [5, 9, 13, 25, 29, 33] and study.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(InputError, match="split is 'patient'; expected one of"):
        held_out(of, "patient")
    with pytest.raises(InputError, match="slices is 9; expected at most 8"):
        stacked_slices(volumes(2, 0)[0], slices=9, size=32)
    with pytest.raises(InputError, match="labels is 'none'; expected one of true, random"):
        leak_by_slice(volumes(4, 0)[0], labels="none")


def test_a_run_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    study_set(tmp_path / "set", train=16, val=8, test=8)
    config = replace(SMALL, epochs=3)
    whole = train_folder(tmp_path / "set", tmp_path / "whole", config, progress=False)
    train, val = volumes(16, 0)[0], volumes(8, 1)[0]
    fit(train, val, config, until=1, out=tmp_path, progress=False)
    first, _ = fit(train, val, config, out=tmp_path, progress=False)
    straight, _ = fit(train, val, config, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(
        first.model.state_dict().values(), straight.model.state_dict().values(), strict=True))  # fmt: skip
    again = train_folder(tmp_path / "set", tmp_path / "whole", config, progress=False)
    assert again.predictions.equals(whole.predictions)
    with pytest.raises(InputError, match="was begun with pooling = softmax, now max"):
        train_folder(tmp_path / "set", tmp_path / "whole", replace(config, pooling="max"), progress=False)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, table = tmp_path / "set", tmp_path / "run", tmp_path / "scores.csv"
    study_set(data)
    train = ["train", str(data), "--out", str(run), "--size", "48", "--epochs", "4", "--pooling", "max", "--model"]
    assert cli.main([*train, "study_network", "--learning-rate", "0.004", "--quiet"]) == 0
    assert load_classifier(run / "model.pt").architecture == {"name": "study_network", "pooling": "max", "width": 12}
    assert cli.main(["predict", str(data), "--model", str(run / "model.pt"), "--csv", str(table), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "80 studies" in said and "on 16 validation studies. " in said
    scores = pd.read_csv(table)
    assert set(scores["decision"]) == {"Whole", "Torn"} and scores["score"].between(0, 1).all()
    left = pd.read_csv(run / "predictions.csv").set_index("file")["score"]
    assert np.allclose(scores.set_index("file").loc[left.index, "score"], left)
    assert cli.main(["evaluate", str(run / "predictions.csv")]) == 0
    assert "test: 16 studies of 16 groups, 8 torn" in capsys.readouterr().out


def test_folds_count_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study_set(tmp_path / "set", train=12, val=4, test=4)
    train = ["train", str(tmp_path / "set"), "--out", str(tmp_path / "run"), "--size", "48", "--epochs", "1"]
    assert cli.main([*train, "--folds", "2", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "16 studies of 16 patients, each scored" in said and "chose on validation studies of its own" in said


def test_what_is_odd_is_said_of_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, table, odd = tmp_path / "model.pt", tmp_path / "a.csv", tmp_path / "in" / "odd.npy"
    save_classifier(judged("max"), model)
    odd.parent.mkdir()
    (tmp_path / "none").mkdir()
    (tmp_path / "pair.img").write_bytes(bytes(range(256)))
    np.save(odd, np.full((8, 48, 48), np.nan))
    formats = "expected .npy, NIfTI (.nii, .nii.gz) or a folder of DICOM files"
    wrong = {
        "none of 1 study has a score (odd.npy: has values that are not finite": [odd],
        f"pair.img: not a study; {formats}": [tmp_path / "pair.img"],
        f"none: has no study; {formats}": [tmp_path / "none"],
        "nowhere: no such file or folder; expected studies": [tmp_path / "nowhere"],
        "given twice; expected each study once": [odd, odd],
        "unlike the studies that it learnt from, being a network of studies; expected no --strict": [odd, "--strict"],
    }
    for line, arguments in wrong.items():
        assert cli.main([str(a) for a in ("predict", *arguments, "--model", model, "--csv", table, "--quiet")]) == 2
        error = capsys.readouterr().err
        assert line in error and error.count("\n") == 1


def test_notes_of_studies_count_studies(capsys: pytest.CaptureFixture[str]) -> None:
    print_notes({"a": ["1 slice missing"], "b": ["1 slice missing"], "c": ["odd"]}, "study")
    assert capsys.readouterr().out == "note: 2 studies: 1 slice missing (a, b)\nnote: 1 study: odd (c)\n"


def test_networks_are_called_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study_set(tmp_path / "set", train=8, val=4, test=4)
    model, data, out = str(tmp_path / "model.pt"), str(tmp_path / "set"), ["--out", str(tmp_path / "run")]
    save_classifier(judged("max"), tmp_path / "model.pt")
    wrong = {
        "is study_network; expected small_cnn, which is to be": ["train", str(DEMO), "--start", model, *out],
        "is study_network with pooling max, width 4; expected study_network with pooling softmax, width 12, which": [
            "train", data, "--start", model, *out,
        ],
    }  # fmt: skip
    for line, arguments in wrong.items():
        assert cli.main(arguments) == 2
        assert line in capsys.readouterr().err


def test_images_and_studies_are_not_mixed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = DEMO
    data, model = tmp_path / "set", tmp_path / "model.pt"
    study_set(data, train=8, val=4, test=4)
    save_classifier(judged("max"), model)
    small = tmp_path / "small.pt"
    save_classifier(
        Classifier(build_model("small_cnn", width=4), {"name": "small_cnn", "width": 4}, 48, 0.4, 0.2), small
    )
    out = ["--out", str(tmp_path / "run")]
    wrong = {
        "holds studies, but small_cnn learns from images": ["train", str(data), "--model", "small_cnn", *out],
        "holds images, but study_network learns from studies": ["train", str(demo), "--model", "study_network", *out],
        "--pooling max is given; expected --model study_network": ["train", str(demo), "--pooling", "max", *out],
        "is no study, and": ["predict", str(demo), "--model", str(model), "--csv", str(tmp_path / "a.csv")],
        "is no image, and": ["predict", str(data), "--model", str(small), "--csv", str(tmp_path / "a.csv")],
        "is a network of studies; expected one of images": ["explain", str(demo), "--model", str(model), *out],
    }
    for line, arguments in wrong.items():
        assert cli.main(arguments) == 2
        error = capsys.readouterr().err
        assert line in error and error.count("\n") == 1
