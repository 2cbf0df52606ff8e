"""Turn uint8 frames (T, H, W, C) into the clip that a model reads, float32 (T, C, H, W).

The decoder scales frames to `decode_size`; this module crops, changes and normalises them. Random changes are
drawn once for a clip, so that they never look like motion.

    always      the panels that `clip.panels` names: the whole frame, the window around motion if
                `clip.focus` asks for one, the window that follows it
    training    a random window, then the changes of `augment`
    otherwise   the centre window

It has two halves. `cut` makes pixels of frames and draws all random numbers, one clip at a time, on the CPU.
`finish` changes and normalises a batch of pixels on any device, with the same result. Without random changes
NumPy does both in `array`, so that a model that needs no torch predicts without it. What only torch does
(following motion, random changes) imports it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vidcli.arrays import Float32, Frames
from vidcli.config import AugmentConfig, ClipConfig
from vidcli.sampling import ClipSampler
from vidcli.transforms.focus import Window, motion_window
from vidcli.transforms.normalise import Normalisation
from vidcli.transforms.scaling import squeeze

if TYPE_CHECKING:
    from torch import Tensor

    from vidcli.transforms.augment import Augmentation, Changes

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Channel statistics of ImageNet, used if the settings name none."""

_DIMENSIONS_WITH_NEIGHBOURS = 5
_FEWEST_FOR_TORCH = 50
"""Clips whose scaling takes as long without torch as importing torch does: some 50 ms each for 16 frames."""


def build_sampler(clip: ClipConfig, augment: AugmentConfig | None = None) -> ClipSampler:
    """Return the sampler that the settings describe.

    Args:
        clip: length, sampling and number of views.
        augment: random changes of speed and moments in training; None for evaluation.
    """
    speed, jitter = (augment.speed, augment.jitter) if augment is not None else (0.0, 0.0)
    return ClipSampler(
        clip.length,
        clip.sampling,
        clip.stride_seconds,
        clip.views,
        speed,
        jitter,
        neighbours=clip.follows,
    )


def to_pixels(clip_TCHW: Float32, clip: ClipConfig) -> Frames:
    """Return the pictures of a normalised clip, uint8 (T, H, W, C): the inverse of `ClipTransform`."""
    mean_C, std_C = (np.array(values, np.float32) for values in (clip.mean or MEAN, clip.std or STD))
    shown_THWC = clip_TCHW.transpose(0, 2, 3, 1) * std_C + mean_C
    return np.ascontiguousarray(np.rint(shown_THWC * np.float32(255)).clip(0, 255).astype(np.uint8))


