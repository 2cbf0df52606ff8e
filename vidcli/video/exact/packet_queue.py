"""The packets of a long file that were read, and are neither decoded nor skipped yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from vidcli.video.codecs.packet import HIDDEN, RANDOM_ACCESS, VideoPacket
from vidcli.video.codecs.packet_inspector import PacketInspector
from vidcli.video.exact.planner import NotPlannable, checked_pts
from vidcli.video.open.budget import Budget


class QueuedPacket(NamedTuple):
    """A packet that waits to be decoded or skipped.

    Attributes:
        number: how many packets were read before it.
        pts: its presentation time.
        flags: of its inspection.
        is_shown: a frame comes of it; edit lists cut frames that others still need.
    """

    packet: VideoPacket
    number: int
    pts: int
    flags: int
    is_shown: bool


class PacketQueue:
    """The packets between the file and the decoder.

    Attributes:
        waiting: packets that were read and are neither decoded nor skipped yet, in file order.
        num_bytes: size of these packets.
        newest_pts: greatest PTS read so far.
        newest_duration: how long its picture is shown, in the stream's time base; 0 if unknown.
        last_dts: decode time of the packet that was read last; None if it has none.
        unread: a packet and its flags that `Lookahead.skip_through` took from the file and left to `read`.
        has_ended: the end of the file was reached.
        has_decode_times: the container stores reliable decode times.
        delay: how much later the first picture is shown than decoded, in the stream's time base.
    """

    def __init__(
        self,
        budget: Budget,
        packets: Iterator[VideoPacket],
        inspector: PacketInspector,
        has_decode_times: bool,
    ) -> None:
        """Read nothing yet.

        Args:
            budget: what the file may cost.
            packets: of the open file, in file order.
            inspector: of these packets.
            has_decode_times: the container stores reliable decode times.
        """
        self.has_decode_times = has_decode_times
        self._max_reorder = inspector.max_reorder
        self.inspect = inspector.inspect
        self.check_time = budget.check_time
        self.packets = packets
        self.waiting: deque[QueuedPacket] = deque()
        self.num_bytes = 0
        self.num_read = 0
        self.newest_pts: int | None = None
        self.newest_duration = 0
        self.last_dts: int | None = None
        self.unread: tuple[VideoPacket, int] | None = None
        self.has_ended = False
        self.delay = 0
        self._starts: deque[QueuedPacket] = deque()  # waiting pictures where decoding may start

    def read(self) -> QueuedPacket | None:
        """Read one packet of the file; None at its end.

        Raises:
            NotPlannable: the packet cannot be planned with.
        """
        if self.unread is not None:
            (packet, flags), self.unread = self.unread, None
        else:
            if self.has_ended:
                return None
            self.check_time()
            following = next(self.packets, None)
            if following is None or following.size == 0:
                self.has_ended = True
                return None
            packet, flags = following, self.inspect(following)
        pts = checked_pts(packet, flags)
        is_shown = not flags & HIDDEN and not packet.is_discard
        queued = QueuedPacket(packet, self.num_read, pts, flags, is_shown)
        self.num_read += 1
        self.num_bytes += packet.size
        self.last_dts = packet.dts
        if self.newest_pts is None or pts > self.newest_pts:
            self.newest_pts, self.newest_duration = pts, packet.duration or 0
        self.waiting.append(queued)
        if flags & RANDOM_ACCESS and is_shown:
            self._starts.append(queued)
        return queued

    def pop(self) -> QueuedPacket:
        """Take the first waiting packet."""
        queued = self.waiting.popleft()
        self.num_bytes -= queued.packet.size
        if self._starts and self._starts[0].number == queued.number:
            self._starts.popleft()
        return queued

    def find_start(self, cutoff: int) -> QueuedPacket | None:
        """Return the last waiting picture where decoding may start for a cutoff, or None."""
        for queued in reversed(self._starts):
            if queued.pts <= cutoff:
                return queued
        return None

    def clear(self) -> None:
        """Forget what was read, after a seek."""
        self.waiting.clear()
        self._starts.clear()
        self.num_bytes = 0
        self.has_ended = False
        self.last_dts = self.unread = None

    def find_origin(self) -> int:
        """Read until the presentation time of the file's first frame is certain, and return it."""
        shown: list[int] = []
        while True:
            queued = self.read()
            if queued is None:
                break
            if queued.number == 0:
                if not queued.flags & RANDOM_ACCESS:
                    raise NotPlannable("the file does not start with a picture that stands alone")
                if queued.packet.dts is not None:
                    self.delay = queued.pts - queued.packet.dts
            if queued.is_shown:
                shown.append(queued.pts)
            if shown and self.is_certain(min(shown), len(shown) - 1):
                break
        if not shown:
            raise NotPlannable("no picture of the file is shown")
        first = self.waiting[0]
        if first.is_shown and min(shown) < first.pts:
            raise NotPlannable("pictures are shown before the one that stands alone")
        return min(shown)

    def is_certain(self, cutoff: int, num_later: int) -> bool:
        """Tell whether no packet still unread can hold a frame that starts by a cutoff.

        Args:
            cutoff: a PTS.
            num_later: at least so many of the pictures that were read are shown after the cutoff.
        """
        has_passed = self.has_decode_times and self.last_dts is not None and self.last_dts > cutoff
        return has_passed or num_later >= self._max_reorder
