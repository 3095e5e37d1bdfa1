"""Exercises of lesson 12: pooling slices, partial tears apart, splitting by study, the slice that decides."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracturelib.checks.answers import (
    Reply,
    exercise,
    judge_function,
    judge_number,
    near,
    not_yet,
    outcomes,
    proportion,
    right,
)
from fracturelib.metrics import roc_auc

Numbers = NDArray[np.float64]
Truths = NDArray[np.bool_]


# 12.1 -----------------------------------------------------------------------------------------------------------------


@exercise("12.1")
def max_pooled(function: object) -> Reply:
    """A function of the evidence of each slice and of which slices are there, both (s,)."""
    there = np.array([True, True, True, False, False])
    cases: dict[str, tuple[Any, ...]] = {
        "a study whose slices all speak against a tear": (np.array([-3.0, -1.5, -2.0, 0.0, 0.0]), there),
        "a study with one slice that speaks for it": (np.array([-1.5, 2.5, -1.0, 0.0, 0.0]), there),
        "a study without padding": (np.array([0.5, -6.0, 1.0]), np.ones(3, bool)),
    }
    wrongs: list[tuple[Callable[..., Any], str]] = [
        (
            lambda e, _: np.max(e),
            "padding counts: an empty slice has evidence, too, and where all others speak against a tear it wins; "
            "leave out what is not there",
        ),
        (
            lambda e, t: e[t].mean(),
            "that is the mean: one slice with a tear among twenty would hardly move it",
        ),
        (lambda e, t: e[t].sum(), "that is the sum, which grows with the number of slices"),
        (
            lambda e, t: e[t][np.abs(e[t]).argmax()],
            "you take the strongest evidence of either sign; a bag is positive if any slice is, so take the largest",
        ),
        (lambda e, t: e[t].argmax(), "that is which slice it is; the evidence of the study is what that slice says"),
        (lambda e, t: e[t].min(), "that is the smallest: it asks whether *all* slices show a tear"),
    ]
    return judge_function(
        function,
        cases,
        lambda e, t: e[t].max(),
        "a study is torn if any of its slices shows it, and what is not there cannot show anything. That is all of max "
        "pooling, and also why one odd slice is enough for a false alarm.",
        wrongs,
    )


# 12.2 -----------------------------------------------------------------------------------------------------------------


@exercise("12.2")
def partial_apart(complete: object, partial: object, *, score: Numbers, tear: NDArray[np.str_]) -> Reply:
    """Two AUCs against whole ligaments; `tear` is none, degenerated, partial or complete."""
    found = [proportion(complete, "the first answer"), proportion(partial, "the second answer")]
    whole = np.isin(tear, ("none", "degenerated"))

    def against(positive: Truths, negative: Truths) -> float:
        chosen = positive | negative
        return float(roc_auc(positive[chosen].astype(int), score[chosen]))

    truth = [against(tear == kind, whole) for kind in ("complete", "partial")]
    together = against(~whole, whole)
    if near(found[0], truth[1], 1e-4) and near(found[1], truth[0], 1e-4) and not near(truth[0], truth[1], 1e-4):
        not_yet("both figures are right, but the other way round: first complete, then partial")
    rest = [against(tear == kind, tear != kind) for kind in ("complete", "partial")]
    normal = [against(tear == kind, tear == "none") for kind in ("complete", "partial")]
    for i, kind in enumerate(("complete", "partial")):
        words = [
            (rest[i], f"you take all others as the negatives of {kind}: the other tears are none, so leave them out"),
            (together, f"that is all tears against whole; only the {kind} ones are asked for"),
            (normal[i], "degenerated ligaments are whole as well; you left out the hard negatives"),
            (1 - truth[i], "below 0.5 as far as the answer lies above: labels or scores are the wrong way round"),
        ]
        judge_number(found[i], truth[i], "", words, otherwise=f"the figure for {kind} tears is another")
    return right(
        "one figure for both would have hidden this: how well a network finds tears depends on which tears there are, "
        "and a hospital with more partial ones gets another number from the same network."
    )


# 12.3 -----------------------------------------------------------------------------------------------------------------


STUDIES, SLICES, PART = 40, 6, 0.3


@exercise("12.3")
def split_by_study(function: object) -> Reply:
    """A function of the study of each slice (k,) and a generator to the test slices: (k,) bool."""
    study = np.random.default_rng(1).permutation(np.repeat(np.arange(100, 100 + STUDIES), SLICES))
    masks = [_test_mask(function, study, seed) for seed in (0, 1, 2)]
    for mask in masks:
        both = np.intersect1d(study[mask], study[~mask])
        if len(both):
            not_yet(
                f"of {len(both)} studies some slices are in test and others in train: that is the leak. Draw studies, "
                "and take all slices of those"
            )
    counts = {len(np.unique(study[mask])) for mask in masks}
    if counts == {round((1 - PART) * STUDIES)}:
        not_yet("no study is on both sides, but True marks the training slices; mark those of the test")
    if counts != {round(PART * STUDIES)}:
        not_yet(f"no study is on both sides; expected three in ten studies in test, not {counts} of {STUDIES}")
    if all((mask == masks[0]).all() for mask in masks):
        not_yet("it is the same split for every generator: the studies are not drawn")
    return right(
        "no study is on both sides, so a network that knows a knee again gains nothing by it. Where a patient has "
        "several studies, draw patients in the same way."
    )


def _test_mask(function: object, study: NDArray[np.int64], seed: int) -> Truths:
    (mask,) = outcomes(function, [("on forty studies of six slices", study, np.random.default_rng(seed))])
    found = np.asarray(mask)
    if found.shape != study.shape or found.dtype != bool:
        not_yet(f"expected True or False for each of {len(study)} slices, not {found.dtype} of shape {found.shape}")
    return found


# 12.4 -----------------------------------------------------------------------------------------------------------------


@exercise("12.4")
def deciding_slices(shown: object, chance: object, *, decided: NDArray[np.int64], shows: Truths) -> Reply:
    """How often the deciding slice shows the tear, and how often any slice would; `shows` is (n, s)."""
    found, by_chance = proportion(shown, "the first answer"), proportion(chance, "the second answer")
    truth, luck = float(shows[np.arange(len(decided)), decided].mean()), float(shows.mean(axis=1).mean())
    if near(found, luck, 1e-4) and near(by_chance, truth, 1e-4) and not near(truth, luck, 1e-4):
        not_yet("both figures are right, but the other way round: first the network's, then chance's")
    judge_number(
        found,
        truth,
        "",
        [
            (1 - truth, "that is how often it does *not* show the tear"),
            (
                float(np.asarray(shows.any(axis=0))[decided].mean()),
                "ask each study about its own slices: `shows[i, decided[i]]`",
            ),
            (float(shows[:, decided].mean()), "`shows[:, decided]` asks every study about all slices that were chosen"),
            (luck, "that is chance: a slice drawn blindly"),
        ],
        otherwise="the first figure is another: of the studies, in how many is `shows[i, decided[i]]` true?",
    )
    return judge_number(
        by_chance,
        luck,
        "chance is not one in the number of slices, because a tear shows in several of them. "
        "Without that figure the first one says nothing.",
        [
            (1 / shows.shape[1], "one in the number of slices would be right if each tear showed in a single one"),
            (float(shows.any(axis=0).mean()), "that counts the slices in which any study shows a tear"),
            (0.5, "it is no coin: count in how many of its slices a tear shows"),
        ],
        otherwise="the second figure is another: the proportion of its slices that show the tear, study by study",
    )
