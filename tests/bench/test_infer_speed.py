"""The inference benchmark measures what it names, and compares equal networks only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidcli.bench import infer_speed as infer
from vidcli.commands.app import app
from vidcli.config import load_config

NETWORK = {"simple": ("model.backbone=simple_cnn", "model.shift=off", "model.frame_differences=false")}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("infer")
    return infer.make_bench_models(folder, NETWORK, 32, lambda text: None)


def test_rows_and_summary(models: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "_TURN_SECONDS", 0.02)
    measure = infer._measure_memory

    def measure_one(path: Path, runtime: str) -> float | None:
        """Start a process for one of them only: each takes seconds."""
        return measure(path, runtime) if path == openvino else 0.5

    monkeypatch.setattr(infer, "_measure_memory", measure_one)
    run, _, onnx_int8, openvino, _ = models
    *rows, summary = infer.bench_infer([run, onnx_int8, openvino], rounds=2, with_compile=False)
    assert [row["runtime"] for row in rows] == ["torch eager", "onnx int8", "openvino float32"]
    eager = rows[0]["milliseconds"]
    assert rows[0]["speedup"] == 1
    for row in rows:
        assert row["network"] == "simple_cnn + gru, 16x32x32"
        assert row["clips_per_second"] == pytest.approx(1000 / row["milliseconds"], rel=0.02)
        assert row["speedup"] == pytest.approx(eager / row["milliseconds"], rel=0.02)
    assert [row["memory_mib"] for row in rows[:2]] == [0.5, 0.5]
    assert rows[2]["memory_mib"] > 1  # a runtime of its own takes more than that
    best = max(row["speedup"] for row in rows[1:])
    assert summary["speedup"] == best
    assert max(summary["speedups"]["simple_cnn + gru, 16x32x32"].values()) == best


def test_networks_that_compute_differently_are_not_compared() -> None:
    names = {infer._name_network(load_config(None, settings)) for settings in infer.NETWORKS.values()}
    assert len(names) == len(infer.NETWORKS)


def test_what_exists_is_not_made_again(models: list[Path]) -> None:
    steps: list[str] = []
    assert infer.make_bench_models(models[0].parent, NETWORK, 32, steps.append) == models
    assert steps == []


def test_without_torch_there_is_nothing_to_compare(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infer, "_measure_memory", lambda path, runtime: None)
    result = CliRunner().invoke(
        app, ["bench", "infer", "--model", str(models[1]), "--rounds", "1", "--no-compile", "--json"]
    )
    assert result.exit_code == 0, result.output
    row, summary = (json.loads(line) for line in result.stdout.splitlines())
    assert row["speedup"] is None
    assert summary["speedup"] is None
    missing = CliRunner().invoke(app, ["bench", "infer", "--model", str(tmp_path / "none")])
    assert missing.exit_code == 1
    assert "no such run directory" in missing.stderr