class ClipTransform:
    """Crop, augment and normalise the frames of one clip."""

    def __init__(self, clip: ClipConfig, augment: AugmentConfig | None = None, flip: bool = False) -> None:
        """Keep the settings.

        Args:
            clip: size, fit and crop of the frames.
            augment: random changes of training; None for evaluation.
            flip: whether half of the training clips are mirrored.
        """
        self._panels = clip.panels
        self._height, self._width = clip.size[0] // len(clip.panels), clip.size[1]  # of each panel
        self._keeps_all = clip.panels != ("window",)
        self._fit, self._crop_ratio, self._focus = clip.fit, clip.crop_ratio, clip.focus
        # A change fills empty places with the mean colour, which becomes zero.
        self._augmentation = _augmentation(augment, flip, clip.mean or MEAN)
        self._resize = clip.resize
        self._num_expected = 0
        if clip.follows or augment is not None:
            import torch  # noqa: F401 (now, since clips are made in threads)
        self._normalisation = Normalisation(clip.mean or MEAN, clip.std or STD, self._width)

    def expect(self, num_clips: int) -> None:
        """Import torch where it saves more time in scaling so many clips than its import takes."""
        self._num_expected += num_clips
        if self._num_expected >= _FEWEST_FOR_TORCH and (self._keeps_all or self._focus < 1):
            import torch  # noqa: F401 (`squeeze` uses it then)

    @property
    def proportions(self) -> tuple[int, int]:
        """Height and width of frames of which nothing is cut off; only the ratio counts."""
        return self._resize or (self._height, self._width)

    def decode_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width to decode an upright frame to: those of the clip plus its margins.

        If the window around motion is cut out, frames are larger, but not larger than the video's.
        """
        if self._resize is not None:
            return max(self._height, self._resize[0]), max(self._width, self._resize[1])
        if self._fit == "stretch" and not self._keeps_all:
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
        """Return what `array` returns as a tensor."""
        import torch

        return torch.from_numpy(self.array(frames_THWC, rng, place))

    def array(
        self, frames_THWC: Frames, rng: np.random.Generator | None = None, place: float = 0.5
    ) -> Float32:
        """Return the clip, float32 (T, C, H, W), channels last in memory.

        Args:
            frames_THWC: as in `cut`.
            rng: as in `cut`.
            place: as in `cut`.
        """
        if rng is not None and self._augmentation is not None:
            pixels_TCHW, changes = self.cut(frames_THWC, rng, place)
            assert changes is not None
            changed_TCHW: Float32 = self.finish(pixels_TCHW[None], [changes])[0].numpy()
            return changed_TCHW
        clip_THWC = np.ascontiguousarray(self._pixels(frames_THWC, rng, place), np.float32)
        clip_THWC /= 255
        clip_TCHW: Float32 = self._normalisation.of_array(clip_THWC).transpose(0, 3, 1, 2)
        return clip_TCHW

    def cut(
        self, frames_THWC: Frames, rng: np.random.Generator | None = None, place: float = 0.5
    ) -> tuple[Tensor, Changes | None]:
        """Return the pixels of the clip, uint8 (T, C, H, W), and the changes that `finish` is to make.

        Args:
            frames_THWC: uint8, of the size that `decode_size` returned; (T, 3, H, W, C) with neighbours
                if a panel follows motion.
            rng: draws the random changes of training; None takes a fixed window.
            place: the place of the fixed window, 0 to 1, along the side with more room; along the other
                side it is centred.
        """
        import torch

        pixels_THWC = np.ascontiguousarray(self._pixels(frames_THWC, rng, place))
        pixels_TCHW = torch.from_numpy(pixels_THWC).permute(0, 3, 1, 2)
        if rng is None or self._augmentation is None:
            return pixels_TCHW, None
        return pixels_TCHW, self._augmentation.draw((pixels_TCHW.shape[2], pixels_TCHW.shape[3]), rng)

    def finish(self, pixels_BTCHW: Tensor, changes: Sequence[Changes] | None = None) -> Tensor:
        """Return clips that a model reads, float32 (B, T, C, H, W), channels last in memory.

        Args:
            pixels_BTCHW: what `cut` returned, uint8, on the device that computes.
            changes: those of each clip; None changes nothing.
        """
        from vidcli.transforms.augment import constant

        device = pixels_BTCHW.device
        clips_BTHWC = pixels_BTCHW.permute(0, 1, 3, 4, 2).contiguous().float()
        # A GPU multiplies by the reciprocal of a plain number, which rounds otherwise than a CPU divides.
        clips_BTCHW = clips_BTHWC.div_(constant((255.0,), device)).permute(0, 1, 4, 2, 3)
        if changes is not None and self._augmentation is not None:
            clips_BTCHW = self._augmentation.change(clips_BTCHW, changes)
        clips_BTHWC = self._normalisation.of_tensor(clips_BTCHW.permute(0, 1, 3, 4, 2).contiguous())
        return clips_BTHWC.permute(0, 1, 4, 2, 3)

    def _pixels(self, frames_THWC: Frames, rng: np.random.Generator | None, place: float) -> Frames:
        """Return all panels, one above the other, uint8 (T, H, W, C)."""
        panels = [self._panel(region_THWC, rng, place) for region_THWC in self._regions(frames_THWC)]
        return np.concatenate(panels, axis=1) if len(panels) > 1 else panels[0]

    def _regions(self, frames: Frames) -> list[Frames]:
        """Return the parts of the frames that are shown, one above the other."""
        frames_THWC = own_frames(frames)
        return [
            frames_THWC if windows is None else _cut(frames_THWC, windows)
            for windows in self._windows(frames)
        ]

    def _windows(self, frames: Frames) -> Iterator[list[Window] | None]:
        """Yield the window of each panel at each moment; None is the whole frame."""
        frames_THWC = own_frames(frames)
        for panel in self._panels:
            if panel == "follow":
                from vidcli.transforms.follow import follow_motion

                yield follow_motion(frames, (self._height, self._width))
            elif panel == "whole" or self._focus == 1:
                yield None
            else:
                yield [motion_window(frames_THWC, (self._height, self._width), self._focus)] * len(frames)

    def _panel(self, region_THWC: Frames, rng: np.random.Generator | None, place: float) -> Frames:
        """Return a part of the frames at the size of a panel, uint8 (T, H, W, C)."""
        if rng is not None and self._augmentation is not None:
            top, left, height, width = self._augmentation.draw_window(
                region_THWC.shape[1:3], (self._height, self._width), rng
            )
        else:
            top, left, height, width = self._fixed_window(region_THWC.shape[1], region_THWC.shape[2], place)
        window_THWC = region_THWC[:, top : top + height, left : left + width]
        return squeeze(window_THWC, self._height, self._width)

    def seen_windows(self, frames: Frames, place: float = 0.5) -> list[list[Window]]:
        """Return the part of each frame that each panel shows if there are no random changes.

        Args:
            frames: as in `__call__`.
            place: as in `__call__`.

        Returns:
            For each panel and moment, top, left, height and width in pixels of these frames.
        """
        whole = (0, 0, *own_frames(frames).shape[1:3])
        return [
            [self._within(window, place) for window in windows or [whole] * len(frames)]
            for windows in self._windows(frames)
        ]

    def _within(self, window: Window, place: float) -> Window:
        """Return what is left of a window where the proportions of the panel are cut out of it."""
        top, left, height, width = window
        inner_top, inner_left, height, width = self._fixed_window(height, width, place)
        return top + inner_top, left + inner_left, height, width

    def _fixed_window(self, frame_height: int, frame_width: int, place: float) -> Window:
        """Return top, left, height and width of the window of evaluation."""
        if self._keeps_all:  # the whole frame is squeezed; windows have the panel's proportions already
            return 0, 0, frame_height, frame_width
        if self._focus == 1:  # the frame was decoded so that a pixel of it is one of the clip
            height, width = min(self._height, frame_height), min(self._width, frame_width)
        else:
            scale = min(frame_height / self._height, frame_width / self._width) * self._crop_ratio
            height = min(frame_height, max(1, round(self._height * scale)))
            width = min(frame_width, max(1, round(self._width * scale)))
        return *_corner(frame_height - height, frame_width - width, place), height, width


def own_frames(frames: Frames) -> Frames:
    """Return the frames of a clip (T, H, W, C) without their neighbours, if they have any."""
    return frames[:, 1] if frames.ndim == _DIMENSIONS_WITH_NEIGHBOURS else frames


def _augmentation(settings: AugmentConfig | None, flip: bool, fill: Sequence[float]) -> Augmentation | None:
    """Return the random changes of training; None for evaluation."""
    if settings is None:
        return None
    from vidcli.transforms.augment import Augmentation

    return Augmentation(settings, flip, fill)


def _cut(frames_THWC: Frames, windows: Sequence[Window]) -> Frames:
    """Return a window of each frame; all windows have one size."""
    if len(set(windows)) == 1:
        top, left, height, width = windows[0]
        return frames_THWC[:, top : top + height, left : left + width]
    return np.stack(
        [
            frame_HWC[top : top + height, left : left + width]
            for frame_HWC, (top, left, height, width) in zip(frames_THWC, windows, strict=True)
        ]
    )


def _corner(room_y: int, room_x: int, place: float) -> tuple[int, int]:
    """Return top and left of a window at `place`, 0 to 1, along the side with more room."""
    if room_y > room_x:
        return int(room_y * place), room_x // 2
    return room_y // 2, int(room_x * place)
