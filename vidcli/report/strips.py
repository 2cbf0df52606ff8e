"""Frames in rows, left to right in time: training clips, and two videos that may be copies.

Shape suffixes: B clips of a batch, T frames, H W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from vidcli.arrays import Frames
from vidcli.config import ClipConfig
from vidcli.fonts import num_columns, short_names
from vidcli.names import visible
from vidcli.report.figures import new_figure, save_png, written_text
from vidcli.transforms import to_pixels

_MAX_CLIPS = 8
_MAX_CLIP_FRAMES = 8
_GAP_PIXELS = 2
_CLIP_FRAME_INCHES = 1.3
_LETTER_INCHES = 0.09
_MAX_NAME_COLUMNS = 40
_TITLE_INCHES = 0.4
_MIN_WIDTH_INCHES = 5.0

_PAIR_FRAME_INCHES = 1.9
_LINE_INCHES = 0.3
_MAX_LINE_LETTERS = 105
_LEFT_EDGE = 0.02
"""Where the texts of a pair begin, as a share of the picture's width."""


def draw_samples(clips_BTCHW: Tensor, names: Sequence[str], clip: ClipConfig, path: Path) -> None:
    """Write training clips, after every random change, as a PNG: one row per clip.

    Args:
        clips_BTCHW: normalised clips, as the network gets them; at least one.
        names: the text beside each clip.
        clip: the settings that the clips were normalised with.
        path: the file to write.
    """
    clips_BTCHW = clips_BTCHW[:_MAX_CLIPS]
    num_frames = clips_BTCHW.shape[1]
    num_shown = min(num_frames, _MAX_CLIP_FRAMES)
    shown = np.unique(np.linspace(0, num_frames - 1, num_shown).round().astype(int))
    strips = [_strip(clip_TCHW[shown], clip) for clip_TCHW in clips_BTCHW.detach().cpu().float()]
    strip_width = _CLIP_FRAME_INCHES * len(shown)
    row_height = max(0.3, strip_width * strips[0].shape[0] / strips[0].shape[1])
    names = short_names([written_text(name) for name in names[: len(strips)]], _MAX_NAME_COLUMNS)
    margin = 0.3 + _LETTER_INCHES * max(map(num_columns, names))
    height = row_height * len(strips) + _TITLE_INCHES
    figure = _empty_figure(max(_MIN_WIDTH_INCHES, margin + strip_width + 0.1), height)
    width = float(figure.get_size_inches()[0])
    for row, (strip, name) in enumerate(zip(strips, names, strict=True), start=1):
        bottom = height - _TITLE_INCHES - row * row_height
        box = (margin / width, bottom / height, strip_width / width, row_height / height)
        _place_picture(figure, strip, box, "nearest")
        middle = (bottom + row_height / 2) / height
        # A name may hold a $, which begins no formula here.
        figure.text((margin - 0.1) / width, middle, name, ha="right", va="center", parse_math=False)
    which = f"{len(shown)} of {num_frames} frames" if len(shown) < num_frames else "all frames"
    side_y, side_x = clips_BTCHW.shape[-2:]
    title = f"training clips as the network gets them: {which}, {side_y}x{side_x}"
    figure.text(0.5, 1 - 0.1 / height, title, ha="center", va="top")
    save_png(figure, path, names)


def _strip(clip_TCHW: Tensor, clip: ClipConfig) -> Frames:
    """Lay the frames side by side, each with a white edge, uint8 (H', W', 3)."""
    pixels_THWC = to_pixels(clip_TCHW.numpy(), clip)
    gap = (0, _GAP_PIXELS)
    return np.concatenate(list(np.pad(pixels_THWC, ((0, 0), gap, gap, (0, 0)), constant_values=255)), axis=1)


@dataclass(frozen=True)
class Strip:
    """Frames of one video.

    Attributes:
        name: the text above them, such as the video's path and class.
        frames: uint8 (H, W, 3), in the order of time; all of one size.
        seconds: when each is shown, from the start of the video.
    """

    name: str
    frames: Sequence[Frames]
    seconds: Sequence[float]


def draw_pair(strips: Sequence[Strip], title: str, path: Path) -> None:
    """Write frames of two videos that may be copies as a PNG: one row per video, under one title.

    Args:
        strips: the rows; moments at which both videos should show the same stand below one another.
        title: why the videos may be copies.
        path: the file to write.
    """
    width = _PAIR_FRAME_INCHES * max(len(strip.frames) for strip in strips)
    heights = [_PAIR_FRAME_INCHES * strip.frames[0].shape[0] / strip.frames[0].shape[1] for strip in strips]
    full_height = sum(heights) + _LINE_INCHES * (1 + 2 * len(strips))
    figure = _empty_figure(width, full_height)
    names = [_shorten_line(title)]
    top = full_height - _LINE_INCHES
    figure.text(_LEFT_EDGE, 1 - 0.1 / full_height, names[0], va="top", fontsize=9, parse_math=False)
    for strip, height in zip(strips, heights, strict=True):
        names.append(_shorten_line(strip.name))
        place = (top - 0.08) / full_height
        figure.text(_LEFT_EDGE, place, names[-1], va="top", fontsize=9, weight="bold", parse_math=False)
        top -= _LINE_INCHES + height
        for position, (frame, seconds) in enumerate(zip(strip.frames, strip.seconds, strict=True)):
            left = position * _PAIR_FRAME_INCHES / width
            box = (left, top / full_height, 0.985 * _PAIR_FRAME_INCHES / width, height / full_height)
            _place_picture(figure, frame, box, "bilinear")
            figure.text(left, (top - 0.06) / full_height, f"{seconds:.2f} s", va="top", fontsize=8)
        top -= _LINE_INCHES
    save_png(figure, path, names)


def _shorten_line(text: str) -> str:
    """Return text that fits above the frames, harmless, its middle left out where it is long."""
    shown = written_text(visible(text))
    if len(shown) <= _MAX_LINE_LETTERS:
        return shown
    half = (_MAX_LINE_LETTERS - 3) // 2
    return f"{shown[:half]} … {shown[-half:]}"


def _empty_figure(width: float, height: float) -> Figure:
    """Return a figure, in inches, whose parts are placed by hand, since all rows have one proportion."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    return figure


def _place_picture(
    figure: Figure, pixels_HWC: Frames, box: tuple[float, float, float, float], interpolation: str
) -> None:
    """Draw pixels into a box: left, bottom, width and height as shares of the figure."""
    axes = figure.add_axes(box)
    axes.imshow(pixels_HWC, interpolation=interpolation, aspect="auto")
    axes.set_axis_off()
