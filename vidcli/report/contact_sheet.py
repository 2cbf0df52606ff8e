"""A contact sheet: a row a cluster of videos, with the pictures of those nearest to its centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidcli.arrays import Frames
from vidcli.fonts import num_columns, short_names
from vidcli.names import visible
from vidcli.report.figures import new_figure, save_png, written_text

NUM_SHOWN = 10
"""Pictures in a row."""

_PICTURE_INCHES = 1.0
_TITLE_INCHES = 0.32
_MAX_TITLE_COLUMNS = 110


@dataclass(frozen=True)
class SheetRow:
    """Videos that belong together.

    Attributes:
        title: what they are.
        pictures: uint8 (H, W, 3), the first `NUM_SHOWN` of which are drawn.
    """

    title: str
    pictures: Sequence[Frames]


def draw_contact_sheet(rows: Sequence[SheetRow], path: Path) -> None:
    """Write a contact sheet as PNG.

    Args:
        rows: from top to bottom, at least one.
        path: the file to write.
    """
    titles = short_names([written_text(visible(row.title)) for row in rows], _MAX_TITLE_COLUMNS)
    ratio = max(picture.shape[0] / picture.shape[1] for row in rows for picture in row.pictures)
    row_inches = _TITLE_INCHES + _PICTURE_INCHES * min(ratio, 2.0)
    width = max(NUM_SHOWN * _PICTURE_INCHES, 0.085 * max(map(num_columns, titles)))
    height = row_inches * len(rows) + 0.1
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    for number, (row, title) in enumerate(zip(rows, titles, strict=True)):
        top = height - 0.05 - number * row_inches
        # A name may hold a $, which begins no formula here.
        figure.text(0.05 / width, (top - 0.05) / height, title, va="top", fontsize=9, parse_math=False)
        for column, picture in enumerate(row.pictures[:NUM_SHOWN]):
            inches = (row_inches - _TITLE_INCHES) * 0.96
            box = (column * _PICTURE_INCHES / width, (top - row_inches) / height)
            axes = figure.add_axes((*box, 0.96 * _PICTURE_INCHES / width, inches / height))
            axes.imshow(picture, interpolation="bilinear")
            axes.set_axis_off()
    save_png(figure, path, titles)
