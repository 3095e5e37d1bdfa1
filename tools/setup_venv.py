"""Make the virtual environment: python tools/setup_venv.py VENV [INDEX]. Runs on any Python 3."""

import os
import shutil
import subprocess
import sys

MINIMUM = (3, 11)
FREE_GB = 8  # PyTorch for Linux on x86 is a CUDA build of several GB; an index of CPU wheels needs far less
FREE_GB_OTHER_INDEX = 3


def stop(line):
    sys.stderr.write("setup: " + line + "\n")
    sys.exit(2)


def check(venv, index):
    if sys.version_info[:2] < MINIMUM:
        stop(
            f"this is Python {sys.version_info[0]}.{sys.version_info[1]}; "
            f"expected {MINIMUM[0]}.{MINIMUM[1]} or newer (make lab PYTHON=python3.11)"
        )
    needed = FREE_GB_OTHER_INDEX if index else FREE_GB
    free = shutil.disk_usage(os.path.dirname(os.path.abspath(venv))).free / 1e9
    if free < needed and not os.path.exists(os.path.join(venv, "bin", "jupyter")):
        stop(f"{free:.1f} GB free on this disk; expected {needed} GB")


def pip(venv, log_path, arguments):
    command = [os.path.join(venv, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with open(log_path, "a") as log:
        code = subprocess.call(command + arguments, stdout=log, stderr=subprocess.STDOUT)
    if code == 0:
        return
    with open(log_path) as log:
        text = log.read()
    if "No space left" in text:
        stop(f"the disk is full; see {log_path}")
    if any(
        sign in text for sign in ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "Network is unreach")
    ):
        stop(f"no network: pip reached no package index; see {log_path}")
    errors = [line for line in text.splitlines() if line.startswith("ERROR")]
    stop("pip failed: {} (see {})".format(errors[-1] if errors else f"exit code {code}", log_path))


def main():
    venv = sys.argv[1]
    index = sys.argv[2] if len(sys.argv) > 2 else ""
    check(venv, index)
    print(f"setup: making {venv}, once; PyTorch is large, so this takes some minutes", flush=True)
    if not os.path.exists(os.path.join(venv, "bin", "python")):
        import venv as venv_module

        try:
            venv_module.create(venv, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            stop(f"{venv} could not be made ({error}); on Debian: apt install python3-venv")
    log_path = os.path.join(venv, "setup.log")
    if index:
        pip(venv, log_path, ["--index-url", index, "-c", "constraints.txt", "torch", "torchvision"])
    pip(venv, log_path, ["-c", "constraints.txt", "-e", ".[test,dicom,mri,browser,app,transfer,site]"])
    with open(os.path.join(venv, "ready"), "w") as ready:
        ready.write("made by tools/setup_venv.py\n")
    print("setup: done", flush=True)


main()
