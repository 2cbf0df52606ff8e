"""`vidcli predict` on many videos: streamed, continued, divided, and not stopped by a bad one."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from typer.testing import CliRunner

from tests.commands.many_videos import make_many
from tests.forks import Forked
from vidcli.commands.app import app
from vidcli.predict.results import JsonResults
from vidcli.train import start_run


def start(*args, **streams):
    """Start the command in a process of its own, for what concerns signals and real streams."""
    return Forked(["-m", "vidcli", "predict", *args, "--device", "cpu", "--quiet"], **streams)


def predict(*args, **environment):
    command = ["predict", *(str(arg) for arg in args), "--device", "cpu"]
    return CliRunner().invoke(app, command, env={"COLUMNS": "100", **environment})


@pytest.fixture(scope="module")
def workspace(motion_data, small_config, tmp_path_factory):
    return make_many(tmp_path_factory.mktemp("many"), motion_data, small_config(), 200)


@pytest.fixture
def here(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "many"):
        os.symlink(workspace / name, name)
    monkeypatch.setenv("VIDCLI_MODEL", "run")
    return tmp_path


@pytest.fixture(scope="module")
def whole(workspace):
    """What an unbroken run writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        result = predict("many", "--model", "run", "--output", "whole.jsonl")
    assert result.exit_code == 1  # of the one broken file
    return (workspace / "whole.jsonl").read_bytes()


def test_a_broken_file_among_200_is_a_row_and_the_others_are_predicted(here, whole):
    rows = [json.loads(line) for line in whole.splitlines()]
    assert [row["video"] for row in rows] == [f"many/{number:03}.mp4" for number in range(200)]
    assert [number for number, row in enumerate(rows) if "error" in row] == [60]
    assert "is not a video that can be opened" in rows[60]["error"]
    assert all(row["predictions"] == rows[number - 16]["predictions"]
               for number, row in enumerate(rows) if number >= 77)  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(here, whole):
    output = here / "out.jsonl"
    started = start("many", "--output", str(output))
    while not (output.exists() and output.stat().st_size > 5000):
        assert started.poll() is None
        time.sleep(0.001)
    started.send_signal(signal.SIGKILL)
    started.wait()
    left = output.read_bytes()
    assert left != whole
    assert whole.startswith(left)
    result = predict("many", "--output", output)
    assert result.exit_code == 1
    assert output.read_bytes() == whole
    assert f"{left.count(10)} of 200 videos are there already" in result.stderr


def test_what_is_there_is_skipped_and_told(here, whole):
    (here / "out.jsonl").write_bytes(whole)
    for path in ("many/000.mp4", "many/060.mp4"):
        result = predict(path, "--output", "out.jsonl")
        assert result.exit_code == (1 if "060" in path else 0)
        assert "1 of 1 videos are there already" in result.stderr
    assert (here / "out.jsonl").read_bytes() == whole


@pytest.mark.parametrize("count", [1, 3])
def test_parts_in_order_are_the_whole(here, whole, count):
    for number in range(1, count + 1):
        predict("many", "--shard", f"{number}/{count}", "--output", f"{number}.jsonl")
    assert b"".join((here / f"{n}.jsonl").read_bytes() for n in range(1, count + 1)) == whole


def test_processes_of_one_launch_write_each_its_own_file(here, whole):
    for rank in ("0", "1"):
        result = predict("many", "--output", "out.jsonl", RANK=rank, WORLD_SIZE="2")
        assert f"part {int(rank) + 1} of 2: 100 of 200 videos" in result.stderr
    assert (here / "out-1of2.jsonl").read_bytes() + (here / "out-2of2.jsonl").read_bytes() == whole


