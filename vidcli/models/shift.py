"""Temporal shift: frames see their neighbours without one more multiplication.

Shape suffixes: N frames of a batch (B * T), T frames a clip, C channels, H W positions.

Before the first convolution of every residual branch, 1/8 of the channels are taken from the
previous frame and 1/8 from the next one, zero beyond the ends of the clip:

    frame        0     1     2     3
    channels A   .     a0    a1    a2      from the previous frame
    channels B   b1    b2    b3    .       from the next frame
    the rest     c0    c1    c2    c3      untouched

The skip path is untouched, so that what a frame shows is never lost. Source: Lin et al. 2019,
arXiv:1811.08383.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.errors import ConfigError

SHIFT_DIVISOR = 8
"""One part in eight of the channels comes from each side: the paper's best on Kinetics."""

_BRANCH_ENTRIES = {
    "ResidualBlock": "conv1",
    "BasicBlock": "conv1",
    "Bottleneck": "conv1",
    "InvertedResidual": "block.0.0",
    "MBConv": "block.0.0",
    "FusedMBConv": "block.0.0",
    "ResBottleneckBlock": "f.a.0",
    "CNBlock": "block.0",
}
"""Where the first convolution of the residual branch is, in every kind of block: ours, then torchvision's,
by the name of its class, for only a network of torchvision has torchvision imported."""

_TIMM_ENTRIES = _BRANCH_ENTRIES | {
    "InvertedResidual": "conv_pw",
    "EdgeResidual": "conv_exp",
    "ConvNeXtBlock": "conv_dw",
}
"""The same of timm's blocks, some of which are named as torchvision's."""


def temporal_shift(x_NCHW: Tensor, num_frames: int) -> Tensor:
    """Return frames of which 2/8 of the channels come from the neighbour frames of their clip.

    Args:
        x_NCHW: clips of `num_frames` frames one after the other. The result is in channels-last
            memory, whichever the input's.
        num_frames: T; divides N.
    """
    if x_NCHW.requires_grad and torch.is_grad_enabled():
        shifted_NCHW: Tensor = _Shift.apply(x_NCHW, num_frames, False)
        return shifted_NCHW
    return _shift(x_NCHW, num_frames, is_reversed=False)


def shift_in_order(x_NCHW: Tensor, num_frames: int) -> Tensor:
    """Do what `temporal_shift` does without turning maps round.

    torch computes it more slowly, other runtimes faster: they lay maps out as they like.

    Args:
        x_NCHW: clips of `num_frames` frames one after the other.
        num_frames: T; divides N.
    """
    return _join_moved(torch.unflatten(x_NCHW, 0, (-1, num_frames)), 2, is_reversed=False).flatten(0, 1)


def _shift(x_NCHW: Tensor, num_frames: int, is_reversed: bool) -> Tensor:
    """Return the shifted frames; reversed, every channel goes the other way."""
    # Channels last, and joined there: each piece stays one copy in the layout that convolutions
    # want. Joining along C of (B, T, C, H, W) would silently fall back to the slow layout.
    x_BTHWC = torch.unflatten(x_NCHW.permute(0, 2, 3, 1), 0, (-1, num_frames))
    return _join_moved(x_BTHWC, 4, is_reversed).flatten(0, 1).permute(0, 3, 1, 2)


def _join_moved(clips: Tensor, channels: int, is_reversed: bool) -> Tensor:
    """Return clips, five-dimensional with frames second, of whose channels two parts come from neighbours.

    Args:
        clips: the clips.
        channels: which dimension holds channels.
        is_reversed: every channel goes the other way.
    """
    size = clips.shape[channels]
    fold = size // SHIFT_DIVISOR
    first, second = clips.narrow(channels, 0, fold), clips.narrow(channels, fold, fold)
    if is_reversed:
        moved = [_from_next(first), _from_previous(second)]
    else:
        moved = [_from_previous(first), _from_next(second)]
    return torch.cat([*moved, clips.narrow(channels, 2 * fold, size - 2 * fold)], dim=channels)


def _from_previous(clips: Tensor) -> Tensor:
    return F.pad(clips[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))


def _from_next(clips: Tensor) -> Tensor:
    return F.pad(clips[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))


