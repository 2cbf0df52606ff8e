"""Frames of videos at the model's size: decoded as the settings say, or kept in memory.

Where they are kept, all frames of a video are, with their timestamps: each video is decoded once,
and every epoch samples from it anew. A clip drawn from memory is the same, bit for bit, as one
drawn from the file.
"""

from __future__ import annotations

import threading

import numpy as np

from vidcli.config import Config
from vidcli.data.manifest import VideoItem
from vidcli.sampling import shown_frames
from vidcli.transforms import ClipTransform
from vidcli.video import DecodedFrames, DecodeLimits, Frames, Plan, VideoInfo, decode_frames

_ASSUMED_FPS = 30.0


class FrameSource:
    """The one way from a labelled video to frames, for training, eval and predict alike."""

    def __init__(self, config: Config, keep: bool = False) -> None:
        """Follow the settings of `clip` and `data`.

        Args:
            config: size of the frames, decoding mode and limits.
            keep: hold all frames of every video that was asked for in memory.
        """
        self.keeps = keep
        self._size = ClipTransform(config.clip).decode_size
        self._mode = config.data.decode
        self._limits = DecodeLimits(
            pixels=config.data.max_pixels,
            frames=config.data.max_frames or None,
            seconds=config.data.max_seconds,
        )
        self._kept: dict[VideoItem, DecodedFrames] = {}
        self._lock = threading.Lock()

    def frames(self, item: VideoItem, plan: Plan) -> Frames:
        """Return frames (N, H, W, 3) at the moments of `plan`.

        Raises:
            VideoError: the video cannot be decoded, or exceeds a limit.
        """
        if not self.keeps:
            return self._decode(item, plan).frames
        decoded = self._load(item)
        wanted = np.minimum(np.ravel(plan(decoded.duration_seconds)), decoded.duration_seconds)
        return decoded.frames[shown_frames(decoded.pts_seconds, wanted)]

    def estimate_bytes(self, item: VideoItem, info: VideoInfo) -> int:
        """Return the memory that all frames of a video would take."""
        end = info.duration_seconds if item.end_seconds is None else item.end_seconds
        seconds = max(0.0, min(end, info.duration_seconds) - item.start_seconds)
        height, width = self._size(*info.upright_size)
        return (int(seconds * (info.fps or _ASSUMED_FPS)) + 1) * height * width * 3

    def _load(self, item: VideoItem) -> DecodedFrames:
        with self._lock:
            decoded = self._kept.get(item)
        if decoded is None:
            decoded = self._decode(item, None)
            with self._lock:
                self._kept[item] = decoded
        return decoded

    def _decode(self, item: VideoItem, plan: Plan | None) -> DecodedFrames:
        return decode_frames(
            item.path,
            plan,
            self._size,
            item.start_seconds,
            item.end_seconds,
            mode=self._mode,
            limits=self._limits,
        )
