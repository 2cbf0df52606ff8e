"""Labels and bars of confidence, drawn into the pictures of a video."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidcli.predict.segments import Floats, Timeline
from vidcli.video import Frames

NUM_SHOWN = 3
_GROUND = (0, 0, 0, 150)
_BEST, _OTHER, _TEXT = (255, 196, 0, 255), (150, 150, 150, 255), (255, 255, 255, 255)


class Annotator:
    """Draw the most probable classes of each moment into the upper left corner."""

    def __init__(self, class_names: Sequence[str], probabilities_NK: Floats, cell_seconds: float) -> None:
        """Keep what to draw.

        Args:
            class_names: position is label.
            probabilities_NK: in each cell; one cell is the whole video.
            cell_seconds: length of a cell.
        """
        self._names, self._probabilities_NK = class_names, probabilities_NK
        self._cell_seconds = cell_seconds

    @classmethod
    def of_timeline(cls, timeline: Timeline) -> Annotator:
        """Draw what changes with time."""
        return cls(timeline.class_names, timeline.probabilities_NK, timeline.cell_seconds)

    def draw(self, picture_HWC: Frames, seconds: float) -> None:
        """Draw into a picture, in place."""
        cell = min(int(seconds / self._cell_seconds), len(self._probabilities_NK) - 1)
        # The panel leaves half of a small picture free.
        room = picture_HWC.shape[0] // 2 // (2 * _line_height(_font_size(*picture_HWC.shape[:2])))
        num_rows = min(NUM_SHOWN, max(1, room))
        best = np.argsort(-self._probabilities_NK[cell], kind="stable")[:num_rows]
        rows = tuple((self._names[label], float(self._probabilities_NK[cell, label])) for label in best)
        panel_HWC, opacity_HW1 = render_panel(rows, picture_HWC.shape[0], picture_HWC.shape[1])
        height, width = panel_HWC.shape[:2]
        corner = picture_HWC[:height, :width]
        corner[...] = (corner * (1 - opacity_HW1) + panel_HWC * opacity_HW1).round().astype(np.uint8)


@lru_cache(maxsize=64)
def render_panel(
    rows: tuple[tuple[str, float], ...], picture_height: int, picture_width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return colours (H, W, 3), 0 to 255, and opacity (H, W, 1) of a panel that fits the picture."""
    size = _font_size(picture_height, picture_width)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), size)
    pad, line = max(2, size // 4), _line_height(size)
    width = min(picture_width, max(8 * size, round(picture_width * 0.42)))
    height = min(picture_height, 2 * pad + 2 * line * len(rows))
    panel = Image.new("RGBA", (width, height), _GROUND)
    draw = ImageDraw.Draw(panel)
    for number, (name, probability) in enumerate(rows if width > 4 * pad else ()):
        top = pad + 2 * line * number
        colour = _BEST if number == 0 else _OTHER
        percent = f"{probability:.0%}"
        room = width - 3 * pad - draw.textlength(percent, font)
        draw.text((pad, top), _shorten(name, font, room), _TEXT, font)
        draw.text((width - pad, top), percent, _TEXT, font, anchor="ra")
        bar_top = top + line + pad // 2
        bar = round((width - 2 * pad) * probability)
        draw.rectangle((pad, bar_top, width - pad, bar_top + line // 2), outline=colour)
        draw.rectangle((pad, bar_top, pad + bar, bar_top + line // 2), fill=colour)
    pixels = np.asarray(panel, dtype=np.float32)
    return pixels[..., :3], pixels[..., 3:] / 255


def _shorten(name: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """Return as much of a name, on one line, as the room takes."""
    text = " ".join(name.split())
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text}…"


def _font_size(picture_height: int, picture_width: int) -> int:
    return max(9, min(picture_height, picture_width) // 20)


def _line_height(font_size: int) -> int:
    return font_size + max(3, font_size // 3)
