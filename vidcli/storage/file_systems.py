"""Files afar, by fsspec's file systems: size and version, content, what a folder holds, and storing."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from glob import has_magic
from pathlib import Path
from typing import Any

from vidcli.runtime.files import temporary_name
from vidcli.storage.addresses import StoredPath
from vidcli.storage.blocks import BLOCK_BYTES, BlockFile
from vidcli.storage.connections import (
    NO_RANGES,
    WITH_RANGES,
    NothingThere,
    StorageError,
    try_again,
)


@dataclass(frozen=True)
class Stored:
    """What is known of a file before it is read.

    Attributes:
        size: its bytes.
        version: its ETag or its time of change, whichever the server tells.
    """

    size: int
    version: str


@lru_cache(maxsize=1 << 16)
def describe_afar(path: StoredPath) -> Stored:
    """Return the size and version of a file, asked for once.

    Raises:
        StorageError: it is not there, or cannot be asked for.
    """
    return _describe(path)


def find_afar(path: StoredPath) -> Stored | None:
    """Return the size and version of a file as it is now; None where nothing is.

    Raises:
        StorageError: it is a folder, or cannot be asked for.
    """
    try:
        return _describe(path)
    except NothingThere:
        return None


def _describe(path: StoredPath) -> Stored:
    info = try_again(path, lambda system, place: system.info(place))
    if info.get("type") == "directory":
        raise StorageError("is a folder; expected a file")
    if info.get("size") is None or info.get("partial") is False:
        raise StorageError(NO_RANGES)
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "Last-Modified", "blob_id")
    return Stored(int(info["size"]), next((str(info[name]) for name in names if info.get(name)), ""))


def open_afar(path: StoredPath) -> BlockFile:
    """Open a file by blocks.

    Raises:
        StorageError: it is not there, or cannot be read.
    """
    stored = describe_afar(path)
    if path.parts[0][:-1] in WITH_RANGES:
        return BlockFile(
            lambda start, end: try_again(
                path, lambda system, place: system.cat_file(place, start=start, end=end)
            ),
            stored.size,
            (path, stored),
        )
    return BlockFile(_OpenedRanges(path, stored.size).fetch, stored.size, (path, stored))


class _OpenedRanges:
    """Ranges of a file that stays open between them."""

    def __init__(self, path: StoredPath, size: int) -> None:
        self._path, self._size = path, size
        self._file: Any = None

    def fetch(self, start: int, end: int) -> bytes:
        """Return the bytes between two places."""
        return try_again(self._path, lambda system, place: self._read(system, place, start, end))

    def _read(self, system: Any, place: str, start: int, end: int) -> bytes:
        opened, self._file = self._file, None  # after an error it is opened anew
        if opened is None:
            whole = {"size": self._size, "cache_type": "none"} if self._path.parts[0] != "sftp:" else {}
            opened = system.open(place, "rb", block_size=BLOCK_BYTES, **whole)
        opened.seek(start)
        content = b""
        while len(content) < end - start and (part := opened.read(end - start - len(content))):
            content += part
        self._file = opened
        return content


def list_afar(folder: StoredPath) -> list[StoredPath]:
    """Return the files below a folder, or those that match a pattern, in the order of their paths.

    Raises:
        StorageError: it is not there, or cannot be listed.
    """
    scheme, _, place = folder.address.partition("://")
    if scheme == "https":
        raise StorageError("cannot be listed over https; expected a manifest of addresses")

    def ask(system: Any, inside: str) -> list[str]:
        return sorted(system.glob(inside) if has_magic(inside) else system.find(inside))

    names = try_again(folder, ask)
    host = place.partition("/")[0]
    if scheme == "sftp":  # lists the paths on the host
        names = [f"{host}/{name.lstrip('/')}" for name in names]
    elif "@" in host:  # an account after the container
        names = [f"{host}/{name.partition('/')[2]}" for name in names]
    return [StoredPath(f"{scheme}:/{name}") for name in names]


def fetch_afar(path: StoredPath, target: Path) -> None:
    """Copy a file to a local one.

    Args:
        path: the file.
        target: the local one.

    Raises:
        StorageError: it is not there, cannot be read, or ends early.
    """
    source = open_afar(path)
    with open(target, "wb") as file:
        while block := source.read(16 * BLOCK_BYTES):
            file.write(block)


def check_storing(path: StoredPath) -> None:
    """See that a file can be stored: an empty one of a random name is, beside it, and is removed again.

    Raises:
        StorageError: it cannot.
    """

    def ask(system: Any, place: str) -> None:
        probe = f"{place.rpartition('/')[0]}/{temporary_name()}"
        _make_folder_of(system, path, probe)
        system.pipe_file(probe, b"")
        with suppress(Exception):  # who may write may not always remove
            system.rm_file(probe)

    try_again(path, ask)


def store_afar(source: Path, path: StoredPath) -> None:
    """Copy a local file to a place afar, whole or not at all; what is there is replaced.

    Raises:
        StorageError: it cannot be stored.
    """

    def send(system: Any, place: str) -> None:
        if path.parts[0] != "sftp:":  # the others show an object when all of it is there
            system.put_file(os.fspath(source), place)
            return
        temporary = f"{place.rpartition('/')[0]}/{temporary_name()}"
        _make_folder_of(system, path, temporary)
        try:
            system.put_file(os.fspath(source), temporary)
            system.mv(temporary, place)
        except BaseException:
            with suppress(Exception):
                system.rm_file(temporary)
            raise

    try_again(path, send)
    describe_afar.cache_clear()


def remove_afar(path: StoredPath) -> None:
    """Remove a file.

    Raises:
        StorageError: it cannot be removed.
    """
    try_again(path, lambda system, place: system.rm_file(place))
    describe_afar.cache_clear()


def _make_folder_of(system: Any, path: StoredPath, place: str) -> None:
    if path.parts[0] == "sftp:":  # the others have no folders
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
