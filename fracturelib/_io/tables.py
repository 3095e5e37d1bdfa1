"""One reader of tables: whatever a spreadsheet saves, or one line that says why not; and one writer.

The writer puts a quote before a text that a spreadsheet would run as a formula (OWASP, "CSV injection"); the reader
takes it away, so that what was written is what is read. Numbers are written as they are.
"""

import csv
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fracturelib._io.filenames import writable
from fracturelib._io.files import InputError, atomic_path, printable

MAX_BYTES = 256_000_000
FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
NO_NUMBER = ("NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>")  # as programs write that there is none
OF_NUMBERS = ("label", "score", "width", "height")  # also where they are kept as written
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def read_table(path: str | Path, *, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table separated by commas, semicolons or tabs; UTF-8 or UTF-16 with or without a mark, or Windows-1252.

    Parameters
    ----------
    path : str or Path
    text : sequence of str
        Columns to keep as they are written; the others become numbers where all of their values are, or words such as
        NA, which are then missing.

    Returns
    -------
    DataFrame
        One row a line; column names without blanks around them; only an empty cell is missing, since a name may be
        NA.

    Raises
    ------
    InputError
        If it is no regular file, larger than 256 MB, binary, has no header, names a column twice, or has rows that
        are longer than its header.
    """
    path = Path(path)
    name = printable(path)
    if not path.is_file():
        raise InputError(f"{name}: {'not a file' if path.exists() else 'no such file'}; expected a table")
    if path.stat().st_size > MAX_BYTES:
        size = f"{path.stat().st_size / 1e6:.0f} MB"
        raise InputError(f"{name}: {size}; expected a table of at most {MAX_BYTES // 10**6}")
    try:
        content = _decoded(path.read_bytes())
        header = _header(content)
        separator = max(SEPARATORS, key=lambda s: len(next(csv.reader([header], delimiter=s))))
        columns = [str(_bare(c.strip())) for c in next(csv.reader([header], delimiter=separator))]
        twice = sorted({c for c in columns if columns.count(c) > 1 and c})
        if twice:
            raise ValueError(f"column {printable(twice[0])!r} is there twice")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header lose values
            frame = pd.read_csv(
                io.StringIO(content),
                sep=separator,
                dtype=dict.fromkeys((*text, *(f" {t}" for t in text)), str),
                low_memory=False,
                index_col=False,
                keep_default_na=False,  # a file, a patient or a hospital may be called NA, None or null
                na_values=[""],
            )
    except Exception as error:  # a parser raises many kinds
        reason = printable((str(error).strip().splitlines() or [type(error).__name__])[0])[:200]
        expected = "values separated by commas, semicolons or tabs"
        raise InputError(f"{name}: not a table ({reason}); expected {expected}") from None
    frame.columns = [_bare(str(c).strip()) for c in frame.columns]
    for column in frame.columns:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            frame[column] = _without_words(frame[column], kept=column in text).map(_bare)
    return frame


def _without_words(values: pd.Series, *, kept: bool) -> pd.Series:
    """A column without the words for a missing number, if it is one of numbers, and as numbers unless `kept`."""
    known = values.mask(values.isin(NO_NUMBER))
    if kept:
        return known if values.name in OF_NUMBERS else values
    numbers = pd.to_numeric(known, errors="coerce")
    return numbers if known.notna().any() and (numbers.notna() == known.notna()).all() else values


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table, whole or not at all: UTF-8, commas, a header; floats keep every bit."""
    with atomic_path(path) as temporary:
        temporary.write_text(table_text(frame), encoding="utf-8", newline="")


def table_text(frame: pd.DataFrame) -> str:
    """The table as text that `read_table` gives back and no spreadsheet runs."""
    safe = frame.set_axis([_guarded(str(c)) for c in frame.columns], axis=1)
    for i, kind in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            safe.isetitem(i, frame.iloc[:, i].map(_guarded))
    return safe.to_csv(index=False, lineterminator="\n")


def _guarded(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = writable(value)
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def _bare(value: object) -> object:
    return value[1:] if isinstance(value, str) and value.startswith("'") and FORMULA.match(value) else value


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError("binary, not text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="strict")


def _header(content: str) -> str:
    header = next((line for line in content.splitlines() if line.strip()), "")
    if not header:
        raise ValueError("empty")
    if len(header) > 100_000:
        raise ValueError("its first line has over 100,000 characters")
    return header
