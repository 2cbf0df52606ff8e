"""The rows of a manifest as labelled videos, a column at a time.

Cells that are written plainly are read by Arrow; the few others go through the same rules one by one. Where
a batch of rows holds a fault, its rows are gone through singly, so that each is named by its line.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidcli.arrays import Float64, Int32
from vidcli.data.cells import Batch, CellTable
from vidcli.data.clock import parse_seconds
from vidcli.data.items import LABEL_SEPARATOR, SPLIT_ALIASES, SPLITS, box_text, parse_box
from vidcli.data.video_table import CodedColumn, TextColumn, VideoTable
from vidcli.names import is_placeholder, likeness, normal_name
from vidcli.sheets import unescape_cell
from vidcli.storage.addresses import ADDRESS_PATTERN, SCHEMES, names_afar, path_of, require_extra, text_of

COLUMNS = ("path", "label", "split", "group", "start", "end", "track", "box", "digest")
_MAX_LABEL = 1000
# Printable ASCII, except for a first apostrophe and backslashes: nothing to strip, unescape or normalise.
_PLAIN_PATH = r"^[!-&(-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$"
_LOOSE_PATH = r"//|(^|/)\.(/|$)|/$"
"""What `Path` would write in another way."""
_PLAIN_ADDRESS = rf"{ADDRESS_PATTERN}[!-.0-~]+(/[!-.0-~]+)*$"
_PLAIN_NUMBER = r"^[0-9]+(\.[0-9]*)?$"


@dataclass(frozen=True)
class RowRules:
    """What the cells of a manifest mean.

    Attributes:
        folder: folder of the manifest, from which paths start.
        has_decimal_commas: whether a comma may stand for the decimal point.
        is_of_run: whether a run wrote it, which takes labels as they are.
    """

    folder: Path
    has_decimal_commas: bool
    is_of_run: bool

    def label(self, cell: str) -> str:
        """Return the label in a cell."""
        return normal_name(_read_label(cell.strip(), self.is_of_run))

    def split(self, cell: str) -> str | None:
        """Return the split in a cell."""
        name = cell.strip().lower()
        split = SPLIT_ALIASES.get(name, name) or None
        if split is not None and split not in SPLITS:
            raise ValueError(f"split {split!r}; expected train, val or test")
        return split

    def group(self, cell: str, column: str = "group") -> str | None:
        """Return the name in a cell of the column group, or of another one."""
        name = cell.strip()
        if is_placeholder(name) and not self.is_of_run:
            raise ValueError(f"{column} {name!r} is what programs write where there is none; leave it empty")
        return normal_name(_name_in(name)) or None

    def track(self, cell: str) -> str | None:
        """Return the name of the subject in a cell."""
        return self.group(cell, "track")

    def box(self, cell: str) -> str | None:
        """Return the box in a cell, as text."""
        return box_text(parse_box(cell)) if cell.strip() else None

    def seconds(self, cell: str, name: str) -> float | None:
        """Return the time in a cell of the column `name`."""
        return parse_seconds(cell.strip(), name, self.has_decimal_commas) if cell.strip() else None

    def check_row(self, cells: dict[str, str]) -> None:
        """Raise a ValueError that says what is wrong with a row, if anything is."""
        if not cells["path"].strip():
            raise ValueError("no path")
        self.label(cells.get("label", ""))
        self.split(cells.get("split", ""))
        start = self.seconds(cells.get("start", ""), "start") or 0.0
        end = self.seconds(cells.get("end", ""), "end")
        if end is not None and end <= start:
            raise ValueError(f"end {end:g} is not after start {start:g}")
        self.group(cells.get("group", ""))
        self.track(cells.get("track", ""))
        self.box(cells.get("box", ""))


class _Codes:
    """Gathers a column of few values; each spelling is read once."""

    def __init__(self, read: Callable[[str], str | None]) -> None:
        self._read = read
        self._code_of_cell: dict[str, int] = {}
        self._code_of_value: dict[str | None, int] = {None: -1}
        self._codes: list[Int32] = []

    def add(self, cells: pa.Array) -> None:
        """Add the cells of a batch."""
        coded = pc.dictionary_encode(cells)
        spellings = coded.dictionary.to_pylist()
        for cell in spellings:
            if cell not in self._code_of_cell:
                codes = self._code_of_value
                self._code_of_cell[cell] = codes.setdefault(self._read(cell), len(codes) - 1)
        codes_S = np.array([self._code_of_cell[cell] for cell in spellings], np.int32)
        self._codes.append(codes_S[coded.indices.to_numpy()])

    def add_none(self, num_rows: int) -> None:
        """Add rows without text."""
        self._codes.append(np.broadcast_to(np.int32(-1), num_rows))

    def column(self) -> CodedColumn:
        """Return all that was added."""
        values = [value for value in self._code_of_value if value is not None]
        return CodedColumn(_joined(self._codes, np.int32), values)


class _Rows:
    """Gathers the rows of a manifest."""

    def __init__(self, rules: RowRules) -> None:
        self._rules = rules
        self._codes = {
            "label": _Codes(rules.label),
            "split": _Codes(rules.split),
            "group": _Codes(rules.group),
            "track": _Codes(rules.track),
            "box": _Codes(rules.box),
        }
        self._paths: list[pa.Array] = []
        self._digests: list[pa.Array] = []
        self._starts: list[Float64] = []
        self._ends: list[Float64] = []

    def add(self, batch: Batch) -> None:
        """Add the rows of a batch.

        Raises:
            ValueError: one of them cannot be used.
        """
        cells = batch.cells
        num_rows = len(cells["path"])
        if batch.too_long:
            raise ValueError("more fields than columns; quote fields that hold the delimiter")
        paths = self._find_paths(cells["path"])
        starts_N = self._read_times(cells.get("start"), "start", num_rows, 0.0)
        ends_N = self._read_times(cells.get("end"), "end", num_rows, np.nan)
        if np.any(ends_N <= starts_N):
            raise ValueError("an end is not after its start")
        for name, codes in self._codes.items():
            if name in cells:
                codes.add(cells[name])
            else:
                codes.add_none(num_rows)
        self._paths.append(paths)
        self._starts.append(starts_N)
        self._ends.append(ends_N)
        if "digest" in cells:
            self._digests.append(pc.utf8_trim_whitespace(cells["digest"]))

    def faults(self, batch: Batch) -> Iterator[tuple[int, str]]:
        """Yield the line and the fault of each row of a batch that has one."""
        assert batch.lines is not None
        columns = {name: cells.to_pylist() for name, cells in batch.cells.items()}
        for row, line in enumerate(batch.lines):
            try:
                if row in batch.too_long:
                    raise ValueError("more fields than columns; quote fields that hold the delimiter")
                self._rules.check_row({name: cells[row] for name, cells in columns.items()})
            except ValueError as error:
                yield line, str(error)

    def table(self) -> VideoTable:
        """Return all rows that were added."""
        digests = pa.chunked_array(self._digests, pa.string()).cast(pa.large_binary())
        has_digests = bool(pc.any(pc.greater(pc.binary_length(digests), 0)).as_py())
        return VideoTable(
            TextColumn(pa.chunked_array(self._paths, pa.large_binary())),
            self._codes["label"].column(),
            self._codes["split"].column(),
            self._codes["group"].column(),
            _joined(self._starts, np.float64),
            _joined(self._ends, np.float64),
            TextColumn(_without_empty(digests)) if has_digests else None,
            self._column_or_none("track"),
            self._column_or_none("box"),
        )

    def _column_or_none(self, name: str) -> CodedColumn | None:
        column = self._codes[name].column()
        return column if column.values else None

    def _find_paths(self, cells: pa.Array) -> pa.Array:
        """Return the files that cells name, as bytes."""
        folder = self._rules.folder
        is_plain = pc.and_not(
            pc.match_substring_regex(cells, _PLAIN_PATH), pc.match_substring_regex(cells, _LOOSE_PATH)
        )
        start = text_of(folder / "_")[:-1]
        if os.sep != "/":
            is_plain = pc.and_(is_plain, False)
        is_absolute = pc.starts_with(cells, "/")
        if pc.any(is_afar := pc.match_substring_regex(cells, ADDRESS_PATTERN)).as_py():
            for scheme in SCHEMES:
                if pc.any(pc.starts_with(cells, f"{scheme}://")).as_py():
                    require_extra(scheme)
            is_plain = pc.if_else(is_afar, pc.match_substring_regex(cells, _PLAIN_ADDRESS), is_plain)
            is_absolute = pc.or_(is_absolute, is_afar)
        prefixes = pc.if_else(is_absolute, "", start) if pc.any(is_absolute).as_py() else start
        paths = pc.binary_join_element_wise(prefixes, cells, "")
        if not pc.all(is_plain).as_py():
            is_odd = pc.invert(is_plain)
            found = [
                text_of(_find_file(folder, cell)) for cell in _not_blank(cells.filter(is_odd).to_pylist())
            ]
            paths = pc.replace_with_mask(paths, is_odd, pa.array(found, pa.string()))
        return paths.cast(pa.large_binary())

    def _read_times(self, cells: pa.Array | None, name: str, num_rows: int, absent: float) -> Float64:
        """Return times in seconds, `absent` where there is none."""
        if cells is None:
            return np.broadcast_to(absent, num_rows)
        is_plain = pc.match_substring_regex(cells, _PLAIN_NUMBER)
        times_N: Float64 = np.full(num_rows, absent)
        plain_N = is_plain.to_numpy(zero_copy_only=False)
        times_N[plain_N] = cells.filter(is_plain).cast(pa.float64()).to_numpy()
        others = (self._rules.seconds(cell, name) for cell in cells.filter(pc.invert(is_plain)).to_pylist())
        times_N[~plain_N] = [absent if time is None else time for time in others]
        return times_N


def read_rows(table: CellTable, rules: RowRules, known: Sequence[str]) -> tuple[VideoTable, list[str]]:
    """Return the videos of a manifest, and a sentence on each row that cannot be used.

    Args:
        table: its header, with the names of a manifest's columns.
        rules: what its cells mean.
        known: as `open_cells` was given it.

    Raises:
        DataError: the file is no table.
    """
    rows = _Rows(rules)
    if table.is_plain:
        try:
            for batch in table.quick_batches(COLUMNS):
                rows.add(batch)
            return rows.table(), []
        except (ValueError, pa.ArrowException):
            rows = _Rows(rules)  # read again, with the lines counted
    faults: list[str] = []
    for batch in table.batches(COLUMNS, known):
        try:
            rows.add(batch)
        except ValueError:
            faults += [f"{table.unit} {line}: {text}" for line, text in rows.faults(batch)]
    return rows.table(), faults


def _joined(parts: Sequence[np.ndarray[Any, Any]], kind: type[np.generic]) -> Any:
    """Return arrays one after the other; in no memory where all repeat one value, as of an absent column."""
    if parts and all(part.strides == (0,) for part in parts):
        return np.broadcast_to(parts[0][:1], sum(map(len, parts)))
    return np.concatenate([*parts, np.empty(0, kind)])


def _not_blank(cells: Sequence[str]) -> Sequence[str]:
    if not all(map(str.strip, cells)):
        raise ValueError("no path")
    return cells


def _without_empty(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(pc.binary_length(texts), 0), None, texts)


def _read_label(cell: str, is_of_run: bool) -> str:
    """Return the label in a cell.

    Raises:
        ValueError: the cell is empty, holds what programs write for a missing value, or is too long.
    """
    if not likeness(cell):
        raise ValueError(f"no label; write {LABEL_SEPARATOR} for a video that has none of several classes")
    if len(cell) > _MAX_LABEL:
        raise ValueError(f"a label of {len(cell)} characters; expected the name of a class")
    if not is_of_run and not cell.startswith("'") and needs_mark(cell):
        raise ValueError(
            f"label {cell!r} is what programs write where there is none; give the row a label or remove it, "
            f"or write '{cell} with the apostrophe if the class is called so"
        )
    return _name_in(cell)


def _name_in(cell: str) -> str:
    """Return a name without the apostrophe that marks it as a name."""
    return cell[1:] if cell.startswith("'") and needs_mark(cell[1:]) else unescape_cell(cell)


def needs_mark(name: str) -> bool:
    """Tell whether a class or group, apostrophes aside, is called what programs write for a missing value."""
    return any(map(is_placeholder, name.lstrip("'").split(LABEL_SEPARATOR)))


def _find_file(folder: Path, cell: str) -> Path:
    """Return the file that a cell names; if it is not there as written, the first spelling that is there."""
    bare = cell.strip()
    if names_afar(bare):
        return path_of(bare)
    written = [cell, unescape_cell(cell), bare, unescape_cell(bare)]
    if os.sep == "/":
        written += [name.replace("\\", "/") for name in (unescape_cell(bare),) if "\\" in name]
    if not bare.isascii():
        written += [unicodedata.normalize(form, name) for form in ("NFC", "NFD") for name in written]
    candidates = [folder / name for name in dict.fromkeys(written)]
    usual = folder / unescape_cell(bare)
    if len(candidates) == 1:
        return usual
    return next((path for path in candidates if os.path.lexists(path)), usual)
