"""RandAugment on clips: a few operations of one strength, drawn from fourteen.

Source: Cubuk et al. 2019, arXiv:1909.13719; the operations and their largest values are those of torchvision.
Every operation changes all frames of a clip alike. Operations that depend on the distribution of values take
that of the whole clip, since a change from frame to frame would flicker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as TF

from vidcli.arrays import Int64

MAX_MAGNITUDE = 30
_MAX_SHEAR = 0.3
_MAX_TRANSLATION = 150 / 331  # share of the side
_MAX_DEGREES = 30.0
_MAX_GAIN = 0.9
_MAX_LOST_BITS = 4

Operation = Callable[[Tensor, float, Sequence[float]], Tensor]
"""Takes a clip, a strength from -1 to 1 and a colour for empty places; returns the changed clip."""


def rand_augment(
    clip_TCHW: Tensor, num_operations: int, magnitude: float, fill: Sequence[float], rng: np.random.Generator
) -> Tensor:
    """Return a clip after some random operations.

    Args:
        clip_TCHW: RGB, 0 to 1.
        num_operations: number of operations, applied one after the other.
        magnitude: strength of each, 0 to 30.
        fill: colour of places that an operation leaves empty: three channels, 0 to 1.
        rng: draws the operations and their directions.
    """
    for _ in range(num_operations):
        operation = _OPERATIONS[int(rng.integers(len(_OPERATIONS)))]
        sign = 1.0 if rng.random() < 0.5 else -1.0
        clip_TCHW = operation(clip_TCHW, sign * magnitude / MAX_MAGNITUDE, fill)
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
    right_W, down_H1 = _from_centre(width), _from_centre(height)[:, None]
    grid_HW2 = torch.stack(
        [
            (from_x[0] * right_W + from_x[1] * down_H1) * (2 / width),
            (from_y[0] * right_W + from_y[1] * down_H1) * (2 / height),
        ],
        dim=-1,
    )
    # Outside counts as zero, so the fill is subtracted before.
    fill_C11 = torch.tensor(fill).view(3, 1, 1)
    above_TCHW = torch.empty(clip_TCHW.shape)
    torch.sub(clip_TCHW, fill_C11, out=above_TCHW)
    moved = functional.grid_sample(above_TCHW.flatten(0, 1)[None], grid_HW2[None], align_corners=False)
    return moved.view(above_TCHW.shape).add_(fill_C11)


def _from_centre(length: int) -> Tensor:
    """Return the distance of each pixel of a side from the middle of the side, in pixels."""
    return torch.arange(length) - (length - 1) / 2


def _rotate(clip_TCHW: Tensor, strength: float, fill: Sequence[float]) -> Tensor:
    angle = math.radians(_MAX_DEGREES * strength)
    cosine, sine = math.cos(angle), math.sin(angle)
    return _warp(clip_TCHW, fill, (cosine, sine), (-sine, cosine))


def _translate(clip_TCHW: Tensor, fill: Sequence[float], right: int, down: int) -> Tensor:
    """Return a clip moved by `right` and `down` whole pixels."""
    moved_TCHW = torch.empty_like(clip_TCHW).copy_(torch.tensor(fill).view(3, 1, 1))
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
    equal_TCHW = torch.empty((3, num_frames, height, width)).transpose(0, 1)
    for channel, values_THW in enumerate(clip_TCHW.unbind(1)):
        values_N = values_THW.mul(256 - 1e-3).byte().contiguous().numpy().ravel()
        table = _equal_steps(np.bincount(values_N, minlength=256))
        # bytes.translate is by far the fastest lookup.
        equal_N = np.frombuffer(bytearray(values_N.tobytes().translate(table.tobytes())), np.uint8)
        equal_TCHW[:, channel].copy_(torch.from_numpy(equal_N).view(num_frames, height, width))
    return equal_TCHW.div_(255)


def _equal_steps(counts_V: Int64) -> npt.NDArray[np.uint8]:
    """Return the new value of each of 256 values, from how often each occurs."""
    total = counts_V.sum()
    step = (total - counts_V[np.flatnonzero(counts_V)[-1]]) // 255
    if step == 0:  # hardly more than one value: no change
        return np.arange(256, dtype=np.uint8)
    before_V = np.concatenate([[0], counts_V.cumsum()[:-1]])
    spread_V: npt.NDArray[np.uint8] = ((before_V + step // 2) // step).clip(0, 255).astype(np.uint8)
    return spread_V


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
