"""Build the course's web site: `site.py OUT` assembles its sources under build/ and runs Sphinx on them.

The sources are docs/site, the executed lessons, the pages of docs, and what is computed here: the scores that the
sliders run over, heat maps of a few simulated images, minutes, and the public names. No lesson is changed in its place.
"""

import argparse
import hashlib
import importlib
import inspect
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(1, str(ROOT))  # for benchmarks, which is no package

from benchmarks.minutes import FIGURE, LINES, WORDS, Lesson, measure  # noqa: E402

SITE = ROOT / "docs" / "site"
PAGES = [  # the repository's own pages, under the same paths, so that links among them hold
    "docs/commands.md", "data/README.md", "docs/fracatlas.md", "fracturelib/models/pretrained/model_card.md",
    "docs/model_card_trials.md", "docs/performance.md", "CONTRIBUTING.md", "CHANGELOG.md",
]  # fmt: skip
FACES = ["data", "curate", "simulate", "models", "training", "metrics", "explain", "shift", "viz", "checks"]
FACES += ["tutorial"]
RETURNED = {  # what functions of a face give back, whose methods a reader needs and never imports
    "metrics": ["operating_point.OperatingPoint", "classification.Confusion", "intervals.Interval"],
    "simulate": ["knee_tissues.KneeTissue"],
    "training": ["multilabel.SeveralHeads"],
    "explain": ["localization.Judged"],
    "tutorial": ["Split"],
}
REPOSITORY = os.environ.get("SITE_REPOSITORY", "").rstrip("/")
# Words of the glossary that are also everyday words: listed there, but not linked wherever they occur.
NOT_LINKED = {
    *("study", "examination", "view", "region", "weight", "cast", "stage", "energy", "ceiling", "shift", "paired"),
    *("insertion", "deletion", "recall", "precision", "batch", "displaced", "impacted", "mask", "score", "channel"),
    *("group", "split", "label", "manifest", "mimic", "saliency", "subgroup", "loss", "leak", "audit", "spectrum"),
}
WITHOUT_PYTHON = {  # what a widget's place is taken by
    "ThresholdExplorer(": "This explorer needs Python. Without it: [the sliders on this site](../play.md).",
    "GradCAMExplorer(": "This explorer needs Python. Without it: [layers to pick on this site](../maps.md).",
    "ImageFormationView(": "These controls need Python; the figure after them does not.",
}
# What is no prose: code, folds, mathematics, links, headings, captions, HTML, roles, fences of boxes.
NO_PROSE = re.compile(
    r"```.*?```|<details.*?</details>|\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]*`|!?\[[^\]]*\]\([^)]*\)|<[^>\n]+>|\{\w+\}`[^`]*`"
    r"|^#+ [^\n]*|^\*[^*\n][^\n]*|^:::[^\n]*|\*\*Exercise[^\n]*",
    re.DOTALL | re.MULTILINE,
)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
BOX = re.compile(r"^> \*\*For (doctors|engineers)\.?\*\*[ :.]*(.*(?:\n>.*)*)", re.MULTILINE)
Words = dict[str, tuple[re.Pattern[str], str]]  # a term, how it is found, and what it means
CAPTION = re.compile(r"^\*([^*].*?[^*])\*(?=\s|$)", re.DOTALL)


# Lessons


def terms(text: str) -> dict[str, str]:
    """Each term of the glossary, and what it means."""
    found: dict[str, str] = {}
    for block in re.findall(r":::\{glossary\}\n(.*?)\n:::", text, re.DOTALL):
        for entry in block.split("\n\n"):
            lines = entry.splitlines()
            said = " ".join(line.strip() for line in lines if line.startswith("  "))
            found |= {line: said for line in lines if not line.startswith("  ")}
    return found


