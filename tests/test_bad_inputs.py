"""What each mistake gets: exit code 2, one line that names it, and nothing half-written."""

import pickle
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fracturelib.cli import main
from fracturelib.training.config import TrainConfig
from fracturelib.training.train import fit
from fracturelib.workflows import predict_paths
from tests.radiographs import plain_folder, radiograph, save
from tests.test_images import RAMP, dicom
from tests.test_train import radiographs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from fracturelib.models.classifier import save_classifier

    path = tmp_path_factory.mktemp("model") / "model.pt"
    config = TrainConfig(size=64, epochs=1, batch=8)
    classifier, _ = fit(radiographs(16, 0), radiographs(16, 100), config, progress=False)
    save_classifier(classifier, path)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that must fail."""
    capsys.readouterr()
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    said = capsys.readouterr().err
    assert code == 2, said
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == 1 and "Traceback" not in said, said
    return lines[0]


def large_png(path: Path, side: int) -> None:
    """A PNG of side x side black pixels, in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def truncated(path: Path) -> None:
    save(radiograph(1, width=400, height=400), path, quality=95)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


UNREADABLE: list[tuple[str, Callable[[Path], object], str]] = [
    ("zero.jpg", lambda p: p.touch(), "empty (0 bytes); expected an image"),
    ("truncated.jpg", truncated, "damaged or truncated ("),
    ("text.jpg", lambda p: p.write_text("no picture"), "not an image; expected JPEG, PNG"),
    ("tiny.png", lambda p: save(np.zeros((1, 1), np.uint8), p), "1 x 1 pixels; expected at least 16 x 16"),
    ("huge.png", lambda p: large_png(p, 20_000), "expected at most 100,000,000"),
    ("broken.dcm", lambda p: p.write_bytes(b"\0" * 128 + b"DICM" + b"x" * 50), "a DICOM file that cannot be shown ("),
]
READABLE: list[tuple[str, Callable[[Path], object]]] = [
    ("sixteen.png", lambda p: save(RAMP.astype(np.uint16) * 257, p)),
    ("cmyk.jpg", lambda p: Image.fromarray(RAMP).convert("CMYK").save(p)),
    ("image.dcm", lambda p: dicom(p, RAMP.astype(np.uint16) * 16)),
]


@pytest.mark.parametrize(("name", "make", "message"), UNREADABLE, ids=[n for n, *_ in UNREADABLE])
def test_images_that_cannot_be_read(
    tmp_path: Path, model: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    save(radiograph(1), tmp_path / "good.jpg")
    frame = predict_paths([tmp_path], model, progress=False).set_index("file")
    assert message in frame.loc[name, "reason"] and "\n" not in frame.loc[name, "reason"]
    assert np.isnan(frame.loc[name, "score"]) and frame.loc[name, "decision"] == ""
    assert 0 <= frame.loc["good.jpg", "score"] <= 1 and frame.loc["good.jpg", "reason"] == ""


@pytest.mark.parametrize(("name", "make"), READABLE, ids=[n for n, *_ in READABLE])
def test_unusual_images_that_can_be_read(
    tmp_path: Path, model: Path, name: str, make: Callable[[Path], object]
) -> None:
    make(tmp_path / name)
    frame = predict_paths([tmp_path], model, progress=False)
    assert frame["reason"].tolist() == [""] and 0 <= frame["score"].iloc[0] <= 1


def empty_folder(tmp: Path) -> Path:
    (tmp / "data").mkdir()
    return tmp / "data"


def empty_classes(tmp: Path) -> Path:
    for split in ("train", "val"):
        (tmp / "data" / split / "Fractured").mkdir(parents=True)
    return tmp / "data"


def one_class(tmp: Path) -> Path:
    folder = plain_folder(tmp / "data", splits={"train": 2, "val": 2})
    shutil.rmtree(folder / "train" / "not fractured")
    return folder


def unknown_class(tmp: Path) -> Path:
    return plain_folder(tmp / "data", splits={"train": 2, "val": 2}, names=("fractured", "bones"))


def no_validation(tmp: Path) -> Path:
    return plain_folder(tmp / "data", splits={"train": 2})


FOLDERS = [
    (lambda tmp: tmp / "nowhere", "no such folder; expected a data set with train/ and val/"),
    (empty_folder, "has no manifest.csv and no folder called train or val; expected a data set"),
    (empty_classes, "has no image; expected files such as"),
    (one_class, "train: has only 'Fractured' images; expected both 'Fractured' and 'Not Fractured'"),
    (unknown_class, "class folder 'bones' is not known; expected one of Fractured: fractured"),
    (no_validation, "has no val images; expected"),
]


@pytest.mark.parametrize(("make", "message"), FOLDERS)
def test_folders_that_cannot_be_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], Path], message: str
) -> None:
    line = run(capsys, "train", make(tmp_path), "--out", tmp_path / "run", "--quiet")
    assert message in line and str(tmp_path) in line
    assert not (tmp_path / "run").exists()


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def pickle_bomb(tmp: Path, model: Path) -> Path:
    path = tmp / "bomb.pt"
    torch.save({"format": "fracturelib checkpoint", "weights": Bomb(tmp / "exploded")}, path)
    return path


def plain_pickle_bomb(tmp: Path, model: Path) -> Path:
    path = tmp / "bomb.pkl"
    path.write_bytes(pickle.dumps(Bomb(tmp / "exploded")))
    return path


