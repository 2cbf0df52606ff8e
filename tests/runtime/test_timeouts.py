"""A call that takes too long is abandoned; every other call behaves as if it were made directly."""

from __future__ import annotations

import threading

import pytest

from vidcli.runtime.timeouts import StillRunning, call_with_timeout


def ignore() -> None:
    """Take note of giving up, and do nothing."""


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_a_call_in_time_returns_or_raises_what_the_function_does(seconds: float | None) -> None:
    error = KeyError("mine")

    def fail() -> None:
        raise error

    assert call_with_timeout(lambda: 3, seconds, ignore) == 3
    with pytest.raises(KeyError) as caught:
        call_with_timeout(fail, seconds, ignore)
    assert caught.value is error


def test_a_late_call_is_abandoned_and_told_so() -> None:
    given_up, has_ended = threading.Event(), threading.Event()

    def wait() -> None:
        given_up.wait()
        has_ended.set()

    with pytest.raises(StillRunning):
        call_with_timeout(wait, 0.05, given_up.set)
    assert has_ended.wait(5)


def test_calls_run_on_daemon_threads_that_are_reused() -> None:
    threads = {call_with_timeout(threading.current_thread, 5.0, ignore) for _ in range(20)}
    assert threading.current_thread() not in threads
    assert all(thread.daemon for thread in threads)
    assert len(threads) < 20
