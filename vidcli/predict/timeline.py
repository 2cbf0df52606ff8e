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

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidcli.data.frames import decode_limits
from vidcli.errors import VideoError
from vidcli.models import VideoClassifier
from vidcli.predict.ahead import run_ahead
from vidcli.predict.predictor import Predictor
from vidcli.predict.segments import Floats, Timeline, merge_cells, merge_classes
from vidcli.video import Frames, VideoInfo, stream_frames

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


def build_timeline(
    predictor: Predictor,
    video: str | os.PathLike[str],
    plan: WindowPlan,
    min_seconds: float,
    progress: Callable[[float, float], None] | None = None,
) -> Timeline:
    """Tell what a video shows, from its start to its end.

    Args:
        predictor: the model; it sees windows as it sees whole videos.
        video: a local file.
        plan: the windows.
        min_seconds: segments shorter than this join a neighbour.
        progress: told the seconds done and of all.

    Raises:
        VideoError: the video cannot be decoded to its end.
    """
    network = predictor.frame_network
    scorer = WholeWindows(predictor, plan) if network is None else FeatureWindows(predictor, plan, network)
    cells = _Cells(len(predictor.class_names))
    info: VideoInfo | None = None
    num_frames = 0
    # There is no limit to what a whole video takes, only to the wait for the next frames of it.
    patience = predictor.config.data.max_seconds
    chunks = run_ahead(_chunks(predictor, video, plan), _CHUNKS_AHEAD, patience)
    with closing(chunks), _naming(video, patience):
        for frames_NHWC, count, info in chunks:
            for probabilities_K in scorer.push(frames_NHWC):
                cells.add_window(probabilities_K, plan.cells)
            num_frames += count
            if progress is not None:
                progress(min(num_frames * plan.spacing_seconds, info.duration_seconds), info.duration_seconds)
    assert info is not None
    num_cells = -(-num_frames // plan.step)
    cells_NK = cells.means(num_cells)
    duration = max(info.duration_seconds, (num_frames - 1) * plan.spacing_seconds)
    thresholds = predictor.calibration.thresholds
    about = cells_NK, predictor.class_names, plan.cell_seconds, min_seconds, duration
    if thresholds is None:
        segments = merge_cells(*about, predictor.threshold)
    else:
        segments = merge_classes(*about, thresholds)
    return Timeline(
        os.fspath(video),
        predictor.class_names,
        plan.cell_seconds,
        duration,
        cells_NK,
        segments,
        is_multi_label=thresholds is not None,
    )


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
        self._num_cells = 0

    def add_window(self, probabilities_K: Floats, num_cells: int) -> None:
        """Add a window to its cells; the first of them is the last new one of the window before, plus one."""
        first = self._num_cells - num_cells + 1 if self._num_cells else 0
        self._num_cells = first + num_cells
        if self._num_cells > len(self._counts_N):
            self._sums_NK = np.concatenate([self._sums_NK, np.zeros_like(self._sums_NK)])
            self._counts_N = np.concatenate([self._counts_N, np.zeros_like(self._counts_N)])
        self._sums_NK[first : self._num_cells] += probabilities_K
        self._counts_N[first : self._num_cells] += 1

    def means(self, num_cells: int) -> Floats:
        """Return the mean over the windows that cover each of the first cells (N, K)."""
        covered = slice(min(num_cells, self._num_cells))
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
