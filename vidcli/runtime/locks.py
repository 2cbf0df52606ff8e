"""A lock that at most one process holds, and that is gone with it."""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

_MAX_NOTE = 500
"""Bytes of a lock file that are read."""
_FAR_BYTE = 1 << 30


class FileLock:
    """A lock on a file, held by at most one process, and gone with it.

    On a file system without locks, every process gets it.

    Attributes:
        path: the file.
        is_certain: whether the lock that is held keeps others out; False where there are no locks.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is made, and stays, when the lock is first taken."""
        self.path = path
        self.is_certain = True
        self._file: IO[bytes] | None = None

    def acquire(self, is_new: bool = False) -> bool:
        """Take the lock; return False where another process holds it.

        Args:
            is_new: make the file, which must not be there yet.

        Raises:
            FileExistsError: it is there.
            OSError: the file cannot be made, or is a link, pipe or device.
        """
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | (os.O_EXCL if is_new else 0)
        while True:
            file = os.fdopen(os.open(self.path, flags, 0o666), "r+b", buffering=0)
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                file.close()
                raise OSError(errno.EINVAL, "is no regular file", str(self.path))
            outcome = lock_open_file(file)
            if outcome is False:
                file.close()
                return False
            if _is_at(file, self.path):
                self._file, self.is_certain = file, outcome is True
                return True
            file.close()  # whoever held it took the file away meanwhile

    def read(self) -> str:
        """Return the beginning of what the file says, as ASCII; the lock is held."""
        assert self._file is not None
        self._file.seek(0)
        return self._file.read(_MAX_NOTE).decode("ascii", "replace")

    def write(self, text: str) -> None:
        """Let the file say a short text; the lock is held."""
        assert self._file is not None
        content = text.encode("ascii", "replace")
        self._file.seek(0)
        self._file.write(content)
        self._file.truncate(len(content))

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Take the file away, and give the lock back."""
        if self._file is not None:
            with suppress(OSError):  # Windows keeps a file that is open
                self.path.unlink()
            self.release()


def lock_open_file(file: IO[bytes]) -> bool | None:
    """Lock an open file at once.

    Where there are no locks, because the file system or Python lacks them, nothing keeps two processes
    from writing the same file. Callers that must know this ask for `FileLock.is_certain`.

    Args:
        file: file open for writing; the lock is released when it is closed.

    Returns:
        True if the lock is held, False if another process holds it, None if there are no locks.
    """
    try:
        lock = _locking_of(file)
    except ImportError:
        return None
    try:
        lock()
    except (BlockingIOError, PermissionError):  # raised by flock and on Windows if the lock is taken
        return False
    except OSError:
        return None  # a file system without locks
    return True


def _locking_of(file: IO[bytes]) -> Callable[[], None]:
    """Return a function that locks the file.

    Raises:
        ImportError: Python has no locks on this system.
    """
    try:
        import fcntl
    except ImportError:
        import msvcrt

        # A locked byte can be neither read nor written on Windows, so one that is not used is locked.
        file.seek(_FAR_BYTE)
        return functools.partial(msvcrt.locking, file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    return functools.partial(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Tell whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except OSError:
        return False
