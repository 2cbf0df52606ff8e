"""The right to write a run directory: one process has it, from the run's first second to its end.

A new run takes its folder by making it, or of a folder that is empty by making `run.lock` in it, both of
which the system grants to one process alone. That file says that the folder is a run, and is locked as
long as a process trains:

    vidcli run
    process 4242 on host7          who holds it, or held it last

The lock goes with its process, however that ends, so that a run goes on at once after a kill. A run that
came to its end leaves no lock file.
"""

from __future__ import annotations

import itertools
import os
import platform
import re
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from vidcli.artifacts.run_folder import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    EVENTS_PREFIX,
    LOCK_FILE,
    RESUME_FILE,
    RUNS_FOLDER,
    SAMPLES_FILE,
    SPLITS_FILE,
    UNUSABLE_FILE,
)
from vidcli.errors import CheckpointError
from vidcli.runtime.files import is_leftover
from vidcli.runtime.locks import FileLock

_MARK = "vidcli run\n"
_HOLDER = re.compile(r"process \d+ on [\w.-]+")
_POLL_SECONDS = 0.1

_BEGINNING = {
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    SPLITS_FILE,
    UNUSABLE_FILE,
    SAMPLES_FILE,
    LOCK_FILE,
}


class RunClaim:
    """The right to write one run directory, given back when the `with` block ends.

    Of several processes that train together the main one takes it; the others hold an empty claim.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._lock: FileLock | None = None
        self._is_made = False

    def begin(self, out: Path | None, name: str) -> Path:
        """Take the folder of a new run and return it.

        Args:
            out: does not exist, is an empty folder, or one in which a run of ours began and saved no state.
            name: of the folder under `runs/` where there is no `out`; a number follows if it is taken.

        Raises:
            CheckpointError: the folder holds something, belongs to another run, or cannot be written.
        """
        run = out or RUNS_FOLDER / name
        try:
            if out is not None:
                self._is_made = _make(out)
                self._lock = _lock_new(out, self._is_made)
                return out
            for number in itertools.count(2):
                self._is_made = _make(run)
                if self._is_made:
                    self._lock = _lock_new(run, self._is_made)
                    break
                run = RUNS_FOLDER / f"{name}-{number}"
        except OSError as error:
            if self._is_made and self._lock is None:
                _remove_empty(run)
            raise CheckpointError(
                f"{run}: cannot be written ({error.strerror}); choose another --out"
            ) from error
        return run

    def resume(self, run: Path, patience_seconds: float = 0.0) -> bool:
        """Take the folder of a run that goes on; return False where another process has it.

        Args:
            run: of any version of vidcli; those of early ones have no lock file yet.
            patience_seconds: how long to wait for a process that is about to end.

        Raises:
            CheckpointError: the folder cannot be written, or a foreign file is in the lock's place.
        """
        lock, ends = FileLock(run / LOCK_FILE), time.monotonic() + patience_seconds
        try:
            while not lock.acquire():
                if time.monotonic() >= ends:
                    return False
                time.sleep(_POLL_SECONDS)
            if (text := lock.read()) and not text.startswith(_MARK):
                lock.release()
                raise CheckpointError(
                    f"{lock.path}: is not the lock of a run; rename that file, and try again"
                )
            lock.write(_MARK + _this_process())
        except OSError as error:
            raise CheckpointError(f"{run}: cannot be written ({error.strerror or error})") from error
        self._lock = lock
        return True

    def __enter__(self) -> RunClaim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the folder back, and take it away if nothing was written in it.

        What came to its end needs no sign any more that it may be begun anew.
        """
        if self._lock is None:
            return
        run = self._lock.path.parent
        with suppress(OSError):  # a disk that is full, or gone
            if _is_alone(self._lock.path):
                self._lock.remove()
                if self._is_made:
                    _remove_empty(run)
            elif error is None and _is_begun(run):
                self._lock.remove()
        self._lock.release()
        self._lock = None


def refuse_taken(out: Path) -> None:
    """See that a new run can begin in a folder, before work that comes even before that.

    Raises:
        CheckpointError: it cannot; see `RunClaim.begin`.
    """
    with RunClaim() as claim:
        claim.begin(out, out.name)


def in_use(run: Path, way_out: str) -> CheckpointError:
    """Return what to raise where another process writes a run, with its number if that is known.

    Args:
        run: the folder.
        way_out: what the user can do.
    """
    holder = None
    with suppress(OSError):
        holder = _HOLDER.search((run / LOCK_FILE).read_bytes()[:500].decode("ascii", "replace"))
    told = f"by {holder.group()}" if holder else "by another process"
    return CheckpointError(f"{run}: is being written {told}; {way_out}")


def _make(run: Path) -> bool:
    """Make a folder; return False where one is there.

    Raises:
        CheckpointError: something else is there.
        OSError: it cannot be made.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    try:
        run.mkdir()
    except FileExistsError:
        _refuse_file(run)
        return False
    except FileNotFoundError:  # a run that came to nothing took `runs/` away meanwhile
        run.parent.mkdir(parents=True, exist_ok=True)
        run.mkdir()
    return True


def _lock_new(run: Path, is_made: bool) -> FileLock:
    """Return the lock of a folder that a new run may have, held.

    Raises:
        CheckpointError: it may not.
        OSError: the lock file cannot be made.
    """
    path = run / LOCK_FILE
    names = set() if is_made else {found.name for found in run.iterdir()}
    lock, is_there = FileLock(path), LOCK_FILE in names
    if names and not (is_there and stat.S_ISREG(path.lstat().st_mode)):
        raise _taken(run)
    try:
        if not lock.acquire(is_new=not is_there):
            raise in_use(run, "choose another --out")
    except FileExistsError:  # another process was faster
        raise in_use(run, "choose another --out") from None
    text = lock.read()
    if not is_there and not _is_alone(path):
        lock.remove()  # filled since it was looked at
        raise _taken(run)
    # A kill between making the file and writing it leaves it empty, and alone.
    is_ours = text.startswith(_MARK) or (not text and (not is_there or _is_alone(path)))
    if not is_ours or _is_begun(run):
        lock.release()
        raise _taken(run)
    if not lock.is_certain and _HOLDER.search(text):  # nobody can tell whether that process goes on
        lock.release()
        raise in_use(run, "choose another --out")
    lock.write(_MARK + _this_process())
    return lock


def _this_process() -> str:
    return f"process {os.getpid()} on {platform.node() or 'this machine'}\n"


def _is_alone(path: Path) -> bool:
    return all(found == path for found in path.parent.iterdir())


def _is_begun(run: Path) -> bool:
    """Tell whether a folder holds more than the beginning of a run that saved no state."""
    return any(
        path.name not in _BEGINNING and not path.name.startswith(EVENTS_PREFIX) and not is_leftover(path)
        for path in run.iterdir()
    )


def _refuse_file(run: Path) -> None:
    if run.is_symlink() or not run.is_dir():
        raise _taken(run)


def _taken(run: Path) -> CheckpointError:
    has_state = (run / RESUME_FILE).is_file()
    go_on = f", or go on with `vidcli train --resume {run}`" if has_state else ""
    return CheckpointError(f"{run}: exists and is not an empty folder; choose another --out{go_on}")


def _remove_empty(run: Path) -> None:
    """Take back a folder in which nothing was written, so that the same --out works next time."""
    with suppress(OSError):  # rmdir takes empty folders only
        run.rmdir()
        if run.parent == RUNS_FOLDER:
            run.parent.rmdir()
