"""What all pictures share: figures without a window system, their colours, their fonts, their tick labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import Formatter

from vidcli.fonts import drawable, font_families, missing_letters

INKS = {
    "s0": "#1f6feb",
    "s1": "#d9730d",
    "s2": "#1a7f4b",
    "soft": "#5c6773",
    "line": "#dde2e8",
    "card": "#ffffff",
    "text": "#000000",
}
"""Colours of charts, by the name of the CSS variable that replaces each one on the page."""

SERIES_COLOURS = (INKS["s0"], INKS["s1"], INKS["s2"])

_DPI = 110
_MAX_DIGITS = 17
_LOG_DECADES = 3
_EXPONENT_GAIN = 3
"""Number of letters that an exponent must save before a number is written with one."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that does without pyplot: it needs no window system and no global state.

    Args:
        width: in inches.
        height: in inches.
    """
    return Figure(figsize=(width, height), layout="constrained")


def style_axes(axes: Axes) -> None:
    """Give the axes of a chart the look of the page: level grid lines, no frame, complete numbers."""
    axes.set_prop_cycle(color=SERIES_COLOURS)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=INKS["line"])
    axes.tick_params(which="both", length=0, labelcolor=INKS["soft"])
    axes.xaxis.set_major_formatter(_TickFormatter())
    axes.yaxis.set_major_formatter(_TickFormatter())


def save_png(figure: Figure, path: Path, names: Sequence[str] = ()) -> None:
    """Write a figure as PNG, in fonts that have the letters of its texts.

    Args:
        figure: all its text comes from `picture_names` or `written_text`, so that some font has each letter.
        path: the file to write; its name may have any extension.
        names: the labels of its axes, which matplotlib turns into texts only when it draws.
    """
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    families = font_families("".join([*names, *(text.get_text() for text in texts)]))
    for text in texts:
        text.set_fontfamily(families)
    with matplotlib.rc_context({"font.family": families}):  # for the texts made while drawing
        figure.dpi = _DPI
        FigureCanvasAgg(figure).print_png(path)  # the same as `savefig`, which would draw it twice


def written_text(text: str) -> str:
    """Return free text, such as a file's name, with `?` for each letter that no installed font has."""
    shown = drawable(text)
    lacking = missing_letters(shown)
    return "".join("?" if c in lacking else c for c in shown)


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return each number as short as it can be while all differ: 0.5, 1e-6, 2.5e6.

    Every label is complete: no common factor or offset has to stand beside the axis.
    """
    finite = sorted({value for value in values if math.isfinite(value)})
    steps = [after - before for before, after in pairwise(finite)]
    tolerance = 0.01 * min(steps, default=1e-3 * max(map(abs, finite), default=1.0))
    # Rounding errors turn a zero into something like 1e-17.
    clean = [0.0 if abs(value) < tolerance else value for value in values]
    for digits in range(1, _MAX_DIGITS + 1):
        labels = [_short_number(value, digits) for value in clean]
        if all(abs(float(text) - value) <= tolerance for text, value in zip(labels, clean, strict=True)):
            break
    return labels


def needs_log(values: Sequence[float]) -> bool:
    """Tell whether values span so many decades that a linear axis would show only the largest."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) >= 10**_LOG_DECADES * min(finite)


def finite_or_none(value: object) -> float | None:
    """Return a number that has a place on an axis; None for anything missing, infinite or no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


class _TickFormatter(Formatter):
    """Writes every number in full, so that no factor stands above the axis, where the title is."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return tick_labels([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the labels of an axis."""
        return tick_labels([float(value) for value in values])


def _short_number(value: float, digits: int) -> str:
    """Return a number with `digits` significant digits, with an exponent only where that is much shorter."""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    plain = _without_zeros(f"{value:.{decimals}f}")
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    short = f"{_without_zeros(mantissa)}e{int(exponent)}"
    return short if len(short) <= len(plain) - _EXPONENT_GAIN else plain


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
