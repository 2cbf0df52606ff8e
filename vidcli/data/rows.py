"""A manifest: rows of a table to items, and back.

    path,label,split,group,start,end        only path and label must be there

Paths count from the manifest's folder. A path that is there as it is written is taken so; else also
without blanks around it, with `/` for a backslash, and in the other spelling of its accents.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from vidcli.data.items import LABEL_SEPARATOR, SPLIT_ALIASES, SPLITS, VideoItem, name_some
from vidcli.errors import DataError, did_you_mean
from vidcli.names import is_placeholder, likeness, visible
from vidcli.sheets import Sheet, csv_text, name_columns, read_sheet, unescape_cell

COLUMNS = ("path", "label", "split", "group", "start", "end", "digest")
_NUM_NAMED = 10
_MAX_LABEL = 1000


def manifest_text(items: Sequence[VideoItem]) -> str:
    """Return items as a CSV manifest with absolute paths, which `read_manifest` reads back."""

    def row(item: VideoItem) -> tuple[str, ...]:
        end = "" if item.end_seconds is None else repr(item.end_seconds)
        start = repr(item.start_seconds) if item.start_seconds else ""
        label, group = (f"'{name}" if _needs_mark(name) else name for name in (item.label, item.group or ""))
        known = str(item.path.absolute()), label, item.split or "", group, start, end
        return (*known, item.digest or "") if with_digest else known

    with_digest = any(item.digest is not None for item in items)
    return csv_text([COLUMNS if with_digest else COLUMNS[:-1], *map(row, items)])


def read_manifest(path: Path, missing_ok: bool) -> tuple[list[VideoItem], list[str]]:
    """Read a manifest; return its videos, and a sentence on each kind of thing that is passed over.

    Args:
        path: of the table.
        missing_ok: keep rows whose file is gone.

    Raises:
        DataError: rows or columns that cannot be; names all of them.
    """
    sheet = read_sheet(path, COLUMNS)
    notes = [*sheet.notes, *_check_columns(path, sheet.columns)]
    is_of_run = path.name == "splits.csv" and (path.parent / "config.yaml").is_file()
    items: list[VideoItem] = []
    faults: list[str] = []
    for line, row in sheet.rows:
        try:
            items.append(_read_row(row, path.parent, sheet, is_of_run))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    faults += ([] if missing_ok else _missing_files(items)) + _repeated_rows(items)
    with_split = sum(item.split is not None for item in items)
    if 0 < with_split < len(items):
        faults.append(f"{len(items) - with_split} rows have no split although {with_split} have one")
    if faults:
        raise DataError(f"{path}: " + name_some(faults))
    if not items:
        raise DataError(f"{path}: holds no rows under its header")
    return items, notes


def _check_columns(path: Path, columns: Sequence[str]) -> list[str]:
    """Return a sentence on the columns that are ignored.

    Raises:
        DataError: path or label are missing, or a column of ours is there twice.
    """
    unknown = [name for name in columns if name not in COLUMNS]
    absent = [name for name in COLUMNS if name not in columns]
    hints = {name: did_you_mean(name, absent) for name in unknown[:_NUM_NAMED] if name}
    faults = [f"no column {name!r}." for name in ("path", "label") if name not in columns]
    faults += [
        f"column {name!r} twice." for name, count in Counter(columns).items() if count > 1 and name in COLUMNS
    ]
    if faults:
        told = [f"unknown column {visible(name)!r}.{hint}" for name, hint in hints.items()]
        more = [f"{len(unknown) - len(hints)} more unknown columns."] if len(unknown) > len(hints) else []
        raise DataError(
            f"{path}: {' '.join([*told, *more, *faults])} Expected path, label and optionally split, group, "
            "start, end"
        )
    if not unknown:
        return []
    near = {name: difflib.get_close_matches(name, absent, n=1, cutoff=0.7) for name in hints}
    hinted = "".join(f" Did you mean {found[0]!r} by {name!r}?" for name, found in near.items() if found)
    count = "1 column is" if len(unknown) == 1 else f"{len(unknown)} columns are"
    return [f"{path.name}: {count} not known and ignored: {name_columns(unknown, _NUM_NAMED)}.{hinted}"]


def _read_row(row: Mapping[str | None, str], folder: Path, sheet: Sheet, is_of_run: bool) -> VideoItem:
    if None in row:
        raise ValueError("more fields than columns; quote fields that hold the delimiter")
    values = {str(key): value.strip() for key, value in row.items()}
    if not values.get("path"):
        raise ValueError("no path")
    label = _read_label(values.get("label", ""), is_of_run)
    split = values.get("split", "").lower() or None
    split = SPLIT_ALIASES.get(split, split) if split else None
    if split is not None and split not in SPLITS:
        raise ValueError(f"split {split!r}; expected train, val or test")
    # Where commas part no cells, a number may be written with one.
    has_decimal_commas = sheet.delimiter != ","
    start = _seconds(values, "start", has_decimal_commas) or 0.0
    end = _seconds(values, "end", has_decimal_commas)
    if end is not None and end <= start:
        raise ValueError(f"end {end:g} is not after start {start:g}")
    group = values.get("group", "")
    if is_placeholder(group) and not is_of_run:
        raise ValueError(f"group {group!r} is what programs write where there is none; leave it empty")
    file, digest = _find_file(folder, row["path"]), values.get("digest") or None
    return VideoItem(file, label, split, _name_in(group) or None, start, end, digest)


def _read_label(cell: str, is_of_run: bool) -> str:
    """Return the label in a cell.

    Raises:
        ValueError: there is none, or what a program writes for none, or it is no name by its length.
    """
    if not likeness(cell):
        raise ValueError(f"no label; write {LABEL_SEPARATOR} for a video that has none of several classes")
    if len(cell) > _MAX_LABEL:
        raise ValueError(f"a label of {len(cell)} characters; expected the name of a class")
    if not is_of_run and not cell.startswith("'") and _needs_mark(cell):
        raise ValueError(
            f"label {cell!r} is what programs write where there is none; give the row a label or remove it, "
            f"or write '{cell} with the apostrophe if the class is called so"
        )
    return _name_in(cell)


def _name_in(cell: str) -> str:
    """Return a name without the mark that says it is one."""
    return cell[1:] if cell.startswith("'") and _needs_mark(cell[1:]) else unescape_cell(cell)


def _needs_mark(name: str) -> bool:
    """Tell a class or group that is called what programs write for no value; also behind apostrophes."""
    return any(map(is_placeholder, name.lstrip("'").split(LABEL_SEPARATOR)))


def _find_file(folder: Path, cell: str) -> Path:
    """Return the file that a cell names: as it is written, else the first that is there in another way."""
    bare = cell.strip()
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


def _seconds(values: Mapping[str, str], name: str, has_decimal_commas: bool) -> float | None:
    text = values.get(name, "")
    if not text:
        return None
    if has_decimal_commas and re.fullmatch(r"\d*,\d+", text):
        text = text.replace(",", ".")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} {text!r}; expected seconds, 0 or more")
    return seconds


def _missing_files(items: Sequence[VideoItem]) -> list[str]:
    return [
        f"{item.path}: {'is no regular file' if os.path.exists(item.path) else 'no such file'}"
        for item in items
        if not os.path.isfile(item.path)
    ]


def _repeated_rows(items: Sequence[VideoItem]) -> list[str]:
    counts = Counter((item.path, item.start_seconds, item.end_seconds) for item in items)
    return [f"{key[0]}: listed {count} times" for key, count in counts.items() if count > 1]
