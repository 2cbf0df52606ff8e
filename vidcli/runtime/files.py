"""Files as this program writes them: whole or not at all, and never in place of what is not its own.

Every output of every command goes through one of two doors, both opened before the work starts:

    OutputFile     one file that a person named, such as `--output FILE`
    OutputFolder   a folder that a command fills, such as `--out DIR`, with a record of what it wrote

What stands in the way is judged by one rule (`_refuse`). An input of the command, its model and its
data are never replaced. Anything else is replaced only where the folder's record says that the same
command wrote exactly these bytes, or where the person said `--overwrite`. Only what a record names is
ever deleted.

A file is filled under a random name beside its place, made so that no link planted there is followed,
flushed to the disk and then renamed: a reader, a kill or a full disk never leaves half a file.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import itertools
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO

from vidcli.errors import OutputError, WriteError

_TEMPORARY = re.compile(r"\.vidcli-[0-9a-f]{16}\.tmp(\.\w+)?")
_MAX_NOTE = 500
"""Bytes of a lock file that are read."""
_FAR_BYTE = 1 << 30


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
    path = folder / f".vidcli-{secrets.token_hex(8)}.tmp{suffix}"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(path, flags, 0o666))
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def write_whole(path: Path, write: Callable[[Path], object], replace: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk and rename it.

    Args:
        path: the file; its folder must exist.
        write: given the temporary file's path, whose suffix is that of `path`.
        replace: put it in place of what is there; otherwise a file that is there is an error.

    Raises:
        WriteError: the folder cannot be written, the disk is full, or a file is there that must not be
            replaced; what was there is unchanged.
    """
    try:
        with temporary_file(path.parent, path.suffix) as temporary:
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
            else:
                _rename_new(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save wraps a full disk in RuntimeError
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        told = getattr(reason, "strerror", None) or reason
        raise WriteError(f"{path}: cannot be written ({told}); what was there is unchanged") from error


def write_text(path: Path, text: str, replace: bool = True) -> None:
    """Write a UTF-8 text file, complete or not at all; see `write_whole`."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""), replace)


def _rename_new(temporary: Path, path: Path) -> None:
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
    return _TEMPORARY.fullmatch(path.name) is not None


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

    Raises:
        OSError: it is more than `max_bytes`; names the file as `name`.
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


class OutputFile:
    """One file that a command writes, checked before its work starts."""

    def __init__(
        self,
        option: str,
        path: Path,
        inputs: Iterable[str | os.PathLike[str]] = (),
        overwrite: bool = False,
        is_continued: bool = False,
    ) -> None:
        """Check that the file may be written, and make the folder that it goes to.

        Args:
            option: what the person named it with, such as `--output`.
            path: the file.
            inputs: files and folders that the command reads: none of them is replaced, nor anything
                that is in such a folder already.
            overwrite: replace what else is there.
            is_continued: what is there is added to, once its content shows that it is ours.

        Raises:
            OutputError: something is there that must not be replaced.
            WriteError: the folder cannot be made or written.
        """
        self.path, self._option, self._overwrite = path, option, overwrite
        if is_stream(path):
            return
        _refuse(f"{option} {path}", path, inputs, overwrite, is_ours=is_continued)
        _make_folder(f"{option} {path}", path.parent)

    def write(self, write: Callable[[Path], object]) -> None:
        """Let `write` fill the file; see `write_whole`."""
        write_whole(self.path, write, self._overwrite or _is_empty_file(self.path))

    def write_text(self, text: str) -> None:
        """Write the file as UTF-8 text."""
        self.write(lambda path: path.write_text(text, encoding="utf-8", newline=""))

    def open(self) -> BinaryIO:
        """Open the file, empty, for results that are written as they come; a device is written to as it is.

        Raises:
            WriteError: it cannot be opened.
        """
        try:
            if is_stream(self.path):
                return open(self.path, "wb", buffering=0)
            with temporary_file(self.path.parent) as temporary:
                if self._overwrite or _is_empty_file(self.path):
                    os.replace(temporary, self.path)
                else:
                    _rename_new(temporary, self.path)
            return open(self.path, "r+b", buffering=0)
        except OSError as error:
            raise WriteError(f"{self._option} {self.path}: cannot be written ({error.strerror})") from error


class OutputFolder:
    """A folder that a command fills, with a record of what it wrote there.

    The record, `.vidcli-COMMAND.json`, holds the name and SHA-256 of each file, and what the files are
    about. A file whose bytes are as recorded may be replaced or removed by the same command about the
    same subject; one that a person changed since, or put there, may not.

    Used as a context manager, a folder that was made for nothing is taken away again.
    """

    def __init__(
        self,
        folder: Path,
        command: str,
        names: Iterable[str],
        *,
        option: str = "--out",
        subject: str = "",
        inputs: Iterable[str | os.PathLike[str]] = (),
        overwrite: bool = False,
        is_shared: bool = False,
        unrecorded: Mapping[str, str] | None = None,
    ) -> None:
        """Check that the files may be written, and make the folder.

        Args:
            folder: to fill.
            command: who writes, such as `eval`.
            names: all files that may be written.
            option: what the person named the folder with.
            subject: what the files are about, such as the path of a video; of another subject, files
                are not replaced.
            inputs: files and folders that the command reads; see `OutputFile`.
            overwrite: replace files of these names that are not as recorded, and write beside others.
            is_shared: other files lie in the folder rightly, such as in the directory of a run.
            unrecorded: name and SHA-256 of what the command is known to have written where there is no
                record, as its earlier versions left none.

        Raises:
            OutputError: something is there that must not be replaced.
            WriteError: the folder cannot be made or written.
        """
        self.folder, self._command, self._subject = folder, command, subject
        self._record = folder / f".vidcli-{command}.json"
        place = f"{option} {folder}"
        if os.path.lexists(folder) and not folder.is_dir():
            raise OutputError(f"{place}: is no folder; choose another")
        self._is_new = not folder.exists()
        known = _read_record(self._record)
        if known is None and unrecorded:
            known = subject, {name: [digest] for name, digest in unrecorded.items()}
        recorded = known if known is not None and known[0] == subject else (subject, {})
        self._digests: dict[str, list[str]] = dict(recorded[1])
        self._earlier = {name for name in self._digests if self._is_as_recorded(name)}
        inputs = list(inputs)
        if not self._is_new and not overwrite and not is_shared:
            if known is not None and known[0] != subject:
                raise OutputError(
                    f"{place}: holds what `vidcli {command}` wrote about {known[0]}; choose another folder, "
                    "or replace it with --overwrite"
                )
            if known is None and any(not is_leftover(path) for path in folder.iterdir()):
                raise OutputError(
                    f"{place}: holds other files than those of `vidcli {command}`; choose another folder, or "
                    "write beside them with --overwrite"
                )
        for name in names:
            path = folder / name
            _refuse(f"{place}: {name}", path, inputs, overwrite, is_ours=name in self._earlier)
        if any(_is_same(folder, source) for source in inputs) and not is_shared:
            raise OutputError(f"{place}: is an input of this command, which is never written to")
        self._replaces = {name for name in names if overwrite} | self._earlier
        self._written: set[str] = set()
        _make_folder(place, folder)

    def write(self, name: str, write: Callable[[Path], object]) -> None:
        """Let `write` fill the file `name`, and record it before it is in its place.

        Raises:
            WriteError: it cannot be written.
        """

        def fill(temporary: Path) -> None:
            write(temporary)
            kept = self._digests.get(name, []) if self._is_as_recorded(name) else []
            self._digests[name] = [*kept[-1:], digest_file(temporary)]
            self._write_record()

        write_whole(self.folder / name, fill, name in self._replaces)
        self._written.add(name)

    def write_text(self, name: str, text: str) -> None:
        """Write the file `name` as UTF-8 text."""
        self.write(name, lambda path: path.write_text(text, encoding="utf-8", newline=""))

    def remove_earlier(self) -> None:
        """Remove what an earlier call of the command recorded and this one did not write again."""
        for name in self._earlier - self._written:
            if self._is_as_recorded(name):
                (self.folder / name).unlink()
            self._digests.pop(name)
        self._write_record()

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._is_new and not self._written:
            with suppress(OSError):  # rmdir takes empty folders only
                self.folder.rmdir()

    def _is_as_recorded(self, name: str) -> bool:
        path = self.folder / name
        try:
            return stat.S_ISREG(path.lstat().st_mode) and digest_file(path) in self._digests.get(name, [])
        except OSError:
            return False

    def _write_record(self) -> None:
        about = {"command": self._command, "subject": self._subject, "files": self._digests}
        write_text(self._record, json.dumps(about, indent=1) + "\n")


def choose_folder(folder: Path, command: str, subject: str) -> Path:
    """Return the folder for what a command writes about a subject, where none was named.

    Args:
        folder: the usual one; where it holds something about another subject, `FOLDER-2`, `FOLDER-3` and
            so on are tried.
        command, subject: see `OutputFolder`.
    """
    for number in itertools.count(1):
        tried = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        record = _read_record(tried / f".vidcli-{command}.json")
        is_free = not os.path.lexists(tried) or (tried.is_dir() and not any(tried.iterdir()))
        if is_free or (record is not None and record[0] == subject):
            return tried
    raise AssertionError("counting has no end")


def _read_record(path: Path) -> tuple[str, dict[str, list[str]]] | None:
    """Return the subject and the digests of a record; None where there is none that can be read."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        told = json.loads(path.read_text(encoding="utf-8"))
        files = told["files"]
        plain = {
            name: digests
            for name, digests in files.items()
            if Path(name).name == name and all(isinstance(digest, str) for digest in digests)
        }
        return str(told["subject"]), plain
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _refuse(
    what: str,
    path: Path,
    inputs: Iterable[str | os.PathLike[str]],
    overwrite: bool,
    is_ours: bool = False,
) -> None:
    """Refuse to replace what is not ours to replace: the one rule for every output.

    Args:
        what: names the output in the message.
        path: the file to write.
        inputs: files and folders that are read.
        overwrite: the person said so.
        is_ours: a record says that what is there was written by the same command.

    Raises:
        OutputError: it must not be replaced.
    """
    if not os.path.lexists(path):
        return
    inputs = list(inputs)
    if any(_is_same(path, source) for source in inputs):
        raise OutputError(f"{what}: is an input of this command, which is never replaced; choose another")
    if path.is_dir() and not path.is_symlink():
        raise OutputError(f"{what}: is a folder, where a file would be written; choose another")
    if path.is_symlink() and not overwrite:
        raise OutputError(
            f"{what}: is a link to {os.readlink(path)}; choose another file, or replace the link with "
            "--overwrite"
        )
    if is_ours or _is_empty_file(path):
        return
    where = Path(os.path.realpath(path.parent), path.name)
    if any(where.is_relative_to(os.path.realpath(source)) for source in inputs if os.path.isdir(source)):
        raise OutputError(
            f"{what}: belongs to the model or the data of this command, which are never replaced; "
            "choose another"
        )
    if not overwrite:
        raise OutputError(f"{what}: exists; choose another file, or replace it with --overwrite")


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Tell whether a path is a device or a pipe, which holds nothing that could be replaced."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _is_empty_file(path: Path) -> bool:
    """Tell whether there is a regular file without a byte, such as `mktemp` makes."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _is_same(path: Path, source: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(path, source)
    except (OSError, ValueError):
        return False


def _make_folder(what: str, folder: Path) -> None:
    """Make a folder and see that files can be made in it; `what` names the output in a message.

    Raises:
        WriteError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_file(folder):
            pass
    except OSError as error:
        raise WriteError(f"{what}: cannot be written ({error.strerror}); choose another") from error


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
            outcome = _lock_now(file)
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


def _lock_now(file: IO[bytes]) -> bool | None:
    """Lock an open file at once; False where another process has it, None where there are no locks."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        file.seek(_FAR_BYTE)  # a locked byte can be neither read nor written there, so none that is used
        lock = functools.partial(msvcrt.locking, file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        lock = functools.partial(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        lock()
    except (BlockingIOError, PermissionError):  # flock's word for taken, and Windows'
        return False
    except OSError:
        return None  # a file system without locks
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Tell whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except OSError:
        return False
