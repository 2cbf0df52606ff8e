"""`vidcli eval --timeline`: recordings against their labelled spans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


@pytest.fixture
def data(motion_data, write_video, in_tmp_path):
    """A manifest of spans of two recordings of 8 s, of which one is labelled to its end."""
    for name in ("day1.mp4", "day2.mp4"):
        write_video(in_tmp_path / name, num_frames=64)
    rows = ["path,label,start,end", "day1.mp4,left,0,2", "day1.mp4,right,3,6", "day2.mp4,up,1,"]
    (in_tmp_path / "days.csv").write_text("\n".join(rows) + "\n")
    return in_tmp_path / "days.csv"


def evaluate(*args):
    return CliRunner().invoke(app, ["eval", *map(str, args), "--device", "cpu"])


def test_recordings_are_scored_and_drawn(run, data):
    result = evaluate(data, "--model", run, "--timeline", "--json")
    assert result.exit_code == 0, result.stderr
    numbers = json.loads(result.stdout)
    assert numbers["num_recordings"] == 2
    assert numbers["labelled_seconds"] == pytest.approx(12.0, abs=0.2)
    assert 0 <= numbers["frame_accuracy"] <= 1
    assert len(numbers["frame_accuracy_interval"]) == 2
    assert {row["label"] for row in numbers["per_class"]} == set(numbers["class_names"])
    assert sum(row["num_true"] for row in numbers["per_class"]) == 3
    folder = run / "timeline-test-days"
    assert json.loads((folder / "eval.json").read_text()) == numbers
    assert sorted(path.name for path in folder.glob("*.png")) == ["recording-01.png", "recording-02.png"]
    header, first = (folder / "segments.csv").read_text().splitlines()[:2]
    assert header == "video,start,end,label,confidence,error,track"
    assert "day1.mp4,0.0," in first
    assert not (run / "eval-test-days").exists()
    again = evaluate(data, "--model", run, "--timeline", "--window", "1")  # its own files are replaced
    assert again.exit_code == 0, again.stderr
    for title in (
        "frame accuracy",
        "segmental F1@50",
        "mAP@0.3 to 0.7",
        "bouts missed",
        "always the largest",
    ):
        assert title in again.stdout


def test_a_broken_recording_counts_as_wrong(run, data):
    (data.parent / "day1.mp4").write_bytes(b"no video")
    result = evaluate(data, "--model", run, "--timeline", "--json", "--out", "out")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["num_failed"] == 1
    assert "counted as wrong: day1.mp4" in result.stderr.replace(f"{data.parent}/", "")
    assert sorted(path.name for path in Path("out").glob("*.png")) == ["recording-02.png"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--timeline", "--against", "run"), "--against: compares answers to single spans"),
        (("--timeline", "--views-sweep"), "--views-sweep: compares answers to single spans"),
        (("--timeline", "--split", "best"), "--split best: expected train, val, test or all"),
        (("--window", "2"), "--window: is that of a timeline; give --timeline too"),
    ],
)
def test_options_that_do_not_go_together(arguments, told, run, data):
    result = evaluate(data, "--model", run, *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())


def test_several_processes_are_refused(run, data, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = evaluate(data, "--model", run, "--timeline")
    assert result.exit_code == 2
    assert "run it in one process" in result.stderr
