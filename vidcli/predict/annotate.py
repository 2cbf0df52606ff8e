"""Draw labels and bars of confidence into the pictures of a video.

They lie in the upper left corner and never reach the middle of the picture, whatever its size and shape.
A line of text takes at most a 25th of the shorter side, unless its letters would become too small to read.
All lines together take at most a third of the height. If not one line fits, only a bar is drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidcli.arrays import Float64, Frames
from vidcli.fonts import choose_font, picture_names
from vidcli.palette import GREY, Colour, Stripes, class_colours
from vidcli.predict.segments import Timeline

NUM_SHOWN = 3
_TEXT_SHARE = 1 / 25
"""Height of a line of text, as a share of the shorter side of the picture."""
_MIN_FONT_SIZE = 8
_FREE_SHARE = 1 / 3
"""The most that all lines take, as a share of the picture's height: the middle third stays free."""
_WIDE_SHARE = 0.5
"""The most that names take, as a share of the picture's width."""
_FEWEST_LETTERS = 14
"""Letters for which there is always room, even beyond `_WIDE_SHARE`."""

Row: TypeAlias = tuple[str, float, Colour]
"""Name, probability and colour of a class."""

_GROUND = (0, 0, 0, 175)
_TEXT, _SOFT_TEXT, _EMPTY = (255, 255, 255, 255), (210, 210, 210, 255), (70, 70, 70, 255)


class Annotator:
    """Draw the most probable classes of each moment into the upper left corner.

    Bars have the colours of their classes. The best class is written in white, others in grey. For a
    multi-label model all classes of the moment are white, and come before the others.

    Attributes:
        names: the class names as they are drawn: a number where no font has the letters.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        probabilities_NK: Float64,
        cell_seconds: float,
        labels_N: Sequence[Collection[str]] | None = None,
    ) -> None:
        """Keep what to draw.

        Args:
            class_names: the names of the K classes; a class's position is its label.
            probabilities_NK: the probability of each class in each of N cells; a single cell is the
                whole video.
            cell_seconds: duration of a cell.
            labels_N: for each cell the classes that a multi-label model finds there; None for any other
                model.
        """
        self.names = picture_names(class_names, one_font=True)
        self._class_names = tuple(class_names)
        self._probabilities_NK, self._cell_seconds, self._labels_N = probabilities_NK, cell_seconds, labels_N
        self._colours = class_colours(class_names)
        self._font, _ = choose_font("".join(self.names.shown))
        self._widths: dict[tuple[int, int], int] = {}

    @classmethod
    def of_timeline(cls, timeline: Timeline) -> Annotator:
        """Return what draws the classes of each cell of a timeline."""
        labels_N = timeline.cell_labels() if timeline.is_multi_label else None
        return cls(timeline.class_names, timeline.probabilities_NK, timeline.cell_seconds, labels_N)

    def draw(self, picture_HWC: Frames, seconds: float) -> None:
        """Draw the classes at the moment `seconds` into a picture, in place."""
        height, width = picture_HWC.shape[:2]
        if height * _FREE_SHARE < 1:
            return
        layout = Layout.of_picture(height, width, self._font)
        rows, num_marked = self._rows(seconds, layout.num_rows)
        if (height, width) not in self._widths:
            self._widths[height, width] = panel_width(self.names.shown, layout)
        panel_HWC, opacity_HW1 = render_panel(rows, layout, self._widths[height, width], num_marked)
        panel_height, panel_width_ = panel_HWC.shape[:2]
        corner = picture_HWC[:panel_height, :panel_width_]
        corner[...] = (corner * (1 - opacity_HW1) + panel_HWC * opacity_HW1).round().astype(np.uint8)

    def _rows(self, seconds: float, room: int) -> tuple[tuple[Row, ...], int]:
        """Return the classes to draw, and the number of those in white, which come first.

        Args:
            seconds: the moment.
            room: number of lines that fit; 0 gives one class, which is drawn without its name.
        """
        cell = min(int(seconds / self._cell_seconds), len(self._probabilities_NK) - 1)
        order = np.argsort(-self._probabilities_NK[cell], kind="stable").tolist()
        found = self._labels_N[cell] if self._labels_N is not None else None
        marked = (
            order[:1] if found is None else [label for label in order if self._class_names[label] in found]
        )
        num_rows = max(1, min(room, max(NUM_SHOWN, len(marked))))
        shown = [*marked, *(label for label in order if label not in marked)][:num_rows]
        rows = [
            (
                self.names.shown[label],
                float(self._probabilities_NK[cell, label]),
                self._colours[self._class_names[label]],
            )
            for label in shown
        ]
        if len(marked) > num_rows > 1:  # the last line counts the classes that found no room
            rows[-1] = (f"{len(marked) - num_rows + 1} more", rows[-1][1], GREY)
        return tuple(rows), min(len(marked), num_rows)


@dataclass(frozen=True)
class Layout:
    """Sizes of what is drawn into a picture, in pixels.

    Attributes:
        picture_width: width of the whole picture.
        font_file: file of the font of all text.
        font_size: size of the font.
        line: height of a line of text.
        bar: height of the bar below a line.
        pad: distance around everything, and between rows.
        num_rows: number of lines that fit; 0 where only a bar fits.
    """

    picture_width: int
    font_file: str
    font_size: int
    line: int
    bar: int
    pad: int
    num_rows: int

    @classmethod
    def of_picture(cls, height: int, width: int, font_file: str) -> Layout:
        """Return the sizes for a picture.

        Args:
            height: height of the picture in pixels, at least 3.
            width: width of the picture in pixels.
            font_file: file of the font.
        """
        most = min(height, width) * _TEXT_SHARE
        size = max(_MIN_FONT_SIZE, int(most))
        while size > _MIN_FONT_SIZE and _line_height(font_file, size) > most:
            size -= 1
        line = _line_height(font_file, size)
        bar, pad = max(2, size // 5), max(1, size // 5)
        room = int(height * _FREE_SHARE) - pad
        num_rows = room // (line + bar + pad)
        if num_rows == 0:
            bar, pad = max(1, min(bar, room // 2)), min(pad, room // 4)
        return cls(width, font_file, size, line, bar, pad, num_rows)


def panel_width(names: Sequence[str], layout: Layout) -> int:
    """Return the width for the longest name, so that the panel keeps its size; too long names are cut."""
    font = _load_font(layout.font_file, layout.font_size)
    wanted = max(map(font.getlength, names)) + font.getlength("100%") + 4 * layout.pad + layout.font_size
    fewest = font.getlength("0") * _FEWEST_LETTERS
    most = max(layout.picture_width * _WIDE_SHARE, fewest)
    return min(layout.picture_width, round(max(fewest, min(wanted, most))))


@lru_cache(maxsize=64)
def render_panel(
    rows: tuple[Row, ...], layout: Layout, width: int, num_marked: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the panel that is laid over a picture's corner.

    Args:
        rows: the classes, from the top.
        layout: the sizes.
        width: width of the panel, in pixels.
        num_marked: number of rows in white.

    Returns:
        colours (H, W, 3), 0 to 255, and opacity (H, W, 1), 0 to 1.
    """
    font = _load_font(layout.font_file, layout.font_size)
    pad, line = layout.pad, layout.line if layout.num_rows else 0
    step = line + layout.bar + pad
    panel = Image.new("RGBA", (width, pad + step * len(rows)), _GROUND)
    draw = ImageDraw.Draw(panel)
    for number, (name, probability, colour) in enumerate(rows):
        top = pad + step * number
        if line:
            ink = _TEXT if number < num_marked else _SOFT_TEXT
            _write_row(draw, name, probability, (pad, top, width - pad), font, ink)
        _draw_bar(panel, (pad, top + line, width - pad, top + line + layout.bar), probability, colour)
    pixels = np.asarray(panel, dtype=np.float32)
    return pixels[..., :3], pixels[..., 3:] / 255


