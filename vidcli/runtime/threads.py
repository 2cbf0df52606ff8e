"""Work in threads: a function over many inputs in order, and an iterable that is advanced ahead of its use.

PyAV, NumPy and torch release the interpreter lock while they work, so that threads decode and scale on
several cores without the copies and the start-up time of processes.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from vidcli.runtime.launcher import num_local_processes
from vidcli.runtime.signals import leaving

Input = TypeVar("Input")
Output = TypeVar("Output")
Value = TypeVar("Value")

_NICENESS = 10
"""How much lower the priority of a thread is that gives way: it gets a tenth of the time of others."""

_POLL_SECONDS = 0.1
_LEAVE_SECONDS = 10.0

_setting_threads = threading.Lock()


def num_workers(configured: int) -> int:
    """Return the number of threads that load videos.

    Args:
        configured: number that the settings ask for; 0 means one a core, of which the processes that
            torchrun started on one machine have an equal share each.
    """
    if configured:
        return configured
    # The affinity mask knows of job schedulers' limits; macOS and Windows have none.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // num_local_processes())


def num_computing_threads() -> int:
    """Return the number of threads that compute one operation: torch's, also where torch is not imported."""
    if (torch := _torch()) is not None:
        return int(torch.get_num_threads())
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        count = os.environ.get(name, "").split(",")[0].strip()
        if count.isdecimal() and int(count):
            return min(int(count), _num_cores(range(os.cpu_count() or 1)))
    # macOS and Windows have no affinity mask.
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return _num_cores(usable)


def _num_cores(processors: Iterable[int]) -> int:
    """Return on how many cores logical processors lie, of which two may share one."""
    return len({_siblings(number) for number in processors})


def _siblings(number: int) -> str:
    """Return what is the same of all logical processors of a core."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list").read_text(
            encoding="ascii"
        )
    except OSError:
        return str(number)


def _torch() -> ModuleType | None:
    """Return torch if something has imported it; without it, nothing computes that would use its threads."""
    if "torch" not in sys.modules:
        return None
    import torch  # waits until a thread that is importing it has done so

    return torch


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Give this thread its scheduling back afterwards, and the threads that it will start.

    As root, the encoder SVT-AV1 gives the thread that calls it a real-time priority, which starves others.
    """
    if not hasattr(os, "sched_getscheduler"):  # macOS and Windows
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != before[0]:
            os.sched_setscheduler(0, *before)


def map_ahead(
    function: Callable[[Input], Output],
    inputs: Iterable[Input],
    workers: int,
    ahead: int,
    gives_way: bool = False,
) -> Generator[Output, None, None]:
    """Yield `function(input)` in order, computing up to `ahead` results before they are asked for.

    An error of `function` is raised where its result would have come. Leaving the iterator early
    drops the work that has not begun.

    Args:
        function: called in threads, with one input each time.
        inputs: read only as far as results are computed.
        workers: number of threads.
        ahead: number of results that may be waiting or in work.
        gives_way: run the threads at a lower priority, because a model computes on the same cores.
    """
    executor = ThreadPoolExecutor(workers, "vidcli-load", compute_alone, (gives_way,))
    pending: deque[Future[Output]] = deque()
    try:
        for value in inputs:
            pending.append(executor.submit(function, value))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except KeyboardInterrupt:
        leaving.set()  # what the threads wait for is not wanted any more
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        leaving.clear()


def compute_alone(gives_way: bool = False) -> None:
    """Let torch use one core for operations of the calling thread, and as many as before for other threads.

    Many threads load clips at once. If each of them used all cores for every operation, they would wait
    for one another, and delay the threads of the model.

    Args:
        gives_way: also lower the priority of the thread. The threads of a model wait for the slowest of
            them, while clips that are being loaded are not needed yet. This has an effect on Linux only,
            where each thread has a priority of its own.
    """
    if gives_way and sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)
    torch = _torch()
    if torch is None:
        return
    with _setting_threads:
        # Read first: in a thread that never asked for the number, a later change would be lost.
        usual = torch.get_num_threads()
        torch.set_num_threads(1)
        # The line above also set the number for threads that start later; another thread resets that.
        with ThreadPoolExecutor(1) as other:
            other.submit(torch.set_num_threads, usual).result()


@contextmanager
def computing_alone() -> Iterator[None]:
    """Within this, let torch use one core for operations of this thread: see `compute_alone`."""
    torch = _torch()
    usual = 1 if torch is None else torch.get_num_threads()
    # One is such as in a thread that computes alone: its number is not for threads that start later.
    if torch is None or usual == 1:
        yield
        return
    compute_alone()
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def run_ahead(
    values: Iterable[Value], depth: int, patience_seconds: float | None = None
) -> Generator[Value, None, None]:
    """Yield the values of an iterable that a thread advances, at most `depth` of them waiting.

    An error of the iterable is raised where its value would have come. Leaving the generator early stops
    the thread before the next value and waits up to 10 seconds for it to end.

    Args:
        values: iterable that the thread advances.
        depth: number of values that may wait to be taken.
        patience_seconds: longest time to wait for a value, in seconds; None means no bound.

    Raises:
        TimeoutError: no value came in time; the thread is left running.
    """
    waiting: queue.Queue[tuple[str, object]] = queue.Queue(depth)
    is_left = threading.Event()
    thread = threading.Thread(
        target=_advance, args=(values, waiting, is_left), name="vidcli-ahead", daemon=True
    )
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


def _advance(
    values: Iterable[object], waiting: queue.Queue[tuple[str, object]], is_left: threading.Event
) -> None:
    """Put the values of an iterable into a queue, and then its end or its error, until nobody wants them."""

    def put(kind: str, value: object) -> bool:
        while not is_left.is_set():
            try:
                waiting.put((kind, value), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    iterator = iter(values)
    try:
        for value in iterator:
            if not put("value", value):
                break
        else:
            put("end", None)
    except BaseException as error:  # raised again by the thread that waits for the value
        put("error", error)
    finally:
        if isinstance(iterator, Generator):
            iterator.close()
