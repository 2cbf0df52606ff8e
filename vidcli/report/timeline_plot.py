"""The timeline of a video: its segments from left to right in time, a row for each class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.ticker import FuncFormatter

from vidcli.fonts import picture_names, short_names
from vidcli.palette import GREY, class_colours
from vidcli.predict.segments import Timeline
from vidcli.report.figures import new_figure, save_png, written_text

_MAX_ROWS = 20
_MAX_NAME_COLUMNS = 32
_MAX_TITLE_COLUMNS = 100


def draw_timeline(timeline: Timeline, path: Path) -> None:
    """Write a timeline as a PNG: the segments above, the highest probability at each moment below.

    The classes that take most of the time have a row each; all others share the last row, each in its own
    colour. A class whose name no installed font can write is shown as its number; see `picture_names`.

    Args:
        timeline: of one video.
        path: the file to write.
    """
    shown = short_names(picture_names(timeline.class_names).shown, _MAX_NAME_COLUMNS)
    name_of = dict(zip(timeline.class_names, shown, strict=True))
    colour_of = class_colours(timeline.class_names)
    taken: Counter[str] = Counter()
    for segment in timeline.segments:
        taken[segment.label] += segment.end_seconds - segment.start_seconds  # type: ignore[assignment]
    names = [name for name, _ in taken.most_common(_MAX_ROWS)]
    rest = len(taken) - len(names)
    rows = [*(name_of.get(name, name) for name in names), *([f"{rest} others"] if rest else [])]
    if not rows:
        rows = ["no class reaches its threshold"]
    figure = new_figure(11, 1.9 + 0.34 * len(rows))
    lanes, curve = figure.subplots(2, sharex=True, height_ratios=[0.6 + 0.34 * len(rows), 0.9])
    for segment in timeline.segments:
        row = names.index(segment.label) if segment.label in names else len(names)
        length = segment.end_seconds - segment.start_seconds
        # Surer segments are darker; even the faintest can be seen where it is short.
        shade = 0.35 + 0.65 * segment.confidence
        colour = colour_of.get(segment.label, GREY)
        lanes.barh(
            row, length, left=segment.start_seconds, height=0.8, alpha=shade, linewidth=0,
            facecolor=colour.hex, edgecolor=colour.stripe_hex, hatch=colour.stripes.value,
        )  # fmt: skip
    lanes.set_yticks(range(len(rows)), rows, parse_math=False)
    lanes.set_ylim(len(rows) - 0.4, -0.6)
    (title,) = short_names([written_text(Path(timeline.video).name)], _MAX_TITLE_COLUMNS)
    lanes.set_title(title, parse_math=False)
    lanes.grid(axis="x", alpha=0.3)
    best_N = timeline.probabilities_NK.max(axis=1)
    edges = np.minimum(np.arange(len(best_N) + 1) * timeline.cell_seconds, timeline.duration_seconds)
    curve.stairs(best_N, edges, fill=True, color="0.6")
    curve.set_ylim(0, 1)
    curve.set_xlim(0, timeline.duration_seconds)
    curve.set_ylabel("probability")
    curve.set_xlabel("time (h:min:s)" if timeline.duration_seconds >= 3600 else "time (min:s)")
    with_hours = timeline.duration_seconds >= 3600
    curve.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: format_axis_clock(seconds, with_hours)))
    save_png(figure, path, rows)


def format_axis_clock(seconds: float, with_hours: bool) -> str:
    """Return a time on an axis: hours, minutes and seconds, or minutes, seconds and tenths."""
    whole = int(seconds)
    tenths = f".{round(seconds % 1 * 10)}" if seconds % 1 >= 0.05 else ""
    if with_hours:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}{tenths}"
