"""What bouts of each class a timeline has: how many, how long, how soon, how often, and what follows them.

A bout is one segment. Time that an interrupted timeline did not look at, or in which the subject was not in
the picture, does not count.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from vidcli.predict.segments import Timeline
from vidcli.sheets import csv_text, shown_cell

COLUMNS = (
    "video", "label", "bouts", "total_seconds", "mean_seconds", "median_seconds", "latency_seconds",
    "bouts_per_minute", "share_of_time", "track",
)  # fmt: skip


def bouts_text(timelines: Sequence[Timeline]) -> str:
    """Return a CSV table with a row for each class of each timeline.

    After `COLUMNS` there is a column `then CLASS` for each class: how often its bout is the next to start.

    Args:
        timelines: of one model, at least one.
    """
    names = timelines[0].class_names
    header = [*COLUMNS, *(shown_cell(f"then {name}") for name in names)]
    return csv_text([header, *(row for timeline in timelines for row in bout_rows(timeline))])


def bout_rows(timeline: Timeline) -> list[list[Any]]:
    """Return a row for each class; cells are empty where there is no bout to measure."""
    seconds = timeline.looked_at_seconds
    segments = sorted(timeline.segments, key=lambda segment: segment.start_seconds)
    following = Counter((one.label, other.label) for one, other in itertools.pairwise(segments))
    rows = []
    for name in timeline.class_names:
        bouts = [segment for segment in segments if segment.label == name]
        lengths = [bout.end_seconds - bout.start_seconds for bout in bouts]
        measured = (
            [
                _rounded(statistics.fmean(lengths)),
                _rounded(statistics.median(lengths)),
                bouts[0].start_seconds,
            ]
            if bouts
            else ["", "", ""]
        )
        total = sum(lengths)
        per_minute, share = (len(bouts) * 60 / seconds, total / seconds) if seconds else ("", "")
        rows.append(
            [
                shown_cell(timeline.video),
                shown_cell(name),
                len(bouts),
                _rounded(total),
                *measured,
                per_minute,
                share,
                shown_cell(timeline.track or ""),
            ]
            + [following[name, other] for other in timeline.class_names]
        )
    return rows


def _rounded(seconds: float) -> float:
    """Return seconds without the last digits, which differences of times get wrong."""
    return round(seconds, 6)
