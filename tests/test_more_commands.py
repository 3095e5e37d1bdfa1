"""The commands against what people do without meaning harm: their own files, empty names, closed streams, no cache."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

import fracturelib.training.runs
from fracturelib._io.cache import read_sealed, write_sealed
from fracturelib._io.files import InputError, counted, may_replace
from fracturelib._io.pages import beginning
from fracturelib._io.tables import read_table, table_text
from fracturelib.cli import main, parser
from fracturelib.curate.audit_report import OURS
from fracturelib.curate.download import fetch_fracatlas
from fracturelib.curate.findings import ONE
from fracturelib.curate.importer import IMPORT_FILE, import_dataset
from fracturelib.data.found import KINDS
from fracturelib.data.predictions import read_predictions
from fracturelib.training.config import TrainConfig
from fracturelib.training.runs import train_folder
from fracturelib.viz.explain_page import MARK as INDEX_MARK
from fracturelib.viz.html_report import report_files
from fracturelib.workflows import SCORES_MARK
from tests.conftest import ROOT
from tests.radiographs import plain_folder, radiograph, save

SCORES = "file,label,score\na.jpg,1,0.9\nb.jpg,0,0.1\n"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return plain_folder(tmp_path / "set", splits={"train": 4, "val": 2}, size=(60, 64))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a command leaves on stderr."""
    assert main([str(a) for a in arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "error of the program" not in lines[0], lines
    return lines[0]


OWN = {
    "scores.csv": (SCORES_MARK, "Notes on file,score,decision,reason as columns\n"),
    "readers.csv": (SCORES_MARK, "file,score,decision,reason,reader\na.jpg,0.5,Fractured,looks odd,AB\n"),
    "labelled.csv": (SCORES_MARK, "file,score,decision,reason,threshold,doubt,label\na.jpg,0.5,Fractured,,0.5,,1\n"),
    "by_hand.csv": (SCORES_MARK, "file,score,decision,reason,threshold,doubt,group,label\na.jpg,0.5,,,0.5,,A,1\n"),
    "audit.json": (OURS["json"], '{"mine": [{"format": "fracture-audit"}]}'),
    "audit.html": (OURS["html"], "<!doctype html><body>of <title>Audit of a folder of X-rays</title>"),
    "index.html": (beginning(INDEX_MARK), f"<!doctype html><title>mine</title>{INDEX_MARK}"),
    "table.md": (report_files(["val"])["table.md"], "# Mine\n\n95 % intervals by hand\n"),
    "val-sweep.csv": (report_files(["val"])["val-sweep.csv"], "threshold,tp,fp,remarks\n0.5,1,2,ours\n"),
    "operating_point.csv": (report_files(["val"])["operating_point.csv"], "split,metric,value\nval,auc,1\n"),
    "evaluation.json": (report_files(["val"])["evaluation.json"], '{"a": {"notice": "For education"}}'),
}


@pytest.mark.parametrize("name", OWN)
def test_a_file_that_mentions_the_mark_stays(tmp_path: Path, name: str) -> None:
    mark, text = OWN[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="this command did not make it"):
        may_replace(tmp_path / name, mark)


@pytest.mark.parametrize(
    "header",
    ["file,score,decision,reason", "file,score,decision,reason,threshold",
     "\ufefffile,score,decision,reason,threshold,label,group",
     "file,score,decision,reason,threshold,label,group,split",
     "file,score,decision,reason,threshold,doubt,region,group"],
)  # fmt: skip
def test_a_table_of_scores_may_be_replaced(tmp_path: Path, header: str) -> None:
    (tmp_path / "s.csv").write_text(f"{header}\na.jpg,0.5\n", encoding="utf-8")
    may_replace(tmp_path / "s.csv", SCORES_MARK)


def test_a_report_and_an_audit_may_be_replaced(tmp_path: Path, few: Path) -> None:
    table = tmp_path / "e.csv"
    table.write_text(SCORES.replace("score\n", "score,split\n").replace("9\n", "9,a|b\n").replace("1\n", "1,a|b\n"))
    audit = ["audit", few, "--json", tmp_path / "a.json", "--html", tmp_path / "a.html", "--quiet"]
    for command in (["evaluate", table, "--out", tmp_path / "r"], audit):
        codes = [main([str(a) for a in command]) for _ in range(2)]
        assert codes[0] == codes[1] < 2


@pytest.mark.parametrize(
    "command",
    ["evaluate e.csv --out @", "evaluate @", "predict @ --csv x.csv", "predict a.jpg --csv @", "audit @",
     "train @ --out x",
     "audit x --json @", "data import @ x", "data import x @", "data simulate @", "explain a.jpg --out @",
     "data fetch fracatlas @", "evaluate e.csv --threshold-from @", "predict a.jpg --csv x --model @"],
)  # fmt: skip
def test_an_empty_path_is_not_the_current_folder(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert "is empty; expected a" in refused(capsys, *("" if word == "@" else word for word in command.split()))


def test_a_set_is_not_imported_into_itself(few: Path) -> None:
    before = sorted(few.rglob("*"))
    with pytest.raises(InputError, match=r"is inside .*; expected a folder outside it"):
        import_dataset(few, few / "train" / "sub", progress=False)
    assert sorted(few.rglob("*")) == before


@pytest.mark.parametrize(
    ("command", "closed", "code"),
    [("audit {set} --quiet", ">&-", (0, 1)), ("audit nowhere", "2>&-", (2,)), ("audit nowhere", ">&- 2>&- <&-", (2,)),
     ("evaluate --help", ">&-", (0,))],
)  # fmt: skip
def test_closed_streams(few: Path, command: str, closed: str, code: tuple[int, ...]) -> None:
    words = f'"{sys.executable}" -m fracturelib.cli {command.format(set=few)} {closed}'
    done = subprocess.run(["sh", "-c", words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in code and "Traceback" not in done.stderr, done.stderr


def test_an_audit_goes_on_without_a_cache(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "file" / "cache"))
    assert main(["audit", str(few), "--quiet"]) < 2
    said = capsys.readouterr()
    assert "nothing is kept for the next audit" in said.err and "12 images" in said.out
    line = refused(capsys, "train", few, "--out", tmp_path / "run", "--quiet")
    assert "expected FRACTURE_CACHE to name a folder that can be written" in line


def test_a_folder_in_the_place_of_a_cache_file_is_dropped(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "audit-2.sqlite"
    (place / "x").mkdir(parents=True)
    assert main(["audit", str(few), "--quiet"]) < 2 and place.is_file()
    (tmp_path / "sizes.json" / "x").mkdir(parents=True)
    assert read_sealed(tmp_path / "sizes.json") is None
    write_sealed(tmp_path / "sizes.json", b"[]")
    assert read_sealed(tmp_path / "sizes.json") == b"[]"


def test_a_manifest_with_columns_called_as_ours(few: Path, tmp_path: Path) -> None:
    files = sorted(p.relative_to(few).as_posix() for p in few.rglob("*.jpg"))
    rows = [(f, f.split("/")[0], int("/fractured" in f), f"p{i}", f"k{i}", i) for i, f in enumerate(files)]
    columns = ["file", "split", "label", "group", "key", "import_copy"]
    pd.DataFrame(rows, columns=columns).to_csv(few / "manifest.csv", index=False)
    report = import_dataset(few, tmp_path / "out", progress=False)
    frame = read_table(tmp_path / "out" / "manifest.csv")
    assert report.images == 12 and set(frame["key (table)"]) == {f"k{i}" for i in range(12)}
    assert import_dataset(few, tmp_path / "out", progress=False).changed is False


@pytest.mark.parametrize("change", [{"counts": []}, {"counts": {"train": 3}}, {"images": "x"}, {"notes": [1]}])
def test_an_edited_report_of_an_import_is_one_line(few: Path, tmp_path: Path, change: dict[str, object]) -> None:
    import_dataset(few, tmp_path / "out", progress=False)
    path = tmp_path / "out" / IMPORT_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="not what an import left"):
        import_dataset(few, tmp_path / "out", progress=False)


def test_two_columns_that_are_one_without_the_guard(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,=x,'=x\na,1,2\n")
    with pytest.raises(InputError, match="column '=x' is there twice"):
        read_table(tmp_path / "t.csv")
    kept = pd.DataFrame({"=x": ["a"], "'=x": ["b"]})
    (tmp_path / "k.csv").write_text(table_text(kept))
    assert list(read_table(tmp_path / "k.csv").columns) == ["=x", "'=x"]


def test_a_backend_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text(SCORES)
    command = [
        sys.executable,
        "-m",
        "fracturelib.cli",
        "evaluate",
        str(tmp_path / "e.csv"),
        "--out",
        str(tmp_path / "r"),
    ]
    environment = {**os.environ, "MPLBACKEND": "nonsense"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and (tmp_path / "r" / "report.html").is_file(), done.stderr


def test_a_long_attribution_is_said_before_the_training(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(fracturelib.training.runs, "fit")
    with pytest.raises(InputError, match="attribution has 5,001 characters; expected at most 5,000"):
        train_folder(few, tmp_path / "run", TrainConfig(), attribution="x" * 5001, progress=False)
    assert not (tmp_path / "run").exists()


def test_another_folder_is_not_taken_for_fracatlas(few: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds train, and not FracAtlas; expected a folder to make"):
        fetch_fracatlas(few, progress=False)
    (tmp_path / "there" / "FracAtlas" / "images").mkdir(parents=True)
    (tmp_path / "there" / "FracAtlas" / "dataset.csv").write_text("image_id\n")
    assert fetch_fracatlas(tmp_path / "there", progress=False) == tmp_path / "there"


def test_an_error_inside_a_zip_names_the_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as made:
        made.writestr("manifest.csv", "file,split\na.jpg,train\n")
        made.write(save(radiograph(1), tmp_path / "a.jpg"), "a.jpg")
    with pytest.raises(InputError) as caught:
        import_dataset(tmp_path / "s.zip", tmp_path / "out", progress=False)
    assert str(caught.value).startswith(f"{tmp_path / 's.zip'}/manifest.csv: has no column label")
    assert ".part" not in str(caught.value)


def test_what_is_no_folder_or_no_file_is_called_so(
    tmp_path: Path, few: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, image = tmp_path / "e.csv", next(few.rglob("*.jpg"))
    table.write_text(SCORES)
    for arguments, said in (
        (["audit", table], "is no folder; expected a folder of X-rays"),
        (["predict", image, "--model", few, "--csv", tmp_path / "s.csv"], "--model is a folder; expected a checkpoint"),
        (["evaluate", table, "--threshold-from", few], "--threshold-from is a folder; expected a table"),
        (["train", few, "--out", tmp_path / "r", "--start", few], "--start is a folder; expected a checkpoint"),
        (["data", "simulate", table], "e.csv: is a file; expected a folder to make"),
        (["data", "simulate", table / "x"], "is no folder; expected one to write in"),
        (["data", "import", few, table / "x"], "is no folder; expected one to write in"),
        (["predict", image, "--csv", tmp_path / ("a" * 300)], "a name of 300 bytes in it; expected at most 255"),
    ):
        line = refused(capsys, *arguments)
        assert said in line and ".part" not in line, line


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match="does not let you write; expected a folder that does"):
        may_replace(tmp_path / "s.csv", SCORES_MARK)


def test_what_is_left_out_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = SCORES.replace("score\n", "score,reason\n").replace("9\n", "9,\n").replace("1\n", "1,\n")
    (tmp_path / "e.csv").write_text(f"{rows}d/c.jpg,1,,/srv/d/c.jpg: damaged or truncated\n")
    assert main(["evaluate", str(tmp_path / "e.csv")]) == 0
    said = capsys.readouterr().out
    assert "left out: 1 row without a score or a label, such as d/c.jpg: damaged or truncated\n" in said


def test_one_is_no_plural(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert counted(2, "copy", "copies") == "2 copies"
    save(radiograph(1), tmp_path / "one" / "a.png")
    (tmp_path / "one" / "b.png").write_bytes(b"no image")
    assert main(["audit", str(tmp_path / "one"), "--quiet"]) == 1
    said = capsys.readouterr().out
    assert "1 file needs a look" in said and "1 file cannot be read:" in said
    (tmp_path / "one" / "b.png").unlink()
    assert main(["audit", str(tmp_path / "one"), "--quiet"]) == 0
    assert "no label to judge by: 1 image." in capsys.readouterr().out
    assert set(ONE) <= set(KINDS)


def test_defaults_that_are_nothing_are_told() -> None:
    train = next(c for c in _leaves(parser()) if c.prog == "fracture train")
    said = " ".join(train.format_help().split())
    assert "seed of the weights, the order and the augmentation (default: 0)" in said and "trains (auto)" in said


def _leaves(root):
    below = [a for a in root._actions if hasattr(a, "choices") and isinstance(a.choices, dict)]
    return [root] if not below else [leaf for a in below for c in a.choices.values() for leaf in _leaves(c)]


def test_names_that_look_like_nothing_are_names(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("file,label,score,group,age,site\nNA,1,0.9,NA,NA,None\nNone,0,0.1,null,7,\nnull,1,0.5,,8,x\n")
    frame = read_predictions(path)
    assert frame["file"].tolist() == ["NA", "None", "null"] and frame["group"].tolist() == ["NA", "null", "null"]
    assert frame["age"].isna().tolist() == [True, False, False] and frame["age"].iloc[2] == 8
    assert frame["site"].isna().tolist() == [False, True, False]
    path.write_text("file,label,score\na,1,NA\n")
    with pytest.raises(InputError, match="a has score nan"):
        read_predictions(path)
