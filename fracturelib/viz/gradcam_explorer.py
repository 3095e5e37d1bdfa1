"""The explorer: turn the knobs of a heat map and watch one image at a time.

The image, its map and its score come first, the knobs below them, and those that are seldom turned are folded.
"""

import base64
import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
from ipyevents import Event
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from fracturelib._io import OF_A_MAP
from fracturelib._io.filenames import safe_name
from fracturelib._io.files import InputError, atomic_path, cache_dir, temporary_folder
from fracturelib.data.decode import read_grey
from fracturelib.data.images import to_square
from fracturelib.explain.cam_methods import METHODS
from fracturelib.explain.gradcam import TARGETS, Maps
from fracturelib.explain.localization import energy_in_mask, peak, pointing_game
from fracturelib.explain.overlay import upsample
from fracturelib.models.classifier import Classifier, Judged, scores_from_logits
from fracturelib.models.doubts import UNLIKE, doubted
from fracturelib.models.registry import stages
from fracturelib.viz._explorer_cache import LOCALIZER, PLAIN, SLOW, UNITLESS, MapMemory
from fracturelib.viz._explorer_render import (
    COLOUR_MAPS,
    GAP,
    ORDERS,
    OUTCOMES,
    SIDE,
    Box,
    Look,
    Picture,
    beside,
    encode,
    enlarged,
    levels,
    outcomes,
    outline_of,
    panel,
    picked,
    pointed,
    with_caption,
)
from fracturelib.viz._widgets import close_all

ALL = "all regions"
SCALES = ("each map by itself", "the same for all images")
ZOOM_AT = ("the middle", "the map's peak", "the fracture, where known")
IDLE = ["mousedown", "mouseup", "mouseleave"]  # the page tells of movements only while a rectangle is dragged
DRAGGING = [*IDLE, "mousemove"]
FOUND, EASY, TRIES = list(OUTCOMES)[1], 0.15, 12  # a fracture that fills the image is no feat to find
LINK = "color:#006d77;text-decoration:underline"


