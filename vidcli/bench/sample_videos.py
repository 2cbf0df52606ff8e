"""Make the videos that `vidcli bench decode` measures if the user names none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidcli.arrays import Frames
from vidcli.runtime.files import write_whole
from vidcli.runtime.threads import scheduling_kept
from vidcli.video import encode_video, repeat_video

_FPS = 25
_CLIP_SECONDS = 10


@dataclass(frozen=True)
class _Kind:
    name: str
    suffix: str
    codec: str
    height: int
    width: int
    options: dict[str, str] = field(default_factory=dict)
    repeats: int = 1  # how often the clip of ten seconds is repeated


def _h264(height: int, width: int, gop: int, b_frames: int, repeats: int) -> _Kind:
    length = "10s" if repeats == 1 else f"{repeats * _CLIP_SECONDS // 60}min"
    return _Kind(
        f"h264_{width}x{height}_gop{gop}_b{b_frames}_{length}",
        ".mp4",
        "libx264",
        height,
        width,
        {
            "preset": "veryfast",
            "g": str(gop),
            "keyint_min": str(gop),
            "sc_threshold": "0",
            "bf": str(b_frames),
        },
        repeats,
    )


_KINDS = [
    *(
        _h264(height, width, gop, b_frames, repeats)
        for height, width in ((256, 340), (720, 1280))
        for gop in (12, 250)
        for b_frames in (0, 3)
        for repeats in (1, 30)
    ),
    _Kind(
        "hevc_640x360", ".mp4", "libx265", 360, 640, {"preset": "ultrafast", "x265-params": "log-level=none"}
    ),
    _Kind(
        "vp9_640x360", ".webm", "libvpx-vp9", 360, 640, {"deadline": "realtime", "cpu-used": "8", "g": "128"}
    ),
    _Kind(
        "av1_640x360", ".mkv", "libsvtav1", 360, 640, {"preset": "12", "g": "120", "svtav1-params": "lp=1"}
    ),
    _Kind("mpeg4_640x360", ".avi", "mpeg4", 360, 640, {"g": "12", "qscale": "5"}),
]
_FIVE_MINUTES, _HOUR = _h264(256, 340, 12, 3, 30), _h264(256, 340, 12, 3, 360)


def make_bench_videos(folder: Path) -> list[Path]:
    """Return the videos of the benchmark in `folder`, and make those that are missing.

    They are H.264 with and without B-frames, in groups of 12 and 250 pictures, of 340x256 and 1280x720,
    and of ten seconds and five minutes; and HEVC, VP9, AV1 and MPEG-4. Long videos repeat the short ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_make(folder, kind) for kind in _KINDS]


def make_length_pair(folder: Path) -> tuple[Path, Path]:
    """Return two videos of one kind, of five minutes and of an hour, in `folder`; make the missing ones."""
    folder.mkdir(parents=True, exist_ok=True)
    return _make(folder, _FIVE_MINUTES), _make(folder, _HOUR)


def _make(folder: Path, kind: _Kind) -> Path:
    path = folder / f"{kind.name}{kind.suffix}"
    if path.exists():
        return path
    # The file appears only when it is complete: an interrupted run must not leave half a video.
    write_whole(path, lambda temporary: _encode(folder, kind, temporary))
    return path


def _encode(folder: Path, kind: _Kind, path: Path) -> None:
    if kind.repeats > 1:
        repeat_video(_make(folder, _h264_clip_of(kind)), path, kind.repeats)
    else:
        frames = moving_picture(_FPS * _CLIP_SECONDS, kind.height, kind.width)
        with scheduling_kept():
            encode_video(path, frames, _FPS, kind.codec, options=kind.options)


def _h264_clip_of(kind: _Kind) -> _Kind:
    return _h264(kind.height, kind.width, int(kind.options["g"]), int(kind.options["bf"]), 1)


def moving_picture(count: int, height: int, width: int) -> Iterator[Frames]:
    """Yield frames of a smooth texture that pans, with camera noise and a block that crosses it.

    Args:
        count: number of frames.
        height: in pixels.
        width: in pixels.
    """
    rng = np.random.default_rng(0)
    margin = 64
    coarse = rng.integers(40, 216, ((height + margin) // 16 + 2, (width + margin) // 16 + 2, 3))
    blocks = np.kron(coarse, np.ones((16, 16, 1)))
    ground: npt.NDArray[Any] = blocks
    for _ in range(2):
        ground = (
            ground + np.roll(ground, 5, 0) + np.roll(ground, 5, 1) + np.roll(ground, (3, 3), (0, 1))
        ) / 4
    noise = rng.normal(0, 2, (4, height, width, 1)).astype(np.float32)
    for number in range(count):
        top, left = round(16 + 15 * np.sin(number / 25)), round(32 + 31 * np.cos(number / 40))
        picture = ground[top : top + height, left : left + width] + noise[number % 4]
        across = number * 3 % (width - height // 4)
        picture[height // 3 : height // 2, across : across + height // 4] = 235 - number % 100
        yield np.clip(picture, 0, 255).astype(np.uint8)
