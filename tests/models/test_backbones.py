"""Every backbone: shapes, names, widened inputs and temporal shift."""

from __future__ import annotations

import pytest
import torch
import torchvision

from vidcli.config import ModelConfig
from vidcli.errors import ConfigError
from vidcli.models import build_model
from vidcli.models.backbones import ResidualBlock, build_compact_cnn, build_simple_cnn
from vidcli.models.registry import BACKBONES, find_backbone
from vidcli.models.shift import (
    ShiftedConv2d,
    insert_temporal_shift,
    set_num_frames,
    shift_in_order,
    shifted_convolutions,
    temporal_shift,
)

NUM_RESIDUAL_BLOCKS = {
    "compact_cnn": 4,
    "resnet18": 8,
    "resnet34": 16,
    "resnet50": 16,
    "resnet101": 33,
    "mobilenet_v3_small": 6,
    "mobilenet_v3_large": 10,
    "efficientnet_b0": 9,
    "efficientnet_v2_s": 35,
    "regnet_y_400mf": 16,
    "regnet_y_1_6gf": 27,
    "convnext_tiny": 18,
    "convnext_small": 36,
}
STRIDES = {"simple_cnn": 4, "compact_cnn": 16}


@pytest.mark.parametrize("name", BACKBONES)
def test_shapes_and_names_with_and_without_shift(name):
    torch.manual_seed(0)
    backbone = find_backbone(name).build(3).eval()
    frames_NCHW = torch.randn(4, 3, 64, 32)
    stride = STRIDES.get(name, 32)
    with torch.no_grad():
        assert backbone(frames_NCHW).shape == (4, backbone.num_features, 64 // stride, 32 // stride)
    if name == "simple_cnn":
        return
    names = list(backbone.state_dict())
    assert insert_temporal_shift(backbone) == NUM_RESIDUAL_BLOCKS[name]
    assert list(backbone.state_dict()) == names
    assert len(shifted_convolutions(backbone)) == NUM_RESIDUAL_BLOCKS[name]
    set_num_frames(backbone, 2)
    with torch.no_grad():
        assert backbone(frames_NCHW).shape == (4, backbone.num_features, 64 // stride, 32 // stride)


@pytest.mark.parametrize("name", ["simple_cnn", "compact_cnn", "resnet18", "mobilenet_v3_small"])
def test_six_input_channels_all_count(name):
    torch.manual_seed(0)
    backbone = find_backbone(name).build(6).eval()
    frames_NCHW = torch.randn(2, 6, 32, 32)
    other_NCHW = frames_NCHW.clone()
    other_NCHW[:, 5] += 1
    with torch.no_grad():
        assert not torch.equal(backbone(frames_NCHW), backbone(other_NCHW))


def test_torchvision_backbone_is_torchvisions_network():
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    torch.manual_seed(0)
    backbone = find_backbone("resnet18").build(3).eval()
    frames_NCHW = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits_NK = network.fc(backbone(frames_NCHW).mean(dim=(2, 3)))
        torch.testing.assert_close(logits_NK, network(frames_NCHW))


def test_compact_cnn_fits_a_cpu():
    backbone = build_compact_cnn(3)
    assert 400_000 < sum(parameter.numel() for parameter in backbone.parameters()) < 600_000


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (112, 112)])
def test_compact_cnn_takes_odd_sizes(size):
    assert build_compact_cnn(3).eval()(torch.randn(2, 3, *size)).shape[:2] == (2, 128)


def test_a_new_residual_block_is_its_skip_path():
    torch.manual_seed(0)
    x_NCHW = torch.randn(2, 16, 4, 4)
    block = ResidualBlock(16, 16, stride=1).eval()
    torch.testing.assert_close(block(x_NCHW), x_NCHW.relu())


def test_shift_needs_residual_blocks():
    with pytest.raises(ConfigError, match=r"model.shift needs .* residual blocks"):
        insert_temporal_shift(build_simple_cnn(3))


def test_shift_needs_the_number_of_frames():
    backbone = build_compact_cnn(3)
    insert_temporal_shift(backbone)
    with pytest.raises(ValueError, match="num_frames"):
        backbone(torch.zeros(2, 3, 32, 32))


ADDITIVE_BLOCKS = {  # a block of each kind whose result is branch + skip, nothing after
    "mobilenet_v3_small": torchvision.models.mobilenetv3.InvertedResidual,
    "efficientnet_b0": torchvision.models.efficientnet.MBConv,
    "efficientnet_v2_s": torchvision.models.efficientnet.FusedMBConv,
    "convnext_tiny": torchvision.models.convnext.CNBlock,
}


@pytest.mark.parametrize(("name", "kind"), ADDITIVE_BLOCKS.items())
def test_shift_moves_the_branch_and_leaves_the_skip_path(name, kind):
    torch.manual_seed(0)
    backbone = find_backbone(name).build(3).eval()
    block = next(m for m in backbone.modules() if type(m) is kind and getattr(m, "use_res_connect", True))
    if name == "convnext_tiny":
        torch.nn.init.ones_(block.layer_scale)  # starts at a millionth
    channels = next(m for m in block.modules() if isinstance(m, torch.nn.Conv2d)).in_channels
    x_NCHW = torch.randn(6, channels, 5, 5)
    moved_NCHW = temporal_shift(x_NCHW, 3)
    assert torch.equal(shift_in_order(x_NCHW, 3), moved_NCHW)
    with torch.no_grad():
        expected_NCHW = block(moved_NCHW.clone()) - moved_NCHW + x_NCHW
        insert_temporal_shift(block_parent := torch.nn.Sequential(block))
        set_num_frames(block_parent, 3)
        torch.testing.assert_close(block(x_NCHW.clone()), expected_NCHW, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["compact_cnn", "resnet18", "resnet50", "regnet_y_400mf"])
def test_shift_in_blocks_that_activate_last(name):
    torch.manual_seed(0)
    backbone = find_backbone(name).build(3).eval()
    insert_temporal_shift(backbone)
    name_of_entry, entry = next((n, m) for n, m in backbone.named_modules() if isinstance(m, ShiftedConv2d))
    seen = {}
    entry.register_forward_hook(lambda module, args, result: seen.update(entry=args[0], result=result))
    set_num_frames(backbone, 2)
    with torch.no_grad():
        backbone(torch.randn(4, 3, 32, 32))
        plain_NCHW = torch.nn.Conv2d.forward(entry, temporal_shift(seen["entry"], 2))
    torch.testing.assert_close(seen["result"], plain_NCHW)
    assert name_of_entry.split(".")[-1] in {"conv1", "0"}
    skips = [m for n, m in backbone.named_modules() if n.split(".")[-1] in {"skip", "downsample", "proj"}]
    assert skips
    assert not any(shifted_convolutions(skip) for skip in skips if skip is not None)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_model_without_numbers_has_the_same_weights(name):
    """What a model file holds is compared with it before anything is allocated."""
    config = ModelConfig(backbone=name)
    with torch.device("meta"):
        bare = build_model(config, 3).state_dict()
    assert all(value.is_meta for value in bare.values())
    found = {key: value.shape for key, value in build_model(config, 3).state_dict().items()}
    assert {key: value.shape for key, value in bare.items()} == found
