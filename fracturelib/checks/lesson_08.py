"""Exercises of lesson 08: a masked loss, labels missing for a reason, what sharing is worth, what a score leans on."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracturelib.checks.answers import (
    Reply,
    choice,
    exercise,
    judge_function,
    judge_number,
    not_yet,
    number,
    proportion,
    right,
    sides,
)
from fracturelib.metrics import group_bootstrap, roc_auc

Numbers = NDArray[np.float64]
Targets = NDArray[np.int64]


# 8.1 --------------------------------------------------------------------------------------------------------------


def _by_task(p: Numbers, y: Targets, mean: Callable[[Numbers, Targets], float]) -> float:
    """The sum over tasks of what `mean` makes of the surprises (images,) and the answers (images,)."""
    surprise = -np.log(np.where(y == 1, p, 1 - p))
    return float(sum(mean(s, t) for s, t in zip(surprise.T, y.T, strict=True)))


def _known_mean(surprise: Numbers, answer: Targets) -> float:
    return float(surprise[answer >= 0].mean()) if (answer >= 0).any() else 0.0


def _masked(p: Numbers, y: Targets) -> float:
    return _by_task(p, y, _known_mean)


def _pooled(p: Numbers, y: Targets) -> float:
    known = y >= 0
    return float(-np.log(np.where(y == 1, p, 1 - p))[known].mean()) if known.any() else 0.0


def _only_yes(p: Numbers, y: Targets) -> float:
    return float(sum(_known_mean(-np.log(q), t) for q, t in zip(p.T, y.T, strict=True)))


@exercise("8.1")
def masked_loss(function: object) -> Reply:
    """A function of probabilities and answers, both (images, tasks)."""
    p = np.array([[0.9, 0.3], [0.8, 0.6], [0.6, 0.2], [0.5, 0.7]])
    cases = {
        "a table of four images and two tasks": (p, np.array([[1, 1], [1, -1], [0, 0], [1, -1]])),
        "a table of three tasks where nothing is missing": (
            np.column_stack([p, p[::-1, 0]]),
            np.array([[0, 1, 1], [1, 1, 0], [0, 0, 0], [1, 0, 1]]),
        ),
        "a table with a task of which nothing is known": (p, np.array([[1, -1], [0, -1], [-1, -1], [1, -1]])),
    }
    wrongs: list[tuple[Callable[..., Any], str]] = [
        (
            lambda p, y: _by_task(p, y, lambda s, t: float(s[t >= 0].sum()) / len(t)),
            "you divide by all images; only those whose answer is known may count, above the line and below it",
        ),
        (
            lambda p, y: _by_task(p, y, lambda s, _: float(s.mean())),
            "you read -1 as 'no': nobody said so, and the network would learn it as a fact",
        ),
        (
            lambda p, y: _by_task(p, y, lambda s, t: float(s[t >= 0].sum())),
            "within a task take the mean over its known images, not their sum, or the task with the most notes rules",
        ),
        (
            lambda p, y: _by_task(p, y, lambda s, t: _known_mean(s, t) if (t >= 0).any() else math.nan),
            "the mean of no image is NaN, and that spreads: a task of which nothing is known adds 0",
        ),
        (
            _pooled,
            "you pool all known answers; the mean is taken task by task, and then the tasks are added up",
        ),
        (
            lambda p, y: _masked(p, y) / y.shape[1],
            "the means are right; the tasks are added up, not averaged",
        ),
        (
            _only_yes,
            "you take log p for everybody; where the answer is 'no', the truth was given 1 - p",
        ),
        (lambda p, y: _masked(p, y) / math.log(10), "the logarithm is the natural one, `np.log`"),
        (lambda p, y: -_masked(p, y), "the sign is the wrong way round: surprise is *minus* the logarithm"),
    ]
    return judge_function(
        function,
        cases,
        _masked,
        "what is unknown counts nothing, above the line and below it, and a batch in which nobody is known costs 0 "
        "and not NaN. That is all there is to a masked loss.",
        wrongs,
    )


# 8.2 --------------------------------------------------------------------------------------------------------------


def _share_hidden(table: object, full: Targets, column: int) -> None:
    """End with "not yet" unless about nine in ten of the first answer, and nothing else, were hidden in the column."""
    if table is full:
        not_yet("that is targets['train'] itself: work on a copy, and make `targets` anew if you have changed it")
    mine = np.asarray(table)
    if mine.shape != full.shape:
        not_yet(f"the first answer is a table of targets; expected an array of shape {full.shape}")
    changed = mine != full
    if not changed.any():
        not_yet("nothing is hidden in this table")
    if np.delete(changed, column, axis=1).any():
        not_yet(f"a column other than {column} has changed, too; only the answers to this one question get lost")
    rows = changed[:, column]
    if (mine[rows, column] != -1).any():
        not_yet("what nobody knows is written as -1; you wrote another value, which would be taught as an answer")
    first = full[:, column] == 0
    if rows[~first].any():
        not_yet("images with other answers have lost theirs as well; only those of the first answer do, here")
    share = rows[first].mean()
    if share == 1:
        not_yet("all of them are hidden; nine in ten are, and one in ten is still there to learn from")
    if share < 0.5:
        not_yet("too few are hidden: you seem to have kept nine in ten, and hidden the tenth")
    if not 0.75 <= share <= 0.99:
        not_yet(f"of the first answer {share:.0%} are hidden; nine in ten was asked for")


@exercise("8.2")
def missing_for_a_reason(
    table: object, answer: object, *, full: Targets, column: int, recall: Callable[[Targets], float]
) -> Reply:
    """Targets of which nine in ten of the first answer are hidden, and the recall of that answer afterwards."""
    _share_hidden(table, full, column)
    truth, before = float(recall(np.asarray(table))), float(recall(full))
    if not math.isfinite(truth):
        not_yet("the table is right, and no test image has this answer: these images cannot say what it costs. Go on")
    meaning = (
        f"with all labels {before:.2f}, now {truth:.2f}. The loss was masked and honest, and still the network has "
        "learnt that this answer is rare, because among the images that kept a label it is."
    )
    wrongs = [
        (before, "that is the recall with all labels known; train on your table"),
        (1 - truth, "that is the proportion which is *not* named correctly"),
        (before - truth, "that is the loss in recall; hand in what is left of it"),
    ]
    value = proportion(answer, "the recall")
    return judge_number(value, truth, meaning, wrongs, otherwise="the table is right; the recall is not: recall(table)")


# 8.3 --------------------------------------------------------------------------------------------------------------

SEEDS = (0, 1, 2)


def _three(answer: object) -> Numbers:
    if np.isscalar(answer) or getattr(answer, "ndim", None) == 0:
        number(answer, "the gain")
        not_yet("one seed is one draw, and may be a lucky one: ask three times, and hand in the list of the gains")
    if isinstance(answer, str | Mapping) or not isinstance(answer, Iterable):
        not_yet(f"this is a {type(answer).__name__}; a list of three gains is expected")
    gains = np.array([number(value, "a gain") for value in answer])
    if len(gains) != len(SEEDS):
        not_yet(f"the list holds {len(gains)} gains; three are expected, one for each of the seeds 0, 1 and 2")
    return gains


@exercise("8.3")
def sharing_with_few_fractures(
    answer: object, *, targets: Targets, gone: NDArray[np.bool_], auc_of: Callable[..., float], tasks: Sequence[Any]
) -> Reply:
    """What sharing gains in AUC for fractures when most fractures are hidden: three seeds."""
    gains = _three(answer)

    def asked(table: Targets) -> Numbers:
        return np.array([auc_of(table, tasks, s) - auc_of(table[:, :1], tasks[:1], s) for s in SEEDS])

    def are(values: Numbers) -> bool:
        return bool((np.abs(gains - values) <= 0.006).all())

    few = targets.copy()
    few[gone, 0] = -1
    truth = asked(few)
    if are(truth):
        signs = "all of one sign" if (truth > 0).all() or (truth < 0).all() else "not even of one sign"
        return right(
            f"from {truth.min():+.3f} to {truth.max():+.3f}, {signs}: the same images, the same labels, another seed. "
            "One of them alone would have made a fine headline, in one direction or the other."
        )
    if are(-truth):
        not_yet("fracture alone minus all tasks? The gain by sharing is all tasks minus fracture alone")
    if np.ptp(gains) == 0 and np.ptp(truth) > 1e-3:
        not_yet("three times the same gain: pass the seed on, so that each of the three networks begins elsewhere")
    if (gains > 0.35).all():
        not_yet("these look like AUCs; the gain is the difference of two of them")
    if are(truth[::-1]) or are(np.sort(truth)):
        not_yet("the three gains are there, but not in the order of the seeds 0, 1, 2")
    if are(asked(targets)):
        not_yet("nothing is hidden yet: first set column 0 of the images `gone` to -1, in a copy")
    at = int(np.argmax(np.abs(gains - truth)))
    return not_yet(f"with seed {SEEDS[at]} another gain comes out; hide column 0 of `gone` for both of the networks")


# 8.4 --------------------------------------------------------------------------------------------------------------


@exercise("8.4")
def leans_on(
    area: object, verdict: object, *, score: Numbers, fractured: Targets, asked: NDArray[np.bool_], owners: Any
) -> Reply:
    """Among images without a fracture, the AUC of the fracture score for a label, and whether it leans on it."""
    sound, groups = fractured == 0, np.asarray(owners)
    label = np.asarray(asked).astype(np.int64)
    if len(np.unique(label[sound])) < 2:
        not_yet("among these images without a fracture all are alike in this label: they cannot answer. Go on")
    value = proportion(area, "the AUC")
    truth = roc_auc(label[sound], score[sound])
    wrongs = [
        (
            roc_auc(label, score),
            "fractured images are among them: label and fracture may be tied, so keep the fracture fixed at none",
        ),
        (_auc(label[~sound], score[~sound]), "these are the fractured images; take those where nothing is to be found"),
        (1 - truth, "that is turned round: the higher score should speak *for* the label"),
        (roc_auc((~sound).astype(np.int64), score), "that is the AUC for fractures; here the *label* is to be told"),
        (
            _auc((~sound)[label == 1].astype(np.int64), score[label == 1]),
            "that is the AUC for fractures within the label, the other question of the figure",
        ),
    ]
    judge_number(value, truth, "", wrongs, otherwise="keep the images without a fracture, then roc_auc(label, score)")
    found = group_bootstrap(roc_auc, label[sound], score[sound], groups[sound], n=500)
    words = {
        "leans": "0.5 lies inside the interval by patients, so the images do not show that the score leans",
        "not shown": "0.5 lies outside the interval by patients: the score does lean, one way or the other",
    }
    allowed = {"not shown" if side == "across" else "leans" for side in sides(found.low, found.high, 0.5)}
    shown = choice(verdict, allowed, words)
    return right(
        f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}), by {len(np.unique(groups[sound]))} patients without "
        "a fracture. " + ("Not shown is not the same as shown not to." if shown == "not shown" else "Now ask why.")
    )


def _auc(label: Targets, score: Numbers) -> float:
    return roc_auc(label, score) if len(np.unique(label)) == 2 else math.nan
