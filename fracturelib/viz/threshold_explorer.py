"""The linked view of notebook 03: drag the threshold or the prevalence, and everything that depends on them moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import cv2
import ipywidgets as widgets
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracturelib._io.files import InputError
from fracturelib.metrics.classification import Confusion, Scores, checked_probabilities, predictive_values
from fracturelib.metrics.decision_curve import workload
from fracturelib.viz._widgets import close_all
from fracturelib.viz.figures import BLUE, GREEN, GREY, RED

OUTCOMES = {
    "tp": "found: fractured, called so",
    "fn": "missed: fractured, not called",
    "fp": "false alarms: sound, called",
    "tn": "left in peace: sound, not called",
}

SHOWN, THUMB = 6, 84  # images in a gallery, and the side of each in pixels
OUTLINE = (255, 229, 0)  # BGR: blue-green, which is no colour of a radiograph
EMPTY = 238  # grey of a place without an image


@dataclass
class Chart:
    """A small line chart as SVG, which the browser draws sharply at any size."""

    title: str
    xlabel: str
    ylabel: str
    ylim: tuple[float, float] = (0.0, 1.0)
    yticks: tuple[float, ...] = (0.0, 0.5, 1.0)
    width: int = 250
    height: int = 208
    xmax: float = 1.0
    shapes: list[str] = field(default_factory=list)

    def place(self, x: ArrayLike, y: ArrayLike) -> tuple[Scores, Scores]:
        """Data to pixels: x in 0..xmax, y in ylim; what lies outside is put on the edge."""
        low, high = self.ylim
        share = (np.clip(np.asarray(y, dtype=float), low, high) - low) / (high - low)
        return 42 + np.asarray(x, dtype=float) / self.xmax * (self.width - 54), 24 + (1 - share) * (self.height - 66)

    def line(self, x: ArrayLike, y: ArrayLike, colour: str, *, dashes: str = "", width: float = 2) -> None:
        """A curve; points that are no number, or outside, are left out."""
        px, py = self.place(x, y)
        heights = np.asarray(y, dtype=float)
        with np.errstate(invalid="ignore"):
            fine = np.isfinite(px) & (heights >= self.ylim[0]) & (heights <= self.ylim[1])
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px[fine], py[fine], strict=True))
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.shapes.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')

    def dot(self, x: float, y: float, colour: str) -> None:
        """The operating point; none where it is undefined."""
        if np.isfinite(x) and np.isfinite(y):
            px, py = self.place(x, y)
            self.shapes.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="6" fill="{colour}" stroke="white"/>')

    def note(self, x: float, y: float, text: str, colour: str) -> None:
        """A word beside a curve."""
        px, py = self.place(x, y)
        self.shapes.append(f'<text x="{px:.0f}" y="{py:.0f}" fill="{colour}">{escape(text)}</text>')

    def svg(self, description: str) -> str:
        """The chart; `description` is read to who cannot see it."""
        left, top = self.place(0.0, self.ylim[1])
        right, bottom = self.place(self.xmax, self.ylim[0])
        ticks = []
        for share in (0.0, 0.5, 1.0):
            x, _ = self.place(share * self.xmax, 0)
            number = f"{share * self.xmax:g}"
            ticks.append(f'<text x="{x:.0f}" y="{bottom + 13:.0f}" text-anchor="middle">{number}</text>')
        for value in self.yticks:
            _, y = self.place(0, value)
            ticks.append(f'<text x="{left - 4:.0f}" y="{y + 4:.0f}" text-anchor="end">{value:.2g}</text>')
        middle = (left + right) / 2
        return (
            f'<svg role="img" aria-label="{escape(description)}" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-size="11" font-family="sans-serif" fill="currentColor">'
            f'<text x="{middle:.0f}" y="14" text-anchor="middle" font-weight="bold">{escape(self.title)}</text>'
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{right - left:.0f}" height="{bottom - top:.0f}" '
            f'fill="none" stroke="{GREY}"/>{"".join(ticks)}'
            f'<text x="{middle:.0f}" y="{self.height - 6}" text-anchor="middle">{escape(self.xlabel)}</text>'
            f'<text transform="translate(11 {(top + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.ylabel)}</text>{''.join(self.shapes)}</svg>"
        )


@dataclass(frozen=True)
class Ranking:
    """Everything about labelled scores that does not depend on the knobs.

    Attributes
    ----------
    fractured, sound : (n+,), (n-,) float64
        Their scores, rising.
    grid : (k,) float64
        Thresholds at which curves are drawn, rising.
    sensitivity, specificity : (k,) float64
        At each of them.
    """

    fractured: Scores
    negative: Scores
    grid: Scores
    sensitivity: Scores
    specificity: Scores

    @classmethod
    def of(cls, y: NDArray[np.int64], score: Scores, points: int = 200) -> "Ranking":
        """Sort once; at most `points` thresholds are drawn."""
        fractured, negative = np.sort(score[y == 1]), np.sort(score[y == 0])
        distinct = np.unique(score)
        chosen = np.unique(np.linspace(0, len(distinct) - 1, min(points, len(distinct))).round().astype(int))
        grid = np.append(distinct[chosen], np.nextafter(distinct[-1], np.inf))
        sensitivity = 1 - np.searchsorted(fractured, grid) / len(fractured)
        return cls(fractured, negative, grid, sensitivity, np.searchsorted(negative, grid) / len(negative))

    @property
    def prevalence(self) -> float:
        """Of these images."""
        return len(self.fractured) / (len(self.fractured) + len(self.negative))

    def at(self, threshold: float) -> Confusion:
        """Counts at a threshold, by bisection."""
        fn, tn = int(np.searchsorted(self.fractured, threshold)), int(np.searchsorted(self.negative, threshold))
        return Confusion(tp=len(self.fractured) - fn, fp=len(self.negative) - tn, fn=fn, tn=tn)

    def risk(self, threshold: ArrayLike, prevalence: float) -> Scores:
        """What a score means where `prevalence` holds, if it is calibrated on these images (see `prior_shift`)."""
        t = np.asarray(threshold, dtype=float)
        up, down = t * prevalence / self.prevalence, (1 - t) * (1 - prevalence) / (1 - self.prevalence)
        return up / (up + down)

    def benefit(self, sensitivity: ArrayLike, specificity: ArrayLike, risk: ArrayLike, prevalence: float) -> Scores:
        """Net benefit an image at a prevalence, for who acts at `risk`; NaN at a risk of 1."""
        t = np.asarray(risk, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(t < 1, t / (1 - t), np.nan)
        return np.asarray(sensitivity) * prevalence - (1 - np.asarray(specificity)) * (1 - prevalence) * rate


class ThresholdExplorer:
    """Two sliders and everything that follows: the four cells, four charts, and the images of each cell.

    Parameters
    ----------
    y : (n,) of 0 and 1, both there
    score : (n,) float in 0..1
    images : (n, s, s) uint8, optional
        The images, for the galleries.
    files : sequence of str, optional
        Their names, for the galleries' captions.
    masks : (n, s, s) of 0 and 1, optional
        Where the fractures are; the missed ones are shown with their outlines.

    Attributes
    ----------
    widget : ipywidgets.VBox
        To be shown as the last value of a cell.
    threshold, prevalence : ipywidgets.FloatSlider
        They stand at 0.5 first, and at the proportion of fractured images among these.
    counts : Confusion
        As shown.

    Raises
    ------
    InputError
        If a class is missing, a score is outside 0..1, or lengths differ.
    """

    def __init__(
        self,
        y: ArrayLike,
        score: ArrayLike,
        *,
        images: NDArray[np.uint8] | None = None,
        files: Sequence[str] | None = None,
        masks: NDArray[np.uint8] | None = None,
    ) -> None:
        self.y, self.score = checked_probabilities(y, score)
        if len(np.unique(self.y)) != 2:
            raise InputError(f"y has one class in {len(self.y)} images; expected both")
        for name, value in (("images", images), ("files", files), ("masks", masks)):
            if value is not None and len(value) != len(self.y):
                raise InputError(f"{name} has {len(value)} values; expected {len(self.y)}, one for each label")
        self.ranking = Ranking.of(self.y, self.score)
        self.thumbs = None if images is None else np.stack([thumbnail(image) for image in images])
        self.files = files
        self.outlines = None if masks is None else [outline(mask) for mask in masks]
        self.threshold = _slider("Threshold", 0.5, 0.0, 1.0)
        self.prevalence = _slider("Prevalence", float(np.clip(self.ranking.prevalence, 0.005, 0.995)), 0.005, 0.995)
        self.text, self.charts = widgets.HTML(), widgets.HTML()
        self.galleries = {name: (widgets.HTML(), widgets.Image(format="jpeg")) for name in OUTCOMES}
        boxes = [widgets.VBox(pair, layout=widgets.Layout(margin="0 12px 4px 0")) for pair in self.galleries.values()]
        flow = widgets.Layout(flex_flow="row wrap")
        parts = [self.threshold, self.prevalence, self.text, self.charts]
        self.widget = widgets.VBox([*parts, *([widgets.Box(boxes, layout=flow)] if images is not None else [])])
        for slider in (self.threshold, self.prevalence):
            slider.observe(self._on_change, names="value")
        self._show()

    def _on_change(self, _change: dict[str, Any]) -> None:
        self._show()

    def _show(self) -> None:
        threshold, prevalence = self.threshold.value, self.prevalence.value
        self.counts = self.ranking.at(threshold)
        self.text.value = cells(self.counts, prevalence)
        self.charts.value = charts(self.ranking, threshold, prevalence)
        if self.thumbs is not None:
            self._show_galleries(threshold)

    def _show_galleries(self, threshold: float) -> None:
        predicted = self.score >= threshold
        for name, (caption, picture) in self.galleries.items():
            inside = np.flatnonzero((self.y == (name in ("tp", "fn"))) & (predicted == (name in ("tp", "fp"))))
            near = inside[np.argsort(np.abs(self.score[inside] - threshold), kind="stable")[:SHOWN]]
            caption.value = self._caption(name, len(inside), near)
            outlines = self.outlines if name == "fn" else None
            picture.value = strip(self.thumbs, near, outlines)  # type: ignore[arg-type]

    def _caption(self, name: str, images: int, near: NDArray[np.int64]) -> str:
        shown = ", ".join(f"{self.score[i]:.2f}" for i in near)
        names = "" if self.files is None else f' title="{escape("; ".join(str(self.files[i]) for i in near))}"'
        nearest = f"<br>nearest to the threshold: {shown}" if images else "<br>none"
        if name == "fn" and self.outlines is not None and any(self.outlines[i] for i in near):
            nearest += "; the line surrounds the fracture"
        return f"<div style='line-height:1.3'{names}><b>{images}</b> {escape(OUTCOMES[name])}{nearest}</div>"

    def close(self) -> None:
        """Free the widgets."""
        close_all(widget for pair in self.galleries.values() for widget in pair)
        close_all((self.threshold, self.prevalence, self.text, self.charts, self.widget))


def _slider(name: str, value: float, low: float, high: float) -> widgets.FloatSlider:
    # A page moves a value that lies between two steps to the nearer one, and tells the kernel.
    return widgets.FloatSlider(
        round(value, 3), min=low, max=high, step=0.001, readout_format=".3f", description=name,
        layout=widgets.Layout(width="560px"), style={"description_width": "90px"},
    )  # fmt: skip


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image as a small square: (s, s) uint8 -> (THUMB, THUMB) uint8."""
    return np.asarray(cv2.resize(image, (THUMB, THUMB), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def outline(mask: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    """Contours of a mask on a thumbnail, just outside of it: (s, s) of 0 and 1 -> OpenCV contours, none if empty."""
    small = cv2.resize((mask > 0).astype(np.float32), (THUMB, THUMB), interpolation=cv2.INTER_AREA) > 0
    grown = cv2.dilate(small.astype(np.uint8), np.ones((5, 5), np.uint8))
    return list(cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])  # type: ignore[arg-type]


def strip(
    thumbs: NDArray[np.uint8],
    chosen: NDArray[np.int64],
    outlines: Sequence[Sequence[NDArray[np.int32]]] | None = None,
) -> bytes:
    """Up to SHOWN thumbnails side by side, with outlines if given, as JPEG."""
    row: NDArray[np.uint8] = np.full((THUMB, SHOWN * (THUMB + 4)), EMPTY, np.uint8)
    for k, i in enumerate(chosen):
        row[:, k * (THUMB + 4) : k * (THUMB + 4) + THUMB] = thumbs[i]
    if outlines is not None:
        row = np.repeat(row[..., None], 3, axis=2)
        for k, i in enumerate(chosen):
            cv2.drawContours(row, outlines[i], -1, OUTLINE, 1, cv2.LINE_AA, offset=(k * (THUMB + 4), 0))
    return cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def charts(ranking: Ranking, threshold: float, prevalence: float) -> str:
    """ROC, precision-recall, predictive values and net benefit with the operating point, as SVG in a row."""
    at = ranking.at(threshold)
    se, sp = at.sensitivity, at.specificity
    ppv, npv = (float(v) for v in at.predictive_values(prevalence))
    roc = Chart("ROC", "1 - specificity", "sensitivity")
    roc.line([0, 1], [0, 1], GREY, dashes="2 3", width=1)
    roc.line(1 - ranking.specificity, ranking.sensitivity, BLUE)
    roc.dot(1 - sp, se, RED)

    pr = Chart("Precision and recall", "sensitivity", "precision")
    pr.line([0, 1], [prevalence, prevalence], GREY, dashes="2 3", width=1)
    pr.line(ranking.sensitivity, predictive_values(ranking.sensitivity, ranking.specificity, prevalence)[0], BLUE)
    pr.dot(se, ppv, RED)

    grid = np.linspace(0, 1, 101)
    up, down = at.predictive_values(grid)
    values = Chart("PPV and NPV", "prevalence", "proportion that is right")
    values.line([prevalence, prevalence], [0, 1], GREY, dashes="2 3", width=1)
    values.line(grid, up, RED)
    values.line(grid, down, GREEN, dashes="6 3")
    values.note(0.82, 0.68, "PPV", RED)
    values.note(0.05, 0.86, "NPV", GREEN)
    values.dot(prevalence, ppv, RED)
    values.dot(prevalence, npv, GREEN)

    top = max(prevalence, 0.01)
    risk = ranking.risk(ranking.grid.clip(0, 1), prevalence)
    benefit = Chart("Net benefit an image", "risk at which one acts", "", ylim=(-0.25 * top, top), yticks=(0.0, top))
    benefit.note(0.6, 0.88 * top, "classifier", BLUE)
    benefit.note(0.6, 0.76 * top, "call everybody", RED)
    benefit.note(0.6, -0.12 * top, "call nobody", GREY)
    benefit.line([0, 1], [0, 0], GREY, dashes="2 3", width=1)
    benefit.line(grid, ranking.benefit(1, 0, grid, prevalence), RED, dashes="6 3", width=1.5)
    benefit.line(risk, ranking.benefit(ranking.sensitivity, ranking.specificity, risk, prevalence), BLUE)
    here = float(ranking.risk(threshold, prevalence))
    gain = float(ranking.benefit(se, sp, here, prevalence))
    benefit.dot(here, gain, RED)
    return (
        "<div style='display:flex;flex-wrap:wrap'>"
        + roc.svg(f"ROC: sensitivity {_number(se)} at {_number(1 - sp)} false alarms")
        + pr.svg(f"Precision {_number(ppv)} at sensitivity {_number(se)} and prevalence {prevalence:.3f}")
        + values.svg(f"PPV {_number(ppv)} and NPV {_number(npv)} at prevalence {prevalence:.3f}")
        + benefit.svg(f"Net benefit {_number(gain)} at a risk of {_number(here)}")
        + "</div>"
    )


def cells(counts: Confusion, prevalence: float) -> str:
    """The four cells, the rates that follow, and what they mean among 1,000 images at a prevalence; as HTML."""
    ppv, npv = (float(v) for v in counts.predictive_values(prevalence))
    rows = [
        ("fractured", counts.tp, counts.fn, "sensitivity", counts.sensitivity, "PPV", ppv),
        ("not fractured", counts.fp, counts.tn, "specificity", counts.specificity, "NPV", npv),
    ]
    cell = "padding:2px 14px;text-align:right"
    names = "".join(
        f"<th style='{cell}'>{n}</th>" for n in ("these images", "predicted fractured", "predicted not", "", "")
    )
    body = "".join(
        f"<tr><th style='{cell}'>is {name}</th><td style='{cell};color:{BLUE}'><b>{a}</b></td>"
        f"<td style='{cell};color:{BLUE}'><b>{b}</b></td>"
        f"<td style='{cell}'>{first} <b>{_number(v)}</b></td><td style='{cell}'>{second} <b>{_number(w)}</b></td></tr>"
        for name, a, b, first, v, second, w in rows
    )
    load = workload(counts.sensitivity, counts.specificity, prevalence)
    line = (
        f"Of 1,000 images at prevalence {prevalence:.3f}: <b>{load.flagged:.0f}</b> are flagged, "
        f"<b>{load.false_alarms:.0f}</b> of them for nothing; <b>{load.missed:.0f}</b> of {load.fractured:.0f} "
        "fractures are missed."
    )
    return f"<table style='line-height:1.4'><tr style='color:{GREY}'>{names}</tr>{body}</table><div>{line}</div>"


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "undefined"
