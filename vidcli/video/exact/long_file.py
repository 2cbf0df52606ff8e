"""Decode only what the wanted frames need: jump, leave out, stop.

    file      I b b P b b P b b P b b I b b P b b P b b P b b I b b P ...
    wanted            ^                         ^
    decoded   I . . P b                         I . . P b . .

The lookahead tells which packets hold the wanted frames. From there on a packet is left out when
nothing refers to it and it is not wanted itself; everything before a picture at which decoding
may start is left out when nothing before it is wanted any more; and where the container has an
index that knows such a picture far ahead, the reading jumps there.

Every assumption is checked on the way (timestamps are there and unique, a jump lands where
decoding may start and not after the wanted frame, every wanted frame comes out of the decoder
with its timestamp). Where one fails `NotPlannable` is raised, and the caller decodes the file
from end to end instead: slower, but right.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import av
import av.container

from vidcli.video.codecs.packet_flags import DISPOSABLE, ENTRY
from vidcli.video.codecs.packet_inspector import Marks
from vidcli.video.exact.feed import Deliver, Feed, NotPlannable, damage_unplannable
from vidcli.video.exact.lookahead import Distrusted, Item, Lookahead
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import packets_of

_MAX_STEPS_BACK = 3


def can_plan(container: av.container.InputContainer, stream: av.VideoStream, marks: Marks) -> bool:
    """Tell whether the timestamps of an open file's packets are those of their frames."""
    # AVI has no presentation times: with B-frames they are guesses.
    has_guesses = container.format.name == "avi" and marks.reorder > 0
    return bool(stream.time_base) and not (has_guesses and stream.codec_context.reorder_depth > 0)


