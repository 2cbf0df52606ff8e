"""One thing computed while the other is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Value = TypeVar("Value")

_POLL_SECONDS = 0.1
_LEAVE_SECONDS = 10.0


def run_ahead(
    values: Iterable[Value], depth: int, patience_seconds: float | None = None
) -> Generator[Value, None, None]:
    """Yield the values of an iterable that a thread advances, at most `depth` of them waiting.

    An error of the iterable is raised where its value would have come. Leaving early stops the
    thread before the next value, and waits for it as long as may be expected of one that does not hang.

    Args:
        values: what to advance.
        depth: values that may wait to be taken.
        patience_seconds: how long a value may be waited for; None is no bound.

    Raises:
        TimeoutError: no value came in time; the thread is left behind.
    """
    waiting: queue.Queue[tuple[str, object]] = queue.Queue(depth)
    is_left = threading.Event()

    def put(kind: str, value: object) -> bool:
        while not is_left.is_set():
            try:
                waiting.put((kind, value), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def serve() -> None:
        iterator = iter(values)
        try:
            for value in iterator:
                if not put("value", value):
                    break
            else:
                put("end", None)
        except BaseException as error:  # raised again where it is waited for
            put("error", error)
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    thread = threading.Thread(target=serve, name="vidcli-ahead", daemon=True)
    thread.start()
    leave_seconds = _LEAVE_SECONDS
    timeout = None if patience_seconds is None else min(patience_seconds, threading.TIMEOUT_MAX)
    try:
        while True:
            try:
                kind, value = waiting.get(timeout=timeout)
            except queue.Empty:
                leave_seconds = 0.0
                raise TimeoutError from None
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            yield value  # type: ignore[misc]
    finally:
        is_left.set()
        thread.join(leave_seconds)
