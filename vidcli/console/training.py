"""What `vidcli train` shows: a live line, an epoch a line, how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from rich.table import Table

from vidcli.artifacts.run_folder import RESUME_FILE
from vidcli.console.bars import Part, Progressing, Stopwatch, live_line
from vidcli.console.terminal import Terminal, Verbosity
from vidcli.console.text import count_noun, format_bytes, format_seconds, plain, plain_lines
from vidcli.data.items import SPLITS
from vidcli.train import (
    CheckProgress,
    EpochDone,
    EpochRow,
    Event,
    Notice,
    RunPlan,
    StepDone,
)


class TrainingView:
    """Show the events of a run: a live line under the table of epochs, or a line an epoch."""

    def __init__(self, terminal: Terminal, epochs: int) -> None:
        """Show a run of `epochs` epochs."""
        self._terminal, self._epochs = terminal, epochs
        self._shown = Progressing("starting", parts=())
        self._open = ExitStack()
        self._watch = Stopwatch(terminal.say)
        self._past = ""
        self._num_epochs = 0

    def __enter__(self) -> TrainingView:
        if self._terminal.verbosity > Verbosity.QUIET and self._terminal.err.is_terminal:
            self._open.enter_context(live_line(self._terminal.err, self._shown))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()
        if kind is None:
            self._begin("")

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Notice):
            self._terminal.warn(event.text)
        elif isinstance(event, EpochDone):
            self._num_epochs += 1
            self._begin(f"trained {count_noun(self._num_epochs, 'epoch')}")
            self._terminal.say(self._epoch_line(event))
        elif isinstance(event, StepDone):
            self._begin(f"trained {count_noun(self._num_epochs, 'epoch')}")
            self._show_step(event)
        else:
            is_check = isinstance(event, CheckProgress)
            what = "read" if is_check else "computed the features of"
            self._begin(f"{what} {count_noun(event.done, 'video')}")
            self._shown.begin("reading videos" if is_check else "computing features")
            self._shown.update(event.done, event.total)

    def _begin(self, past: str) -> None:
        """Note what will have been done; where another work begins, say what the one before took."""
        if past.partition(" ")[0] != self._past.partition(" ")[0]:
            if self._past:
                self._watch.stop(self._past)
            else:
                self._watch = Stopwatch(self._terminal.say)
        self._past = past

    def _show_step(self, event: StepDone) -> None:
        self._shown.label = f"epoch {event.epoch}/{self._epochs}"
        self._shown.done, self._shown.total = event.step, event.num_steps
        self._shown.parts = (
            Part(f"loss {event.loss:.3f}", 2),
            Part(f"acc {event.accuracy:.3f}", 3),
            Part(f"{event.clips_per_second:.0f} clips/s", 4),
            Part(f"waiting {event.waiting:.0%}", 5),
            Part(f"{format_seconds(event.seconds_left)} left", 1),
        )

    def _epoch_line(self, event: EpochDone) -> str:
        row = event.row
        width = len(str(self._epochs))
        line = f"epoch {row.epoch:>{width}}/{self._epochs}  loss {row.train_loss:.3f}  "
        line += f"acc {row.train_accuracy:.3f}"
        if row.val_top1 is not None and row.val_loss is not None:
            line += f"  val loss {row.val_loss:.3f}  val acc {row.val_top1:.3f}"
        if row.val_map is not None and row.val_loss is not None:
            line += f"  val loss {row.val_loss:.3f}  val mAP {row.val_map:.3f}"
        return line + ("  best" if event.best and row.val_score is not None else "")


def print_best(terminal: Terminal, rows: Sequence[EpochRow], verdict: str | None) -> None:
    """Say how good the best epoch is on validation videos, and what that is worth.

    Args:
        terminal: to print on.
        rows: of all epochs.
        verdict: a sentence; None where there is none.
    """
    validated = [row for row in rows if row.val_score is not None and row.val_loss is not None]
    if not validated:
        terminal.say("no validation split: the last epoch is the model, its probabilities are not calibrated")
        return
    best = max(validated, key=lambda row: (row.val_score or 0.0, -(row.val_loss or 0.0)))
    kind = "accuracy" if best.val_map is None else "mAP"
    terminal.say(f"best validation {kind} {best.val_score:.3f} in epoch {best.epoch}")
    if verdict is not None:
        terminal.say(f"validation videos, by which the epoch was chosen: {verdict}")


def print_kept(
    terminal: Terminal, run: Path, run_bytes: int, resume_bytes: int, caches: Mapping[Path, int]
) -> None:
    """Say what is kept where, and how large it is.

    Args:
        terminal: to print on.
        run: its directory.
        run_bytes: of all in it.
        resume_bytes: of those, what only going on with the run needs; 0 where there is none.
        caches: the folders that all runs share, and their bytes.
    """
    line = f"kept: {run} {format_bytes(run_bytes)}"
    if resume_bytes:
        line += f", of which {format_bytes(resume_bytes)} are {RESUME_FILE}, which only --resume needs"
    shared = ", ".join(f"{folder} {format_bytes(size)}" for folder, size in caches.items())
    terminal.say(line + (f"; for all runs, and made again if deleted: {shared}" if shared else ""))


def print_run_end(terminal: Terminal, run: Path) -> None:
    """Say what to type next, and print the run's directory."""
    terminal.say(f"next: vidcli eval --model {run}")
    terminal.out.print(plain(str(run)), soft_wrap=True)


def print_plan(terminal: Terminal, plan: RunPlan, config_yaml: str) -> None:
    """Show what `train --dry-run` would do."""
    table = Table("class", *SPLITS)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in plan.class_names:
        table.add_row(plain(name), *(str(plan.num_videos[name][split]) for split in SPLITS))
    terminal.out.print(table)
    terminal.out.print(f"{plan.num_parameters:,} parameters, {plan.num_steps:,} steps")
    terminal.out.print(plain_lines(config_yaml.rstrip()), soft_wrap=True)
