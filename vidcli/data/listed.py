"""The content of published lists, and the search for the videos that they name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vidcli import sheets
from vidcli.data.folders import FolderContents, Tree
from vidcli.data.items import VideoItem, name_few, name_some
from vidcli.errors import DataError
from vidcli.names import normal_name

_MAX_LIST_BYTES = 256 * 2**20
_LIST_SUFFIXES = (".txt", ".csv", ".json")


@dataclass(frozen=True)
class ListedVideo:
    """One row of a list.

    Attributes:
        name: path of the video as the list gives it, folders and suffix included.
        label: class name.
        split: train, val or test.
        group: videos of one group stay together when a val split is drawn.
    """

    name: str
    label: str
    split: str
    group: str | None = None


@dataclass(frozen=True)
class Listing:
    """A data set as its lists describe it.

    Attributes:
        title: name of the data set.
        source: one of the lists, for messages.
        videos: rows of all lists.
        notes: one sentence for each kind of row that is passed over.
        are_links: whether the data set is published as links, some of which are always dead.
        has_folds: whether it is published with several train and test splits.
    """

    title: str
    source: Path
    videos: Sequence[ListedVideo]
    notes: list[str] = field(default_factory=list)
    are_links: bool = False
    has_folds: bool = False


def find_lists(folder: Path, tree: Tree) -> list[Path]:
    """Return the files of a folder, and of those directly inside, that could be lists."""
    return [
        parent / name
        for parent in (folder, *tree.subfolders(folder))
        for name in tree.files(parent)
        if os.path.splitext(name)[1].lower() in _LIST_SUFFIXES
    ]


def only_one(paths: Sequence[Path]) -> Path:
    """Return the only path.

    Raises:
        DataError: the same list lies in two places.
    """
    if len(paths) > 1:
        raise DataError(
            f"{paths[0]}: the same list also lies at {name_few(paths[1:])}; keep one of them in DATA"
        )
    return paths[0]


def read_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return the words of every line that has any, with its number from 1.

    Raises:
        DataError: the file is no text.
    """
    text = read_text(path)
    return [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def read_text(path: Path) -> str:
    """Return the text of a list.

    Raises:
        DataError: the file cannot be read as text.
    """
    try:
        return sheets.read_text(path)[0]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error


def refuse_faults(path: Path, faults: Sequence[str]) -> None:
    """Raise a DataError that names the faults of a list, if there are any."""
    if faults:
        raise DataError(f"{path}: {name_some(faults)}")


def find_videos(
    listing: Listing, folder: Path, max_missing: float, missing_ok: bool, contents: FolderContents
) -> tuple[list[VideoItem], list[str]]:
    """Find the files of the listed videos.

    Args:
        listing: content of the lists.
        folder: folder below which the videos lie.
        max_missing: share of the videos that may be missing where the data set is published as links.
        missing_ok: keep videos whose file is missing, under the path where it should be.
        contents: what lies below the folder.

    Returns:
        The videos, and one sentence for each kind of thing that was passed over.

    Raises:
        DataError: videos are missing, listed twice, or lie in two places.
    """
    on_disk = contents.videos
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in on_disk:
        by_stem[normal_name(path.stem)].append(path)
    items: list[VideoItem] = []
    missing: list[str] = []
    seen: dict[Path, str] = {}
    faults: list[str] = []
    for video in listing.videos:
        found = _find(video, by_stem, faults)
        if found is None:
            missing.append(video.name)
            if not missing_ok:
                continue
        path = found or folder / video.name
        if path in seen:
            faults.append(f"{video.name}: listed twice (as {seen[path]}, then {video.label})")
            continue
        seen[path] = video.label
        items.append(VideoItem(path, video.label, video.split, video.group))
    refuse_faults(listing.source, faults)
    notes = [f"{listing.title}: read as published, by {listing.source}", *listing.notes, *contents.notes()]
    if missing and not missing_ok:
        notes.append(_judge_missing(listing, folder, missing, max_missing, len(on_disk)))
    unlisted = [path for path in on_disk if path not in seen]
    if unlisted:
        notes.append(
            f"{len(unlisted)} videos are in none of the lists and are not used: {name_few(unlisted)}"
        )
    return items, notes


def _find(video: ListedVideo, by_stem: Mapping[str, list[Path]], faults: list[str]) -> Path | None:
    """Return the file of a listed video; of several with its name, the one whose folder or suffix fits."""
    name = PurePosixPath(normal_name(video.name))
    found = by_stem.get(name.stem, [])
    for fits in (
        lambda path: normal_name(path.parent.name) in (name.parent.name, normal_name(video.label)),
        lambda path: path.suffix == name.suffix,
    ):
        if len(found) > 1:
            found = [path for path in found if fits(path)] or found
    if len(found) > 1:
        faults.append(f"{video.name}: lies in more than one place ({name_few(found)}); keep one of them")
    return found[0] if found else None


def _judge_missing(
    listing: Listing, folder: Path, missing: Sequence[str], max_missing: float, num_on_disk: int
) -> str:
    """Return the sentence that counts the missing videos, or refuse where they are too many."""
    count = f"{len(missing)} of {len(listing.videos)} listed videos are missing"
    allowed = max_missing if listing.are_links else 0.0
    if len(missing) <= allowed * len(listing.videos):
        return f"{count} and left out, as happens to a data set published as links: {name_few(missing)}"
    limit = f"; data.max_unusable={max_missing:g} allows fewer" if listing.are_links else ""
    raise DataError(
        f"{folder}: looks like {listing.title} by {listing.source}, but {count}{limit}. Expected them "
        f"below {folder}, in any folder, under the name they were published with; it holds "
        f"{num_on_disk} videos:\n{name_some(missing)}"
    )
