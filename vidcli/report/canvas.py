"""What all pictures share: a figure of their own, saved whatever the names in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from vidcli.fonts import drawable, font_families, missing_letters


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches.

    It is used without pyplot: no window system, no global state.
    """
    return Figure(figsize=(width, height), layout="constrained")


def save_png(figure: Figure, path: Path, names: Sequence[str] = ()) -> None:
    """Write a figure as PNG, in fonts that have the letters of its texts.

    Args:
        figure: its text is what `picture_names` and `written_text` return: some font has all letters.
        path: the file; its name may end in anything.
        names: what stands on its axes.
    """
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    families = font_families("".join([*names, *(text.get_text() for text in texts)]))
    for text in texts:
        text.set_fontfamily(families)
    with matplotlib.rc_context({"font.family": families}):  # of labels that axes make when they are drawn
        figure.savefig(path, dpi=110, format="png")


def written_text(text: str) -> str:
    """Return text that is no class name, such as a file's name, with `?` for letters that no font has."""
    shown = drawable(text)
    lacking = missing_letters(shown)
    return "".join("?" if c in lacking else c for c in shown)
