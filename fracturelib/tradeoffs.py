"""The knob of notebook 03: drag the threshold, and the four cells and both curves move together."""

from html import escape
from io import BytesIO
from typing import Any

import cv2
import ipywidgets as widgets
import numpy as np
from numpy.typing import ArrayLike

from fracturelib.metrics import Confusion, checked, confusion_at
from fracturelib.plots import BLUE, GREY, RED, curves_plot


class ThresholdView:
    """A slider, the confusion matrix, and the operating point on ROC and precision-recall.

    Parameters
    ----------
    y : (n,) of 0 and 1
    score : (n,) float in 0..1

    Attributes
    ----------
    widget : ipywidgets.VBox
        To be shown as the last value of a cell.
    """

    def __init__(self, y: ArrayLike, score: ArrayLike) -> None:
        self.y, self.score = checked(y, score)
        wide = widgets.Layout(width="560px")
        style = {"description_width": "90px"}
        self.threshold = widgets.FloatSlider(
            0.5, min=0, max=1, step=0.005, readout_format=".3f", description="Threshold", layout=wide, style=style
        )
        self.text = widgets.HTML(layout=widgets.Layout(min_height="120px"))
        self.image = widgets.Image(
            format="jpeg", layout=widgets.Layout(width="800px", height="368px", max_width="100%")
        )
        self.widget = widgets.VBox([self.threshold, self.text, self.image])
        # The curves do not move: they are drawn once, and only the points are put on them.
        self._base, self._places = self._draw_curves()
        self.threshold.observe(self._on_change, names="value")
        self._show()

    def _draw_curves(self) -> tuple[Any, list[Any]]:
        figure = curves_plot(self.y, self.score)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        base = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR)
        height = base.shape[0]
        scale = 80 / figure.dpi

        def place(ax: Any) -> Any:
            def to_pixels(x: float, y: float) -> tuple[int, int]:
                px, py = ax.transData.transform((x, y)) * scale
                return round(px), round(height - py)

            return to_pixels

        return base, [place(ax) for ax in figure.axes]

    def _on_change(self, change: dict[str, Any]) -> None:
        self._show()

    def _show(self) -> None:
        counts = confusion_at(self.y, self.score, self.threshold.value)
        picture = self._base.copy()
        points = [(1 - counts.specificity, counts.sensitivity), (counts.sensitivity, counts.precision)]
        colour = tuple(int(RED[i : i + 2], 16) for i in (5, 3, 1))
        for to_pixels, (x, y) in zip(self._places, points, strict=True):
            if np.isfinite(x) and np.isfinite(y):
                cv2.circle(picture, to_pixels(x, y), 8, colour, -1, cv2.LINE_AA)
        self.image.value = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        self.text.value = cells(counts)

    def close(self) -> None:
        """Free the widgets."""
        self.threshold.unobserve_all()
        for widget in (self.threshold, self.text, self.image, self.widget):
            widget.close()


def cells(counts: Confusion) -> str:
    """The four cells and the rates that follow from them, as an HTML table."""
    rows = [
        ("fractured", counts.tp, counts.fn, "sensitivity", counts.sensitivity, "precision", counts.precision),
        ("not fractured", counts.fp, counts.tn, "specificity", counts.specificity, "NPV", counts.npv),
    ]
    cell = "padding:4px 14px;text-align:right"
    names = "".join(f"<th style='{cell}'>{name}</th>" for name in ("", "called fractured", "called not"))
    head = f"<tr style='color:{GREY}'>{names}</tr>"
    body = "".join(
        f"<tr><th style='{cell}'>is {escape(name)}</th><td style='{cell};color:{BLUE}'><b>{a}</b></td>"
        f"<td style='{cell};color:{BLUE}'><b>{b}</b></td>"
        f"<td style='{cell}'>{first} <b>{_number(v)}</b></td><td style='{cell}'>{second} <b>{_number(w)}</b></td></tr>"
        for name, a, b, first, v, second, w in rows
    )
    return f"<table style='line-height:1.5'>{head}{body}</table>"


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "undefined"
