"""Decode only what the wanted frames need of MPEG-4 with B-frames in AVI, which has no presentation times.

What a decoder would show, when, is worked out from the kinds of the pictures alone. Some encoders
pack two pictures into a packet, and put one that is empty where AVI wants another packet; the second
picture is decoded when the next packet comes, and has that one's time (as DivX 5 does, and FFmpeg):

    packets    I     P+B   B     -     P+B   B     -
    decoded    I     P     B     B     P     B     B
    shown            I     B     B     P     B     B    ... P

Sources: ISO 14496-2 6.2.3 and 6.2.5. A file that does not keep to this is decoded from end to end.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple, cast

import av
import av.container

from vidcli.sampling import Seconds
from vidcli.video.codecs.bits import Bits, Unreadable
from vidcli.video.codecs.packet_flags import VideoPacket
from vidcli.video.exact.feed import Deliver, Feed, NotPlannable, damage_unplannable, plannable_time
from vidcli.video.exact.short_file import join_starts
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import packets_of
from vidcli.video.open.duration import tolerance_of

_I, _P, _B = 0, 1, 2
_MOST_TICKS = 2**16  # FFmpeg counts so far between two pictures
_LEAST_BYTES = 8  # what is shorter is not kept for the next packet
_VOP, _LAYER, _GROUP = b"\0\0\1\xb6", b"\0\0\1\x20", b"\0\0\1\xb3"
_ENCODER = re.compile(rb"\x00\x00\x01\xb2DivX\d+(?:Build|b)\d+(p?)")  # p: it packs pictures


def can_reorder(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Tell whether an open file is of the kind that this module is made for."""
    codec = stream.codec_context
    return (
        container.format.name == "avi"
        and codec.codec.canonical_name == "mpeg4"
        and codec.reorder_depth > 0
        and bool(stream.time_base)
    )


class _Picture(NamedTuple):
    """A coded picture: its kind, its packet or a part of one, its time, and whether all may start here."""

    kind: int
    coded: VideoPacket | bytes
    pts: int
    is_entry: bool


class Reordered:
    """Decode the frames that are shown at given moments, in one open file, of which all is read first.

    Attributes:
        origin_seconds: time of the first frame on the file's own clock.
        seconds: start of every frame from the first one's, ascending.
        tolerance: how many seconds later than a moment its frame may start.
    """

    def __init__(
        self, budget: Budget, container: av.container.InputContainer, stream: av.VideoStream, period: float
    ) -> None:
        self._budget = budget
        self._stream = stream
        try:
            with damage_unplannable(budget):
                self._pictures = list(_read_pictures(container, stream))
        except Unreadable as error:
            raise NotPlannable("a header ends too early") from error
        budget.check_time()
        self._shown = _order_of_showing(self._pictures)
        base = stream.time_base or Fraction(0)
        self.tolerance = tolerance_of(stream)
        self.origin_seconds = float(self._pictures[self._shown[0]].pts * base)
        self.seconds = [0.0]
        for place in self._shown[1:]:
            # As `sequential` does, to the last bit.
            seconds = self._pictures[place].pts * base.numerator / base.denominator - self.origin_seconds
            previous = self.seconds[-1]
            self.seconds.append(seconds if seconds > previous else previous + period)

    def find_frames(self, moments: Seconds) -> list[int]:
        """Return the number of the frame that is shown at each moment."""
        ends = [seconds - self.tolerance for seconds in self.seconds[1:]]
        return [bisect_right(ends, moment) for moment in moments.tolist()]

    def run(self, numbers: Sequence[int], deliver: Deliver) -> None:
        """Decode frames, given their ascending and different numbers, as `PlannedDecoder.run` does.

        Raises:
            NotPlannable: decode the file from end to end instead.
            VideoError: a limit of the budget is exceeded.
        """
        pictures = self._pictures
        number_of_place = {place: number for number, place in enumerate(self._shown)}
        unseen = {number: index for index, number in enumerate(numbers)}

        def take(number: int, frame: av.VideoFrame) -> None:
            deliver(unseen.pop(number), frame)

        feed = Feed(self._budget, self._stream, unseen)
        position = 0
        targets = sorted(self._shown[number] for number in numbers)
        with damage_unplannable(self._budget):
            for target, start in zip(targets, join_starts(targets, self._find_start), strict=True):
                if start > position:
                    feed.drain(take)
                    position = start
                    feed.begin(number_of_place[start])
                between = (place for place in range(position, target) if pictures[place].kind != _B)
                chosen = (
                    _make_packet(pictures[place].coded, number_of_place[place])
                    for place in (*between, target)
                )
                feed.decode(chosen, take)
                position = target + 1
                self._budget.check_time()
            feed.drain(take)
        if unseen:
            raise NotPlannable("the decoder did not return every wanted frame")

    def _find_start(self, target: int) -> int:
        """Return the place of the last picture where decoding may start for the one at `target`."""
        has_reference = self._pictures[target].kind != _B  # a B-frame lies between two others
        for place in range(target, -1, -1):
            picture = self._pictures[place]
            if picture.is_entry and has_reference:
                return place
            has_reference = has_reference or (place < target and picture.kind != _B)
        return 0


