"""Results of threads come in order, errors in their place, and leaving early leaves no thread behind."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vidcli.errors import VideoError
from vidcli.runtime.threads import (
    compute_alone,
    computing_alone,
    map_ahead,
    num_workers,
    run_ahead,
    scheduling_kept,
)


def test_number_of_workers() -> None:
    assert num_workers(3) == 3
    assert num_workers(0) >= 1


# --- built-in videos ------------------------------------------------------------------------------


def test_results_come_in_order_whichever_is_done_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(map_ahead(work, range(20), workers=4, ahead=8)) == [number * number for number in range(20)]


def test_no_more_is_computed_than_was_asked_for() -> None:
    begun: list[int] = []
    results = map_ahead(lambda number: begun.append(number), range(100), workers=2, ahead=3)
    next(results)
    results.close()
    assert len(begun) <= 4


def test_an_error_comes_where_its_result_would_have() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise VideoError("x.mp4", "is broken")
        return number

    results = map_ahead(work, range(10), workers=2, ahead=5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(VideoError, match="is broken"):
        next(results)
    assert list(results) == []


def test_leaving_early_stops_the_threads() -> None:
    before = set(threading.enumerate())
    results = map_ahead(lambda number: time.sleep(0.01), range(1000), workers=3, ahead=900)
    next(results)
    assert set(threading.enumerate()) - before
    start = time.perf_counter()
    results.close()
    assert set(threading.enumerate()) <= before
    assert time.perf_counter() - start < 2  # 900 of them were waiting: 3 seconds


@pytest.mark.parametrize("gives_way", [False, True])
def test_threads_that_load_compute_alone_and_others_as_before(gives_way: bool) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:

        def ask(number: int) -> tuple[int, int]:
            return torch.get_num_threads(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        own = os.getpriority(os.PRIO_PROCESS, 0)
        lowered = gives_way and sys.platform == "linux"
        found = set(map_ahead(ask, range(8), workers=3, ahead=8, gives_way=gives_way))
        assert found == {(1, min(19, own + 10) if lowered else own)}
        assert torch.get_num_threads() == 3
        assert os.getpriority(os.PRIO_PROCESS, 0) == own
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_values_come_in_order_and_no_more_than_the_depth_ahead() -> None:
    taken = []

    def values() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    seen = []
    for value in run_ahead(values(), 2):
        seen.append(value)
        assert len(taken) <= len(seen) + 4  # two wait, one is being made, one is being put
    assert seen == list(range(20))


def test_an_error_comes_where_its_value_would_have() -> None:
    def values() -> Iterator[int]:
        yield 1
        raise VideoError("v.mp4", "is damaged")

    ahead = run_ahead(values(), 5)
    assert next(ahead) == 1
    with pytest.raises(VideoError, match="is damaged"):
        next(ahead)


def test_leaving_early_closes_the_iterable() -> None:
    closed = threading.Event()

    def values() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = run_ahead(values(), 2)
    next(ahead)
    time.sleep(0.05)
    ahead.close()
    assert closed.is_set()


def test_a_value_that_does_not_come_is_not_waited_for_for_ever() -> None:
    released = threading.Event()

    def values() -> Iterator[int]:
        yield 1
        released.wait()

    ahead = run_ahead(values(), 2, patience_seconds=0.2)
    assert next(ahead) == 1
    with pytest.raises(TimeoutError):
        next(ahead)
    released.set()


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no such call there")
def test_an_encoder_leaves_the_scheduling_of_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary, given_back = (os.SCHED_OTHER, os.sched_getparam(0)), []
    found = iter([os.SCHED_OTHER, os.SCHED_FIFO])
    monkeypatch.setattr(os, "sched_getscheduler", lambda thread: next(found))
    monkeypatch.setattr(os, "sched_setscheduler", lambda thread, *kind: given_back.append(kind))
    with scheduling_kept():
        pass
    assert given_back == [ordinary]


def test_a_thread_that_computes_alone_is_given_its_cores_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with computing_alone():
            assert torch.get_num_threads() == 1
            with ThreadPoolExecutor(1) as other:
                assert other.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_a_thread_that_computes_alone_leaves_is_not_for_threads_that_start_later() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    def compute() -> None:
        with computing_alone():
            pass

    try:
        with ThreadPoolExecutor(1, initializer=compute_alone) as alone:
            alone.submit(compute).result()
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(before)
