"""The index page of `fracture explain`."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.tutorial import SHIPPED_MODEL
from fracturelib.viz.explain_page import INDEX, index_page
from fracturelib.workflows import explain_paths
from tests.radiographs import radiograph, save


class Page(HTMLParser):
    """What a page links to, loads and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, tag: str, attribute: str) -> list[str]:
        return [str(a[attribute]) for t, a in self.tags if t == tag and attribute in a]


def test_explain_leaves_a_page_that_leads_to_every_picture(tmp_path: Path) -> None:
    for i, name in enumerate(("a.jpg", "sub/ü #1?.png", "sub/100% <b>.png", "z.jpg")):
        save(radiograph(i, fractured=i % 2 == 0), tmp_path / "images" / name)
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    frame = explain_paths([tmp_path / "images"], SHIPPED_MODEL, out, progress=False)
    page = Page((out / INDEX).read_text(encoding="utf-8"))
    pictures = page.values("img", "src")
    assert all((out / unquote(src)).is_file() for src in pictures)
    assert pictures == [a for a in page.values("a", "href") if not a.startswith("#")]
    assert sorted(map(unquote, pictures)) == sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png"))
    assert set(page.values("img", "loading")) == {"lazy"}
    shown = [float(w.split()[1]) for w in page.words if w.startswith("score ")]
    assert shown == sorted(shown, reverse=True) and len(shown) == 4
    text = " ".join(page.words)
    assert "never for clinical use" in text and "sub/100% <b>.png" in text
    (reason,) = frame.loc[frame["picture"] == "", "reason"]
    assert reason in text
    explain_paths([tmp_path / "images" / "a.jpg"], SHIPPED_MODEL, out, progress=False)  # its own page it may replace
    assert (out / INDEX).read_text().count("<article>") == 1


def test_a_page_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    save(radiograph(0), tmp_path / "a.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / INDEX).write_text("<h1>my own page</h1>")
    with pytest.raises(InputError, match=r"index\.html"):
        explain_paths([tmp_path / "a.jpg"], SHIPPED_MODEL, tmp_path / "out", progress=False)
    assert [p.name for p in (tmp_path / "out").iterdir()] == [INDEX]
    assert (tmp_path / "out" / INDEX).read_text() == "<h1>my own page</h1>"


def test_names_cannot_script_and_nothing_is_loaded_from_elsewhere() -> None:
    name = '"><script>alert(1)</script>\x1b[2J\n.png'
    frame = pd.DataFrame(
        [
            {"file": name, "score": 0.7, "decision": "Fractured", "reason": "", "picture": f"javascript:{name}"},
            {"file": name, "score": np.nan, "decision": "", "reason": name, "picture": ""},
        ]
    ).assign(doubt=name)
    text = index_page(frame, "0.500", "score=0.5")
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "b", "iframe", "link", "object"}
    assert not re.search(r"https?:|[\x00-\x09\x0b-\x1f]", text)
    assert page.values("img", "src")[0].startswith("javascript%3A")
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)


def test_a_thousand_rows_are_small() -> None:
    rows = [
        {"file": f"{i}.jpg", "score": i / 1000, "decision": "Fractured", "reason": "", "picture": f"{i}.png"}
        for i in range(1000)
    ]
    assert len(index_page(pd.DataFrame(rows).assign(doubt=""), "0.500", "score=0.5")) < 500_000
