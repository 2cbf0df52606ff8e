"""The one live line of a command: what is done, how far it is, how long it still takes.

In a terminal too narrow for all of it, parts are left out, the least wanted first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vidcli.console.text import format_seconds

LONG_SECONDS = 10.0
"""Work that took longer is worth a line that says so."""

_BAR_WIDTH = 12
_SPINNER_WIDTH = 2
_GAP = 2
_MIN_SECONDS_TO_JUDGE = 1.0


@dataclass(frozen=True)
class Part:
    """A part of the live line.

    Attributes:
        text: what it says.
        rank: 0 is never left out; of the others, the highest goes first.
    """

    text: str
    rank: int


@dataclass
class Progressing:
    """What the live line shows.

    Attributes:
        label: what is being done; it is never left out.
        done, total: how much of it; None where that is not known.
        parts: what else is said; None is how much is done, the time it took and the time left.
    """

    label: str
    done: int = 0
    total: int | None = None
    parts: Sequence[Part] | None = None
    started: float = field(default_factory=lambda: time.monotonic())
    first_done: int | None = None

    def update(self, done: int, total: int | None) -> None:
        """Take how much is done; what is done at first, such as by an earlier run, tells no speed."""
        if self.first_done is None and done > 1:
            self.started, self.first_done = time.monotonic(), done
        self.first_done = self.first_done or 0
        self.done, self.total = done, total

    def begin(self, label: str) -> None:
        """Begin with other work, where it is other."""
        if label != self.label:
            self.label, self.parts, self.started, self.first_done = label, None, time.monotonic(), None

    def seconds_left(self, elapsed: float) -> float | None:
        """Return the time left by the speed so far; None where it tells nothing yet."""
        fresh = self.done - (self.first_done or 0)
        if not self.total or fresh <= 0 or elapsed < _MIN_SECONDS_TO_JUDGE:
            return None
        return max(0, self.total - self.done) * elapsed / fresh


def fit_parts(parts: Sequence[Part], width: int) -> list[Part]:
    """Return the parts that fit into so many columns with gaps between them, the most wanted ones."""
    kept = list(parts)
    while len(kept) > 1 and sum(len(part.text) + _GAP for part in kept) - _GAP > width:
        last = max(kept, key=lambda part: part.rank)
        if last.rank == 0:
            break
        kept.remove(last)
    return kept


class _Line(ProgressColumn):
    """All of a line but its spinner, as wide as the console allows."""

    max_refresh = None

    def __init__(self, shown: Progressing, console: Console) -> None:
        super().__init__()
        self._shown, self._console = shown, console

    def render(self, task: Task) -> RenderableType:
        """Return the parts that fit, and a bar where there is room for one."""
        shown, width = self._shown, self._console.width - _SPINNER_WIDTH
        parts = [Part(shown.label, 0), *(self._usual(task) if shown.parts is None else shown.parts)]
        kept = fit_parts(parts, width)
        taken = sum(len(part.text) + _GAP for part in kept)
        grid = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
        cells: list[RenderableType] = [Text(part.text, no_wrap=True, overflow="crop") for part in kept]
        if len(kept) == len(parts) and taken + _BAR_WIDTH <= width:
            bar = ProgressBar(shown.total, shown.done, width=_BAR_WIDTH, pulse=not shown.total)
            cells.insert(1, bar)
        grid.add_row(*cells)
        return grid

    def _usual(self, task: Task) -> list[Part]:
        shown = self._shown
        elapsed = time.monotonic() - shown.started
        left = shown.seconds_left(elapsed)
        count = f"{shown.done}/{'?' if shown.total is None else shown.total}"
        parts = [Part(count, 2)]
        if elapsed >= _MIN_SECONDS_TO_JUDGE:
            parts.append(Part(format_seconds(elapsed), 3))
        return parts if left is None else [*parts, Part(f"{format_seconds(left)} left", 1)]


@contextmanager
def live_line(console: Console, shown: Progressing) -> Iterator[None]:
    """Show a line while the body runs; what `shown` says may change meanwhile."""
    with Progress(SpinnerColumn(), _Line(shown, console), console=console, transient=True) as progress:
        progress.add_task("")
        yield


class Stopwatch:
    """Tell what long work took, once it is over."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Begin now; `say` is given the line."""
        self._say, self._started = say, time.monotonic()

    def stop(self, done: str) -> None:
        """Say what was done, such as `read 342 videos`, and how long it took, if that was long."""
        seconds = time.monotonic() - self._started
        if seconds > LONG_SECONDS:
            self._say(f"{done} in {format_seconds(seconds)}")
        self._started = time.monotonic()
