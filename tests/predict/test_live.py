"""A live answer is what the model says of the same pictures as a clip; the command ends as it should."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.forks import Forked
from vidcli.commands.app import app
from vidcli.models import build_model
from vidcli.predict import Predictor
from vidcli.predict.live import can_keep_state, open_session
from vidcli.train import start_run
from vidcli.video import LiveFrame, decode_frames

CPU = torch.device("cpu")
NAMES = ("a", "b", "c")
LENGTH = 4


@pytest.fixture
def build(small_config):
    def build(**settings):
        torch.manual_seed(0)
        config = small_config(**{"clip__length": LENGTH, **settings})
        return Predictor(build_model(config.model, len(NAMES)), config, NAMES, CPU)

    return build


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)


def live_frames(pictures, moments=None):
    moments = range(len(pictures)) if moments is None else moments
    return [LiveFrame(p, m / 8, m, due=0.0, arrival=0.0) for p, m in zip(pictures, moments, strict=True)]


def offline(predictor, pictures):
    """The plain way: the pictures as one clip through the whole model."""
    clip_TCHW = predictor.views.transform.array(np.ascontiguousarray(pictures))
    return predictor.calibration.probabilities(predictor.classify(clip_TCHW[None]))


@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize(("head", "layers"), [("rnn", 1), ("lstm", 2), ("gru", 1), ("gru", 2)])
def test_a_state_that_goes_on_is_the_clip_of_all_pictures(build, pictures, head, layers, differences):
    predictor = build(model__head=head, model__layers=layers, model__frame_differences=differences)
    session = open_session(predictor, keeps_state=True, spacing_seconds=0.1)
    answers = []
    for count, frame in enumerate(live_frames(pictures), start=1):
        session.push([frame])
        answers.append(session.answer())
        np.testing.assert_allclose(answers[-1], offline(predictor, pictures[:count]), rtol=1e-4)
    assert len(np.unique(np.round(answers, 6), axis=0)) == len(pictures)


WINDOWS = [
    {"model__head": "gru"},
    {"model__head": "gru", "model__frame_differences": True},
    {"model__head": "gru", "model__bidirectional": True},
    {"model__head": "mean"},
    {"model__head": "attention", "model__frame_differences": True},
    {"model__head": "attention_rnn"},
    {"model__head": "transformer"},
    {"model__shift": "on", "model__frame_differences": True},
    {"clip__focus": 0.5},
]


@pytest.mark.parametrize("settings", WINDOWS)
def test_each_answer_is_the_clip_of_the_last_pictures(build, pictures, settings):
    predictor = build(**settings)
    session = open_session(predictor, keeps_state=False, spacing_seconds=0.1)
    for count, frame in enumerate(live_frames(pictures), start=1):
        session.push([frame])
        assert session.is_full == (count >= LENGTH)
        if session.is_full:
            expected = offline(predictor, pictures[count - LENGTH : count])
            np.testing.assert_allclose(session.answer(), expected, rtol=1e-4)


@pytest.mark.parametrize(("spacing", "steps"), [(0.1, 1), (0.125, 3)])
def test_a_model_that_follows_reads_the_last_moments_with_their_neighbours(build, spacing, steps):
    shown = np.random.default_rng(0).integers(0, 256, (4 * steps + 3, 48, 48, 3), dtype=np.uint8)
    predictor = build(clip__panels="window,follow", clip__size="64x32")
    session = open_session(predictor, False, spacing)
    assert session.steps == steps
    for count, frame in enumerate(live_frames(shown), start=1):
        session.push([frame])
        assert session.is_full == (count >= LENGTH * steps)
        if session.is_full:
            last = shown[count - LENGTH * steps : count]
            moments = range(steps // 2, len(last), steps)
            frames = np.stack([last[[max(0, m - 1), m, min(len(last) - 1, m + 1)]] for m in moments])
            np.testing.assert_array_equal(session.answer(), offline(predictor, frames))


@pytest.mark.parametrize("keeps_state", [False, True])
@pytest.mark.parametrize("differences", [False, True])
def test_a_moment_without_a_picture_is_held_by_the_one_before(build, pictures, keeps_state, differences):
    predictor = build(model__frame_differences=differences)
    session = open_session(predictor, keeps_state, spacing_seconds=0.1)
    session.push(live_frames(pictures[:3], [0, 3, 5]))
    shown = pictures[[0, 0, 0, 1, 1, 2]]
    expected = offline(predictor, shown if keeps_state else shown[-LENGTH:])
    np.testing.assert_allclose(session.answer(), expected, rtol=1e-4)


def test_each_picture_is_computed_once_and_a_held_one_not_at_all(build, pictures, monkeypatch):
    predictor = build(model__frame_differences=False)
    network, calls = predictor.network, []
    features = network.features
    monkeypatch.setattr(
        network, "features", lambda clip: calls.append(clip.shape[:2].numel()) or features(clip)
    )
    session = open_session(predictor, keeps_state=False, spacing_seconds=0.1)
    for frame in live_frames(pictures, [0, 1, 2, 3, 4, 5, 6, 9, 10, 900_000_000]):
        session.push([frame])
        session.answer()
    assert calls == [1] * len(pictures)


def test_a_short_video_is_held_to_a_clip(build, pictures):
    predictor = build()
    for keeps_state in (False, True):
        session = open_session(predictor, keeps_state, spacing_seconds=0.1)
        session.push(live_frames(pictures[:2]))
        session.fill()
        np.testing.assert_allclose(session.answer(), offline(predictor, pictures[[0, 1, 1, 1]]), rtol=1e-4)


def test_only_a_one_way_recurrence_over_single_frames_keeps_a_state(build):
    for settings in WINDOWS:
        is_able = settings.keys() <= {"model__head", "model__frame_differences"} and settings.get(
            "model__head", "gru"
        ) in ("rnn", "lstm", "gru")
        predictor = build(**settings)
        assert can_keep_state(predictor) == is_able
        if not is_able:
            with pytest.raises(ValueError, match="no one-way state"):
                open_session(predictor, keeps_state=True, spacing_seconds=0.1)


@pytest.fixture(scope="module")
def run(motion_data, small_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live") / "run"
    config = small_config(clip__sampling="dense", clip__stride_seconds=0.125)
    start_run(config, motion_data, folder, CPU, lambda event: None)
    return folder


@pytest.fixture(scope="module")
def video(write_video, tmp_path_factory):
    """20 pictures at 8 a second."""
    return write_video(tmp_path_factory.mktemp("live") / "v.mkv", num_frames=20, height=32, width=32)


def start(run, *args, **streams):
    command = ["-m", "vidcli", "live", "--model", run, "--device", "cpu", *args]
    return Forked(command, text=False, stderr=subprocess.PIPE, **streams)


def check_answers(out, run, video, keeps_state):
    """Hold what was printed against the same pictures, a clip at a time."""
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["video"] for row in rows} == {"standard input"}
    assert all(0 <= row["delay"] < 60 for row in rows)
    assert rows[-1]["dropped"] == 0
    predictor = Predictor.load(run, CPU)
    frames = decode_frames(video, None, predictor.views.transform.decode_size).frames
    assert [row["seconds"] for row in rows] == [number / 8 for number in range(LENGTH - 1, 20)]
    for row in rows:
        last = round(row["seconds"] * 8)
        expected = offline(predictor, frames[0 if keeps_state else last - LENGTH + 1 : last + 1])
        found = {best["label"]: best["probability"] for best in row["predictions"]}
        np.testing.assert_allclose([found[name] for name in predictor.class_names], expected, rtol=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="no cat there")
def test_a_piped_file_is_answered_as_its_clips_are(run, video):
    with subprocess.Popen(["cat", video], stdout=subprocess.PIPE) as cat:
        process = start(run, "-", "--top-k", "99", stdin=cat.stdout, stdout=subprocess.PIPE)
        cat.stdout.close()
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    check_answers(out, run, video, keeps_state=False)
    assert b"standard input: 17 answers" in err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT there")
def test_ctrl_c_ends_a_pipe_that_goes_on(run):
    process = start(run, "-", "--raw", "32x32@8", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(bytes(32 * 32 * 3 * 5))
    assert json.loads(process.stdout.readline())["seconds"] == 0.375
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - started < 30
    assert re.search(rb"standard input: [12] answers?\n$", err)
    assert b"Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="no such pipes there")
def test_a_reader_that_leaves_ends_it_quietly(run):
    process = start(run, "-", "--raw", "32x32@8", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(bytes(32 * 32 * 3 * 5))
    process.stdout.readline()
    process.stdout.close()
    try:
        for _ in range(200):
            process.stdin.write(bytes(32 * 32 * 3))
            time.sleep(0.01)
    except BrokenPipeError:
        pass
    process.stdin.close()
    assert process.wait(timeout=60) == 141
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.fixture
def pipe(monkeypatch):
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "r") as stdin, os.fdopen(write_end, "wb") as writer:
        yield stdin, writer


def invoke(monkeypatch, run, stdin, *args):
    """Run the command in this process, with a real file as its standard input."""
    # The runner replaces sys.stdin by one that is no file.
    monkeypatch.setattr("vidcli.video.live.source.sys", _WithStdin(stdin))
    command = ["live", "--model", str(run), "--device", "cpu", *args]
    return CliRunner().invoke(app, command, env={"COLUMNS": "100"})


class _WithStdin:
    def __init__(self, stdin):
        self.stdin, self.platform = stdin, sys.platform


def test_a_line_an_answer_where_a_table_goes_to_no_terminal(monkeypatch, run, pipe):
    stdin, writer = pipe
    writer.write(bytes(32 * 32 * 3 * 6))
    writer.close()
    result = invoke(monkeypatch, run, stdin, "-", "--raw", "32x32@8", "--format", "table")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r" +0\.38 s  \S+ +0\.\d{3} [█─]{12}  delay +\d+ ms  \S+ 0\.\d\d, .*", lines[0])
    assert "standard input: a picture every 0.125 s, answers of the last 0.5 s" in result.stderr


def test_a_state_goes_on_through_a_pipe(monkeypatch, run, video):
    with open(video) as stdin:
        result = invoke(monkeypatch, run, stdin, "-", "--keep-state", "--top-k", "99")
    assert result.exit_code == 0, result.output
    check_answers(result.stdout, run, video, keeps_state=True)


def test_unknown_and_a_pipe_of_one_picture(monkeypatch, run, pipe):
    stdin, writer = pipe
    writer.write(bytes(32 * 32 * 3))
    writer.close()
    result = invoke(monkeypatch, run, stdin, "-", "--raw", "32x32@8", "--threshold", "1")
    assert result.exit_code == 0, result.output
    (row,) = map(json.loads, result.stdout.splitlines())
    assert row["unknown"] is True
    assert row["seconds"] == 0


@pytest.mark.parametrize("content", [b"", b"rubbish" * 9999])
def test_a_pipe_that_is_no_video_fails_with_its_reason(monkeypatch, run, pipe, content):
    stdin, writer = pipe
    with writer:
        writer.write(content[:60_000])
    result = invoke(monkeypatch, run, stdin, "-")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "error: standard input: " in result.stderr
    assert "answers\n" not in result.stderr


def test_no_camera(monkeypatch, run):
    result = invoke(monkeypatch, run, None, "973")
    assert result.exit_code == 1
    assert "error: /dev/video973: no such camera" in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["0", "--views", "3"], "No such option: --views"),
        (["0", "--raw", "4x4@1"], "use it with `vidcli live -`"),
        (["-", "--raw", "4x4"], "expected WIDTHxHEIGHT@FPS"),
        (["0", "--format", "csv"], "'csv' is not one of 'table', 'json'"),
    ],
)
def test_wrong_usage(monkeypatch, run, args, message):
    result = invoke(monkeypatch, run, None, *args)
    assert result.exit_code == 2
    assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


def test_a_state_that_the_model_does_not_have(monkeypatch, small_config, tmp_path, motion_data):
    config = small_config(model__head="mean")
    start_run(config, motion_data, tmp_path / "run", CPU, lambda event: None)
    result = invoke(monkeypatch, tmp_path / "run", None, "0", "--keep-state")
    assert result.exit_code == 2
    assert "--keep-state: this model has no state" in result.stderr
