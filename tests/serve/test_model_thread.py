"""The model's thread computes in order, and learns when nobody waits any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from vidcli.serve.model_thread import Abandoned, ModelThread


def test_work_that_nobody_waits_for_is_told_and_gives_back_what_it_held() -> None:
    thread, told, is_closed = ModelThread(1), threading.Event(), threading.Event()

    def work(check: Callable[[], None]) -> None:
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
            await asyncio.wait_for(thread.compute(work, held), 0.05)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(ask())
    assert told.wait(10)
    assert is_closed.wait(10)
    thread.close()
    assert thread.num_waiting == 0


def test_an_error_of_the_work_reaches_its_request() -> None:
    thread = ModelThread(1)

    def work(check: Callable[[], None]) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), ExitStack() as held:
        asyncio.run(thread.compute(work, held))
    thread.close()
