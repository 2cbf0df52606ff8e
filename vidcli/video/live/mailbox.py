"""What waits between the thread that decodes and the model: the newest, never more than a few.

A camera does not wait. Where the model is slower, the oldest picture that waits makes room for the
newest, and is counted. A pipe can be made to wait, and is, as long as that delays nothing: a recording
that comes faster than its own clock is read as fast as the model can. Once the pictures are late by that
clock, somebody films while we compute, and the newest come first until the pipe has run empty.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple

from vidcli.video.exact.convert import Frames

PATIENCE_SECONDS = 0.5
"""How late the pictures of a pipe may be before some are left out."""

_CAUGHT_UP = 0.1
"""What share of that delay is left when nothing more is left out."""

_STALE = 0.4
"""After what share of it all that waits is answered at once, instead of picture by picture."""

_POLL_SECONDS = 0.05


class LiveFrame(NamedTuple):
    """A picture (H, W, 3) as it came.

    Attributes:
        seconds: from the first frame, by the stream's own clock.
        moment: which moment of the grid it is, from 0.
        due: when it was filmed as far as is known, on the clock of `time.monotonic`; after it was read,
            where a recording comes faster than it was filmed.
        arrival: when it came; of a pipe that is read late, when it would have come.
    """

    picture: Frames
    seconds: float
    moment: int
    due: float
    arrival: float


class StreamClock:
    """When a picture was due: by the stream's own times, from the last one that was waited for."""

    _LONGEST_STEP = 10.0  # seconds; a longer one is another clock

    def __init__(self) -> None:
        self._offset: float | None = None
        self._last = 0.0

    def due(self, seconds: float, now: float, is_new: bool) -> float:
        """Return when a picture was due.

        Args:
            seconds: its time in the stream.
            now: when it was read.
            is_new: it was waited for; what was not may have lain in the pipe for a while.
        """
        if is_new or self._offset is None or abs(seconds - self._last) > self._LONGEST_STEP:
            self._offset = now - seconds
        self._last = seconds
        return self._offset + seconds


class Mailbox:
    """Pictures on their way from one thread to another."""

    def __init__(self, capacity: int, patience_seconds: float) -> None:
        """Hold at most `capacity` pictures; patience is how late they may be before some are dropped."""
        self._capacity, self._patience = capacity, patience_seconds
        self._waiting: deque[LiveFrame] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._is_over = self._is_left = self._is_hurried = False
        self.num_dropped = 0

    @property
    def is_left(self) -> bool:
        """Whether nobody takes any more."""
        return self._is_left

    def put(self, frame: LiveFrame) -> bool:
        """Leave a picture; return whether anybody still takes them."""
        with self._changed:
            while self._is_full(frame) and not self._is_left and not self._is_late(frame):
                self._changed.wait(_POLL_SECONDS)
            while len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self.num_dropped += 1
            # What runs ahead of its clock comes when there is room for it.
            self._waiting.append(frame._replace(arrival=min(frame.due, time.monotonic())))
            self._changed.notify_all()
            return not self._is_left

    def end(self, error: BaseException | None) -> None:
        """Say that no more come, and why."""
        with self._changed:
            self._error, self._is_over = error, True
            self._changed.notify_all()

    def leave(self) -> None:
        """Say that no more are taken."""
        with self._changed:
            self._is_left = True
            self._changed.notify_all()

    def take(self, timeout_seconds: float) -> list[LiveFrame] | None:
        """Return the pictures that are to be answered next: one, or all that wait once they are late.

        None comes at the end, an empty list where nothing came in time.

        Raises:
            BaseException: the error that ended it, once all pictures before are taken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over, timeout_seconds)
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return None if self._is_over else []
            stale_seconds = time.monotonic() - self._waiting[0].due
            is_behind = self._is_late(self._waiting[-1]) or stale_seconds > self._patience * _STALE
            count = len(self._waiting) if is_behind else 1
            taken = [self._waiting.popleft() for _ in range(count)]
            self._changed.notify_all()
            return taken

    def _is_full(self, frame: LiveFrame) -> bool:
        """Whether a picture has to wait; of a recording that runs ahead of its clock, one is enough."""
        capacity = 1 if frame.due > time.monotonic() else self._capacity
        return len(self._waiting) >= capacity

    def _is_late(self, frame: LiveFrame) -> bool:
        """Whether to hurry: from being late beyond patience until hardly being late at all."""
        late = time.monotonic() - frame.due
        self._is_hurried = late > self._patience * (_CAUGHT_UP if self._is_hurried else 1.0)
        return self._is_hurried
