"""Torchvision's networks, built by name: image classifiers as backbones, video networks whole.

Torchvision is imported where one of its networks is wanted and not before: with what it brings along
it takes as long to import as torch itself, and commands on a model of ours need none of it.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from typing import Any

import torch
from torch import nn

from vidcli.models.backbones import Backbone, first_convolution
from vidcli.runtime.compat import compiler_unloaded


@cache
def _torchvision_models() -> Any:
    with compiler_unloaded():
        from torchvision import models
    return models


def build_network(name: str) -> nn.Module:
    """Build one of torchvision's networks, whole and random."""
    models = _torchvision_models()
    device = torch.get_default_device()
    # RegNet computes its widths with tensors, which have no values on the meta device.
    with torch.device("cpu" if name.startswith("regnet") else device):
        network: nn.Module = models.get_model(name, weights=None)
    return network.to(device)


def published_weights(name: str) -> Any:
    """Return torchvision's best weights of one of its networks: url, get_state_dict, meta."""
    models = _torchvision_models()
    return models.get_model_weights(name).DEFAULT


def build_backbone(name: str, in_channels: int) -> Backbone:
    """Build one of torchvision's image classifiers, random, without its pool and classifier.

    Args:
        name: of the classifier, such as `resnet18`.
        in_channels: C; the first convolution is widened when it is not 3.
    """
    children = OrderedDict(build_network(name).named_children())
    children.pop("avgpool")
    classifier = children.pop("fc" if "fc" in children else "classifier")
    num_features = next(m.in_features for m in classifier.modules() if isinstance(m, nn.Linear))
    backbone = Backbone(children, num_features)
    if in_channels != 3:
        _widen(backbone, in_channels)
    return backbone


def _widen(backbone: Backbone, in_channels: int) -> None:
    """Give the first convolution `in_channels`, the new ones' weights as spread as the old ones'."""
    name, narrow = first_convolution(backbone)
    wide = nn.Conv2d(
        in_channels,
        narrow.out_channels,
        narrow.kernel_size,  # type: ignore[arg-type]
        narrow.stride,  # type: ignore[arg-type]
        narrow.padding,  # type: ignore[arg-type]
        bias=narrow.bias is not None,
    )
    with torch.no_grad():
        nn.init.normal_(wide.weight).mul_(narrow.weight.std())  # no number is read: it may have none
        wide.weight[:, : narrow.in_channels] = narrow.weight
    wide.bias = narrow.bias
    parent, _, attribute = name.rpartition(".")
    setattr(backbone.get_submodule(parent), attribute, wide)
