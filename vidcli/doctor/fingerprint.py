"""What of a video is kept to compare it with others: its small grey pictures, eight a second.

A slot is the mean picture of an eighth of a second, so that another frame rate, coder or size changes
it little. Its values are kept to a 128th of a grey level: the change from slot to slot of a quiet clip
is finer than a level, and yet tells it from every other.

    frames  |.|.|.|.|.|.|.|.|.|.|.|.|      25 or 15 or 10 a second
    slots   |   .   |   .   |   .   |      8 a second, (16, 16) each

A second takes 4 kB. Of a video of more than half a minute the liveliest half minute is kept.

Axis letters: N frames of a file, T slots, H and W cells of a picture.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidcli.sampling import Seconds, shown_frames

SLOTS_PER_SECOND = 8
MAX_SLOTS = 256
GREY_SIDE = 16
GREY_STEPS = 128
_MOMENTS_PER_SLOT = 6

Greys = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fingerprint:
    """What a video shows, coarsely, over time.

    Attributes:
        slots_THW: (T, 16, 16), T at most 256, in 128ths of a grey level.
        start_seconds: where in the video the first slot starts; 0 but for long videos.
    """

    slots_THW: Greys
    start_seconds: float = 0.0

    def pictures(self) -> Floats:
        """Return the slots in grey levels, (T, 16, 16)."""
        return np.asarray(self.slots_THW / np.float32(GREY_STEPS), dtype=np.float32)


def build_fingerprint(pts_seconds: Seconds, duration_seconds: float, grey_NHW: Greys) -> Fingerprint:
    """Return the fingerprint of a video or of a span of one.

    Args:
        pts_seconds: (N,) times of its frames, from its start.
        duration_seconds: its length.
        grey_NHW: its frames (N, 16, 16), in 128ths of a grey level.
    """
    count = max(1, round(duration_seconds * SLOTS_PER_SECOND))
    length = duration_seconds / count if count == 1 else 1 / SLOTS_PER_SECOND
    sum_THW = np.zeros((count, GREY_SIDE, GREY_SIDE), np.uint32)
    for moment in range(_MOMENTS_PER_SLOT):
        moments = np.arange(count, dtype=np.float64) + (moment + 0.5) / _MOMENTS_PER_SLOT
        sum_THW += grey_NHW[shown_frames(pts_seconds, moments * length)]
    slots_THW = ((sum_THW + _MOMENTS_PER_SLOT // 2) // _MOMENTS_PER_SLOT).astype(np.uint16)
    start = _liveliest(slots_THW)
    return Fingerprint(slots_THW[start : start + MAX_SLOTS].copy(), start / SLOTS_PER_SECOND)


def _liveliest(slots_THW: Greys) -> int:
    """Return where the run of MAX_SLOTS slots starts in which most changes."""
    if len(slots_THW) <= MAX_SLOTS:
        return 0
    change_T = [
        float(np.abs(after.astype(np.float32) - before).mean())
        for before, after in itertools.pairwise(slots_THW)
    ]
    # A cut or a flash is much change at one moment: the root lets it count for less.
    total_T = np.concatenate([[0.0], np.cumsum(np.sqrt(change_T))])
    return int(np.argmax(total_T[MAX_SLOTS - 1 :] - total_T[: len(total_T) - MAX_SLOTS + 1]))
