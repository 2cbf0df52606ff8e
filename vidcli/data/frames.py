"""Frames of videos at the model's size: decoded as the settings say, or kept since they were decoded.

A frame cache keeps all frames of a video with their timestamps. Any sampler can then take frames at any
moments, and a clip is bit for bit the one that the file gives. To keep fewer frames would save space for
long videos only. Those do not fit the cache, and a few frames are then decoded from the file each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from vidcli.arrays import Frames
from vidcli.config import Config, DataConfig, SubjectConfig
from vidcli.data.items import Seen, VideoItem
from vidcli.data.store import Store, StoredArrays
from vidcli.sampling import Seconds, shown_frames
from vidcli.transforms import ClipTransform
from vidcli.video import (
    CONVERSION,
    DecodedFrames,
    DecodeLimits,
    MovingWindow,
    Plan,
    SizeRule,
    VideoInfo,
    decode_frames,
    frame_starts,
    library_versions,
)

Decode: TypeAlias = Callable[[], DecodedFrames]

_ASSUMED_FPS = 30.0
_VIEWS_AND_MOMENTS = 2
_WITH_NEIGHBOURS = 3
_LARGE = 2160, 3840
"""Height and width of large videos."""
_NEARLY = 1e-6  # seconds


def decode_limits(data: DataConfig) -> DecodeLimits:
    """Return the limits of what decoding one file may cost."""
    return DecodeLimits(pixels=data.max_pixels, frames=data.max_frames or None, seconds=data.max_seconds)


def most_decoded_bytes(config: Config) -> int:
    """Return what the frames of one video take in memory at most while its clips are made of them.

    Args:
        config: all settings.
    """
    clip = config.clip
    height, width = ClipTransform(clip).decode_size(*_LARGE)
    num_frames = clip.views * clip.length * (_WITH_NEIGHBOURS if clip.follows else 1)
    return num_frames * height * width * 3


class FrameCache(Protocol):
    """Where the frames of a video are kept once they were decoded.

    Attributes:
        kind: value of `data.cache` that stands for this cache.
    """

    kind: Literal["memory", "disk"]

    def frames(self, item: VideoItem, plan: Plan, decode: Decode) -> Frames:
        """Return the frames that are shown at the moments of a plan.

        Args:
            item: video, or span of one.
            plan: returns moments in seconds for a duration in seconds.
            decode: decodes all frames of the video.

        Returns:
            Frames, uint8 (N, H, W, 3).
        """

    def take_notices(self) -> list[str]:
        """Return what the user should know since this was last called."""


class MemoryCache:
    """Frames held in memory for as long as the run lasts."""

    kind: Literal["memory", "disk"] = "memory"

    def __init__(self) -> None:
        self._kept: dict[VideoItem, DecodedFrames] = {}
        self._lock = threading.Lock()

    def frames(self, item: VideoItem, plan: Plan, decode: Decode) -> Frames:
        """Return the frames that are shown at the moments of a plan; see `FrameCache`."""
        with self._lock:
            decoded = self._kept.get(item)
        if decoded is None:
            decoded = decode()
            with self._lock:
                self._kept[item] = decoded
        return decoded.frames[_indices_shown(decoded.pts_seconds, decoded.duration_seconds, plan)]

    def take_notices(self) -> list[str]:
        """Return an empty list: nothing can go wrong in memory."""
        return []


class DiskCache:
    """Frames in a store that several runs and processes share."""

    kind: Literal["memory", "disk"] = "disk"

    def __init__(self, store: Store) -> None:
        """Keep frames in a store.

        Args:
            store: store of frames for the decoding settings of the run.
        """
        self.store = store

    def frames(self, item: VideoItem, plan: Plan, decode: Decode) -> Frames:
        """Return the frames that are shown at the moments of a plan; see `FrameCache`."""
        plan = _asked_once(plan)

        def take(stored: StoredArrays) -> Frames:
            (pts_seconds,) = stored.take("pts_seconds")
            duration_seconds = float(stored.take("duration_seconds")[0])
            return stored.take("frames", _indices_shown(pts_seconds, duration_seconds, plan))

        kept = self.store.read(item, take)
        if kept is not None:
            return kept
        decoded = decode()
        arrays = {
            "pts_seconds": decoded.pts_seconds[None],  # a single row, with a single checksum
            "duration_seconds": np.array([decoded.duration_seconds]),
            "frames": decoded.frames,
        }
        self.store.write(item, arrays)
        return decoded.frames[_indices_shown(decoded.pts_seconds, decoded.duration_seconds, plan)]

    def take_notices(self) -> list[str]:
        """Return what the user should know since this was last called."""
        return self.store.take_notices()


class FrameSource:
    """Source of the frames of labelled videos, the same for training, eval and predict."""

    def __init__(self, config: Config, cache: FrameCache | None = None) -> None:
        """Prepare to decode as the settings of `clip` and `data` say.

        Args:
            config: size of the frames, decoding mode and limits.
            cache: cache that keeps all frames of every video it is asked for; None decodes only the
                frames wanted, each time.
        """
        self.cache = cache
        self._size = ClipTransform(config.clip).decode_size
        self._subject, self._clip = config.subject, config.clip
        self._windows: dict[Seen, SizeRule] = {}
        self._starts: dict[Path, Seconds | None] = {}
        self._mode = config.data.decode
        self._hwaccel = config.data.hwaccel
        self._limits = decode_limits(config.data)

    def frames(self, item: VideoItem, plan: Plan) -> Frames:
        """Return frames (N, H, W, 3) at the moments of `plan`.

        Moments with neighbours (see `ClipSampler`) give frames (N, 3, H, W, 3).

        Raises:
            VideoError: the video cannot be decoded, or exceeds a limit.
        """
        together = 1

        def noted(duration_seconds: float) -> Seconds:
            nonlocal together
            moments = plan(duration_seconds)
            together = moments.shape[2] if moments.ndim > _VIEWS_AND_MOMENTS else 1
            return moments

        if self.cache is None:
            frames = self._decode(item, noted).frames
        else:
            frames = self.cache.frames(item, noted, lambda: self._decode(item, None))
        return frames if together == 1 else frames.reshape(-1, together, *frames.shape[1:])

    def framing(self, item: VideoItem) -> SizeRule:
        """Return the size of the frames of an item, or the window around its subject that is cut out.

        Raises:
            DataError: there are no boxes of its subject.
            VideoError: the video cannot be opened.
        """
        if item.track is None and item.box is None:
            return self._size
        if item.seen not in self._windows:
            from vidcli.data.subjects import window_of  # Arrow, which `predict a.mp4` does without

            self._windows[item.seen] = window_of(item, self._subject, self._clip) or self._size
        return self._windows[item.seen]

    def present(self, item: VideoItem) -> tuple[tuple[float, float], ...] | None:
        """Return from where to where, in seconds, the subject of an item is in the picture; None for always.

        Raises:
            DataError: there are no boxes of it.
            VideoError: the video cannot be opened.
        """
        if item.track is None:
            return None
        from vidcli.data.subjects import present_of  # Arrow, which `predict a.mp4` does without

        found = present_of(item, self._subject)
        return None if found is None else tuple(found)

    def decode_all(self, item: VideoItem) -> DecodedFrames:
        """Return all frames of a video, or of a span of one.

        Raises:
            VideoError: it cannot be decoded, or exceeds a limit.
        """
        if item.start_seconds > 0 and item.end_seconds is not None and self._mode == "exact":
            if item.path not in self._starts:
                self._starts[item.path] = frame_starts(item.path, self._limits)
            starts = self._starts[item.path]
            if (
                starts is not None
                and (found := self._decode_near(item, item.end_seconds, starts)) is not None
            ):
                return found
        return self._decode(item, None)

    def _decode_near(self, item: VideoItem, end: float, starts: Seconds) -> DecodedFrames | None:
        """Return all frames of a span, decoded from the keyframe before it; None where they are others.

        From the first frame of the file on, as without a plan, it would take the longer the later a span is.

        Args:
            item: the span.
            end: of it, in seconds from the first frame.
            starts: of all frames of the file.
        """
        ends = np.append(starts[1:], np.inf)
        shown = (ends > item.start_seconds + _NEARLY) & (starts < end - _NEARLY)
        first = np.maximum(starts[shown], item.start_seconds)
        last = np.minimum(ends[shown], end)
        if not len(first):
            return None
        moments = (first + last) / 2 - item.start_seconds
        decoded = self._decode(item, lambda duration: moments)
        if not np.allclose(decoded.pts_seconds + item.start_seconds, starts[shown], rtol=0, atol=_NEARLY):
            return None
        return replace(decoded, pts_seconds=np.maximum(0.0, decoded.pts_seconds))

    def take_notices(self) -> list[str]:
        """Return the notices of the cache since this was last called."""
        return self.cache.take_notices() if self.cache is not None else []

    def estimate_bytes(self, item: VideoItem, info: VideoInfo) -> int:
        """Return an estimate of the bytes that all frames of a video take."""
        end = info.duration_seconds if item.end_seconds is None else item.end_seconds
        seconds = max(0.0, min(end, info.duration_seconds) - item.start_seconds)
        framing = self.framing(item)
        size = framing.cut_size if isinstance(framing, MovingWindow) else framing
        height, width = size(*info.upright_size)
        return (int(seconds * (info.fps or _ASSUMED_FPS)) + 1) * height * width * 3

    def _decode(self, item: VideoItem, plan: Plan | None) -> DecodedFrames:
        return decode_frames(
            item.path,
            plan,
            self.framing(item),
            item.start_seconds,
            item.end_seconds,
            mode=self._mode,
            limits=self._limits,
            hwaccel=self._hwaccel,
        )


# Settings of `clip` that act on decoded frames; all others may change the frames.
_WITHOUT_EFFECT = {"length", "sampling", "stride_seconds", "views", "crops", "mean", "std"}


def decoding_settings(config: Config) -> list[object]:
    """Return everything that decoded frames depend on besides the file and its span, as JSON values.

    This includes the limits, so that a video which a run refuses does not come from the cache of another
    run, and the versions of the libraries, which may round differently.
    """
    clip, data = config.clip.model_dump(mode="json", exclude=_WITHOUT_EFFECT), config.data
    versions = sorted(library_versions().items())
    made = [data.decode, data.hwaccel, CONVERSION]
    subject = [] if config.subject.boxes is None else [_describe_subjects(config.subject)]
    return [sorted(clip.items()), *made, data.max_pixels, data.max_frames, versions, *subject]


def _describe_subjects(settings: SubjectConfig) -> list[object]:
    from vidcli.data.boxes.box_files import find_boxes  # brings Arrow

    assert settings.boxes is not None
    return [settings.margin, settings.smooth_seconds, *find_boxes(settings.boxes).state]


def _indices_shown(pts_seconds: Seconds, duration_seconds: float, plan: Plan) -> npt.NDArray[np.int64]:
    """Return the indices of the frames that are shown at the moments of a plan."""
    wanted = np.minimum(np.ravel(plan(duration_seconds)), duration_seconds)
    return shown_frames(pts_seconds, wanted)


def _asked_once(plan: Plan) -> Plan:
    """Return a plan that repeats its first answer: asked again, a random plan would give other moments."""
    answers: list[Seconds] = []

    def repeat(duration_seconds: float) -> Seconds:
        if not answers:
            answers.append(plan(duration_seconds))
        return answers[0]

    return repeat
