"""The bytes of a video: a local file, which FFmpeg opens by its name, or an open file that lies elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from vidcli.errors import VideoError
from vidcli.storage.addresses import StoredPath
from vidcli.storage.sources import failure_of, open_source

_HEAD_BYTES = 8


@dataclass(frozen=True)
class VideoBytes:
    """The bytes of one video.

    Attributes:
        path: for messages.
        head: the first 8 of them.
        file: what lies afar or in a tar file, open; None is a local file.
    """

    path: str | os.PathLike[str]
    head: bytes
    file: BinaryIO | None = None

    @property
    def for_ffmpeg(self) -> str | BinaryIO:
        """What FFmpeg opens."""
        # The explicit protocol keeps names such as "concat:a|b.mp4" what they are: names.
        return f"file:{os.path.abspath(self.path)}" if self.file is None else self.file

    @property
    def protocol(self) -> str:
        """The only protocol by which FFmpeg may open anything."""
        return "file" if self.file is None else "none"


@contextmanager
def open_bytes(path: str | os.PathLike[str]) -> Iterator[VideoBytes]:
    """Open the bytes of a video.

    Raises:
        VideoError: it is not there, is empty, or cannot be read, also while the bytes are in use.
    """
    if not isinstance(path, StoredPath):
        yield VideoBytes(path, _read_head(path))
        return
    try:
        file = open_source(path)
    except OSError as error:
        raise VideoError(path, reason(error)) from error
    with file:
        try:
            head = file.read(_HEAD_BYTES)
            file.seek(0)
            if not head:
                raise VideoError(path, "is empty (0 bytes)")
            yield VideoBytes(path, head, file)
        except Exception:
            _tell_failure(path, file)
            raise
        _tell_failure(path, file)


def _tell_failure(path: StoredPath, file: BinaryIO) -> None:
    """Raise a `VideoError` if the connection failed, which FFmpeg may have taken for the end of the file."""
    if (failure := failure_of(file)) is not None:
        raise VideoError(path, f"cannot be read ({reason(failure)})") from failure


def _read_head(path: str | os.PathLike[str]) -> bytes:
    """Return the first 8 bytes of a regular file.

    Raises:
        VideoError: there is no such file, or it cannot be read, or is empty.
    """
    try:
        # Before it is opened, since opening a pipe would wait for its writer.
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.listdir(path)  # an unreadable folder raises here
            raise VideoError(path, "is a folder that holds no video")
        if not stat.S_ISREG(mode):
            raise VideoError(path, "is not a regular file")
        with open(path, "rb", buffering=0) as opened:
            head = opened.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise VideoError(path, "no such file") from error
    except (OSError, ValueError) as error:
        raise VideoError(path, f"cannot be read ({reason(error)})") from error
    if not head:
        raise VideoError(path, "is empty (0 bytes)")
    return head


def reason(error: BaseException) -> str:
    """Return the message of an error of FFmpeg or the system, without the path."""
    text = getattr(error, "strerror", None) or str(error)
    return "not a known video format" if text.startswith("Invalid data found") else text
