"""What `vidcli predict --timeline` writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TextIO

from rich.console import Console
from rich.table import Table

from vidcli.console.predictions import open_text
from vidcli.console.terminal import Terminal
from vidcli.console.text import json_line, plain
from vidcli.errors import VidcliError
from vidcli.predict.segments import (
    SEGMENT_COLUMNS,
    Timeline,
    format_clock,
    timeline_to_dict,
    timeline_to_rows,
    timeline_to_srt,
    timeline_to_vtt,
)
from vidcli.runtime.outputs import OutputFile
from vidcli.sheets import csv_line, shown_cell


class TimelineWriter:
    """Write timelines as they come, in one form."""

    def __init__(self, terminal: Terminal, form: str, stream: TextIO) -> None:
        """Write to `stream`; `form` is table, json, csv, srt or vtt."""
        self._form, self._stream = form, stream
        self._console = terminal.out if stream is sys.stdout else Console(file=stream, highlight=False)
        if form == "csv":
            stream.write(csv_line(SEGMENT_COLUMNS))

    def write(self, timeline: Timeline) -> None:
        """Write the timeline of one video."""
        if self._form == "table":
            self._console.print(timeline_table(timeline))
        elif self._form == "json":
            print(json_line(timeline_to_dict(timeline), self._stream), file=self._stream)
        elif self._form == "csv":
            self._stream.writelines(csv_line(row) for row in timeline_to_rows(timeline))
        else:
            text = timeline_to_srt(timeline) if self._form == "srt" else timeline_to_vtt(timeline)
            self._stream.write(text)
        self._stream.flush()

    def write_failure(self, video: str, error: str) -> None:
        """Write that a video has no timeline, where the form has a place for it."""
        if self._form == "json":
            print(json_line({"video": video, "error": error}, self._stream), file=self._stream, flush=True)
        elif self._form == "csv":
            self._stream.write(csv_line([shown_cell(video), "", "", "", "", shown_cell(error)]))
            self._stream.flush()


def timeline_table(timeline: Timeline) -> Table:
    """Return a table with a row a segment."""
    table = Table("start", "end", "label", "confidence", title=plain(timeline.video), title_justify="left")
    for index in (0, 1, 3):
        table.columns[index].justify = "right"
    if not timeline.segments:
        table.caption = "no class reaches its threshold"
    for segment in timeline.segments:
        start, end = format_clock(segment.start_seconds)[:-1], format_clock(segment.end_seconds)[:-1]
        table.add_row(start, end, plain(segment.label, "bold"), f"{segment.confidence:.3f}")
    return table


@contextmanager
def open_writer(terminal: Terminal, form: str, output: OutputFile | None) -> Iterator[TimelineWriter]:
    """Open what writes timelines to stdout or to a new file.

    Raises:
        VidcliError: the file or stdout cannot be written.
    """
    place = f"--output {output.path}" if output else "standard output"
    try:
        with nullcontext(sys.stdout) if output is None else open_text(output) as stream:
            yield TimelineWriter(terminal, form, stream)
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise VidcliError(f"{place}: cannot be written ({error.strerror})") from error
