"""Classify a long video window by window, in memory that hardly grows with its length.

    frames on a grid, decoded once  ->  windows of T frames  ->  probabilities  ->  cells  ->  segments

Each window starts one step after the window before it, and overlaps it:

    grid      ........................     T = 8, step = 2
    window 0  wwwwwwww
    window 1    wwwwwwww                   has the probabilities that `predict` gives for that span
    window 2      wwwwwwww
    cells     00112233445566778899..       one a step: the mean over the windows that cover it

Shape suffixes: N frames or cells, T frames a window, C channels, H W pixels, E features, K classes.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Float64, Frames
from vidcli.data.frames import decode_limits
from vidcli.errors import VideoError
from vidcli.models import VideoClassifier
from vidcli.predict.merging import stream_segments
from vidcli.predict.predictor import Predictor
from vidcli.predict.segments import Segment, Timeline
from vidcli.runtime.signals import undivided
from vidcli.runtime.threads import run_ahead
from vidcli.sampling import neighbour_steps
from vidcli.video import GridFrame, VideoInfo, stream_frames

MAX_WINDOWS = 600
"""The most windows of a video for which the user chose none."""

_NUM_DECODERS = 2
_CHUNKS_AHEAD = 4
_WINDOWS_A_STEP = 4
_FIRST_CELLS = 1024


@dataclass(frozen=True)
class WindowPlan:
    """How windows lie on the grid of frames.

    Attributes:
        length: number of frames in a window, T.
        step: number of frames from one window to the next, and in a cell; divides the length.
        spacing_seconds: time from one frame of the grid to the next.
    """

    length: int
    step: int
    spacing_seconds: float

    @property
    def cell_seconds(self) -> float:
        """Duration of a cell."""
        return self.step * self.spacing_seconds

    @property
    def window_seconds(self) -> float:
        """Duration of a window."""
        return self.length * self.spacing_seconds

    @property
    def num_cells(self) -> int:
        """Number of cells in a window."""
        return self.length // self.step


def plan_windows(length: int, window_seconds: float, step_seconds: float | None = None) -> WindowPlan:
    """Return how windows of `length` frames lie on the grid.

    Args:
        length: number of frames in a window.
        window_seconds: duration of a window.
        step_seconds: wanted time from one window to the next; the nearest that divides a window is
            taken. None is a quarter of a window.
    """
    spacing = window_seconds / length
    wanted = (window_seconds / _WINDOWS_A_STEP if step_seconds is None else step_seconds) / spacing
    divisors = [step for step in range(1, length + 1) if length % step == 0]
    return WindowPlan(length, min(divisors, key=lambda step: (abs(step - wanted), step)), spacing)


def choose_plan(length: int, clip_seconds: float, duration_seconds: float) -> WindowPlan:
    """Return windows for a video for which the user chose none: at most about `MAX_WINDOWS` of them.

    A window is as long as the clips that the model learnt from, and starts a quarter of that after the
    one before. If that makes too many windows, they overlap less; if there are still too many, they
    are longer.

    Args:
        length: number of frames in a window.
        clip_seconds: duration of the clips that the model learnt from.
        duration_seconds: duration of the video.
    """
    usual = plan_windows(length, clip_seconds)
    for step in range(usual.step, length + 1):
        plan = WindowPlan(length, step, usual.spacing_seconds)
        if length % step == 0 and duration_seconds <= MAX_WINDOWS * plan.cell_seconds:
            return plan
    window = duration_seconds / MAX_WINDOWS
    # Rounded up to two digits, so that --window can repeat it.
    digit = 10.0 ** (math.floor(math.log10(window)) - 1)
    return WindowPlan(length, length, math.ceil(window / digit) * digit / length)


class TimelineWork:
    """The classification of one video from its start to its end, which may be interrupted.

    Attributes:
        segments: the segments that are certain so far, in the order of their start.
    """

    def __init__(
        self, predictor: Predictor, video: str | os.PathLike[str], plan: WindowPlan, min_seconds: float
    ) -> None:
        """Begin before the first frame.

        Args:
            predictor: the model.
            video: a local file.
            plan: the windows.
            min_seconds: duration of the shortest segment; shorter ones become a part of a neighbour.
        """
        self._predictor, self._video, self._plan = predictor, video, plan
        self._cells = _Cells(len(predictor.class_names))
        self._info: VideoInfo | None = None
        self._num_frames = 0
        self._is_whole = False
        self._thresholds = predictor.calibration.thresholds
        self._stream = stream_segments(
            self._cells.means,
            predictor.class_names,
            plan.cell_seconds,
            min_seconds,
            predictor.threshold,
            self._thresholds,
        )
        self.segments: list[Segment] = []
        self._finished: Timeline | None = None

    def run(
        self,
        tell: Callable[[Segment], None] | None = None,
        progress: Callable[[float, float], None] | None = None,
    ) -> None:
        """Classify the whole video; `finish` then returns the result.

        Args:
            tell: called with each segment as soon as it is certain.
            progress: called with the seconds that are done and the seconds of the whole video.

        Raises:
            VideoError: the video cannot be decoded to its end.
            KeyboardInterrupt: a signal asked to stop. `finish` then returns the timeline of what was
                classified before.
        """
        predictor, plan = self._predictor, self._plan
        network = predictor.frame_network
        scorer = (
            _WholeWindows(predictor, plan) if network is None else _FeatureWindows(predictor, plan, network)
        )
        # The time for a whole video is not limited, only the wait for its next frames.
        patience = predictor.config.data.max_seconds
        chunks = run_ahead(_chunks(predictor, self._video, plan), _CHUNKS_AHEAD, patience)
        with closing(chunks), _naming(self._video, patience):
            for frames_NHWC, count, info in chunks:
                # One window at a time: it may take long, and a signal to stop keeps the windows before it.
                for probabilities_K in scorer.push(frames_NHWC):
                    with undivided():
                        self._info = info
                        self._cells.add_window(probabilities_K, plan.num_cells)
                        self._add(self._stream.advance(self._cells.num_final), tell)
                with undivided():
                    self._info = info
                    self._num_frames += count
                seconds = min(self._num_frames * plan.spacing_seconds, info.duration_seconds)
                if progress is not None:
                    progress(seconds, info.duration_seconds)
        self._is_whole = True

    def finish(self, tell: Callable[[Segment], None] | None = None) -> Timeline:
        """Return the timeline; after an interruption, that of the first `covered_seconds`.

        Args:
            tell: called with each segment that only the end makes certain; not in a second call, which
                returns the same timeline.
        """
        if self._finished is not None:
            return self._finished
        plan, names = self._plan, self._predictor.class_names
        with undivided():
            num_cells = -(-self._num_frames // plan.step) if self._is_whole else self._cells.num_final
            length = 0.0 if self._info is None else self._info.duration_seconds
            duration = max(length, (self._num_frames - 1) * plan.spacing_seconds)
            covered = duration if self._is_whole else min(duration, num_cells * plan.cell_seconds)
            cells_NK = self._cells.means(0, num_cells)
            if len(cells_NK):
                self._add(self._stream.finish(len(cells_NK), covered), tell)
            self._finished = Timeline(
                os.fspath(self._video),
                names,
                plan.cell_seconds,
                duration,
                cells_NK,
                tuple(self.segments),
                is_multi_label=self._thresholds is not None,
                covered_seconds=None if self._is_whole else covered,
            )
        return self._finished

    def _add(self, segments: Sequence[Segment], tell: Callable[[Segment], None] | None) -> None:
        for segment in segments:
            self.segments.append(segment)
            if tell is not None:
                tell(segment)


@contextmanager
def _naming(video: str | os.PathLike[str], patience_seconds: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise VideoError(
            video, f"hangs: no frame came for {patience_seconds:g} s (data.max_seconds), and it was abandoned"
        ) from None


class _Cells:
    """The sum of the probabilities of the windows over each cell, and the number of these windows.

    All cells lie in one array that grows. With an array of its own for each cell, hours of video took
    gigabytes: each small array stayed where the clips of its window had been, so that the next clip did
    not fit there.
    """

    def __init__(self, num_classes: int) -> None:
        self._sums_NK = np.zeros((_FIRST_CELLS, num_classes))
        self._counts_N = np.zeros(_FIRST_CELLS, np.int64)
        self._num_cells = self._num_windows = 0

    def add_window(self, probabilities_K: Float64, num_cells: int) -> None:
        """Add a window, which starts one cell after the window before it."""
        first = self._num_cells - num_cells + 1 if self._num_cells else 0
        self._num_cells = first + num_cells
        if self._num_cells > len(self._counts_N):
            self._sums_NK = np.concatenate([self._sums_NK, np.zeros_like(self._sums_NK)])
            self._counts_N = np.concatenate([self._counts_N, np.zeros_like(self._counts_N)])
        self._sums_NK[first : self._num_cells] += probabilities_K
        self._counts_N[first : self._num_cells] += 1
        self._num_windows += 1

    @property
    def num_final(self) -> int:
        """Number of cells that no later window covers."""
        return self._num_windows

    def means(self, start: int, end: int) -> Float64:
        """Return, for each cell from `start` up to `end`, the mean over its windows (N, K)."""
        covered = slice(start, min(end, self._num_cells))
        means_NK: Float64 = self._sums_NK[covered] / self._counts_N[covered, None]
        return means_NK


def _chunks(
    predictor: Predictor, video: str | os.PathLike[str], plan: WindowPlan
) -> Generator[tuple[Frames, int, VideoInfo], None, None]:
    """Yield frames (N, H, W, 3), the number of them that the video really has, and its properties.

    They are (N, 3, H, W, 3) if a panel follows motion, which takes neighbours. The last frame is repeated
    until the last window is full, as in a clip that is longer than its video.
    """
    held: list[Frames] = []
    total = 0
    follows = predictor.config.clip.follows
    steps = neighbour_steps(plan.spacing_seconds) if follows else 1
    stream = stream_frames(
        video,
        plan.spacing_seconds / steps,
        predictor.views.transform.decode_size,
        num_threads=_NUM_DECODERS,
        limits=decode_limits(predictor.config.data),
    )
    with closing(stream):
        for picture, info in _with_neighbours(stream, steps) if follows else stream:
            held.append(picture)
            total += 1
            if len(held) == plan.length:
                yield np.stack(held), len(held), info
                held = []
    if held:
        missing = max(plan.length - total, -total % plan.step)
        yield np.stack(held + held[-1:] * missing), len(held), info


def _with_neighbours(stream: Iterable[GridFrame], steps: int) -> Iterator[GridFrame]:
    """Yield the frames of each moment: the one before it, its own, the one after it, (3, H, W, 3).

    Args:
        stream: the frame of each step.
        steps: from one moment to the next; moments lie in the middles.
    """
    last: deque[GridFrame] = deque(maxlen=3)
    step, moments = -1, 0
    for step, frame in enumerate(stream):
        last.append(frame)
        if step and (step - 1) % steps == steps // 2:
            yield _joined(last[0], last[-2], frame)
            moments += 1
    if step % steps == steps // 2 or not moments:
        yield _joined(last[max(0, len(last) - 2)], last[-1], last[-1])


def _joined(before: GridFrame, own: GridFrame, after: GridFrame) -> GridFrame:
    return GridFrame(np.stack([before.picture, own.picture, after.picture]), own.info)


class _WholeWindows:
    """Send every window through the whole model, for models in which frames of a clip see each other."""

    def __init__(self, predictor: Predictor, plan: WindowPlan) -> None:
        self._predictor, self._plan = predictor, plan
        self._waiting: Frames | None = None

    def push(self, frames_NHWC: Frames) -> Iterator[Float64]:
        """Take the next frames; yield the probabilities of each window that they fill."""
        predictor, plan = self._predictor, self._plan
        waiting = self._waiting
        frames_NHWC = frames_NHWC if waiting is None else np.concatenate([waiting, frames_NHWC])
        while len(frames_NHWC) >= plan.length:
            # One window at a time, as `predict` does, so that both agree to the last bit.
            logits_1K = predictor.classify(predictor.views.transform(frames_NHWC[: plan.length])[None])
            yield predictor.calibration.probabilities(logits_1K)
            frames_NHWC = frames_NHWC[plan.step :]
        self._waiting = frames_NHWC


class _FeatureWindows:
    """Send every frame through the backbone once, and use its features in all windows that hold it.

    With frame differences the first frame of a window has no difference. The features of such frames
    are computed both with and without one.
    """

    def __init__(self, predictor: Predictor, plan: WindowPlan, network: VideoClassifier) -> None:
        self._predictor, self._plan, self._network = predictor, plan, network.eval()
        self._last_1CHW: Tensor | None = None
        self._features_NE: Tensor | None = None
        self._starts: list[Tensor] = []
        self._num_pushed = 0

    @torch.inference_mode()
    def push(self, frames_NHWC: Frames) -> list[Float64]:
        """Take the next frames; return the probabilities of each window that they fill."""
        plan, network = self._plan, self._network
        clip_NCHW = self._predictor.views.transform(frames_NHWC).to(self._predictor.device)
        before = [] if self._last_1CHW is None else [self._last_1CHW]
        following_NE = network.features(torch.cat([*before, clip_NCHW])[None])[0, len(before) :]
        first = -self._num_pushed % plan.step
        if network.config.frame_differences:
            starts_NCHW = clip_NCHW[first :: plan.step]
            if len(starts_NCHW):
                self._starts += network.features(starts_NCHW[:, None])[:, 0].unbind(0)
        else:
            self._starts += following_NE[first :: plan.step].unbind(0)
        self._last_1CHW = clip_NCHW[-1:]
        self._num_pushed += len(clip_NCHW)
        known = [] if self._features_NE is None else [self._features_NE]
        features_NE = torch.cat([*known, following_NE])
        found: list[Float64] = []
        while len(features_NE) >= plan.length:
            window_TE = torch.cat([self._starts.pop(0)[None], features_NE[1 : plan.length]])
            logits_1K = network.head(window_TE[None]).double().cpu().numpy()
            found.append(self._predictor.calibration.probabilities(logits_1K))
            features_NE = features_NE[plan.step :]
        self._features_NE = features_NE
        return found
