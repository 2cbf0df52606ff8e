"""Labelled spans and timelines side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidcli.data.items import VideoItem
from vidcli.evaluate.recordings import align, judge_timelines, recordings_of, scores_to_dict
from vidcli.evaluate.segment_scores import score_timelines
from vidcli.predict.segments import UNKNOWN, Segment, Timeline

NAMES = ("a", "b")
ITEMS = [
    VideoItem(Path("x.mp4"), "a", None, "day", 0.0, 2.0),
    VideoItem(Path("y.mp4"), "b", None, None, 1.0, None),
    VideoItem(Path("x.mp4"), "b", None, "day", 3.0, 4.0),
]


def timeline(video: str, *segments: tuple[float, float, str], seconds: float = 5.0) -> Timeline:
    cells = np.full((10, 2), 0.5)
    return Timeline(video, NAMES, 0.5, seconds, cells, tuple(Segment(*one, 0.9) for one in segments))


def test_rows_of_one_video_are_one_recording() -> None:
    first, second = recordings_of(ITEMS)
    assert (first.path, first.group, len(first.items)) == (Path("x.mp4"), "day", 2)
    assert (second.path, second.group) == (Path("y.mp4"), "y.mp4")
    assert second.segments(5.0, is_multi_label=False) == [Segment(1.0, 5.0, "b", 1.0)]


def test_seconds_become_frames() -> None:
    first, _ = recordings_of(ITEMS)
    one = align(first, timeline("x.mp4", (0.0, 1.5, "a"), (1.5, 2.5, UNKNOWN), (2.5, 5.0, "b")), NAMES, False)
    per_second = round(1 / one.frame_seconds)
    assert one.frame_seconds <= 0.04
    assert one.frames_per_cell * one.frame_seconds == pytest.approx(0.5)
    assert one.known_N.sum() == 3 * per_second
    assert one.truth_NK.sum(axis=0).tolist() == [2 * per_second, per_second]
    assert one.predicted_NK.sum(axis=0).tolist() == [round(1.5 * per_second), round(2.5 * per_second)]
    scores = score_timelines([one])
    assert scores.overall["frame_accuracy"].value == pytest.approx(2.5 / 3)
    assert (scores.labelled_seconds, scores.unlabelled_seconds) == pytest.approx((3.0, 2.0))


def test_several_classes_at_once() -> None:
    items = [
        VideoItem(Path("x.mp4"), "a|b", None, None, 0.0, 2.0),
        VideoItem(Path("x.mp4"), "|", None, None, 2.0, 4.0),
    ]
    (recording,) = recordings_of(items)
    one = align(recording, timeline("x.mp4", (0.0, 2.0, "a"), (1.0, 2.0, "b"), seconds=4.0), NAMES, True)
    scores = score_timelines([one])
    assert scores.overall["frame_accuracy"].value == pytest.approx(0.75)
    assert scores.baseline == pytest.approx(0.5)


def test_a_video_that_cannot_be_decoded_is_wrong() -> None:
    first, _ = recordings_of(ITEMS)
    scores = score_timelines([align(first, None, NAMES, False)])
    assert scores.overall["frame_accuracy"].value == 0.0
    assert scores.labelled_seconds == pytest.approx(3.0)


def test_the_verdict_compares_with_always_saying_the_same() -> None:
    right = [
        align(recordings_of([VideoItem(Path(f"{n}.mp4"), label, None, None, 0.0, 5.0)])[0],
              timeline(f"{n}.mp4", (0.0, 5.0, guess)), NAMES, False)
        for n, (label, guess) in enumerate([("a", "a"), ("b", "b"), ("a", "a"), ("b", "b")])
    ]  # fmt: skip
    better = score_timelines(right)
    assert judge_timelines(better).startswith(
        "better than that: always the most frequent class is right for 0.5"
    )
    assert "no intervals" in judge_timelines(score_timelines(right[:1]))
    numbers = scores_to_dict(better, NAMES)
    assert (numbers["frame_accuracy"], numbers["frame_accuracy_interval"]) == (1.0, [1.0, 1.0])
    assert [row["label"] for row in numbers["per_class"]] == ["a", "b"]
    assert numbers["per_class"][0]["num_true"] == 2
