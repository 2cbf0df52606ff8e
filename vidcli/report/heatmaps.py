"""Pictures of an explanation: frames with their maps laid over them as heat, in a sheet and a video.

Shape suffixes: T frames, H W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from vidcli.arrays import Frames
from vidcli.explain import WHOLE, Explanation
from vidcli.fonts import choose_font, picture_names, short_names
from vidcli.palette import GREY, Colour, class_colours
from vidcli.predict.annotate import Layout
from vidcli.report.figures import new_figure, save_png, written_text

# The colour map lacks its darkest third, which could not be seen on a dark video.
_HEAT = ListedColormap(matplotlib.colormaps["inferno"](np.linspace(0.35, 1, 256)))
_HEAT_RGB = (_HEAT(np.linspace(0, 1, 256))[:, :3] * 255).astype(np.float32)
_OPACITY = 0.75
_UNSEEN = 0.5
"""Factor that darkens the parts of a frame that were cut off before the network saw it."""
_CELL_PIXELS = 480
_SHEET_INCHES, _MIN_CELL_INCHES, _MAX_CELL_INCHES = 13.0, 1.5, 4.4
_MAX_TITLE_COLUMNS = 60
_PANEL = (0, 0, 0)


class Overlay:
    """Lays the maps of an explanation over its frames, at any size of these."""

    def __init__(self, explanation: Explanation) -> None:
        """Fix the scale of heat and of weights for the whole clip."""
        self._explanation = explanation
        full = explanation.full_heat
        maps_THW = explanation.maps_THW
        self._shares_THW = np.zeros_like(maps_THW) if full is None else (maps_THW / full).clip(0, 1)
        self._colour = colour_of(explanation)
        self._largest = max(float(np.abs(explanation.weights_T).max()), 1e-12)

    def heat(self, picture_HWC: Frames, frame: int) -> Frames:
        """Return a picture with the heat of a frame laid over it, uint8 (H, W, 3).

        Pixels stay as they are where the map is zero. Parts that were cut off before the network saw the
        frame are darker.

        Args:
            picture_HWC: the frame, upright, uint8, of any size.
            frame: the position of the frame in the clip.
        """
        height, width = picture_HWC.shape[:2]
        top, left, bottom, right = self._place(frame, height, width)
        shares_HW = Image.fromarray(self._shares_THW[frame].astype(np.float32))
        large = shares_HW.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        shares_hw = np.asarray(large).clip(0, 1)
        heated: Frames = np.asarray((picture_HWC * np.float32(_UNSEEN)).round(), dtype=np.uint8)
        seen = picture_HWC[top:bottom, left:right]
        heated[top:bottom, left:right] = _mix(seen, shares_hw)
        return heated

    def finish(self, heated_HWC: Frames, frame: int) -> Frames:
        """Return a frame of the overlay video: of even size, with a legend and the weight as a bar.

        Args:
            heated_HWC: the picture of `heat`.
            frame: the position of the frame in the clip.
        """
        height, width = (max(2, side & ~1) for side in heated_HWC.shape[:2])
        missing = [(0, max(0, 2 - side)) for side in heated_HWC.shape[:2]]
        whole = np.pad(heated_HWC, (*missing, (0, 0)), "edge")
        picture: Frames = np.array(whole[:height, :width], dtype=np.uint8)
        bar = max(1, height // 60)
        weight = float(self._explanation.weights_T[frame])
        length = round(width * abs(weight) / self._largest)
        picture[height - bar :] = _PANEL
        picture[height - bar :, :length] = (self._colour if weight >= 0 else GREY).rgb
        self._draw_legend(picture, height - bar)
        return picture

    def _place(self, frame: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Return top, left, bottom and right of the part that the network saw, in pixels of a picture.

        Args:
            frame: the position of the frame in the clip.
            height: of the picture.
            width: of the picture.
        """
        top, left, share_y, share_x = self._explanation.window(frame)
        first_y, first_x = min(height - 1, round(top * height)), min(width - 1, round(left * width))
        last_y = min(height, max(first_y + 1, round((top + share_y) * height)))
        return first_y, first_x, last_y, min(width, max(first_x + 1, round((left + share_x) * width)))

    def _draw_legend(self, picture_HWC: Frames, bottom: int) -> None:
        """Write the meaning of the heat into the lower left corner, if it fits."""
        text = legend_of(self._explanation.full_heat)
        picture_height, picture_width = picture_HWC.shape[:2]
        layout = Layout.of_picture(picture_height, picture_width, choose_font(text)[0])
        font = ImageFont.truetype(layout.font_file, layout.font_size)
        scale = 0 if self._explanation.full_heat is None else 3 * layout.line
        width, height = round(font.getlength(text)) + scale + 3 * layout.pad, layout.line + layout.pad
        if width > picture_width or layout.num_rows < 1:
            return
        panel = Image.new("RGB", (width, height), _PANEL)
        if scale:
            bar = (_HEAT(np.linspace(0, 1, scale))[None, :, :3] * 255).round().astype(np.uint8)
            panel.paste(Image.fromarray(bar.repeat(layout.line // 2, axis=0)), (layout.pad, layout.line // 4))
        ImageDraw.Draw(panel).text((scale + 2 * layout.pad, 0), text, (255, 255, 255), font)
        picture_HWC[max(0, bottom - height) : bottom, :width] = np.asarray(panel)[-bottom:]


def overlay_frames(explanation: Explanation) -> npt.NDArray[np.uint8]:
    """Return the frames as the network saw them, with heat, uint8 (T, H, W, C).

    Pixels stay as they are where the map is zero.
    """
    full = explanation.full_heat
    if full is None:
        return np.array(explanation.frames_THWC)
    return _mix(explanation.frames_THWC, (explanation.maps_THW / full).clip(0, 1))


def legend_of(full_heat: float | None) -> str:
    """Return a phrase that says what the colours of a map mean.

    Args:
        full_heat: the share of the strongest place that has the brightest colour, 0 to 1; None of a flat
            map.
    """
    if full_heat is None:
        return "flat map: no place stands out"
    return f"heat: 0 to {full_heat:.0%} of the strongest place"


def colour_of(explanation: Explanation) -> Colour:
    """Return the colour of the explained class, the same as in every picture of the model."""
    return class_colours([*explanation.class_names, explanation.class_name])[explanation.class_name]


def shrink_to_cell(picture_HWC: Frames) -> Frames:
    """Return a picture small enough for a cell of the sheet."""
    small = Image.fromarray(picture_HWC)
    small.thumbnail((_CELL_PIXELS, _CELL_PIXELS))
    return np.asarray(small)


def draw_contact_sheet(explanation: Explanation, cells: Sequence[Frames], path: Path) -> None:
    """Write all frames with their heat as a PNG, the weight of each below it.

    Args:
        explanation: of one clip.
        cells: the frames with heat, uint8 (H, W, 3), all of one size.
        path: the file to write.
    """
    save_png(build_contact_sheet(explanation, cells), path)


def build_contact_sheet(explanation: Explanation, cells: Sequence[Frames]) -> Figure:
    """Return the figure of `draw_contact_sheet`."""
    height, width = cells[0].shape[:2]
    # The sheet is about as wide as high, and its cells are large enough to see.
    columns = min(len(cells), max(1, round((len(cells) * height / width) ** 0.5 * 1.2)))
    cell_width = min(_MAX_CELL_INCHES, max(_MIN_CELL_INCHES, _SHEET_INCHES / columns))
    columns = min(columns, max(1, int(2 * _SHEET_INCHES / cell_width)))
    rows = -(-len(cells) // columns)
    cell_height = min(2 * cell_width, cell_width * height / width) + 0.55
    figure = new_figure(max(7.5, cell_width * columns + 0.2), rows * cell_height + 1.6)
    figure.suptitle(_title(explanation), fontsize=10, parse_math=False)
    bar_height = 0.06 * cell_height
    grid = figure.add_gridspec(2 * rows + 1, columns, height_ratios=[*[cell_height, bar_height] * rows, 0.15])
    colour = colour_of(explanation)
    largest = max(float(np.abs(explanation.weights_T).max()), 1e-12)
    shares_T = explanation.weights_T / largest
    for frame, (cell, share) in enumerate(zip(cells, shares_T, strict=True)):
        row, column = divmod(frame, columns)
        axes = figure.add_subplot(grid[2 * row, column])
        axes.imshow(cell)
        axes.set_axis_off()
        axes.set_title(f"{explanation.seconds_T[frame]:.2f} s", fontsize=9)
        bar = figure.add_subplot(grid[2 * row + 1, column])
        ink = colour if share >= 0 else GREY
        bar.barh([0], [share], color=ink.hex, edgecolor=ink.stripe_hex, linewidth=0, hatch=ink.stripes.value)
        bar.axvline(0, color="0.5", linewidth=0.8)
        bar.set_xlim(min(0.0, float(shares_T.min())), 1)
        bar.set_axis_off()
    if explanation.full_heat is not None:
        _draw_scale(figure.add_subplot(grid[-1, :]), explanation.full_heat)
    return figure


def _draw_scale(axes: Axes, full: float) -> None:
    """Draw the colour scale of the heat; `full` is the value of its brightest colour."""
    scale = ScalarMappable(Normalize(0, full), _HEAT)
    bar = axes.figure.colorbar(scale, cax=axes, orientation="horizontal", extend="max")
    bar.set_ticks([0, full], labels=["0", f"{full:.0%} and more"])
    bar.set_label("weight of a place, as a share of the strongest place's")


def _title(explanation: Explanation) -> str:
    name, video = short_names(
        [picture_names([explanation.class_name]).shown[0], written_text(Path(explanation.name).name)],
        _MAX_TITLE_COLUMNS,
    )
    against = " (grey speaks against it)" if (explanation.weights_T < 0).any() else ""
    flat = "" if explanation.full_heat is not None else ": a flat map, where no place stands out"
    cut = "; what is dark the network did not see" if set(explanation.windows) != {WHOLE} else ""
    return (
        f"{video}\nwhy {name} ({explanation.probability:.3f})\n"
        f"frames by {explanation.frame_method}{against}\nplaces by {explanation.map_method}{flat}{cut}"
    )


def _mix(frames: Frames, shares: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Lay heat over pixels; it is the more opaque, the hotter.

    Args:
        frames: uint8 pixels (..., C).
        shares: heat (...), from 0 to 1.
    """
    alpha = np.float32(_OPACITY) * shares[..., None]
    heat = _HEAT_RGB[(shares * 255).round().astype(np.uint8)]
    mixed = frames * (1 - alpha) + heat * alpha
    return np.asarray(mixed.round().clip(0, 255), dtype=np.uint8)
