"""Labelled spans and timelines of long recordings, side by side: what `segment_scores` scores.

Shape suffixes: N frames, C cells, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidcli.arrays import Bool
from vidcli.data.background import rows_by_subject
from vidcli.data.items import VideoItem, labels_of
from vidcli.evaluate.segment_matching import ScoredRecording
from vidcli.evaluate.segment_scores import Score, TimelineScores
from vidcli.predict.segments import Segment, Timeline

FRAME_SECONDS = 0.04
"""The longest frame of a score: what a person marks is no finer."""


@dataclass(frozen=True)
class LabelledRecording:
    """A video, or one subject of it, and the spans of it that a person labelled.

    Attributes:
        video: all of it, or one subject of all of it.
        items: its rows of the manifest.
        group: recordings of one are drawn together.
    """

    video: VideoItem
    items: tuple[VideoItem, ...]
    group: str

    @property
    def path(self) -> Path:
        """The video."""
        return self.video.path

    def segments(self, duration_seconds: float, is_multi_label: bool) -> list[Segment]:
        """Return its spans, one a class, as segments that are sure.

        Args:
            duration_seconds: of the video, where spans without an end end.
            is_multi_label: a label is several classes.
        """
        return [
            Segment(item.start_seconds, _end_of(item, duration_seconds), name, 1.0)
            for item in self.items
            for name in labels_of(item.label, is_multi_label)
        ]


def recordings_of(items: Iterable[VideoItem]) -> list[LabelledRecording]:
    """Return the videos that rows are spans of, or the subjects in them, each once."""
    return [
        LabelledRecording(
            VideoItem(path, "", track=track, box=box), tuple(spans), spans[0].group or str(path)
        )
        for (path, track, box), spans in rows_by_subject(items).items()
    ]


def align(
    recording: LabelledRecording, timeline: Timeline | None, class_names: Sequence[str], is_multi_label: bool
) -> ScoredRecording:
    """Return what a person and a model say of a recording, frame by frame.

    Args:
        recording: as it is labelled.
        timeline: of the model; None where the video could not be decoded, so that all of it is wrong.
        class_names: of the model.
        is_multi_label: a moment can have several classes.
    """
    if timeline is None:
        ends = [item.end_seconds or item.start_seconds for item in recording.items]
        timeline = Timeline(
            str(recording.path), tuple(class_names), FRAME_SECONDS, max(ends), np.zeros((0, 0)), ()
        )
    per_cell = max(1, math.ceil(timeline.cell_seconds / FRAME_SECONDS - 1e-9))
    frame = timeline.cell_seconds / per_cell
    duration = timeline.duration_seconds
    num_frames = max(1, math.ceil(duration / frame - 1e-9))
    known_N = np.zeros(num_frames, np.bool_)
    for item in recording.items:
        known_N[_frames(item.start_seconds, _end_of(item, duration), frame)] = True
    cells = timeline.probabilities_NK
    return ScoredRecording(
        _masks(recording.segments(duration, is_multi_label), class_names, num_frames, frame),
        _masks(timeline.segments, class_names, num_frames, frame),
        known_N,
        cells if len(cells) else np.zeros((1, len(class_names))),
        per_cell if len(cells) else num_frames,
        frame,
        recording.group,
        is_multi_label,
    )


def _end_of(item: VideoItem, duration_seconds: float) -> float:
    return duration_seconds if item.end_seconds is None else item.end_seconds


def _frames(start: float, end: float, frame: float) -> slice:
    return slice(round(start / frame), max(round(start / frame) + 1, round(end / frame)))


def _masks(segments: Iterable[Segment], class_names: Sequence[str], num_frames: int, frame: float) -> Bool:
    """Return whether each class is there in each frame (N, K); other labels, such as unknown, are none."""
    place = {name: number for number, name in enumerate(class_names)}
    masks_NK = np.zeros((num_frames, len(class_names)), np.bool_)
    for segment in segments:
        if segment.label in place:
            frames = _frames(segment.start_seconds, segment.end_seconds, frame)
            masks_NK[frames, place[segment.label]] = True
    return masks_NK


def scores_to_dict(scores: TimelineScores, class_names: Sequence[str]) -> dict[str, Any]:
    """Return plain values, as `vidcli eval --timeline --json` prints them."""
    return {
        "num_recordings": scores.num_recordings,
        "labelled_seconds": scores.labelled_seconds,
        "unlabelled_seconds": scores.unlabelled_seconds,
        "baseline_frame_accuracy": scores.baseline,
        "verdict": judge_timelines(scores),
        **_plain(scores.overall),
        "class_names": list(class_names),
        "per_class": [
            {"label": name, **_plain(row)} for name, row in zip(class_names, scores.per_class, strict=True)
        ],
    }


def _plain(scores: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, score in scores.items():
        plain[name] = score.value
        if not name.startswith("num_") and not name.endswith(("true_seconds", "predicted_seconds")):
            plain[f"{name}_interval"] = None if score.interval is None else list(score.interval)
    return plain


def judge_timelines(scores: TimelineScores) -> str:
    """Return one sentence on the frame accuracy beside always giving the most frequent answer."""
    accuracy: Score = scores.overall["frame_accuracy"]
    always = f"always the most frequent class is right for {scores.baseline:.3f} of the time"
    if accuracy.value is None:
        return "no time is labelled, so that nothing was measured"
    if accuracy.interval is None:
        return f"{always}; one recording, or one group, tells nothing of others: no intervals"
    if accuracy.interval[0] > scores.baseline:
        return f"better than that: {always}"
    if accuracy.interval[1] < scores.baseline:
        return f"worse than that: {always}"
    return f"not shown to be better than that: {always}; more recordings would narrow the interval"
