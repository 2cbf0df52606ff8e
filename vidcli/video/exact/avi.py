"""The planner of short AVI files of MPEG-4 with B-frames, for AVI stores no presentation times.

Which picture a decoder shows when is derived from the types of the pictures (I, P or B) alone. Some
encoders pack two pictures into one packet, and write a placeholder where AVI needs another packet. The
second picture is decoded with the next packet, and has that packet's time (DivX 5 and FFmpeg do so):

    packets    I     P+B   B     -     P+B   B     -
    decoded    I     P     B     B     P     B     B
    shown            I     B     B     P     B     B    ... P

Sources: ISO 14496-2 6.2.3 and 6.2.5. A file that breaks these rules is decoded from end to end.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple, cast

import av
import av.container

from vidcli.video.codecs.packet import DISPOSABLE, RANDOM_ACCESS, Bits, Unreadable, VideoPacket
from vidcli.video.exact.planner import Deliver, LastFrame, NotPlannable, checked_pts, damage_not_plannable
from vidcli.video.exact.short_file import WholeFilePlanner
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import packets_of
from vidcli.video.open.duration import find_rate, next_start, period_of, tolerance_of

_I, _P, _B = 0, 1, 2
_MOST_TICKS = 2**16  # FFmpeg counts no further between two reference pictures
_LEAST_BYTES = 8  # decoders do not keep a shorter packed picture for the next packet
_VOP, _LAYER, _GROUP = b"\0\0\1\xb6", b"\0\0\1\x20", b"\0\0\1\xb3"
_ENCODER = re.compile(rb"\x00\x00\x01\xb2DivX\d+(?:Build|b)\d+(p?)")  # p: packs pictures


def can_derive_times(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Tell whether an open file is of the kind that this module plans."""
    codec = stream.codec_context
    return (
        container.format.name == "avi"
        and codec.codec.canonical_name == "mpeg4"
        and codec.reorder_depth > 0
        and bool(stream.time_base)
    )


class _Picture(NamedTuple):
    """A coded picture.

    Attributes:
        kind: I, P or B.
        coded: its packet, or its part of one.
        pts: time of its packet, which is not when it is shown.
        is_start: decoding may start here.
    """

    kind: int
    coded: VideoPacket | bytes
    pts: int
    is_start: bool


class FrameNumberClock:
    """The clock of a file whose frames are numbered in the order they are shown; a PTS is such a number.

    Attributes:
        seconds: start of every frame from the first one, ascending.
    """

    def __init__(self, stream: av.VideoStream, times: Sequence[int]) -> None:
        """Convert the times of the frames to seconds.

        Args:
            stream: video stream of an open file.
            times: when each frame is shown, in the stream's time base, in the order of showing.
        """
        base = stream.time_base or Fraction(0)
        period = period_of(find_rate(stream))
        self.tolerance_seconds = tolerance_of(stream)
        numerator, denominator = base.numerator, base.denominator
        self.origin_seconds = origin = float(times[0] * base)
        previous = 0.0
        self.seconds = [previous]
        for pts in times[1:]:
            # To the last bit what `sequential` computes.
            previous = next_start(pts * numerator / denominator - origin, previous, period)
            self.seconds.append(previous)
        self._ends = [seconds - self.tolerance_seconds for seconds in self.seconds[1:]]

    def seconds_at(self, pts: int) -> float:
        """Return the start of a frame in seconds from the first frame, given its number."""
        return self.seconds[pts]

    def cutoff_at(self, moment: float) -> int:
        """Return the number of the frame that is shown at `moment`, in seconds from the first frame."""
        return bisect_right(self._ends, moment)


class AviPlanner(WholeFilePlanner):
    """Decode the wanted frames of an open file whose presentation times must be derived.

    `last_times` is None, since the index of an AVI file states its length.
    """

    _clock: FrameNumberClock
    last_times = None

    def __init__(
        self, budget: Budget, container: av.container.InputContainer, stream: av.VideoStream
    ) -> None:
        """Read the pictures, and derive when each is shown.

        Args:
            budget: what the file may cost.
            container: the open file.
            stream: its video stream.

        Raises:
            NotPlannable: decode the file from end to end instead.
        """
        try:
            with damage_not_plannable(budget):
                pictures = list(_read_pictures(container, stream))
        except Unreadable as error:
            raise NotPlannable("a header ends too early") from error
        budget.check_time()
        shown = _order_of_showing(pictures)
        times = [pictures[place].pts for place in shown]
        numbers = [0] * len(shown)
        for number, place in enumerate(shown):
            numbers[place] = number
        flags = [
            DISPOSABLE if picture.kind == _B else RANDOM_ACCESS if picture.is_start else 0
            for picture in pictures
        ]
        flags[0] = RANDOM_ACCESS  # an I-picture with nothing before it, whatever the index says
        self._pictures = pictures
        super().__init__(budget, stream, numbers, flags)
        self._clock = FrameNumberClock(stream, times)

    def find_clock(self) -> FrameNumberClock:
        """Return the file's clock, whose PTS are numbers of frames."""
        return self._clock

    def run(self, cutoffs: Sequence[int], deliver: Deliver) -> LastFrame | None:
        """Decode the frames of ascending numbers; see `Planner.run`."""
        last = super().run(cutoffs, deliver)
        return last and last._replace(duration=0)  # AVI does not store it

    def _packet_at(self, place: int) -> VideoPacket:
        """Return a picture as a packet whose PTS is the number of its frame."""
        coded = self._pictures[place].coded
        if isinstance(coded, bytes):
            packet = cast(VideoPacket, av.Packet(len(coded)))
            packet.update(coded)
        else:
            packet = coded
        packet.pts = self._pts[place]
        return packet


