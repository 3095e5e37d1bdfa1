"""Words for fractured and not, and for splits: of folders, tables and categories."""

import re
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
_TRUTH = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "t", "y"), 1),
    **dict.fromkeys(("0", "0.0", "false", "no", "f", "n"), 0),
}
_NO = frozenset(["no", "not", "non", "un", "without", "free", "absent", "negative", "normal", "intact", "healthy"])


def plain(name: str) -> str:
    """A folder's name without regard to case, spaces, hyphens and underscores."""
    return "".join(c for c in name.lower() if c not in " -_")


def class_label(name: str) -> int:
    """The label of a class folder: 0 not fractured, 1 fractured.

    Raises
    ------
    InputError
        If the name is not known; the message gives those that are.
    """
    try:
        return LABEL_OF[plain(name)]
    except KeyError:
        known = "; ".join(
            f"{CLASSES[label]}: {', '.join(n for n, v in LABEL_OF.items() if v == label)}" for label in (1, 0)
        )
        raise InputError(f"class folder {printable(name)!r} is not known; expected one of {known}") from None


def parse_label(value: object, where: str | Path) -> int:
    """0 or 1 from a number, a truth value or a class name.

    Raises
    ------
    InputError
        Naming `where`, if it is none of them.
    """
    text = str(value).strip()
    for known, key in ((_TRUTH, text.lower()), (LABEL_OF, plain(text))):
        if key in known:
            return known[key]
    raise InputError(
        f"{where}: label {printable(text)!r} is not known; expected 0, 1, {CLASSES[0]!r} or {CLASSES[1]!r}"
    )


def means_fracture(category: str) -> bool:
    """Whether a category means a fracture: "fracture", "Wrist fracture", "elbow positive"; not "metal"."""
    if plain(category) in LABEL_OF:
        return LABEL_OF[plain(category)] == 1
    words = re.findall(r"[a-z]+", category.lower())
    if any(word in _NO or word.startswith(("nonfract", "unfract", "nofract", "notfract")) for word in words):
        return False
    return any(
        "fract" in w or w.startswith(("fraktur", "frattur")) or w in ("frac", "fx", "broken", "positive") for w in words
    )
