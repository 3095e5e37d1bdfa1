"""The report: from a file of scores to one page, and what it refuses."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.cli import main
from fracturelib.metrics._format import format_table
from fracturelib.metrics.classification import confusion_at, roc_auc
from fracturelib.metrics.evaluate import evaluate, point_from, subgroup_columns
from fracturelib.metrics.operating_point import choose_threshold, threshold_for_sensitivity
from fracturelib.viz.html_report import report


def made(seed: int = 0, *, images: int = 120) -> pd.DataFrame:
    """A table of scores with splits, patients, a region and another model's name for each image."""
    rng = np.random.default_rng(seed)
    group = np.arange(images) // 2
    y = (rng.random(images // 2) < 0.4).astype(int)[group]
    return pd.DataFrame(
        {
            "file": [f"image{i}.png" for i in range(images)],
            "label": y,
            "group": group.astype(str),
            "score": 1 / (1 + np.exp(-(rng.normal(size=images) + 1.5 * y - 0.8))),
            "split": np.where(group < images // 4, "val", "test"),
            "region": np.where(group % 2, "hand", "<wrist>"),
        }
    )


def write(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


class Page(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_figures_are_those_of_the_library() -> None:
    frame = made()
    result = evaluate(frame, threshold=0.4, n=50)
    test = frame[frame["split"] == "test"]
    part = result["splits"]["test"]
    counts = confusion_at(test["label"], test["score"], 0.4)
    assert part["confusion"] == {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn}
    assert part["auc"]["value"] == part["delong"]["value"] == roc_auc(test["label"], test["score"])
    row = part["operating_point"][0]
    assert row["metric"] == "sensitivity" and row["value"] == pytest.approx(counts.sensitivity)
    assert part["images"] == len(test) and part["groups"] == test["group"].nunique() and not part["flatters"]
    assert set(part["subgroups"]) == {"region"}
    assert set(evaluate(frame.drop(columns="split"), n=20)["splits"]) == {"all"}


def test_the_seed_decides() -> None:
    first, again, other = (json.dumps(evaluate(made(), n=40, seed=s)) for s in (1, 1, 2))
    assert first == again != other


def test_one_command_writes_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame, out = made(), tmp_path / "out"
    first = write(frame, tmp_path / "a.csv")
    second = write(frame.assign(score=frame["score"] ** 2).sample(frac=1, random_state=0), tmp_path / "b.csv")
    arguments = ["evaluate", first, "--threshold-from", first, "--rule", "sensitivity=0.8", "--compare", second]
    assert main([*map(str, arguments), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    val = frame[frame["split"] == "val"]
    expected = threshold_for_sensitivity(val["label"], val["score"], 0.8)
    result = json.loads((out / "evaluation.json").read_text())
    assert result["threshold"] == expected and result["operating_point"]["rule"] == "sensitivity=0.8"
    assert result["splits"]["val"]["flatters"] and not result["splits"]["test"]["flatters"]
    assert f"{expected:.3f}, chosen by sensitivity=0.8" in printed and printed.count("very images") == 1
    # The second model ranks alike on another scale: at its own threshold nothing differs.
    rows = result["splits"]["test"]["comparison"]["rows"]
    assert result["splits"]["test"]["comparison"]["threshold"] == pytest.approx(expected**2)
    assert all(row["difference"] == 0 for row in rows) and rows[0]["p"] is None
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(list(out.glob("*.png"))) >= 16
    assert all((i["src"] or "").startswith("data:image/png;base64,") and i["alt"] for i in images)
    assert not {"script", "link"} & {tag for tag, _ in page.tags}, "the page loads nothing"
    assert "<wrist>" in page.text, "values are escaped"
    table = (out / "table.md").read_text(encoding="utf-8")
    assert re.search(r"\| Sensitivity \| 0\.\d{3} \(0\.\d{3} to [01]\.\d{3}\) \| \d+ of \d+ \|", table)
    assert not list(out.glob(".*")) and (out / "test-sweep.csv").is_file()


def test_one_class_gets_a_report_that_says_why(tmp_path: Path) -> None:
    frame = made().assign(label=0)
    result = report(frame, tmp_path / "out", n=20)
    assert "AUC undefined, because none of the" in format_table(result)
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["splits"]["test"]["auc"]["value"] is None
    assert "none of the" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_few_images_are_no_obstacle(tmp_path: Path) -> None:
    frame = pd.DataFrame({"file": ["a", "b"], "label": [0, 1], "group": ["a", "b"], "score": [0.0, 1.0]})
    result = report(frame, tmp_path / "out", n=20)
    assert result["splits"]["all"]["auc"]["value"] == 1 and (tmp_path / "out" / "report.html").is_file()


def test_a_threshold_is_chosen_on_val_only() -> None:
    frame = made()
    val = frame[frame["split"] == "val"]
    expected = choose_threshold(val["label"], val["score"], "youden", group=val["group"], n=50)
    assert point_from(frame, "youden", n=50) == expected
    assert point_from(val.drop(columns="split"), "youden", n=50) == expected
    with pytest.raises(InputError, match="expected val among them"):
        point_from(frame[frame["split"] == "test"], "youden")


def test_calling_nobody_can_be_the_rule(tmp_path: Path) -> None:
    frame = made()
    point = point_from(frame, "alerts=0.001", n=20)
    assert point.threshold == np.inf
    result = report(frame, tmp_path / "out", threshold=point, n=20)
    assert result["splits"]["test"]["operating_point"][0]["value"] == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["threshold"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "1.5"], "--threshold is 1.5"),
        (["--rule", "youden"], "without --threshold-from"),
        (["--threshold", "0.5", "--threshold-from", "A"], "one or the other"),
        (["--threshold-from", "A", "--rule", "best"], "rule is 'best'"),
        (["--threshold-from", "nowhere.csv"], "no such file"),
        (["--compare", "SHORT"], "has no score for 2 images"),
        (["--compare", "OTHER"], "has another label"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    frame = made()
    names = {
        "A": write(frame, tmp_path / "a.csv"),
        "SHORT": write(frame.iloc[2:], tmp_path / "short.csv"),
        "OTHER": write(frame.assign(label=1 - frame["label"]), tmp_path / "other.csv"),
    }
    out = tmp_path / "out"
    assert main(["evaluate", str(names["A"]), *[str(names.get(a, a)) for a in arguments], "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not out.exists()


def test_columns_that_part_the_images() -> None:
    frame = made().assign(constant=1, many=np.arange(120), hardware=np.arange(120) % 2, width=[300, 400] * 60)
    assert subgroup_columns(frame) == ["region", "hardware"]


@pytest.mark.parametrize("images", [2, 10])
def test_a_perfect_score_says_on_how_few_it_stands(images: int) -> None:
    y = np.arange(images) % 2
    frame = pd.DataFrame({"file": [f"{i}.png" for i in y.cumsum() + y.size + np.arange(images)], "label": y,
                          "group": np.arange(images).astype(str), "score": 0.1 + 0.8 * y})  # fmt: skip
    result = evaluate(frame, threshold=0.5, n=50)
    part, groups, text = result["splits"]["all"], images // 2, format_table(result)
    for name in ("auc", "average_precision"):
        row = part[name]
        assert row["value"] == row["high"] == 1 and 0.15 < row["low"] < (0.25 if images == 2 else 0.8)
    auc = part["auc"]["low"]
    assert f"1.000 ({auc:.3f} to 1.000; no sample differs: Newcombe's interval of {groups} + {groups} groups)" in text
    assert f"Wilson's interval of {groups} group{'s' * (groups > 1)}" in text and "(1.000 to 1.000" not in text
    assert "nan" not in text and json.dumps(result["splits"]["all"]["auc"], allow_nan=False)


def predicted(threshold: float, scores: tuple[float, ...]) -> pd.DataFrame:
    """A table as `fracture predict` writes it, of two fractured and two sound images."""
    frame = pd.DataFrame({"file": list("abcd"), "label": [1, 1, 0, 0], "group": list("abcd"), "score": scores})
    decisions = np.where(frame["score"] >= threshold, "Fractured", "Not Fractured")
    return frame.assign(decision=decisions, threshold=threshold)


def test_each_table_is_judged_at_the_threshold_that_it_names() -> None:
    first, second = predicted(0.8, (0.9, 0.85, 0.7, 0.6)), predicted(0.1, (0.3, 0.2, 0.05, 0.02))
    result = evaluate(first, compare=second, n=20)
    assert (result["threshold"], result["threshold_source"]) == (0.8, "by which fracture predict decided")
    compared = result["splits"]["all"]["comparison"]
    assert compared["threshold"] == 0.1
    assert [row["difference"] for row in compared["rows"] if row["metric"] == "sensitivity"] == [0, 0]
    assert evaluate(first, compare=second, threshold=0.5, n=20)["splits"]["all"]["comparison"]["threshold"] == 0.5
    assert evaluate(first, compare=second.drop(columns="decision"), n=20)["splits"]["all"]["comparison"][
        "threshold"
    ] == 0.8  # fmt: skip


def test_a_threshold_that_no_score_reaches_is_that_of_the_table() -> None:
    result = evaluate(predicted(np.inf, (0.9, 0.8, 0.2, 0.1)), n=20)
    assert result["threshold"] == np.inf and result["splits"]["all"]["confusion"]["tp"] == 0


def test_two_thresholds_in_one_table_are_refused_and_a_column_of_ones_own_is_none() -> None:
    both = pd.concat([predicted(0.8, (0.9, 0.8, 0.2, 0.1)), predicted(0.1, (0.9, 0.8, 0.2, 0.1))])
    with pytest.raises(InputError, match="the column threshold has 2 values; expected one"):
        evaluate(both, n=20)
    own = predicted(0.05, (0.9, 0.8, 0.2, 0.1)).drop(columns="decision")
    assert evaluate(own, n=20)["threshold_source"] == "since none was given"
