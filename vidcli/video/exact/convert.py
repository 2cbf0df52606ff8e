"""Convert decoded frames to RGB arrays: scaled, upright, written in place.

Some colour matrices are not converted by FFmpeg: one of them is converted here, the others are refused.
Their numbers and equations are those of ITU-T H.273, table 4 (MatrixCoefficients).
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import av
import numpy as np
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from vidcli.arrays import Frames
from vidcli.errors import VideoError
from vidcli.video.open.container import FOREIGN_ERRORS
from vidcli.video.open.orientation import UPRIGHT, Orientation, make_upright
from vidcli.video.open.probe import VideoInfo
from vidcli.video.open.video_bytes import reason

SizeRule: TypeAlias = Callable[[int, int], tuple[int, int]]
"""Given the upright height and width with square pixels, the height and width to decode to."""


class MovingWindow(ABC):
    """A window that moves over the frames of one video, in place of a `SizeRule`; nothing else is shown.

    Called as a rule, it returns the size that whole frames are scaled to before the window is cut out.
    """

    @abstractmethod
    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of whole frames, given those of an upright frame."""

    @abstractmethod
    def cut_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width of what is cut out, given those of an upright frame."""

    @abstractmethod
    def cut(self, frame_HWC: Frames, seconds: float, upright_size: tuple[int, int]) -> Frames:
        """Return what is in the window.

        Args:
            frame_HWC: a whole frame.
            seconds: its start, from the first frame of the file.
            upright_size: height and width of an upright frame before it was scaled.
        """


CONVERSION = 3
"""Version of the conversion; frames that were stored on disk under another version are not used."""

# Scaling and converting to RGB in one pass takes a slow path of swscale. Scaling first, to the chroma
# resolution that swscale would use, and converting the small picture takes a third to two thirds of the
# time.
_SCALED_FIRST = frozenset(("yuv420p", "yuvj420p", "yuv420p10le", "nv12", "p010le"))
# Objects instead of names, which PyAV looks up in long lists for every frame; its stubs allow only names.
_SCALED_TO: Any = VideoFormat("yuv422p")
_RGB: Any = VideoFormat("rgb24")
_YUV444: Any = VideoFormat("yuv444p")
_BILINEAR = int(Interpolation.BILINEAR)

_YCGCO = 8
_BT709, _BT2020 = 1, 9
_CHROMA_DERIVED = 12
_DERIVED_FROM = {1: _BT709, 9: _BT2020}
"""The number of the matrix that is derived from primaries, by the number of the primaries."""

_INCONVERTIBLE = {
    10: "BT.2020 with constant luminance",
    11: "SMPTE ST 2085",
    12: "derived from its primaries",
    13: "derived from its primaries, with constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}

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
        self._window = size if isinstance(size, MovingWindow) else None
        if self._window is not None:
            self._upright_size, self._whole = info.upright_size, np.empty(self.shape, np.uint8)
            self.shape = (*self._window.cut_size(*info.upright_size), 3)

    def convert_into(self, target: Frames, frame: av.VideoFrame, seconds: float = 0.0) -> None:
        """Convert a frame, or the part of it that a moving window shows, into an array.

        Args:
            target: uint8 (H, W, 3), of `shape`, which is overwritten.
            frame: as decoded.
            seconds: its start, from the first frame of the file.

        Raises:
            VideoError: the frame's colours cannot be converted.
        """
        if self._window is None:
            self._convert_whole(target, frame)
        else:
            self._convert_whole(self._whole, frame)
            target[...] = self._window.cut(self._whole, seconds, self._upright_size)

    def _convert_whole(self, target: Frames, frame: av.VideoFrame) -> None:
        """Convert a frame into an array of its whole size.

        PyAV lets swscale write only to memory of its own, so there is one copy. It is made while the
        buffer is still in the processor's cache, and removes row padding and orientation on the way.
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

    def _to_rgb(self, frame: av.VideoFrame, height: int, width: int) -> Frames:
        # Looked up each time, since a generator may continue in another thread than it began in.
        scaler, reformatter = _reformatters((frame.height, frame.width, height, width))
        if frame.colorspace >= _YCGCO:
            if frame.colorspace == _YCGCO:
                return _convert_ycgco(reformatter, frame, height, width, _BILINEAR)
            if unknown := _settle_matrix(frame):
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


def _settle_matrix(frame: av.VideoFrame) -> str | None:
    """Set a frame's matrix to an equal one that FFmpeg converts; return its name if there is none."""
    matrix = frame.colorspace
    if matrix < 10 or matrix not in _INCONVERTIBLE:
        return None
    if matrix == _CHROMA_DERIVED and frame.color_primaries in _DERIVED_FROM:
        frame.colorspace = _DERIVED_FROM[frame.color_primaries]
        return None
    return _INCONVERTIBLE[matrix]


def _convert_ycgco(
    reformatter: VideoReformatter,
    frame: av.VideoFrame,
    height: int,
    width: int,
    interpolation: int,
) -> Frames:
    """Convert a frame of luma, green and orange differences (YCgCo) to RGB.

    Args:
        reformatter: scales the planes.
        frame: its planes are scaled first, and converted to eight bits.
        height: of the result, in pixels.
        width: of the result, in pixels.
        interpolation: PyAV's number of the scaling filter.

    Returns:
        uint8 (height, width, 3).
    """
    is_full = frame.color_range == ColorRange.JPEG
    matrix, frame.colorspace = (
        frame.colorspace,
        _BT709,
    )  # any matrix with which scaling leaves the planes unconverted
    try:
        scaled = reformatter.reformat(
            frame, width=width, height=height, format=_YUV444, interpolation=interpolation, threads=1,
            src_color_range=frame.color_range, dst_color_range=frame.color_range,
        )  # fmt: skip
    finally:
        frame.colorspace = matrix
    planes = [
        np.ndarray((height, width), np.uint8, memoryview(plane), strides=(plane.line_size, 1))
        for plane in scaled.planes[:3]
    ]
    y, cg, co = (plane.astype(np.float32) for plane in planes)
    if is_full:
        y, cg, co = y, cg - 128, co - 128
    else:
        y, cg, co = (y - 16) * (255 / 219), (cg - 128) * (255 / 224), (co - 128) * (255 / 224)
    rest = y - cg
    rgb = np.stack([rest + co, y + cg, rest - co], axis=-1)
    return np.asarray(np.clip(np.rint(rgb), 0, 255), dtype=np.uint8)
