"""Describe a video file by its headers, checked against its packets."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import av.container

from vidcli.sampling import TIMESTAMP_TOLERANCE_SECONDS
from vidcli.video.open.budget import Budget, DecodeLimits, call_in_time
from vidcli.video.open.container import decode_stream, open_video, seconds_of, video_streams
from vidcli.video.open.duration import find_rate, measure_duration, period_of, stated_duration, tolerance_of
from vidcli.video.open.orientation import Orientation, orientation_of_frame

_MAX_ASPECT = 8
_SQUARE = Fraction(1)


@dataclass(frozen=True)
class VideoInfo:
    """The description of a video file by its headers, checked against its packets.

    Attributes:
        container: name of FFmpeg's demuxer, such as `mov,mp4,m4a,3gp,3g2,mj2`.
        codec: name of FFmpeg's decoder.
        height, width: pixels as coded, before rotation.
        rotation: degrees clockwise (0, 90, 180 or 270) by which frames are turned to be upright.
        is_mirrored: left and right of frames are swapped before they are turned.
        pixel_aspect: width of a pixel over its height, as coded; an absurd value is taken as square.
        duration_seconds: from the first frame to the end of the last.
        num_frames: as the header states; None where it does not.
        fps: average frame rate; None where unknown.
        has_audio: the file holds sound.
        has_b_frames: frames are coded in another order than they are shown.
        num_video_streams: video streams without cover art, of which one is decoded.
        stated_seconds: length as the container states it; None where it does not; only `probe` sets it.
        tolerance_seconds: how much later than a wanted moment a frame may start.
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
    is_mirrored: bool = False
    num_video_streams: int = 1
    stated_seconds: float | None = None
    tolerance_seconds: float = TIMESTAMP_TOLERANCE_SECONDS

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width in square pixels, after rotation."""
        height, width = self.height, max(1, round(self.width * self.pixel_aspect))
        return (width, height) if self.rotation in (90, 270) else (height, width)

    @property
    def period_seconds(self) -> float:
        """Time from one frame to the next at the average rate."""
        return period_of(self.fps)


def probe(path: str | os.PathLike[str], limits: DecodeLimits | None = None) -> VideoInfo:
    """Describe a video file, of which at most the first frame is decoded.

    Raises:
        VideoError: no such file, not a video, beyond a limit, or without a frame that can be decoded.
    """
    budget = Budget(path, limits or DecodeLimits())
    return call_in_time(budget, lambda: _probe(budget))


def find_pixel_format(path: str | os.PathLike[str], limits: DecodeLimits | None = None) -> str:
    """Return FFmpeg's name of the format of a video's decoded pixels, such as `yuv420p`; see `probe`."""
    budget = Budget(path, limits or DecodeLimits())

    def find() -> str:
        with open_video(path, budget) as (container, stream):
            return str(next(decode_stream(budget, container, stream)).format.name)

    return call_in_time(budget, find)


def _probe(budget: Budget) -> VideoInfo:
    with open_video(budget.path, budget) as (container, stream):
        frame = next(decode_stream(budget, container, stream))
        info = describe(budget, container, stream, frame)
        stated = stated_duration(container, stream, seconds_of(frame) or 0.0)
        return replace(info, stated_seconds=stated)


def describe(
    budget: Budget,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    frame: av.VideoFrame,
    duration_seconds: float | None = None,
    orientation: Orientation | None = None,
) -> VideoInfo:
    """Describe a video of which a frame was decoded.

    Args:
        budget: what the file may cost.
        container: the open file.
        stream: its video stream.
        frame: a decoded frame; the first one, unless the two others are given.
        duration_seconds: of the video; None measures it.
        orientation: as the coded stream states it at its start; None takes that of the frame.
    """
    if duration_seconds is None:
        duration_seconds = measure_duration(budget, container, stream, seconds_of(frame) or 0.0)
    orientation = orientation or orientation_of_frame(frame)
    return VideoInfo(
        container=container.format.name,
        codec=stream.codec_context.name,
        height=frame.height,
        width=frame.width,
        rotation=orientation.rotation,
        pixel_aspect=_sane_aspect(stream),
        duration_seconds=duration_seconds,
        num_frames=stream.frames or None,
        fps=find_rate(stream),
        has_audio=bool(container.streams.audio),
        has_b_frames=stream.codec_context.reorder_depth > 0,
        is_mirrored=orientation.is_mirrored,
        num_video_streams=len(video_streams(container)) if len(container.streams.video) > 1 else 1,
        tolerance_seconds=tolerance_of(stream),
    )


def _sane_aspect(stream: av.VideoStream) -> Fraction:
    """Return the aspect of a stream's pixels; square if it is so far from square that the header is wrong."""
    # After a lean open, an aspect that only the coded stream states is known by the decoder alone.
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or _SQUARE
    across, down = aspect.numerator, aspect.denominator
    return aspect if across <= _MAX_ASPECT * down and down <= _MAX_ASPECT * across else _SQUARE
