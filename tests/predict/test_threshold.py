"""`predict --threshold`: a model that is not sure says so, in every format."""

from __future__ import annotations

import csv
import io
import json

import pytest
from typer.testing import CliRunner

import vidcli
from vidcli.commands.app import app


def run_command(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


@pytest.fixture(scope="module")
def split_in_two(run, motion_data):
    """Test videos, and a threshold that some reach, one of them exactly."""
    videos = sorted((motion_data / "test").rglob("*.mp4"))
    probabilities = sorted(vidcli.load(run).predict(video).probability for video in videos)
    return videos, probabilities[len(probabilities) // 2]


def test_json_has_a_field(run, split_in_two):
    videos, threshold = split_in_two
    result = run_command(
        "predict", *videos, "gone.mp4", "--model", run, "--threshold", threshold, "--format", "json"
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert "unknown" not in rows.pop()  # it failed, which is another thing
    for row in rows:
        assert row["unknown"] == (row["predictions"][0]["probability"] < threshold)
    assert sum(row["unknown"] for row in rows) == len(rows) // 2


def test_csv_has_a_column_that_is_empty_without_a_threshold(run, split_in_two):
    videos, threshold = split_in_two
    command = ("predict", *videos, "--model", run, "--format", "csv", "--top-k", 1)
    with_one = list(csv.DictReader(io.StringIO(run_command(*command, "--threshold", threshold).stdout)))
    assert {row["unknown"] for row in with_one} == {"true", "false"}
    assert all(row["label"] for row in with_one)  # the nearest class is still told
    without = list(csv.DictReader(io.StringIO(run_command(*command).stdout)))
    assert {row["unknown"] for row in without} == {""}
    assert "unknown" not in run_command("predict", videos[0], "--model", run, "--format", "json").stdout


def test_the_table_says_unknown_and_names_the_nearest_classes(run, split_in_two):
    videos, threshold = split_in_two
    shown = run_command("predict", *videos, "--model", run, "--threshold", threshold, "--top-k", 2).stdout
    assert shown.count("unknown") == len(videos) // 2
    assert "unknown" not in run_command("predict", *videos, "--model", run).stdout


def test_a_results_file_is_not_continued_with_another_threshold(run, split_in_two, tmp_path):
    videos, threshold = split_in_two
    command = ("predict", *videos, "--model", run, "--output", tmp_path / "out.csv")
    assert run_command(*command, "--threshold", threshold).exit_code == 0
    again = run_command(*command, "--threshold", threshold)
    assert again.exit_code == 0
    assert "16 of 16 videos are there already" in again.stderr
    other = run_command(*command, "--threshold", 0.99)
    assert other.exit_code == 1
    assert "other settings" in other.stderr


@pytest.mark.parametrize("value", ["1.5", "-0.1", "half"])
def test_a_threshold_that_is_no_probability(run, value):
    assert run_command("predict", "v.mp4", "--model", run, f"--threshold={value}").exit_code == 2


def test_from_python(run, split_in_two):
    videos, threshold = split_in_two
    model = vidcli.load(run, threshold=threshold)
    assert {prediction.is_unknown for prediction in model.predict_many(videos)} == {True, False}
    assert not vidcli.load(run).predict(videos[0]).is_unknown
