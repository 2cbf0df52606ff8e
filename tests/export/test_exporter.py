"""`vidcli export` from end to end: parity, int8 and its guard, and every command on the result."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import load_checkpoint, save_checkpoint
from vidcli.commands.app import app
from vidcli.config import Config, config_to_yaml
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.errors import ExportError
from vidcli.export import ExportOptions, export_model, exporter
from vidcli.export.labelled_views import LabelledViews
from vidcli.export.quantize import measure_accuracy, quantized_layers
from vidcli.models import build_model
from vidcli.models.backbones import first_convolution
from vidcli.models.calibration import UNCALIBRATED, Calibration
from vidcli.predict import Predictor


def run(*args: object) -> object:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def trained(
    motion_data: Path, small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run directory whose model has seen the motion videos for an epoch."""
    folder = tmp_path_factory.mktemp("export") / "run"
    recipe = folder.with_name("recipe.yaml")
    recipe.write_text(config_to_yaml(small_config()))
    result = run("train", motion_data, "--out", folder, "--config", recipe)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def in_onnx(trained: Path) -> Path:
    """Its export to ONNX, to read or to copy."""
    return exported_to("onnx", trained)


@pytest.fixture(scope="module")
def in_openvino(trained: Path) -> Path:
    """Its export to OpenVINO, to read or to copy."""
    return exported_to("openvino", trained)


