"""RandAugment on clips: a few operations drawn from fourteen, all of one strength.

Source: Cubuk et al. 2019, arXiv:1909.13719; the operations and their largest values are
torchvision's. Every operation treats all frames of a clip alike, and those that look at the
distribution of values look at the whole clip: what they do to one frame at a time would flicker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

MAX_MAGNITUDE = 30
_MAX_SHEAR = 0.3
_MAX_TRANSLATION = 150 / 331  # of the side
_MAX_DEGREES = 30.0
_MAX_GAIN = 0.9
_MAX_LOST_BITS = 4

Operation = Callable[[Tensor, float, Sequence[float]], Tensor]
"""From a clip, a strength of -1 to 1 and a colour for what is left empty to the changed clip."""


def rand_augment(
    clip_TCHW: Tensor, num_operations: int, magnitude: float, fill: Sequence[float], rng: np.random.Generator
) -> Tensor:
    """Return a clip after some random operations.

    Args:
        clip_TCHW: RGB, 0 to 1.
        num_operations: how many, one after the other.
        magnitude: strength, 0 to 30.
        fill: colour of what an operation leaves empty.
        rng: draws the operations and their directions.
    """
    for _ in range(num_operations):
        operation = _OPERATIONS[int(rng.integers(len(_OPERATIONS)))]
        sign = 1.0 if rng.random() < 0.5 else -1.0
        clip_TCHW = operation(clip_TCHW, sign * magnitude / MAX_MAGNITUDE, fill)
    return clip_TCHW


def _affine(
    clip_TCHW: Tensor,
    fill: Sequence[float],
    angle: float = 0.0,
    translate: tuple[float, float] = (0.0, 0.0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    moved: Tensor = TF.affine(
        clip_TCHW,
        angle=angle,
        translate=[round(pixels) for pixels in translate],
        scale=1.0,
        shear=[math.degrees(math.atan(slope)) for slope in shear],
        interpolation=InterpolationMode.BILINEAR,
        fill=list(fill),
    )
    return moved


def _as_one_image(change: Callable[[Tensor], Tensor], clip_TCHW: Tensor) -> Tensor:
    """Apply a change that looks at all values of an image to a clip, frames one below the other."""
    image_CYW = clip_TCHW.transpose(0, 1).flatten(1, 2)
    return torch.unflatten(change(image_CYW), 1, (-1, clip_TCHW.shape[-2])).transpose(0, 1)


def _posterize(clip_TCHW: Tensor, strength: float, fill: Sequence[float]) -> Tensor:
    posterized: Tensor = TF.posterize(clip_TCHW, 8 - round(_MAX_LOST_BITS * abs(strength)))
    return posterized


_OPERATIONS: tuple[Operation, ...] = (
    lambda clip, strength, fill: clip,
    lambda clip, strength, fill: _affine(clip, fill, shear=(_MAX_SHEAR * strength, 0)),
    lambda clip, strength, fill: _affine(clip, fill, shear=(0, _MAX_SHEAR * strength)),
    lambda clip, strength, fill: _affine(
        clip, fill, translate=(_MAX_TRANSLATION * strength * clip.shape[-1], 0)
    ),
    lambda clip, strength, fill: _affine(
        clip, fill, translate=(0, _MAX_TRANSLATION * strength * clip.shape[-2])
    ),
    lambda clip, strength, fill: _affine(clip, fill, angle=_MAX_DEGREES * strength),
    lambda clip, strength, fill: TF.adjust_brightness(clip, 1 + _MAX_GAIN * strength),
    lambda clip, strength, fill: TF.adjust_saturation(clip, 1 + _MAX_GAIN * strength),
    lambda clip, strength, fill: _as_one_image(
        lambda image: TF.adjust_contrast(image, 1 + _MAX_GAIN * strength), clip
    ),
    lambda clip, strength, fill: TF.adjust_sharpness(clip, 1 + _MAX_GAIN * strength),
    _posterize,
    lambda clip, strength, fill: TF.solarize(clip, 1 - abs(strength)),
    lambda clip, strength, fill: _as_one_image(TF.autocontrast, clip),
    lambda clip, strength, fill: _as_one_image(TF.equalize, clip),
)
