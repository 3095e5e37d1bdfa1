"""Functions of one look: none that scrolls off a screen, none that is called with a row of unnamed values."""

import ast
from collections.abc import Iterator
from pathlib import Path

import fracturelib

MOST_LINES = 60  # docstring included
MOST_POSITIONAL = 6  # self and cls not counted


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    root = Path(fracturelib.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(root).as_posix()}:{node.lineno} {node.name}", node


def positional(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_every_function_fits_one_look() -> None:
    assert sum(1 for _ in functions()) > 500
    lines = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_no_function_is_called_with_a_row_of_unnamed_values() -> None:
    counts = {name: len(positional(node)) for name, node in functions()}
    assert {name: count for name, count in counts.items() if count > MOST_POSITIONAL} == {}