def test_csv_parquet_and_json_say_the_same(here, whole):
    for name in ("out.csv", "out.parquet"):
        assert predict("many", "--output", name, "--top-k", "2").exit_code == 1
    with open("out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table("out.parquet").to_pylist()
    answers = [json.loads(line) for line in whole.splitlines()]
    expected = [
        (answer["video"], best["label"], best["probability"], answer.get("error"))
        for answer in answers
        for best in (answer.get("predictions") or [{"label": None, "probability": None}])[:2]
    ]
    assert [(row["video"], row["label"], row["probability"], row["error"]) for row in table] == expected
    assert [
        (row["video"], row["label"] or None, float(row["probability"] or "nan"), row["error"] or None)
        for row in rows
        if row["label"]
    ] == [row for row in expected if row[1]]


def test_another_model_is_refused_and_the_file_stays(here, workspace, motion_data, small_config):
    predict("many/000.mp4", "--output", "out.csv")
    before = Path("out.csv").read_bytes()
    config = small_config(train__seed=1)
    start_run(config, motion_data, Path("other"), torch.device("cpu"), lambda event: None)
    result = predict("many/001.mp4", "--output", "out.csv", "--model", "other")
    assert result.exit_code == 1
    assert "out.csv: holds results of another model" in result.stderr
    result = predict("many/001.mp4", "--output", "out.csv", "--top-k", "1")
    assert result.exit_code == 1
    assert "with other settings" in result.stderr
    assert Path("out.csv").read_bytes() == before


def test_the_same_model_elsewhere_is_the_same_model(here, workspace):
    shutil.copy("run/model.safetensors", "copy.safetensors")
    predict("many/000.mp4", "--output", "out.csv")
    result = predict("many/000.mp4", "--output", "out.csv", "--model", "copy.safetensors")
    assert (result.exit_code, "1 of 1 videos are there already" in result.stderr) == (0, True)


def test_videos_come_from_lists_patterns_and_manifests(here):
    Path("list").write_text("many/003.mp4\nmany/00[12].mp4\n")
    Path("table.csv").write_text("path,label,start,end\nmany/004.mp4,left,0.25,0.75\n")
    result = predict("table.csv", "--from-list", "list", "--format", "json")
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    names = ["many/004.mp4", "many/003.mp4", "many/001.mp4", "many/002.mp4"]
    assert [answer["video"] for answer in answers] == names
    assert (answers[0]["start"], answers[0]["end"]) == (0.25, 0.75)
    assert "start" not in answers[1]
    piped = CliRunner().invoke(
        app, ["predict", "--from-list", "-", "--format", "csv"], input="many/003.mp4\n"
    )
    assert {row["video"] for row in csv.DictReader(io.StringIO(piped.stdout))} == {"many/003.mp4"}


def test_an_empty_pattern_is_named(here):
    result = predict("many/*.webm", "many/000.mp4", "--format", "csv")
    assert result.exit_code == 1
    assert "failed: many/*.webm: no file matches this pattern" in result.stderr
    assert "many/000.mp4,1," in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "name videos, folders or manifests, or give --from-list"),
        (["many", "--shard", "3/2"], "--shard 3/2: expected I/N"),
        (["many", "--format", "parquet"], "--format parquet: is written to a file; name it with --output"),
    ],
)
def test_wrong_usage(here, args, message):
    result = predict(*args)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_table_file_is_not_replaced(here):
    assert predict("many/000.mp4", "--output", "out.txt").exit_code == 0
    before = Path("out.txt").read_text()
    assert "many/000.mp4" in before
    result = predict("many/001.mp4", "--output", "out.txt")
    assert result.exit_code == 2
    assert "out.txt: exists; choose another file, or replace it with --overwrite" in result.stderr
    assert Path("out.txt").read_text() == before


@pytest.mark.skipif(sys.platform == "win32", reason="other pipes there")
def test_a_reader_that_has_seen_enough_ends_the_run_quietly(here):
    with start("many", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout.readline()
        started.stdout.close()
        assert started.stderr.read() == ""
    assert started.returncode == 141  # as of a `cat` that nobody reads any more


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_a_scheduler_that_ends_the_run_leaves_whole_results(here, name):
    signum, before = getattr(signal, name), set(here.iterdir())
    output = here / "out.jsonl"
    arguments = ("many", "--output", str(output), "--views", "10")
    with start(*arguments, stderr=subprocess.PIPE) as started:
        while started.poll() is None and not (output.exists() and output.stat().st_size):
            time.sleep(0.01)
        started.send_signal(signum)
        message = started.stderr.read()
    assert started.returncode == 128 + signum
    assert message == ""
    lines = output.read_text().splitlines()
    assert 0 < len(lines) < 200
    assert all(json.loads(line)["video"] for line in lines)
    assert set(here.iterdir()) - before == {output}
    assert "videos are there already" in predict(*arguments).stderr


def test_a_stopped_command_says_how_far_it_came(here, monkeypatch):
    write = JsonResults.write

    def write_two(self, prediction):
        if prediction.video.endswith("002.mp4"):
            raise KeyboardInterrupt
        write(self, prediction)

    monkeypatch.setattr(JsonResults, "write", write_two)
    stopped = predict("many/000.mp4", "many/001.mp4", "many/002.mp4", "--output", "out.jsonl")
    assert stopped.exit_code == 130
    assert "out.jsonl: stopped after 2 of 3 videos; the same command goes on" in stopped.stderr
    assert len(Path("out.jsonl").read_text().splitlines()) == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_standard_output_on_a_full_disk(here):
    with (
        open("/dev/full", "w") as full,
        start("many/000.mp4", stdout=full, stderr=subprocess.PIPE) as started,
    ):
        message = started.stderr.read()
    assert started.returncode == 1
    assert message == "error: standard output: cannot be written (No space left on device)\n"
