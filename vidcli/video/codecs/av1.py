"""The marks of AV1: the slots that a frame refreshes are all that later frames can take from it.

Motion vectors, probabilities, segmentation and film grain live in those slots too, so a frame that
refreshes none leaves no trace. Source: AV1 bitstream specification 5.3 to 5.5 and 5.9.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vidcli.video.codecs.bits import Bits, Unreadable
from vidcli.video.codecs.packet_flags import DISPOSABLE, ENTRY, VideoPacket

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_KEY, _INTRA_ONLY, _SWITCH = 0, 2, 3
_SELECT = 2  # each frame says for itself


@dataclass(frozen=True)
class _Sequence:
    """What frame headers need of the sequence header."""

    is_still: bool
    time_bits: int | None  # of a presentation time in every shown frame
    has_decoder_model: bool
    frame_id_bits: int
    screen_content: int
    integer_mv: int
    order_hint_bits: int


class Av1:
    """AV1: `refresh_frame_flags` is 0 in every frame of a temporal unit that leaves no trace."""

    def __init__(self, extradata: bytes) -> None:
        self._sequence: _Sequence | None = None
        try:
            for kind, payload in _split_obus(extradata[4:] if extradata[:1] == b"\x81" else extradata):
                if kind == _SEQUENCE_HEADER:
                    self._sequence = _read_sequence(payload)
        except Unreadable:
            self._sequence = None

    def inspect(self, packet: VideoPacket) -> int:
        """Return the flags of a temporal unit."""
        num_frames = 0
        starts_sequence = False
        try:
            for kind, payload in _split_obus(bytes(packet)):
                if kind == _SEQUENCE_HEADER:
                    self._sequence = _read_sequence(payload)
                    starts_sequence = True
                elif kind in (_FRAME_HEADER, _FRAME):
                    if self._sequence is None:
                        return 0
                    frame_type, is_shown, refreshed = _read_frame(payload, self._sequence)
                    if frame_type == _KEY and is_shown and starts_sequence and not num_frames:
                        return ENTRY
                    if refreshed:
                        return 0
                    num_frames += 1
        except Unreadable:
            return 0
        return DISPOSABLE if num_frames else 0


def _split_obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the first bytes of each open bitstream unit."""
    position = 0
    while position < len(data):
        header = data[position]
        if header & 0x80 or not header & 2:
            raise Unreadable
        position += 1
        if header & 4:
            if position >= len(data) or data[position] & 0x18:
                raise Unreadable  # spatial layers
            position += 1
        size = shift = 0
        while True:
            if position >= len(data) or shift > 28:
                raise Unreadable
            byte = data[position]
            position += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield header >> 3 & 15, data[position : position + min(size, 64)]
        position += size


def _read_uvlc(bits: Bits) -> int:
    zeros = 0
    while not bits.read(1):
        zeros += 1
    return bits.read(zeros) + (1 << zeros) - 1 if zeros < 32 else (1 << 32) - 1


def _read_sequence(payload: bytes) -> _Sequence:
    bits = Bits(payload)
    bits.read(4)  # profile, still picture
    is_still = bool(bits.read(1))
    has_decoder_model = equal_interval = False
    time_bits = 0
    if is_still:
        bits.read(5)
    else:
        if bits.read(1):  # timing
            bits.read(64)
            equal_interval = bool(bits.read(1))
            if equal_interval:
                _read_uvlc(bits)
            has_decoder_model = bool(bits.read(1))
            if has_decoder_model:
                delay_bits = bits.read(5) + 1
                bits.read(37)
                time_bits = bits.read(5) + 1
        has_delays = bits.read(1)
        if bits.read(5):
            raise Unreadable  # several operating points: scalable
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)
        if has_decoder_model and bits.read(1):
            bits.read(2 * delay_bits + 1)
        if has_delays and bits.read(1):
            bits.read(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    bits.read(width_bits + height_bits)
    frame_id_bits = 0
    if not is_still and bits.read(1):
        frame_id_bits = bits.read(4) + bits.read(3) + 3
    bits.read(3)
    screen_content = integer_mv = _SELECT
    order_hint_bits = 0
    if not is_still:
        bits.read(4)
        has_order_hints = bits.read(1)
        if has_order_hints:
            bits.read(2)
        screen_content = _SELECT if bits.read(1) else bits.read(1)
        if screen_content:
            integer_mv = _SELECT if bits.read(1) else bits.read(1)
        if has_order_hints:
            order_hint_bits = bits.read(3) + 1
    return _Sequence(
        is_still,
        time_bits if has_decoder_model and not equal_interval else None,
        has_decoder_model,
        frame_id_bits,
        screen_content,
        integer_mv,
        order_hint_bits,
    )


def _read_frame(payload: bytes, sequence: _Sequence) -> tuple[int, bool, int]:
    """Return the type of a frame, whether it is shown, and the slots that it refreshes."""
    if sequence.is_still:
        return _KEY, True, 0xFF
    bits = Bits(payload)
    if bits.read(1):
        return -1, True, 0xFF  # shows a frame of before: costs nothing, and may refresh
    frame_type, is_shown = bits.read(2), bool(bits.read(1))
    if is_shown and sequence.time_bits:
        bits.read(sequence.time_bits)
    if not is_shown:
        bits.read(1)
    is_clean_key = frame_type == _KEY and is_shown
    is_resilient = frame_type == _SWITCH or is_clean_key or bool(bits.read(1))
    bits.read(1)
    screen_content = bits.read(1) if sequence.screen_content == _SELECT else sequence.screen_content
    if screen_content and sequence.integer_mv == _SELECT:
        bits.read(1)
    bits.read(sequence.frame_id_bits)
    if frame_type != _SWITCH:
        bits.read(1)
    bits.read(sequence.order_hint_bits)
    if frame_type not in (_KEY, _INTRA_ONLY) and not is_resilient:
        bits.read(3)
    if sequence.has_decoder_model and bits.read(1):
        raise Unreadable
    return frame_type, is_shown, 0xFF if frame_type == _SWITCH or is_clean_key else bits.read(8)
