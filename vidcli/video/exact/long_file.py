"""The planner of long files: seek, skip, stop.

    file      I b b P b b P b b P b b I b b P b b P b b P b b I b b P ...
    wanted            ^                         ^
    decoded   I . . P b                         I . . P b . .

The lookahead tells which packets hold the wanted frames. Up to each of them, a packet is skipped when
no other picture refers to it and it is not wanted itself. Everything before a picture where decoding
may start is skipped when nothing before it is wanted any more. Where the container's index knows such
a picture far ahead, the planner seeks there.

Every assumption is checked (presentation times are there and unique, a seek lands where decoding may
start and not after the wanted frame, every wanted frame comes out of the decoder with its time). Where
one fails, `NotPlannable` is raised and the caller decodes the file from end to end: slower, but right.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import av
import av.container

from vidcli.video.codecs.packet import DISPOSABLE, RANDOM_ACCESS
from vidcli.video.codecs.packet_inspector import PacketInspector
from vidcli.video.exact.lookahead import Lookahead
from vidcli.video.exact.packet_queue import PacketQueue, QueuedPacket
from vidcli.video.exact.planner import (
    CheckedDecoder,
    Deliver,
    IndexUnreliable,
    LastFrame,
    NotPlannable,
    PtsClock,
    damage_not_plannable,
)
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import packets_of

_MAX_STEPS_BACK = 3


class LongFilePlanner:
    """Decode the wanted frames of an open file, of which as few packets as possible are read.

    `last_times` is None, as not all packets are read.
    """

    last_times = None

    def __init__(
        self,
        budget: Budget,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        inspector: PacketInspector,
        seekable: bool = True,
    ) -> None:
        """Read nothing yet.

        Args:
            budget: what the file may cost.
            container: the open file.
            stream: its video stream.
            inspector: of the stream's packets.
            seekable: seek where the container's index knows a keyframe ahead; otherwise all packets
                up to the last wanted frame are read, though not decoded.
        """
        self._budget = budget
        self._container = container
        self._stream = stream
        name = container.format.name
        # MP4 lists the decode times of every frame; Matroska the presentation times of keyframes,
        # which it reads with the first seek. After a seek in AVI, times are rounded otherwise.
        self._indexes_all = name.startswith("mov,mp4")
        self._indexes_cues = name.startswith("matroska")
        self._seekable = seekable and (self._indexes_all or self._indexes_cues)
        has_decode_times = name.startswith(("mov,mp4", "flv"))
        packets = packets_of(container, stream)
        self._queue = PacketQueue(budget, packets, inspector, has_decode_times)
        self._ahead = Lookahead(self._queue)
        self._decoder = CheckedDecoder(budget, stream, self._ahead.cutoffs_of)
        self._deliver: Deliver
        self._held: tuple[int, av.VideoFrame] | None = None  # the last wanted frame and its PTS
        self._num_considered = 0  # cutoffs for which the index was asked
        self._decode_on = False  # the index knows of no start ahead

    def find_clock(self) -> PtsClock:
        """Return the file's clock, for which its first packets are read."""
        with damage_not_plannable(self._budget):
            return PtsClock(self._stream, self._queue.find_origin())

    @property
    def first_packet(self) -> bytes:
        """Bytes of the file's first packet, between `find_clock` and `run`."""
        return bytes(self._queue.waiting[0].packet)

    def run(self, cutoffs: Sequence[int], deliver: Deliver) -> LastFrame | None:
        """Decode, for each cutoff, the last frame that starts no later; see `Planner.run`."""
        ahead = self._ahead
        self._deliver = deliver
        with damage_not_plannable(self._budget):
            ahead.begin(cutoffs)
            while ahead.undecoded or not ahead.is_complete:
                if ahead.undecoded:
                    self._decode_wanted()
                else:
                    self._approach()
            self._decoder.drain(self._hold)
        if ahead.cutoffs_of:
            raise NotPlannable("the decoder did not return every wanted frame")
        return None if ahead.last_pts is None else LastFrame(ahead.last_pts, self._queue.newest_duration)

    def split(self, cutoffs: Sequence[int], max_parts: int) -> list[range]:
        """Split ascending cutoffs into parts of like size, between which decoding may start.

        A single part means that the file cannot be split. The reading position is lost.

        Args:
            cutoffs: as for `run`.
            max_parts: the most parts that are of use.

        Returns:
            The indices of the cutoffs of each part.
        """
        if not self._seekable:
            return [range(len(cutoffs))]
        if self._indexes_cues:
            with damage_not_plannable(self._budget):
                self._container.seek(cutoffs[-1], stream=self._stream)
        delay = self._queue.delay if self._indexes_all else 0
        entries = self._stream.index_entries
        starts = [entries.search_timestamp(cutoff - delay, backward=True) for cutoff in cutoffs]
        cuts = [n for n in range(1, len(cutoffs)) if starts[n] != starts[n - 1]]
        step = max(1, math.ceil((len(cuts) + 1) / max_parts))
        edges = [0, *cuts[step - 1 :: step], len(cutoffs)]
        return [range(first, stop) for first, stop in itertools.pairwise(edges) if stop > first]

    def _approach(self) -> None:
        """Read, seek, skip or decode on the way to a frame that is not settled yet."""
        ahead, queue = self._ahead, self._queue
        if self._num_considered <= ahead.num_settled:
            self._num_considered = ahead.num_settled + 1
            self._consider_seek()
            if ahead.undecoded:
                return
        start = queue.find_start(ahead.next_cutoff)
        if start is not None and (start.pts != self._decoder.start or queue.waiting[0] is not start):
            self._restart()
            self._begin_at(start)
        if queue.waiting and not ahead.must_wait(queue.waiting[0], self._decode_on):
            queued = ahead.pop()
            if not queued.flags & DISPOSABLE:
                self._decoder.decode([queued.packet], self._hold)
            return
        self._decoder.decode(ahead.skip_through(self._decode_on), self._hold)
        ahead.read()
        self._deliver_held()

    def _decode_wanted(self) -> None:
        """Skip or decode the waiting packets, up to the last frame that is settled."""
        ahead = self._ahead
        while ahead.undecoded:
            taken = ahead.take_settled()
            if taken:
                self._decoder.decode(taken, self._hold)
            elif ahead.read():
                self._deliver_held()
            elif not self._queue.waiting:
                raise NotPlannable("a wanted frame has no packet")

    def _consider_seek(self) -> None:
        """Seek if the index knows a keyframe between what was read and the next wanted frame."""
        self._decode_on = False
        if not self._seekable:
            return
        cutoff = self._ahead.next_cutoff
        entries = self._stream.index_entries
        newest = self._queue.newest_pts
        if newest is None or (self._indexes_cues and self._num_considered == 1 and cutoff > newest):
            is_ahead = True
        else:
            delay = self._queue.delay if self._indexes_all else 0
            here = entries.search_timestamp(newest - delay, backward=True)
            is_ahead = entries.search_timestamp(cutoff - delay, backward=True) > here
            self._decode_on = (
                not is_ahead
                and self._indexes_all
                and len(entries) > 0
                and entries[len(entries) - 1].timestamp >= cutoff - delay
            )
        if is_ahead:
            self._seek(cutoff)

    def _seek(self, cutoff: int) -> None:
        # The target is a presentation time, although the index of MP4 holds decode times: mostly the
        # demuxer allows for that, and seeking to a keyframe's decode time would land a whole group of
        # pictures too early. Where the demuxer does not (open groups, fragments), step back.
        self._restart()
        target = cutoff
        for _ in range(_MAX_STEPS_BACK + 1):
            self._container.seek(target, stream=self._stream)
            self._ahead.restart()
            if not self._ahead.read():
                break
            landed = self._queue.waiting[0]
            if landed.flags & RANDOM_ACCESS and landed.pts <= cutoff:
                self._begin_at(landed)
                return
            dts = landed.packet.dts
            target = (dts if self._indexes_all and dts is not None else landed.pts) - 1
        raise IndexUnreliable("the index points to where decoding cannot start")

    def _restart(self) -> None:
        """Take the frames that the decoder still holds, and reset it."""
        self._decoder.drain(self._hold)
        if self._ahead.cutoffs_of.keys() - self._ahead.undecoded:
            raise NotPlannable("the decoder did not return a wanted frame")
        self._decoder.begin(None)

    def _begin_at(self, start: QueuedPacket) -> None:
        self._ahead.start_at(start)
        self._decoder.begin(start.pts)

    def _hold(self, pts: int, frame: av.VideoFrame) -> None:
        self._held = (pts, frame)
        self._deliver_held()

    def _deliver_held(self) -> None:
        """Deliver the last wanted frame for the cutoffs that are settled on it by now."""
        if self._held is not None:
            pts, frame = self._held
            for index in self._ahead.cutoffs_of.pop(pts, ()):
                self._deliver(index, frame)
            if not self._ahead.may_want_again(pts):
                self._held = None  # so that the decoder can reuse its memory
