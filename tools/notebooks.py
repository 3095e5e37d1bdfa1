"""Run the notebooks: `run NOTEBOOKS RESULTS` into executed copies and web pages, `refresh NOTEBOOKS` in place."""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from tqdm import tqdm

WIDGET = "application/vnd.jupyter.widget-view+json"
IGNORE = "nbval-ignore-output"


def numbered(folder: Path) -> list[Path]:
    """The lessons, in order."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def pages(folder: Path) -> list[Path]:
    """The pages that lessons link to for more depth."""
    return sorted((folder / "deeper").glob("*.ipynb"))


def execute(path: Path, working_folder: Path) -> NotebookNode:
    """Run a notebook from top to bottom, with a bar over its cells."""
    notebook = nbformat.read(path, as_version=4)
    code = sum(cell.cell_type == "code" for cell in notebook.cells)
    with tqdm(total=code, desc=path.stem, unit="cell", leave=True, file=sys.stderr) as bar:
        client = NotebookClient(
            notebook,
            timeout=3600,
            kernel_name="python3",
            extra_arguments=["--IPKernelApp.log_level=40"],
            resources={"metadata": {"path": str(working_folder)}},
            on_cell_executed=lambda **_: bar.update(),
        )
        client.execute()
    return notebook


def tidy(notebook: NotebookNode, stem: str) -> NotebookNode:
    """Drop what changes from run to run: widget state, timings, versions, addresses; number cells and counts."""
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat_minor = 5
    count = 0
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"{stem[:2]}-{i:03d}"
        tags = list(cell.metadata.get("tags", []))
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            outputs = [o for o in cell.outputs if WIDGET not in o.get("data", {})]
            if len(outputs) < len(cell.outputs) and IGNORE not in tags:
                tags.append(IGNORE)  # a widget has no outputs to compare; its cell must still run
            for output in outputs:
                if "execution_count" in output:
                    output["execution_count"] = count
                for kind, text in output.get("data", {}).items():
                    if kind.startswith("text/"):
                        output["data"][kind] = re.sub(r" at 0x[0-9a-f]+", "", text)
            cell.outputs = outputs
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    return notebook


def complaints(notebook: NotebookNode) -> list[str]:
    """What must not be stored: tracebacks, and anything on stderr."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                found.append(f"stderr: {output['text'].strip().splitlines()[-1]}")
            if output.get("output_type") == "error":
                found.append(f"{output['ename']}: {output['evalue']}")
    return found


def write(notebook: NotebookNode, path: Path) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def refresh(folder: Path, only: list[str]) -> int:
    """Execute the committed notebooks in place, on the demo data and the shipped checkpoint."""
    import tempfile

    failed = 0
    with tempfile.TemporaryDirectory() as runs:
        os.environ.pop("FRACTURE_DATA", None)
        os.environ.pop("FRACTURE_EXTERNAL", None)
        os.environ.update(FRACTURE_SHIPPED="1", FRACTURE_RUNS=runs)
        seconds = folder / "seconds.json"
        measured = json.loads(seconds.read_text()) if seconds.is_file() else {}
        for path in [*numbered(folder), *pages(folder)]:
            if only and not any(path.name.startswith(o) for o in only):
                continue
            begin = time.monotonic()
            notebook = execute(path, path.parent)
            measured[path.stem] = round(time.monotonic() - begin)
            bad = complaints(notebook)
            for line in bad:
                print(f"{path.name}: {line}", file=sys.stderr)
            failed += bool(bad)
            write(tidy(notebook, path.stem), path)
            seconds.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {measured[path.stem]} s")
    return 1 if failed else 0


def run(folder: Path, results: Path) -> int:
    """Execute the series in order, each into RESULTS/name.ipynb and RESULTS/name.html."""
    results.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    for path in numbered(folder):
        try:
            notebook = execute(path, folder)
        except (CellExecutionError, DeadKernelError) as error:
            print(f"{path.name}: stopped at a cell that failed\n{error}", file=sys.stderr)
            return 1
        notebook = tidy(notebook, path.stem)
        write(notebook, results / path.name)
        page, _ = HTMLExporter(embed_images=True).from_notebook_node(
            notebook, resources={"metadata": {"name": path.stem}}
        )
        temporary = results / f".{path.stem}.part"
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(results / f"{path.stem}.html")
    print(f"{results}: {len(numbered(folder))} notebooks in {(time.monotonic() - begin) / 60:.1f} minutes")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("notebooks", type=Path)
    command.add_argument("results", type=Path)
    command = commands.add_parser("refresh")
    command.add_argument("notebooks", type=Path)
    command.add_argument("only", nargs="*", help="numbers or names, such as 02")
    args = parser.parse_args()
    # Relative folders are meant from where the user stands; a notebook runs in its own.
    for name in ("FRACTURE_DATA", "FRACTURE_EXTERNAL"):
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).expanduser().resolve())
        else:
            os.environ.pop(name, None)
    if args.command == "run":
        return run(args.notebooks, args.results)
    return refresh(args.notebooks, args.only)


if __name__ == "__main__":
    sys.exit(main())
