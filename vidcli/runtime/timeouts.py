"""Calls that may not come back, made on threads that can be left behind.

A disk that hangs, or a decoder that spins inside one packet, holds the thread that called it, and
nothing within the process can stop it. So the thread that waits is never the one that calls: past
its time it goes on with an error, and the other is left to its fate, as a daemon that does not keep
the process from ending. Threads are used again; handing a call over and its result back takes some
15 microseconds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

_LEAVE_SECONDS = 2.0


class StillRunning(Exception):
    """The time is up and the call has not come back."""


def call_expendably(
    function: Callable[[], Result], seconds: float | None, give_up: Callable[[], None]
) -> Result:
    """Return what `function` returns or raise what it raises, called on another thread.

    Args:
        function: what to call.
        seconds: how long to wait for it; None waits for as long as it takes.
        give_up: called when the result is no longer wanted, so that the call ends where it can.

    Raises:
        StillRunning: it has not come back in time; its thread is left behind.
    """
    call = _Call(function)
    try:
        thread = _idle.pop()
    except IndexError:
        thread = _Thread()
        thread.start()
    thread.inbox.put(call)
    try:
        is_done = call.done.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX))
    except BaseException:  # Ctrl-C
        give_up()
        call.done.acquire(timeout=_LEAVE_SECONDS)
        raise
    if not is_done:
        give_up()
        raise StillRunning
    if call.error is None:
        return call.result
    error, call.error = call.error, None
    try:
        raise error
    finally:
        del error  # its traceback holds this frame


class _Call(Generic[Result]):
    """A call, and what came of it once `done` is free."""

    result: Result

    def __init__(self, function: Callable[[], Result]) -> None:
        self.function = function
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def make(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:  # raised again where it is waited for
            self.error = error


class _Thread(threading.Thread):
    """Makes one call after the other."""

    def __init__(self) -> None:
        super().__init__(name="vidcli-video", daemon=True)
        self.inbox: SimpleQueue[_Call[Any]] = SimpleQueue()

    def run(self) -> None:
        while True:
            call = self.inbox.get()
            call.make()
            # Before the caller goes on, whose next call then finds this thread.
            _idle.append(self)
            call.done.release()
            del call  # and with it the result, which is the caller's now


_idle: list[_Thread] = []

# A forked child inherits the list, but not the threads.
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_idle.clear)
