"""The threads of the model compute in order, and learn when nobody waits any more."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import torch

from vidcli.serve.model_threads import Abandoned, ModelThreads


def test_work_that_nobody_waits_for_is_told_and_gives_back_what_it_held() -> None:
    thread, told, is_closed = ModelThreads(1), threading.Event(), threading.Event()

    def work(loaded: int, check: Callable[[], None]) -> None:
        try:
            while True:
                check()
        except Abandoned:
            told.set()
            raise

    async def ask() -> None:
        with ExitStack() as held:
            thread.take_place(held)
            held.callback(is_closed.set)
            await asyncio.wait_for(thread.compute(lambda: 1, work, held), 0.5)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(ask())
    assert told.wait(10)
    assert is_closed.wait(10)
    thread.close()
    assert thread.num_waiting == 0


def test_an_error_of_the_work_reaches_its_request() -> None:
    thread = ModelThreads(1)

    def work(loaded: int, check: Callable[[], None]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), ExitStack() as held:
        asyncio.run(thread.compute(lambda: 1, work, held))
    thread.close()


def test_the_next_is_loaded_while_the_model_computes_and_no_more_than_may_wait() -> None:
    thread, loaded = ModelThreads(8, 2, 2), []

    async def ask(number: int) -> int:
        def load() -> int:
            loaded.append(number)
            return number

        def work(value: int, check: Callable[[], None]) -> int:
            if value == 0:
                until = time.monotonic() + 10
                while len(loaded) < 3 and time.monotonic() < until:
                    time.sleep(0.01)
                time.sleep(0.1)
                seen.extend(loaded)
            return value

        with ExitStack() as held:
            thread.take_place(held)
            return await thread.compute(load, work, held)

    async def ask_all() -> list[int]:
        return list(await asyncio.gather(*map(ask, range(6))))

    seen: list[int] = []
    assert asyncio.run(ask_all()) == list(range(6))
    assert len(seen) == 3  # the one that is computed, and two more
    thread.close()
    assert thread.num_waiting == 0


def test_an_error_of_loading_reaches_its_request_and_frees_its_place() -> None:
    thread = ModelThreads(1, 1, 0)

    def load() -> int:
        raise ZeroDivisionError

    async def ask() -> None:
        with ExitStack() as held:
            thread.take_place(held)
            await thread.compute(load, lambda loaded, check: loaded, held)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            asyncio.run(ask())
    thread.close()
    assert thread.num_waiting == 0


def test_answers_are_computed_side_by_side_where_several_wait_each_on_one_core() -> None:
    thread, both = ModelThreads(2, 2, 2, 2), threading.Barrier(2, timeout=10)

    by = set[int]()

    def work(loaded: int, check: Callable[[], None]) -> int:
        both.wait()  # breaks unless the other answer is computed at the same time
        assert threading.get_ident() in by  # the thread that loaded
        return torch.get_num_threads()

    def load() -> int:
        by.add(threading.get_ident())
        return 1

    async def ask_both() -> list[int]:
        async def ask() -> int:
            return await thread.compute(load, work, held)

        with ExitStack() as held:
            thread.take_place(held)
            thread.take_place(held)
            return await asyncio.gather(ask(), ask())

    assert asyncio.run(ask_both()) == [1, 1]
    thread.close()


def test_a_request_alone_has_all_cores() -> None:
    thread = ModelThreads(2, 2, 2, 2)

    async def ask() -> int:
        with ExitStack() as held:
            thread.take_place(held)
            return await thread.compute(lambda: 1, lambda loaded, check: torch.get_num_threads(), held)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert asyncio.run(ask()) == 3
    finally:
        torch.set_num_threads(before)
    thread.close()
