"""How an MR image comes to be: repetition time, echo time and fat saturation, the tissues' signals, and the image."""

from typing import Any

import cv2
import ipywidgets as widgets
import numpy as np
from numpy.typing import NDArray

from fracturelib.simulate.knee_slice import knee_slice, tissue_signals
from fracturelib.viz._widgets import TitledImage, close_all
from fracturelib.viz.figures import BLUE, GREEN, GREY, ORANGE, RED
from fracturelib.viz.threshold_explorer import Chart

SIDE = 400  # pixels of the picture
SATURATED = 0.9  # of the fat's signal: a scanner never takes all of it away
NOISE = 0.008  # of each channel, relative to the signal of water with full magnetization
LONGEST_TR, LONGEST_TE = 6000.0, 120.0  # ms
COLOURS = {"fluid": BLUE, "fat": ORANGE, "cartilage": GREEN, "muscle": RED, "ligament": GREY}
DASHES = {"fluid": "", "fat": "7 3", "cartilage": "2 2", "muscle": "8 2 2 2", "ligament": ""}
WIDTH, ROW = 308, 19  # pixels of the charts, and of a bar's row


def weighting(tr: float, te: float) -> str:
    """What radiologists call an image with these times in ms.

    Examples
    --------
    >>> weighting(500, 12), weighting(3000, 30), weighting(4000, 90)
    ('T1-weighted', 'proton density-weighted', 'T2-weighted')
    """
    if tr <= 900:
        return "T1-weighted" if te <= 30 else "of mixed weighting"
    if tr < 1800:
        return "of mixed weighting"
    return "proton density-weighted" if te <= 45 else "T2-weighted" if te >= 70 else "between proton density and T2"


