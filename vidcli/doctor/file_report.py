"""Decode one file from its first frame to its last, and report what it is and what is wrong with it.

Frames are decoded to 64x64 pixels and kept even smaller, so that an hour of video takes about 50 MB:

    file --decode--> (n, 64, 64, 3), two thousand frames at a time
                       |-> change    (N,)           largest change of a pixel since the frame before
                       |-> grey      (N, 16, 16)    for motion and fingerprints, in 128ths of a level
                       '-> checksum  (N,), 64 bits, to find files whose frames are equal

Axis letters: N frames of a file, H and W cells of a picture.
"""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from vidcli.arrays import Float32, Frames
from vidcli.data.items import VideoItem
from vidcli.doctor.fingerprint import GREY_SIDE, GREY_STEPS, Fingerprint, Greys, build_fingerprint
from vidcli.errors import VideoError
from vidcli.sampling import TIMESTAMP_TOLERANCE_SECONDS, ClipSampler, Seconds, shown_frames
from vidcli.storage.sources import open_source
from vidcli.video import VideoInfo, decode_frames, probe

_DECODED_SIDE = 64  # the rounding of so many values averages out in a cell of the fingerprint
_CHANGE_SIDE = 32
_CHUNK_FRAMES = 2048
_CHUNK_BYTES = 1 << 28  # the most that frames at full size take at once
_ASSUMED_FPS = 25.0
_NUM_HALVINGS = 20
_STORES_DURATIONS = ("mov,mp4", "gif")
"""Containers that store the duration of every picture."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

# An interval between frames is odd when it differs from the usual one by more than this. Containers
# round times, Matroska to a whole millisecond, which moves an interval by up to one either way.
_ODD_INTERVAL_SHARE = 0.2
_ODD_INTERVAL_SECONDS = 2.5e-3

# In grey levels. Measured on still pictures in H.264 and MPEG-4, from 64x64 to 320x240 and at good to poor
# quality, and on quiet clips of a resting animal, of which not even the quietest counts as still.
_STILL_CHANGE = 1.0
_STILL_PULSES = 0.25
_STILL_DRIFT = 12


@dataclass(frozen=True)
class SpanReport:
    """The part of a file that one item uses, which may be the whole file.

    Attributes:
        num_frames: number of frames in the span.
        duration_seconds: duration of the span.
        num_distinct: number of different frames in the clip of the span that has the fewest.
        is_still: whether nothing moves but noise that the codec adds.
        fingerprint: the span for a comparison with others.
        pictures: a digest of the small frames: spans with equal frames have the same.
        outside_seconds: time by which the span exceeds the video; 0 if it does not.
    """

    num_frames: int
    duration_seconds: float
    num_distinct: int
    is_still: bool
    fingerprint: Fingerprint
    pictures: str
    outside_seconds: float = 0.0


@dataclass(frozen=True)
class FileReport:
    """A file after it was decoded.

    Attributes:
        path: the file.
        info: the properties in the headers; None if the file cannot be opened.
        error: the reason why the file cannot be decoded to its end; None if it can.
        num_frames: number of frames before the damage or the end.
        decoded_seconds: duration of these frames.
        usual_interval: median time between neighbouring frames, in seconds; 0 with fewer than two.
        longest_interval: longest time between neighbouring frames, in seconds; 0 with fewer than two.
        odd_intervals: share of the intervals that differ from the usual one.
        decode_seconds: time that decoding took.
        digest: digest of the file's content; None if no other file has the same size.
        spans: a report for each item of the file, in order; None if the item's span is outside the video.
    """

    path: Path
    info: VideoInfo | None
    error: str | None
    num_frames: int = 0
    decoded_seconds: float = 0.0
    usual_interval: float = 0.0
    longest_interval: float = 0.0
    odd_intervals: float = 0.0
    decode_seconds: float = 0.0
    digest: str | None = None
    spans: tuple[SpanReport | None, ...] = ()


_SmallFrames: TypeAlias = tuple[Seconds, npt.NDArray[np.uint8], Greys, npt.NDArray[np.uint64]]
"""Times, change, grey values and checksums of frames; see the module."""


@dataclass(frozen=True)
class _SmallVideo:
    """All frames of a file that can be decoded, made small, and the reason why there are not more."""

    pts_seconds: Seconds
    change_N: npt.NDArray[np.uint8]
    grey_NHW: Greys
    checksums_N: npt.NDArray[np.uint64]
    error: str | None


def inspect_file(path: Path, items: Sequence[VideoItem], sampler: ClipSampler, digest: bool) -> FileReport:
    """Decode a file to its end and report on it. What is wrong with the file is reported, never raised.

    Args:
        path: the file.
        items: the items that use the file, each with its span.
        sampler: chooses the frames of a clip as in evaluation.
        digest: whether to read the file once more for the digest of its content.
    """
    none = (None,) * len(items)
    try:
        info = probe(path)
        content = _digest(path) if digest else None
    except VideoError as error:
        return FileReport(path, None, error.reason, spans=none)
    except OSError as error:
        return FileReport(path, None, f"cannot be read ({error.strerror})", spans=none)
    started = time.perf_counter()
    small = _decode_small(path, info)
    elapsed = time.perf_counter() - started
    pts_seconds = small.pts_seconds
    if not len(pts_seconds):
        return FileReport(path, info, small.error, digest=content, spans=none)
    usual, longest, odd = _intervals(pts_seconds, info)
    last_seconds = float(pts_seconds[-1])
    decoded_seconds = last_seconds + usual
    if small.error is None and last_seconds < info.duration_seconds:
        # After pauses the last frame may be shorter than the usual interval.
        decoded_seconds = min(decoded_seconds, info.duration_seconds)
    error_reason = small.error
    if error_reason is None and info.duration_seconds - decoded_seconds > 2 * usual:
        error_reason = _reason_to_refuse(path)
        if error_reason is None and info.container.startswith(_STORES_DURATIONS):
            decoded_seconds = info.duration_seconds  # the last picture is shown for longer than usual
    return FileReport(
        path,
        info,
        error_reason,
        len(pts_seconds),
        decoded_seconds,
        usual if len(pts_seconds) > 1 else 0.0,
        longest,
        odd,
        elapsed,
        content,
        tuple(_report_span(item, small, info, decoded_seconds, sampler) for item in items),
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open_source(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_pictures(path: Path, start_seconds: float, end_seconds: float | None) -> str | None:
    """Return a digest of all frames of a span at their full size.

    Args:
        path: the file.
        start_seconds: start of the span.
        end_seconds: end of the span; None is the end of the video.

    Returns:
        The digest; None if a frame is damaged.
    """
    digest = hashlib.sha256()
    last_pts, last_shape = -1.0, None
    try:
        info = probe(path)
        frame_bytes = 3 * info.width * info.height
        count = max(2, min(_CHUNK_FRAMES, _CHUNK_BYTES // max(1, frame_bytes)))
        end = info.duration_seconds if end_seconds is None else min(end_seconds, info.duration_seconds)
        length_seconds = count / max(1.0, info.fps or _ASSUMED_FPS)
        for start in np.arange(start_seconds, end, length_seconds).tolist():
            stop = start + length_seconds
            decoded = decode_frames(path, None, None, start, end_seconds if stop >= end else stop)
            for pts, frame_HWC in zip(decoded.pts_seconds + start, decoded.frames, strict=True):
                if pts <= last_pts + TIMESTAMP_TOLERANCE_SECONDS:
                    continue  # the last frame of the chunk before
                if frame_HWC.shape != last_shape:
                    last_shape = frame_HWC.shape
                    digest.update(repr(last_shape).encode())
                digest.update(frame_HWC.tobytes())
                last_pts = float(pts)
    except VideoError:
        return None
    return digest.hexdigest()


def _reason_to_refuse(path: Path) -> str | None:
    """Return why training refuses a file that is shorter than its header says; None if it does not."""
    try:
        decode_frames(path, lambda duration_seconds: np.array([0.0, duration_seconds]), _small_size)
    except VideoError as error:
        return error.reason
    return None


def _small_size(height: int, width: int) -> tuple[int, int]:
    # Square for any proportions, so that a stretched copy still looks like its original.
    return _DECODED_SIDE, _DECODED_SIDE


def _decode_small(path: Path, info: VideoInfo) -> _SmallVideo:
    """Decode all frames, about two thousand at a time, and keep them small.

    A chunk starts with the last frame of the chunk before it. If it holds no other frame, as in a long
    still, it is made longer.
    """
    parts: list[_SmallFrames] = []
    length_seconds = _CHUNK_FRAMES / max(1.0, info.fps or _ASSUMED_FPS)
    start_seconds, previous_HW, reason = 0.0, None, None
    while True:
        end_seconds = start_seconds + length_seconds
        is_last = end_seconds >= info.duration_seconds
        try:
            pts_seconds, frames = _decode_chunk(path, start_seconds, None if is_last else end_seconds)
        except VideoError as error:
            reason = error.reason
            salvaged = _decode_until_damage(path, info, start_seconds, end_seconds)
            if salvaged is None:
                break
            pts_seconds, frames = salvaged
        first = 0 if previous_HW is None else 1
        if len(frames) > first:
            change_N, grey_NHW, checksums_N, previous_HW = _reduce(frames, previous_HW)
            parts.append((pts_seconds[first:], change_N[first:], grey_NHW[first:], checksums_N[first:]))
            start_seconds = float(pts_seconds[-1])
        elif not is_last:
            length_seconds *= 2
        if is_last or reason is not None:
            break
    if not parts:
        nothing = np.zeros(0, np.uint8)
        return _SmallVideo(
            np.zeros(0), nothing, np.zeros((0, 1, 1), np.uint16), np.zeros(0, np.uint64), reason
        )
    pts, change, grey, checksums = (np.concatenate(values) for values in zip(*parts, strict=True))
    return _SmallVideo(pts, change, grey, checksums, reason)


def _decode_chunk(path: Path, start_seconds: float, end_seconds: float | None) -> tuple[Seconds, Frames]:
    decoded = decode_frames(path, None, _small_size, start_seconds, end_seconds)
    return decoded.pts_seconds + start_seconds, decoded.frames


def _decode_until_damage(
    path: Path, info: VideoInfo, start_seconds: float, end_seconds: float
) -> tuple[Seconds, Frames] | None:
    """Return the frames of a span before its damage, exact to about a frame; None if there are none."""
    best = None
    low, high = start_seconds, min(end_seconds, info.duration_seconds)
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        try:
            best, low = _decode_chunk(path, start_seconds, middle), middle
        except VideoError:
            high = middle
        if high - low < 0.25 / (info.fps or _ASSUMED_FPS):
            break  # shorter than any frame
    return best


def _reduce(
    frames_NHWC: Frames, previous_HW: Float32 | None
) -> tuple[npt.NDArray[np.uint8], Greys, npt.NDArray[np.uint64], Float32]:
    """Return what is kept of frames, and the last frame's grey values (32, 32).

    Args:
        frames_NHWC: (N, 64, 64, 3).
        previous_HW: grey values (32, 32) of the frame before; None at the start of the file.
    """
    grey_NHW = _pool(frames_NHWC @ _LUMA, _CHANGE_SIDE)
    before_NHW = np.concatenate([grey_NHW[:1] if previous_HW is None else previous_HW[None], grey_NHW[:-1]])
    change_N = np.abs(grey_NHW - before_NHW).max(axis=(1, 2))
    small_NHW = _pool(grey_NHW, GREY_SIDE)
    checksums_N = np.array([_checksum(frame_HWC) for frame_HWC in frames_NHWC], dtype=np.uint64)
    steps_NHW = np.asarray(np.rint(small_NHW * GREY_STEPS), dtype=np.uint16)
    return _to_bytes(change_N), steps_NHW, checksums_N, grey_NHW[-1]


def _pool(grey_NHW: Float32, side: int) -> Float32:
    """Return the means of square cells, (N, side, side)."""
    cell = grey_NHW.shape[1] // side
    return np.asarray(grey_NHW.reshape(-1, side, cell, side, cell).mean(axis=(2, 4)), dtype=np.float32)


def _checksum(frame_HWC: Frames) -> int:
    """Return a checksum of 64 bits."""
    content = frame_HWC.tobytes()
    return zlib.crc32(content) << 32 | zlib.adler32(content)


def _to_bytes(values: Float32) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(values), dtype=np.uint8)


def _intervals(pts_seconds: Seconds, info: VideoInfo) -> tuple[float, float, float]:
    """Return the usual and the longest interval between frames in seconds, and the share of odd ones."""
    if len(pts_seconds) < 2:
        return 1 / (info.fps or _ASSUMED_FPS), 0.0, 0.0
    intervals = np.diff(pts_seconds)
    usual = float(np.median(intervals))
    limit = max(_ODD_INTERVAL_SECONDS, _ODD_INTERVAL_SHARE * usual)
    return usual, float(intervals.max()), float(np.mean(np.abs(intervals - usual) > limit))


def _report_span(
    item: VideoItem, small: _SmallVideo, info: VideoInfo, decoded_seconds: float, sampler: ClipSampler
) -> SpanReport | None:
    """Return the report on an item's span; None if the span is outside the video."""
    start = item.start_seconds
    end = decoded_seconds if item.end_seconds is None else min(item.end_seconds, decoded_seconds)
    if start >= end:
        return None
    first = int(shown_frames(small.pts_seconds, np.array([start]))[0])
    last = int(np.searchsorted(small.pts_seconds, end - TIMESTAMP_TOLERANCE_SECONDS))
    frames = slice(first, max(first + 1, last))
    pts_seconds = np.maximum(small.pts_seconds[frames] - start, 0.0)
    # In training the sampler relies on the duration in the header, and so it does here.
    stated = (
        info.duration_seconds if item.end_seconds is None else min(item.end_seconds, info.duration_seconds)
    )
    shown_VT = shown_frames(pts_seconds, sampler(max(end, stated) - start))
    grey_NHW = small.grey_NHW[frames]
    return SpanReport(
        num_frames=len(pts_seconds),
        duration_seconds=end - start,
        num_distinct=min(len(np.unique(shown_T)) for shown_T in shown_VT),
        is_still=_is_still(small.change_N[frames][1:], grey_NHW),
        fingerprint=build_fingerprint(pts_seconds, end - start, grey_NHW),
        pictures=hashlib.sha256(small.checksums_N[frames].tobytes()).hexdigest(),
        outside_seconds=max(0.0, (item.end_seconds or 0.0) - max(decoded_seconds, info.duration_seconds)),
    )


def _is_still(change_N: npt.NDArray[np.uint8], grey_NHW: Greys) -> bool:
    """Tell whether most frames equal the frame before them and the others differ hardly.

    Keyframes of a coded still picture differ a little from the frames before them.
    """
    if not len(change_N):
        return False
    rests = float(np.median(change_N)) <= _STILL_CHANGE and np.mean(change_N > 2) <= _STILL_PULSES
    return bool(rests and np.ptp(grey_NHW, axis=0).max() <= _STILL_DRIFT * GREY_STEPS)
