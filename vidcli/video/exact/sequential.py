"""Decode a video from its first frame on: the plain way, which every file can take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import av.container
import numpy as np

from vidcli.sampling import Seconds
from vidcli.video.exact.convert import Converter, Frames
from vidcli.video.open.budget import Budget
from vidcli.video.open.container import decode_stream, seconds_of
from vidcli.video.open.probe import VideoInfo, describe
from vidcli.video.open.truncation import refuse_truncated


class TimedFrame(NamedTuple):
    """A frame and its start in seconds from the first frame."""

    seconds: float
    frame: av.VideoFrame


def decode_from_start(
    budget: Budget, container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[VideoInfo, Iterator[TimedFrame]]:
    """Return what the video is, and its frames with their times.

    Raises:
        VideoError: no frame can be decoded; from the iterator also for damage further on.
    """
    decoded = decode_stream(budget, container, stream)
    first = next(decoded)
    budget.check_size(first.height, first.width)
    info = describe(budget, container, stream, first)
    return info, _with_times(first, decoded, info, stream)


def _with_times(
    first: av.VideoFrame, rest: Iterator[av.VideoFrame], info: VideoInfo, stream: av.VideoStream
) -> Iterator[TimedFrame]:
    """Pair each frame with its start in seconds from the first frame.

    Where a timestamp is missing or does not grow, as in files with broken muxing, the frame is
    placed one frame period after its predecessor.
    """
    # To the last bit what `seconds_of` gives; a fraction for each frame costs as much as a small frame.
    base = stream.time_base or Fraction(0)
    numerator, denominator = base.numerator, base.denominator
    origin = seconds_of(first) or 0.0
    previous = 0.0
    yield TimedFrame(previous, first)
    for frame in rest:
        pts = frame.pts
        seconds = previous if pts is None or not numerator else pts * numerator / denominator - origin
        previous = seconds if seconds > previous else previous + info.period_seconds
        yield TimedFrame(previous, frame)


def collect_span(
    budget: Budget,
    timed: Iterator[TimedFrame],
    converter: Converter,
    info: VideoInfo,
    start: float,
    end: float,
) -> tuple[Frames, Seconds]:
    """Convert every frame of a span, with the one that is shown when it starts.

    Raises:
        VideoError: damage, or a file that ends before its header says, before the span does.
    """
    kept: list[Frames] = []
    seconds: list[float] = []

    def keep(held: TimedFrame) -> None:
        picture = np.empty(converter.shape, np.uint8)
        converter.convert_into(picture, held.frame)
        kept.append(picture)
        seconds.append(max(0.0, held.seconds - start))

    tolerance = info.tolerance_seconds
    held = next(timed)
    for following in timed:
        if following.seconds >= end - tolerance:
            break
        if following.seconds > start + tolerance:
            keep(held)
        held = following
    else:
        refuse_early_end(budget, info, held)
    keep(held)
    return np.stack(kept), np.array(seconds)


def collect_wanted(
    budget: Budget, timed: Iterator[TimedFrame], converter: Converter, wanted: Seconds, info: VideoInfo
) -> tuple[Frames, Seconds]:
    """Convert the frame that is shown at each wanted moment; times count from the first frame.

    Raises:
        VideoError: damage, or a file that ends before its header says, before the last moment.
    """
    order = np.argsort(wanted, kind="stable")
    moments = [*wanted[order].tolist(), math.inf]
    pictures = np.empty((len(wanted), *converter.shape), np.uint8)
    seconds = np.zeros(len(wanted))
    tolerance = info.tolerance_seconds
    held = next(timed)
    position = 0

    def keep_until(end: float) -> None:
        nonlocal position
        first = order[position]
        converter.convert_into(pictures[first], held.frame)
        while moments[position] < end:
            index = order[position]
            if index != first:
                pictures[index] = pictures[first]
            seconds[index] = held.seconds
            position += 1

    for following in timed:
        # `held` is shown until `following` starts.
        end = following.seconds - tolerance
        if moments[position] < end:
            keep_until(end)
        if position == len(order):
            return pictures, seconds
        held = following
    refuse_early_end(budget, info, held)
    if position < len(order):
        keep_until(math.inf)
    return pictures, seconds


def refuse_early_end(budget: Budget, info: VideoInfo, last: TimedFrame) -> None:
    """Refuse a file whose last frame comes well before its header says that it ends."""
    base = last.frame.time_base
    length = float((last.frame.duration or 0) * base) if base else 0.0
    refuse_truncated(budget, info.duration_seconds, last.seconds, length, info.period_seconds)
