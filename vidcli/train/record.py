"""What a run leaves for people to look at: curves, pictures and TensorBoard events.

None of it is needed to go on. What cannot be made is therefore told, once, and the run goes on.

TensorBoard's steps count the updates of the whole run, for values of an epoch as well: step N holds
what was measured after N updates, and the loss of the update that comes next. A run that goes on
after N updates then has one mark to write, "forget what is at N or later", and no value is doubled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from tensorboard.compat.proto.event_pb2 import Event as TensorBoardEvent
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor

from vidcli import report
from vidcli.artifacts.run_folder import CONFUSION_FILE, CURVES_FILE, EVENTS_PREFIX, SAMPLES_FILE
from vidcli.config import ClipConfig
from vidcli.data.items import LABEL_SEPARATOR
from vidcli.evaluate import Evaluation
from vidcli.fonts import picture_names
from vidcli.runtime.files import write_whole
from vidcli.train.events import EpochRow, Event, Notice

_EVENTS = "TensorBoard events"
_FLUSH_SECONDS = 5.0
_DRAWING_SHARE = 0.05
"""Share of the time that may go into drawing curves, which short epochs would spend most on."""


class RunRecord:
    """The pictures and the event file of one run directory."""

    def __init__(self, run: Path, plots: bool, on_event: Callable[[Event], None]) -> None:
        """Keep where to write; nothing is written before there is something to tell.

        Args:
            run: an existing folder.
            plots: whether pictures are drawn.
            on_event: told what could not be made.
        """
        self._run, self._plots, self._on_event = run, plots, on_event
        self._scalars: _ScalarFile | None = None
        self._failed: set[str] = set()
        self._curves_due = 0.0
        self._undrawn: tuple[Sequence[EpochRow], int | None] | None = None

    def open(self, position: int, last_row: EpochRow | None) -> None:
        """Begin, or go on after, `position` updates.

        Args:
            position: updates done; later values of an earlier life of the run are taken back.
            last_row: the epoch that ended at this very position, if one did.
        """

        def start() -> None:
            self._scalars = _ScalarFile(self._run, position)

        self._attempt(_EVENTS, start)
        if last_row is not None:
            self._log_epoch(last_row, position)

    def add_step(self, position: int, loss: float, lr: float) -> None:
        """Log the update number `position`, counted from 0 over the whole run."""
        self._log({"step/loss": loss, "step/lr": lr}, position)

    def add_epoch(self, rows: Sequence[EpochRow], position: int, best_epoch: int | None) -> None:
        """Log an epoch, and draw the curves unless that would take much of the time.

        Args:
            rows: of all epochs up to this one.
            position: updates done.
            best_epoch: the epoch of the best model so far; None without validation.
        """
        self._log_epoch(rows[-1], position)
        self._undrawn = (list(rows), best_epoch)
        if time.monotonic() >= self._curves_due:
            self.draw_curves()

    def draw_samples(
        self,
        clips_BTCHW: Tensor,
        labels: Sequence[Sequence[str]],
        class_names: Sequence[str],
        clip: ClipConfig,
    ) -> None:
        """Draw clips as the network gets them, beside their class names.

        Tells which numbers stand for which classes where no font has the letters of their names.
        """

        def draw(path: Path) -> None:
            names = picture_names(class_names)
            if names.note is not None:
                self._on_event(Notice(names.note))
            name_of = dict(zip(class_names, names.shown, strict=True))
            shown = [LABEL_SEPARATOR.join(name_of[name] for name in label) for label in labels]
            report.draw_samples(clips_BTCHW, shown, clip, path)

        self._draw(SAMPLES_FILE, draw)

    def draw_confusion(self, scores: Evaluation) -> None:
        """Draw what the validation of the best epoch said."""
        self._draw(CONFUSION_FILE, lambda path: report.draw_confusion(scores, path))

    def draw_curves(self) -> None:
        """Draw the curves of all epochs so far, if they have not been yet."""
        if self._undrawn is None:
            return
        rows, best_epoch = self._undrawn
        started = time.monotonic()
        self._draw(
            CURVES_FILE,
            lambda path: report.draw_curves([asdict(row) for row in rows], best_epoch, path),
        )
        ended = time.monotonic()
        self._curves_due = ended + (ended - started) / _DRAWING_SHARE
        self._undrawn = None

    def flush(self) -> None:
        """Bring all that was logged to disk, so that no state is ahead of it."""
        self._write_events(lambda scalars: scalars.flush())

    def close(self) -> None:
        """Draw what is still to be drawn and close the event file."""
        self.draw_curves()
        self._write_events(lambda scalars: scalars.close())
        self._scalars = None

    def _log_epoch(self, row: EpochRow, position: int) -> None:
        values = {f"epoch/{name}": value for name, value in asdict(row).items() if name != "epoch"}
        self._log({name: value for name, value in values.items() if value is not None}, position)

    def _log(self, values: Mapping[str, float], position: int) -> None:
        self._write_events(lambda scalars: scalars.add(values, position))

    def _write_events(self, write: Callable[[_ScalarFile], None]) -> None:
        scalars = self._scalars
        if scalars is not None and not self._attempt(_EVENTS, lambda: write(scalars)):
            scalars.abandon()
            self._scalars = None

    def _draw(self, name: str, draw: Callable[[Path], None]) -> None:
        if self._plots:
            self._attempt(name, lambda: write_whole(self._run / name, draw))

    def _attempt(self, what: str, action: Callable[[], None]) -> bool:
        """Run `action`; tell if it failed, and return whether it did not."""
        try:
            action()
            return True
        except Exception as error:  # whatever a drawing library raises, hours of training count more
            if what not in self._failed:
                self._failed.add(what)
                self._on_event(Notice(f"{what}: could not be made ({error}); the run goes on without"))
            return False


class _ScalarFile:
    """A TensorBoard event file, written in this thread: an error arises where it can be told."""

    def __init__(self, folder: Path, position: int) -> None:
        """Open a file in `folder` that takes back what earlier ones hold from step `position` on."""
        # TensorBoard finds files by the middle of their name, and reads them in the order of names.
        path = folder / f"{EVENTS_PREFIX}{int(time.time()):010d}.{time.monotonic_ns():020d}"
        self._file: IO[bytes] = path.open("ab")
        self._writer = RecordWriter(self._file)
        self._flushed_at = time.monotonic()
        try:
            self._write(TensorBoardEvent(file_version="brain.Event:2"), position)
            self._write(TensorBoardEvent(session_log=SessionLog(status=SessionLog.START)), position)
        except BaseException:
            self.abandon()
            raise

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Log values by name."""
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(TensorBoardEvent(summary=summary), step)
        if time.monotonic() - self._flushed_at > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand all values to the operating system."""
        self._file.flush()
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Flush and close."""
        self._file.close()

    def abandon(self) -> None:
        """Close a file that could not be written; what it still holds is lost."""
        with suppress(OSError):  # closing tries once more
            self._file.close()

    def _write(self, event: TensorBoardEvent, step: int) -> None:
        event.wall_time, event.step = time.time(), step
        self._writer.write(event.SerializeToString())
