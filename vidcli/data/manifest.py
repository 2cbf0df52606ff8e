"""Which videos there are, and what they show: folders and tables to a list of `VideoItem`.

Layouts that are read:

    DATA/CLASS/*.mp4                     one folder a class; splits are made
    DATA/{train,val,test}/CLASS/*.mp4    one folder a split, then a class
    DATA.csv, DATA.tsv                   path, label [, split, group, start, end]
    DATA/ with lists of its own          UCF101, HMDB51, Kinetics, Something-Something: `layouts`

Class names are strings everywhere; their order is alphabetical.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidcli.config import DataConfig
from vidcli.data.items import (
    SPLIT_ALIASES,
    SPLITS,
    VideoItem,
    class_names_of,
    list_videos,
    name_few,
    name_some,
    subfolders,
)
from vidcli.data.layouts import UNUSED_FOLD, is_kinetics_list, read_kinetics_list, read_published
from vidcli.errors import DataError, did_you_mean
from vidcli.runtime.files import read_regular, require_regular
from vidcli.video import VIDEO_SUFFIXES

__all__ = [
    "SPLITS",
    "DataListing",
    "VideoItem",
    "class_names_of",
    "fingerprint",
    "list_videos",
    "load_items",
    "manifest_text",
    "read_data",
]

_MAX_TABLE_BYTES = 256 * 2**20
_COLUMNS = ("path", "label", "split", "group", "start", "end")


@dataclass(frozen=True)
class DataListing:
    """The videos of a data set, and a sentence on each kind of thing that was passed over."""

    items: list[VideoItem]
    notes: list[str]


def load_items(
    data: str | os.PathLike[str], missing_ok: bool = False, settings: DataConfig | None = None
) -> list[VideoItem]:
    """Return the videos of a data set; see `read_data`."""
    return read_data(data, missing_ok, settings).items


def read_data(
    data: str | os.PathLike[str], missing_ok: bool = False, settings: DataConfig | None = None
) -> DataListing:
    """Read a data folder, a manifest, or a data set in its published form.

    Args:
        data: a folder of class folders, a table, or a folder with published lists.
        missing_ok: keep rows whose file is gone, to be counted as failures later.
        settings: which fold of a published set, and how many of its videos may be missing.

    Raises:
        DataError: nothing there, no videos, unknown columns, missing files: with all of them named.
    """
    path = Path(data)
    settings = settings or DataConfig()
    try:
        listing = _read(path, missing_ok, settings)
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror})") from error
    unwritable = [str(item.path) for item in listing.items if not _is_text(str(item.path))]
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
        items = _read_folder(path)
        notes = _find_unused(path, items)
    elif not os.path.isfile(path):
        if os.path.exists(path):
            require_regular(path)
        raise DataError(f"{path}: no such folder or manifest")
    elif path.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(f"{path}: is one video; expected a folder of class folders, or a .csv manifest")
    elif is_kinetics_list(path):
        return DataListing(*read_kinetics_list(path, settings.fold, settings.max_unusable, missing_ok))
    else:
        items, notes = _read_table(path, missing_ok), []
    if settings.fold != DataConfig().fold:
        notes.append(UNUSED_FOLD)
    return DataListing(items, notes)


def _find_unused(folder: Path, items: Iterable[VideoItem]) -> list[str]:
    """Return a sentence on each kind of thing in a folder of class folders that was passed over.

    Videos outside of class folders, other files inside of them, and class folders without a video.
    """
    used = {item.path for item in items}
    class_folders = {path.parent for path in used}
    videos = [path for path in list_videos(folder) if path not in used]
    others = [
        path
        for class_folder in sorted(class_folders)
        for path in sorted(class_folder.iterdir())
        if path.is_file() and path not in used and not path.name.startswith(".")
    ]
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
    return [f"{len(paths)} {text}: {name_few(paths)}" for paths, text in kinds if paths]


def manifest_text(items: Sequence[VideoItem]) -> str:
    """Return items as a CSV manifest with absolute paths, which `load_items` reads back."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for item in items:
        end = "" if item.end_seconds is None else repr(item.end_seconds)
        start = repr(item.start_seconds) if item.start_seconds else ""
        row = (item.path.absolute(), item.label, item.split or "", item.group or "", start, end)
        writer.writerow(row)
    return buffer.getvalue()


