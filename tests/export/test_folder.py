"""What `vidcli export` may replace and delete in a folder: its own files, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tests.forks import run_forked
from vidcli.artifacts.description import Checkpoint, describe_checkpoint
from vidcli.artifacts.engines import NETWORK_FILES
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.commands.app import app
from vidcli.config import Config
from vidcli.data.manifest import load_items, manifest_text
from vidcli.errors import ExportError
from vidcli.export import ExportOptions, ExportReport, export_model, exporter
from vidcli.models import build_model
from vidcli.models.calibration import UNCALIBRATED, Calibration

NAMES = ("clockwise", "counter-clockwise", "down", "in", "left", "out", "right", "up")


@pytest.fixture(scope="module")
def checkpoint(small_config: Callable[..., Config]) -> Checkpoint:
    torch.manual_seed(0)
    config = small_config()
    return Checkpoint(build_model(config.model, len(NAMES)).state_dict(), config, NAMES)


@pytest.fixture
def run_folder(checkpoint: Checkpoint, motion_data: Path, tmp_path: Path) -> Path:
    """A run directory of a model that was never trained."""
    folder = tmp_path / "run"
    folder.mkdir()
    save_checkpoint(folder / "model.safetensors", checkpoint)
    (folder / "splits.csv").write_text(manifest_text(load_items(motion_data)))
    return folder


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the work by files that name its number; return the formats that were made."""
    done: list[str] = []

    def make(
        checkpoint: Checkpoint, items: object, folder: Path, options: ExportOptions, on_step: object
    ) -> tuple[ExportReport, dict[str, bytes], Calibration]:
        done.append(options.form)
        files = {name: f"{name} {len(done)}".encode() for name in NETWORK_FILES[options.form]}
        report = ExportReport(folder, options.form, "float32", 1, 0.0, 1.0, 9)
        return report, files, UNCALIBRATED

    monkeypatch.setattr(exporter, "_make", make)
    return done


def export(run_folder: Path, *options: object) -> Any:
    words = ["export", "--model", str(run_folder), *map(str, options)]
    return CliRunner().invoke(app, words, env={"COLUMNS": "300"})


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".vidcli-export.json"
    }


