"""`vidcli bench serve` loads a server: nothing is lost, and each answer has the bits of prediction."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.bench.serve_speed import bench_serve
from vidcli.commands.app import app
from vidcli.config import Config
from vidcli.errors import DataError, VidcliError
from vidcli.models import build_model
from vidcli.predict import Predictor

NAMES = ("left", "right", "up")


@pytest.fixture(scope="module")
def model(small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = small_config()
    path = tmp_path_factory.mktemp("bench") / "model.safetensors"
    save_checkpoint(path, Checkpoint(build_model(config.model, len(NAMES)).state_dict(), config, NAMES))
    return path


def test_nothing_is_lost_under_load(model: Path, write_video: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(6):
        write_video(tmp_path / "videos" / f"{number}.mp4", seed=number)
    (tmp_path / "videos" / "bad.mp4").write_bytes(b"no video")
    command = ["bench", "serve", tmp_path / "videos", "--model", model, "--clients", "12", "--rounds", "2"]
    done = CliRunner().invoke(app, [*map(str, command), "--device", "cpu", "--json"])
    assert done.exit_code == 1, done.output  # of the bad one
    *rows, summary = (json.loads(line) for line in done.stdout.splitlines())
    assert [row["round"] for row in rows] == [1, 2]
    assert (summary["num_videos"], summary["num_failed"], summary["clients"]) == (6, 1, 12)
    assert (summary["same_bits"], summary["num_lost"], summary["num_refused"]) == (True, 0, 18)
    assert summary["p99_ms"] >= summary["p50_ms"] > 0
    assert summary["alone_ms"] > 0


def test_an_answer_with_other_bits_is_seen(
    model: Path, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    predictor = Predictor.load(model, torch.device("cpu"))
    with torch.no_grad():
        next(predictor.network.parameters()).add_(1e-3)
    *_, summary = bench_serve(predictor, model, [write_video(tmp_path / "a.mp4")], 2, 1)
    assert (summary["same_bits"], summary["num_lost"]) == (False, 0)


def test_a_server_that_does_not_start_is_told(
    model: Path, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    predictor = Predictor.load(model, torch.device("cpu"))
    with pytest.raises(VidcliError, match=r"did not start: .*gone"):
        list(bench_serve(predictor, tmp_path / "gone", [write_video(tmp_path / "a.mp4")], 2, 1))


def test_nothing_to_measure(model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="none of these videos can be decoded"):
        list(bench_serve(Predictor.load(model, torch.device("cpu")), model, [tmp_path / "bad.mp4"], 2, 1))
