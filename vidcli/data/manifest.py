"""The videos of a data set with their labels.

A data set is read from

    DATA/                  folders of class folders (`class_folders`)
    DATA/                  the published lists of a known data set (`layouts`)
    DATA.csv, DATA.tsv     a manifest with the columns path, label and optionally split, group, start, end,
                           track, box
    DATA.parquet, .jsonl   the same as Parquet, or as JSON objects one a line
    DATA.tar               shards (`shards`)
    s3://bucket/DATA.csv   the same at an address

Columns may have the names that other programs give them, such as video, class and start_time, and times may
be written as HH:MM:SS.mmm. Paths in a manifest are relative to its folder, or addresses. A path is first
tried as it is written, then without blanks around it, with `/` for a backslash, and in the other Unicode form
of accents.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vidcli.config import DataConfig
from vidcli.data.cells import open_cells
from vidcli.data.class_folders import read_class_folders
from vidcli.data.column_names import ALIASES, find_column
from vidcli.data.fetched import fetch_file
from vidcli.data.folders import Tree
from vidcli.data.items import (
    TABLE_SUFFIXES,
    VideoItem,
    box_text,
    name_few,
    name_some,
    tell_alike_classes,
)
from vidcli.data.layouts import UNUSED_FOLD, is_kinetics_list, read_kinetics_list, read_published
from vidcli.data.manifest_rows import COLUMNS, RowRules, needs_mark, read_rows
from vidcli.data.present_files import find_missing
from vidcli.data.shards import names_shards, read_shards
from vidcli.data.video_table import VideoTable
from vidcli.errors import DataError, did_you_mean
from vidcli.names import visible
from vidcli.runtime.files import require_regular
from vidcli.sheets import csv_text, name_columns
from vidcli.storage.addresses import StoredPath, is_afar, path_of, without_secrets
from vidcli.storage.connections import StorageError
from vidcli.video import VIDEO_SUFFIXES

_NUM_NAMED = 10
_LONGEST_PATH = 400


@dataclass(frozen=True)
class DataListing:
    """The videos of a data set, and notes for the user.

    Attributes:
        items: videos.
        notes: one sentence for each kind of thing that was passed over, guessed or odd.
        of_names: those of the notes that are about class names which a reader may confuse.
    """

    items: Sequence[VideoItem]
    notes: list[str]
    of_names: list[str] = field(default_factory=list)


def load_items(
    data: str | os.PathLike[str], missing_ok: bool = False, settings: DataConfig | None = None
) -> Sequence[VideoItem]:
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
    path = path_of(data)
    settings = settings or DataConfig()
    try:
        listing = _read(path, missing_ok, settings)
    except OSError as error:
        place = str(error.filename or path)
        named = place if len(place) <= _LONGEST_PATH else f"{place[:_LONGEST_PATH]}…"
        raise DataError(f"{named}: cannot be read ({error.strerror})") from error
    items = VideoTable.of(listing.items)
    listing.of_names.extend(tell_alike_classes(items, settings.multi_label))
    listing.notes.extend(listing.of_names)
    if unwritable := items.paths.undecodable():
        raise DataError(
            "names that are no valid UTF-8 cannot stand in a run's files; rename\n"
            + name_some([*map(without_secrets, unwritable)])
        )
    return replace(listing, items=items)


def _read(path: Path, missing_ok: bool, settings: DataConfig) -> DataListing:
    items: Sequence[VideoItem]
    notes: list[str] = []
    of_names: list[str] = []
    if names_shards(path) or (is_afar(path) and not path.suffix):
        items = read_shards(path)
        if not missing_ok and (bare := sum(not item.label for item in items)):
            raise DataError(f"{path}: {bare} of {len(items)} videos have no label (.cls, .txt or .json)")
    elif is_afar(path):
        items, notes = read_manifest_afar(path, missing_ok)
    elif path.is_dir():
        tree = Tree()
        published = read_published(path, settings.fold, settings.max_unusable, missing_ok, tree)
        if published is not None:
            return DataListing(*published)
        items, notes, of_names = read_class_folders(path, settings.folders, tree)
        notes += _find_unused(path, items, tree)
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
    if settings.fold != DataConfig().fold:
        notes.append(UNUSED_FOLD)
    return DataListing(items, notes, of_names)


def _find_unused(folder: Path, items: Iterable[VideoItem], tree: Tree) -> list[str]:
    """Return one sentence for each kind of thing in a folder of class folders that was passed over.

    These are videos outside of class folders, other files inside of class folders, and class folders
    without a video.
    """
    used = {os.fspath(item.path) for item in items}  # texts: paths take much longer to compare
    contents = tree.look_through(folder)
    videos = [path for path in contents.videos if os.fspath(path) not in used]
    class_folders = sorted({Path(folder) for folder in {os.path.dirname(path) for path in used}})
    others = [
        class_folder / name
        for class_folder in class_folders
        for name in tree.files(class_folder)
        if os.path.join(class_folder, name) not in used
    ]
    empty = [
        path
        for parent in sorted({class_folder.parent for class_folder in class_folders})
        for path in tree.subfolders(parent)
        if not tree.list_videos(path)
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
        f"{item.label}\t{item.split}\t{item.start_seconds}\t{item.end_seconds}\t{_stated_size(item.path)}"
        f"{'' if item.track is None else item.track}{'' if item.box is None else item.box}"
        for item in items
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def _stated_size(path: Path) -> int | str:
    if isinstance(path, StoredPath):
        return "stored elsewhere"  # a million addresses are not asked for their sizes
    return path.stat().st_size if path.exists() else "missing"


def manifest_text(items: Sequence[VideoItem]) -> str:
    """Return items as a CSV manifest with absolute paths, which `read_manifest` reads back."""

    def row(item: VideoItem) -> tuple[str, ...]:
        end = "" if item.end_seconds is None else repr(item.end_seconds)
        start = repr(item.start_seconds) if item.start_seconds else ""
        label, group, track = (
            f"'{name}" if needs_mark(name) else name
            for name in (item.label, item.group or "", item.track or "")
        )
        box = "" if item.box is None else box_text(item.box)
        known = str(item.path.absolute()), label, item.split or "", group, start, end
        return *known, *itertools.compress((track, box, item.digest or ""), are_used)

    are_used = [any(getattr(item, name) is not None for item in items) for name in ("track", "box", "digest")]
    columns = [*COLUMNS[:-3], *itertools.compress(COLUMNS[-3:], are_used)]
    return csv_text([columns, *map(row, items)])


def read_manifest_afar(path: Path, missing_ok: bool) -> tuple[VideoTable, list[str]]:
    """Read a manifest at an address, a copy of which is kept; see `read_manifest`.

    Raises:
        DataError: it is no manifest, or cannot be fetched.
    """
    assert isinstance(path, StoredPath)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(
            f"{path}: expected a manifest ({', '.join(TABLE_SUFFIXES)}) that names the videos at their "
            "addresses; class folders are read from a disk only"
        )
    try:
        copy = fetch_file(path)
    except StorageError as error:
        raise DataError(f"{path}: {error}") from error
    return read_manifest(copy, missing_ok, path.parent)


def read_manifest(path: Path, missing_ok: bool, folder: Path | None = None) -> tuple[VideoTable, list[str]]:
    """Read a manifest; return its videos, and one sentence for each kind of thing that is passed over.

    Args:
        path: CSV, TSV, Parquet or JSON lines file.
        missing_ok: keep rows whose video is missing.
        folder: where relative paths start; None is the folder of the file.

    Raises:
        DataError: rows or columns are wrong or missing; names all of them.
    """
    known = (*COLUMNS, *(name for names in ALIASES.values() for name in names))
    cells = open_cells(path, known)
    columns, renamed = _rename_columns(path, cells.columns)
    notes = [*cells.notes, *renamed, *_check_columns(path, columns)]
    is_of_run = path.name == "splits.csv" and (path.parent / "config.yaml").is_file()
    # Where commas do not separate cells, a number may be written with a decimal comma.
    rules = RowRules(folder or path.parent, cells.delimiter not in ("", ","), is_of_run)
    items, faults = read_rows(replace(cells, columns=columns), rules, known)
    if not missing_ok:
        faults += [f"{item}: {reason}" for item, reason in find_missing(items.paths)]
    faults += [f"{name}: listed {count} times" for name, count in items.repeats()]
    num_without = int(np.count_nonzero(items.splits.mask(None)))
    if 0 < num_without < len(items):
        faults.append(f"{num_without} rows have no split although {len(items) - num_without} have one")
    if faults:
        raise DataError(f"{path}: " + name_some(faults))
    if not len(items):
        raise DataError(f"{path}: holds no rows under its header")
    return items, notes


def _rename_columns(path: Path, columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the columns by the names of a manifest, and a sentence that names the others.

    Raises:
        DataError: two columns can be the same one of a manifest.
    """
    try:
        found = {name: find_column(columns, names) for name, names in ALIASES.items()}
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    names = {given: name for name, given in found.items() if given not in (None, name)}
    if not names:
        return list(columns), []
    told = ", ".join(f"{given!r} as {name}" for given, name in names.items())
    return [names.get(name, name) for name in columns], [f"{path.name}: columns are read as others: {told}"]


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
            "start, end, track, box"
        )
    if not unknown:
        return []
    near = {name: difflib.get_close_matches(name, absent, n=1, cutoff=0.7) for name in hints}
    hinted = "".join(f" Did you mean {found[0]!r} by {name!r}?" for name, found in near.items() if found)
    count = "1 column is" if len(unknown) == 1 else f"{len(unknown)} columns are"
    return [f"{path.name}: {count} not known and ignored: {name_columns(unknown, _NUM_NAMED)}.{hinted}"]
