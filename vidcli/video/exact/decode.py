"""Decode the wanted frames of a video, exactly those that decoding it from end to end would show."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from typing import get_args

import av
import av.container

from vidcli.arrays import Frames
from vidcli.errors import VideoError
from vidcli.sampling import Seconds
from vidcli.video.codecs.packet_inspector import inspector_for
from vidcli.video.exact.avi import AviPlanner, can_derive_times
from vidcli.video.exact.convert import Converter, SizeRule
from vidcli.video.exact.long_file import LongFilePlanner
from vidcli.video.exact.planner import IndexUnreliable, LastFrame, NotPlannable, Planner
from vidcli.video.exact.request import DecodeMode, FrameCollector, Plan, Request
from vidcli.video.exact.sequential import collect_span, collect_wanted, decode_from_start
from vidcli.video.exact.short_file import ShortFilePlanner, is_short
from vidcli.video.open.budget import Budget, DecodeLimits, call_in_time
from vidcli.video.open.container import can_be_lean, set_threads
from vidcli.video.open.duration import find_rate, measure_duration, period_of
from vidcli.video.open.hardware import HardwareName, find_hardware, warn_of_cpu
from vidcli.video.open.orientation import orientation_in_stream
from vidcli.video.open.truncation import refuse_truncated

# More parts than threads, so that a part that takes longer leaves no thread idle.
_PARTS_PER_THREAD = 8


@dataclass(frozen=True)
class DecodedFrames:
    """Decoded frames and their times.

    Attributes:
        frames: uint8 (N, H, W, 3), RGB, upright.
        pts_seconds: float64 (N,), start of each frame in seconds from the start of the span.
        duration_seconds: of the span.
    """

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
        plan: the wanted moments in seconds, given the duration of the span; None decodes every frame.
        size: output height and width, given the upright ones; None keeps the coded pixels.
        start_seconds: start of the span, from which the plan's moments are counted.
        end_seconds: end of the span, in seconds from the first frame; None is the end of the video.
        mode: `exact` decodes what the wanted frames need. `sequential` decodes everything up to the
            last of them, and returns the same. `keyframes` returns for each moment the last keyframe
            that starts by then (with the keyframe's time), for videos of hours; a file whose
            keyframes are unknown is decoded exactly. `fast` returns the right frames, whose
            pixels differ more the further they are from a keyframe: it skips the loop filter of H.264,
            HEVC and VP8, and decodes MJPEG, and MPEG-4 with a keyframe at least every 16 frames, at a
            quarter or an eighth of the resolution where `size` is no larger.
        num_threads: threads for this one file. Its groups of pictures are decoded in parallel; a
            file of a single group is decoded with FFmpeg's frame threads.
        limits: what the file may cost; None is `DecodeLimits()`.
        hwaccel: `cuda` decodes on an NVIDIA GPU; without one, and a file that it cannot decode, on
            the CPU, with a warning. Frames of a GPU are not checked to equal the CPU's.

    Returns:
        One frame for each wanted moment, in the order of the flattened plan, with times from the
        span's start.

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
    hardware = find_hardware(hwaccel)
    request = Request(Budget(path, limits), plan, size, start_seconds, end_seconds, mode, hardware)
    try:
        return call_in_time(request.budget, lambda: _decode(request, num_threads))
    except VideoError as error:
        if hardware is None:
            raise
        # The CPU decides what is wrong with a file.
        request.budget, request.hardware = Budget(path, limits), None
        decoded = call_in_time(request.budget, lambda: _decode(request, num_threads))
        warn_of_cpu(error, hwaccel)
        return decoded


def _decode(request: Request, num_threads: int) -> DecodedFrames:
    """Decode what the wanted frames need where that can be planned, else from the first frame on."""
    if request.is_plannable:
        for trusts_index in (True, False):
            try:
                return _decode_planned(request, num_threads, trusts_index)
            except IndexUnreliable:
                continue
            except NotPlannable:
                break
    with request.open(num_threads) as (container, stream):
        return _decode_sequential(request, container, stream)


def _decode_sequential(
    request: Request, container: av.container.InputContainer, stream: av.VideoStream
) -> DecodedFrames:
    """Decode an open file from its first frame on."""
    budget, start = request.budget, request.start_seconds
    info, timed = decode_from_start(budget, container, stream)
    end = request.span_end(info.duration_seconds)
    converter = Converter(budget.path, request.unreduced(info, stream), request.size)
    wanted = request.wanted(end, info.tolerance_seconds)
    if wanted is None:
        # A header may state an end a little before the last frame; without an end, every frame is meant.
        last = end if request.has_end else math.inf
        frames, seconds = collect_span(budget, timed, converter, info, start, last)
        return DecodedFrames(frames, seconds, end - start)
    frames, seconds = collect_wanted(budget, timed, converter, wanted, info)
    return DecodedFrames(frames, seconds - start, end - start)


def _decode_planned(request: Request, num_threads: int, trusts_index: bool) -> DecodedFrames:
    """Decode what the wanted frames need, and little else.

    Args:
        request: what is wanted.
        num_threads: threads for this file.
        trusts_index: rely on the container's header and index.

    Raises:
        IndexUnreliable: header or index are wrong; planning without them may still succeed.
        NotPlannable: the file breaks a rule that planning relies on.
    """
    budget, start = request.budget, request.start_seconds
    with request.open(lean=trusts_index) as (container, stream):
        planner = _choose_planner(request, container, stream, num_threads, trusts_index)
        if planner is None:
            if trusts_index and can_be_lean(container):
                raise NotPlannable("a trial decode must find what the header omits")
            # Nothing was read yet, so that this file needs no second opening.
            set_threads(stream, num_threads)
            return _decode_sequential(request, container, stream)
        clock = planner.find_clock()
        orientation = orientation_in_stream(stream, planner.first_packet)
        duration = measure_duration(budget, container, stream, clock.origin_seconds, planner.last_times)
        end = request.span_end(duration)
        wanted = request.wanted(end, clock.tolerance_seconds)
        if wanted is None or not len(wanted):
            raise NotPlannable("no moments are wanted")
        collector = FrameCollector(request, clock, wanted, duration, orientation)
        last = _run(planner, request, collector, container, stream, num_threads)
        if last is not None:
            assert stream.time_base is not None
            length = float(last.duration * stream.time_base)
            period = period_of(find_rate(stream))
            refuse_truncated(budget, duration, clock.seconds_at(last.pts), length, period)
        return DecodedFrames(collector.frames, collector.pts_seconds - start, end - start)


def _choose_planner(
    request: Request,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    num_threads: int,
    trusts_index: bool,
) -> Planner | None:
    """Return the planner for an open file; None where its packets do not tell what frames need."""
    budget = request.budget
    reads_all = num_threads == 1 and is_short(container, stream)
    if reads_all and not request.only_keyframes and can_derive_times(container, stream):
        return AviPlanner(budget, container, stream)
    inspector = inspector_for(stream, request.only_keyframes)
    if inspector is None or not stream.time_base:
        return None
    if (
        container.format.name == "avi"
        and inspector.max_reorder > 0
        and stream.codec_context.reorder_depth > 0
    ):
        return None  # AVI has no presentation times: with B-frames, those of its packets are guesses
    if reads_all:
        return ShortFilePlanner(budget, container, stream, inspector)
    return LongFilePlanner(budget, container, stream, inspector, seekable=trusts_index)


def _run(
    planner: Planner,
    request: Request,
    collector: FrameCollector,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    num_threads: int,
) -> LastFrame | None:
    """Run a planner, in parallel where there are several threads and the file can be split."""
    if num_threads > 1 and isinstance(planner, LongFilePlanner):
        parts = planner.split(collector.cutoffs, num_threads * _PARTS_PER_THREAD)
        if len(parts) > 1:
            return _run_in_parallel(request, collector, parts, min(num_threads, len(parts)))
    set_threads(stream, num_threads)
    return planner.run(collector.cutoffs, collector.sink(container, stream))


def _run_in_parallel(
    request: Request, collector: FrameCollector, parts: list[range], num_threads: int
) -> LastFrame | None:
    """Decode parts of the cutoffs in parallel, each thread with an open file of its own."""
    lasts: list[LastFrame] = []
    failures: list[Exception] = []
    remaining = iter(parts)
    lock = threading.Lock()

    def serve() -> None:
        try:
            with request.open(lean=True) as (container, stream):
                inspector = inspector_for(stream, request.only_keyframes)
                assert inspector is not None
                while not failures:
                    with lock:
                        part = next(remaining, None)
                    if part is None:
                        return
                    planner = LongFilePlanner(request.budget, container, stream, inspector)
                    sink = collector.sink(container, stream, part.start)
                    last = planner.run(collector.cutoffs[part.start : part.stop], sink)
                    if last is not None:
                        lasts.append(last)
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
