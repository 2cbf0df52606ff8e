"""Tables are read as spreadsheets save them, and nothing in them runs."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vidcli
from vidcli.errors import DataError
from vidcli.sheets import csv_line, csv_text, escape_cell, read_sheet, unescape_cell

COLUMNS = ("path", "label")
ROWS = [["a.mp4", "läuft, schnell"], ["b.mp4", "springt"]]


def saved(delimiter: str = ",", end: str = "\r\n", header: str = "Path{}Label") -> str:
    lines = [header.format(delimiter)]
    lines += [delimiter.join(f'"{c}"' if delimiter in c else c for c in row) for row in ROWS]
    return end.join(lines) + end


def cells_of(path: Path) -> list[list[str]]:
    return [[row[column] for column in COLUMNS] for _, row in read_sheet(path, COLUMNS).rows]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_form_is_read(delimiter: str, encoding: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(saved(delimiter, end).encode(encoding))
    assert cells_of(path) == ROWS
    assert (["Windows-1252" in note for note in read_sheet(path).notes] == [True]) is (encoding == "cp1252")


def test_utf16_of_the_other_order(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xfe\xff" + saved(";").encode("utf-16-be"))
    assert cells_of(path) == ROWS


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\npath;label\r\na.mp4;x;;\r\n;;;\r\nb.mp4;y\r\n",
        "path,label,,,\na.mp4,x,,,\n,,,,\n\n  ,\nb.mp4,y,,,\n",
        "\n\npath,label\na.mp4,x\nb.mp4,y",
        ' PATH ,"Label"\n"a.mp4", "x"\n"b.mp4","y"\n',
        "path;label;note\na.mp4;x;1,5\nb.mp4;y;2,5\n",
    ],
    ids=["sep=", "blank rows and columns", "blank lines first", "quotes and blanks", "decimal commas"],
)
def test_oddities_of_spreadsheets(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    assert cells_of(path) == [["a.mp4", "x"], ["b.mp4", "y"]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"path,label\na.mp4,x\0y\n", "NUL"),
        (b"path,label\n" + b"a" * 200_000 + b",x\n", "field larger"),
        (b"path,label\n" + b"a," * (2**23 + 1), "longer than 16 million"),
        (b"a" * (2**24 + 2), "longer than 16 million"),
        (b"\xff\xfe\x00\x81", "holds no line"),
        (b"\xff\xfea\x00\n\x00a", "decode"),
        (b"path,label\na.mp4,\xe9\x01\n", "decode"),
        (b"PK\x03\x04\x14\x00\x06\x00", "it is a workbook; save it as CSV"),
        (b"\x89PNG\r\n\x1a\n\xff\xd8", "decode"),
    ],
)
def test_what_is_no_table_is_said_so(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"m.csv: cannot be read as a text table \(.*{told}"):
        read_sheet(path, COLUMNS)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet="path,label;\t\r\n\"'\ufeff=é\u2028\0", max_size=200).map(
            lambda text: text.encode()
        ),
        st.text(alphabet='path,label;\t\r\n"', max_size=100).map(lambda text: text.encode("utf-16")),
    )
)
def test_whatever_the_bytes_there_is_a_table_or_one_kind_of_error(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            sheet = read_sheet(Path(file.name), COLUMNS)
        except DataError:
            return
        assert all(any(cell.strip() for cell in row.values()) for _, row in sheet.rows)


FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-1+2",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "  =1",
    "＝1",
    "'=1",
    "''=1",
    "'\t",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text_and_comes_back(text: str) -> None:
    (cell,) = next(csv.reader(io.StringIO(csv_line([text]), newline="")))
    assert cell.startswith("'")
    assert unescape_cell(cell) == text


@pytest.mark.parametrize(
    "text", ["-1", "-1.5", "+3", "-2e-7", "-.5", "'quoted'", "'tis", "a=b", "", "'", "-inf"]
)
def test_numbers_and_names_stay(text: str) -> None:
    assert escape_cell(text) == text
    assert unescape_cell(text) == text


def test_numbers_that_are_no_text_stay() -> None:
    assert csv_line([-1, -0.5, None]) == "-1,-0.5,\n"


@given(st.text(alphabet="'=+-@\t\r\n ab1.,\"\uff1d"))
def test_any_text_comes_back(text: str) -> None:
    assert unescape_cell(escape_cell(text)) == text
    bare = escape_cell(text).lstrip()
    assert re.match(r"[=+\-@]", bare) is None or re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?\s*", bare)
    assert [
        list(map(unescape_cell, row)) for row in csv.reader(io.StringIO(csv_text([[text, "x"]]), newline=""))
    ] == [[text, "x"]]


def test_one_place_writes_tables() -> None:
    package = Path(vidcli.__file__).parent
    users = {
        str(path.relative_to(package)): set(
            re.findall(r"csv\.(?:Dict)?(?:[Ww]riter|[Rr]eader)", path.read_text("utf-8"))
        )
        for path in package.rglob("*.py")
    }
    found = {path: names for path, names in users.items() if names}
    assert found == {"sheets.py": {"csv.reader", "csv.writer"}}
