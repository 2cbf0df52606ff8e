"""Random changes of training clips, drawn once for each clip and applied to all its frames.

    draw_window    a random part of the frame, of random size and proportions
    draw           whether to mirror, how to change light and colour, RandAugment, the box to erase
    change         does what was drawn, to a batch of clips on any device

A setting that is off draws no random number, so that turning it on leaves the draws before it unchanged.
What is drawn depends on no pixel: threads draw, and a GPU changes the pixels. Clips of a batch differ in what
was drawn. They are mirrored and change light and colour together; means for contrast, RandAugment and
erasing go from clip to clip. A clip becomes the same in every batch.

Shape suffixes: B clips, T frames, C channels, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Bool, Float64
from vidcli.config import AugmentConfig

_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
"""Matrix from RGB to luma and two axes of colour (NTSC 1953)."""

_ERASED_SHARES = (0.02, 1 / 3)
"""Smallest and largest share of the frame in an erased box (Zhong et al. 2017, arXiv:1708.04896)."""
_ERASED_ASPECTS = (0.3, 1 / 0.3)
"""Smallest and largest ratio of height to width of an erased box (as there)."""


@dataclass(frozen=True)
class Changes:
    """What was drawn for one clip.

    Attributes:
        mirrored: whether left and right are exchanged.
        gain: factor of all values.
        contrast: factor of the distances from the mean of the clip.
        saturation: factor of colourfulness.
        turn: rotation of the hue; 1 is a whole turn.
        operations: number and strength of each operation of RandAugment.
        erased: top, left, height and width in pixels of the box that is erased; None erases nothing.
    """

    mirrored: bool
    gain: float
    contrast: float
    saturation: float
    turn: float
    operations: tuple[tuple[int, float], ...]
    erased: tuple[int, int, int, int] | None


class Augmentation:
    """The random changes that the settings describe."""

    def __init__(self, settings: AugmentConfig, flip: bool, fill: Sequence[float]) -> None:
        """Keep the settings.

        Args:
            settings: the strength of each random change.
            flip: whether half of the clips are mirrored.
            fill: colour of places that a change leaves empty: three channels, 0 to 1.
        """
        self._settings, self._flip, self._fill = settings, flip, tuple(fill)

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

    def draw(self, clip_size: tuple[int, int], rng: np.random.Generator) -> Changes:
        """Draw the changes of one clip.

        Args:
            clip_size: height and width of the clip in pixels.
            rng: draws them.
        """
        settings = self._settings
        mirrored = self._flip and rng.random() < 0.5
        gain = _draw_gain(settings.brightness, rng) if settings.brightness else 1.0
        contrast = _draw_gain(settings.contrast, rng) if settings.contrast else 1.0
        saturation = _draw_gain(settings.saturation, rng) if settings.saturation else 1.0
        turn = float(rng.uniform(-settings.hue, settings.hue)) if settings.hue else 0.0
        operations: tuple[tuple[int, float], ...] = ()
        if settings.randaugment:
            from vidcli.transforms.randaugment import draw_operations  # imports torchvision, which is slow

            operations = draw_operations(settings.randaugment, settings.randaugment_magnitude, rng)
        erases = settings.erase and rng.random() < settings.erase
        erased = _draw_box(*clip_size, rng) if erases else None
        return Changes(mirrored, gain, contrast, saturation, turn, operations, erased)

    def change(self, clips_BTCHW: Tensor, changes: Sequence[Changes]) -> Tensor:
        """Return changed clips, values 0 to 1; `clips_BTCHW` may be overwritten.

        Args:
            clips_BTCHW: values 0 to 1, on any device.
            changes: what was drawn for each clip.
        """
        settings = self._settings
        clips_BTCHW = _mirror(clips_BTCHW, [of_clip.mirrored for of_clip in changes])
        if settings.brightness or settings.contrast:
            clips_BTCHW = _change_light(clips_BTCHW, changes)
        if settings.saturation or settings.hue:
            turns = [(of_clip.saturation, of_clip.turn) for of_clip in changes]
            clips_BTCHW = change_colour(clips_BTCHW, turns)
        clips_BTCHW = clips_BTCHW.clamp_(0, 1)
        if settings.randaugment:
            from vidcli.transforms.randaugment import rand_augment

            changed = [
                rand_augment(clip_TCHW, of_clip.operations, self._fill)
                for clip_TCHW, of_clip in zip(clips_BTCHW, changes, strict=True)
            ]
            clips_BTCHW = torch.stack(changed) if len(changed) > 1 else changed[0][None]  # without a copy
        for clip_TCHW, of_clip in zip(clips_BTCHW, changes, strict=True):
            if of_clip.erased is not None:
                top, left, height, width = of_clip.erased
                fill_C11 = constant(self._fill, clip_TCHW.device).view(3, 1, 1)
                clip_TCHW[..., top : top + height, left : left + width] = fill_C11
        return clips_BTCHW


def change_colour(clips_BTCHW: Tensor, changes: Sequence[tuple[float, float]]) -> Tensor:
    """Change saturation and hue of clips, but not their luma; grey stays grey.

    A single product with a 3x3 matrix does both, several times faster than a conversion to HSV and back: a
    rotation of the colour plane of YIQ approximates a rotation of the hue.

    Args:
        clips_BTCHW: RGB, 0 to 1; the result may exceed that range.
        changes: for each clip the factor of colourfulness, of which 0 gives grey, and the rotation of the
            hue, of which 1 is a whole turn.
    """
    matrices_BCC = np.stack([_colour_matrix(saturation, turn) for saturation, turn in changes])
    by_channel = _on_device(matrices_BCC, clips_BTCHW).float()[:, None, :, :, None, None].unbind(3)
    # On every device faster than a product of matrices of three columns, and in full precision.
    changed_BTCHW = clips_BTCHW[:, :, :1] * by_channel[0]
    for channel in (1, 2):
        changed_BTCHW.addcmul_(clips_BTCHW[:, :, channel : channel + 1], by_channel[channel])
    return changed_BTCHW


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return values as a float32 tensor on a device, where they are put once; it must not be changed."""
    return torch.tensor(values, device=device)


