"""A hospital as one value: its images, where they lie in their squares, its patients, and labels that few may know."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from fracturelib._io.files import InputError
from fracturelib.curate.shortcuts import find_shortcuts
from fracturelib.data.images import square_geometry, to_square
from fracturelib.metrics._checks import number_within
from fracturelib.metrics.intervals import Interval
from fracturelib.shift.acquisition import (
    DARK,
    OLD_DETECTOR,
    Boxes,
    Images,
    Site,
    case_mix,
    image_boxes,
    inside,
    open_external,
)
from fracturelib.shift.predictions import Predictions, places_of

MARGIN = 0.99  # a row or column of which so much is black belongs to the margin


def without_margins(image: Images) -> Images:
    """The image without its black margins, a view: (h, w) -> (height, width); all of it if nothing would be left."""
    black = image <= DARK
    rows, columns = (np.flatnonzero(black.mean(axis=axis) < MARGIN) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@dataclass(frozen=True, eq=False)
class Hospital:
    """Images of one hospital.

    Attributes
    ----------
    images : (n, s, s) uint8
    boxes : (n, 4) int64
        Where images lie in their squares: left, top, width, height, in pixels. What is outside is padding, which no
        hospital delivers: it stays black and is not looked at.
    labels : (n,) int64
        Of 0 and 1; whoever plays the stranger does not look at them.
    groups : (n,) object
        The patient of each image.
    real : bool
        Whether it is the real one of `FRACTURE_EXTERNAL`.

    Examples
    --------
    >>> frame = pd.DataFrame({"width": 30, "height": 40, "label": [0, 1, 0], "group": ["A", "B", "B"]})
    >>> print(Hospital.of(frame, np.zeros((3, 32, 32), np.uint8)))
    3 images of 2 patients
    """

    images: Images
    boxes: Boxes
    labels: NDArray[np.int64]
    groups: NDArray[Any]
    real: bool = False

    def __post_init__(self) -> None:
        for name in ("boxes", "labels", "groups"):
            rows = next(iter(np.shape(getattr(self, name))), 0)
            if rows != len(self.images):
                raise InputError(f"{name} has {rows} rows; expected {len(self.images)}, one for each image")
        for name, kind in (("boxes", np.int64), ("groups", object)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        labels = np.asarray(self.labels)
        if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
            raise InputError("labels has values other than 0 and 1; expected one of them for each image")
        object.__setattr__(self, "labels", labels.astype(np.int64))

    @classmethod
    def of(cls, frame: pd.DataFrame, images: Images, *, real: bool = False) -> "Hospital":
        """From rows of a manifest and their images (n, s, s)."""
        boxes = image_boxes(frame["width"], frame["height"], images.shape[1])
        return cls(images, boxes, frame["label"].to_numpy(), frame["group"].to_numpy(object), real)

    def __str__(self) -> str:
        """How many images of how many patients."""
        return f"{len(self.images)} images of {len(set(self.groups))} patients"

    # Its patients
    def some(self, which: ArrayLike) -> "Hospital":
        """Only some of its images: their places (k,), or (n,) bool."""
        chosen = places_of(which, len(self.images))
        parts = {name: getattr(self, name)[chosen] for name in ("images", "boxes", "labels", "groups")}
        return replace(self, **parts)

    def rarer(self, odds: float = 0.5) -> NDArray[np.int64]:
        """Places (k,) of the images that remain if whole patients leave until the odds of a fracture are `odds` times.

        A pure change of prevalence: who leaves is drawn by lot (`case_mix`).
        """
        number_within("odds", odds, 1e-6, 1e6)
        if len(found := sorted(set(self.labels.tolist()))) < 2:
            raise InputError(f"labels of {len(self.labels)} images are only {found}; expected both classes")
        there = odds * self.labels.mean() / (1 - self.labels.mean())
        return case_mix(self.labels, self.groups, there / (1 + there))

    def other_hospital(self, site: Site = OLD_DETECTOR) -> "Hospital":
        """The real other hospital that `FRACTURE_EXTERNAL` names; else one that is made from the images of this one.

        The made one delivers its images as `site` does, and its odds of a fracture are half of those here.
        """
        found = open_external(self.images.shape[1])
        if found is not None:
            return Hospital.of(*found, real=True)
        return self.delivered(site).some(self.rarer())

    def predictions(self, scores_of: Callable[[Images], ArrayLike]) -> Predictions:
        """What a classifier says of its images: (n, s, s) -> scores (n,) in 0..1, such as `Classifier.scores`."""
        return Predictions(self.labels, np.asarray(scores_of(self.images), float), self.groups)

    # Its images
    def _changed(self, change: Callable[[int, Images], Images]) -> "Hospital":
        """A copy with `change` applied to the place and the pixels of each image, but not to the padding."""
        images = np.array(self.images)
        for i, box in enumerate(self.boxes):
            image = inside(images[i], box)
            image[:] = change(i, image.copy())
        return replace(self, images=images)

    def delivered(self, site: Site, *, seed: int = 0) -> "Hospital":
        """The same images of the same patients, as another department would have delivered them.

        Everything is in the resolution of the squares. Image i gets the same noise whatever images come after it.
        """
        side = max(self.images.shape[1:])
        return self._changed(lambda i, image: site.deliver(image, side, np.random.default_rng([seed, i])))

    def turned(self, which: NDArray[np.bool_]) -> "Hospital":
        """The same images, some of them (n,) inverted."""
        return self._changed(lambda i, image: 255 - image if which[i] else image)

    def recoloured(self, curve: Images) -> "Hospital":
        """The same images with each grey value g become `curve[g]`: (256,) uint8."""
        return self._changed(lambda _, image: curve[image])

    def without_margins(self) -> "Hospital":
        """The same images with their black margins cut off, laid into their squares anew."""
        images, boxes, size = np.array(self.images), np.array(self.boxes), self.images.shape[1]
        for i, box in enumerate(self.boxes):
            image = inside(self.images[i], box)
            part = without_margins(image)
            if part.shape != image.shape:
                images[i] = to_square(part, size)
                geometry = square_geometry(part.shape[1], part.shape[0], size)
                boxes[i] = (geometry.left, geometry.top, *geometry.inside)
        return replace(self, images=images, boxes=boxes)

    def greys(self) -> NDArray[np.float64]:
        """Proportion of each grey value among all pixels of its images: (256,), its sum 1."""
        counts = np.zeros(256)
        for image, box in zip(self.images, self.boxes, strict=True):
            counts += np.bincount(inside(image, box).ravel(), minlength=256)
        if not counts.sum():
            raise InputError("images: there are no images; expected at least one")
        return counts / counts.sum()

    def statistics(self) -> pd.DataFrame:
        """Plain grey statistics of each image, none of which knows anything of bones: n rows.

        Returns
        -------
        DataFrame
            mean, spread, dark and bright (5 and 95 % of pixels are below), black and white (proportion of pixels within
            12 of the end), sharpness (mean absolute Laplacian), grain (mean absolute difference from the median of
            3 x 3).
        """
        rows = []
        for square, box in zip(self.images, self.boxes, strict=True):
            image = np.ascontiguousarray(inside(square, box))
            grain = np.abs(image.astype(np.int16) - cv2.medianBlur(image, 3)).mean()
            dark, bright = np.quantile(image, [0.05, 0.95])
            black, white = (image <= DARK).mean(), (image >= 255 - DARK).mean()
            sharp = np.abs(cv2.Laplacian(image, cv2.CV_32F)).mean()
            rows.append((image.mean(), image.std(), dark, bright, black, white, sharp, grain))
        names = ["mean", "spread", "dark", "bright", "black", "white", "sharpness", "grain"]
        return pd.DataFrame(rows, columns=names, dtype=float)

    def told_apart(self, other: "Hospital") -> dict[str, Interval]:
        """How well one can guess which of two hospitals an image is from, by its `statistics`: name -> AUC.

        Judged on patients that the guess was not fitted on; worst first. Empty if there are too few patients for it.
        """
        tables = [h.statistics() for h in (self, other)]
        hospital = np.repeat([0, 1], [len(t) for t in tables])
        owners = [f"{k} {g}" for k, h in enumerate((self, other)) for g in h.groups]
        table = pd.concat(tables, ignore_index=True)
        with threadpool_limits(1):  # trees on so few images are faster on one core than on several
            found = find_shortcuts(table, ["picture"] * table.shape[1], list(hospital), owners)
        return {s.name: s.auc for s in found}
