"""Bouts of a timeline: counted, measured, and in which order they come."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.commands.app import app
from vidcli.config import load_config
from vidcli.models import build_model
from vidcli.predict.bouts import COLUMNS, bout_rows, bouts_text
from vidcli.predict.segments import Segment, Timeline

NAMES = ("a", "b", "=c")


def timeline(*segments: tuple[float, float, str], covered: float | None = None, video: str = "v") -> Timeline:
    made = tuple(Segment(*one, 0.9) for one in segments)
    return Timeline(video, NAMES, 1.0, 60.0, np.zeros((60, 3)), made, covered_seconds=covered)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_bouts_are_counted_and_measured() -> None:
    made = timeline((0.0, 5.0, "b"), (5.0, 6.0, "a"), (6.0, 16.0, "b"), (16.0, 19.0, "a"), (19.0, 60.0, "b"))
    first, second, third = rows_of(bouts_text([made]))
    assert tuple(first) == (*COLUMNS, "then a", "then b", "then =c")
    assert (first["label"], first["bouts"], float(first["total_seconds"])) == ("a", "2", 4.0)
    assert (float(first["mean_seconds"]), float(first["median_seconds"])) == (2.0, 2.0)
    assert (float(first["latency_seconds"]), float(first["bouts_per_minute"])) == (5.0, 2.0)
    assert float(first["share_of_time"]) == pytest.approx(4 / 60)
    assert (first["then a"], first["then b"], second["then a"], second["then b"]) == ("0", "2", "2", "0")
    assert (float(second["mean_seconds"]), float(second["median_seconds"])) == (pytest.approx(56 / 3), 10.0)
    assert (third["bouts"], third["mean_seconds"], third["latency_seconds"]) == ("0", "", "")
    assert sum(float(row["share_of_time"]) for row in (first, second, third)) == pytest.approx(1)


def test_time_that_was_not_looked_at_does_not_count() -> None:
    row = bout_rows(timeline((0.0, 15.0, "a"), covered=30.0))[0]
    assert row[COLUMNS.index("bouts_per_minute")] == 2.0
    assert row[COLUMNS.index("share_of_time")] == 0.5


def test_bouts_that_overlap_follow_each_other_by_their_start() -> None:
    rows = bout_rows(timeline((2.0, 9.0, "b"), (0.0, 20.0, "a"), (30.0, 31.0, "a")))
    assert rows[0][-3:] == [0, 1, 0]
    assert rows[1][-3:] == [1, 0, 0]


def test_every_video_has_its_rows() -> None:
    text = bouts_text([timeline((0.0, 1.0, "a")), timeline(video="w.mp4")])
    assert [(row["video"], row["label"]) for row in rows_of(text)][::3] == [("v", "a"), ("w.mp4", "a")]


def test_the_command_writes_what_it_could_follow(write_video, in_tmp_path: Path) -> None:
    config = load_config(
        None, ["model.backbone=compact_cnn", "clip.size=32", "clip.length=4", "model.width=16"]
    )
    model = build_model(config.model, 2)
    save_checkpoint(Path("model.safetensors"), Checkpoint(model.state_dict(), config, ("a", "b")))
    write_video(Path("one.mp4"))
    Path("two.mp4").write_bytes(b"no video")
    arguments = [
        "timeline",
        "one.mp4",
        "two.mp4",
        "--model",
        "model.safetensors",
        "--window",
        "0.5",
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, [*arguments, "--bouts", "bouts.csv"])
    assert result.exit_code == 1
    assert "wrote bouts.csv: bouts of 1 of 2 videos" in result.stderr
    rows = rows_of(Path("bouts.csv").read_text())
    assert [(row["video"], row["label"]) for row in rows] == [("one.mp4", "a"), ("one.mp4", "b")]
    assert sum(float(row["total_seconds"]) for row in rows) == pytest.approx(1.0)
    refused = CliRunner().invoke(app, [*arguments, "--bouts", "one.mp4", "--overwrite"])
    assert (refused.exit_code, "is an input of this command" in refused.stderr) == (2, True)
