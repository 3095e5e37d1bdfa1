"""The explorer of studies: slice by slice, what the network makes of each, and which of them decided."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from ipyevents import Event
from numpy.typing import ArrayLike, NDArray

from fracturelib._io import OF_A_MAP
from fracturelib._io.files import InputError
from fracturelib.data.studies import padded
from fracturelib.explain.gradcam import Maps
from fracturelib.explain.slices import SliceExplainer, deciding_of
from fracturelib.models.classifier import Classifier
from fracturelib.models.registry import stages
from fracturelib.viz._explorer_render import GAP, encode, outcomes
from fracturelib.viz._explorer_render import OUTCOMES as OF_IMAGES
from fracturelib.viz._study_render import (
    BARS,
    LABEL,
    PANEL,
    SPARE,
    TRACK,
    bars_svg,
    nearest,
    slice_picture,
    spans,
    squared,
)
from fracturelib.viz._widgets import TitledImage, close_all

STUDY_OUTCOMES = dict(
    zip(
        (
            "all studies",
            "true positives: torn, found",
            "false negatives: torn, missed",
            "false positives: false alarms",
            "true negatives: whole, left alone",
        ),
        OF_IMAGES,
        strict=True,
    )
)
REMEMBERED = 16  # studies whose maps are kept
FULL = 2 * PANEL + GAP


@dataclass(frozen=True, eq=False)
class Explained:
    """A study with what the network makes of it.

    Attributes
    ----------
    table : DataFrame
        One row a slice: that of `SliceExplainer.evidence`.
    maps : (s, h, w) float32
        Those of `SliceExplainer.maps`, in logit units.
    deciding : int
        The slice that decides.
    top : float
        The strongest evidence of all maps; 0 if there is none.
    """

    table: pd.DataFrame
    maps: Maps
    deciding: int
    top: float


class StudyExplorer:
    """Pick a study, go through its slices, and see what each adds to the evidence that the ligament is torn.

    A slice is shown without and with its Grad-CAM, all maps of a study on one scale. Beneath the slider each slice has
    a bar: the current one is framed, the one that decides has a triangle, and those that show the tear are shaded
    where that is known and switched on. A click on a bar goes to its slice; the arrow keys move the slider.

    Parameters
    ----------
    classifier : Classifier
        Of a `StudyNetwork`.
    studies : n of (s, h, w) uint8
        An array (n, s, h, w), or studies of different lengths.
    labels : (n,) of 0 and 1
    masks : n of (s, h, w) bool, optional
        Where the tear is; None, or a mask without a pixel, where that is not known.
    details : sequence of str, optional
        A word about each study, such as "partial tear".

    Attributes
    ----------
    widget : ipywidgets.Box
        To be shown as the last value of a cell. It begins with the deciding slice of the torn study whose score is
        highest.
    outcome, study, layer, bars : ipywidgets.Dropdown
        `study.value` is the number of the study, or None if no study has that outcome.
    slice : ipywidgets.IntSlider
        The number of the slice, from 0.
    opacity : ipywidgets.FloatSlider
    truth : ipywidgets.Checkbox
        Whether the tear is marked.
    passes : int
        How often the network was asked to explain a study: going through its slices asks it never.

    Raises
    ------
    InputError
        If there is no study, numbers or shapes do not fit, or the network is none of studies.
    """

    def __init__(
        self,
        classifier: Classifier,
        studies: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
        labels: ArrayLike,
        *,
        masks: Sequence[NDArray[np.bool_] | None] | NDArray[np.bool_] | None = None,
        details: Sequence[str] | None = None,
    ) -> None:
        self.classifier, self.explainer = classifier, SliceExplainer(classifier)
        if not np.isin(labels, (0, 1)).all():
            raise InputError("labels has values other than 0 and 1; expected 1 for torn and 0 for whole")
        self.labels = np.asarray(labels, np.int64)
        self.details = None if details is None else [str(d) for d in details]
        for name, values in (("labels", self.labels), ("masks", masks), ("details", self.details)):
            if values is not None and len(values) != len(studies):
                raise InputError(f"{name} has {len(values)} values; expected {len(studies)}, one for each study")
        self.studies, self.masks = _checked(studies, masks)
        self.scores, self.threshold = classifier.scores(padded(self.studies)), classifier.threshold
        self.passes = 0
        self._explained: OrderedDict[tuple[int, str], Explained] = OrderedDict()
        self._quiet = False
        self._made: list[widgets.Widget] = []
        self._build()
        torn = np.flatnonzero(self.labels == 1)
        self._pick(int(torn[np.argmax(self.scores[torn])]) if len(torn) else None)

    # What the network makes of a study

    def explained(self, index: int) -> Explained:
        """Evidence and maps of a study by the layer that is chosen, computed once for each layer.

        Raises InputError if a value is not finite.
        """
        key = (index, self.layer.value)
        if key not in self._explained:
            study = self.studies[index]
            self.passes += 1
            table, maps = self.explainer.evidence(study), self.explainer.maps(study, layer=key[1])
            if not np.isfinite(table.to_numpy()).all() or not np.isfinite(maps).all():
                raise InputError("the network gives no number for a slice; expected evidence that is finite")
            top = max(float(maps.max()), 0.0)
            self._explained[key] = Explained(table, maps, deciding_of(table), top)
            while len(self._explained) > REMEMBERED:
                self._explained.popitem(last=False)
        return self._explained[key]

    def true_slices(self, index: int) -> list[int]:
        """The slices that show the tear; none where that is not known."""
        mask = self.masks[index]
        return [] if mask is None else [int(i) for i in np.flatnonzero(mask.any(axis=(1, 2)))]

    # Knobs

    def _new(self, kind: type[widgets.Widget], *args: Any, **options: Any) -> Any:
        made = kind(*args, **options)
        self._made.append(made)
        return made

    def _knob(self, kind: type[widgets.Widget], name: str, *args: Any, **options: Any) -> Any:
        return self._new(
            kind, *args, description=name, style={"description_width": "52px"},
            layout=widgets.Layout(width="auto", min_width="0", flex="1 1 190px", max_width="344px"), **options,
        )  # fmt: skip

    def _build(self) -> None:
        drop, names = widgets.Dropdown, list(stages(self.classifier.model))
        self.outcome = self._knob(drop, "Show", options=list(STUDY_OUTCOMES))
        self.study = self._knob(drop, "Study", options=[("none", None)])
        self.layer = self._knob(drop, "Layer", options=names, value=names[-1])
        self.bars = self._knob(drop, "Bars", options=list(BARS))
        self.opacity = self._knob(
            widgets.FloatSlider, "Opacity", 0.6, min=0.0, max=1.0, step=0.05, readout_format=".2f"
        )
        self.truth = self._new(
            widgets.Checkbox, value=False, description="Mark the tear, where known", indent=False,
            disabled=not any(self.true_slices(i) for i in range(len(self.studies))),
            layout=widgets.Layout(width="auto", flex="1 1 180px", max_width="344px"),
        )  # fmt: skip
        self.decide = self._new(
            widgets.Button, description="Go to the deciding slice",
            layout=widgets.Layout(width="auto", flex="1 1 180px", max_width="344px"),
        )  # fmt: skip
        self.slice = self._new(
            widgets.IntSlider, 0, 0, 0, description="Slice", readout=False,
            style={"description_width": f"{LABEL}px"}, layout=widgets.Layout(width="auto", margin=f"0 {SPARE}px 0 0"),
        )  # fmt: skip
        size = {"width": "100%", "height": "auto", "object_fit": "contain", "margin": "0"}
        self.image = self._new(TitledImage, format="jpeg", width=FULL, height=PANEL, layout=widgets.Layout(**size))
        self.row = self._new(
            widgets.HTML, layout=widgets.Layout(margin=f"0 {SPARE + TRACK[1]}px 0 {LABEL + TRACK[0]}px")
        )
        self.row.add_class("study-bars")
        self.text = self._new(widgets.HTML, layout=widgets.Layout(margin="0"))
        self.text.add_class("explorer-words")
        self.mouse = self._new(Event, source=self.row, watched_events=["click"])
        self.mouse.on_dom_event(self._on_click)
        seen = self._new(
            widgets.VBox, [self.image, self.slice, self.row, self.text],
            layout=widgets.Layout(flex=f"1 1 {FULL - 248}px", min_width="0", max_width=f"{FULL}px", overflow="hidden",
                                  margin="0 8px 0 0"),
        )  # fmt: skip
        knobs = self._new(
            widgets.Box, [self.outcome, self.study, self.layer, self.bars, self.opacity, self.truth, self.decide],
            layout=widgets.Layout(flex="1 1 240px", flex_flow="row wrap", align_content="flex-start", min_width="0"),
        )  # fmt: skip
        self.widget = self._new(widgets.Box, [seen, knobs], layout=widgets.Layout(flex_flow="row wrap"))
        self.outcome.observe(self._on_outcome, names="value")
        self.study.observe(self._on_study, names="value")
        for knob in (self.slice, self.layer, self.bars, self.opacity, self.truth):
            knob.observe(self._on_change, names="value")
        self.decide.on_click(self._on_decide)

    def _on_outcome(self, _change: dict[str, Any]) -> None:
        self._pick(self.study.value)

    def _on_study(self, _change: dict[str, Any]) -> None:
        if not self._quiet:
            self._open()

    def _on_change(self, _change: dict[str, Any]) -> None:
        if not self._quiet:
            self._show()

    def _on_decide(self, _button: Any) -> None:
        if self.study.value is not None:
            self.slice.value = self.explained(self.study.value).deciding

    def _on_click(self, event: dict[str, Any]) -> None:
        if self.study.value is not None:
            at, width = float(event["relativeX"]), float(event["boundingRectWidth"])
            self.slice.value = nearest(at, width, len(self.studies[self.study.value]))

    def _pick(self, wanted: int | None) -> None:
        """Offer the studies of an outcome, and open the wanted one if it is among them, else the first."""
        chosen = outcomes(self.labels, self.scores, self.threshold, STUDY_OUTCOMES[self.outcome.value])
        self._quiet = True
        self.study.options = [(self._name(i), i) for i in chosen] or [("none", None)]
        self.study.value = wanted if wanted in chosen else self.study.options[0][1]
        self._quiet = False
        self._open()

    def _name(self, index: int) -> str:
        kind = self.classifier.classes[self.labels[index]].lower()
        return f"study {index}: {kind}, {self.scores[index]:.2f}"

    def _open(self) -> None:
        """Show a study from its deciding slice on."""
        index = self.study.value
        self._quiet = True
        try:
            if index is not None:
                self.slice.max = max(len(self.studies[index]) - 1, 1)
                self.slice.disabled = len(self.studies[index]) < 2
                self.slice.value = self.explained(index).deciding
        except InputError:  # said where the study is shown
            self.slice.value = 0
        finally:
            self._quiet = False
        self._show()

    # Picture and words

    def _show(self) -> None:
        index = self.study.value
        self.decide.disabled = index is None
        if index is None:
            self.image.value, self.row.value = encode(np.full((PANEL, FULL, 3), 255, np.uint8)), ""
            self.image.tooltip = "No study"
            self._say([f"No study is among the {self.outcome.value} at threshold {self.threshold:.3f}."])
            return
        at, truth = min(self.slice.value, len(self.studies[index]) - 1), self.true_slices(index)
        mask = self.masks[index] if self.truth.value and truth else None
        outline = None if mask is None else squared(mask[at : at + 1])[0]
        image = squared(self.studies[index][at : at + 1])[0]
        try:
            found = self.explained(index)
        except InputError as error:
            self.image.value, self.row.value = encode(slice_picture(image, None, top=0, mask=outline)), ""
            self._say([f"study {index}: nothing to explain, because {error}"])
            return
        heat = squared(found.maps[at : at + 1])[0]
        picture = slice_picture(image, heat, top=found.top, opacity=self.opacity.value, mask=outline)
        column, what = BARS[self.bars.value]
        self.image.value = encode(picture)
        self.image.tooltip = f"Slice {at}, and the same slice with Grad-CAM of {self.layer.value}"
        marked = truth if mask is not None else []
        values = [float(v) for v in found.table[column]]
        self.row.value = bars_svg(values, current=at, deciding=found.deciding, truth=marked, what=what)
        self._say(self.caption(index, at))

    def caption(self, index: int, at: int) -> list[str]:
        """What is shown of a study and one of its slices, in lines of plain words."""
        names = [name.lower() for name in self.classifier.classes]
        score, found = float(self.scores[index]), self.explained(index)
        row, truth = found.table.loc[at], self.true_slices(index)
        known = f" ({self.details[index]})" if self.details and self.details[index] else ""
        sign = "≥" if score >= self.threshold else "<"
        decides = "▼ it decides" if at == found.deciding else f"▼ slice {found.deciding} decides"
        read = row["weight"] > 0 or row["evidence"] != 0
        own = f"by itself {row['evidence']:+.2f}, change without it {row['change']:+.2f}, weight {row['weight']:.2f}"
        said = own if read else "not read by the network"
        lines = [
            f"study {index}: is {names[self.labels[index]]}{known}; score {score:.3f} {sign} "
            f"{self.threshold:.3f}: predicted {names[int(score >= self.threshold)]}",
            f"slice {at} of 0 to {len(self.studies[index]) - 1}: {said}; {decides}",
        ]
        if self.truth.value:
            lines.append(f"the tear is in {spans(truth)}" if truth else "no tear is marked in this study")
        return lines

    def _say(self, lines: Sequence[str]) -> None:
        words = [f"<b>{escape(line)}</b>" if i == 0 else escape(line) for i, line in enumerate(lines)]
        self.text.value = (
            f"<div style='line-height:1.3;overflow-wrap:anywhere'>{'<br>'.join(words)}<br><i>{OF_A_MAP}</i></div>"
        )

    def close(self) -> None:
        """Free every widget, and forget the maps."""
        self.decide.on_click(self._on_decide, remove=True)
        self.mouse.reset_callbacks()
        close_all(self._made)
        self._made.clear()
        self._explained.clear()


def _checked(
    studies: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_] | None] | NDArray[np.bool_] | None,
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.bool_] | None]]:
    """Studies and masks one by one, of shapes that fit."""
    if not len(studies):
        raise InputError("studies is empty; expected at least one study")
    kept, truth = [], []
    for i, study in enumerate(studies):
        if not isinstance(study, np.ndarray) or study.ndim != 3 or study.dtype != np.uint8 or not study.size:
            raise InputError(f"study {i} is no uint8 array of slices, height and width; expected one")
        if study.shape[1:] != studies[0].shape[1:]:
            raise InputError(
                f"study {i} has slices of {study.shape[1:]}; expected {studies[0].shape[1:]}, as the first"
            )
        mask = None if masks is None else masks[i]
        if mask is not None and mask.shape != study.shape:
            raise InputError(f"mask {i} has shape {mask.shape}; expected {study.shape}")
        kept.append(study)
        truth.append(None if mask is None else np.asarray(mask, bool))
    return kept, truth
