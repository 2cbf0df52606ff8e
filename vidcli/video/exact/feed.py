"""Packets into a decoder, wanted frames out of it, with every assumption checked on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import av

from vidcli.video.codecs.packet_flags import FOREIGN, VideoPacket
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import FOREIGN_ERRORS

Deliver: TypeAlias = Callable[[int, av.VideoFrame], None]
"""Takes the number of a limit and the frame that is shown then."""

Take: TypeAlias = Callable[[int, av.VideoFrame], None]
"""Takes the presentation time of a wanted frame and the frame."""


class NotPlannable(Exception):
    """The file does not keep to what planning relies on; decode it from end to end."""


def plannable_time(packet: VideoPacket, flags: int) -> int:
    """Return the presentation time of a packet, given what its marks say.

    Raises:
        NotPlannable: it has none, is damaged, or is not what marks are made for.
    """
    pts = packet.pts
    if pts is None or packet.is_corrupt:
        raise NotPlannable("a packet has no presentation time or is marked as damaged")
    if flags & FOREIGN:
        raise NotPlannable("a packet is not what marks are made for")
    return pts


@contextmanager
def damage_unplannable(budget: Budget) -> Iterator[None]:
    """Leave the verdict on a damaged file to the sequential decoder."""
    try:
        yield
    except FOREIGN_ERRORS as error:
        budget.check_time()
        raise NotPlannable("the file is damaged") from error


class Feed:
    """The decoder of one open file.

    Args:
        budget: what the file may cost.
        stream: whose packets are fed.
        wanted: presentation times of the frames that are looked for; may change between calls.
    """

    def __init__(self, budget: Budget, stream: av.VideoStream, wanted: Collection[int]) -> None:
        self._budget = budget
        self._codec = stream.codec_context
        self._wanted = wanted
        self._counts_frames = budget.limits.frames is not None
        self.start: int | None = None
        """Presentation time of the picture where decoding started; None is the file's first."""
        self._last_shown: float = -math.inf  # time of the last frame that came, or before the start
        self._is_fresh = True  # the decoder holds nothing

    def begin(self, start: int | None) -> None:
        """Go on with a packet that holds a picture where decoding may start."""
        self.start = start
        self._last_shown = -math.inf if start is None else start - 1

    def decode(self, packets: Iterable[VideoPacket], take: Take) -> None:
        """Decode packets, and give the wanted frames that come to `take`.

        Raises:
            NotPlannable: frames come without a time or not in its order.
        """
        decode = self._codec.decode
        for packet in packets:
            self._is_fresh = False
            try:
                frames = decode(packet)
            except av.error.InvalidDataError:
                # What is shown before the start refers to pictures that were not decoded.
                if self.start is None or packet.pts is None or packet.pts >= self.start:
                    raise
                continue
            if frames:
                self._pass_on(frames, take)

    def drain(self, take: Take) -> None:
        """Take out what the decoder still holds, and make it forget the rest."""
        if not self._is_fresh:
            self._pass_on(self._codec.decode(None), take)
            self._codec.flush_buffers()
            self._is_fresh = True

    def _pass_on(self, frames: list[av.VideoFrame], take: Take) -> None:
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
