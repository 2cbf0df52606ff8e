"""The one thread in which the model computes, and the bounded queue before it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from fastapi import HTTPException

Answer = TypeVar("Answer")


class Abandoned(Exception):
    """Nobody waits for the answer any more."""


class ModelThread:
    """Computes one answer at a time, in the order of the requests."""

    def __init__(self, max_waiting: int) -> None:
        """Start with an empty queue.

        Args:
            max_waiting: the most requests that may have a place: uploading, waiting or computed.
        """
        self._thread = ThreadPoolExecutor(1, "vidcli-model")
        self._lock = threading.Lock()
        self._max_waiting, self.num_waiting = max_waiting, 0
        self._num_done, self._busy_seconds = 0, 0.0

    def take_place(self, held: ExitStack) -> None:
        """Take a place in the queue, before anything of the request is read.

        Args:
            held: gives the place back when it is closed.

        Raises:
            HTTPException: 503, all places are taken; says when to try again.
        """
        with self._lock:
            if self.num_waiting >= self._max_waiting:
                seconds = math.ceil(self.num_waiting * self._busy_seconds / max(1, self._num_done))
                text = f"{self.num_waiting} requests are waiting already; try again later"
                raise HTTPException(503, text, {"Retry-After": str(max(1, seconds))})
            self.num_waiting += 1
        held.callback(self._leave)

    async def compute(self, work: Callable[[Callable[[], None]], Answer], held: ExitStack) -> Answer:
        """Return what `work` returns in the model's thread.

        When the caller is cancelled, work that has not begun is dropped, and other work is told.

        Args:
            work: given a function that raises `Abandoned` once nobody waits any more.
            held: what the work needs; it is closed when the work has ended or was dropped.
        """
        is_abandoned = threading.Event()

        def check() -> None:
            if is_abandoned.is_set():
                raise Abandoned

        def run() -> Answer:
            started = time.perf_counter()
            try:
                return work(check)
            finally:
                with self._lock:
                    self._num_done += 1
                    self._busy_seconds += time.perf_counter() - started

        future = self._thread.submit(run)
        needed = held.pop_all()
        future.add_done_callback(lambda _: needed.close())
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            is_abandoned.set()
            raise

    def close(self) -> None:
        """Wait for the work that is being done, and drop the rest."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _leave(self) -> None:
        with self._lock:
            self.num_waiting -= 1