def link_terms(text: str, words: Words, met: set[str]) -> str:
    """Link each term where it first comes up in prose; `met` is the meanings that need no link any more."""
    parts, at = [], 0
    for hole in [*NO_PROSE.finditer(text), None]:
        end = hole.start() if hole else len(text)
        parts.append(_linked(text[at:end], words, met))
        if hole:
            parts.append(hole[0])
            at = hole.end()
    return "".join(parts)


def _linked(prose: str, words: Words, met: set[str]) -> str:
    taken: list[tuple[int, int, str]] = []
    for term, (pattern, meaning) in words.items():
        found = pattern.search(prose) if meaning not in met else None
        if found and all(found.end() <= a or found.start() >= b for a, b, _ in taken):
            taken.append((found.start(), found.end(), f"{{term}}`{found[0]} <{term}>`"))
            met.add(meaning)
    for a, b, link in sorted(taken, reverse=True):
        prose = prose[:a] + link + prose[b:]
    return prose


def patterns(found: dict[str, str]) -> Words:
    """How a term is found in prose: whole words, perhaps a plural; abbreviations and names as they are spelt."""
    words = {}
    for term in sorted(set(found) - NOT_LINKED, key=lambda t: (-len(t), t)):
        spelt = re.NOFLAG if term != term.lower() else re.IGNORECASE
        words[term] = re.compile(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", spelt), found[term]
    return words


def caption_of(cells: list[NotebookNode], i: int) -> str:
    """The sentence in italics after a figure, as plain text; empty if there is none."""
    after = next((c for c in cells[i + 1 : i + 2] if c.cell_type == "markdown"), None)
    found = CAPTION.match(after.source.strip()) if after else None
    if not found:
        return ""
    return " ".join(re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*$]", r"\1", found[1]).split())


def shown(source: str) -> str:
    """A cell without the marks that the readers' copies are made by."""
    return "\n".join(line for line in source.split("\n") if not re.match(r"\s*(### (BEGIN|END) SOLUTION|#: )", line))


def boxed(text: str) -> str:
    """Paragraphs for one kind of reader as boxes."""

    def box(found: re.Match[str]) -> str:
        inside = re.sub(r"^> ?", "", found[2], flags=re.MULTILINE)
        return f":::{{admonition}} For {found[1]}\n:class: for-{found[1]}\n{inside}\n:::"

    return BOX.sub(box, text)


def prepare(notebook: NotebookNode, words: Words, *, relink: Callable[[str], str]) -> NotebookNode:
    """A lesson for the web: solutions folded, captions as alternative texts, terms linked, boxes made."""
    met: set[str] = set()
    cells = []
    for i, cell in enumerate(notebook.cells):
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = link_terms(boxed(relink(cell.source)), words, met)
            continue
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", [])
        drawn = any("image/png" in o.get("data", {}) for o in cell.outputs)
        settings: dict[str, Any] = {}
        if "exercise" in tags:
            tags = ["hide-cell"]
            settings = {"code_prompt_show": "One solution", "code_prompt_hide": "Fold the solution"}
        if drawn and (alt := caption_of(notebook.cells, i)):
            settings["image"] = {"alt": alt}
        said = next((s for name, s in WITHOUT_PYTHON.items() if name in cell.source and not drawn), None)
        cell.source = shown(cell.source)
        cell.metadata = nbformat.from_dict({"tags": [t for t in tags if t.startswith("hide-")], "mystnb": settings})
        if said:
            cells.append(nbformat.v4.new_markdown_cell(f":::{{tip}}\n{said}\n:::"))
    notebook.cells = cells
    return notebook


# Links


@dataclass
class Links:
    """Rewrites the links of a page: to what is on the site, to the repository, or to nothing."""

    pages: set[str]  # of the site, as paths from its root
    dead: list[str] = field(default_factory=list)

    def relink(self, text: str, page: str) -> str:
        """Links of `page`, which may lead to files that are not on the site."""
        return LINK.sub(lambda found: self._one(found, page), text)

    def _one(self, found: re.Match[str], page: str) -> str:
        title, target, anchor = found[1], found[2], found[3] or ""
        path = os.path.normpath(Path(page).parent / target)
        if path in self.pages:
            return found[0]
        if path == "README.md":
            return f"[{title}]({os.path.relpath('index.md', Path(page).parent)})"
        if not (ROOT / path).exists():
            self.dead.append(f"{page} links to {target}")
            return title
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"[{title}]({REPOSITORY}/{kind}/main/{path}{anchor})" if REPOSITORY else title


# What can be played with


def threshold_part() -> str:
    """The sliders, with the test scores of the demo set and thresholds that were chosen on validation."""
    from fracturelib.data import read_predictions
    from fracturelib.metrics import choose_threshold

    frame = read_predictions(ROOT / "data" / "checkpoints" / "demo-small-cnn-predictions.csv")
    val, test = (frame[frame["split"] == split] for split in ("val", "test"))
    marks = [
        {
            "name": name,
            "says": says,
            "threshold": choose_threshold(val["label"], val["score"], rule).threshold if rule else 0.5,
        }
        for name, says, rule in (
            ("0.90 sensitivity on validation", "the course's threshold, chosen on validation", "sensitivity=0.9"),
            ("Youden on validation", "greatest sum of sensitivity and specificity on validation", "youden"),
            ("0.5", "what many tools take without saying so", ""),
        )
    ]
    data = {
        "label": [int(y) for y in test["label"]],
        "score": [round(float(s), 6) for s in test["score"]],
        "marks": marks,
        "prevalence": round(float(test["label"].mean()), 3),
    }
    note = (
        f"{len(test)} simulated test images of {test['group'].nunique()} patients, {int(test['label'].sum())} of them "
        "fractured, scored by the small network of lesson 02. Never for clinical use."
    )
    text = (SITE / "_parts" / "threshold.html").read_text(encoding="utf-8")
    return with_script(text.replace("@NOTE@", note).replace("@SCORES@", json.dumps(data)), "play.js")


def with_script(part: str, script: str) -> str:
    return f'{part}<script src="_static/{script}" defer></script>\n'


LAYER_SIZE, SHOWN_SIZE = 128, 320  # pixels a side


def map_pictures(out: Path) -> dict[str, Any]:
    """Leave six test images and the heat maps of each layer in `out`; return what the page says of them.

    They are made anew only if the network, the scores or this module have changed.
    """
    from fracturelib.tutorial import SHIPPED_MODEL, SHIPPED_PREDICTIONS

    made = hashlib.sha256(
        b"".join(p.read_bytes() for p in (SHIPPED_MODEL, SHIPPED_PREDICTIONS, Path(__file__)))
    ).hexdigest()
    stored = out / "maps.json"
    if stored.is_file() and (data := json.loads(stored.read_text()))["made"] == made:
        return data
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    data = {"made": made, "folder": "_static/maps/", **_explained(out)}
    stored.write_text(json.dumps(data))
    return data


def _explained(out: Path) -> dict[str, Any]:
    import numpy as np
    from PIL import Image

    from fracturelib.data import load_images, load_manifest
    from fracturelib.explain import GradCAM
    from fracturelib.explain.overlay import upsample
    from fracturelib.models import load_classifier
    from fracturelib.models.registry import stages
    from fracturelib.tutorial import DEMO, SHIPPED_MODEL

    classifier = load_classifier(SHIPPED_MODEL)
    rows = load_manifest(DEMO)
    rows = rows[rows["split"] == "test"].reset_index(drop=True)
    squares = load_images(DEMO, list(rows["file"]), size=classifier.size)
    rows["score"] = classifier.scores(squares)
    masks = _masks(rows, classifier.size)
    layers = stages(classifier.model)
    fractured = rows[(rows["label"] == 1) & (rows["score"] >= classifier.threshold)]
    asked = fractured.sort_values("score", ascending=False).index[:40]
    with GradCAM(classifier.model, list(layers.values())[-1]) as cam:
        heats = dict(zip(asked, cam(classifier.tensor(squares[asked])), strict=True))
    beside = {i: _beside(upsample(heats[i], classifier.size), masks[i]) for i in asked}
    chosen = _chosen(rows, beside, classifier.threshold)
    large = load_images(DEMO, list(rows.loc[chosen, "file"]), size=SHOWN_SIZE)
    with GradCAM(classifier.model, layers) as cam:
        maps = cam(classifier.tensor(squares[np.array(chosen)]))
    images = []
    for k, i in enumerate(chosen):
        row, letter = rows.loc[i], "ABCDEF"[k]
        Image.fromarray(large[k]).save(out / f"{letter}.jpg", quality=88)
        called = "predicted fractured" if row["score"] >= classifier.threshold else "predicted not fractured"
        truth = f"a fracture ({row['fracture_type']})" if row["label"] else "no fracture"
        images.append(
            {
                "file": f"{letter}.jpg",
                "name": f"{letter} · {row['region']}",
                "alt": f"Simulated radiograph of a {row['region']}, {row['view']} view",
                "says": f"Score {row['score']:.2f}, {called}. There is {truth}.",
                "outline": _outline(masks[i]),
                "maps": {
                    name: _leave_map(maps[name][k], masks[i], out / f"{letter}-{name}.png", classifier.size)
                    for name in layers
                },
            }
        )
    return {"images": images, "layers": ["", *layers]}


def _masks(rows: Any, size: int) -> Any:
    import numpy as np

    from fracturelib.data.coco import fracture_mask
    from fracturelib.data.dataset import load_annotations
    from fracturelib.data.masks import mask_to_square
    from fracturelib.tutorial import DEMO

    annotations = load_annotations(DEMO)
    masks = np.zeros((len(rows), size, size), np.uint8)
    for i, row in rows.iterrows():
        if row["file"] in annotations:
            mask = fracture_mask(annotations[row["file"]], width=row["width"], height=row["height"])
            masks[i] = mask_to_square(mask, size)
    return masks


def _beside(heat: Any, mask: Any) -> float:
    """How many pixels the strongest place is from the fracture: 0 inside, infinity without evidence."""
    import cv2
    import numpy as np

    if not heat.max() > 0 or not mask.any():
        return float("inf")
    away = cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 5)
    return float(away[np.unravel_index(int(np.argmax(heat)), heat.shape)])


