"""Convert decoded frames to RGB arrays: scaled, upright, written in place."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import av.video.frame
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.reformatter import Interpolation, VideoReformatter

from vidcli.errors import VideoError
from vidcli.video.exact.colours import YCGCO, convert_ycgco, settle_matrix
from vidcli.video.open.container import FOREIGN_ERRORS, reason
from vidcli.video.open.orientation import UPRIGHT, Orientation, make_upright
from vidcli.video.open.probe import VideoInfo

Frames: TypeAlias = npt.NDArray[np.uint8]
SizeRule: TypeAlias = Callable[[int, int], tuple[int, int]]
"""Given the upright height and width with square pixels, the height and width to decode to."""

CONVERSION = 3
"""Version of the conversion; frames that were stored on disk under another version are not used."""

# Scaling and converting to RGB in one pass takes a slow path of swscale. Scaling first, to the chroma
# resolution that swscale would use, and converting the small picture takes a third to two thirds of the
# time.
_SCALED_FIRST = frozenset(("yuv420p", "yuvj420p", "yuv420p10le", "nv12", "p010le"))
# Objects instead of names, which PyAV looks up in long lists for every frame; its stubs allow only names.
_SCALED_TO: Any = VideoFormat("yuv422p")
_RGB: Any = VideoFormat("rgb24")
_BILINEAR = int(Interpolation.BILINEAR)

_MAX_KEPT = 16
_kept = threading.local()


def _reformatters(key: tuple[int, ...]) -> tuple[VideoReformatter, VideoReformatter]:
    """Return this thread's pair of reformatters for frames of one size, made at the first call.

    Computing the filters of a new reformatter takes as long as converting several small frames, and most
    videos of a folder have one size.

    Args:
        key: height and width of the frames, height and width to convert to.
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

    Frames of another aspect than the first, as in joined recordings, keep theirs: they are scaled to fit,
    on black.

    Attributes:
        shape: (H, W, 3) of every converted frame.
    """

    def __init__(self, path: str | os.PathLike[str], info: VideoInfo, size: SizeRule | None) -> None:
        """Choose the size.

        Args:
            path: of the video, for messages.
            info: description of the video.
            size: output height and width, given the upright ones; None keeps the coded pixels.
        """
        self._path = path
        self._orientation = Orientation(info.rotation, info.is_mirrored)
        swapped = info.rotation in (90, 270)
        self._coded = self._height, self._width = info.height, info.width
        if size is not None:
            height, width = size(*info.upright_size)
            self._height, self._width = (width, height) if swapped else (height, width)
        upright = (self._width, self._height) if swapped else (self._height, self._width)
        self.shape = (*upright, 3)

    def convert_into(self, target: Frames, frame: av.video.frame.VideoFrame) -> None:
        """Convert a frame into an array.

        PyAV lets swscale write only to memory of its own, so there is one copy. It is made while the
        buffer is still in the processor's cache, and removes row padding and orientation on the way.

        Args:
            target: uint8 (H, W, 3), of `shape`, which is overwritten.
            frame: as decoded.

        Raises:
            VideoError: the frame's colours cannot be converted.
        """
        height, width = self._fit(frame.height, frame.width)
        try:
            pixels = self._to_rgb(frame, height, width)
        except FOREIGN_ERRORS as error:
            raise VideoError(self._path, f"cannot be converted to RGB ({reason(error)})") from error
        if (height, width) != (self._height, self._width):
            canvas = np.zeros((self._height, self._width, 3), np.uint8)
            top, left = (self._height - height) // 2, (self._width - width) // 2
            canvas[top : top + height, left : left + width] = pixels
            pixels = canvas
        if self._orientation == UPRIGHT:
            target[...] = pixels
            return
        turned = make_upright(pixels, self._orientation)
        for channel in range(3):  # copying single bytes is three times as fast as copying triples
            target[..., channel] = turned[..., channel]

    def _fit(self, height: int, width: int) -> tuple[int, int]:
        """Return the size that a coded frame is scaled to: that of all, unless it has another aspect."""
        if (height, width) == self._coded:
            return self._height, self._width
        across, down = self._width / self._coded[1], self._height / self._coded[0]
        scale = min(self._width / (width * across), self._height / (height * down))
        fitted = max(1, round(height * down * scale)), max(1, round(width * across * scale))
        is_alike = abs(fitted[0] - self._height) <= 1 and abs(fitted[1] - self._width) <= 1
        return (self._height, self._width) if is_alike else fitted

    def _to_rgb(self, frame: av.video.frame.VideoFrame, height: int, width: int) -> Frames:
        # Looked up each time, since a generator may continue in another thread than it began in.
        scaler, reformatter = _reformatters((frame.height, frame.width, height, width))
        if frame.colorspace >= YCGCO:
            if frame.colorspace == YCGCO:
                return convert_ycgco(reformatter, frame, height, width, _BILINEAR)
            if unknown := settle_matrix(frame):
                raise VideoError(
                    self._path,
                    f"has colours of a kind that FFmpeg cannot convert to RGB ({unknown}); convert it first: "
                    "ffmpeg -i IN -vf zscale=matrix=709 OUT",
                )
        picture = frame
        color_range = frame.color_range
        is_scaled = frame.width != width or frame.height != height
        if is_scaled and frame.format.name in _SCALED_FIRST:
            picture = scaler.reformat(
                frame,
                width=width,
                height=height,
                format=_SCALED_TO,
                src_color_range=color_range,
                dst_color_range=color_range,
                interpolation=_BILINEAR,
                threads=1,
            )
        picture = reformatter.reformat(
            picture,
            width=width,
            height=height,
            format=_RGB,
            src_color_range=color_range,
            interpolation=_BILINEAR,
            threads=1,
        )
        plane = picture.planes[0]
        pixels: Frames = np.ndarray(
            (height, width, 3), np.uint8, memoryview(plane), strides=(plane.line_size, 3, 1)
        )
        return pixels
