"""Find out whether a file ends earlier than its container states, and refuse it.

A file counts as cut off only where its own bytes show it: a box, chunk, segment or header states more
bytes than the file holds. Formats that state no size, such as MPEG-TS or a live Matroska, never count as
cut off. Sources: ISO 14496-12 4.2, the AVI RIFF and ASF (3.2) specifications, RFC 8794 and RFC 9559,
and the onMetaData of FLV.
"""

from __future__ import annotations

import io
import os
import struct
from typing import BinaryIO, NamedTuple

from vidcli.errors import VideoError
from vidcli.storage.sources import open_source
from vidcli.video.open.budget import Budget

_SHORTEST_SECONDS = 1.0
_SHORTEST_SHARE = 0.05
_MOST_BOXES = 100_000
_PADDING_BYTES = 16
"""Programs that write files differ by some bytes in what the stated size includes."""

_HEAD_BYTES = 1 << 16
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


class Sizes(NamedTuple):
    """The size of a file.

    Attributes:
        held: bytes that the file holds.
        named: bytes that its container states; -1 where the index, which comes last, is missing.
    """

    held: int
    named: int

    def __str__(self) -> str:
        if self.named < 0:
            return "the index of its frames (moov), which comes last, is missing"
        return f"it holds {self.held:,} of the {self.named:,} bytes that its container names"


def find_missing_end(path: str | os.PathLike[str]) -> Sizes | None:
    """Return the sizes of a file that is cut off; None for a whole file."""
    try:
        with open_source(path) as file:
            held = file.seek(0, io.SEEK_END)
            file.seek(0)
            named = _named_bytes(file, held, file.read(_HEAD_BYTES))
    except (OSError, ValueError):
        return None
    if named is None or (named >= 0 and named - held <= max(_PADDING_BYTES, _SHORTEST_SHARE * named)):
        return None
    return Sizes(held, named)


def refuse_truncated(
    budget: Budget, duration_seconds: float, last_seconds: float, last_length: float, period: float
) -> None:
    """Refuse a file that stops well before its header states, rather than repeat its last frame.

    Args:
        budget: names the file.
        duration_seconds: of the video, as its header states.
        last_seconds: start of the last frame, from the first one.
        last_length: seconds for which the last frame is shown, as its packet states; 0 if it does not.
        period: seconds from one frame to the next at the average rate.

    Raises:
        VideoError: the file is truncated.
    """
    end = last_seconds + max(period, last_length)
    missing = duration_seconds - end
    if missing <= max(_SHORTEST_SECONDS, _SHORTEST_SHARE * duration_seconds) or missing <= 2 * period:
        return
    sizes = find_missing_end(budget.path)
    why = f"and {sizes}" if sizes else f"although its header says {duration_seconds:.2f} s"
    raise VideoError(budget.path, f"ends after {end:.2f} s {why}: it is truncated")


def _named_bytes(file: BinaryIO, held: int, head: bytes) -> int | None:
    """Return how many bytes a container states; None where it states none, -1 if its index is missing."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _end_of_boxes(file, held)
    if head[:4] == b"RIFF":
        return _end_of_chunks(file, held)
    if head[:4] == _EBML:
        return _end_of_segment(head)
    if head[:16] == _ASF:
        return _size_in_asf(head)
    if head[:3] == b"FLV":
        return _size_in_flv(head)
    return None


def _end_of_boxes(file: BinaryIO, held: int) -> int | None:
    position = 0
    has_index = False
    for _ in range(_MOST_BOXES):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            break
        size, kind = struct.unpack(">I4s", header[:8])
        if not kind.isalnum() and kind.strip() not in (b"free", b"\xa9xyz"):
            return None  # not a box: the file is damaged here, not cut off
        if size == 1 and len(header) == 16:
            size = struct.unpack(">Q", header[8:])[0]
        has_index = has_index or kind in (b"moov", b"moof")
        if size == 0:  # the box reaches to the end of the file
            return None if has_index else -1
        if size < 8:
            return None
        position += size
        if position >= held:
            break
    return position if has_index else -1


def _end_of_chunks(file: BinaryIO, held: int) -> int | None:
    position = 0
    while position < held:
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or header[:4] != b"RIFF":
            break
        size = struct.unpack("<I", header[4:])[0]
        if size in (0, 0xFFFFFFFF):  # written by a program that could not seek back
            return None
        position += 8 + size + size % 2
    return position


def _end_of_segment(head: bytes) -> int | None:
    position = 4
    size, width = _read_ebml_size(head, position)
    if size is None:
        return None
    position += width + size
    while head[position : position + 1] == b"\xec":  # a void element
        size, width = _read_ebml_size(head, position + 1)
        if size is None:
            return None
        position += 1 + width + size
    if head[position : position + 4] != _SEGMENT:
        return None
    size, width = _read_ebml_size(head, position + 4)
    return None if size is None else position + 4 + width + size


def _read_ebml_size(data: bytes, position: int) -> tuple[int | None, int]:
    """Return the size of an EBML element, and how many bytes code it; None is an unknown size."""
    first = data[position] if position < len(data) else 0
    width = 9 - first.bit_length()
    if width > 8 or position + width > len(data):
        return None, width
    value = int.from_bytes(data[position : position + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), width


def _size_in_asf(head: bytes) -> int | None:
    start = head.find(_ASF_PROPERTIES)
    if start < 0 or start + 92 > len(head):
        return None
    size, flags = struct.unpack_from("<Q", head, start + 40)[0], head[start + 88]
    return None if flags & 1 or not size else int(size)  # 1: a broadcast


def _size_in_flv(head: bytes) -> int | None:
    start = head.find(b"filesize\0")
    if start < 0 or start + 17 > len(head):
        return None
    size = struct.unpack_from(">d", head, start + 9)[0]
    return int(size) if 0 < size < 2**53 else None
