"""Calls with a time limit, made on threads that can be abandoned.

A disk that hangs, or a decoder that loops inside one packet, blocks the thread that called it, and
nothing within the process can stop that thread. So `call_with_timeout` calls on another thread than
the one that waits. When the time is up, the waiting thread continues with an error; the blocked
thread is abandoned, and as a daemon thread it does not keep the process from ending. Threads are
reused: handing over a call and its result takes about 15 microseconds.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

_LEAVE_SECONDS = 2.0  # after Ctrl-C, the time a call has to end by itself


class StillRunning(Exception):
    """The time is up and the call has not returned."""


def call_with_timeout(
    function: Callable[[], Result], seconds: float | None, give_up: Callable[[], None]
) -> Result:
    """Call a function on another thread; return what it returns or raise what it raises.

    Args:
        function: the function, called without arguments.
        seconds: how long to wait for it; None waits for as long as it takes.
        give_up: called once the result is no longer wanted, so that the function can end itself.

    Raises:
        StillRunning: the function has not returned in time; its thread is abandoned.
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
    """A call; its result or error is set once the lock `done` is free."""

    result: Result

    def __init__(self, function: Callable[[], Result]) -> None:
        self.function = function
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def make(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:  # raised again in the thread that waits
            self.error = error


class _Thread(threading.Thread):
    """Makes one call after another."""

    def __init__(self) -> None:
        super().__init__(name="vidcli-video", daemon=True)
        self.inbox: SimpleQueue[_Call[Any]] = SimpleQueue()

    def run(self) -> None:
        while True:
            call = self.inbox.get()
            call.make()
            # Idle before the caller continues, so that its next call finds this thread.
            _idle.append(self)
            call.done.release()
            del call  # with its result, which only the caller holds from now on


_idle: list[_Thread] = []

# A forked child inherits the list without the threads.
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_idle.clear)
