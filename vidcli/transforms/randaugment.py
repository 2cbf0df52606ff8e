"""RandAugment on clips: a few operations of one strength, drawn from fourteen.

Source: Cubuk et al. 2019, arXiv:1909.13719; the operations and their largest values are those of torchvision.
Every operation changes all frames of a clip alike. Operations that depend on the distribution of values take
that of the whole clip, since a change from frame to frame would flicker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as TF

from vidcli.transforms.augment import constant

MAX_MAGNITUDE = 30
_MAX_SHEAR = 0.3
_MAX_TRANSLATION = 150 / 331  # share of the side
_MAX_DEGREES = 30.0
_MAX_GAIN = 0.9
_MAX_LOST_BITS = 4

Operation = Callable[[Tensor, float, Sequence[float]], Tensor]
"""Takes a clip, a strength from -1 to 1 and a colour for empty places; returns the changed clip."""


def draw_operations(
    num_operations: int, magnitude: float, rng: np.random.Generator
) -> tuple[tuple[int, float], ...]:
    """Draw operations for a clip, each as its number and a strength from -1 to 1.

    Args:
        num_operations: number of operations, to be applied one after the other.
        magnitude: strength of each, 0 to 30.
        rng: draws the operations and their directions.
    """
    drawn = []
    for _ in range(num_operations):
        number = int(rng.integers(len(_OPERATIONS)))
        sign = 1.0 if rng.random() < 0.5 else -1.0
        drawn.append((number, sign * magnitude / MAX_MAGNITUDE))
    return tuple(drawn)


def rand_augment(clip_TCHW: Tensor, operations: Iterable[tuple[int, float]], fill: Sequence[float]) -> Tensor:
    """Return a clip after operations.

    Args:
        clip_TCHW: RGB, 0 to 1, on any device.
        operations: number and strength of each, as they were drawn.
        fill: colour of places that an operation leaves empty: three channels, 0 to 1.
    """
    for number, strength in operations:
        clip_TCHW = _OPERATIONS[number](clip_TCHW, strength, fill)
    return clip_TCHW


def _warp(
    clip_TCHW: Tensor, fill: Sequence[float], from_x: tuple[float, float], from_y: tuple[float, float]
) -> Tensor:
    """Apply a linear map around the centre to a clip, with bilinear interpolation.

    Frames become channels of one image: the source of each pixel is then computed once for all frames,
    several times faster than frame by frame.

    Args:
        clip_TCHW: RGB.
        fill: colour of pixels whose source is outside.
        from_x: how far the source of a pixel moves to the right, for a pixel more to the right and for a
            pixel more down.
        from_y: how far it moves down, likewise.
    """
    height, width = clip_TCHW.shape[-2:]
    right_W, down_H1 = (_from_centre(length, clip_TCHW.device) for length in (width, height))
    down_H1 = down_H1[:, None]
    grid_HW2 = torch.stack(
        [
            (from_x[0] * right_W + from_x[1] * down_H1) * (2 / width),
            (from_y[0] * right_W + from_y[1] * down_H1) * (2 / height),
        ],
        dim=-1,
    )
    # Outside counts as zero, so the fill is subtracted before.
    fill_C11 = _colour(fill, clip_TCHW)
    above_TCHW = clip_TCHW.new_empty(clip_TCHW.shape)
    torch.sub(clip_TCHW, fill_C11, out=above_TCHW)
    moved = functional.grid_sample(above_TCHW.flatten(0, 1)[None], grid_HW2[None], align_corners=False)
    return moved.view(above_TCHW.shape).add_(fill_C11)


def _colour(fill: Sequence[float], clip_TCHW: Tensor) -> Tensor:
    """Return a colour as (3, 1, 1) on the device of a clip."""
    return constant(tuple(fill), clip_TCHW.device).view(3, 1, 1)


def _from_centre(length: int, device: torch.device) -> Tensor:
    """Return the distance of each pixel of a side from the middle of the side, in pixels."""
    return torch.arange(length, device=device) - (length - 1) / 2


def _rotate(clip_TCHW: Tensor, strength: float, fill: Sequence[float]) -> Tensor:
    angle = math.radians(_MAX_DEGREES * strength)
    cosine, sine = math.cos(angle), math.sin(angle)
    return _warp(clip_TCHW, fill, (cosine, sine), (-sine, cosine))


def _translate(clip_TCHW: Tensor, fill: Sequence[float], right: int, down: int) -> Tensor:
    """Return a clip moved by `right` and `down` whole pixels."""
    moved_TCHW = torch.empty_like(clip_TCHW).copy_(_colour(fill, clip_TCHW))
    (to_y, from_y), (to_x, from_x) = (
        _overlap(offset, length) for offset, length in zip((down, right), clip_TCHW.shape[-2:], strict=True)
    )
    moved_TCHW[..., to_y, to_x] = clip_TCHW[..., from_y, from_x]
    return moved_TCHW


def _overlap(offset: int, length: int) -> tuple[slice, slice]:
    """Return target and source, along a side, of the part that stays in the frame."""
    start, end = max(0, offset), length + min(0, offset)
    return slice(start, end), slice(start - offset, end - offset)


def _as_one_image(change: Callable[[Tensor], Tensor], clip_TCHW: Tensor) -> Tensor:
    """Apply a change that depends on all values of an image to the frames of a clip as one tall image."""
    image_CYW = clip_TCHW.transpose(0, 1).flatten(1, 2)
    return torch.unflatten(change(image_CYW), 1, (-1, clip_TCHW.shape[-2])).transpose(0, 1)


def _autocontrast(clip_TCHW: Tensor, strength: float, fill: Sequence[float]) -> Tensor:
    """Stretch each channel of a clip so that its darkest value is 0 and its brightest 1."""
    clip_TCHW = clip_TCHW.contiguous(memory_format=torch.channels_last)
    rows_NW = clip_TCHW.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)  # whole rows of pixels are faster
    low_C, high_C = (
        getattr(getattr(rows_NW, extreme)(0).view(-1, 3), extreme)(0) for extreme in ("amin", "amax")
    )
    spread_C = high_C - low_C
    low_C, spread_C = low_C.where(spread_C > 0, 0.0), spread_C.where(spread_C > 0, 1.0)
    return clip_TCHW.sub(low_C.view(3, 1, 1)).div_(spread_C.view(3, 1, 1)).clamp_(0, 1)


def _equalize(clip_TCHW: Tensor, strength: float, fill: Sequence[float]) -> Tensor:
    """Equalise the histogram of each channel of a clip, in steps of 1/255, as Pillow does."""
    num_frames, _, height, width = clip_TCHW.shape
    equal_TCHW = clip_TCHW.new_empty((3, num_frames, height, width)).transpose(0, 1)
    for channel, values_THW in enumerate(clip_TCHW.unbind(1)):
        values_N = values_THW.mul(256 - 1e-3).byte().contiguous().view(-1)
        table_V = _equal_steps(torch.bincount(values_N, minlength=256))
        equal_N = table_V.index_select(0, values_N.int())
        equal_TCHW[:, channel].copy_(equal_N.view(num_frames, height, width))
    return equal_TCHW.div_(255)


def _equal_steps(counts_V: Tensor) -> Tensor:
    """Return the new value, uint8, of each of 256 values, from how often each occurs."""
    values_V = torch.arange(256, device=counts_V.device)
    largest_1 = values_V.mul(counts_V > 0).amax(0, keepdim=True)
    step = (counts_V.sum() - counts_V.gather(0, largest_1)) // 255
    spread_V = (counts_V.cumsum(0) - counts_V + step // 2) // step.clamp(min=1)
    return spread_V.clamp(0, 255).where(step > 0, values_V).byte()  # hardly more than one value: no change


def _posterize(clip_TCHW: Tensor, strength: float, fill: Sequence[float]) -> Tensor:
    posterized: Tensor = TF.posterize(clip_TCHW, 8 - round(_MAX_LOST_BITS * abs(strength)))
    return posterized


_OPERATIONS: tuple[Operation, ...] = (
    lambda clip, strength, fill: clip,
    lambda clip, strength, fill: _warp(clip, fill, (1, _MAX_SHEAR * strength), (0, 1)),
    lambda clip, strength, fill: _warp(clip, fill, (1, 0), (_MAX_SHEAR * strength, 1)),
    lambda clip, strength, fill: _translate(
        clip, fill, round(_MAX_TRANSLATION * strength * clip.shape[-1]), 0
    ),
    lambda clip, strength, fill: _translate(
        clip, fill, 0, round(_MAX_TRANSLATION * strength * clip.shape[-2])
    ),
    _rotate,
    lambda clip, strength, fill: TF.adjust_brightness(clip, 1 + _MAX_GAIN * strength),
    lambda clip, strength, fill: TF.adjust_saturation(clip, 1 + _MAX_GAIN * strength),
    lambda clip, strength, fill: _as_one_image(
        lambda image: TF.adjust_contrast(image, 1 + _MAX_GAIN * strength), clip
    ),
    lambda clip, strength, fill: TF.adjust_sharpness(clip, 1 + _MAX_GAIN * strength),
    _posterize,
    lambda clip, strength, fill: TF.solarize(clip, 1 - abs(strength)),
    _autocontrast,
    _equalize,
)
