"""Open a path wherever its bytes lie, and tell one content of it from another."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO, cast

from vidcli.storage.addresses import StoredPath, is_afar, split_member
from vidcli.storage.blocks import BlockFile
from vidcli.storage.connections import StorageError
from vidcli.storage.file_systems import describe_afar, open_afar
from vidcli.storage.range_file import RangeFile
from vidcli.storage.tar_members import find_member


class SpanFile(RangeFile):
    """Some bytes of a file as a seekable file of their own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        """Open at the first of them.

        Args:
            file: the open file, which is closed with this one.
            start: place of the first byte in it.
            size: number of bytes.
        """
        super().__init__(size)
        self._file, self._start = file, start

    @property
    def failure(self) -> Exception | None:
        """What went wrong at a read over a connection; see `BlockFile`."""
        return getattr(self._file, "failure", None)

    def _range(self, start: int, end: int) -> bytes:
        self._file.seek(self._start + start)
        return self._file.read(end - start)

    def close(self) -> None:
        """Close the file, too."""
        self._file.close()
        super().close()


def open_source(path: str | os.PathLike[str]) -> BinaryIO:
    """Open the bytes of a path for reading, seekable.

    Raises:
        OSError: it is not there, or cannot be read; of what lies afar or in a tar file a `StorageError`.
    """
    if not isinstance(path, StoredPath):
        return open(path, "rb")
    tar, member = split_member(path)
    file = cast(BinaryIO, open_afar(path_afar(tar))) if is_afar(tar) else _open_local(tar)
    if member is None:
        return file
    try:
        start, size = find_member(tar, member, file, _version_of(tar))
    except BaseException:
        file.close()
        raise
    return cast(BinaryIO, SpanFile(file, start, size))


def identity_of(path: Path) -> list[object]:
    """Return what changes when the content of a file does, as JSON values.

    Raises:
        OSError: it is not there, or cannot be asked for.
    """
    if not isinstance(path, StoredPath):
        source = path.resolve()
        status = source.stat()
        return [os.fspath(source), status.st_size, status.st_mtime_ns]
    tar, member = split_member(path)
    return [str(path.resolve()), *_version_of(tar), member]


def size_of(path: Path) -> int:
    """Return the bytes of a file.

    Raises:
        OSError: it is not there, or cannot be asked for.
    """
    if not isinstance(path, StoredPath):
        return path.stat().st_size
    with open_source(path) as file:
        return file.seek(0, io.SEEK_END)


def path_afar(path: Path) -> StoredPath:
    """Return a path that is an address."""
    assert isinstance(path, StoredPath)
    return path


def failure_of(file: object) -> Exception | None:
    """Return what went wrong at a read of an open file, over a connection."""
    return file.failure if isinstance(file, BlockFile | SpanFile) else None


def _version_of(path: Path) -> tuple[int, str]:
    if is_afar(path):
        stored = describe_afar(path_afar(path))
        return stored.size, stored.version
    try:
        status = os.stat(path)
    except OSError as error:
        raise StorageError("no such file") from error
    return status.st_size, str(status.st_mtime_ns)


def _open_local(path: Path) -> BinaryIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise StorageError(
            "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        ) from error