class GradCAMExplorer:
    """Images, their heat maps and the knobs.

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
    regions : sequence of str, optional
        Of each image, to pick by.
    folder : path, optional
        Where `files` lie as they are stored. A network with a closer look needs them for what `fracture predict` says,
        which the caption repeats where the explorer's own score and threshold are not the whole of it.
    save_to : path
        Folder for saved views.

    Attributes
    ----------
    widget : ipywidgets.VBox
        To be shown as the last value of a cell. It begins with a fracture that the map finds, where there is one.
    memory : MapMemory
        Maps by image, layer, method and target.
    passes : int
        How often a network ran: turning opacity, thresholds, colours or the outline runs it never.

    Raises
    ------
    InputError
        If there is no image, or lengths differ.
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
        regions: Sequence[str] | None = None,
        folder: str | Path | None = None,
        save_to: str | Path = "results/explorer",
    ) -> None:
        self.classifier, self.images = classifier, list(images)
        self.labels: list[int | None] = [int(v) for v in np.asarray(labels)]
        given = None if scores is None else np.asarray(scores, dtype=np.float64)
        self.files = [f"image {i}" for i in range(len(images))] if files is None else list(files)
        self.masks = None if masks is None else list(masks)
        self.regions = None if regions is None else [str(r) for r in regions]
        for name, values in (
            ("labels", self.labels), ("scores", given), ("files", self.files), ("masks", self.masks),
            ("regions", self.regions),
        ):  # fmt: skip
            if values is not None and len(values) != len(images):
                raise InputError(f"{name} has {len(values)} values; expected {len(images)}, one for each image")
        if not len(images):
            raise InputError("images is empty; expected at least one image")
        self.scores = list(classifier.scores(np.asarray(images)) if given is None else given)
        self.layers = stages(classifier.model)
        self.memory = MapMemory(classifier, self.images)
        self.save_to = Path(save_to)
        places = enumerate(self.files if folder is not None else ())
        self._stored = {i: Path(folder or "") / str(file) for i, file in places}
        self._predicted: dict[int, str] = {}
        self._levels: OrderedDict[tuple[Any, ...], Picture] = OrderedDict()
        self._image: tuple[int, Picture, list[NDArray[np.int32]]] | None = None
        self._picked: list[int] = []
        self._shown: tuple[Picture, list[str]] | None = None
        self._strange: set[int] = set()  # of the images that were added; for others it would take a pass each
        self._note = self._link = ""
        self._quiet = False
        self._corner: tuple[float, float, bool] | None = None  # where a rectangle began that is being dragged
        self._made: list[widgets.Widget] = []
        self._begun = float(classifier.threshold if threshold is None else threshold)
        self._build(self._begun)
        self._pick(self._first())

    @property
    def passes(self) -> int:
        """How often a network ran to explain or to score what is shown."""
        return self.memory.passes

    @property
    def _threshold(self) -> float:
        """That of the slider; as long as nobody has moved it, the one to begin with, which it shows rounded."""
        shown: float = self.threshold.value
        return self._begun if shown == _on_the_slider(self._begun) else shown

    @property
    def _known(self) -> list[int]:
        """The labels, -1 where the truth is not known."""
        return [-1 if label is None else label for label in self.labels]

    def _first(self) -> int | None:
        """The surest fracture in whose outline the map's peak lies; where there is none, the surest fracture."""
        found = outcomes(self._known, self.scores, self._threshold, FOUND)
        outlined = [(i, mask) for i in found if (mask := self._mask(i)) is not None]
        outlined.sort(key=lambda pair: pair[1].mean() > EASY)  # and within each by sureness
        for index, mask in outlined[:TRIES]:
            try:
                raw = self._raw(index)
            except InputError:  # said where the image is shown
                break
            if raw is not None and raw.max() > 0 and pointing_game(upsample(raw, mask.shape), mask):
                return index
        fractured = found or [i for i, label in enumerate(self.labels) if label == 1]
        return max(fractured, key=lambda i: self.scores[i], default=None)

    # Picture and words

    def _panel_image(self, index: int) -> tuple[Picture, list[NDArray[np.int32]]]:
        if self._image is None or self._image[0] != index:
            mask = self._mask(index)
            self._image = (index, enlarged(self.images[index]), [] if mask is None else outline_of(mask))
        return self._image[1:]

    def _level(self, raw: Maps, key: tuple[Any, ...], look: Look) -> Picture:
        if key not in self._levels:
            self._levels[key] = levels(raw, top=look.top, smooth=look.smooth)
            while len(self._levels) > 64:
                self._levels.popitem(last=False)
        return self._levels[key]

    def _choice(self, second: bool) -> tuple[str, str]:
        """Layer and method of the first or the second map."""
        if second:
            return self.second_layer.value, self.second_method.value
        return self.layer.value, self.method.value

    def _raw(self, index: int, second: bool = False) -> Maps | None:
        """The first or the second map of an image; None as of `MapMemory.raw`."""
        return self.memory.raw(index, *self._choice(second), self.target.value)

    def _look(self, index: int, layer: str, method: str) -> Look:
        top = self.memory.top(layer, method, self.target.value) if self.scale.value == SCALES[1] else None
        return Look(
            opacity=self.opacity.value,
            map_threshold=self.map_threshold.value,
            colour_map=self.colours.value,
            top=top or None,
            smooth=self.smooth.value,
            zoom=self.zoom.value,
            centre=self._centre(index),
        )

    def _centre(self, index: int) -> tuple[float, float]:
        if self.zoom.value <= 1 or self.zoom_at.value == ZOOM_AT[0]:
            return 0.5, 0.5
        mask, raw = self._mask(index), self._raw(index)
        if self.zoom_at.value == ZOOM_AT[2] and mask is not None:
            rows, columns = np.nonzero(mask)
            return float(rows.mean() / mask.shape[0]), float(columns.mean() / mask.shape[1])
        place = None if raw is None else peak(raw)
        if raw is None or place is None:
            return 0.5, 0.5
        return (place[0] + 0.5) / raw.shape[0], (place[1] + 0.5) / raw.shape[1]

    def _map_panel(self, index: int, second: bool, box: Box | None) -> Picture:
        layer, method = self._choice(second)
        image, contours = self._panel_image(index)
        raw, look = self._raw(index, second), self._look(index, layer, method)
        level = None
        if raw is not None:
            key = (index, layer, method, self.target.value, look.top, look.smooth)
            level = self._level(raw, key, look)
        return panel(image, level, look, contours=contours if self.outline.value else (), box=box)

    def picture(self, index: int) -> Picture:
        """Image beside map, or map beside map, (SIDE, 2 * SIDE + GAP, 3) uint8 BGR, as the knobs say."""
        box = self._box(SIDE) if self.occlude.value else None
        if self.compare.value:
            return beside(self._map_panel(index, False, box), self._map_panel(index, True, box))
        image, contours = self._panel_image(index)
        look = Look(zoom=self.zoom.value, centre=self._centre(index))
        plain = panel(image, None, look, contours=contours if self.outline.value else (), box=box)
        return beside(plain, self._map_panel(index, False, None))

    def _box(self, side: int) -> Box:
        (top, bottom), (left, right) = (
            (round(low * side), max(round(low * side) + 1, round(high * side)))
            for low, high in (self.down.value, self.across.value)
        )
        top, left = min(top, side - 1), min(left, side - 1)
        return top, left, min(bottom, side) - top, min(right, side) - left

    def caption(self, index: int) -> list[str]:
        """What the picture shows, in lines of plain words."""
        label, score, threshold = self.labels[index], float(self.scores[index]), self._threshold
        names = [name.lower() for name in self.classifier.classes]
        truth = "your own image, truth unknown" if label is None else f"is {names[label]}"
        sign = "≥" if score >= threshold else "<"
        what = "score" if self.classifier.closer_look is None else "first look: score"
        lines = [
            f"{self.files[index]}: {truth}",
            f"{what} {score:.3f} {sign} threshold {threshold:.3f}: predicted {names[int(score >= threshold)]}",
        ]
        if (predicted := self._as_predict(index)) is not None:
            lines.append(predicted)
        elif index in self._strange:
            lines.append("unlike the images that the network learnt from: its score means little")
        for second in self._maps_shown():
            place = ("left: " if not second else "right: ") if self.compare.value else ""
            lines.append(place + self._evidence(index, second))
        if self.smooth.value:
            lines.append(f"smoothed over {self.smooth.value} pixels of the picture")
        if self.occlude.value and self._corner is not None:
            lines.append("let go of the mouse to score the image without the rectangle")
        elif self.occlude.value:
            covered = self.memory.score_without(index, self._box(self.classifier.size))
            lines.append(f"score with the rectangle covered {covered:.3f}, without it {score:.3f}")
        return lines

    def _as_predict(self, index: int) -> str | None:
        """What `fracture predict` says, where a closer look or thresholds by region make it say more than this."""
        whole = self.classifier.with_closer_look()
        if whole.closer_look is None and whole.by_region is None:
            return None
        if index not in self._predicted:
            path = self._stored.get(index)
            if path is None and whole.magnified:
                return f"fracture predict looks closer, and decides at a threshold of {whole.threshold_in_words}"
            square = self.images[index][None]
            self.memory.passes += 1
            if path is None:
                judged = whole.judge(square)
                self._predicted[index] = self._in_words(judged, UNLIKE if judged.strangeness[0] > 1 else "")
                return self._predicted[index]
            try:
                stored = read_grey(path)
            except InputError as error:
                return f"fracture predict: {error}"
            if not np.array_equal(to_square(stored, self.classifier.size), square[0]):
                return f"fracture predict: {path} holds another image now than the one that is shown"
            judged, (doubt,) = doubted(whole, square, [stored], [path])
            self._predicted[index] = self._in_words(judged, doubt)
        return self._predicted[index]

    def _in_words(self, judged: Judged, doubt: str) -> str:
        """What `fracture predict` makes of one image, and what is strange about it."""
        whole = self.classifier.with_closer_look()
        score, threshold = scores_from_logits(judged.logits, whole.temperature)[0], judged.thresholds[0]
        look = ", with a closer look" if whole.magnified else ""
        region = "" if judged.regions is None else f" for {judged.regions[0]}"
        called = int(score >= threshold)
        said = f"fracture predict{look}: score {score:.3f} {'<≥'[called]} threshold {threshold:.3f}{region}: "
        return f"{said}predicted {self.classifier.classes[called].lower()}{f'; {doubt}' if doubt else ''}"

    def _maps_shown(self) -> tuple[bool, ...]:
        """Of each map that is shown, whether it is the second one."""
        return (False, True) if self.compare.value else (False,)

    def _waits(self, index: int, second: bool) -> bool:
        """Whether a map is slow and was not computed yet."""
        return self._choice(second)[1] in SLOW and self._raw(index, second) is None

    def _evidence(self, index: int, second: bool) -> str:
        layer, method = self._choice(second)
        raw = self._raw(index, second)
        if raw is None:
            if method in SLOW:
                return f"{method} is slow: press Compute"
            return f"{method} needs the last layer, with only an average and a linear head after it"
        of = f"{method}, learnt from outlines" if method == LOCALIZER else f"{method} of {layer}"
        if not raw.max() > 0:
            return f'{of}: no evidence for "{self.target.value}", the map is empty'
        unit = "" if method in UNITLESS else " logit units"
        text = f"{of}: strongest evidence {raw.max():.3f}{unit} on {raw.shape[0]} x {raw.shape[1]} places"
        mask = self._mask(index)
        if mask is None:
            return text
        heat = upsample(raw, mask.shape)
        where = "in" if pointing_game(heat, mask) else "outside"
        return f"{text}; peak {where} the fracture, {energy_in_mask(heat, mask):.0%} of it lies there"

    def _mask(self, index: int) -> NDArray[np.uint8] | None:
        if self.masks is None or index >= len(self.masks) or not self.masks[index].any():
            return None
        return self.masks[index]

    # Widgets

    def _new(self, kind: Callable[..., Any], *args: Any, **options: Any) -> Any:
        made = kind(*args, **options)
        self._made.append(made)
        return made

    def _knob(self, kind: Callable[..., Any], name: str, *args: Any, **options: Any) -> Any:
        return self._new(
            kind, *args, description=name, style={"description_width": "104px"},
            layout=widgets.Layout(width="auto"), **options,
        )  # fmt: skip

    def _build(self, threshold: float) -> None:
        self._build_choice(threshold)
        self._build_map()
        self._build_drawing()
        self._build_cover()
        self._build_picture()
        self.widget = self._laid_out()
        self._watch()

    def _build_choice(self, threshold: float) -> None:
        """The knobs that say which image is shown."""
        drop, slide = widgets.Dropdown, widgets.FloatSlider
        self.outcome = self._knob(drop, "Show", options=list(OUTCOMES))
        self.region = self._knob(drop, "Region", options=[ALL, *sorted(set(self.regions or []))])
        self.order = self._knob(drop, "Order", options=ORDERS)
        self.position = self._knob(
            widgets.IntSlider, "Image", 0, 0, 0, readout=False
        )  # the words say which of how many
        self.threshold = self._knob(
            slide, "Threshold", _on_the_slider(threshold), min=0.0, max=1.0, step=0.001, readout_format=".3f"
        )
        self.upload = self._new(
            widgets.FileUpload, accept=".jpg,.jpeg,.png,.dcm,.dicom", multiple=False,
            description="Your own image (JPEG, PNG, DICOM)", layout=widgets.Layout(width="auto"),
        )  # fmt: skip

    def _build_map(self) -> None:
        """The knobs that say which map."""
        drop, names = widgets.Dropdown, list(self.layers)
        localizing = [LOCALIZER] if self.classifier.localizes else []
        methods = [*METHODS, PLAIN, *localizing, *SLOW]
        self.layer = self._knob(drop, "Layer", options=names, value=names[-1])
        self.method = self._knob(drop, "Method", options=methods)
        self.target = self._knob(drop, "Evidence for", options=TARGETS)
        self.compute_button = self._new(
            widgets.Button, description="Compute", disabled=True, tooltip="Compute the slow map that is chosen",
            layout=widgets.Layout(width="104px"),
        )  # fmt: skip
        self.bar = self._new(widgets.FloatProgress, 0, min=0, max=1, layout=widgets.Layout(flex="1 1 80px"))
        self.slow = self._new(widgets.HBox, [self.compute_button, self.bar])
        self.compare = self._new(widgets.Checkbox, value=False, description="Compare with a second map", indent=False)
        self.second_layer = self._knob(drop, "Second layer", options=names, value=names[-min(2, len(names))])
        self.second_method = self._knob(drop, "Second method", options=methods)

    def _build_drawing(self) -> None:
        """The knobs that say how it is drawn."""
        drop, slide = widgets.Dropdown, widgets.FloatSlider
        share: dict[str, Any] = {"min": 0.0, "max": 1.0, "step": 0.05, "readout_format": ".2f"}
        self.opacity = self._knob(slide, "Opacity", 0.6, **share)
        self.map_threshold = self._knob(slide, "Hide below", 0.0, **share)
        self.colours = self._knob(drop, "Colours", options=list(COLOUR_MAPS))
        self.scale = self._knob(drop, "Scale", options=SCALES)
        self.smooth = self._knob(widgets.IntSlider, "Smooth (pixels)", 0, 0, 32)
        self.zoom = self._knob(slide, "Zoom", 1.0, min=1.0, max=6.0, step=0.25)
        self.zoom_at = self._knob(drop, "Zoom at", options=ZOOM_AT)
        self.outline = self._new(
            widgets.Checkbox, value=True, description="Outline of the fracture, where known", indent=False
        )

    def _build_cover(self) -> None:
        """The rectangle that is covered, and the button that saves what is shown."""
        self.occlude = self._new(
            widgets.Checkbox, value=False, description="Cover a rectangle: drag it over the image", indent=False
        )
        ends: dict[str, Any] = {"min": 0.0, "max": 1.0, "step": 0.01, "readout_format": ".2f"}
        self.down = self._knob(widgets.FloatRangeSlider, "From top to", value=(0.4, 0.6), **ends)
        self.across = self._knob(widgets.FloatRangeSlider, "From left to", value=(0.4, 0.6), **ends)
        self.save = self._new(widgets.Button, description="Save this view as PNG", layout=widgets.Layout(width="auto"))

    def _build_picture(self) -> None:
        """The picture, the mouse over it, and the words below."""
        width, height = 2 * SIDE + GAP, SIDE
        # As wide as the page lets it be, and as high as that makes it: nothing jumps, and nothing is white.
        size = {"width": f"{width}px", "height": "auto", "max_width": "100%", "object_fit": "contain", "margin": "0"}
        self.image = self._new(widgets.Image, format="jpeg", width=width, height=height, layout=widgets.Layout(**size))
        self.mouse = self._new(
            Event, source=self.image, watched_events=IDLE, prevent_default_action=True, wait=30,
            throttle_or_debounce="throttle",
        )  # fmt: skip
        self.mouse.on_dom_event(self._on_mouse)
        self.text = self._new(widgets.HTML, layout=widgets.Layout(min_height="78px"))
        self.text.add_class("explorer-words")

    def _watch(self) -> None:
        """Let every knob do something."""
        for knob in (self.outcome, self.region, self.order, self.threshold):
            knob.observe(self._on_pick, names="value")
        for knob in (
            self.position, self.layer, self.method, self.target, self.compare, self.second_layer, self.second_method,
            self.opacity, self.map_threshold, self.colours, self.scale, self.smooth, self.zoom, self.zoom_at,
            self.outline, self.occlude, self.down, self.across,
        ):  # fmt: skip
            knob.observe(self._on_change, names="value")
        self.upload.observe(self._on_upload, names="value")
        self.compute_button.on_click(self._on_compute)
        self.save.on_click(self._on_save)

    def _laid_out(self) -> Any:
        """The picture, its words, the knobs in as many columns as there is room for, and the folded ones."""

        def column(*parts: widgets.Widget) -> Any:
            narrow = widgets.Layout(flex="1 1 280px", max_width="344px", margin="0 8px 0 0")
            return self._new(widgets.VBox, list(parts), layout=narrow)

        columns = [
            column(self.position, self.outcome, *([self.region] if self.regions else []), self.order, self.threshold),
            column(self.layer, self.method, self.slow, self.target, self.opacity, self.map_threshold),
            column(self.outline, self.save, self.upload),
        ]
        knobs = self._new(widgets.HBox, columns, layout=widgets.Layout(flex_flow="row wrap"))
        folded = {
            "A second map beside the first": [self.compare, self.second_layer, self.second_method],
            "Colours, scale and smoothing": [self.colours, self.scale, self.smooth],
            "Zoom": [self.zoom, self.zoom_at],
            "What if a part were covered?": [self.occlude, self.down, self.across],
        }  # fmt: skip
        folds = self._new(
            widgets.Accordion, [column(*parts) for parts in folded.values()], titles=list(folded),
            layout=widgets.Layout(max_width=f"{2 * SIDE + GAP}px"),
        )  # fmt: skip
        return self._new(widgets.VBox, [self.image, self.text, knobs, folds])

    def _on_pick(self, _change: dict[str, Any]) -> None:
        if not self._quiet:
            self._note = ""
            self._pick()

    def _on_change(self, _change: dict[str, Any]) -> None:
        if not self._quiet:
            self._note = ""
            self._show()

    def _on_mouse(self, event: dict[str, Any]) -> None:
        """Drag a rectangle over the image; it is scored when the button is let go."""
        kind = event["type"]
        if not self._picked or (kind == "mousedown") == (self._corner is not None):
            return
        index = self._picked[self.position.value]
        x, y, width, height = (
            float(event[n]) for n in ("relativeX", "relativeY", "boundingRectWidth", "boundingRectHeight")
        )
        look = Look(zoom=self.zoom.value, centre=self._centre(index))
        if self._corner is None:
            if event.get("button", 0) == 0:
                self._corner = pointed(x, y, width, height, look)
                self.mouse.watched_events = DRAGGING
            return
        row, column, second = self._corner
        to_row, to_column, _ = pointed(x, y, width, height, look, second=second)
        down = round(min(row, to_row), 2), round(max(row, to_row), 2)
        across = round(min(column, to_column), 2), round(max(column, to_column), 2)
        drawn = down[0] < down[1] and across[0] < across[1]  # a click is no rectangle
        ended = kind != "mousemove" or not event.get("buttons", 1) & 1
        if ended:
            self._corner = None
            self.mouse.watched_events = IDLE
        if drawn:
            self._quiet = True
            self.occlude.value, self.down.value, self.across.value = True, down, across
            self._quiet = False
        if drawn or ended:
            self._note = ""
            self._show()

    def _on_compute(self, _button: Any) -> None:
        if not self._picked:
            return
        self.compute_button.disabled = True
        index = self._picked[self.position.value]
        for second in self._maps_shown():
            if self._waits(index, second):
                try:
                    self.memory.compute(index, *self._choice(second), self.target.value, progress=self._advance)
                except InputError as error:
                    self._note = str(error)
        self._show()
        self.bar.value = 0

    def _advance(self, share: float) -> None:
        self.bar.value = share

    def _on_upload(self, change: dict[str, Any]) -> None:
        if not change["new"]:
            return
        sent = change["new"][0]
        try:
            self.add(sent["name"], bytes(sent["content"]))
        except InputError as error:
            self._note = str(error)
            self._show()

    def add(self, name: str, content: bytes) -> int:
        """Add an image from a file's bytes, and show it; its number. Raises `InputError` if it cannot be read."""
        with temporary_folder(cache_dir() / "upload") as folder:
            path = folder / f"image{Path(safe_name(name, most=100)).suffix.lower()}"
            path.write_bytes(content)
            try:
                stored = read_grey(path)
                image = to_square(stored, self.classifier.size)
            except InputError as error:
                raise InputError(str(error).replace(str(path), name)) from None
            judged, (doubt,) = doubted(self.classifier.with_closer_look(), image[None], [stored], [path])
        if doubt:
            self._strange.add(len(self.images))
        self._predicted[len(self.images)] = self._in_words(judged, doubt)
        self.scores.append(self.memory.add(image))
        self.labels.append(None)
        self.files.append(name)
        if self.regions is not None:
            self.regions.append("")
        index = len(self.images) - 1
        self._note = ""
        self._quiet = True
        self.outcome.value = next(iter(OUTCOMES))
        self.region.value = ALL
        self._quiet = False
        self._pick(index)
        return index

    def _on_save(self, _button: Any) -> None:
        """Save, say where, and offer it for download: the browser may run on another computer than this."""
        if self._shown is None:
            return
        name, content = f"{self._stem()}.png", self._as_png()
        try:
            path = self.save_view().resolve()
            name, self._note = path.name, f"saved as {path}"
        except OSError as error:
            self._note = f"not saved in {self.save_to.resolve()}: {(error.strerror or 'cannot be written').lower()}"
        data = base64.b64encode(content).decode()
        self._link = f'<a download="{escape(name)}" href="data:image/png;base64,{data}" style="{LINK}">Download it</a>'
        self._show()
        self._link = ""

    def _stem(self) -> str:
        """What the file of the view is called."""
        return safe_name(Path(self.files[self._picked[self.position.value]]).stem or "image", most=200)

    def _as_png(self) -> bytes:
        """The picture with its caption."""
        if self._shown is None:
            raise InputError("no image is shown; expected one to save")
        picture, lines = self._shown
        buffer = io.BytesIO()
        Image.fromarray(with_caption(picture, [*lines, OF_A_MAP])).save(buffer, format="png")
        return buffer.getvalue()

    def save_view(self) -> Path:
        """Save the picture with its caption as PNG in `save_to`, under a name that was free; its path."""
        content, number = self._as_png(), 1
        while (path := self.save_to / f"{self._stem()}-{number:02d}.png").exists():
            number += 1
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        return path

    def _pick(self, wanted: int | None = None) -> None:
        """Choose the images; stay on the image that is shown if it is among them."""
        if self._quiet:
            return
        shown = self._picked[self.position.value] if self._picked and wanted is None else wanted
        self._picked = picked(
            self._known, self.scores, self._threshold, outcome=self.outcome.value, order=self.order.value,
            regions=self.regions, region=None if self.region.value == ALL else self.region.value,
        )  # fmt: skip
        self._quiet = True
        place = self._picked.index(shown) if shown in self._picked else 0
        self.position.value = min(self.position.value, place)
        self.position.max = max(len(self._picked) - 1, 0)
        self.position.value = place
        self.position.disabled = len(self._picked) < 2
        self._quiet = False
        self._show()

    def _show(self) -> None:
        for knob in (self.second_layer, self.second_method):
            knob.disabled = not self.compare.value
        for knob in (self.down, self.across):
            knob.disabled = not self.occlude.value
        self.zoom_at.disabled = self.zoom.value <= 1
        slow = any(self._choice(second)[1] in SLOW for second in self._maps_shown())
        self.slow.layout.display = None if slow else "none"
        if not self._picked:
            self._shown = None
            self.image.value = encode(np.full((SIDE, 2 * SIDE + GAP, 3), 255, np.uint8))
            where = "" if self.region.value == ALL else f" of the {self.region.value}"
            self._say([f"No image{where} is among the {self.outcome.value} at threshold {self.threshold.value:.3f}."])
            return
        index = self._picked[self.position.value]
        waits = False
        try:
            picture, lines = self.picture(index), self.caption(index)
            waits = any(self._waits(index, second) for second in self._maps_shown())
        except InputError as error:  # a map with a value that is no number is not a map without evidence
            plain = panel(self._panel_image(index)[0], None, Look())
            picture, lines = beside(plain, plain), [f"{self.files[index]}: nothing to show, because {error}"]
        self._shown = picture, lines
        self.compute_button.disabled = not waits
        self.image.value = encode(picture)
        self._say(lines, f"{self.position.value + 1} of {len(self._picked)}: {self.outcome.value}. ")

    def _say(self, lines: Sequence[str], place: str = "") -> None:
        words = [f"<b>{escape(line)}</b>" if i < 2 else escape(line) for i, line in enumerate(lines)]
        note = f"<br><b style='color:#B35900'>{escape(self._note)}</b> {self._link}" if self._note else ""
        said = f"{'<br>'.join(words)}{note}<br>{escape(place)}<i>{OF_A_MAP}</i>"
        self.text.value = f"<div style='line-height:1.4;overflow-wrap:anywhere'>{said}</div>"

    def close(self) -> None:
        """Free every widget, and forget the maps."""
        self.compute_button.on_click(self._on_compute, remove=True)
        self.save.on_click(self._on_save, remove=True)
        self.mouse.reset_callbacks()
        close_all(self._made)
        for memory in (self.memory, self._levels, self._made):
            memory.clear()
        self._image = self._shown = None


def _on_the_slider(threshold: float) -> float:
    return round(min(max(threshold, 0.0), 1.0), 3)