class PlannedDecoder:
    """Decode the frames that are shown at given presentation times, in one open file.

    Args:
        seekable: jump where the container's index knows a keyframe ahead; otherwise everything
            is read, though not decoded.
    """

    def __init__(
        self,
        budget: Budget,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        marks: Marks,
        seekable: bool = True,
    ) -> None:
        self._budget = budget
        self._container = container
        self._stream = stream
        name = container.format.name
        # MP4 lists the decode times of every frame; Matroska the presentation times of keyframes,
        # which it reads with the first jump. After a jump in AVI, times are rounded otherwise.
        self._indexes_all = name.startswith("mov,mp4")
        self._indexes_cues = name.startswith("matroska")
        self._seekable = seekable and (self._indexes_all or self._indexes_cues)
        self._ahead = Lookahead(
            budget,
            packets_of(container, stream),
            marks,
            has_decode_times=name.startswith(("mov,mp4", "flv")),
        )
        self._feed = Feed(budget, stream, self._ahead.limits_of)
        self._deliver: Deliver
        self._held: tuple[int, av.VideoFrame] | None = None
        self._num_considered = 0  # limits for which the index was asked
        self._decode_on = False  # the index knows of no start ahead

    def run(self, limits: Sequence[int], deliver: Deliver) -> int | None:
        """Decode, for each limit, the last frame that starts no later.

        Args:
            limits: presentation times in the stream's time base, ascending, each different and
                none before the first frame.
            deliver: called once for each limit, in ascending order.

        Returns:
            The presentation time of the file's last frame if a limit lies beyond it, else None.

        Raises:
            NotPlannable: decode the file from end to end instead.
            VideoError: a limit of the budget is exceeded.
        """
        ahead = self._ahead
        self._deliver = deliver
        with damage_unplannable(self._budget):
            ahead.begin(limits)
            while ahead.unfed or not ahead.is_complete:
                if ahead.unfed:
                    self._decode_wanted()
                else:
                    self._approach()
            self._feed.drain(self._hold)
        if ahead.limits_of:
            raise NotPlannable("the decoder did not return every wanted frame")
        return ahead.last_pts

    @property
    def first_packet(self) -> bytes:
        """The bytes of the first packet; known once the origin is, until anything is decoded."""
        return bytes(self._ahead.waiting[0].packet)

    @property
    def last_duration(self) -> int:
        """How long the file's last picture is shown, in the stream's unit of time; 0 if nothing tells."""
        return self._ahead.newest_duration

    def find_origin(self) -> int:
        """Return the presentation time of the file's first frame, without decoding it."""
        with damage_unplannable(self._budget):
            return self._ahead.find_origin()

    def group(self, limits: Sequence[int], max_groups: int) -> list[range]:
        """Cut the limits where decoding may start, into contiguous parts of like size.

        One part means that the file cannot be cut there. The reading position is lost.
        """
        if not self._seekable:
            return [range(len(limits))]
        if self._indexes_cues:
            with damage_unplannable(self._budget):
                self._container.seek(limits[-1], stream=self._stream)
        delay = self._ahead.delay if self._indexes_all else 0
        entries = self._stream.index_entries
        starts = [entries.search_timestamp(limit - delay, backward=True) for limit in limits]
        cuts = [n for n in range(1, len(limits)) if starts[n] != starts[n - 1]]
        step = max(1, math.ceil((len(cuts) + 1) / max_groups))
        edges = [0, *cuts[step - 1 :: step], len(limits)]
        return [range(first, stop) for first, stop in itertools.pairwise(edges) if stop > first]

    def _approach(self) -> None:
        """Read, jump, leave out or decode on the way to a frame that is not certain yet."""
        ahead = self._ahead
        if self._num_considered <= ahead.num_certain:
            self._num_considered = ahead.num_certain + 1
            self._consider_jump()
            if ahead.unfed:
                return
        start = ahead.find_start()
        if start is not None and (start.pts != self._feed.start or ahead.waiting[0] is not start):
            self._restart()
            self._begin_at(start)
        if ahead.waiting and not ahead.must_wait(ahead.waiting[0], self._decode_on):
            item = ahead.pop()
            if not item.flags & DISPOSABLE:
                self._feed.decode([item.packet], self._hold)
            return
        self._feed.decode(ahead.pass_by(self._decode_on), self._hold)
        ahead.read()
        self._deliver_held()

    def _decode_wanted(self) -> None:
        """Leave out or decode what waits, up to the last frame that is certain to be wanted."""
        ahead = self._ahead
        while ahead.unfed:
            taken = ahead.take_certain()
            if taken:
                self._feed.decode(taken, self._hold)
            elif ahead.read():
                self._deliver_held()
            elif not ahead.waiting:
                raise NotPlannable("a wanted frame has no packet")

    def _consider_jump(self) -> None:
        """Ask the index for a start between what was read and the next wanted frame; go there."""
        self._decode_on = False
        ahead = self._ahead
        if not self._seekable:
            return
        limit = ahead.next_limit
        entries = self._stream.index_entries
        newest = ahead.newest_pts
        if newest is None or (self._indexes_cues and self._num_considered == 1 and limit > newest):
            is_ahead = True
        else:
            delay = ahead.delay if self._indexes_all else 0
            here = entries.search_timestamp(newest - delay, backward=True)
            is_ahead = entries.search_timestamp(limit - delay, backward=True) > here
            self._decode_on = (
                not is_ahead
                and self._indexes_all
                and len(entries) > 0
                and entries[len(entries) - 1].timestamp >= limit - delay
            )
        if is_ahead:
            self._jump(limit)

    def _jump(self, limit: int) -> None:
        # Sought is the presentation time, although the index of MP4 holds decode times: mostly
        # the demuxer allows for that, and the time of a keyframe's decoding would land a whole
        # group of pictures too early. Where it does not (open groups, fragments), step back.
        self._restart()
        target = limit
        for _ in range(_MAX_STEPS_BACK + 1):
            self._container.seek(target, stream=self._stream)
            self._ahead.restart()
            if not self._ahead.read():
                break
            landed = self._ahead.waiting[0]
            if landed.flags & ENTRY and landed.pts <= limit:
                self._begin_at(landed)
                return
            dts = landed.packet.dts
            target = (dts if self._indexes_all and dts is not None else landed.pts) - 1
        raise Distrusted("the index points to where decoding cannot start")

    def _restart(self) -> None:
        """Take out what the decoder still holds, and make it forget the rest."""
        self._feed.drain(self._hold)
        if self._ahead.limits_of.keys() - self._ahead.unfed:
            raise NotPlannable("the decoder did not return a wanted frame")
        self._feed.begin(None)

    def _begin_at(self, start: Item) -> None:
        self._ahead.start_at(start)
        self._feed.begin(start.pts)

    def _hold(self, pts: int, frame: av.VideoFrame) -> None:
        self._held = (pts, frame)
        self._deliver_held()

    def _deliver_held(self) -> None:
        """Deliver the last wanted frame to the limits that it serves."""
        if self._held is not None:
            pts, frame = self._held
            for number in self._ahead.limits_of.pop(pts, ()):
                self._deliver(number, frame)
            if not self._ahead.may_want_again(pts):
                self._held = None  # so that the decoder can use its memory again
