"""Classes that do not exclude each other each get the threshold and the shortest duration that suit them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vidcli.arrays import Float64
from vidcli.data.items import VideoItem
from vidcli.evaluate.recordings import recordings_of
from vidcli.models.timeline_rules import TimelineRules, rules_from_dict
from vidcli.predict.segment_streams import stream_segments
from vidcli.predict.window_plan import WindowPlan
from vidcli.train.learnt_rules import _durations
from vidcli.train.rule_trials import RecordingWindows, RuleTrials, read_cells, shortest_of

PLAN = WindowPlan(length=1, step=1, spacing_seconds=0.5)
NAMES = ("faint", "flickers")
NUM = 80


def _windows() -> RecordingWindows:
    """Return windows in which `faint` has at most 0.35, and `flickers` is told in cells where it is not.

    From 10 to 20 s there is `faint`, from 15 to 30 s `flickers`.
    """
    probabilities = np.full((NUM, 2), 0.05)
    probabilities[20:40, 0] = 0.35
    probabilities[30:60, 1] = 0.95
    probabilities[[3, 9, 65, 71, 77], 1] = 0.9
    probabilities[[35, 44, 50], 1] = 0.1
    spans = [
        VideoItem(Path("day.mp4"), "|", "val", None, 0, 10),
        VideoItem(Path("day.mp4"), "faint", "val", None, 10, 15),
        VideoItem(Path("day.mp4"), "faint|flickers", "val", None, 15, 20),
        VideoItem(Path("day.mp4"), "flickers", "val", None, 20, 30),
        VideoItem(Path("day.mp4"), "|", "val", None, 30, 40),
    ]
    (recording,) = recordings_of(spans)
    return RecordingWindows(recording, probabilities, NUM, NUM / 2)


def _cells(windows: RecordingWindows) -> list[Float64]:
    return [read_cells(windows, PLAN, "mean")]


def test_each_class_gets_what_suits_it():
    trials = RuleTrials([_windows()], PLAN, _cells(_windows()), NAMES, (0.5, 0.5))
    plain, learnt = trials.of_each_class([4.0, 4.0])
    assert plain.thresholds == (0.5, 0.5)
    assert plain.smoothing == "none"
    assert learnt.thresholds[0] < 0.35
    assert learnt.min_seconds[1] > 0.5
    assert learnt.min_seconds[0] == 0.5  # nothing to smooth
    assert learnt.thresholds[1] == 0.5  # as calibrated, where others are no better
    assert trials.of(plain).score < 0.5
    assert trials.of(learnt).score == pytest.approx(1)


def test_rules_of_each_class_make_the_segments_of_a_timeline():
    windows = _windows()
    _, learnt = RuleTrials([windows], PLAN, _cells(windows), NAMES, (0.5, 0.5)).of_each_class([4.0, 4.0])
    stream = stream_segments(
        lambda start, end: windows.probabilities_WK[start:end], NAMES, 0.5, 9.0, None, (0.5, 0.5), learnt
    )
    found = stream.advance(50) + stream.finish(NUM, NUM / 2)
    assert [(one.start_seconds, one.end_seconds, one.label) for one in found] == [
        (10, 20, "faint"),
        (15, 30, "flickers"),
    ]


def test_time_away_is_not_scored_as_told():
    windows = replace(_windows(), present=((0.0, 30.0),))
    trials = RuleTrials([windows], PLAN, _cells(windows), NAMES, (0.3, 0.5))
    (segmented,) = trials._segmented(TimelineRules(0.5))
    last = round(30 / segmented.frame_seconds)
    assert not segmented.predicted_NK[last:].any()
    assert segmented.predicted_NK[:last].any()


def test_a_class_goes_on_where_another_begins_with_it():
    spans = list(_windows().recording.items)
    assert _durations(NAMES, spans, multi_label=True) == [[10.0], [15.0]]
    assert shortest_of([[10.0], []], 0.5) == [10.0, 0.5]


def test_thresholds_are_kept_and_checked():
    rules = TimelineRules(0.5, "mean", "duration", (1.0, 2.0), thresholds=(0.3, 0.6))
    assert rules_from_dict(rules.to_dict(), 2) == rules
    with pytest.raises(ValueError, match="thresholds that do not fit 2 classes"):
        rules_from_dict(rules.to_dict() | {"thresholds": [0.3]}, 2)
