"""What a row of a table is called: an image, which is a radiograph, or a study, which is a stack of slices."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fracturelib._io.files import counted

if TYPE_CHECKING:
    import pandas as pd

STUDY = "study"


@dataclass(frozen=True)
class Words:
    """What a row is called, what it shows, its classes (the index is the label), and what is looked for in it."""

    one: str
    many: str
    scan: str
    scans: str
    classes: tuple[str, str]
    sought: str

    @property
    def nouns(self) -> tuple[str, str]:
        """What one is called, and what several are."""
        return self.one, self.many

    def count(self, n: int, before: str = "") -> str:
        """So many rows, with what stands before the noun."""
        return counted(n, f"{before}{self.one}", f"{before}{self.many}")

    def said(self, text: str) -> str:
        """What is said of radiographs, said of these: "an image is fractured" -> "a study is torn".

        Only of texts of our own: in the name of a file, such words have to stay.
        """
        return text if self == WORDS["image"] else _OF_RADIOGRAPHS.sub(self._instead, text)

    def _instead(self, found: re.Match[str]) -> str:
        own = WORDS["image"]
        pairs = {
            own.one: self.one, own.many: self.many, own.scan: self.scan, own.scans: self.scans, own.sought: self.sought,
            f"{own.sought}s": f"{self.sought}s", **dict(zip(own.classes, self.classes, strict=True)),
            f"{own.classes[0]}: is not": f"{self.classes[0]}: is",
        }  # fmt: skip
        article, words = found["article"] or "", " ".join(found["words"].lower().split())
        new = ("a " if article else "") + pairs[words]
        return new[0].upper() + new[1:] if found[0][0].isupper() else new


WORDS = {
    "image": Words("image", "images", "radiograph", "radiographs", ("not fractured", "fractured"), "fracture"),
    STUDY: Words("study", "studies", "scan", "scans", ("whole", "torn"), "tear"),
}
_OF_RADIOGRAPHS = re.compile(  # but not the command: fracture predict
    r"\b(?P<article>an?\s+)?(?P<words>images?|radiographs?|not\s+fractured: is not|not\s+fractured|fractured|fractures|"
    r"fracture(?! (?:data|audit|train|predict|evaluate|explain)\b))(?![\w=])",
    re.IGNORECASE,
)


def words_of(frame: "pd.DataFrame") -> Words:
    """What the rows of a table are called, as its `attrs["noun"]` says: images, where it says nothing."""
    return WORDS[frame.attrs.get("noun", "image")]
