"""Any other table with a row a span: a label, a start and an end, under the names that people give these.

Without a column for the video, the table is about the one that has its name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from vidcli.data.annotations.documents import as_frame
from vidcli.data.annotations.spans import TO_THE_END, Annotations, Recording, Span
from vidcli.data.clock import parse_seconds
from vidcli.data.column_names import END_NAMES, LABEL_NAMES, PATH_NAMES, START_NAMES, find_column
from vidcli.data.items import SPLIT_ALIASES, SPLITS
from vidcli.sheets import Sheet, csv_text, name_columns, unescape_cell

FORM = "table of spans"
_FRAME_STARTS = ("start_frame", "startframe", "start frame", "frame_start", "first_frame")
_FRAME_ENDS = ("end_frame", "endframe", "end frame", "frame_end", "stop_frame", "last_frame")
_DURATIONS = ("duration", "duration_s", "duration (s)", "length")
_SUBJECTS = ("subject", "animal", "individual", "actor", "track")
_SCORES = ("confidence", "score", "probability")
_SPLITS = ("split", "subset")
_COLUMNS = ("path", "label", "start", "end", "subject", "score")


def is_event_table(columns: Sequence[str]) -> bool:
    """Tell from its columns, in lower case, whether a table has labels and starts."""
    names = set(columns)
    return bool(names & set(LABEL_NAMES)) and bool(names & {*START_NAMES, *_FRAME_STARTS})


def read_event_table(sheet: Sheet, name: str) -> Annotations:
    """Return the spans of a table.

    Args:
        sheet: the table.
        name: stem of its file, the name of the video where no column names one.

    Raises:
        ValueError: columns or rows are wrong.
    """
    columns = sheet.columns
    path, label = find_column(columns, PATH_NAMES), find_column(columns, LABEL_NAMES)
    in_frames = not set(columns) & set(START_NAMES)
    start = find_column(columns, _FRAME_STARTS if in_frames else START_NAMES)
    end = find_column(columns, _FRAME_ENDS if in_frames else END_NAMES)
    duration = find_column(columns, _DURATIONS) if end is None else None
    subject, score = find_column(columns, _SUBJECTS), find_column(columns, _SCORES)
    if end is None and duration is None:
        raise ValueError(
            f"has no column for the end of a span; expected end, stop or duration beside {start!r}"
        )
    spans_of: dict[tuple[str, str | None], list[Span]] = defaultdict(list)
    num_blank = 0
    for line, cells in sheet.rows:
        row = {str(key): value.strip() for key, value in cells.items()}
        if None in cells:
            raise ValueError(f"line {line}: more fields than columns; quote fields that hold the delimiter")
        media = unescape_cell(row.get(path, "")) if path else name
        text = unescape_cell(row.get(label or "", ""))
        if not text:
            num_blank += 1
            continue
        try:
            if not media:
                raise ValueError("no video")
            edges = _edges(row, (start or "", end, duration), in_frames, sheet.delimiter != ",")
            sure = _score(row[score]) if score and row.get(score) else None
            span = Span(text, *edges, unescape_cell(row.get(subject, "")) if subject else "", sure)
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from error
        spans_of[media, _split(row)].append(span)
    notes = list(sheet.notes)
    if path is None:
        notes.append(f"has no column that names videos, and is taken to be of {name!r}")
    # Timelines of ours say under `error` why a row has no label.
    used = {path, label, start, end, duration, subject, score, *_SPLITS, "error"}
    if unused := [column for column in columns if column and column not in used]:
        notes.append(f"{len(unused)} columns are not used: {name_columns(unused)}")
    if num_blank:
        notes.append(f"{num_blank} rows have no label and are left out")
    recordings = tuple(
        Recording(media, tuple(spans), in_frames, split=split) for (media, split), spans in spans_of.items()
    )
    return Annotations(FORM, recordings, notes)


def _split(row: Mapping[str, str]) -> str | None:
    given = next((row[name] for name in _SPLITS if row.get(name)), "").casefold()
    split = SPLIT_ALIASES.get(given, given)
    return split if split in SPLITS else None


def _edges(
    row: Mapping[str, str],
    columns: tuple[str, str | None, str | None],
    in_frames: bool,
    has_decimal_commas: bool,
) -> tuple[float, float | None]:
    """Return start and end of a row; an end that is left out is that of the video, as in a manifest."""

    def read(column: str, what: str) -> float:
        if in_frames:
            return as_frame(row[column], what)
        return parse_seconds(row[column], what, has_decimal_commas)

    start_column, end_column, duration_column = columns
    start = read(start_column, "start") if row.get(start_column) else 0.0
    if end_column is not None:
        # The last frame is a part of the span.
        end = read(end_column, "end") + in_frames if row.get(end_column) else TO_THE_END
    else:
        end = (
            start + read(duration_column or "", "duration") if row.get(duration_column or "") else TO_THE_END
        )
    return start, end


def _score(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def event_table_text(recordings: Sequence[Recording]) -> str:
    """Return recordings in seconds as a CSV table, which is a manifest too; see `read_event_table`."""
    rows: list[Sequence[object]] = [_COLUMNS]
    for recording in recordings:
        for span in recording.spans:
            end = "" if span.end in (None, TO_THE_END) else span.end
            score = "" if span.score is None else span.score
            rows.append((recording.media, span.label, span.start, end, span.subject, score))
    return csv_text(rows)
