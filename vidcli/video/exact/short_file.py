"""Decode only what the wanted frames need of a short file: read all its packets, then choose.

    file      I b b P b b P b b I b b P b b P
    wanted            ^               ^
    decoded   I . . P b         I . . P b

With every packet at hand it is plain which hold the wanted frames, where decoding starts for each
and what nothing refers to: there is nothing to look ahead for, and no place to jump to that reading
on would not reach as soon. For long files see `planned`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import av
import av.container

from vidcli.video.codecs.packet_flags import DISPOSABLE, ENTRY, HIDDEN, VideoPacket
from vidcli.video.codecs.packet_inspector import Marks
from vidcli.video.exact.feed import Deliver, Feed, NotPlannable, damage_unplannable, plannable_time
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import packets_of

_MAX_BYTES = 16 * 2**20
_MAX_PACKETS = 320
_USUAL_RATE = 30


def is_short(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Tell whether reading a whole file costs little beside decoding a clip of it."""
    if not 0 < container.size <= _MAX_BYTES:
        return False
    # Matroska does not tell the number of its frames.
    count = stream.frames or (container.duration or 0) / av.time_base * (stream.average_rate or _USUAL_RATE)
    return 0 < count <= _MAX_PACKETS


def join_starts(targets: Sequence[int], find_start: Callable[[int], int]) -> list[int]:
    """Return where decoding starts for each of ascending targets.

    What is shown before a picture at which decoding may start, but comes after it in the file, needs
    an earlier start; so does the picture then, if it is wanted as well.

        file    I0  P3  B1  B2  I6  B4  B5
        wanted                  ^   ^           I6 alone may start at itself, B4 must start at I0
    """
    starts = [find_start(target) for target in targets]
    for number in range(len(targets) - 2, -1, -1):
        if starts[number + 1] <= targets[number]:
            starts[number] = min(starts[number], starts[number + 1])
    return starts


class Survey:
    """Decode the frames that are shown at given presentation times, in one open file.

    Attributes:
        last_times: presentation times of the last two pictures.
        last_duration: how long the last is shown, in the stream's unit of time; 0 where nothing tells.
        first_packet: the bytes of the first.
    """

    last_times: list[int]
    last_duration: int
    first_packet: bytes

    def __init__(
        self,
        budget: Budget,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        marks: Marks,
    ) -> None:
        self._budget = budget
        self._stream = stream
        self._packets: list[VideoPacket] = []
        self._flags: list[int] = []
        self._places: dict[int, int] = {}  # of shown pictures, by their presentation time
        self._entries: list[int] = []  # places of pictures where decoding may start
        with damage_unplannable(budget):
            self._read(container, marks)

    def _read(self, container: av.container.InputContainer, marks: Marks) -> None:
        inspect = marks.inspect
        packets, all_flags, places, entries = self._packets, self._flags, self._places, self._entries
        times: list[int] = []
        for place, packet in enumerate(packets_of(container, self._stream)):
            if packet.size == 0:
                break
            flags = inspect(packet)
            pts = plannable_time(packet, flags)
            packets.append(packet)
            all_flags.append(flags)
            times.append(pts)
            if flags & HIDDEN or packet.is_discard:
                continue
            if pts in places:
                raise NotPlannable("two frames have the same time")
            places[pts] = place
            if flags & ENTRY:
                entries.append(place)
        self._budget.check_time()
        if not places:
            raise NotPlannable("no picture of the file is shown")
        if not all_flags[0] & ENTRY:
            raise NotPlannable("the file does not start with a picture that stands alone")
        self._shown = sorted(places)
        self._newest = max(times)
        self.last_times = self._shown[-2:]
        self.last_duration = packets[times.index(self._newest)].duration or 0
        self.first_packet = bytes(packets[0])
        if places.get(times[0]) == 0 and self._shown[0] < times[0]:
            raise NotPlannable("pictures are shown before the one that stands alone")

    def find_origin(self) -> int:
        """Return the presentation time of the file's first frame."""
        return self._shown[0]

    def run(self, limits: Sequence[int], deliver: Deliver) -> int | None:
        """Decode, for each limit, the last frame that starts no later; as `PlannedDecoder.run` does."""
        shown = self._shown
        numbers: dict[int, list[int]] = {}  # of the limits, by the time of the frame that they want
        for number, limit in enumerate(limits):
            numbers.setdefault(shown[bisect_right(shown, limit) - 1], []).append(number)
        targets = sorted(self._places[pts] for pts in numbers)

        def take(pts: int, frame: av.VideoFrame) -> None:
            for number in numbers.pop(pts):
                deliver(number, frame)

        feed = Feed(self._budget, self._stream, numbers)
        with damage_unplannable(self._budget):
            position = 0
            for target, start in zip(targets, join_starts(targets, self._find_start), strict=True):
                if start > position:
                    feed.drain(take)
                    position = start
                    feed.begin(self._packets[start].pts)
                feed.decode(self._choose(position, target), take)
                position = target + 1
                self._budget.check_time()
            feed.drain(take)
        if numbers:
            raise NotPlannable("the decoder did not return every wanted frame")
        return self._newest if limits[-1] >= shown[-1] else None

    def _find_start(self, target: int) -> int:
        """Return the place of the last picture where decoding may start for the one at `target`."""
        pts = self._packets[target].pts
        assert pts is not None
        for number in range(bisect_right(self._entries, target) - 1, -1, -1):
            place = self._entries[number]
            entry_pts = self._packets[place].pts
            if entry_pts is not None and entry_pts <= pts:
                return place
        return 0

    def _choose(self, start: int, target: int) -> list[VideoPacket]:
        """Return what is decoded from `start` up to and with `target`, of which nothing between is wanted."""
        packets, flags = self._packets, self._flags
        chosen = [packets[place] for place in range(start, target) if not flags[place] & DISPOSABLE]
        chosen.append(packets[target])
        return chosen
