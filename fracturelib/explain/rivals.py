"""What a map has to beat: chance, the image's centre, networks that learnt nothing, and the ceiling of its grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from fracturelib._io.files import InputError
from fracturelib._io.words import STUDY
from fracturelib.explain.cam_methods import METHODS
from fracturelib.explain.gradcam import GradCAM, combined
from fracturelib.explain.localization import (
    Heat,
    Judged,
    Mask,
    ceiling_images,
    ceiling_map,
    centre_map,
    chance_images,
    judge_images,
    judged_table,
    pointing_game,
    tolerance_at,
    tuned_cut,
)
from fracturelib.explain.overlay import upsample
from fracturelib.explain.sanity_checks import image_maps, untrained
from fracturelib.models.classifier import Classifier, batches
from fracturelib.models.registry import stages

SHOWN = ("pointing, near", "energy", "rank accuracy", "IoU, tuned")
SEEDS = (0, 1, 2)
BATCH = 16  # images in one pass through every layer


@dataclass(frozen=True, eq=False)
class OutlinedImages:
    """Images whose fractures are outlined: what maps of them are worth, and what they have to beat.

    Attributes
    ----------
    images : (n, s, s) uint8
    masks : (n, s, s) uint8 of 0 and 1
        None of them empty.
    groups : sequence of n, optional
        The patient of each image.

    Examples
    --------
    >>> masks = np.zeros((2, 32, 32), np.uint8)
    >>> masks[:, 8:16, 8:16] = 1
    >>> outlined = OutlinedImages(np.zeros_like(masks), masks, ["patient 1", "patient 2"])
    >>> outlined.compare({"itself": outlined.judge(masks.astype(np.float32), cut=0.5)}, metrics=["energy"])
                         itself
    energy  1.00 (0.34 to 1.00)
    """

    images: NDArray[np.uint8]
    masks: Mask
    groups: Sequence[object] | None = None

    def __post_init__(self) -> None:
        for name, rows in (("masks", self.masks), ("groups", self.groups)):
            if rows is not None and len(rows) != len(self.images):
                raise InputError(f"{name} has {len(rows)} rows; expected {len(self.images)}, one for each image")
        shape = np.shape(self.images)
        if len(shape) != 3 or np.asarray(self.images).dtype != np.uint8:
            raise InputError(f"images is {np.asarray(self.images).dtype} of shape {shape}; expected uint8, (n, s, s)")
        if np.shape(self.masks) != shape:
            raise InputError(f"masks has shape {np.shape(self.masks)}; expected {shape}, as the images")

    def __getitem__(self, places: Sequence[int] | slice | NDArray[np.int64] | NDArray[np.bool_]) -> "OutlinedImages":
        """Some of them, or one several times: places (k,), (n,) bool, or a slice."""
        groups = None if self.groups is None else np.array(self.groups, object)[places].tolist()
        return OutlinedImages(self.images[places], self.masks[places], groups)

    @property
    def tolerance(self) -> int:
        """How many pixels beside a fracture still count as near: `tolerance_at` their size."""
        return tolerance_at(self.masks.shape[1])

    def judge(self, maps: Heat, *, cut: float) -> Judged:
        """Every figure of maps of these images.

        Parameters
        ----------
        maps : (n, s, s) float32
            Evidence, at the images' size.
        cut : float
            Proportion of a map's maximum above which a place is marked, for the tuned IoU and for the parts.

        Raises
        ------
        InputError
            If shapes do not fit, a value is not finite, or a mask is empty.
        """
        return judge_images(maps, self.masks, tolerance=self.tolerance, cut=cut)

    def chance(self) -> Judged:
        """What blind choice gives, in expectation and exactly."""
        return chance_images(self.masks, tolerance=self.tolerance)

    def judge_layer(
        self, classifier: Classifier, val: "OutlinedImages", *, layer: str = "stage4", method: str = "Grad-CAM"
    ) -> Judged:
        """The maps of a network by one method at one layer (a name, such as "stage4").

        Every kind of map gets what every other gets: a cut of its own, tuned on the validation images.
        """
        _require_some(self, val)
        chosen = _layer_of(classifier, layer)
        own, on_val = (image_maps(classifier, part.images, chosen, method=method) for part in (self, val))
        return self.judge(own, cut=tuned_cut(on_val, val.masks))

    def rivals(
        self,
        classifier: Classifier,
        val: "OutlinedImages",
        *,
        layer: str = "stage4",
        method: str = "Grad-CAM",
        seeds: Sequence[int] = SEEDS,
    ) -> dict[str, Judged]:
        """What a map of these images has to beat, each rival with a cut of its own from validation.

        Returns
        -------
        dict of str to Judged
            "chance", "the centre", "untrained" (the same network with random weights, the mean over `seeds`), and
            "the ceiling", which no map on the layer's grid can pass.
        """
        _require_some(self, val)
        middle, alike = centre_map(self.masks.shape[1])[None], {"layer": layer, "method": method}
        with GradCAM(classifier.model, _layer_of(classifier, layer)) as cam:
            grid = cam(classifier.tensor(self.images[:1])).shape[1:]
        known = np.stack([ceiling_map(m, grid) for m in val.masks])
        return {
            "chance": self.chance(),
            "the centre": self.judge(
                middle.repeat(len(self.masks), axis=0),
                cut=tuned_cut(middle.repeat(len(val.masks), axis=0), val.masks),
            ),
            "untrained": averaged([self.judge_layer(untrained(classifier, seed=s), val, **alike) for s in seeds]),
            "the ceiling": ceiling_images(self.masks, grid, tolerance=self.tolerance, cut=tuned_cut(known, val.masks)),
        }

    def methods_by_layer(self, classifier: Classifier) -> pd.DataFrame:
        """How often the peak lies near the fracture, for every method (rows) at every layer (columns)."""
        layers = stages(classifier.model)
        hits: dict[tuple[str, str], list[bool]] = {(m, name): [] for name in layers for m in METHODS}
        with GradCAM(classifier.model, layers) as cam:
            for chunk, masks in zip(batches(self.images, BATCH), batches(self.masks, BATCH), strict=True):
                for layer, parts in cam.evidence(classifier.tensor(chunk)).items():
                    for method in METHODS:
                        for heat, mask in zip(combined(*parts, method=method), masks, strict=True):
                            near = pointing_game(upsample(heat, mask.shape), mask, tolerance=self.tolerance)
                            hits[method, layer].append(near)
        return pd.DataFrame({name: {m: float(np.mean(hits[m, name])) for m in METHODS} for name in layers})

    def table(self, judged: Mapping[str, Judged], *, metrics: Sequence[str] = SHOWN, n: int = 500) -> pd.DataFrame:
        """Figures of several kinds of maps of these images, such as the `rivals`, with 95 % intervals by patient.

        Parameters
        ----------
        judged : mapping of str to Judged
        metrics : sequence of str
            Of "pointing", "pointing, near", "energy", "rank accuracy", "IoU, Otsu", "IoU, tuned", "AP at IoU 0.5" and
            "empty maps".
        n : int
            Bootstrap samples.

        Returns
        -------
        DataFrame
            Index metric; a row for each metric and kind of map; columns who (the kind), value, low, high, and
            first_minus with its own _low and _high: the first kind's figure minus this one's.
        """
        table = judged_table(judged, self.groups, n=n).set_index("metric")
        return pd.concat([table[table["who"] == name].loc[list(metrics)] for name in judged])

    def compare(
        self, judged: Mapping[str, Judged], *, paired: bool = False, metrics: Sequence[str] = SHOWN, n: int = 500
    ) -> pd.DataFrame:
        """The `table` in words for the eye.

        Parameters
        ----------
        judged, metrics, n
            As for `table`.
        paired : bool
            Not each kind's figure, but by how much the first kind leads each other one, image by image.

        Returns
        -------
        DataFrame
            Rows metrics, columns kinds of maps.
        """
        table, shown = self.table(judged, metrics=metrics, n=n), {}
        for name in list(judged)[int(paired) :]:
            rows = table[table["who"] == name]
            said = [_lead(r) if paired else _figure(r) for _, r in rows.iterrows()]
            shown[f"minus {name}" if paired else name] = said
        return pd.DataFrame(shown, index=list(metrics))


def _require_some(judged: OutlinedImages, val: OutlinedImages) -> None:
    for what, outlined in (("to judge", judged), ("of validation", val)):
        if not len(outlined.images):
            raise InputError(f"there are no outlined images {what}; expected at least one")


def _layer_of(classifier: Classifier, layer: str) -> nn.Module:
    layers = stages(classifier.model)
    if classifier.noun == STUDY:
        raise InputError("the network is one of studies; expected one of images")
    if layer not in layers:
        raise InputError(f"layer is {layer!r}; expected one of {', '.join(layers)}")
    return layers[layer]


def averaged(several: Sequence[Judged]) -> Judged:
    """Several judgements of the same images as one, such as of networks with different seeds: means image by image.

    The parts of all of them are pooled, the strongest of each judgement counting as 1, because two networks do not
    share a scale.
    """
    if not several:
        raise InputError("several has no judgements; expected at least one")
    frames = [one.images for one in several]
    strengths = [one.strength / max(float(one.strength.max(initial=0)), 1e-12) for one in several]
    return Judged(
        pd.DataFrame(np.mean([f.to_numpy(np.float64) for f in frames], axis=0), columns=frames[0].columns),
        np.concatenate([one.image for one in several]),
        np.concatenate(strengths),
        np.concatenate([one.hit for one in several]),
        np.sum([one.fractures for one in several], axis=0),
    )


def _figure(r: pd.Series) -> str:
    return f"{r['value']:.2f} ({r['low']:.2f} to {r['high']:.2f})"


def _lead(r: pd.Series) -> str:
    low, high = r["first_minus_low"], r["first_minus_high"]
    verdict = "better" if low > 0 else "worse" if high < 0 else "not shown"
    return f"{r['first_minus']:+.2f} ({low:+.2f} to {high:+.2f}) {verdict}"
