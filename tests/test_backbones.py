"""Networks of torchvision and timm as features: the same numbers as their libraries give, weights in three layouts."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from fracturelib._io.files import InputError
from fracturelib.cli import main
from fracturelib.explain.gradcam import GradCAM
from fracturelib.models.backbones import LocalizingBackbone, is_backbone, load_backbone_weights, read_backbone_weights
from fracturelib.models.classifier import load_classifier, normalised
from fracturelib.models.localizer import UNFREEZE, free
from fracturelib.models.registry import build_model
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.features import frozen_features
from fracturelib.training.folds import train_folds
from fracturelib.training.runs import train_folder
from tests.radiographs import plain_folder

NAMES = (
    "resnet18", "wide_resnet50_2", "densenet121", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny",
    "vgg11_bn",
)  # fmt: skip
MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def seeded(make: Callable[[], nn.Module], seed: int = 3) -> nn.Module:
    """A network with weights, and statistics of batches, that are not those of a new one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make()
        for name, value in network.named_buffers():
            if name.endswith("running_mean"):
                value.uniform_(-0.1, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return network.eval()


def loaded(model: nn.Module, path: Path) -> str:
    """What is said of a file of weights that a network is given."""
    return load_backbone_weights(model, read_backbone_weights(path), path)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 96, 96)).astype(np.uint8)


def published(network: nn.Module, x: Tensor) -> Tensor:
    """What torchvision's network makes of an image before its classifier, averaged: (n, 3, h, w) -> (n, c)."""
    layer = "layer4" if isinstance(network, models.ResNet) else "features"
    found: list[Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda *a: found.append(a[2].clone()))
    with torch.no_grad():
        network(x)
    handle.remove()
    features = found[0].relu() if isinstance(network, models.DenseNet) else found[0]
    assert len(torch.unique(features)) > 100  # not all dead
    return features.mean(dim=(2, 3))


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_torchvision(name: str, images: np.ndarray, tmp_path: Path) -> None:
    network = seeded(lambda: models.get_model(name, weights=None))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    model = LocalizingBackbone(f"torchvision:{name}")
    loaded(model, tmp_path / "weights.pth")
    x = torch.from_numpy(images)
    with torch.no_grad():
        middle, fine, whole = model.eval().features(normalised(x, 0.5, 0.5))
    assert (middle.shape[2:], fine.shape[2:]) == ((12, 12), (6, 6))
    assert (middle.shape[1], fine.shape[1], whole.shape[1]) == model.channels
    theirs = published(network, ((x[:, None] / 255).expand(-1, 3, -1, -1) - MEAN) / STD)
    assert (whole - theirs).abs().max() < 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("name", ["resnet50", "densenet121"])
def test_radimagenet(name: str, images: np.ndarray, tmp_path: Path) -> None:
    """Its files number the children of a network without its classifier; grey values run from -1 to 1."""
    network = seeded(lambda: models.get_model(name, weights=None))
    body = nn.Module()
    body.backbone = nn.Sequential(*list(network.children())[:-1])
    torch.save(body.state_dict(), tmp_path / "RadImageNet.pt")
    assert "backbone.0." in "".join(body.state_dict())
    model = LocalizingBackbone(f"torchvision:{name}")
    loaded(model, tmp_path / "RadImageNet.pt")
    x = normalised(torch.from_numpy(images), 0.5, 0.5)
    with torch.no_grad():
        whole = model.eval().features(x)[2]
    assert torch.allclose(whole, published(network, x.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "prefix"), [("densenet121", ""), ("resnet50", "model.")])
