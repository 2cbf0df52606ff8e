"""Read packets ahead of the decoder, just far enough to know which ones hold the wanted frames.

Wanted are, for ascending limits of presentation time, the last frames that start no later:

    shown at    0   4   8  12  16  20 ...        limits 9, 17
    file order  0  12   4   8  24  16  20 ...
    read so far 0  12   4   8  24                9 is certain: frame 8; frame 12 is not for 17 yet

A limit is certain once no later packet can hold a frame between the best one and the limit:
because the decode times have passed the limit, or because more pictures that are shown after it
were read than the codec can reorder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from vidcli.video.codecs.packet_flags import DISPOSABLE, ENTRY, HIDDEN, VideoPacket
from vidcli.video.codecs.packet_inspector import Marks
from vidcli.video.exact.feed import NotPlannable, plannable_time
from vidcli.video.open.budget import Budget

_MAX_WAITING_BYTES = 64 * 2**20
"""Packets that wait for a decision; beyond, they are decoded whether needed or not."""

_PACKETS_AT_ONCE = 32


class Distrusted(NotPlannable):
    """The header or the index is wrong; planning without them may still do."""


class Item(NamedTuple):
    """A packet that waits, its number in reading order and what its bytes say of it.

    `is_shown` tells whether a frame comes of it; edit lists cut frames that others still need.
    """

    packet: VideoPacket
    number: int
    pts: int
    flags: int
    is_shown: bool


class Lookahead:
    """The packets between the reader and the decoder, and the targets among them.

    Attributes:
        waiting: packets read and neither decoded nor left out yet, in file order.
        unfed: presentation times of wanted frames whose packets wait.
        limits_of: for the presentation time of each wanted frame, the numbers of its limits; who
            delivers the frame removes them.
        num_certain: so many limits, from the first, have their frame.
        is_complete: whether all have.
        next_limit: the first that has not.
        last_pts: presentation time of the file's last frame, if a limit lies beyond it.
        newest_pts: greatest presentation time read so far.
        newest_duration: how long its picture is shown, in the stream's unit of time; 0 if nothing tells.
        delay: how much later than decoded the first picture is shown.
    """

    def __init__(
        self, budget: Budget, packets: Iterator[VideoPacket], marks: Marks, has_decode_times: bool
    ) -> None:
        self._budget = budget
        self._packets = packets
        self._marks = marks
        self._has_decode_times = has_decode_times
        self._limits: Sequence[int] = ()
        self.waiting: deque[Item] = deque()
        self.unfed: set[int] = set()
        self.limits_of: dict[int, list[int]] = {}
        self.num_certain = 0
        self.is_complete = False
        self.next_limit = 0
        self.last_pts: int | None = None
        self.newest_pts: int | None = None
        self.newest_duration = 0
        self.delay = 0
        self._num_read = 0
        self._num_bytes = 0
        self._ended = False
        self._last_dts: int | None = None
        self._floor: int | None = None  # what is shown before is not wanted
        self._settled: int | None = None  # the last limit that is certain
        self._last_target: int | None = None
        self._best: int | None = None
        self._ahead: list[int] = []  # ascending times beyond the next limit
        self._entries: deque[Item] = deque()
        self._odd: tuple[VideoPacket, int] | None = None  # read, and left to `read`

    def find_origin(self) -> int:
        """Read until the presentation time of the file's first frame is certain, and return it."""
        shown: list[int] = []
        while True:
            item = self._read()
            if item is None:
                break
            if item.number == 0:
                if not item.flags & ENTRY:
                    raise NotPlannable("the file does not start with a picture that stands alone")
                if item.packet.dts is not None:
                    self.delay = item.pts - item.packet.dts
            if item.is_shown:
                shown.append(item.pts)
            if shown and self._is_certain(min(shown), len(shown) - 1):
                break
        if not shown:
            raise NotPlannable("no picture of the file is shown")
        if self.waiting[0].is_shown and min(shown) < self.waiting[0].pts:
            raise NotPlannable("pictures are shown before the one that stands alone")
        return min(shown)

    def begin(self, limits: Sequence[int]) -> None:
        """Set what is wanted: ascending presentation times, each different."""
        self._limits = limits
        self._next(0)
        for item in self.waiting:
            self._note(item)

    def restart(self) -> None:
        """Forget what was read, after the reader was moved."""
        self.waiting.clear()
        self._entries.clear()
        self._ahead.clear()
        self._num_bytes = 0
        self._ended = False
        self._best = self._floor = self._last_dts = self._settled = self._odd = None

    def read(self) -> bool:
        """Read one packet; at the end of the file, settle every limit and return False."""
        item = self._read()
        if item is None:
            while not self.is_complete:
                if self._best is None:
                    raise NotPlannable("the file ends before a frame that its index promises")
                if not self._ahead:
                    # Not the best: that is a keyframe when only those count.
                    self.last_pts = self.newest_pts
                self._settle()
            return False
        self._note(item)
        return True

    def pop(self) -> Item:
        """Take the first waiting packet."""
        item = self.waiting.popleft()
        self._num_bytes -= item.packet.size
        if self._entries and self._entries[0].number == item.number:
            self._entries.popleft()
        self.unfed.discard(item.pts)
        return item

    def find_start(self) -> Item | None:
        """Return the last waiting picture where decoding may start for the next limit, or None."""
        for item in reversed(self._entries):
            if item.pts <= self.next_limit:
                return item
        return None

    def start_at(self, start: Item) -> None:
        """Leave out everything before `start`, and what is shown before it."""
        while self.waiting[0].number != start.number:
            self.pop()
        self._floor = start.pts

    def must_wait(self, item: Item, decode_on: bool) -> bool:
        """Tell whether more must be read before `item` can be decoded or left out.

        Args:
            item: the first waiting packet.
            decode_on: no picture is known ahead where decoding may start, so that what others
                refer to must be decoded anyway.
        """
        if self.is_complete:
            return False
        if not self.unfed and not decode_on and self._num_bytes < _MAX_WAITING_BYTES:
            return True
        if item.pts in self.unfed or not item.is_shown:
            return False
        if self._floor is not None and item.pts < self._floor:
            return False
        if self._settled is not None and item.pts <= self._settled:
            return False
        # A later frame that the next limit allows means that this one is for none.
        return self._best is None or self._best <= item.pts

    def may_want_again(self, pts: int) -> bool:
        """Tell whether the frame of a limit that is certain may serve the next limit as well."""
        return not self.is_complete and (self._best is None or self._best <= pts)

    def pass_by(self, decode_on: bool) -> list[VideoPacket]:
        """Read as long as it is plain what becomes of a packet, and return those to decode.

        To the effect of `read`, `must_wait` and `pop` for most of the packets between wanted frames,
        in a fraction of their time: many packets in one short loop, for after each call of a decoder
        the processor has forgotten Python. The first packet that needs more is left to `read`.

        Args:
            decode_on: as in `must_wait`; otherwise packets are only collected.
        """
        passed: list[VideoPacket] = []
        waiting, limit, best = self.waiting, self.next_limit, self._best
        if best is None or self.is_complete or self._odd is not None:
            return passed
        lowest = max((x for x in (self._floor, self._settled) if x is not None), default=best)
        inspect, check_time = self._marks.inspect, self._budget.check_time
        has_decode_times = self._has_decode_times
        duration = 0
        while self._num_bytes < _MAX_WAITING_BYTES and len(passed) < _PACKETS_AT_ONCE:
            check_time()
            packet = next(self._packets, None)
            if packet is None or packet.size == 0:
                self._ended = True
                break
            pts, flags = packet.pts, inspect(packet)
            if (
                pts is None
                or not lowest < pts <= limit
                or pts == best
                or flags & ~DISPOSABLE
                or packet.is_discard
                or packet.is_corrupt
                or (has_decode_times and (packet.dts is None or packet.dts > limit))
            ):
                self._odd = packet, flags
                break
            if pts > best:
                # What waits is earlier than a frame that the limit allows: it is for none.
                best, duration = pts, packet.duration or 0
                while decode_on and waiting and waiting[0].pts < best:
                    item = self.pop()
                    if not item.flags & DISPOSABLE:
                        passed.append(item.packet)
            elif flags & DISPOSABLE:
                continue
            waiting.append(Item(packet, self._num_read, pts, flags, True))
            self._num_read += 1
            self._num_bytes += packet.size
        self._best = best
        if self.newest_pts is None or best > self.newest_pts:
            self.newest_pts, self.newest_duration = best, duration
        return passed

    def take_certain(self) -> list[VideoPacket]:
        """Take what waits up to the last frame that is certain to be wanted; return what to decode."""
        taken: list[VideoPacket] = []
        while self.unfed and self.waiting and not self.must_wait(self.waiting[0], decode_on=True):
            is_wanted = self.waiting[0].pts in self.unfed
            item = self.pop()
            if is_wanted or not item.flags & DISPOSABLE:
                taken.append(item.packet)
        return taken

    def _read(self) -> Item | None:
        if self._odd is not None:
            (packet, flags), self._odd = self._odd, None
        else:
            if self._ended:
                return None
            self._budget.check_time()
            following = next(self._packets, None)
            if following is None or following.size == 0:
                self._ended = True
                return None
            packet, flags = following, self._marks.inspect(following)
        pts = plannable_time(packet, flags)
        is_shown = not flags & HIDDEN and not packet.is_discard
        item = Item(packet, self._num_read, pts, flags, is_shown)
        self._num_read += 1
        self._num_bytes += packet.size
        self._last_dts = packet.dts
        if self.newest_pts is None or item.pts > self.newest_pts:
            self.newest_pts, self.newest_duration = item.pts, packet.duration or 0
        self.waiting.append(item)
        if flags & ENTRY and item.is_shown:
            self._entries.append(item)
        return item

    def _note(self, item: Item) -> None:
        """Sort the time of a shown frame in, and settle what became certain."""
        if not item.is_shown or (self._floor is not None and item.pts < self._floor):
            return
        if self._settled is not None and item.pts <= self._settled:
            raise NotPlannable("a frame comes later in the file than its time allows")
        if item.pts == self._best or item.pts in self._ahead:
            raise NotPlannable("two frames have the same time")
        if self.is_complete:
            return
        if item.pts > self.next_limit:
            self._ahead.insert(bisect_right(self._ahead, item.pts), item.pts)
        elif self._best is None or item.pts > self._best:
            self._best = item.pts
        while (
            not self.is_complete
            and self._best is not None
            and self._is_certain(self.next_limit, len(self._ahead) - 1)
        ):
            self._settle()

    def _is_certain(self, limit: int, num_later: int) -> bool:
        """Tell whether no packet still unread can hold a frame that starts by `limit`."""
        timely = self._has_decode_times and self._last_dts is not None and self._last_dts > limit
        return timely or num_later >= self._marks.reorder

    def _settle(self) -> None:
        assert self._best is not None
        if self._best != self._last_target:
            self._last_target = self._best
            self.unfed.add(self._best)
        self.limits_of.setdefault(self._best, []).append(self.num_certain)
        self._settled = self.next_limit
        self._next(self.num_certain + 1)
        if not self.is_complete:
            passed = bisect_right(self._ahead, self.next_limit)
            if passed:
                self._best = self._ahead[passed - 1]
                del self._ahead[:passed]

    def _next(self, number: int) -> None:
        self.num_certain = number
        self.is_complete = number == len(self._limits)
        if not self.is_complete:
            self.next_limit = self._limits[number]
