"""The live line keeps what matters in a narrow terminal, and long work says what it took."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from vidcli.console import bars
from vidcli.console.bars import Part, Progressing, fit_parts
from vidcli.console.live_line import live_line
from vidcli.console.terminal import Terminal, Verbosity
from vidcli.console.training_view import TrainingView
from vidcli.train import CheckProgress, EpochDone, EpochRow, StepDone

STEP = StepDone(3, 7, 40, 1.234, 0.567, 1234.0, 3700.0, 0.42)


def terminal_of(width, verbosity=Verbosity.NORMAL):
    err = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, _environ={})
    return Terminal(Console(file=io.StringIO(), width=width), err, verbosity)


def line_of(width, shown):
    """Return what a console of that width is shown, its lines."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, _environ={})
    with live_line(console, shown):
        pass
    return [line for line in console.file.getvalue().replace("\r", "\n").splitlines() if shown.label in line]


@pytest.mark.parametrize("width", [30, 40, 50, 60, 80, 100, 200])
def test_epoch_and_time_left_are_seen_at_every_width(width):
    view = TrainingView(terminal_of(width), 30)
    view(STEP)
    (line, *_) = line_of(width, view._shown)
    assert "epoch 3/30" in line
    assert "1 h 01 min left" in line
    assert ("loss 1.234" in line) == (width >= 50)
    assert ("waiting 42%" in line) == (width >= 80)


def test_the_least_wanted_parts_go_first():
    parts = [Part("label", 0), Part("loss", 2), Part("acc", 3), Part("left", 1)]
    assert [part.text for part in fit_parts(parts, 22)] == ["label", "loss", "acc", "left"]
    assert [part.text for part in fit_parts(parts, 21)] == ["label", "loss", "left"]
    assert [part.text for part in fit_parts(parts, 11)] == ["label", "left"]
    assert [part.text for part in fit_parts(parts, 3)] == ["label"]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what a test adds to it."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_time_left_goes_by_the_work_of_this_run(clock):
    shown = Progressing("predicting", total=100)
    shown.update(50, 100)  # an earlier run's
    assert shown.seconds_left(0.0) is None
    shown.update(60, 100)
    assert shown.seconds_left(20.0) == pytest.approx(80)
    shown.begin("heads")
    shown.update(1, 10)
    assert shown.seconds_left(2.0) == pytest.approx(18)
    assert Progressing("reading").seconds_left(5.0) is None


def test_a_bar_shows_the_time_left_at_80_and_at_50_columns(clock):
    shown = Progressing("reading videos", total=342)
    shown.update(1, 342)
    clock[0] += 60
    shown.update(171, 342)
    for width in (80, 50):
        (line, *_) = line_of(width, shown)
        assert "reading videos" in line
        assert "171/342" in line
        assert "1 min 00 s left" in line


@pytest.mark.parametrize(
    ("seconds", "verbosity", "told"),
    [
        (48, Verbosity.NORMAL, "read 342 videos in 48 s\n"),
        (9, Verbosity.NORMAL, ""),
        (48, Verbosity.QUIET, ""),
    ],
)
def test_long_work_says_what_it_took(clock, seconds, verbosity, told):
    err = Console(file=io.StringIO(), width=80)
    terminal = Terminal(Console(file=io.StringIO()), err, verbosity)
    with terminal.counting("reading videos", past="read") as show:
        clock[0] += seconds
        show(342, 342)
    assert err.file.getvalue() == told


def test_work_that_fails_says_nothing_of_its_time(clock):
    err = Console(file=io.StringIO(), width=80)
    counting = Terminal(err, err, Verbosity.NORMAL).counting("x", past="read")

    def work():
        with counting:
            clock[0] += 100
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert err.file.getvalue() == ""


def test_each_work_of_a_run_says_what_it_took(clock):
    err = Console(file=io.StringIO(), width=80)
    row = EpochRow(1, 0.1, 1.0, 0.5, None, None, None)
    with TrainingView(Terminal(err, err, Verbosity.NORMAL), 1) as view:
        view(CheckProgress(1, 342))
        clock[0] += 48
        view(CheckProgress(342, 342))
        view(STEP)
        clock[0] += 3661
        view(EpochDone(row, best=True))
    lines = err.file.getvalue().splitlines()
    assert lines[0] == "read 342 videos in 48 s"
    assert lines[-1] == "trained 1 epoch in 1 h 01 min"
    assert bars.LONG_SECONDS == 10
