"""Events of BORIS: pairs of a start and a stop, in the time of a whole observation.

An observation may play several media one after the other. Its times then count from the start of the
first, and all of them are later by the offset of the observation.

    media       |---- a.mp4 ----|-- b.mp4 --|
    time     offset ------------------------------->
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from vidcli.data.annotations.spans import Recording, Span

Kind = Literal["start", "stop", "point", "state"]
_SCORE = re.compile(r"confidence (\d[\d.e-]*)")
_STEP = 0.001
"""BORIS rounds times to milliseconds."""


@dataclass(frozen=True)
class Event:
    """One moment of an observation.

    Attributes:
        seconds: in the time of the observation.
        kind: `state` is a start or a stop, by turns.
        label: code of the behaviour.
        subject: whom it is about.
        modifier: what the behaviour is qualified by; a stop ends the start with the same one.
        score: how sure a model is, 0 to 1.
    """

    seconds: float
    kind: Kind
    label: str
    subject: str = ""
    modifier: str = ""
    score: float | None = None


def pair_events(events: Iterable[Event]) -> list[Span]:
    """Return the spans of the events of one observation; a start without a stop has no end.

    Args:
        events: in any order.

    Raises:
        ValueError: a stop has no start.
    """
    spans: list[Span] = []
    open_events: dict[tuple[str, str, str], Event] = {}
    # Where a bout ends in the moment in which the next begins, the stop comes first.
    for event in sorted(events, key=lambda event: (event.seconds, event.kind != "stop")):
        key = event.subject, event.label, event.modifier
        started = open_events.get(key)
        if event.kind == "point":
            spans.append(Span(event.label, event.seconds, event.seconds, event.subject, event.score))
        elif event.kind == "start" or (event.kind == "state" and started is None):
            if started is not None:
                spans.append(_span(started, None))
            open_events[key] = event
        elif started is None:
            raise ValueError(f"{event.label!r} stops at {event.seconds:g} s without a start")
        else:
            spans.append(_span(open_events.pop(key), event.seconds))
    return [*spans, *(_span(event, None) for event in open_events.values())]


def _span(started: Event, end: float | None) -> Span:
    return Span(started.label, started.seconds, end, started.subject, started.score)


def place_in_queue(
    spans: Iterable[Span], media: Sequence[str], lengths: Sequence[float | None], offset: float
) -> list[Recording]:
    """Return the spans of an observation by the media in which they lie; one over a change is cut there.

    Args:
        spans: in the time of the observation.
        media: played one after the other.
        lengths: their seconds; None where they are not known, which only the last may be.
        offset: of the observation, in seconds.

    Raises:
        ValueError: a length that is needed is not known.
    """
    shifted = [_shift(span, -offset) for span in spans]
    if len(media) == 1:
        return [Recording(media[0], tuple(shifted))]
    recordings = []
    start = 0.0
    for number, name in enumerate(media):
        length = lengths[number] if number < len(lengths) else None
        is_last = number == len(media) - 1
        if length is None and not is_last:
            raise ValueError(
                f"plays several media, and the length of {name} is not stated; save it again in BORIS"
            )
        end = float("inf") if is_last or length is None else start + length
        inside = [
            _shift(part, -start) for span in shifted for part in _cut(span, start, end, is_first=not number)
        ]
        recordings.append(Recording(name, tuple(inside)))
        start = end
    return recordings


def kinds_of_spans(spans: Iterable[Span]) -> dict[str, Kind]:
    """Return whether each behaviour is a point event or a state, by its name, in alphabetical order.

    Raises:
        ValueError: one is both, which an ethogram cannot say.
    """
    points = {span.label for span in spans if span.end == span.start}
    states = {span.label for span in spans if span.end != span.start}
    if both := sorted(points & states):
        raise ValueError(
            f"{both[0]!r} is both a moment and a span, which BORIS cannot hold; rename one of them"
        )
    return {label: "point" if label in points else "state" for label in sorted(points | states)}


def events_of_spans(recording: Recording) -> list[Event]:
    """Return the events of a recording in seconds, in the order of their times; `pair_events` reads them.

    Raises:
        ValueError: spans of one behaviour and subject overlap, or one has no end.
    """
    events: list[Event] = []
    last: dict[tuple[str, str], float] = {}
    for span in sorted(recording.spans, key=lambda span: span.start):
        start = round(span.start, 3)
        if span.end is None or math.isinf(span.end):
            raise ValueError(
                f"{recording.media}: {span.label!r} at {start:g} s has no end, which BORIS needs"
            )
        end = start if span.end == span.start else max(round(span.end, 3), start + _STEP)
        if start < last.get((span.label, span.subject), 0.0):
            raise ValueError(
                f"{recording.media}: spans of {span.label!r} overlap at {start:g} s, which BORIS cannot hold"
            )
        last[span.label, span.subject] = end
        kinds: tuple[Kind, ...] = ("point",) if span.end == span.start else ("start", "stop")
        for kind, seconds in zip(kinds, (start, end), strict=False):
            events.append(Event(seconds, kind, span.label, span.subject, score=span.score))
    return sorted(events, key=lambda event: (event.seconds, event.kind != "stop"))


def score_comment(score: float | None) -> str:
    """Return the comment that keeps how sure a model is; `read_score` reads it."""
    return "" if score is None else f"confidence {score!r}"


def read_score(comment: str) -> float | None:
    """Return how sure a model is, as `score_comment` wrote it; None for any other comment."""
    found = _SCORE.fullmatch(comment)
    return float(found[1]) if found else None


def _shift(span: Span, seconds: float) -> Span:
    end = None if span.end is None else round(span.end + seconds, 6)
    return Span(span.label, round(span.start + seconds, 6), end, span.subject, span.score)


def _cut(span: Span, start: float, end: float, is_first: bool) -> list[Span]:
    """Return what of a span lies in a medium, if anything; rounding of a millisecond makes no part."""
    begins_here = (start <= span.start or is_first) and span.start < end
    if span.end is None or span.end == span.start:
        return [span] if begins_here else []
    first, last = span.start if is_first else max(span.start, start), min(span.end, end)
    if last - first <= (0 if begins_here and last == span.end else _STEP):
        return []
    return [Span(span.label, first, last, span.subject, span.score)]
