"""One file that holds all frames of one video: a pack. Written once, then only mapped into memory.

    header     magic, number, height and width of the frames, duration in seconds
               start of each frame in seconds, float64 (N,)
               CRC-32 of each frame, uint32 (N,)
               CRC-32 of all of the above
    frames     uint8 (N, H, W, 3), from the next multiple of 64 bytes on

Numbers are little-endian. The length of a file follows from its header, so that one that was cut
short is known when it is opened; every frame is checked when it is drawn, so that a damaged one is
never seen. That also makes flushing to the disk needless: what a power failure tears is noticed.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from vidcli.runtime.files import open_regular
from vidcli.sampling import Seconds
from vidcli.video import DecodedFrames, Frames

PACK_VERSION = 1

_MAGIC = b"vidcli pack %d\n" % PACK_VERSION
_FIXED = struct.Struct(f"<{len(_MAGIC)}sIIId")
_CRC = struct.Struct("<I")
_ALIGNMENT = 64


class DamagedPack(Exception):
    """A pack that does not hold what was written; the message says how it was noticed."""


class Pack:
    """The frames of one video, mapped from its pack.

    Attributes:
        pts_seconds: (N,) start of each frame in seconds from the first.
        duration_seconds: length of the video or span.
    """

    def __init__(self, mapped: mmap.mmap) -> None:
        """Read the header.

        Raises:
            DamagedPack: the header or the length is not what was written.
        """
        if len(mapped) < _FIXED.size:
            raise DamagedPack("it is shorter than a header")
        magic, count, height, width, self.duration_seconds = _FIXED.unpack_from(mapped)
        if magic != _MAGIC:
            raise DamagedPack("it does not start as a pack does")
        frames_at, size = _layout(count, height, width)
        if len(mapped) != size:
            raise DamagedPack(f"it holds {len(mapped)} of {size} bytes")
        checked = _FIXED.size + 12 * count
        if _CRC.unpack_from(mapped, checked) != (zlib.crc32(memoryview(mapped)[:checked]),):
            raise DamagedPack("its header has changed")
        self.pts_seconds: Seconds = np.frombuffer(mapped, "<f8", count, _FIXED.size)
        self._checksums = np.frombuffer(mapped, "<u4", count, _FIXED.size + 8 * count)
        pixels = np.frombuffer(mapped, np.uint8, count * height * width * 3, frames_at)
        self._frames = pixels.reshape(count, height, width, 3)

    def take(self, indices: npt.NDArray[np.int64]) -> Frames:
        """Return a copy of the frames with these indices.

        Raises:
            DamagedPack: one of them is not what was written.
        """
        frames = self._frames[indices]
        for index, frame in zip(indices.tolist(), frames, strict=True):
            if zlib.crc32(frame) != self._checksums[index]:
                raise DamagedPack(f"frame {index} has changed")
        return frames


def open_pack(path: Path) -> Pack | None:
    """Map a pack; None where there is none.

    Raises:
        DamagedPack: it is not what was written.
        OSError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise DamagedPack("it is empty")
            return Pack(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except FileNotFoundError:
        return None


def pack_size(decoded: DecodedFrames) -> int:
    """Return the bytes that the pack of these frames takes."""
    count, height, width = decoded.frames.shape[:3]
    return _layout(count, height, width)[1]


def write_pack(file: BinaryIO, decoded: DecodedFrames) -> None:
    """Write frames as a pack.

    Raises:
        OSError: the disk is full, or fails.
    """
    count, height, width = decoded.frames.shape[:3]
    frames = np.ascontiguousarray(decoded.frames)
    checksums = np.array([zlib.crc32(frame) for frame in frames], "<u4")
    header = _FIXED.pack(_MAGIC, count, height, width, decoded.duration_seconds)
    header += decoded.pts_seconds.astype("<f8").tobytes() + checksums.tobytes()
    header += _CRC.pack(zlib.crc32(header))
    frames_at, _ = _layout(count, height, width)
    file.write(header.ljust(frames_at, b"\0"))
    file.write(frames.data)
    file.flush()


def _layout(count: int, height: int, width: int) -> tuple[int, int]:
    """Return where the frames begin and where the file ends."""
    header = _FIXED.size + 12 * count + _CRC.size
    frames_at = -(-header // _ALIGNMENT) * _ALIGNMENT
    return frames_at, frames_at + count * height * width * 3
