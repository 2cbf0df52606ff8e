"""Signals end the process as Ctrl-C does: by an exception, so that what is half done is cleared away."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vidcli.runtime.files import temporary_file
from vidcli.runtime.signals import AskedToEnd, deferred, ended_by_exception, exit_code_of

SIGNALS = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


def interrupted_while_writing(folder: Path, signum: int) -> None:
    with ended_by_exception(), temporary_file(folder):
        assert list(folder.iterdir())
        signal.raise_signal(signum)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_clears_away_what_is_half_done(signum: signal.Signals, tmp_path: Path) -> None:
    usual = signal.getsignal(signum)
    with pytest.raises(AskedToEnd) as caught:
        interrupted_while_writing(tmp_path, signum)
    assert exit_code_of(caught.value) == 128 + signum
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signum) == usual


def test_ctrl_c_has_the_code_that_shells_give_it() -> None:
    assert exit_code_of(KeyboardInterrupt()) == exit_code_of(AskedToEnd(signal.SIGINT)) == 130
    assert exit_code_of(AskedToEnd(signal.SIGTERM)) == 143


@pytest.mark.parametrize("first", [signal.SIGINT, *SIGNALS])
@pytest.mark.parametrize("second", [signal.SIGINT, *SIGNALS])
def test_the_first_signal_waits_and_the_second_does_not(
    first: signal.Signals, second: signal.Signals
) -> None:
    noted: list[int] = []
    with deferred(noted.append):
        signal.raise_signal(first)
        assert noted == [first]
        with pytest.raises(AskedToEnd) as caught:
            signal.raise_signal(second)
    assert exit_code_of(caught.value) == 128 + second
    assert noted == [first]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP there")
def test_what_nohup_has_a_process_ignore_stays_ignored() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    noted: list[int] = []
    try:
        with ended_by_exception(), deferred(noted.append):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert noted == []


def test_other_threads_are_left_alone() -> None:
    outcome: list[object] = []

    def work() -> None:
        with deferred(outcome.append), ended_by_exception():
            outcome.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert outcome == [signal.getsignal(signal.SIGTERM)]


def test_a_system_without_these_signals_imports_it() -> None:
    script = "import signal; del signal.SIGHUP, signal.SIGTERM; import vidcli.runtime.signals"
    subprocess.run([sys.executable, "-c", script], check=True)
