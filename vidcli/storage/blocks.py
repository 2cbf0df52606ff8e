"""A file that is read by blocks over a slow connection, and kept in memory for the next reader.

The first read after a jump fetches what was asked for, in blocks of 64 KiB. Where reading goes on, each
fetch is twice as long as the one before, up to 1 MiB:

    block    0 1 2 3 4 5 6 7 8 ...    40 41 42
    fetch    0 |1 2 |3 4 5 6 |7 ..    40|41 42|

A jump to a few wanted frames so costs little more than their bytes, and reading on costs few requests.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeAlias

from vidcli.storage.range_file import RangeFile

BLOCK_BYTES = 1 << 16
_LONGEST_FETCH = 16  # blocks
_KEPT_BYTES = 64 << 20

Fetch: TypeAlias = Callable[[int, int], bytes]
"""Given the first byte and the one after the last, returns the bytes between."""


class Traffic:
    """What was fetched over connections since the program began.

    Attributes:
        num_bytes: bytes of content.
        num_requests: ranges that were asked for.
    """

    def __init__(self) -> None:
        self.num_bytes = self.num_requests = 0
        self._lock = threading.Lock()

    def add(self, num_bytes: int) -> None:
        """Count a range."""
        with self._lock:
            self.num_bytes += num_bytes
            self.num_requests += 1


traffic = Traffic()


class _KeptBlocks:
    """The blocks that were used last, of all files together."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[tuple[Hashable, int], bytes] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[Hashable, int]) -> bytes | None:
        """Return a block, if it is still there."""
        with self._lock:
            if key not in self._blocks:
                return None
            self._blocks.move_to_end(key)
            return self._blocks[key]

    def put(self, key: tuple[Hashable, int], block: bytes) -> None:
        """Keep a block, and let go of those used longest ago."""
        with self._lock:
            self._num_bytes += len(block) - len(self._blocks.pop(key, b""))
            self._blocks[key] = block
            while self._num_bytes > _KEPT_BYTES:
                self._num_bytes -= len(self._blocks.popitem(last=False)[1])


_kept = _KeptBlocks()


class BlockFile(RangeFile):
    """A seekable file over a function that fetches ranges.

    Attributes:
        failure: what went wrong at a read; FFmpeg takes some errors for the end of a file.
    """

    def __init__(self, fetch: Fetch, size: int, identity: Hashable) -> None:
        """Open at the first byte.

        Args:
            fetch: returns a range.
            size: bytes of the file.
            identity: of the file's content, by which blocks are kept for the next reader.
        """
        super().__init__(size)
        self.failure: Exception | None = None
        self._fetch, self._identity = fetch, identity
        self._next_block, self._num_ahead = -1, 1  # where the last fetch ended, and its length

    def _range(self, start: int, end: int) -> bytes:
        try:
            return self._joined(start, end)
        except Exception as error:
            self.failure = error
            raise

    def _joined(self, start: int, end: int) -> bytes:
        first, last = start // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        blocks: dict[int, bytes] = {}
        for number in range(first, last + 1):
            if number not in blocks:
                block = _kept.get((self._identity, number))
                blocks |= {number: block} if block is not None else self._fetch_blocks(number, last)
        joined = b"".join(blocks[number] for number in range(first, last + 1))
        return joined[start - first * BLOCK_BYTES : end - first * BLOCK_BYTES]

    def _fetch_blocks(self, first: int, last_wanted: int) -> dict[int, bytes]:
        """Fetch a block, those after it up to the last one wanted, and more where reading goes on."""
        self._num_ahead = min(2 * self._num_ahead, _LONGEST_FETCH) if first == self._next_block else 1
        num_blocks = max(self._num_ahead, min(last_wanted + 1 - first, _LONGEST_FETCH))
        later = range(first + 1, first + num_blocks)
        num_blocks = next((one - first for one in later if _kept.get((self._identity, one))), num_blocks)
        start, end = first * BLOCK_BYTES, min((first + num_blocks) * BLOCK_BYTES, self._size)
        content = self._fetch(start, end)
        if len(content) != end - start:
            raise OSError(f"{len(content):,} bytes came where {end - start:,} were asked for")
        traffic.add(len(content))
        self._next_block = first + num_blocks
        fetched = {
            first + place: content[place * BLOCK_BYTES : (place + 1) * BLOCK_BYTES]
            for place in range(-(-len(content) // BLOCK_BYTES))
        }
        for number, block in fetched.items():
            _kept.put((self._identity, number), block)
        return fetched
