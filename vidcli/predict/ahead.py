"""One thing computed while the other is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Value = TypeVar("Value")

_POLL_SECONDS = 0.1


def run_ahead(values: Iterable[Value], depth: int) -> Generator[Value, None, None]:
    """Yield the values of an iterable that a thread advances, at most `depth` of them waiting.

    An error of the iterable is raised where its value would have come. Leaving early stops the
    thread before the next value, and waits for it.
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
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            yield value  # type: ignore[misc]
    finally:
        is_left.set()
        thread.join()
