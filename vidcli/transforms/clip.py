"""Turn uint8 frames (T, H, W, C) into the clip that a model reads, float32 (T, C, H, W).

The decoder scales frames to `decode_size`; this module crops, changes and normalises them. Random changes are
drawn once for a clip, so that they never look like motion.

    always      the window around motion, if `clip.focus` asks for it; below the whole frame, if
                `clip.whole_frame` does
    training    a random window, then the changes of `augment`
    otherwise   the centre window
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vidcli.arrays import Frames
from vidcli.config import AugmentConfig, ClipConfig
from vidcli.sampling import ClipSampler
from vidcli.transforms.augment import Augmentation
from vidcli.transforms.focus import Window, motion_window

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Channel statistics of ImageNet, used if the settings name none."""


def build_sampler(clip: ClipConfig, augment: AugmentConfig | None = None) -> ClipSampler:
    """Return the sampler that the settings describe.

    Args:
        clip: length, sampling and number of views.
        augment: random changes of speed and moments in training; None for evaluation.
    """
    speed, jitter = (augment.speed, augment.jitter) if augment is not None else (0.0, 0.0)
    return ClipSampler(clip.length, clip.sampling, clip.stride_seconds, clip.views, speed, jitter)


def to_pixels(clip_TCHW: Tensor, clip: ClipConfig) -> Frames:
    """Return the pictures of a normalised clip, uint8 (T, H, W, C): the inverse of `ClipTransform`."""
    mean_C11, std_C11 = (torch.tensor(v).view(-1, 1, 1) for v in (clip.mean or MEAN, clip.std or STD))
    shown_TCHW = clip_TCHW.detach().float().cpu() * std_C11 + mean_C11
    pixels: Frames = (
        shown_TCHW.mul(255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    )
    return pixels


class ClipTransform:
    """Crop, augment and normalise the frames of one clip."""

    def __init__(self, clip: ClipConfig, augment: AugmentConfig | None = None, flip: bool = False) -> None:
        """Keep the settings.

        Args:
            clip: size, fit and crop of the frames.
            augment: random changes of training; None for evaluation.
            flip: whether half of the training clips are mirrored.
        """
        self._height, self._width = clip.size
        self._whole_frame = clip.whole_frame
        if clip.whole_frame:
            self._height //= 2  # of each panel
        self._fit, self._crop_ratio, self._focus = clip.fit, clip.crop_ratio, clip.focus
        # A change fills empty places with the mean colour, which becomes zero.
        self._augmentation = Augmentation(augment, flip, clip.mean or MEAN) if augment is not None else None
        self._resize = clip.resize
        self._mean_row = torch.tensor(clip.mean or MEAN).repeat(self._width)
        self._std_row = torch.tensor(clip.std or STD).repeat(self._width)

    def decode_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width to decode an upright frame to: those of the clip plus its margins.

        If the window around motion is cut out, frames are larger, but not larger than the video's.
        """
        if self._resize is not None:
            return max(self._height, self._resize[0]), max(self._width, self._resize[1])
        if self._fit == "stretch" and not self._whole_frame:
            scale_y, scale_x = self._height / height, self._width / width
        else:
            scale_y = scale_x = max(self._height / height, self._width / width)
        scale_y, scale_x = scale_y / self._crop_ratio, scale_x / self._crop_ratio
        finer = max(1.0, min(1 / self._focus, 1 / max(scale_y, scale_x)))
        return (
            max(self._height, round(height * scale_y * finer)),
            max(self._width, round(width * scale_x * finer)),
        )

    def __call__(
        self, frames_THWC: Frames, rng: np.random.Generator | None = None, place: float = 0.5
    ) -> Tensor:
        """Return the clip, float32 (T, C, H, W), channels last in memory.

        Args:
            frames_THWC: uint8, of the size that `decode_size` returned.
            rng: draws the random changes of training; None takes a fixed window.
            place: the place of the fixed window, 0 to 1, along the side with more room; along the other
                side it is centred.
        """
        panels = [self._panel(region_THWC, rng, place) for region_THWC in self._regions(frames_THWC)]
        pixels_TCHW = torch.cat(panels, dim=2) if len(panels) > 1 else panels[0]
        clip_TCHW = pixels_TCHW.contiguous(memory_format=torch.channels_last).float().div_(255)
        if rng is not None and self._augmentation is not None:
            clip_TCHW = self._augmentation.change(clip_TCHW, rng)
        return self._normalise(clip_TCHW)

    def _regions(self, frames_THWC: Frames) -> list[Frames]:
        """Return the parts of the frames that are shown, one above the other."""
        if self._focus == 1 and not self._whole_frame:
            return [frames_THWC]
        top, left, height, width = self._motion_window(frames_THWC)
        window_THWC = frames_THWC[:, top : top + height, left : left + width]
        return [frames_THWC, window_THWC] if self._whole_frame else [window_THWC]

    def _panel(self, region_THWC: Frames, rng: np.random.Generator | None, place: float) -> Tensor:
        """Return a part of the frames at the size of a panel, uint8 (T, C, H, W)."""
        if rng is not None and self._augmentation is not None:
            top, left, height, width = self._augmentation.draw_window(
                region_THWC.shape[1:3], (self._height, self._width), rng
            )
        else:
            top, left, height, width = self._fixed_window(region_THWC.shape[1], region_THWC.shape[2], place)
        window_THWC = np.ascontiguousarray(region_THWC[:, top : top + height, left : left + width])
        pixels_TCHW = torch.from_numpy(window_THWC).permute(0, 3, 1, 2)
        if (height, width) != (self._height, self._width):
            # Torch scales bytes several times faster than floats.
            pixels_TCHW = functional.interpolate(
                pixels_TCHW, (self._height, self._width), mode="bilinear", antialias=True
            )
        return pixels_TCHW

    def seen_window(self, frames_THWC: Frames, place: float = 0.5) -> Window:
        """Return the part of frames that the clip shows if there are no random changes.

        Args:
            frames_THWC: uint8, of the size that `decode_size` returned.
            place: as in `__call__`.

        Returns:
            Top, left, height and width in pixels of these frames.
        """
        top, left, height, width = self._motion_window(frames_THWC)
        inner_top, inner_left, height, width = self._fixed_window(height, width, place)
        return top + inner_top, left + inner_left, height, width

    def _motion_window(self, frames_THWC: Frames) -> Window:
        """Return the window around motion; the whole frame if the settings ask for none."""
        if self._focus == 1:
            return 0, 0, *frames_THWC.shape[1:3]
        return motion_window(frames_THWC, (self._height, self._width), self._focus)

    def _normalise(self, clip_TCHW: Tensor) -> Tensor:
        """Subtract the mean of each channel and divide by its deviation, in place if possible.

        The constants of a whole row of pixels are used at once, which is several times faster than three
        channels at a time and gives the same bits.
        """
        rows = clip_TCHW.permute(0, 2, 3, 1).contiguous().flatten(0, 1).flatten(1)
        rows.sub_(self._mean_row).div_(self._std_row)
        return rows.view(*clip_TCHW.shape[::2], self._width, 3).permute(0, 3, 1, 2)

    def _fixed_window(self, frame_height: int, frame_width: int, place: float) -> Window:
        """Return top, left, height and width of the window of evaluation."""
        if self._whole_frame:  # it keeps all of it, squeezed; the window has the panel's proportions already
            return 0, 0, frame_height, frame_width
        if self._focus == 1:  # the frame was decoded so that a pixel of it is one of the clip
            height, width = min(self._height, frame_height), min(self._width, frame_width)
        else:
            scale = min(frame_height / self._height, frame_width / self._width) * self._crop_ratio
            height = min(frame_height, max(1, round(self._height * scale)))
            width = min(frame_width, max(1, round(self._width * scale)))
        return *_corner(frame_height - height, frame_width - width, place), height, width


def _corner(room_y: int, room_x: int, place: float) -> tuple[int, int]:
    """Return top and left of a window at `place`, 0 to 1, along the side with more room."""
    if room_y > room_x:
        return int(room_y * place), room_x // 2
    return room_y // 2, int(room_x * place)
