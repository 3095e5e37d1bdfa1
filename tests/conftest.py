"""Fixtures that every test module shares."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests neither read nor fill the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("FRACTURE_CACHE")
    os.environ["FRACTURE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["FRACTURE_CACHE"]
    else:
        os.environ["FRACTURE_CACHE"] = before


@pytest.fixture(scope="session")
def fracatlas() -> Path:
    """FracAtlas in its published layout: `FRACATLAS`, or where the CI lays it. Skips where it is absent."""
    folder = Path(os.environ.get("FRACATLAS") or ROOT.parent / "shared" / "data" / "FracAtlas")
    if not (folder / "dataset.csv").is_file():
        pytest.skip("FracAtlas is not here: set FRACATLAS to its folder")
    return folder


class Oracles:
    """Published reference values: `oracles / name` is a file's path, or skips the test where the file is not here."""

    FOLDERS = (
        ROOT / "tests" / "reference" / "oracles",
        Path(os.environ.get("FRACTURE_ORACLES") or ROOT.parent / "shared" / "oracles"),
    )

    def __truediv__(self, name: str) -> Path:
        for folder in self.FOLDERS:
            if (folder / name).is_file():
                return folder / name
        pytest.skip(f"{name} is not here, for its licence: set FRACTURE_ORACLES to its folder")


@pytest.fixture(scope="session")
def oracles() -> Oracles:
    return Oracles()
