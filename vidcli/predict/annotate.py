"""Labels and bars of confidence, drawn into the pictures of a video."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidcli.fonts import choose_font, picture_names
from vidcli.predict.segments import Floats, Timeline
from vidcli.video import Frames

NUM_SHOWN = 3
_WIDE, _NARROW = 0.6, 0.92
"""How much of a picture's width names may take, where that is the longer side and where it is not."""

Row: TypeAlias = tuple[str, float]
"""Name and probability of a class."""

_GROUND = (0, 0, 0, 150)
_BEST, _OTHER, _TEXT = (255, 196, 0, 255), (150, 150, 150, 255), (255, 255, 255, 255)


class Annotator:
    """Draw the most probable classes of each moment into the upper left corner.

    Of a multi-label model all classes that hold at the moment are drawn, and marked, before others.

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
        size = picture_HWC.shape[:2]
        rows, num_marked = self._rows(seconds, *size)
        names = self.names.shown
        if size not in self._widths:
            self._widths[size] = panel_width(names, self._font, *size)
        panel_HWC, opacity_HW1 = render_panel(rows, *size, self._widths[size], self._font, num_marked)
        height, width = panel_HWC.shape[:2]
        corner = picture_HWC[:height, :width]
        corner[...] = (corner * (1 - opacity_HW1) + panel_HWC * opacity_HW1).round().astype(np.uint8)

    def _rows(self, seconds: float, height: int, width: int) -> tuple[tuple[Row, ...], int]:
        """Return the classes to draw, and how many of them are marked; those come first.

        They are as many as fit into half of the picture, or into all of it where so many hold.
        """
        cell = min(int(seconds / self._cell_seconds), len(self._probabilities_NK) - 1)
        order = np.argsort(-self._probabilities_NK[cell], kind="stable").tolist()
        held = self._held_N[cell] if self._held_N is not None else None
        marked = order[:1] if held is None else [label for label in order if self._class_names[label] in held]
        lines = height // (2 * _line_height(_font_size(height, width)))
        num_rows = max(min(NUM_SHOWN, max(1, lines // 2)), min(len(marked), max(1, lines - 1)))
        shown = [*marked, *(label for label in order if label not in marked)][:num_rows]
        rows = [(self.names.shown[label], float(self._probabilities_NK[cell, label])) for label in shown]
        if len(marked) > num_rows:  # the last line says how many found no room
            rows[-1] = (f"{len(marked) - num_rows + 1} more", rows[-1][1])
        return tuple(rows), min(len(marked), num_rows)


def panel_width(names: Sequence[str], font_file: str, picture_height: int, picture_width: int) -> int:
    """Return the width that the longest name asks for, so that nothing jumps; names beyond it are cut.

    A part of the picture stays free beside it, unless that is upright and so narrow.
    """
    size = _font_size(picture_height, picture_width)
    font, pad = ImageFont.truetype(font_file, size), max(2, size // 4)
    wanted = max(map(font.getlength, names)) + font.getlength("100%") + 4 * pad
    most = picture_width * (_WIDE if picture_width > picture_height else _NARROW)
    return min(picture_width, max(8 * size, round(min(wanted, most))))


@lru_cache(maxsize=64)
def render_panel(
    rows: tuple[Row, ...],
    picture_height: int,
    picture_width: int,
    width: int,
    font_file: str,
    num_marked: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return colours (H, W, 3), 0 to 255, and opacity (H, W, 1) of a panel that fits the picture."""
    size = _font_size(picture_height, picture_width)
    font = ImageFont.truetype(font_file, size)
    pad, line = max(2, size // 4), _line_height(size)
    height = min(picture_height, 2 * pad + 2 * line * len(rows))
    panel = Image.new("RGBA", (width, height), _GROUND)
    draw = ImageDraw.Draw(panel)
    for number, (name, probability) in enumerate(rows if width > 4 * pad else ()):
        top = pad + 2 * line * number
        colour = _BEST if number < num_marked else _OTHER
        percent = f"{probability:.0%}"
        room = width - 3 * pad - draw.textlength(percent, font)
        if room < 2 * size:  # the bar tells as much
            room = width - 2 * pad
        else:
            draw.text((width - pad, top), percent, _TEXT, font, anchor="ra")
        draw.text((pad, top), _shorten(name, font, room), _TEXT, font)
        bar_top = top + line + pad // 2
        bar = round((width - 2 * pad) * probability)
        draw.rectangle((pad, bar_top, width - pad, bar_top + line // 2), outline=colour)
        draw.rectangle((pad, bar_top, pad + bar, bar_top + line // 2), fill=colour)
    pixels = np.asarray(panel, dtype=np.float32)
    return pixels[..., :3], pixels[..., 3:] / 255


def _shorten(name: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """Return as much of a name as the room takes."""
    text = name
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…"


def _font_size(picture_height: int, picture_width: int) -> int:
    return max(9, min(picture_height, picture_width) // 20)


def _line_height(font_size: int) -> int:
    return font_size + max(3, font_size // 3)
