"""Tables with a row for every frame and a column of 0 and 1 for every class.

DeepEthogram   `VIDEO_labels.csv`: background, run, ...; -1 is a frame that nobody looked at
SimBA          `VIDEO.csv` of targets_inserted: positions and features, then a column for each behaviour
"""

from __future__ import annotations

from collections.abc import Sequence

from vidcli.data.annotations.spans import Annotations, Recording, frame_runs
from vidcli.sheets import OpenTable

FORM = "table with a row for every frame"
_MARKS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "-1": -1, "-1.0": -1, "true": 1, "false": 0}
_NUMBERS = ("frame", "frame_number", "frames")
_OTHERS = ("", *_NUMBERS, "unnamed: 0", "index", "scorer", "bodyparts_coords")
_BACKGROUND = "background"
_MAX_NAMED = 8


def read_frame_table(table: OpenTable, notes: Sequence[str], name: str) -> Annotations | None:
    """Return the spans of a table of which each row is a frame, from the first; None without a class.

    Cells are read row by row and kept only where their column holds nothing but marks so far: hours of
    positions and features would not fit into memory.

    Args:
        table: of which the rows are read here.
        notes: on how it was read.
        name: stem of its file, from which the video has its name.

    Raises:
        ValueError: numbers of frames do not count from 0 or 1 without a gap.
    """
    numbers = next((n for n, column in enumerate(table.columns) if column in _NUMBERS), None)
    marks = {n: bytearray() for n, column in enumerate(table.columns) if column not in _OTHERS}
    first = num_frames = 0
    has_unseen = False
    for line, fields in table.rows:
        for place in list(marks):
            mark = _MARKS.get(fields[place].strip().casefold()) if place < len(fields) else None
            if mark is None:
                del marks[place]
            else:
                marks[place].append(mark > 0)
                has_unseen |= mark < 0
        if not marks:
            return None
        if numbers is not None:
            given = fields[numbers] if numbers < len(fields) else ""
            first = _check_number(line, given, num_frames, first)
        num_frames += 1
    if not num_frames:
        raise ValueError("is a table without rows under its header")
    columns = {table.columns[place]: held for place, held in marks.items()}
    spans = tuple(
        span
        for column, held in columns.items()
        if column != _BACKGROUND
        for span in frame_runs(column, (frame for frame, mark in enumerate(held) if mark))
    )
    told = [*notes, f"has a row for each of {num_frames} frames; classes: {_few(list(columns))}"]
    if _BACKGROUND in columns:
        told.append("background is what is left of a recording, not a class; --background NAME makes it one")
    if others := [one for one in table.columns if one and one not in (*columns, *_NUMBERS, *_OTHERS)]:
        told.append(f"{len(others)} columns hold other numbers than 0 and 1 and are not used: {_few(others)}")
    if has_unseen:
        told.append("frames that are marked -1, not looked at, have no label")
    recording = Recording(name.removesuffix("_labels"), spans, True, num_frames=num_frames)
    return Annotations(FORM, (recording,), told)


def _check_number(line: int, text: str, count: int, first: int) -> int:
    """Return the number of the first frame, after a look at that of the row after `count` others."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    first = first if count else int(number == 1)
    if number != first + count:
        raise ValueError(f"line {line}: frame {text!r}; expected a row for every frame, from 0 or 1 on")
    return first


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (
        f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    )
