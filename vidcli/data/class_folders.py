"""Folders of class folders, read as labelled videos.

    DATA/CLASS/*.mp4                     one folder a class; splits are made later
    DATA/{train,val,test}/CLASS/*.mp4    one folder a split, then a class
    DATA/CLASS/GROUP/*.mp4               data.folders=class/group
    DATA/GROUP/CLASS/*.mp4               data.folders=group/class

Folders that look like people, days or cameras where classes were expected lead to a note.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vidcli.data.folders import Tree
from vidcli.data.items import SPLIT_ALIASES, SPLITS, VideoItem, name_few
from vidcli.errors import DataError
from vidcli.names import likeness, normal_name, visible

_ENTITY = re.compile(
    r"(s|p|id|subj|subject|person|people|user|participant|patient|actor|child|student|mouse|rat|animal|"
    r"cam|camera|view|day|date|session|rec|recording|run|trial|take|site|room|cage|box|group|week|month)"
    r"[ ._-]*\d+[a-z]?",
    re.IGNORECASE,
)
_DATE = re.compile(
    r"(19|20)\d\d[ ._-]?[01]\d[ ._-]?[0-3]\d([ ._t-].*)?|[0-3]?\d[._-][01]?\d[._-](19|20)\d\d",
    re.IGNORECASE,
)
_SHARE = 0.75
"""Share of the names that must look like people or days before all of the folders are doubted."""


def read_class_folders(folder: Path, layout: str, tree: Tree) -> tuple[list[VideoItem], list[str], list[str]]:
    """Read the videos of a folder.

    Args:
        folder: data folder.
        layout: value of `data.folders`: class, class/group or group/class.
        tree: reads the folder.

    Returns:
        The videos, notes on how the folder is laid out, and notes on how class folders are named.

    Raises:
        DataError: there are no videos in class folders, or the folders beside the splits are unclear.
    """
    inside = {path.name: path for path in tree.subfolders(folder)}
    split_of = {name: SPLIT_ALIASES.get(name.lower(), name.lower()) for name in inside}
    spelled: dict[str, Counter[str]] = defaultdict(Counter)
    notes: list[str] = []
    empty = _empty_beside_splits(inside, split_of, tree)
    among_splits = {name: split for name, split in split_of.items() if name not in empty}
    # Split folders have class folders inside. A class may be called "test" too, but beside other classes.
    nested = {split for name, split in among_splits.items() if any(tree.subfolders(inside[name]))}
    if "train" in nested or (nested & set(SPLITS) and set(among_splits.values()) <= set(SPLITS)):
        _check_split_folders(folder, among_splits)
        items = [
            item
            for name, split in among_splits.items()
            for item in _read_classes(inside[name], split, layout, spelled, tree)
        ]
        roots = [inside[name] for name in among_splits]
        if empty:
            notes.append(f"{len(empty)} folders beside the splits hold no videos: {name_few(empty)}")
    else:
        items = list(_read_classes(folder, None, layout, spelled, tree))
        roots = [folder]
    if items:
        if layout == "class":
            called = {name for names in spelled.values() for name in names}
            folders = [path for root in roots for path in tree.subfolders(root) if path.name in called]
            doubt = doubt_classes(list({path.name: path for path in folders}.values()), tree)
            notes += [doubt] if doubt else []
        return items, notes, _tell_joined(spelled)
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
    if tables:
        hint = f"; give the manifest itself: {tables[0]}"
    elif tree.list_videos(folder):
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


def _empty_beside_splits(inside: Mapping[str, Path], split_of: Mapping[str, str], tree: Tree) -> list[str]:
    """Return the names of folders without videos that stand beside folders named like splits."""
    if not set(split_of.values()) & set(SPLITS):
        return []
    strangers = [name for name, split in split_of.items() if split not in SPLITS]
    return [name for name in strangers if not tree.list_videos(inside[name])]


def _read_classes(
    folder: Path, split: str | None, layout: str, spelled: dict[str, Counter[str]], tree: Tree
) -> Iterator[VideoItem]:
    """Yield the videos in class folders, and count each spelling of a class's folder in `spelled`."""
    for name, group, videos in _class_folders(folder, layout, tree):
        label = normal_name(name.strip())
        if videos and not likeness(label):
            raise DataError(f"{folder}: the class folder {name!a} has no name but blanks; rename it")
        for path in videos:
            spelled[label][name] += 1
            yield VideoItem(path, label, split, group)


def _class_folders(folder: Path, layout: str, tree: Tree) -> Iterator[tuple[str, str | None, list[Path]]]:
    """Yield the name of each class, the group of some of its videos, and these videos.

    Args:
        folder: folder of one split, or of all videos.
        layout: value of `data.folders`: class, class/group or group/class.
        tree: reads the folder.
    """
    for outer in tree.subfolders(folder):
        if layout == "class":
            yield outer.name, None, tree.list_videos(outer)
            continue
        for inner in tree.subfolders(outer):
            name, group = (inner.name, outer.name) if layout == "group/class" else (outer.name, inner.name)
            yield name, group, tree.list_videos(inner)
        if layout == "class/group":  # what lies in no group
            yield outer.name, None, [path for path in tree.list_videos(outer) if path.parent == outer]


def _tell_joined(spelled: Mapping[str, Counter[str]]) -> list[str]:
    """Return one sentence for each class whose folders are spelled in more than one way."""
    return [
        f"folders of the class {visible(label)!r} differ in blanks or Unicode form, and are one class: "
        + ", ".join(f"{name!a} ({count} videos)" for name, count in sorted(names.items()))
        for label, names in spelled.items()
        if len(names) > 1
    ]


def looks_like_entities(names: Sequence[str]) -> bool:
    """Tell whether names are those of people, animals, cameras, recordings or days."""
    alike = sum(bool(_ENTITY.fullmatch(name.strip()) or _DATE.fullmatch(name.strip())) for name in names)
    return len(names) >= 2 and alike >= _SHARE * len(names)


def doubt_classes(class_folders: Sequence[Path], tree: Tree) -> str | None:
    """Return a sentence if folders that are read as classes may be something else; else None.

    Args:
        class_folders: folders that hold videos, directly or below.
        tree: reads them.
    """
    names = [folder.name for folder in class_folders]
    shared = _shared_names(
        {folder.name: [path.name for path in tree.subfolders(folder)] for folder in class_folders}
    )
    if not shared:
        if not looks_like_entities(names):
            return None
        return (
            f"the classes {', '.join(names[:4])} look like people, days or cameras: a model would learn to "
            "tell those apart. If they are no classes, write a manifest (path,label,group)"
        )
    told = f"folders of the same names ({', '.join(shared[:4])}) lie in most of {', '.join(names[:4])}"
    if looks_like_entities(shared):
        return (
            f"{told}: the inner ones look like people, days or cameras, which must not part between train "
            "and test; data.folders=class/group keeps each together"
        )
    if looks_like_entities(names):
        return (
            f"{told}: the outer ones look like people, days or cameras, and the inner ones may be the "
            "classes; data.folders=group/class reads them so"
        )
    return (
        f"{told}, and the outer ones are taken for classes; if the inner ones are, "
        "data.folders=group/class reads them so, and data.folders=class/group keeps what they hold together"
    )


def _shared_names(inner: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of inner folders that most outer folders have, if there are two or more."""
    counts = Counter(name for names in inner.values() for name in set(names))
    shared = sorted(name for name, count in counts.items() if count >= 2 and count > len(inner) / 2)
    return shared if len(shared) >= 2 else []
