"""Names in tables and annotations as the files they mean, and patients as names of files tell them."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

from fracturelib.data.labels import LABEL_OF, place_of_label, place_of_split, plain, split_of


class FileNames:
    """Finds the file that a table or an annotation means: by its path, however written, or by its bare name.

    `find` gives the file's name as it is in `files`; None if there is none; and raises `LookupError`, with the
    candidates, if several fit as well.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self.files = set(files)
        self.by_name: dict[str, list[str]] = defaultdict(list)
        for file in files:
            self.by_name[_key(file.rpartition("/")[2])].append(file)

    def find(self, name: str, *, base: str = "", loosely: bool = False) -> str | None:
        """`base` is the folder (with / at its end, or empty) that the name is most likely relative to.

        The name may lack folders at its front, or have some more; `loosely`, its folders may also be others, if they do
        not name another split or class. Where the name says neither, `base` does.
        """
        if base + name in self.files:
            return base + name
        spellings = list(dict.fromkeys((name, cleaned(name), cleaned(unquote(name)))))
        for spelling in spellings:
            for start in dict.fromkeys((base, "")):
                if start + spelling in self.files:
                    return start + spelling
        for spelling in spellings[1:] or spellings:
            parts = [_key(p) for p in spelling.split("/") if p not in ("", ".", "..")]
            near = self.by_name.get(parts[-1], []) if parts else []
            split = {file: [_key(p) for p in file.split("/")] for file in near}
            best = [f for f in near if all(a == b for a, b in zip(reversed(parts), reversed(split[f]), strict=False))]
            said = _says(parts)
            if not best and loosely:
                best = [f for f in near if all(a in ("", b) for a, b in zip(said, _says(f.split("/")), strict=True))]
            where = tuple("" if own else above for own, above in zip(said, _says(base.split("/")), strict=True))
            best = [
                f for f in best if all("" in p or p[0] == p[1] for p in zip(where, _says(f.split("/")), strict=True))
            ]
            best = [f for f in best if f.startswith(base)] or best
            longest = max((min(len(parts), len(split[f])) for f in best), default=0)
            best = [f for f in best if min(len(parts), len(split[f])) == longest]
            if len(best) > 1:
                raise LookupError(", ".join(sorted(best)[:2]))
            if best:
                return best[0]
        return None


def _says(parts: list[str]) -> tuple[str, str]:
    """The split and the class that the folders of a path say, each empty if they do not."""
    folders = parts[:-1]
    split, label = place_of_split(folders), place_of_label(folders)
    return split_of(folders[split]) if split >= 0 else "", str(LABEL_OF[plain(folders[label])]) if label >= 0 else ""


def cleaned(name: str) -> str:
    """A path with / only, without ./ and //."""
    text = name.strip().replace("\\", "/")
    return str(PurePosixPath(text)) if text else ""


def _key(part: str) -> str:
    return unicodedata.normalize("NFC", part).casefold()


PATTERNS = (
    r"(?:^|[/_ .-])((?:patient|pat|pt|p|subject|subj|sub|case)[_ -]?\d+)(?=[/_ .-])",
    r"(?:^|/)(\d{2,})(?=[_-][^/]*$)",
)

MATCHED, LARGEST = 0.9, 0.2  # proportion of the images that a pattern must fit; of them that one patient may have


def guess_patients(files: Sequence[str]) -> tuple[list[str], str] | None:
    """Patients from names such as P0003_1.jpg, patient12/3.png or 0001_left_2.png, and an example; None if unclear.

    A pattern is clear if nine names of ten fit it, and most of its numbers are there with more than one ending: images
    that are only counted in each folder are not images of one patient. What does not fit is a patient of its own.
    """
    for pattern in PATTERNS:
        found = [list(re.finditer(pattern, file, re.IGNORECASE)) for file in files]
        ids = [m[-1][1].lower() if m else None for m in found]
        rest = [file[m[-1].end(1) :].casefold() if m else "" for file, m in zip(files, found, strict=True)]
        endings = defaultdict(set)
        for one, end in zip(ids, rest, strict=True):
            if one is not None:
                endings[one].add(end)
        matched = sum(one is not None for one in ids)
        if matched < max(4, MATCHED * len(files)) or len(endings) < 3:
            continue
        if sum(len(e) > 1 for e in endings.values()) < len(endings) / 2:
            continue
        if max(Counter(i for i in ids if i).values()) > max(12, LARGEST * len(files)):
            continue
        example = next(file for file, one in zip(files, ids, strict=True) if one is not None and len(endings[one]) > 1)
        return [one or file for one, file in zip(ids, files, strict=True)], example.rpartition("/")[2]
    return None
