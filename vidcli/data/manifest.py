"""The videos of a data set with their labels.

A data set is read from

    DATA/                  folders of class folders (`class_folders`)
    DATA/                  the published lists of a known data set (`layouts`)
    DATA.csv, DATA.tsv     a manifest with the columns path, label and optionally split, group, start, end

Columns may have the names that other programs give them, such as video, class and start_time, and times may
be written as HH:MM:SS.mmm. Paths in a manifest are relative to its folder. A path is first tried as it is
written, then without blanks around it, with `/` for a backslash, and in the other Unicode form of accents.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidcli.config import DataConfig
from vidcli.data.class_folders import read_class_folders
from vidcli.data.clock import parse_seconds
from vidcli.data.column_names import ALIASES, find_column
from vidcli.data.folders import find_others, list_videos, look_through, subfolders
from vidcli.data.items import (
    LABEL_SEPARATOR,
    SPLIT_ALIASES,
    SPLITS,
    VideoItem,
    name_few,
    name_some,
    tell_alike_classes,
)
from vidcli.data.layouts import UNUSED_FOLD, is_kinetics_list, read_kinetics_list, read_published
from vidcli.errors import DataError, did_you_mean
from vidcli.names import is_placeholder, is_text, likeness, visible
from vidcli.runtime.files import require_regular
from vidcli.sheets import Sheet, csv_text, name_columns, read_sheet, unescape_cell
from vidcli.video import VIDEO_SUFFIXES

COLUMNS = ("path", "label", "split", "group", "start", "end", "digest")
_NUM_NAMED = 10
_MAX_LABEL = 1000
_LONGEST_PATH = 400


@dataclass(frozen=True)
class DataListing:
    """The videos of a data set, and notes for the user.

    Attributes:
        items: videos.
        notes: one sentence for each kind of thing that was passed over, guessed or odd.
        of_names: those of the notes that are about class names which a reader may confuse.
    """

    items: list[VideoItem]
    notes: list[str]
    of_names: list[str] = field(default_factory=list)


def load_items(
    data: str | os.PathLike[str], missing_ok: bool = False, settings: DataConfig | None = None
) -> list[VideoItem]:
    """Return the videos of a data set; arguments and errors are those of `read_data`.

    Args:
        data: as in `read_data`.
        missing_ok: as in `read_data`.
        settings: as in `read_data`.
    """
    return read_data(data, missing_ok, settings).items


def read_data(
    data: str | os.PathLike[str], missing_ok: bool = False, settings: DataConfig | None = None
) -> DataListing:
    """Read a data folder, a manifest, or a data set in its published form.

    Args:
        data: a folder of class folders, a manifest, or a folder with published lists.
        missing_ok: keep videos whose file is missing, which count as failures later.
        settings: settings that say, among others, which fold of a published data set is read and which
            share of its videos may be missing; None takes the defaults.

    Raises:
        DataError: `data` does not exist or holds no video, or columns or files are missing; names all.
    """
    path = Path(data)
    settings = settings or DataConfig()
    try:
        listing = _read(path, missing_ok, settings)
    except OSError as error:
        place = str(error.filename or path)
        named = place if len(place) <= _LONGEST_PATH else f"{place[:_LONGEST_PATH]}…"
        raise DataError(f"{named}: cannot be read ({error.strerror})") from error
    listing.of_names.extend(tell_alike_classes(listing.items, settings.multi_label))
    listing.notes.extend(listing.of_names)
    unwritable = [str(item.path) for item in listing.items if not is_text(str(item.path))]
    if unwritable:
        raise DataError(
            "names that are no valid UTF-8 cannot stand in a run's files; rename\n" + name_some(unwritable)
        )
    return listing


def _read(path: Path, missing_ok: bool, settings: DataConfig) -> DataListing:
    if path.is_dir():
        published = read_published(path, settings.fold, settings.max_unusable, missing_ok)
        if published is not None:
            return DataListing(*published)
        items, notes, of_names = read_class_folders(path, settings.folders)
        notes += _find_unused(path, items)
    elif not os.path.isfile(path):
        if os.path.exists(path):
            require_regular(path)
        raise DataError(f"{path}: no such folder or manifest")
    elif path.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(f"{path}: is one video; expected a folder of class folders, or a .csv manifest")
    elif is_kinetics_list(path):
        return DataListing(*read_kinetics_list(path, settings.fold, settings.max_unusable, missing_ok))
    else:
        items, notes = read_manifest(path, missing_ok)
        of_names = []
    if settings.fold != DataConfig().fold:
        notes.append(UNUSED_FOLD)
    return DataListing(items, notes, of_names)


def _find_unused(folder: Path, items: Iterable[VideoItem]) -> list[str]:
    """Return one sentence for each kind of thing in a folder of class folders that was passed over.

    These are videos outside of class folders, other files inside of class folders, and class folders
    without a video.
    """
    used = {item.path for item in items}
    class_folders = {path.parent for path in used}
    contents = look_through(folder)
    videos = [path for path in contents.videos if path not in used]
    others = [path for class_folder in sorted(class_folders) for path in find_others(class_folder, used)]
    empty = [
        path
        for parent in sorted({class_folder.parent for class_folder in class_folders})
        for path in subfolders(parent)
        if not list_videos(path)
    ]
    kinds = (
        (videos, "videos outside of class folders are not used"),
        (others, "files in class folders are no videos by their suffix and are not used"),
        (empty, "class folders hold no videos"),
    )
    told = [f"{len(paths)} {text}: {name_few(paths)}" for paths, text in kinds if paths]
    return told + contents.notes()


def fingerprint(items: Iterable[VideoItem]) -> str:
    """Return a digest of labels, splits, spans and file sizes, which does not depend on paths."""
    rows = sorted(
        f"{item.label}\t{item.split}\t{item.start_seconds}\t{item.end_seconds}\t"
        f"{item.path.stat().st_size if item.path.exists() else 'missing'}"
        for item in items
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


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
    """Read a manifest; return its videos, and one sentence for each kind of thing that is passed over.

    Args:
        path: CSV or TSV file.
        missing_ok: keep rows whose video is missing.

    Raises:
        DataError: rows or columns are wrong or missing; names all of them.
    """
    sheet = read_sheet(path, (*COLUMNS, *(name for names in ALIASES.values() for name in names)))
    sheet, renamed = _rename_columns(path, sheet)
    notes = [*sheet.notes, *renamed, *_check_columns(path, sheet.columns)]
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


def _rename_columns(path: Path, sheet: Sheet) -> tuple[Sheet, list[str]]:
    """Return a table whose columns have the names of a manifest, and a sentence that names the others.

    Raises:
        DataError: two columns can be the same one of a manifest.
    """
    try:
        found = {name: find_column(sheet.columns, names) for name, names in ALIASES.items()}
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    names = {given: name for name, given in found.items() if given not in (None, name)}
    if not names:
        return sheet, []
    rows = [
        (line, {None if key is None else names.get(key, key): cell for key, cell in row.items()})
        for line, row in sheet.rows
    ]
    columns = [names.get(name, name) for name in sheet.columns]
    told = ", ".join(f"{given!r} as {name}" for given, name in names.items())
    return replace(sheet, columns=columns, rows=rows), [f"{path.name}: columns are read as others: {told}"]


def _check_columns(path: Path, columns: Sequence[str]) -> list[str]:
    """Return a sentence that names the columns that are ignored.

    Raises:
        DataError: the column path or label is missing, or a known column is there twice.
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
    # Where commas do not separate cells, a number may be written with a decimal comma.
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
        ValueError: the cell is empty, holds what programs write for a missing value, or is too long.
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
    """Return a name without the apostrophe that marks it as a name."""
    return cell[1:] if cell.startswith("'") and _needs_mark(cell[1:]) else unescape_cell(cell)


def _needs_mark(name: str) -> bool:
    """Tell whether a class or group, apostrophes aside, is called what programs write for a missing value."""
    return any(map(is_placeholder, name.lstrip("'").split(LABEL_SEPARATOR)))


def _find_file(folder: Path, cell: str) -> Path:
    """Return the file that a cell names; if it is not there as written, the first spelling that is there."""
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
    return parse_seconds(text, name, has_decimal_commas) if text else None


def _missing_files(items: Sequence[VideoItem]) -> list[str]:
    return [
        f"{item.path}: {'is no regular file' if os.path.exists(item.path) else 'no such file'}"
        for item in items
        if not os.path.isfile(item.path)
    ]


def _repeated_rows(items: Sequence[VideoItem]) -> list[str]:
    counts = Counter((item.path, item.start_seconds, item.end_seconds) for item in items)
    return [f"{key[0]}: listed {count} times" for key, count in counts.items() if count > 1]
