"""Tables of text, a column at a time: the cells of some ten thousand rows at once, as Arrow arrays.

Text without quotes is split by Arrow, any other by Python's csv; both give the same cells. What `sheets`
says of encodings, delimiters and headers holds here too.
"""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from vidcli.errors import DataError
from vidcli.runtime.files import open_regular
from vidcli.runtime.plain import one_line, parse_json
from vidcli.sheets import (
    OpenTable,
    guess_notes,
    open_rows,
    open_table,
    read_table_text,
    read_text,
    translated_errors,
    used_width,
)

LINES_SUFFIXES = (".jsonl", ".ndjson")
_BATCH_ROWS = 1 << 15
_BLOCK_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Batch:
    """Cells of neighbouring rows.

    Attributes:
        cells: the cells of each column that was asked for, as text that is never null; a row that is too
            short has empty ones.
        lines: the number of the line at the end of each row; None where the lines were not counted.
        too_long: places of rows that have more cells than there are columns.
    """

    cells: dict[str, pa.Array]
    lines: Sequence[int] | None = None
    too_long: Sequence[int] = ()


@dataclass(frozen=True)
class CellTable:
    """A table of which the header was read.

    Attributes:
        path: the file.
        columns: names of the columns in lower case, without blanks around them.
        delimiter: the character between cells.
        notes: a sentence on each guess, such as that of the encoding.
        unit: what is counted to name a row in a message.
        num_header_lines: lines up to the end of the header.
        is_plain: whether Arrow can split the rows.
        opened: the table if it is open already, with all rows ahead.
    """

    path: Path
    columns: list[str]
    delimiter: str = ""
    notes: list[str] = field(default_factory=list)
    unit: str = "line"
    num_header_lines: int = 0
    is_plain: bool = False
    opened: OpenTable | None = None

    def batches(self, wanted: Sequence[str], known: Sequence[str]) -> Iterator[Batch]:
        """Yield the rows that are not blank, with their lines counted.

        Args:
            wanted: the columns to read, as `columns` names them; others are passed over.
            known: as `open_cells` was given it.

        Raises:
            DataError: the file is no table.
        """
        places = {name: self.columns.index(name) for name in wanted if name in self.columns}
        if self.unit == "row":
            yield from _parquet_batches(self.path, places)
            return
        with translated_errors(self.path):
            rows = (self.opened or open_table(read_table_text(self.path)[0], known)).rows
            while some := list(itertools.islice(rows, _BATCH_ROWS)):
                yield _batch_of(some, places, len(self.columns))

    def quick_batches(self, wanted: Sequence[str]) -> Iterator[Batch]:
        """Yield what `batches` does, without lines and with blank rows, where `is_plain`.

        Args:
            wanted: as in `batches`.

        Raises:
            ArrowInvalid, ValueError: rows differ in their number of cells, or a cell is too long.
        """
        places = {name: str(self.columns.index(name)) for name in wanted if name in self.columns}
        read = pyarrow.csv.ReadOptions(
            use_threads=False,
            block_size=_BLOCK_BYTES,
            skip_rows=self.num_header_lines,
            column_names=[str(place) for place in range(len(self.columns))],
        )
        parse = pyarrow.csv.ParseOptions(delimiter=self.delimiter, quote_char=False)
        convert = pyarrow.csv.ConvertOptions(
            include_columns=list(places.values()),
            column_types=dict.fromkeys(places.values(), pa.string()),
            strings_can_be_null=False,
        )
        with open_regular(self.path) as file, pyarrow.csv.open_csv(file, read, parse, convert) as batches:
            for batch in batches:
                cells = {name: pc.ascii_ltrim(batch[place], " ") for name, place in places.items()}
                longest = max(pc.max(pc.binary_length(column)).as_py() or 0 for column in cells.values())
                if longest > csv.field_size_limit():
                    raise ValueError("a cell is longer than csv takes")
                yield Batch(cells)


