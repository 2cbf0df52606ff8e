"""The timeline of a video: cells of equal length, the segments that they form, and how those are written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vidcli.arrays import Float64
from vidcli.names import visible
from vidcli.sheets import shown_cell

UNKNOWN = "unknown"
"""The label of a segment in which no class reaches the threshold."""
SUBTITLES = ("srt", "vtt")
FORMAT_OF_SUFFIX = {".json": "json", ".jsonl": "json", ".csv": "csv", ".srt": "srt", ".vtt": "vtt"}
INTERRUPTED = "interrupted before this was looked at"
"""The error of the seconds that an interrupted timeline does not cover."""
SEGMENT_COLUMNS = ("video", "start", "end", "label", "confidence", "error", "track")


@dataclass(frozen=True)
class Segment:
    """A span of a video with one label; `confidence` is the mean probability of the label in the span."""

    start_seconds: float
    end_seconds: float
    label: str
    confidence: float


@dataclass(frozen=True)
class Timeline:
    """What a video shows from its start to its end.

    Attributes:
        video: the path as the caller gave it.
        class_names: the names of the K classes; a class's position is its label.
        cell_seconds: duration of a cell.
        duration_seconds: duration of the video.
        probabilities_NK: the probability of each of the K classes in each of the N cells.
        segments: in the order of their start. They leave no gaps, unless the model is multi-label: then
            there is one for each span in which a class reaches its threshold, so that segments may
            overlap and leave gaps.
        is_multi_label: whether a moment can have several classes.
        covered_seconds: the moment up to which an interrupted timeline got; None if it is complete.
        track: name of the subject that it is about; None for the whole picture.
        present: when that subject is in the picture, from where to where in seconds; None for always. There
            are no segments outside of this.
    """

    video: str
    class_names: tuple[str, ...]
    cell_seconds: float
    duration_seconds: float
    probabilities_NK: Float64
    segments: tuple[Segment, ...]
    is_multi_label: bool = False
    covered_seconds: float | None = None
    track: str | None = None
    present: tuple[tuple[float, float], ...] | None = None

    @property
    def looked_at_seconds(self) -> float:
        """The time in which there could be segments."""
        end = self.duration_seconds if self.covered_seconds is None else self.covered_seconds
        parts = ((0.0, end),) if self.present is None else self.present
        return sum(max(0.0, min(until, end) - start) for start, until in parts)

    def cell_labels(self) -> list[tuple[str, ...]]:
        """Return the labels of each cell, in the order of the start of their segments."""
        cells: list[tuple[str, ...]] = [()] * len(self.probabilities_NK)
        for segment in self.segments:
            first = round(segment.start_seconds / self.cell_seconds)
            end = max(first + 1, math.ceil(round(segment.end_seconds / self.cell_seconds, 6)))
            for cell in range(first, min(end, len(cells))):
                cells[cell] = (*cells[cell], segment.label)
        return cells


def timeline_to_dict(timeline: Timeline) -> dict[str, Any]:
    """Return the JSON object of the timeline of one video."""
    is_interrupted = timeline.covered_seconds is not None
    return {
        "video": timeline.video,
        **({"track": timeline.track} if timeline.track is not None else {}),
        "duration": timeline.duration_seconds,
        **({"covered_seconds": timeline.covered_seconds} if is_interrupted else {}),
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


def segment_to_row(video: str, segment: Segment, track: str | None = None) -> list[Any]:
    """Return the row of a segment under `SEGMENT_COLUMNS`.

    Args:
        video: the path.
        segment: of it.
        track: the subject that it is about; None for the whole picture.
    """
    times = segment.start_seconds, segment.end_seconds
    cells = shown_cell(segment.label), segment.confidence, "", shown_cell(track or "")
    return [shown_cell(video), *times, *cells]


def rows_at_end(timeline: Timeline) -> list[list[Any]]:
    """Return the rows after those of the segments: of a video without any, and of what is not covered."""
    video, covered = shown_cell(timeline.video), timeline.covered_seconds
    track = shown_cell(timeline.track or "")
    end = timeline.duration_seconds if covered is None else covered
    rows = [[video, 0.0, end, "", "", "", track]] if end and not timeline.segments else []
    if covered is not None:
        rows.append([video, covered, timeline.duration_seconds, "", "", INTERRUPTED, track])
    return rows


def segment_to_srt(segment: Segment, number: int) -> str:
    """Return a segment as a SubRip subtitle; `number` counts the subtitles of the file from 1."""
    times = f"{format_clock(segment.start_seconds, ',')} --> {format_clock(segment.end_seconds, ',')}"
    gap = "" if number == 1 else "\n"
    # Players would take an arrow in a name for a line of times.
    return f"{gap}{number}\n{times}\n{_caption(segment).replace('-->', '-- >')}\n"


VTT_HEAD = "WEBVTT\n"


def segment_to_vtt(segment: Segment) -> str:
    """Return a segment as a WebVTT cue after an empty line, with &, < and > escaped (W3C WebVTT, 4)."""
    times = f"{format_clock(segment.start_seconds)} --> {format_clock(segment.end_seconds)}"
    caption = _caption(segment).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"\n{times}\n{caption}\n"


def format_clock(seconds: float, point: str = ".") -> str:
    """Return a time as hours, minutes, seconds and milliseconds, such as 01:02:03.456."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _caption(segment: Segment) -> str:
    # A line end would end the caption.
    return f"{visible(' '.join(segment.label.split()))} ({segment.confidence:.0%})"
