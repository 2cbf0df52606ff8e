"""Convolutions that oneDNN computes, also those that torch would not give to it.

For few frames, narrow maps or a single thread torch multiplies unfolded copies of maps instead, since oneDNN
once took longer to begin. With it, four frames take two thirds of the time (EfficientNet-Lite0 in one thread)
and a clip less than half (I3D).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def convolve_directly(network: nn.Module) -> None:
    """Let the convolutions of a network call oneDNN themselves; its answers change by rounding alone.

    They do so where nothing is learnt or traced, in float32 on a CPU, and stay as they are elsewhere. Their
    weights and names stay.

    Args:
        network: changed in place.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            kind = _DIRECT.get(type(child))
            if kind is not None and child.padding_mode == "zeros" and not isinstance(child.padding, str):
                direct = copy.copy(child)
                direct.__class__ = kind
                setattr(module, name, direct)


class _Direct2d(nn.Conv2d):
    """Convolves frames."""

    def forward(self, input: Tensor) -> Tensor:
        return _convolved(self, input) if _is_direct(self, input) else super().forward(input)


class _Direct3d(nn.Conv3d):
    """Convolves clips."""

    def forward(self, input: Tensor) -> Tensor:
        return _convolved(self, input) if _is_direct(self, input) else super().forward(input)


_DIRECT: dict[Any, type[nn.Module]] = {nn.Conv2d: _Direct2d, nn.Conv3d: _Direct3d}


def _is_direct(convolution: nn.Conv2d | nn.Conv3d, values: Tensor) -> bool:
    return (
        values.device.type == "cpu"
        and values.dtype == convolution.weight.dtype == torch.float32
        and values.dim() == convolution.weight.dim()
        and values.numel() > 0
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _convolved(convolution: nn.Conv2d | nn.Conv3d, values: Tensor) -> Tensor:
    assert not isinstance(convolution.padding, str)
    return torch.mkldnn_convolution(
        values,
        convolution.weight,
        convolution.bias,
        convolution.padding,
        convolution.stride,
        convolution.dilation,
        convolution.groups,
    )