def test_torchxrayvision(name: str, prefix: str, images: np.ndarray, tmp_path: Path) -> None:
    """Its networks have one channel, of grey values from -1024 to 1024."""
    network = seeded(lambda: models.get_model(name, weights=None))
    first = network.features.conv0 if name.startswith("dense") else network.conv1
    grey = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    nn.init.normal_(grey.weight, std=1e-4)
    weights = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    weights[f"{prefix}{'features.conv0' if name.startswith('dense') else 'conv1'}.weight"] = grey.weight.detach()
    torch.save(weights | {"op_threshs": torch.zeros(18)}, tmp_path / "xrv.pt")
    model = LocalizingBackbone(f"torchvision:{name}")
    loaded(model, tmp_path / "xrv.pt")
    x = torch.from_numpy(images)[:, None]
    with torch.no_grad():
        whole = model.eval().features(normalised(x[:, 0], 0.5, 0.5))[2]
        first.weight.copy_(torch.cat([grey.weight, torch.zeros(64, 2, 7, 7)], dim=1))
    theirs = published(network, ((2 * (x / 255) - 1) * 1024).expand(-1, 3, -1, -1))
    assert torch.allclose(whole, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wrap", [lambda w: {"state_dict": w}, lambda w: {f"module.{k}": v for k, v in w.items()}])
def test_weights_that_are_wrapped(wrap: Callable[[dict], dict], tmp_path: Path) -> None:
    network = seeded(lambda: models.resnet18(weights=None))
    torch.save(wrap(network.state_dict()), tmp_path / "weights.pth")
    model = LocalizingBackbone("torchvision:resnet18")
    loaded(model, tmp_path / "weights.pth")
    assert torch.equal(model.stage4[0][1].conv2.weight, network.layer4[1].conv2.weight)


def test_timm(images: np.ndarray, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed: pip install timm")
    for name in ("resnet18", "convnext_atto", "efficientnet_lite0", "regnety_002", "mobilenetv3_small_050", "dpn68"):
        network = seeded(lambda name=name: timm.create_model(name, num_classes=0))
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        model = LocalizingBackbone(f"timm:{name}")
        loaded(model, tmp_path / "weights.pth")
        x = model.grey(normalised(torch.from_numpy(images), 0.5, 0.5))
        theirs = timm.create_model(name, features_only=True)
        whole = {k.replace("_", "."): v for k, v in network.state_dict().items()}
        theirs.load_state_dict({k: whole[k.replace("_", ".")] for k in theirs.state_dict()})
        with torch.no_grad():
            own, other = model.eval().features(normalised(torch.from_numpy(images), 0.5, 0.5)), theirs.eval()(x)
        assert torch.allclose(own[0], other[-3], atol=1e-4) and torch.allclose(own[1], other[-2], atol=1e-4), name
        assert torch.allclose(own[2], other[-1].mean(dim=(2, 3)), atol=1e-4), name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:resnet19", "torchvision does not have"),
        ("torchvision:vit_b_16", "do not halve"),
        ("torchvision:swin_t", "do not halve"),
        ("torchvision:googlenet", "do not halve"),
        ("torchvision:regnet_y_400mf", "do not halve"),
        ("torchvision:squeezenet1_1", "do not halve"),
        ("timm:no_such_network", "timm"),
        ("torchvision:", "expected one of"),
        ("torchvision:../../x", "expected one of"),
        ("keras:resnet50", "expected one of"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_networks_that_will_not_do(name: str, said: str, data: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said) as caught:
        train_folder(data, tmp_path / "run", FineTuneConfig(architecture=name, size=64), weights=weights)
    assert "\n" not in str(caught.value) and "expected" in str(caught.value)
    assert not (tmp_path / "run").exists()


class Anything:
    """What a pickle may hold."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no weights", "is damaged"),
        (Anything(), "holds Python objects or is damaged, and was not opened"),
        ({}, "holds no tensors"),
        ({3: torch.zeros(3)}, "holds no tensors by name"),
        ([torch.zeros(3)], "holds no tensors"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, "has no bn1.weight"),
        ("wide", r"is \(128, 64, 1, 1\); expected \(64, 64, 3, 3\)|expected"),
        ("nan", "is NaN or infinite"),
        (torch.zeros(64, 3, 7, 7, dtype=torch.int8), "conv1.weight is int8; expected float32"),
        (torch.full((64, 3, 7, 7), 1e300, dtype=torch.float64), "conv1.weight is NaN or infinite"),
        (torch.zeros(64, 1), r"conv1.weight is \(64, 1\); expected \(64, 3, 7, 7\)"),
        (torch.zeros(64, 3, 7, 7, dtype=torch.complex64), "weights.pth: "),
        (torch.zeros(64, 3, 7, 7).to_sparse(), "weights.pth: "),
    ],
)
def test_weights_that_will_not_do(content: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, str):
        content = models.get_model("resnet50" if content == "wide" else "resnet18", weights=None).state_dict()
        content["layer1.0.conv1.weight"] = content["layer1.0.conv1.weight"] * float("nan" if said[3] == "N" else 1)
    if isinstance(content, Tensor):
        content = models.resnet18(weights=None).state_dict() | {"conv1.weight": content}
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=said) as caught:
        loaded(LocalizingBackbone("torchvision:resnet18"), path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_older_files_and_half_precision(tmp_path: Path) -> None:
    weights = seeded(lambda: models.resnet18(weights=None)).half().state_dict()
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    model = LocalizingBackbone("torchvision:resnet18")
    assert "as torchvision or timm show them" in loaded(model, tmp_path / "old.pth")
    assert torch.equal(model.stage1[0].weight, weights["conv1.weight"].float())


def test_a_small_file_does_not_fill_the_memory(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(10**6)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.infolist():
            bomb.writestr(entry.filename, plain.read(entry))
    assert (tmp_path / "bomb.pth").stat().st_size < 10**5
    with pytest.raises(InputError, match="compressed, or longer than the file"):
        read_backbone_weights(tmp_path / "bomb.pth")


def test_one_name_twice(tmp_path: Path) -> None:
    weights = models.resnet18(weights=None).state_dict()
    torch.save(weights | {"model.conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="is there under two names"):
        loaded(LocalizingBackbone("torchvision:resnet18"), tmp_path / "weights.pth")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backbones") / "data"
    plain_folder(folder, splits={"train": 12, "val": 8, "test": 4})
    files = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*.jpg")) if p.parent.name == "fractured"]
    coco = {
        "categories": [{"id": 1, "name": "fracture"}],
        "images": [{"id": i, "file_name": file, "width": 48, "height": 64} for i, file in enumerate(files)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [9, 9, 20, 20]} for i in range(len(files))],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(seeded(lambda: models.resnet18(weights=None)).state_dict(), path)
    return path


@pytest.mark.parametrize("unfreeze", UNFREEZE)
def test_it_trains_and_is_kept(unfreeze: str, data: Path, weights: Path, tmp_path: Path) -> None:
    config = FineTuneConfig(architecture="torchvision:resnet18", unfreeze=unfreeze, size=64, epochs=2, batch=8)
    run = train_folder(data, tmp_path / "run", config, weights=weights, progress=False)
    kept = load_classifier(tmp_path / "run" / "model.pt")
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    assert np.array_equal(kept.scores(images), run.classifier.scores(images))
    assert kept.localizes and kept.localize(images).shape == (3, 8, 8)
    assert kept.extra["start"]["weights"].startswith("SHA-256 ")
    # What is frozen is as it was, batch statistics too; and what is not has learnt.
    begun = build_model("torchvision:resnet18")
    loaded(begun, weights)
    first = {"heads": 5, "last": 4, "most": 2, "all": 1}[unfreeze]
    for name, value in begun.state_dict().items():
        if not name.startswith("stage"):
            continue
        same = torch.equal(value, kept.model.state_dict()[name])
        assert same == (int(name[5]) < first or not value.is_floating_point() or "running" in name), name
    with GradCAM(kept.model, kept.model.stage3) as cam:
        maps = cam(kept.tensor(images))
    assert maps.shape[0] == 3 and np.isfinite(np.asarray(maps)).all()


def test_nothing_depends_on_the_batch(weights: Path, images: np.ndarray) -> None:
    model = LocalizingBackbone("torchvision:resnet18")
    loaded(model, weights)
    x = normalised(torch.from_numpy(images), 0.5, 0.5)
    with torch.no_grad():
        assert torch.allclose(model.train()(x)[:1], model.train()(x[:1]), atol=1e-5)
    heads, tuned = free(model, "last")
    assert tuned and heads and not any(p.requires_grad for p in model.stage3.parameters())


def test_frozen_features_know_how_grey_values_are_seen(weights: Path, images: np.ndarray) -> None:
    model = LocalizingBackbone("torchvision:resnet18")
    loaded(model, weights)
    first = np.array(frozen_features(model, images).whole[0])
    model.grey.expect((0.5,) * 3, (0.5,) * 3)
    assert not np.allclose(first, np.array(frozen_features(model, images).whole[0]))


def test_frozen_features_know_the_network(weights: Path, images: np.ndarray) -> None:
    """Two networks may have the same weights and another function."""
    model = LocalizingBackbone("torchvision:resnet18")
    loaded(model, weights)
    first = np.array(frozen_features(model, images).whole[0])
    model.name = "timm:another"
    model.stage1[3] = nn.AvgPool2d(3, 2, 1)
    assert not np.allclose(first, np.array(frozen_features(model, images).whole[0]))


def test_weights_that_no_checkpoint_may_hold(data: Path, weights: Path, tmp_path: Path) -> None:
    """Noticed at the beginning, not after the training."""
    odd = torch.load(weights, weights_only=True)
    odd["bn1.running_var"][3] = -1e-7
    torch.save(odd, tmp_path / "odd.pth")
    config = FineTuneConfig(architecture="torchvision:resnet18", size=64, epochs=1)
    with pytest.raises(InputError, match=r"odd\.pth: .*running_var is negative"):
        train_folder(data, tmp_path / "run", config, weights=tmp_path / "odd.pth", progress=False)
    assert not (tmp_path / "run").exists()


def test_finished_folds_know_weights_by_what_they_hold(data: Path, weights: Path, tmp_path: Path) -> None:
    config = FineTuneConfig(architecture="torchvision:resnet18", size=64, epochs=1, batch=8)
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(weights.read_bytes())
        assert train_folds(data, tmp_path / "run", config, folds=2, weights=tmp_path / name, progress=False)


def test_by_the_command(data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = ["--model", "torchvision:resnet18", "--size", "64", "--epochs", "1", "--quiet", "--out", str(run)]
    assert main(["train", str(data), *options]) == 2
    assert "would begin with random weights; expected --weights FILE, or --start MODEL" in capsys.readouterr().err
    assert main(["train", str(data), *options, "--weights", str(weights)]) == 0
    assert main(["predict", str(data / "test"), "--model", str(run / "model.pt"), "--csv", str(run / "s.csv")]) == 0
    assert pd.read_csv(run / "s.csv")["score"].between(0, 1).all()
    assert main(["explain", str(data / "test"), "--model", str(run / "model.pt"), "--out", str(run / "maps")]) == 0
    # Begun with again, at another size.
    again = [
        "--model",
        "torchvision:resnet18",
        "--size",
        "96",
        "--epochs",
        "1",
        "--quiet",
        "--out",
        str(tmp_path / "b"),
    ]
    assert main(["train", str(data), *again, "--start", str(run / "model.pt")]) == 0
    assert main(["train", str(data), "--out", str(tmp_path / "c"), "--weights", str(weights)]) == 2
    assert "are given for small_cnn; expected torchvision:NAME or timm:NAME" in capsys.readouterr().err


def test_without_outlines(data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From labels alone: it learns whether, says nothing of where, and is explained by Grad-CAM."""
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "val", "test"):
        (folder / split).symlink_to(data / split)
    options = ["--model", "torchvision:resnet18", "--weights", str(weights), "--size", "64", "--epochs", "2", "--quiet"]
    assert main(["train", str(folder), *options, "--out", str(tmp_path / "a")]) == 2
    said = capsys.readouterr().err
    assert "has no annotations.json; expected outlines of fractures to teach where, or --no-outlines" in said
    model = tmp_path / "b" / "model.pt"
    assert main(["train", str(folder), *options, "--no-outlines", "--out", str(tmp_path / "b")]) == 0
    kept = load_classifier(model)
    assert not kept.localizes and kept.extra["config"]["mask_loss_weight"] == 0
    with pytest.raises(InputError, match="was not trained to localize"):
        kept.localize(np.zeros((1, 64, 64), np.uint8))
    capsys.readouterr()
    assert main(["explain", str(folder / "test"), "--model", str(model), "--out", str(tmp_path / "maps")]) == 0
    # The labels alone decide: with outlines, the same network learns something else.
    assert main(["train", str(data), *options, "--no-outlines", "--out", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / "predictions.csv").read_bytes() == (tmp_path / "b" / "predictions.csv").read_bytes()
    assert main(["train", str(data), *options, "--no-outlines", "--peak-loss-weight", "1", "--out", "d"]) == 2
    assert main(["train", str(data), "--no-outlines", "--out", "d"]) == 2
    assert "--no-outlines is given; expected --model localizing_efficientnet" in capsys.readouterr().err


def test_out_of_fold(data: Path, weights: Path, tmp_path: Path) -> None:
    config = FineTuneConfig(architecture="torchvision:resnet18", size=64, epochs=1, batch=8)
    found = train_folds(data, tmp_path / "run", config, folds=2, weights=weights, progress=False)
    assert found is not None and found.run.predictions["score"].between(0, 1).all()
    torch.save(seeded(lambda: models.resnet18(weights=None), 4).state_dict(), tmp_path / "other.pth")
    with pytest.raises(InputError, match="was trained with start"):
        train_folds(data, tmp_path / "run", config, folds=2, weights=tmp_path / "other.pth", progress=False)


def test_what_is_a_backbone() -> None:
    assert is_backbone("timm:convnext_tiny.fb_in22k") and is_backbone("torchvision:resnet18")
    assert not any(map(is_backbone, ("small_cnn", "timm:", "timm:a b", "hub:x", "timm:a\n", "")))
