"""Decode the wanted frames of a video, exactly those that decoding it from end to end would show."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import av
import av.container
import numpy as np
from av.codec.hwaccel import HWAccel

from vidcli.errors import VideoError
from vidcli.sampling import Seconds
from vidcli.video.codecs.packet_inspector import marks_for
from vidcli.video.exact.avi import Reordered, can_reorder
from vidcli.video.exact.convert import Converter, Frames, SizeRule
from vidcli.video.exact.feed import Deliver, NotPlannable
from vidcli.video.exact.long_file import PlannedDecoder, can_plan
from vidcli.video.exact.lookahead import Distrusted
from vidcli.video.exact.lowres import reduce_resolution, reduced_size
from vidcli.video.exact.sequential import collect_span, collect_wanted, decode_from_start
from vidcli.video.exact.short_file import Survey, is_short
from vidcli.video.open.budget import Budget, DecodeLimits, PlanFailed, call_in_time
from vidcli.video.open.container import can_be_lean, open_video, set_threads
from vidcli.video.open.duration import find_rate, measure_duration, period_of, tolerance_of
from vidcli.video.open.hardware import HardwareName, find_hardware, warn_of_cpu
from vidcli.video.open.orientation import Orientation, orientation_in_stream
from vidcli.video.open.probe import VideoInfo, describe
from vidcli.video.open.truncation import refuse_truncated

Plan: TypeAlias = Callable[[float], Seconds]
"""Given the duration in seconds, the wanted moments in seconds from the first frame, any shape."""

DecodeMode: TypeAlias = Literal["exact", "sequential", "keyframes", "fast"]
"""What may be given up for speed; only `exact` and `sequential` give up nothing."""

# More parts than threads even out that some take longer.
_GROUPS_PER_THREAD = 8


@dataclass(frozen=True)
class DecodedFrames:
    """Frames uint8 (N, H, W, 3) and when each starts, float64 (N,), in seconds from the first."""

    frames: Frames
    pts_seconds: Seconds
    duration_seconds: float


def decode_frames(
    path: str | os.PathLike[str],
    plan: Plan | None = None,
    size: SizeRule | None = None,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    *,
    mode: DecodeMode = "exact",
    num_threads: int = 1,
    limits: DecodeLimits | None = None,
    hwaccel: HardwareName = "off",
) -> DecodedFrames:
    """Decode the frames that are shown at the moments of `plan`, in its order.

    Args:
        path: a local file.
        plan: moments wanted, given the duration of the span; None decodes every frame once.
        size: output height and width, given the upright ones; None keeps the coded pixels.
        start_seconds: start of the span the plan counts from.
        end_seconds: end of the span; None is the end of the video.
        mode: `exact` decodes what the wanted frames need; `sequential` everything up to the last of
            them, to the same effect. `keyframes` gives for each moment the last keyframe that
            starts by then (with its own time), for videos of hours; a file whose keyframes cannot
            be told is decoded exactly. `fast` leaves out the loop filter of H.264, HEVC and VP8
            (FFmpeg's VP9 keeps it), and decodes MJPEG, and MPEG-4 with a keyframe every 16 frames,
            at a quarter or an eighth of their resolution where `size` is no larger: the right
            frames, but not to the bit, the less so the further from a keyframe.
        num_threads: cores to use for this one file. Its groups of pictures are decoded side by
            side; a file that is one group is decoded with FFmpeg's frame threads.
        limits: what the file may cost; None is `DecodeLimits()`.
        hwaccel: `cuda` decodes on an NVIDIA GPU; without one, and a file that it cannot decode, on
            the CPU, with a warning. That its frames equal the CPU's is not checked.

    Returns:
        One frame a wanted moment, flattened; frames and times count from the span's start.

    Raises:
        VideoError: no such file, not a video, damaged where frames are wanted, ending earlier
            than its header says, beyond a limit, or a span that lies outside of it.
    """
    if mode not in get_args(DecodeMode):
        raise ValueError(f"mode must be one of {get_args(DecodeMode)}, not {mode!r}")
    if num_threads < 1:
        raise ValueError("num_threads must be at least 1")
    if hwaccel not in get_args(HardwareName):
        raise ValueError(f"hwaccel must be one of {get_args(HardwareName)}, not {hwaccel!r}")
    limits = limits or DecodeLimits()
    request = _Request(Budget(path, limits), plan, size, start_seconds, end_seconds, mode)
    request.hardware = find_hardware(hwaccel)
    if request.hardware is None:
        return _decode(request, num_threads)
    try:
        return _decode(request, num_threads)
    except VideoError as error:
        # The CPU has the last word on what is wrong with a file.
        request.budget, request.hardware = Budget(path, limits), None
        decoded = _decode(request, num_threads)
        warn_of_cpu(error, hwaccel)
        return decoded


def _decode(request: _Request, num_threads: int) -> DecodedFrames:
    return call_in_time(request.budget, lambda: _decode_as_planned(request, num_threads))


def _decode_as_planned(request: _Request, num_threads: int) -> DecodedFrames:
    """Decode what is needed, where that can be told; else from the first frame on."""
    if not request.is_plannable:
        return _decode_sequential(request, num_threads)
    try:
        return _decode_planned(request, num_threads, is_trusting=True)
    except Distrusted:
        pass
    except NotPlannable:
        return _decode_sequential(request, num_threads)
    try:
        return _decode_planned(request, num_threads, is_trusting=False)
    except NotPlannable:
        return _decode_sequential(request, num_threads)


class _Request:
    """What the caller wants; the plan is asked once, for it may draw random moments."""

    def __init__(
        self,
        budget: Budget,
        plan: Plan | None,
        size: SizeRule | None,
        start_seconds: float,
        end_seconds: float | None,
        mode: DecodeMode,
    ) -> None:
        self.budget = budget
        self.hardware: HWAccel | None = None
        self.is_plannable = plan is not None and mode != "sequential"
        self.is_fast = mode == "fast"
        self.halvings = 0  # of height and width, by the decoder
        self.only_keyframes = mode == "keyframes"
        self.size = size
        self.start_seconds = start_seconds
        self._plan = plan
        self._end_seconds = end_seconds
        self.has_end = end_seconds is not None
        self._wanted: Seconds | None = None

    @contextmanager
    def open(
        self, num_threads: int = 1, lean: bool = False
    ) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
        """Open the file as this request wants it decoded."""

        def opened(lean: bool) -> AbstractContextManager[tuple[av.container.InputContainer, av.VideoStream]]:
            return open_video(budget.path, budget, num_threads, lean, self.is_fast, self.hardware)

        budget = self.budget
        with ExitStack() as stack:
            container, stream = stack.enter_context(opened(lean))
            if self.is_fast and self.hardware is None:
                if lean and not stream.width:  # a header of MPEG-4 may leave it to the stream
                    stack.close()
                    container, stream = stack.enter_context(opened(lean=False))
                self.halvings = reduce_resolution(container, stream, self.size)
            yield container, stream

    def whole(self, info: VideoInfo, stream: av.VideoStream) -> VideoInfo:
        """Return what a video is whose pictures may be reduced, from what its frames show it to be."""
        codec = stream.codec_context
        return replace(info, height=codec.coded_height, width=codec.coded_width) if self.halvings else info

    def span_end(self, duration_seconds: float) -> float:
        """Return the end of the span in seconds from the first frame."""
        end = duration_seconds if self._end_seconds is None else min(self._end_seconds, duration_seconds)
        if self.start_seconds > end or (self.start_seconds > 0 and self.start_seconds == end):
            raise VideoError(
                self.budget.path,
                f"the span from {self.start_seconds:g} s lies outside the video, which ends at "
                f"{duration_seconds:.2f} s",
            )
        return end

    def wanted(self, end: float, tolerance: float) -> Seconds | None:
        """Return the wanted moments in seconds from the first frame; None is every frame.

        Args:
            end: of the span, in seconds from the first frame.
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


def _decode_sequential(request: _Request, num_threads: int) -> DecodedFrames:
    with request.open(num_threads) as (container, stream):
        return _collect(request, container, stream)


def _collect(
    request: _Request, container: av.container.InputContainer, stream: av.VideoStream
) -> DecodedFrames:
    """Decode an open file from its first frame on."""
    budget, start = request.budget, request.start_seconds
    info, timed = decode_from_start(budget, container, stream)
    end = request.span_end(info.duration_seconds)
    converter = Converter(request.budget.path, request.whole(info, stream), request.size)
    wanted = request.wanted(end, info.tolerance_seconds)
    if wanted is None:
        # Headers may end a little before the last frame; without an end, every frame is meant.
        frames, seconds = collect_span(
            budget, timed, converter, info, start, end if request.has_end else math.inf
        )
        return DecodedFrames(frames, seconds, end - start)
    frames, seconds = collect_wanted(budget, timed, converter, wanted, info)
    return DecodedFrames(frames, seconds - start, end - start)


def _decode_planned(request: _Request, num_threads: int, is_trusting: bool) -> DecodedFrames:
    """Decode only what the wanted frames need.

    Args:
        is_trusting: rely on the container's header and index; if that fails, try without.

    Raises:
        NotPlannable: the file does not keep to what planning relies on.
    """
    budget, start = request.budget, request.start_seconds
    with request.open(lean=is_trusting) as (container, stream):
        is_simple = num_threads == 1 and is_short(container, stream)
        if is_simple and not request.only_keyframes and can_reorder(container, stream):
            return _decode_reordered(request, container, stream)
        marks = marks_for(stream, request.only_keyframes)
        if marks is None or not can_plan(container, stream, marks):
            if is_trusting and can_be_lean(container):
                raise NotPlannable("what the header omits must be learnt from a trial decode")
            # Nothing was read yet, so that this file needs no second opening.
            set_threads(stream, num_threads)
            return _collect(request, container, stream)
        decoder: PlannedDecoder | Survey
        if is_simple:
            decoder = Survey(budget, container, stream, marks)
        else:
            decoder = PlannedDecoder(budget, container, stream, marks, seekable=is_trusting)
        clock = _Clock(stream, decoder.find_origin())
        orientation = orientation_in_stream(stream, decoder.first_packet)
        last_times = None
        if isinstance(decoder, Survey):
            last_times = [clock.file_seconds_at(pts) for pts in decoder.last_times]
        duration = measure_duration(budget, container, stream, clock.origin_seconds, last_times)
        end = request.span_end(duration)
        wanted = request.wanted(end, clock.tolerance)
        if wanted is None or not len(wanted):
            raise NotPlannable("no moments are wanted")
        limit_of_moment = [clock.limit_at(moment) for moment in wanted.tolist()]
        output = _Output(request, clock.seconds_at, duration, limit_of_moment, orientation)
        groups: list[range] = []
        if num_threads > 1 and isinstance(decoder, PlannedDecoder):
            groups = decoder.group(output.limits, num_threads * _GROUPS_PER_THREAD)
        if len(groups) > 1:
            last = _decode_groups(request, output, groups, min(num_threads, len(groups)))
        else:
            set_threads(stream, num_threads)
            last_pts = decoder.run(output.limits, output.sink(container, stream))
            last = None if last_pts is None else (last_pts, decoder.last_duration)
        if last is not None:
            last_seconds, length = clock.seconds_at(last[0]), clock.file_seconds_at(last[1])
            refuse_truncated(budget, duration, last_seconds, length, clock.period)
        return DecodedFrames(output.frames, output.seconds - start, end - start)


def _decode_reordered(
    request: _Request, container: av.container.InputContainer, stream: av.VideoStream
) -> DecodedFrames:
    """Decode only what the wanted frames need of a file without presentation times."""
    budget, period = request.budget, period_of(find_rate(stream))
    decoder = Reordered(budget, container, stream, period)
    duration = measure_duration(budget, container, stream, decoder.origin_seconds)
    end = request.span_end(duration)
    wanted = request.wanted(end, decoder.tolerance)
    if wanted is None or not len(wanted):
        raise NotPlannable("no moments are wanted")
    number_of_moment = decoder.find_frames(wanted)
    output = _Output(request, decoder.seconds.__getitem__, duration, number_of_moment)
    decoder.run(output.limits, output.sink(container, stream))
    if output.limits[-1] == len(decoder.seconds) - 1:
        refuse_truncated(budget, duration, decoder.seconds[-1], 0.0, period)
    return DecodedFrames(output.frames, output.seconds - request.start_seconds, end - request.start_seconds)


def _decode_groups(
    request: _Request, output: _Output, groups: list[range], num_threads: int
) -> tuple[int, int] | None:
    """Decode groups of limits side by side, each thread with a container of its own.

    Returns:
        presentation time and duration of the file's last frame, if a limit lies beyond it.
    """
    lasts: list[tuple[int, int]] = []
    failures: list[Exception] = []
    remaining = iter(groups)
    lock = threading.Lock()

    def serve() -> None:
        try:
            with request.open(lean=True) as (container, stream):
                marks = marks_for(stream, request.only_keyframes)
                assert marks is not None
                while not failures:
                    with lock:
                        group = next(remaining, None)
                    if group is None:
                        return
                    decoder = PlannedDecoder(request.budget, container, stream, marks)
                    sink = output.sink(container, stream, group.start)
                    last = decoder.run(output.limits[group.start : group.stop], sink)
                    if last is not None:
                        lasts.append((last, decoder.last_duration))
        except Exception as error:  # raised again below
            failures.append(error)

    threads = [threading.Thread(target=serve, name="vidcli-decode") for _ in range(num_threads - 1)]
    for thread in threads:
        thread.start()
    serve()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return max(lasts, default=None)


class _Clock:
    """Presentation times of a stream, and seconds from its first frame."""

    def __init__(self, stream: av.VideoStream, origin: int) -> None:
        assert stream.time_base is not None
        self._numerator = stream.time_base.numerator
        self._denominator = stream.time_base.denominator
        self.origin = origin
        self.origin_seconds = self.file_seconds_at(origin)
        self.period = period_of(find_rate(stream))
        self.tolerance = tolerance_of(stream)

    def file_seconds_at(self, pts: int) -> float:
        """Return seconds on the file's own clock."""
        return pts * self._numerator / self._denominator

    def seconds_at(self, pts: int) -> float:
        """Return seconds from the first frame, to the last bit as the sequential decoder does."""
        return pts * self._numerator / self._denominator - self.origin_seconds

    def limit_at(self, moment: float) -> int:
        """Return the latest presentation time of a frame that is shown at `moment` seconds."""
        seconds = moment + self.tolerance + self.origin_seconds
        limit = math.floor(seconds * self._denominator / self._numerator)
        # Rounding must fall as it does where frames are compared one by one.
        while self.seconds_at(limit + 1) - self.tolerance <= moment:
            limit += 1
        while self.seconds_at(limit) - self.tolerance > moment:
            limit -= 1
        return max(limit, self.origin)


class _Output:
    """The array that frames are converted into, made when the first one comes.

    Args:
        seconds_at: start of a frame from the first one's, given its presentation time.
        orientation: what the coded stream says of it at its start.

    Attributes:
        limits: ascending presentation times, each different; one frame is wanted for each.
        info: what the video is.
        frames: uint8 (N, H, W, 3), in the order of the wanted moments.
        seconds: (N,) start of each frame in seconds from the first of the file.
    """

    info: VideoInfo
    frames: Frames

    def __init__(
        self,
        request: _Request,
        seconds_at: Callable[[int], float],
        duration_seconds: float,
        limit_of_moment: list[int],
        orientation: Orientation | None = None,
    ) -> None:
        self._request = request
        self.limits = sorted(set(limit_of_moment))
        self.seconds = np.zeros(len(limit_of_moment))
        self._seconds_at = seconds_at
        self._duration_seconds = duration_seconds
        self._orientation = orientation
        numbers = {limit: number for number, limit in enumerate(self.limits)}
        self._moments_of: list[list[int]] = [[] for _ in self.limits]
        for moment, limit in enumerate(limit_of_moment):
            self._moments_of[numbers[limit]].append(moment)
        self._lock = threading.Lock()
        self._is_made = False

    def sink(
        self, container: av.container.InputContainer, stream: av.VideoStream, first_number: int = 0
    ) -> Deliver:
        """Return what takes the frames of one open file, whose limits start at `first_number`."""
        converter: Converter | None = None
        coded_size = reduced_size(stream.height, stream.width, self._request.halvings)
        last: tuple[int, int] | None = None  # presentation time and place of the last frame

        def deliver(number: int, frame: av.VideoFrame) -> None:
            nonlocal converter, coded_size, last
            if coded_size == (0, 0):  # a header of MPEG-4 may leave it to the stream
                coded_size = frame.height, frame.width
            if (frame.height, frame.width) != coded_size:
                raise Distrusted("frames differ in size from what the header says")
            if converter is None:
                request = self._request
                info = describe(
                    request.budget, container, stream, frame, self._duration_seconds, self._orientation
                )
                converter = Converter(request.budget.path, request.whole(info, stream), request.size)
                self._make(info, converter)
            assert frame.pts is not None
            for moment in self._moments_of[first_number + number]:
                if last is None or last[0] != frame.pts:
                    converter.convert_into(self.frames[moment], frame)
                    last = frame.pts, moment
                else:
                    self.frames[moment] = self.frames[last[1]]
                self.seconds[moment] = self._seconds_at(frame.pts)

        return deliver

    def _make(self, info: VideoInfo, converter: Converter) -> None:
        with self._lock:
            if not self._is_made:
                self.info = info
                self.frames = np.empty((len(self.seconds), *converter.shape), np.uint8)
                self._is_made = True
            elif self.frames.shape[1:] != converter.shape or info.rotation != self.info.rotation:
                raise NotPlannable("parts of the file differ in size or rotation")
