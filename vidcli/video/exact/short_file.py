"""The planner of short files: read all packets, then choose those that the wanted frames need.

    file      I b b P b b P b b I b b P b b P
    wanted            ^               ^
    decoded   I . . P b         I . . P b

With every packet at hand it is known which packets hold the wanted frames, where decoding starts for
each of them, and which packets no other frame needs. There is no need to look ahead, and no point in
seeking, since reading on is as fast. `long_file` plans longer files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import av
import av.container

from vidcli.video.codecs.packet import DISPOSABLE, HIDDEN, RANDOM_ACCESS, VideoPacket
from vidcli.video.codecs.packet_inspector import PacketInspector
from vidcli.video.exact.planner import (
    CheckedDecoder,
    Clock,
    Deliver,
    LastFrame,
    NotPlannable,
    PtsClock,
    checked_pts,
    damage_not_plannable,
)
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import packets_of
from vidcli.video.open.duration import Times

_MAX_BYTES = 16 * 2**20
_MAX_PACKETS = 320
_USUAL_RATE = 30


def is_short(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Tell whether reading a whole file costs little compared with decoding a clip of it."""
    if not 0 < container.size <= _MAX_BYTES:
        return False
    # Matroska does not store the number of frames.
    count = stream.frames or (container.duration or 0) / av.time_base * (stream.average_rate or _USUAL_RATE)
    return 0 < count <= _MAX_PACKETS


class WholeFilePlanner:
    """Decode the wanted frames of an open file, all of whose packets were read.

    A subclass holds the packets, and sets the clock.
    """

    _clock: Clock

    def __init__(
        self, budget: Budget, stream: av.VideoStream, all_pts: list[int], all_flags: list[int]
    ) -> None:
        """Index the packets.

        Args:
            budget: what the file may cost.
            stream: video stream of the open file.
            all_pts: PTS of each packet of the stream, in file order.
            all_flags: flags of each packet's inspection.

        Raises:
            NotPlannable: decode the file from end to end instead.
        """
        self._budget = budget
        self._stream = stream
        self._pts = all_pts
        self._flags = all_flags
        self._places: dict[int, int] = {}  # index of the packet of each shown picture, by its PTS
        self._starts: list[int] = []  # indices of the shown pictures where decoding may start
        places, starts = self._places, self._starts
        for place, (pts, flags) in enumerate(zip(all_pts, all_flags, strict=True)):
            if flags & HIDDEN:
                continue
            if pts in places:
                raise NotPlannable("two frames have the same time")
            places[pts] = place
            if flags & RANDOM_ACCESS:
                starts.append(place)
        if not places:
            raise NotPlannable("no picture of the file is shown")
        if not all_flags[0] & RANDOM_ACCESS:
            raise NotPlannable("the file does not start with a picture that stands alone")
        self._shown = sorted(places)  # PTS
        if places.get(all_pts[0]) == 0 and self._shown[0] < all_pts[0]:
            raise NotPlannable("pictures are shown before the one that stands alone")

    def find_clock(self) -> Clock:
        """Return the file's clock."""
        return self._clock

    @property
    def first_packet(self) -> bytes:
        """Bytes of the file's first packet."""
        return bytes(self._packet_at(0))

    def run(self, cutoffs: Sequence[int], deliver: Deliver) -> LastFrame | None:
        """Decode, for each cutoff, the last frame that starts no later; see `Planner.run`."""
        shown = self._shown
        indices: dict[int, list[int]] = {}  # of the cutoffs, by the PTS of the frame they want
        for index, cutoff in enumerate(cutoffs):
            indices.setdefault(shown[bisect_right(shown, cutoff) - 1], []).append(index)
        targets = sorted(self._places[pts] for pts in indices)

        def take(pts: int, frame: av.VideoFrame) -> None:
            for index in indices.pop(pts):
                deliver(index, frame)

        decoder = CheckedDecoder(self._budget, self._stream, indices)
        with damage_not_plannable(self._budget):
            position = 0
            for target, start in zip(targets, self._find_starts(targets), strict=True):
                if start > position:
                    decoder.drain(take)
                    position = start
                    decoder.begin(self._pts[start])
                decoder.decode(self._choose(position, target), take)
                position = target + 1
                self._budget.check_time()
            decoder.drain(take)
        if indices:
            raise NotPlannable("the decoder did not return every wanted frame")
        if cutoffs[-1] < shown[-1]:
            return None
        # Hidden packets count too: where only keyframes are wanted, all others are flagged as hidden.
        newest = max(range(len(self._pts)), key=self._pts.__getitem__)
        return LastFrame(self._pts[newest], self._packet_at(newest).duration or 0)

    def _packet_at(self, place: int) -> VideoPacket:
        """Return a packet, with its PTS, given its index in the file."""
        raise NotImplementedError

    def _find_starts(self, targets: Sequence[int]) -> list[int]:
        """Return where decoding starts for each of ascending targets, all as indices of packets.

        A picture that is shown before a random-access picture, but follows it in the file, needs an
        earlier start. So does the random-access picture then, if it is wanted as well:

            file    I0  P3  B1  B2  I6  B4  B5
            wanted                  ^   ^           I6 alone may start at itself, B4 must start at I0
        """
        starts = [self._find_start(target) for target in targets]
        for number in range(len(targets) - 2, -1, -1):
            if starts[number + 1] <= targets[number]:
                starts[number] = min(starts[number], starts[number + 1])
        return starts

    def _find_start(self, target: int) -> int:
        """Return the index of the last packet where decoding may start for the one at `target`."""
        for number in range(bisect_right(self._starts, target) - 1, -1, -1):
            place = self._starts[number]
            if self._pts[place] <= self._pts[target]:
                return place
        return 0

    def _choose(self, start: int, target: int) -> list[VideoPacket]:
        """Return the packets to decode from `start` to `target`, where only the last one is wanted."""
        flags, packet_at = self._flags, self._packet_at
        chosen = [packet_at(place) for place in range(start, target) if not flags[place] & DISPOSABLE]
        chosen.append(packet_at(target))
        return chosen


class ShortFilePlanner(WholeFilePlanner):
    """Decode the wanted frames of an open file whose packets hold presentation times."""

    _clock: PtsClock

    def __init__(
        self,
        budget: Budget,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        inspector: PacketInspector,
    ) -> None:
        """Read the packets.

        Args:
            budget: what the file may cost.
            container: the open file.
            stream: its video stream.
            inspector: of the stream's packets.

        Raises:
            NotPlannable: decode the file from end to end instead.
        """
        packets: list[VideoPacket] = []
        all_pts: list[int] = []
        all_flags: list[int] = []
        inspect = inspector.inspect
        with damage_not_plannable(budget):
            for packet in packets_of(container, stream):
                if packet.size == 0:
                    break
                flags = inspect(packet)
                all_pts.append(checked_pts(packet, flags))
                packets.append(packet)
                # An edit list may cut a picture that others still need.
                all_flags.append(flags | HIDDEN if packet.is_discard else flags)
        budget.check_time()
        self._packets = packets
        super().__init__(budget, stream, all_pts, all_flags)
        self._clock = PtsClock(stream, self._shown[0])

    @property
    def last_times(self) -> Times:
        """Starts of the last two pictures on the file's own clock."""
        return [self._clock.file_seconds_at(pts) for pts in self._shown[-2:]]

    def _packet_at(self, place: int) -> VideoPacket:
        return self._packets[place]
