"""Deletion and insertion over many images and orders of pixels: whether the network uses what a map names first."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import Maps
from fracturelib.explain.perturbation import BASELINES, ordered_curves
from fracturelib.metrics.bootstrap import Groups, draws, group_codes, percentile_limits
from fracturelib.models.classifier import Classifier

Curves = NDArray[np.float64]
KINDS = ("deletion", "insertion")


@dataclass(frozen=True)
class Ordered:
    """What became of the logit of each image.

    Attributes
    ----------
    share : (steps + 1,) float64
        Proportion of pixels that went or came.
    found : dict of (baseline, kind, order) to (images, steps + 1) float64
        Kinds are "deletion" and "insertion".
    """

    share: Curves
    found: dict[tuple[str, str, str], Curves]

    def means(self) -> pd.DataFrame:
        """Mean curves over the images, for a figure: one row a baseline, kind, order and step.

        Columns baseline, kind and order, "proportion of pixels" and "logit".
        """
        curves = [
            pd.DataFrame({"proportion of pixels": self.share, "logit": curve.mean(axis=0)}).assign(
                baseline=baseline, kind=kind, order=order
            )
            for (baseline, kind, order), curve in self.found.items()
        ]
        return pd.concat(curves, ignore_index=True)

    def areas(self, baseline: str, kind: str) -> dict[str, Curves]:
        """The area under each image's curve, which is its mean logit on the way: order -> (images,) float64."""
        found = {o: c for (b, k, o), c in self.found.items() if (b, k) == (baseline, kind)}
        if not found:
            raise InputError(f"nothing was found for baseline {baseline!r} and {kind!r}; expected one of each of "
                             f"{', '.join(sorted({f'{b} {k}' for b, k, _ in self.found}))}")  # fmt: skip
        return {o: np.asarray(np.trapezoid(c, self.share, axis=1)) for o, c in found.items()}

    def table(self, groups: Groups | None, *, n: int = 500) -> pd.DataFrame:
        """Mean areas, and the first order against each other one, image by image, with 95 % intervals by patient.

        "better in" counts the images in which the first order has the smaller area for deletion, the larger for
        insertion.
        """
        rows: dict[str, dict[str, str]] = {}
        for baseline, kind in dict.fromkeys(key[:2] for key in self.found):
            areas = self.areas(baseline, kind)
            first, *others = areas
            row = {name: f"{area.mean():.2f}" for name, area in areas.items()}
            for name in others:
                gap = areas[first] - areas[name]
                low, high = paired_limits(gap, groups, n=n)
                better = int((gap < 0).sum() if kind == "deletion" else (gap > 0).sum())
                row[f"minus {name}"] = f"{gap.mean():+.2f} ({low:+.2f} to {high:+.2f})"
                row[f"better than {name} in"] = f"{better} of {len(gap)}"
            rows[f"{kind}, {baseline}"] = row
        return pd.DataFrame.from_dict(rows, orient="index")


def paired_limits(gap: Curves, groups: Groups | None, *, n: int = 500) -> tuple[float, float]:
    """95 % limits of a mean of paired differences, (images,) float64, by drawing whole patients."""
    times = np.array(list(draws(group_codes(groups, len(gap)), n, 0)))
    return percentile_limits(times @ gap / times.sum(axis=1), 0.95)


def compare_orders(
    classifier: Classifier,
    images: NDArray[np.uint8],
    orders: Mapping[str, Maps],
    *,
    steps: int = 8,
) -> Ordered:
    """Delete and insert the pixels of each image in several orders, with each baseline of `BASELINES`.

    Parameters
    ----------
    classifier : Classifier
    images : (n, s, s) uint8
    orders : mapping of str to (n, h, w) float32
        By name, such as "by the map", "from the centre", "at random": the highest values go, or come, first.
    steps : int
    """
    for name, heats in orders.items():
        if len(heats) != len(images):
            raise InputError(f"orders[{name!r}] has {len(heats)} maps; expected {len(images)}, one for each image")
    tensors = [classifier.tensor(image[None]) for image in images]
    found: dict[tuple[str, str, str], Curves] = {}
    share = np.linspace(0, 1, steps + 1)
    for baseline in BASELINES:
        for name, heats in orders.items():
            ran = [
                ordered_curves(classifier.model, x, heat, steps=steps, baseline=baseline)
                for x, heat in zip(tensors, heats, strict=True)
            ]
            for place, kind in enumerate(KINDS, start=1):
                found[baseline, kind, name] = np.stack([one[place] for one in ran])
    return Ordered(share, found)
