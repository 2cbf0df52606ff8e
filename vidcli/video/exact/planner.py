"""What the planners share: their protocol, a file's clock, and a decoder that checks their assumptions.

A planner chooses which packets of an open file are decoded, so that every wanted frame is exactly the
one that decoding from end to end would show. Each serves one kind of file:

    short_file  reads all packets first, then chooses
    long_file   reads just far enough ahead, and seeks
    avi         MPEG-4 with B-frames in AVI, which stores no presentation times

A wanted frame is given by its cutoff: the presentation time (PTS) up to which a frame counts. The wanted
frame is the last one that starts no later than the cutoff.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeAlias

import av

from vidcli.video.codecs.packet import UNSUPPORTED, VideoPacket
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import FOREIGN_ERRORS
from vidcli.video.open.duration import Times, tolerance_of

Deliver: TypeAlias = Callable[[int, av.VideoFrame], None]
"""Takes the index of a cutoff and the frame that is wanted for it."""

TakeFrame: TypeAlias = Callable[[int, av.VideoFrame], None]
"""Takes the PTS of a wanted frame and the frame."""


class NotPlannable(Exception):
    """The file breaks a rule that planning relies on; decode it from end to end instead."""


class IndexUnreliable(NotPlannable):
    """The file's header or index is wrong; planning without them may still succeed."""


class LastFrame(NamedTuple):
    """The last frame of a file: its PTS, and how long it is shown in the stream's time base, 0 if unknown."""

    pts: int
    duration: int


class Clock(Protocol):
    """Convert between the PTS of a planner and seconds from the file's first frame.

    Attributes:
        origin_seconds: start of the first frame on the file's own clock.
        tolerance_seconds: how much later than a wanted moment its frame may start.
    """

    origin_seconds: float
    tolerance_seconds: float

    def seconds_at(self, pts: int) -> float:
        """Return the start of a frame in seconds from the first frame, as a sequential decode gives it."""

    def cutoff_at(self, moment: float) -> int:
        """Return the cutoff of the frame that is shown at `moment`, in seconds from the first frame."""


class Planner(Protocol):
    """Decode the wanted frames of one open file, and few others."""

    def find_clock(self) -> Clock:
        """Return the file's clock; call it first."""

    @property
    def first_packet(self) -> bytes:
        """Bytes of the file's first packet; known until `run` is called."""

    @property
    def last_times(self) -> Times | None:
        """Starts of the last two pictures on the file's own clock; None if not all packets were read."""

    def run(self, cutoffs: Sequence[int], deliver: Deliver) -> LastFrame | None:
        """Decode, for each cutoff, the last frame that starts no later.

        Args:
            cutoffs: PTS in ascending order, all different, none before the first frame.
            deliver: called once for each cutoff.

        Returns:
            The file's last frame if the last cutoff reaches it, else None.

        Raises:
            NotPlannable: decode the file from end to end instead.
            VideoError: the request exceeds its budget.
        """


class PtsClock:
    """The clock of a file whose packets hold the presentation times of their frames."""

    def __init__(self, stream: av.VideoStream, origin: int) -> None:
        """Read the stream's time base.

        Args:
            stream: video stream of an open file.
            origin: PTS of its first frame.
        """
        assert stream.time_base is not None
        self._numerator = stream.time_base.numerator
        self._denominator = stream.time_base.denominator
        self._origin = origin
        self.origin_seconds = self.file_seconds_at(origin)
        self.tolerance_seconds = tolerance_of(stream)

    def file_seconds_at(self, pts: int) -> float:
        """Return a PTS in seconds on the file's own clock."""
        return pts * self._numerator / self._denominator

    def seconds_at(self, pts: int) -> float:
        """Return a PTS in seconds from the first frame, to the last bit as a sequential decode does."""
        return pts * self._numerator / self._denominator - self.origin_seconds

    def cutoff_at(self, moment: float) -> int:
        """Return the latest PTS of a frame that is shown at `moment`, in seconds from the first frame."""
        seconds = moment + self.tolerance_seconds + self.origin_seconds
        cutoff = math.floor(seconds * self._denominator / self._numerator)
        # Round as a sequential decode does, which compares one frame after another in seconds.
        while self.seconds_at(cutoff + 1) - self.tolerance_seconds <= moment:
            cutoff += 1
        while self.seconds_at(cutoff) - self.tolerance_seconds > moment:
            cutoff -= 1
        return max(cutoff, self._origin)


def checked_pts(packet: VideoPacket, flags: int) -> int:
    """Return the presentation time of a packet, given the flags of its inspection.

    Raises:
        NotPlannable: the packet has none, is damaged, or cannot be inspected.
    """
    pts = packet.pts
    if pts is None or packet.is_corrupt:
        raise NotPlannable("a packet has no presentation time or is marked as damaged")
    if flags & UNSUPPORTED:
        raise NotPlannable("a packet cannot be inspected")
    return pts


@contextmanager
def damage_not_plannable(budget: Budget) -> Iterator[None]:
    """Raise errors of FFmpeg as `NotPlannable`, so that the sequential decoder judges a damaged file."""
    try:
        yield
    except FOREIGN_ERRORS as error:
        budget.check_time()
        raise NotPlannable("the file is damaged") from error


class CheckedDecoder:
    """Decode packets of one open file, and check that frames come out as the planner expects."""

    def __init__(self, budget: Budget, stream: av.VideoStream, wanted: Collection[int]) -> None:
        """Start with an empty decoder at the file's first packet.

        Args:
            budget: what the file may cost.
            stream: whose packets are decoded.
            wanted: PTS of the wanted frames; may change between calls.
        """
        self._budget = budget
        self._codec = stream.codec_context
        self._wanted = wanted
        self._counts_frames = budget.limits.frames is not None
        self.start: int | None = None
        """PTS of the picture where decoding started; None is the file's first picture."""
        self._last_shown: float = -math.inf  # PTS of the last frame that came, or just before the start
        self._is_empty = True  # the decoder holds no frame

    def begin(self, start: int | None) -> None:
        """Continue at a packet where decoding may start, given its PTS; None is the file's first."""
        self.start = start
        self._last_shown = -math.inf if start is None else start - 1

    def decode(self, packets: Iterable[VideoPacket], take: TakeFrame) -> None:
        """Decode packets, and give each wanted frame that comes out to `take`.

        Raises:
            NotPlannable: a frame has no PTS, or the frames are not in the order of their PTS.
        """
        decode = self._codec.decode
        for packet in packets:
            self._is_empty = False
            try:
                frames = decode(packet)
            except av.error.InvalidDataError:
                # Pictures that are shown before the start may refer to pictures that were not decoded.
                if self.start is None or packet.pts is None or packet.pts >= self.start:
                    raise
                continue
            if frames:
                self._pass_on(frames, take)

    def drain(self, take: TakeFrame) -> None:
        """Take the frames that the decoder still holds, and reset it."""
        if not self._is_empty:
            self._pass_on(self._codec.decode(None), take)
            self._codec.flush_buffers()
            self._is_empty = True

    def _pass_on(self, frames: list[av.VideoFrame], take: TakeFrame) -> None:
        if self._counts_frames:
            self._budget.spend_frames(len(frames))
        for frame in frames:
            pts = frame.pts
            if pts is None:
                raise NotPlannable("a frame has no presentation time")
            if pts <= self._last_shown:
                if self.start is not None and pts < self.start:
                    continue
                raise NotPlannable("frames do not come in the order of their times")
            self._last_shown = pts
            if pts in self._wanted:
                take(pts, frame)
