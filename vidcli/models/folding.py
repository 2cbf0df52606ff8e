"""Fold batch normalisation into the convolutions before it, for networks that do not change any more.

In evaluation batch normalisation is a factor and a summand for each channel, which a convolution can take
along. A frame CNN of many thin layers computes a third faster without it.

Shape suffixes: N frames, C channels, H W pixels.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)

_TOLERANCE = 1e-3
"""Of values of maps, as a share of their spread: rounding of another order of sums."""


def fold_batchnorm(network: Network, example_NCHW: Tensor) -> Network:
    """Return a copy of a network without the batch normalisation that follows convolutions.

    Which one follows which is told by their order in a module. Where that is not the order of computation,
    the copy would answer otherwise; an unchanged copy is returned then.

    Args:
        network: in evaluation mode; its output is a tensor.
        example_NCHW: frames to compare both on.
    """
    folded = copy.deepcopy(network)
    for module in list(folded.modules()):
        for before, after in pairwise(list(module.named_children())):
            _fold_pair(module, before, after)
    with torch.inference_mode():
        expected, found = network(example_NCHW), folded(example_NCHW)
    if float((found - expected).abs().max()) <= _TOLERANCE * float(expected.std() + 1e-6):
        return folded
    return copy.deepcopy(network)


def _fold_pair(module: nn.Module, before: tuple[str, nn.Module], after: tuple[str, nn.Module]) -> None:
    """Fold one child of a module into another, if they are a convolution and its normalisation."""
    (conv_name, conv), (norm_name, norm) = before, after
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        return
    if conv.out_channels != norm.num_features or norm.running_mean is None:
        return
    setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
    # timm's normalisation ends with an activation of its own.
    rest = [part for name in ("drop", "act") if isinstance(part := getattr(norm, name, None), nn.Module)]
    setattr(module, norm_name, nn.Sequential(*rest))
