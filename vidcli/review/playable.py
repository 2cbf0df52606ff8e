"""The files that a browser can play: those of the data set, or else copies of them in H.264."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vidcli.arrays import Frames
from vidcli.data.items import VideoItem
from vidcli.errors import VideoError
from vidcli.video import VideoInfo, decode_frames, encode_video, find_pixel_format, probe, stream_frames

_MOST_LINES = 720
"""Height of a copy, at most."""
_MOST_FPS = 30.0
_PICTURE_PIXELS = 160
_CODING = {"preset": "veryfast", "crf": "23", "g": "10"}


@dataclass(frozen=True)
class Playable:
    """How far a clip can be played.

    Attributes:
        path: what the browser gets; None while a copy is being made.
        kind: media type of that file.
        share_done: of the copy, 0 to 1.
        fps: frames a second, by which the page steps.
        duration_seconds: of the whole video.
        is_copy: whether it is coded anew.
    """

    path: Path | None
    kind: str
    share_done: float
    fps: float
    duration_seconds: float
    is_copy: bool


@dataclass
class _Copy:
    share_done: float = 0.0
    future: Future[Path] = field(default_factory=Future)


class MediaShelf:
    """Finds what a browser can play of each video, and makes copies one after the other."""

    def __init__(self, folder: Path) -> None:
        """Begin with no copies.

        Args:
            folder: for copies; nobody else may write to it.
        """
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "vidcli-copies")
        self._lock = threading.Lock()
        self._infos: dict[Path, VideoInfo] = {}
        self._kinds: dict[Path, str | None] = {}
        self._copies: dict[Path, _Copy] = {}
        self._pictures: dict[tuple[Path, float], bytes] = {}
        self._is_closed = False

    def close(self) -> None:
        """Give up copies that are not done."""
        self._is_closed = True
        self._thread.shutdown(wait=True, cancel_futures=True)

    def find(self, path: Path) -> Playable:
        """Return what can be played of a video; a copy that is needed is begun.

        Raises:
            VideoError: it cannot be decoded.
        """
        info = self._info(path)
        fps = info.fps or 25.0
        kind = self._kind(path, info)
        if kind is not None:
            return Playable(path, kind, 1.0, fps, info.duration_seconds, is_copy=False)
        with self._lock:
            if path not in self._copies:
                name = self._folder / f"{len(self._copies)}.mp4"
                copy = self._copies[path] = _Copy()
                copy.future = self._thread.submit(self._make, path, name, info, copy)
            copy = self._copies[path]
        done = copy.future.result() if copy.future.done() else None
        share = 1.0 if done is not None else copy.share_done
        return Playable(done, "video/mp4", share, min(fps, _MOST_FPS), info.duration_seconds, is_copy=True)

    def picture(self, item: VideoItem) -> bytes:
        """Return a small picture of the middle of a clip, as JPEG.

        Raises:
            VideoError: it cannot be decoded.
        """
        key = item.path, item.start_seconds
        if key not in self._pictures:
            span = item.start_seconds, item.end_seconds
            decoded = decode_frames(item.path, lambda seconds: np.array([seconds / 2]), _small, *span)
            coded = io.BytesIO()
            Image.fromarray(decoded.frames[0]).save(coded, "JPEG", quality=80)
            self._pictures[key] = coded.getvalue()
        return self._pictures[key]

    def _info(self, path: Path) -> VideoInfo:
        if path not in self._infos:
            self._infos[path] = probe(path)
        return self._infos[path]

    def _kind(self, path: Path, info: VideoInfo) -> str | None:
        if path not in self._kinds:
            self._kinds[path] = media_type(info, find_pixel_format(path))
        return self._kinds[path]

    def _make(self, path: Path, target: Path, info: VideoInfo, copy: _Copy) -> Path:
        fps = min(info.fps or 25.0, _MOST_FPS)
        total = max(1.0, info.duration_seconds * fps)

        def pictures() -> Iterator[Frames]:
            for done, frame in enumerate(stream_frames(path, 1 / fps, _to_play, num_threads=1), start=1):
                if self._is_closed:
                    raise VideoError(path, "was given up")
                copy.share_done = min(0.99, done / total)
                yield frame.picture

        encode_video(target, pictures(), fps, options=_CODING)
        return target


def media_type(info: VideoInfo, pixel_format: str) -> str | None:
    """Return the media type by which all browsers play a video; None where they do not.

    H.264 is common to all in 8 bits and 4:2:0 alone, and Matroska is not common to all.

    Args:
        info: container and codec of the video.
        pixel_format: FFmpeg's name of it.
    """
    if pixel_format not in ("yuv420p", "yuvj420p"):
        return None
    if "mp4" in info.container and info.codec in ("h264", "vp9", "libdav1d", "av1"):
        return "video/mp4"
    return None


def _even(height: int, width: int, most: int) -> tuple[int, int]:
    scale = min(1.0, most / min(height, width))
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


def _to_play(height: int, width: int) -> tuple[int, int]:
    return _even(height, width, _MOST_LINES)


def _small(height: int, width: int) -> tuple[int, int]:
    return _even(height, width, _PICTURE_PIXELS)
