"""What a file may cost: pixels, frames, seconds.

Limits are checked between packets and frames, so a file that is merely endless is abandoned on
time. A call of FFmpeg that does not come back (a disk that hangs, a decoder that spins inside one
packet) is left behind a little later, with its thread.
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
"""Frames with more pixels are refused before memory is taken for them."""

_GRACE_SECONDS = 5.0


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
        self._is_given_up = False

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the request is abandoned; None where there is no bound."""
        return None if self._ends is None else max(0.001, self._ends - time.monotonic())

    def give_up(self) -> None:
        """Make the next check end the request: nobody waits for it any more."""
        self._is_given_up = True

    def check_time(self) -> None:
        """Raise a `VideoError` once the time is up, or the request was given up."""
        if self._is_given_up:
            raise VideoError(self.path, "was given up")
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


class PlanFailed(Exception):
    """The caller's own function failed with `error`, which is no fault of the file."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def faults_of(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make whatever goes wrong with one video that video's error, so that others go on.

    Raises:
        VideoError: something was raised that names no file; a failed assertion is raised as it is.
    """
    try:
        yield
    except (VideoError, AssertionError):
        raise
    except PlanFailed as failed:
        raise failed.error from None
    except Exception as error:  # of libraries, and of memory that is not there
        told = str(error) or type(error).__name__
        raise VideoError(path, f"cannot be decoded ({told})") from error


def call_in_time(budget: Budget, function: Callable[[], Result]) -> Result:
    """Return what `function` returns, as long as it does so in the time of the budget and a grace.

    Raises:
        VideoError: it has not come back, so that its thread is left behind, or anything else went wrong.
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