class SpinEchoView:
    """Two sliders, repetition and echo time, a switch for fat saturation, and what becomes of a knee's slice.

    The scanner has 3 tesla, and the noise is the same for all settings.

    Attributes
    ----------
    widget : ipywidgets.VBox
        To be shown as the last value of a cell.
    tr, te : ipywidgets.FloatSlider
    fat_saturation : ipywidgets.Checkbox
    signals : dict of str to float
        Of each tissue of the charts, relative to water with full magnetization, as shown.
    image : (height, width) uint8
        As shown: the brightest half percent of pixels is white, as a scanner's window has it.
    """

    def __init__(self) -> None:
        self.knee = knee_slice()
        shape = (2, *self.knee.proportions.shape[1:])
        self._noise = np.random.default_rng(0).normal(0, NOISE, shape).astype(np.float32)
        self.tr = self._slider("Repetition time TR (ms)", 3000.0, 100, LONGEST_TR, 100)
        self.te = self._slider("Echo time TE (ms)", 30.0, 5, LONGEST_TE, 1)
        self.fat_saturation = widgets.Checkbox(
            value=True, description="Fat saturation", indent=False, layout=widgets.Layout(width="9em")
        )
        self.caption, self.charts = widgets.HTML(), widgets.HTML(layout=widgets.Layout(flex="0 0 auto"))
        self.picture = TitledImage(
            format="jpeg", width=SIDE, height=SIDE,
            layout=widgets.Layout(flex="0 1 auto", width=f"{SIDE}px", height="auto", min_width="0", max_width="100%",
                                  object_fit="contain", align_self="flex-start", margin="0 8px 0 0"),
        )  # fmt: skip
        wrap = widgets.Layout(flex_flow="row wrap", align_items="center")
        self._rows = (
            widgets.HBox([self.tr, self.te, self.fat_saturation], layout=wrap),
            widgets.HBox([self.picture, self.charts]),
        )
        self.widget = widgets.VBox([*self._rows, self.caption])
        for knob in (self.tr, self.te, self.fat_saturation):
            knob.observe(self._on_change, names="value")
        self._show()

    @staticmethod
    def _slider(name: str, value: float, low: float, high: float, step: float) -> widgets.FloatSlider:
        return widgets.FloatSlider(
            value, min=low, max=high, step=step, description=name, readout_format=".0f",
            style={"description_width": "12em"}, layout=widgets.Layout(width="27em"),
        )  # fmt: skip

    def _on_change(self, _change: dict[str, Any]) -> None:
        self._show()

    def _show(self) -> None:
        tr, te = self.tr.value, self.te.value
        taken = SATURATED if self.fat_saturation.value else 0.0
        values = tissue_signals(tuple(COLOURS), tr=tr, te=te, fat_saturation=taken)
        self.signals = dict(zip(COLOURS, values.tolist(), strict=True))
        signal = self.knee.signal(tr=tr, te=te, fat_saturation=taken)
        self.image = windowed(np.hypot(signal + self._noise[0], self._noise[1]))
        shown = cv2.resize(self.image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        self.picture.value = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        kind = weighting(tr, te) + (", fat saturated" if taken else "")
        self.picture.tooltip = f"A simulated knee from the side: {kind}"
        self.charts.value = charts(self.signals, tr, te, taken=taken)
        self.caption.value = (
            f"<div style='line-height:1.3'><b>TR {tr:.0f} ms, TE {te:.0f} ms: {kind}.</b> The brightest half percent "
            "of pixels is white. A simulated knee: it says nothing about a patient.</div>"
        )

    def close(self) -> None:
        """Free the widgets."""
        knobs = self.tr, self.te, self.fat_saturation
        close_all((*knobs, self.caption, self.charts, self.picture, *self._rows, self.widget))


def windowed(signal: NDArray[np.floating]) -> NDArray[np.uint8]:
    """A signal as grey values: (h, w) float -> (h, w) uint8; 0 is black, the brightest half percent is white."""
    top = max(float(np.percentile(signal, 99.5)), 1e-6)
    return np.clip(signal * (255 / top) + 0.5, 0, 255).astype(np.uint8)


def charts(signals: dict[str, float], tr: float, te: float, *, taken: float) -> str:
    """How magnetization recovers during TR and decays during TE, and what is left as signal: SVG, one below another."""
    names = tuple(COLOURS)
    up = Chart(
        "Before the pulse: magnetization recovers with T1", "TR (ms)", "", width=WIDTH, height=136, xmax=LONGEST_TR
    )
    down = Chart("After the pulse: the signal decays with T2", "TE (ms)", "", width=WIDTH, height=136, xmax=LONGEST_TE)
    times = np.linspace(0, LONGEST_TR, 41).clip(1)
    risen = np.stack([tissue_signals(names, tr=t, te=0) for t in times])
    delays = np.linspace(0, LONGEST_TE, 41)
    left = np.stack([tissue_signals(names, tr=tr, te=t, fat_saturation=taken) for t in delays])
    before = tissue_signals(names, tr=tr, te=0)
    for chart, at in ((up, tr), (down, te)):
        chart.line([at, at], [0, 1], GREY, dashes="2 3", width=1)
    for k, name in enumerate(names):
        up.line(times, risen[:, k], COLOURS[name], dashes=DASHES[name])
        down.line(delays, left[:, k], COLOURS[name], dashes=DASHES[name])
        up.dot(tr, float(before[k]), COLOURS[name])
        down.dot(te, signals[name], COLOURS[name])
    said = ", ".join(f"{name} {value:.2f}" for name, value in signals.items())
    return (
        f"<div style='width:{WIDTH}px;line-height:0'>{up.svg(f'Recovery of the magnetization, at TR {tr:.0f} ms')}"
        f"{down.svg(f'Decay of the signal, at TE {te:.0f} ms')}{_bars(signals, f'Signals: {said}')}</div>"
    )


def _bars(signals: dict[str, float], description: str) -> str:
    """The tissues' signals, a row each: SVG."""
    rows = []
    for k, (name, value) in enumerate(signals.items()):
        y, wide = 18 + k * ROW, value * (WIDTH - 128)
        rows.append(
            f'<text x="70" y="{y + 12}" text-anchor="end">{name}</text>'
            f'<rect x="76" y="{y + 1}" width="{max(wide, 1):.1f}" height="{ROW - 5}" fill="{COLOURS[name]}"/>'
            f'<text x="{80 + wide:.0f}" y="{y + 12}">{value:.2f}</text>'
        )
    return (
        f'<svg role="img" aria-label="{description}" width="{WIDTH}" height="{20 + ROW * len(signals)}" font-size="11" '
        f'font-family="sans-serif" fill="currentColor"><text x="{WIDTH / 2:.0f}" y="12" text-anchor="middle" '
        f'font-weight="bold">Signal, relative to fully recovered water</text>{"".join(rows)}</svg>'
    )
