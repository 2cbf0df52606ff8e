"""Two videos that may be copies, side by side: moments of both at which they should show the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidcli.names import visible
from vidcli.report.canvas import new_figure, save_png, written_text

Frame = npt.NDArray[np.uint8]

_INCHES_A_FRAME = 1.9
_INCHES_A_TEXT = 0.3
_MAX_LETTERS = 105
_EDGE = 0.02


@dataclass(frozen=True)
class Strip:
    """Frames of one video.

    Attributes:
        name: what stands above, such as its path and class.
        frames: uint8 (H, W, 3), in the order of time; of one size within a video.
        seconds: when each is shown.
    """

    name: str
    frames: Sequence[Frame]
    seconds: Sequence[float]


def draw_pair(strips: Sequence[Strip], title: str, path: Path) -> None:
    """Write the frames of two videos as a PNG, one row a video, under one title.

    Args:
        strips: as many frames each.
        title: what is supposed of them.
        path: the file.
    """
    width = _INCHES_A_FRAME * max(len(strip.frames) for strip in strips)
    heights = [_INCHES_A_FRAME * strip.frames[0].shape[0] / strip.frames[0].shape[1] for strip in strips]
    full_height = sum(heights) + _INCHES_A_TEXT * (1 + 2 * len(strips))
    figure = new_figure(width, full_height)
    figure.set_layout_engine("none")  # rows are laid out by hand
    names = [_shortened(title)]
    top = full_height - _INCHES_A_TEXT
    figure.text(_EDGE, 1 - 0.1 / full_height, names[0], va="top", fontsize=9, parse_math=False)
    for strip, height in zip(strips, heights, strict=True):
        names.append(_shortened(strip.name))
        place = (top - 0.08) / full_height
        figure.text(_EDGE, place, names[-1], va="top", fontsize=9, weight="bold", parse_math=False)
        top -= _INCHES_A_TEXT + height
        for position, (frame, seconds) in enumerate(zip(strip.frames, strip.seconds, strict=True)):
            left = position * _INCHES_A_FRAME / width
            box = (left, top / full_height, 0.985 * _INCHES_A_FRAME / width, height / full_height)
            axes = figure.add_axes(box)
            axes.imshow(frame, interpolation="bilinear", aspect="auto")
            axes.set_axis_off()
            figure.text(left, (top - 0.06) / full_height, f"{seconds:.2f} s", va="top", fontsize=8)
        top -= _INCHES_A_TEXT
    save_png(figure, path, names)


def _shortened(text: str) -> str:
    """Return text that fits above the frames, harmless, its middle left out where it is long."""
    shown = written_text(visible(text))
    if len(shown) <= _MAX_LETTERS:
        return shown
    half = (_MAX_LETTERS - 3) // 2
    return f"{shown[:half]} … {shown[-half:]}"
