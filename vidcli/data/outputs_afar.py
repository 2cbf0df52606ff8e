"""Files that commands write to an address: written here, and sent there whole.

A file is written into the folder `outputs` of the cache, and sent when it is closed, whatever ended the work.
Results that a later command goes on with are named after their address and what is there, so that they are
found again where a process was killed or the connection was lost:

    CACHE/outputs/DIGEST.csv     DIGEST of s3://bucket/results.csv and its version there

What may be replaced is judged as in `runtime.outputs`. What was changed there since the command began is
never replaced.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from vidcli.data.caches import open_cache
from vidcli.errors import OutputError, WriteError
from vidcli.runtime.files import digest_file, write_whole
from vidcli.runtime.outputs import OutputFile, partial_file
from vidcli.runtime.signals import undivided
from vidcli.storage.addresses import StoredPath, is_afar, text_of
from vidcli.storage.connections import NothingThere, StorageError
from vidcli.storage.file_systems import check_storing, fetch_afar, find_afar, remove_afar, store_afar
from vidcli.storage.sources import path_afar

_CACHE = "outputs"
_NUM_DIGITS = 40
_SCHEMES_STORED_TO = ("s3:", "gs:", "az:", "sftp:")


def open_output(
    option: str,
    path: Path,
    inputs: Iterable[str | os.PathLike[str]] = (),
    overwrite: bool = False,
    is_continued: bool = False,
) -> OutputFile:
    """Return the file that a command writes, on a disk or at an address, once it is checked.

    Args:
        option, inputs, overwrite: see `OutputFile`.
        path: the file, or its address.
        is_continued: what is there is added to, unless it is to be replaced.

    Raises:
        OutputError: something is there that must not be replaced.
        WriteError: it cannot be written.
    """
    if isinstance(path, StoredPath) and is_afar(path):
        return OutputAfar(option, path, inputs, overwrite, is_continued)
    return OutputFile(option, Path(os.fspath(path)), inputs, overwrite, is_continued and not overwrite)


class _Copy:
    """A file at an address, and its copy here.

    Attributes:
        found: what was there when the command began; None for nothing.
        path: the copy.
        fetched: the digest of what was fetched; empty where nothing was.
    """

    def __init__(self, address: StoredPath) -> None:
        self.address, self.found = address, find_afar(address)
        self.path, self.fetched = Path(), ""

    def fetch(self) -> None:
        """Fetch what is there, unless a process that was killed left what it made of that."""
        if self.found is not None and not self.path.exists():
            write_whole(self.path, partial(fetch_afar, self.address), replace=False)
            self.fetched = digest_file(self.path)

    def bring_there(self) -> None:
        """Send the copy if it is new, or remove there what is gone here."""
        is_here = self.path.exists()
        if self.found is None if not is_here else digest_file(self.path) == self.fetched:
            return
        if find_afar(self.address) != self.found:
            raise OutputError("was changed by somebody else meanwhile, and stays as it is")
        if is_here:
            store_afar(self.path, self.address)
        else:
            remove_afar(self.address)


class OutputAfar(OutputFile):
    """One file that a command writes to an address."""

    def __init__(
        self,
        option: str,
        address: StoredPath,
        inputs: Iterable[str | os.PathLike[str]],
        overwrite: bool,
        is_continued: bool,
    ) -> None:
        """Check that the file may be stored there, and fetch what is added to; see `open_output`."""
        self._place = f"{option} {address}"
        self._is_continued = is_continued and not overwrite
        if address.parts[0] not in _SCHEMES_STORED_TO or len(address.parts) < 3:
            raise OutputError(
                f"{self._place}: no file is written there; expected a file on a disk, or one such as "
                "s3://bucket/file, or at gs://, az:// or sftp://"
            )
        # What could not be added to a file yet lies beside it.
        addresses = [address, path_afar(partial_file(address))] if is_continued else [address]
        try:
            self._copies = [_Copy(one) for one in addresses]
            self._refuse_there(inputs, overwrite)
            check_storing(address)
            path = open_cache(_CACHE) / f"{self._local_name()}{address.suffix}"
            for copy, place in zip(self._copies, (path, partial_file(path)), strict=False):
                copy.path = place
                if self._is_continued:
                    copy.fetch()
        except NothingThere as error:
            raise WriteError(
                f"{self._place}: there is no such bucket, container or folder; choose another"
            ) from error
        except StorageError as error:
            raise WriteError(f"{self._place}: cannot be written ({error})") from error
        super().__init__(option, path, (), overwrite, is_continued=True)
        self.named = address

    def _refuse_there(self, inputs: Iterable[str | os.PathLike[str]], overwrite: bool) -> None:
        """Refuse to replace what is not ours to replace."""
        address, found = self._copies[0].address, self._copies[0].found
        if found is None:
            return
        text = text_of(address)
        is_within = False
        for source in inputs:
            if text_of(source) == text:
                raise OutputError(
                    f"{self._place}: is an input of this command, which is never replaced; choose another"
                )
            is_within = is_within or (is_afar(source) and address.is_relative_to(source))
        if self._is_continued or not found.size:
            return
        if is_within:
            raise OutputError(
                f"{self._place}: belongs to the model or the data of this command, which are never replaced; "
                "choose another"
            )
        if not overwrite:
            raise OutputError(f"{self._place}: exists; choose another file, or replace it with --overwrite")

    def _local_name(self) -> str:
        if not self._is_continued:
            return secrets.token_hex(_NUM_DIGITS // 2)
        about = [(text_of(copy.address), copy.found) for copy in self._copies]
        return hashlib.sha256(repr(about).encode()).hexdigest()[:_NUM_DIGITS]

    def write(self, write: Callable[[Path], object]) -> None:
        """Let `write` fill the file, and send it."""
        super().write(write)
        self.deliver()

    def deliver(self) -> None:
        """Send the file to its address, and remove the copy here.

        Raises:
            OutputError: what is there was changed since the command began.
            WriteError: it cannot be sent; the copy stays here.
        """
        kept = f"what was to be written is kept in {self.path}"
        try:
            with undivided():
                for copy in self._copies:
                    copy.bring_there()
        except OutputError as error:
            raise OutputError(f"{self._place}: {error}; {kept}") from error
        except StorageError as error:
            way_on = "; the same command goes on with it" if self._is_continued else ""
            raise WriteError(f"{self._place}: cannot be written ({error}); {kept}{way_on}") from error
        for copy in self._copies:
            copy.path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the copies here of what is there."""
        for copy in self._copies:
            if copy.fetched:
                copy.path.unlink(missing_ok=True)
