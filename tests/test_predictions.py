"""The hand-over table."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.data.predictions import read_predictions, write_predictions

GOOD = "file,label,score\na.jpg,1,0.9\nb.jpg,Not Fractured,0.1\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return path


def test_the_smallest_table(tmp_path: Path) -> None:
    frame = read_predictions(written(tmp_path, GOOD))
    assert frame["label"].tolist() == [1, 0] and frame["group"].tolist() == ["a.jpg", "b.jpg"]
    assert frame.dtypes[["label", "score"]].astype(str).tolist() == ["int64", "float64"]


def test_an_image_without_a_patient_is_its_own(tmp_path: Path) -> None:
    text = "file,label,score,group\na.jpg,1,0.5,P1\nb.jpg,0,0.4,\nc.jpg,0,0.3,\nd.jpg,1,0.2,P1\n"
    assert read_predictions(written(tmp_path, text))["group"].tolist() == ["P1", "b.jpg", "c.jpg", "P1"]


def test_scores_survive_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"file": [f"{i}.jpg" for i in range(200)], "label": 0, "score": rng.random(200)})
    frame.loc[0, "score"], frame.loc[1, "score"] = 0.0, np.nextafter(1, 0)
    frame["group"], frame["region"] = "007", "hand"
    write_predictions(frame, tmp_path / "scores.csv")
    again = read_predictions(tmp_path / "scores.csv")
    assert (again["score"].to_numpy() == frame["score"].to_numpy()).all()
    assert set(again["group"]) == {"007"} and set(again["region"]) == {"hand"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a table"),
        ("file,label,score\n", "has no row"),
        ("file,label\na.jpg,1\n", "has no column score; expected file, label, score"),
        ("name,truth,p\na,1,0.5\n", "has no column file, label, score"),
        ("file,label,score\na.jpg,1,\n", "a.jpg has score nan; expected a number in 0..1"),
        ("file,label,score\na.jpg,1,high\n", "a.jpg has score high; expected a number in 0..1"),
        ("file,label,score\na.jpg,1,1.5\n", "a.jpg has score 1.5; expected a number in 0..1"),
        ("file,label,score\na.jpg,1,inf\n", "a.jpg has score inf"),
        ("file,label,score\na.jpg,maybe,0.5\n", "label 'maybe' is not known; expected 0, 1"),
        ("file,label,score\na.jpg,,0.5\n", "a.jpg has no label"),
        ("file,label,score\n,1,0.5\n", "row 2 has no file"),
        ("file,label,score\na.jpg,1,0.5\na.jpg,0,0.4\n", "a.jpg is there twice"),
    ],
)
def test_tables_that_break_the_contract(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_predictions(path)
    assert message in str(caught.value) and str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; expected a table with the columns file, label, score"):
        read_predictions(tmp_path / "none.csv")


def test_a_bad_table_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="score nan"):
        write_predictions(pd.DataFrame({"file": ["a"], "label": [1], "score": [np.nan]}), tmp_path / "scores.csv")
    assert not list(tmp_path.iterdir())
