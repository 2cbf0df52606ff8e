"""Read from a packet's coded bytes which other pictures depend on it, without decoding it.

A flag is set only where the codec's standard makes it certain. Packets without flags are all decoded.
Sources: ITU-T H.264 7.3.1 and D.2.8, H.265 7.3.1.2 and table 7-1, ISO 14496-2 6.2.5,
13818-2 6.2.3, RFC 6386 9.1, the VP9 bitstream specification 6.2 and annex B; AV1 has its own file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import av

from vidcli.video.codecs.av1 import Av1
from vidcli.video.codecs.packet import DISPOSABLE, HIDDEN, RANDOM_ACCESS, UNSUPPORTED, VideoPacket

Inspect: TypeAlias = Callable[[VideoPacket], int]


@dataclass(frozen=True)
class PacketInspector:
    """The rules by which the packets of one stream are inspected.

    Attributes:
        inspect: returns the flags of a packet; see `codecs.packet`.
        max_reorder: the most pictures that come before another one in the file but are shown after it.
    """

    inspect: Inspect
    max_reorder: int


def inspector_for(stream: av.VideoStream, only_keyframes: bool = False) -> PacketInspector | None:
    """Return the inspector for a stream's packets; None for a codec that is not supported here.

    Args:
        stream: video stream of an open file.
        only_keyframes: flag every packet as hidden and disposable unless decoding may start there.
    """
    inspector = _inspector_of_codec(stream)
    if inspector is None or not only_keyframes:
        return inspector
    inspect = inspector.inspect

    def inspect_keyframe(packet: VideoPacket) -> int:
        flags = inspect(packet)
        if flags & UNSUPPORTED:
            return flags
        return RANDOM_ACCESS | DISPOSABLE if flags & RANDOM_ACCESS else HIDDEN | DISPOSABLE

    return PacketInspector(inspect_keyframe, max_reorder=0)


def _inspector_of_codec(stream: av.VideoStream) -> PacketInspector | None:
    codec = stream.codec_context.codec.canonical_name
    extradata = stream.codec_context.extradata or b""
    if codec == "h264":
        return PacketInspector(_H264(extradata).inspect, max_reorder=16)
    if codec == "hevc":
        return PacketInspector(_Hevc(extradata).inspect, max_reorder=16)
    if codec == "mpeg4":
        return PacketInspector(_inspect_mpeg4, max_reorder=1)
    if codec in ("mpeg1video", "mpeg2video"):
        return PacketInspector(_inspect_mpeg2, max_reorder=1)
    if codec == "vp8":
        return PacketInspector(_inspect_vp8, max_reorder=0)
    if codec == "vp9":
        return PacketInspector(_inspect_vp9, max_reorder=0)
    if codec == "av1":
        return PacketInspector(Av1(extradata).inspect, max_reorder=0)
    if codec == "mjpeg":
        return PacketInspector(_inspect_mjpeg, max_reorder=0)
    if codec in ("prores", "dnxhd"):
        return PacketInspector(lambda packet: RANDOM_ACCESS | DISPOSABLE, max_reorder=0)
    return None


def _split_nals(data: bytes | memoryview, length_size: int) -> Iterator[bytes | memoryview]:
    """Yield the NAL units of a packet.

    Args:
        data: bytes of the packet.
        length_size: bytes of the length before each NAL unit; 0 where start codes separate them.
    """
    end = len(data)
    if length_size:
        start = 0
        while start + length_size < end:
            size = int.from_bytes(data[start : start + length_size], "big")
            start += length_size
            yield data[start : start + size]
            start += size
        return
    whole = bytes(data)
    start = whole.find(b"\0\0\1")
    while start >= 0:
        following = whole.find(b"\0\0\1", start + 3)
        yield data[start + 3 : following if following >= 0 else end]
        start = following


def nal_units(codec: str, extradata: bytes, packet: bytes) -> Iterator[bytes]:
    """Yield the NAL units of a packet.

    Args:
        codec: `h264` or `hevc`.
        extradata: codec configuration that the container holds for the stream.
        packet: bytes of the packet.
    """
    size = _h264_length_size(extradata) if codec == "h264" else _hevc_length_size(extradata)
    return (bytes(nal) for nal in _split_nals(packet, size))


def iter_sei(codec: str, nal: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the payload type and payload of each SEI message in a NAL unit; nothing for other NAL units.

    Args:
        codec: `h264` or `hevc`.
        nal: bytes of the NAL unit, with its header.
    """
    header = 1 if codec == "h264" else 2
    if len(nal) <= header or (nal[0] & 31 != 6 if codec == "h264" else nal[0] >> 1 & 63 != 39):
        return
    data = nal[header:].replace(b"\0\0\3", b"\0\0")
    position = 0
    while position + 2 < len(data):
        kind, position = _read_ff_coded(data, position)
        size, position = _read_ff_coded(data, position)
        yield kind, data[position : position + size]
        position += size