def _chosen(rows: Any, beside: dict[int, float], threshold: float) -> list[int]:
    """One that the map finds, two that it does not, a fracture that was missed, a false alarm, and a quiet one."""
    from fracturelib.explain import tolerance_at

    near = [i for i, d in beside.items() if d == 0]
    far = [i for i, d in beside.items() if d > 2 * tolerance_at(224)]
    ranked = rows.sort_values("score")
    kinds = [
        near,
        far,
        list(ranked.index[ranked["label"] == 0]),
        list(ranked.index[ranked["label"] == 1]),
        list(ranked.index[(ranked["label"] == 0) & (ranked["score"] >= threshold)])[::-1],
        [i for i in near if rows.loc[i, "fracture_type"] == "hairline"] + far,
    ]
    chosen: list[int] = []
    for kind in kinds:
        regions, groups = set(rows.loc[chosen, "region"]), set(rows.loc[chosen, "group"])
        others = [i for i in kind if rows.loc[i, "group"] not in groups]
        chosen.append(next((i for i in others if rows.loc[i, "region"] not in regions), others[0]))
    return chosen


def _outline(mask: Any) -> str:
    """A mask's edge as a path of SVG, in hundredths of the picture."""
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    scaled = [(c[:, 0] + 0.5) * 100 / len(mask) for c in contours]
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in c) + "z" for c in scaled)


