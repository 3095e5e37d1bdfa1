"""Undoing what another department does to its images: which way round, margins, grey values. No label is needed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracturelib._io.files import InputError
from fracturelib.shift.acquisition import Images, inside
from fracturelib.shift.hospital import Hospital, without_margins

GRID = 8


def ranked(image: Images) -> NDArray[np.float32]:
    """Rank of each pixel's grey value in its image, -0.5 (darkest) to 0.5: (h, w) -> (h, w); ties share a rank.

    No rising display curve changes it, and the ranks of an inverted image are those of the image with the sign turned.
    """
    counts = np.bincount(image.ravel(), minlength=256)
    middle = np.cumsum(counts) - counts / 2
    return (middle / image.size - 0.5)[image].astype(np.float32)


def _folded(image: Images) -> NDArray[np.float64]:
    grid = cv2.resize(ranked(image), (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float64)
    return (grid[:, : GRID // 2] + grid[:, : GRID // 2 - 1 : -1]).ravel() / 2


def grey_curve(there: ArrayLike, home: ArrayLike) -> Images:
    """The rising curve that gives the images of one department the grey values of the other's: quantile matching.

    Gonzalez & Woods, Digital Image Processing, "histogram specification"; one curve for the whole department, not one
    an image, so that an image that is darker than others stays so.

    Parameters
    ----------
    there, home : (256,)
        `Hospital.greys` of images as they come, and as they should be.

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


@dataclass(frozen=True, eq=False)
class Harmonizer:
    """Makes the images of another department like home's; no label is needed, and no image has to leave home.

    Attributes
    ----------
    weights : (GRID * GRID / 2,) float64
        What tells images that are stored inverted from those that are not, whatever their display curve: of the mean
        rank in each cell of a grid, its left and right halves folded upon each other. There is no constant: an image
        and its negative always get opposite answers.
    greys : (256,) float64
        `Hospital.greys` of home's images without margins.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"width": 8, "height": 8, "label": [0, 1], "group": ["A", "B"]})
    >>> home = Hospital.of(frame, np.arange(128, dtype=np.uint8).reshape(2, 8, 8) + 50)
    >>> Harmonizer.of(home).inverted(home.turned(np.array([False, True])))
    array([False,  True])
    """

    weights: NDArray[np.float64]
    greys: NDArray[np.float64]

    @classmethod
    def of(cls, home: Hospital) -> "Harmonizer":
        """Learn from home's images which way round images are; nobody has to label any, as each is turned by us.

        A logistic regression on images and their negatives.
        """
        from sklearn.linear_model import LogisticRegression

        images = [inside(image, box) for image, box in zip(home.images, home.boxes, strict=True)]
        x = np.array([_folded(without_margins(image)) for image in images])
        y = np.repeat([0, 1], len(x))
        fitted = LogisticRegression(C=1.0, fit_intercept=False, max_iter=2000).fit(np.concatenate([x, -x]), y)
        return cls(fitted.coef_[0], home.without_margins().greys())

    def inverted(self, there: Hospital) -> NDArray[np.bool_]:
        """Which of n images are inverted: (n,). A margin decides where there is one: it is black."""
        found = np.zeros(len(there.images), bool)
        for i, box in enumerate(there.boxes):
            image = inside(there.images[i], box)
            margins = [image.size - without_margins(kind).size for kind in (image, 255 - image)]
            evidence = float(_folded(image) @ self.weights)
            found[i] = margins[1] > margins[0] if margins[0] != margins[1] else evidence > 0
        return found

    def steps(self, there: Hospital) -> dict[str, Hospital]:
        """Step by step: "as delivered", "turned", "margins cut", and "greys matched", with home's grey values."""
        upright = there.turned(self.inverted(there))
        cut = upright.without_margins()
        curve = grey_curve(cut.greys(), self.greys)
        matched = cut.recoloured(curve)
        return {"as delivered": there, "turned": upright, "margins cut": cut, "greys matched": matched}
