"""How a picture is turned and mirrored to be upright, from a display matrix or the coded stream.

Sources: ISO 14496-12 8.2.2 (the matrix of a track), ITU-T H.264 D.2.27 and H.265 D.3.17 (the display
orientation that a coded stream carries).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type as SideDataType

from vidcli.video.codecs.packet import Bits, Unreadable
from vidcli.video.codecs.packet_inspector import iter_sei, nal_units

_DISPLAY_ORIENTATION = 47
_DISPLAY_MATRIX: Any = SideDataType.DISPLAYMATRIX  # PyAV's stubs know names only


class Orientation(NamedTuple):
    """What makes a picture upright: first it is mirrored, then turned.

    Attributes:
        rotation: degrees clockwise: 0, 90, 180 or 270.
        is_mirrored: left and right change places.
    """

    rotation: int
    is_mirrored: bool


UPRIGHT = Orientation(0, False)


def orientation_of_matrix(matrix: Sequence[int]) -> Orientation:
    """Return what a display matrix does, to the nearest quarter turn; a matrix of nothing does nothing.

    Args:
        matrix: nine numbers, row by row, as in ISO 14496-12: a picture's point (x, y) is shown at
            (m0 x + m3 y + m6, m1 x + m4 y + m7).
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    determinant = a * d - b * c
    if determinant == 0:
        return UPRIGHT
    is_mirrored = determinant < 0
    if is_mirrored:  # the matrix of the turn that follows the mirror
        a, b = -a, -b
    return Orientation(round(math.degrees(math.atan2(b, a)) / 90) * 90 % 360, is_mirrored)


def orientation_of_frame(frame: av.VideoFrame) -> Orientation:
    """Return what the side data of a decoded frame says, which comes from its container or its stream."""
    data: Any = frame.side_data.get(_DISPLAY_MATRIX)
    if data is None:
        return UPRIGHT
    values = np.frombuffer(bytes(data), np.int32)
    return orientation_of_matrix([int(value) for value in values]) if len(values) == 9 else UPRIGHT


def orientation_in_stream(stream: av.VideoStream, first: bytes) -> Orientation | None:
    """Return what a coded stream of H.264 or HEVC says with its first picture; None where it is silent.

    Decoders pass it on with that picture alone, which is not decoded where a later one is wanted.

    Args:
        stream: of an open file.
        first: the bytes of its first packet.
    """
    codec = stream.codec_context.codec.canonical_name
    if codec not in ("h264", "hevc"):
        return None
    for nal in nal_units(codec, stream.codec_context.extradata or b"", first):
        for kind, payload in iter_sei(codec, nal):
            if kind == _DISPLAY_ORIENTATION:
                return _read_orientation(payload)
    return None


def _read_orientation(payload: bytes) -> Orientation | None:
    bits = Bits(payload)
    try:
        is_cancelled = bits.read(1)
        flips_sideways, flips_upside_down, turn = bits.read(1), bits.read(1), bits.read(16)
    except Unreadable:
        return None
    if is_cancelled:
        return None
    # Flips come first. Upside down is sideways and half a turn; turns are counter-clockwise here.
    degrees = 180 * flips_upside_down - turn * 360 / 2**16
    return Orientation(round(degrees / 90) * 90 % 360, bool(flips_sideways) != bool(flips_upside_down))


def make_upright(pixels: npt.NDArray[np.uint8], orientation: Orientation) -> npt.NDArray[np.uint8]:
    """Return a view of a picture (H, W, ...) that is upright."""
    mirrored = pixels[:, ::-1] if orientation.is_mirrored else pixels
    return np.rot90(mirrored, -orientation.rotation // 90)  # it turns counter-clockwise
