"""Decode a video once from end to end, a frame at each moment of a grid, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from vidcli.video.exact.convert import Converter, Frames, SizeRule
from vidcli.video.exact.sequential import decode_from_start, refuse_early_end
from vidcli.video.open.budget import Budget, DecodeLimits, faults_of
from vidcli.video.open.container import open_video
from vidcli.video.open.probe import VideoInfo


class GridFrame(NamedTuple):
    """The frame (H, W, 3) that is shown in the middle of a grid interval; the array is the taker's."""

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

    There is at least one. The time limit is left out: how long it takes is up to the taker.

    Args:
        path: a local file.
        spacing_seconds: from one moment to the next.
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
                    converter.convert_into(picture, held.frame)
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