def _leave_map(heat: Any, mask: Any, path: Path, size: int) -> dict[str, Any]:
    """Draw a map as colours that are as opaque as the evidence is strong; say what it shows."""
    import cv2
    import numpy as np
    from PIL import Image

    from fracturelib.explain.localization import energy_in_mask, tolerance_at
    from fracturelib.explain.overlay import normalise, upsample

    shown, positive = normalise(upsample(heat, LAYER_SIZE))
    if not positive:
        return {"file": "", "grid": len(heat), "says": "no evidence for a fracture in this layer; the map is empty"}
    levels = np.round(255 * shown).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, :, ::-1]
    Image.fromarray(np.dstack([colours, levels])).save(path, optimize=True)
    large = upsample(heat, size)
    if not mask.any():
        says = "there is no fracture to find, and it is coloured all the same"
    else:
        away, near = _beside(large, mask), tolerance_at(size)
        place = "inside the outline" if away == 0 else f"{away:.0f} pixels beside the outline"
        place += f", which counts as near (up to {near})" if 0 < away <= near else ""
        energy, area = energy_in_mask(large, mask), float(mask.mean())
        says = f"its peak lies {place}; {energy:.0%} of its evidence is inside, as is {area:.1%} of the picture"
    return {"file": path.name, "grid": len(heat), "says": says}


