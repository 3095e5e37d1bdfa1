"""What a map has to beat: chance, the image's centre, networks that learnt nothing, and the ceiling of its grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import InputError
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
from fracturelib.explain.sanity_checks import image_maps, learnt_parts, randomised
from fracturelib.metrics.bootstrap import Groups
from fracturelib.models.classifier import Classifier, batches
from fracturelib.models.registry import stages

SHOWN = ("pointing, near", "energy", "rank accuracy", "IoU, tuned")
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Outlined:
    """Images whose fractures are outlined: images and masks (n, s, s) uint8, and the patient of each."""

    images: NDArray[np.uint8]
    masks: Mask
    groups: Sequence[object]


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


def judge_with_own_cut(found: Heat, masks: Mask, on_validation: Heat, val_masks: Mask) -> Judged:
    """Every kind of map gets what every other gets: a cut of its own, tuned on validation."""
    cut = tuned_cut(on_validation, val_masks)
    return judge_images(found, masks, tolerance=tolerance_at(masks.shape[1]), cut=cut)


def judge_layer(
    classifier: Classifier, val: Outlined, test: Outlined, *, layer: str = "stage4", method: str = "Grad-CAM"
) -> Judged:
    """The maps of the test images by one method at one layer (a name, such as "stage4")."""
    chosen = stages(classifier.model)[layer]
    on_test, on_val = (image_maps(classifier, part.images, chosen, method=method) for part in (test, val))
    return judge_with_own_cut(on_test, test.masks, on_val, val.masks)


def untrained(classifier: Classifier, seed: int) -> Classifier:
    """The same network before any training."""
    return replace(classifier, model=randomised(classifier.model, learnt_parts(classifier.model), seed=seed))


def rivals_of(
    classifier: Classifier,
    val: Outlined,
    test: Outlined,
    *,
    layer: str = "stage4",
    method: str = "Grad-CAM",
    seeds: Sequence[int] = SEEDS,
) -> dict[str, Judged]:
    """What a map of the test images has to beat, each rival with a cut of its own from validation.

    Returns
    -------
    dict of str to Judged
        "chance", "the centre", "untrained" (the same network with random weights, the mean over `seeds`), and
        "the ceiling", which no map on the layer's grid can pass.
    """
    size = test.masks.shape[1]
    near = tolerance_at(size)
    middle = centre_map(size)
    with GradCAM(classifier.model, stages(classifier.model)[layer]) as cam:
        grid = cam(classifier.tensor(test.images[:1])).shape[1:]
    known = np.stack([ceiling_map(m, grid) for m in val.masks])
    return {
        "chance": chance_images(test.masks, tolerance=near),
        "the centre": judge_with_own_cut(
            np.stack([middle] * len(test.masks)), test.masks, np.stack([middle] * len(val.masks)), val.masks
        ),
        "untrained": averaged(
            [judge_layer(untrained(classifier, s), val, test, layer=layer, method=method) for s in seeds]
        ),
        "the ceiling": ceiling_images(test.masks, grid, tolerance=near, cut=tuned_cut(known, val.masks)),
    }


def methods_by_layer(classifier: Classifier, some: Outlined, *, batch: int = 16) -> pd.DataFrame:
    """How often the peak lies near the fracture, for every method (rows) at every layer (columns)."""
    near = tolerance_at(some.masks.shape[1])
    hits: dict[tuple[str, str], list[bool]] = {}
    with GradCAM(classifier.model, stages(classifier.model)) as cam:
        done = 0
        for chunk in batches(some.images, batch):
            masks = some.masks[done : done + len(chunk)]
            done += len(chunk)
            for layer, parts in cam.evidence(classifier.tensor(chunk)).items():
                for method in METHODS:
                    for heat, mask in zip(combined(*parts, method=method), masks, strict=True):
                        found = pointing_game(upsample(heat, mask.shape), mask, tolerance=near)
                        hits.setdefault((method, layer), []).append(found)
    names = list(stages(classifier.model))
    return pd.DataFrame({n: {m: float(np.mean(hits[m, n])) for m in METHODS} for n in names})


def side_by_side(
    judged: Mapping[str, Judged],
    groups: Groups | None,
    *,
    paired: bool = False,
    metrics: Sequence[str] = SHOWN,
    n: int = 500,
) -> pd.DataFrame:
    """Figures of several kinds of maps of the same images with 95 % intervals by patient, in words for the eye.

    Parameters
    ----------
    judged : mapping of str to Judged
    groups : (images,), optional
        The patient of each image.
    paired : bool
        Not each kind's figure, but by how much the first kind leads each other one, image by image.
    metrics : sequence of str
        Names of `judged_table`.
    n : int
        Bootstrap samples.

    Returns
    -------
    DataFrame
        Rows metrics, columns kinds of maps.
    """
    table = judged_table(judged, groups, n=n).set_index("metric")
    shown = {}
    for name in list(judged)[int(paired) :]:
        rows = table[table["who"] == name].loc[list(metrics)]
        shown[f"minus {name}" if paired else name] = [_lead(r) if paired else _figure(r) for _, r in rows.iterrows()]
    return pd.DataFrame(shown, index=list(metrics))


def _figure(r: pd.Series) -> str:
    return f"{r['value']:.2f} ({r['low']:.2f} to {r['high']:.2f})"


def _lead(r: pd.Series) -> str:
    low, high = r["first_minus_low"], r["first_minus_high"]
    verdict = "better" if low > 0 else "worse" if high < 0 else "not shown"
    return f"{r['first_minus']:+.2f} ({low:+.2f} to {high:+.2f}) {verdict}"
