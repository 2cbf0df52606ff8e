"""What all pictures share: a figure of their own, saved whatever the names in it."""

from __future__ import annotations

import warnings
from pathlib import Path

from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches.

    It is used without pyplot: no window system, no global state.
    """
    return Figure(figsize=(width, height), layout="constrained")


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the name of `path` may end in anything."""
    with warnings.catch_warnings():
        # A class name in a script that the font lacks shows boxes; the numbers beside it still count.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(path, dpi=110, format="png")
