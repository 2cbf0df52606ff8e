"""How long a video is: what its header says, held against its packets.

A stated length is a hint. Some containers state the length of all their streams together, count from
another moment than the first picture, guess from the bit rate, or keep what was true before the file
was changed. Where the packets contradict it, they count:

    MP4, MOV, GIF, MXF, AVI   the length of the very stream, which goes with the index
    Matroska, WebM            held against the packets at its end, which its index leads to
    everything else           held against all packets, read without decoding
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
import av.container

from vidcli.errors import VideoError
from vidcli.sampling import tolerance_seconds
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import FOREIGN_ERRORS, all_packets_of, open_video, parse_clock, reason
from vidcli.video.open.truncation import find_missing_end

_UNKNOWN_PERIOD_SECONDS = 0.04
_CLOSE_SECONDS = 0.1
_SHORTENED_BY_FFMPEG = ("avi", "asf", "flv")
"""Where FFmpeg takes for the length of a file what is left of it."""

_BEYOND_THE_END = 2**60
_MAX_STEPS_BACK = 4

Times = Sequence[float]
"""Presentation times in seconds on the file's own clock, ascending; the last ones at least."""


def find_rate(stream: av.VideoStream) -> float | None:
    """Return the frames a second of a stream; None where nothing tells."""
    rate = stream.average_rate or stream.guessed_rate
    return rate.numerator / rate.denominator if rate else None


def period_of(fps: float | None) -> float:
    """Return the seconds from one frame to the next, as is usual where the rate is unknown."""
    return 1 / fps if fps else _UNKNOWN_PERIOD_SECONDS


def next_start(stated_seconds: float | None, previous_seconds: float, period_seconds: float) -> float:
    """Return when a frame starts: as stated, or one period after the previous frame.

    In files with broken muxing a timestamp may be missing or not greater than the one before it.

    Args:
        stated_seconds: start of the frame by its timestamp; None where it has none.
        previous_seconds: start of the frame before it, on the same clock.
        period_seconds: from one frame to the next at the average rate.
    """
    if stated_seconds is not None and stated_seconds > previous_seconds:
        return stated_seconds
    return previous_seconds + period_seconds


def tolerance_of(stream: av.VideoStream) -> float:
    """Return how many seconds later than a wanted moment a frame of a stream may start."""
    # AVI may name the ticks of its clock as its rate, of which few hold a frame.
    periods = [
        rate.denominator / rate.numerator for rate in (stream.average_rate, stream.guessed_rate) if rate
    ]
    return tolerance_seconds(max(periods, default=_UNKNOWN_PERIOD_SECONDS))


def measure_duration(
    budget: Budget,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    origin_seconds: float,
    last_times: Times | None = None,
) -> float:
    """Return the seconds from the first frame of a video stream to the end of its last.

    Args:
        budget: names the file and bounds what reading it may cost.
        container, stream: of an open file, which is read no further.
        origin_seconds: start of the first frame on the file's own clock.
        last_times: of its last pictures, if all of its packets were read.

    Raises:
        VideoError: the packets had to be read, and cannot be.
    """
    stated = stated_duration(container, stream, origin_seconds)
    if container.format.name in _SHORTENED_BY_FFMPEG and (sizes := find_missing_end(budget.path)):
        # About as long as it was: whoever asks for its end is told that there is none.
        rest = stated or _scan_duration(budget, origin_seconds, period_of(find_rate(stream)))
        return rest * sizes.named / sizes.held
    if stated is not None and _is_of_the_index(container, stream, stated):
        return stated
    period = period_of(find_rate(stream))
    if last_times is not None:
        measured = _end_of(last_times, period) - origin_seconds
    elif container.format.name.startswith("matroska") and stated is not None:
        measured = _end_of(_read_last_times(budget), period) - origin_seconds
    else:
        measured = _scan_duration(budget, origin_seconds, period)
    if stated is None:
        return measured
    if abs(stated - measured) <= max(_CLOSE_SECONDS, 2 * period) or measured <= 0:
        return stated
    # What a file lacks that was cut off is missing, not stated wrongly.
    return stated if stated > measured and find_missing_end(budget.path) else measured


