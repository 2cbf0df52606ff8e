"""Read back what `vidcli eval` wrote of each video: `predictions.csv`, see `details.predictions_csv`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidcli.errors import DataError
from vidcli.sheets import csv_rows, read_text, translated_errors, unescape_cell

PREDICTIONS_FILE = "predictions.csv"
FIXED_COLUMNS = ("video", "start", "end", "label", "predicted", "probability", "correct", "error", "track")
_EARLIER_COLUMNS = FIXED_COLUMNS[:-1]
"""Of tables that earlier versions wrote, which name no subjects."""


@dataclass(frozen=True)
class VideoAnswer:
    """The answer of a model to a labelled video, or to a span of one.

    Attributes:
        video: its path, with characters escaped as `visible` does.
        start_seconds: where the labelled span starts.
        end_seconds: where it ends; None at the end of the file.
        label: the true class.
        predicted: the most probable class; None where the video failed.
        probabilities: one a class of the table; empty where the video failed.
        error: why the video failed; None where it did not.
        track: the subject that it is about; None for the whole picture.
    """

    video: str
    start_seconds: float
    end_seconds: float | None
    label: str
    predicted: str | None
    probabilities: Sequence[float]
    error: str | None
    track: str | None

    @property
    def span(self) -> tuple[float, float | None]:
        """Where the labelled span starts and ends."""
        return self.start_seconds, self.end_seconds


@dataclass(frozen=True)
class AnswerTable:
    """The answers of a model to labelled videos.

    Attributes:
        class_names: the classes that the model knows.
        answers: one a video.
    """

    class_names: Sequence[str]
    answers: Sequence[VideoAnswer]


def read_answers(path: Path) -> AnswerTable:
    """Read the answers that `vidcli eval` wrote.

    Args:
        path: the table.

    Raises:
        DataError: it is no such table, or that of a multi-label model.
    """
    with translated_errors(path):
        rows = csv_rows(read_text(path)[0])
    header = tuple(rows[0]) if rows else ()
    columns = next((c for c in (FIXED_COLUMNS, _EARLIER_COLUMNS) if header[: len(c)] == c), FIXED_COLUMNS)
    count = len(columns)
    if header[:count] != columns or len(header) == count:
        raise DataError(
            f"{path}: is no {PREDICTIONS_FILE} of `vidcli eval`; expected the columns "
            f"{', '.join(FIXED_COLUMNS)} and one for each class"
        )
    names = [unescape_cell(cell) for cell in header[count:]]
    answers = []
    for number, row in enumerate(rows[1:], start=2):
        try:
            answers.append(_answer_of(row, len(header), count))
        except ValueError as error:
            raise DataError(f"{path}: row {number} is damaged ({error}); evaluate again") from error
    known = {*names, None}
    if strange := next((a for a in answers if a.label not in known or a.predicted not in known), None):
        raise DataError(
            f"{path}: {strange.video} has the classes {strange.label!r}, which are not one class of the "
            "table; expected the evaluation of a model with one class a video"
        )
    return AnswerTable(names, answers)


def _answer_of(row: Iterable[str], num_columns: int, num_fixed: int) -> VideoAnswer:
    cells = [unescape_cell(cell) for cell in row]
    if len(cells) != num_columns:
        raise ValueError(f"{len(cells)} cells, expected {num_columns}")
    video, start, end, label, predicted, _, _, error, *track = cells[:num_fixed]
    shares = [] if error else [float(cell) for cell in cells[num_fixed:]]
    return VideoAnswer(
        video=video,
        start_seconds=float(start),
        end_seconds=float(end) if end else None,
        label=label,
        predicted=predicted or None,
        probabilities=shares,
        error=error or None,
        track=(track[0] or None) if track else None,
    )
