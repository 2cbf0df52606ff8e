"""The threads in which the model computes, those that load for them, and the bounded queue before them."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from fastapi import HTTPException

from vidcli.runtime.threads import compute_alone

Answer = TypeVar("Answer")
Loaded = TypeVar("Loaded")


class Abandoned(Exception):
    """Nobody waits for the answer any more."""


class ModelThreads:
    """Computes answers in the order of the requests, and loads what the next ones need meanwhile.

    A request alone gets all cores. Where several wait, each core loads and computes an answer of its own:
    no core waits for another, or fetches what another has loaded (see `predict.side_by_side`).
    """

    def __init__(
        self, max_waiting: int, num_loaders: int = 1, ahead: int = 1, num_side_by_side: int = 1
    ) -> None:
        """Start with an empty queue.

        Args:
            max_waiting: the most requests that may have a place: uploading, waiting or computed.
            num_loaders: threads that load.
            ahead: what may be loaded, or in loading, while an answer is computed on all cores.
            num_side_by_side: answers that are computed at once, each on one core, where several requests
                wait; 1 computes each on all cores.
        """
        self._on_all_cores = ThreadPoolExecutor(1, "vidcli-model")
        self._on_one_core = ThreadPoolExecutor(num_side_by_side, "vidcli-model", compute_alone)
        self._num_side_by_side = num_side_by_side
        # Unlike those of `predict`, they do not give way: where other programs keep the cores busy, threads
        # of a low priority would hold up every answer, and the interpreter's lock with it.
        self._loaders = ThreadPoolExecutor(num_loaders, "vidcli-load", compute_alone)
        self._loaded = threading.Semaphore(ahead + 1)
        self._lock = threading.Lock()
        self._max_waiting, self.num_waiting = max_waiting, 0
        self._num_done, self._busy_since, self._busy_seconds = 0, 0.0, 0.0

    def take_place(self, held: ExitStack) -> None:
        """Take a place in the queue, before anything of the request is read.

        Args:
            held: gives the place back when it is closed.

        Raises:
            HTTPException: 503, all places are taken; says when to try again.
        """
        with self._lock:
            if self.num_waiting >= self._max_waiting:
                busy_seconds = self._busy_seconds + time.perf_counter() - self._busy_since
                seconds = math.ceil(self.num_waiting * busy_seconds / max(1, self._num_done))
                text = f"{self.num_waiting} requests are waiting already; try again later"
                raise HTTPException(503, text, {"Retry-After": str(max(1, seconds))})
            if self.num_waiting == 0:
                self._busy_since = time.perf_counter()
            self.num_waiting += 1
        held.callback(self._leave)

    async def compute(
        self,
        load: Callable[[], Loaded],
        work: Callable[[Loaded, Callable[[], None]], Answer],
        held: ExitStack,
    ) -> Answer:
        """Return what `work` returns in a thread of the model.

        When the caller is cancelled, work that has not begun is dropped, and other work is told.

        Args:
            load: called in another thread, while the model computes other answers; gives what `work` needs.
            work: given what was loaded, and a function that raises `Abandoned` once nobody waits any more.
            held: what both need; it is closed when the work has ended or was dropped.
        """
        is_abandoned = threading.Event()

        def check() -> None:
            if is_abandoned.is_set():
                raise Abandoned

        def run(loaded: Loaded) -> Answer:
            check()
            return work(loaded, check)

        def load_and_run() -> Answer:
            check()
            return run(load())

        def load_first() -> Future[Answer]:
            self._loaded.acquire()
            with ExitStack() as undo:
                undo.callback(self._loaded.release)
                check()
                answer = self._on_all_cores.submit(run, load())
                answer.add_done_callback(lambda _: self._loaded.release())
                undo.pop_all()
            return answer

        def settle(loading: Future[Future[Answer]]) -> None:
            if loading.cancelled() or loading.exception() is not None:
                needed.close()
            else:
                loading.result().add_done_callback(lambda _: needed.close())

        needed = held.pop_all()
        try:
            if self._num_side_by_side > 1 and self.num_waiting > 1:
                alone = self._on_one_core.submit(load_and_run)
                alone.add_done_callback(lambda _: needed.close())
                return await asyncio.wrap_future(alone)
            loading = self._loaders.submit(load_first)
            loading.add_done_callback(settle)
            answer: Future[Answer] = await asyncio.wrap_future(loading)
            return await asyncio.wrap_future(answer)
        except asyncio.CancelledError:
            is_abandoned.set()
            raise

    def close(self) -> None:
        """Wait for the work that is being done, and drop the rest."""
        for threads in (self._loaders, self._on_one_core, self._on_all_cores):
            threads.shutdown(wait=True, cancel_futures=True)

    def _leave(self) -> None:
        with self._lock:
            self.num_waiting -= 1
            self._num_done += 1
            if self.num_waiting == 0:
                self._busy_seconds += time.perf_counter() - self._busy_since
