"""Which videos there are, and what they show: folders and tables to a list of `VideoItem`.

Layouts that are read:

    DATA/CLASS/*.mp4                     one folder a class; splits are made
    DATA/{train,val,test}/CLASS/*.mp4    one folder a split, then a class
    DATA.csv, DATA.tsv                   path, label [, split, group, start, end]
    DATA/ with lists of its own          UCF101, HMDB51, Kinetics, Something-Something: `layouts`

Class names are strings everywhere; their order is alphabetical.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vidcli.config import DataConfig
from vidcli.data.folders import find_others, list_videos, look_through, subfolders
from vidcli.data.guesses import doubt_classes
from vidcli.data.items import (
    SPLIT_ALIASES,
    SPLITS,
    VideoItem,
    class_names_of,
    name_few,
    name_some,
    tell_alike_classes,
)
from vidcli.data.layouts import UNUSED_FOLD, is_kinetics_list, read_kinetics_list, read_published
from vidcli.data.rows import manifest_text, read_manifest
from vidcli.errors import DataError
from vidcli.names import is_text, likeness, normal_name, visible
from vidcli.runtime.files import require_regular
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


_LONGEST_PATH = 400


@dataclass(frozen=True)
class DataListing:
    """The videos of a data set, and what a reader should know of it.

    Attributes:
        notes: a sentence on each kind of thing that was passed over, guessed or odd.
        of_names: those of them that tell of class names which a reader may take for one another.
    """

    items: list[VideoItem]
    notes: list[str]
    of_names: list[str] = field(default_factory=list)


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
        items, notes, of_names = _read_folder(path, settings.folders)
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
    """Return a sentence on each kind of thing in a folder of class folders that was passed over.

    Videos outside of class folders, other files inside of them, and class folders without a video.
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
    """Return a digest of what was learnt from: labels, splits, spans and file sizes, but no paths."""
    rows = sorted(
        f"{item.label}\t{item.split}\t{item.start_seconds}\t{item.end_seconds}\t"
        f"{item.path.stat().st_size if item.path.exists() else 'missing'}"
        for item in items
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def _read_folder(folder: Path, layout: str) -> tuple[list[VideoItem], list[str], list[str]]:
    """Return the videos of a folder, what is odd in how it is laid out, and in how classes are named."""
    inside = {path.name: path for path in subfolders(folder)}
    split_of = {name: SPLIT_ALIASES.get(name.lower(), name.lower()) for name in inside}
    spelled: dict[str, Counter[str]] = defaultdict(Counter)
    notes: list[str] = []
    empty = _empty_beside_splits(inside, split_of)
    among_splits = {name: split for name, split in split_of.items() if name not in empty}
    # Folders of classes inside: a class may be called "test", but then others stand beside it.
    nested = {split for name, split in among_splits.items() if any(subfolders(inside[name]))}
    if "train" in nested or (nested & set(SPLITS) and set(among_splits.values()) <= set(SPLITS)):
        _check_split_folders(folder, among_splits)
        items = [
            item
            for name, split in among_splits.items()
            for item in _read_classes(inside[name], split, layout, spelled)
        ]
        roots = [inside[name] for name in among_splits]
        if empty:
            notes.append(f"{len(empty)} folders beside the splits hold no videos: {name_few(empty)}")
    else:
        items = list(_read_classes(folder, None, layout, spelled))
        roots = [folder]
    if items:
        if layout == "class":
            called = {name for names in spelled.values() for name in names}
            folders = [path for root in roots for path in subfolders(root) if path.name in called]
            doubt = doubt_classes(list({path.name: path for path in folders}.values()))
            notes += [doubt] if doubt else []
        return items, notes, _tell_joined(spelled)
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


def _empty_beside_splits(inside: Mapping[str, Path], split_of: Mapping[str, str]) -> list[str]:
    """Return the names of folders without videos that stand beside folders named like splits."""
    if not set(split_of.values()) & set(SPLITS):
        return []
    return [name for name, split in split_of.items() if split not in SPLITS and not list_videos(inside[name])]


def _read_classes(
    folder: Path, split: str | None, layout: str, spelled: dict[str, Counter[str]]
) -> Iterator[VideoItem]:
    """Yield the videos in class folders, and count in `spelled` how the folders of each class are called."""
    for name, group, videos in _class_folders(folder, layout):
        label = normal_name(name.strip())
        if videos and not likeness(label):
            raise DataError(f"{folder}: the class folder {name!a} has no name but blanks; rename it")
        for path in videos:
            spelled[label][name] += 1
            yield VideoItem(path, label, split, group)


def _class_folders(folder: Path, layout: str) -> Iterator[tuple[str, str | None, list[Path]]]:
    """Yield the name of each class, the group in which its videos lie, and the videos.

    Args:
        folder: of one split.
        layout: as `data.folders` says.
    """
    for outer in subfolders(folder):
        if layout == "class":
            yield outer.name, None, list_videos(outer)
            continue
        for inner in subfolders(outer):
            name, group = (inner.name, outer.name) if layout == "group/class" else (outer.name, inner.name)
            yield name, group, list_videos(inner)
        if layout == "class/group":  # what lies in no group
            yield outer.name, None, [path for path in list_videos(outer) if path.parent == outer]


def _tell_joined(spelled: Mapping[str, Counter[str]]) -> list[str]:
    """Return a sentence on each class whose folders are spelled in more than one way."""
    return [
        f"folders of the class {visible(label)!r} differ in blanks or Unicode form, and are one class: "
        + ", ".join(f"{name!a} ({count} videos)" for name, count in sorted(names.items()))
        for label, names in spelled.items()
        if len(names) > 1
    ]
