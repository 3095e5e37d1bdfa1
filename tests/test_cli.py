"""The command line: what it refuses to overwrite, what it says, how it ends, and which odd names it can live with."""

import argparse
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fracturelib._io.filenames import distinct_names, safe_name, writable
from fracturelib._io.files import InputError
from fracturelib._io.tables import read_table, write_table
from fracturelib.cli import _reason, _run, main, next_step, parser
from fracturelib.data.predictions import read_predictions
from fracturelib.models.classifier import load_classifier
from fracturelib.training import finetune
from fracturelib.training.config import FineTuneConfig, TrainConfig
from fracturelib.training.distributed import together
from fracturelib.training.runs import train_folder
from fracturelib.training.state import STATE_FILE, TrainingState
from fracturelib.training.train import require_finite
from fracturelib.viz.figures import montage
from fracturelib.viz.html_report import FIGURES, report, report_files
from fracturelib.workflows import picture_names
from tests.conftest import ROOT
from tests.radiographs import plain_folder, radiograph, save
from tests.test_bad_inputs import run

NAMES = [
    r"$x_$\frac$.jpg", "=cmd|'calc'!A0.jpg", "-2+3.jpg", "@sum.jpg", "'=x.jpg",
    "tab\t.jpg", "red\x1b[31m.jpg", "two\nlines.jpg", 'a,b;"c.jpg', "<b onload='x'>&amp;.jpg", "\u202fnarrow.jpg",
    "n" * 240 + ".jpg",
]  # fmt: skip


NO_TEXT = os.fsdecode(b"caf\xe9.jpg")  # it is not taken, and named


def odd_folder(folder: Path) -> Path:
    """Images with all the odd names, and a few of each class with plain ones."""
    plain_folder(folder, splits={"train": 2, "val": 2})
    for split in ("train", "val"):
        for i, name in enumerate([*NAMES, NO_TEXT]):
            content = io.BytesIO()
            Image.fromarray(radiograph(100 + i, fractured=True)).save(content, "JPEG")
            (folder / split / "fractured" / name).write_bytes(content.getvalue())
    return folder


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ of odd names, and a run/ that was trained on it."""
    root = tmp_path_factory.mktemp("odd")
    odd_folder(root / "data")
    train_folder(root / "data", root / "a run", TrainConfig(size=32, epochs=1, batch=16), progress=False)
    return root


@pytest.fixture(scope="module")
def model(odd_run: Path) -> Path:
    return odd_run / "a run" / "model.pt"


def answered(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints that must succeed without a word on stderr."""
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    said = capsys.readouterr()
    assert (code, said.err) == (0, ""), said.err
    return said.out


# Names


