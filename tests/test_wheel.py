"""The wheel works by itself: in an environment that knows no clone, it audits, predicts and explains."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def done(command: list[object], **options: object) -> str:
    ran = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert ran.returncode == 0, f"{ran.stdout[-1000:]}\n{ran.stderr[-3000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or later is needed to build a wheel")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "fracturelib", source / "fracturelib", ignore=shutil.ignore_patterns("__pycache__"))
    done([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, source])
    (path,) = out.glob("*.whl")
    return path


def test_what_is_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "fracturelib/models/pretrained/fracatlas-localizer.pt" in names and "fracturelib/simulate/bones.npz" in names
    assert "fracturelib/py.typed" in names
    assert not [n for n in names if not n.startswith("fracturelib")]  # the library and its metadata only


def test_it_audits_predicts_and_explains(wheel: Path, tmp_path: Path) -> None:
    """The environment has the dependencies of this one, whose path files, and so the clone, are not followed."""
    venv.create(tmp_path / "empty", with_pip=False)
    python = tmp_path / "empty" / "bin" / "python"
    done([sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel])
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FRACTURE_", "PYTHON"))}
    environment |= {"PYTHONPATH": sysconfig.get_path("purelib"), "FRACTURE_CACHE": str(tmp_path / "cache")}
    options = {"cwd": tmp_path, "env": environment}
    where = done([python, "-c", "import fracturelib; print(fracturelib.__file__)"], **options)
    assert str(tmp_path / "empty") in where
    for split in ("train", "val"):
        for kind in ("Fractured", "Not Fractured"):
            (tmp_path / "set" / split / kind).mkdir(parents=True)
            for path in sorted((ROOT / "data" / "demo" / split / kind).glob("*.jpg"))[:3]:
                shutil.copy(path, tmp_path / "set" / split / kind)
    fracture = tmp_path / "empty" / "bin" / "fracture"
    assert "Clean: 12 images" in done([fracture, "audit", "set", "--quiet"], **options)
    done([fracture, "predict", "set/val", "--csv", "scores.csv", "--quiet"], **options)
    assert pd.read_csv(tmp_path / "scores.csv")["score"].between(0, 1).all()
    done([fracture, "explain", "set/val", "--out", "maps", "--quiet"], **options)
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 6 and (tmp_path / "maps" / "index.html").is_file()
