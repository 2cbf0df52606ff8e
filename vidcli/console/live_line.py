"""Draw the live line of a command; imported where a terminal shows one, since it takes long to import."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vidcli.console.bars import GAP, MIN_SECONDS_TO_JUDGE, Part, Progressing, fit_parts
from vidcli.console.text import format_seconds

_BAR_WIDTH = 12
_SPINNER_WIDTH = 2


class _Line(ProgressColumn):
    """The line without its spinner, as wide as the console allows."""

    max_refresh = None

    def __init__(self, shown: Progressing, console: Console) -> None:
        super().__init__()
        self._shown, self._console = shown, console

    def render(self, task: Task) -> RenderableType:
        """Return the parts that fit, and a bar where there is room for one."""
        shown, width = self._shown, self._console.width - _SPINNER_WIDTH
        parts = [Part(shown.label, 0), *(self._usual(task) if shown.parts is None else shown.parts)]
        kept = fit_parts(parts, width)
        taken = sum(len(part.text) + GAP for part in kept)
        grid = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
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
        if elapsed >= MIN_SECONDS_TO_JUDGE:
            parts.append(Part(format_seconds(elapsed), 3))
        return parts if left is None else [*parts, Part(f"{format_seconds(left)} left", 1)]


@contextmanager
def live_line(console: Console, shown: Progressing) -> Iterator[None]:
    """Show a line on the console while the body runs.

    Args:
        console: a terminal's.
        shown: what the line says; it may change while the body runs.
    """
    with Progress(SpinnerColumn(), _Line(shown, console), console=console, transient=True) as progress:
        progress.add_task("")
        yield
