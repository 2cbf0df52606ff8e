"""Standard streams that are closed, full, or read by nobody: one message, no traceback, and all files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import vidcli
from tests.forks import run_forked
from vidcli.config import Config, config_to_yaml
from vidcli.train import start_run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the table below is run in forks")

# Runs commands in forks of one process, which has imported what they need: a table of them takes seconds.
DRIVER = """
import json, os, sys
import vidcli.doctor.pictures, vidcli.evaluate.measurement, vidcli.explain, vidcli.console.evaluation_tables
import vidcli.commands.videos, vidcli.commands.outcome, vidcli.commands.peers
import vidcli.report.gather, vidcli.export
from vidcli.__main__ import main

def become(number, way):
    if way == "closed":
        os.close(number)
        setattr(sys, {1: "stdout", 2: "stderr"}[number], None)  # as Python finds it when it starts so
        return
    if way == "left":
        reading, place = os.pipe()
        os.close(reading)
    else:
        place = os.open("/dev/full" if way == "full" else way, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(place, number)
    os.close(place)

with open(sys.argv[1]) as file:
    cases = json.load(file)
for number, (arguments, out, err) in enumerate(cases):
    child = os.fork()
    if child == 0:
        become(1, out or os.path.abspath(f"out{number}"))
        become(2, err or os.path.abspath(f"err{number}"))
        sys.argv = ["vidcli", *arguments]
        main()  # and what Python does at its end
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps(code), flush=True)
"""

COMMANDS: dict[str, list[str]] = {
    "help": ["--help"],
    "help of a command": ["train", "--help"],
    "version": ["--version"],
    "models": ["models"],
    "models show": ["models", "show", "run"],
    "settings": ["settings"],
    "check": ["check", "data", "--quarantine", "written/usable.csv", "--overwrite"],
    "check json": ["check", "data", "--format", "json", "--quarantine", "written/usable.csv", "--overwrite"],
    "eval": ["eval", "--model", "run", "--out", "written/eval"],
    "eval json": ["eval", "--model", "run", "--out", "written/eval", "--json"],
    "predict": ["predict", "video.mp4", "--model", "run", "--annotate", "written/shown.mp4"],
    "predict json": ["predict", "video.mp4", "--model", "run", "--format", "json"],
    "predict csv": ["predict", "video.mp4", "--model", "run", "--format", "csv"],
    "timeline": [
        *("predict", "video.mp4", "--model", "run", "--timeline", "--window", "0.5", "--format", "json"),
        *("--picture", "written/timeline.png"),
    ],
    "explain": ["explain", "video.mp4", "--model", "run", "--format", "json", "--out", "written/why"],
    "dry run": ["train", "data", "--config", "recipe.yaml", "--dry-run"],
    "train": ["train", "data", "--config", "recipe.yaml", "--out", "written/run"],
}  # fmt: skip
WRITTEN = {
    "check": "usable.csv",
    "check json": "usable.csv",
    "eval": "eval/eval.json",
    "eval json": "eval/eval.json",
    "predict": "shown.mp4",
    "timeline": "timeline.png",
    "explain": "why/explanation.json",
    "train": "run/model.safetensors",
}
TOLD = {
    "closed": "error: standard output: cannot be written (it is closed)",
    "full": "error: standard output: cannot be written (No space left on device)",
    "left": None,
}
CODES = {"closed": 1, "full": 1, "left": 141}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, motion_data: Path, small_config: Any) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    for name in ("left", "right"):
        for split in ("train", "val", "test"):
            (folder / "data" / split).mkdir(parents=True, exist_ok=True)
            (folder / "data" / split / name).symlink_to(motion_data / split / name)
    (folder / "video.mp4").symlink_to(sorted((motion_data / "test" / "left").iterdir())[0])
    config: Config = small_config()
    (folder / "recipe.yaml").write_text(config_to_yaml(config))
    start_run(config, folder / "data", folder / "run", torch.device("cpu"), lambda event: None)
    return folder


def run_all(place: Path, cases: list[tuple[list[str], str | None, str | None]]) -> list[tuple[int, str]]:
    """Run commands, each with its ways for stdout and stderr, and return exit codes and what was told."""
    (place / "cases.json").write_text(json.dumps(cases))
    done = run_forked(["-c", DRIVER, "cases.json"], cwd=place)
    assert done.returncode == 0, done.stderr
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    told = [(place / f"err{number}") for number in range(len(codes))]
    return [(code, p.read_text() if p.exists() else "") for code, p in zip(codes, told, strict=True)]


_SOME = ("help", "settings", "check json", "eval", "predict")


# All of them end up in the same place: one way is tried with each, the others with some.
@pytest.mark.parametrize("names", [_SOME, pytest.param(tuple(COMMANDS), marks=pytest.mark.slow)])
def test_standard_output_that_takes_nothing(names: tuple[str, ...], place: Path) -> None:
    ways = ["closed"] if len(names) == len(COMMANDS) else ["closed", "left"]
    if len(ways) > 1 and os.path.exists("/dev/full"):
        ways.append("full")
    cases = [(way, name) for way in ways for name in names]
    shutil.rmtree(place / "written", ignore_errors=True)
    for way in ways:
        (place / "written" / way).mkdir(parents=True)
    given = [
        ([word.replace("written", f"written/{way}") for word in COMMANDS[name]], way, None)
        for way, name in cases
    ]
    for case, (code, told) in zip(cases, run_all(place, given), strict=True):
        way, name = case
        assert code == CODES[way], (case, told)
        assert "Traceback" not in told, case
        assert "ignored" not in told, case
        errors = [line for line in told.splitlines() if line.startswith("error:")]
        assert errors == [TOLD[way]] * (TOLD[way] is not None), case
        assert name not in WRITTEN or (place / "written" / way / WRITTEN[name]).stat().st_size, case


@pytest.mark.slow
def test_messages_that_nobody_can_read_are_lost_and_results_are_not(place: Path) -> None:
    shutil.rmtree(place / "written", ignore_errors=True)
    (place / "written").mkdir()
    ways = ["closed", "left", *(["full"] if os.path.exists("/dev/full") else [])]
    fails = ["predict", "nowhere.mp4", "--model", "nowhere"]
    cases = [(arguments, None, way) for arguments in (COMMANDS["eval json"], fails) for way in ways]
    codes = [code for code, _ in run_all(place, [*cases, (COMMANDS["train"], None, "left")])]
    assert codes == [0] * len(ways) + [1] * len(ways) + [0]
    assert json.loads((place / "out0").read_text())["num_videos"]


def test_a_process_that_starts_with_closed_streams(place: Path) -> None:
    command = f"{sys.executable} -m vidcli settings >&-"
    environment = os.environ | {"PYTHONPATH": str(Path(vidcli.__file__).parents[1])}
    done = subprocess.run(command, shell=True, env=environment, cwd=place, text=True, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr.strip()) == (1, TOLD["closed"])
    done = subprocess.run(f"{command} 2>&- <&-", shell=True, env=environment, cwd=place)
    assert done.returncode == 1


def test_unbuffered_output_is_not_held_back(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-u", "-m", "vidcli", "settings"],
        env=os.environ | {"PYTHONPATH": str(Path(vidcli.__file__).parents[1])},
        cwd=place, text=True, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0
    assert "train.batch_size" in done.stdout
