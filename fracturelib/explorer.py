"""The explorer: turn the knobs of Grad-CAM and watch one film at a time. Widgets around pure functions."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2
import ipywidgets as widgets
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracturelib._files import InputError
from fracturelib.checkpoint import Classifier
from fracturelib.gradcam import TARGETS, GradCAM, Maps, normalise, overlay, upsample
from fracturelib.localize import energy_in_mask, peak_in_mask
from fracturelib.models import stages

OUTCOMES = {
    "all films": None,
    "true positives: fractured, found": (1, True),
    "false negatives: fractured, missed": (1, False),
    "false positives: false alarms": (0, True),
    "true negatives: rightly left alone": (0, False),
}
REMEMBERED = 512  # films whose maps are kept
OUTLINE = (0, 229, 255)


@dataclass(frozen=True)
class View:
    """What the knobs say: which film, which layer, which logit, and how it is drawn."""

    index: int
    layer: str
    target: str = "fractured"
    opacity: float = 0.6
    map_threshold: float = 0.0
    outlined: bool = True


def outcomes(labels: ArrayLike, scores: ArrayLike, threshold: float, name: str) -> list[int]:
    """The films of an outcome, surest first: true and false positives by falling score, negatives by rising score."""
    y, s = np.asarray(labels), np.asarray(scores)
    wanted = OUTCOMES[name]
    if wanted is None:
        return list(range(len(y)))
    label, called = wanted
    chosen = np.flatnonzero((y == label) & ((s >= threshold) == called))
    order = np.argsort(-s[chosen] if called else s[chosen], kind="stable")
    return [int(i) for i in chosen[order]]


def draw(
    film: NDArray[np.uint8],
    raw: Maps,
    *,
    opacity: float = 0.6,
    map_threshold: float = 0.0,
    mask: NDArray[np.uint8] | None = None,
    side: int = 448,
) -> NDArray[np.uint8]:
    """Film beside overlay: film (s, s) uint8, raw map (h', w') float32 -> (side, 2 * side + 8, 3) uint8 RGB."""
    large = np.asarray(cv2.resize(film, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    shown, _ = normalise(upsample(raw, side))
    left = cv2.cvtColor(large, cv2.COLOR_GRAY2RGB)
    right = overlay(large, shown, opacity=opacity, threshold=map_threshold)
    if mask is not None and mask.any():
        edges = cv2.resize((mask > 0).astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
        edges = cv2.dilate(edges, np.ones((5, 5), np.uint8))
        contours = cv2.findContours(edges, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        left, right = np.ascontiguousarray(left), np.ascontiguousarray(right)
        for panel in (left, right):
            cv2.drawContours(panel, contours, -1, OUTLINE, 1, cv2.LINE_AA)
    return np.hstack([left, np.full((side, 8, 3), 255, np.uint8), right])


class Explorer:
    """Films, their Grad-CAM maps and the knobs.

    Parameters
    ----------
    classifier : Classifier
    images : (n, size, size) uint8
    labels : (n,) of 0 and 1
    scores : (n,) float, optional
        P(Fractured); computed if not given.
    files : sequence of str, optional
        Names for the caption.
    masks : (n, size, size) of 0 and 1, optional
        Outlines of the fractures.
    threshold : float, optional
        Fractured if the score is at least this; the classifier's own if not given.

    Attributes
    ----------
    widget : ipywidgets.VBox
        To be shown as the last value of a cell.
    passes : int
        How often the network ran: turning opacity, thresholds or the outline runs it never.

    Raises
    ------
    InputError
        If there is no film, or lengths differ.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: NDArray[np.uint8],
        labels: ArrayLike,
        *,
        scores: ArrayLike | None = None,
        files: Sequence[str] | None = None,
        masks: NDArray[np.uint8] | None = None,
        threshold: float | None = None,
    ) -> None:
        self.classifier, self.images, self.labels = classifier, images, np.asarray(labels)
        self.scores = classifier.scores(images) if scores is None else np.asarray(scores, dtype=np.float64)
        self.files = [f"film {i}" for i in range(len(images))] if files is None else list(files)
        self.masks = masks
        for name, values in (("labels", self.labels), ("scores", self.scores), ("files", self.files)):
            if len(values) != len(images):
                raise InputError(f"{name} has {len(values)} values; expected {len(images)}, one for each image")
        if not len(images):
            raise InputError("images is empty; expected at least one film")
        self.layers = stages(classifier.model)
        self.passes = 0
        self._maps: OrderedDict[tuple[int, str], dict[str, Maps]] = OrderedDict()
        self._picked: list[int] = []
        self._quiet = False
        self._build(classifier.threshold if threshold is None else threshold)
        self._pick()

    def maps(self, index: int, target: str) -> dict[str, Maps]:
        """Raw maps of a film for every layer, from one pass, remembered: layer -> (h', w') float32, in logit units."""
        key = (index, target)
        if key not in self._maps:
            with GradCAM(self.classifier.model, self.layers) as cam:
                found = cam(self.classifier.tensor(self.images[index : index + 1]), target)
            self.passes += 1
            self._maps[key] = {name: heat[0] for name, heat in found.items()}
            while len(self._maps) > REMEMBERED:
                self._maps.popitem(last=False)
        self._maps.move_to_end(key)
        return self._maps[key]

    def picture(self, view: View) -> NDArray[np.uint8]:
        """Film beside overlay, (448, 904, 3) uint8 RGB."""
        return draw(
            self.images[view.index],
            self.maps(view.index, view.target)[view.layer],
            opacity=view.opacity,
            map_threshold=view.map_threshold,
            mask=self._mask(view.index) if view.outlined else None,
        )

    def caption(self, view: View, threshold: float) -> str:
        """What the picture shows, in words: HTML."""
        raw = self.maps(view.index, view.target)[view.layer]
        label, score = int(self.labels[view.index]), float(self.scores[view.index])
        names = self.classifier.classes
        sign = "&ge;" if score >= threshold else "&lt;"
        lines = [
            f"<b>{escape(self.files[view.index])}</b>: is {names[label].lower()}",
            f"score {score:.3f} {sign} threshold {threshold:.3f}: called {names[int(score >= threshold)].lower()}",
            self._evidence(raw, view),
        ]
        return "<br>".join(lines)

    def _evidence(self, raw: Maps, view: View) -> str:
        if not raw.max() > 0:
            return f"no evidence for &ldquo;{view.target}&rdquo; in {view.layer}: the map is empty"
        text = (
            f"strongest evidence {raw.max():.3f} logit units in {view.layer} ({raw.shape[0]} x {raw.shape[1]} places)"
        )
        mask = self._mask(view.index)
        if mask is None:
            return text
        heat = upsample(raw, mask.shape)
        where = "in" if peak_in_mask(heat, mask) else "outside"
        return f"{text}; its peak is {where} the fracture, {energy_in_mask(heat, mask):.0%} of it lies there"

    def _mask(self, index: int) -> NDArray[np.uint8] | None:
        if self.masks is None or not self.masks[index].any():
            return None
        return self.masks[index]

    def _build(self, threshold: float) -> None:
        wide: dict[str, Any] = {"style": {"description_width": "130px"}, "layout": widgets.Layout(width="430px")}
        names = list(self.layers)
        self.outcome = widgets.Dropdown(options=list(OUTCOMES), description="Show", **wide)
        self.position = widgets.IntSlider(0, 0, 0, description="Film", **wide)
        self.layer = widgets.Dropdown(options=names, value=names[-1], description="Layer", **wide)
        self.target = widgets.Dropdown(options=TARGETS, description="Evidence for", **wide)
        self.opacity = widgets.FloatSlider(0.6, min=0, max=1, step=0.05, description="Opacity", **wide)
        self.map_threshold = widgets.FloatSlider(0, min=0, max=1, step=0.05, description="Hide below", **wide)
        self.threshold = widgets.FloatSlider(
            round(threshold, 3),
            min=0,
            max=1,
            step=0.005,
            readout_format=".3f",
            description="Decision threshold",
            **wide,
        )
        self.outline = widgets.Checkbox(
            value=True, description="Outline of the fracture, where it is known", indent=False
        )
        size = {"width": "904px", "height": "448px", "max_width": "100%", "object_fit": "contain"}
        self.image = widgets.Image(format="jpeg", width=904, height=448, layout=widgets.Layout(**size))
        self.text = widgets.HTML(layout=widgets.Layout(min_height="72px"))
        left = widgets.VBox([self.outcome, self.position, self.layer, self.target])
        right = widgets.VBox([self.opacity, self.map_threshold, self.threshold, self.outline])
        self.widget = widgets.VBox(
            [widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap")), self.image, self.text]
        )
        for knob in (self.outcome, self.threshold):
            knob.observe(self._on_pick, names="value")
        for knob in (self.position, self.layer, self.target, self.opacity, self.map_threshold, self.outline):
            knob.observe(self._on_change, names="value")

    def view(self) -> View:
        """What the knobs say now."""
        return View(
            index=self._picked[self.position.value],
            layer=self.layer.value,
            target=self.target.value,
            opacity=self.opacity.value,
            map_threshold=self.map_threshold.value,
            outlined=self.outline.value,
        )

    def _on_pick(self, change: dict[str, Any]) -> None:
        self._pick()

    def _on_change(self, change: dict[str, Any]) -> None:
        if not self._quiet:
            self._show()

    def _pick(self) -> None:
        """Choose the films of an outcome; stay on the film that is shown if it is among them."""
        shown = self._picked[self.position.value] if self._picked else None
        self._picked = outcomes(self.labels, self.scores, self.threshold.value, self.outcome.value)
        self._quiet = True
        place = self._picked.index(shown) if shown in self._picked else 0
        self.position.max = max(len(self._picked) - 1, 0)
        self.position.value = place
        self.position.disabled = len(self._picked) < 2
        self._quiet = False
        self._show()

    def _show(self) -> None:
        if not self._picked:
            self.image.value = encode(np.full((448, 904, 3), 255, np.uint8))
            self.text.value = (
                f"No film is among the {escape(self.outcome.value)} at threshold {self.threshold.value:.3f}."
            )
            return
        view = self.view()
        self.image.value = encode(self.picture(view))
        count = f"{self.position.value + 1} of {len(self._picked)}: {escape(self.outcome.value)}"
        self.text.value = f"{self.caption(view, self.threshold.value)}<br>{count}"

    def close(self) -> None:
        """Free every widget, and forget the maps."""
        boxes = [self.widget, *self.widget.children, *self.widget.children[0].children]
        knobs = [self.outcome, self.position, self.layer, self.target]
        knobs += [self.opacity, self.map_threshold, self.threshold, self.outline]
        for widget in [*knobs, *boxes]:
            widget.unobserve_all()
            for part in (getattr(widget, "style", None), widget.layout):
                if part is not None:
                    part.close()
            widget.close()
        self._maps.clear()


def encode(picture: NDArray[np.uint8]) -> bytes:
    """JPEG bytes of an RGB picture: an order of magnitude faster than PNG, which a slider would feel."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not done:
        raise RuntimeError("the picture could not be encoded")
    return data.tobytes()
