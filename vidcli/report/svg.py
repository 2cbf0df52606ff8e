"""Charts of matplotlib as SVG inside the page: sharp at any size, in the page's own fonts and colours."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from vidcli.report.figures import INKS

CHART_INCHES = (5.8, 3.6)
"""Width and height of a chart of the page, before the page stretches it."""

_FONT_POINTS = 13
"""Size that leaves room for the letters of the page, of which style.css makes the largest on a phone."""
_MAX_DOTS = 40
_DOT_RADIUS = 2.5
_DOT = "dot "
_SVG = "{http://www.w3.org/2000/svg}"
_INK_VARIABLES = {colour: f"var(--{name})" for name, colour in INKS.items()}


@dataclass(frozen=True)
class Chart:
    """A chart as the page shows it.

    Attributes:
        title: the sentence above it.
        svg: the drawing, an element without ids, styles or links of its own.
        legend: the label and the CSS colour of each series.
    """

    title: str
    svg: Markup
    legend: tuple[tuple[str, str], ...]


def page_chart(figure: Figure) -> Chart:
    """Return a figure for the page, which writes its title and legend as HTML.

    Colours become CSS variables, so that the chart follows the page into the dark. A point tells its
    numbers under the mouse.

    Args:
        figure: its first axes have the title and the legend; this function takes both away from it.
    """
    axes = figure.axes[0]
    title, label = axes.get_title(), figure.axes[-1].get_xlabel()
    legend = tuple(
        (str(line.get_label()), _page_colours(to_hex(line.get_markeredgecolor())))
        for line in axes.lines
        if line.get_marker() != "None"
    )
    axes.set_title("")
    if (box := axes.get_legend()) is not None:
        box.remove()
    _name_points(axes)
    for text in figure.findobj(Text):
        text.set_fontsize(_FONT_POINTS)
    figure.patch.set_visible(False)
    for part in figure.axes:
        part.patch.set_visible(False)
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": _FONT_POINTS}):
        figure.savefig(buffer, format="svg")
    return Chart(title, _inline(buffer.getvalue(), f"{title}, by {label}"), legend)


def _name_points(axes: Axes) -> None:
    """Replace the markers of each line by dots of their own, named after their numbers.

    Where a line has many points, only those become dots that its markers showed.
    """
    for line in list(axes.lines):
        if line.get_marker() == "None":
            continue
        xs, ys = (np.asarray(values, dtype=float) for values in (line.get_xdata(), line.get_ydata()))
        known = np.flatnonzero(np.isfinite(ys))
        if len(known) > _MAX_DOTS:
            known = np.asarray(line.get_markevery() or (), dtype=int)
        for x, y in zip(xs[known], ys[known], strict=True):
            (dot,) = axes.plot([x], [y], zorder=line.get_zorder())
            dot.update_from(line)
            dot.set(linestyle="None", markevery=None, gid=f"{_DOT}{line.get_label()}: {y:.3g} at {x:.3g}")
        line.set_marker("None")


def _inline(source: bytes, label: str) -> Markup:
    """Return an SVG file as one element of the page that refers to nothing.

    Args:
        source: the file as matplotlib writes it.
        label: the sentence that a screen reader says in place of the drawing.
    """
    root = ElementTree.fromstring(source)
    svg = ElementTree.Element("svg", {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label})
    svg.extend(_shapes(root, ""))
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _shapes(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Yield the paths, texts and dots below an element, none inside another.

    Args:
        element: a group of the file.
        name: the id of the group around it.
    """
    for child in element:
        style = {"style": _page_colours(child.get("style", ""))}
        if child.tag == f"{_SVG}g":
            yield from _shapes(child, child.get("id") or name)
        elif child.tag == f"{_SVG}path":
            yield ElementTree.Element("path", {"d": _short_path(child.get("d", ""))} | style)
        elif child.tag == f"{_SVG}text":
            anchor = re.search(r"text-anchor: (\w+)", child.get("style", ""))
            place = {key: child.get(key, "") for key in ("x", "y")}
            if not (turn := child.get("transform", "")).startswith("rotate(-0 "):
                place["transform"] = turn
            place["text-anchor"] = anchor[1] if anchor else "start"
            text = ElementTree.Element("text", place)
            text.text = child.text
            yield text
        elif child.tag == f"{_SVG}use":  # every marker of a chart is round
            at = {"cx": child.get("x", ""), "cy": child.get("y", ""), "r": str(_DOT_RADIUS)}
            dot = ElementTree.Element("circle", at | style)
            if name.startswith(_DOT):
                ElementTree.SubElement(dot, "title").text = name.removeprefix(_DOT)
            yield dot


def _short_path(d: str) -> str:
    """Return the commands of a path on one line, in tenths of a unit."""
    return " ".join(re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", d).split())


def _page_colours(style: str) -> str:
    """Return a style in which the colours of charts are variables of the page."""
    return re.sub(r"#[0-9a-f]{6}", lambda colour: _INK_VARIABLES.get(colour[0], colour[0]), style)
