"""Frames of videos at the model's size: decoded as the settings say, or from where they are kept."""

from __future__ import annotations

from vidcli.config import Config, DataConfig
from vidcli.data.cache import FrameCache
from vidcli.data.items import VideoItem
from vidcli.transforms import ClipTransform
from vidcli.video import (
    CONVERSION,
    DecodedFrames,
    DecodeLimits,
    Frames,
    Plan,
    VideoInfo,
    decode_frames,
    library_versions,
)

_ASSUMED_FPS = 30.0


def decode_limits(data: DataConfig) -> DecodeLimits:
    """Return what one file may cost."""
    return DecodeLimits(pixels=data.max_pixels, frames=data.max_frames or None, seconds=data.max_seconds)


class FrameSource:
    """The one way from a labelled video to frames, for training, eval and predict alike."""

    def __init__(self, config: Config, cache: FrameCache | None = None) -> None:
        """Follow the settings of `clip` and `data`.

        Args:
            config: size of the frames, decoding mode and limits.
            cache: keeps all frames of every video that was asked for; None decodes each time what
                is asked for.
        """
        self.cache = cache
        self._size = ClipTransform(config.clip).decode_size
        self._mode = config.data.decode
        self._hwaccel = config.data.hwaccel
        self._limits = decode_limits(config.data)

    def frames(self, item: VideoItem, plan: Plan) -> Frames:
        """Return frames (N, H, W, 3) at the moments of `plan`.

        Raises:
            VideoError: the video cannot be decoded, or exceeds a limit.
        """
        if self.cache is None:
            return self._decode(item, plan).frames
        return self.cache.frames(item, plan, lambda: self._decode(item, None))

    def take_notices(self) -> list[str]:
        """Return what the cache has to tell since this was last asked."""
        return self.cache.take_notices() if self.cache is not None else []

    def estimate_bytes(self, item: VideoItem, info: VideoInfo) -> int:
        """Return the bytes that all frames of a video would take."""
        end = info.duration_seconds if item.end_seconds is None else item.end_seconds
        seconds = max(0.0, min(end, info.duration_seconds) - item.start_seconds)
        height, width = self._size(*info.upright_size)
        return (int(seconds * (info.fps or _ASSUMED_FPS)) + 1) * height * width * 3

    def _decode(self, item: VideoItem, plan: Plan | None) -> DecodedFrames:
        return decode_frames(
            item.path,
            plan,
            self._size,
            item.start_seconds,
            item.end_seconds,
            mode=self._mode,
            limits=self._limits,
            hwaccel=self._hwaccel,
        )


# How clips are drawn from the frames and what becomes of them; all else of `clip` may change them.
_WITHOUT_EFFECT = {"length", "sampling", "stride_seconds", "views", "crops", "mean", "std"}


def decoding_settings(config: Config) -> list[object]:
    """Return, as JSON values, all that decoded frames depend on beside the file and its span.

    The limits are among them: a video that a run refuses must not come from another's cache. So
    are the libraries, which may round differently from version to version.
    """
    clip, data = config.clip.model_dump(mode="json", exclude=_WITHOUT_EFFECT), config.data
    versions = sorted(library_versions().items())
    made = [data.decode, data.hwaccel, CONVERSION]
    return [sorted(clip.items()), *made, data.max_pixels, data.max_frames, versions]
