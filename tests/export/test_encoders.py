"""Encoders of transformers in every format, equal to their models; what cannot be exported is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from tests.tiny_encoders import CLIP_KINDS, IMAGE_KINDS, write_encoder
from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.exported import open_network
from vidcli.config import Config, load_config
from vidcli.errors import ExportError
from vidcli.export import ExportOptions, export_model
from vidcli.export.conversion import network_files, open_program, to_onnx, to_openvino, trace
from vidcli.models import VideoModel, build_model, settle_clip


def build(folder: Path, *changes: str) -> tuple[VideoModel, Config]:
    settings = [f"model.backbone=hf:{folder}", "model.pretrained=true", "model.frame_differences=false"]
    small = ["clip.length=4", "clip.size=32", "model.width=16", "model.hidden=16", "model.head=attentive"]
    config = settle_clip(load_config(None, [*settings, *small, *changes]))
    torch.manual_seed(0)
    return build_model(config.model, 3).eval(), config


FAST = ("dinov2", "vjepa2")
KINDS = [
    pytest.param(kind, marks=[] if kind in FAST else [pytest.mark.slow]) for kind in IMAGE_KINDS | CLIP_KINDS
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_encoder_in_every_format(kind: str, tmp_path: Path) -> None:
    changes = {"num_hidden_layers": 1} if kind not in ("clip", "siglip") else {}
    model, _ = build(write_encoder(tmp_path / kind, kind, **changes))
    program = trace(model, 4, 32, 32, any_length=False)
    proto = to_onnx(program)
    networks = {"onnx": proto, "openvino": to_openvino(proto)}
    runs = [open_network(tmp_path, form, network_files(networks[form], form, tmp_path)) for form in networks]
    clips = torch.randn(3, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = model(clips).detach().numpy()
    assert np.ptp(expected) > 1e-2
    for run in (*runs, open_program(program)):
        np.testing.assert_allclose(run(clips.numpy()), expected, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_frames_of_another_size(tmp_path: Path) -> None:
    model, _ = build(write_encoder(tmp_path / "dinov2", "dinov2"), "clip.size=48")
    clips = torch.randn(1, 4, 3, 48, 48)
    program = trace(model, 4, 48, 48, any_length=False)
    run = open_network(tmp_path, "onnx", network_files(to_onnx(program), "onnx", tmp_path))
    np.testing.assert_allclose(run(clips.numpy()), model(clips).detach().numpy(), atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_image_encoders_take_any_number_of_frames(tmp_path: Path) -> None:
    model, _ = build(write_encoder(tmp_path / "siglip", "siglip"))
    program = trace(model, 4, 32, 32, any_length=True)
    run = open_network(tmp_path, "onnx", network_files(to_onnx(program), "onnx", tmp_path))
    clips = torch.randn(2, 7, 3, 32, 32)
    np.testing.assert_allclose(run(clips.numpy()), model(clips).detach().numpy(), atol=1e-4, rtol=1e-3)


def test_video_encoders_keep_their_length(tmp_path: Path) -> None:
    model, config = build(write_encoder(tmp_path / "vivit", "vivit"))
    checkpoint = Checkpoint(model.state_dict(), config, ("a", "b", "c"))
    options = ExportOptions("onnx", any_length=True)
    with pytest.raises(ExportError, match=r"--dynamic: hf:.*takes whole clips"):
        export_model(checkpoint, [], tmp_path / "out", options, lambda step: None)
