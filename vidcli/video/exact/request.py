"""What one caller wants of a video, and the array that its frames are converted into."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Literal, TypeAlias

import av
import av.container
import numpy as np
from av.codec.hwaccel import HWAccel

from vidcli.arrays import Frames
from vidcli.errors import VideoError
from vidcli.sampling import Seconds
from vidcli.video.exact.convert import Converter, SizeRule
from vidcli.video.exact.lowres import reduce_resolution, reduced_size
from vidcli.video.exact.planner import Clock, Deliver, IndexUnreliable, NotPlannable
from vidcli.video.open.budget import Budget, PlanFailed
from vidcli.video.open.container import open_video
from vidcli.video.open.orientation import Orientation
from vidcli.video.open.probe import VideoInfo, describe

Plan: TypeAlias = Callable[[float], Seconds]
"""Given the duration in seconds, the wanted moments in seconds from the first frame, any shape."""

DecodeMode: TypeAlias = Literal["exact", "sequential", "keyframes", "fast"]
"""What may be given up for speed; only `exact` and `sequential` give up nothing."""


class Request:
    """What one caller wants of a video.

    Attributes:
        budget: what the file may cost.
        hardware: the device that decodes; None is the CPU.
        size: output height and width, given the upright ones; None keeps the coded pixels.
        start_seconds: start of the span from which moments are counted.
        has_end: the caller named an end of the span, rather than mean the end of the video.
        is_plannable: only some frames are wanted, and planning is allowed.
        is_fast: decode without the loop filter, and at a fraction of the resolution where possible.
        only_keyframes: each moment is answered with the last keyframe that starts by then.
        halvings: how many times the decoder halves height and width.
    """

    def __init__(
        self,
        budget: Budget,
        plan: Plan | None,
        size: SizeRule | None,
        start_seconds: float,
        end_seconds: float | None,
        mode: DecodeMode,
        hardware: HWAccel | None,
    ) -> None:
        """Keep the arguments of `decode_frames`; the plan is called by `wanted`.

        Args:
            budget: what the file may cost.
            plan: the wanted moments in seconds, given the duration of the span; None is every frame.
            size: output height and width, given the upright ones; None keeps the coded pixels.
            start_seconds: start of the span.
            end_seconds: end of the span, from the first frame; None is the end of the video.
            mode: what may be given up for speed.
            hardware: the device that decodes; None is the CPU.
        """
        self.budget = budget
        self.hardware = hardware
        self.size = size
        self.start_seconds = start_seconds
        self.has_end = end_seconds is not None
        self.is_plannable = plan is not None and mode != "sequential"
        self.is_fast = mode == "fast"
        self.only_keyframes = mode == "keyframes"
        self.halvings = 0
        self._plan = plan
        self._end_seconds = end_seconds
        self._wanted: Seconds | None = None

    @contextmanager
    def open(
        self, num_threads: int = 1, lean: bool = False
    ) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """Open the file for this request; see `open_video`."""

        def opened(lean: bool) -> AbstractContextManager[tuple[av.container.InputContainer, av.VideoStream]]:
            return open_video(budget.path, budget, num_threads, lean, self.is_fast, self.hardware)

        budget = self.budget
        with ExitStack() as stack:
            container, stream = stack.enter_context(opened(lean))
            if self.is_fast and self.hardware is None:
                if lean and not stream.width:  # the header of MPEG-4 may leave the size to the stream
                    stack.close()
                    container, stream = stack.enter_context(opened(lean=False))
                self.halvings = reduce_resolution(container, stream, self.size)
            yield container, stream

    def unreduced(self, info: VideoInfo, stream: av.VideoStream) -> VideoInfo:
        """Return the description of a video in its full size, where the decoder reduced the size.

        Args:
            info: description by a decoded frame, which may be reduced.
            stream: video stream of the open file.
        """
        codec = stream.codec_context
        return replace(info, height=codec.coded_height, width=codec.coded_width) if self.halvings else info

    def span_end(self, duration_seconds: float) -> float:
        """Return the end of the span in seconds from the first frame.

        Raises:
            VideoError: the span lies outside the video.
        """
        end = duration_seconds if self._end_seconds is None else min(self._end_seconds, duration_seconds)
        if self.start_seconds > end or (self.start_seconds > 0 and self.start_seconds == end):
            raise VideoError(
                self.budget.path,
                f"the span from {self.start_seconds:g} s lies outside the video, which ends at "
                f"{duration_seconds:.2f} s",
            )
        return end

    def wanted(self, end: float, tolerance: float) -> Seconds | None:
        """Return the wanted moments in seconds from the first frame; None means every frame.

        The plan is called once a request, since it may draw random moments.

        Args:
            end: end of the span, in seconds from the first frame.
            tolerance: how many seconds later than a moment its frame may start.
        """
        if self._plan is None:
            return None
        if self._wanted is None:
            try:
                moments = np.ravel(self._plan(end - self.start_seconds)).astype(np.float64)
                if not np.isfinite(moments).all():
                    raise ValueError("a plan must return finite moments")
            except Exception as error:
                raise PlanFailed(error) from error
            self._wanted = moments
        # A span is half-open: a moment at its end is answered with the last frame inside.
        latest = end - 2 * tolerance if self.has_end else end
        return np.minimum(self.start_seconds + self._wanted, latest)


class FrameCollector:
    """Convert the frames that a planner delivers into one array, which is made for the first one.

    Attributes:
        cutoffs: ascending and all different; one frame is wanted for each.
        info: description of the video, once a frame was delivered.
        frames: uint8 (N, H, W, 3), in the order of the wanted moments.
        pts_seconds: float64 (N,), start of each frame in seconds from the first of the file.
    """

    info: VideoInfo
    frames: Frames

    def __init__(
        self,
        request: Request,
        clock: Clock,
        moments: Seconds,
        duration_seconds: float,
        orientation: Orientation | None,
    ) -> None:
        """Find the cutoffs of the moments.

        Args:
            request: whose frames are collected.
            clock: of the planner that delivers them.
            moments: (N,) wanted moments in seconds from the first frame.
            duration_seconds: of the video.
            orientation: as the coded stream states it at its start; None takes that of the frames.
        """
        self._request = request
        self._clock = clock
        self._duration_seconds = duration_seconds
        self._orientation = orientation
        cutoff_of_moment = [clock.cutoff_at(moment) for moment in moments.tolist()]
        self.cutoffs = sorted(set(cutoff_of_moment))
        self.pts_seconds = np.zeros(len(cutoff_of_moment))
        indices = {cutoff: index for index, cutoff in enumerate(self.cutoffs)}
        self._moments_of: list[list[int]] = [[] for _ in self.cutoffs]
        for moment, cutoff in enumerate(cutoff_of_moment):
            self._moments_of[indices[cutoff]].append(moment)
        self._lock = threading.Lock()
        self._is_made = False

    def sink(
        self, container: av.container.InputContainer, stream: av.VideoStream, first_index: int = 0
    ) -> Deliver:
        """Return the function to which a planner delivers the frames of one open file.

        Args:
            container: the open file.
            stream: its video stream.
            first_index: index in `cutoffs` of the planner's first cutoff.
        """
        converter: Converter | None = None
        coded_size = reduced_size(stream.height, stream.width, self._request.halvings)
        last: tuple[int, int] | None = None  # PTS of the last frame, and its index in `frames`

        def deliver(index: int, frame: av.VideoFrame) -> None:
            nonlocal converter, coded_size, last
            if coded_size == (0, 0):  # the header of MPEG-4 may leave the size to the stream
                coded_size = frame.height, frame.width
            if (frame.height, frame.width) != coded_size:
                raise IndexUnreliable("frames differ in size from what the header says")
            if converter is None:
                request = self._request
                info = describe(
                    request.budget, container, stream, frame, self._duration_seconds, self._orientation
                )
                converter = Converter(request.budget.path, request.unreduced(info, stream), request.size)
                self._make_array(info, converter)
            assert frame.pts is not None
            seconds = self._clock.seconds_at(frame.pts)
            for moment in self._moments_of[first_index + index]:
                if last is None or last[0] != frame.pts:
                    converter.convert_into(self.frames[moment], frame, seconds)
                    last = frame.pts, moment
                else:
                    self.frames[moment] = self.frames[last[1]]
                self.pts_seconds[moment] = seconds

        return deliver

    def _make_array(self, info: VideoInfo, converter: Converter) -> None:
        with self._lock:
            if not self._is_made:
                self.info = info
                self.frames = np.empty((len(self.pts_seconds), *converter.shape), np.uint8)
                self._is_made = True
            elif self.frames.shape[1:] != converter.shape or info.rotation != self.info.rotation:
                raise NotPlannable("parts of the file differ in size or rotation")
