"""The model file: it comes back to the bit, and what is none is refused with a reason."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from vidcli.artifacts import model_file as model_file_module
from vidcli.artifacts.description import FORMAT_VERSION, Checkpoint
from vidcli.artifacts.model_file import load_checkpoint, save_checkpoint
from vidcli.artifacts.run_folder import MODEL_FILE, find_model
from vidcli.config import Config
from vidcli.errors import CheckpointError, WriteError
from vidcli.models import build_model
from vidcli.models.calibration import UNCALIBRATED, Calibration

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
    path = tmp_path / "run" / MODEL_FILE
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
    assert about["format_version"] == FORMAT_VERSION
    assert about["class_names"] == list(CLASS_NAMES)
    assert about["preprocessing"]["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert about["config"]["clip"]["length"] == 4
    assert about["metrics"] == saved.metrics


def test_metrics_that_are_no_numbers_do_not_spoil_the_file(saved: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / MODEL_FILE
    save_checkpoint(path, replace(saved, metrics={"val_loss": float("nan"), "val_top1": 0.5}))
    assert load_checkpoint(path).metrics == {"val_loss": None, "val_top1": 0.5}


def test_no_path_of_this_machine_is_in_the_file(saved: Checkpoint, tmp_path: Path) -> None:
    start = tmp_path / "private" / "start.safetensors"
    config = saved.config.model_copy(
        update={"model": saved.config.model.model_copy(update={"weights": str(start)})}
    )
    path = tmp_path / MODEL_FILE
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


# --- files that somebody made up ------------------------------------------------------------------


def set_at(*path: str, value: object) -> Callable[[dict[str, Any]], object]:
    def change(about: dict[str, Any]) -> None:
        for name in path[:-1]:
            about = about[name]
        about[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["format_version"], True, "format version True"),
        (["format_version"], 10**300, "format version 1000"),
        (["class_names"], [], "class_names"),
        (["class_names"], "xyz", "class_names 'xyz'"),
        (["class_names"], ["a", "b", 3], "class_names with 3"),
        (["class_names"], ["a", "b", " "], "class_names with ' '"),
        (["class_names"], ["a", "b", "a"], "class_names of which two are the same"),
        (["class_names"], ["a", "b", "c" * 10**6], "expected names of 1 to 1000 characters"),
        (["class_names"], ["a", "b", "\ud800"], "class_names with"),
        (["class_names"], ["a", "b"], "do not fit the model's settings"),
        (["metrics"], [], "metrics"),
        (["metrics"], {"top1": "high"}, "'top1' 'high', expected a number"),
        (["metrics"], {"x" * 10**6: 1}, "metrics"),
        (["fingerprint"], 7, "fingerprint 7"),
        (["fingerprint"], "x" * 10**6, "fingerprint"),
        (["preprocessing"], {"mean": [0, 0, 0]}, "preprocessing"),
        (["preprocessing", "channels"], "BGR", "preprocessing"),
        (["calibration"], {"thresholds": [0.5, 0.5, 0.5]}, "with data.multi_label=false"),
        (["calibration"], {"thresholds": [0.5]}, "one for each of 3 classes"),
        (["calibration"], {"thresholds": "aaa"}, "one for each of 3 classes"),
        (["calibration"], {"temperature": True}, "expected numbers"),
        (["calibration"], {"num_videos": 0.5}, "expected numbers"),
        (["calibration"], {"num_videos": 10**400}, "expected numbers"),
        (["config"], [], "config"),
        (["config", "model"], {f"a{number}": 1 for number in range(10**5)}, "and 99980 more"),
        (["config", "model", "backbone"], "x" * 10**6, "unknown model.backbone"),
        (["config", "model", "head"], ["gru"], "model.head"),
        (["config", "model", "width"], "9" * 5000, "model.width"),
        (["config", "model", "hidden"], 4096, "do not fit the model's settings"),
        (["config", "train", "seed"], 10**30, "train.seed"),
        (["config", "clip", "stride_seconds"], "nan", "clip.stride_seconds"),
    ],
)
def test_descriptions_that_cannot_be_are_named(
    path: list[str], value: object, told: str, model_file: Path
) -> None:
    rewrite_metadata(model_file, set_at(*path, value=value))
    with pytest.raises(CheckpointError, match=re.escape(told)) as caught:
        load_checkpoint(model_file)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"format_version": %s}' % ("9" * 5000),
        '{"format_version": NaN}',
        '{"format_version": 1, "format_version": 1}',
        " " * (9 * 2**20),
    ],
    ids=["list", "dict", "digits", "nan", "twice", "long"],
)
def test_metadata_that_is_made_to_break_readers(text: str, model_file: Path) -> None:
    weights = safetensors.torch.load_file(model_file)
    model_file.write_bytes(safetensors.torch.save(weights, {"vidcli": text}))
    with pytest.raises(CheckpointError, match="is not a readable model file") as caught:
        load_checkpoint(model_file)
    assert len(str(caught.value)) < 500


def test_memory_that_settings_ask_for_is_bounded(model_file: Path) -> None:
    rewrite_metadata(
        model_file, lambda about: about["config"]["clip"].update(length=512, size="1024x1024", views=6)
    )
    with pytest.raises(CheckpointError, match=r"asks for 6144 MiB, where 512 MiB are the most"):
        load_checkpoint(model_file)


def test_nothing_is_built_for_weights_of_other_shapes(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of 40 GB of weights is refused by their shapes alone."""
    rewrite_metadata(
        model_file,
        lambda about: about["config"]["model"].update(
            head="lstm", hidden=4096, layers=24, bidirectional=True
        ),
    )
    on_devices: list[str] = []
    build = build_model

    def recorded(*args: Any, **kwargs: Any) -> Any:
        model = build(*args, **kwargs)
        on_devices.extend({parameter.device.type for parameter in model.parameters()})
        return model

    monkeypatch.setattr(model_file_module, "build_model", recorded)
    with pytest.raises(CheckpointError, match=r"and \d+ more"):
        load_checkpoint(model_file)
    assert on_devices == ["meta"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensor: tensor.fill_(float("nan")), "no finite numbers"),
        (lambda tensor: tensor.fill_(float("inf")), "no finite numbers"),
        (lambda tensor: tensor.to(torch.float8_e4m3fn), "of the type F8_E4M3"),
        (lambda tensor: tensor.to(torch.int64), "of the type I64"),
        (lambda tensor: tensor[:-1], "instead of"),
    ],
    ids=["nan", "infinite", "float8", "whole", "short"],
)
def test_weights_that_are_none_are_named(
    change: Callable[[torch.Tensor], torch.Tensor], told: str, model_file: Path
) -> None:
    about, weights = metadata_of(model_file), safetensors.torch.load_file(model_file)
    name = "head.output.weight"
    weights[name] = change(weights[name]).contiguous()
    model_file.write_bytes(safetensors.torch.save(weights, {"vidcli": json.dumps(about)}))
    with pytest.raises(CheckpointError, match=told):
        load_checkpoint(model_file)


