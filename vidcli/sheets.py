"""Read tables of text as spreadsheets save them, and write tables in which spreadsheets find no formula.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, whoever wrote it. Every table
of this program therefore writes such text with an apostrophe before it, which marks text in a spreadsheet,
and removes the apostrophe when it reads the text (`escape_cell`, `unescape_cell`). Numbers stay numbers.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from vidcli.errors import DataError
from vidcli.names import visible
from vidcli.runtime.files import read_regular

_FORMULA = re.compile("\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*[+-]?(inf|nan)\s*", re.IGNORECASE)
_DELIMITERS = ",;\t"
_MAX_BYTES = 2**30
_MAX_LINE = 2**24
_MAX_PREFACE = 200
"""Lines before a header that are looked through."""
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def escape_cell(cell: Any) -> Any:
    """Return a cell with an apostrophe before it if a spreadsheet would take it for a formula."""
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell


def unescape_cell(cell: str) -> str:
    """Return the cell that was given to `escape_cell`."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    # Apostrophes are skipped, so that a name which begins with one is read back unchanged.
    bare = text.lstrip("'")
    return _FORMULA.match(bare) is not None and _NUMBER.fullmatch(bare) is None


def shown_cell(cell: Any) -> Any:
    """Return a cell of results whose text holds no character that controls a terminal; line ends stay."""
    return visible(cell, keep="\n\t") if isinstance(cell, str) else cell


def csv_line(row: Iterable[Any]) -> str:
    """Return one row as a line of CSV without formulas."""
    buffer = io.StringIO()
    # The writer quotes only cells with characters of its line end, and a lone \r must be quoted too.
    csv.writer(buffer, lineterminator="\r\n").writerow([escape_cell(cell) for cell in row])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV; the first row is the header."""
    return "".join(map(csv_line, rows))


def csv_rows(text: str) -> list[list[str]]:
    """Return the rows of a table with commas, as `csv_text` wrote it; cells are not unescaped.

    Raises:
        csv.Error: it is no such table.
    """
    return list(csv.reader(io.StringIO(text, newline="")))


def cells_of(line: str) -> list[str]:
    """Return the cells of one line of CSV with commas; an empty line has none."""
    return next(csv.reader([line]), [])


def csv_records(content: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the position of the end of each complete record, and its fields, which may hold line ends.

    A record that is no CSV, such as one with an endless field, has no fields.
    """
    position, record = 0, b""
    for line in content:
        record += line
        position += len(line)
        if line.endswith(b"\n") and record.count(b'"') % 2 == 0:
            try:
                fields = next(csv.reader(io.StringIO(record.decode("utf-8", "replace"), newline="")), [])
            except csv.Error:
                fields = []
            yield position, fields
            record = b""


@dataclass(frozen=True)
class Sheet:
    """A table that was read.

    Attributes:
        columns: names of the columns in lower case, without blanks around them.
        rows: for each row that is not blank, the number of the line at its end and its cells by column. A
            row with more cells than columns has the first of the others under the key None.
        delimiter: the character between cells.
        notes: a sentence on each guess, such as that of the encoding.
    """

    columns: list[str]
    rows: list[tuple[int, dict[str | None, str]]]
    delimiter: str
    notes: list[str] = field(default_factory=list)


def read_sheet(path: Path, known: Sequence[str] = ()) -> Sheet:
    """Read a table of text in any form in which spreadsheets save it.

    The text may be UTF-8, UTF-16 or Windows-1252, with commas, semicolons or tabs and any line ends, and
    with a line such as `sep=;` before the header. Empty columns at the end and empty rows are left out.

    Args:
        path: the table.
        known: names of columns; the delimiter that yields most of them is taken.

    Raises:
        DataError: the file is no table of text.
    """
    with translated_errors(path):
        text, encoding = read_table_text(path)
        return open_table(text, known).to_sheet(guess_notes(path, encoding))


@contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a table is read as a DataError that names the file."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a text table ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as a text table ({error}); expected CSV, best in UTF-8"
        ) from error


def read_table_text(path: Path) -> tuple[str, str]:
    """Return the text of a table and its encoding; errors are those of `read_text`."""
    text, encoding = read_text(path)
    if encoding.startswith("utf-16") and not re.search(r"[\r\n]", text):
        raise ValueError("it begins like UTF-16, and holds no line")
    return text, encoding


def guess_notes(path: Path, encoding: str) -> list[str]:
    """Return a sentence if the encoding of a table was guessed."""
    guessed = f"{path.name}: is not UTF-8 and was read as Windows-1252; save it as UTF-8 if names are wrong"
    return [guessed] if encoding == "cp1252" else []


@dataclass(frozen=True)
class OpenTable:
    """A table of which the header was read, and the rows are read one by one.

    Attributes:
        columns: names of the columns as in `Sheet`; those at the end may have none.
        rows: for each row that is not blank, the number of the line at its end, and its cells.
        delimiter: the character between cells.
        header_line: the number of the line at the end of the header.
    """

    columns: list[str]
    rows: Iterator[tuple[int, Sequence[str]]]
    delimiter: str
    header_line: int

    def to_sheet(self, notes: Sequence[str] = ()) -> Sheet:
        """Return the whole table.

        Raises:
            ValueError, csv.Error: the text is no table.
        """
        cells = list(self.rows)
        columns = self.columns[: used_width(self.columns, cells)]
        rows = [(line, _by_column(columns, fields)) for line, fields in cells]
        return Sheet(columns, rows, self.delimiter, list(notes))


