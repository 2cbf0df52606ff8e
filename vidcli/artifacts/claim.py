"""The claim to a run directory: one process at a time may write it, from the start of the run to its end.

A new run claims its folder by creating it, or an empty folder by creating `run.lock` in it. The system lets
only one process do either. The file marks the folder as that of a run, and is locked while a process trains:

    vidcli run
    process 4242 on host7          the process that holds the lock, or held it last

The system releases the lock when its process ends, in whatever way, so that a run can go on right after a
kill. A finished run has no lock file.
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
    TRACKERS_FILE,
    UNUSABLE_FILE,
)
from vidcli.errors import CheckpointError
from vidcli.runtime.files import is_leftover
from vidcli.runtime.locks import FileLock
from vidcli.runtime.outputs import refuse_address

_MARK = "vidcli run\n"
_HOLDER = re.compile(r"process \d+ on [\w.-]+")
_POLL_SECONDS = 0.1

# Files that a run writes before it first saves its state.
_BEGINNING = {
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    SPLITS_FILE,
    UNUSABLE_FILE,
    SAMPLES_FILE,
    TRACKERS_FILE,
    "wandb",  # the folder of its local files
    LOCK_FILE,
}


class RunClaim:
    """The claim to one run directory, which ends with the `with` block.

    Of several processes that train together, only the main one claims the folder.
    """

    def __init__(self) -> None:
        """Claim nothing yet."""
        self._lock: FileLock | None = None
        self._is_made = False

    def begin(self, out: Path | None, name: str) -> Path:
        """Claim the folder of a new run and return it.

        Args:
            out: a path where nothing is, an empty folder, or the folder of a run that saved no state. None
                creates a folder in `runs/`.
            name: name of that folder; a number is added where the name is taken.

        Raises:
            CheckpointError: the folder is not empty, belongs to another run, or cannot be written.
        """
        run = out or RUNS_FOLDER / name
        refuse_address(f"--out {run}", run)
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
        """Claim the folder of a run that goes on; return False where another process has claimed it.

        Args:
            run: its directory. Runs of early versions of vidcli have no lock file.
            patience_seconds: how long to wait for that other process to end.

        Raises:
            CheckpointError: the folder cannot be written, or a file of something else has the lock's name.
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
        """End the claim, and remove the folder if nothing was written in it.

        The lock file stays where a run was stopped before its end, so that the folder can be claimed again.
        """
        if self._lock is None:
            return
        run = self._lock.path.parent
        with suppress(OSError):  # the disk may be full, or gone
            if _is_alone(self._lock.path):
                self._lock.remove()
                if self._is_made:
                    _remove_empty(run)
            elif error is None and _is_begun(run):
                self._lock.remove()
        self._lock.release()
        self._lock = None


def refuse_taken(out: Path) -> None:
    """Check that a new run can claim a folder, before other work that the command does first.

    Args:
        out: the folder, as for `RunClaim.begin`.

    Raises:
        CheckpointError: it cannot.
    """
    with RunClaim() as claim:
        claim.begin(out, out.name)


def in_use(run: Path, way_out: str) -> CheckpointError:
    """Return the error to raise where another process has claimed a run; it names the process if it can.

    Args:
        run: the run directory.
        way_out: what the user can do, as the end of the message.
    """
    holder = None
    with suppress(OSError):
        holder = _HOLDER.search((run / LOCK_FILE).read_bytes()[:500].decode("ascii", "replace"))
    told = f"by {holder.group()}" if holder else "by another process"
    return CheckpointError(f"{run}: is being written {told}; {way_out}")


def _make(run: Path) -> bool:
    """Create a folder; return False where there is one.

    Raises:
        CheckpointError: something else is there.
        OSError: the folder cannot be created.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    try:
        run.mkdir()
    except FileExistsError:
        _refuse_file(run)
        return False
    except FileNotFoundError:  # another process has just removed `runs/`, which was empty
        run.parent.mkdir(parents=True, exist_ok=True)
        run.mkdir()
    return True


def _lock_new(run: Path, is_made: bool) -> FileLock:
    """Lock the folder of a new run, and return the lock.

    Raises:
        CheckpointError: a new run may not have the folder.
        OSError: the lock file cannot be created.
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
        lock.remove()  # something was written to the folder since it was listed
        raise _taken(run)
    # A kill between creating the lock file and writing to it leaves it empty, and alone in the folder.
    is_ours = text.startswith(_MARK) or (not text and (not is_there or _is_alone(path)))
    if not is_ours or _is_begun(run):
        lock.release()
        raise _taken(run)
    if not lock.is_certain and _HOLDER.search(text):  # whether that process still runs is unknown
        lock.release()
        raise in_use(run, "choose another --out")
    lock.write(_MARK + _this_process())
    return lock


def _this_process() -> str:
    return f"process {os.getpid()} on {platform.node() or 'this machine'}\n"


def _is_alone(path: Path) -> bool:
    return all(found == path for found in path.parent.iterdir())


def _is_begun(run: Path) -> bool:
    """Tell whether a folder holds more than what a run writes before it first saves its state."""
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
    """Remove a folder in which nothing was written, so that the same --out works again."""
    with suppress(OSError):  # rmdir takes empty folders only
        run.rmdir()
        if run.parent == RUNS_FOLDER:
            run.parent.rmdir()
