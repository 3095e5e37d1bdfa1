"""How an image was moved, measured on three discs: for the tests of what a training does to images."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Move:
    """Degrees, factor, proportion of the side in x and y, whether mirrored; and of grey values factor and summand."""

    angle: float
    zoom: float
    right: float
    down: float
    mirrored: bool
    contrast: float
    brightness: float


def three_discs(side: int = 96) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Discs of the greys 120, 160 and 200 on grey 80, (side, side) uint8, and their places x, y, (3, 2)."""
    image = np.full((side, side), 80, np.uint8)
    places = np.array([[0.36, 0.32], [0.62, 0.38], [0.42, 0.66]]) * side
    y, x = np.mgrid[:side, :side] + 0.5
    for grey, (px, py) in zip((120, 160, 200), places, strict=True):
        image[np.hypot(x - px, y - py) < side / 16] = grey
    return image, places


def measured(image: NDArray[np.uint8], before: NDArray[np.float64]) -> Move:
    """How `three_discs` became this image: where each place of it came from, as an affine map about the middle."""
    side, ground = len(image), float(np.median(image))
    count, labels, stats, centres = cv2.connectedComponentsWithStats((image > ground + 12).astype(np.uint8))
    assert count >= 4
    largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:3] + 1
    order = np.argsort([np.median(image[labels == i]) for i in largest])
    now = centres[largest[order]] + 0.5
    design = np.column_stack([now - side / 2, np.ones(3)])
    matrix = np.linalg.solve(design, before - side / 2).T  # (2, 3)
    mirrored = bool(np.linalg.det(matrix[:, :2]) < 0)
    zoom = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    inversion_detector = matrix[:, :2] @ np.diag([-1 if mirrored else 1, 1])
    within = np.hypot(*(np.mgrid[:side, :side] + 0.5 - now[2][::-1, None, None])) < side / 32
    contrast = float(np.median(image[within]) - ground) / 120
    return Move(
        angle=float(np.degrees(np.arctan2(inversion_detector[1, 0], inversion_detector[0, 0]))),
        zoom=zoom,
        right=float(matrix[0, 2] / side),
        down=float(matrix[1, 2] / side),
        mirrored=mirrored,
        contrast=contrast,
        brightness=ground - ((80 - 127) * contrast + 127),
    )


def fills(values: list[float], low: float, high: float, *, slack: float = 0.12) -> bool:
    """Whether values are spread over a range and not beyond, as far as they can be measured."""
    room = slack * (high - low)
    ends = low - room < min(values) < low + room and high - room < max(values) < high + room
    return bool(ends and abs(np.mean(values) - (low + high) / 2) < 0.06 * (high - low))
