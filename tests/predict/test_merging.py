"""Segments told as they become certain are those that the whole video at once gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.predict.segmenting import merge_cells, merge_classes
from vidcli.predict.merging import equal_stretches, smooth_labels
from vidcli.predict.segment_streams import stream_segments
from vidcli.predict.segments import Segment

NAMES = ("a", "b", "c")


def plain_segments(table, min_cells, duration, threshold):
    """The plain way: smooth the whole video, then join what is unknown, from left to right."""
    labels = smooth_labels(table, min_cells)
    segments = []
    for start, end in equal_stretches(labels):
        confidence = float(table[start:end, labels[start]].mean())
        unknown = threshold is not None and confidence < threshold
        begin, until = start * 0.5, duration if end == len(labels) else end * 0.5
        if unknown and segments and segments[-1].label == "unknown":
            before = segments.pop()
            lengths = before.end_seconds - before.start_seconds, until - begin
            confidence = float(np.average([before.confidence, confidence], weights=lengths))
            begin = before.start_seconds
        segments.append(Segment(begin, until, "unknown" if unknown else NAMES[labels[start]], confidence))
    return segments


def plain_classes(table, min_cells, duration, thresholds):
    """The plain way: smooth each class over the whole video, then sort."""
    segments = []
    for label, threshold in enumerate(thresholds):
        above = table[:, label] - threshold
        holds = smooth_labels(np.stack([above, -above], axis=1), min_cells) == 0
        for start, end in equal_stretches(holds):
            if holds[start]:
                until = duration if end == len(holds) else end * 0.5
                confidence = float(table[start:end, label].mean())
                segments.append(Segment(start * 0.5, until, NAMES[label], confidence))
    return sorted(segments, key=lambda segment: segment.start_seconds)


def stream(table, sizes, min_cells, duration, threshold=None, thresholds=None):
    """Give cells in parts of these sizes; return what came before the end, and what came at it."""
    early, known = [], 0
    segments = stream_segments(
        lambda start, end: table[start:end], NAMES, 0.5, min_cells * 0.5, threshold, thresholds
    )
    for size in sizes:
        known = min(known + size, len(table))
        early += segments.advance(known)
    return early, segments.finish(len(table), duration)


TABLES = st.lists(
    st.lists(st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.6, 0.9]), min_size=3, max_size=3),
    min_size=1,
    max_size=70,
).map(np.array)
SIZES = st.lists(st.integers(0, 9), max_size=30)


@given(TABLES, SIZES, st.integers(1, 6), st.sampled_from([None, 0.5, 0.7]))
def test_one_label_at_a_time(table, sizes, min_cells, threshold):
    duration = len(table) * 0.5 - 0.1
    expected = plain_segments(table, min_cells, duration, threshold)
    early, late = stream(table, sizes, min_cells, duration, threshold)
    assert early + late == expected
    assert list(merge_cells(table, NAMES, 0.5, min_cells * 0.5, duration, threshold)) == expected


@given(TABLES, SIZES, st.integers(1, 6))
def test_many_labels_at_a_time(table, sizes, min_cells):
    duration, thresholds = len(table) * 0.5 - 0.1, (0.3, 0.5, 0.9)
    expected = plain_classes(table, min_cells, duration, thresholds)
    early, late = stream(table, sizes, min_cells, duration, None, thresholds)
    assert early + late == expected
    assert list(merge_classes(table, NAMES, 0.5, min_cells * 0.5, duration, thresholds)) == expected


@pytest.mark.parametrize("thresholds", [None, (0.5, 0.5, 0.5)])
def test_segments_come_before_the_end(thresholds):
    labels = np.repeat([0, 1, 2, 0, 1], 8)
    table = np.full((40, 3), 0.1)
    table[np.arange(40), labels] = 0.8
    early, late = stream(table, [1] * 40, 3, 20.0, None, thresholds)
    assert [(s.start_seconds, s.end_seconds, s.label) for s in early[:3]] == [
        (0, 4, "a"),
        (4, 8, "b"),
        (8, 12, "c"),
    ]
    assert len(early) == 4
    assert len(late) == 1
