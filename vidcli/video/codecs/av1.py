"""Inspect packets of AV1, in which later frames refer to a frame only through the slots it refreshes.

Motion vectors, probabilities, segmentation and film grain are stored in those slots too, so that no
later frame depends on a frame that refreshes none. Source: AV1 bitstream specification 5.3 to 5.5 and
5.9.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vidcli.video.codecs.packet import DISPOSABLE, RANDOM_ACCESS, Bits, Unreadable, VideoPacket

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_KEY, _INTRA_ONLY, _SWITCH = 0, 2, 3
_SELECT = 2  # the value stands in the header of each frame


@dataclass(frozen=True)
class _Sequence:
    """The fields of the sequence header that are needed to parse frame headers."""

    is_still: bool
    time_bits: int | None  # length of the presentation time in the header of every shown frame
    has_decoder_model: bool
    frame_id_bits: int
    screen_content: int
    integer_mv: int
    order_hint_bits: int


class Av1:
    """A temporal unit is disposable when `refresh_frame_flags` is 0 in each of its frames."""

    def __init__(self, extradata: bytes) -> None:
        self._sequence: _Sequence | None = None
        try:
            for kind, payload in _split_obus(extradata[4:] if extradata[:1] == b"\x81" else extradata):
                if kind == _SEQUENCE_HEADER:
                    self._sequence = _read_sequence(payload)
        except Unreadable:
            self._sequence = None

    def inspect(self, packet: VideoPacket) -> int:
        """Return the flags of a packet, which is one temporal unit."""
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
                        return RANDOM_ACCESS
                    if refreshed:
                        return 0
                    num_frames += 1
        except Unreadable:
            return 0
        return DISPOSABLE if num_frames else 0


def _split_obus(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the first 64 bytes, at most, of each open bitstream unit (OBU)."""
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
    """Return the type of a frame, whether it is shown, and the bit mask of the slots it refreshes."""
    if sequence.is_still:
        return _KEY, True, 0xFF
    bits = Bits(payload)
    if bits.read(1):
        return -1, True, 0xFF  # show_existing_frame: costs no decoding, and may refresh every slot
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
