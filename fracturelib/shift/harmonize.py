"""Undoing what another department does to its films: which way round, margins, grey values. No label is needed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracturelib._io.files import InputError
from fracturelib.data.images import square_geometry, to_square
from fracturelib.shift.acquisition import DARK, Boxes, Films, inside

MARGIN = 0.99  # a row or column of which so much is black belongs to the margin
GRID = 8


def ranked(film: Films) -> NDArray[np.float32]:
    """Rank of each pixel's grey value in its film, -0.5 (darkest) to 0.5: (h, w) -> (h, w); ties share a rank.

    No rising display curve changes it, and the ranks of an inverted film are those of the film with the sign turned.
    """
    counts = np.bincount(film.ravel(), minlength=256)
    middle = np.cumsum(counts) - counts / 2
    return (middle / film.size - 0.5)[film].astype(np.float32)


def _margins(film: Films) -> tuple[slice, slice]:
    """Rows and columns that are left if the black margin is cut off; all of them if nothing would be left."""
    black = film <= DARK
    rows, columns = (np.flatnonzero(black.mean(axis=axis) < MARGIN) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return slice(0, film.shape[0]), slice(0, film.shape[1])
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _cut(film: Films) -> Films:
    return film[_margins(film)]


def without_margins(images: Films, boxes: Boxes) -> tuple[Films, Boxes]:
    """Films without their black margins, laid into their squares anew: (n, s, s), (n, 4) -> the same."""
    films, found = np.array(images), np.array(boxes)
    size = images.shape[1]
    for i, box in enumerate(boxes):
        film = inside(images[i], box)
        part = _cut(film)
        if part.shape != film.shape:
            films[i] = to_square(part, size)
            geometry = square_geometry(part.shape[1], part.shape[0], size)
            found[i] = (geometry.left, geometry.top, *geometry.inside)
    return films, found


@dataclass(frozen=True)
class Upright:
    """Tells films that are stored inverted from those that are not, whatever their display curve.

    Attributes
    ----------
    weights : (GRID * GRID / 2,) float64
        Of the mean rank in each cell of a grid, its left and right halves folded upon each other. There is no
        constant: a film and its negative always get opposite answers.
    """

    weights: NDArray[np.float64]

    def inverted(self, images: Films, boxes: Boxes) -> NDArray[np.bool_]:
        """Which films are inverted: (n, s, s), (n, 4) -> (n,). A margin decides where there is one: it is black."""
        found = np.zeros(len(images), bool)
        for i, box in enumerate(boxes):
            film = inside(images[i], box)
            margins = [film.size - _cut(kind).size for kind in (film, 255 - film)]
            evidence = float(_folded(film) @ self.weights)
            found[i] = margins[1] > margins[0] if margins[0] != margins[1] else evidence > 0
        return found


def _folded(film: Films) -> NDArray[np.float64]:
    grid = cv2.resize(ranked(film), (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float64)
    return (grid[:, : GRID // 2] + grid[:, : GRID // 2 - 1 : -1]).ravel() / 2


def teach_upright(images: Films, boxes: Boxes) -> Upright:
    """Learn from home's films which way round films are; nobody has to label any, as each is turned by us.

    A logistic regression on films and their negatives: (n, s, s), (n, 4) -> Upright.
    """
    from sklearn.linear_model import LogisticRegression

    x = np.array([_folded(_cut(inside(image, box))) for image, box in zip(images, boxes, strict=True)])
    y = np.repeat([0, 1], len(x))
    fitted = LogisticRegression(C=1.0, fit_intercept=False, max_iter=2000).fit(np.concatenate([x, -x]), y)
    return Upright(fitted.coef_[0])


def turned(images: Films, boxes: Boxes, which: NDArray[np.bool_]) -> Films:
    """A copy with some films inverted, but not the padding: (n, s, s), (n, 4), (n,) -> (n, s, s)."""
    films = np.array(images)
    for i in np.flatnonzero(which):
        film = inside(films[i], boxes[i])
        film[:] = 255 - film
    return films


def grey_shares(images: Films, boxes: Boxes) -> NDArray[np.float64]:
    """Share of each grey value among all pixels of the films: (n, s, s), (n, 4) -> (256,), its sum 1."""
    counts = np.zeros(256)
    for image, box in zip(images, boxes, strict=True):
        counts += np.bincount(inside(image, box).ravel(), minlength=256)
    if not counts.sum():
        raise InputError("images: there are no films; expected at least one")
    return counts / counts.sum()


def grey_curve(there: ArrayLike, home: ArrayLike) -> Films:
    """The rising curve that gives the films of one department the grey values of the other's: quantile matching.

    Gonzalez & Woods, Digital Image Processing, "histogram specification"; one curve for the whole department, not one
    a film, so that a film that is darker than others stays so.

    Parameters
    ----------
    there, home : (256,)
        `grey_shares` of films as they come, and as they should be.

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


def recoloured(images: Films, boxes: Boxes, curve: Films) -> Films:
    """A copy with the curve applied to the films, not to the padding: (n, s, s), (n, 4), (256,) -> (n, s, s)."""
    films = np.array(images)
    for image, box in zip(films, boxes, strict=True):
        film = inside(image, box)
        film[:] = curve[film]
    return films


@dataclass(frozen=True)
class Undone:
    """Films after `undo`: `images` (n, s, s), `boxes` (n, 4), `inverted` (n,) bool, and the `curve` (256,) applied."""

    images: Films
    boxes: Boxes
    inverted: NDArray[np.bool_]
    curve: Films


def undo(images: Films, boxes: Boxes, upright: Upright, home: ArrayLike) -> Undone:
    """Turn what is inverted, cut off the margins, and match the grey values: no label is needed for it.

    Parameters
    ----------
    images, boxes : (n, s, s) uint8, (n, 4)
    upright : Upright
        Taught at home.
    home : (256,)
        `grey_shares` of home's films without margins. No film has to leave home for it.
    """
    which = upright.inverted(images, boxes)
    films, found = without_margins(turned(images, boxes, which), boxes)
    curve = grey_curve(grey_shares(films, found), home)
    return Undone(recoloured(films, found, curve), found, which, curve)
