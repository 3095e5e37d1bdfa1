"""Another hospital: the same images as another department would deliver them, with another mix of patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fracturelib._io.files import InputError, named_folder
from fracturelib.data.dataset import load_manifest
from fracturelib.data.images import load_images, square_geometry

Images = NDArray[np.uint8]
Boxes = NDArray[np.int64]
DARK = 12  # grey values up to this are black: JPEG and the grain of a shutter are not exactly 0


@dataclass(frozen=True)
class Site:
    """How a department delivers its images, against how home does; each default leaves an image as it is.

    Attributes
    ----------
    blur : float
        Standard deviation of the detector's point spread, as a proportion of the square's side (0..0.1).
    noise : float
        Standard deviation of the detector's noise, in grey values before the display curve (0..100).
    gamma : float
        Of the display curve, 255 (grey / 255) ** gamma: above 1 an image is darker, below 1 brighter (0.1..10).
    margin : float
        An image is up to this share smaller, somewhere on a black ground, as where the whole detector is delivered and
        not only what was exposed (0..0.8).
    inverted : float
        Proportion of images whose grey values are stored the other way round, bone dark: MONOCHROME1 that was read as
        MONOCHROME2 (DICOM PS3.3 C.7.6.3.1.2) (0..1).
    quality : int or None
        Of the JPEG that it stores, 1..100; None: stored without loss.

    Examples
    --------
    >>> Site(gamma=1.8, quality=30)
    Site(blur=0.0, noise=0.0, gamma=1.8, margin=0.0, inverted=0.0, quality=30)
    """

    blur: float = 0.0
    noise: float = 0.0
    gamma: float = 1.0
    margin: float = 0.0
    inverted: float = 0.0
    quality: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("blur", 0, 0.1),
            ("noise", 0, 100),
            ("gamma", 0.1, 10),
            ("margin", 0, 0.8),
            ("inverted", 0, 1),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name)}; expected a number in {low}..{high}")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise InputError(f"quality is {self.quality}; expected 1..100 or None")

    def deliver(self, image: Images, side: int, rng: np.random.Generator) -> Images:
        """The same image as this department would deliver it: (h, w), the square's side in pixels -> (h, w).

        In the order in which it happens: the detector blurs and adds noise, the display curve is applied, the margin is
        laid round, grey values are stored inverted or not, and the JPEG is written.

        Notes
        -----
        Gauss's noise of equal strength everywhere is a simplification: quantum noise grows where the image is bright.
        """
        turned, smaller, place = rng.random() < self.inverted, self.margin * rng.uniform(0.3, 1), rng.random(2)
        grain = rng.standard_normal(image.shape, dtype=np.float32)
        grey = image.astype(np.float32)
        if self.blur:
            grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), self.blur * side), np.float32)
        grey = np.clip(grey + self.noise * grain, 0, 255)
        image = np.round(255 * (grey / 255) ** self.gamma).astype(np.uint8)
        if self.margin:
            image = _with_margin(image, smaller, place)
        if turned:
            image = 255 - image
        if self.quality is not None:
            stored = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
            image = np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.uint8)
        return image


OLD_DETECTOR = Site(blur=0.003, noise=4.0, gamma=1.8, margin=0.25, inverted=0.25, quality=30)


def image_boxes(width: ArrayLike, height: ArrayLike, size: int) -> Boxes:
    """Where images lie in their squares: (n,) widths and heights in pixels -> (n, 4) int64 left, top, width, height."""
    found = [square_geometry(int(w), int(h), size) for w, h in zip(np.asarray(width), np.asarray(height), strict=True)]
    return np.array([(g.left, g.top, *g.inside) for g in found], np.int64).reshape(-1, 4)


def inside(image: Images, box: ArrayLike) -> Images:
    """The image without the square's padding, a view: (s, s), (4,) left, top, width, height -> (height, width)."""
    left, top, width, height = (int(v) for v in np.asarray(box))
    return image[top : top + height, left : left + width]


def _with_margin(image: Images, smaller: float, place: NDArray[np.float64]) -> Images:
    """The image, `smaller` by a factor, on black ground of the size that it had; place (2,) in 0..1, from top left."""
    height, width = image.shape
    inner = (max(1, round(width * (1 - smaller))), max(1, round(height * (1 - smaller))))
    left, top = round(place[0] * (width - inner[0])), round(place[1] * (height - inner[1]))
    framed = np.zeros_like(image)
    framed[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_AREA)
    return framed


def case_mix(
    label: ArrayLike, group: Sequence[object] | NDArray[Any] | pd.Series, prevalence: float, *, seed: int = 0
) -> NDArray[np.int64]:
    """Images of a department with another prevalence: whole patients are left out, drawn without replacement.

    If fractures are to be more common, patients without any are left out; if they are to be rarer, patients who have
    one. The images that remain of each kind are as they were: a pure shift of the prior.

    Parameters
    ----------
    label : (n,) of 0 and 1
    group : (n,)
    prevalence : float
        Proportion of fractured images, between 0 and 1. It is met as nearly as whole patients allow.
    seed : int

    Returns
    -------
    (k,) int64
        Which images remain, rising.
    """
    y, groups = np.asarray(label, np.int64), np.asarray(group, dtype=object)
    if not 0 < prevalence < 1:
        raise InputError(f"prevalence is {prevalence}; expected a number between 0 and 1")
    if not 0 < y.sum() < len(y):
        raise InputError("label: a class is missing; expected both")
    codes = pd.factorize(groups)[0]
    fractured, images = np.bincount(codes, weights=y), np.bincount(codes)
    rarer = prevalence < y.mean()
    spare = np.flatnonzero(fractured > 0 if rarer else fractured == 0)
    order = np.random.default_rng(seed).permutation(spare)
    # How the proportion would be with the first k of them left out: k = 0, 1, ...
    left = y.sum() - np.append(0, np.cumsum(fractured[order]))
    total = len(y) - np.append(0, np.cumsum(images[order]))
    gap = np.abs(np.divide(left, total, out=np.full(len(left), np.inf), where=total > 0) - prevalence)
    return np.flatnonzero(~np.isin(codes, order[: int(np.argmin(gap))])).astype(np.int64)


def open_external(size: int) -> tuple[pd.DataFrame, Images] | None:
    """Images of a real other hospital, of `size` pixels: the test split of a data folder, or val if it has no test.

    Returns
    -------
    (DataFrame, (n, size, size) uint8) or None
        Rows of its manifest and its images; None if `FRACTURE_EXTERNAL` names no folder.
    """
    folder = named_folder("FRACTURE_EXTERNAL")
    if not folder:
        return None
    frame = load_manifest(folder)
    split = "test" if (frame["split"] == "test").any() else "val"
    frame = frame[frame["split"] == split].reset_index(drop=True)
    if frame["label"].nunique() < 2:
        raise InputError(f"{folder}: its {split} images are all of one class; expected both")
    return frame, load_images(folder, list(frame["file"]), size=size)
