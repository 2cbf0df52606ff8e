"""`vidcli bench predict` measures three phases of the same videos, and what cannot be decoded is told."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app


@pytest.fixture(scope="module")
def run(quick_run):
    return quick_run


def bench(run, *args):
    command = ["bench", "predict", *map(str, args), "--model", str(run), "--device", "cpu", "--rounds", "2"]
    return CliRunner().invoke(app, command, env={"COLUMNS": "100"})


def test_an_object_a_round_and_the_summary_last(run, motion_data, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    result = bench(run, motion_data / "test", tmp_path / "bad.mp4", "--json")
    assert result.exit_code == 1  # of the bad one
    *rows, summary = (json.loads(line) for line in result.stdout.splitlines())
    assert [row["round"] for row in rows] == [1, 2]
    for row in rows:
        assert min(row["decode"], row["model"], row["one_thread"], row["whole"]) > 0
    assert (summary["num_videos"], summary["num_failed"]) == (16, 1)
    for name in ("decode", "model", "whole"):
        assert summary[f"{name}_per_second"] == pytest.approx((rows[0][name] + rows[1][name]) / 2, abs=0.01)
    shares = [row["whole"] / min(row["decode"], row["model"]) for row in rows]
    assert summary["share_of_slower"] == pytest.approx(sum(shares) / 2, abs=0.01)
    times = [row["whole"] / row["one_thread"] for row in rows]
    assert summary["times_one_thread"] == pytest.approx(sum(times) / 2, abs=0.01)
    assert summary["cpu_of_one_thread"] > 0
    assert summary["bound_per_second"] <= min(summary["decode_per_second"], summary["model_per_second"])


def test_the_table_names_the_phases(run, motion_data):
    result = bench(run, motion_data / "test")
    assert result.exit_code == 0, result.stderr
    for text in ("decode alone", "model alone", "one thread", "whole", "median", "of the slower half"):
        assert text in result.stdout


def test_nothing_to_measure(run, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    result = bench(run, tmp_path / "bad.mp4")
    assert result.exit_code == 1
    assert "none of these videos can be decoded" in result.stderr
