"""Near copies of a video as people come to have them, for tests: made of its decoded frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidcli.arrays import Frames
from vidcli.doctor.fingerprint import Fingerprint
from vidcli.doctor.similarity import Similarity, compare_moving, describe
from vidcli.video import encode_video

_GOOD = {"crf": "23", "preset": "veryfast"}
_SHIFT_SECONDS = 0.5


def scaled(frames: Frames, height: int, width: int) -> Frames:
    """Return frames of another size."""
    parts = []
    for frame in frames:
        clip_CHW = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float()
        small = torch.nn.functional.interpolate(
            clip_CHW[None], (height, width), mode="bilinear", antialias=True
        )
        parts.append(small[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
    return np.stack(parts)


def _half(frames: Frames) -> Frames:
    height, width = frames.shape[1:3]
    return scaled(frames, height // 4 * 2, width // 4 * 2)


def cropped(frames: Frames, share: float = 0.05) -> Frames:
    """Return frames without a border of this share of each side."""
    height, width = frames.shape[1:3]
    rows, columns = round(height * share), round(width * share)
    return frames[:, rows : height - rows, columns : width - columns]


def _shifted(frames: Frames, fps: float) -> Frames:
    """Return what is left from half a second on; of clips of less than two seconds a quarter is cut."""
    return frames[round(min(_SHIFT_SECONDS * fps, len(frames) / 4)) :]


def _slower(frames: Frames) -> Frames:
    """Return the frames that 15 instead of 25 a second show."""
    return frames[(np.arange(int(len(frames) * 0.6)) / 0.6 + 1e-6).astype(int)]


def _brighter(frames: Frames) -> Frames:
    return np.minimum(np.rint(frames * 1.1), 255).astype(np.uint8)


COPIES: Mapping[str, Callable[[Frames, float, str], dict[str, Any]]] = {
    "poor": lambda frames, fps, codec: {"frames": frames, "options": {"crf": "38", "preset": "veryfast"}},
    "recoded": lambda frames, fps, codec: (
        {"frames": frames, "options": {"qscale": "6"}, "codec": "mpeg4"}
        if codec != "mpeg4"
        else {"frames": frames}
    ),
    "half": lambda frames, fps, codec: {"frames": _half(frames)},
    "cropped": lambda frames, fps, codec: {"frames": cropped(frames)},
    "shifted": lambda frames, fps, codec: {"frames": _shifted(frames, fps)},
    "mirrored": lambda frames, fps, codec: {"frames": frames[:, :, ::-1]},
    "brighter": lambda frames, fps, codec: {"frames": _brighter(frames)},
    "slower": lambda frames, fps, codec: {"frames": _slower(frames), "fps": fps * 0.6},
}
"""How a copy is made: given frames (T, H, W, 3), their rate and codec, what `write_copy` takes."""


def write_copy(
    path: Path,
    frames: Frames,
    fps: float,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
) -> Path:
    """Encode frames, cut to even sides as coders want it, and return the path."""
    height, width = (side // 2 * 2 for side in frames.shape[1:3])
    even = (np.ascontiguousarray(frame[:height, :width]) for frame in frames)
    given = options if options is not None else (_GOOD if codec == "libx264" else {})
    encode_video(path, even, fps, codec, options=dict(given))
    return path


def compare(a: Fingerprint, b: Fingerprint) -> Similarity | None:
    """Return the similarity of two videos, mirrored or not."""
    first, second = describe(a.pictures()), describe(b.pictures())
    offset_seconds = a.start_seconds - b.start_seconds
    found = [compare_moving(first, second, mirrored, offset_seconds) for mirrored in (False, True)]
    return max((one for one in found if one), key=lambda similarity: similarity.sureness, default=None)
