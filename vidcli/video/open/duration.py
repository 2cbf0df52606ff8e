"""How long a video is: as its header states, checked against its packets.

A stated length is only a hint. Some containers state the length of all their streams together, count
from another moment than the first picture, estimate from the bit rate, or keep a length from before the
file was changed. Where the packets contradict the stated length, the packets count:

    MP4, MOV, GIF, MXF, AVI   the stated length of the video stream itself, which agrees with the index
    Matroska, WebM            checked against the last packets, which are found by seeking
    everything else           checked against all packets, read without decoding
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
from vidcli.video.open.container import FOREIGN_ERRORS, all_packets_of, open_video, parse_clock
from vidcli.video.open.truncation import find_missing_end
from vidcli.video.open.video_bytes import reason

_UNKNOWN_PERIOD_SECONDS = 0.04
_CLOSE_SECONDS = 0.1
_SHORTENED_BY_FFMPEG = ("avi", "asf", "flv")
"""Containers of a truncated file for which FFmpeg reports the length of what is left."""

_BEYOND_THE_END = 2**60
_MAX_STEPS_BACK = 4

Times = Sequence[float]
"""Starts of a file's last pictures, or of all, in seconds on the file's own clock, ascending."""


def find_rate(stream: av.VideoStream) -> float | None:
    """Return the frames per second of a stream; None where they are unknown."""
    rate = stream.average_rate or stream.guessed_rate
    return rate.numerator / rate.denominator if rate else None


def period_of(fps: float | None) -> float:
    """Return the seconds from one frame to the next; a usual value where the rate is unknown."""
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
    # AVI may state the ticks of its clock as its frame rate, although few ticks have a frame.
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
    """Return the seconds from the start of a video's first frame to the end of its last one.

    Args:
        budget: names the file and limits the cost of reading it.
        container: the open file, of which nothing more is read.
        stream: its video stream.
        origin_seconds: start of the first frame on the file's own clock.
        last_times: of its last pictures, if all of its packets were read.

    Raises:
        VideoError: the packets had to be read, and cannot be.
    """
    stated = stated_duration(container, stream, origin_seconds)
    if container.format.name in _SHORTENED_BY_FFMPEG and (sizes := find_missing_end(budget.path)):
        # About as long as the whole file was, so that decoding at its end reports the truncation.
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
    # In a file that was cut off, the stated length is right and the end is missing.
    return stated if stated > measured and find_missing_end(budget.path) else measured


def stated_duration(
    container: av.container.InputContainer, stream: av.VideoStream, origin_seconds: float
) -> float | None:
    """Return the seconds of a video as its container states them; None where it does not.

    Args:
        container: the open file.
        stream: its video stream.
        origin_seconds: start of the first frame on the file's own clock, which is subtracted where the
            container states the time of the end.
    """
    if container.format.name.startswith("matroska"):
        tagged = parse_clock(stream.metadata.get("DURATION", ""))
        if tagged is not None:
            # mkvmerge writes the length into this tag, FFmpeg the time of the end.
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
    """Tell whether a stated length is of this stream alone, and the index holds no later frames."""
    if not container.format.name.startswith(("mov,mp4", "gif", "mxf", "avi")) or not stream.duration:
        return False
    entries = stream.index_entries
    if len(entries) < 2 or not stream.time_base:
        return True
    span = (entries[len(entries) - 1].timestamp - entries[0].timestamp) * stream.time_base
    return float(span) <= stated + _CLOSE_SECONDS


def _end_of(times: Times, period: float) -> float:
    """Return when the last of some pictures ends, if it is shown as long as the one before it."""
    if not times:
        return 0.0
    gap = times[-1] - times[-2] if len(times) > 1 else 0.0
    return times[-1] + (gap if gap > 0 else period)


def _read_last_times(budget: Budget) -> Times:
    """Return when the last two pictures of a file start, found by seeking to its end."""
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
    """Return the length of a video by all of its packets, which are read without decoding.

    Where the clock jumps back, as in joined recordings, pictures follow each other by one period, as
    they do when the file is decoded.
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
    """Return when the last of some pictures ends, given their starts in seconds from the first one."""
    previous = before = None
    for time in itertools.dropwhile(lambda time: time < 0, seconds):
        before = previous
        previous = time if previous is None else next_start(time, previous, period)
    if previous is None:
        return 0.0
    return _end_of([previous] if before is None else [before, previous], period)
