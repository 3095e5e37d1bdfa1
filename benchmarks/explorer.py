"""From a key to a new picture in a real browser: `python benchmarks/explorer.py [--rounds 3]`.

JupyterLab in Chromium. A key moves the explorer's opacity; another moves a slider that does the least that a slider can
do, which is to show a grey picture of 8 x 8 pixels. Both in turns, medians, and their ratio: what is left above 1 is
ours, the rest is the kernel's, the browser's and the way between them. Stop everything else first.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.browser.conftest import open_and_run, open_tab, running_lab, write_notebook

NOTEBOOK = """
import cv2
import ipywidgets as widgets
import numpy as np
from fracturelib.tutorial import open_explorer
explorer = open_explorer()
slider = widgets.FloatSlider(0.5, min=0, max=1, step=0.05, description="Reference")
small = widgets.Image(format="jpeg", width=8, height=8)
small.add_class("reference")
def show(change):
    grey = np.full((8, 8, 3), round(255 * slider.value), np.uint8)
    small.value = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
slider.observe(show, names="value")
show(None)
widgets.VBox([explorer.widget, slider, small])
"""
PICTURE = ".jp-OutputArea-output img.widget-image"
KNOBS = {"explorer": ("Opacity", f"{PICTURE}:not(.reference)"), "reference": ("Reference", f"{PICTURE}.reference")}
# There and back, so that every round begins where the last one did, and no key meets the end of a slider.
KEYS = ["ArrowLeft"] * 8 + ["ArrowRight"] * 16 + ["ArrowLeft"] * 8
TIMED = """([handle, picture, key]) => new Promise((done, failed) => {
    const image = document.querySelector(picture);
    let pressed = 0;
    setTimeout(() => failed("no new picture after 20 seconds"), 20000);
    handle.addEventListener("keydown", () => { pressed = performance.now(); }, {once: true, capture: true});
    image.addEventListener("load", () => done(performance.now() - pressed), {once: true});
    handle.dispatchEvent(new KeyboardEvent("keydown", {key: key, code: key, bubbles: true, cancelable: true}));
})"""


def one_round(page: Any) -> dict[str, float]:
    """Median milliseconds from a key to the picture of each slider."""
    handles = {
        name: page.locator(".widget-slider", has_text=label).locator(".noUi-handle").element_handle()
        for name, (label, _) in KNOBS.items()
    }
    took: dict[str, list[float]] = {name: [] for name in KNOBS}
    for key in KEYS:
        for name, (_, picture) in KNOBS.items():
            took[name].append(page.evaluate(TIMED, [handles[name], picture, key]))
    return {name: float(np.median(times[4:])) for name, times in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch, running_lab(Path(scratch)) as lab, open_tab() as tab:
        page: Any = tab
        write_notebook(lab.folder / "explorer.ipynb", NOTEBOOK)
        open_and_run(page, lab, "explorer.ipynb")
        page.wait_for_selector(f"{PICTURE}.reference", timeout=240_000)
        page.wait_for_timeout(2000)
        for _ in range(rounds):
            ours = one_round(page)
            ratio = ours["explorer"] / ours["reference"]
            print(f"explorer {ours['explorer']:.1f} ms, 8 x 8 pixels {ours['reference']:.1f} ms: ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
