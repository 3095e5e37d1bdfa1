"""What a lesson must be, as functions that say what is wrong with it: the tests try them on planted faults, too."""

import ast
import json
import re
from pathlib import Path

from nbformat import NotebookNode

from tools.lessons import BEGIN, END, GIVEN

WIDGETS = "application/vnd.jupyter.widget"
ROWS = ("You will learn", "You need", "Minutes", "Reads", "Writes")
PARTS = ("## Recap", "## What you would tell the hospital", "## Three questions", "## References")
STATEMENT = re.compile(r"\*\*Exercise (\d+\.\d+)\*\* · [●○]{3} · \d+ min")
CHECKED = re.compile(r"\bcheck\(\s*[\"'](\d+\.\d+)[\"']")
DOI = re.compile(r"https://doi\.org/10\.\d{4,9}/[^\s)\]>]+")
MEASURES = (
    r"AUC|accuracy|sensitivity|specificity|PPV|NPV|precision|recall|ECE|Brier|IoU|kappa|net benefit|log loss|"
    r"average precision|pointing game|Youden"
)
NUMBER = re.compile(r"(?<![\w.])\d*\.\d{2,}(?!\w|\.\d)|(?<![\w.])\d+(?:\.\d+)?(?= ?%)|\b\d+ of (?:the )?\d+\b")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: NotebookNode) -> str:
    """All markdown."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def unexecuted(notebook: NotebookNode) -> list[str]:
    """Cells that were not run from top to bottom, or left what must not be stored."""
    faults, cells = [], code_cells(notebook)
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        faults.append("its cells were not run in one go from top to bottom")
    for number, cell in enumerate(cells, start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                faults.append(f"cell {number} stores a traceback")
            if output.get("name") == "stderr":
                faults.append(f"cell {number} stores stderr: {output.get('text', '')[:200]}")
            if any(kind.startswith(WIDGETS) for kind in output.get("data", {})):
                faults.append(f"cell {number} stores a widget")
    if "widgets" in notebook.metadata:
        faults.append("it stores the state of widgets")
    return faults


def uncaptioned(notebook: NotebookNode) -> list[str]:
    """Figures that are not followed by a sentence in italics that says what to see."""
    faults = []
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not any("image/png" in o.get("data", {}) for o in cell.outputs):
            continue
        following = notebook.cells[i + 1] if i + 1 < len(notebook.cells) else None
        said = following is not None and following.cell_type == "markdown"
        if not said or not re.match(r"\*[^*\s].{10,}?\*(\s|$)", following.source, re.DOTALL):
            faults.append(f"cell {i} draws a figure, and no sentence in italics says what to see")
    return faults


def strange_form(notebook: NotebookNode, stem: str) -> list[str]:
    """What a lesson or a deeper page lacks of its head, its parts and its end."""
    first, text, faults = notebook.cells[0].source, prose(notebook), []
    if "clinical use" not in first:
        faults.append("its first cell does not say that it is not for clinical use")
    if not re.match(r"\d\d_", stem):
        return faults if first.startswith("# Deeper · ") else [*faults, "it does not begin with '# Deeper · '"]
    if not first.startswith(f"# {stem[:2]} ·"):
        faults.append(f"it does not begin with '# {stem[:2]} ·'")
    faults += [f"its table does not say {row}" for row in ROWS if f"| **{row}** |" not in first]
    if "data_line(" not in code_cells(notebook)[0].source:
        faults.append("its first code cell does not say which data it reads")
    wanted = ["## Recap", "## Exercise"] if stem.startswith("00") else [*PARTS, "## Exercise"]
    faults += [f"it has no part {part!r}" for part in wanted if f"\n{part}" not in f"\n{text}"]
    if not stem.startswith("00") and len(set(DOI.findall(text))) < 2:
        faults.append("it has fewer than two references with a DOI")
    if not re.search(r"\*\*(Next:|Back to)", notebook.cells[-1].source):
        faults.append("its last cell does not say what comes next")
    return faults


def dead_links(notebook: NotebookNode, folder: Path) -> list[str]:
    """Relative links that lead nowhere from a folder, and DOIs that are none."""
    text = prose(notebook)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:href|src)=[\"']([^\"']+)[\"']", text)
    relative = [t for t in targets if not re.match(r"https?:|mailto:|#|data:", t)]
    faults = [f"it links to {t}" for t in relative if not (folder / t.split("#")[0]).exists()]
    return faults + [f"{t} is no DOI" for t in targets if "doi.org" in t and not DOI.fullmatch(t)]


def told_places(notebook: NotebookNode) -> list[str]:
    """Paths and addresses in outputs, which differ from computer to computer."""
    text = json.dumps([cell.outputs for cell in code_cells(notebook)])
    return re.findall(r"/home/|/root/|/Users/|\bat 0x[0-9a-f]+|site-packages", text)


def results_in_prose(notebook: NotebookNode) -> list[str]:
    """Sentences that state a measured number: the next change of a cell would make them wrong without a word.

    Numbers that a code cell names are settings; folded answers, questions, exercises, tables, and sentences that name a
    source, suppose something or ask are about other numbers.
    """
    code = "\n".join(cell.source for cell in code_cells(notebook))
    settings = {float(n) for n in re.findall(r"(?<![\w.])\d*\.?\d+(?!\w|\.\d)", code)}
    left_out = r"<details.*?</details>|```.*?```|^## (?:References|Three questions).*?(?=^## |\Z)"
    text = re.sub(left_out, "", prose(notebook), flags=re.DOTALL | re.MULTILINE)
    faults = []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith(("**Exercise", "|", "# ")):
            continue
        plain = re.sub(r"`[^`]*`|\$[^$]*\$", "", paragraph)
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z*_>])", plain):
            if re.search(r"doi\.org|et al|\b[Cc]laim|\b[Ss]uppose|\?\W*$", sentence):
                continue
            bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", sentence)
            if not re.search(rf"\b({MEASURES})\b", bare):
                continue
            for number in NUMBER.findall(bare):
                values = [float(part) for part in re.findall(r"\d*\.?\d+", number)]
                shares = [v for value in values for v in (value, value / 100, 1 - value / 100)]
                if not set(shares) & settings and values != [95.0]:
                    faults.append(f"it states {number}: {' '.join(bare.split())[:160]}")
    return faults


def faulty_exercises(notebook: NotebookNode) -> list[str]:
    """Exercises without a statement or a check, solutions without marks or that are not right, guesses that leak."""
    faults = []
    stated = STATEMENT.findall(prose(notebook))
    checked = []
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        numbers = CHECKED.findall(cell.source)
        checked += numbers
        marks = cell.source.count(BEGIN), cell.source.count(END)
        if (numbers or "exercise" in cell.metadata.get("tags", [])) and marks != (1, 1):
            faults.append(f"cell {i} has an exercise, and marks of a solution {marks[0]} and {marks[1]} times")
        if re.search(r"^guess(?:_\w+)?\s*=\s*(?!\.\.\.)", cell.source.split(BEGIN)[0], re.MULTILINE):
            faults.append(f"cell {i} tells the reader what to guess")
        if numbers and cell.metadata.get("tags", []).count("exercise") != 1:
            faults.append(f"cell {i} checks exercise {numbers[0]} and is not tagged as one")
        if numbers and not re.search(r"\bright: ", json.dumps(cell.outputs)):
            faults.append(f"cell {i}: the solution of exercise {numbers[0]} is not right")
    if sorted(stated) != sorted(checked):
        faults.append(f"exercises {sorted(stated)} are stated, and {sorted(checked)} are checked")
    return faults


def _statements(source: str) -> list[str]:
    """The code of a cell, statement by statement, without comments and without its layout."""
    return [ast.unparse(statement) for statement in ast.parse(source).body]


def leaking_stub(original: str, stub: str) -> list[str]:
    """What is wrong with a stub: what stands outside of the marks changed, or some of the solution is left."""
    if BEGIN not in original and END not in original:
        faults = [] if stub == original else ["it differs from a cell without a solution"]
        return [*faults, "it calls check, and no solution is marked"] if CHECKED.search(original) else faults
    if original.count(BEGIN) != 1 or original.count(END) != 1:
        return ["a mark of its solution is missing"]
    before, rest = original.split(BEGIN)
    solution, after = rest.split(END)
    before, after, faults = before.rstrip(), after.strip(), []
    if BEGIN in stub or END in stub:
        faults.append("a mark is left")
    if not stub.startswith(before) or not stub.endswith(after):
        return [*faults, "what stands outside of the marks is not what it was"]
    try:
        ast.parse(stub)
    except SyntaxError as error:
        return [*faults, f"it is no Python: {error}"]
    middle = stub[len(before) : len(stub) - len(after)]
    given = "\n".join(line[len(GIVEN) :] for line in solution.splitlines() if line.startswith(GIVEN))
    if "..." not in middle:
        faults.append("it leaves nothing to do")
    solved = set(_statements(solution)) - set(_statements(given))
    faults += [f"it holds the solution {code!r}" for code in _statements(middle) if code in solved]
    if not given:
        faults += [f"it holds {ast.unparse(code)!r}" for code in ast.parse(middle).body if not _is_stub(code)]
    return faults


def _is_stub(statement: ast.stmt) -> bool:
    """`name = ...`, or a function of a docstring and `...`."""
    if isinstance(statement, ast.FunctionDef):
        body = statement.body[1:] if ast.get_docstring(statement) else statement.body
        return len(body) == 1 and isinstance(body[0], ast.Expr) and _is_dots(body[0].value)
    return isinstance(statement, ast.Assign) and _is_dots(statement.value)


def _is_dots(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is ...


def differing_copy(original: NotebookNode, copied: NotebookNode) -> list[str]:
    """Where a reader's copy is not the lesson without outputs and solutions."""
    if [cell.cell_type for cell in original.cells] != [cell.cell_type for cell in copied.cells]:
        return ["it has other cells"]
    faults = []
    for i, (before, after) in enumerate(zip(original.cells, copied.cells, strict=True)):
        if before.cell_type != "code":
            faults += [f"cell {i} differs"] if before.source != after.source else []
            continue
        if after.outputs or after.execution_count:
            faults.append(f"cell {i} has outputs")
        faults += [f"cell {i}: {fault}" for fault in leaking_stub(before.source, after.source)]
    return faults
