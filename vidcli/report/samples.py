"""What the network sees in training: a few clips, after every random change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from vidcli.config import ClipConfig
from vidcli.fonts import num_columns, short_names
from vidcli.report.canvas import new_figure, save_png, written_text
from vidcli.transforms import to_pixels

_MAX_CLIPS = 8
_MAX_FRAMES = 8
_GAP = 2
_INCHES_A_FRAME = 1.3
_INCHES_A_LETTER = 0.09
_MAX_NAME_COLUMNS = 40
_TITLE_INCHES = 0.4
_MIN_WIDTH = 5.0


def draw_samples(clips_BTCHW: Tensor, names: Sequence[str], clip: ClipConfig, path: Path) -> None:
    """Write training clips as a PNG: a row a clip, left to right in time.

    Args:
        clips_BTCHW: normalised clips, as the network gets them; at least one.
        names: what to write beside each.
        clip: the settings they were normalised by.
        path: the file.
    """
    clips_BTCHW = clips_BTCHW[:_MAX_CLIPS]
    num_frames = clips_BTCHW.shape[1]
    shown = np.unique(np.linspace(0, num_frames - 1, min(num_frames, _MAX_FRAMES)).round().astype(int))
    strips = [_strip(clip_TCHW[shown], clip) for clip_TCHW in clips_BTCHW.detach().cpu().float()]
    strip_width = _INCHES_A_FRAME * len(shown)
    row_height = max(0.3, strip_width * strips[0].shape[0] / strips[0].shape[1])
    names = short_names([written_text(name) for name in names[: len(strips)]], _MAX_NAME_COLUMNS)
    margin = 0.3 + _INCHES_A_LETTER * max(map(num_columns, names))
    figure = new_figure(max(_MIN_WIDTH, margin + strip_width + 0.1), row_height * len(strips) + _TITLE_INCHES)
    figure.set_layout_engine("none")  # rows of one proportion are laid out by hand
    full_width, full_height = figure.get_size_inches()
    for row, (strip, name) in enumerate(zip(strips, names, strict=True), start=1):
        bottom = full_height - _TITLE_INCHES - row * row_height
        axes = figure.add_axes(
            (margin / full_width, bottom / full_height, strip_width / full_width, row_height / full_height)
        )
        axes.imshow(strip, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        # In figure coordinates of the row's middle; names may hold a $, which is no formula here.
        middle = (bottom + row_height / 2) / full_height
        left = (margin - 0.1) / full_width
        figure.text(left, middle, name, ha="right", va="center", parse_math=False)
    which = f"{len(shown)} of {num_frames} frames" if len(shown) < num_frames else "all frames"
    height, width = clips_BTCHW.shape[-2:]
    title = f"training clips as the network gets them: {which}, {height}x{width}"
    figure.text(0.5, 1 - 0.1 / full_height, title, ha="center", va="top")
    save_png(figure, path, names)


def _strip(clip_TCHW: Tensor, clip: ClipConfig) -> npt.NDArray[np.uint8]:
    """Lay the frames side by side, each with a white edge, uint8 (H', W', 3)."""
    pixels_THWC = to_pixels(clip_TCHW, clip)
    framed_THWC = np.pad(pixels_THWC, ((0, 0), (0, _GAP), (0, _GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(framed_THWC), axis=1)
