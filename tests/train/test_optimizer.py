"""Learning rate, weight decay and precision, against what can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from vidcli.config import ModelConfig, TrainConfig
from vidcli.models import build_model
from vidcli.train.optimizer import autocast_dtype, build_optimizer, learning_rate

# 5 epochs of 4 steps, one of them warm-up: 4 steps of rise, 16 of cosine.
SETTINGS = TrainConfig(epochs=5, warmup_epochs=1, lr=0.4)


@pytest.mark.parametrize(
    ("position", "share"),
    [
        (0, 1 / 4), (1, 2 / 4), (3, 1.0),  # a straight line
        (4, 1.0), (8, (1 + math.sqrt(0.5)) / 2), (12, 0.5), (16, (1 - math.sqrt(0.5)) / 2),
        (19, (1 - math.cos(math.pi / 16)) / 2),
    ],
)  # fmt: skip
def test_rate_rises_and_follows_a_half_cosine(position, share):
    assert learning_rate(SETTINGS, position, 4) == pytest.approx(0.4 * share)


def test_rate_never_rises_after_the_warm_up():
    rates = [learning_rate(SETTINGS, position, 4) for position in range(20)]
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert min(rates) > 0


def test_rate_without_warm_up_starts_at_its_highest():
    settings = TrainConfig(epochs=2, warmup_epochs=0, lr=0.4)
    assert learning_rate(settings, 0, 4) == pytest.approx(0.4)
    assert learning_rate(settings, 4, 4) == pytest.approx(0.2)


@pytest.mark.parametrize("steps_per_epoch", [1, 3])
def test_rate_of_a_run_shorter_than_its_warm_up(steps_per_epoch):
    settings = TrainConfig(epochs=1, warmup_epochs=5, lr=0.4)
    rates = [learning_rate(settings, position, steps_per_epoch) for position in range(steps_per_epoch)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.4)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_only_weights_of_layers_are_decayed(small_config, optimizer):
    config = small_config(train__optimizer=optimizer, train__lr=0.5, train__weight_decay=0.25)
    model = build_model(config.model, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(2.0)
            parameter.grad = torch.zeros_like(parameter)
    build_optimizer(model, config.train).step()
    # Both rules then shrink by the factor 1 - lr * decay; SGD with Nesterov momentum adds its look ahead.
    shrunk = 2 * (1 - 0.5 * 0.25 * (1.0 if optimizer == "adamw" else 1 + config.train.momentum))
    for name, parameter in model.named_parameters():
        is_vector = name.endswith(("bias", ".bn1.weight", ".bn2.weight")) or parameter.dim() < 2
        expected = 2.0 if is_vector or ".bias_" in name else shrunk
        assert torch.allclose(parameter, torch.full_like(parameter, expected)), name


def test_optimizer_holds_every_parameter_once(small_config):
    config = small_config()
    model = build_model(config.model, 3)
    held = [id(p) for group in build_optimizer(model, config.train).param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())


def test_frozen_parameters_are_left_alone(small_config):
    config = small_config()
    model = build_model(config.model, 3)
    model.backbone.requires_grad_(False)
    held = [id(p) for group in build_optimizer(model, config.train).param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("precision", "device", "dtype"),
    [
        ("auto", "cpu", None),
        ("auto", "cuda", torch.bfloat16),
        ("float32", "cuda", None),
        ("bfloat16", "cpu", torch.bfloat16),
        ("float16", "cuda", torch.float16),
    ],
)
def test_precision_follows_the_device_unless_it_is_set(precision, device, dtype):
    assert autocast_dtype(TrainConfig(precision=precision), torch.device(device)) is dtype


def rates_of(model, settings):
    """Return the share of the learning rate of every parameter by name."""
    share_of = {
        id(parameter): group["lr_ratio"]
        for group in build_optimizer(model, settings).param_groups
        for parameter in group["params"]
    }
    return {name: share_of[id(parameter)] for name, parameter in model.named_parameters()}


def test_every_block_of_a_transformer_learns_at_a_share_of_the_next():
    config = ModelConfig(backbone="timm:test_vit", frame_differences=False, head="mean")
    model = build_model(config, 3)
    num_blocks = len(model.backbone.network.blocks)
    rates = rates_of(model, TrainConfig(layer_decay=0.5, backbone_lr_ratio=0.1))
    assert len(rates) == len([*model.parameters()])
    for name, rate in rates.items():
        if not name.startswith("backbone."):
            expected = 1.0
        elif ".blocks." in name:
            expected = 0.1 * 0.5 ** (num_blocks - int(name.split(".")[3]))
        elif "network.norm." in name:
            expected = 0.1 * 0.5
        else:  # positions, class token and patches
            expected = 0.1 * 0.5 ** (num_blocks + 1)
        assert rate == pytest.approx(expected), name


def test_stages_of_a_cnn_learn_at_a_share_of_the_next(small_config):
    model = build_model(small_config().model, 3)
    rates = rates_of(model, TrainConfig(layer_decay=0.5))
    stages = {name.split(".")[1]: rate for name, rate in rates.items() if name.startswith("backbone.")}
    assert stages == {
        "stem": 1 / 32,
        "bn": 1 / 32,
        "stage1": 1 / 16,
        "stage2": 1 / 8,
        "stage3": 1 / 4,
        "stage4": 1 / 2,
    }
    assert {rate for name, rate in rates.items() if not name.startswith("backbone.")} == {1.0}


def test_without_decay_all_learn_alike(small_config):
    assert set(rates_of(build_model(small_config().model, 3), TrainConfig()).values()) == {1.0}
