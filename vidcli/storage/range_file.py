"""A seekable file of known size, of which a subclass reads ranges."""

from __future__ import annotations

import io
from abc import abstractmethod


class RangeFile(io.RawIOBase):
    """A seekable file over a function that returns ranges."""

    def __init__(self, size: int) -> None:
        """Open at the first byte.

        Args:
            size: bytes of the file.
        """
        self._size, self._position = size, 0

    @abstractmethod
    def _range(self, start: int, end: int) -> bytes:
        """Return the bytes between two places inside of the file; fewer where it is shorter than it said."""

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
        end = self._size if size is None or size < 0 else min(self._position + size, self._size)
        if end <= self._position:
            return b""
        content = self._range(self._position, end)
        self._position += len(content)
        return content

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the present place, and return the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