def test_odd_names_go_all_the_way(odd_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = odd_run / "a run" / "model.pt"
    said = answered(capsys, "predict", odd_run / "data", "--model", network, "--csv", tmp_path / "s.csv", "--quiet")
    assert r"not taken: 2 names not in UTF-8 (train/fractured/caf\udce9.jpg ...)" in said
    found = read_table(tmp_path / "s.csv", text=["file"])
    assert {f"val/fractured/{writable(name)}" for name in NAMES} <= set(found["file"])
    assert "\x1b" not in (tmp_path / "s.csv").read_text(encoding="utf-8")
    trained = read_table(odd_run / "a run" / "predictions.csv", text=["file"])
    assert set(trained["file"]) <= set(found["file"]), "tables of different commands call an image the same"
    assert len(read_predictions(tmp_path / "s.csv")) == len(found)
    folder = odd_run / "data" / "val" / "fractured"
    answered(capsys, "explain", folder, "--model", network, "--out", tmp_path / "maps", "--quiet")
    made = {p.name for p in (tmp_path / "maps").iterdir()}
    assert len(made) == len(NAMES) + 3 and all(name.encode().isascii() or "\u202f" in name for name in made)


def test_odd_names_are_imported(odd_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answered(capsys, "data", "import", odd_run / "data", tmp_path / "out", "--quiet")
    listed = read_table(tmp_path / "out" / "manifest.csv", text=["file"])["file"]
    there = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.jpg")}
    assert set(listed) == there and len(there) == 2 * (len(NAMES) + 4)
    said = answered(capsys, "data", "import", odd_run / "data", tmp_path / "out", "--quiet")
    assert "nothing was changed" in said


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    cells = ["=1+1", "'=1+1", "''@x", "+49 30", "-5", "-5a", "+1e3", "@", "\uff1dx", "a", "'a", ' "', "é;,", ""]
    frame = pd.DataFrame({"text": cells, "=head": np.linspace(-1, 1, len(cells)), "n": np.arange(len(cells)) - 3})
    write_table(frame, tmp_path / "t.csv")
    again = read_table(tmp_path / "t.csv", text=["text"])
    assert again["text"].fillna("").tolist() == cells and list(again.columns) == list(frame.columns)
    np.testing.assert_array_equal(again[["=head", "n"]], frame[["=head", "n"]])
    raw = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False)
    assert all(not v.startswith(("=", "@", "\uff1d")) for v in [*raw["text"], *raw.columns])
    assert raw["text"][4] == "-5" and raw["text"][5] == "'-5a" and raw["n"][0] == "-3"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["a.jpg", "a.jpg", "a-2.jpg"], ["a.jpg", "a-3.jpg", "a-2.jpg"]),
        (["a.jpg", "A.JPG", "a.JPG"], ["a.jpg", "A-2.JPG", "a-3.JPG"]),
        (["x/a", "x/a/b.jpg"], ["x/a-2", "x/a/b.jpg"]),
        (["e\u0301.jpg", "\u00e9.jpg"], ["e\u0301.jpg", "\u00e9-2.jpg"]),
        (["n" * 246 + ".jpg"] * 2, None),
    ],
)
def test_no_two_names_are_one_file(wanted: list[str], expected: list[str] | None) -> None:
    found = distinct_names(wanted)
    assert found == expected if expected else len(set(found)) == len(wanted)
    assert all(len(name.encode()) <= 250 for name in found)


@pytest.mark.parametrize(
    "text", ["../../x", "..", "", "/etc/x", "C:\\x", "a\0b", ".hidden", "\udce9", "x" * 999, "a\n", "."]
)
def test_a_safe_name_is_one_plain_file(tmp_path: Path, text: str) -> None:
    name = safe_name(text)
    (tmp_path / name).write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == [name] and not name.startswith(".")


def test_pictures_of_one_name_keep_apart() -> None:
    assert picture_names(["a.jpg", "b.dcm", "x/c"]) == ["a.png", "b.png", "x/c.png"]
    assert picture_names(["a.jpg", "a.png", "A.tif"]) == ["a.jpg.png", "a.png.png", "A.tif.png"]
    assert len(set(picture_names(["a.jpg", "a.png", "a.jpg.png", "1.2.3", "1.2.4"]))) == 5


def test_words_in_figures_are_no_mathematics() -> None:
    made = montage(np.zeros((len(NAMES), 16, 16), np.uint8), NAMES)
    made.suptitle(r"$x_$\frac$")
    made.axes[0].set_xticks([1], [r"$\bad$"])
    made.savefig(io.BytesIO(), format="png")
    made.savefig(io.BytesIO(), format="png", bbox_inches="tight")


# Nothing that exists is overwritten


def one_image(tmp: Path, network: Path) -> Path:
    return save(radiograph(1), tmp / "in" / "image.png")


def the_model(tmp: Path, network: Path) -> Path:
    (tmp / "m.pt").write_bytes(network.read_bytes())
    return tmp / "m.pt"


def other_table(tmp: Path, network: Path) -> Path:
    (tmp / "manifest.csv").write_text("file,label,score\na.jpg,1,0.5\n")
    return tmp / "manifest.csv"


def a_folder(tmp: Path, network: Path) -> Path:
    (tmp / "folder").mkdir()
    return tmp / "folder"


def a_pipe(tmp: Path, network: Path) -> Path:
    os.mkfifo(tmp / "pipe")
    return tmp / "pipe"


