"""A table that says in which split an image is: read once, and asked by name."""

import hashlib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fracturelib._io.files import InputError, printable
from fracturelib._io.tables import read_table
from fracturelib.curate.cleaning import LeftOut
from fracturelib.data.labels import SPLIT_OF, SPLITS, plain
from fracturelib.data.names import FileNames, cleaned

NOT_TAKEN = "left out"  # the split of an image that a table leaves out


@dataclass(frozen=True, eq=False)
class SplitTable:
    """Splits of images by the names of their files, such as the table beside a checkpoint.

    Attributes
    ----------
    path : Path
    splits : dict of str to str
        Of the images that it names, one of train, val, test and "left out".
    groups : dict of str to str, optional
        Of the same images, where the table has a column group.
    listed_only : bool
        Whether an image that it does not name is left out, rather than in test.
    """

    path: Path
    splits: dict[str, str]
    groups: dict[str, str] | None
    listed_only: bool

    @property
    def decides(self) -> bool:
        """Whether the table, and nothing else, decides which of the images that it names stay.

        So it is where only those stay that are listed, and where some are listed as left out; else it is open.
        """
        return self.listed_only or NOT_TAKEN in self.splits.values()

    @property
    def signature(self) -> str:
        """Changes with the table's bytes, and with how it is taken."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest() + (" listed only" if self.listed_only else "")

    def applied(self, images: pd.DataFrame) -> pd.DataFrame:
        """The images with the split that the table says; if it decides, also with its group and whether it names them.

        Raises
        ------
        InputError
            If it names none of them.
        """
        names = self._meant(images)
        named = names.isin(list(self.splits))
        if not named.any():
            such = images["name"].iloc[0]
            raise InputError(f"{self.path}: names none of the {len(images)} to import; expected names such as {such}")
        images = images.assign(split=names.map(self.splits).fillna(NOT_TAKEN if self.listed_only else "test"))
        if not self.decides:
            return images
        groups = images["group"] if self.groups is None else names.map(self.groups)
        return images.assign(import_group=groups.where(named).fillna("").astype(str), import_decided=named)

    def _meant(self, images: pd.DataFrame) -> pd.Series:
        """For each image the name that the table has for it: that of its copy, else its path in the source."""
        names = images["name"].map(_normal)
        strangers = self.splits.keys() - set(names)
        files = images["key" if "key" in images else "file"]
        known = FileNames(list(files))
        by_file: dict[str, str] = {}
        for name in sorted(strangers):
            try:
                file = known.find(name) if "/" in name else None
            except LookupError as error:
                raise InputError(
                    f"{self.path}: {printable(name)} may be {printable(error)}; expected its path"
                ) from None
            if file is not None and file in by_file:
                raise InputError(f"{self.path}: {printable(name)} is there twice; expected it once")
            if file is not None:
                by_file[file] = name
        for file, name in zip(files, names, strict=True):
            if file in by_file and name in self.splits:
                raise InputError(f"{self.path}: {printable(name)} is there twice; expected it once")
        return pd.Series(
            [by_file.get(f, n) for f, n in zip(files, names, strict=True)], index=images.index, dtype=object
        )

    def taken(self, images: pd.DataFrame) -> tuple[pd.DataFrame, list[LeftOut]]:
        """Of images to which it was `applied`, those that it does not leave out, and those that it does."""
        stay = images["split"] != NOT_TAKEN
        out = [
            LeftOut(file, "listed", f"left out by {self.path.name}" if named else f"not in {self.path.name}")
            for file, named in images.loc[~stay, ["file", "import_decided"]].itertuples(index=False)
        ]
        return images[stay].reset_index(drop=True), out


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", cleaned(str(name)))


def _split(said: str) -> str | None:
    return NOT_TAKEN if plain(said) == plain(NOT_TAKEN) else SPLIT_OF.get(plain(said.strip()))


def read_split_table(path: Path, *, listed_only: bool) -> SplitTable:
    """Read a table with the columns name and split, and perhaps group.

    Raises
    ------
    InputError
        If it has not these columns, an image twice, a split that is none, or it decides and has a group in two splits.
    """
    table = read_table(path, text=("name", "split", "group"))
    missing = [c for c in ("name", "split") if c not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; expected name and split")
    expected = f"expected one of {', '.join([*SPLITS, NOT_TAKEN])}"
    for number, (name, split) in enumerate(table[["name", "split"]].itertuples(index=False), start=2):
        if pd.isna(name):
            raise InputError(f"{path}: row {number} has no name; expected one in each row")
        if pd.isna(split):
            raise InputError(f"{path}: row {number} has no split; {expected}")
        if _split(split) is None:
            raise InputError(f"{path}: split is {printable(split)!r}; {expected}")
    table = table.assign(name=table["name"].map(_normal), split=table["split"].map(_split))
    if table["name"].duplicated().any():
        twice = printable(table.loc[table["name"].duplicated(), "name"].iloc[0])
        raise InputError(f"{path}: {twice} is there twice; expected it once")
    table = table.set_index("name")
    groups = table["group"].to_dict() if "group" in table else None
    made = SplitTable(path, table["split"].to_dict(), groups, listed_only)
    if made.decides and groups is not None:
        spread = table[table["split"] != NOT_TAKEN].dropna(subset="group").groupby("group")["split"].nunique()
        if (spread > 1).any():
            group = printable(spread.index[spread > 1][0])
            raise InputError(f"{path}: group {group} is in {spread.max()} splits; expected each group in one")
    return made
