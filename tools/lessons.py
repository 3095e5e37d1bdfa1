"""The reader's copies of the lessons: without outputs and without solutions, in a folder that git ignores.

`lessons.py FOLDER` makes each copy that is missing, those of the deeper pages too, and leaves the others alone;
`--fresh` puts the old folder aside and begins anew. The folder stands beside notebooks/, so that the links from
lesson to lesson and to docs/ lead to the same places. A copy is made from the lesson with its solutions: what stands
between BEGIN SOLUTION and END SOLUTION becomes `name = ...` for each answer that the rest of the cell uses (for all of
them, if it uses none, as of a guess that a later cell compares), or the head of each function.
"""

import argparse
import ast
import copy
import os.path
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
COPIES = ROOT / "lessons"
PAGES = ("[0-9][0-9]_*.ipynb", "deeper/*.ipynb")
BEGIN, END, GIVEN = "### BEGIN SOLUTION", "### END SOLUTION", "#: "


def stub(source: str) -> str:
    """A cell as the reader gets it.

    Lines of the solution that begin with `#: ` are the stub as it stands; without them it is made from the code.

    Raises
    ------
    ValueError
        If one of the two marks is missing, or a cell has several.
    """
    if BEGIN not in source and END not in source:
        return source
    if source.count(BEGIN) != 1 or source.count(END) != 1 or source.index(BEGIN) > source.index(END):
        raise ValueError(f"expected one {BEGIN!r} and then one {END!r} in the cell: {source[:80]!r}")
    before, rest = source.split(BEGIN)
    solution, after = rest.split(END)
    given = [line[len(GIVEN) :] for line in solution.splitlines() if line.startswith(GIVEN)]
    lines = given or _heads(solution, after)
    return f"{before}{chr(10).join(lines)}\n{after.lstrip(chr(10))}".rstrip()


def _heads(solution: str, after: str) -> list[str]:
    """`name = ...` for what the rest uses, in its order, and the heads of functions with their docstrings."""
    used = {node.id for node in ast.walk(ast.parse(after)) if isinstance(node, ast.Name)}
    statements = ast.parse(solution).body
    wanted = [name for statement in statements for name in _bound(statement) if name in used]
    wanted = wanted or [name for statement in statements for name in _bound(statement)]
    lines: list[str] = []
    for statement in statements:
        if isinstance(statement, ast.FunctionDef):
            if statement.name not in wanted:
                continue
            emptied = copy.copy(statement)
            document = [s for s in statement.body[:1] if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)]
            emptied.body = [*document, ast.Expr(ast.Constant(...))]
            text = re.sub(r"^( *)\.\.\.$", r"\1...  # your code", ast.unparse(emptied), flags=re.MULTILINE)
            lines += [*text.splitlines(), ""]
        else:
            stubs = [_answer(name) for name in dict.fromkeys(_bound(statement)) if name in wanted]
            lines += [line for line in stubs if line not in lines]
    return lines


def _answer(name: str) -> str:
    return f"{name} = ...  # your {'guess' if name.startswith('guess') else 'answer'}"


def _bound(node: ast.AST) -> list[str]:
    """The names that a statement gives to the cell, and not those inside of functions and comprehensions."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return []
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store) else []
    return [name for child in ast.iter_child_nodes(node) for name in _bound(child)]


def readers_copy(notebook: NotebookNode) -> NotebookNode:
    """A lesson without outputs and without solutions; guesses are stubs, too."""
    result = copy.deepcopy(notebook)
    for cell in result.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = stub(cell.source)
        cell.metadata = nbformat.from_dict({})
    return result


def pages(folder: Path) -> list[Path]:
    """The lessons of a folder and its deeper pages."""
    return [path for pattern in PAGES for path in sorted(folder.glob(pattern))]


def make_copies(source: Path, target: Path) -> list[Path]:
    """Copy each lesson and each deeper page that is not there yet; return the new ones."""
    made = []
    for path in pages(source):
        out = target / path.relative_to(source)
        if not os.path.lexists(out):  # a link to a stick that is not plugged in is the reader's, too
            out.parent.mkdir(parents=True, exist_ok=True)
            temporary = out.with_name(f".{out.name}.part")
            temporary.unlink(missing_ok=True)  # of a copy that was cut off
            nbformat.write(readers_copy(nbformat.read(path, as_version=4)), temporary)
            temporary.replace(out)  # whole or not at all
            made.append(out)
    return made


def put_aside(folder: Path) -> Path | None:
    """Rename a folder to the first free name of lessons-old-1, lessons-old-2, ...; None if there is none."""
    if not os.path.lexists(folder):
        return None
    number = 1
    while os.path.lexists(aside := folder.with_name(f"{folder.name}-old-{number}")):
        number += 1
    folder.rename(aside)
    return aside


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=COPIES)
    parser.add_argument("--fresh", action="store_true", help="put the old folder aside and begin anew")
    args = parser.parse_args()
    folder = Path(os.path.abspath(args.folder))
    if NOTEBOOKS.is_relative_to(folder.resolve()):
        parser.error(f"{args.folder} holds the lessons themselves; expected another folder for the copies")
    try:
        if args.fresh and (aside := put_aside(folder)):
            print(f"{folder.name}/ is now {aside.name}/: nothing is lost")
        made = make_copies(NOTEBOOKS, folder)
    except OSError as error:
        print(f"lessons: {error}; expected a folder to write to: move away what is in its place", file=sys.stderr)
        return 1
    kept = len(pages(folder)) - len(made)
    print(f"{folder.name}/: {len(made)} notebooks copied, {kept} left as they were")
    return 0


if __name__ == "__main__":
    sys.exit(main())
