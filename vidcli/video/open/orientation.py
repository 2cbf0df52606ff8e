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
    """How a picture is made upright: first it is mirrored, then turned.

    Attributes:
        rotation: degrees clockwise: 0, 90, 180 or 270.
        is_mirrored: left and right are swapped.
    """

    rotation: int
    is_mirrored: bool


UPRIGHT = Orientation(0, False)


def orientation_of_matrix(matrix: Sequence[int]) -> Orientation:
    """Return what a display matrix does, to the nearest quarter turn; a singular matrix does nothing.

    Args:
        matrix: nine numbers, row by row, as in ISO 14496-12: a picture's point (x, y) is shown at
            (m0 x + m3 y + m6, m1 x + m4 y + m7).
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    determinant = a * d - b * c
    if determinant == 0:
        return UPRIGHT
    is_mirrored = determinant < 0
    if is_mirrored:  # leaves the matrix of the turn that follows the mirroring
        a, b = -a, -b
    return Orientation(round(math.degrees(math.atan2(b, a)) / 90) * 90 % 360, is_mirrored)


def orientation_of_frame(frame: av.VideoFrame) -> Orientation:
    """Return the orientation in the side data of a decoded frame, from its container or coded stream."""
    data: Any = frame.side_data.get(_DISPLAY_MATRIX)
    if data is None:
        return UPRIGHT
    values = np.frombuffer(bytes(data), np.int32)
    return orientation_of_matrix([int(value) for value in values]) if len(values) == 9 else UPRIGHT


def orientation_in_stream(stream: av.VideoStream, first: bytes) -> Orientation | None:
    """Return the orientation that a coded stream states with its first picture; None if it does not.

    FFmpeg attaches it to the first frame alone, which is not decoded where only a later one is wanted.

    Args:
        stream: video stream of an open file; only H.264 and HEVC state an orientation.
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
    # Flips come first. An upside-down flip is a sideways one and half a turn; turns are counter-clockwise.
    degrees = 180 * flips_upside_down - turn * 360 / 2**16
    return Orientation(round(degrees / 90) * 90 % 360, bool(flips_sideways) != bool(flips_upside_down))


def make_upright(pixels: npt.NDArray[np.uint8], orientation: Orientation) -> npt.NDArray[np.uint8]:
    """Return a view of a picture (H, W, ...) that is upright.

    Args:
        pixels: (H, W, ...), as coded.
        orientation: what makes it upright.
    """
    mirrored = pixels[:, ::-1] if orientation.is_mirrored else pixels
    return np.rot90(mirrored, -orientation.rotation // 90)  # np.rot90 turns counter-clockwise
