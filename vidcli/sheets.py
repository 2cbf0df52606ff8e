"""Tables as text: read as spreadsheets save them, and written so that spreadsheets run nothing.

A cell that begins with `=`, `+`, `-` or `@` is a formula to a spreadsheet, whoever wrote it. Such text
is written with an apostrophe before it, which says "text" there, and is read back without: `escape_cell`
and `unescape_cell`, used by every table of this program. Numbers stay numbers.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidcli.errors import DataError
from vidcli.names import visible
from vidcli.runtime.files import read_regular

_FORMULA = re.compile("\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*|\s*[+-]?(inf|nan)\s*", re.IGNORECASE)
_DELIMITERS = ",;\t"
_MAX_BYTES = 2**30
_MAX_LINE = 2**24
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def escape_cell(cell: Any) -> Any:
    """Return a cell that a spreadsheet takes for text where it is text; anything else stays."""
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell


def unescape_cell(cell: str) -> str:
    """Return what `escape_cell` was given."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    # Behind apostrophes too, so that a name which begins with one comes back whole.
    bare = text.lstrip("'")
    return _FORMULA.match(bare) is not None and _NUMBER.fullmatch(bare) is None


def shown_cell(cell: Any) -> Any:
    """Return a cell of results, whose text has escapes for what steers a terminal; line ends stay."""
    return visible(cell, keep="\n\t") if isinstance(cell, str) else cell


def csv_line(row: Iterable[Any]) -> str:
    """Return one row as CSV, with its line end and no formula in it."""
    buffer = io.StringIO()
    # Only characters of the line end make it quote a cell, and a lone \r must be quoted too.
    csv.writer(buffer, lineterminator="\r\n").writerow([escape_cell(cell) for cell in row])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV; the first is the header."""
    return "".join(map(csv_line, rows))


@dataclass(frozen=True)
class Sheet:
    """A table that was read.

    Attributes:
        columns: names in lower case, without blanks around them.
        rows: number of the line that a row ends in, and its cells by column; those of blank rows are not
            among them. A row with more cells than columns has them under the key None.
        delimiter: what parts the cells.
        notes: a sentence on what had to be guessed.
    """

    columns: list[str]
    rows: list[tuple[int, dict[str | None, str]]]
    delimiter: str
    notes: list[str] = field(default_factory=list)


def read_sheet(path: Path, known: Sequence[str] = ()) -> Sheet:
    """Read a table of text in whichever form spreadsheets save it.

    UTF-8, UTF-16 or Windows-1252; commas, semicolons or tabs; any line ends; a line `sep=;` before the
    header; columns and rows without any content are left out.

    Args:
        path: of the table.
        known: names of columns that tell which delimiter is right.

    Raises:
        DataError: it is no table of text.
    """
    try:
        text, encoding = read_text(path)
        if encoding.startswith("utf-16") and not re.search(r"[\r\n]", text):
            raise ValueError("it begins like UTF-16, and holds no line")
        lines = _lines(text)
        header = next((line for line in lines if line.strip("\ufeff\r\n ,;\t")), "")
        delimiter = _find_delimiter(header, known)
        guessed = (
            f"{path.name}: is not UTF-8 and was read as Windows-1252; save it as UTF-8 if names are wrong"
        )
        notes = [guessed] if encoding == "cp1252" else []
        columns, rows = _read_rows(text, delimiter)
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a text table ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as a text table ({error}); expected CSV, best in UTF-8"
        ) from error
    return Sheet(columns, rows, delimiter, notes)


def read_text(path: Path) -> tuple[str, str]:
    """Return the text of a file, and the encoding that it was found to have.

    Raises:
        ValueError: it is no text, or too much of it.
        OSError: it cannot be read.
    """
    text, encoding = decode_text(read_regular(path, _MAX_BYTES))
    if "\0" in text:
        raise ValueError("it holds NUL characters")
    return text, encoding


def decode_text(content: bytes) -> tuple[str, str]:
    """Return bytes as text, and the encoding: by the byte order mark, else UTF-8, else Windows-1252.

    Raises:
        ValueError: they are no text.
    """
    if content.startswith(_WORKBOOKS):
        raise ValueError("it is a workbook; save it as CSV")
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content.decode(encoding), encoding
    zeros = content[:1000:2].count(0), content[1:1000:2].count(0)
    if max(zeros) > 0.4 * len(content[:1000]) / 2 and min(zeros) == 0:  # every second byte of plain letters
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
    """Yield lines, of any line ends.

    Raises:
        ValueError: one is too long for a table.
    """
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > _MAX_LINE:
            raise ValueError(f"line {number} is longer than {_MAX_LINE >> 20} million characters")
        yield line


def _find_delimiter(header: str, known: Sequence[str]) -> str:
    """Return the delimiter that gives most of the known columns, else most columns."""
    if stated := re.fullmatch(r"\ufeff?sep=(.)\s*", header):
        return stated[1]

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            fields = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:  # a field without end: nothing is parted by this one
            return 0, 0
        names = [name.strip().casefold() for name in fields]
        return sum(name in names for name in known), len(names)

    return max(_DELIMITERS, key=fit)


def _read_rows(text: str, delimiter: str) -> tuple[list[str], list[tuple[int, dict[str | None, str]]]]:
    reader = csv.reader(_lines(text), delimiter=delimiter, skipinitialspace=True)
    columns: list[str] | None = None
    cells: list[tuple[int, list[str]]] = []
    for fields in reader:
        if not any(cell.strip() for cell in fields):
            continue
        if columns is None:
            if (len(fields) == 1 and re.fullmatch(r"\ufeff?sep=.?", fields[0])) or fields[:1] == ["sep="]:
                continue
            columns = [name.strip().lstrip("\ufeff").strip().casefold() for name in fields]
        else:
            cells.append((reader.line_num, fields))
    width = max(map(_width, (columns or [], *(fields for _, fields in cells))))
    columns = (columns or [])[:width]
    return columns, [(line, _by_column(columns, fields)) for line, fields in cells]


def _width(fields: Sequence[str]) -> int:
    """Return how many cells there are up to the last that holds something."""
    return next((at for at in range(len(fields), 0, -1) if fields[at - 1].strip()), 0)


def _by_column(columns: Sequence[str], fields: Sequence[str]) -> dict[str | None, str]:
    row: dict[str | None, str] = dict(zip(columns, fields, strict=False))
    beyond = [cell for cell in fields[len(columns) :] if cell.strip()]
    if beyond:
        row[None] = beyond[0]
    return row


def name_columns(columns: Sequence[str], limit: int = 10) -> str:
    """Return the first names, and how many more there are."""
    named = ", ".join(repr(visible(name)) if name else "one without a name" for name in columns[:limit])
    return named + (f" and {len(columns) - limit} more" if len(columns) > limit else "")