def test_names_of_unknown_weights_do_not_reach_the_terminal_as_they_are(model_file: Path) -> None:
    about, weights = metadata_of(model_file), safetensors.torch.load_file(model_file)
    weights["\x1b[31m" * 1000] = torch.zeros(1)
    model_file.write_bytes(safetensors.torch.save(weights, {"vidcli": json.dumps(about)}))
    with pytest.raises(CheckpointError, match="is unknown") as caught:
        load_checkpoint(model_file)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_claims_more_than_memory_holds(model_file: Path) -> None:
    about = json.dumps(metadata_of(model_file))
    num_bytes = 4 * 10**10
    header = {"__metadata__": {"vidcli": about}}
    header["a"] = {"dtype": "F32", "shape": [num_bytes // 4], "data_offsets": [0, num_bytes]}
    text = json.dumps(header).encode()
    with model_file.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + num_bytes)  # a hole, which takes no space on the disk
    with pytest.raises(CheckpointError, match=r"do not fit|unable to mmap"):
        load_checkpoint(model_file)


@pytest.mark.parametrize("length", [2**63, 200 * 2**20, 99 * 2**20])
def test_a_header_longer_than_the_file(length: int, model_file: Path) -> None:
    model_file.write_bytes(length.to_bytes(8, "little") + b'{"__metadata__":{"vidcli":"')
    with pytest.raises(CheckpointError, match="is not a readable model file"):
        load_checkpoint(model_file)


def test_what_is_no_regular_file_is_named_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(CheckpointError, match=f"is {kind}, where a regular file was expected"):
            load_checkpoint(find_model(path))
    with pytest.raises(CheckpointError, match="no such run directory"):
        find_model("x" * 5000)


# --- writing --------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there(saved: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot be written"):
        save_checkpoint(tmp_path / "gone" / "m.safetensors", saved)
