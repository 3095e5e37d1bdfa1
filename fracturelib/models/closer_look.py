"""A closer look: the place that a network suspects most, cut from the image as it is stored, and judged once more.

A network sees an image shrunk to its input, in which a hairline can be a smudge. Its map says where to look again, and
a second network, which learnt from such cuts, sees that place without any shrinking.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fracturelib.data.images import square_geometry

CUT = 256  # side of what is cut, in pixels of the image as it is stored


@dataclass(frozen=True)
class CloserLook:
    """How a whole image and its most suspicious place make one score.

    Attributes
    ----------
    weights : tuple of three float
        Of the evidence (the difference of the logits) of the first look, of that of the second, and what is added. The
        sum is the logit of the score; fitted on images that neither network learnt from.
    thresholds : dict
        Rule -> threshold on that score.
    """

    weights: tuple[float, float, float]
    thresholds: dict[str, float]

    def logits(self, first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
        """Both looks' evidence, (n,) and (n,) -> logits (n, 2) with that of "not fractured" at 0."""
        of_first, of_second, added = self.weights
        both = of_first * np.asarray(first, np.float64) + of_second * np.asarray(second, np.float64) + added
        return np.stack([np.zeros(len(both)), both], axis=1)


def strongest_place(cells: NDArray[np.floating], width: int, height: int, size: int) -> tuple[float, float]:
    """Where in an image of `width` x `height` pixels its map (g, g), of a square of `size` pixels, is the strongest.

    Returns
    -------
    x, y : float
        In pixels of the image, inside it.

    Examples
    --------
    >>> cells = np.zeros((48, 48))
    >>> cells[30, 10] = 1
    >>> strongest_place(cells, 768, 768, 384)
    (168.0, 488.0)
    """
    row, column = np.unravel_index(int(np.argmax(cells)), cells.shape)
    at = (np.array([[column, row]], np.float64) + 0.5) * size / cells.shape[0]
    x, y = square_geometry(width, height, size).to_image(at)[0]
    return float(np.clip(x, 0, width - 1)), float(np.clip(y, 0, height - 1))


def corner(x: float, y: float, width: int, height: int) -> tuple[int, int]:
    """The left column and the top row of the cut around a point, moved to lie inside the image where it fits."""
    left, top = (int(min(max(at - CUT / 2, 0), max(most - CUT, 0))) for at, most in ((x, width), (y, height)))
    return left, top


def cut(image: NDArray[np.uint8], x: float, y: float) -> NDArray[np.uint8]:
    """The square of `CUT` pixels around a point: (h, w) uint8 -> (CUT, CUT) uint8, black beside the image.

    Examples
    --------
    >>> cut(np.ones((100, 300), np.uint8), 290, 50).sum() == 100 * CUT
    np.True_
    """
    height, width = image.shape
    left, top = corner(x, y, width, height)
    part = image[top : top + CUT, left : left + CUT]
    result = np.zeros((CUT, CUT), np.uint8)
    result[: part.shape[0], : part.shape[1]] = part
    return result


def strongest_cuts(images: Iterable[NDArray[np.uint8]], cells: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """What is looked at once more of images as they are stored, (h, w) uint8 each, by maps (n, g, g)."""
    found = [
        cut(image, *strongest_place(found, image.shape[1], image.shape[0], size))
        for image, found in zip(images, cells, strict=True)
    ]
    return np.stack(found) if found else np.zeros((0, CUT, CUT), np.uint8)


def with_closer_map(
    first: NDArray[np.floating], second: NDArray[np.floating], at: tuple[int, int], width: int, height: int
) -> NDArray[np.float32]:
    """A map of an image in its square, (s, s), and inside the cut the mean of it and of the cut's own map, (g, g).

    Both hold logits. `at` is the cut's `corner` in an image of `width` x `height` pixels.
    """
    geometry = square_geometry(width, height, len(first))
    side = CUT / len(second)  # of a cell of the cut's map, in pixels of the image
    begin, step = geometry.to_square(np.array([at, (at[0] + side, at[1] + side)], np.float64))
    step -= begin
    moved = np.array([[step[0], 0, begin[0] + step[0] / 2 - 0.5], [0, step[1], begin[1] + step[1] / 2 - 0.5]])
    onto = (len(first), len(first))
    closer = cv2.warpAffine(np.asarray(second, np.float32), moved, onto, flags=cv2.INTER_LINEAR)
    inside = cv2.warpAffine(np.ones_like(second, np.float32), moved, onto, flags=cv2.INTER_LINEAR) > 0.999
    result = np.array(first, np.float32)
    result[inside] = (result[inside] + closer[inside]) / 2
    return result
