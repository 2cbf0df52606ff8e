"""Random changes of a training clip, drawn once and applied to all its frames.

    window      a random part of the frame, of random size and proportions
    change      mirror, change light and colour, apply RandAugment, erase a box

A setting that is off draws no random number, so that turning it on leaves the draws before it unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vidcli.config import AugmentConfig

_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""Matrix from RGB to luma and two axes of colour (NTSC 1953)."""

_ERASED_SHARES = (0.02, 1 / 3)
"""Smallest and largest share of the frame in an erased box (Zhong et al. 2017, arXiv:1708.04896)."""
_ERASED_ASPECTS = (0.3, 1 / 0.3)
"""Smallest and largest ratio of height to width of an erased box (as there)."""


class Augmentation:
    """The random changes that the settings describe."""

    def __init__(self, settings: AugmentConfig, flip: bool, fill: Sequence[float]) -> None:
        """Keep the settings.

        Args:
            settings: the strength of each random change.
            flip: whether half of the clips are mirrored.
            fill: colour of places that a change leaves empty: three channels, 0 to 1.
        """
        self._settings, self._flip, self._fill = settings, flip, list(fill)

    def draw_window(
        self, frame_size: tuple[int, int], clip_size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Draw the part of the frames that becomes the clip.

        Args:
            frame_size: height and width of the decoded frames in pixels.
            clip_size: height and width of the clip in pixels.
            rng: draws size, proportions and place.

        Returns:
            Top, left, height and width in pixels of the decoded frames.
        """
        (frame_height, frame_width), (clip_height, clip_width) = frame_size, clip_size
        # The largest window with the clip's proportions, reduced to a drawn share of its area.
        scale = min(frame_height / clip_height, frame_width / clip_width)
        scale *= float(np.sqrt(rng.uniform(self._settings.crop_scale, 1.0)))
        stretch = 1.0
        if self._settings.crop_aspect > 1:
            largest = math.log(self._settings.crop_aspect)
            stretch = math.exp(rng.uniform(-largest, largest) / 2)
        height = min(frame_height, max(1, round(clip_height * scale / stretch)))
        width = min(frame_width, max(1, round(clip_width * scale * stretch)))
        top = int(rng.integers(frame_height - height + 1))
        left = int(rng.integers(frame_width - width + 1))
        return top, left, height, width

    def change(self, clip_TCHW: Tensor, rng: np.random.Generator) -> Tensor:
        """Return a randomly changed clip, values 0 to 1; `clip_TCHW` may be overwritten."""
        settings = self._settings
        if self._flip and rng.random() < 0.5:
            clip_TCHW = clip_TCHW.flip(-1)
        gain = _draw_gain(settings.brightness, rng) if settings.brightness else 1.0
        if settings.contrast:
            contrast = _draw_gain(settings.contrast, rng)
            # Around the mean of the whole clip: a mean for each frame would add flicker.
            mean = float(clip_TCHW.mean()) * gain
            clip_TCHW = clip_TCHW.mul_(gain * contrast).add_(mean - mean * contrast)
        elif settings.brightness:
            clip_TCHW = clip_TCHW.mul_(gain)
        if settings.saturation or settings.hue:
            gain = _draw_gain(settings.saturation, rng) if settings.saturation else 1.0
            turn = float(rng.uniform(-settings.hue, settings.hue)) if settings.hue else 0.0
            clip_TCHW = change_colour(clip_TCHW, gain, turn)
        clip_TCHW = clip_TCHW.clamp_(0, 1)
        if settings.randaugment:
            from vidcli.transforms.randaugment import rand_augment  # imports torchvision, which is slow

            clip_TCHW = rand_augment(
                clip_TCHW, settings.randaugment, settings.randaugment_magnitude, self._fill, rng
            )
        if settings.erase and rng.random() < settings.erase:
            top, left, height, width = _draw_box(clip_TCHW.shape[-2], clip_TCHW.shape[-1], rng)
            fill_C11 = torch.tensor(self._fill).view(3, 1, 1)
            clip_TCHW[..., top : top + height, left : left + width] = fill_C11
        return clip_TCHW


def change_colour(clip_TCHW: Tensor, saturation: float, turn: float) -> Tensor:
    """Change saturation and hue of a clip, but not its luma; grey stays grey.

    A single product with a 3x3 matrix does both, several times faster than a conversion to HSV and back: a
    rotation of the colour plane of YIQ approximates a rotation of the hue.

    Args:
        clip_TCHW: RGB, 0 to 1; the result may exceed that range.
        saturation: factor of colourfulness; 0 gives grey.
        turn: rotation of the hue; 1 is a whole turn.
    """
    cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    turned = saturation * np.array([[cosine, -sine], [sine, cosine]])
    in_yiq = np.eye(3)
    in_yiq[1:, 1:] = turned
    matrix = torch.from_numpy(np.linalg.inv(_YIQ) @ in_yiq @ _YIQ).float()
    # A convolution of one pixel is several times faster than a matrix product of three columns.
    return functional.conv2d(clip_TCHW, matrix.view(3, 3, 1, 1))


def _draw_gain(largest_change: float, rng: np.random.Generator) -> float:
    return 1 + float(rng.uniform(-largest_change, largest_change))


def _draw_box(frame_height: int, frame_width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw a box to erase; return its top, left, height and width in pixels, cut to fit into the frame."""
    area = float(rng.uniform(*_ERASED_SHARES)) * frame_height * frame_width
    aspect = math.exp(rng.uniform(math.log(_ERASED_ASPECTS[0]), math.log(_ERASED_ASPECTS[1])))
    height = min(frame_height, max(1, round(math.sqrt(area * aspect))))
    width = min(frame_width, max(1, round(math.sqrt(area / aspect))))
    top = int(rng.integers(frame_height - height + 1))
    left = int(rng.integers(frame_width - width + 1))
    return top, left, height, width
