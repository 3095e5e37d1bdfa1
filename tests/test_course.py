"""Which data and which classifier the notebooks get."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from fracturelib._files import FILMS_SPLITS
from fracturelib.course import DEMO, classifier_line, learnt_from, open_classifier, open_explorer


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a few films that is not the demo set, and no runs."""
    manifest = pd.read_csv(DEMO / "manifest.csv").groupby(["split", "label"]).head(1)
    for file in manifest["file"]:
        (tmp_path / "few" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(DEMO / file, tmp_path / "few" / file)
    manifest.to_csv(tmp_path / "few" / "manifest.csv", index=False)
    monkeypatch.setenv("FRACTURE_DATA", str(tmp_path / "few"))
    monkeypatch.setenv("FRACTURE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "few"


def test_the_demo_set_gets_its_own_classifier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FRACTURE_DATA", raising=False)
    monkeypatch.setenv("FRACTURE_RUNS", str(tmp_path))
    for real in (False, True):
        assert open_classifier(real=real).architecture["name"] == "small_cnn"
        assert classifier_line(real=real) == "Classifier: the shipped one, trained on the demo set"


def test_other_films_get_the_network_for_real_films_where_it_is_asked_for(few: Path) -> None:
    assert open_classifier().architecture["name"] == "small_cnn"
    assert "run notebook 02" in classifier_line()
    assert open_classifier(real=True).is_taught
    assert classifier_line(real=True) == "Classifier: the shipped one for real films, trained on FracAtlas"
    assert open_explorer().classifier.is_taught


def test_it_says_when_it_learnt_from_the_films_that_are_to_judge_it(few: Path) -> None:
    known = pd.read_csv(FILMS_SPLITS).set_index("name")["split"]
    manifest = pd.read_csv(few / "manifest.csv")
    judged = manifest.index[manifest["split"] != "train"]
    new = f"test/Fractured/{known.index[known == 'train'][0]}"
    (few / manifest.loc[judged[0], "file"]).rename(few / "moved.jpg")
    (few / new).parent.mkdir(parents=True, exist_ok=True)
    (few / "moved.jpg").rename(few / new)
    manifest.loc[judged[0], "file"] = new
    manifest.to_csv(few / "manifest.csv", index=False)
    assert learnt_from(manifest) == 1
    assert "; 1 films of val and test are called like films that it learnt from" in classifier_line(real=True)