def _write_row(
    draw: ImageDraw.ImageDraw,
    name: str,
    probability: float,
    place: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
    ink: tuple[int, int, int, int],
) -> None:
    """Write a name on the left and its probability on the right; `place` is left, top and right in pixels."""
    left, top, right = place
    percent = f"{probability:.0%}"
    room = right - left - draw.textlength(percent, font) - font.size / 2
    if room < 2 * font.size:  # the bar shows it too
        room = right - left
    else:
        draw.text((right, top), percent, ink, font, anchor="ra")
    draw.text((left, top), _shorten(name, font, room), ink, font, anchor="la")


def _draw_bar(panel: Image.Image, box: tuple[int, int, int, int], probability: float, colour: Colour) -> None:
    """Draw a bar as long as a class is probable, in the stripes of its colour, on dark grey."""
    left, top, right, bottom = box
    if right <= left:
        return
    draw = ImageDraw.Draw(panel)
    draw.rectangle((left, top, right - 1, bottom - 1), fill=_EMPTY)
    length = round((right - left) * probability)
    if not length:
        return
    ys, xs = np.mgrid[: bottom - top, :length] // max(1, (bottom - top) // 3)
    along = {
        Stripes.NONE: np.zeros_like(xs), Stripes.RISING: xs + ys, Stripes.FALLING: xs - ys,
        Stripes.UPRIGHT: xs, Stripes.LEVEL: ys,
    }[colour.stripes]  # fmt: skip
    is_dark = along % 4 == 3 if colour.stripes is not Stripes.LEVEL else along % 3 == 1
    pixels = np.array([colour.rgb, colour.stripe_rgb], np.uint8)[is_dark.astype(int)]
    panel.paste(Image.fromarray(pixels), (left, top))


def _shorten(name: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """Return as much of a name as fits into `room` pixels."""
    text = name
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…"


def _line_height(font_file: str, size: int) -> int:
    ascent, descent = _load_font(font_file, size).getmetrics()
    return ascent + descent


@lru_cache(maxsize=32)
def _load_font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)
