"""Batch normalisation that goes into the convolution before it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vidcli.config import ModelConfig
from vidcli.models import MultiStreamClassifier, build_model, loaded_weights
from vidcli.models.folding import fold_batchnorm


def with_statistics(network: nn.Module) -> nn.Module:
    """Give every normalisation statistics that are not those of a new one."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def count(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    "backbone", ["timm:tf_efficientnet_lite0", "timm:test_resnet", "timm:test_efficientnet"]
)
def test_two_streams_answer_the_same(backbone: str) -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(backbone=backbone, streams="both"), 3)
    assert isinstance(model, MultiStreamClassifier)
    with_statistics(model)
    nn.init.normal_(model.head.weight, std=0.01)
    clip = torch.rand(2, 4, 3, 64, 64)
    faster = model.folded()
    assert count(faster) < count(model) / 4  # one may follow a convolution of another module
    with torch.inference_mode():
        torch.testing.assert_close(faster(clip), model(clip), atol=1e-3, rtol=1e-3)
    assert faster.head is model.head
    weights = loaded_weights(faster)
    assert weights.keys() == model.state_dict().keys() != faster.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


class _OutOfOrder(nn.Module):
    """Normalises before the convolution, which stands first all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        mapped: Tensor = self.conv(self.norm(frames_NCHW))
        return mapped


def test_a_network_of_another_order_stays_as_it_is() -> None:
    network, frames = with_statistics(_OutOfOrder()), torch.rand(2, 3, 16, 16)
    same = fold_batchnorm(network, frames)
    assert count(same) == 1
    torch.testing.assert_close(same(frames), network(frames))


def test_the_network_itself_is_left_alone() -> None:
    network = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_batchnorm(network, torch.rand(2, 3, 16, 16))
    assert count(folded) == 0
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
