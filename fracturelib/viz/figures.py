"""Figures: each function takes plain arrays and returns a matplotlib Figure."""

from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import cv2
import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from fracturelib._io.filenames import writable
from fracturelib._io.files import InputError
from fracturelib.data.labels import CLASSES
from fracturelib.explain.overlay import normalise, overlay, upsample
from fracturelib.metrics.classification import Confusion, average_precision, confusion_at, roc_auc, sweep

# Okabe & Ito's colours, which colour-blind readers can tell apart; the two also differ in grey print.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7f7f7f"
CLASS_COLOURS = (BLUE, RED)
MARKS = ((BLUE, "o"), (RED, "s"), (GREEN, "^"), (ORANGE, "P"), (GREY, "v"))  # of series in one plot
OUTLINE = "#00E5FF"
STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "figure.dpi": 80,
    "savefig.dpi": 80,
}


class PngFigure(Figure):
    """A figure that a notebook shows by itself, as a PNG, the same bytes each time; its words are no mathematics."""

    def draw(self, renderer: Any) -> None:
        """Draw, and take no dollar sign for mathematics."""
        with matplotlib.rc_context({"text.parse_math": False}):
            for text in self.findobj(Text):
                text.set_parse_math(False)
                text.set_text("\n".join(writable(line) for line in text.get_text().split("\n")))
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def figure(width: float, height: float, *, columns: int = 1, rows: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of its own, which no notebook draws a second time; width and height in inches."""
    with matplotlib.rc_context(STYLE):
        made = PngFigure(figsize=(width, height), layout="constrained")
        axes = made.subplots(rows, columns, **options)
    return made, axes


def _require_fitting(images: Any, titles: Any, heats: Any, masks: Any) -> None:
    """Raise InputError unless there is one of each for each image, of its shape."""
    for name, given in (("titles", titles), ("heats", heats), ("masks", masks)):
        if given is not None and len(given) != len(images):
            raise InputError(f"{name} has {len(given)} values; expected {len(images)}, one for each image")
    for i, mask in enumerate(() if masks is None else masks):
        if np.shape(mask) != np.shape(images[i])[:2] and np.any(mask):  # an empty one is not drawn
            raise InputError(f"masks[{i}] has shape {np.shape(mask)}; expected {np.shape(images[i])[:2]}, as its image")
    for i, heat in enumerate(() if heats is None else heats):
        if heat is not None and np.ndim(heat) != 2:
            raise InputError(f"heats[{i}] has shape {np.shape(heat)}; expected (h, w), or None")


def montage(
    images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    titles: Sequence[str],
    *,
    heats: Sequence[NDArray[np.float32] | None] | NDArray[np.float32] | None = None,
    masks: Sequence[NDArray[np.uint8]] | NDArray[np.uint8] | None = None,
    peaks: bool = False,
    columns: int = 5,
    width: float = 11.0,
) -> Figure:
    """Images side by side, with heat maps laid over them and fractures outlined where there are any.

    Parameters
    ----------
    images : n of (h, w) uint8, or of (h, w, 3) where there is no heat map
    titles : n of str
    heats : n of (h', w') float32, optional
        Each is scaled to its own maximum. None, or a map without evidence, leaves its image as it is.
    masks : n of (h, w) of 0 and 1, optional
    peaks : bool
        A cross where each map is strongest.
    columns : int
        Images in a row.
    width : float
        Of the figure, in inches.

    Raises
    ------
    InputError
        If titles, heats or masks are not as many as the images, a map has a value that is not finite, or `columns` is
        less than 1.

    Examples
    --------
    >>> montage(np.zeros((2, 64, 64), np.uint8), ["left", "right"], columns=2, width=4)
    <PngFigure size 320x177.6 with 2 Axes>
    """
    _require_fitting(images, titles, heats, masks)
    titles = [str(title) for title in titles]
    if columns < 1:
        raise InputError(f"columns is {columns}; expected at least one image in a row")
    rows = max(1, -(-len(images) // columns))
    lines = max((t.count("\n") + 1 for t in titles), default=1)
    side = width / columns
    made, axes = figure(width, rows * (side + 0.22 * lines), columns=columns, rows=rows, squeeze=False)
    for i, ax in enumerate(axes.flat):
        ax.axis("off")
        if i < len(images):
            coarse = None if heats is None else heats[i]
            heat = None if coarse is None else upsample(coarse, images[i].shape[:2])
            shown = images[i] if heat is None else overlay(images[i], normalise(heat)[0], opacity=0.7)
            show_image(ax, shown, None if masks is None else masks[i])
            ax.set_title(titles[i])
            if peaks and heat is not None and heat.max() > 0:
                mark_peak(ax, heat)
    return made


def mark_peak(ax: Axes, heat: NDArray[np.float32]) -> None:
    """A cross where a map (h, w) is strongest."""
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    ax.plot(column, row, "+", color="white", markersize=13, markeredgewidth=4.5)
    ax.plot(column, row, "+", color=GREEN, markersize=12, markeredgewidth=2.2)


def show_image(ax: Axes, image: NDArray[np.uint8], mask: NDArray[np.uint8] | None = None) -> None:
    """An image in grey, with the fracture outlined: (h, w) uint8, mask (h, w) of 0 and 1."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if max(image.shape) < 64 else "antialiased")
    ax.axis("off")
    if mask is not None and mask.any():
        outline(ax, mask)


def outline(ax: Axes, mask: NDArray[np.uint8]) -> None:
    """The contour of a mask, a little outside of it, so that it hides nothing."""
    size = max(3, round(max(mask.shape) * 0.012)) | 1
    grown = cv2.dilate((mask > 0).astype(np.uint8), np.ones((size, size), np.uint8))
    for contour in cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        points = np.vstack([contour[:, 0], contour[:1, 0]])
        ax.plot(points[:, 0], points[:, 1], color="black", linewidth=1.5, alpha=0.5)
        ax.plot(points[:, 0], points[:, 1], color=OUTLINE, linewidth=0.8)


def losses_plot(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Loss by step, a panel a training with one scale for all, and what a coin costs: name -> losses."""
    made, axes = figure(11, 2.9, columns=len(losses), sharey=True, squeeze=False)
    for ax, (name, values) in zip(axes[0], losses.items(), strict=True):
        ax.plot(np.arange(1, len(values) + 1), values, color=BLUE, linewidth=1.5)
        ax.axhline(np.log(2), linestyle=":", color=GREY, label="always one half")
        ax.set(title=name, xlabel="step")
    axes[0, 0].set(ylabel="cross-entropy", ylim=(0, 2))
    axes[0, 0].legend(loc="upper right")
    return made


def score_histogram(y: ArrayLike, score: ArrayLike, threshold: float | None) -> Figure:
    """Scores of both classes about the threshold, if there is one: (n,) labels, (n,) scores in 0..1."""
    made, ax = figure(8, 3.2)
    labels, scores = np.asarray(y), np.asarray(score)
    for label, hatch in ((0, ""), (1, "//")):
        ax.hist(
            scores[labels == label], bins=np.linspace(0, 1, 31), color=CLASS_COLOURS[label], alpha=0.55, hatch=hatch,
            label=CLASSES[label], edgecolor="white",
        )  # fmt: skip
    if threshold is not None:
        ax.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2f}")
    ax.set(xlabel="score: P(Fractured)", ylabel="images", xlim=(0, 1))
    ax.legend()
    return made


Thresholds = float | Mapping[str, float] | None
MARKERS = "os^Dv"


def operating_points(y: ArrayLike, score: ArrayLike, thresholds: Thresholds) -> Iterator[tuple[str, str, Confusion]]:
    """Label, marker and counts of each threshold."""
    if thresholds is None:
        return
    named = thresholds if isinstance(thresholds, Mapping) else {"threshold": thresholds}
    for marker, (name, value) in zip(MARKERS, named.items(), strict=False):
        yield f"{name} {value:.2f}", marker, confusion_at(y, score, value)


def roc_curve_on(ax: Axes, y: ArrayLike, score: ArrayLike, threshold: Thresholds = None) -> None:
    """Sensitivity against false alarms, with the operating point, or up to five by name."""
    table = sweep(y, score)
    ax.plot(
        1 - table["specificity"], table["sensitivity"], color=BLUE, linewidth=2, label=f"AUC {roc_auc(y, score):.2f}"
    )
    ax.plot([0, 1], [0, 1], ":", color=GREY, label="a coin")
    for name, marker, at in operating_points(y, score, threshold):
        ax.plot(1 - at.specificity, at.sensitivity, marker, color=RED, markersize=9, label=name)
    ax.set(xlabel="1 - specificity (false alarms)", ylabel="sensitivity", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_title("ROC")
    ax.legend(loc="lower right")


def pr_curve_on(ax: Axes, y: ArrayLike, score: ArrayLike, threshold: Thresholds = None) -> None:
    """Precision against sensitivity, with the operating points and the prevalence."""
    table = sweep(y, score).iloc[1:]
    ap = average_precision(y, score)
    ax.step(
        table["sensitivity"],
        table["precision"],
        where="pre",
        color=BLUE,
        linewidth=2,
        label=f"average precision {ap:.2f}",
    )
    ax.axhline(float(np.mean(np.asarray(y))), linestyle=":", color=GREY, label="prevalence")
    for name, marker, at in operating_points(y, score, threshold):
        ax.plot(at.sensitivity, at.precision, marker, color=RED, markersize=9, label=name)
    ax.set(xlabel="sensitivity (recall)", ylabel="precision", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_title("Precision and recall")
    ax.legend(loc="lower left")


def curves_plot(y: ArrayLike, score: ArrayLike, threshold: Thresholds = None) -> Figure:
    """ROC and precision-recall side by side, the same operating points on both."""
    made, (left, right) = figure(10, 4.6, columns=2)
    roc_curve_on(left, y, score, threshold)
    pr_curve_on(right, y, score, threshold)
    return made


def sweep_plot(table: pd.DataFrame, threshold: float | None = None) -> Figure:
    """Sensitivity, specificity and precision against the threshold: a table of `metrics.sweep`."""
    made, ax = figure(9, 3.6)
    finite = table[np.isfinite(table["threshold"])]
    for name, colour, style in (("sensitivity", RED, "-"), ("specificity", BLUE, "--"), ("precision", GREEN, "-.")):
        ax.step(finite["threshold"], finite[name], where="post", color=colour, linestyle=style, linewidth=2, label=name)
    if threshold is not None:
        ax.axvline(threshold, color="black", linestyle=":", label=f"threshold {threshold:.2f}")
    ax.set(xlabel="threshold: predicted fractured if the score is at least this", xlim=(0, 1), ylim=(-0.02, 1.02))
    ax.set_ylabel("proportion of images")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return made


def confusion_plot(counts: Confusion) -> Figure:
    """Four cells with counts and the proportion of their row."""
    made, ax = figure(4.6, 3.8)
    cells = np.array([[counts.tn, counts.fp], [counts.fn, counts.tp]])
    rows = cells.sum(axis=1, keepdims=True)
    share = np.divide(cells, rows, out=np.zeros(cells.shape), where=rows > 0)
    names = (("true negatives", "false positives"), ("false negatives", "true positives"))
    words = [[f"{cells[i, j]}\n{share[i, j]:.0%}\n{names[i][j]}" for j in (0, 1)] for i in (0, 1)]
    sns.heatmap(share, annot=words, fmt="", cmap="Blues", vmin=0, vmax=1, cbar=False, ax=ax)
    ax.set_xticklabels(["not fractured", "fractured"])
    ax.set_yticklabels(["not\nfractured", "fractured"], rotation=0, va="center")
    ax.set(xlabel="predicted", ylabel="is")
    ax.grid(visible=False)
    return made


def triptych(
    image: NDArray[np.uint8],
    heat: NDArray[np.float32],
    shown: NDArray[np.uint8],
    *,
    title: str,
    mask: NDArray[np.uint8] | None = None,
    marked: NDArray[np.uint8] | None = None,
    closer: tuple[int, int, int, int] | None = None,
) -> Figure:
    """Image, heat map in logit units with its scale, and overlay: (h, w) uint8, (h, w) float32, (h, w, 3) uint8.

    `marked`, (h, w, 3) uint8, is a fourth panel: what a network that was trained to localize marks. `closer` is the
    left column, the top row, width and height of what was looked at once more, in pixels.
    """
    height, width = image.shape
    panel, columns = 4.0, 3 if marked is None else 4
    tall = min(max(panel * height / width, 2.2), 7.0)
    lines = title.count("\n") + (closer is not None)
    made, axes = figure(columns * panel + 1.0, tall + 0.9 + 0.2 * lines, columns=columns)
    known = mask is not None and bool(mask.any())
    show_image(axes[0], image, mask)
    said = "image" + ", fracture outlined" * known
    if closer is not None:
        left, upper, wide, high = closer
        axes[0].add_patch(
            Rectangle((left, upper), wide - 1, high - 1, fill=False, color=ORANGE, linestyle="--", linewidth=2)
        )
        said += "\ndashed: looked at again"
    axes[0].set_title(said)
    top = max(float(heat.max()), 1e-6)
    drawn = axes[1].imshow(heat, cmap="inferno", vmin=0, vmax=top)
    axes[1].axis("off")
    axes[1].set_title("evidence for a fracture")
    made.colorbar(drawn, ax=axes[1], fraction=0.046, pad=0.02, label="logit units")
    overlays = [(shown, "both")] if marked is None else [(shown, "Grad-CAM"), (marked, "localization map")]
    for ax, (picture, name) in zip(axes[2:], overlays, strict=True):
        ax.imshow(picture)
        ax.axis("off")
        ax.set_title(name)
        if mask is not None and mask.any():
            outline(ax, mask)
    made.suptitle(title, fontsize=11)
    return made
