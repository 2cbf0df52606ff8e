"""Where the numbers of a run go beside its own files: TensorBoard events, Weights & Biases, MLflow.

Steps count the updates of the whole run, for the values of an epoch too: step N holds what was measured after
N updates, and the loss of the next update. A run that goes on after N updates therefore only has to mark all
values at N or later as outdated, and in TensorBoard no value appears twice.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

from vidcli.artifacts.run_folder import EVENTS_PREFIX
from vidcli.config import Config
from vidcli.errors import ConfigError

_FLUSH_SECONDS = 5.0
_AUTO = "auto"
_LIBRARIES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
_TITLES = {"tensorboard": "TensorBoard events", "wandb": "Weights & Biases", "mlflow": "MLflow"}

NOT_INSTALLED = (
    "TensorBoard is not installed, so that no event files are written: pip install 'vidcli[track]'; "
    "train.tracker=none says that none are wanted"
)


class Tracker(Protocol):
    """Takes the numbers of one run; any method may raise any error."""

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Log values by name."""

    def flush(self) -> None:
        """Hand over all values."""

    def close(self, is_over: bool) -> None:
        """Hand over all values, and end the run there; it may go on later unless it is over."""

    def abandon(self) -> None:
        """End after an error; what was not handed over is lost."""


OpenTracker: TypeAlias = Callable[[Path, int], Tracker]
"""Opens a tracker for a run directory and the number of updates done."""


def choose_trackers(config: Config) -> dict[str, OpenTracker]:
    """Return what opens each tracker that `train.tracker` asks for, by the title it has in messages.

    Args:
        config: all settings.

    Raises:
        ConfigError: one is named whose library is not installed.
    """
    asked = config.train.tracker
    if asked == "none" or (asked == _AUTO and not is_installed("tensorboard")):
        return {}
    names = ["tensorboard"] if asked == _AUTO else asked.split(",")
    for name in names:
        if not is_installed(_LIBRARIES[name]):
            raise ConfigError(
                f"train.tracker={asked}: {name} is not installed; pip install 'vidcli[track]', or leave it"
                " out"
            )
    return {_TITLES[name]: _opener(name, config) for name in names}


def lacks_tensorboard(config: Config) -> bool:
    """Tell whether TensorBoard would be written if it were installed."""
    return config.train.tracker == _AUTO and not is_installed("tensorboard")


def is_installed(library: str) -> bool:
    """Tell whether a library can be imported, without importing it."""
    return importlib.util.find_spec(library) is not None


def _opener(name: str, config: Config) -> OpenTracker:
    from vidcli.train.tracking_services import MlflowTracker, WandbTracker

    openers: dict[str, OpenTracker] = {
        "tensorboard": TensorBoardTracker,
        "wandb": lambda run, position: WandbTracker(run, config),
        "mlflow": lambda run, position: MlflowTracker(run, config),
    }
    return openers[name]


@contextmanager
def _without_s3() -> Iterator[None]:
    """Let TensorBoard be imported without the client of S3, which opens a socket where it is imported."""
    hides = "botocore" not in sys.modules
    if hides:
        sys.modules["botocore"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hides:
            del sys.modules["botocore"]


class TensorBoardTracker:
    """A TensorBoard event file, written in this thread, so that errors are raised here."""

    def __init__(self, run: Path, position: int) -> None:
        """Create a file that outdates the values of earlier files from a step on.

        Args:
            run: the run directory.
            position: number of updates done; values that the run wrote for later ones are outdated.
        """
        with _without_s3():
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = Event, Summary
        # TensorBoard finds event files by this prefix, and reads them in the order of their names.
        path = run / f"{EVENTS_PREFIX}{int(time.time()):010d}.{time.monotonic_ns():020d}"
        self._file: IO[bytes] = path.open("ab")
        self._writer = RecordWriter(self._file)
        self._flushed_at = time.monotonic()
        try:
            self._write(Event(file_version="brain.Event:2"), position)
            self._write(Event(session_log=SessionLog(status=SessionLog.START)), position)
        except BaseException:
            self.abandon()
            raise

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Log values by name."""
        entries = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(self._event(summary=self._summary(value=entries)), step)
        if time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand all values to the operating system."""
        self._file.flush()
        self._flushed_at = time.monotonic()

    def close(self, is_over: bool) -> None:
        """Flush and close; a run that goes on has another file."""
        self._file.close()

    def abandon(self) -> None:
        """Close a file that could not be written; what is still in memory is lost."""
        with suppress(OSError):  # closing tries to write once more
            self._file.close()

    def _write(self, event: Any, step: int) -> None:
        event.wall_time, event.step = time.time(), step
        self._writer.write(event.SerializeToString())
