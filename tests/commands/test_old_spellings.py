"""`predict --timeline` and `predict --camera` are `timeline` and `live`, and no help names them."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.video import decode_frames


class _WithStdin:
    def __init__(self, stdin):
        self.stdin, self.platform = stdin, sys.platform


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


@pytest.fixture
def vidcli(run, in_tmp_path):
    def call(*args):
        command = [*(str(arg) for arg in args), "--model", str(run), "--device", "cpu"]
        return CliRunner().invoke(app, command, env={"COLUMNS": "100"})

    return call


@pytest.fixture(scope="module")
def video(write_video, tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("old") / "v.mkv", num_frames=30, height=32, width=32)


@pytest.mark.parametrize(
    "options",
    [
        ("--window", "1", "--step", "0.25", "--min-seconds", "0", "--format", "json"),
        ("--format", "srt", "--threshold", "0.9"),
        (),
    ],
)
def test_a_timeline_is_the_same(vidcli, video, options):
    old, new = vidcli("predict", video, "--timeline", *options), vidcli("timeline", video, *options)
    assert (old.exit_code, new.exit_code) == (0, 0), old.stderr + new.stderr
    assert old.stdout == new.stdout != ""
    assert old.stderr == new.stderr


def test_the_files_of_a_timeline_are_the_same(vidcli, video, in_tmp_path):
    for name, command in (("old", ("predict", "--timeline")), ("new", ("timeline",))):
        outputs = ("--output", f"{name}.csv", "--picture", f"{name}.png", "--annotate", f"{name}.mp4")
        result = vidcli(*command, video, *outputs)
        assert result.exit_code == 0, result.stderr
    for suffix in ("csv", "png"):
        assert (in_tmp_path / f"old.{suffix}").read_bytes() == (in_tmp_path / f"new.{suffix}").read_bytes()
    # The coded bytes differ a little from run to run, with the old spelling alone as well.
    old, new = (decode_frames(in_tmp_path / f"{name}.mp4").frames for name in ("old", "new"))
    assert old.shape == new.shape
    assert np.abs(old.astype(float) - new).mean() < 1


def test_a_live_answer_is_the_same(vidcli, video, monkeypatch):
    answers = []
    for command in (("predict", "--camera", "-"), ("live", "-")):
        with open(video) as stdin:
            monkeypatch.setattr("vidcli.video.live.source.sys", _WithStdin(stdin))
            result = vidcli(*command, "--window", "0.5", "--top-k", "2", "--keep-state", "--threshold", "0.7")
        assert result.exit_code == 0, result.stderr
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        answers.append([{name: row[name] for name in row if name != "delay"} for row in rows])
    assert answers[0] == answers[1] != []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a.mp4", "--camera", "0"], "--camera goes with --model"),
        (["--camera", "0", "--views", "3"], "--camera goes with --model"),
        (["--camera", "0", "--picture", "a.png"], "--camera goes with --model"),
        (["--camera", "0", "--timeline"], "--camera goes with --model"),
        (["--camera", "0", "--raw", "4x4@1"], "use it with `vidcli live -`"),
        (["--camera", "0", "--format", "csv"], "`vidcli live` shows a table or prints json"),
        (["-"], "a piped video is `vidcli live -`, piped names are --from-list -"),
        (["a.mp4", "--raw", "4x4@1"], "--raw and --keep-state belong to `vidcli live`"),
        (["a.mp4", "--keep-state"], "--raw and --keep-state belong to `vidcli live`"),
        (["a.mp4", "--step", "1"], "belong to `vidcli timeline`"),
        (["a.mp4", "--timeline", "--views", "3"], "do not go with --timeline"),
        (["--timeline"], "name videos, folders or manifests"),
    ],
)
def test_wrong_usage(vidcli, args, message):
    result = vidcli("predict", *args)
    assert result.exit_code == 2
    assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["timeline"], "name videos, folders or manifests"),
        (["timeline", "-"], "a piped video is `vidcli live -`, piped names are --from-list -"),
        (["timeline", "a.mp4", "--views", "3"], "No such option: --views"),
        (["timeline", "a.mp4", "--format", "parquet"], "'parquet' is not one of"),
        (["live", "0", "1"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_of_the_new_commands(vidcli, args, message):
    result = vidcli(*args)
    assert result.exit_code == 2
    assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


def test_the_help_of_predict_is_of_files_and_answers():
    shown = CliRunner().invoke(app, ["predict", "--help"], env={"COLUMNS": "200"}).stdout
    options = ("--timeline", "--window", "--step", "--min-seconds", "--picture", "--camera", "--raw")
    assert [option for option in (*options, "--keep-state", "srt", "vtt") if option in shown] == []
