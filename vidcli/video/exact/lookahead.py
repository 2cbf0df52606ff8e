"""Read packets ahead of the decoder, just far enough to know which ones hold the wanted frames.

For each of ascending cutoffs, the wanted frame is the last one that starts no later:

    shown at    0   4   8  12  16  20 ...        cutoffs 9, 17
    file order  0  12   4   8  24  16  20 ...
    read so far 0  12   4   8  24                9 is settled: frame 8; 17 is not: frame 16 may follow

A cutoff is settled once no later packet can hold a frame between the best one so far and the cutoff:
either the decode times have passed the cutoff, or more pictures that are shown after it have been read
than the codec can reorder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from vidcli.video.codecs.packet import DISPOSABLE, VideoPacket
from vidcli.video.exact.packet_queue import PacketQueue, QueuedPacket
from vidcli.video.exact.planner import NotPlannable

_MAX_WAITING_BYTES = 64 * 2**20
"""Bytes of packets that may wait for a decision; beyond, packets are decoded whether needed or not."""

_PACKETS_AT_ONCE = 32


class Lookahead:
    """Which frames are wanted, as far as it is settled by the packets read so far.

    Attributes:
        queue: the packets read so far and not decoded.
        undecoded: PTS of the wanted frames whose packets wait.
        cutoffs_of: indices of the cutoffs that want a frame, by its PTS, until it is delivered.
        num_settled: how many cutoffs, from the first, are settled.
        is_complete: all cutoffs are settled.
        next_cutoff: the first cutoff that is not settled.
        last_pts: PTS of the file's last frame, if a cutoff reaches it.
    """

    def __init__(self, queue: PacketQueue) -> None:
        self.queue = queue
        self._cutoffs: Sequence[int] = ()
        self.undecoded: set[int] = set()
        self.cutoffs_of: dict[int, list[int]] = {}
        self.num_settled = 0
        self.is_complete = False
        self.next_cutoff = 0
        self.last_pts: int | None = None
        self._floor: int | None = None  # frames that are shown before this PTS are not wanted
        self._settled: int | None = None  # the last cutoff that is settled
        self._last_wanted: int | None = None  # PTS of the frame that it wants
        self._best: int | None = None  # PTS of the last frame so far that the next cutoff allows
        self._later: list[int] = []  # ascending PTS of frames beyond the next cutoff

    def begin(self, cutoffs: Sequence[int]) -> None:
        """Set what is wanted: ascending PTS, all different."""
        self._cutoffs = cutoffs
        self._advance(0)
        for queued in self.queue.waiting:
            self._note(queued)

    def restart(self) -> None:
        """Forget what was read, after a seek."""
        self.queue.clear()
        self._later.clear()
        self._best = self._floor = self._settled = None

    def read(self) -> bool:
        """Read one packet; at the end of the file, settle every cutoff and return False."""
        queued = self.queue.read()
        if queued is None:
            while not self.is_complete:
                if self._best is None:
                    raise NotPlannable("the file ends before a frame that its index promises")
                if not self._later:
                    # Not `_best`, which is a keyframe where only keyframes are wanted.
                    self.last_pts = self.queue.newest_pts
                self._settle()
            return False
        self._note(queued)
        return True

    def pop(self) -> QueuedPacket:
        """Take the first waiting packet."""
        queued = self.queue.pop()
        self.undecoded.discard(queued.pts)
        return queued

    def start_at(self, start: QueuedPacket) -> None:
        """Skip every packet before `start`, and every frame that is shown before it."""
        while self.queue.waiting[0].number != start.number:
            self.pop()
        self._floor = start.pts

    def must_wait(self, queued: QueuedPacket, decode_on: bool) -> bool:
        """Tell whether more must be read before a packet can be decoded or skipped.

        Args:
            queued: the first waiting packet.
            decode_on: no picture ahead is known where decoding may start, so that every picture to
                which others refer must be decoded anyway.
        """
        if self.is_complete:
            return False
        if not self.undecoded and not decode_on and self.queue.num_bytes < _MAX_WAITING_BYTES:
            return True
        if queued.pts in self.undecoded or not queued.is_shown:
            return False
        if self._floor is not None and queued.pts < self._floor:
            return False
        if self._settled is not None and queued.pts <= self._settled:
            return False
        # A later frame that the next cutoff allows means that no cutoff wants this one.
        return self._best is None or self._best <= queued.pts

    def may_want_again(self, pts: int) -> bool:
        """Tell whether the next cutoff may want the frame of a settled one as well."""
        return not self.is_complete and (self._best is None or self._best <= pts)

    def skip_through(self, decode_on: bool) -> list[VideoPacket]:
        """Read as long as it is plain what becomes of each packet, and return those to decode.

        It does for most packets between wanted frames what `read`, `must_wait` and `pop` do, in a
        fraction of their time: it handles many packets in one short loop, because each call of a
        decoder evicts the interpreter from the processor's caches. The first packet that needs more
        is left to `read`.

        Args:
            decode_on: as in `must_wait`; otherwise packets are only collected.
        """
        chosen: list[VideoPacket] = []
        queue, cutoff, best = self.queue, self.next_cutoff, self._best
        if best is None or self.is_complete or queue.unread is not None:
            return chosen
        waiting = queue.waiting
        lowest = max((x for x in (self._floor, self._settled) if x is not None), default=best)
        inspect, check_time = queue.inspect, queue.check_time
        has_decode_times = queue.has_decode_times
        duration = 0
        while queue.num_bytes < _MAX_WAITING_BYTES and len(chosen) < _PACKETS_AT_ONCE:
            check_time()
            packet = next(queue.packets, None)
            if packet is None or packet.size == 0:
                queue.has_ended = True
                break
            pts, flags = packet.pts, inspect(packet)
            if (
                pts is None
                or not lowest < pts <= cutoff
                or pts == best
                or flags & ~DISPOSABLE
                or packet.is_discard
                or packet.is_corrupt
                or (has_decode_times and (packet.dts is None or packet.dts > cutoff))
            ):
                queue.unread = packet, flags
                break
            if pts > best:
                # Packets that wait hold frames before one that the cutoff allows: none is wanted.
                best, duration = pts, packet.duration or 0
                while decode_on and waiting and waiting[0].pts < best:
                    queued = self.pop()
                    if not queued.flags & DISPOSABLE:
                        chosen.append(queued.packet)
            elif flags & DISPOSABLE:
                continue
            waiting.append(QueuedPacket(packet, queue.num_read, pts, flags, True))
            queue.num_read += 1
            queue.num_bytes += packet.size
        self._best = best
        if queue.newest_pts is None or best > queue.newest_pts:
            queue.newest_pts, queue.newest_duration = best, duration
        return chosen

    def take_settled(self) -> list[VideoPacket]:
        """Take the waiting packets up to the last frame that is settled; return those to decode."""
        taken: list[VideoPacket] = []
        waiting = self.queue.waiting
        while self.undecoded and waiting and not self.must_wait(waiting[0], decode_on=True):
            is_wanted = waiting[0].pts in self.undecoded
            queued = self.pop()
            if is_wanted or not queued.flags & DISPOSABLE:
                taken.append(queued.packet)
        return taken

    def _note(self, queued: QueuedPacket) -> None:
        """Insert the PTS of a shown frame, and settle the cutoffs that it makes certain."""
        pts = queued.pts
        if not queued.is_shown or (self._floor is not None and pts < self._floor):
            return
        if self._settled is not None and pts <= self._settled:
            raise NotPlannable("a frame comes later in the file than its time allows")
        if pts == self._best or pts in self._later:
            raise NotPlannable("two frames have the same time")
        if self.is_complete:
            return
        if pts > self.next_cutoff:
            self._later.insert(bisect_right(self._later, pts), pts)
        elif self._best is None or pts > self._best:
            self._best = pts
        while (
            not self.is_complete
            and self._best is not None
            and self.queue.is_certain(self.next_cutoff, len(self._later) - 1)
        ):
            self._settle()

    def _settle(self) -> None:
        assert self._best is not None
        if self._best != self._last_wanted:
            self._last_wanted = self._best
            self.undecoded.add(self._best)
        self.cutoffs_of.setdefault(self._best, []).append(self.num_settled)
        self._settled = self.next_cutoff
        self._advance(self.num_settled + 1)
        if not self.is_complete:
            num_passed = bisect_right(self._later, self.next_cutoff)
            if num_passed:
                self._best = self._later[num_passed - 1]
                del self._later[:num_passed]

    def _advance(self, num_settled: int) -> None:
        self.num_settled = num_settled
        self.is_complete = num_settled == len(self._cutoffs)
        if not self.is_complete:
            self.next_cutoff = self._cutoffs[num_settled]
