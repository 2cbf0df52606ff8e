"""How `vidcli timeline` writes segments: as tables, JSON, CSV or subtitles, each when it is known."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidcli.console.prediction_writers import open_results
from vidcli.console.tables import GrowingTable
from vidcli.console.terminal import Terminal
from vidcli.console.text import json_line, plain, shorten_middle
from vidcli.names import name_subject
from vidcli.predict.segments import (
    SEGMENT_COLUMNS,
    UNKNOWN,
    VTT_HEAD,
    Segment,
    Timeline,
    format_clock,
    rows_at_end,
    segment_to_row,
    segment_to_srt,
    segment_to_vtt,
    timeline_to_dict,
)
from vidcli.runtime.outputs import OutputFile
from vidcli.sheets import csv_line, shown_cell

_CLOCK_WIDTH = len("00:00:00.00")
_CONFIDENCE_WIDTH = len("confidence")
_MIN_LABEL_WIDTH = 6


class TimelineWriter(ABC):
    """Writes the segments of one video after the other, each when it is known.

    Attributes:
        tears_bars: whether segments would overwrite a live line on the same terminal.
        is_torn_by_lines: whether other lines on that terminal would tear what is written.
    """

    _head = ""  # what a file begins with

    def __init__(self, terminal: Terminal, stream: TextIO, class_names: Sequence[str]) -> None:
        """Write to a stream.

        Args:
            terminal: for messages, and for tables on stdout.
            stream: for text.
            class_names: of the model, which set the width of a table's column.
        """
        self._terminal, self._stream, self._class_names = terminal, stream, class_names
        self.tears_bars = stream.isatty()
        self.is_torn_by_lines = False
        self._has_ended = True
        stream.write(self._head)

    def begin(self, video: str, track: str | None = None) -> None:
        """Begin with the video of this path, or with one subject of it."""
        self._video, self._track, self._num_written, self._has_ended = video, track, 0, False

    def write(self, segment: Segment) -> None:
        """Write the next segment of the video."""
        self._num_written += 1
        self._write(segment)
        self._stream.flush()

    def end(self, timeline: Timeline) -> None:
        """Write what follows the segments of a video; a second call does nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        self._end(timeline)
        self._stream.flush()

    def write_failure(self, error: str) -> None:
        """Write why the video has no timeline, where the format has a place for it."""
        self._write_failure(error)
        self._stream.flush()

    @abstractmethod
    def _write(self, segment: Segment) -> None: ...

    def _end(self, timeline: Timeline) -> None:  # noqa: B027 (subtitles have nothing to add)
        """Write what follows the segments."""

    def _write_failure(self, error: str) -> None:  # noqa: B027 (subtitles have no place for it)
        """Write why there are no segments, or no more of them."""


class _JsonWriter(TimelineWriter):
    """Writes a JSON object for each video, when all its segments are known."""

    def _write(self, segment: Segment) -> None:
        """Write nothing before the end."""

    def _end(self, timeline: Timeline) -> None:
        print(json_line(timeline_to_dict(timeline), self._stream), file=self._stream)

    def _write_failure(self, error: str) -> None:
        about = {"video": self._video} | ({} if self._track is None else {"track": self._track})
        print(json_line(about | {"error": error}, self._stream), file=self._stream)


class _CsvWriter(TimelineWriter):
    """Writes a CSV row for each segment."""

    _head = csv_line(SEGMENT_COLUMNS)

    def _write(self, segment: Segment) -> None:
        self._stream.write(csv_line(segment_to_row(self._video, segment, self._track)))

    def _end(self, timeline: Timeline) -> None:
        self._stream.writelines(csv_line(row) for row in rows_at_end(timeline))

    def _write_failure(self, error: str) -> None:
        cells = shown_cell(self._video), "", "", "", "", shown_cell(error), shown_cell(self._track or "")
        self._stream.write(csv_line(cells))


class _SrtWriter(TimelineWriter):
    """Writes SubRip subtitles."""

    def _write(self, segment: Segment) -> None:
        self._stream.write(segment_to_srt(segment, self._num_written))


class _VttWriter(TimelineWriter):
    """Writes WebVTT subtitles."""

    _head = VTT_HEAD

    def _write(self, segment: Segment) -> None:
        self._stream.write(segment_to_vtt(segment))


class _TableWriter(TimelineWriter):
    """Writes a table for each video, with a row for each segment."""

    def __init__(self, terminal: Terminal, stream: TextIO, class_names: Sequence[str]) -> None:
        super().__init__(terminal, stream, class_names)
        self.tears_bars, self.is_torn_by_lines = False, stream.isatty()
        self._console = terminal.lines_out if stream is sys.stdout else Console(file=stream, highlight=False)
        widest = max(plain(name).cell_len for name in [*class_names, UNKNOWN])
        room = self._console.width - 2 * _CLOCK_WIDTH - _CONFIDENCE_WIDTH - 3 * 4 - 1
        self._label_width = max(_MIN_LABEL_WIDTH, min(widest, room))

    def begin(self, video: str, track: str | None = None) -> None:
        super().begin(video, track)
        self._rows = GrowingTable(self._console, self._empty_table)

    def _write(self, segment: Segment) -> None:
        if self._num_written == 1:
            self._print_name()
        start, end = (format_clock(time)[:-1] for time in (segment.start_seconds, segment.end_seconds))
        label = shorten_middle(plain(segment.label, "bold"), self._label_width)
        self._rows.add_row(Text(start), Text(end), label, Text(f"{segment.confidence:.3f}"))

    def _end(self, timeline: Timeline) -> None:
        self._rows.close()
        if not self._num_written and timeline.covered_seconds is None:
            self._print_name()
            self._console.print("no class reaches its threshold")

    def _write_failure(self, error: str) -> None:
        self._rows.close()

    def _print_name(self) -> None:
        name = name_subject(self._video, self._track)
        self._console.print(plain(name, "italic"), soft_wrap=True)

    def _empty_table(self) -> Table:
        table = Table()
        table.add_column("start", width=_CLOCK_WIDTH, justify="right", no_wrap=True)
        table.add_column("end", width=_CLOCK_WIDTH, justify="right", no_wrap=True)
        table.add_column("label", width=self._label_width, no_wrap=True)
        table.add_column("confidence", width=_CONFIDENCE_WIDTH, justify="right", no_wrap=True)
        return table


_WRITERS: Mapping[str, type[TimelineWriter]] = {
    "table": _TableWriter,
    "json": _JsonWriter,
    "csv": _CsvWriter,
    "srt": _SrtWriter,
    "vtt": _VttWriter,
}


@contextmanager
def open_timeline_writer(
    terminal: Terminal, form: str, output: OutputFile | None, class_names: Sequence[str]
) -> Iterator[TimelineWriter]:
    """Open a writer of timelines to a file or to stdout.

    Args:
        terminal: for messages, and for tables on stdout.
        form: table, json, csv, srt or vtt.
        output: the file; None for stdout.
        class_names: of the model.

    Raises:
        VidcliError: the file or stdout cannot be written.
    """
    with open_results(output) as stream:
        writer = _WRITERS[form](terminal, stream, class_names)
        stream.flush()
        yield writer
