"""Which run or model a command means, and whether a run is finished."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vidcli.artifacts.run_folder import (
    LOCK_FILE,
    METRICS_FILE,
    MODEL_FILE,
    describe_unfinished,
    find_model,
    newest_run,
)
from vidcli.config import Config
from vidcli.errors import CheckpointError


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "run" / MODEL_FILE
    path.parent.mkdir()
    path.touch()
    return path


# --- finding a model ------------------------------------------------------------------------------


def test_a_model_is_found_by_run_or_file(model_file: Path) -> None:
    assert find_model(model_file.parent) == find_model(str(model_file)) == model_file


def test_the_environment_names_a_model(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDCLI_MODEL", str(model_file.parent))
    assert find_model(None) == model_file
    assert find_model(model_file) == model_file


def test_the_newest_run_is_the_default(in_tmp_path: Path) -> None:
    for age, name in enumerate(("b", "c", "a")):
        run = Path("runs", name)
        run.mkdir(parents=True)
        (run / MODEL_FILE).touch()
        os.utime(run / MODEL_FILE, (1000 - age, 1000 - age))
    Path("runs", "d").mkdir()  # newer, but without a model
    assert find_model(None) == Path("runs/b", MODEL_FILE)
    assert newest_run(MODEL_FILE) == Path("runs/b")


def test_no_model_says_what_to_do(in_tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no run under runs/ .*`vidcli train`, or name a model"):
        find_model(None)
    with pytest.raises(CheckpointError, match="gone: no such run directory or model file"):
        find_model("gone")
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        find_model(in_tmp_path)


# --- runs that are not finished -------------------------------------------------------------------


def write_rows(run: Path, *accuracies: float) -> None:
    rows = [
        {"epoch": n, "val_top1": accuracy, "val_loss": 1.0} for n, accuracy in enumerate(accuracies, start=1)
    ]
    (run / METRICS_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_run_with_epochs_left_is_not_finished(
    model_file: Path, small_config: Callable[..., Config]
) -> None:
    config = small_config(train__epochs=9, train__patience=2)
    assert describe_unfinished(model_file, config) is None  # of which nothing is known
    write_rows(model_file.parent, 0.5, 0.6, 0.6)
    told = describe_unfinished(model_file, config)
    assert told is not None
    assert "after 3 of 9 epochs" in told
    write_rows(model_file.parent, 0.5, 0.6, 0.6, 0.6)  # stopped early
    assert describe_unfinished(model_file, config) is None
    write_rows(model_file.parent, *[n / 10 for n in range(9)])
    assert describe_unfinished(model_file, config) is None


def test_a_run_with_its_lock_is_not_finished(model_file: Path, small_config: Callable[..., Config]) -> None:
    (model_file.parent / LOCK_FILE).touch()
    told = describe_unfinished(model_file, small_config())
    assert told is not None
    assert "before its first epoch ended" in told
    write_rows(model_file.parent, 0.5)
    assert "after 1 of 1 epochs" in str(describe_unfinished(model_file, small_config()))
    (model_file.parent / METRICS_FILE).write_bytes(b"\xff[")  # no reason not to predict
    assert describe_unfinished(model_file, small_config()) == told
    assert describe_unfinished(model_file.with_name("copy.safetensors"), small_config()) is None
