"""When a video shows what: cells of equal length, merged into segments, and how those are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vidcli.names import visible
from vidcli.sheets import shown_cell

Floats: TypeAlias = npt.NDArray[np.float64]

UNKNOWN = "unknown"
SUBTITLES = ("srt", "vtt")
FORMAT_OF_SUFFIX = {".json": "json", ".jsonl": "json", ".csv": "csv", ".srt": "srt", ".vtt": "vtt"}
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
    """

    video: str
    class_names: tuple[str, ...]
    cell_seconds: float
    duration_seconds: float
    probabilities_NK: Floats
    segments: tuple[Segment, ...]
    is_multi_label: bool = False

    def held(self) -> list[tuple[str, ...]]:
        """Return the labels that hold in each cell, by their start."""
        cells: list[tuple[str, ...]] = [()] * len(self.probabilities_NK)
        for segment in self.segments:
            first = round(segment.start_seconds / self.cell_seconds)
            end = max(first + 1, math.ceil(round(segment.end_seconds / self.cell_seconds, 6)))
            for cell in range(first, min(end, len(cells))):
                cells[cell] = (*cells[cell], segment.label)
        return cells


def merge_cells(
    probabilities_NK: Floats,
    class_names: Sequence[str],
    cell_seconds: float,
    min_seconds: float,
    duration_seconds: float,
    threshold: float | None = None,
) -> tuple[Segment, ...]:
    """Join neighbouring cells of one label into segments.

    Where a label holds for less than `min_seconds`, the shortest such places go first to the
    neighbour whose label is the more probable there. Segments less confident than the threshold
    are unknown, and one with unknown neighbours.
    """
    labels_N = smooth_labels(probabilities_NK, max(1, round(min_seconds / cell_seconds)))
    segments: list[Segment] = []
    for start, end in _runs(labels_N):
        label = int(labels_N[start])
        confidence = float(probabilities_NK[start:end, label].mean())
        is_unknown = threshold is not None and confidence < threshold
        name = UNKNOWN if is_unknown else class_names[label]
        begin = start * cell_seconds
        until = duration_seconds if end == len(labels_N) else end * cell_seconds
        if is_unknown and segments and segments[-1].label == UNKNOWN:
            before = segments.pop()
            lengths = before.end_seconds - before.start_seconds, until - begin
            confidence = float(np.average([before.confidence, confidence], weights=lengths))
            begin = before.start_seconds
        segments.append(Segment(begin, until, name, confidence))
    return tuple(segments)


def merge_classes(
    probabilities_NK: Floats,
    class_names: Sequence[str],
    cell_seconds: float,
    min_seconds: float,
    duration_seconds: float,
    thresholds: Sequence[float],
) -> tuple[Segment, ...]:
    """Join neighbouring cells in which a class reaches its threshold into segments, class by class.

    A span shorter than `min_seconds`, in which a class holds or does not, becomes as what is around it,
    the shortest ones first.
    """
    min_cells = max(1, round(min_seconds / cell_seconds))
    segments: list[Segment] = []
    for label, (name, threshold) in enumerate(zip(class_names, thresholds, strict=True)):
        above_N = probabilities_NK[:, label] - threshold
        # Label 0 holds; at the threshold itself it is the first of two that are equal.
        holds_N = smooth_labels(np.stack([above_N, -above_N], axis=1), min_cells) == 0
        for start, end in _runs(holds_N):
            if holds_N[start]:
                until = duration_seconds if end == len(holds_N) else end * cell_seconds
                confidence = float(probabilities_NK[start:end, label].mean())
                segments.append(Segment(start * cell_seconds, until, name, confidence))
    return tuple(sorted(segments, key=lambda segment: segment.start_seconds))


def smooth_labels(probabilities_NK: Floats, min_cells: int) -> npt.NDArray[np.int64]:
    """Return the most probable label of each cell, none held for fewer than `min_cells` of them."""
    labels_N = probabilities_NK.argmax(axis=1)
    while True:
        runs = list(_runs(labels_N))
        shortest = min(end - start for start, end in runs)
        if shortest >= min_cells or len(runs) == 1:
            return np.asarray(labels_N, dtype=np.int64)
        for start, end in runs:
            # Of neighbours that are equally short, one may have grown by the other.
            if end - start != shortest or _length_at(labels_N, start) != shortest:
                continue
            neighbours = [labels_N[place] for place in (start - 1, end) if 0 <= place < len(labels_N)]
            means = [probabilities_NK[start:end, label].mean() for label in neighbours]
            labels_N[start:end] = neighbours[int(np.argmax(means))]


def _length_at(labels_N: npt.NDArray[Any], place: int) -> int:
    """Return how many cells around a place have its label."""
    start = end = place
    while start > 0 and labels_N[start - 1] == labels_N[place]:
        start -= 1
    while end < len(labels_N) and labels_N[end] == labels_N[place]:
        end += 1
    return end - start


def _runs(labels_N: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each stretch of equal labels."""
    start = 0
    for _, group in groupby(labels_N.tolist()):
        end = start + len(list(group))
        yield start, end
        start = end


def timeline_to_dict(timeline: Timeline) -> dict[str, Any]:
    """Return what `--format json` prints for the timeline of one video."""
    return {
        "video": timeline.video,
        "duration": timeline.duration_seconds,
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


def timeline_to_rows(timeline: Timeline) -> list[list[Any]]:
    """Return the rows of one video under `SEGMENT_COLUMNS`; one without a label where no class holds."""
    video = shown_cell(timeline.video)
    if not timeline.segments:
        return [[video, 0.0, timeline.duration_seconds, "", "", ""]]
    return [
        [
            video,
            segment.start_seconds,
            segment.end_seconds,
            shown_cell(segment.label),
            segment.confidence,
            "",
        ]
        for segment in timeline.segments
    ]


def timeline_to_srt(timeline: Timeline) -> str:
    """Return the segments as SubRip subtitles; an arrow in a name would be read as times."""
    blocks = (
        f"{number}\n{format_clock(segment.start_seconds, ',')} --> {format_clock(segment.end_seconds, ',')}\n"
        f"{_caption(segment).replace('-->', '-- >')}\n"
        for number, segment in enumerate(timeline.segments, start=1)
    )
    return "\n".join(blocks)


def timeline_to_vtt(timeline: Timeline) -> str:
    """Return the segments as WebVTT subtitles (W3C WebVTT, 4: &, < and > are escaped)."""
    blocks = (
        f"{format_clock(segment.start_seconds, '.')} --> {format_clock(segment.end_seconds, '.')}\n"
        f"{_caption(segment).replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}\n"
        for segment in timeline.segments
    )
    return "\n".join(["WEBVTT\n", *blocks])


def format_clock(seconds: float, point: str = ".") -> str:
    """Return hours, minutes, seconds and milliseconds, such as 01:02:03.456."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _caption(segment: Segment) -> str:
    # A line end would end the caption.
    return f"{visible(' '.join(segment.label.split()))} ({segment.confidence:.0%})"
