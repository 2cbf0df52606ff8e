"""Signals that ask this process to end: Ctrl-C, and what schedulers and closed terminals send.

Each becomes an exception where the program is, as Ctrl-C does by itself in Python, so that what has to be
cleared away is. Where a step must not be left half done, the first of them waits for its end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_OF_OTHERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Those that Python itself lets end a process at once; Windows has no SIGHUP."""

_INTERRUPTED = 130

leaving = threading.Event()
"""Set while threads whose work is not wanted any more come to their end."""


class AskedToEnd(KeyboardInterrupt):
    """A signal asked this process to end, as Ctrl-C would.

    Attributes:
        exit_code: 128 and the number of the signal, as shells count.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum


def exit_code_of(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code of a process that ends because it was asked to."""
    return interrupt.exit_code if isinstance(interrupt, AskedToEnd) else _INTERRUPTED


@contextmanager
def ended_by_exception() -> Iterator[None]:
    """Let signals that would end the process at once raise `AskedToEnd` in its main thread."""
    with _handled(_OF_OTHERS, _raise):
        yield


@contextmanager
def deferred(note: Callable[[int], None]) -> Iterator[None]:
    """Let the first signal that asks to end be noted only; the second raises `AskedToEnd`.

    Elsewhere than in the main thread, to which Python delivers signals, nothing is deferred.

    Args:
        note: given the number of the first signal.
    """
    is_noted = False

    def first_waits(signum: int, frame: FrameType | None) -> None:
        nonlocal is_noted
        if is_noted:
            raise AskedToEnd(signum)
        is_noted = True
        note(signum)

    with _handled([signal.SIGINT, *_OF_OTHERS], first_waits):
        yield


@contextmanager
def undivided() -> Iterator[None]:
    """Let the first signal that asks to end wait for the end of the body, and raise `AskedToEnd` there."""
    noted: list[int] = []
    with deferred(noted.append):
        yield
    if noted:
        raise AskedToEnd(noted[0])


def _raise(signum: int, frame: FrameType | None) -> None:
    raise AskedToEnd(signum)


@contextmanager
def _handled(
    signums: list[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Handle signals while the body runs; what `nohup` and its kin have a process ignore stays ignored."""
    previous = {}
    if threading.current_thread() is threading.main_thread():
        found = {signum: signal.getsignal(signum) for signum in signums}
        previous = {
            signum: usual
            for signum, usual in found.items()
            # None is a handler that is not Python's, which could not be set again.
            if usual is not None and (usual != signal.SIG_IGN or signum == signal.SIGINT)
        }
    try:
        for signum in previous:
            signal.signal(signum, handler)
        yield
    finally:
        for signum, usual in previous.items():
            signal.signal(signum, usual)
