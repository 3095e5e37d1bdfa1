"""What the explorer shows, as pure functions: which images, which picture, which words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import Maps
from fracturelib.explain.overlay import highest_of, upsample

Picture = NDArray[np.uint8]
Box = tuple[int, int, int, int]
OUTCOMES = {
    "all images": None,
    "true positives: fractured, found": (1, True),
    "false negatives: fractured, missed": (1, False),
    "false positives: false alarms": (0, True),
    "true negatives: rightly left alone": (0, False),
}
COLOUR_MAPS = {
    "inferno": cv2.COLORMAP_INFERNO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "cividis": cv2.COLORMAP_CIVIDIS,
    "magma": cv2.COLORMAP_MAGMA,
}
ORDERS = ("surest first", "score, falling", "score, rising", "nearest to the threshold", "as in the folder")

SIDE, GAP = 512, 8  # pixels of a panel, and between two

OUTLINE, RECTANGLE = (255, 229, 0), (0, 159, 230)  # BGR
FONT, LETTERS, LINE = "DejaVuSans.ttf", 15, 22  # of the saved picture's words: Pillow's own font lacks the sign ≥


@dataclass(frozen=True)
class Look:
    """How a map is drawn.

    Attributes
    ----------
    opacity, map_threshold : float
        0..1; weaker evidence than the threshold is not shown.
    colour_map : str
        A key of `COLOUR_MAPS`.
    top : float or None
        What counts as the strongest evidence; the map's own maximum if None.
    smooth : int
        Pixels of the picture over which the map is blurred; 0 leaves it as it is.
    zoom : float
        1 shows the whole image.
    centre : (float, float)
        Row and column of the zoom, 0..1.
    """

    opacity: float = 0.6
    map_threshold: float = 0.0
    colour_map: str = "inferno"
    top: float | None = None
    smooth: int = 0
    zoom: float = 1.0
    centre: tuple[float, float] = (0.5, 0.5)


def outcomes(labels: ArrayLike, scores: ArrayLike, threshold: float, name: str) -> list[int]:
    """The images of an outcome, surest first: true and false positives by falling score, negatives by rising score.

    All images together begin with the one whose score is furthest from the threshold.
    """
    y, s = np.asarray(labels), np.asarray(scores, dtype=float)
    if not np.isfinite(s).all() or np.isnan(threshold):
        odd = int((~np.isfinite(s)).sum())
        raise InputError(f"{odd} of {len(s)} scores are not finite, threshold is {threshold}; expected numbers")
    wanted = OUTCOMES[name]
    if wanted is None:
        return [int(i) for i in np.argsort(-np.abs(s - threshold), kind="stable")]
    label, predicted = wanted
    chosen = np.flatnonzero((y == label) & ((s >= threshold) == predicted))
    order = np.argsort(-s[chosen] if predicted else s[chosen], kind="stable")
    return [int(i) for i in chosen[order]]


def picked(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    *,
    outcome: str,
    order: str = ORDERS[0],
    regions: Sequence[str] | None = None,
    region: str | None = None,
) -> list[int]:
    """The images of an outcome, and of a region if one is named, in an order of `ORDERS`."""
    chosen = outcomes(labels, scores, threshold, outcome)
    if regions is not None and region is not None:
        chosen = [i for i in chosen if regions[i] == region]
    s = np.asarray(scores, dtype=float)
    match order:
        case "score, falling":
            return sorted(chosen, key=lambda i: (-s[i], i))
        case "score, rising":
            return sorted(chosen, key=lambda i: (s[i], i))
        case "nearest to the threshold":
            return sorted(chosen, key=lambda i: (abs(s[i] - threshold), i))
        case "as in the folder":
            return sorted(chosen)
    return chosen


def enlarged(image: Picture, side: int = SIDE) -> Picture:
    """A square image at the size of a panel: (s, s) uint8 -> (side, side) uint8."""
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def levels(raw: Maps, *, top: float | None = None, side: int = SIDE, smooth: int = 0) -> Picture:
    """A raw map as grey levels of a panel: (h', w') float32 -> (side, side) uint8; 0 is no evidence.

    A map without positive evidence is 0 everywhere: it is never stretched to look like something. Raises InputError if
    a value is not finite.
    """
    highest = highest_of(raw)
    heat = upsample(raw, side)
    if smooth > 0:
        heat = np.asarray(cv2.GaussianBlur(np.maximum(heat, 0), (0, 0), smooth), np.float32)
    scale = float(heat.max()) if top is None else top
    if not highest > 0 or not scale > 0:
        return np.zeros((side, side), np.uint8)
    return np.asarray(cv2.convertScaleAbs(np.maximum(heat, 0), alpha=255 / scale), dtype=np.uint8)


@lru_cache(maxsize=256)
def _tables(opacity: float, threshold: float, colour_map: str) -> tuple[Picture, Picture]:
    """Of each level: what is left of the image (256,), and the colour that is added (256, 1, 3) BGR; uint8."""
    level = np.arange(256)
    weight = opacity * np.where(level >= 255 * threshold, level / 255, 0)
    colours = cv2.applyColorMap(level.astype(np.uint8)[:, None], COLOUR_MAPS[colour_map])
    left = np.round(255 * (1 - weight)).astype(np.uint8)
    return left, np.round(colours * weight[:, None, None]).astype(np.uint8)


def blended(image: Picture, level: Picture, look: Look) -> Picture:
    """Heat over image by table, without a float: two (side, side) uint8 -> (side, side, 3) uint8 BGR."""
    left, colours = _tables(round(look.opacity, 3), round(look.map_threshold, 3), look.colour_map)
    dimmed = cv2.multiply(image, cv2.LUT(level, left), scale=1 / 255)
    coloured = cv2.LUT(cv2.cvtColor(level, cv2.COLOR_GRAY2BGR), colours)
    return np.asarray(cv2.add(cv2.cvtColor(dimmed, cv2.COLOR_GRAY2BGR), coloured), dtype=np.uint8)


def outline_of(mask: Picture, side: int = SIDE) -> list[NDArray[np.int32]]:
    """Contours of a mask on a panel, just outside of it: (s, s) of 0 and 1 -> OpenCV contours."""
    edges = cv2.resize((mask > 0).astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    edges = cv2.dilate(edges, np.ones((5, 5), np.uint8))
    return list(cv2.findContours(edges, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])  # type: ignore[arg-type]


def _part(zoom: float, centre: tuple[float, float], side: int) -> tuple[int, int, int]:
    """What of a panel a zoom shows: top, left and side in pixels."""
    part = side if zoom <= 1 else max(8, round(side / zoom))
    top, left = (int(np.clip(round(c * side - part / 2), 0, side - part)) for c in centre)
    return top, left, part


def zoomed(panel: Picture, zoom: float, centre: tuple[float, float]) -> Picture:
    """A part of a panel at the panel's size; the part stays inside."""
    if zoom <= 1:
        return panel
    side = panel.shape[0]
    top, left, part = _part(zoom, centre, side)
    cut = np.ascontiguousarray(panel[top : top + part, left : left + part])
    return np.asarray(cv2.resize(cut, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def panel(
    image: Picture,
    level: Picture | None,
    look: Look,
    *,
    contours: Sequence[NDArray[np.int32]] = (),
    box: Box | None = None,
) -> Picture:
    """One panel: image (side, side) uint8, with a map's levels over it or not -> (side, side, 3) uint8 BGR.

    `box` is a rectangle (top, left, height, width) in pixels of the panel.
    """
    shown = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if level is None else blended(image, level, look)
    shown = np.ascontiguousarray(shown)
    cv2.drawContours(shown, contours, -1, OUTLINE, 2, cv2.LINE_AA)
    if box is not None:
        top, left, height, width = box
        cv2.rectangle(shown, (left, top), (left + width - 1, top + height - 1), RECTANGLE, 2)
    return zoomed(np.asarray(shown, dtype=np.uint8), look.zoom, look.centre)


def beside(left: Picture, right: Picture) -> Picture:
    """Two panels with a white gap: (side, 2 * side + GAP, 3) uint8."""
    return np.hstack([left, np.full((left.shape[0], GAP, 3), 255, np.uint8), right])


def pointed(
    x: float, y: float, width: float, height: float, look: Look, *, second: bool | None = None
) -> tuple[float, float, bool]:
    """Where on the image a place of the shown picture lies.

    Parameters
    ----------
    x, y, width, height : float
        The place, and the size at which the page shows the picture of two panels, in pixels of the page. A picture that
        does not have the shape of its frame is shown in the frame's middle.
    look : Look
        Its zoom counts.
    second : bool, optional
        Stay in the first or in the second panel; in the nearer one if not given.

    Returns
    -------
    (row, column, second) : row and column of the image, 0..1, and whether it is in the second panel
    """
    full = 2 * SIDE + GAP
    scale = min(width / full, height / SIDE)
    across, down = (x - (width - full * scale) / 2) / scale, (y - (height - SIDE * scale) / 2) / scale
    right = across > SIDE + GAP / 2 if second is None else second
    top, left, part = _part(look.zoom, look.centre, SIDE)
    column = left + np.clip((across - (SIDE + GAP) * right) / SIDE, 0, 1) * part
    row = top + np.clip(down / SIDE, 0, 1) * part
    return float(row / SIDE), float(column / SIDE), bool(right)


def encode(picture: Picture) -> bytes:
    """JPEG bytes of a BGR picture: an order of magnitude faster than PNG, which a slider would feel."""
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not done:
        raise RuntimeError("the picture could not be encoded")
    return data.tobytes()


@cache
def _font() -> tuple[ImageFont.FreeTypeFont, FT2Font]:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FONT
    return ImageFont.truetype(str(path), LETTERS), FT2Font(str(path))


def writable(text: str) -> str:
    """The text with a question mark for each letter that the font lacks, as it lacks Chinese, instead of a box."""
    _, glyphs = _font()
    return "".join(letter if glyphs.get_char_index(ord(letter)) else "?" for letter in text)


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines that are at most so many pixels wide; a word that is wider is cut."""
    font, lines = _font()[0], [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def with_caption(picture: Picture, lines: Sequence[str]) -> Picture:
    """The picture with words below it: (h, w, 3) uint8 BGR -> (h + ..., w, 3) uint8 RGB."""
    height, width = picture.shape[:2]
    words = [part for line in lines for part in wrapped(writable(line), width - 12)]
    page = Image.new("RGB", (width, height + LINE * len(words) + 12), "white")
    page.paste(Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)), (0, 0))
    pen = ImageDraw.Draw(page)
    for i, line in enumerate(words):
        pen.text((6, height + 6 + LINE * i), line, fill="black", font=_font()[0])
    return np.asarray(page)
