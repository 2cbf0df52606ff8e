"""The live line of a command: the work, how much of it is done, and how much time is left.

Where the terminal is too narrow for the whole line, the least important parts are left out. `live_line` draws
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vidcli.console.text import format_seconds

LONG_SECONDS = 10.0
"""Work that took longer than this ends with a line that says how long."""

GAP = 2
"""Columns between parts."""
MIN_SECONDS_TO_JUDGE = 1.0


@dataclass(frozen=True)
class Part:
    """A part of the live line.

    Attributes:
        text: the words to show.
        rank: 0 for a part that is always shown; of the others, the highest is left out first.
    """

    text: str
    rank: int


@dataclass
class Progressing:
    """What the live line shows.

    Attributes:
        label: the name of the work; it is always shown.
        done, total: number of items done and of all; a total of None is not known.
        parts: the words after the label; None stands for the count, the time taken and the time left.
        started: when the work began, by the monotonic clock, in seconds.
        first_done: number of items that were done at the first update; None before it.
    """

    label: str
    done: int = 0
    total: int | None = None
    parts: Sequence[Part] | None = None
    started: float = field(default_factory=lambda: time.monotonic())
    first_done: int | None = None

    def update(self, done: int, total: int | None) -> None:
        """Note the number of items done and of all.

        Items that are done at the first update, such as by an earlier run, do not count for the speed.
        """
        if self.first_done is None and done > 1:
            self.started, self.first_done = time.monotonic(), done
        self.first_done = self.first_done or 0
        self.done, self.total = done, total

    def begin(self, label: str) -> None:
        """Begin with the work of this label, unless it is under way."""
        if label != self.label:
            self.label, self.parts, self.started, self.first_done = label, None, time.monotonic(), None

    def seconds_left(self, elapsed: float) -> float | None:
        """Return the time left in seconds, judged by the speed so far; None where it is too early to say.

        Args:
            elapsed: seconds since the work began.
        """
        fresh = self.done - (self.first_done or 0)
        if not self.total or fresh <= 0 or elapsed < MIN_SECONDS_TO_JUDGE:
            return None
        return max(0, self.total - self.done) * elapsed / fresh


def fit_parts(parts: Sequence[Part], width: int) -> list[Part]:
    """Return the most important parts, as many as fit into `width` columns with gaps between them."""
    kept = list(parts)
    while len(kept) > 1 and sum(len(part.text) + GAP for part in kept) - GAP > width:
        last = max(kept, key=lambda part: part.rank)
        if last.rank == 0:
            break
        kept.remove(last)
    return kept


class Stopwatch:
    """Measures work and says how long it took, if that was long."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Start the measurement; `say` will be called with the line."""
        self._say, self._started = say, time.monotonic()

    def stop(self, done: str) -> None:
        """End the measurement, say the time if it was long, and start the next one.

        Args:
            done: the work in the past tense, such as `read 342 videos`.
        """
        seconds = time.monotonic() - self._started
        if seconds > LONG_SECONDS:
            self._say(f"{done} in {format_seconds(seconds)}")
        self._started = time.monotonic()
