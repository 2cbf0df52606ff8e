"""When every frame of a file starts, as its packets say, without decoding."""

from __future__ import annotations

import os

import numpy as np

from vidcli.errors import VideoError
from vidcli.sampling import Seconds
from vidcli.video.open.budget import Budget, DecodeLimits, call_in_time
from vidcli.video.open.container import has_guessed_times, open_video, packets_of


def frame_starts(path: str | os.PathLike[str], limits: DecodeLimits) -> Seconds | None:
    """Return the start of each frame in seconds from the first one; None where packets do not say it.

    What a decoder makes of the file can differ, as where packets are only there to be discarded: compare.

    Args:
        path: of a video.
        limits: of the time that it may take.
    """
    budget = Budget(path, limits)

    def read() -> list[int] | None:
        with open_video(budget.path, budget, lean=True) as (container, stream):
            if has_guessed_times(container, stream) or not stream.time_base:
                return None
            base.append(float(stream.time_base))
            found: list[int] = []
            for packet in packets_of(container, stream):
                budget.check_time()
                if packet.size and packet.pts is None:
                    return None
                if packet.pts is not None:
                    found.append(packet.pts)
            return found

    base: list[float] = []
    try:
        times = call_in_time(budget, read)
    except VideoError:  # named where it is decoded
        return None
    if not times or len(set(times)) < len(times):
        return None
    return np.array(sorted(times), np.float64) * base[0] - min(times) * base[0]