def a_broken_link(tmp: Path, network: Path) -> Path:
    (tmp / "link.csv").symlink_to(tmp / "nowhere")
    return tmp / "link.csv"


TAKEN = [one_image, the_model, other_table, a_folder, a_pipe, a_broken_link, lambda tmp, network: Path(os.devnull)]


@pytest.mark.parametrize("command", ["predict", "audit --json", "audit --html"])
@pytest.mark.parametrize("make", TAKEN)
def test_what_a_file_does_not_replace(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    make: Callable[[Path, Path], Path],
) -> None:
    path, source = make(tmp_path, model), save(radiograph(1), tmp_path / "in" / "image.png")
    before = path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()
    arguments = [source, "--model", model, "--csv"] if command == "predict" else [tmp_path / "in", command.split()[1]]
    line = run(capsys, command.split()[0], *arguments, path, "--quiet")
    assert str(path) in line and "expected" in line
    assert before == (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes())


def test_what_a_command_made_is_replaced(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain_folder(tmp_path / "data", splits={"val": 3})
    (tmp_path / "empty.csv").touch()
    for _ in range(2):
        for name in ("scores.csv", "empty.csv"):
            answered(capsys, "predict", tmp_path / "data", "--model", model, "--csv", tmp_path / name, "--quiet")
        pages = ["--json", tmp_path / "a.json", "--html", tmp_path / "a.html"]
        assert main([str(a) for a in ("audit", tmp_path / "data", *pages, "--quiet")]) in (0, 1)
        scores = tmp_path / "given.csv"
        scores.write_text("file,label,score\n" + "".join(f"{i},0,{i / 20}\n" for i in range(3)))
        report(read_predictions(scores), tmp_path / "report", n=5)
    line = run(capsys, "audit", tmp_path / "data", "--json", tmp_path / "x", "--html", tmp_path / "x")
    assert "--json and --html are both" in line
    (tmp_path / "report" / "table.md").write_text("my notes")
    line = run(capsys, "evaluate", scores, "--out", tmp_path / "report")
    assert "table.md: is there already" in line and (tmp_path / "report" / "table.md").read_text() == "my notes"
    assert "is no folder" in run(capsys, "evaluate", scores, "--out", scores)


def test_explaining_replaces_no_image(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = save(radiograph(1), tmp_path / "x" / "a.png")
    before = image.read_bytes()
    line = run(capsys, "explain", tmp_path / "x", "--model", model, "--out", tmp_path / "x", "--quiet")
    assert str(image) in line and image.read_bytes() == before and len(list((tmp_path / "x").iterdir())) == 1
    save(radiograph(2), tmp_path / "x" / "a.jpg")
    for _ in range(2):  # its own pictures are no images
        said = answered(
            capsys, "explain", tmp_path / "x", "--model", model, "--out", tmp_path / "x" / "maps", "--quiet"
        )
        assert "2 pictures" in said
    assert {p.name for p in (tmp_path / "x" / "maps").iterdir()} == {"a.jpg.png", "a.png.png", "index.html"}


def test_no_run_in_a_folder_of_others(odd_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "model.pt").write_text("mine")
    (tmp_path / "file").touch()
    for out in (tmp_path / "thesis", tmp_path / "file", odd_run / "data"):
        line = run(capsys, "train", odd_run / "data", "--out", out)
        assert str(out) in line
    assert (tmp_path / "thesis" / "model.pt").read_text() == "mine"
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "model.pt").write_bytes((odd_run / "a run" / "model.pt").read_bytes())
    assert "so it is not the folder of a training" in run(capsys, "train", odd_run / "data", "--out", tmp_path / "new")


def test_splits_are_no_paths(tmp_path: Path) -> None:
    splits = ["../../x", "..", "/tmp/x", "a/b", "a\\b", "A_B", "none", "<script>", "x" * 300]
    files = report_files(splits)
    assert all(name == safe_name(name) for name in files)
    assert len({name.casefold() for name in files}) == 4 + len(splits) * (1 + len(FIGURES))
    table, out = tmp_path / "s.csv", tmp_path / "deep" / "er" / "report"
    table.write_text("file,label,score,split\na,0,0.1,../../x\nb,0,0.2,<script>\nc,0,0.1,\n")
    result = report(read_predictions(table), out, n=5)
    assert list(result["splits"]) == ["../../x", "<script>", "none"]
    assert {p.name for p in out.parent.iterdir()} == {"report"} and len(list(out.glob("*-sweep.csv"))) == 3
    assert {p.name for p in out.iterdir()} <= set(report_files(list(result["splits"])))
    assert "<script>" not in (out / "report.html").read_text()


def test_an_import_that_was_spoilt(odd_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("", "{}", "[1]", '{"signature": 1}', "[" * 100_000):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "import.json").write_text(text)
        line = run(capsys, "data", "import", odd_run / "data", tmp_path / "out", "--quiet")
        assert "expected a new folder" in line


@pytest.mark.parametrize("place", ["simulation.json", ".unfinished/simulation.json", "other.txt"])
def test_no_simulation_in_a_folder_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str) -> None:
    for text in ("", "{}", "[1]", "[" * 100_000):
        (tmp_path / "out" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / place).write_text(text)
        line = run(capsys, "data", "simulate", tmp_path / "out", "--images", 1, "--quiet")
        assert "holds another data set; expected a new folder" in line
        assert (tmp_path / "out" / place).read_text() == text