def test_an_earlier_export_is_replaced_and_nothing_else(
    run_folder: Path, made: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert export(run_folder, "--format", "openvino", "--out", out).exit_code == 0
    (out / "eval-test").mkdir()
    (out / "eval-test" / "eval.json").write_text("{}")
    (out / "notes.txt").write_text("mine")
    again = export(run_folder, "--format", "onnx", "--out", out)
    assert again.exit_code == 0, again.output
    found = contents(out)
    assert set(found) == {"eval-test/eval.json", "notes.txt", "model.onnx", "vidcli.json"}
    assert found["model.onnx"] == b"model.onnx 2"
    assert json.loads(found["vidcli.json"])["export"]["format"] == "onnx"


def test_a_file_that_was_changed_since_is_not_replaced(
    run_folder: Path, made: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert export(run_folder, "--format", "onnx", "--out", out).exit_code == 0
    (out / "model.onnx").write_bytes(b"quantised by hand")
    refused = export(run_folder, "--format", "onnx", "--out", out)
    assert refused.exit_code == 2
    assert "model.onnx: exists; choose another file, or replace it with --overwrite" in refused.stderr
    other = export(run_folder, "--format", "openvino", "--out", out)  # its own files, beside it
    assert other.exit_code == 0, other.output
    assert (out / "model.onnx").read_bytes() == b"quantised by hand"
    assert made == ["onnx", "openvino"]


@pytest.mark.parametrize(
    "planted",
    [
        {"vidcli.json": b"{}"},
        {"vidcli.json": b'{"export": {"format": "onnx", "precision": "float32", "files": {}}}'},
        {"thesis.txt": b"precious"},
        {"model.onnx": b"mine"},
        {".vidcli-eval.json": b"{}"},
        {"sub/clip.mp4": b"a video"},
    ],
    ids=lambda planted: next(iter(planted)),
)
def test_a_foreign_folder_is_refused_before_the_work(
    planted: dict[str, bytes], run_folder: Path, made: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name, content in planted.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    refused = export(run_folder, "--format", "onnx", "--out", out)
    assert refused.exit_code == 2
    assert "holds other files than those of `vidcli export`" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert (contents(out), made) == (planted, [])
    beside = export(run_folder, "--format", "onnx", "--out", out, "--overwrite")
    assert beside.exit_code == 0, beside.output
    kept = {name: content for name, content in planted.items() if name not in ("vidcli.json", "model.onnx")}
    assert kept.items() <= contents(out).items()
    assert contents(out)["model.onnx"] == b"model.onnx 1"


def test_an_export_of_an_earlier_version_is_its_own_record(
    run_folder: Path, made: list[str], checkpoint: Checkpoint, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.xml").write_bytes(b"graph")
    (out / "model.bin").write_bytes(b"weights")
    (out / "eval-val").mkdir()
    (out / "eval-val" / "eval.json").write_bytes(b"{}")
    digests = {
        name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in NETWORK_FILES["openvino"]
    }
    about = describe_checkpoint(checkpoint)
    about["export"] = {"format": "openvino", "precision": "float32", "files": digests}
    (out / "vidcli.json").write_text(json.dumps(about))
    (out / "model.bin").write_bytes(b"damaged")
    before = contents(out)
    refused = export(run_folder, "--format", "onnx", "--out", out)
    assert refused.exit_code == 2
    assert (contents(out), made) == (before, [])
    (out / "model.bin").write_bytes(b"weights")
    done = export(run_folder, "--format", "onnx", "--out", out)
    assert done.exit_code == 0, done.output
    assert set(contents(out)) == {"model.onnx", "vidcli.json", "eval-val/eval.json"}


def test_models_and_data_are_never_replaced(
    run_folder: Path, made: list[str], motion_data: Path, tmp_path: Path
) -> None:
    refused = export(run_folder, "--format", "onnx", "--out", run_folder)
    assert refused.exit_code == 2
    assert "holds other files" in refused.stderr
    of_data = export(
        run_folder, "--format", "onnx", "--data", motion_data, "--out", motion_data, "--overwrite"
    )
    assert of_data.exit_code == 2
    assert "is an input of this command, which is never" in of_data.stderr
    assert made == []
    video = next((motion_data / "train" / "left").iterdir())
    (tmp_path / "out").mkdir()
    os.link(video, tmp_path / "out" / "model.onnx")  # another name of a video that is read
    linked = export(run_folder, "--format", "onnx", "--out", tmp_path / "out", "--overwrite")
    assert linked.exit_code == 2
    assert "model.onnx: is an input of this command, which is never replaced" in linked.stderr


@pytest.mark.parametrize("kind", ["link", "dangling", "folder"])
def test_what_is_no_file_in_the_place_of_one(
    kind: str, run_folder: Path, made: list[str], tmp_path: Path
) -> None:
    out, target = tmp_path / "out", tmp_path / "target"
    assert export(run_folder, "--format", "onnx", "--out", out).exit_code == 0
    (out / "model.onnx").unlink()
    if kind == "folder":
        (out / "model.onnx").mkdir()
    else:
        (out / "model.onnx").symlink_to(target)
    if kind == "link":
        target.write_text("mine")
    refused = export(run_folder, "--format", "onnx", "--out", out)
    assert refused.exit_code == 2
    assert target.exists() == (kind == "link")
    assert made == ["onnx"]


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_place_that_cannot_be_a_folder_is_refused_before_the_work(
    out: str, run_folder: Path, made: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    assert export(run_folder, "--format", "onnx", "--out", tmp_path / out).exit_code in (1, 2)
    assert made == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_export_leaves_the_earlier_one(
    run_folder: Path, made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert export(run_folder, "--format", "onnx", "--out", out).exit_code == 0
    before = contents(out)

    def fail(*args: object) -> None:
        raise ExportError("the model cannot be traced")

    monkeypatch.setattr(exporter, "_make", fail)
    assert export(run_folder, "--format", "onnx", "--out", out).exit_code == 1
    assert contents(out) == before
    assert export(run_folder, "--format", "onnx", "--out", tmp_path / "new").exit_code == 1
    assert not (tmp_path / "new").exists()


_KILLED = """
import os, signal, sys
from vidcli.commands import app
from vidcli.export import ExportReport, exporter
from vidcli.models.calibration import UNCALIBRATED
from vidcli.runtime import files
def make(checkpoint, items, folder, options, on_step):
    report = ExportReport(folder, options.form, "float32", 1, 0.0, 1.0, 9)
    return report, {"model.pt2": b"first"}, UNCALIBRATED
exporter._make = make
replace = os.replace
def die(source, target):
    if str(target).endswith(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
files.os.replace = die
files.rename_new = die
app(["export", "--model", sys.argv[2], "--format", "torch-export", "--out", sys.argv[3]])
"""


@pytest.mark.parametrize(
    "at",
    [
        "model.pt2",
        pytest.param("vidcli.json", marks=pytest.mark.slow),
        pytest.param(".vidcli-export.json", marks=pytest.mark.slow),
    ],
)
def test_what_a_kill_leaves_is_taken_up_by_the_next(
    at: str, run_folder: Path, made: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    killed = run_forked(["-c", _KILLED, at, run_folder, out])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("run", "out")] == []
    # As OpenVINO's two files are left, which have names of their own for a moment.
    (out / ".vidcli-0123456789abcdef.tmp.xml").write_text("half")
    (out / ".vidcli-0123456789abcdef.tmp.bin").write_text("half")
    done = export(run_folder, "--format", "torch-export", "--out", out)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == [".vidcli-export.json", "model.pt2", "vidcli.json"]


def test_weights_beyond_what_onnx_holds_are_refused_before_the_work(
    checkpoint: Checkpoint, tmp_path: Path, made: list[str]
) -> None:
    with torch.device("meta"):
        weights = {"w": torch.empty(2**29)}  # two GiB, of which nothing is there
    large = Checkpoint(weights, checkpoint.config, NAMES)
    for form in ("onnx", "openvino"):
        with pytest.raises(ExportError, match=r"weights take 2\.0 GiB, .*use --format torch-export"):
            export_model(large, [], tmp_path / "out", ExportOptions(form), lambda text: None)
    assert list(tmp_path.iterdir()) == []
