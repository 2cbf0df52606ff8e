"""What nobody labelled in recordings: the gaps between labelled spans, as spans of a class of their own.

labelled       ....aaaa......bb....cccccc....
looked at      |----------------------|
background     rrrr    rrrrrr  rrrr           what was not looked at may hold anything, and is left out
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from vidcli.data.clock import parse_seconds
from vidcli.data.column_names import ALIASES, find_column
from vidcli.data.items import Seen, VideoItem, name_few
from vidcli.errors import DataError, VideoError
from vidcli.sheets import read_sheet
from vidcli.video import probe

Stretches: TypeAlias = list[tuple[float, float]]
"""From where to where, in seconds, in order and apart."""

_LEAST_SECONDS = 0.1
"""The shortest gap: people mark no finer."""


def fill_background(
    items: Sequence[VideoItem],
    name: str,
    labelled: Mapping[Path, Stretches] | None = None,
    present: Callable[[VideoItem], Stretches | None] = lambda row: None,
) -> tuple[list[VideoItem], list[str]]:
    """Return the rows with one of class `name` for each gap of a recording, and a sentence on these.

    A recording is a video of which every row is a span. One that cannot be opened stays as it is, since it is
    named where it is decoded.

    Args:
        items: rows of a data set.
        name: class of the gaps.
        labelled: what was looked at in each recording, by its path; one that is not there was looked at
            whole, as all are with None.
        present: returns when the subject of a row is in the picture; None for always.

    Raises:
        DataError: rows have that class already, or no row is a span.
    """
    if any(item.label == name for item in items):
        raise DataError(f"data.background={name}: rows of the data have that label; choose another name")
    filled: list[VideoItem] = []
    seconds, num_recordings = 0.0, 0
    for (path, *_), rows in rows_by_subject(items).items():
        filled += rows
        if not is_recording(rows):
            continue
        try:
            duration = probe(path).duration_seconds
        except VideoError:
            continue
        num_recordings += 1
        looked_at = (labelled or {}).get(path.resolve(), [(0.0, duration)])
        if (there := present(rows[0])) is not None:
            looked_at = common(looked_at, there)
        for start, end in gaps(rows, looked_at, duration):
            filled.append(replace(rows[0], label=name, start_seconds=start, end_seconds=end))
            seconds += end - start
    if not num_recordings:
        raise DataError(
            f"data.background={name}: no row is a span of a recording, so that all is labelled; leave it "
            "out, or give rows a start and an end"
        )
    told = f"{seconds:.0f} s of {num_recordings} recordings that nobody labelled are {name}"
    whole = (
        "" if labelled is not None else "; data.labelled_spans names what was looked at, where not all was"
    )
    return filled, [told + whole]


def rows_by_subject(items: Iterable[VideoItem]) -> dict[Seen, list[VideoItem]]:
    """Return the rows of each subject of each video, in their order; a whole video is one subject."""
    rows: dict[Seen, list[VideoItem]] = defaultdict(list)
    for item in items:
        rows[item.seen].append(item)
    return rows


def is_recording(rows: Sequence[VideoItem]) -> bool:
    """Tell whether rows of a video are spans of it."""
    return any(row.end_seconds is not None or row.start_seconds > 0 for row in rows)


def gaps(rows: Sequence[VideoItem], looked_at: Stretches, duration: float) -> Stretches:
    """Return what no row covers of what was looked at.

    Args:
        rows: of one recording.
        looked_at: stretches that may hold gaps.
        duration: of the recording, in seconds.
    """
    covered = sorted((row.start_seconds, row.end_seconds or duration) for row in rows)
    found: Stretches = []
    for first, last in looked_at:
        place, until = max(0.0, first), min(last, duration)
        for start, end in [*covered, (until, until)]:
            if start - place >= _LEAST_SECONDS and place < until:
                found.append((round(place, 6), round(min(start, until), 6)))
            place = max(place, end)
    return [(start, end) for start, end in found if end - start >= _LEAST_SECONDS]


def common(some: Stretches, others: Stretches) -> Stretches:
    """Return what lies in stretches of both."""
    both = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return sorted((start, end) for start, end in both if end > start)


def read_labelled_spans(path: Path) -> dict[Path, Stretches]:
    """Read which spans of recordings were looked at: a table with the columns path, start and end.

    Args:
        path: CSV or TSV; videos are counted from its folder.

    Returns:
        The stretches of each recording by its resolved path, overlaps joined.

    Raises:
        DataError: the table cannot be read, or a row is wrong; names its line.
    """
    if not path.is_file():
        raise DataError(f"data.labelled_spans={path}: no such table; expected a CSV with path, start and end")
    known = {name: ALIASES[name] for name in ("path", "start", "end")}
    sheet = read_sheet(path, tuple(name for names in known.values() for name in names))
    try:
        columns = {name: find_column(sheet.columns, names) for name, names in known.items()}
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if missing := [name for name, column in columns.items() if column is None]:
        raise DataError(f"{path}: no column {missing[0]!r}; expected path, start and end")
    stretches: dict[Path, Stretches] = defaultdict(list)
    for line, row in sheet.rows:
        cell = {name: row[column].strip() for name, column in columns.items() if column is not None}
        try:
            start, end = (
                parse_seconds(cell[name], name, sheet.delimiter != ",") for name in ("start", "end")
            )
            if end <= start:
                raise ValueError(f"end {end:g} is not after start {start:g}")
        except ValueError as error:
            raise DataError(f"{path}: line {line}: {error}") from error
        stretches[(path.parent / cell["path"]).resolve()].append((start, end))
    return {video: _joined(spans) for video, spans in stretches.items()}


def unknown_recordings(labelled: Iterable[Path], items: Iterable[VideoItem]) -> str | None:
    """Return a sentence on recordings of the table that no row is about; None where there are none."""
    unknown = sorted(set(labelled) - {item.path.resolve() for item in items})
    if not unknown:
        return None
    return f"data.labelled_spans names {len(unknown)} videos that have no labelled row: {name_few(unknown)}"


def _joined(spans: Stretches) -> Stretches:
    joined: Stretches = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