# What is damaged


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: b"",
        lambda good: b"junk",
        lambda good: good[: len(good) // 2],
        lambda good: torch_file({"format": "fracturelib training state", "format_version": 1}),
        lambda good: torch_file({**torch.load(io.BytesIO(good), weights_only=True), "model": {}}),
        lambda good: torch_file({**torch.load(io.BytesIO(good), weights_only=True), "history": [{"epoch": 1}]}),
        lambda good: with_history(good, val_auc="best"),
        lambda good: with_history(good, val_loss=None),
        lambda good: torch_file({**torch.load(io.BytesIO(good), weights_only=True), "best": {}}),
        lambda good: torch_file({**torch.load(io.BytesIO(good), weights_only=True), "signature": 3}),
    ],
)
def test_a_spoilt_state_is_said_and_loses_nothing(
    odd_run: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[bytes], bytes]
) -> None:
    out = odd_run / "a run"
    good, network = (out / STATE_FILE).read_bytes(), (out / "model.pt").read_bytes()
    try:
        (out / STATE_FILE).write_bytes(spoil(good))
        arguments = ["--size", 32, "--epochs", 1, "--batch", 16, "--quiet"]
        line = run(capsys, "train", odd_run / "data", "--out", out, *arguments)
        assert f"{out / STATE_FILE}: cannot be gone on from (" in line and "train into another folder" in line
        with pytest.raises(InputError, match="cannot be gone on from"):
            TrainingState(finetune.STATE_FORMAT, {"model": torch.nn.Linear(1, 1)}, {}, out / STATE_FILE).resume()
    finally:
        (out / STATE_FILE).write_bytes(good)
    assert (out / "model.pt").read_bytes() == network


def with_history(good: bytes, **odd: object) -> bytes:
    payload = torch.load(io.BytesIO(good), weights_only=True)
    payload["history"] = [payload["history"][0] | odd]  # a single row is compared with nothing
    return torch_file(payload)


def torch_file(payload: object) -> bytes:
    content = io.BytesIO()
    torch.save(payload, content)
    return content.getvalue()


def test_numbers_that_are_none_are_not_kept() -> None:
    require_finite(0, [0.5], np.zeros((2, 2)), rate=0.1)
    for losses, found in (([np.nan], 0.0), ([0.5, np.inf], 0.0), ([0.5], np.nan)):
        with pytest.raises(InputError, match=r"epoch 3: .* a lower learning rate than 0\.1 may give"):
            require_finite(2, losses, np.full((2, 2), found), rate=0.1)


