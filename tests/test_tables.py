"""The one reader of tables, on what spreadsheets save."""

from pathlib import Path

import pytest

from fracturelib._io.files import InputError
from fracturelib._io.tables import read_table

ROWS = "file,label,score\nMüller,1,0.5\nb,0,0.25\n"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_spreadsheets_save(tmp_path: Path, separator: str, encoding: str, end: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(ROWS.replace(",", separator).replace("\n", end).encode(encoding))
    frame = read_table(path, text=["file", "score"])
    assert list(frame.columns) == ["file", "label", "score"]
    assert frame["file"].tolist() == ["Müller", "b"] and frame["label"].tolist() == [1, 0]
    assert frame["score"].tolist() == ["0.5", "0.25"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a table (empty)"),
        (b"\n\n", "not a table (empty)"),
        (b"\x89PNG\r\n\0\0\0", "not a table (binary, not text)"),
        (b"a,b,a\n1,2,3\n", "not a table (column 'a' is there twice)"),
        (b"a,b\n1,2\n1,2,3\n", "not a table ("),
        (b"a" * 200_000, "not a table (its first line has over 100,000 characters)"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_table(path)
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; expected a table"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not a file; expected a table"):
        read_table(tmp_path)
