"""What a file may cost: pixels, frames, seconds; and a watch on calls that do not come back.

Limits are checked between packets and frames, so a file that is merely endless is abandoned on
time. A call of FFmpeg that does not come back (a disk that hangs, a decoder that spins inside one
packet) cannot be stopped from within its process: the watch can only name the file, in the log,
so that whoever runs the process knows which one to take out.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vidcli.errors import VideoError

MAX_PIXELS = 8192 * 8192
"""Frames with more pixels are refused before memory is taken for them."""

_GRACE_SECONDS = 5.0
_log = logging.getLogger("vidcli.video")


@dataclass(frozen=True)
class DecodeLimits:
    """Bounds of one request; a file that exceeds one is refused with a `VideoError`.

    Attributes:
        pixels: height x width of a coded frame.
        frames: frames decoded for one request, wanted or not; None is no bound.
        seconds: wall-clock time spent on one request; None is no bound.
    """

    pixels: int = MAX_PIXELS
    frames: int | None = None
    seconds: float | None = 3600.0

    def __post_init__(self) -> None:
        for name in ("pixels", "frames", "seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")


class Budget:
    """What is left of the limits of one request; shared by the threads that serve it."""

    def __init__(self, path: str | os.PathLike[str], limits: DecodeLimits) -> None:
        self.path = path
        self.limits = limits
        self._num_frames = 0
        self._lock = threading.Lock()
        self._ends = None if limits.seconds is None else time.monotonic() + limits.seconds

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the request is abandoned; None where there is no bound."""
        return None if self._ends is None else max(0.001, self._ends - time.monotonic())

    def check_time(self) -> None:
        """Raise a `VideoError` once the time is up."""
        if self._ends is not None and time.monotonic() > self._ends:
            raise VideoError(
                self.path, f"took longer than the limit of {self.limits.seconds:g} s and was abandoned"
            )

    def spend_frames(self, count: int) -> None:
        """Count decoded frames; raise a `VideoError` when there are more than allowed."""
        if self.limits.frames is None:
            return
        with self._lock:
            self._num_frames += count
        if self._num_frames > self.limits.frames:
            raise VideoError(
                self.path,
                f"needs more than the limit of {self.limits.frames} frames decoded for one request",
            )

    def check_size(self, height: int, width: int) -> None:
        """Raise a `VideoError` for frames larger than allowed."""
        if height * width > self.limits.pixels:
            raise VideoError(
                self.path,
                f"has frames of {width}x{height}, more than the limit of {self.limits.pixels} pixels",
            )


@contextmanager
def watched(budget: Budget) -> Iterator[None]:
    """Name the file in the log if the block is still running after its time and a grace."""
    seconds = budget.seconds_left
    if seconds is None:
        yield
        return
    key = _watch.add(os.fspath(budget.path), seconds + _GRACE_SECONDS)
    try:
        yield
    finally:
        _watch.remove(key)


class _Watch:
    """One daemon thread for all requests of the process, started with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[int, tuple[float, str]] = {}
        self._next_key = 0
        self._thread: threading.Thread | None = None

    def add(self, path: str, seconds: float) -> int:
        with self._lock:
            self._next_key += 1
            self._due[self._next_key] = (time.monotonic() + seconds, path)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vidcli-watch", daemon=True)
                self._thread.start()
            return self._next_key

    def remove(self, key: int) -> None:
        with self._lock:
            self._due.pop(key, None)

    def _run(self) -> None:
        while True:
            time.sleep(1.0)
            now = time.monotonic()
            with self._lock:
                late = [(key, path) for key, (due, path) in self._due.items() if due < now]
                for key, _ in late:
                    del self._due[key]
            for _, path in late:
                _log.error("%s: FFmpeg has not come back in time and cannot be stopped from here", path)


_watch = _Watch()


def _renew_watch() -> None:
    # A forked child inherits the lock and the entries, but not the thread.
    global _watch
    _watch = _Watch()


os.register_at_fork(after_in_child=_renew_watch)
