"""What people give by mistake: one clear message, the right exit code, and nothing lost.

Every test goes through the command line. `refused` holds what all of them have in common.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.config import config_to_yaml
from vidcli.names import visible


def run(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


def refused(result, code, *texts):
    """Check exit code and message: no traceback, no result, and every text on stderr."""
    assert result.exit_code == code, (result.exit_code, result.stderr, result.exception)
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    for text in texts:
        assert text in result.stderr
    return result


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def workspace(motion_data, small_config, tmp_path_factory):
    """A folder with the data of two classes, a recipe and a trained run."""
    folder = tmp_path_factory.mktemp("bad")
    for split in ("train", "val", "test"):
        for name in ("left", "right"):
            shutil.copytree(motion_data / split / name, folder / "data" / split / name)
    (folder / "recipe.yaml").write_text(config_to_yaml(small_config()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = run("train", "data", "--config", "recipe.yaml", "--device", "cpu", "--out", "trained")
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def here(workspace, tmp_path, monkeypatch):
    """A folder of the test's own with `recipe.yaml`, `data/` and the run directory `trained/`."""
    shutil.copytree(workspace, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("VIDCLI_MODEL", "trained")
    return tmp_path / "here"


@pytest.fixture
def train(here):
    """Run `vidcli train` and check that a refusal leaves nothing behind."""

    def call(*args):
        before = contents(here)
        result = run("train", *args, "--config", "recipe.yaml", "--device", "cpu")
        if result.exit_code:
            assert contents(here) == before
            assert not (here / "runs").exists()
        return result

    return call


def write_text_video(path):
    path.write_text("this is no video, whatever its name says\n" * 20)


def write_audio_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_truncated(path):
    source = next(Path("data/train/left").glob("*.mp4")).read_bytes()
    path.write_bytes(source[: len(source) // 2])


BAD_VIDEOS = {
    "missing": (lambda path: None, "no such file"),
    "text": (write_text_video, "is not a video that can be opened (not a known video format)"),
    "audio": (write_audio_only, "holds no video stream (only audio)"),
    "truncated": (write_truncated, "is not a video that can be opened"),
    "empty": (lambda path: path.touch(), "is empty (0 bytes)"),
}


# --- videos ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BAD_VIDEOS)
def test_predict_names_a_bad_video_and_finishes_the_rest(here, kind):
    write, reason = BAD_VIDEOS[kind]
    write(here / "bad.mp4")
    good = "data/test/left/left_0001.mp4"
    result = run("predict", "bad.mp4", good, "--format", "csv")
    assert result.exit_code == 1
    assert f"bad.mp4: {reason}" in result.stderr
    lines = result.stdout.splitlines()
    assert lines[1].startswith("bad.mp4,,,,")
    assert reason in lines[1]
    assert lines[2].startswith(f"{good},1,")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("kind", sorted(set(BAD_VIDEOS) - {"missing"}))
def test_train_leaves_a_bad_video_out_and_says_so(train, here, kind):
    write, reason = BAD_VIDEOS[kind]
    bad = Path("data/train/left/bad.mp4")
    write(here / bad)
    result = train("data", "--out", "new")
    assert result.exit_code == 0, result.stderr
    assert f"left out: {bad}: {reason}" in result.stderr
    assert "1 of 13 videos cannot be used" in result.stderr


def test_train_stops_when_too_many_videos_are_bad_and_lists_them(train, here):
    bad = [Path("data/train/left/bad.mp4"), Path("data/train/right/bad.mp4")]
    write_text_video(here / bad[0])
    write_audio_only(here / bad[1])
    result = refused(
        train("data"), 1, "2 of 14 videos cannot be used, more than data.max_unusable=0.1 allows"
    )
    for path, kind in zip(bad, ("text", "audio"), strict=True):
        assert f"\n{path}: {BAD_VIDEOS[kind][1]}" in result.stderr
    assert train("data", "--set", "data.max_unusable=0.2").exit_code == 0


def test_every_video_of_a_class_is_bad(train, here):
    for path in (here / "data/train/left").iterdir():
        path.write_bytes(b"")
    refused(train("data", "--set", "data.max_unusable=1"), 1, "one class (right)")


ODD_NAMES = ["two words.mp4", "Taï.mp4", "[red]bold[red].mp4", "new\nline.mp4", "-q.mp4", "concat:a|b.mp4"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names_and_are_printed_as_they_are(train, here, name):
    odd = here / "data/train/left" / name
    shutil.copy(next((here / "data/train/right").iterdir()), odd)
    assert train("data", "--out", "new").exit_code == 0
    assert run("eval", "--model", "new", "--split", "train").exit_code == 0
    shown = run("predict", "data/train/left", "--format", "json")
    assert shown.exit_code == 0, shown.stderr
    assert f"data/train/left/{name}" in [json.loads(line)["video"] for line in shown.stdout.splitlines()]
    odd.write_bytes(b"")
    named = run("predict", "data/train/left")
    assert named.exit_code == 1
    # A line end in a name makes no line of its own.
    assert f"data/train/left/{visible(name)}: is empty (0 bytes)" in named.stderr


def test_class_names_are_printed_as_they_are(train, here):
    for split in ("train", "val", "test"):
        (here / "data" / split / "left").rename(here / "data" / split / "[red]l")
    assert train("data", "--out", "new").exit_code == 0
    for command in (["eval", "--model", "new"], ["predict", "data/test", "--model", "new"],
                    ["train", "data", "--dry-run"]):  # fmt: skip
        assert "[red]l" in run(*command).stdout


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="the file system takes valid text only")
@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_a_name_that_is_no_text_is_shown_with_escapes(here, form):
    (here / "odd").mkdir()
    shutil.copy("data/test/left/left_0001.mp4", os.path.join(b"odd", b"bad\xff.mp4"))
    result = run("predict", "odd", "--format", form)
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert "bad\\udcff.mp4" in result.stdout
    assert run("predict", "odd", "--format", form, "--output", "file").exit_code == 0
    assert "bad\\udcff.mp4" in Path("file").read_text()


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="the file system takes valid text only")
def test_train_refuses_a_name_that_is_no_text(train):
    shutil.copy("data/train/left/left_0001.mp4", os.path.join(b"data/train/left", b"bad\xff.mp4"))
    refused(train("data"), 1, "bad\\udcff.mp4")


# --- folders and manifests ------------------------------------------------------------------------


def test_no_such_folder(train):
    refused(train("nowhere"), 1, "nowhere: no such folder or manifest")


@pytest.mark.parametrize("command", ["train", "eval"])
def test_empty_folder(here, command):
    (here / "empty").mkdir()
    refused(run(command, "empty"), 1, "empty: no videos in")
    assert not (here / "runs").exists()


def test_predict_names_an_empty_folder(here):
    (here / "empty").mkdir()
    result = run("predict", "empty", "--format", "json")
    assert result.exit_code == 1
    assert "failed: empty: is a folder that holds no video" in result.stderr
    assert json.loads(result.stdout)["error"] == "is a folder that holds no video"


def test_videos_without_class_folders(train, here):
    shutil.copytree(here / "data/train/left", here / "flat")
    refused(train("flat"), 1, "flat: no videos in class folders", "one folder a class, or write a manifest")


def test_one_class(train, here):
    shutil.copytree(here / "data/train/left", here / "one" / "left")
    refused(train("one"), 1, "one class (left); a classifier needs two or more")


def test_one_video_instead_of_a_folder(train):
    refused(train("data/test/left/left_0001.mp4"), 1, "is one video; expected a folder")


def test_a_class_in_test_that_train_lacks(train, here):
    shutil.copytree(here / "data/test/left", here / "data/test/hover")
    refused(train("data"), 1, "classes in test that train lacks: hover")


def test_eval_on_a_class_that_the_model_does_not_know(here):
    shutil.copytree("data/test/left", "data/test/hover")
    refused(
        run("eval", "data"), 1, "classes that the model was not trained on: hover", "It knows left, right"
    )


def manifest(here, text, name="manifest.csv"):
    (here / name).write_text(text)
    return name


def test_manifest_with_missing_files_names_them_all(train, here):
    rows = "".join(f"gone{number}.mp4,left\n" for number in range(3))
    name = manifest(here, f"path,label\ndata/train/right/right_0001.mp4,right\n{rows}")
    refused(train(name), 1, "manifest.csv", *(f"gone{number}.mp4: no such file" for number in range(3)))


def test_manifest_with_an_unknown_column(train, here):
    name = manifest(here, "path,lable\na.mp4,left\n")
    refused(
        train(name), 1, "unknown column 'lable'. Did you mean 'label'?", "no column 'label'", "Expected path"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no column 'path'"), ("path,label\n", "holds no rows"), ("path,label\n,left\n", "line 2: no path")],
)
def test_manifest_without_rows(train, here, text, message):
    refused(train(manifest(here, text)), 1, message)


# --- settings -------------------------------------------------------------------------------------


def test_unknown_setting_gets_a_suggestion(train):
    refused(train("data", "--set", "train.learning=1"), 2, "unknown setting 'train.learning'")
    refused(
        train("data", "--set", "model.backbon=x"), 2, "unknown setting 'model.backbon'", "'model.backbone'?"
    )


def test_all_faults_of_the_settings_at_once(train):
    changes = [
        "train.lr=-1",
        "clip.length=0",
        "model.dropout=2",
        "train.optimizer=adam",
        "trian.epochs=3",
        "lr",
    ]
    result = refused(train("data", *(part for change in changes for part in ("--set", change))), 2)
    for text in (
        "train.lr: ",
        "clip.length: ",
        "model.dropout: ",
        "train.optimizer: ",
        "unknown setting 'trian.epochs'. Did you mean 'train.epochs'?",
        "--set lr: expected KEY=VALUE",
    ):
        assert text in result.stderr


@pytest.mark.parametrize(("setting", "hint"), [("model.backbone=resnet81", "Did you mean 'resnet18'?"),
                                               ("model.head=grru", "Did you mean 'gru'?")])  # fmt: skip
def test_unknown_backbone_or_head_is_found_before_videos_are_read(train, here, setting, hint):
    for path in (here / "data").rglob("*.mp4"):
        path.write_bytes(b"")  # reading them would be another error
    refused(train("data", "--set", setting), 2, f"unknown {setting.split('=')[0]}", hint)


def test_missing_weights_file(train):
    refused(train("data", "--set", "model.weights=gone.pth"), 2, "gone.pth")


def test_unknown_and_unreadable_recipes(here):
    refused(run("train", "data", "--config", "dmeo"), 2, "recipe 'dmeo'", "Did you mean 'demo'?")
    (here / "broken.yaml").write_text("clip: [")
    refused(run("train", "data", "--config", "broken.yaml"), 2, "broken.yaml: cannot be read as YAML")


def test_unknown_split(here):
    refused(run("eval", "--split", "tset"), 2, "--split tset: expected train, val, test or all")


# --- where results go -----------------------------------------------------------------------------


UNWRITABLE = ["data/test/left/left_0001.mp4/below", "/proc/vidcli-test/below"]
"""Folders that nobody can make, root included: below a file, and in a file system of the kernel's."""


@pytest.mark.parametrize("out", UNWRITABLE)
def test_unwritable_run_folder(train, out):
    if out.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc on this system")
    refused(train("data", "--out", out), 1, f"{out}: cannot be written", "choose another --out")


def test_unwritable_output_of_predict_and_eval(here):
    video, out = "data/test/left/left_0001.mp4", UNWRITABLE[0]
    refused(run("predict", video, "--output", out), 1, f"--output {out}: cannot be written")
    refused(run("eval", "--out", out, "--json"), 1, f"--out {out}: cannot be written")


@pytest.mark.parametrize("what", ["run", "folder", "file"])
def test_existing_run_folder(train, here, what):
    if what == "folder":
        (here / "mine").mkdir()
        (here / "mine" / "notes.txt").write_text("important")
    elif what == "file":
        (here / "mine").write_text("important")
    out = "trained" if what == "run" else "mine"
    result = refused(
        train("data", "--out", out), 1, f"{out}: exists and is not an empty folder; choose another --out"
    )
    # Going on is offered only where there is something to go on with.
    assert ("vidcli train --resume trained" in result.stderr) == (what == "run")


def test_demo_keeps_off_a_folder_with_other_things(here):
    before = contents(here)
    refused(run("demo", "--keep", "data", "--count", "1"), 1, "data", "empty")
    assert contents(here) == before


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["predict", "data/test/left/left_0001.mp4"], ["eval"]])
@pytest.mark.parametrize("kind", ["missing", "truncated", "text", "pickle", "foreign", "run without a model"])
def test_model_files_that_are_none(here, command, kind):
    path = here / "bad.safetensors"
    whole = (here / "trained/model.safetensors").read_bytes()
    expected = {
        "missing": "no such run directory or model file",
        "truncated": "is not a readable model file",
        "text": "is not a readable model file",
        "pickle": "is not a readable model file",
        "foreign": "is a safetensors file, but not a vidcli model",
        "run without a model": "holds no model.safetensors",
    }[kind]
    if kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "text":
        path.write_text("weights")
    elif kind == "pickle":
        torch.save({"weight": torch.zeros(2)}, path)
    elif kind == "foreign":
        safetensors.torch.save_file({"weight": torch.zeros(2)}, path)
    elif kind == "run without a model":
        path.mkdir()
    refused(run(*command, "--model", path), 1, f"{path}: {expected}")


