"""Checks of lesson 00: the reader's own sensitivity, a coin's luck, what a statement is about, and an empty 97 %."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fracturelib.checks.answers import (
    UNTRIED,
    Reply,
    exercise,
    judge_number,
    near,
    not_yet,
    proportion,
    right,
)


@exercise("0.1")
def own_eyes(sensitivity: object, specificity: object, *, guesses: object, truth: Sequence[int]) -> Reply:
    """Sensitivity and specificity of the reader's guesses."""
    called, broken = _guesses(guesses, len(truth)), np.asarray(truth) == 1
    found, cleared = float(called[broken].mean()), float((~called[~broken]).mean())
    accuracy = float((called == broken).mean())
    sens, spec = proportion(sensitivity, "sensitivity"), proportion(specificity, "specificity")
    if not (near(sens, found) and near(spec, cleared)):
        if near(sens, cleared) and near(spec, found):
            not_yet(
                "you have swapped them: sensitivity looks at the fractured images, specificity at the unbroken ones"
            )
        wrong, name = (spec, "specificity") if near(sens, found) else (sens, "sensitivity")
        whole = "unbroken" if name == "specificity" else "fractured"
        usual = (
            (accuracy, "that is accuracy, the share of all images that you got right"),
            (
                1 - (cleared if name == "specificity" else found),
                "you counted your mistakes in that class, not the hits",
            ),
            (_ratio(called & broken, called), "you divided by the images that you called fractured: that is precision"),
            (float((called & broken).mean()), f"you divided by all images; {name} divides by the {whole} ones"),
            (float((~called & ~broken).mean()), f"you divided by all images; {name} divides by the {whole} ones"),
        )
        for value, words in usual:
            if near(wrong, value):
                not_yet(f"look at {name} again: {words}")
        not_yet(f"look at {name} again: count the {whole} images, and then those of them that you got right")
    return right(
        f"you found {_of(called & broken, broken)} fractures and cleared {_of(~called & ~broken, ~broken)} unbroken "
        "images. Two numbers, because missing a fracture and raising a false alarm are two different mistakes; "
        f"and {len(truth)} images are far too few to say how good your eyes are"
    )


def _guesses(guesses: object, count: int) -> np.ndarray:
    """The typed guesses: (count,) bool, or words about what is the matter with them."""
    if guesses is ... or guesses is None:
        not_yet("type your guesses in the cell above the answers first, and run that cell again")
    if isinstance(guesses, str) or not isinstance(guesses, Iterable):
        not_yet(f"guesses is a {type(guesses).__name__}; a list of {count} ones and zeros is expected")
    listed = list(guesses)
    if len(listed) != count:
        not_yet(f"there are {len(listed)} guesses for {count} images")
    if any(isinstance(g, str) or g not in (0, 1) for g in listed):
        not_yet("a guess is 1 for fractured or 0 for not fractured; there is something else among yours")
    return np.array([g == 1 for g in listed])


