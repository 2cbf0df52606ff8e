"""Colour matrices that FFmpeg does not convert to RGB: one is converted here, the others are refused.

Numbers and equations are those of ITU-T H.273, table 4 (MatrixCoefficients).
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, VideoReformatter

YCGCO = 8
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
_PLANES: Any = VideoFormat("yuv444p")


def settle_matrix(frame: av.VideoFrame) -> str | None:
    """Set a frame's matrix to an equal one that FFmpeg converts; return its name if there is none."""
    matrix = frame.colorspace
    if matrix < 10 or matrix not in _INCONVERTIBLE:
        return None
    if matrix == _CHROMA_DERIVED and frame.color_primaries in _DERIVED_FROM:
        frame.colorspace = _DERIVED_FROM[frame.color_primaries]
        return None
    return _INCONVERTIBLE[matrix]


def convert_ycgco(
    reformatter: VideoReformatter, frame: av.VideoFrame, height: int, width: int, interpolation: int
) -> npt.NDArray[np.uint8]:
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
            frame, width=width, height=height, format=_PLANES, interpolation=interpolation, threads=1,
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
