"""Open a path wherever its bytes lie, and tell one content of it from another."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO, cast

from vidcli.storage.addresses import StoredPath, is_afar, split_member
from vidcli.storage.blocks import BlockFile
from vidcli.storage.file_systems import StorageError, describe_afar, open_afar
from vidcli.storage.tar_members import find_member


class SpanFile(io.RawIOBase):
    """Some bytes of a file as a seekable file of their own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        """Open at the first of them.

        Args:
            file: the open file, which is closed with this one.
            start: place of the first byte in it.
            size: number of bytes.
        """
        self._file, self._start, self._size = file, start, size
        self._position = 0

    @property
    def failure(self) -> Exception | None:
        """What went wrong at a read over a connection; see `BlockFile`."""
        return getattr(self._file, "failure", None)

    def readable(self) -> bool:
        """Tell that the file can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that any byte can be read next."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the place of the next byte."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return bytes from the present place, all that are left if `size` is negative."""
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        self._file.seek(self._start + self._position)
        content = self._file.read(wanted)
        self._position += len(content)
        return content

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the present place, and return the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

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
