"""Data that is out of reach or has moved: nothing is measured wrongly, nothing good is written over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.data.manifest import load_items
from vidcli.data.relocation import digest_content, find_learnt, relocate, with_digests
from vidcli.errors import DataError
from vidcli.train import start_run

pytestmark = pytest.mark.usefixtures("no_drawing")
CPU = torch.device("cpu")


def vidcli(*args, **environment):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", **environment})


@pytest.fixture(scope="module")
def made(motion_data, small_config, tmp_path_factory):
    """A folder with data of two classes, and a run on it that was evaluated."""
    folder = tmp_path_factory.mktemp("moved")
    for split in ("train", "val", "test"):
        for name in ("left", "right"):
            shutil.copytree(motion_data / split / name, folder / "data" / split / name)
    start_run(small_config(), folder / "data", folder / "run", CPU, lambda event: None)
    result = vidcli("eval", "--model", folder / "run", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of both, whose run knows its data where it is in the copy."""
    shutil.copytree(made, tmp_path / "copy")
    splits = tmp_path / "copy" / "run" / "splits.csv"
    splits.write_text(splits.read_text().replace(str(made), str(tmp_path / "copy")))
    return tmp_path / "copy"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", [("eval", "--model"), ("report",), ("eval", "--json", "--model")])
def test_where_no_video_is_there_nothing_is_measured_and_old_results_stay(place, command):
    shutil.rmtree(place / "data")
    (place / "run" / "model.safetensors").touch()  # a report would make a new evaluation
    before = snapshot(place / "run")
    result = vidcli(*command, place / "run")
    assert result.exit_code == 1
    assert result.stdout == ""
    message = " ".join(result.stderr.split())
    assert "not one of its 4 test videos is there" in message
    assert "--data-root" in message
    assert snapshot(place / "run") == before


def test_where_some_are_missing_the_score_says_of_how_many(place):
    shutil.rmtree(place / "data" / "test" / "left")
    shown = vidcli("eval", "--model", place / "run", "--device", "cpu")
    assert shown.exit_code == 1
    assert "2 of 4 videos are not there and count as wrong, such as" in shown.stderr
    assert "2 of 4 videos are not there and counted as wrong; of the 2 that are, " in shown.stdout
    told = json.loads((place / "run" / "eval-test" / "eval.json").read_text())
    assert (told["num_videos"], told["num_failed"], told["num_missing"]) == (4, 2, 2)
    assert told["share_right_of_present"] == pytest.approx(told["top1"] * 2)
    assert vidcli("report", place / "run").exit_code == 1
    page = (place / "run" / "report.html").read_text()
    assert "2 failed, counted as wrong; 2 of them are not there" in page


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("command", ["eval", "report"])
def test_a_run_is_told_where_its_data_went(place, tmp_path, above, command):
    root = tmp_path / "elsewhere" / "data"
    root.parent.mkdir()
    (place / "data").rename(root)
    before = json.loads((place / "run" / "eval-test" / "eval.json").read_text())
    (place / "run" / "model.safetensors").touch()
    given = ("--model", place / "run") if command == "eval" else (place / "run",)
    result = vidcli(command, *given, "--data-root", root.parent if above else root)
    assert result.exit_code == 0, result.stderr
    after = json.loads((place / "run" / "eval-test" / "eval.json").read_text())
    assert (after["top1"], after["loss"]) == (before["top1"], before["loss"])
    # It is noted, and not asked for again.
    assert all(item.path.is_relative_to(root) for item in load_items(place / "run" / "splits.csv"))
    assert vidcli(command, *given).exit_code == 0


