"""Parameters and multiply-adds against counts by hand and published ones."""

from __future__ import annotations

import pytest
import torch

from vidcli.config import ModelConfig
from vidcli.models import backbone_names, describe_backbones, describe_heads, head_names
from vidcli.models.registry import find_backbone, find_head


@pytest.fixture(scope="module")
def backbones():
    return {cost.name: cost for cost in describe_backbones()}


@pytest.fixture(scope="module")
def heads():
    return {cost.name: cost for cost in describe_heads(length=16, num_classes=10)}


def test_every_name_is_described(backbones, heads):
    assert list(backbones) == backbone_names()
    assert list(heads) == head_names()
    assert all(cost.description.endswith(".") for cost in [*backbones.values(), *heads.values()])


PUBLISHED_GMACS = {  # of the whole classifier at 224 x 224, whose last layer adds next to nothing
    "resnet18": 1.814,
    "resnet50": 4.089,
    "mobilenet_v3_large": 0.217,
    "efficientnet_b0": 0.386,
    "regnet_y_400mf": 0.402,
    "convnext_tiny": 4.456,
}


@pytest.mark.parametrize(("name", "gmacs"), PUBLISHED_GMACS.items())
def test_backbones_cost_what_torchvision_publishes(backbones, name, gmacs):
    assert backbones[name].gmacs_per_frame == pytest.approx(gmacs, rel=0.02)
    assert backbones[name].pretrained


def test_simple_cnn_by_hand(backbones):
    cost = backbones["simple_cnn"]
    assert cost.parameters == 3 * 32 * 9 + 32 + 32 * 64 * 9 + 64
    assert cost.gmacs_per_frame == (224 * 224 * 3 * 32 * 9 + 112 * 112 * 32 * 64 * 9) / 1e9
    assert not cost.pretrained


@pytest.fixture
def only_some(monkeypatch):
    """Leave two backbones to describe: all take seconds."""
    some = {name: find_backbone(name) for name in ("compact_cnn", "resnet18")}
    monkeypatch.setattr("vidcli.models.costs.BACKBONES", some)


def test_compact_cnn_at_its_usual_size(only_some):
    cost, _ = describe_backbones(64, 112)
    assert cost.name == "compact_cnn"
    assert 0.015 < cost.gmacs_per_frame < 0.025


@pytest.mark.parametrize(("name", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_recurrent_heads_by_hand(heads, name, gates):
    width = units = ModelConfig().width
    assert heads[name].parameters == gates * units * (width + units + 2) + units * 10 + 10
    macs = 16 * gates * units * (width + units) + units * 10
    assert heads[name].gmacs_per_clip == pytest.approx(macs / 1e9)


@pytest.mark.parametrize("name", ["compact_cnn", "mobilenet_v3_small", "regnet_y_400mf"])
def test_parameters_are_those_of_the_real_network(backbones, name):
    assert backbones[name].parameters == sum(p.numel() for p in find_backbone(name).build(3).parameters())


@pytest.mark.parametrize("name", ["attention_rnn", "transformer"])
def test_parameters_are_those_of_the_real_head(heads, name):
    head = find_head(name).build(ModelConfig(head=name), 10)
    assert heads[name].parameters == sum(p.numel() for p in head.parameters())


def test_describing_leaves_the_seed_alone(only_some):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    describe_backbones(32, 32)
    describe_heads()
    assert torch.equal(torch.rand(1), expected)