def maps_part(data: dict[str, Any]) -> str:
    text = (SITE / "_parts" / "maps.html").read_text(encoding="utf-8")
    return with_script(text.replace("@MAPS@", json.dumps(data)), "maps.js")


# Tables that are computed


def reading(lesson: Lesson) -> int:
    """Minutes of its text and figures alone."""
    return ceil(lesson.words / WORDS + lesson.figures * FIGURE)


def duration(minutes: int) -> str:
    """Minutes in words, to five minutes where they are many."""
    if minutes < 60:
        return f"{minutes} minutes"
    hours, rest = divmod(5 * round(minutes / 5), 60)
    return f"{hours} hour{'s' * (hours > 1)}" + (f" {rest} minutes" if rest else "")


@dataclass(frozen=True)
class Course:
    """The lessons as they are, and what the tracks make of them."""

    lessons: list[Lesson]
    titles: dict[str, str]  # stem -> title
    plans: dict[str, Any]  # number -> docs/site/lessons.yml

    def minutes(self, lesson: Lesson, track: str) -> int:
        how = "do" if track == "teacher" else self.plans[lesson.number[:2]][track][0]
        return {"do": ceil(lesson.minutes), "read": reading(lesson), "skip": 0}[how]

    def total(self, track: str) -> str:
        taken = [m for lesson in self.lessons if (m := self.minutes(lesson, track))]
        return f"{len(taken)} lessons, about {duration(sum(taken))}"

    def link(self, lesson: Lesson, up: str = "") -> str:
        return f"[{self.titles[lesson.number]}]({up}notebooks/{lesson.number}.ipynb)"

    def list(self) -> str:
        rows = ["| lesson | what it answers | minutes |", "|---|---|---|"]
        for lesson in self.lessons:
            question = self.plans[lesson.number[:2]]["question"]
            rows.append(f"| {self.link(lesson)} | {question} | {ceil(lesson.minutes)} |")
        return "\n".join(rows)

    def track(self, track: str) -> str:
        rows = ["| lesson | how | why | minutes |", "|---|---|---|---|"]
        for lesson in self.lessons:
            how, why = ("do", "") if track == "teacher" else self.plans[lesson.number[:2]][track]
            why = self.plans[lesson.number[:2]]["question"] if track == "teacher" else why
            minutes = self.minutes(lesson, track) or "-"
            rows.append(f"| {self.link(lesson, '../')} | {how} | {why} | {minutes} |")
        total = sum(self.minutes(lesson, track) for lesson in self.lessons)
        return "\n".join([*rows, f"| **together** | | | **{total}** |"])

    def plan(self, lesson: Lesson) -> str:
        """A lesson as somebody teaches it, with a clock."""
        plan = self.plans[lesson.number[:2]]
        together = ceil(lesson.words / WORDS + lesson.lines / LINES + lesson.figures * FIGURE + lesson.seconds / 60)
        alone = sum(lesson.exercises.values())
        numbers = ", ".join(f"{number} ({minutes} min)" for number, minutes in lesson.exercises.items())
        steps = [(5, f"**Open.** {plan['opening']}"), (together, "**Read and run together.** Stop at every guess.")]
        steps += [(alone, f"**Exercises,** in pairs: {numbers}.")] if alone else []
        steps += [(10, f"**Discuss.** {plan['discuss']}")]
        rows, clock = ["| minute | |", "|---|---|"], 0
        for minutes, what in steps:
            rows.append(f"| {clock} to {clock + minutes} | {what} |")
            clock += minutes
        said = [f"## {self.titles[lesson.number]}", f"*{self.plans[lesson.number[:2]]['question']}*", "\n".join(rows)]
        said += [f"**Listen for:** {plan['listen']}", f"**Short of time?** {plan['short']}", self.link(lesson, "../")]
        return "\n\n".join(said)