class _Shift(torch.autograd.Function):
    """A shift whose gradient is a shift the other way round.

    What automatic differentiation makes of its pieces takes about twice as long, for the same bits.
    Exporters know those and not this, which is for training alone.
    """

    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, num_frames: int, is_reversed: bool) -> Tensor:
        """Return what `_shift` does."""
        ctx.num_frames, ctx.is_reversed = num_frames, is_reversed
        return _shift(x_NCHW, num_frames, is_reversed)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the frames."""
        (gradient_NCHW,) = gradients
        shifted_NCHW = _Shift.apply(gradient_NCHW, ctx.num_frames, not ctx.is_reversed)
        return shifted_NCHW, None, None


class ShiftedConv2d(nn.Conv2d):
    """A convolution that reads temporally shifted frames.

    It is a convolution rather than a shift before one so that parameter names stay those of the
    unshifted network, and weight files of either kind load into the other.

    `num_frames` is an attribute, not an argument, because the blocks around it (torchvision's)
    pass one tensor on and nothing else, and a frame batch does not tell 2 clips of 8 frames from
    4 of 4. `VideoClassifier` sets it before each forward; one model therefore serves one thread.
    """

    num_frames: int = 0
    is_in_order: bool = False
    """Whether the shift keeps the order of dimensions: for other runtimes."""

    @classmethod
    def from_conv(cls, conv: nn.Conv2d) -> ShiftedConv2d:
        """Return a shifted convolution that owns the parameters of `conv`."""
        shifted = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device="meta",
        )
        shifted.weight, shifted.bias = conv.weight, conv.bias
        return shifted

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Shift, then convolve.

        Raises:
            ValueError: nobody said how many frames a clip has.
        """
        if self.num_frames < 1:
            raise ValueError("num_frames is not set; call set_num_frames(backbone, T) before the backbone")
        shift = shift_in_order if self.is_in_order else temporal_shift
        return super().forward(shift(x_NCHW, self.num_frames))


def has_residual_blocks(backbone: nn.Module) -> bool:
    """Tell whether there is a place for a temporal shift."""
    return bool(_find_branch_entries(backbone))


def _find_branch_entries(backbone: nn.Module) -> list[str]:
    """Return the names of the first convolutions of all residual branches."""
    found = []
    for name, block in backbone.named_modules():
        is_of_timm = type(block).__module__.startswith("timm.")
        entry = (_TIMM_ENTRIES if is_of_timm else _BRANCH_ENTRIES).get(type(block).__name__)
        # Inverted residuals that change shape have no skip path to keep what a shift displaces.
        has_skip = getattr(block, "has_skip" if is_of_timm else "use_res_connect", True)
        if entry is None or not has_skip:
            continue
        # A convolution that pads by itself, as some of timm's do, is not one that can be replaced.
        if type(_submodule(block, entry)) in (nn.Conv2d, ShiftedConv2d):
            found.append(f"{name}.{entry}")
    return found


def _submodule(module: nn.Module, path: str) -> nn.Module | None:
    """Return a submodule; None where there is none of that name, as in another block of the same name."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def insert_temporal_shift(backbone: nn.Module) -> int:
    """Shift the input of every residual branch of a 2-D backbone, in place.

    Names and values of all parameters stay.

    Returns:
        how many residual blocks were found.

    Raises:
        ConfigError: there is none.
    """
    entries = _find_branch_entries(backbone)
    if not entries:
        raise ConfigError(
            "model.shift needs a backbone with residual blocks, and this one has none. "
            "Choose another, such as model.backbone=compact_cnn, or set model.shift=auto."
        )
    for entry in entries:
        parent, _, attribute = entry.rpartition(".")
        conv = backbone.get_submodule(entry)
        assert isinstance(conv, nn.Conv2d)
        setattr(backbone.get_submodule(parent), attribute, ShiftedConv2d.from_conv(conv))
    return len(entries)


def shifted_convolutions(backbone: nn.Module) -> tuple[ShiftedConv2d, ...]:
    """Return the convolutions that must know the number of frames; none without shift."""
    return tuple(module for module in backbone.modules() if isinstance(module, ShiftedConv2d))


def set_num_frames(backbone: nn.Module, num_frames: int) -> None:
    """Tell every shift in `backbone` how many frames a clip has."""
    for conv in shifted_convolutions(backbone):
        conv.num_frames = num_frames
