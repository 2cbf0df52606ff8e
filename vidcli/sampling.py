"""Choose the moments of a video that become frames of a clip.

A sampler turns the duration of a video into wanted moments, both in seconds from the first frame. The decoder
returns the frame that is shown at each moment: the last one whose timestamp is not later. Variable frame
rates, odd time bases and wrong frame counts therefore need no care here.

Patterns for clips of 4 frames; each character is a frame of the video, and `f` a wanted one:

    segments, centre          ..f....f....f....f..     (eval: the middle of each segment)
    segments, random          f......f..f.......f.     (training: anywhere inside each segment)
    dense, stride 2           .......f.f.f.f......     (eval: the clip is centred, span 7)
    dense, two views          .f.f.f.f.....f.f.f.f     (clips spread evenly over the video)
    segments, speed           .....f...f.f.....f..     (training: segments of a random part)
    dense, speed              .....f..f..f..f.....     (training: another stride a clip)
    dense, jitter             .....f..f.f..f......     (training: each frame early or late)

Sources: segments are TSN's (Wang et al. 2016, arXiv:1608.00859); dense clips and evenly spread
views are those of the 3-D networks (Feichtenhofer et al. 2019, arXiv:1812.03982).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from vidcli.arrays import Float64, Int64

Seconds: TypeAlias = Float64
"""Times in seconds."""
SamplingMode: TypeAlias = Literal["segments", "dense"]

TIMESTAMP_TOLERANCE_SECONDS = 1e-3
"""How much later than the wanted moment a frame may start, since Matroska rounds times to a millisecond."""
MOST_NEIGHBOUR_SECONDS = 0.1
"""How far a neighbour of a moment may be away: what moves has moved by then, and is still nearby."""


def tolerance_seconds(period_seconds: float) -> float:
    """Return how much later than the wanted moment a frame may start, in seconds.

    It is at most a quarter of `period_seconds`, the time between frames, so that the middle of a frame never
    belongs to the next one. This limit matters above 250 frames a second.
    """
    return min(TIMESTAMP_TOLERANCE_SECONDS, period_seconds / 4)


@dataclass(frozen=True)
class ClipSampler:
    """Choose the moments of the frames of one or more clips of a video.

    Args:
        length: number of frames in a clip, T.
        mode: `segments` divides the whole video into T equal segments and takes one moment of each;
            `dense` takes T moments `stride_seconds` apart.
        stride_seconds: time between neighbouring frames of a dense clip.
        views: number of clips of a video, V. Segments: view v takes the point at (v + 1/2) / V of every
            segment. Dense: the clips are spread evenly, the first at the start and the last at the end
            of the video; a single one is centred.
        speed: strength of a random change of speed in training. Dense: the stride is at most 1 + speed
            times longer or shorter. Segments: they cover a random part of the video, at least
            1 / (1 + speed) of it.
        jitter: strength of a random shift of each frame of a dense clip in training, as a share of half
            the stride; with 1 a frame may lie anywhere in its stride.
        neighbours: give each moment with one before and one after it, `neighbour_seconds` away.
    """

    length: int
    mode: SamplingMode = "segments"
    stride_seconds: float = 0.1
    views: int = 1
    speed: float = 0.0
    jitter: float = 0.0
    neighbours: bool = False

    def __post_init__(self) -> None:
        if self.length < 1 or self.views < 1:
            raise ValueError("length and views must be at least 1")
        if self.stride_seconds <= 0:
            raise ValueError("stride_seconds must be positive")
        if self.speed < 0 or not 0 <= self.jitter <= 1:
            raise ValueError("speed must not be negative, and jitter must lie between 0 and 1")

    def __call__(self, duration_seconds: float, rng: np.random.Generator | None = None) -> Seconds:
        """Return the wanted moments (V, T) in seconds from the first frame, ascending within a view.

        With neighbours they are (V, T, 3): the moment before, the moment itself, the moment after.

        The moments of a dense clip that is longer than the video exceed its end; the decoder returns the
        last frame for them.

        Args:
            duration_seconds: duration of the video; 0 for a still.
            rng: draws the random moments of training; None takes the fixed moments of evaluation.
        """
        if duration_seconds < 0:
            raise ValueError("duration_seconds must not be negative")
        draw = self._segments if self.mode == "segments" else self._dense
        moments_VT, spacing_seconds = draw(duration_seconds, rng)
        if not self.neighbours:
            return moments_VT
        steps_3 = np.array([-1.0, 0.0, 1.0]) * neighbour_seconds(spacing_seconds)
        return np.maximum(moments_VT[..., None] + steps_3, 0.0)

    def _segments(self, duration_seconds: float, rng: np.random.Generator | None) -> tuple[Seconds, float]:
        share, start_seconds = 1.0, 0.0
        if rng is not None and self.speed:
            share = 1 / (1 + float(rng.uniform(0, self.speed)))
            start_seconds = float(rng.random()) * (1 - share) * duration_seconds
        segment_seconds = duration_seconds * share / self.length
        first_VT = np.broadcast_to(np.arange(self.length), (self.views, self.length))
        if rng is None:
            offset_VT = np.broadcast_to(
                ((np.arange(self.views) + 0.5) / self.views)[:, None], (self.views, self.length)
            )
        else:
            offset_VT = rng.random((self.views, self.length))
        moments_VT = start_seconds + (first_VT + offset_VT) * segment_seconds
        return np.asarray(moments_VT, dtype=np.float64), segment_seconds

    def _dense(self, duration_seconds: float, rng: np.random.Generator | None) -> tuple[Seconds, float]:
        # A clip of T frames covers T strides, not T - 1, since its last frame has a duration too.
        stride_seconds = self.stride_seconds
        if rng is not None and self.speed:
            largest = np.log1p(self.speed)
            stride_seconds *= float(np.exp(rng.uniform(-largest, largest)))
        slack_seconds = max(0.0, duration_seconds - self.length * stride_seconds)
        if rng is not None:
            start_V = rng.random(self.views) * slack_seconds
        elif self.views == 1:
            start_V = np.array([slack_seconds / 2])
        else:
            start_V = np.linspace(0.0, slack_seconds, self.views)
        # The middles of the strides: if a stride is exactly one frame, every frame is taken once,
        # however timestamps are rounded.
        middles_T = np.arange(self.length) + 0.5
        if rng is not None and self.jitter:
            middles_T = middles_T + self.jitter * rng.uniform(-0.5, 0.5, self.length)
        steps_T = middles_T * stride_seconds
        return np.asarray(start_V[:, None] + steps_T[None, :], dtype=np.float64), stride_seconds


def neighbour_steps(spacing_seconds: float) -> int:
    """Return into how many equal steps the time between two moments is divided, of which a neighbour is one.

    They are odd in number, so that moments and neighbours all lie in the middles of steps.

    Args:
        spacing_seconds: from one moment of a clip to the next.
    """
    steps = int(np.ceil(spacing_seconds / MOST_NEIGHBOUR_SECONDS - 1e-9))
    return max(1, steps + (steps + 1) % 2)


def neighbour_seconds(spacing_seconds: float) -> float:
    """Return how far the neighbours of a moment are away: at most `MOST_NEIGHBOUR_SECONDS`.

    Args:
        spacing_seconds: from one moment of a clip to the next.
    """
    return spacing_seconds / neighbour_steps(spacing_seconds)


def shuffled_order(name: str, length: int, seed: int) -> Int64:
    """Return a random order of the frames of a clip, which is the same in every run.

    Args:
        name: name of the video; each name gives another order.
        length: number of frames.
        seed: another seed gives another order.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return np.asarray(rng.permutation(length), dtype=np.int64)


def shown_frames(pts_seconds: Seconds, wanted_seconds: Seconds) -> Int64:
    """Return, for each wanted moment, the index of the frame that is shown at that moment.

    Args:
        pts_seconds: (N,) start times of the frames of a video, ascending, N >= 1.
        wanted_seconds: moments in any shape. A moment before the first frame gives the first, one after
            the last frame gives the last.
    """
    num_gaps = len(pts_seconds) - 1
    period = float(pts_seconds[-1] - pts_seconds[0]) / num_gaps if num_gaps else np.inf
    later = np.searchsorted(pts_seconds, wanted_seconds + tolerance_seconds(period), side="right")
    return np.asarray(np.clip(later - 1, 0, len(pts_seconds) - 1), dtype=np.int64)
