"""What backbones and heads cost: parameters and multiply-adds, counted without running them.

Shape suffixes: N frames, C channels, H W pixels, B batch, T frames a clip, E width.

Networks are built on torch's meta device, where tensors have shapes and no numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from vidcli.config import ModelConfig
from vidcli.models.published import published_accuracy
from vidcli.models.registry import BACKBONES, HEADS, NETWORKS
from vidcli.runtime.tensors import shapes_only

_FLOPS_A_MAC = 2


@dataclass(frozen=True)
class BackboneCost:
    """One backbone: `gmacs_per_frame` are 1e9 multiply-adds; `pretrained` says weights are published."""

    name: str
    description: str
    num_features: int
    parameters: int
    gmacs_per_frame: float
    pretrained: bool


@dataclass(frozen=True)
class HeadCost:
    """One head with default settings: `gmacs_per_clip` are 1e9 multiply-adds."""

    name: str
    description: str
    parameters: int
    gmacs_per_clip: float


@dataclass(frozen=True)
class NetworkCost:
    """One whole video network as published, 400 classes: 1e9 multiply-adds of one of its clips."""

    name: str
    description: str
    parameters: int
    gmacs_per_clip: float
    clip: str
    views: int
    kinetics400_top1: float


def describe_networks() -> list[NetworkCost]:
    """Return every whole video network; the numbers are those published with its weights."""
    costs = []
    for name, spec in NETWORKS.items():
        about = spec.pretrained.meta
        clip = f"{spec.length}x{spec.size}x{spec.size}"
        top1, _ = published_accuracy(name)
        costs.append(
            NetworkCost(name, spec.description, about["num_params"], about["_ops"], clip, spec.views, top1)
        )
    return costs


def describe_backbones(height: int = 224, width: int = 224) -> list[BackboneCost]:
    """Return every backbone with its cost for RGB frames of that many pixels."""
    costs = []
    for name, spec in BACKBONES.items():
        with torch.random.fork_rng(devices=[]), shapes_only():
            backbone = spec.build(3).eval()
        gmacs = _count_gmacs(backbone, torch.empty(1, 3, height, width, device="meta"))
        costs.append(
            BackboneCost(
                name,
                spec.description,
                backbone.num_features,
                _count_parameters(backbone),
                gmacs,
                spec.pretrained is not None,
            )
        )
    return costs


def describe_heads(length: int = 16, num_classes: int = 10) -> list[HeadCost]:
    """Return every head with its cost for clips of `length` frames and default settings."""
    costs = []
    for name, spec in HEADS.items():
        config = ModelConfig(head=name)
        with torch.random.fork_rng(devices=[]), shapes_only():
            head = spec.build(config, num_classes).eval()
            places = (config.grid**2,) if spec.keeps_cells else ()
            features = torch.empty(1, length, *places, config.width)
        gmacs = _count_gmacs(head, features)
        costs.append(HeadCost(name, spec.description, _count_parameters(head), gmacs))
    return costs


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _count_gmacs(module: nn.Module, example: torch.Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode  # brings Triton, where that is installed

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(example)
    return float(counter.get_total_flops()) / _FLOPS_A_MAC / 1e9
