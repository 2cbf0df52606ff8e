"""Decode a video from its first frame on: the plain way, which works for every file.

`stream_frames` decodes a video from end to end in bounded memory, a frame at each moment of a grid.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import av
import av.container
import numpy as np

from vidcli.arrays import Frames
from vidcli.sampling import Seconds
from vidcli.video.exact.convert import Converter, SizeRule
from vidcli.video.open.budget import Budget, DecodeLimits, faults_of
from vidcli.video.open.container import decode_stream, open_video, seconds_of
from vidcli.video.open.duration import next_start
from vidcli.video.open.probe import VideoInfo, describe
from vidcli.video.open.truncation import refuse_truncated


class TimedFrame(NamedTuple):
    """A frame and its start in seconds from the first frame."""

    seconds: float
    frame: av.VideoFrame


def decode_from_start(
    budget: Budget, container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[VideoInfo, Iterator[TimedFrame]]:
    """Return a description of an open video, and its frames with their times.

    Args:
        budget: what the file may cost.
        container: the open file, of which nothing was read yet.
        stream: its video stream.

    Raises:
        VideoError: no frame can be decoded; raised by the iterator, also a later frame is damaged.
    """
    decoded = decode_stream(budget, container, stream)
    first = next(decoded)
    budget.check_size(first.height, first.width)
    info = describe(budget, container, stream, first)
    return info, _with_times(first, decoded, info, stream)


def _with_times(
    first: av.VideoFrame, rest: Iterator[av.VideoFrame], info: VideoInfo, stream: av.VideoStream
) -> Iterator[TimedFrame]:
    """Pair each frame with its start in seconds from the first frame."""
    # Equals `seconds_of` to the last bit; a fraction for each frame costs as much as a small frame.
    base = stream.time_base or Fraction(0)
    numerator, denominator = base.numerator, base.denominator
    origin, period = seconds_of(first) or 0.0, info.period_seconds
    previous = 0.0
    yield TimedFrame(previous, first)
    for frame in rest:
        pts = frame.pts
        stated = None if pts is None or not numerator else pts * numerator / denominator - origin
        previous = next_start(stated, previous, period)
        yield TimedFrame(previous, frame)


def collect_span(
    budget: Budget,
    timed: Iterator[TimedFrame],
    converter: Converter,
    info: VideoInfo,
    start: float,
    end: float,
) -> tuple[Frames, Seconds]:
    """Convert every frame of a span, beginning with the one that is shown when the span starts.

    Args:
        budget: names the file.
        timed: frames of the video from its first one on.
        converter: of these frames.
        info: description of the video.
        start: start of the span in seconds from the first frame.
        end: its end; infinity is the end of the video.

    Returns:
        Frames uint8 (N, H, W, 3), and the start of each in seconds from the start of the span.

    Raises:
        VideoError: before the end of the span the file is damaged, or ends earlier than its header says.
    """
    kept: list[Frames] = []
    seconds: list[float] = []

    def keep(held: TimedFrame) -> None:
        picture = np.empty(converter.shape, np.uint8)
        converter.convert_into(picture, held.frame, held.seconds)
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
    """Convert the frame that is shown at each wanted moment.

    Args:
        budget: names the file.
        timed: frames of the video from its first one on.
        converter: of these frames.
        wanted: (N,) moments in seconds from the first frame, in any order.
        info: description of the video.

    Returns:
        Frames uint8 (N, H, W, 3), and the start of each in seconds from the first frame.

    Raises:
        VideoError: before the last moment the file is damaged, or ends earlier than its header says.
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
        converter.convert_into(pictures[first], held.frame, held.seconds)
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
    """Refuse a file that ends well before its header says.

    Args:
        budget: names the file.
        info: description of the video.
        last: its last frame.

    Raises:
        VideoError: the file is truncated.
    """
    base = last.frame.time_base
    length = float((last.frame.duration or 0) * base) if base else 0.0
    refuse_truncated(budget, info.duration_seconds, last.seconds, length, info.period_seconds)


class GridFrame(NamedTuple):
    """The frame that is shown in the middle of a grid interval.

    Attributes:
        picture: uint8 (H, W, 3), for the caller to keep or change.
        info: description of the video.
    """

    picture: Frames
    info: VideoInfo


def stream_frames(
    path: str | os.PathLike[str],
    spacing_seconds: float,
    size: SizeRule | None = None,
    *,
    num_threads: int = 1,
    limits: DecodeLimits | None = None,
) -> Generator[GridFrame, None, None]:
    """Yield the frames shown at (k + 1/2) x spacing, k = 0, 1, ..., to the end of the video.

    There is at least one. The time limit does not apply, as the caller decides how long it takes.

    Args:
        path: a local file.
        spacing_seconds: from one moment of the grid to the next.
        size: output height and width, given the upright ones; None keeps the coded pixels.
        num_threads: decoder threads.
        limits: what the file may cost.

    Raises:
        VideoError: no such file, not a video, damaged, truncated, or beyond a limit.
        ValueError: spacing_seconds is not positive.
    """
    if spacing_seconds <= 0:
        raise ValueError("spacing_seconds must be positive")
    budget = Budget(path, replace(limits or DecodeLimits(), seconds=None))
    with faults_of(path), open_video(path, budget, num_threads) as (container, stream):
        info, timed = decode_from_start(budget, container, stream)
        converter = Converter(path, info, size)
        tolerance = info.tolerance_seconds
        number = 0
        held = next(timed)

        def shown_until(end: float) -> Generator[GridFrame, None, None]:
            nonlocal number
            picture: Frames | None = None
            while (number + 0.5) * spacing_seconds < end:
                if picture is None:
                    picture = np.empty(converter.shape, np.uint8)
                    converter.convert_into(picture, held.frame, held.seconds)
                yield GridFrame(picture, info)
                number += 1

        for following in timed:
            yield from shown_until(following.seconds - tolerance)
            held = following
        refuse_early_end(budget, info, held)
        last = max(info.duration_seconds, held.seconds + tolerance)
        yield from shown_until(last)
        if not number:  # a video shorter than half an interval
            yield from shown_until(spacing_seconds)
