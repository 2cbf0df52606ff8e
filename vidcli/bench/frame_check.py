"""Check that another decoder returned the right frames, although its colours differ.

Each decoder scales and converts colours in its own way, so that pictures of two decoders are never equal to
the bit. Coarse grey pictures are compared instead, after brightness and contrast of all frames of a
contender were fitted:

    wanted      10   26   42   57          numbers of frames in the file
    returned    10   27   42   57
    nearest     10   27   42   57          among the wanted frames and their neighbours: one is wrong

A frame is wrong if its picture visibly differs from the wanted one, and is either nearer to another frame of
the video or near to none. In a video that stands still nobody can tell, and the frame counts as right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidcli.arrays import Float64, Frames
from vidcli.sampling import TIMESTAMP_TOLERANCE_SECONDS, Seconds
from vidcli.video import decode_frames

_CELLS = 32  # rows and columns of a coarse picture, at most
_SIDE = 256  # short side of references, at most
_VISIBLE = 1.0  # mean difference of grey levels below which two pictures are the same
_TOLERANCE = 10.0  # mean difference above which they are not, however they were scaled and converted
_NEARER = 0.5  # another frame was returned if its difference is less than this share
_NEIGHBOURS = (-2, -1, 1, 2)  # frames beside the wanted one at which a seek may end


@dataclass(frozen=True)
class References:
    """Coarse pictures, 0 to 255, of the wanted frames and of others with which they may be confused.

    Attributes:
        right: (M, N, rows, columns): for each of N moments, M pictures that are right. At the moment at
            which a frame starts, the frame before it is right too.
        others: (K, rows, columns), other frames of the same video.
    """

    right: Float64
    others: Float64


def find_references(path: Path, moments: Seconds, size: tuple[int, int], fps: float) -> References:
    """Decode the frames with which those of other decoders are compared.

    Args:
        path: the video.
        moments: (N,) times of the wanted frames in seconds.
        size: height and width that the other decoders return.
        fps: frames per second of the video.
    """
    edges = (0.0, -2 * TIMESTAMP_TOLERANCE_SECONDS)
    beside = [number / fps for number in _NEIGHBOURS]
    wanted = np.concatenate([moments + shift for shift in (*edges, *beside)])
    scale = min(1.0, _SIDE / min(size))
    small = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    frames = decode_frames(path, lambda duration: np.maximum(wanted, 0), lambda *_: small).frames
    pictures = coarse(frames, min(_CELLS, small[0]), min(_CELLS, small[1]))
    right = pictures[: len(edges) * len(moments)].reshape(len(edges), len(moments), *pictures.shape[1:])
    return References(right, np.concatenate([pictures[len(edges) * len(moments) :], right[0]]))


def find_fault(frames: Any, references: References, size: tuple[int, int]) -> str | None:
    """Return what is wrong with the frames of a contender; None if nothing is.

    Args:
        frames: (N, H, W, 3) RGB, as anything that NumPy takes for an array.
        references: pictures of the right frames and of others.
        size: the wanted height and width.
    """
    pictures = np.asarray(frames)
    expected = (references.right.shape[1], *size, 3)
    if pictures.shape != expected:
        return f"gave {_shape(pictures.shape)} instead of {_shape(expected)}"
    right, others = references.right, references.others
    found = coarse(pictures, *right.shape[2:])
    # All frames have one gain and offset, which come from how this contender converts colours.
    closest = np.abs(right - found).mean((2, 3)).argmin(0)
    meant = right[closest, np.arange(len(found))]
    gain, offset = np.polyfit(meant.ravel(), found.ravel(), 1) if np.ptp(meant) else (1.0, 0.0)
    if gain > 0:
        found = (found - offset) / gain
    own = np.abs(right - found).mean((2, 3)).min(0)
    nearest = np.stack([np.abs(others - picture).mean((1, 2)).min() for picture in found])
    is_wrong = (own > _VISIBLE) & ((own > _TOLERANCE) | (nearest < _NEARER * own))
    return f"{is_wrong.sum()} of {len(found)} frames are others" if is_wrong.any() else None


def coarse(frames: Frames, rows: int, columns: int) -> Float64:
    """Return the mean grey levels of the cells of a grid.

    Args:
        frames: (N, H, W, 3) RGB.
        rows: number of cells from top to bottom.
        columns: number of cells from left to right.

    Returns:
        Pictures (N, rows, columns), 0 to 255.
    """
    height, width = frames.shape[1:3]
    tops = np.arange(rows) * height // rows
    lefts = np.arange(columns) * width // columns
    areas = np.outer(np.diff(tops, append=height), np.diff(lefts, append=width))
    pictures = []
    for frame in frames:
        grey = frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        pictures.append(np.add.reduceat(np.add.reduceat(grey, tops, 0), lefts, 1) / areas)
    return np.stack(pictures).astype(np.float64)


def _shape(shape: tuple[int, ...]) -> str:
    if len(shape) != 4:
        return f"an array of shape {shape}"
    return f"{shape[0]} frames of {shape[2]}x{shape[1]}"
