"""Frames of clips that are cut from recordings, decoded in one go for clips that lie close together.

    clips      [......]  [......]                 [......]
                   [......]
    stretches  |----------------|                 |------|     decoded once, when a clip is wanted

A clip by itself would be sought in the file and decoded from the keyframe before it, and clips that overlap
would be kept several times.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from vidcli.arrays import Frames
from vidcli.data.frames import Decode, MemoryCache
from vidcli.data.items import VideoItem
from vidcli.data.span_clips import group_clips
from vidcli.sampling import shown_frames
from vidcli.video import DecodedFrames, Plan

_MOST_SECONDS = 20.0
"""Of a stretch: so short that several threads have work."""


@dataclass
class _Stretch:
    """A span of a recording, and its frames once a clip of it was wanted."""

    span: VideoItem
    lock: threading.Lock = field(default_factory=threading.Lock)
    decoded: DecodedFrames | None = None


def stretches_of(items: Sequence[VideoItem]) -> list[tuple[VideoItem, list[int]]]:
    """Return spans of recordings that hold clips close to each other, and the places of these.

    Args:
        items: clips, all of which have an end.
    """
    found: list[tuple[VideoItem, list[int]]] = []
    for places in group_clips(items, _MOST_SECONDS):
        clips = [items[place] for place in places]
        start, end = clips[0].start_seconds, max(clip.end_seconds or 0.0 for clip in clips)
        span = replace(clips[0], label="", start_seconds=start, end_seconds=end)
        found.append((span, places))
    return found


class RecordingCache:
    """Frames held in memory, of stretches that several clips share; a `FrameCache`."""

    kind: Literal["memory", "disk"] = "memory"

    def __init__(self, items: Sequence[VideoItem], decode_all: Callable[[VideoItem], DecodedFrames]) -> None:
        """Group the clips; nothing is decoded yet.

        Args:
            items: clips that will be asked for, all of which have an end.
            decode_all: returns all frames of a span.
        """
        self._decode_all, self._others = decode_all, MemoryCache()
        self._stretch_of: dict[VideoItem, _Stretch] = {}
        for span, places in stretches_of(items):
            self._stretch_of.update(dict.fromkeys((items[place] for place in places), _Stretch(span)))

    def frames(self, item: VideoItem, plan: Plan, decode: Decode) -> Frames:
        """Return the frames that are shown at the moments of a plan; see `FrameCache`."""
        stretch = self._stretch_of.get(item)
        if stretch is None or item.end_seconds is None:
            return self._others.frames(item, plan, decode)
        with stretch.lock:
            if stretch.decoded is None:
                stretch.decoded = self._decode_all(stretch.span)
        decoded = stretch.decoded
        offset = item.start_seconds - stretch.span.start_seconds
        seconds = min(item.end_seconds - item.start_seconds, max(0.0, decoded.duration_seconds - offset))
        moments = np.minimum(np.ravel(plan(seconds)), seconds) + offset
        return decoded.frames[shown_frames(decoded.pts_seconds, moments)]

    def take_notices(self) -> list[str]:
        """Return an empty list: nothing can go wrong in memory."""
        return []
