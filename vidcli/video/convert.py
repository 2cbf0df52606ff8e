"""Decoded frames to RGB arrays: scaled and converted in one pass, set upright, written in place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import av.video.frame
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.reformatter import Interpolation, VideoReformatter

from vidcli.video.probe import VideoInfo

Frames: TypeAlias = npt.NDArray[np.uint8]
SizeRule: TypeAlias = Callable[[int, int], tuple[int, int]]
"""Given the upright height and width with square pixels, the height and width to decode to."""

CONVERSION = 2
"""Counts the changes to what is made of a frame; frames kept on disk under another are not used."""

# Scaling to RGB in one pass takes a slow path of swscale: scaling first, to the same resolution of
# colours that it would use, and converting then what is small takes a third to two thirds of its time.
_SCALED_FIRST = frozenset(("yuv420p", "yuvj420p", "yuv420p10le", "nv12", "p010le"))
# Not names, which are looked up in lists of hundreds for every frame; PyAV's stubs know only those.
_SCALED_TO: Any = VideoFormat("yuv422p")
_RGB: Any = VideoFormat("rgb24")
_BILINEAR = int(Interpolation.BILINEAR)

_MAX_KEPT = 16
_kept = threading.local()


def _reformatters(key: tuple[int, ...]) -> tuple[VideoReformatter, VideoReformatter]:
    """Return this thread's pair for frames and sizes of one kind, made at the first.

    The filters of a new one take as long to compute as several small frames to convert; most videos of
    a folder are alike.
    """
    pairs: dict[tuple[int, ...], tuple[VideoReformatter, VideoReformatter]]
    pairs = _kept.__dict__.setdefault("pairs", {})
    if key not in pairs:
        if len(pairs) == _MAX_KEPT:
            pairs.pop(next(iter(pairs)))
        pairs[key] = VideoReformatter(), VideoReformatter()
    return pairs[key]


class Converter:
    """Convert the frames of one video to upright RGB of one size.

    Attributes:
        shape: (H, W, 3) of every converted frame.
    """

    def __init__(self, info: VideoInfo, size: SizeRule | None) -> None:
        self._quarter_turns = -info.rotation // 90  # np.rot90 turns counter-clockwise
        swapped = info.rotation in (90, 270)
        self._height, self._width = info.height, info.width
        if size is not None:
            height, width = size(*info.upright_size)
            self._height, self._width = (width, height) if swapped else (height, width)
        self._key = (info.height, info.width, self._height, self._width)
        upright = (self._width, self._height) if swapped else (self._height, self._width)
        self.shape = (*upright, 3)

    def convert_into(self, target: Frames, frame: av.video.frame.VideoFrame) -> None:
        """Write `frame` to `target`, uint8 (H, W, 3).

        swscale cannot be given our memory through PyAV, so there is one copy; it is made from a
        buffer that is still in the cache, row padding and rotation undone on the way.
        """
        # Asked for each time, since a generator may go on in another thread than it began in.
        scaler, reformatter = _reformatters(self._key)
        picture = frame
        color_range = frame.color_range
        is_scaled = frame.width != self._width or frame.height != self._height
        if is_scaled and frame.format.name in _SCALED_FIRST:
            picture = scaler.reformat(
                frame,
                width=self._width,
                height=self._height,
                format=_SCALED_TO,
                src_color_range=color_range,
                dst_color_range=color_range,
                interpolation=_BILINEAR,
                threads=1,
            )
        picture = reformatter.reformat(
            picture,
            width=self._width,
            height=self._height,
            format=_RGB,
            src_color_range=color_range,
            interpolation=_BILINEAR,
            threads=1,
        )
        plane = picture.planes[0]
        pixels: Frames = np.ndarray(
            (self._height, self._width, 3), np.uint8, memoryview(plane), strides=(plane.line_size, 3, 1)
        )
        if not self._quarter_turns:
            target[...] = pixels
            return
        turned = np.rot90(pixels, self._quarter_turns)
        for channel in range(3):  # single bytes change layout three times faster than triples
            target[..., channel] = turned[..., channel]