def _h264_length_size(extradata: bytes) -> int:
    return (extradata[4] & 3) + 1 if len(extradata) > 6 and extradata[0] == 1 else 0


def _hevc_length_size(extradata: bytes) -> int:
    return (extradata[21] & 3) + 1 if len(extradata) > 22 and extradata[0] == 1 else 0


class _H264:
    """H.264: `nal_ref_idc` is 0 in every slice of a picture to which no other refers."""

    def __init__(self, extradata: bytes) -> None:
        self._length_size = _h264_length_size(extradata)

    def inspect(self, packet: VideoPacket) -> int:
        if self._length_size == 4 and packet.size > 4 and not packet.is_keyframe:
            # A shortcut for most packets: the first NAL unit is a slice of a reference picture.
            first = memoryview(packet)[4]
            if first & 31 == 1 and first & 0x60:
                return 0
        disposable = False
        recovers = False
        for nal in _split_nals(memoryview(packet), self._length_size):
            if not len(nal):
                continue
            kind = nal[0] & 31
            if kind == 5:
                return RANDOM_ACCESS
            if kind == 6 and packet.is_keyframe:
                recovers = recovers or _recovers_at_once(bytes(nal))
            elif 1 <= kind <= 4:
                if recovers and kind == 1:
                    return RANDOM_ACCESS
                if nal[0] & 0x60:
                    return 0
                disposable = True
        return DISPOSABLE if disposable else 0


def _recovers_at_once(nal: bytes) -> bool:
    """Tell whether an SEI NAL unit holds a recovery point that is exact from its own picture on."""
    for kind, payload in iter_sei("h264", nal):
        if kind == 6 and payload:
            # recovery_frame_cnt ue(v) = 0: "1"; exact_match_flag: "1"; broken_link_flag: "0"
            return payload[0] >> 5 == 0b110
    return False


def _read_ff_coded(data: bytes, position: int) -> tuple[int, int]:
    """Return a number coded as bytes 255, 255, ..., last that are summed, and the position after it."""
    number = 0
    while position < len(data) and data[position] == 255:
        number, position = number + 255, position + 1
    return (number + data[position], position + 1) if position < len(data) else (number, position)


