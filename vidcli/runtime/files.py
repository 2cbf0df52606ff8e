"""Files as this program reads and writes them: regular ones, whole or not at all.

A file is filled under a random name beside its place, made so that no link planted there is followed,
flushed to the disk and then renamed: a reader, a kill or a full disk never leaves half a file. What may
be replaced is the business of `outputs`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vidcli.errors import WriteError

TEMPORARY_NAME = r"\.vidcli-[0-9a-f]{16}\.tmp(\.\w+)?"
"""Pattern of the names of files that are being written."""


def temporary_name(suffix: str = "") -> str:
    """Return a random name for a file that is being written; `suffix` is its end, such as `.mp4`."""
    return f".vidcli-{secrets.token_hex(8)}.tmp{suffix}"


@contextmanager
def temporary_file(folder: Path, suffix: str = "") -> Iterator[Path]:
    """Make an empty file of a random name, and remove it at the end if it is still there.

    Args:
        folder: where it is made; it must exist.
        suffix: end of its name, such as `.mp4`, for writers that go by it.

    Yields:
        Its path.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / temporary_name(suffix)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(path, flags, 0o666))
    try:
        yield path
    finally:
        remove_file(path)


def remove_file(path: Path) -> None:
    """Remove a file that may be gone, or be nobody's to remove, which then is left."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def write_whole(
    path: Path, write: Callable[[Path], object], replace: bool = True, flush: bool = True
) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk and rename it.

    Args:
        path: the file; its folder must exist.
        write: given the temporary file's path, whose suffix is that of `path`.
        replace: put it in place of what is there; otherwise a file that is there is an error.
        flush: wait until the disk has the content, so that a power failure leaves no part of it; not
            needed for a file whose damage is noticed when it is read.

    Raises:
        WriteError: the folder cannot be written, the disk is full, or a file is there that must not be
            replaced; what was there is unchanged.
    """
    try:
        with temporary_file(path.parent, path.suffix) as temporary:
            write(temporary)
            if flush:
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                rename_new(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save wraps a full disk in RuntimeError
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        told = getattr(reason, "strerror", None) or reason
        raise WriteError(f"{path}: cannot be written ({told}); what was there is unchanged") from error


def write_text(path: Path, text: str, replace: bool = True) -> None:
    """Write a UTF-8 text file, complete or not at all; see `write_whole`."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""), replace)


def rename_new(temporary: Path, path: Path) -> None:
    """Give a file its name, unless that name is taken."""
    try:
        os.link(temporary, path)  # unlike a rename, fails where the name is taken
    except FileExistsError:
        raise
    except OSError as error:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists") from error
        os.replace(temporary, path)


def is_leftover(path: Path) -> bool:
    """Tell whether a file is what a killed process left of one that it was writing."""
    return re.fullmatch(TEMPORARY_NAME, path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left of files that it was writing."""
    for path in folder.iterdir():
        if is_leftover(path):
            with suppress(OSError):
                path.unlink()


def require_regular(path: str | os.PathLike[str]) -> None:
    """Refuse what is no regular file: opening a pipe would wait for its other end, a device never ends.

    Raises:
        OSError: it is not there, or is something else; its `strerror` says what.
    """
    _check_kind(path, os.stat(path).st_mode, takes_pipes=False)


def open_regular(path: str | os.PathLike[str], takes_pipes: bool = False) -> IO[bytes]:
    """Open a regular file for reading, without waiting for anything.

    Args:
        path: the file.
        takes_pipes: open a pipe as well, such as the shell's `<(command)`; one that nobody writes to is
            empty.

    Raises:
        OSError: it is not there, cannot be read, or is something else; its `strerror` says what.
    """
    # Asked first, for only to open a device may do something.
    _check_kind(path, os.stat(path).st_mode, takes_pipes)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    number = os.open(path, flags)
    try:
        _check_kind(path, os.fstat(number).st_mode, takes_pipes)
        if hasattr(os, "set_blocking"):
            os.set_blocking(number, True)  # reading a pipe waits for what is being written
        return os.fdopen(number, "rb")
    except OSError:
        os.close(number)
        raise


def read_regular(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: as `open_regular`, or it holds more than `max_bytes`.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise _too_large(max_bytes, path)
        return file.read()


def read_at_most(file: IO[bytes], max_bytes: int, name: str | os.PathLike[str]) -> bytes:
    """Return all that is left in an open file or pipe.

    Args:
        file: the open file.
        max_bytes: the most that is read.
        name: of the file, for the message.

    Raises:
        OSError: it holds more than `max_bytes`.
    """
    content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise _too_large(max_bytes, name)
    return content


def _too_large(max_bytes: int, name: str | os.PathLike[str]) -> OSError:
    return OSError(errno.EFBIG, f"holds more than {max_bytes / 2**20:g} MiB", os.fspath(name))


def _check_kind(path: str | os.PathLike[str], mode: int, takes_pipes: bool) -> None:
    if stat.S_ISREG(mode) or (takes_pipes and stat.S_ISFIFO(mode)):
        return
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    raise OSError(errno.EINVAL, f"is {kind}, where a regular file was expected", os.fspath(path))


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is a device or a pipe, which holds nothing that could be replaced."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)