def test_going_on_where_the_data_went_is_equal_to_never_having_stopped(
    place, tmp_path, motion_data, small_config, monkeypatch
):
    from vidcli.train import trainer as loop

    config = small_config(train__epochs=2)
    plain, _ = start_run(config, place / "data", tmp_path / "plain", CPU, lambda event: None)

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_finish_epoch", lambda self, inner=loop.Trainer._finish_epoch: (
            inner(self), stop(self)
        ))  # fmt: skip
        with pytest.raises(KeyboardInterrupt):
            start_run(config, place / "data", tmp_path / "stopped", CPU, lambda event: None)
    (place / "data").rename(tmp_path / "moved")
    refused = vidcli("train", "--resume", tmp_path / "stopped", "--device", "cpu")
    assert refused.exit_code == 1
    result = vidcli(
        "train", "--resume", tmp_path / "stopped", "--data-root", tmp_path / "moved", "--device", "cpu"
    )
    assert result.exit_code == 0, result.stderr
    for name in ("metrics.jsonl", "last.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (plain / name).read_bytes()


def test_moved_training_videos_are_known_and_the_old_evaluation_stays(place, tmp_path):
    (place / "data").rename(tmp_path / "E")
    before = snapshot(place / "run")
    result = vidcli("eval", tmp_path / "E", "--split", "all", "--model", place / "run", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    message = " ".join(result.stderr.split())
    assert "12 of these 16 videos are among those that" in message
    assert "--data-root" in message
    after = snapshot(place / "run")
    assert {name: after[name] for name in before} == before
    written = sorted(path.name for path in (place / "run").glob("eval-*"))
    assert written == ["eval-all-E", "eval-test"]
    # The same again replaces its own; other data of that name gets a folder of its own.
    assert vidcli("eval", tmp_path / "E", "--split", "all", "--model", place / "run").exit_code == 0
    shutil.copytree(tmp_path / "E", tmp_path / "other" / "E")
    assert vidcli("eval", tmp_path / "other" / "E", "--split", "all", "--model", place / "run").exit_code == 0
    written = sorted(path.name for path in (place / "run").glob("eval-*"))
    assert written == ["eval-all-E", "eval-all-E-2", "eval-test"]


def test_renamed_videos_are_known_by_their_content(place, tmp_path):
    items = with_digests(load_items(place / "data"))
    (tmp_path / "new" / "left").mkdir(parents=True)
    renamed = tmp_path / "new" / "left" / "renamed.mp4"
    shutil.copy(items[0].path, renamed)
    (tmp_path / "new" / "left" / "left_0001.mp4").write_bytes(b"another video of a usual name")
    found = find_learnt(load_items(tmp_path / "new"), items)
    assert [item.path for item in found] == [renamed]


def test_without_digests_the_names_tell(place, tmp_path):
    items = load_items(place / "data")
    assert items[0].digest is None
    (place / "data").rename(tmp_path / "E")
    assert len(find_learnt(load_items(tmp_path / "E"), items)) == len(items)


def test_a_root_with_other_videos_is_refused(place, tmp_path):
    items = with_digests(load_items(place / "data"))
    with pytest.raises(DataError, match=r"holds none of the 16 videos .* expected"):
        relocate(items, tmp_path / "nowhere")
    shutil.copytree(place / "data", tmp_path / "E")
    assert [item.path.relative_to(tmp_path / "E") for item in relocate(items, tmp_path / "E")] == [
        item.path.relative_to(place / "data") for item in items
    ]
    victim = next((tmp_path / "E").rglob("*.mp4"))
    victim.write_bytes(victim.read_bytes() + b"\0")
    with pytest.raises(DataError, match="1 of 16 files there are other videos"):
        relocate(items, tmp_path / "E")
    victim.unlink()
    assert len(relocate(items, tmp_path / "E")) == 16


def test_the_digest_sees_size_beginning_and_end(tmp_path):
    long = bytes(199_999)
    contents = [b"", b"a", b"ab", long, long + b"\0", long + b"x", b"x" + long]
    digests = []
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
        digests.append(digest_content(tmp_path / str(number)))
    assert len(set(digests)) == len(contents)
    assert digest_content(tmp_path / "gone") is None


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("train", "data", "--data-root", "x"), "it goes with --resume"),
        (("eval", "data", "--data-root", "x", "--model", "run"), "leave it or DATA out"),
    ],
)
def test_a_root_belongs_to_a_run(place, monkeypatch, args, expected):
    monkeypatch.chdir(place)
    result = vidcli(*args)
    assert result.exit_code == 2
    assert expected in " ".join(result.stderr.replace("│", " ").split())