def open_table(text: str, known: Sequence[str] = (), headers: Sequence[Set[str]] = ()) -> OpenTable:
    """Begin to read the table in a text.

    Args:
        text: of the table.
        known: as in `read_sheet`.
        headers: sets of columns; what stands before a line that has all of one is no part of the table.

    Raises:
        ValueError, csv.Error: the text is no table.
    """
    begin = list(itertools.islice(_lines(text), _MAX_PREFACE)) if headers else []
    first = next((n for n, line in enumerate(begin) if _has_columns(_cells(line), headers)), 0)
    lines = itertools.islice(_lines(text), first, None)
    header = next((line for line in lines if line.strip("\ufeff\r\n ,;\t")), "")
    delimiter = _find_delimiter(header, known)
    lines = itertools.islice(_lines(text), first, None)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    return _open(((first + reader.line_num, fields) for fields in reader), delimiter)


def open_rows(rows: Sequence[Sequence[str]], headers: Sequence[Set[str]] = ()) -> OpenTable:
    """Begin to read the table in the rows of a workbook; `headers` are as in `open_table`."""
    begin = rows[:_MAX_PREFACE] if headers else []
    first = next((n for n, fields in enumerate(begin) if _has_columns(fields, headers)), 0)
    return _open(itertools.islice(enumerate(rows, 1), first, None), ",")


def _open(numbered: Iterable[tuple[int, Sequence[str]]], delimiter: str) -> OpenTable:
    rows = ((number, fields) for number, fields in numbered if any(cell.strip() for cell in fields))
    line, header = next((row for row in rows if not _states_delimiter(row[1])), (0, []))
    columns = [name.strip().lstrip("\ufeff").strip().casefold() for name in header]
    return OpenTable(columns, rows, delimiter, line)


def _states_delimiter(fields: Sequence[str]) -> bool:
    """Tell whether a row is a line such as `sep=;`, which Excel writes before the header."""
    return list(fields[:1]) == ["sep="] or (
        len(fields) == 1 and re.fullmatch(r"\ufeff?sep=.?", fields[0]) is not None
    )


def _cells(line: str) -> list[str]:
    """Return what may be the cells of a line of which the delimiter is not known."""
    return [cell.strip('" \r\n\ufeff') for cell in re.split(r"[,;\t]", line)]


def _has_columns(cells: Iterable[str], headers: Sequence[Set[str]]) -> bool:
    """Tell whether a row has all names of one of several headers."""
    names = {cell.strip().casefold() for cell in cells} if headers else set()
    return any(header <= names for header in headers)


def read_text(path: Path) -> tuple[str, str]:
    """Return the text of a file and its encoding.

    Raises:
        ValueError: the file is no text, or too large.
        OSError: the file cannot be read.
    """
    text, encoding = decode_text(read_regular(path, _MAX_BYTES))
    if "\0" in text:
        raise ValueError("it holds NUL characters")
    return text, encoding


def decode_text(content: bytes) -> tuple[str, str]:
    """Return bytes as text and their encoding: that of a byte order mark, else UTF-8, else Windows-1252.

    Raises:
        ValueError: the bytes are no text.
    """
    if content.startswith(_WORKBOOKS):
        raise ValueError("it is a workbook; save it as CSV")
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding), encoding
    zeros = content[:1000:2].count(0), content[1:1000:2].count(0)
    if max(zeros) > 0.4 * len(content[:1000]) / 2 and min(zeros) == 0:  # UTF-16 of plain letters
        encoding = "utf-16-be" if zeros[0] else "utf-16-le"
        return content.decode(encoding), encoding
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        if re.search(rb"[\x00-\x08\x0e-\x1f]", content):
            raise
        try:
            return content.decode("cp1252"), "cp1252"
        except UnicodeDecodeError:
            raise error from None


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text, which may have any line ends.

    Raises:
        ValueError: a line is too long for a table.
    """
    for number, found in enumerate(_LINE.finditer(text), start=1):
        line = found[0]
        if len(line) > _MAX_LINE:
            raise ValueError(f"line {number} is longer than {_MAX_LINE >> 20} million characters")
        yield line


def _find_delimiter(header: str, known: Sequence[str]) -> str:
    """Return the delimiter that yields most of the known columns or, if none of them, most columns."""
    if stated := re.fullmatch(r"\ufeff?sep=(.)\s*", header):
        return stated[1]

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            fields = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:  # a field without end: this is not the delimiter
            return 0, 0
        names = [name.strip().casefold() for name in fields]
        return sum(name in names for name in known), len(names)

    return max(_DELIMITERS, key=fit)


def used_width(columns: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]]) -> int:
    """Return the number of columns up to the last that has a name or a cell."""
    return max(map(_width, (columns, *(fields for _, fields in rows))))


def _width(fields: Sequence[str]) -> int:
    """Return the number of cells up to the last that is not blank."""
    return next((at for at in range(len(fields), 0, -1) if fields[at - 1].strip()), 0)


def _by_column(columns: Sequence[str], fields: Sequence[str]) -> dict[str | None, str]:
    row: dict[str | None, str] = dict(zip(columns, fields, strict=False))
    beyond = [cell for cell in fields[len(columns) :] if cell.strip()]
    if beyond:
        row[None] = beyond[0]
    return row


def name_columns(columns: Sequence[str], limit: int = 10) -> str:
    """Return the first `limit` names and the number of the others, as text."""
    named = ", ".join(repr(visible(name)) if name else "one without a name" for name in columns[:limit])
    return named + (f" and {len(columns) - limit} more" if len(columns) > limit else "")
