"""The present paths of a run's videos, which are recognised by their content after they were moved."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items, manifest_text
from vidcli.errors import DataError, WriteError
from vidcli.runtime.files import write_text
from vidcli.storage.addresses import is_afar, path_of
from vidcli.storage.sources import open_source

_END_BYTES = 1 << 16
_NUM_TRIED = 50


def digest_content(path: Path) -> str | None:
    """Return a digest of a file's size, beginning and end; None if it cannot be read or lies afar.

    Returns:
        16 hexadecimal digits of SHA-256 over the size and the first and last 64 KiB.
    """
    if is_afar(path):
        return None  # it does not move by itself, and a million would be asked for one by one
    try:
        with open_source(path) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            digest = hashlib.sha256(b"%d\n" % size)
            digest.update(file.read(_END_BYTES))
            file.seek(max(size - _END_BYTES, file.tell()))
            digest.update(file.read(_END_BYTES))
    except OSError:
        return None
    return digest.hexdigest()[:16]


def with_digests(items: Iterable[VideoItem]) -> list[VideoItem]:
    """Return the items with the digests of their files as they are now."""
    return [replace(item, digest=digest_content(item.path)) for item in items]


def load_run_items(splits: Path, data_root: Path | None = None) -> Sequence[VideoItem]:
    """Return the videos of a run, including videos that are missing now.

    Args:
        splits: `splits.csv` of the run.
        data_root: folder that holds the data now; the new paths are written into `splits` if possible.

    Raises:
        DataError: not one of the videos is below `data_root`, or other videos have their names there.
    """
    items = load_items(splits, missing_ok=True)
    if data_root is None:
        return items
    moved = relocate(items, data_root)
    with suppress(WriteError):  # a run that can only be read needs --data-root again next time
        write_text(splits, manifest_text(moved))
    return moved


def relocate(items: Sequence[VideoItem], root: Path) -> list[VideoItem]:
    """Return the items with the paths that they have below another folder.

    The videos lie in the same places relative to each other as before.

    Args:
        items: videos with their former paths.
        root: new place of the folder that holds all of them, or of a folder above it.

    Raises:
        DataError: not one is there, or one is another video than it was.
    """
    paths = [item.path.absolute() for item in items]
    if afar := next((path for path in paths if is_afar(path)), None):
        raise DataError(
            f"--data-root {root}: is for videos that moved, but those of the run are addresses, such as "
            f"{afar}; leave it out"
        )
    depth = len(Path(os.path.commonpath([path.parent for path in paths])).parts)
    tried = paths[:: max(1, len(paths) // _NUM_TRIED)]

    def num_found(start: int) -> int:
        return sum(path_of(Path(root, *path.parts[start:])).is_file() for path in tried)

    # If several places fit equally well, take the one that keeps the longest part of the old path.
    start = max(range(1, depth + 1), key=num_found)
    moved = [
        replace(item, path=path_of(Path(root, *path.parts[start:])))
        for item, path in zip(items, paths, strict=True)
    ]
    if not any(item.path.is_file() for item in moved):
        expected = Path(root, *paths[0].parts[depth:])
        raise DataError(
            f"--data-root {root}: holds none of the {len(items)} videos that were in "
            f"{Path(*paths[0].parts[:depth])}; expected {expected} and the others as they lay there"
        )
    others = [
        item.path
        for item in moved
        if item.digest is not None and digest_content(item.path) not in (None, item.digest)
    ]
    if others:
        raise DataError(
            f"--data-root {root}: {len(others)} of {len(items)} files there are other videos than those of "
            f"the run, such as {others[0]}; name the folder that holds the same ones"
        )
    return moved


def find_learnt(items: Iterable[VideoItem], learnt: Iterable[VideoItem]) -> list[VideoItem]:
    """Return the items that a model was trained on, wherever their files lie now.

    Two files count as the same if their paths or contents are equal. If no digest of the content is
    known, the names of the file and its folder are compared instead.

    Args:
        items: videos to look for.
        learnt: videos that the model was trained on.
    """
    learnt = list(learnt)
    paths = {item.path.resolve() for item in learnt}
    digests = {item.digest for item in learnt} - {None}
    names = {item.path.parts[-2:] for item in learnt if item.digest is None}
    return [
        item
        for item in items
        if item.path.resolve() in paths
        or item.path.absolute().parts[-2:] in names
        or (digests and digest_content(item.path) in digests)
    ]
