"""How a radiograph comes to be, with a knob for the tube and one for the break."""

from functools import lru_cache
from typing import Any

import cv2
import ipywidgets as widgets
import numpy as np
from numpy.typing import NDArray

from fracturelib.simulate.image import formed
from fracturelib.simulate.view import PathLengths, path_lengths
from fracturelib.viz._widgets import close_all

SIZE = 300
PANELS = {
    "bone": "bone in the beam's way",
    "transmission": "proportion of the beam that gets through",
    "detector": "what the detector counts",
    "image": "the image, as it is shown",
}


class ImageFormationView:
    """Two sliders, tube voltage and width of the fracture's gap, and the four steps from the bone to the image.

    Parameters
    ----------
    region : str
        As in `simulate_image`; from the front.
    seed : int
        The patient.

    Attributes
    ----------
    widget : ipywidgets.VBox
        To be shown as the last value of a cell.
    kv, gap : ipywidgets.FloatSlider
    formation : Formation
        As shown.
    """

    def __init__(self, region: str = "forearm", *, seed: int = 3) -> None:
        self.region, self.seed = region, seed

        @lru_cache(maxsize=16)
        def lengths(gap: float) -> PathLengths:
            return path_lengths(
                region, seed=seed, view="frontal", fracture="transverse", gap=gap, severity=0.0, size=SIZE, cast=False
            )

        self.lengths = lengths
        self.kv = self._slider("Tube voltage, kV", 55.0, 40, 120, 5)
        self.gap = self._slider("Gap, mm", 2.0, 0, 6, 0.5)
        self.caption, self.picture = widgets.HTML(), widgets.Image(format="jpeg")
        self.widget = widgets.VBox([self.kv, self.gap, self.caption, self.picture])
        for slider in (self.kv, self.gap):
            slider.observe(self._on_change, names="value")
        self._show()

    @staticmethod
    def _slider(name: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
        return widgets.FloatSlider(
            value, min=low, max=high, step=step, description=name, readout_format=".1f",
            style={"description_width": "8em"}, layout=widgets.Layout(width="28em"),
        )  # fmt: skip

    def _on_change(self, _change: dict[str, Any]) -> None:
        self._show()

    def _show(self) -> None:
        self.formation = formed(self.lengths(self.gap.value), self.region, seed=self.seed, kv=self.kv.value)
        row = np.hstack([np.pad(p, ((0, 0), (0, 8)), constant_values=255) for p in self.panels().values()])
        self.picture.value = cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        through = self.formation.transmission[self.formation.bone > 1]
        self.caption.value = (
            f"From left to right: {'; '.join(PANELS.values())}.<br>Behind bone, "
            f"{100 * float(np.median(through)):.0f} % of the beam gets through."
        )

    def panels(self) -> dict[str, NDArray[np.uint8]]:
        """The four steps as pictures: name -> (h, w) uint8, each from its least to its largest value but the image."""
        pictures = {}
        for name in PANELS:
            values = np.asarray(getattr(self.formation, name))
            if name != "image":
                low, high = np.percentile(values, [0.5, 99.5])
                values = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255
            pictures[name] = values.astype(np.uint8)
        return pictures

    def close(self) -> None:
        """Free the widgets, and forget the path lengths."""
        close_all((self.kv, self.gap, self.caption, self.picture, self.widget))
        self.lengths.cache_clear()