def _read_pictures(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[_Picture]:
    """Yield what is decoded, in this order."""
    header = stream.codec_context.extradata or b""
    layer = _Layer(header)
    times = _Times(layer.ticks_a_second)
    is_packed = _packs(header, False)
    kept: bytes | None = None  # a B-frame that waits for the next packet
    for packet in packets_of(container, stream):
        if packet.size == 0:
            break
        pts, data, is_key = plannable_time(packet, 0), bytes(packet), packet.is_keyframe
        if packet.is_discard:
            raise NotPlannable("a packet is to be decoded and not shown")
        layer.check(data)
        first = data.find(_VOP)
        second = data.find(_VOP, first + 4)
        if first < 0 or (second >= 0 and data.find(_VOP, second + 4) >= 0):
            raise NotPlannable("a packet holds no picture, or more than two")
        if kept is not None:
            times.note(_B, *layer.read_time(kept, 0))
            yield _Picture(_B, kept, pts, False)
            kept = None
            if first != 0 or second >= 0:
                raise NotPlannable("a packet that closes another one is not a picture alone")
            kind = data[4] >> 6
            if kind == _B and len(data) > _LEAST_BYTES:
                kept = data
            elif kind != _P or layer.read_time(data, 0)[2]:
                raise NotPlannable("a picture would be lost")
            continue
        is_packed = _packs(data[:first], is_packed)
        times.note_group(data[:first])
        kind = data[first + 4] >> 6
        times.note(kind, *layer.read_time(data, first))
        if second < 0:
            yield _Picture(kind, packet, pts, kind == _I and is_key)
            continue
        kept = data[second:]
        if not is_packed or len(kept) <= _LEAST_BYTES or kept[4] >> 6 != _B:
            raise NotPlannable("two pictures are packed in an unknown way")
        yield _Picture(kind, data[:second], pts, kind == _I and is_key)
    # One that is still kept at the end of the file is never shown.


def _packs(header: bytes, is_packed: bool) -> bool:
    """Return whether pictures are packed from here on, given whether they were until here."""
    found = _ENCODER.search(header)
    return is_packed if found is None else found[1] == b"p"


def _make_packet(coded: VideoPacket | bytes, number: int) -> VideoPacket:
    """Return a picture as a packet that has the number of its frame for a time."""
    if isinstance(coded, bytes):
        packet = cast(VideoPacket, av.Packet(len(coded)))
        packet.update(coded)
    else:
        packet = coded
    packet.pts = number
    return packet


def _order_of_showing(pictures: Sequence[_Picture]) -> list[int]:
    """Return the places of the pictures as they are shown: B-frames at once, others after those."""
    shown: list[int] = []
    num_references = 0
    waiting: int | None = None
    for place, picture in enumerate(pictures):
        if picture.kind == _B:
            if num_references < 2:
                raise NotPlannable("a B-frame has nothing to refer to")
            shown.append(place)
            continue
        if waiting is not None:
            shown.append(waiting)
        waiting = place
        num_references += 1
    if waiting is None or pictures[0].kind != _I:
        raise NotPlannable("the file does not start with a picture that stands alone")
    return [*shown, waiting]


class _Layer:
    """What the header of a video object layer says; files that need more of it are refused.

    Attributes:
        ticks_a_second: unit of the times of pictures.
    """

    def __init__(self, header: bytes) -> None:
        start = header.find(_LAYER)
        if start < 0:
            raise NotPlannable("the header does not describe the pictures")
        bits = Bits(header[start + 4 : start + 40])
        bits.read(1 + 8)
        if bits.read(1):
            bits.read(4 + 3)
        if bits.read(4) == 15:
            bits.read(8 + 8)
        if not bits.read(1):
            raise NotPlannable("the header does not tell whether there are B-frames")
        bits.read(2)
        if bits.read(1):
            raise NotPlannable("the header says that there are no B-frames")
        if bits.read(1):
            bits.read(79)  # of the buffer
        if bits.read(2) or not bits.read(1):
            raise NotPlannable("pictures are not rectangles")
        self.ticks_a_second = bits.read(16)
        if not self.ticks_a_second:
            raise NotPlannable("the header does not tell the unit of time")
        self._time_bits = max(1, (self.ticks_a_second - 1).bit_length())
        following = header.find(b"\0\0\1", start + 4)
        self._header = header[start : following if following >= 0 else len(header)]

    def check(self, data: bytes) -> None:
        """Refuse a packet that brings another header along."""
        start = data.find(_LAYER)
        if start >= 0 and not data.startswith(self._header, start):
            raise NotPlannable("the description of the pictures changes")

    def read_time(self, data: bytes, start: int) -> tuple[int, int, bool]:
        """Return what the picture with a start code at `start` says of its time and of itself.

        Returns:
            Seconds that passed, ticks since then, and whether it is more than a repetition.
        """
        left = 16 * 8
        value = int.from_bytes(data[start + 4 : start + 20].ljust(16, b"\0"), "big")
        left -= 2  # its kind
        passed = 0
        while value >> (left - 1) & 1:
            left -= 1
            passed += 1
        left -= 2 + self._time_bits
        # A one, the time, a one, and the answer.
        if left < 2 or not value >> (left + self._time_bits) & value >> (left - 1) & 1:
            raise NotPlannable("the header of a picture is not what it should be")
        ticks = value >> left & ((1 << self._time_bits) - 1)
        return passed, ticks, bool(value >> (left - 2) & 1)


class _Times:
    """The times in the headers of the pictures: decoders leave out B-frames that lie nowhere between."""

    def __init__(self, ticks_a_second: int) -> None:
        self._ticks_a_second = ticks_a_second
        self._second = self._second_before = 0
        self._newest = self._distance = 0  # of the last that others refer to, and to the one before it

    def note_group(self, header: bytes) -> None:
        """Read the header of a group of pictures, if there is one, which sets the clock."""
        start = header.find(_GROUP)
        if start >= 0:
            bits = Bits(header[start + 4 : start + 8])
            hours, minutes = bits.read(5), bits.read(6)
            bits.read(1)
            self._second = bits.read(6) + 60 * (minutes + 60 * hours)

    def note(self, kind: int, passed: int, ticks: int, is_coded: bool) -> None:
        """Follow the clock to the next picture; refuse one that a decoder would not show."""
        if not is_coded:
            raise NotPlannable("a picture is not coded")
        if kind != _B:
            self._second_before = self._second
            self._second += passed
            time = self._second * self._ticks_a_second + ticks
            self._distance, self._newest = time - self._newest, time
            return
        to_newest = self._newest - (self._second_before + passed) * self._ticks_a_second - ticks
        if not 0 < to_newest < self._distance < _MOST_TICKS:
            raise NotPlannable("a B-frame does not lie between the two that it refers to")