def _read_pictures(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[_Picture]:
    """Yield the pictures of an open file in the order they are decoded."""
    header = stream.codec_context.extradata or b""
    layer = _VideoObjectLayer(header)
    times = _PictureTimes(layer.ticks_a_second)
    is_packed = _is_packed_after(header, False)
    kept: bytes | None = None  # the packed B-frame that is decoded with the next packet
    for packet in packets_of(container, stream):
        if packet.size == 0:
            break
        pts, data, is_key = checked_pts(packet, 0), bytes(packet), packet.is_keyframe
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
                raise NotPlannable("a packet after a packed one is not a picture alone")
            kind = data[4] >> 6
            if kind == _B and len(data) > _LEAST_BYTES:
                kept = data
            elif kind != _P or layer.read_time(data, 0)[2]:
                raise NotPlannable("a picture would be lost")
            continue
        is_packed = _is_packed_after(data[:first], is_packed)
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
    # A picture that is still kept at the end of the file is never shown.


def _is_packed_after(header: bytes, is_packed: bool) -> bool:
    """Return whether pictures are packed after a header, given whether they were before it."""
    found = _ENCODER.search(header)
    return is_packed if found is None else found[1] == b"p"


def _order_of_showing(pictures: Sequence[_Picture]) -> list[int]:
    """Return the indices of the pictures in the order they are shown.

    A B-frame is shown as soon as it is decoded, any other picture when the next such one is decoded.
    """
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


class _VideoObjectLayer:
    """The header of a video object layer; files that use its rarer features are not planned.

    Attributes:
        ticks_a_second: unit of the times in the headers of pictures.
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
        """Refuse a packet that holds another header of the layer."""
        start = data.find(_LAYER)
        if start >= 0 and not data.startswith(self._header, start):
            raise NotPlannable("the description of the pictures changes")

    def read_time(self, data: bytes, start: int) -> tuple[int, int, bool]:
        """Parse the header of the picture whose start code is at `start`.

        Returns:
            Seconds since the reference (modulo_time_base), ticks since then, and whether the picture is
            coded, rather than a repetition of the one before it.
        """
        left = 16 * 8
        value = int.from_bytes(data[start + 4 : start + 20].ljust(16, b"\0"), "big")
        left -= 2  # vop_coding_type
        passed = 0
        while value >> (left - 1) & 1:
            left -= 1
            passed += 1
        left -= 2 + self._time_bits
        # What is left: a marker bit, the ticks, a marker bit, and vop_coded.
        if left < 2 or not value >> (left + self._time_bits) & value >> (left - 1) & 1:
            raise NotPlannable("the header of a picture is not what it should be")
        ticks = value >> left & ((1 << self._time_bits) - 1)
        return passed, ticks, bool(value >> (left - 2) & 1)


class _PictureTimes:
    """The times in the headers of pictures; decoders drop a B-frame that does not lie between two others."""

    def __init__(self, ticks_a_second: int) -> None:
        self._ticks_a_second = ticks_a_second
        self._second = self._second_before = 0
        # Ticks: of the newest reference picture, and from the one before it to that.
        self._newest = self._distance = 0

    def note_group(self, header: bytes) -> None:
        """Set the clock by the header of a group of pictures, if there is one in `header`."""
        start = header.find(_GROUP)
        if start >= 0:
            bits = Bits(header[start + 4 : start + 8])
            hours, minutes = bits.read(5), bits.read(6)
            bits.read(1)
            self._second = bits.read(6) + 60 * (minutes + 60 * hours)

    def note(self, kind: int, passed: int, ticks: int, is_coded: bool) -> None:
        """Advance the clock to the next picture; refuse one that a decoder would not show.

        Args:
            kind: I, P or B.
            passed: seconds since the reference, as its header says.
            ticks: ticks since then.
            is_coded: it is not a repetition of the picture before it.
        """
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
