"""What a run writes for people to look at: curves, pictures, and numbers for trackers such as TensorBoard.

A run does not need these to go on. If one cannot be made, a notice says so once, and the run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from torch import Tensor

from vidcli import report
from vidcli.artifacts.run_folder import CONFUSION_FILE, CURVES_FILE, SAMPLES_FILE
from vidcli.config import ClipConfig
from vidcli.data.items import LABEL_SEPARATOR
from vidcli.evaluate import Evaluation
from vidcli.fonts import picture_names
from vidcli.runtime.files import write_whole
from vidcli.train.events import EpochRow, Event, Notice
from vidcli.train.trackers import OpenTracker, Tracker

_DRAWING_SHARE = 0.05
"""The most that drawing curves may take of the time, 0 to 1; it would be most of a short epoch."""


class RunRecord:
    """The pictures and the trackers of one run directory."""

    def __init__(
        self,
        run: Path,
        plots: bool,
        on_event: Callable[[Event], None],
        trackers: Mapping[str, OpenTracker] | None = None,
    ) -> None:
        """Keep where to write; nothing is written yet.

        Args:
            run: an existing folder.
            plots: whether to draw pictures.
            on_event: called with a notice where a file cannot be made.
            trackers: what opens each tracker, by the title that it has in notices; None has none.
        """
        self._run, self._plots, self._on_event = run, plots, on_event
        self._to_open = dict(trackers or {})
        self._trackers: dict[str, Tracker] = {}
        self._failed: set[str] = set()
        self._curves_due = 0.0
        self._undrawn: tuple[Sequence[EpochRow], int | None] | None = None

    def open(self, position: int, last_row: EpochRow | None) -> None:
        """Open the trackers of a run that starts or goes on.

        Args:
            position: number of updates done; values that the run wrote for later ones are outdated.
            last_row: the epoch that ended with the last of these updates, if one did.
        """

        def start(title: str, opens: OpenTracker) -> None:
            self._trackers[title] = opens(self._run, position)

        for title, opens in self._to_open.items():
            self._attempt(title, partial(start, title, opens))
        if last_row is not None:
            self._log_epoch(last_row, position)

    def add_step(self, position: int, loss: float, lr: float) -> None:
        """Log an update.

        Args:
            position: its number, counted from 0 over the whole run.
            loss: mean loss of its batch.
            lr: its learning rate.
        """
        self._log({"step/loss": loss, "step/lr": lr}, position)

    def add_epoch(self, rows: Sequence[EpochRow], position: int, best_epoch: int | None) -> None:
        """Log an epoch, and draw the curves unless that would take much of the time.

        Args:
            rows: one for each epoch up to this one.
            position: number of updates done.
            best_epoch: number of the best epoch so far, from 1; None without validation.
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
        """Draw clips as the network gets them, with their class names.

        Where no font has the letters of the names, numbers stand for them, and a notice explains these.

        Args:
            clips_BTCHW: normalised clips.
            labels: the class names of each clip.
            class_names: the names of all classes.
            clip: how pixels are normalised.
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
        """Draw the confusion matrix of the best epoch."""
        self._draw(CONFUSION_FILE, lambda path: report.draw_confusion(scores, path))

    def draw_curves(self) -> None:
        """Draw the curves of all epochs so far, unless they are drawn already."""
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
        """Hand over all that was logged."""
        self._track(lambda tracker: tracker.flush())

    def close(self, is_over: bool = True) -> None:
        """Draw the curves that are still to be drawn, and close the trackers.

        Args:
            is_over: the run has no epoch left, and was not stopped.
        """
        self.draw_curves()
        self._track(lambda tracker: tracker.close(is_over))
        self._trackers.clear()

    def _log_epoch(self, row: EpochRow, position: int) -> None:
        values = {f"epoch/{name}": value for name, value in asdict(row).items() if name != "epoch"}
        self._log({name: value for name, value in values.items() if value is not None}, position)

    def _log(self, values: Mapping[str, float], position: int) -> None:
        self._track(lambda tracker: tracker.add(values, position))

    def _track(self, tell: Callable[[Tracker], None]) -> None:
        for title, tracker in list(self._trackers.items()):
            if not self._attempt(title, partial(tell, tracker)):
                tracker.abandon()
                del self._trackers[title]

    def _draw(self, name: str, draw: Callable[[Path], None]) -> None:
        if self._plots:
            self._attempt(name, lambda: write_whole(self._run / name, draw))

    def _attempt(self, what: str, action: Callable[[], None]) -> bool:
        """Run `action` and return whether it worked; a notice says so once where it did not."""
        try:
            action()
            return True
        except Exception as error:  # no error of a drawing or tracking library may end hours of training
            if what not in self._failed:
                self._failed.add(what)
                self._on_event(Notice(f"{what}: could not be made ({error}); the run goes on without"))
            return False
