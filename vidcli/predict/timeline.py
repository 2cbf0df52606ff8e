"""Classify a long video window by window, in memory that hardly grows with its length.

    frames on a grid, decoded once  ->  windows of T frames  ->  probabilities  ->  cells  ->  segments

Each window starts one step after the window before it, and overlaps it:

    grid      ........................     T = 8, step = 2
    window 0  wwwwwwww
    window 1    wwwwwwww                   has the probabilities that `predict` gives for that span
    window 2      wwwwwwww
    cells     00112233445566778899..       one a step: the mean over the windows that cover it

Shape suffixes: N frames or cells, W windows, T frames a window, C channels, H W pixels, E features,
K classes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from vidcli.arrays import Float64, Frames
from vidcli.data.frames import decode_limits
from vidcli.data.items import VideoItem
from vidcli.errors import VideoError
from vidcli.models.timeline_rules import TimelineRules
from vidcli.predict.feature_windows import FeatureWindows
from vidcli.predict.frame_networks import frame_network, stream_network
from vidcli.predict.predictor import Predictor
from vidcli.predict.presence import stream_present
from vidcli.predict.segment_streams import stream_segments
from vidcli.predict.segments import Segment, Timeline
from vidcli.predict.temporal_cells import SubjectMotion, TemporalCells
from vidcli.predict.view_loader import item_of
from vidcli.predict.window_plan import WindowCells, WindowPlan, window_weights
from vidcli.runtime.signals import undivided
from vidcli.runtime.threads import run_ahead
from vidcli.sampling import neighbour_steps
from vidcli.video import GridFrame, VideoInfo, stream_frames

if TYPE_CHECKING:
    from vidcli.predict.stream_windows import StreamWindows

_NUM_DECODERS = 2
_CHUNKS_AHEAD = 4
_CHUNK_BYTES = 3 << 20
"""Of frames that are computed at once: small ones in larger numbers, which is quicker."""


class TimelineWork:
    """The classification of one video from its start to its end, which may be interrupted.

    Attributes:
        segments: the segments that are certain so far, in the order of their start.
    """

    def __init__(
        self,
        predictor: Predictor,
        video: str | os.PathLike[str] | VideoItem,
        plan: WindowPlan,
        min_seconds: float,
        rules: TimelineRules | None = None,
    ) -> None:
        """Begin before the first frame.

        Args:
            predictor: the model.
            video: a local file, or one subject of it.
            plan: the windows.
            min_seconds: duration of the shortest segment; shorter ones become a part of a neighbour.
            rules: how to read windows and smooth, as was learnt, in place of `min_seconds`.
        """
        self._predictor, self._plan = predictor, plan
        self._item = item_of(video)
        self._present = predictor.views.present(self._item)
        reading = "mean" if rules is None else rules.reading
        self._cells = WindowCells(len(predictor.class_names), window_weights(plan.num_cells, reading))
        self._answers = (
            self._cells if rules is None else _seen_again(predictor, self._item, self._cells, rules)
        )
        self._info: VideoInfo | None = None
        self._num_frames = 0
        self._is_whole = False
        self._thresholds = predictor.calibration.thresholds
        self._stream = stream_present(
            partial(
                stream_segments,
                class_names=predictor.class_names,
                cell_seconds=plan.cell_seconds,
                min_seconds=min_seconds,
                threshold=predictor.threshold,
                thresholds=self._thresholds,
                rules=rules,
            ),
            self._answers.means,
            plan.cell_seconds,
            self._present,
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
        scorer = _open_scorer(predictor, plan)
        with _open_chunks(predictor, self._item, plan) as chunks:
            for frames_NHWC, count, info in chunks:
                # A signal to stop keeps the windows that came before.
                for some in scorer.push(frames_NHWC):
                    with undivided():
                        self._info = info
                        for probabilities_K in some:
                            self._cells.add_window(probabilities_K)
                        self._add(self._stream.advance(self._answers.num_final), tell)
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
            self._answers.finish(num_cells)
            cells_NK = self._answers.means(0, num_cells)
            if len(cells_NK):
                self._add(self._stream.finish(len(cells_NK), covered), tell)
            self._finished = Timeline(
                str(self._item.path),
                names,
                plan.cell_seconds,
                duration,
                cells_NK,
                tuple(self.segments),
                is_multi_label=self._thresholds is not None,
                covered_seconds=None if self._is_whole else covered,
                track=self._item.track,
                present=self._present,
            )
        return self._finished

    def _add(self, segments: Sequence[Segment], tell: Callable[[Segment], None] | None) -> None:
        for segment in segments:
            self.segments.append(segment)
            if tell is not None:
                tell(segment)


def _seen_again(
    predictor: Predictor, video: VideoItem, cells: WindowCells, rules: TimelineRules
) -> WindowCells | TemporalCells:
    """Return cells as the network over time of the rules sees them; as they are where there is none."""
    if rules.temporal is None:
        return cells
    motion = SubjectMotion(video, predictor.config.subject, rules.step_seconds)
    return TemporalCells(cells, rules.temporal.build(len(predictor.class_names)), motion)


def classify_windows(
    predictor: Predictor,
    video: VideoItem,
    plan: WindowPlan,
    progress: Callable[[float, float], None] | None = None,
) -> tuple[Float64, int, float]:
    """Return the probabilities of all windows of a video (W, K), the number of its cells, and its seconds.

    Args:
        predictor: the model.
        video: a whole video, or one subject of it.
        plan: the windows.
        progress: called with the seconds that are done and those of the whole video.

    Raises:
        VideoError: the video cannot be decoded to its end.
    """
    scorer = _open_scorer(predictor, plan)
    found: list[Float64] = []
    num_frames, duration = 0, 0.0
    with _open_chunks(predictor, video, plan) as chunks:
        for frames_NHWC, count, info in chunks:
            found += chain.from_iterable(scorer.push(frames_NHWC))
            num_frames, duration = num_frames + count, info.duration_seconds
            if progress is not None:
                progress(min(num_frames * plan.spacing_seconds, duration), duration)
    duration = max(duration, (num_frames - 1) * plan.spacing_seconds)
    return np.stack(found), -(-num_frames // plan.step), duration


@contextmanager
def _open_chunks(
    predictor: Predictor, video: VideoItem, plan: WindowPlan
) -> Iterator[Iterator[tuple[Frames, int, VideoInfo]]]:
    """Give the frames of a video as they are decoded; the wait for the next ones is limited, not all."""
    patience = predictor.config.data.max_seconds
    chunks = run_ahead(_chunks(predictor, video, plan), _CHUNKS_AHEAD, patience)
    with closing(chunks), _naming(video.path, patience):
        yield chunks


@contextmanager
def _naming(video: str | os.PathLike[str], patience_seconds: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise VideoError(
            video, f"hangs: no frame came for {patience_seconds:g} s (data.max_seconds), and it was abandoned"
        ) from None


def _chunks(
    predictor: Predictor, video: VideoItem, plan: WindowPlan
) -> Generator[tuple[Frames, int, VideoInfo], None, None]:
    """Yield frames (N, H, W, 3), the number of them that the video really has, and its properties.

    They are (N, 3, H, W, 3) if a panel follows motion, which takes neighbours. The last frame is repeated
    until the last window is full, as in a clip that is longer than its video.
    """
    held: list[Frames] = []
    total, at_once = 0, plan.length * max(1, _CHUNK_BYTES // predictor.config.clip.num_bytes)
    follows = predictor.config.clip.follows
    steps = neighbour_steps(plan.spacing_seconds) if follows else 1
    stream = stream_frames(
        video.path,
        plan.spacing_seconds / steps,
        predictor.views.framing(video),
        num_threads=_NUM_DECODERS,
        limits=decode_limits(predictor.config.data),
    )
    with closing(stream):
        for picture, info in _with_neighbours(stream, steps) if follows else stream:
            held.append(picture)
            total += 1
            if len(held) == at_once:
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


def shares_frames(predictor: Predictor) -> bool:
    """Tell whether each frame is computed once, for all windows that hold it."""
    return frame_network(predictor) is not None or stream_network(predictor) is not None


def _open_scorer(predictor: Predictor, plan: WindowPlan) -> FeatureWindows | StreamWindows | _WholeWindows:
    """Return what makes probabilities of windows from frames, in the quickest way that the model allows."""
    if (network := frame_network(predictor)) is not None:
        return FeatureWindows(predictor, plan, network)
    if (streams := stream_network(predictor)) is not None:
        from vidcli.predict.stream_windows import StreamWindows

        return StreamWindows(predictor, plan.length, plan.step, streams)
    return _WholeWindows(predictor, plan)


class _WholeWindows:
    """Send every window through the whole model, for models in which frames of a clip see each other."""

    def __init__(self, predictor: Predictor, plan: WindowPlan) -> None:
        self._predictor, self._plan = predictor, plan
        self._waiting: Frames | None = None

    def push(self, frames_NHWC: Frames) -> Iterator[list[Float64]]:
        """Take the next frames; yield the probabilities of each window that they fill, one by one."""
        predictor, plan = self._predictor, self._plan
        waiting = self._waiting
        frames_NHWC = frames_NHWC if waiting is None else np.concatenate([waiting, frames_NHWC])
        while len(frames_NHWC) >= plan.length:
            # One window at a time, as `predict` does, so that both agree to the last bit.
            clip_TCHW = predictor.views.transform.array(frames_NHWC[: plan.length])
            logits_1K = predictor.classify(clip_TCHW[None])
            yield [predictor.calibration.probabilities(logits_1K)]
            frames_NHWC = frames_NHWC[plan.step :]
        self._waiting = frames_NHWC
