"""The demo, and training without data of one's own: the built-in videos through every command."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.data.builtin import MotionDataOptions
from vidcli.data.manifest import load_items
from vidcli.synthetic import MOTION_CLASSES, MotionVideoOptions

QUICK = ["--device", "cpu", "--set", "train.epochs=1", "--set", "clip.size=32", "--set", "model.width=16"]


def run(*args: object):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "120"})


def make_few_videos(patch, folder):
    """Let the commands make few small videos, in a folder that becomes the working directory."""
    look = MotionVideoOptions(size=(32, 32), num_frames=8)
    few = partial(
        MotionDataOptions, num_train_per_class=2, num_val_per_class=1, num_test_per_class=1, video=look
    )
    patch.setattr("vidcli.data.builtin.MotionDataOptions", few)
    patch.setenv("VIDCLI_CACHE", str(folder / "cache"))
    patch.chdir(folder)


@pytest.fixture(autouse=True)
def few_videos(monkeypatch, tmp_path):
    make_few_videos(monkeypatch, tmp_path)


def demo(*args: object):
    return run("demo", "--count", 3, "--size", 32, "--length", 8, *QUICK, *args)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which the demo ran, and its result."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        make_few_videos(patch, folder)
        return folder, demo("--keep", "motion", "--out", "runs/demo")


def test_the_demo_does_the_whole_job_and_tells_how_to_do_it_again(made, monkeypatch):
    folder, result = made
    monkeypatch.chdir(folder)
    assert result.exit_code == 0, result.stderr
    assert len(load_items("motion")) == len(MOTION_CLASSES) * (3 + 1 + 1)
    for text in ("top-1 accuracy", "95% interval", "true \\ predicted", "with their frames shuffled: top-1"):
        assert text in result.stdout
    for name in MOTION_CLASSES:
        assert f"{name}_0001.mp4" in result.stdout
    assert "  vidcli eval --model runs/demo\n" in result.stdout
    assert run("eval", "--model", "runs/demo").exit_code == 0
    assert "  vidcli train FOLDER" in result.stdout


def test_the_kept_videos_are_used_again(made, monkeypatch):
    monkeypatch.chdir(made[0])
    written = {path: path.stat().st_mtime_ns for path in Path("motion").rglob("*.mp4")}
    assert demo("--keep", "motion", "--out", "runs/again").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in Path("motion").rglob("*.mp4")} == written
    first, second = (Path("runs", name, "metrics.jsonl").read_text() for name in ("demo", "again"))
    assert first == second


def test_a_folder_of_other_things_is_not_written_into():
    Path("mine").mkdir()
    Path("mine", "thesis.txt").write_text("years of work")
    result = demo("--keep", "mine")
    assert result.exit_code == 1
    assert "mine" in result.stderr
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


def test_an_odd_size_is_refused():
    result = run("demo", "--size", 33)
    assert result.exit_code == 2
    assert "even" in result.stderr


def test_without_data_train_makes_its_own_and_the_bare_commands_go_on(tmp_path):
    trained = run("train", *QUICK)
    assert trained.exit_code == 0, trained.stderr
    assert "no DATA given: training on the built-in motion videos" in trained.stderr
    evaluated = run("eval")
    assert evaluated.exit_code == 0, evaluated.stderr
    assert f"videos (test)      {len(MOTION_CLASSES)}\n" in evaluated.stdout
    video = next((tmp_path / "cache").rglob("test/left/*.mp4"))
    predicted = run("predict", video, "--format", "csv", "--top-k", 1)
    assert predicted.exit_code == 0, predicted.stderr
    assert predicted.stdout.count("\n") == 2
