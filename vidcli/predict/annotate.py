"""Labels and bars of confidence, drawn into the pictures of a video."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vidcli.predict.segments import Floats, Timeline
from vidcli.video import Frames

NUM_SHOWN = 3
_WIDE, _NARROW = 0.6, 0.92
"""How much of a picture's width names may take, where that is the longer side and where it is not."""

_ALWAYS = "0123456789%…"
_GROUND = (0, 0, 0, 150)
_BEST, _OTHER, _TEXT = (255, 196, 0, 255), (150, 150, 150, 255), (255, 255, 255, 255)


class Annotator:
    """Draw the most probable classes of each moment into the upper left corner.

    Attributes:
        is_legible: a font of this machine has all letters of the class names.
    """

    def __init__(self, class_names: Sequence[str], probabilities_NK: Floats, cell_seconds: float) -> None:
        """Keep what to draw.

        Args:
            class_names: position is label.
            probabilities_NK: in each cell; one cell is the whole video.
            cell_seconds: length of a cell.
        """
        self._names = [" ".join(name.split()) for name in class_names]
        self._probabilities_NK, self._cell_seconds = probabilities_NK, cell_seconds
        self._font, self.is_legible = choose_font("".join(self._names))
        self._widths: dict[tuple[int, int], int] = {}

    @classmethod
    def of_timeline(cls, timeline: Timeline) -> Annotator:
        """Draw what changes with time."""
        return cls(timeline.class_names, timeline.probabilities_NK, timeline.cell_seconds)

    def draw(self, picture_HWC: Frames, seconds: float) -> None:
        """Draw into a picture, in place."""
        size = picture_HWC.shape[:2]
        cell = min(int(seconds / self._cell_seconds), len(self._probabilities_NK) - 1)
        # The panel leaves half of a small picture free.
        room = size[0] // 2 // (2 * _line_height(_font_size(*size)))
        num_rows = min(NUM_SHOWN, max(1, room))
        best = np.argsort(-self._probabilities_NK[cell], kind="stable")[:num_rows]
        rows = tuple((self._names[label], float(self._probabilities_NK[cell, label])) for label in best)
        if size not in self._widths:
            self._widths[size] = panel_width(self._names, self._font, *size)
        panel_HWC, opacity_HW1 = render_panel(rows, *size, self._widths[size], self._font)
        height, width = panel_HWC.shape[:2]
        corner = picture_HWC[:height, :width]
        corner[...] = (corner * (1 - opacity_HW1) + panel_HWC * opacity_HW1).round().astype(np.uint8)


def choose_font(letters: str) -> tuple[str, bool]:
    """Return the file of a font, and whether it has all letters: ours, or one of the system's."""
    # Not before: every prediction would wait for it.
    import matplotlib
    from matplotlib.ft2font import FT2Font

    ours = str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"))
    wanted = {ord(letter) for letter in letters + _ALWAYS}
    if wanted <= FT2Font(ours).get_charmap().keys():
        return ours, True
    from matplotlib import font_manager  # looks through the system's fonts when it is first imported

    for entry in sorted(
        font_manager.fontManager.ttflist, key=lambda entry: (entry.weight != 400, entry.fname)
    ):
        if "LastResort" in entry.name or "Last Resort" in entry.name:
            continue  # has a box for every letter there is
        try:
            if wanted <= FT2Font(entry.fname).get_charmap().keys():
                return entry.fname, True
        except (OSError, RuntimeError):
            continue  # listed, and gone or damaged since
    return ours, False


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
    rows: tuple[tuple[str, float], ...], picture_height: int, picture_width: int, width: int, font_file: str
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
        colour = _BEST if number == 0 else _OTHER
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
