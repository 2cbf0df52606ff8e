"""Every head and backbone gives the same logits in every format, for any batch and clip length."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vidcli.artifacts.engines import Run
from vidcli.artifacts.exported import open_network
from vidcli.artifacts.graph_parts import FRAMES, HEAD
from vidcli.config import load_config
from vidcli.export.conversion import (
    network_files,
    open_program,
    sees_frame_by_frame,
    to_onnx,
    to_openvino,
    trace,
)
from vidcli.models import VideoClassifier, backbone_names, build_model, head_names
from vidcli.models.recurrence import make_exportable

SIDE = 48


def build(backbone: str, head: str, *settings: str) -> VideoClassifier:
    """Build a model whose logits tell clips apart, although its weights are random."""
    torch.manual_seed(0)
    config = load_config(None, [f"model.backbone={backbone}", f"model.head={head}", *settings])
    model = build_model(config.model, 5).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # A trained network's: fresh ones, of gain zero or in a deep network, silence all clips.
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.running_var, 0.3, 1.5)  # type: ignore[arg-type]
    linear = next(layer for layer in model.projection if isinstance(layer, nn.Linear))
    nn.init.normal_(linear.weight, std=0.1)
    clips = torch.randn(2, 4, 3, SIDE, SIDE)
    if np.ptp(model(clips).detach().numpy()) <= 1e-3:
        # Squeezing networks stay silent all the same: give every layer the statistics of these clips.
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                module.train()
        model(clips)
        model.eval()
    return model


def convert_all(
    model: VideoClassifier,
    folder: Path,
    any_length: bool,
    forms: tuple[str, ...],
    with_features: bool = False,
) -> dict[str, dict[str, bytes]]:
    """Return the files of a model by format and name, and leave nothing in the folder."""
    program = trace(model, 4, SIDE, SIDE, any_length, with_features)
    proto = to_onnx(program)
    networks = {"torch-export": program, "onnx": proto}
    if "openvino" in forms:
        networks["openvino"] = to_openvino(proto)
    files = {form: network_files(networks[form], form, folder) for form in forms}
    assert list(folder.iterdir()) == []
    return files


def assert_equal(model: VideoClassifier, run: Run, shapes: list[tuple[int, int]]) -> None:
    for number, (num_clips, num_frames) in enumerate(shapes):
        generator = torch.Generator().manual_seed(number)
        clip = torch.randn(num_clips, num_frames, 3, SIDE, SIDE, generator=generator)
        expected = model(clip).detach().numpy()
        assert np.ptp(expected) > 1e-3  # logits of a silenced network would be equal whatever ran
        np.testing.assert_allclose(run(clip.numpy()), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head", head_names())
def test_every_head_in_every_format_and_length_whole_and_in_parts(head: str, tmp_path: Path) -> None:
    settings = () if head in ("mean", "gru") else ("model.frame_differences=true", "model.grid=2")
    model = build("simple_cnn", head, *settings)
    shapes = [(1, 4), (3, 7), (2, 2), (1, 1)]
    assert sees_frame_by_frame(model)
    files = convert_all(model, tmp_path, True, ("onnx", "openvino"), with_features=True)
    for form, content in files.items():
        assert_equal(model, open_network(tmp_path, form, content), shapes)
        frames, on = (open_network(tmp_path, form, content, part=part) for part in (FRAMES, HEAD))
        assert_equal(model, lambda clip, on=on, frames=frames: on(frames(clip)), shapes)
        clip = torch.randn(2, 5, 3, SIDE, SIDE)
        features = model.features(clip).detach()
        np.testing.assert_allclose(frames(clip.numpy()), features, atol=1e-4, rtol=1e-4)
    assert_equal(model, open_program(trace(model, 4, SIDE, SIDE, True)), shapes)


def test_frames_that_see_each_other_are_not_told_apart() -> None:
    assert not sees_frame_by_frame(build("resnet18", "gru", "model.shift=on"))


@pytest.fixture(scope="module")
def in_both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    return convert_all(
        build("compact_cnn", "gru"), tmp_path_factory.mktemp("both"), True, ("onnx", "openvino")
    )


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_threads_that_share_a_network_get_the_bits_of_one_alone(
    form: str, in_both: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    files = in_both[form]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone, shared = (open_network(tmp_path, form, files, num_callers) for num_callers in (1, 2))
    finally:
        torch.set_num_threads(before)
    clips = [np.random.default_rng(seed).random((2, 4, 3, SIDE, SIDE), np.float32) for seed in range(24)]
    expected = [alone(clip) for clip in clips]
    assert np.ptp([logits[0] for logits in expected], axis=0).min() > 0  # clips are told apart
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(shared, clips))
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_deep_bidirectional_recurrence_behind_a_temporal_shift(tmp_path: Path) -> None:
    model = build("compact_cnn", "lstm", "model.layers=2", "model.bidirectional=true", "model.shift=on")
    for form, files in convert_all(model, tmp_path, True, ("onnx", "openvino")).items():
        assert_equal(model, open_network(tmp_path, form, files), [(2, 5), (1, 3)])


@pytest.fixture(scope="module")
def of_fixed_length() -> tuple[VideoClassifier, Any]:
    """A model, and the same in ONNX for clips of 4 frames."""
    model = build("compact_cnn", "gru")
    return model, to_onnx(trace(model, 4, SIDE, SIDE, False))


def test_a_fixed_length_leaves_the_batch_free(
    of_fixed_length: tuple[VideoClassifier, Any], tmp_path: Path
) -> None:
    model, proto = of_fixed_length
    run = open_network(tmp_path, "onnx", network_files(proto, "onnx", tmp_path))
    assert_equal(model, run, [(1, 4), (3, 4)])
    with pytest.raises(Exception, match="dimension"):
        run(np.zeros((1, 5, 3, SIDE, SIDE), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gru", "transformer"])
@pytest.mark.parametrize("backbone", backbone_names())
def test_every_backbone(backbone: str, head: str, tmp_path: Path) -> None:
    model = build(backbone, head)
    for form, files in convert_all(model, tmp_path, True, ("onnx", "openvino")).items():
        assert_equal(model, open_network(tmp_path, form, files), [(2, 4), (1, 3)])


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layers_equal_those_of_torch(kind: type[nn.RNN], bidirectional: bool) -> None:
    torch.manual_seed(0)
    layers = kind(6, 5, num_layers=2, batch_first=True, bidirectional=bidirectional)
    x_BTE = torch.randn(3, 7, 6)
    states_BTU, last = layers(x_BTE)
    found_BTU, found_last = make_exportable(nn.Sequential(layers))[0](x_BTE)
    torch.testing.assert_close(found_BTU, states_BTU)
    torch.testing.assert_close(found_last, last[0] if kind is nn.LSTM else last)


def test_exports_do_not_tell_where_they_were_made(tmp_path: Path) -> None:
    forms = ("onnx", "openvino", "torch-export")
    converted = convert_all(build("simple_cnn", "gru"), tmp_path, True, forms)
    home = str(Path(__file__).parents[2]).encode()
    contents = [content for files in converted.values() for content in files.values()]
    assert len(contents) == 4
    for content in contents:
        assert home not in content
        assert str(tmp_path).encode() not in content
        assert b"site-packages" not in content


def test_layers_keep_their_names(of_fixed_length: tuple[VideoClassifier, Any]) -> None:
    names = [node.name for node in of_fixed_length[1].graph.node]
    assert len(set(names)) == len(names)
    assert any(name.startswith("backbone.stage2") and name.endswith("/Conv") for name in names)


def test_the_runtimes_do_not_report_to_their_makers() -> None:
    script = (
        "import socket, sys\n"
        "def refuse(*args, **kwargs): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from vidcli.artifacts.engines import import_runtime\n"
        "import_runtime('openvino'); import_runtime('nncf')\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
