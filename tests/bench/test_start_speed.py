"""`vidcli bench start` measures whole processes, and tells which of them import torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.bench import start_speed
from vidcli.bench.start_speed import bench_start
from vidcli.commands.app import app
from vidcli.config import Config
from vidcli.console import Terminal, Verbosity
from vidcli.console.bench_tables import print_start_bench
from vidcli.data.items import VideoItem
from vidcli.errors import DataError
from vidcli.export import ExportOptions, export_model
from vidcli.models import build_model


@pytest.fixture(scope="module")
def checkpoint(small_config: Callable[..., Config]) -> Checkpoint:
    """A model of two classes with random weights."""
    torch.manual_seed(0)
    config = small_config()
    return Checkpoint(build_model(config.model, 2).state_dict(), config, ("a", "b"))


def test_a_row_a_model_beside_importing_torch(
    checkpoint: Checkpoint, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    video, model, export = write_video(tmp_path / "v.mp4"), tmp_path / "m.safetensors", tmp_path / "onnx"
    save_checkpoint(model, checkpoint)
    export_model(checkpoint, [VideoItem(video, "a", "val")], export, ExportOptions("onnx"), lambda text: None)
    words = ["bench", "start", str(video), "--model", str(model), "--model", str(export), "--rounds", "1"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.stderr
    *rows, summary = (json.loads(line) for line in result.stdout.splitlines())
    assert [row["model"] for row in rows] == [None, str(model), str(export)]
    assert [row["imports_torch"] for row in rows] == [True, True, False]
    assert all(row["seconds"] > 0 for row in rows)
    assert rows[0]["of_torch"] == 1
    assert rows[2]["cpu_seconds"] < rows[1]["cpu_seconds"]
    assert summary["seconds"] == min(row["seconds"] for row in rows[1:])


def test_a_command_that_fails_is_named(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_speed, "TORCH", "pass")  # comes first, and takes seconds
    save_checkpoint(tmp_path / "m.safetensors", checkpoint)
    with pytest.raises(DataError, match=r"predict .*none\.mp4 .* fails, and cannot be measured"):
        list(bench_start([tmp_path / "m.safetensors"], tmp_path / "none.mp4", 1))


def test_the_table_tells_who_imports_torch(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"model": None, "imports_torch": True, "seconds": 2.0, "cpu_seconds": 1.9, "of_torch": 1.0},
        {"model": "runs/a", "imports_torch": False, "seconds": 0.6, "cpu_seconds": 0.5, "of_torch": 0.263},
    ]
    print_start_bench(Terminal.open(Verbosity.NORMAL), rows)
    first, second = (line for line in capsys.readouterr().out.splitlines() if "0" in line)
    assert "import torch" in first
    assert "yes" in first
    for text in ("runs/a", "no", "0.60", "0.50", "0.26x"):
        assert text in second
