"""Share videos out to workers that come and go, and give their predictions in order, each once.

    rows        0 1 2 3 4 5 6 7 8 9 ...    in chunks, which shrink towards the end of the list
    worker A    [0 1 2 3]      [8 9 ..]    two chunks a worker, so that none waits for this process
    worker B    [4 5 6 7] x                a lost worker: its rows go to others, each by itself
    worker C              [4] [5] [6] [7]  a row that loses the third worker is answered with an error

What a row is answered with does not depend on who answers it, so the predictions are those of one machine.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from vidcli.data.items import VideoItem
from vidcli.errors import VidcliError, VideoError
from vidcli.predict.prediction import Prediction
from vidcli.predict.predictor import Predictor

_CHUNK = 32
"""The most videos that are sent to a worker at once."""
_QUEUED = 2
"""Chunks that a worker has, at most: one in work, one waiting."""
_AHEAD, _MOST_AHEAD = 512, 32_768
"""Rows that may be answered before an earlier one is: a worker, and all together."""
_MAX_LOSSES = 3
"""Workers that one video may cost."""
_MAX_FAILED_STARTS = 5
"""How often in a row workers may be lost while they load the model."""

Worker: TypeAlias = Hashable
Ticket: TypeAlias = Hashable
"""Names something that a worker was asked for."""


@dataclass(frozen=True)
class Lost:
    """The end of a worker before it answered, and why it ended."""

    reason: str


Outcome: TypeAlias = "Sequence[Prediction] | Lost"
"""What became of a ticket; a worker that has loaded the model answers with no predictions."""


class Workers(Protocol):
    """Processes anywhere that load the model and predict."""

    def start(self) -> tuple[Worker, Ticket]:
        """Begin a worker; its ticket is answered when it has loaded the model."""

    def submit(self, worker: Worker, items: Sequence[VideoItem]) -> Ticket:
        """Ask a worker for the predictions of videos."""

    def wait(self) -> Sequence[tuple[Ticket, Outcome]]:
        """Return what was answered; after a while, nothing.

        Raises:
            VidcliError: no worker could answer: the model cannot be loaded, or the like.
        """

    def stop(self, worker: Worker) -> None:
        """End a worker, whatever it does."""

    def most_starting(self, num_ready: int) -> int:
        """Return how many workers may be on their way, where so many are ready."""


@dataclass
class _Task:
    worker: Worker
    rows: Sequence[int]
    is_alone: bool


@dataclass
class WorkerPool:
    """Predictions of videos by workers.

    Attributes:
        workers: starts workers, and brings questions and answers to and from them.
        predictor: the model, for the videos that no worker can answer.
        items: the videos.
    """

    workers: Workers
    predictor: Predictor
    items: Sequence[VideoItem]
    _next_row: int = 0
    _num_out: int = 0
    _num_failed_starts: int = 0
    _suspects: deque[int] = field(default_factory=deque)
    _losses: Counter[int] = field(default_factory=Counter)
    _answers: dict[int, Prediction] = field(default_factory=dict)
    _starting: dict[Ticket, Worker] = field(default_factory=dict)
    _ready: dict[Worker, set[Ticket]] = field(default_factory=dict)
    _tasks: dict[Ticket, _Task] = field(default_factory=dict)

    def predictions(self) -> Generator[Prediction, None, None]:
        """Yield the prediction of each video in order.

        Raises:
            VidcliError: no worker can load the model, or the machines are gone.
        """
        while self._num_out < len(self.items):
            self._hand_out()
            self._start_workers()
            self._take(self.workers.wait())
            while self._num_out in self._answers:
                yield self._answers.pop(self._num_out)
                self._num_out += 1

    @property
    def _num_untaken(self) -> int:
        return len(self.items) - self._next_row + len(self._suspects)

    def _start_workers(self) -> None:
        most = min(self.workers.most_starting(len(self._ready)), self._num_untaken)
        while len(self._starting) < most:
            worker, ticket = self.workers.start()
            self._starting[ticket] = worker

    def _hand_out(self) -> None:
        """Give work to workers that have room for it, those with the least first, and end those without."""
        for depth in range(_QUEUED):
            for worker, tickets in [*self._ready.items()]:
                if len(tickets) == depth and not self._has_suspect(tickets):
                    self._give(worker)
        if not self._num_untaken:
            for worker in [worker for worker, tickets in self._ready.items() if not tickets]:
                del self._ready[worker]
                self.workers.stop(worker)
            while self._starting:
                self.workers.stop(self._starting.popitem()[1])

    def _has_suspect(self, tickets: set[Ticket]) -> bool:
        return any(self._tasks[ticket].is_alone for ticket in tickets)

    def _give(self, worker: Worker) -> None:
        is_alone = bool(self._suspects)
        if is_alone and self._ready[worker]:
            return  # what ends a worker is to be known, so it gets nothing else
        rows: Sequence[int] = [self._suspects.popleft()] if is_alone else self._next_rows()
        if rows:
            ticket = self.workers.submit(worker, [self.items[row] for row in rows])
            self._tasks[ticket] = _Task(worker, rows, is_alone)
            self._ready[worker].add(ticket)

    def _next_rows(self) -> Sequence[int]:
        num_workers = len(self._ready)
        end = min(len(self.items), self._num_out + min(_AHEAD * num_workers, _MOST_AHEAD))
        left = len(self.items) - self._next_row
        size = max(1, min(_CHUNK, left // (2 * _QUEUED * num_workers)))
        rows = range(self._next_row, max(self._next_row, min(end, self._next_row + size)))
        self._next_row += len(rows)
        return rows

    def _take(self, found: Sequence[tuple[Ticket, Outcome]]) -> None:
        """Keep what was answered before looking at who is lost: an answer may come with its worker's end."""
        lost = [(ticket, outcome) for ticket, outcome in found if isinstance(outcome, Lost)]
        for ticket, outcome in found:
            if isinstance(outcome, Lost):
                continue
            if ticket in self._starting:
                self._ready[self._starting.pop(ticket)] = set()
                self._num_failed_starts = 0
            elif task := self._tasks.pop(ticket, None):
                self._ready[task.worker].discard(ticket)
                self._answers.update(zip(task.rows, outcome, strict=True))
        starts = [outcome for ticket, outcome in lost if self._starting.pop(ticket, None) is not None]
        for ticket, outcome in lost:
            if ticket in self._tasks:
                self._lose(self._tasks[ticket].worker, outcome)
        self._num_failed_starts += bool(starts)
        if self._num_failed_starts > _MAX_FAILED_STARTS:
            raise VidcliError(
                f"{_MAX_FAILED_STARTS + 1} times in a row workers ended before they had loaded the model "
                f"({starts[-1].reason}); expected room for it on the machines, and vidcli with the same "
                "extras as here"
            )

    def _lose(self, worker: Worker, lost: Lost) -> None:
        """Have the rows of a lost worker done by others."""
        self.workers.stop(worker)
        for ticket in self._ready.pop(worker):
            task = self._tasks.pop(ticket)
            for row in task.rows:
                self._losses[row] += task.is_alone
                if self._losses[row] < _MAX_LOSSES:
                    self._suspects.append(row)
                else:
                    self._answers[row] = self._failure(self.items[row], lost)

    def _failure(self, item: VideoItem, lost: Lost) -> Prediction:
        reason = f"{_MAX_LOSSES} workers ended while they looked at it ({lost.reason})"
        return self.predictor.begin(item, VideoError(item.path, reason))()
