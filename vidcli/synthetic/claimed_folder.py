"""A folder of generated files that tells whose it is, and can be completed after an interruption.

Of several processes that want one folder, one writes it, and the others wait.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidcli.errors import DataError, WriteError
from vidcli.runtime.files import is_leftover, read_regular, write_text
from vidcli.runtime.locks import FileLock
from vidcli.runtime.plain import parse_json

_PARTIAL_PREFIX = ".partial-"  # of earlier versions
_POLL_SECONDS = 0.1
_MAX_MARKER_BYTES = 2**20


class ClaimedFolder:
    """A folder with a marker, NAME.json, that says what was asked for and is written last."""

    def __init__(self, root: Path, name: str, contents: str, is_ours: Callable[[Path], bool]) -> None:
        """Keep what the folder is for.

        Args:
            root: the folder, which may not exist.
            name: of the marker and the lock, without suffix.
            contents: what is written into it, in the plural, for messages.
            is_ours: tells of a path, counted from the root, whether it may be one of these, or what a killed
                process left of one.
        """
        self._root, self._contents, self._is_ours = root, contents, is_ours
        self._marker, self._unfinished = root / f"{name}.json", root / f"{name}.unfinished.json"
        self._lock = root / f"{name}.lock"

    def write(self, request: dict[str, Any], jobs: Iterable[Path], write_missing: Callable[[], None]) -> bool:
        """Write what is missing; return whether anything was.

        Args:
            request: all that the files depend on, as JSON values.
            jobs: the files.
            write_missing: writes those that do not exist.

        Raises:
            DataError: the folder holds something else, or cannot be written.
        """
        try:
            if self._read(self._marker) == request and all(path.exists() for path in jobs):
                return False
            with self._turn():
                self._claim(request)
                write_missing()
                _write_json(self._marker, request)
                self._unfinished.unlink(missing_ok=True)
        except (OSError, WriteError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"{self._root}: the {self._contents} cannot be written there ({reason}). Free the space, "
                "mend the permissions, or name another folder."
            ) from error
        return True

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Make the folder and wait until no other process writes it."""
        root = self._root
        if root.exists() and not root.is_dir():
            raise DataError(
                f"{root}: is a file, where a folder for the {self._contents} was expected. Name another."
            )
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._lock)
        while not lock.acquire():
            time.sleep(_POLL_SECONDS)
        if lock.read():  # ours is empty
            lock.release()
            raise self._foreign(self._lock)
        try:
            yield
        finally:
            lock.remove()

    def _foreign(self, path: Path) -> DataError:
        return DataError(
            f"{self._root}: holds other things ({path.relative_to(self._root)}), where an empty folder was "
            f"expected for the {self._contents}. Name a folder that is empty or does not exist."
        )

    def _claim(self, request: dict[str, Any]) -> None:
        """Make the folder ready for what is missing in it.

        From then on it holds one of the two markers, which tell a later call whose it is.
        """
        if self._marker.exists():
            if self._read(self._marker) != request:
                raise DataError(
                    f"{self._root}: holds {self._contents} that were made with other settings (see "
                    f"{self._marker.name} there). Delete that folder, or name another."
                )
            return
        foreign, ours = self._list_contents()
        if foreign or (ours and not self._unfinished.exists()):
            raise self._foreign((foreign or ours)[0])
        same = self._read(self._unfinished) == request
        for path in ours:
            if not same or path.name.startswith(_PARTIAL_PREFIX) or is_leftover(path):
                path.unlink()
        _write_json(self._unfinished, request)

    def _list_contents(self) -> tuple[list[Path], list[Path]]:
        """Return the files that are never written here, and those that may be ours, whole and partial."""
        foreign, ours = [], []
        for path in sorted(self._root.rglob("*")):
            whole = path.with_name(path.name.removeprefix(_PARTIAL_PREFIX))
            if path.is_dir() or whole in (self._marker, self._unfinished, self._lock):
                continue
            if self._is_ours(whole.relative_to(self._root)):
                ours.append(path)
            elif path.parent != self._root or not is_leftover(path):
                foreign.append(path)
        return foreign, ours

    def _read(self, path: Path) -> object:
        try:
            return parse_json(read_regular(path, _MAX_MARKER_BYTES).decode("utf-8"))
        except (OSError, ValueError):
            return None  # missing or damaged, and so equal to no request


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2))