def api_pages(out: Path) -> str:
    """A page for each face, with each public name; return the table of them."""
    out.mkdir()
    rows = ["| package | what for | names |", "|---|---|---|"]
    for face in FACES:
        module = importlib.import_module(f"fracturelib.{face}")
        summary = (module.__doc__ or "").strip().split("\n")[0]
        lines = [f"# fracturelib.{face}", "", module.__doc__ or "", "", "```{eval-rst}"]
        lines += [f".. currentmodule:: fracturelib.{face}", ""]
        for name in module.__all__:
            lines += [*_documented(getattr(module, name), name), ""]
        if face in RETURNED:
            lines += ["```", "", "## What they give back", "", "```{eval-rst}", ""]
        for path in RETURNED.get(face, []):
            place, _, name = f"fracturelib.{face}.{path}".rpartition(".")
            lines += [f".. currentmodule:: {place}", "", f".. autoclass:: {name}", "   :members:", ""]
        (out / f"{face}.md").write_text("\n".join([*lines, "```", ""]), encoding="utf-8")
        rows.append(f"| [{face}](api/{face}.md) | {summary} | {len(module.__all__)} |")
    return "\n".join(rows)


def _documented(thing: object, name: str) -> Iterator[str]:
    if inspect.isclass(thing):
        yield from (f".. autoclass:: {name}", "   :members:")
    elif inspect.isroutine(thing):
        yield f".. autofunction:: {name}"
    else:
        yield from (f".. py:data:: {name}", f"   :type: {type(thing).__name__}")
        if isinstance(thing, str | int | float | Path):
            yield f"   :value: {thing.name if isinstance(thing, Path) else repr(thing)}"


# The whole


