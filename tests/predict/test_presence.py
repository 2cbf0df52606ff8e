"""Segments of a subject lie where it is in the picture, and nowhere else."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vidcli.predict.presence import stream_present
from vidcli.predict.segment_streams import stream_segments
from vidcli.predict.segments import Segment

NAMES = ("a", "b")
CELL = 0.5


def _segments(labels: list[int], present: list[tuple[float, float]] | None, chunk: int) -> list[Segment]:
    cells_NK = np.eye(2)[labels]
    make = partial(
        stream_segments,
        class_names=NAMES,
        cell_seconds=CELL,
        min_seconds=0.0,
        threshold=None,
        thresholds=None,
    )
    stream = stream_present(make, lambda start, end: cells_NK[start:end], CELL, present)
    found = []
    for num_cells in range(chunk, len(labels), chunk):
        found += stream.advance(num_cells)
    return found + stream.finish(len(labels), len(labels) * CELL)


def test_visits_are_told_apart_and_their_ends_are_exact():
    found = _segments([0] * 8 + [1] * 12, [(0.7, 3.2), (6.0, 7.3)], 3)
    assert [(one.start_seconds, one.end_seconds, one.label) for one in found] == [
        (0.7, pytest.approx(3.2), "a"),
        (6.0, pytest.approx(7.3), "b"),
    ]
    assert all(one.confidence == 1 for one in found)


@example([0, 0], [0.99999, 2.0], 1)  # a visit that begins just before the end
@example([0, 0], [1 - 1e-7, 2.0], 1)
@given(
    st.lists(st.integers(0, 1), min_size=1, max_size=40),
    st.lists(st.floats(0, 22), max_size=6, unique=True),
    st.integers(1, 9),
)
def test_segments_fill_each_visit_and_nothing_else(labels: list[int], edges: list[float], chunk: int):
    edges = sorted(edges)[: len(edges) // 2 * 2]
    present = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 0.01]
    found = _segments(labels, present, chunk)
    end = len(labels) * CELL
    inside = [(a, min(b, end)) for a, b in present if a < end]
    covered = sum(one.end_seconds - one.start_seconds for one in found)
    assert covered == pytest.approx(sum(b - a for a, b in inside), abs=1e-6)
    for one in found:
        assert any(a - 1e-6 <= one.start_seconds <= one.end_seconds <= b + 1e-6 for a, b in inside)
        middle = (one.start_seconds + one.end_seconds) / 2
        assert one.label == NAMES[labels[min(len(labels) - 1, int(middle / CELL))]]


def test_a_subject_that_is_always_there_needs_no_visits():
    whole = _segments([0, 0, 1, 1], None, 1)
    assert [(one.start_seconds, one.end_seconds) for one in whole] == [(0, 1), (1, 2)]