COLUMNS = [
    "auc",
    "path",
    "value",
    "fractured",
    "sensitivity",
    "auc_low",
    "index",
    "level_0",
    "split_",
    "=x",
    "<script>",
]


def test_columns_may_be_called_anything(tmp_path: Path) -> None:
    head = ",".join(["file,label,score", *COLUMNS])
    rows = [f"{i},{i % 2},{i / 40}" + f",{i % 3}" * len(COLUMNS) for i in range(40)]
    (tmp_path / "s.csv").write_text("\n".join([head, *rows]))
    report(read_predictions(tmp_path / "s.csv"), tmp_path / "report", n=5)
    result = json.loads((tmp_path / "report" / "evaluation.json").read_text())["splits"]["all"]["subgroups"]
    assert set(result) == set(COLUMNS) and [r["value"] for r in result["auc"]] == [0, 1, 2]
    assert "<script>" not in (tmp_path / "report" / "report.html").read_text()


def test_a_manifest_may_have_a_column_score(tmp_path: Path) -> None:
    plain_folder(tmp_path / "data", splits={"train": 4, "val": 4})
    files = sorted(p.relative_to(tmp_path / "data").as_posix() for p in (tmp_path / "data").rglob("*.jpg"))
    rows = [f"{f},{f.split('/')[0]},{int('/fractured' in f)},{i % 2},0.1,x" for i, f in enumerate(files)]
    head = "file,split,label,auc,score,path"
    (tmp_path / "data" / "manifest.csv").write_text("\n".join([head, *rows]))
    done = train_folder(tmp_path / "data", tmp_path / "run", TrainConfig(size=32, epochs=1, batch=16), progress=False)
    table = read_table(tmp_path / "run" / "predictions.csv")
    assert list(table.columns).count("score") == 1 and len(done.predictions) == 8


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2 in the environment, without RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "without MASTER_ADDR, MASTER_PORT; expected all of them"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0' in the environment; expected a whole number from 1"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE is '-1'"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "RANK is '2'"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "x"}, "MASTER_PORT is 'x'"),
    ],
)
def test_a_part_of_what_torchrun_sets(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message), together():
        pass


# Options

WHOLE = [
    ("train x --out y", "size epochs patience batch seed"), ("data simulate y", "images size workers seed"),
    ("data import x y", "seed"), ("audit x", "seed"), ("evaluate x", "seed"),
    ]  # fmt: skip
REAL = [("train x --out y", "learning-rate peak-loss-weight"), ("evaluate x", "threshold")]
NO_WHOLE = ["-1", "nan", "inf", "1e308", "0.5", "", "1" * 5000, "x\x1b[31m", "99999999999999"]
NO_REAL = ["-1", "nan", "inf", "1e308", "", "x", "1e999", "0,5"]
NUMBERS = [(c, o, v) for c, options in WHOLE for o in options.split() for v in NO_WHOLE]
NUMBERS += [(c, o, v) for c, options in REAL for o in options.split() for v in NO_REAL]


@pytest.mark.parametrize(("command", "option"), sorted({(c, o) for c, o, _ in NUMBERS}))
def test_numbers_are_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in [v for c, o, v in NUMBERS if (c, o) == (command, option)]:
        line = run(capsys, *command.split(), f"--{option}={value}")
        assert f"--{option} is" in line and "expected" in line and len(line) < 300 and "\x1b" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train x --out y --epochs 0", "--epochs is 0; expected at least 1"),
        ("train x --out y --learning-rate 0", "--learning-rate is 0; expected at least 1e-12"),
        ("train x --out y --size 1000000", "--size is 1000000; expected a number from 32 to 2048"),
        ("data simulate y --images 1000000000000", "--images is 1000000000000; expected a number from 1 to 1000000"),
        ("train x --out y --seed 1 --seed 2", "--seed is given twice; expected once"),
        ("train x --out y --sed 1", "unrecognized arguments: --sed 1"),
        (
            "train x --out y --model localizing_efficientnet --patience 3",
            "--patience 3 is given; expected another --model than",
        ),
        (
            "train x --out y --model localizing_efficientnet --no-augment",
            "--no-augment is given; expected another --model than",
        ),
        (
            "train x --out y --peak-loss-weight 1",
            "--peak-loss-weight 1.0 is given; expected --model localizing_efficientnet",
        ),
        ("", "the following arguments are required: COMMAND"),
        ("data", "the following arguments are required: COMMAND"),
        ("evaluate x --threshold 0.5 --rule youden", "--threshold is given together with"),
    ],
)
def test_options_that_do_not_fit(capsys: pytest.CaptureFixture[str], arguments: str, message: str) -> None:
    assert message in run(capsys, *arguments.split())


