"""Open JupyterLab at a notebook: with a browser where there is one, else with the address printed."""

import argparse
import os
import shutil
import sys
import webbrowser
from pathlib import Path


def has_browser() -> bool:
    """Whether a window could open: a display on Linux, or any other system."""
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def make_data_path_absolute() -> None:
    """Let FRACTURE_DATA mean the folder that its writer saw: kernels work in folders of their own."""
    named = os.environ.get("FRACTURE_DATA")
    if named:
        os.environ["FRACTURE_DATA"] = str(Path(named).expanduser().absolute())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--port", default="8888")
    args = parser.parse_args()
    make_data_path_absolute()
    root = args.notebook.resolve().parent.parent
    command = [
        str(Path(sys.executable).with_name("jupyter")),
        "lab",
        f"--port={args.port}",
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{args.notebook.resolve().relative_to(root).as_posix()}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # as root, in a container, Jupyter refuses otherwise
    if not has_browser():
        command.append("--no-browser")
        print("No browser here: open the address with a token that is printed below.", flush=True)
    if not shutil.which(command[0]):
        sys.exit(f"lab: {command[0]} is missing; expected it after `make lab` has set up .venv")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