def _ratio(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else math.nan


def _of(part: np.ndarray, whole: np.ndarray) -> str:
    return f"{int(part.sum())} of {int(whole.sum())}"


@exercise("0.2")
def lucky_coin(chance: object) -> Reply:
    """How likely it is that a coin gets at least six of eight right."""
    ways = [math.comb(8, k) for k in range(9)]
    halves = [math.comb(4, k) ** 2 for k in range(5)]  # a reader who calls four of eight fractured
    return judge_number(
        proportion(chance, "the chance"),
        sum(ways[6:]) / 256,
        "about one coin in seven does that well. So a score on eight images says next to nothing, and every result in "
        "this course comes with an interval",
        (
            (ways[6] / 256, "that is exactly six; at least six takes in seven and eight, too"),
            (sum(ways[7:]) / 256, "that is seven or eight; at least six begins with six itself"),
            (6 / 8, "six of eight is the score; the question is how often a coin reaches it"),
            (1 / 2, "that is the chance for a single image; here a coin is tossed eight times"),
            (sum(ways[:6]) / 256, "that is the chance of at most five; what is left over is the answer"),
            (2.0**-6, "that is six right in a row; any six of the eight will do, and more than six, too"),
            (
                sum(halves[3:]) / 70,
                "right, too, but for a reader who knows that exactly four are broken and calls four: a coin does not "
                "know that, and each toss stands alone",
            ),
        ),
        otherwise="of the 256 ways in which eight tosses can fall, count those with six, seven or eight right",
    )


_UNITS = ("image", "study", "patient", "split")
_BELONGS = {
    "a": ("image", "two views of one wrist, minutes apart, can differ in this"),
    "b": ("study", "one request brings all the views that are taken at that visit"),
    "c": ("patient", "this stays true at the next visit, and on every image that is ever taken"),
    "d": ("split", "no image has a prevalence of its own: many have to be counted"),
    "e": ("image", "a frontal and a lateral can lie side by side in the same envelope"),
    "f": ("study", "a report is written once, with all the views of that visit on the screen"),
    "g": ("patient", "this is what must stay whole when a data set is divided, however often somebody comes back"),
    "h": ("split", "this is said of one of the parts into which a data set is divided"),
    "i": ("image", "the setting of the tube is chosen again for each image"),
    "j": ("study", "three views that were taken minutes apart belong to one visit"),
}


@exercise("0.3")
def what_it_is_about(level: object) -> Reply:
    """Ten statements, each about an image, a study, a patient or a split."""
    if not isinstance(level, Mapping):
        not_yet(f"a dict from letters to words is expected, as in the stub; this is a {type(level).__name__}")
    said = {str(letter).strip().casefold(): _word(value) for letter, value in level.items()}
    open_ones = [letter for letter in _BELONGS if said.get(letter, "...") == "..."]
    if len(open_ones) == len(_BELONGS):
        if level and any(letter in said for letter in _BELONGS):
            return Reply(UNTRIED, "put one of the four words in place of each row of dots, and run the cell again")
        not_yet("the letters a to j are missing; keep the form of the stub")
    if open_ones:
        not_yet(f"still open: {', '.join(open_ones)}")
    strange = [letter for letter in _BELONGS if said[letter] not in _UNITS]
    if strange:
        not_yet(f"({strange[0]}) is none of the four words: {', '.join(_UNITS)}")
    wrong = [letter for letter, (unit, _) in _BELONGS.items() if said[letter] != unit]
    if wrong:
        not_yet(f"{len(_BELONGS) - len(wrong)} of 10; think again about ({wrong[0]}): {_BELONGS[wrong[0]][1]}")
    return right(
        "images belong to studies, studies to patients, patients to splits. Whoever loses one of these levels "
        "counts one wrist twice, or tests on a patient whom the network has met"
    )


def _word(value: object) -> str:
    word = "..." if value is ... else str(value).strip().casefold()
    return {"images": "image", "studies": "study", "patients": "patient", "splits": "split"}.get(word, word)


@exercise("0.4")
def ninety_seven(accuracy: object, sensitivity: object) -> Reply:
    """Accuracy and sensitivity of a program that calls 1000 images unbroken, of which 30 are fractured."""
    right_share, found = proportion(accuracy, "accuracy"), proportion(sensitivity, "sensitivity")
    _first(right_share)
    for value, words in (
        (right_share, "the two are not the same: sensitivity looks at the 30 fractured images only"),
        (1.0, "sensitivity is the share of fractures that were found; this program never calls one"),
        (0.03, "that is how common fractures are here; the question is how many of them were found"),
    ):
        if near(found, value):
            not_yet(words)
    if not near(found, 0.0):
        not_yet("of the 30 fractured images, how many does it call fractured?")
    return right(
        "97 % right, and not one fracture found. An accuracy means nothing without the share of fractures in the "
        "images that it was measured on; lesson 01 gives this baseline its name"
    )


def _first(accuracy: float) -> None:
    """Words about an accuracy that is not the one of exercise 0.4."""
    if near(accuracy, 0.97):
        return
    if near(accuracy, 0.03):
        not_yet("you counted what it gets wrong: it is right about every image without a fracture")
    if near(accuracy, 0.5):
        not_yet("it does not toss a coin: it gives the same answer a thousand times")
    not_yet("accuracy is the share of all 1000 images about which it is right")
