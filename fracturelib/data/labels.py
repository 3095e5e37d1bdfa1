"""Words for fractured and not, and for splits: of folders, tables and categories."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from fracturelib._io.files import InputError, printable

CLASSES = ("Not Fractured", "Fractured")  # the index is the label
SPLITS = ("train", "val", "test")
LABEL_OF = {
    **dict.fromkeys(
        (
            "notfractured", "nonfractured", "nofracture", "nofractures", "nonfracture", "notfracture", "unfractured",
            "withoutfracture", "fracturefree", "normal", "negative", "intact", "healthy", "notbroken", "unbroken",
        ),
        0,
    ),
    **dict.fromkeys(
        ("fractured", "fracture", "fractures", "positive", "broken", "withfracture", "fracturepositive"), 1
    ),
}  # fmt: skip
SPLIT_OF = {
    **dict.fromkeys(("train", "training", "trainset", "trainingset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "valset", "validationset"), "val"),
    **dict.fromkeys(("test", "testing", "tests", "testset", "holdout"), "test"),
}
STUDY_CLASSES = ("Whole", "Torn")  # of studies: is the ligament torn?
STUDY_LABEL_OF = {
    **dict.fromkeys(
        (
            "whole", "nottorn", "untorn", "notear", "notears", "noacltear", "unruptured", "norupture", "normal",
            "negative", "intact", "healthy",
        ),
        0,
    ),
    **dict.fromkeys(("torn", "tear", "tears", "acltear", "acltears", "rupture", "ruptured", "positive"), 1),
}  # fmt: skip
_TRUTH = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "t", "y"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no", "f", "n"), 0),
}
_LOOSE_SPLIT = re.compile(r"(train|training|val|valid|validation|test|testing)(\d+|(images?|imgs?|data|set)\d*)")
_NO = frozenset(["no", "without", "absent", "negative", "normal", "intact", "healthy"])  # of what follows in its clause
_NEXT = frozenset(["non", "un", "not"])  # of the next word only: a non-displaced fracture is one
_DENIED = re.compile(  # what is said after it
    r"((is|are|was) )?(no|none|absent|negative|free|excluded|ruled out|not( (seen|visible|present|detected|found))?)"
)


def plain(name: str) -> str:
    """A folder's name without regard to case, spaces, hyphens and underscores."""
    return "".join(c for c in name.lower() if c not in " -_")


def split_of(folder: str) -> str:
    """The split that a folder's name means, also as train2017, Val_Images or test-data; empty if none."""
    known = plain(folder)
    if known in SPLIT_OF:
        return SPLIT_OF[known]
    loose = _LOOSE_SPLIT.fullmatch(known)
    return SPLIT_OF[loose[1]] if loose else ""


def place_of_split(folders: Sequence[str]) -> int:
    """Which folder says the split, -1 if none: the nearest to the image, a word as it is before one with more."""
    places = [i for i, folder in enumerate(folders) if split_of(folder)]
    exact = [i for i in places if plain(folders[i]) in SPLIT_OF]
    return (exact or places or [-1])[-1]


def place_of_label(folders: Sequence[str], words: Mapping[str, int] = LABEL_OF) -> int:
    """Which folder says the class, -1 if none: the nearest to the image."""
    return next((i for i in range(len(folders) - 1, -1, -1) if plain(folders[i]) in words), -1)


def class_label(name: str, words: Mapping[str, int] = LABEL_OF, classes: Sequence[str] = CLASSES) -> int:
    """The label of a class folder: 0 not fractured, 1 fractured; of studies 0 whole, 1 torn.

    Raises
    ------
    InputError
        If the name is not known; the message gives those that are.
    """
    try:
        return words[plain(name)]
    except KeyError:
        known = "; ".join(
            f"{classes[label]}: {', '.join(n for n, v in words.items() if v == label)}" for label in (1, 0)
        )
        raise InputError(f"class folder {printable(name)!r} is not known; expected one of {known}") from None


def parse_label(
    value: object, where: str | Path, words: Mapping[str, int] = LABEL_OF, classes: Sequence[str] = CLASSES
) -> int:
    """0 or 1 from a number, a truth value or a class name.

    Raises
    ------
    InputError
        Naming `where`, if it is none of them.
    """
    text = str(value).strip()
    for known, key in ((_TRUTH, text.lower()), (words, plain(text))):
        if key in known:
            return known[key]
    raise InputError(
        f"{where}: label {printable(text)!r} is not known; expected 0, 1, {classes[0]!r} or {classes[1]!r}"
    )


def means_fracture(category: str) -> bool:
    """Whether a category means a fracture: "Wrist fracture", "non-displaced fracture"; not "metal" or "no fracture"."""
    if plain(category) in LABEL_OF:
        return LABEL_OF[plain(category)] == 1
    clauses = [re.findall(r"[a-z]+", clause) for clause in re.split(r"[,;()]|\b(?:but|with)\b", category.lower())]
    for number, words in enumerate(clauses):
        for i, word in enumerate(words):
            rest = " ".join(w for clause in (words[i + 1 :], *clauses[number + 1 :]) for w in clause)
            if _is_fracture(word) and not _is_denied(words[:i]) and not _DENIED.fullmatch(rest):
                return True
    return False


def _is_fracture(word: str) -> bool:
    if word.startswith(("nonfract", "unfract", "nofract", "notfract")):
        return False
    return "fract" in word or word.startswith(("fraktur", "frattur")) or word in ("frac", "fx", "broken", "positive")


def _is_denied(before: list[str]) -> bool:
    """Whether the words before a fracture, in its clause, deny it."""
    near = [word for word in before if word not in ("a", "an", "any", "the")]
    free = any(pair == ("free", "of") or pair == ("free", "from") for pair in pairwise(near))
    return free or not _NO.isdisjoint(near) or (bool(near) and near[-1] in _NEXT)
