from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from vidcli import checkpoint as files
from vidcli.calibrate import UNCALIBRATED, Calibration
from vidcli.checkpoint import (
    Checkpoint,
    find_model,
    load_checkpoint,
    load_resume,
    newest_run,
    save_checkpoint,
    save_resume,
)
from vidcli.config import Config
from vidcli.errors import CheckpointError, WriteError
from vidcli.models import build_model

CLASS_NAMES = ("läuft", "sits, still", "x")


@pytest.fixture
def saved(small_config: Callable[..., Config]) -> Checkpoint:
    """A model as training would save it."""
    config = small_config()
    torch.manual_seed(0)
    weights = build_model(config.model, len(CLASS_NAMES)).state_dict()
    return Checkpoint(
        weights,
        config,
        CLASS_NAMES,
        {"val_top1": 1 / 3, "epoch": 4, "val_loss": None},
        "f00",
        Calibration(1.7, 12),
    )


@pytest.fixture
def model_file(saved: Checkpoint, tmp_path: Path) -> Path:
    path = tmp_path / "run" / files.MODEL_FILE
    path.parent.mkdir()
    save_checkpoint(path, saved)
    return path


def metadata_of(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()["vidcli"]))


def rewrite_metadata(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    about = metadata_of(path)
    change(about)
    blob = safetensors.torch.save(safetensors.torch.load_file(path), {"vidcli": json.dumps(about)})
    path.write_bytes(blob)


# --- the model file -------------------------------------------------------------------------------


def test_round_trip_is_equal_to_the_bit(saved: Checkpoint, model_file: Path) -> None:
    loaded = load_checkpoint(model_file)
    assert loaded.weights.keys() == saved.weights.keys()
    for name, tensor in saved.weights.items():
        assert loaded.weights[name].dtype == tensor.dtype
        assert torch.equal(loaded.weights[name], tensor), name
    assert replace(loaded, weights={}) == replace(saved, weights={})


def test_a_model_file_without_a_calibration_is_read_as_uncalibrated(model_file: Path) -> None:
    rewrite_metadata(model_file, lambda about: about.pop("calibration"))
    assert load_checkpoint(model_file).calibration == UNCALIBRATED


@pytest.mark.parametrize("calibration", [{"temperature": 0}, {"temperature": "hot"}, {"heat": 1}, 3])
def test_a_calibration_that_cannot_be_is_refused(model_file: Path, calibration: object) -> None:
    rewrite_metadata(model_file, lambda about: about.update(calibration=calibration))
    with pytest.raises(CheckpointError, match="settings that this version does not know"):
        load_checkpoint(model_file)


def test_the_loaded_model_computes_the_same(saved: Checkpoint, model_file: Path) -> None:
    clips = torch.randn(2, 4, 3, 32, 32)
    before, after = saved.build(), load_checkpoint(model_file).build()
    assert not after.training
    with torch.inference_mode():
        assert torch.equal(before(clips), after(clips))


def test_the_metadata_tells_all_that_prediction_needs(saved: Checkpoint, model_file: Path) -> None:
    about = metadata_of(model_file)
    assert about["format_version"] == files.FORMAT_VERSION
    assert about["class_names"] == list(CLASS_NAMES)
    assert about["preprocessing"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert about["config"]["clip"]["length"] == 4
    assert about["metrics"] == saved.metrics


def test_no_path_of_this_machine_is_in_the_file(saved: Checkpoint, tmp_path: Path) -> None:
    start = tmp_path / "private" / "start.safetensors"
    config = saved.config.model_copy(
        update={"model": saved.config.model.model_copy(update={"weights": str(start)})}
    )
    path = tmp_path / files.MODEL_FILE
    save_checkpoint(path, replace(saved, config=config))
    assert str(tmp_path).encode() not in path.read_bytes()
    loaded = load_checkpoint(path)
    assert loaded.config.model.weights == "start.safetensors"
    loaded.build()  # without that file


def test_equal_models_give_equal_files(saved: Checkpoint, model_file: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "again.safetensors", saved)
    assert (tmp_path / "again.safetensors").read_bytes() == model_file.read_bytes()


# --- files that are no model ----------------------------------------------------------------------


@pytest.mark.parametrize("num_bytes", [0, 4, 100, 5000, -1])
def test_truncated_files_are_refused(num_bytes: int, model_file: Path) -> None:
    model_file.write_bytes(model_file.read_bytes()[:num_bytes])
    with pytest.raises(CheckpointError, match=r"run.model\.safetensors: is not a readable model file"):
        load_checkpoint(model_file)


@pytest.mark.parametrize("content", [b"just some text\n", b"PK\x03\x04", os.urandom(2000)])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"not a readable model file .*Expected model\.safetensors"):
        load_checkpoint(path)


def test_weights_of_something_else_are_told_from_a_model(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"not a vidcli model .*--set model\.weights=FILE"):
        load_checkpoint(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such model file"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_a_folder_is_no_model_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a readable model file"):
        load_checkpoint(tmp_path)


def test_a_later_format_is_refused(model_file: Path) -> None:
    rewrite_metadata(model_file, lambda about: about.update(format_version=99))
    with pytest.raises(CheckpointError, match="format version 99, this vidcli reads 1; use the version"):
        load_checkpoint(model_file)


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "{}", "{"])
def test_metadata_of_another_kind_is_refused(text: str, model_file: Path) -> None:
    weights = safetensors.torch.load_file(model_file)
    model_file.write_bytes(safetensors.torch.save(weights, {"vidcli": text}))
    with pytest.raises(CheckpointError, match=r"format version None|not a readable model file"):
        load_checkpoint(model_file)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda about: about["config"]["clip"].update(colour="grey"), r"clip\.colour"),
        (lambda about: about["config"]["clip"].update(length=0), r"clip\.length"),
        (lambda about: about.pop("class_names"), "class_names"),
    ],
    ids=["unknown", "out of range", "missing"],
)
def test_settings_of_another_version_are_refused(
    change: Callable[[dict[str, Any]], object], named: str, model_file: Path
) -> None:
    rewrite_metadata(model_file, change)
    with pytest.raises(CheckpointError, match=f"settings that this version does not know: .*{named}"):
        load_checkpoint(model_file)