@pytest.mark.parametrize(
    "settings",
    [{"seed": -1}, {"seed": 2**32}, {"learning_rate": float("nan")}, {"learning_rate": 0}, {"epochs": 0},
     {"size": 10**6}, {"batch": float("inf")}, {"epochs": "3"}, {"epochs": 2.5}, {"batch": 8.0}, {"seed": True},
     {"weight_decay": True}],
)  # fmt: skip
def test_recipes_are_within_bounds(settings: dict[str, float]) -> None:
    for kind in (TrainConfig, FineTuneConfig):
        with pytest.raises(InputError, match=f"{next(iter(settings))} is .*; expected a (whole )?number from"):
            kind(**settings)  # type: ignore[arg-type]


def every_command(root: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [root]
    for action in root._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [c for sub in action.choices.values() for c in every_command(sub)]
    return found


@pytest.mark.parametrize("command", every_command(parser()), ids=lambda c: c.prog)
def test_help_tells_true_defaults(command: argparse.ArgumentParser) -> None:
    text = " ".join(command.format_help().split())
    for nothing in ("None", "False", ")", "[", "==SUPPRESS=="):
        assert f"(default: {nothing}" not in text
    for action in command._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), f"{command.prog} {action.dest}"
        if isinstance(action.default, int | float | str) and action.default not in (False, "", argparse.SUPPRESS):
            assert f"(default: {action.default})" in text


# What is said, and the exit code


def test_the_next_command_works_as_it_is_shown(odd_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = next_step(odd_run / "a run", "sensitivity=0.90")
    words = shlex.split(shown.removeprefix("next: "))
    assert words[:2] == ["fracture", "evaluate"] and shown.startswith("next: ")
    said = answered(capsys, *words[1:])
    chosen = load_classifier(odd_run / "a run" / "model.pt")
    assert chosen.default_rule == "sensitivity=0.90"
    assert f"threshold {chosen.threshold:.3f}, chosen by sensitivity=0.9 on 16 images" in said


def test_predicting_says_what_decided(odd_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, images = odd_run / "a run" / "model.pt", odd_run / "data" / "val" / "not fractured"
    (images / "zz.jpg").write_text("no image")
    try:
        said = answered(capsys, "predict", images, "--model", network, "--csv", tmp_path / "s.csv", "--quiet")
    finally:
        (images / "zz.jpg").unlink()
    threshold = load_classifier(network).threshold
    assert f"threshold {threshold:.3f}, chosen by sensitivity=0.90 on 16 validation images" in said
    assert "1 without a score" in said
    said = answered(capsys, "predict", images, "--csv", tmp_path / "t.csv", "--quiet")
    assert "chosen by sensitivity=" in said and "validation images" in said


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_no_image_at_all_is_an_error(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    (tmp_path / "a\nb.jpg").write_text("no image")
    out = {"predict": "--csv", "explain": "--out"}[command]
    line = run(capsys, command, tmp_path / "a\nb.jpg", "--model", model, out, tmp_path / "out", "--quiet")
    assert "none of 1 image has a score" in line and r"a\nb.jpg" in line and not (tmp_path / "out").exists()


def test_what_could_not_be_scored_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{i}.jpg,{i / 20},Fractured,,{i % 2}" for i in range(12)]
    rows += ["bad.jpg,,,damaged,1", "loose.jpg,0.5,Fractured,,"]
    (tmp_path / "s.csv").write_text("\n".join(["file,score,decision,reason,label", *rows]))
    said = answered(capsys, "evaluate", tmp_path / "s.csv")
    assert "left out: 2 rows without a score or a label, such as bad.jpg: damaged" in said and "12 images" in said


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("decimal", [",", "."])
def test_tables_of_other_countries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], separator: str, decimal: str
) -> None:
    def cell(value: float) -> str:
        return f'"{value}"'.replace(".", decimal)

    rows = [separator.join([f"{i}", f"{i % 2}", cell(i / 20), "valid"]) for i in range(12)]
    (tmp_path / "s.csv").write_text("\n".join([separator.join(["file", "label", "score", "split"]), *rows]))
    options = ["--threshold-from", tmp_path / "s.csv", "--rule", "score=0.45"]
    assert "val: 12 images of 12 groups, 6 fractured" in answered(capsys, "evaluate", tmp_path / "s.csv", *options)


@pytest.mark.parametrize("scores", [("50", "2"), ("50%", "2%")])
def test_percentages_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], scores: tuple[str, str]) -> None:
    (tmp_path / "s.csv").write_text(f"file,label,score\na,1,{scores[0]}\nb,0,{scores[1]}\n")
    line = run(capsys, "evaluate", tmp_path / "s.csv")
    assert "expected a number in 0..1, so percentages divided by 100" in line