def test_no_run_yet(here, tmp_path, monkeypatch):
    monkeypatch.delenv("VIDCLI_MODEL")
    refused(run("eval"), 1, "no run under runs/ holds a model.safetensors; train one with `vidcli train`")
    refused(run("train", "--resume"), 1, "no run under runs/ holds a resume.pt")


def test_eval_of_a_lone_model_file_asks_for_data(here):
    Path("lone").mkdir()
    shutil.copy("trained/model.safetensors", "lone/m.safetensors")
    refused(run("eval", "--model", "lone/m.safetensors"), 1, "lone: holds no splits.csv; name the DATA")


def test_resume_of_what_is_no_run(here):
    for folder in ("nowhere", "data"):
        refused(
            run("train", "--resume", folder),
            1,
            f"{folder}: holds no resume.pt; expected the directory of a run",
        )


# --- devices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [["train", "data"], ["eval"], ["predict", "data"], ["train", "--resume", "trained"]]
)
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_where_there_is_none(here, monkeypatch, command, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    before = contents(here)
    refused(
        run(*command, "--device", device), 2, f"--device {device}: not found on this machine; there is", "cpu"
    )
    assert contents(here) == before


def test_unknown_device(here):
    refused(
        run("predict", "data", "--device", "gpu"), 2, "--device gpu: expected auto, cpu, cuda, cuda:N or mps"
    )