def test_weights_that_do_not_fit_the_settings_are_refused(model_file: Path) -> None:
    rewrite_metadata(model_file, lambda about: about["config"]["model"].update(hidden=24))
    with pytest.raises(CheckpointError, match="weights do not fit"):
        load_checkpoint(model_file).build()


# --- writing --------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there(saved: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot be written"):
        save_checkpoint(tmp_path / "gone" / "m.safetensors", saved)


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
        (run / files.MODEL_FILE).touch()
        os.utime(run / files.MODEL_FILE, (1000 - age, 1000 - age))
    Path("runs", "d").mkdir()  # newer, but without a model
    assert find_model(None) == Path("runs/b", files.MODEL_FILE)
    assert newest_run(files.MODEL_FILE) == Path("runs/b")


def test_no_model_says_what_to_do(in_tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no run under runs/ .*`vidcli train`, or name a model"):
        find_model(None)
    with pytest.raises(CheckpointError, match="gone: no such run directory or model file"):
        find_model("gone")
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        find_model(in_tmp_path)


# --- resume state ---------------------------------------------------------------------------------


def test_resume_state_round_trip(tmp_path: Path) -> None:
    state = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(2.5)}}}, "rows": [{"loss": 0.5}]}
    save_resume(tmp_path / "resume.pt", state)
    assert load_resume(tmp_path / "resume.pt") == state


class _Intruder:
    """Makes a file where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))]
)
def test_pickled_code_is_refused_and_not_run(save: Callable[[Any, Path], object], tmp_path: Path) -> None:
    path, trace = tmp_path / "resume.pt", tmp_path / "trace"
    save({"epoch": _Intruder(trace)}, path)
    with pytest.raises(CheckpointError, match="is not a readable resume state") as caught:
        load_resume(path)
    assert not trace.exists()
    assert "weights_only" not in str(caught.value)  # no advice on how to run it after all


@pytest.mark.parametrize("content", [b"", b"some text", b"PK\x03\x04 broken"])
def test_damaged_resume_states_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a readable resume state"):
        load_resume(path)


def test_other_resume_states_are_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "resume.pt")
    with pytest.raises(CheckpointError, match="is not a resume state"):
        load_resume(tmp_path / "resume.pt")
    with pytest.raises(CheckpointError, match="no such file; this run has saved no state"):
        load_resume(tmp_path / "gone.pt")
