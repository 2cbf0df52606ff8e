"""The names a recipe may give, what each is, and which settings each one reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torchvision import models as tv

from vidcli.config import ModelConfig
from vidcli.errors import ConfigError, did_you_mean
from vidcli.models import heads
from vidcli.models.backbones import Backbone, build_compact_cnn, build_from_torchvision, build_simple_cnn


@dataclass(frozen=True)
class BackboneSpec:
    """How to build a backbone.

    Attributes:
        build: from the number of input channels to a random backbone.
        description: one sentence.
        pretrained: torchvision's weights (url, get_state_dict), or None where none are published.
    """

    build: Callable[[int], Backbone]
    description: str
    pretrained: Any = None


@dataclass(frozen=True)
class HeadSpec:
    """How to build a head.

    Attributes:
        build: from the settings and the number of classes to a head.
        description: one sentence.
        settings: those of `ModelConfig` that it reads and not every head does.
    """

    build: Callable[[ModelConfig, int], nn.Module]
    description: str
    settings: frozenset[str] = frozenset()


def _torchvision(build: Callable[..., Any], weights: Any, description: str) -> BackboneSpec:
    return BackboneSpec(partial(build_from_torchvision, build), description, weights.DEFAULT)


BACKBONES: dict[str, BackboneSpec] = {
    "simple_cnn": BackboneSpec(
        build_simple_cnn, "Two stages of convolution, ReLU and max-pool: the smallest baseline."
    ),
    "compact_cnn": BackboneSpec(
        build_compact_cnn, "Small residual CNN, made for training from scratch on a CPU."
    ),
    "resnet18": _torchvision(tv.resnet18, tv.ResNet18_Weights, "ResNet of 18 layers: the usual start."),
    "resnet34": _torchvision(tv.resnet34, tv.ResNet34_Weights, "ResNet of 34 layers."),
    "resnet50": _torchvision(
        tv.resnet50, tv.ResNet50_Weights, "ResNet of 50 layers: what most video papers compare on."
    ),
    "resnet101": _torchvision(tv.resnet101, tv.ResNet101_Weights, "ResNet of 101 layers."),
    "mobilenet_v3_small": _torchvision(
        tv.mobilenet_v3_small, tv.MobileNet_V3_Small_Weights, "Fewest multiplications: phones and CPUs."
    ),
    "mobilenet_v3_large": _torchvision(
        tv.mobilenet_v3_large,
        tv.MobileNet_V3_Large_Weights,
        "Few multiplications, near ResNet-50's accuracy.",
    ),
    "efficientnet_b0": _torchvision(
        tv.efficientnet_b0, tv.EfficientNet_B0_Weights, "Few parameters; slow for its size on a GPU."
    ),
    "efficientnet_v2_s": _torchvision(
        tv.efficientnet_v2_s,
        tv.EfficientNet_V2_S_Weights,
        "EfficientNet reshaped for fast training on a GPU.",
    ),
    "regnet_y_400mf": _torchvision(
        tv.regnet_y_400mf, tv.RegNet_Y_400MF_Weights, "RegNet of 0.4 GMACs, with squeeze and excitation."
    ),
    "regnet_y_1_6gf": _torchvision(
        tv.regnet_y_1_6gf, tv.RegNet_Y_1_6GF_Weights, "RegNet of 1.6 GMACs, with squeeze and excitation."
    ),
    "convnext_tiny": _torchvision(
        tv.convnext_tiny, tv.ConvNeXt_Tiny_Weights, "Modern CNN of ResNet-50's cost; start it pretrained."
    ),
    "convnext_small": _torchvision(
        tv.convnext_small,
        tv.ConvNeXt_Small_Weights,
        "Modern CNN of twice ResNet-50's cost; start it pretrained.",
    ),
}

_RECURRENT = frozenset({"hidden", "layers", "bidirectional"})

HEADS: dict[str, HeadSpec] = {
    "mean": HeadSpec(heads.MeanHead, "Average of the frames, then a linear layer: ignores their order."),
    "rnn": HeadSpec(partial(heads.RecurrentHead, kind=nn.RNN), "Tanh recurrence, last state.", _RECURRENT),
    "lstm": HeadSpec(
        partial(heads.RecurrentHead, kind=nn.LSTM), "Long short-term memory, last state.", _RECURRENT
    ),
    "gru": HeadSpec(
        partial(heads.RecurrentHead, kind=nn.GRU),
        "Gated recurrent unit, last state: the usual start.",
        _RECURRENT,
    ),
    "attention": HeadSpec(
        heads.AttentionHead, "Dot-product attention between frames, averaged: ignores their order."
    ),
    "attention_rnn": HeadSpec(
        heads.AttentionRnnHead, "Dot-product attention, then a tanh recurrence.", _RECURRENT
    ),
    "transformer": HeadSpec(
        heads.TransformerHead,
        "Transformer layers with frame positions, averaged.",
        frozenset({"hidden", "layers", "attention_heads"}),
    ),
}


def backbone_names() -> list[str]:
    """Return what `model.backbone` may be, ours first, small to large within a family."""
    return list(BACKBONES)


def head_names() -> list[str]:
    """Return what `model.head` may be."""
    return list(HEADS)


def find_backbone(name: str) -> BackboneSpec:
    """Return the backbone of that name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    if name not in BACKBONES:
        raise ConfigError(_unknown("model.backbone", name, BACKBONES))
    return BACKBONES[name]


def find_head(name: str) -> HeadSpec:
    """Return the head of that name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    if name not in HEADS:
        raise ConfigError(_unknown("model.head", name, HEADS))
    return HEADS[name]


def unused_settings(config: ModelConfig) -> list[str]:
    """Return the settings, such as `model.layers`, that were changed and have no effect.

    Raises:
        ConfigError: the head is unknown.
    """
    read = find_head(config.head).settings
    optional = frozenset[str]().union(*(spec.settings for spec in HEADS.values()))
    defaults = ModelConfig()
    unused = [
        f"model.{name}"
        for name in ModelConfig.model_fields
        if name in optional - read and getattr(config, name) != getattr(defaults, name)
    ]
    if config.pretrained and config.weights is not None:
        unused.append("model.pretrained")  # the file replaces them
    return unused


def _unknown(setting: str, name: str, known: dict[str, Any]) -> str:
    return f"unknown {setting} {name!r}.{did_you_mean(name, known)} There are: {', '.join(known)}."
