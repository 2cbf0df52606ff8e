"""Write a small copy of a video that is quick to read here and there: few pixels, many keyframes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import av
import numpy as np

from vidcli.errors import VideoError
from vidcli.video.exact.convert import Converter
from vidcli.video.exact.sequential import TimedFrame, decode_from_start, refuse_early_end
from vidcli.video.open.budget import Budget, DecodeLimits, faults_of
from vidcli.video.open.container import FOREIGN_ERRORS, open_video
from vidcli.video.open.probe import VideoInfo
from vidcli.video.open.video_bytes import reason
from vidcli.video.write.x264 import repeatable

_TICKS = 90_000  # a second; the clock of MPEG-TS, which all usual rates divide


@dataclass(frozen=True)
class CompactCoding:
    """How a small copy is coded.

    Attributes:
        short_side: pixels of the shorter side; a smaller video keeps its size.
        keyframe_every: frames from one keyframe to the next.
        quality: constant rate factor of x264: 0 loses nothing, each 6 more halve the bytes.
    """

    short_side: int = 256
    keyframe_every: int = 12
    quality: int = 20

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width for the upright ones, both even, as H.264 requires."""
        scale = min(1.0, self.short_side / min(height, width))
        even = (max(2, 2 * round(side * scale / 2)) for side in (height, width))
        return next(even), next(even)

    @property
    def options(self) -> dict[str, str]:
        """Options of x264; without B-frames and with plain entropy coding frames are decoded faster."""
        return {
            "preset": "veryfast",
            "tune": "fastdecode",
            "crf": str(self.quality),
            "g": str(self.keyframe_every),
            "bf": "0",
        }


def compact_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    coding: CompactCoding,
    limits: DecodeLimits | None = None,
) -> None:
    """Write the pictures of a video as H.264 in MP4, upright, each shown when it was; sound is left out.

    Args:
        source: the video.
        target: the new file.
        coding: size and coding.
        limits: what the source may cost; the time limit does not apply.

    Raises:
        VideoError: the source cannot be decoded to its end, or the target cannot be written.
    """
    budget = Budget(source, replace(limits or DecodeLimits(), seconds=None))
    with faults_of(source), open_video(source, budget) as (container, stream):
        info, timed = decode_from_start(budget, container, stream)
        try:
            with av.open(str(target), mode="w", format="mp4") as output:
                _encode(output, budget, info, timed, coding)
        except FOREIGN_ERRORS as error:
            raise VideoError(target, f"cannot be written ({reason(error)})") from error


def _encode(
    output: av.container.OutputContainer,
    budget: Budget,
    info: VideoInfo,
    timed: Iterator[TimedFrame],
    coding: CompactCoding,
) -> None:
    converter = Converter(budget.path, info, coding.size)
    rate = Fraction(info.fps or 25).limit_denominator(1001)
    stream: Any = output.add_stream("libx264", rate=rate, options=repeatable(coding.options))
    stream.height, stream.width = converter.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, _TICKS)
    starts: list[int] = []
    waiting: list[Any] = []  # the packet whose frame lasts until the next one starts
    held = None

    def mux(packets: list[Any]) -> None:
        waiting.extend(packets)
        while len(waiting) > 1:
            waiting[0].duration = waiting[1].pts - waiting[0].pts
            output.mux(waiting.pop(0))

    for held in timed:
        picture = np.empty(converter.shape, np.uint8)
        converter.convert_into(picture, held.frame)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        starts.append(max(round(held.seconds * _TICKS), starts[-1] + 1 if starts else 0))
        frame.pts, frame.time_base = starts[-1], Fraction(1, _TICKS)
        mux(stream.encode(frame))
    assert held is not None
    refuse_early_end(budget, info, held)
    mux(stream.encode(None))
    waiting[0].duration = max(1, round(info.duration_seconds * _TICKS) - starts[-1])
    output.mux(waiting[0])
