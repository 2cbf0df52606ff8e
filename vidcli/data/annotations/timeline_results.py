"""What `vidcli timeline --format json` prints: an object a video, with its segments."""

from __future__ import annotations

from typing import Any

from vidcli.data.annotations.documents import as_list, as_mapping, as_number, as_text
from vidcli.data.annotations.spans import Annotations, Recording, Span

FORM = "vidcli timeline"


def is_timeline_results(value: Any) -> bool:
    """Tell whether a JSON value is an object with a video and its segments, or a list of such."""
    one = value[0] if isinstance(value, list) and value else value
    return isinstance(one, dict) and "video" in one and ("segments" in one or "error" in one)


def read_timeline_results(value: Any) -> Annotations:
    """Return the segments of timelines; videos that failed are named in a note.

    Raises:
        ValueError: it is damaged.
    """
    recordings: list[Recording] = []
    notes: list[str] = []
    for number, item in enumerate(value if isinstance(value, list) else [value], 1):
        what = f"video {number}"
        entry = as_mapping(item, what)
        video = as_text(entry.get("video"), f"{what}, video")
        if "error" in entry:
            notes.append(f"{video} has no timeline: {entry['error']}")
            continue
        spans = []
        subject = as_text(entry.get("track", ""), f"{what}, track")
        for segment in as_list(entry.get("segments"), f"{what}, segments"):
            one = as_mapping(segment, f"{what}, segment")
            start, end = (as_number(one.get(key), f"{what}, {key}") for key in ("start", "end"))
            score = None if one.get("confidence") is None else as_number(one["confidence"], "confidence")
            spans.append(Span(as_text(one.get("label"), f"{what}, label"), start, end, subject, score))
        if "covered_seconds" in entry:
            notes.append(
                f"the timeline of {video} was interrupted, and covers its first {entry['covered_seconds']} s"
            )
        recordings.append(Recording(video, tuple(spans)))
    return Annotations(FORM, tuple(recordings), notes)
