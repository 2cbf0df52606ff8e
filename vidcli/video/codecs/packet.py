"""What an inspection tells about a packet, and how the bits of coded headers are read.

Flags of a packet:

    DISPOSABLE     no other picture refers to it, so that it may be skipped when it is not wanted
    RANDOM_ACCESS  decoding may start here: all pictures shown from here on decode without earlier packets
    HIDDEN         the decoder shows no picture for it
    UNSUPPORTED    the packet breaks the rules that inspection relies on: decode the file from end to end
"""

from __future__ import annotations

from typing import TypeAlias

import av

VideoPacket: TypeAlias = "av.Packet[av.VideoStream]"

DISPOSABLE = 1
RANDOM_ACCESS = 2
HIDDEN = 4
UNSUPPORTED = 8


class Unreadable(Exception):
    """A header ends too early or uses a feature that is not parsed here."""


class Bits:
    """Read unsigned numbers from bytes, most significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        """Return the next `count` bits as an unsigned number.

        Raises:
            Unreadable: fewer than `count` bits are left.
        """
        self._left -= count
        if self._left < 0:
            raise Unreadable
        return self._value >> self._left & ((1 << count) - 1)
