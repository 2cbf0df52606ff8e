"""Whole video networks give the same logits in every format; what cannot be free is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.video import swin_transformer

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.exported import open_network
from vidcli.config import load_config
from vidcli.errors import ExportError
from vidcli.export import ExportOptions, export_model
from vidcli.export.conversion import network_files, open_program, to_onnx, to_openvino, trace
from vidcli.export.labelled_views import LabelledViews
from vidcli.export.quantize import quantize, quantized_layers
from vidcli.models import VideoModel, build_model, network_names
from vidcli.models.calibration import UNCALIBRATED
from vidcli.models.networks import compare_regions, exportable_masks

# The smallest clip (T, side) that each takes. A side of 32 pixels makes Swin's windows shift and pad.
SMALLEST = {"s3d": (14, 224), "mvit_v1_b": (16, 224), "mvit_v2_s": (16, 224)}
QUICK = "mc3_18"


def build(backbone: str, clip_BTCHW: Tensor) -> VideoModel:
    """Build a network whose logits tell clips apart, although its weights are random."""
    torch.manual_seed(0)
    model = build_model(load_config(None, [f"model.backbone={backbone}"]).model, 5).eval()

    def settle(norm: nn.BatchNorm3d, inputs: tuple[Tensor, ...]) -> None:
        norm.running_mean = inputs[0].mean((0, 2, 3, 4))
        norm.running_var = inputs[0].var((0, 2, 3, 4)) + 1e-3

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
    # Statistics as training would leave them: fresh ones silence a deep network.
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    with torch.no_grad():
        model(clip_BTCHW)
    for hook in hooks:
        hook.remove()
    nn.init.normal_(model.head.weight, std=0.5)
    return model


def check(backbone: str, folder: Path, any_length: bool) -> None:
    # A length traced as free must not shrink to one on the way, or it is taken for a constant.
    num_frames, side = SMALLEST.get(backbone, (16 if any_length else 4, 32))
    model = build(
        backbone, torch.randn(1, num_frames, 3, side, side, generator=torch.Generator().manual_seed(0))
    )
    program = trace(model, num_frames, side, side, any_length)
    proto = to_onnx(program)
    networks = {"onnx": proto, "openvino": to_openvino(proto)}
    runs = {
        form: open_network(folder, form, network_files(network, form, folder))
        for form, network in networks.items()
    }
    runs["torch-export"] = open_program(program)
    for num_clips, length in ((1, num_frames), (2, num_frames + 3 * any_length)):
        clip_BTCHW = torch.randn(num_clips, length, 3, side, side, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = model(clip_BTCHW).numpy()
        assert np.ptp(expected) > 1e-2  # logits of a silenced network would be equal whatever ran
        for form, run in runs.items():
            found = run(clip_BTCHW.numpy())
            np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-4, err_msg=form)


def test_a_network_in_every_format(tmp_path: Path) -> None:
    check(QUICK, tmp_path, any_length=True)


def check_int8(backbone: str, folder: Path, form: str) -> None:
    """Hold a network in int8 against itself in float."""
    num_frames, side = SMALLEST.get(backbone, (4, 32))
    generator = torch.Generator().manual_seed(0)
    clips = [torch.randn(1, num_frames, 3, side, side, generator=generator) for _ in range(8)]
    model = build(backbone, torch.cat(clips[:2]))
    proto = to_onnx(trace(model, num_frames, side, side, False))
    arrays = [clip.numpy() for clip in clips]
    views = [LabelledViews(array, frozenset([0])) for array in arrays]
    quantized = quantize(proto, form, views, views, UNCALIBRATED, 0.0, 1.0)
    layers = sum(isinstance(module, nn.Conv3d | nn.Linear) for module in model.modules())
    # In ONNX the last layer or two stay in float.
    assert layers - 2 <= len(quantized_layers(quantized.model))
    network = to_openvino(quantized.model) if form == "openvino" else quantized.model
    files = network_files(network, form, folder)
    size = sum(map(len, files.values()))
    assert size < 0.3 * sum(4 * parameter.numel() for parameter in model.parameters())
    run = open_network(folder, form, files)
    with torch.inference_mode():
        expected = np.concatenate([model(clip).numpy() for clip in clips])
    found = np.concatenate([run(array) for array in arrays])
    assert np.abs(found - expected).max() > 1e-3  # rounded it is
    # What differs from clip to clip, not only what random weights say of all of them.
    deviations = [(logits - logits.mean(axis=0)).ravel() for logits in (found, expected)]
    assert np.corrcoef(*deviations)[0, 1] > 0.9


@pytest.mark.slow
def test_a_network_in_int8(tmp_path: Path) -> None:
    check_int8(QUICK, tmp_path, "openvino")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
@pytest.mark.parametrize("backbone", ["r3d_18", QUICK])
def test_networks_in_int8_in_both_formats(backbone: str, form: str, tmp_path: Path) -> None:
    check_int8(backbone, tmp_path, form)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", network_names())
def test_every_network_in_every_format(backbone: str, tmp_path: Path) -> None:
    check(backbone, tmp_path, False)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["r3d_18", "r2plus1d_18", "s3d"])
def test_lengths_are_free_where_they_can_be(backbone: str, tmp_path: Path) -> None:
    check(backbone, tmp_path, True)


@pytest.mark.parametrize("backbone", ["mvit_v2_s", "swin3d_t"])
def test_where_they_cannot_be_is_said(backbone: str, tmp_path: Path) -> None:
    config = load_config(None, [f"model.backbone={backbone}"])
    options = ExportOptions("onnx", any_length=True)
    with pytest.raises(
        ExportError, match=f"--dynamic: {backbone} can only .* for 16 frames.* r3d_18, mc3_18"
    ):
        export_model(Checkpoint({}, config, ("a", "b")), [], tmp_path / "out", options, lambda text: None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("size", "window", "shift"),
    [
        ((8, 14, 14), (8, 7, 7), (0, 3, 3)),  # as many frames as a window has: no shift in time
        ((16, 14, 21), (8, 7, 7), (4, 3, 3)),
        ((4, 7, 14), (2, 7, 7), (1, 0, 3)),
        ((2, 7, 7), (2, 7, 7), (0, 0, 3)),
    ],
)
def test_masks_of_shifted_windows_are_torchvisions(size, window, shift) -> None:
    x = torch.zeros(1)
    expected = swin_transformer._compute_attention_mask_3d(x, size, window, shift)
    assert torch.equal(compare_regions(x, size, window, shift), expected)


def test_torchvision_is_left_as_it_was() -> None:
    before = swin_transformer._compute_attention_mask_3d
    with exportable_masks():
        assert swin_transformer._compute_attention_mask_3d is compare_regions
    with pytest.raises(ExportError, match="cannot be traced"):
        trace(nn.Flatten(0, 9), 2, 16, 16, False)
    assert swin_transformer._compute_attention_mask_3d is before
