"""Numbers of some bits, as the headers of coded video hold them."""

from __future__ import annotations


class Unreadable(Exception):
    """A header that ends too early, or that uses what is not read here."""


class Bits:
    """Read numbers of some bits, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        """Return the number that the next `count` bits are.

        Raises:
            Unreadable: there are fewer.
        """
        self._left -= count
        if self._left < 0:
            raise Unreadable
        return self._value >> self._left & ((1 << count) - 1)
