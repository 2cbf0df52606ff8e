"""Whether another decoder gave the frames that were asked for, though its colours differ.

Decoders scale and convert colours each in its own way, so their pictures are never equal to the bit.
Compared are coarse grey pictures, after the one brightness and contrast that fit all frames of a
contender best:

    asked for   10   26   42   57          frames of the file, by number
    came        10   27   42   57
    nearest     10   27   42   57          among those asked for and their neighbours: one is wrong

A frame counts as wrong where its picture is visibly not the one asked for, and either nearer to
another of the video or near to none. Where the video stands still, nobody can tell, and it counts as
right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vidcli.sampling import TIMESTAMP_TOLERANCE_SECONDS, Seconds
from vidcli.video import decode_frames

Grey: TypeAlias = npt.NDArray[np.float64]
"""Coarse pictures (N, rows, columns), 0 to 255."""

_CELLS = 32  # rows and columns of a coarse picture, at most
_SIDE = 256  # larger references are decoded to that short side
_VISIBLE = 1.0  # mean difference of grey levels below which two pictures are the same
_TOLERANCE = 10.0  # and above which they are not, whatever the way to scale and convert
_NEARER = 0.5  # another frame is meant where its difference is less than this share
_NEIGHBOURS = (-2, -1, 1, 2)  # frames beside one asked for that a seek may land on


@dataclass(frozen=True)
class References:
    """Coarse pictures of what was asked for and of what could be taken for it.

    Attributes:
        right: (M, N, rows, columns): any of M is right for its moment; a moment at which a frame
            starts has the one before it as well.
        others: (K, rows, columns), frames of the same video.
    """

    right: Grey
    others: Grey


def find_references(path: Path, moments: Seconds, size: tuple[int, int], fps: float) -> References:
    """Decode what the frames of other decoders are held against, for frames of `size`."""
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
    """Tell what is wrong with the frames that a contender gave; None if nothing is.

    Args:
        frames: (N, H, W, 3) RGB, as an array or what can be made one.
        size: height and width that were asked for.
    """
    pictures = np.asarray(frames)
    expected = (references.right.shape[1], *size, 3)
    if pictures.shape != expected:
        return f"gave {_shape(pictures.shape)} instead of {_shape(expected)}"
    right, others = references.right, references.others
    found = coarse(pictures, *right.shape[2:])
    # One gain and offset for all frames: how this contender converts colours, and nothing else.
    closest = np.abs(right - found).mean((2, 3)).argmin(0)
    meant = right[closest, np.arange(len(found))]
    gain, offset = np.polyfit(meant.ravel(), found.ravel(), 1) if np.ptp(meant) else (1.0, 0.0)
    if gain > 0:
        found = (found - offset) / gain
    own = np.abs(right - found).mean((2, 3)).min(0)
    nearest = np.stack([np.abs(others - picture).mean((1, 2)).min() for picture in found])
    is_wrong = (own > _VISIBLE) & ((own > _TOLERANCE) | (nearest < _NEARER * own))
    return f"{is_wrong.sum()} of {len(found)} frames are others" if is_wrong.any() else None


def coarse(frames: npt.NDArray[np.uint8], rows: int, columns: int) -> Grey:
    """Return the mean grey levels of the cells of a grid laid over each frame (N, H, W, 3)."""
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
