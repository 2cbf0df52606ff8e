"""Segments of cells that are all there at once, and the timeline of a whole video."""

from __future__ import annotations

from vidcli.predict.segment_streams import stream_segments
from vidcli.predict.timeline import TimelineWork


def merge_cells(table, names, cell_seconds, min_seconds, duration, threshold=None):
    """Return the segments of a model whose classes exclude each other."""
    return _merge(table, names, cell_seconds, min_seconds, duration, threshold, None)


def merge_classes(table, names, cell_seconds, min_seconds, duration, thresholds):
    """Return the segments of a multi-label model."""
    return _merge(table, names, cell_seconds, min_seconds, duration, None, thresholds)


def _merge(table, names, cell_seconds, min_seconds, duration, threshold, thresholds):
    stream = stream_segments(
        lambda start, end: table[start:end], names, cell_seconds, min_seconds, threshold, thresholds
    )
    return tuple(stream.finish(len(table), duration))


def build_timeline(predictor, video, plan, min_seconds, progress=None):
    """Return what a video shows, from its start to its end."""
    work = TimelineWork(predictor, video, plan, min_seconds)
    work.run(progress=progress)
    return work.finish()