def assemble(source: Path, cache: Path) -> list[str]:
    """Leave all that Sphinx reads in `source`; return the links of lessons and pages that lead nowhere."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(SITE, source)
    made = source / "_made"
    made.mkdir()
    (made / "threshold.html").write_text(threshold_part(), encoding="utf-8")
    (made / "maps.html").write_text(maps_part(map_pictures(cache)), encoding="utf-8")
    shutil.copytree(cache, source / "_static" / "maps", ignore=shutil.ignore_patterns("*.json"))
    (source / "docs").mkdir()
    shutil.copyfile(ROOT / "docs" / "picture.png", source / "docs" / "picture.png")
    glossary = terms((SITE / "glossary.md").read_text(encoding="utf-8"))
    script = (SITE / "_static" / "glossary.js").read_text(encoding="utf-8")
    tips = {re.sub(r"\W+", "-", term.lower()): said for term, said in glossary.items()}
    (source / "_static" / "glossary.js").write_text(script.replace("@TERMS@", json.dumps(tips)), encoding="utf-8")

    notebooks = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    deeper = sorted((ROOT / "notebooks" / "deeper").glob("*.ipynb"))
    lessons = [str(p.relative_to(ROOT)) for p in [*notebooks, *deeper]]
    written = [str(p.relative_to(SITE)) for p in SITE.rglob("*.md")]
    links = Links({*written, *lessons, *PAGES, "docs/results.md", "docs/picture.png"})
    titles = {}
    for name in lessons:
        notebook = nbformat.read(ROOT / name, as_version=4)
        titles[Path(name).stem] = notebook.cells[0].source.split("\n")[0].lstrip("# ").strip()
        prepare(notebook, patterns(glossary), relink=lambda text, name=name: links.relink(text, name))
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, source / name)
    for name in [*PAGES, "docs/results.md"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(links.relink((ROOT / name).read_text(encoding="utf-8"), name), encoding="utf-8")

    plans = yaml.safe_load((SITE / "lessons.yml").read_text(encoding="utf-8"))
    _fill(source, Course(measure(), titles, plans), [str(p.relative_to(ROOT)) for p in deeper])
    return links.dead


def _fill(source: Path, course: Course, deeper: list[str]) -> None:
    """Put what is computed into the pages of docs/site, at its @MARK@."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = re.search(r"## Does it work\?\n(.*?)\n## ", readme, re.DOTALL)
    if not results:
        raise ValueError("README.md has no section 'Does it work?'; expected one, for the first page")
    numbered = [f"notebooks/{lesson.number}" for lesson in course.lessons]
    texts = {
        "LESSONS": course.list(),
        "RESULTS": results[1].strip(),
        "TOC LESSONS": "\n".join(numbered),
        "TOC DEEPER": "\n".join(page.removesuffix(".ipynb") for page in deeper),
        "TOC MORE": "\n".join(page.removesuffix(".md") for page in PAGES),
        "API": api_pages(source / "api"),
        "TOC API": "\n".join(f"api/{face}" for face in FACES),
        "PLANS": "\n\n".join(course.plan(lesson) for lesson in course.lessons),
        "REPOSITORY": REPOSITORY or "<the address of this repository>",
        "TEST_IMAGES": str(len(json.loads(_scores(source))["label"])),
    }
    for track in ("clinician", "engineer", "teacher"):
        texts |= {f"TRACK {track}": course.track(track), f"MINUTES {track}": course.total(track)}
    texts |= {f"LESSON {lesson.number[:2]}": f"notebooks/{lesson.number}.ipynb" for lesson in course.lessons}
    for page in SITE.rglob("*.md"):
        filled = source / page.relative_to(SITE)
        text = filled.read_text(encoding="utf-8")
        filled.write_text(re.sub(r"@([A-Z][\w ]*)@", lambda found: texts[found[1]], text), encoding="utf-8")


def _scores(source: Path) -> str:
    text = (source / "_made" / "threshold.html").read_text(encoding="utf-8")
    return re.findall(r'id="scores-data">(.*?)</script>', text)[0]


def build(out: Path) -> int:
    """The whole site, without a warning; 1 if there was one, or a link led nowhere."""
    from sphinx.cmd.build import main as sphinx

    work = out.with_name(f"{out.name}-source")
    dead = assemble(work, out.with_name(f"{out.name}-maps"))
    shutil.rmtree(out, ignore_errors=True)
    code = sphinx(["-q", "-W", "--keep-going", "-b", "html", "-d", str(work / ".doctrees"), str(work), str(out)])
    for line in dead:
        print(f"site: {line}, which is not here", file=sys.stderr)
    if not code and not dead:
        pages = len(list(out.rglob("*.html")))
        print(f"site: {pages} pages; open {out / 'index.html'}")
    return 1 if code or dead else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "build" / "site")
    return build(parser.parse_args().out.resolve())


if __name__ == "__main__":
    sys.exit(main())