def exported_to(form: str, trained: Path) -> Path:
    exported = run("export", "--model", trained, "--format", form)
    assert exported.exit_code == 0, exported.output
    folder = trained / f"export-{form}"
    assert exported.stdout.splitlines()[-1] == str(folder)
    return folder


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_an_export_answers_the_same_commands(
    form: str, trained: Path, motion_data: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(f"in_{form}")
    about = json.loads((folder / "vidcli.json").read_text())
    assert about["export"]["measured"]["max_difference"] <= 1e-3
    assert str(motion_data) not in (folder / "vidcli.json").read_text()
    video = next((motion_data / "test").rglob("*.mp4"))
    rows = [
        json.loads(run("predict", video, "--model", model, "--format", "json").stdout)
        for model in (trained, folder)
    ]
    for original, other in zip(rows[0]["predictions"], rows[1]["predictions"], strict=True):
        assert other["label"] == original["label"]
        assert other["probability"] == pytest.approx(original["probability"], abs=1e-4)
    scores = [
        json.loads(run("eval", motion_data, "--model", model, "--json", "--out", folder / "eval").stdout)
        for model in (trained, folder)
    ]
    assert scores[0]["top1"] == scores[1]["top1"]
    assert scores[0]["confusion"] == scores[1]["confusion"]


def test_int8_is_measured_on_the_validation_split(trained: Path) -> None:
    result = run("export", "--model", trained, "--format", "openvino", "--int8", "--max-drop", 1)
    assert result.exit_code == 0, result.output
    assert "on 16 videos of val" in result.stdout
    about = json.loads((trained / "export-openvino-int8" / "vidcli.json").read_text())
    assert about["export"]["precision"] == "int8"
    assert about["export"]["measured"]["num_validated"] == 16
    assert (trained / "export-openvino-int8" / "model.bin").stat().st_size < (
        trained / "model.safetensors"
    ).stat().st_size


def test_int8_is_measured_on_no_more_videos_than_fit_in_memory(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = load_checkpoint(trained / "model.safetensors").config.clip
    monkeypatch.setattr(exporter, "_MEASURED_BYTES", 5 * clip.num_video_bytes)
    measured_on: list[int] = []

    def quantize(
        network: object, form: str, clips: object, validation: list[object], *more: object
    ) -> object:
        measured_on.append(len(validation))
        return SimpleNamespace(model=network, accuracy=1.0, float_layers=())

    # Neither converted nor computed, which the test above does: here it is only counted.
    monkeypatch.setattr(exporter, "quantize", quantize)
    monkeypatch.setattr(exporter, "_convert", lambda *args: "a network")
    monkeypatch.setattr(exporter, "to_openvino", lambda network: network)
    monkeypatch.setattr(exporter, "network_files", lambda *args: {"model.xml": b"", "model.bin": b""})
    monkeypatch.setattr(exporter, "open_network", lambda *args, **options: None)
    monkeypatch.setattr(exporter, "compare", lambda *args: (0.0, 1.0))
    given = ["--format", "openvino", "--int8", "--max-drop", 1, "--out", tmp_path / "out"]
    result = run("export", "--model", trained, *given)
    assert result.exit_code == 0, result.output
    assert "on 5 videos of val" in result.stdout
    assert measured_on == [5]


@pytest.fixture(scope="module")
def fragile(motion_data: Path, small_config: Callable[..., Config]) -> Checkpoint:
    """A model that is right about every video in float, by margins that int8 cannot hold.

    What all videos have in common is taken out of its logits; the rest is small beside the rounding, which
    one weight of each channel makes coarse for all others.
    """
    torch.manual_seed(0)
    config = small_config({"model.backbone": "simple_cnn", "model.head": "mean"})
    model = build_model(config.model, 8).eval()
    with torch.inference_mode():
        first_convolution(model.backbone)[1].weight[:, 0, 0, 0] *= 50
    names = sorted(path.name for path in (motion_data / "train").iterdir())
    reader = Predictor(model, config, names, torch.device("cpu"))
    views = [torch.from_numpy(reader.views.load(item)) for item in of_split(load_items(motion_data), "val")]
    with torch.inference_mode():
        model.head.output.bias -= torch.cat([model(view) for view in views]).mean(dim=0)
    return Checkpoint(model.state_dict(), config, tuple(names))


@pytest.mark.parametrize("form", ["openvino", "onnx"])
def test_int8_leaves_the_worst_layers_in_float(
    form: str, fragile: Checkpoint, motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the float model says is taken for the truth, so that every change of mind is a loss.
    model = fragile.build()
    load = exporter.load_views

    def relabelled(*args: object) -> list[LabelledViews]:
        videos = load(*args)  # type: ignore[arg-type]
        guess = [int(model(torch.from_numpy(v.views_VTCHW)).mean(0).argmax()) for v in videos]
        return [
            LabelledViews(v.views_VTCHW, frozenset([label])) for v, label in zip(videos, guess, strict=True)
        ]

    monkeypatch.setattr(exporter, "load_views", relabelled)
    items = load_items(motion_data)
    steps: list[str] = []
    report = export_model(
        fragile, items, tmp_path / "out", ExportOptions(form, int8=True, max_drop=0.0), steps.append
    )
    assert report.accuracy == report.accuracy_before == 1.0
    assert report.float_layers
    assert all("/" in name for name in report.float_layers)
    assert "quantising" in steps


def test_accuracy_averages_the_views() -> None:
    def doubting(clip: np.ndarray) -> np.ndarray:
        return np.array([[2.0, 0.0], [0.0, 1.0]], np.float32)

    views = np.zeros((2, 1, 3, 4, 4), np.float32)
    videos = [LabelledViews(views, frozenset([label])) for label in (0, 1)]
    assert measure_accuracy(doubting, videos, UNCALIBRATED) == (0.5, [1.0, 0.0])


def test_accuracy_of_several_classes_asks_for_all_of_them() -> None:
    def two_of_three(clip: np.ndarray) -> np.ndarray:
        return np.array([[2.0, -2.0, 0.5]], np.float32)

    views = np.zeros((1, 1, 3, 4, 4), np.float32)
    videos = [LabelledViews(views, frozenset(labels)) for labels in ([0, 2], [0], [])]
    calibration = Calibration(thresholds=(0.5, 0.5, 0.6))  # sigmoid(0.5) is 0.62
    assert measure_accuracy(two_of_three, videos, calibration)[1] == [1.0, 0.0, 0.0]
    higher = Calibration(thresholds=(0.9, 0.5, 0.7))
    assert measure_accuracy(two_of_three, videos, higher)[1] == [0.0, 0.0, 1.0]


def test_an_export_that_differs_is_refused(
    trained: Path, motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(ExportError, match="differs from the original"):
        export_model(
            load_checkpoint(trained / "model.safetensors"),
            load_items(motion_data),
            tmp_path / "out",
            ExportOptions("torch-export"),
            lambda text: None,
        )
    assert list(tmp_path.iterdir()) == []


def test_bad_requests(trained: Path, motion_data: Path, tmp_path: Path) -> None:
    both = run("export", "--model", trained, "--format", "torch-export", "--int8")
    assert both.exit_code == 1
    assert "--int8 goes with" in both.stderr
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("precious")
    refused = run("export", "--model", trained, "--format", "torch-export", "--out", taken)
    assert refused.exit_code == 2
    assert "holds other files than those of `vidcli export`" in refused.stderr
    assert (taken / "thesis.txt").read_text() == "precious"
    lone = tmp_path / "lone.safetensors"
    save_checkpoint(lone, load_checkpoint(trained / "model.safetensors"))
    alone = run("export", "--model", lone, "--format", "torch-export")
    assert alone.exit_code == 1
    assert "--data" in alone.stderr
    for label in ("left", "sideways"):
        (tmp_path / "other" / "train" / label).mkdir(parents=True)
        shutil.copy(next((motion_data / "val" / "left").iterdir()), tmp_path / "other" / "train" / label)
    foreign = run("export", "--model", lone, "--int8", "--data", tmp_path / "other")
    assert foreign.exit_code == 1
    assert "sideways of these videos' classes are unknown to the model, whose 8 are such as" in foreign.stderr
    done = run(
        "export", "--model", lone, "--format", "torch-export", "--data", motion_data, "--out", tmp_path / "ok"
    )
    assert done.exit_code == 0, done.output
    again = run("export", "--model", tmp_path / "ok")
    assert again.exit_code == 1
    assert "exported model already" in again.stderr


def test_videos_that_are_gone_are_counted_and_named(trained: Path, motion_data: Path, tmp_path: Path) -> None:
    def export(data: Path) -> object:
        return run(
            "export", "--model", trained, "--format", "torch-export", "--data", data, "--out", tmp_path / "e"
        )

    data = tmp_path / "data"
    shutil.copytree(motion_data, data)
    for path in sorted((data / "val").rglob("*.mp4"))[1:]:
        path.write_bytes(b"no video")
    some = export(data)
    assert some.exit_code == 0, some.output
    assert "15 of 16 videos cannot be decoded and are left out: " in some.stderr
    next((data / "val" / "clockwise").iterdir()).write_bytes(b"no video")
    none = export(data)
    assert none.exit_code == 1
    assert "of 16 none can be decoded: " in none.stderr
    assert "is not a video that can be opened" in none.stderr


def test_what_is_missing_is_said_before_any_work(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)  # as if it were not installed
    result = run("export", "--model", trained, "--int8", "--out", tmp_path / "e")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: nncf is not installed")
    assert "pip install 'vidcli[export]'" in result.stderr
    shutil.copytree(trained, tmp_path / "run")
    splits = tmp_path / "run" / "splits.csv"
    header, *rows = splits.read_text().splitlines()
    splits.write_text("\n".join([header, *(row for row in rows if ",train," not in row)]))
    untrained = run("export", "--model", tmp_path / "run", "--int8")
    assert untrained.exit_code == 1
    assert "calibrated on training videos, of which there are none" in untrained.stderr


def test_a_damaged_export_is_named(in_onnx: Path, tmp_path: Path) -> None:
    shutil.copytree(in_onnx, tmp_path / "e")
    (tmp_path / "e" / "model.onnx").write_bytes(b"half")
    result = run("predict", tmp_path, "--model", tmp_path / "e")
    assert result.exit_code == 1
    assert "damaged" in result.stderr


def test_quantized_layers_are_told_from_the_others() -> None:
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["a"], name="inside"),
        helper.make_node("Conv", ["a", "w"], ["b"], name="outside"),
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    model = onnx.ModelProto(graph=helper.make_graph(nodes, "g", [value], []))
    assert quantized_layers(model) == {"inside"}
