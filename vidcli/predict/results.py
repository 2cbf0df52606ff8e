"""Results on disk, a video after the other: what is there is kept, and a killed run goes on.

Each row names the model and the settings it is of, so that a file cannot be continued with others.
All rows of a video are written with one call; what a kill or a full disk left of the last one is
cut off when the file is opened again.

    json     an object a line
    csv      a row a class, all of a video together
    parquet  the rows of csv; gathered in FILE.partial, as json, until the run is complete
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from vidcli.data.items import VideoItem
from vidcli.errors import OutputError, VidcliError
from vidcli.names import visible, visible_json
from vidcli.predict.predictor import Prediction
from vidcli.runtime.files import is_stream
from vidcli.runtime.locks import lock_open_file
from vidcli.sheets import csv_line, shown_cell, unescape_cell

ResultKey: TypeAlias = tuple[str, float, float | None]
"""Video, start and end in seconds: what a row is about."""

CSV_COLUMNS = ("video", "rank", "label", "probability", "error", "start", "end", "unknown", "chosen")
FORMAT_OF_SUFFIX = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}


_ROW_START = b'{"video": "'
_TORN_ROW = re.compile(
    rb"""\{"video":\ "(?:[^"\\]|\\.)*                             # a name
    (?:\\?\Z|",?\ ?\Z|",\ "(?:[a-z]*\Z|(?:start|predictions|error)"(?:\Z|:\Z|:\ )))""",
    re.VERBOSE | re.DOTALL,
)
"""The beginning of a line of JSON results: a name, and one of the keys that follow it, up to any byte."""


@dataclass(frozen=True)
class Source:
    """What determines the numbers in a results file: the model's identity, and the settings used."""

    model: str
    settings: str

    def check_continues(self, path: Path, found: Source) -> None:
        """Refuse to add to results of another source.

        Raises:
            VidcliError: the model or the settings differ.
        """
        if found.model != self.model:
            raise VidcliError(
                f"--output {path}: holds results of another model ({found.model}, this one is {self.model}); "
                "choose another file, or the model that it was begun with"
            )
        if found.settings != self.settings:
            raise VidcliError(
                f"--output {path}: holds results with other settings ({found.settings}; now "
                f"{self.settings}); choose another file, or the same settings"
            )


def prediction_to_dict(prediction: Prediction, top_k: int) -> dict[str, Any]:
    """Return what `--format json` prints for one video."""
    row: dict[str, Any] = {"video": prediction.video}
    if prediction.start_seconds or prediction.end_seconds is not None:
        row |= {"start": prediction.start_seconds, "end": prediction.end_seconds}
    if prediction.error is not None:
        return row | {"error": prediction.error}
    best = [{"label": label, "probability": p} for label, p in prediction.top(top_k)]
    row |= {"predictions": best}
    if prediction.thresholds is not None:
        row["labels"] = list(prediction.labels)
    return row if prediction.threshold is None else row | {"unknown": prediction.is_unknown}


def prediction_to_rows(prediction: Prediction, top_k: int) -> list[list[Any]]:
    """Return the rows of one video under `CSV_COLUMNS`; an empty field where there is nothing.

    What would steer a terminal is escaped in names.
    """
    video = shown_cell(prediction.video)
    end = "" if prediction.end_seconds is None else prediction.end_seconds
    span = [prediction.start_seconds or "", end]
    if prediction.error is not None:
        return [[video, "", "", "", shown_cell(prediction.error), *span, "", ""]]
    unknown = "" if prediction.threshold is None else str(prediction.is_unknown).lower()
    best = enumerate(prediction.top(top_k), start=1)
    chosen = prediction.labels
    is_set = prediction.thresholds is not None
    return [
        [
            video,
            rank,
            shown_cell(label),
            p,
            "",
            *span,
            unknown,
            str(label in chosen).lower() if is_set else "",
        ]
        for rank, (label, p) in best
    ]


