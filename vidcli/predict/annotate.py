"""Labels and bars of confidence, drawn into the pictures of a video.

They lie in the upper left corner and never reach the middle of the picture, whatever its size and shape:
a line of text takes at most a 25th of the shorter side, as far as that leaves letters that can be read,
and all lines together at most a third of the height. Where not one line fits, a bar alone is drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidcli.fonts import choose_font, picture_names
from vidcli.palette import GREY, Colour, Stripes, class_colours
from vidcli.predict.segments import Floats, Timeline
from vidcli.video import Frames

NUM_SHOWN = 3
_TEXT_SHARE = 1 / 25
"""Of the shorter side of the picture, for a line of text."""
_MIN_FONT_SIZE = 8
_FREE_SHARE = 1 / 3
"""Of the height, at most for all lines: the middle third stays free."""
_WIDE_SHARE, _FEWEST_LETTERS = 0.5, 14
"""How much of the width names may take; where that has no room for a word, for so many letters."""

Row: TypeAlias = tuple[str, float, Colour]
"""Name and probability of a class, and its colour."""

_GROUND = (0, 0, 0, 175)
_TEXT, _SOFT_TEXT, _EMPTY = (255, 255, 255, 255), (210, 210, 210, 255), (70, 70, 70, 255)


class Annotator:
    """Draw the most probable classes of each moment into the upper left corner.

    Bars have the colours of their classes. The answer is written in white, others in grey; of a
    multi-label model all classes that hold at the moment are the answer, and come before others.

    Attributes:
        names: of the classes, as they are drawn; a number where no font has the letters.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        probabilities_NK: Floats,
        cell_seconds: float,
        held_N: Sequence[Collection[str]] | None = None,
    ) -> None:
        """Keep what to draw.

        Args:
            class_names: position is label.
            probabilities_NK: in each cell; one cell is the whole video.
            cell_seconds: length of a cell.
            held_N: of a multi-label model, the classes that hold in each cell.
        """
        self.names = picture_names(class_names, one_font=True)
        self._class_names = tuple(class_names)
        self._probabilities_NK, self._cell_seconds, self._held_N = probabilities_NK, cell_seconds, held_N
        self._colours = class_colours(class_names)
        self._font, _ = choose_font("".join(self.names.shown))
        self._widths: dict[tuple[int, int], int] = {}

    @property
    def is_legible(self) -> bool:
        """Whether fonts of this machine have all letters of the class names."""
        return not self.names.numbered

    @classmethod
    def of_timeline(cls, timeline: Timeline) -> Annotator:
        """Draw what changes with time."""
        held_N = timeline.held() if timeline.is_multi_label else None
        return cls(timeline.class_names, timeline.probabilities_NK, timeline.cell_seconds, held_N)

    def draw(self, picture_HWC: Frames, seconds: float) -> None:
        """Draw into a picture, in place."""
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
        """Return the classes to draw, and how many of them are marked; those come first.

        Args:
            seconds: the moment.
            room: lines that fit; 0 asks for the one that is drawn without its name.
        """
        cell = min(int(seconds / self._cell_seconds), len(self._probabilities_NK) - 1)
        order = np.argsort(-self._probabilities_NK[cell], kind="stable").tolist()
        held = self._held_N[cell] if self._held_N is not None else None
        marked = order[:1] if held is None else [label for label in order if self._class_names[label] in held]
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
        if len(marked) > num_rows > 1:  # the last line says how many found no room
            rows[-1] = (f"{len(marked) - num_rows + 1} more", rows[-1][1], GREY)
        return tuple(rows), min(len(marked), num_rows)


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels of what is drawn into a picture.

    Attributes:
        picture_width: of the whole picture.
        font_file, font_size: of all text.
        line: height of a line of text.
        bar: height of the bar below it.
        pad: around everything, and between rows.
        num_rows: lines that fit; 0 where only a bar does.
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
        """Return the sizes for a picture of at least three lines."""
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
    """Return the width that the longest name asks for, so that nothing jumps; names beyond it are cut."""
    font = _load_font(layout.font_file, layout.font_size)
    wanted = max(map(font.getlength, names)) + font.getlength("100%") + 4 * layout.pad + layout.font_size
    fewest = font.getlength("0") * _FEWEST_LETTERS
    most = max(layout.picture_width * _WIDE_SHARE, fewest)
    return min(layout.picture_width, round(max(fewest, min(wanted, most))))


@lru_cache(maxsize=64)
def render_panel(
    rows: tuple[Row, ...], layout: Layout, width: int, num_marked: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return colours (H, W, 3), 0 to 255, and opacity (H, W, 1) of a panel for a picture's corner."""
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
    """Write a name on the left and its probability on the right; place is left, top and right."""
    left, top, right = place
    percent = f"{probability:.0%}"
    room = right - left - draw.textlength(percent, font) - font.size / 2
    if room < 2 * font.size:  # the bar tells as much
        room = right - left
    else:
        draw.text((right, top), percent, ink, font, anchor="ra")
    draw.text((left, top), _shorten(name, font, room), ink, font, anchor="la")


def _draw_bar(panel: Image.Image, box: tuple[int, int, int, int], probability: float, colour: Colour) -> None:
    """Draw how probable a class is: its colour on dark grey, striped as the colour says."""
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
    """Return as much of a name as the room takes."""
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