def ended(error: BaseException, *, debug: bool = False, goes_on: bool = False) -> int:
    def fails(args: argparse.Namespace) -> int:
        raise error

    return _run(argparse.Namespace(run=fails, debug=debug, goes_on=goes_on))


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError("deep"), AssertionError(), UnicodeDecodeError("u", b"", 0, 1, "")]
)
def test_the_last_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ended(error) == 2
    said = capsys.readouterr().err
    (kept,) = tmp_path.iterdir()
    assert said.count("\n") == 1 and str(kept) in said and type(error).__name__ in said
    assert "Traceback" in kept.read_text() and "fails" in kept.read_text()
    assert ended(error, debug=True) == 2 and "Traceback" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory (no size is known); expected fewer or smaller images"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried 9"), "expected fewer or smaller images"),
        (OSError(28, "No space left on device", "a\nb"), r"a\nb: No space left on device"),
        (InputError("a\x1b[31m\nb: bad"), r"a\x1b[31m\nb: bad"),
    ],
)
def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], error: Exception, message: str) -> None:
    assert ended(error) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_only_what_goes_on_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(KeyboardInterrupt(), goes_on=True) == 130 and "the same command goes on" in capsys.readouterr().err
    assert ended(KeyboardInterrupt()) == 130 and capsys.readouterr().err == "fracture: stopped\n"
    commands = {c.prog: c.get_default("goes_on") for c in every_command(parser())}
    assert {name for name, goes_on in commands.items() if goes_on} == {
        "fracture train", "fracture average", "fracture data fetch", "fracture data simulate",
    }  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="needs a shell with pipes")
def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    fracture = f"{shlex.quote(sys.executable)} -m fracturelib.cli"
    (tmp_path / "s.csv").write_text("file,label,score\n" + "".join(f"{i},{i % 2},{i / 20}\n" for i in range(12)))
    for command in ("--help", f"evaluate {shlex.quote(str(tmp_path / 's.csv'))}"):
        line = f"{fracture} {command} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("0\n", "")
    line = f"{fracture} --help > /dev/full; echo $?"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "2\n" and done.stderr.count("\n") == 1 and "cannot be written" in done.stderr


def test_a_terminal_that_knows_few_characters() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "fracturelib.cli", "evaluate", "nøwhere\x1b.csv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and r"n\xf8where\x1b.csv" in done.stderr and "Traceback" not in done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from fracturelib import __version__

    assert answered(capsys, "--version") == f"{__version__}\n"


def test_a_reason_is_said_whole_where_names_are_short() -> None:
    said = "no DICOM slice says where it lies (1 file could not be read (IM1: not a DICOM file))"
    assert _reason("Torn/1", f"runs/Torn/1: {said}") == _reason("1", f"1: {said}") == said
