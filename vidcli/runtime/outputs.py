"""Outputs of commands: never in place of what is not this program's own.

Every output of every command goes through one of two doors, both opened before the work starts:

    OutputFile     one file that a person named, such as `--output FILE`
    OutputFolder   a folder that a command fills, such as `--out DIR`, with a record of what it wrote

What stands in the way is judged by one rule (`_refuse`). An input of the command, its model and its
data are never replaced. Anything else is replaced only where the folder's record says that the same
command wrote exactly these bytes, or where the person said `--overwrite`. Only what a record names is
ever deleted.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from vidcli.errors import OutputError, WriteError
from vidcli.runtime.files import (
    digest_file,
    is_leftover,
    is_stream,
    rename_new,
    temporary_file,
    write_text,
    write_whole,
)

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
"""The first part of an address, as `Path` divides it; of one letter it is a drive."""


class OutputFile:
    """One file that a command writes, checked before its work starts.

    Attributes:
        path: where it is written.
        named: what messages call it: the path, or the address that it is sent to; see `outputs_afar`.
    """

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
        self.path = self.named = path
        self._option, self._overwrite = option, overwrite
        if is_stream(path):
            return
        _refuse(f"{option} {path}", path, inputs, overwrite, is_ours=is_continued)
        _make_folder(f"{option} {path}", path.parent)

    def write(self, write: Callable[[Path], object]) -> None:
        """Let `write` fill the file; see `write_whole`."""
        write_whole(self.path, write, self._overwrite or _is_empty_file(self.path))

    def write_text(self, text: str) -> None:
        """Write the file as UTF-8 text; a device or a pipe is written to as it is.

        Raises:
            WriteError: it cannot be written.
        """
        if not is_stream(self.path):
            self.write(lambda path: path.write_text(text, encoding="utf-8", newline=""))
            return
        try:
            self.path.write_text(text, encoding="utf-8", newline="")
        except BrokenPipeError:
            raise
        except OSError as error:
            raise WriteError(f"{self._option} {self.path}: cannot be written ({error.strerror})") from error

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
                    rename_new(temporary, self.path)
            return open(self.path, "r+b", buffering=0)
        except OSError as error:
            raise WriteError(f"{self._option} {self.path}: cannot be written ({error.strerror})") from error

    def deliver(self) -> None:
        """Bring what was written through `open` to its place, once it is closed."""

    def discard(self) -> None:
        """Let go of a file that cannot be added to; it stays as it is in its place."""


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
        refuse_address(place, folder)
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
            self._refuse_contents(place, known[0] if known is not None else None)
        for name in names:
            path = folder / name
            _refuse(f"{place}: {name}", path, inputs, overwrite, is_ours=name in self._earlier)
        if any(_is_same(folder, source) for source in inputs) and not is_shared:
            raise OutputError(f"{place}: is an input of this command, which is never written to")
        self._replaces = {name for name in names if overwrite} | self._earlier
        self._written: set[str] = set()
        _make_folder(place, folder)

    def _refuse_contents(self, place: str, recorded_subject: str | None) -> None:
        """Refuse a folder whose files are about something else, or are not the command's."""
        if recorded_subject not in (None, self._subject):
            raise OutputError(
                f"{place}: holds what `vidcli {self._command}` wrote about {recorded_subject}; "
                "choose another folder, or replace it with --overwrite"
            )
        if recorded_subject is None and any(not is_leftover(path) for path in self.folder.iterdir()):
            raise OutputError(
                f"{place}: holds other files than those of `vidcli {self._command}`; "
                "choose another folder, or write beside them with --overwrite"
            )

    def is_there(self, name: str) -> bool:
        """Tell whether an earlier call of the command wrote the file `name`, as it is now."""
        return name in self._earlier

    def begin(self) -> None:
        """Record what the folder is about, so that a call can go on where one ended before its first file.

        Raises:
            WriteError: it cannot be written.
        """
        self._write_record()

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


def partial_file(path: Path) -> Path:
    """Return where results are gathered for a file that nothing can be appended to."""
    return path.with_name(f"{path.name}.partial")


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
    refuse_address(what, path)
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


def refuse_address(what: str, path: Path) -> None:
    """Refuse an address such as `s3://bucket/a.csv` in the place of an output.

    Args:
        what: names the output in the message.
        path: as a person named it.

    Raises:
        OutputError: it is one.
    """
    if _SCHEME.fullmatch(path.parts[0] if path.parts else ""):
        raise OutputError(
            f"{what}: is an address, but this goes to a disk only; name a local path, and copy it afterwards"
        )


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
