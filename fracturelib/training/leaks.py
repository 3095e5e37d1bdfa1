"""The leak by slice: slices of one study in train and test, so that a network need only know the study again.

Yagis et al. 2021 (doi 10.1038/s41598-021-01681-w) trained networks on four sets of brain MRI both ways: split by slice,
their accuracy was 29 to 55 points higher, and 96 % with labels drawn at random. Here is the same with any studies.
"""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import InputError
from fracturelib.metrics.bootstrap import Groups, group_codes
from fracturelib.metrics.classification import roc_auc
from fracturelib.training.config import StudyConfig
from fracturelib.training.train import Images, fit

SPLITS = ("slice", "study")
LABELS = ("true", "random")
# A small network that is shown each slice as it is, again and again: it can learn by heart, as a large one does.
BY_HEART = StudyConfig(size=64, epochs=12, batch=32, augment=False, pooling="mean")


def stacked_slices(studies: Images, *, slices: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The middle slices of each study as images of their own.

    Parameters
    ----------
    studies : Images
        (n, s, h, w) uint8, filled up with empty slices.
    slices, size : int
        How many of each study, and the side of the squares that they are brought to, in pixels.

    Returns
    -------
    images : (n slices, 1, size, size) uint8
    study : (n slices,) int64
        Which one each is from.

    Raises
    ------
    InputError
        If a study has fewer slices.

    Examples
    --------
    >>> knees = Images(np.ones((2, 5, 64, 64), np.uint8), np.arange(2))
    >>> images, study = stacked_slices(knees, slices=3, size=32)
    >>> images.shape, study.tolist()
    ((6, 1, 32, 32), [0, 0, 0, 1, 1, 1])
    """
    found = []
    for volume in studies.images:
        shown = volume[volume.any(axis=(1, 2))]
        if len(shown) < slices:
            raise InputError(f"slices is {slices}; expected at most {len(shown)}, which is what a study has")
        first = (len(shown) - slices) // 2
        chosen = shown[first : first + slices]
        found += [cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in chosen]
    study = np.repeat(np.arange(len(studies.images)), slices)
    return np.stack(found)[:, None], study


def held_out(of: NDArray[np.int64], split: str, *, seed: int = 0) -> NDArray[np.bool_]:
    """Which slices are the test: three in ten of all slices, or all slices of three in ten studies.

    Parameters
    ----------
    of : (k,) int64
        The study, or better the patient, of each slice.
    split : "slice" or "study"
    seed : int

    Returns
    -------
    (k,) bool

    Examples
    --------
    >>> test = held_out(np.repeat(np.arange(10), 4), "study")
    >>> test.reshape(10, 4).all(axis=1).sum()
    np.int64(3)
    """
    if split not in SPLITS:
        raise InputError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
    rng = np.random.default_rng(seed)
    units = np.arange(len(of)) if split == "slice" else of
    names = np.unique(units)
    return np.isin(units, rng.permutation(names)[: round(0.3 * len(names))])


def leak_by_slice(
    studies: Images,
    group: Groups | None = None,
    *,
    labels: str = "true",
    draws: int = 20,
    slices: int = 8,
    config: StudyConfig = BY_HEART,
    seed: int = 0,
) -> pd.DataFrame:
    """The same slices, the same network, split by slice and split by study.

    Parameters
    ----------
    studies : Images
        (n, s, h, w) uint8 and their labels.
    group : (n,), optional
        The patient of each study; each its own if not given.
    labels : "true" or "random"
        Random ones are dealt out anew among the studies in each draw: only which study a slice is from can be learnt.
    draws, seed : int
        How many times slices are split, labels dealt and a network trained.
    slices : int
        So many from the middle of each study.
    config : StudyConfig
        Of the network, which sees one slice at a time.

    Returns
    -------
    DataFrame
        draw, split ("slice" or "study"), labels, auc, accuracy (at a score of 0.5), each 0..1 and of the test's slices;
        one row for each draw and split.

    Raises
    ------
    InputError
        If `labels` is unknown, or the studies have fewer slices.

    Examples
    --------
    >>> knees = np.random.default_rng(0).integers(0, 256, (8, 6, 32, 32)).astype(np.uint8)
    >>> quick = StudyConfig(size=32, epochs=1, width=2, augment=False)
    >>> found = leak_by_slice(Images(knees, np.arange(8) % 2), draws=1, slices=4, config=quick)
    >>> found["split"].tolist()
    ['slice', 'study']
    """
    if labels not in LABELS:
        raise InputError(f"labels is {labels!r}; expected one of {', '.join(LABELS)}")
    images, study = stacked_slices(studies, slices=slices, size=config.size)
    patient = group_codes(group, len(studies.labels))[study]
    rows = []
    for draw in range(draws):
        dealt = np.random.default_rng([seed, draw]).permutation(studies.labels)
        known = dealt if labels == "random" else studies.labels
        for split, test in _splits(patient, known[study], seed=1000 * seed + draw):
            train = Images(images[~test], known[study][~test])
            network, _ = fit(train, None, replace(config, seed=draw), progress=False)
            score, truth = network.scores(images[test], batch=256), known[study][test]
            rows.append((draw, split, labels, roc_auc(truth, score), float(((score >= 0.5) == truth).mean())))
    return pd.DataFrame(rows, columns=["draw", "split", "labels", "auc", "accuracy"])


def _splits(
    patient: NDArray[np.int64], labels: NDArray[np.int64], *, seed: int
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """By slice and by study, each drawn again until train and test have both labels."""
    for split in SPLITS:
        for again in range(100):
            test = held_out(patient, split, seed=seed + 1_000_003 * again)
            if len(set(labels[test])) == len(set(labels[~test])) == 2:
                yield split, test
                break
        else:
            raise InputError(
                f"labels are too few to have both in train and test, split by {split}; expected more studies"
            )
