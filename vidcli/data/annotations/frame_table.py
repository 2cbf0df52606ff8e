"""Tables with a row for every frame and a column of 0 and 1 for every class.

DeepEthogram   `VIDEO_labels.csv`: background, run, ...; -1 is a frame that nobody looked at
SimBA          `VIDEO.csv` of targets_inserted: positions and features, then a column for each behaviour
"""

from __future__ import annotations

from collections.abc import Sequence

from vidcli.data.annotations.spans import Annotations, Recording, frame_runs
from vidcli.sheets import Sheet

FORM = "table with a row for every frame"
_MARKS = {
    "0": False,
    "1": True,
    "0.0": False,
    "1.0": True,
    "-1": False,
    "-1.0": False,
    "true": True,
    "false": False,
}
_NUMBERS = ("", "frame", "frame_number", "frames", "unnamed: 0", "index", "scorer", "bodyparts_coords")
_BACKGROUND = "background"
_MAX_NAMED = 8


def class_columns(sheet: Sheet) -> list[str]:
    """Return the columns of 0 and 1, those of positions, probabilities and frame numbers left out."""
    columns = [name for name in dict.fromkeys(sheet.columns) if name not in _NUMBERS]
    for _, row in sheet.rows:
        columns = [name for name in columns if row.get(name, "").strip().casefold() in _MARKS]
        if not columns:
            break
    return columns if sheet.rows else []


def read_frame_table(sheet: Sheet, name: str) -> Annotations:
    """Return the spans of a table of which each row is a frame, from the first.

    Args:
        sheet: the table; `class_columns` finds some.
        name: stem of its file, from which the video has its name.

    Raises:
        ValueError: it starts at another frame than 0 or 1, or leaves some out.
    """
    columns = class_columns(sheet)
    _check_numbers(sheet)
    marks = {column: [_MARKS[row[column].strip().casefold()] for _, row in sheet.rows] for column in columns}
    spans = tuple(
        span
        for column in columns
        if column != _BACKGROUND
        for span in frame_runs(column, (frame for frame, mark in enumerate(marks[column]) if mark))
    )
    others = [column for column in sheet.columns if column and column not in (*columns, *_NUMBERS)]
    notes = [*sheet.notes, f"has a row for each of {len(sheet.rows)} frames; classes: {_few(columns)}"]
    if _BACKGROUND in columns:
        notes.append("background is what is left of a recording, not a class; --background NAME makes it one")
    if others:
        notes.append(
            f"{len(others)} columns hold other numbers than 0 and 1 and are not used: {_few(others)}"
        )
    if any(row[column].strip().startswith("-1") for _, row in sheet.rows for column in columns):
        notes.append("frames that are marked -1, not looked at, have no label")
    media = name.removesuffix("_labels")
    return Annotations(FORM, (Recording(media, spans, True, num_frames=len(sheet.rows)),), notes)


def _check_numbers(sheet: Sheet) -> None:
    """Refuse rows whose numbers of frames do not count from 0 or 1 without a gap."""
    column = next((name for name in sheet.columns if name in ("frame", "frame_number", "frames")), None)
    if column is None:
        return
    first: float | None = None
    for count, (line, row) in enumerate(sheet.rows):
        try:
            number = float(row.get(column, ""))
        except ValueError:
            number = -1.0
        first = number if first is None else first
        if first not in (0, 1) or number != first + count:
            raise ValueError(
                f"line {line}: frame {row.get(column, '')!r}; expected a row for every frame, from 0 or 1 on"
            )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (
        f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    )