def other_version(tmp: Path, model: Path) -> Path:
    payload = torch.load(model, weights_only=True)
    payload["format_version"] = 99
    torch.save(payload, tmp / "other.pt")
    return tmp / "other.pt"


def other_program(tmp: Path, model: Path) -> Path:
    torch.save({"state_dict": {"a": torch.zeros(3)}}, tmp / "other.pt")
    return tmp / "other.pt"


def wrong_weights(tmp: Path, model: Path) -> Path:
    payload = torch.load(model, weights_only=True)
    payload["weights"].pop("head.bias")
    torch.save(payload, tmp / "wrong.pt")
    return tmp / "wrong.pt"


def half_a_checkpoint(tmp: Path, model: Path) -> Path:
    (tmp / "half.pt").write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    return tmp / "half.pt"


def some_zip(tmp: Path, model: Path) -> Path:
    with zipfile.ZipFile(tmp / "some.pt", "w") as archive:
        archive.writestr("a.txt", "no model")
    return tmp / "some.pt"


def text(tmp: Path, model: Path) -> Path:
    (tmp / "text.pt").write_text("no model")
    return tmp / "text.pt"


CHECKPOINTS = [
    (lambda tmp, model: tmp / "none.pt", "no such file; expected a fracturelib checkpoint"),
    (pickle_bomb, "holds Python objects or is damaged, and was not opened; expected a fracturelib checkpoint"),
    (plain_pickle_bomb, "not a fracturelib checkpoint, or damaged"),
    (other_version, "a fracturelib checkpoint of version 99; this fracturelib reads version 5"),
    (other_program, "not a fracturelib checkpoint; it was saved by something else"),
    (wrong_weights, "a checkpoint that does not fit together"),
    (half_a_checkpoint, "not a fracturelib checkpoint"),
    (some_zip, "not a fracturelib checkpoint"),
    (text, "not a fracturelib checkpoint"),
]


@pytest.mark.parametrize(("make", "message"), CHECKPOINTS)
def test_checkpoints_that_are_refused(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path, Path], Path],
    message: str,
) -> None:
    save(radiograph(1), tmp_path / "image.jpg")
    bad = make(tmp_path, model)
    for command in (("predict", "--csv", tmp_path / "scores.csv"), ("explain", "--out", tmp_path / "maps")):
        line = run(capsys, command[0], tmp_path / "image.jpg", "--model", bad, *command[1:])
        assert message in line and str(bad) in line
    assert not (tmp_path / "exploded").exists()
    assert not (tmp_path / "scores.csv").exists() and not (tmp_path / "maps").exists()


PREDICTIONS = [
    ("a.jpg,1,\nb.jpg,0,0.2", "file,label,score", "a.jpg has score nan; expected a number in 0..1"),
    ("a.jpg,1", "name,truth", "has no column file, label, score"),
    ("a.jpg,1,0.5\na.jpg,0,0.2", "file,label,score", "a.jpg is there twice; expected one row an image"),
    ("a.jpg,perhaps,0.5", "file,label,score", "label 'perhaps' is not known; expected 0, 1"),
    ("a.jpg,1,7", "file,label,score", "a.jpg has score 7; expected a number in 0..1"),
    ("", "file,label,score", "has no row; expected one for each image"),
]


@pytest.mark.parametrize(("rows", "header", "message"), PREDICTIONS)
def test_predictions_that_cannot_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, header: str, message: str
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(f"{header}\n{rows}\n")
    line = run(capsys, "evaluate", path, "--out", tmp_path / "report")
    assert message in line and str(path) in line
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "x", "--out", "y", "--size", "7"], "--size is 7; expected at least 32"),
        (["train", "x", "--out", "y", "--model", "resnet900"], "expected one of"),
        (["train", "x"], "--out"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["predict", "nowhere.jpg", "--model", "{model}", "--csv", "y.csv"], "nowhere.jpg: no such file or folder"),
        (["explain", "{image}", "--model", "{model}", "--out", "y", "--layer", "stage9"], "expected one of stage1"),
        (["data", "simulate", "y", "--shortcut", "marker"], "expected NAME=RATE"),
        (["data", "simulate", "y", "--regions", "tail"], "tail"),
        (["data", "simulate", "y", "--images", "0"], "images is 0; expected at least 1"),
    ],
)
def test_arguments(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    plain_folder(tmp_path / "x", splits={"train": 2, "val": 2})
    known = {"{model}": model, "{image}": save(radiograph(1), tmp_path / "image.jpg")}
    line = run(capsys, *[known.get(a, a) for a in arguments])
    assert message in line
    assert not (tmp_path / "y").exists() and not (tmp_path / "y.csv").exists()


def test_a_folder_that_may_not_be_written(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(radiograph(1), tmp_path / "image.jpg")
    (tmp_path / "file").touch()
    line = run(
        capsys, "predict", tmp_path / "image.jpg", "--model", model, "--csv", tmp_path / "file" / "a.csv", "--quiet"
    )
    assert str(tmp_path / "file") in line


def test_a_long_value_does_not_make_a_long_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "manifest.csv").write_text(f"file,label,split\ntrain/a.jpg,{'x' * 5000},train\n")
    line = run(capsys, "train", str(tmp_path), "--out", str(tmp_path / "out"))
    assert str(tmp_path) in line and "expected" in line and "xxx[...]xxx" in line and len(line) < 1500
