"""Charts as SVG inside the page: sharp at any size, coloured by the page's own light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vidcli.report.axes import finite_or_none, needs_log, tick_labels
from vidcli.report.markup import Html, tag

_WIDTH, _HEIGHT = 420, 260
_MAX_DOTS = 40
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40


@dataclass(frozen=True)
class Series:
    """A named line: points (x, y); where y is None or no finite number, the line has a gap."""

    name: str
    points: Sequence[tuple[float, float | None]]

    @property
    def pieces(self) -> list[list[tuple[float, float]]]:
        """The points between gaps."""
        found: list[list[tuple[float, float]]] = [[]]
        for x, y in self.points:
            height = finite_or_none(y)
            if height is None:
                found.append([])
            else:
                found[-1].append((x, height))
        return [piece for piece in found if piece]

    @property
    def known(self) -> list[tuple[float, float]]:
        """The points without gaps."""
        return [point for piece in self.pieces for point in piece]


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    *,
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    marked_x: float | None = None,
    diagonal: bool = False,
) -> Html:
    """Return lines with axes, a legend and a title.

    Args:
        title: above the chart.
        series: the lines; those without points are left out.
        x_label: under the axis.
        y_range, x_range: ends of the axes; None takes those of the points.
        marked_x: where to draw an upright line.
        diagonal: draw where y equals x.
    """
    shown = [line for line in series if line.pieces]
    xs = [x for line in shown for x, _ in line.known] or [0.0, 1.0]
    ys = [y for line in shown for _, y in line.known] or [0.0, 1.0]
    is_log = y_range is None and needs_log(ys)
    ends = (min(ys), max(ys)) if is_log else _padded(min(ys), max(ys))
    plot = _Plot(x_range or (min(xs), max(xs)), y_range or ends, is_log)
    parts = [plot.grid(x_label, whole_x=all(x == int(x) for x in xs) and max(xs) > 1)]
    if diagonal:
        parts.append(plot.path([(0, 0), (1, 1)], "reference"))
    if marked_x is not None:
        parts.append(plot.path([(marked_x, plot.low_y), (marked_x, plot.high_y)], "reference"))
    for index, line in enumerate(shown):
        parts += [plot.path(piece, f"line s{index}") for piece in line.pieces]
        dots = line.known if len(line.known) <= _MAX_DOTS else [p for p, *more in line.pieces if not more]
        parts += [plot.dot(x, y, f"dot s{index}", f"{line.name}: {y:.3g} at {x:.3g}") for x, y in dots]
    title += ", on a logarithmic axis" if is_log else ""
    legend = [tag("span", tag("i", class_=f"key s{index}"), line.name) for index, line in enumerate(shown)]
    svg = tag(
        "svg", *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=f"{title} by {x_label}"
    )
    return tag("figure", tag("figcaption", title), svg, tag("div", *legend, class_="legend"), class_="chart")


class _Plot:
    """The area between the axes, and how numbers become pixels in it."""

    def __init__(
        self, x_range: tuple[float, float], y_range: tuple[float, float], is_log: bool = False
    ) -> None:
        self.low_x, self.high_x = x_range if x_range[1] > x_range[0] else (x_range[0] - 0.5, x_range[0] + 0.5)
        self._is_log = is_log
        self.low_y, self.high_y = y_range if y_range[1] > y_range[0] else (y_range[0] - 0.5, y_range[0] + 0.5)

    def x(self, value: float) -> float:
        """Return the pixel of an x."""
        share = (value - self.low_x) / (self.high_x - self.low_x)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        """Return the pixel of a y."""
        low, high = self.low_y, self.high_y
        if self._is_log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        share = (value - low) / (high - low)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)

    def path(self, points: Sequence[tuple[float, float]], class_: str) -> Html:
        """Return a line through points."""
        return tag("polyline", points=" ".join(f"{self.x(x)},{self.y(y)}" for x, y in points), class_=class_)

    def dot(self, x: float, y: float, class_: str, title: str) -> Html:
        """Return a point that tells its numbers under the mouse."""
        return tag("circle", tag("title", title), cx=self.x(x), cy=self.y(y), r=2.5, class_=class_)

    def grid(self, x_label: str, whole_x: bool) -> Html:
        """Return axes: lines and numbers."""
        parts = []
        ys = decades(self.low_y, self.high_y, 6) if self._is_log else ticks(self.low_y, self.high_y, 5)
        for value, text in zip(ys, tick_labels(ys), strict=True):
            y = self.y(value)
            parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(tag("text", text, x=_LEFT - 6, y=y + 4, text_anchor="end"))
        xs = ticks(self.low_x, self.high_x, 6, whole_x)
        for value, text in zip(xs, tick_labels(xs), strict=True):
            parts.append(tag("text", text, x=self.x(value), y=_HEIGHT - _BOTTOM + 16, text_anchor="middle"))
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(tag("text", x_label, x=middle, y=_HEIGHT - 6, text_anchor="middle"))
        return tag("g", *parts)


def ticks(low: float, high: float, wanted: int, whole: bool = False) -> list[float]:
    """Return round numbers from low to high, about as many as wanted, whole ones if asked."""
    if high <= low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    if whole:
        step = max(1.0, math.ceil(step))
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float, wanted: int) -> list[float]:
    """Return powers of ten from low to high, at most about as many as wanted."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**power for power in range(first, last + 1, max(1, -(-(last - first) // wanted)))]


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = 0.05 * (high - low)
    return (0.0 if 0 <= low < 0.35 * high else low - margin), high + margin