def _on_device(values: Bool | Float64, like: Tensor) -> Tensor:
    """Return values that differ from clip to clip, where `like` is; a GPU takes them when it gets to them."""
    values_B = torch.from_numpy(values)
    if like.device.type == "cuda":
        values_B = values_B.pin_memory()
    return values_B.to(like.device, non_blocking=True)


def _mirror(clips_BTCHW: Tensor, mirrored: Sequence[bool]) -> Tensor:
    if not any(mirrored):
        return clips_BTCHW
    if all(mirrored):
        return clips_BTCHW.flip(-1)
    is_mirrored_B = _on_device(np.array(mirrored), clips_BTCHW)
    return torch.where(is_mirrored_B.view(-1, 1, 1, 1, 1), clips_BTCHW.flip(-1), clips_BTCHW)


def _change_light(clips_BTCHW: Tensor, changes: Sequence[Changes]) -> Tensor:
    """Change brightness and contrast, in place."""
    factors = np.array([(of_clip.gain, of_clip.contrast) for of_clip in changes])
    gain_B, contrast_B = _on_device(factors, clips_BTCHW).unbind(1)
    # Around the mean of the whole clip: a mean for each frame would add flicker.
    mean_B = torch.stack([clip_TCHW.mean() for clip_TCHW in clips_BTCHW]).double() * gain_B
    factor_B, offset_B = (gain_B * contrast_B).float(), (mean_B - mean_B * contrast_B).float()
    return clips_BTCHW.mul_(factor_B.view(-1, 1, 1, 1, 1)).add_(offset_B.view(-1, 1, 1, 1, 1))


def _colour_matrix(saturation: float, turn: float) -> Float64:
    cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    in_yiq = np.eye(3)
    in_yiq[1:, 1:] = saturation * np.array([[cosine, -sine], [sine, cosine]])
    matrix: Float64 = np.linalg.inv(_YIQ) @ in_yiq @ _YIQ
    return matrix


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
