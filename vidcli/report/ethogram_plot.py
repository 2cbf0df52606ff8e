"""What a person labelled in a recording above what a model says of it, a row for each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import FuncFormatter

from vidcli.fonts import picture_names, short_names
from vidcli.palette import GREY, class_colours
from vidcli.predict.segments import Segment, Timeline
from vidcli.report.figures import new_figure, save_png, written_text
from vidcli.report.timeline_plot import format_axis_clock

_MAX_ROWS = 20
_MAX_NAME_COLUMNS = 32
_MAX_TITLE_COLUMNS = 80


def draw_ethogram(truth: Sequence[Segment], timeline: Timeline, path: Path) -> None:
    """Write a PNG with two bars a class: as labelled, and below it, in a lighter shade, as predicted.

    Args:
        truth: what a person labelled.
        timeline: of a model.
        path: the file to write.
    """
    shown = short_names(picture_names(timeline.class_names).shown, _MAX_NAME_COLUMNS)
    name_of = dict(zip(timeline.class_names, shown, strict=True))
    colour_of = class_colours(timeline.class_names)
    taken: Counter[str] = Counter()
    for segment in [*truth, *timeline.segments]:
        taken[segment.label] += segment.end_seconds - segment.start_seconds  # type: ignore[assignment]
    labels = [label for label, _ in taken.most_common(_MAX_ROWS)]
    figure = new_figure(11, 1.4 + 0.42 * max(1, len(labels)))
    axes = figure.subplots()
    for segments, place, shade in ((truth, -0.2, 1.0), (timeline.segments, 0.2, 0.55)):
        for segment in segments:
            if segment.label not in labels:
                continue
            colour = colour_of.get(segment.label, GREY)
            axes.barh(
                labels.index(segment.label) + place, segment.end_seconds - segment.start_seconds,
                left=segment.start_seconds, height=0.36, alpha=shade, linewidth=0,
                facecolor=colour.hex, edgecolor=colour.stripe_hex, hatch=colour.stripes.value,
            )  # fmt: skip
    rows = [name_of.get(label, label) for label in labels]
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, timeline.duration_seconds)
    (title,) = short_names([written_text(Path(timeline.video).name)], _MAX_TITLE_COLUMNS)
    rest = f"; {len(taken) - len(labels)} more classes are not drawn" if len(taken) > len(labels) else ""
    axes.set_title(f"{title}: labelled above, predicted below{rest}", parse_math=False)
    axes.grid(axis="x", alpha=0.3)
    with_hours = timeline.duration_seconds >= 3600
    axes.set_xlabel("time (h:min:s)" if with_hours else "time (min:s)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: format_axis_clock(seconds, with_hours)))
    save_png(figure, path, rows)