# --- splits and runs that are not what they seem --------------------------------------------------


def test_a_split_of_data_without_splits_is_refused(place):
    data = place / "data" / "test"
    for split in ("val", "test", "train"):
        result = vidcli("eval", data, "--split", split, "--model", place / "run", "--out", place / "new")
        assert result.exit_code == 2
        assert f"--split {split}: {data} has no splits" in result.stderr
    for args in ((), ("--split", "all")):
        result = vidcli("eval", data, *args, "--model", place / "run", "--out", place / "new")
        assert result.exit_code == 0, result.stderr
        assert "4 videos" in result.stderr


def test_a_run_that_did_not_finish_is_named_and_not_the_newest_one(place, monkeypatch):
    monkeypatch.chdir(place)
    (place / "runs").mkdir()
    shutil.copytree(place / "run", place / "runs" / "whole")
    shutil.copytree(place / "run", place / "runs" / "stopped")
    (place / "runs" / "stopped" / "run.lock").write_text("a run of vidcli\n")
    (place / "runs" / "stopped" / "model.safetensors").touch()
    video = next((place / "data").rglob("*.mp4"))
    result = vidcli("predict", video, "--verbose")
    assert "model: runs/whole/model.safetensors" in result.stderr
    assert "did not finish" not in result.stderr
    for command in (("predict", video, "--model"), ("eval", "--model"), ("report",)):
        told = vidcli(*command, "runs/stopped")
        assert told.exit_code == 0, told.stderr
        assert "runs/stopped: this run did not finish" in told.stderr
        assert "after 1 of 1 epochs" in told.stderr
        assert "vidcli train --resume runs/stopped" in told.stderr
    shutil.rmtree(place / "runs" / "whole")
    assert "model: runs/stopped/model.safetensors" in vidcli("predict", video, "--verbose").stderr


# --- what a score is worth ------------------------------------------------------------------------


def test_a_poor_model_is_called_poor(place):
    told = json.loads((place / "run" / "eval-test" / "eval.json").read_text())
    assert told["baseline_top1"] == 0.5
    low, high = told["top1_interval"]
    expected = "better" if low > 0.5 else "worse" if high < 0.5 else "no better"
    assert told["verdict"].startswith(f"{expected} than guessing: right for {told['top1']:.3f} of 4 videos")
    assert "always answering 'left' gets 0.500" in told["verdict"]
    shown = vidcli("eval", "--model", place / "run")
    assert told["verdict"] in shown.stdout
    assert "always the largest 0.500   any class by chance 0.500" in shown.stdout


def test_a_run_without_validation_is_measured_on_its_test_videos(
    motion_data, small_config, tmp_path, monkeypatch
):
    from vidcli.config import config_to_yaml

    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        for name in ("left", "right"):
            shutil.copytree(motion_data / split / name, tmp_path / "data" / split / name)
    (tmp_path / "recipe.yaml").write_text(config_to_yaml(small_config({"data.val_fraction": 0})))
    result = vidcli("train", "data", "--config", "recipe.yaml", "--device", "cpu", "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert "measuring on the 4 test videos" in result.stderr
    told = json.loads((tmp_path / "run" / "eval-test" / "eval.json").read_text())
    assert f"test videos, from which it did not learn: {told['verdict']}" in result.stderr
    shutil.rmtree(tmp_path / "data" / "test")
    result = vidcli(
        "train", "data", "--config", "recipe.yaml", "--set", "data.test_fraction=0", "--out", "r2"
    )
    assert result.exit_code == 0, result.stderr
    assert "says nothing of new ones" in result.stderr


def test_an_evaluation_that_is_interrupted_leaves_no_empty_folder(place, monkeypatch):
    from vidcli.predict import Predictor

    def stop(self, items, look=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "predict_many", stop)
    assert vidcli("eval", "--model", place / "run", "--out", place / "new").exit_code == 130
    assert not (place / "new").exists()