def stated_duration(
    container: av.container.InputContainer, stream: av.VideoStream, origin_seconds: float
) -> float | None:
    """Return what a container says of the length of its video stream; None where it is silent.

    Args:
        container, stream: of an open file.
        origin_seconds: start of the first frame on the file's own clock, which is taken off where the
            container states the time of the end.
    """
    if container.format.name.startswith("matroska"):
        tagged = parse_clock(stream.metadata.get("DURATION", ""))
        if tagged is not None:
            # mkvmerge's statistics are of the length; FFmpeg's tag is the time of the end.
            is_length = "_STATISTICS_WRITING_APP" in stream.metadata
            return _positive(tagged if is_length else tagged - origin_seconds)
        if len(container.streams) > 1 or not container.duration:
            return None
        return _positive(container.duration / av.time_base - origin_seconds)
    if stream.duration and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and container.duration > 0 and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return None


def _positive(seconds: float) -> float | None:
    return seconds if seconds > 0 else None


def _is_of_the_index(container: av.container.InputContainer, stream: av.VideoStream, stated: float) -> bool:
    """Tell whether a stated length is that of this stream alone, and its index knows of no more."""
    if not container.format.name.startswith(("mov,mp4", "gif", "mxf", "avi")) or not stream.duration:
        return False
    entries = stream.index_entries
    if len(entries) < 2 or not stream.time_base:
        return True
    span = (entries[len(entries) - 1].timestamp - entries[0].timestamp) * stream.time_base
    return float(span) <= stated + _CLOSE_SECONDS


def _end_of(times: Times, period: float) -> float:
    """Return when the last of some pictures ends: it is shown as long as the one before it was."""
    if not times:
        return 0.0
    gap = times[-1] - times[-2] if len(times) > 1 else 0.0
    return times[-1] + (gap if gap > 0 else period)


def _read_last_times(budget: Budget) -> Times:
    """Return when the last pictures of a file start, as far back as its index leads at a time."""
    try:
        with open_video(budget.path, budget, lean=True) as (container, stream):
            assert stream.time_base is not None
            target = _BEYOND_THE_END
            for _ in range(_MAX_STEPS_BACK):
                container.seek(target, stream=stream)
                times = sorted(_times_of(budget, container, stream))
                if len(times) > 1:
                    return [float(pts * stream.time_base) for pts in times[-2:]]
                target = times[0] - 1 if times else target // 2**20
            return [float(pts * stream.time_base) for pts in times]
    except FOREIGN_ERRORS as error:
        raise VideoError(budget.path, f"is damaged ({reason(error)})") from error


def _times_of(budget: Budget, container: av.container.InputContainer, stream: av.VideoStream) -> list[int]:
    times = []
    for packet in all_packets_of(container, stream):
        budget.check_time()
        if packet.pts is not None:
            times.append(packet.pts)
    return times


def _scan_duration(budget: Budget, origin_seconds: float, period: float) -> float:
    """Read all packets of a file, in a second pass that decodes nothing.

    Where the clock jumps back, as in joined recordings, the pictures go on one period after each other,
    as they do when the file is decoded.
    """
    count = 0
    parts: list[list[int]] = [[]]
    last_dts: int | None = None
    try:
        with open_video(budget.path, budget) as (container, stream):
            base = stream.time_base or Fraction(0)
            for packet in all_packets_of(container, stream):
                budget.check_time()
                if packet.pts is None and packet.dts is None and not packet.size:
                    continue  # the end
                count += 1
                if packet.dts is not None:
                    if last_dts is not None and packet.dts < last_dts:
                        parts.append([])
                    last_dts = packet.dts
                if packet.pts is not None:
                    parts[-1].append(packet.pts)
    except FOREIGN_ERRORS as error:
        raise VideoError(budget.path, f"is damaged ({reason(error)})") from error
    seconds = (float(pts * base) - origin_seconds for part in parts for pts in sorted(part))
    return _length_of(seconds, period) or count * period


def _length_of(seconds: Iterable[float], period: float) -> float:
    """Return when the last of some pictures ends, given their times from the first one's on."""
    previous = before = None
    for time in itertools.dropwhile(lambda time: time < 0, seconds):
        before = previous
        previous = time if previous is None else next_start(time, previous, period)
    if previous is None:
        return 0.0
    return _end_of([previous] if before is None else [before, previous], period)
