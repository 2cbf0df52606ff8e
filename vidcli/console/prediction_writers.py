"""How `vidcli predict` writes predictions: as a table, JSON lines or CSV, each video when it is done."""

from __future__ import annotations

import io
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TextIO, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidcli.console.tables import GrowingTable
from vidcli.console.terminal import Terminal
from vidcli.console.text import json_line, plain, shorten_middle, shorten_path
from vidcli.errors import VidcliError
from vidcli.names import visible
from vidcli.predict import Prediction
from vidcli.predict.prediction import CSV_COLUMNS, prediction_to_dict, prediction_to_rows
from vidcli.runtime.outputs import OutputFile
from vidcli.sheets import csv_line

UNKNOWN = "unknown"
"""The label in a table where the model abstains; the machine formats have a field for that."""

_ERROR_WIDTH = 30
_MIN_WIDTH = 12
_NARROW = 60
"""Width in columns below which a table uses shorter headings."""


class Writer(ABC):
    """Writes predictions as they come.

    Attributes:
        is_on_terminal: whether the results go to a terminal.
        tears_bars: whether they would overwrite a live line on the same terminal.
    """

    def __init__(self, terminal: Terminal, stream: TextIO, top_k: int) -> None:
        self._terminal, self._stream, self._top_k = terminal, stream, top_k
        self.is_on_terminal = self.tears_bars = stream.isatty()

    @abstractmethod
    def write(self, prediction: Prediction) -> None:
        """Write one prediction."""

    def name_failure(self, prediction: Prediction) -> None:
        """Say on stderr that a video failed."""
        self._terminal.fail(f"{prediction.name}: {prediction.error}")

    def close(self) -> None:  # noqa: B027 (most have nothing to add)
        """Write what follows the last prediction."""


class JsonWriter(Writer):
    """Writes a JSON object for each video, one a line."""

    def write(self, prediction: Prediction) -> None:
        """Write one line."""
        line = json_line(prediction_to_dict(prediction, self._top_k), self._stream)
        print(line, file=self._stream, flush=True)


class CsvWriter(Writer):
    """Writes a row for each class of each video."""

    def __init__(self, terminal: Terminal, stream: TextIO, top_k: int) -> None:
        super().__init__(terminal, stream, top_k)
        self._stream.write(csv_line(CSV_COLUMNS))

    def write(self, prediction: Prediction) -> None:
        """Write the rows of one video."""
        self._stream.writelines(csv_line(row) for row in prediction_to_rows(prediction, self._top_k))
        self._stream.flush()


class TableWriter(Writer):
    """Writes a table with a row for each video.

    The names of all videos and classes set the widths of the columns before the first row, so that each
    row can be shown at once. Names too long for the console lose their middle; the machine formats have
    them whole.
    """

    def __init__(
        self,
        terminal: Terminal,
        stream: TextIO,
        top_k: int,
        videos: Sequence[str],
        class_names: Sequence[str],
    ) -> None:
        super().__init__(terminal, stream, top_k)
        self.tears_bars = False
        self._console = terminal.lines_out if stream is sys.stdout else Console(file=stream, highlight=False)
        self._widths = _column_widths(self._console.width, videos, class_names, top_k)
        self._rows = GrowingTable(self._console, lambda: _empty_table(self._widths))

    def write(self, prediction: Prediction) -> None:
        """Write one row, and before the first one the heading."""
        self._rows.add_row(*_cells(prediction, self._top_k, self._widths))

    def name_failure(self, prediction: Prediction) -> None:
        """Say it on stderr, unless the row is seen there: a line would tear the table."""
        if not self.is_on_terminal:
            super().name_failure(prediction)

    def close(self) -> None:
        """Write the bottom of the frame."""
        self._rows.close()


def _empty_table(widths: Mapping[str, int]) -> Table:
    table = Table()
    for name, width in widths.items():
        justify = "right" if name.startswith("prob") else "left"
        table.add_column(name, width=width, overflow="fold", justify=justify)  # type: ignore[arg-type]
    return table