class _Hevc:
    """HEVC: only sub-layer non-reference pictures of the highest temporal sub-layer are disposable.

    Pictures of higher sub-layers may refer to a non-reference picture of a lower one, so the number of
    sub-layers must be known from the parameter sets.
    """

    def __init__(self, extradata: bytes) -> None:
        self._length_size = _hevc_length_size(extradata)
        self._num_sub_layers = 0  # 0: unknown until a sequence parameter set was read
        if self._length_size:
            for nal in _hvcc_nals(extradata):
                self._note_parameters(nal)
        else:
            for found in _split_nals(extradata, 0):
                self._note_parameters(bytes(found[:4]))

    def _note_parameters(self, nal: bytes) -> None:
        if len(nal) > 2 and nal[0] >> 1 & 63 == 33:
            self._num_sub_layers = max(self._num_sub_layers, (nal[2] >> 1 & 7) + 1)

    def inspect(self, packet: VideoPacket) -> int:
        disposable = False
        for nal in _split_nals(memoryview(packet), self._length_size):
            if len(nal) < 3:
                continue
            kind, temporal_id = nal[0] >> 1 & 63, (nal[1] & 7) - 1
            layer = (nal[0] & 1) << 5 | nal[1] >> 3
            if kind == 33:
                self._note_parameters(bytes(nal[:4]))
            elif 16 <= kind <= 21 and layer == 0:
                return RANDOM_ACCESS
            elif kind < 32:
                # Even types below 16 are sub-layer non-reference pictures (table 7-1).
                highest = temporal_id == self._num_sub_layers - 1
                if kind >= 16 or kind & 1 or layer or not highest:
                    return 0
                disposable = True
        return DISPOSABLE if disposable else 0


def _hvcc_nals(extradata: bytes) -> Iterator[bytes]:
    """Yield the NAL units of an HEVC configuration record (ISO 14496-15 8.3.3.1)."""
    position = 23
    for _ in range(extradata[22]):
        count = int.from_bytes(extradata[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            size = int.from_bytes(extradata[position : position + 2], "big")
            yield extradata[position + 2 : position + 2 + size]
            position += 2 + size


def _inspect_mpeg4(packet: VideoPacket) -> int:
    data = bytes(packet)
    start = data.find(b"\0\0\1\xb6")
    if start < 0 or start + 4 >= len(data):
        return 0
    if data.find(b"\0\0\1\xb6", start + 4) >= 0:
        return UNSUPPORTED  # packed pictures: two in one packet, none in another
    kind = data[start + 4] >> 6
    if kind == 2:
        return DISPOSABLE
    return RANDOM_ACCESS if kind == 0 and packet.is_keyframe else 0


def _inspect_mpeg2(packet: VideoPacket) -> int:
    data = bytes(packet)
    start = data.find(b"\0\0\1\0")
    if start < 0 or start + 5 >= len(data):
        return 0
    kind = data[start + 5] >> 3 & 7
    if kind == 3:
        return DISPOSABLE
    has_sequence = data.find(b"\0\0\1\xb3", 0, start) >= 0
    return RANDOM_ACCESS if kind == 1 and has_sequence and packet.is_keyframe else 0


def _inspect_vp8(packet: VideoPacket) -> int:
    if packet.size < 3:
        return 0
    tag = memoryview(packet)[0]
    if not tag & 0x10:
        return HIDDEN
    return 0 if tag & 1 else RANDOM_ACCESS


def _inspect_vp9(packet: VideoPacket) -> int:
    if packet.size < 3:
        return 0
    data = memoryview(packet)
    # Bits: frame marker 2, profile 2 (and a reserved one for profile 3), show_existing_frame,
    # frame_type (0 is a key frame), show_frame.
    profile_3 = data[0] & 0x30 == 0x30
    header = (data[0] << 8 | data[1]) >> (8 if not profile_3 else 7) & 0xFF
    show_existing, inter, shown = header & 8, header & 4, header & 2
    if data[-1] & 0xE0 == 0xC0:
        # A superframe: hidden pictures, then the one that is shown.
        return 0 if inter or show_existing or not shown else RANDOM_ACCESS
    if show_existing:
        return 0
    if not shown:
        return HIDDEN
    return 0 if inter else RANDOM_ACCESS


def _inspect_mjpeg(packet: VideoPacket) -> int:
    # Every picture stands alone, unless it uses quantization tables that only an earlier one holds.
    return RANDOM_ACCESS | DISPOSABLE if b"\xff\xdb" in bytes(memoryview(packet)[:4096]) else UNSUPPORTED
