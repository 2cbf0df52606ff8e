"""The demo of long recordings: from nothing to scores of timelines."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.data.manifest import load_items
from vidcli.synthetic import LongRecordingOptions

QUICK = [
    *("data.max_clips=30", "clip.length=8", "clip.stride_seconds=0.1", "clip.size=32", "train.epochs=1"),
    *("model.streams=off", "model.backbone=simple_cnn", "model.pretrained=false", "model.width=16"),
    *("train.optimizer=adamw", "train.plots=false", "train.batch_size=8", "train.tracker=none"),
]


def run(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "120"})


def test_the_demo_makes_recordings_and_scores_timelines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(LongRecordingOptions, size=(32, 32), fps=10)
    monkeypatch.setattr("vidcli.synthetic.LongRecordingOptions", small)
    monkeypatch.setattr("vidcli.train.temporal_training._STEPS", 20)
    monkeypatch.setattr("vidcli.train.temporal_training._CHANNELS", 16)
    monkeypatch.chdir(tmp_path)
    settings = [part for setting in QUICK for part in ("--set", setting)]
    usual = ["--keep", "long", "--out", "runs/long", "--device", "cpu"]
    result = run("demo", "--long", "--recordings", 3, "--minutes", 0.5, *usual, *settings)
    assert result.exit_code == 0, result.stderr
    assert len({item.path for item in load_items("long/labels.csv")}) == 3
    for text in (
        "frame accuracy",
        "segmental F1@50",
        "1 recordings, 30 s labelled",
        "vidcli eval --timeline",
    ):
        assert text in result.stdout
    assert "validation recordings F1@50" in result.stderr
    assert Path("runs/long/timeline-test/segments.csv").is_file()
    # The spans of a run, not its clips, are what timelines are compared with; of new data the gaps are rest.
    again = run("eval", "long/labels.csv", "--timeline", "--model", "runs/long", "--split", "val", "--json")
    assert again.exit_code == 0, again.stderr
    # The second subject of that recording is away for 6 s.
    assert json.loads(again.stdout)["unlabelled_seconds"] == pytest.approx(6, abs=0.3)
    assert "that nobody labelled are rest" in again.stderr
    usual = ["--boxes", "long/boxes.csv", "--model", "runs/long", "--format", "csv"]
    told = run("timeline", "long/recording_02.mp4", *usual)
    assert told.exit_code == 0, told.stderr
    assert {line.rpartition(",")[2] for line in told.stdout.splitlines()} == {"track", "a", "b"}
    assert "windows of 0.8 s, one every 0.1 s; each frame computed once; as the clips" in told.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--long", "--count", 3], "--count does not go with --long"),
        (["--long", "--length", 9], "--length does not go with --long"),
        (["--recordings", 4], "--recordings goes with --long"),
        (["--minutes", 4], "--minutes goes with --long"),
        (["--long", "--recordings", 2], "--recordings"),
    ],
)
def test_options_of_the_other_demo_are_refused(args: list[object], told: str) -> None:
    result = run("demo", *args)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())
