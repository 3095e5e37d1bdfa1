"""Undoing what another department does to its images: which way round, margins, grey values. No label is needed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracturelib._io.files import InputError
from fracturelib.data.images import square_geometry, to_square
from fracturelib.shift.acquisition import DARK, Boxes, Images, inside

MARGIN = 0.99  # a row or column of which so much is black belongs to the margin
GRID = 8


def ranked(image: Images) -> NDArray[np.float32]:
    """Rank of each pixel's grey value in its image, -0.5 (darkest) to 0.5: (h, w) -> (h, w); ties share a rank.

    No rising display curve changes it, and the ranks of an inverted image are those of the image with the sign turned.
    """
    counts = np.bincount(image.ravel(), minlength=256)
    middle = np.cumsum(counts) - counts / 2
    return (middle / image.size - 0.5)[image].astype(np.float32)


def _margins(image: Images) -> tuple[slice, slice]:
    """Rows and columns that are left if the black margin is cut off; all of them if nothing would be left."""
    black = image <= DARK
    rows, columns = (np.flatnonzero(black.mean(axis=axis) < MARGIN) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return slice(0, image.shape[0]), slice(0, image.shape[1])
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _cut(image: Images) -> Images:
    return image[_margins(image)]


def crop_margins(images: Images, boxes: Boxes) -> tuple[Images, Boxes]:
    """Images without their black margins, laid into their squares anew: (n, s, s), (n, 4) -> the same."""
    radiographs, found = np.array(images), np.array(boxes)
    size = images.shape[1]
    for i, box in enumerate(boxes):
        image = inside(images[i], box)
        part = _cut(image)
        if part.shape != image.shape:
            radiographs[i] = to_square(part, size)
            geometry = square_geometry(part.shape[1], part.shape[0], size)
            found[i] = (geometry.left, geometry.top, *geometry.inside)
    return radiographs, found


@dataclass(frozen=True)
class InversionDetector:
    """Tells images that are stored inverted from those that are not, whatever their display curve.

    Attributes
    ----------
    weights : (GRID * GRID / 2,) float64
        Of the mean rank in each cell of a grid, its left and right halves folded upon each other. There is no
        constant: an image and its negative always get opposite answers.
    """

    weights: NDArray[np.float64]

    def inverted(self, images: Images, boxes: Boxes) -> NDArray[np.bool_]:
        """Which images are inverted: (n, s, s), (n, 4) -> (n,). A margin decides where there is one: it is black."""
        found = np.zeros(len(images), bool)
        for i, box in enumerate(boxes):
            image = inside(images[i], box)
            margins = [image.size - _cut(kind).size for kind in (image, 255 - image)]
            evidence = float(_folded(image) @ self.weights)
            found[i] = margins[1] > margins[0] if margins[0] != margins[1] else evidence > 0
        return found


def _folded(image: Images) -> NDArray[np.float64]:
    grid = cv2.resize(ranked(image), (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float64)
    return (grid[:, : GRID // 2] + grid[:, : GRID // 2 - 1 : -1]).ravel() / 2


def fit_inversion_detector(images: Images, boxes: Boxes) -> InversionDetector:
    """Learn from home's images which way round images are; nobody has to label any, as each is turned by us.

    A logistic regression on images and their negatives: (n, s, s), (n, 4) -> InversionDetector.
    """
    from sklearn.linear_model import LogisticRegression

    x = np.array([_folded(_cut(inside(image, box))) for image, box in zip(images, boxes, strict=True)])
    y = np.repeat([0, 1], len(x))
    fitted = LogisticRegression(C=1.0, fit_intercept=False, max_iter=2000).fit(np.concatenate([x, -x]), y)
    return InversionDetector(fitted.coef_[0])


def turned(images: Images, boxes: Boxes, which: NDArray[np.bool_]) -> Images:
    """A copy with some images inverted, but not the padding: (n, s, s), (n, 4), (n,) -> (n, s, s)."""
    radiographs = np.array(images)
    for i in np.flatnonzero(which):
        image = inside(radiographs[i], boxes[i])
        image[:] = 255 - image
    return radiographs


def grey_shares(images: Images, boxes: Boxes) -> NDArray[np.float64]:
    """Proportion of each grey value among all pixels of the images: (n, s, s), (n, 4) -> (256,), its sum 1."""
    counts = np.zeros(256)
    for image, box in zip(images, boxes, strict=True):
        counts += np.bincount(inside(image, box).ravel(), minlength=256)
    if not counts.sum():
        raise InputError("images: there are no images; expected at least one")
    return counts / counts.sum()


def grey_curve(there: ArrayLike, home: ArrayLike) -> Images:
    """The rising curve that gives the images of one department the grey values of the other's: quantile matching.

    Gonzalez & Woods, Digital Image Processing, "histogram specification"; one curve for the whole department, not one
    an image, so that an image that is darker than others stays so.

    Parameters
    ----------
    there, home : (256,)
        `grey_shares` of images as they come, and as they should be.

    Returns
    -------
    (256,) uint8
        What each grey value becomes.
    """
    first, second = (np.asarray(v, float) for v in (there, home))
    if first.shape != (256,) or second.shape != (256,):
        raise InputError(f"there has shape {first.shape}, home {second.shape}; expected (256,) both")
    up_to = [np.cumsum(v) - v / 2 for v in (first, second)]  # a value stands in the middle of its own share
    used = second > 0
    curve = np.interp(up_to[0], up_to[1][used], np.flatnonzero(used))
    return np.round(np.maximum.accumulate(curve)).astype(np.uint8)


def recoloured(images: Images, boxes: Boxes, curve: Images) -> Images:
    """A copy with the curve applied to the images, not to the padding: (n, s, s), (n, 4), (256,) -> (n, s, s)."""
    radiographs = np.array(images)
    for image, box in zip(radiographs, boxes, strict=True):
        radiograph = inside(image, box)
        radiograph[:] = curve[radiograph]
    return radiographs


@dataclass(frozen=True)
class Harmonized:
    """`images` (n, s, s) made alike, `boxes` (n, 4), `inverted` (n,) bool, and the `curve` (256,) applied."""

    images: Images
    boxes: Boxes
    inverted: NDArray[np.bool_]
    curve: Images


def harmonize(images: Images, boxes: Boxes, inversion_detector: InversionDetector, home: ArrayLike) -> Harmonized:
    """Turn what is inverted, cut off the margins, and match the grey values: no label is needed for it.

    Parameters
    ----------
    images, boxes : (n, s, s) uint8, (n, 4)
    inversion_detector : InversionDetector
        Fitted at home.
    home : (256,)
        `grey_shares` of home's images without margins. No image has to leave home for it.
    """
    which = inversion_detector.inverted(images, boxes)
    radiographs, found = crop_margins(turned(images, boxes, which), boxes)
    curve = grey_curve(grey_shares(radiographs, found), home)
    return Harmonized(recoloured(radiographs, found, curve), found, which, curve)
