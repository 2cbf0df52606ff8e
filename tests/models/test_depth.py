"""Stochastic depth drops whole clips at the rates it should, and nothing in evaluation."""

from __future__ import annotations

import pytest
import torch

from vidcli.config import ModelConfig
from vidcli.models import VideoClassifier, build_model, unused_settings
from vidcli.models.depth import ClipDepth, stochastic_depths
from vidcli.models.registry import BACKBONES


def model_of(**settings: object) -> VideoClassifier:
    torch.manual_seed(0)
    model = build_model(ModelConfig.model_validate({"dropout": 0} | settings), 3)
    assert isinstance(model, VideoClassifier)
    return model


def test_frames_of_a_clip_are_dropped_together_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    depth = ClipDepth(0.25)
    depth.num_frames = 4
    out_BT = depth(torch.ones(4000 * 4, 1, 1, 1)).view(4000, 4)
    assert torch.equal(out_BT, out_BT[:, :1].expand_as(out_BT))
    assert out_BT.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert out_BT.mean() == pytest.approx(1, abs=0.04)
    assert torch.equal(depth.eval()(torch.ones(8, 1, 1, 1)), torch.ones(8, 1, 1, 1))


@pytest.mark.parametrize("backbone", ["compact_cnn", "efficientnet_b0", "convnext_tiny"])
def test_rates_rise_from_the_first_block_to_the_last(backbone: str) -> None:
    rates = [
        layer.rate for layer in stochastic_depths(model_of(backbone=backbone, stochastic_depth=0.4).backbone)
    ]
    assert len(rates) > 3
    assert rates == [pytest.approx(0.4 * number / (len(rates) - 1)) for number in range(len(rates))]


def test_training_skips_blocks_and_evaluation_does_not() -> None:
    plain, deep = model_of(), model_of(stochastic_depth=0.9)
    assert list(plain.state_dict()) == list(deep.state_dict())
    for block in (*plain.backbone.modules(), *deep.backbone.modules()):
        if hasattr(block, "bn2"):  # starts at zero: nothing to skip yet
            torch.nn.init.ones_(block.bn2.weight)
    clips = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(plain.eval()(clips), deep.eval()(clips))
    deep.train()
    assert len({deep(clips).sum().item() for _ in range(8)}) > 1


@pytest.mark.parametrize("name", ["compact_cnn", "simple_cnn", "resnet18", "mobilenet_v3_small",
                                  "efficientnet_b0", "regnet_y_400mf", "convnext_tiny"])  # fmt: skip
def test_where_it_has_no_effect_is_known(name: str) -> None:
    unused = unused_settings(ModelConfig(backbone=name, stochastic_depth=0.1))
    found = bool(stochastic_depths(model_of(backbone=name, stochastic_depth=0.1).backbone))
    assert ("model.stochastic_depth" in unused) == (not found)
    assert BACKBONES[name].takes_depth == found


def test_whole_networks_do_not_take_it() -> None:
    config = ModelConfig(backbone="r3d_18", stochastic_depth=0.1)
    assert "model.stochastic_depth" in unused_settings(config)
