"""What a video file is, from its headers, cross-checked with its packets where they are silent."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from fractions import Fraction

import av
import av.container

from vidcli.errors import VideoError
from vidcli.video.container import (
    FOREIGN_ERRORS,
    decode_stream,
    open_video,
    packets_of,
    reason,
    seconds_of,
)
from vidcli.video.limits import Budget, DecodeLimits, call_in_time

_UNKNOWN_PERIOD_SECONDS = 0.04


@dataclass(frozen=True)
class VideoInfo:
    """What a file's headers say, cross-checked with its packets where they are silent.

    Attributes:
        height, width: pixels as coded, before rotation.
        rotation: degrees clockwise (0, 90, 180, 270) by which frames are turned to be upright.
        pixel_aspect: width of a pixel over its height, as coded.
        duration_seconds: from the first frame to the end of the last.
        num_frames: as the header says; None where it is silent.
        fps: average frame rate; None where unknown.
        has_b_frames: frames are coded in another order than they are shown.
    """

    container: str
    codec: str
    height: int
    width: int
    rotation: int
    pixel_aspect: Fraction
    duration_seconds: float
    num_frames: int | None
    fps: float | None
    has_audio: bool
    has_b_frames: bool

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width in square pixels after rotation."""
        height, width = self.height, max(1, round(self.width * self.pixel_aspect))
        return (width, height) if self.rotation in (90, 270) else (height, width)

    @property
    def period_seconds(self) -> float:
        """Time from one frame to the next at the average rate."""
        return period_of(self.fps)


def probe(path: str | os.PathLike[str], limits: DecodeLimits | None = None) -> VideoInfo:
    """Read what a video file is, without decoding more than its first frame.

    Raises:
        VideoError: no such file, not a video, beyond a limit, or no frame of it can be decoded.
    """
    budget = Budget(path, limits or DecodeLimits())
    return call_in_time(budget, lambda: _probe(budget))


def _probe(budget: Budget) -> VideoInfo:
    with open_video(budget.path, budget) as (container, stream):
        frame = next(decode_stream(budget, container, stream), None)
        if frame is None:
            raise VideoError(budget.path, "holds a video stream without a single frame that can be decoded")
        return describe(budget, container, stream, frame)


def describe(
    budget: Budget,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    frame: av.VideoFrame,
    duration_seconds: float | None = None,
) -> VideoInfo:
    """Describe a video of which a frame was decoded; without `duration_seconds` that is the first."""
    if duration_seconds is None:
        duration_seconds = measure_duration(budget, container, stream, seconds_of(frame) or 0.0)
    return VideoInfo(
        container=container.format.name,
        codec=stream.codec_context.name,
        height=frame.height,
        width=frame.width,
        # FFmpeg gives degrees counter-clockwise; files turn by quarters only.
        rotation=round(-getattr(frame, "rotation", 0) / 90) * 90 % 360,
        # A lean open leaves the aspect that only the coded stream names to the decoder.
        pixel_aspect=stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1),
        duration_seconds=duration_seconds,
        num_frames=stream.frames or None,
        fps=find_rate(stream),
        has_audio=bool(container.streams.audio),
        has_b_frames=stream.codec_context.reorder_depth > 0,
    )


def find_rate(stream: av.VideoStream) -> float | None:
    """Return the frames a second of a stream; None where nothing tells."""
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate else None


def period_of(fps: float | None) -> float:
    """Return the seconds from one frame to the next, as is usual where the rate is unknown."""
    return 1 / fps if fps else _UNKNOWN_PERIOD_SECONDS


def measure_duration(
    budget: Budget, container: av.container.InputContainer, stream: av.VideoStream, origin_seconds: float
) -> float:
    """Return the length of the video stream, from the most trustworthy source there is.

    The container's own duration spans all its streams, so it serves only where the video is alone.
    """
    # Matroska has none of its own for a stream: FFmpeg may fill in that of the longest.
    has_own = not container.format.name.startswith("matroska")
    if has_own and stream.duration and stream.duration > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    tagged = _parse_clock(stream.metadata.get("DURATION", ""))
    if tagged:
        return tagged
    if container.duration and container.duration > 0 and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return _scan_duration(budget, origin_seconds)


def _parse_clock(text: str) -> float | None:
    """Return the seconds of a `HH:MM:SS.fraction` tag; None for anything else."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return None
    total = 3600 * hours + 60 * minutes + seconds
    return total if math.isfinite(total) and total > 0 else None


def _scan_duration(budget: Budget, origin_seconds: float) -> float:
    """Read all packets of a file that names no duration; a second pass that decodes nothing."""
    last = 0.0
    count = 0
    try:
        with open_video(budget.path, budget) as (container, stream):
            period = float(1 / (stream.average_rate or stream.guessed_rate or 25))
            for packet in packets_of(container, stream):
                budget.check_time()
                if packet.size == 0:
                    continue
                count += 1
                if packet.pts is not None:
                    length = float((packet.duration or 0) * packet.time_base) or period
                    last = max(last, float(packet.pts * packet.time_base) - origin_seconds + length)
    except FOREIGN_ERRORS as error:
        raise VideoError(budget.path, f"is damaged ({reason(error)})") from error
    return last or count * period