def _column_widths(
    total: int, videos: Sequence[str], class_names: Sequence[str], top_k: int
) -> dict[str, int]:
    """Return the width of each column by heading.

    The column of the runners-up exists where the names of videos and classes leave room for it.

    Args:
        total: width of the console in columns.
        videos: the paths of all videos.
        class_names: of the model.
        top_k: number of classes to show of each video.
    """
    ranked = sorted((plain(name).cell_len for name in class_names), reverse=True)
    video = max([len("video"), *(plain(shorten_path(video)).cell_len for video in videos)])
    label = max(len("label"), ranked[0], min(_ERROR_WIDTH, total // 4))
    probability = "probability" if total >= _NARROW else "prob."
    left = total - len(probability) - 3 * 3 - 1  # a border and two spaces a column
    if video + label > left:
        label = max(_MIN_WIDTH, min(label, left // 2), left - video)
        video = max(_MIN_WIDTH, left - label)
    widths = {"video": video, "label": label, probability: len(probability)}
    left -= video + label + 3
    lengths = [length + len(" 0.00") for length in ranked[: min(top_k, len(ranked)) - 1]]
    if lengths and left >= lengths[0]:
        widths["then"] = min(left, sum(lengths) + len(", ") * (len(lengths) - 1))
    return widths


def headline(prediction: Prediction, top_k: int) -> tuple[str, float, list[tuple[str, float]]]:
    """Return the label to show, the highest probability, and the other classes to show with theirs.

    The best class is among the others where it is not the label: in multi-label models, and where the
    model abstains.
    """
    (label, probability), *others = prediction.top(top_k)
    if prediction.thresholds is not None:
        # The label names all classes that the video has.
        return ", ".join(prediction.labels) or "–", probability, [(label, probability), *others]
    if prediction.is_unknown:
        return UNKNOWN, probability, [(label, probability), *others]
    return label, probability, others


def _cells(prediction: Prediction, top_k: int, widths: Mapping[str, int]) -> list[Text]:
    """Return the cells of a row, shortened to the widths of their columns.

    Errors, and labels of several classes, are never shortened: they take several lines.
    """
    video = shorten_middle(plain(shorten_path(prediction.name)), widths["video"])
    if prediction.error is not None:
        return [video, plain(prediction.error, "red"), Text("–")]
    label, probability, others = headline(prediction, top_k)
    shown = plain(label, "yellow" if prediction.is_unknown else "bold")
    if prediction.thresholds is None:
        shown = shorten_middle(shown, widths["label"])
    cells = [video, shown, Text(f"{probability:.3f}")]
    if "then" in widths:
        then = [f"{visible(name)} {p:.2f}" for name, p in others]
        while len(then) > 1 and plain(", ".join(then)).cell_len > widths["then"]:
            then.pop()
        cells.append(shorten_middle(plain(", ".join(then), "dim"), widths["then"]))
    return cells


@contextmanager
def open_prediction_writer(
    terminal: Terminal,
    form: str,
    top_k: int,
    output: OutputFile | None,
    videos: Sequence[str],
    class_names: Sequence[str],
) -> Iterator[Writer]:
    """Open a writer of predictions to a file or to stdout.

    Args:
        terminal: for messages, and for a table on stdout.
        form: table, json or csv.
        top_k: number of classes to write of each video.
        output: the file; None for stdout.
        videos: the paths of all videos, which set the width of a table's column.
        class_names: of the model, which do the same.

    Raises:
        VidcliError: the file or stdout cannot be written.
    """
    with open_results(output) as stream:
        if form == "table":
            writer: Writer = TableWriter(terminal, stream, top_k, videos, class_names)
        else:
            writer = (CsvWriter if form == "csv" else JsonWriter)(terminal, stream, top_k)
        yield writer
        writer.close()


@contextmanager
def open_results(output: OutputFile | None) -> Iterator[TextIO]:
    """Open a file, or stdout where there is none, for results that are written as they come.

    Raises:
        VidcliError: the file or stdout cannot be written.
        BrokenPipeError: nobody reads stdout any more.
    """
    place = f"--output {output.named}" if output else "standard output"
    try:
        with nullcontext(sys.stdout) if output is None else _open_text(output) as stream:
            yield stream
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise VidcliError(f"{place}: cannot be written ({error.strerror})") from error
    finally:
        if output is not None:
            output.deliver()


def _open_text(output: OutputFile) -> TextIO:
    """Open a file, empty, for text that is written as it comes."""
    raw = cast(io.RawIOBase, output.open())
    return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", errors="backslashreplace", newline="")


def predictions_table(predictions: Sequence[Prediction], top_k: int, width: int) -> Table:
    """Return a whole table with a row for each video.

    Args:
        predictions: at least one.
        top_k: number of classes to show of each video.
        width: of the console, in columns.
    """
    videos = [prediction.name for prediction in predictions]
    widths = _column_widths(width, videos, predictions[0].class_names, top_k)
    table = _empty_table(widths)
    for prediction in predictions:
        table.add_row(*_cells(prediction, top_k, widths))
    return table
