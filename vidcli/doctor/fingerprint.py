"""The fingerprint of a video, by which it is compared with others: small grey pictures, eight a second.

A slot is the mean picture of an eighth of a second, so that another frame rate, codec or size changes
it little. Its values are exact to a 128th of a grey level: in a quiet clip slots differ by less than a
level, and yet these differences tell the clip from every other.

    frames  |.|.|.|.|.|.|.|.|.|.|.|.|      25 or 15 or 10 a second
    slots   |   .   |   .   |   .   |      8 a second, (16, 16) each

A second takes 4 kB. Of a longer video only the half minute with most motion is kept.

Axis letters: N frames of a file, T slots, H and W cells of a picture.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vidcli.arrays import Float32
from vidcli.sampling import Seconds, shown_frames

SLOTS_PER_SECOND = 8
MAX_SLOTS = 256
GREY_SIDE = 16
GREY_STEPS = 128
_MOMENTS_PER_SLOT = 6

Greys: TypeAlias = npt.NDArray[np.uint16]
"""Grey values in 128ths of a level, so that white is 255 * 128."""


@dataclass(frozen=True)
class Fingerprint:
    """A video as small grey pictures over time.

    Attributes:
        slots_THW: (T, 16, 16), T at most 256, in 128ths of a grey level.
        start_seconds: the moment of the video at which the first slot starts; 0 unless the video is long.
    """

    slots_THW: Greys
    start_seconds: float = 0.0

    def pictures(self) -> Float32:
        """Return the slots (T, 16, 16) in grey levels."""
        return np.asarray(self.slots_THW / np.float32(GREY_STEPS), dtype=np.float32)


def build_fingerprint(pts_seconds: Seconds, duration_seconds: float, grey_NHW: Greys) -> Fingerprint:
    """Return the fingerprint of a video or of a span of one.

    Args:
        pts_seconds: (N,) times of the frames, from the start of the span.
        duration_seconds: duration of the span.
        grey_NHW: the frames (N, 16, 16) in 128ths of a grey level.
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
    """Return the start of the `MAX_SLOTS` neighbouring slots that change most."""
    if len(slots_THW) <= MAX_SLOTS:
        return 0
    change_T = [
        float(np.abs(after.astype(np.float32) - before).mean())
        for before, after in itertools.pairwise(slots_THW)
    ]
    # A cut or a flash is much change at one moment: the root lets it count for less.
    total_T = np.concatenate([[0.0], np.cumsum(np.sqrt(change_T))])
    return int(np.argmax(total_T[MAX_SLOTS - 1 :] - total_T[: len(total_T) - MAX_SLOTS + 1]))
