"""When a video shows what: cells of equal length, merged into segments, and how those are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vidcli.names import visible
from vidcli.sheets import shown_cell

Floats: TypeAlias = npt.NDArray[np.float64]

UNKNOWN = "unknown"
SUBTITLES = ("srt", "vtt")
FORMAT_OF_SUFFIX = {".json": "json", ".jsonl": "json", ".csv": "csv", ".srt": "srt", ".vtt": "vtt"}
INTERRUPTED = "interrupted before this was looked at"
"""The error of the seconds that a timeline does not cover since it was left half done."""
SEGMENT_COLUMNS = ("video", "start", "end", "label", "confidence", "error")


@dataclass(frozen=True)
class Segment:
    """A span with one label; the confidence is its mean probability there."""

    start_seconds: float
    end_seconds: float
    label: str
    confidence: float


@dataclass(frozen=True)
class Timeline:
    """What a video shows, from its start to its end.

    Attributes:
        probabilities_NK: of each class, in each cell.
        segments: by their start, without gaps. Of a multi-label model, a segment for each span in which
            a class reaches its threshold: they overlap, and there are gaps where no class does.
        is_multi_label: of a model whose classes hold one beside the other.
        covered_seconds: where the work was left half done, up to where it got; None is the end.
    """

    video: str
    class_names: tuple[str, ...]
    cell_seconds: float
    duration_seconds: float
    probabilities_NK: Floats
    segments: tuple[Segment, ...]
    is_multi_label: bool = False
    covered_seconds: float | None = None

    def held(self) -> list[tuple[str, ...]]:
        """Return the labels that hold in each cell, by their start."""
        cells: list[tuple[str, ...]] = [()] * len(self.probabilities_NK)
        for segment in self.segments:
            first = round(segment.start_seconds / self.cell_seconds)
            end = max(first + 1, math.ceil(round(segment.end_seconds / self.cell_seconds, 6)))
            for cell in range(first, min(end, len(cells))):
                cells[cell] = (*cells[cell], segment.label)
        return cells


def timeline_to_dict(timeline: Timeline) -> dict[str, Any]:
    """Return what `--format json` prints for the timeline of one video."""
    is_half_done = timeline.covered_seconds is not None
    return {
        "video": timeline.video,
        "duration": timeline.duration_seconds,
        **({"covered_seconds": timeline.covered_seconds} if is_half_done else {}),
        "segments": [
            {
                "start": segment.start_seconds,
                "end": segment.end_seconds,
                "label": segment.label,
                "confidence": segment.confidence,
            }
            for segment in timeline.segments
        ],
    }


def segment_to_row(video: str, segment: Segment) -> list[Any]:
    """Return the row of a segment under `SEGMENT_COLUMNS`."""
    times = segment.start_seconds, segment.end_seconds
    return [shown_cell(video), *times, shown_cell(segment.label), segment.confidence, ""]


def rows_at_end(timeline: Timeline) -> list[list[Any]]:
    """Return the rows that follow those of the segments: of a video without any, and of what was left."""
    video, covered = shown_cell(timeline.video), timeline.covered_seconds
    end = timeline.duration_seconds if covered is None else covered
    rows = [[video, 0.0, end, "", "", ""]] if end and not timeline.segments else []
    if covered is not None:
        rows.append([video, covered, timeline.duration_seconds, "", "", INTERRUPTED])
    return rows


def segment_to_srt(segment: Segment, number: int) -> str:
    """Return a SubRip subtitle, numbered from 1; an arrow in a name would be read as times."""
    times = f"{format_clock(segment.start_seconds, ',')} --> {format_clock(segment.end_seconds, ',')}"
    gap = "" if number == 1 else "\n"
    return f"{gap}{number}\n{times}\n{_caption(segment).replace('-->', '-- >')}\n"


VTT_HEAD = "WEBVTT\n"


def segment_to_vtt(segment: Segment) -> str:
    """Return a WebVTT cue, after a gap (W3C WebVTT, 4: &, < and > are escaped)."""
    times = f"{format_clock(segment.start_seconds)} --> {format_clock(segment.end_seconds)}"
    caption = _caption(segment).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"\n{times}\n{caption}\n"


def format_clock(seconds: float, point: str = ".") -> str:
    """Return hours, minutes, seconds and milliseconds, such as 01:02:03.456."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _caption(segment: Segment) -> str:
    # A line end would end the caption.
    return f"{visible(' '.join(segment.label.split()))} ({segment.confidence:.0%})"
