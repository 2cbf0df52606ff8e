"""Folders for what can be made again, which vidcli alone fills and empties.

    CACHE/features/.vidcli-cache    says that vidcli made the folder, or took it while it was empty
    CACHE/features/...              of what is in it, only what has a name of vidcli's is ever deleted

A folder of that name without the file is somebody else's, and so is a link: nothing in it is read, written
or deleted, and CACHE/vidcli-features is taken in its place.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from vidcli.data.builtin import cache_folder
from vidcli.errors import WriteError

CACHE_MARKER = ".vidcli-cache"

_TEXT = "vidcli made this folder, and may delete what it put here; all of it can be made again.\n"


def find_cache(name: str) -> Path:
    """Return the folder for one kind of thing that is kept, made or not; nothing is written.

    Args:
        name: of the folder, below VIDCLI_CACHE or the system's usual place.
    """
    usual = cache_folder() / name
    return usual if not os.path.lexists(usual) or is_cache(usual) or _is_empty(usual) else _renamed(usual)


def take_cache(folder: Path) -> None:
    """Make a folder that is kept and mark it; one that is marked already is left as it is.

    Raises:
        OSError: it cannot be written, or holds other things.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_cache(folder):
        return
    if not _is_empty(folder) and not is_cache(folder):  # another process may just have marked it
        raise OSError(errno.EEXIST, "holds other things than what vidcli keeps there", str(folder))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        marker = os.open(folder / CACHE_MARKER, flags, 0o666)
    except FileExistsError:
        return
    with os.fdopen(marker, "w", encoding="utf-8") as file:
        file.write(_TEXT)


def open_cache(name: str) -> Path:
    """Return the folder for one kind of thing that is kept, made and marked.

    Raises:
        WriteError: it cannot be.
    """
    folder = find_cache(name)
    try:
        take_cache(folder)
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be written ({error.strerror}); name another cache folder with VIDCLI_CACHE"
        ) from error
    return folder


def is_cache(folder: Path) -> bool:
    """Tell whether a folder is marked as vidcli's, and no link."""
    try:
        return is_plain(folder, stat.S_ISDIR) and is_plain(folder / CACHE_MARKER, stat.S_ISREG)
    except OSError:
        return False


def is_plain(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Tell whether a path is itself, and not by a link, of a kind such as `stat.S_ISREG`."""
    try:
        return is_kind(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def own_folders(folder: Path, is_named: Callable[[str], object]) -> Iterator[Path]:
    """Yield the folders with names of ours in a folder that is marked, and follow no link.

    Args:
        folder: nothing is yielded unless it is marked.
        is_named: whether a name is one that vidcli gives.

    Raises:
        OSError: it cannot be read.
    """
    if is_cache(folder):
        for path in folder.iterdir():
            if is_named(path.name) and is_plain(path, stat.S_ISDIR):
                yield path


def own_files(folder: Path, is_named: Callable[[str], object]) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the regular files with names of ours in a folder, and what the system says of them.

    Args:
        folder: one of those that `own_folders` gives.
        is_named: whether a name is one that vidcli gives.

    Raises:
        OSError: it cannot be read.
    """
    for path in folder.iterdir():
        if is_named(path.name):
            try:
                status = path.lstat()
            except FileNotFoundError:  # another process was faster
                continue
            if stat.S_ISREG(status.st_mode):
                yield path, status


def measure_caches() -> dict[Path, int]:
    """Return the folders with frames and features that are kept for all runs, and their bytes.

    Those that are not there, are empty or are somebody else's are left out.
    """
    folders = [find_cache(name) for name in ("frames", "features")]
    sizes = {folder: measure_folder(folder) for folder in folders if is_cache(folder)}
    return {folder: size for folder, size in sizes.items() if size > len(_TEXT)}


def measure_folder(folder: Path) -> int:
    """Return the bytes of all files in a folder and those below it; no link is followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # another process was faster
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _is_empty(folder: Path) -> bool:
    return is_plain(folder, stat.S_ISDIR) and not any(folder.iterdir())


def _renamed(folder: Path) -> Path:
    return folder.with_name(f"vidcli-{folder.name}")
