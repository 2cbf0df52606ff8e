"""The trials of a search: their scores in order, and by the value of each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vidcli.report.figures import INKS, new_figure, save_png, style_axes, written_text

_COLUMNS = 3
_PANEL_INCHES = (4.0, 3.0)

Point = tuple[int, float | None, Mapping[str, Any], bool]
"""The number of a trial, its score, the value of each setting, and whether it is complete."""


def draw_trials(points: Sequence[Point], logs: Mapping[str, bool], score: str, path: Path) -> None:
    """Write the trials of a search as a PNG.

    Args:
        points: the trials in order, at least one of them complete.
        logs: each setting that was varied, and whether its axis is logarithmic.
        score: name of the score.
        path: the file to write.
    """
    columns = min(_COLUMNS, 1 + len(logs))
    rows = -(-(1 + len(logs)) // columns)
    figure = new_figure(_PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    scored = [point for point in points if point[1] is not None]
    _draw_order(panels[0], scored, score)
    for axes, (key, is_log) in zip(panels[1:], logs.items(), strict=False):
        _draw_setting(axes, scored, key, is_log)
    for axes in panels[1 + len(logs) :]:
        axes.set_axis_off()
    save_png(figure, path, list(logs))


def _draw_order(axes: Axes, points: Sequence[Point], score: str) -> None:
    style_axes(axes)
    complete = [point for point in points if point[3]]
    _scatter(axes, points, [float(point[0]) for point in points])
    best = list(accumulate((float(point[1] or 0.0) for point in complete), max))
    axes.step([point[0] for point in complete], best, where="post", color=INKS["s1"], label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_title(f"{score} by trial", fontsize=10)
    axes.legend(fontsize="small", frameon=False, loc="lower right")


def _draw_setting(axes: Axes, points: Sequence[Point], key: str, is_log: bool) -> None:
    style_axes(axes)
    values = [point[2].get(key) for point in points]
    if all(isinstance(value, int | float) for value in values):
        _scatter(axes, points, [float(value) for value in values if value is not None])
        if is_log:
            axes.set_xscale("log")
    else:
        names = sorted({str(value) for value in values})
        _scatter(axes, points, [float(names.index(str(value))) for value in values])
        axes.set_xticks(range(len(names)), [written_text(name) for name in names])
        axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_title(written_text(key), fontsize=10)


def _scatter(axes: Axes, points: Sequence[Point], places: Sequence[float]) -> None:
    """Draw the score of each trial at its place, hollow where it was given up."""
    for is_complete, face in ((True, INKS["s0"]), (False, "none")):
        chosen = [n for n, point in enumerate(points) if point[3] == is_complete]
        scores = [float(points[n][1] or 0.0) for n in chosen]
        axes.scatter([places[n] for n in chosen], scores, s=24, facecolors=face, edgecolors=INKS["s0"])
