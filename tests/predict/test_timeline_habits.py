"""A timeline chooses its windows, tells as it goes, and keeps what is done when it is interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.forks import Forked
from vidcli.commands.app import app
from vidcli.errors import VideoError
from vidcli.models import build_model
from vidcli.predict import Predictor
from vidcli.predict.timeline import TimelineWork
from vidcli.predict.window_plan import MAX_WINDOWS, WindowPlan, choose_plan, plan_windows
from vidcli.runtime.signals import AskedToEnd

CPU = torch.device("cpu")
NAMES = ("a", "b", "c")
PLAN = WindowPlan(8, 2, 0.125)


@pytest.fixture(scope="module")
def long_video(write_video, tmp_path_factory):
    """11.5 s at 8 frames a second."""
    return write_video(tmp_path_factory.mktemp("long") / "long.mp4", num_frames=92)


@pytest.fixture
def predictor(small_config):
    torch.manual_seed(0)
    config = small_config(clip__length=8, model__shift="on")
    return Predictor(build_model(config.model, len(NAMES)), config, NAMES, CPU)


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 7, 8, 13, 16, 64])
@pytest.mark.parametrize("clip_seconds", [0.04, 0.29, 1.0, 8.0])
@pytest.mark.parametrize("duration", [0.1, 5.75, 139.0, 3600.0, 90_000.0])
def test_no_video_takes_more_windows_than_the_budget(length, clip_seconds, duration):
    plan = choose_plan(length, clip_seconds, duration)
    assert duration / plan.cell_seconds <= MAX_WINDOWS * (1 + 1e-9)
    assert plan.window_seconds >= clip_seconds * (1 - 1e-9)
    assert length % plan.step == 0
    usual = plan_windows(length, clip_seconds)
    if duration / usual.cell_seconds <= MAX_WINDOWS:
        assert plan == usual
    elif plan.window_seconds > clip_seconds * 1.001:
        # Windows grow only where those that do not overlap are too many, and no more than they must.
        assert duration / clip_seconds > MAX_WINDOWS
        assert duration / plan.cell_seconds > 0.9 * MAX_WINDOWS


def test_windows_are_round_numbers_that_can_be_asked_for():
    assert choose_plan(8, 0.29, 139.0) == WindowPlan(8, 8, 0.29 / 8)
    plan = choose_plan(8, 2.0, 7201.0)
    assert f"{plan.window_seconds:.3g}" == "13"
    assert choose_plan(8, 2.0, 120.0) == plan_windows(8, 2.0)


# --- what is told when ----------------------------------------------------------------------------


def test_segments_are_told_before_the_end_and_are_those_of_the_end(predictor, long_video):
    events = []
    work = TimelineWork(predictor, long_video, PLAN, 0.25)
    work.run(
        lambda segment: events.append(("segment", segment)), lambda done, all: events.append(("at", done))
    )
    early = [value for kind, value in events if kind == "segment"]
    timeline = work.finish(lambda segment: events.append(("last", segment)))
    late = [value for kind, value in events if kind == "last"]
    assert tuple(early + late) == timeline.segments
    assert timeline.covered_seconds is None
    assert len(late) >= 1
    if early:  # long before the last frame
        assert events.index(("segment", early[0])) < len(events) - len(late) - 2


@pytest.mark.parametrize("at", [1, 2, 7, 20])
@pytest.mark.parametrize("kind", [KeyboardInterrupt(), AskedToEnd(signal.SIGTERM)])
def test_what_is_done_is_kept_and_is_as_it_would_have_been(predictor, long_video, monkeypatch, at, kind):
    whole = TimelineWork(predictor, long_video, PLAN, 0.25)
    whole.run()
    expected = whole.finish()
    calls = []
    classify = predictor.classify

    def interrupted(clip):
        calls.append(clip)
        if len(calls) > at:
            raise kind
        return classify(clip)

    monkeypatch.setattr(predictor, "classify", interrupted)
    work, told = TimelineWork(predictor, long_video, PLAN, 0.25), []
    with pytest.raises(KeyboardInterrupt):
        work.run(told.append)
    timeline = work.finish(told.append)
    assert timeline.covered_seconds == at * PLAN.cell_seconds
    np.testing.assert_array_equal(timeline.probabilities_NK, expected.probabilities_NK[:at])
    assert tuple(told) == timeline.segments
    assert timeline.segments[-1].end_seconds == timeline.covered_seconds
    assert timeline.duration_seconds == expected.duration_seconds


def test_nothing_done_is_no_error(predictor, long_video, monkeypatch):
    monkeypatch.setattr(predictor, "classify", lambda clip: (_ for _ in ()).throw(KeyboardInterrupt()))
    work = TimelineWork(predictor, long_video, PLAN, 0.25)
    with pytest.raises(KeyboardInterrupt):
        work.run()
    timeline = work.finish()
    assert timeline.segments == ()
    assert timeline.covered_seconds == 0


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


@pytest.fixture
def timeline(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*args, interrupt_at=None):
        if interrupt_at is not None:
            take = TimelineWork._add
            count = []

            def interrupted(*given):
                take(*given)
                count.append(given)
                if len(count) == interrupt_at:
                    signal.raise_signal(signal.SIGINT)

            monkeypatch.setattr(TimelineWork, "_add", interrupted)
            monkeypatch.setattr(
                "vidcli.predict.timeline._CHUNK_BYTES", 1
            )  # four frames, and windows, at once
        command = ["timeline", *(str(arg) for arg in args), "--model", str(run)]
        return CliRunner().invoke(app, [*command, "--device", "cpu"], env={"COLUMNS": "80"})

    return call


def test_windows_are_told_and_why(timeline, long_video, monkeypatch):
    result = timeline(long_video)
    assert "windows of 0.667 s, one every 0.167 s; each frame computed once; as long as the" in result.stderr
    monkeypatch.setattr("vidcli.predict.window_plan.MAX_WINDOWS", 10)
    result = timeline(long_video)
    assert "windows of 1.2 s, one every 1.2 s;" in result.stderr
    assert "10 at most, unless asked for: --window 0.667, as long as the clips" in result.stderr
    assert "that the model learnt, makes 69\n" in result.stderr
    asked = timeline(long_video, "--window", "0.5", "--step", "0.0625")
    assert asked.stderr.startswith("windows of 0.5 s, one every 0.125 s; each frame computed once\n")


def test_it_says_how_long_it_will_take(timeline, long_video, monkeypatch):
    clock = [0.0]

    def tick():
        clock[0] += 3.0
        return clock[0]

    monkeypatch.setattr("vidcli.commands.timeline.time.monotonic", tick)
    monkeypatch.setattr("vidcli.predict.timeline._CHUNK_BYTES", 1)
    result = timeline(long_video, "--window", "1")
    assert re.search(r"^about \d+ min for 12 s of video$", result.stderr, re.MULTILINE)
    assert result.stderr.count("of video\n") == 1
    assert "looked at 12 seconds in" in result.stderr


@pytest.mark.parametrize("form", ["json", "csv", "srt", "vtt", "table"])
def test_a_file_holds_what_was_done_before_ctrl_c(timeline, long_video, tmp_path, form):
    given = (long_video, "--window", "1", "--min-seconds", "0.2", "--format", form)
    result = timeline(*given, "--output", "part", interrupt_at=3)
    assert result.exit_code == 130, result.stderr
    assert "interrupted; the segments cover its first 2.2 s of 11.5 s" in result.stderr
    text = (tmp_path / "part").read_text()
    if form == "json":
        told = json.loads(text)
        assert told["covered_seconds"] == told["segments"][-1]["end"] == 2.25
        assert told["duration"] == 11.5
    elif form == "csv":
        rows = [line.split(",") for line in text.splitlines()]
        assert rows[-1][1:] == ["2.25", "11.5", "", "", "interrupted before this was looked at", ""]
        assert rows[-2][2] == "2.25"
    elif form == "table":
        assert "00:00:02.25" in text
        assert text.rstrip().endswith("┘")
    else:
        assert "00:00:02.250".replace(".", "," if form == "srt" else ".") in text


def test_the_first_video_of_several_is_kept_whole(timeline, long_video, tmp_path):
    result = timeline(long_video, long_video, "--window", "1", "--format", "json", interrupt_at=16)
    assert result.exit_code == 130
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert "covered_seconds" not in first
    assert first["segments"][-1]["end"] == 11.5
    assert 0 < second["covered_seconds"] < 11.5


def test_what_failed_half_way_is_named_and_what_was_told_before_stays(timeline, long_video, monkeypatch):
    take, count = TimelineWork._add, []

    def damaged(self, *given):
        take(self, *given)
        count.append(given)
        if len(count) == 5:
            raise VideoError(long_video, "is damaged")

    monkeypatch.setattr(TimelineWork, "_add", damaged)
    monkeypatch.setattr("vidcli.predict.timeline._CHUNK_BYTES", 1)
    result = timeline(long_video, "--window", "1", "--format", "csv")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1].endswith(",,,,,is damaged,")


@pytest.mark.skipif(os.name != "posix", reason="signals of other processes are POSIX's")
def test_sigterm_ends_with_its_code_and_keeps_what_is_done(run, write_video, tmp_path):
    video = write_video(tmp_path / "v.mp4", num_frames=4000)
    command = ["-m", "vidcli", "timeline", video, "--model", run]
    command += ["--window", "1", "--step", "0.125", "--min-seconds", "0", "--output", "t.csv"]
    process = Forked(command, cwd=tmp_path, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    path = tmp_path / "t.csv"
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_text().count("\n") > 1:
            break
        time.sleep(0.02)
    process.terminate()
    _, told = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the machine was faster than the signal")
    assert process.returncode == 143
    assert "interrupted; the segments cover its first" in told
    assert path.read_text().endswith("interrupted before this was looked at,\n")
