"""What one file may cost: pixels, frames, seconds.

Limits are checked between packets and between frames, so that an endless file is abandoned on time. A
call of FFmpeg that does not return (a disk that hangs, a decoder that loops inside one packet) is
abandoned a few seconds later, with its thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from vidcli.errors import VideoError
from vidcli.runtime.timeouts import StillRunning, call_with_timeout

Result = TypeVar("Result")

MAX_PIXELS = 8192 * 8192
"""Frames with more pixels are refused before memory is allocated for them."""

_GRACE_SECONDS = 5.0  # after the time limit, until a call of FFmpeg is abandoned


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of one request; a file that exceeds one is refused with a `VideoError`.

    Attributes:
        pixels: height x width of a coded frame.
        frames: frames decoded for one request, wanted or not; None is no limit.
        seconds: wall-clock time spent on one request; None is no limit.
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
    """What one request has spent of its limits; shared by the threads that serve the request.

    Attributes:
        path: of the file, for messages.
        limits: of the request.
    """

    def __init__(self, path: str | os.PathLike[str], limits: DecodeLimits) -> None:
        self.path = path
        self.limits = limits
        self._num_frames = 0
        self._lock = threading.Lock()
        self._ends = None if limits.seconds is None else time.monotonic() + limits.seconds
        self._is_given_up = False

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the request is abandoned; None where there is no limit."""
        return None if self._ends is None else max(0.001, self._ends - time.monotonic())

    def give_up(self) -> None:
        """Make the next check of the time end the request, for which nobody waits any more."""
        self._is_given_up = True

    def check_time(self) -> None:
        """Raise a `VideoError` if the time is up or the request was given up."""
        if self._is_given_up:
            raise VideoError(self.path, "was given up")
        if self._ends is not None and time.monotonic() > self._ends:
            raise VideoError(
                self.path, f"took longer than the limit of {self.limits.seconds:g} s and was abandoned"
            )

    def spend_frames(self, count: int) -> None:
        """Count decoded frames; raise a `VideoError` if they exceed the limit."""
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
        """Raise a `VideoError` for frames that exceed the limit of pixels."""
        if height * width > self.limits.pixels:
            raise VideoError(
                self.path,
                f"has frames of {width}x{height}, more than the limit of {self.limits.pixels} pixels",
            )


class PlanFailed(Exception):
    """The caller's plan raised `error`, which is not the file's fault."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def faults_of(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise any error as a `VideoError` of one video, so that work on other videos continues.

    Failed assertions and errors of the caller's plan are raised unchanged.
    """
    try:
        yield
    except (VideoError, AssertionError):
        raise
    except PlanFailed as failed:
        raise failed.error from None
    except Exception as error:  # of libraries, or a MemoryError
        message = str(error) or type(error).__name__
        raise VideoError(path, f"cannot be decoded ({message})") from error


def call_in_time(budget: Budget, function: Callable[[], Result]) -> Result:
    """Return what `function` returns, if it does so within the budget's time and a few seconds more.

    Raises:
        VideoError: the function has not returned, and its thread is abandoned; or it raised an error.
    """
    seconds = budget.seconds_left

    def call() -> Result:
        with faults_of(budget.path):
            return function()

    try:
        return call_with_timeout(call, None if seconds is None else seconds + _GRACE_SECONDS, budget.give_up)
    except StillRunning:
        raise VideoError(
            budget.path,
            f"hangs: FFmpeg has not come back {_GRACE_SECONDS:g} s after the limit of "
            f"{budget.limits.seconds:g} s, and the file was abandoned",
        ) from None