def open_cells(path: Path, known: Sequence[str]) -> CellTable:
    """Read the header of a table of text, of a Parquet file, or of JSON lines.

    Args:
        path: the table.
        known: names of columns; the delimiter that yields most of them is taken.

    Raises:
        DataError: the file is no table.
    """
    if path.suffix.lower() == ".parquet":
        with _open_parquet(path) as file:
            names = [name.strip().casefold() for name in file.schema_arrow.names]
        return CellTable(path, names, unit="row")
    if path.suffix.lower() in LINES_SUFFIXES:
        with translated_errors(path):
            opened = open_rows(_rows_of_objects(path))
        rows = ((line - 1, cells) for line, cells in opened.rows)  # the header is on no line
        return CellTable(path, opened.columns, opened=replace(opened, rows=rows))
    with translated_errors(path):
        if (head := _plain_head(path)) is not None:
            table = open_table(head, known)
            if table.columns and table.columns[-1] and table.delimiter.isascii():
                return CellTable(path, table.columns, table.delimiter, [], "line", table.header_line, True)
        text, encoding = read_table_text(path)
        table, notes = open_table(text, known), guess_notes(path, encoding)
        if not table.columns or table.columns[-1]:
            return CellTable(path, table.columns, table.delimiter, notes, opened=table)
        # Columns without a name count as far as a row fills them.
        return CellTable(path, table.columns[: used_width(table.columns, table.rows)], table.delimiter, notes)


def _rows_of_objects(path: Path) -> list[list[str]]:
    """Return a file of JSON objects, one a line, as rows under a header.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is no object of text and numbers.
    """
    objects: list[dict[str, str]] = []
    for number, line in enumerate(read_text(path)[0].splitlines(), 1):
        try:
            values = parse_json(line) if line.strip() else {}
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
            raise ValueError(f'line {number}: expected an object of text and numbers such as {{"path": ...}}')
        objects.append({name: "" if value is None else str(value) for name, value in values.items()})
    columns = list(dict.fromkeys(name for values in objects for name in values))
    return [columns, *([values.get(name, "") for name in columns] for values in objects)]


def _plain_head(path: Path) -> str | None:
    """Return the first lines of a table in UTF-8 without quotes and odd line ends; None for any other."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    head, num_returns = b"", 0
    with open_regular(path) as file:
        while block := file.read(_BLOCK_BYTES):
            if block.endswith(b"\r"):
                block += file.read(1)
            num_returns += block.count(b"\r") - block.count(b"\r\n")
            if num_returns or b'"' in block or b"\0" in block:
                return None
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                return None
            head = head or block[:_HEAD_BYTES]
    if decoder.getstate()[0]:
        return None
    is_whole = len(head) < _HEAD_BYTES
    return (head if is_whole else head[: head.rfind(b"\n") + 1]).decode("utf-8")


def _batch_of(rows: Sequence[tuple[int, Sequence[str]]], places: Mapping[str, int], width: int) -> Batch:
    """Return rows, which may differ in length, as columns."""
    too_long = [row for row, (_, fields) in enumerate(rows) if any(map(str.strip, fields[width:]))]
    cells = {
        name: pa.array([fields[at] if at < len(fields) else "" for _, fields in rows], pa.string())
        for name, at in places.items()
    }
    return Batch(cells, [line for line, _ in rows], too_long)


@contextmanager
def _open_parquet(path: Path) -> Iterator[Any]:
    """Open a Parquet file.

    Raises:
        DataError: it is none, or what is read from it is no text and no number.
    """
    try:
        with open_regular(path) as file, pyarrow.parquet.ParquetFile(file) as table:
            yield table
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise DataError(
            f"{path}: cannot be read as Parquet ({reason}); expected columns of text and numbers"
        ) from error


def _parquet_batches(path: Path, places: Mapping[str, int]) -> Iterator[Batch]:
    first = 1
    with _open_parquet(path) as table:
        for batch in table.iter_batches(_BATCH_ROWS):
            cells = {
                name: pc.fill_null(pc.cast(batch.column(at), pa.string()), "") for name, at in places.items()
            }
            yield Batch(cells, range(first, first + len(batch)))
            first += len(batch)
