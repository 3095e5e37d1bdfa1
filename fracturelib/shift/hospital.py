"""A hospital as one value: its images, where they lie in their squares, its patients, and labels that few may know."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from fracturelib.curate.shortcuts import find_shortcuts
from fracturelib.metrics.intervals import Interval
from fracturelib.shift.acquisition import (
    OLD_DETECTOR,
    Boxes,
    Images,
    Site,
    case_mix,
    delivered,
    image_boxes,
    open_external,
)
from fracturelib.shift.drift import image_statistics
from fracturelib.shift.harmonize import (
    InversionDetector,
    crop_margins,
    grey_curve,
    grey_shares,
    recoloured,
    turned,
)


@dataclass(frozen=True)
class Hospital:
    """Images of one hospital.

    Attributes
    ----------
    images : (n, s, s) uint8
    boxes : (n, 4) int64
        Where images lie in their squares (`image_boxes`).
    labels : (n,) int64
        Of 0 and 1; whoever plays the stranger does not look at them.
    groups : (n,) object
        The patient of each image.
    real : bool
        Whether it is the real one of `FRACTURE_EXTERNAL`.
    """

    images: Images
    boxes: Boxes
    labels: NDArray[np.int64]
    groups: NDArray[Any]
    real: bool = False

    @classmethod
    def of(cls, frame: pd.DataFrame, images: Images, *, real: bool = False) -> "Hospital":
        """From rows of a manifest and their images (n, s, s)."""
        boxes = image_boxes(frame["width"], frame["height"], images.shape[1])
        return cls(images, boxes, np.array(frame["label"], np.int64), np.array(frame["group"], object), real)

    def delivered(self, site: Site) -> "Hospital":
        """The same images of the same patients, as another department would have delivered them."""
        return replace(self, images=delivered(self.images, site, boxes=self.boxes))

    def some(self, which: ArrayLike) -> "Hospital":
        """Only some of its images: their places (k,), or (n,) bool."""
        chosen = np.asarray(which)
        return replace(
            self,
            images=self.images[chosen],
            boxes=self.boxes[chosen],
            labels=self.labels[chosen],
            groups=self.groups[chosen],
        )

    def rarer(self, odds: float = 0.5) -> NDArray[np.int64]:
        """Places (k,) of the images that remain if whole patients leave until the odds of a fracture are `odds` times.

        A pure change of prevalence: who leaves is drawn by lot (`case_mix`).
        """
        there = odds * self.labels.mean() / (1 - self.labels.mean())
        return case_mix(self.labels, self.groups, there / (1 + there))

    def without_margins(self) -> "Hospital":
        """The same images with their black margins cut off."""
        images, boxes = crop_margins(self.images, self.boxes)
        return replace(self, images=images, boxes=boxes)

    def greys(self) -> NDArray[np.float64]:
        """Proportion of each grey value among all pixels of its images: (256,), its sum 1."""
        return grey_shares(self.images, self.boxes)

    def __str__(self) -> str:
        """How many images of how many patients."""
        return f"{len(self.images)} images of {len(set(self.groups))} patients"


def other_hospital(home: Hospital, site: Site = OLD_DETECTOR, *, odds: float = 0.5) -> Hospital:
    """The real other hospital that `FRACTURE_EXTERNAL` names; else one that is made from home's images.

    The made one delivers its images as `site` does, and its odds of a fracture are `odds` times those at home.
    """
    found = open_external(home.images.shape[1])
    if found is not None:
        return Hospital.of(*found, real=True)
    return home.delivered(site).some(home.rarer(odds))


def told_apart(a: Hospital, b: Hospital) -> dict[str, Interval]:
    """How well one can guess which of two hospitals an image is from, by plain grey statistics: name -> AUC.

    Judged on patients that the guess was not fitted on; worst first. Empty if there are too few patients for it.
    """
    tables = [image_statistics(h.images, h.boxes) for h in (a, b)]
    hospital = np.repeat([0, 1], [len(t) for t in tables])
    owners = [f"{k} {g}" for k, h in enumerate((a, b)) for g in h.groups]
    table = pd.concat(tables, ignore_index=True)
    with threadpool_limits(1):  # trees on so few images are faster on one core than on several
        found = find_shortcuts(table, ["picture"] * table.shape[1], list(hospital), owners)
    return {s.name: s.auc for s in found}


def harmonizing_steps(there: Hospital, detector: InversionDetector, home: Hospital) -> dict[str, Hospital]:
    """What `harmonize` does, step by step: images as delivered, turned, without margins, with home's grey values.

    Parameters
    ----------
    there : Hospital
    detector : InversionDetector
        Fitted at home.
    home : Hospital
        Only the grey values of its images without margins are looked at, 256 numbers.
    """
    upright = replace(there, images=turned(there.images, there.boxes, detector.inverted(there.images, there.boxes)))
    cut = upright.without_margins()
    curve = grey_curve(cut.greys(), home.without_margins().greys())
    return {
        "as delivered": there,
        "turned": upright,
        "margins cut": cut,
        "greys matched": replace(cut, images=recoloured(cut.images, cut.boxes, curve)),
    }
