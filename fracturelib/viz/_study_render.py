"""What the explorer of studies shows, as pure functions: a slice beside its map, and a bar for each slice."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from fracturelib.explain.gradcam import Maps
from fracturelib.viz._explorer_render import GAP, Look, Picture, enlarged, levels, outline_of, panel
from fracturelib.viz.figures import BLUE, GREY, RED

PANEL = 360  # pixels of a panel's side
LABEL = 44  # pixels left of the slider, for its name
TRACK = 14, 6  # pixels from the slider's name, and to its end, between which its handle's middle can be
SPARE = 18  # pixels beyond the slider for half a bar
HEIGHT, TOP, BASE = 70, 13, 52  # pixels: of the row of bars, and where bars may begin and end
TRUTH = "#0097A7"  # darker than the outline's colour on the image, for a white page
BARS = {
    "slice by itself": ("evidence", "the evidence for a tear of the slice by itself"),
    "change without it": ("change", "the evidence for a tear falls by this without the slice"),
    "pooling weight": ("weight", "how much the pooling makes of the slice"),
}


def squared(volume: NDArray[np.generic]) -> NDArray[np.generic]:
    """Slices padded with zeros to squares, in the middle: (s, h, w) -> (s, side, side)."""
    height, width = volume.shape[1:]
    spare = max(height, width) - np.array([height, width])
    around = [(0, 0), *((int(k) // 2, int(k) - int(k) // 2) for k in spare)]
    return np.pad(volume, around) if spare.any() else volume


def slice_picture(
    image: Picture, heat: Maps | None, *, top: float, opacity: float = 0.6, mask: NDArray[np.bool_] | None = None
) -> Picture:
    """A slice without and with its map: (s, s) uint8, (s, s) float32 -> (PANEL, 2 * PANEL + GAP, 3) uint8 BGR.

    `top` is the study's strongest evidence: maps of all slices have one scale. A mask is outlined in both.
    """
    large, look = enlarged(image, PANEL), Look(opacity=opacity)
    contours = outline_of(mask.astype(np.uint8), PANEL) if mask is not None and mask.any() else []
    level = None if heat is None else levels(heat, top=top, side=PANEL)
    parts = [panel(large, one, look, contours=contours) for one in (None, level)]
    return np.hstack([parts[0], np.full((PANEL, GAP, 3), 255, np.uint8), parts[1]])


def bars_svg(values: Sequence[float], *, current: int, deciding: int, truth: Sequence[int] = (), what: str = "") -> str:
    """A bar for each slice, in one row that is aligned with the slider above it.

    Parameters
    ----------
    values : n float
        Positive ones rise in red, negative ones hang in blue, all to one scale.
    current, deciding : int
        The slice that is shown is framed, the one that decides has a triangle.
    truth : sequence of int
        Slices that show the tear: their columns are shaded.
    what : str
        What the bars are, for the alternative text.
    """
    n = len(values)
    high, low = max(*values, 0.0, 1e-12), min(*values, 0.0)
    scale = (BASE - TOP) / (high - low)
    zero = TOP + high * scale
    step = 100 / max(n - 1, 1)  # per cent
    wide = min(step, 5.5)  # no bar reaches beyond the page
    shapes = []
    for i, value in enumerate(values):
        x = step * i if n > 1 else 50.0
        if i in truth:
            shapes.append(_box(x, wide, TOP - 2, HEIGHT - 26, f'fill="{TRUTH}" fill-opacity="0.28"'))
            shapes.append(_box(x, wide, BASE + 1, 4, f'fill="{TRUTH}"'))
        y, tall = (zero - value * scale, value * scale) if value >= 0 else (zero, -value * scale)
        shapes.append(_box(x, 0.7 * wide, y, max(tall, 0.8), f'fill="{RED if value > 0 else BLUE}"'))
        if i == current:
            frame = 'fill="none" stroke="currentColor" stroke-width="1.5" class="current"'
            shapes.append(_box(x, 0.92 * wide, TOP - 2, BASE - TOP + 8, frame))
        if i == deciding:
            shapes.append(
                f'<svg x="{x:.3f}%" y="0" overflow="visible"><path class="deciding" d="M-6 1 L6 1 L0 10 Z" '
                f'fill="currentColor"/></svg>'
            )
        if n <= 12 or i % 5 == 0 or (i == n - 1 and i % 5 > 1):
            shapes.append(f'<text x="{x:.3f}%" y="{HEIGHT - 2}" text-anchor="middle">{i}</text>')
    for value, y in ((high, TOP + 8), (low, BASE)):
        if abs(value) > 0.005:
            shapes.append(
                f'<text x="-{wide / 2 + 0.6:.2f}%" y="{y}" text-anchor="end" font-size="10">{value:+.1f}</text>'
            )
    said = (
        f"{what} for {n} slices, from {min(values):.2f} to {max(values):.2f}; slice {current} is shown, "
        f"slice {deciding} decides" + (f"; the tear is in {spans(truth)}" if len(truth) else "")
    )
    return (
        f'<svg role="img" aria-label="{escape(said)}" width="100%" height="{HEIGHT}" overflow="visible" font-size="11" '
        f'font-family="sans-serif" fill="currentColor" style="display:block"><line x1="{-wide / 2:.2f}%" '
        f'x2="{100 + wide / 2:.2f}%" y1="{zero:.1f}" y2="{zero:.1f}" stroke="{GREY}"/>{"".join(shapes)}</svg>'
    )


def _box(x: float, wide: float, y: float, tall: float, style: str) -> str:
    """A rectangle about x, both x and its width in per cent."""
    return f'<rect x="{x - wide / 2:.3f}%" width="{wide:.3f}%" y="{y:.1f}" height="{tall:.1f}" {style}/>'


def spans(slices: Sequence[int]) -> str:
    """Rising numbers of slices in words.

    Examples
    --------
    >>> spans([4, 5, 6, 9])
    'slices 4 to 6 and 9'
    >>> spans([3])
    'slice 3'
    """
    runs: list[list[int]] = []
    for i in slices:
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    words = [f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return ("slice " if len(slices) == 1 else "slices ") + " and ".join(words)


def nearest(x: float, width: float, n: int) -> int:
    """Which of n slices lies at a place of the row of bars, both in pixels of the page."""
    return int(np.clip(np.rint(x / max(width, 1) * (n - 1)), 0, n - 1))