class ResultsFile(ABC):
    """A file of results that is continued.

    Attributes:
        done: how often each video is there already.
        failed: how often as a failure.
    """

    def __init__(self) -> None:
        self.done: Counter[ResultKey] = Counter()
        self.failed: Counter[ResultKey] = Counter()

    def split(self, items: Sequence[VideoItem]) -> tuple[list[VideoItem], int]:
        """Return the items that are not there yet, and how many of the others failed."""
        there = self.done.copy()
        remaining, num_failed = [], 0
        for item in items:
            key = visible(str(item.path)), item.start_seconds, item.end_seconds
            if there[key]:
                there[key] -= 1
                num_failed += there[key] < self.failed[key]
            else:
                remaining.append(item)
        return remaining, num_failed

    @abstractmethod
    def write(self, prediction: Prediction) -> None:
        """Append one video.

        Raises:
            VidcliError: the disk is full, or gone; what was complete stays.
        """

    @abstractmethod
    def close(self, is_complete: bool) -> None:
        """Close the file; `is_complete` says that nothing was left undone."""

    def _count(self, key: ResultKey, has_failed: bool) -> None:
        self.done[key] += 1
        self.failed[key] += has_failed


class _LinesFile(ResultsFile):
    """Results in lines of text, which are appended to."""

    def __init__(self, path: Path, top_k: int, source: Source) -> None:
        super().__init__()
        self.path, self._top_k, self._source = path, top_k, source
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        flags |= 0 if is_stream(path) else getattr(os, "O_NOFOLLOW", 0)
        try:
            self._file = open(os.open(path, flags, 0o666), "ab", buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise _unwritable(path, error) from error
        # A device or a pipe holds nothing to go on from.
        self._is_regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        try:
            if self._is_regular:
                self._lock()
                self._go_on()
            if not self._is_regular or not self._file.tell():
                self._append(self._header())
        except BaseException:
            self._file.close()
            raise

    def _go_on(self) -> None:
        """Count what is there, and cut off what is incomplete, if it can be the rest of a row of ours."""
        try:
            with open(self.path, "rb") as content:
                end = self._read(content)
                content.seek(end)
                if not self._can_be_torn(content.read(), is_first=end == 0):
                    raise self._foreign()
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def _lock(self) -> None:
        if lock_open_file(self._file) is False:  # None: a file system without locks
            raise VidcliError(
                f"--output {self.path}: another run is writing it; give each run its own file, or wait"
            )

    @abstractmethod
    def _header(self) -> bytes: ...

    @abstractmethod
    def _encode(self, prediction: Prediction) -> str: ...

    @abstractmethod
    def _read(self, content: BinaryIO) -> int:
        """Count the videos that are there, and return where the last complete one ends."""

    @abstractmethod
    def _can_be_torn(self, rest: bytes, is_first: bool) -> bool:
        """Tell whether `rest`, after the last complete video, can be what a kill left of ours; or is empty.

        Args:
            rest: bytes to the end of the file.
            is_first: nothing complete is before them.
        """

    def write(self, prediction: Prediction) -> None:
        """Append the rows of one video with one call."""
        self._append(self._encode(prediction).encode("utf-8", "backslashreplace"))

    def close(self, is_complete: bool) -> None:
        """Flush to disk and close."""
        try:
            if self._is_regular:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        finally:
            self._file.close()

    def _append(self, content: bytes) -> None:
        start = os.fstat(self._file.fileno()).st_size
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._is_regular:
                with suppress(OSError):
                    self._file.truncate(start)
            raise _unwritable(
                self.path, error, "what is there is complete; the same command goes on"
            ) from error

    def _check_source(self, model: object, settings: object) -> None:
        if not isinstance(model, str) or not isinstance(settings, str):
            raise self._foreign()
        self._source.check_continues(self.path, Source(model, settings))

    def _foreign(self) -> OutputError:
        return OutputError(
            f"--output {self.path}: holds something else than results of `vidcli predict --output`; choose "
            "another file, or replace it with --overwrite"
        )

    def _damaged(self, line: int) -> VidcliError:
        return VidcliError(
            f"--output {self.path}: line {line} is not a row of results; choose another file, or "
            "remove the line"
        )


class JsonResults(_LinesFile):
    """A JSON object a line."""

    def _header(self) -> bytes:
        return b""

    def _encode(self, prediction: Prediction) -> str:
        row = prediction_to_dict(prediction, self._top_k)
        row |= {"model": self._source.model, "settings": self._source.settings}
        return visible_json(json.dumps(row, ensure_ascii=False)) + "\n"

    def _read(self, content: BinaryIO) -> int:
        end = 0
        for number, line in enumerate(content, start=1):
            if not line.endswith(b"\n"):
                break
            end += len(line)
            try:
                row = json.loads(line)
            except ValueError as error:
                raise self._damaged(number) from error
            if not isinstance(row, dict) or not isinstance(row.get("video"), str):
                raise self._damaged(number)
            self._check_source(row.get("model"), row.get("settings"))
            self._count((visible(row["video"]), row.get("start", 0.0), row.get("end")), "error" in row)
        return end

    def _can_be_torn(self, rest: bytes, is_first: bool) -> bool:
        if len(rest) <= len(_ROW_START):
            return _ROW_START.startswith(rest)
        try:
            row = json.loads(rest)
        except ValueError:
            return _TORN_ROW.match(rest) is not None
        is_whole = isinstance(row, dict) and isinstance(row.get("video"), str)
        if is_whole:
            self._check_source(row.get("model"), row.get("settings"))
        return is_whole


class CsvResults(_LinesFile):
    """A row a class; the last two columns say whose they are."""

    _COLUMNS = (*CSV_COLUMNS, "model", "settings")

    def __init__(self, path: Path, top_k: int, source: Source, num_classes: int) -> None:
        self._num_ranks = min(top_k, num_classes)
        super().__init__(path, top_k, source)

    def _header(self) -> bytes:
        return csv_line(self._COLUMNS).encode()

    def _encode(self, prediction: Prediction) -> str:
        about = [self._source.model, self._source.settings]
        return "".join(csv_line([*row, *about]) for row in prediction_to_rows(prediction, self._top_k))

    def _read(self, content: BinaryIO) -> int:
        end = 0  # of the last video that is whole
        rows: list[dict[str, str]] = []  # of the video at hand
        for number, (position, fields) in enumerate(_csv_records(content), start=1):
            if number == 1:
                if fields != list(self._COLUMNS):
                    self._check_source(None, None)
                end = position
                continue
            row = dict(zip(self._COLUMNS, map(unescape_cell, fields), strict=False))
            if len(fields) != len(self._COLUMNS) or row["rank"] not in ("", str(len(rows) + 1)):
                raise self._damaged(number)
            self._check_source(row["model"], row["settings"])
            rows.append(row)
            # Only the last video of the file can have lost a part of its rows.
            if row["error"] or len(rows) == self._num_ranks:
                self._count(_key_of_row(row), bool(row["error"]))
                end, rows = position, []
        return end

    def _can_be_torn(self, rest: bytes, is_first: bool) -> bool:
        return not is_first or self._header().startswith(rest)


def _key_of_row(row: Mapping[str, str]) -> ResultKey:
    return visible(row["video"]), float(row["start"] or 0), float(row["end"]) if row["end"] else None


def _csv_records(content: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield complete records with the position of their end; a line end inside quotes ends none."""
    position, record = 0, b""
    for line in content:
        record += line
        position += len(line)
        if line.endswith(b"\n") and record.count(b'"') % 2 == 0:
            yield position, next(csv.reader(io.StringIO(record.decode("utf-8", "replace"), newline="")), [])
            record = b""


def _unwritable(path: Path, error: OSError, hint: str = "") -> VidcliError:
    return VidcliError(
        f"--output {path}: cannot be written ({error.strerror})" + (f"; {hint}" if hint else "")
    )