def fingerprint(items: Iterable[VideoItem]) -> str:
    """Return a digest of what was learnt from: labels, splits, spans and file sizes, but no paths."""
    rows = sorted(
        f"{item.label}\t{item.split}\t{item.start_seconds}\t{item.end_seconds}\t"
        f"{item.path.stat().st_size if item.path.exists() else 'missing'}"
        for item in items
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def _read_folder(folder: Path) -> list[VideoItem]:
    inside = {path.name: path for path in subfolders(folder)}
    split_of = {name: SPLIT_ALIASES.get(name.lower(), name.lower()) for name in inside}
    # Folders of classes inside: a class may be called "test", but then others stand beside it.
    nested = {split for name, split in split_of.items() if any(subfolders(inside[name]))}
    if "train" in nested or (nested & set(SPLITS) and set(split_of.values()) <= set(SPLITS)):
        _check_split_folders(folder, split_of)
        items = [item for name, path in inside.items() for item in _read_classes(path, split_of[name])]
    else:
        items = list(_read_classes(folder, None))
    if items:
        return items
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
    if tables:
        hint = f"; give the manifest itself: {tables[0]}"
    elif list_videos(folder):
        hint = "; put the videos into one folder a class, or write a manifest (path,label)"
    else:
        hint = ""
    raise DataError(f"{folder}: no videos in class folders ({folder.name}/CLASS/video.mp4){hint}")


def _check_split_folders(folder: Path, split_of: Mapping[str, str]) -> None:
    strangers = sorted(name for name, split in split_of.items() if split not in SPLITS)
    if strangers:
        raise DataError(
            f"{folder}: {', '.join(strangers)} beside train; expected only train, val and test there"
        )
    for split in SPLITS:
        names = sorted(name for name in split_of if split_of[name] == split)
        if len(names) > 1:
            raise DataError(f"{folder}: {' and '.join(names)} both mean {split}; join them into one folder")


def _read_classes(folder: Path, split: str | None) -> Iterator[VideoItem]:
    for class_folder in subfolders(folder):
        for path in list_videos(class_folder):
            yield VideoItem(path, class_folder.name, split)


def _read_table(path: Path, missing_ok: bool) -> list[VideoItem]:
    try:
        text = read_regular(path, _MAX_TABLE_BYTES).decode("utf-8-sig")
        first_line = text.partition("\n")[0]
        delimiter = "\t" if path.suffix.lower() == ".tsv" or "\t" in first_line else ","
        reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
        columns = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = columns
        _check_columns(path, columns)
        rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a text table ({error})") from error
    items: list[VideoItem] = []
    faults: list[str] = []
    for line, row in rows:
        try:
            items.append(_read_row(row, path.parent))
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
    return items


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    faults = [
        f"unknown column {name!r}.{did_you_mean(name, _COLUMNS)}" for name in columns if name not in _COLUMNS
    ]
    faults += [f"no column {name!r}." for name in ("path", "label") if name not in columns]
    faults += [f"column {name!r} twice." for name, count in Counter(columns).items() if count > 1]
    if faults:
        raise DataError(
            f"{path}: {' '.join(faults)} Expected path, label and optionally split, group, start, end"
        )


def _read_row(row: dict[str, str | None], folder: Path) -> VideoItem:
    values = {key: (value or "").strip() for key, value in row.items() if key is not None}
    if None in row:
        raise ValueError("more fields than columns; quote fields that hold the delimiter")
    for name in ("path", "label"):
        if not values[name]:
            raise ValueError(f"no {name}")
    split = values.get("split", "").lower() or None
    split = SPLIT_ALIASES.get(split, split) if split else None
    if split is not None and split not in SPLITS:
        raise ValueError(f"split {split!r}; expected train, val or test")
    start, end = _seconds(values, "start") or 0.0, _seconds(values, "end")
    if end is not None and end <= start:
        raise ValueError(f"end {end:g} is not after start {start:g}")
    return VideoItem(folder / values["path"], values["label"], split, values.get("group") or None, start, end)


def _seconds(values: dict[str, str], name: str) -> float | None:
    text = values.get(name, "")
    if not text:
        return None
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


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
