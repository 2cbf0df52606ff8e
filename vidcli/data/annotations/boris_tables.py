"""Tables that BORIS exports: tabular events (a row a moment) and aggregated events (a row a span).

tabular, version 8 on   Observation id, Source, Time offset (s), Media duration (s), FPS, Subject, Behavior,
                        Behavior type (START, STOP, POINT), Time, Media file name, Comment
tabular, to version 7   some lines on the observation, then Time, Media file path, Total length, FPS,
                        Subject, Behavior, Behavioral category, Comment, Status (START, STOP, POINT)
aggregated, both        Observation id, Media file or Source, ... Subject, Behavior, Behavior type (STATE,
                        POINT), Start (s), Stop (s), ...
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from vidcli.data.annotations.boris_events import (
    Event,
    Kind,
    events_of_spans,
    kinds_of_spans,
    pair_events,
    place_in_queue,
    read_score,
    score_comment,
)
from vidcli.data.annotations.spans import Annotations, Recording, Span, name_counts
from vidcli.data.clock import parse_seconds
from vidcli.sheets import Sheet, csv_text, unescape_cell

HEADERS = ({"behavior", "behavior type", "time"}, {"time", "behavior", "status"})
"""Columns by which tabular events are known: of version 8 on, and before."""
AGGREGATED_HEADER = {"behavior", "behavior type", "start (s)", "stop (s)"}

_KINDS: Mapping[str, Kind] = {"start": "start", "stop": "stop", "point": "point"}
_PLAYER = re.compile(r"player #(\d):")
_NO_SUBJECT = "no focal subject"
_MISSING = ("", "na", "nan", "none", "not found")


def is_boris_table(columns: Sequence[str]) -> bool:
    """Tell from its columns, in lower case, whether a table is one of these."""
    return any(header <= set(columns) for header in (*HEADERS, AGGREGATED_HEADER))


def read_boris_table(sheet: Sheet) -> Annotations:
    """Return the spans of a table of tabular or aggregated events.

    Raises:
        ValueError: rows are damaged, a stop has no start, or no medium is named.
    """
    is_aggregated = set(sheet.columns) >= AGGREGATED_HEADER
    rows_of: dict[tuple[str, str], list[tuple[int, dict[str, str]]]] = defaultdict(list)
    for line, cells in sheet.rows:
        row = dict.fromkeys(sheet.columns, "")
        row |= {str(key): unescape_cell(value.strip()) for key, value in cells.items()}
        rows_of[row.get("observation id", ""), _media_cell(row)].append((line, row))
    recordings: list[Recording] = []
    for rows in rows_of.values():
        line, first = rows[0]
        media, lengths = _media_of(first)
        if not media:
            raise ValueError(f"line {line}: names no video; export observations that have media")
        try:
            spans = _aggregated(rows) if is_aggregated else pair_events(_event(*row) for row in rows)
            offset = _offset(first)
            recordings += place_in_queue(spans, media, lengths, offset)
        except ValueError as error:
            raise ValueError(
                f"{error}" if str(error).startswith("line ") else f"{media[0]}: {error}"
            ) from error
    form = "BORIS aggregated events" if is_aggregated else "BORIS tabular events"
    modified = [
        row.get("behavior", "")
        for rows in rows_of.values()
        for _, row in rows
        if any(key.startswith("modifier") and value.casefold() not in _MISSING for key, value in row.items())
    ]
    told = f"{len(modified)} events have modifiers, which are left out: {name_counts(modified)}"
    return Annotations(form, tuple(recordings), [*sheet.notes, *([told] if modified else [])])


def _media_cell(row: Mapping[str, str]) -> str:
    """Return the cell that names all media of an observation, or else the one of the row."""
    names = ("source", "media file", "media file path", "media file name")
    return next((row[name] for name in names if row.get(name, "").casefold() not in _MISSING), "")


def _media_of(row: Mapping[str, str]) -> tuple[list[str], list[float | None]]:
    """Return the media of the first player, and their lengths."""
    cell, lengths = _media_cell(row), row.get("media duration (s)") or row.get("total length", "")
    found = re.split(_PLAYER, cell)
    if len(found) > 1:  # "player #1:a;b|player #2:c"
        cell = next(
            (text for number, text in zip(found[1::2], found[2::2], strict=True) if number == "1"), ""
        )
        lengths = lengths.partition("|")[0]
    media = [name.strip() for name in cell.strip("| ").split(";") if name.strip()]
    parts = lengths.split(";")
    return media, [float(part) if re.fullmatch(r"\d+(\.\d*)?", part.strip()) else None for part in parts]


def _offset(row: Mapping[str, str]) -> float:
    text = row.get("time offset (s)", "")
    try:
        return 0.0 if text.casefold() in _MISSING else float(text)
    except ValueError:
        raise ValueError(f"time offset {text!r}; expected seconds") from None


def _event(line: int, row: Mapping[str, str]) -> Event:
    kind = _KINDS.get((row.get("behavior type") or row.get("status", "")).casefold())
    try:
        if kind is None:
            named = row.get("behavior type") or row.get("status", "")
            raise ValueError(f"behavior type {named!r}; expected START, STOP or POINT")
        seconds = parse_seconds(row["time"], "time")
        return Event(
            seconds, kind, _label(row), _subject(row), _modifiers(row), read_score(row.get("comment", ""))
        )
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error


def _aggregated(rows: Sequence[tuple[int, dict[str, str]]]) -> list[Span]:
    spans = []
    for line, row in rows:
        try:
            start = parse_seconds(row["start (s)"], "start")
            stop = None if row["stop (s)"].casefold() in _MISSING else parse_seconds(row["stop (s)"], "stop")
            end = start if row["behavior type"].casefold() == "point" else stop
            score = read_score(row.get("comment start", ""))
            spans.append(Span(_label(row), start, end, _subject(row), score))
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from error
    return spans


def _label(row: Mapping[str, str]) -> str:
    if not row["behavior"]:
        raise ValueError("no behaviour")
    return row["behavior"]


def _subject(row: Mapping[str, str]) -> str:
    subject = row.get("subject", "")
    return "" if subject.casefold() in (_NO_SUBJECT, *_MISSING) else subject


def _modifiers(row: Mapping[str, str]) -> str:
    return "|".join(value for key, value in row.items() if key.startswith("modifier"))


def boris_events_text(
    recordings: Sequence[Recording], lengths: Sequence[float], rates: Sequence[float | None]
) -> str:
    """Return recordings as tabular events of version 8, which `read_boris_table` reads back.

    Args:
        recordings: in seconds; each is an observation of its own.
        lengths: seconds of each video.
        rates: frames a second of each video; None where they are not known.

    Raises:
        ValueError: BORIS cannot hold the spans.
    """
    kinds_of_spans([span for recording in recordings for span in recording.spans])
    rows: list[Sequence[object]] = [
        ("Observation id", "Observation date", "Description", "Observation duration", "Observation type",
         "Source", "Time offset (s)", "Media duration (s)", "FPS", "Subject", "Behavior",
         "Behavioral category", "Behavior type", "Time", "Media file name", "Image index",
         "Image file path", "Comment"),
    ]  # fmt: skip
    for number, (recording, length, rate) in enumerate(zip(recordings, lengths, rates, strict=True), 1):
        media = recording.media
        for event in events_of_spans(recording):
            rows.append(
                (number, "", "", length, "Media file(s)", f"player #1:{media}", 0.0, length, rate or "NA",
                 event.subject or "No focal subject", event.label, "", event.kind.upper(), event.seconds,
                 media, round(event.seconds * rate) if rate else "NA", "NA", score_comment(event.score))
            )  # fmt: skip
    return csv_text(rows)
