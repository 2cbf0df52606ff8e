"""Hours of video in windows: what happens when, in memory that does not grow with the video.

    frames on a grid, decoded once  ->  windows of T frames  ->  probabilities  ->  cells  ->  segments

Windows overlap, and start a step apart:

    grid      ........................     T = 8, step = 2
    window 0  wwwwwwww
    window 1    wwwwwwww                   each is answered as `predict` answers that span
    window 2      wwwwwwww
    cells     00112233445566778899..       one a step: the mean over the windows that cover it

Shape suffixes: N frames or cells, T frames a window, C channels, H W pixels, E features, K classes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidcli.data.frames import decode_limits
from vidcli.errors import VideoError
from vidcli.models import VideoClassifier
from vidcli.predict.merging import stream_segments
from vidcli.predict.predictor import Predictor
from vidcli.predict.segments import Floats, Segment, Timeline
from vidcli.runtime.signals import undivided
from vidcli.runtime.threads import run_ahead
from vidcli.video import Frames, VideoInfo, stream_frames

MAX_WINDOWS = 600
"""Of a video for which nobody chose windows."""

_NUM_DECODERS = 2
_CHUNKS_AHEAD = 4
_WINDOWS_A_STEP = 4
_FIRST_CELLS = 1024


@dataclass(frozen=True)
class WindowPlan:
    """How windows lie on the grid of frames.

    Attributes:
        length: frames a window, T.
        step: frames from one window to the next, and a cell; divides the length.
        spacing_seconds: from one frame of the grid to the next.
    """

    length: int
    step: int
    spacing_seconds: float

    @property
    def cell_seconds(self) -> float:
        """Time of a cell."""
        return self.step * self.spacing_seconds

    @property
    def window_seconds(self) -> float:
        """Time of a window."""
        return self.length * self.spacing_seconds

    @property
    def cells(self) -> int:
        """Cells a window."""
        return self.length // self.step


def plan_windows(length: int, window_seconds: float, step_seconds: float | None = None) -> WindowPlan:
    """Return how windows of `length` frames lie; the step becomes the nearest that divides them.

    Args:
        length: frames a window.
        window_seconds: time of a window.
        step_seconds: from one window to the next; None is a quarter of a window.
    """
    spacing = window_seconds / length
    wanted = (window_seconds / _WINDOWS_A_STEP if step_seconds is None else step_seconds) / spacing
    divisors = [step for step in range(1, length + 1) if length % step == 0]
    return WindowPlan(length, min(divisors, key=lambda step: (abs(step - wanted), step)), spacing)


def choose_plan(length: int, clip_seconds: float, duration_seconds: float) -> WindowPlan:
    """Return windows for a video that nobody chose windows for: at most about `MAX_WINDOWS` of them.

    They are as long as the clips that the model learnt, and a quarter of one apart. Where that makes too
    many, they overlap less; where that is still too many, they are longer.

    Args:
        length: frames a window.
        clip_seconds: time of the clips that the model learnt.
        duration_seconds: time of the video.
    """
    usual = plan_windows(length, clip_seconds)
    for step in range(usual.step, length + 1):
        plan = WindowPlan(length, step, usual.spacing_seconds)
        if length % step == 0 and duration_seconds <= MAX_WINDOWS * plan.cell_seconds:
            return plan
    window = duration_seconds / MAX_WINDOWS
    digit = 10.0 ** (math.floor(math.log10(window)) - 1)  # rounded up to two digits, which --window repeats
    return WindowPlan(length, length, math.ceil(window / digit) * digit / length)


class TimelineWork:
    """The work of telling what one video shows, from its start to its end; it can be left half done.

    Attributes:
        segments: those told so far, by their start; no later moment changes them.
    """

    def __init__(
        self, predictor: Predictor, video: str | os.PathLike[str], plan: WindowPlan, min_seconds: float
    ) -> None:
        """Begin with nothing seen.

        Args:
            predictor: the model; it sees windows as it sees whole videos.
            video: a local file.
            plan: the windows.
            min_seconds: segments shorter than this join a neighbour.
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
        """Look at the whole video.

        Args:
            tell: given each segment as soon as it is certain, but for those that only the end makes so.
            progress: told the seconds done and of all.

        Raises:
            VideoError: the video cannot be decoded to its end.
            KeyboardInterrupt: a signal asked to end; what is told, and `finish`, are as of a video that
                ends where the work did.
        """
        predictor, plan = self._predictor, self._plan
        network = predictor.frame_network
        scorer = (
            WholeWindows(predictor, plan) if network is None else FeatureWindows(predictor, plan, network)
        )
        # There is no limit to what a whole video takes, only to the wait for the next frames of it.
        patience = predictor.config.data.max_seconds
        chunks = run_ahead(_chunks(predictor, self._video, plan), _CHUNKS_AHEAD, patience)
        with closing(chunks), _naming(self._video, patience):
            for frames_NHWC, count, info in chunks:
                # Each window by itself, for one may take long, and a signal to end keeps those before it.
                for probabilities_K in scorer.push(frames_NHWC):
                    with undivided():
                        self._info = info
                        self._cells.add_window(probabilities_K, plan.cells)
                        self._add(self._stream.advance(self._cells.num_final), tell)
                with undivided():
                    self._info = info
                    self._num_frames += count
                seconds = min(self._num_frames * plan.spacing_seconds, info.duration_seconds)
                if progress is not None:
                    progress(seconds, info.duration_seconds)
        self._is_whole = True

    def finish(self, tell: Callable[[Segment], None] | None = None) -> Timeline:
        """Tell the segments that only the end makes certain; return what the video shows.

        Where the work was left half done, that is what its first `covered_seconds` show. Asked again, it
        is the same, and nothing is told.
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


def build_timeline(
    predictor: Predictor,
    video: str | os.PathLike[str],
    plan: WindowPlan,
    min_seconds: float,
    progress: Callable[[float, float], None] | None = None,
) -> Timeline:
    """Tell what a video shows, from its start to its end; see `TimelineWork`.

    Raises:
        VideoError: the video cannot be decoded to its end.
    """
    work = TimelineWork(predictor, video, plan, min_seconds)
    work.run(progress=progress)
    return work.finish()


@contextmanager
def _naming(video: str | os.PathLike[str], patience_seconds: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise VideoError(
            video, f"hangs: no frame came for {patience_seconds:g} s (data.max_seconds), and it was abandoned"
        ) from None


class _Cells:
    """The sum of the windows over each cell, and how many they are, in one array that grows.

    An array a cell would be as good, but for memory: each lies for good where the clips of its window
    lay before, so that the next clip finds no room there, and hours of video took gigabytes.
    """

    def __init__(self, num_classes: int) -> None:
        self._sums_NK = np.zeros((_FIRST_CELLS, num_classes))
        self._counts_N = np.zeros(_FIRST_CELLS, np.int64)
        self._num_cells = self._num_windows = 0

    def add_window(self, probabilities_K: Floats, num_cells: int) -> None:
        """Add a window to its cells; the first of them is the last new one of the window before, plus one."""
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
        """How many cells no later window covers."""
        return self._num_windows

    def means(self, start: int, end: int) -> Floats:
        """Return the mean over the windows that cover each cell from one to another (N, K)."""
        covered = slice(start, min(end, self._num_cells))
        means_NK: Floats = self._sums_NK[covered] / self._counts_N[covered, None]
        return means_NK


def _chunks(
    predictor: Predictor, video: str | os.PathLike[str], plan: WindowPlan
) -> Generator[tuple[Frames, int, VideoInfo], None, None]:
    """Yield frames (N, H, W, 3), how many of them the video has, and what it is.

    The last frame is held until the last window is full, as it is in a clip longer than its video.
    """
    held: list[Frames] = []
    total = 0
    limits = decode_limits(predictor.config.data)
    stream = stream_frames(
        video, plan.spacing_seconds, predictor.decode_size, num_threads=_NUM_DECODERS, limits=limits
    )
    with closing(stream):
        for picture, info in stream:
            held.append(picture)
            total += 1
            if len(held) == plan.length:
                yield np.stack(held), len(held), info
                held = []
    if held:
        missing = max(plan.length - total, -total % plan.step)
        yield np.stack(held + held[-1:] * missing), len(held), info


class WholeWindows:
    """Every window goes through the whole model: its frames see each other there."""

    def __init__(self, predictor: Predictor, plan: WindowPlan) -> None:
        self._predictor, self._plan = predictor, plan
        self._waiting: Frames | None = None

    def push(self, frames_NHWC: Frames) -> Iterator[Floats]:
        """Take frames that follow; yield the probabilities of each window that is full."""
        predictor, plan = self._predictor, self._plan
        waiting = self._waiting
        frames_NHWC = frames_NHWC if waiting is None else np.concatenate([waiting, frames_NHWC])
        while len(frames_NHWC) >= plan.length:
            # One at a time, as predict does: to the last bit what it says of that span.
            logits_1K = predictor.classify(predictor.transform(frames_NHWC[: plan.length])[None])
            yield predictor.calibration.probabilities(logits_1K)
            frames_NHWC = frames_NHWC[plan.step :]
        self._waiting = frames_NHWC


class FeatureWindows:
    """Every frame goes through the backbone once, and its features serve all windows that hold it.

    With frame differences the first frame of a window has none: those frames are computed both ways.
    """

    def __init__(self, predictor: Predictor, plan: WindowPlan, network: VideoClassifier) -> None:
        self._predictor, self._plan, self._network = predictor, plan, network.eval()
        self._last_1CHW: Tensor | None = None
        self._features_NE: Tensor | None = None
        self._starts: list[Tensor] = []
        self._num_pushed = 0

    @torch.inference_mode()
    def push(self, frames_NHWC: Frames) -> list[Floats]:
        """Take frames that follow; return the probabilities of each window that is full."""
        plan, network = self._plan, self._network
        clip_NCHW = self._predictor.transform(frames_NHWC).to(self._predictor.device)
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
        found: list[Floats] = []
        while len(features_NE) >= plan.length:
            window_TE = torch.cat([self._starts.pop(0)[None], features_NE[1 : plan.length]])
            logits_1K = network.head(window_TE[None]).double().cpu().numpy()
            found.append(self._predictor.calibration.probabilities(logits_1K))
            features_NE = features_NE[plan.step :]
        self._features_NE = features_NE
        return found
