"""The two ways of setting up agree, and importing the library does no work."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.conftest import ROOT

CONDA_NAMES = {"torch": "pytorch-cpu", "opencv-python-headless": "opencv"}


def pip_requirements() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["dicom"]]
    listed += project["optional-dependencies"]["test"]
    return {r.name: r for r in map(Requirement, listed)}


def test_conda_and_pip_ask_for_the_same() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [re.match(r"([\w-]+)(.*)", d) for d in environment["dependencies"] if isinstance(d, str)]
    found = {m[1]: SpecifierSet(m[2].strip()) for m in conda if m}
    pip = {CONDA_NAMES.get(name, name): r.specifier for name, r in pip_requirements().items()}
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert found.pop("python") == SpecifierSet(python)
    assert found.pop("pip") is not None
    assert found == pip
    assert environment["channels"] == ["conda-forge", "nodefaults"]


def test_the_tested_versions_are_within_the_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    for name, requirement in pip_requirements().items():
        assert name in tested, f"constraints.txt does not pin {name}"
        assert requirement.specifier.contains(Version(tested[name]), prereleases=True), requirement


def test_importing_loads_no_torch() -> None:
    code = "import sys, fracturelib; assert not {'torch', 'cv2', 'pandas'} & set(sys.modules), 'heavy import'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_command_line_helps_without_torch() -> None:
    code = (
        "import sys; from fracturelib.cli import parser; parser().format_help(); "
        "assert 'torch' not in sys.modules, 'fracture --help waits for torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


ORDER = [
    ["_files", "_memory", "recipe"],
    ["_tables", "_walk", "labels"],
    ["_decode"],
    ["_names", "coco"],
    ["found", "yolo"],
    ["published", "manifest", "splits"],
    ["annotated"],
    ["layouts"],
    ["data"],
    ["audit_films"],
    ["audit_fit"],
    ["audit_match"],
    ["audit_burnt"],
    ["audit_copies"],
    ["repair"],
    ["importers", "fetch"],
    ["audit_source"],
    ["images"],
    ["elsewhere"],
    ["undevelop"],
    ["lite"],
    ["taught"],
    ["models", "baselines"],
    ["checkpoint"],
    ["counts"],
    ["bootstrap", "intervals", "thresholds", "calibration", "utility", "tables"],
    ["audit_shortcuts"],
    ["audit"],
    ["audit_report"],
    ["metrics"],
    ["shift"],
    ["ranks"],
    ["train"],
    ["transfer"],
    ["finetune", "several"],
    ["predictions"],
    ["cams", "gradcam", "perturb"],
    ["localize", "sanity"],
    ["plots"],
    ["map_plots", "shift_plots"],
    ["curves"],
    ["explorer_view"],
    ["explorer_maps"],
    ["report", "report_page", "tradeoffs", "explorer", "formation"],
    ["commands"],
    ["course"],
    ["cli"],
]


def test_imports_go_one_way() -> None:
    rank = {name: i for i, names in enumerate(ORDER) for name in names}
    for path in sorted((ROOT / "fracturelib").glob("*.py")):
        if path.stem == "__init__":
            continue
        assert path.stem in rank, f"{path.name} has no place in the order"
        for other in re.findall(r"^\s*from fracturelib\.(\w+)", path.read_text(), re.MULTILINE):
            if other != "simulate":
                assert rank[other] <= rank[path.stem], f"{path.stem} imports {other}, which comes after it"


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
