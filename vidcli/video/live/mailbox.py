"""The queue of pictures between the thread that decodes and the model, which drops the oldest when full.

A camera does not wait. Where the model is slower, the oldest waiting picture is dropped for the newest,
and counted. The writer of a pipe can be made to wait, and is as long as the pictures are not late by the
stream's own clock: a recording that arrives faster than its clock is read as fast as the model answers.
Pictures that are late mean that somebody is filming, and old ones are dropped until the pipe is empty.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple

from vidcli.arrays import Frames

PATIENCE_SECONDS = 0.5
"""How late the pictures of a pipe may be before some are dropped."""

_CAUGHT_UP = 0.1
"""The share of that delay below which nothing more is dropped."""

_STALE = 0.4
"""The share of that delay beyond which all waiting pictures are taken at once instead of one by one."""

_POLL_SECONDS = 0.05


class LiveFrame(NamedTuple):
    """A picture of a live stream.

    Attributes:
        picture: uint8 (H, W, 3), RGB, upright.
        seconds: from the first frame, by the stream's own clock.
        moment: index of its moment on the grid of wanted moments, from 0.
        due: when it was filmed as far as is known, on the clock of `time.monotonic`; in the future for a
            recording that arrives faster than it was filmed.
        arrival: when it arrived; for a pipe that is read late, when it would have arrived in time.
    """

    picture: Frames
    seconds: float
    moment: int
    due: float
    arrival: float


class StreamClock:
    """Tell when a picture was due, by the stream's clock since the last picture that was waited for."""

    _LONGEST_STEP = 10.0  # seconds; after a longer step the stream's clock counts as a new one

    def __init__(self) -> None:
        self._offset: float | None = None
        self._last = 0.0

    def due(self, seconds: float, now: float, is_new: bool) -> float:
        """Return when a picture was due, on the clock of `now`.

        Args:
            seconds: its time by the stream's clock.
            now: when it was read, by `time.monotonic`.
            is_new: reading had to wait for it; otherwise it may have lain in the pipe for a while.
        """
        if is_new or self._offset is None or abs(seconds - self._last) > self._LONGEST_STEP:
            self._offset = now - seconds
        self._last = seconds
        return self._offset + seconds


class Mailbox:
    """A queue of pictures from the thread that decodes to the thread that takes them.

    Attributes:
        num_dropped: pictures dropped so far to make room for newer ones.
    """

    def __init__(self, capacity: int, patience_seconds: float) -> None:
        """Hold no picture yet.

        Args:
            capacity: the most pictures that may wait.
            patience_seconds: how late pictures may be before some are dropped; 0 never makes the
                decoding thread wait for a late picture.
        """
        self._capacity, self._patience = capacity, patience_seconds
        self._waiting: deque[LiveFrame] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._is_over = self._is_left = self._is_hurried = False
        self.num_dropped = 0

    @property
    def is_left(self) -> bool:
        """Whether the taker has left."""
        return self._is_left

    def put(self, frame: LiveFrame) -> bool:
        """Append a picture; return whether anybody still takes pictures."""
        with self._changed:
            while self._is_full(frame) and not self._is_left and not self._is_late(frame):
                self._changed.wait(_POLL_SECONDS)
            while len(self._waiting) >= self._capacity:
                self._waiting.popleft()
                self.num_dropped += 1
            # A picture that is ahead of its clock arrives when there is room for it.
            self._waiting.append(frame._replace(arrival=min(frame.due, time.monotonic())))
            self._changed.notify_all()
            return not self._is_left

    def end(self, error: BaseException | None) -> None:
        """Announce that no more pictures come; `error` is raised to the taker, None is a plain end."""
        with self._changed:
            self._error, self._is_over = error, True
            self._changed.notify_all()

    def leave(self) -> None:
        """Announce that no more pictures are taken."""
        with self._changed:
            self._is_left = True
            self._changed.notify_all()

    def take(self, timeout_seconds: float) -> list[LiveFrame] | None:
        """Return the next picture, or all that wait if they are late.

        Returns:
            None at the end of the stream, an empty list if no picture arrived in time.

        Raises:
            BaseException: the error that ended the stream, once all pictures before it were taken.
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
        """Whether a picture must wait for room; only one ahead of its clock may wait."""
        capacity = 1 if frame.due > time.monotonic() else self._capacity
        return len(self._waiting) >= capacity

    def _is_late(self, frame: LiveFrame) -> bool:
        """Whether pictures are dropped: once they are later than the patience, until they are hardly late."""
        late = time.monotonic() - frame.due
        self._is_hurried = late > self._patience * (_CAUGHT_UP if self._is_hurried else 1.0)
        return self._is_hurried
