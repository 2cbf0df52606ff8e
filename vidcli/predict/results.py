"""Files of predictions that grow by one video at a time, and that a killed run continues.

Each row names the model and the settings that it comes from, so that no file mixes several of them.
All rows of a video are written with one call. If a kill or a full disk leaves a part of them, that part
is cut off when the file is opened again.

    json     one object a video, on a line of its own
    csv      one row a class; the rows of a video follow each other
    parquet  the rows of csv (see `parquet`)
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vidcli.artifacts.exported import ExportedNetwork
from vidcli.config import SubjectConfig
from vidcli.data.items import VideoItem
from vidcli.errors import OutputError, VidcliError
from vidcli.names import visible_json
from vidcli.predict.prediction import CSV_COLUMNS, Prediction, prediction_to_dict, prediction_to_rows
from vidcli.predict.predictor import Predictor
from vidcli.runtime.files import is_stream
from vidcli.runtime.locks import lock_open_file
from vidcli.sheets import csv_line, csv_records, unescape_cell

if TYPE_CHECKING:
    from torch import nn

FORMAT_OF_SUFFIX = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}


_BLOCK_BYTES = 1 << 20
_ROW_START = b'{"video": "'
_TORN_ROW = re.compile(
    rb"""\{"video":\ "(?:[^"\\]|\\.)*                             # a name
    (?:\\?\Z|",?\ ?\Z|",\ "(?:[a-z]*\Z|(?:start|predictions|error)"(?:\Z|:\Z|:\ )))""",
    re.VERBOSE | re.DOTALL,
)
"""The beginning of a line of JSON results, cut off anywhere: a path, then one of the keys that follow it."""


def _digest_of_boxes(settings: SubjectConfig) -> str:
    """Return a digest of what windows around subjects depend on, wherever the files of boxes lie."""
    from vidcli.data.boxes.box_files import find_boxes

    assert settings.boxes is not None
    files = [(Path(name).name, size) for name, size, _ in find_boxes(settings.boxes).state]
    told = files, settings.margin, settings.smooth_seconds, settings.gap_seconds
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _parts_of(network: nn.Module | ExportedNetwork) -> Iterator[bytes]:
    """Yield bytes that together tell a network from all others."""
    if isinstance(network, ExportedNetwork):
        told = network.digest.encode()
        # As if it were a tensor, which it was in earlier versions, whose files are continued.
        yield f"('digest', torch.uint8, ({len(told)},))".encode()
        yield told
        return
    import torch

    from vidcli.models import loaded_weights

    for name, tensor in sorted(loaded_weights(network).items()):
        yield repr((name, tensor.dtype, tuple(tensor.shape))).encode()
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


@dataclass(frozen=True)
class Source:
    """What determines the numbers in a file of results.

    Attributes:
        model: a digest of the model.
        settings: the options of the prediction that change the numbers, such as `top-k=5 views=1 crops=1`.
    """

    model: str
    settings: str

    @classmethod
    def of(cls, predictor: Predictor, top_k: int) -> Source:
        """Describe a predictor of which the `top_k` most probable classes are written.

        The path of the model and its training settings do not change the description.
        """
        config, clip = predictor.config, predictor.config.clip
        clip_settings, model_settings = clip.model_dump(exclude={"views", "crops"}), config.model.model_dump()
        settings = (clip_settings, model_settings), config.data.decode, predictor.class_names
        digest = hashlib.sha256(repr((*settings, predictor.calibration)).encode())
        for part in _parts_of(predictor.network):
            digest.update(part)
        threshold = "" if predictor.threshold is None else f" threshold={predictor.threshold!r}"
        boxes = "" if config.subject.boxes is None else f" boxes={_digest_of_boxes(config.subject)}"
        options = f"top-k={top_k} views={clip.views} crops={clip.crops}{threshold}{boxes}"
        return cls(digest.hexdigest()[:16], options)

    def check_continues(self, path: Path, found: Source) -> None:
        """Refuse to add to a file whose rows come from another source.

        Args:
            path: the file, for the message.
            found: the source of the rows in the file.

        Raises:
            VidcliError: the model or the settings differ.
        """
        if found.model != self.model:
            raise VidcliError(
                f"--output {path}: holds results of another model ({found.model}, this one is {self.model}); "
                "choose another file, or the model that wrote it"
            )
        if found.settings != self.settings:
            raise VidcliError(
                f"--output {path}: holds results with other settings ({found.settings}; now "
                f"{self.settings}); choose another file, or the same settings"
            )


class ResultsFile(ABC):
    """A file of results that a later run continues.

    Attributes:
        finished: the videos that have a result in the file.
    """

    def __init__(self) -> None:
        from vidcli.predict.finished import FinishedVideos  # Arrow, which `predict a.mp4` does without

        self.finished = FinishedVideos()

    def split(self, items: Sequence[VideoItem]) -> tuple[Sequence[VideoItem], int]:
        """Return the items that the file lacks, and how many of the others are in it as failures."""
        return self.finished.split(items)

    @abstractmethod
    def write(self, prediction: Prediction) -> None:
        """Append the result of one video.

        Raises:
            VidcliError: the disk is full or gone; the complete results stay in the file.
        """

    @abstractmethod
    def close(self, is_complete: bool) -> None:
        """Close the file; `is_complete` tells that it holds every video of the run."""


class _LinesFile(ResultsFile):
    """Results as lines of text at the end of a file."""

    def __init__(self, path: Path, top_k: int, source: Source, named: Path | None = None) -> None:
        super().__init__()
        self.path, self._top_k, self._source = path, top_k, source
        self._named = named or path  # in messages
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        flags |= 0 if is_stream(path) else getattr(os, "O_NOFOLLOW", 0)
        try:
            self._file = open(os.open(path, flags, 0o666), "ab", buffering=0)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise _unwritable(self._named, error) from error
        # A device or a pipe holds no earlier results.
        self._is_regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        try:
            if self._is_regular:
                self._lock()
                self._continue()
            if not self._is_regular or not self._file.tell():
                self._append(self._header())
        except BaseException:
            self._file.close()
            raise

    def _continue(self) -> None:
        """Count the results in the file, and cut off an incomplete one at its end.

        Bytes that cannot be the beginning of a row of results are not cut off, but refused.
        """
        try:
            with open(self.path, "rb") as content:
                end = self._read(content)
                content.seek(end)
                if not self._can_be_torn(content.read(), is_first=end == 0):
                    raise self._foreign()
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise _unwritable(self._named, error) from error

    def _lock(self) -> None:
        if lock_open_file(self._file) is False:  # None: a file system without locks
            raise VidcliError(
                f"--output {self._named}: another run is writing it; give each run its own file, or wait"
            )

    @abstractmethod
    def _header(self) -> bytes: ...

    @abstractmethod
    def _encode(self, prediction: Prediction) -> str: ...

    @abstractmethod
    def _read(self, content: BinaryIO) -> int:
        """Count the videos in the file, and return the position at which the last complete one ends."""

    @abstractmethod
    def _can_be_torn(self, rest: bytes, is_first: bool) -> bool:
        """Tell whether `rest` can be the beginning of a result whose writing was interrupted; or is empty.

        Args:
            rest: the bytes between the last complete video and the end of the file.
            is_first: the file holds no complete video.
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
            raise _unwritable(self._named, error) from error
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
                self._named, error, "its results are complete; the same command goes on"
            ) from error

    def _check_source(self, model: object, settings: object) -> None:
        if not isinstance(model, str) or not isinstance(settings, str):
            raise self._foreign()
        self._source.check_continues(self._named, Source(model, settings))

    def _foreign(self) -> OutputError:
        return OutputError(
            f"--output {self._named}: holds something else than results of `vidcli predict --output`; choose "
            "another file, or replace it with --overwrite"
        )

    def _damaged(self, line: int) -> VidcliError:
        return VidcliError(
            f"--output {self._named}: line {line} is not a row of results; choose another file, or "
            "remove the line"
        )


class JsonResults(_LinesFile):
    """Results as JSON: one object a video, on a line of its own."""

    def _header(self) -> bytes:
        return b""

    def _encode(self, prediction: Prediction) -> str:
        row = prediction_to_dict(prediction, self._top_k)
        row |= {"model": self._source.model, "settings": self._source.settings}
        return visible_json(json.dumps(row, ensure_ascii=False)) + "\n"

    def _read(self, content: BinaryIO) -> int:
        end, num_lines = 0, 0
        while block := content.read(_BLOCK_BYTES):
            block += content.readline()
            lines = block[: block.rfind(b"\n") + 1]
            named = self.finished.add_json(lines)
            if named is None:
                self._read_lines(lines, num_lines)
            else:
                for model, settings in itertools.product(*named):
                    self._check_source(model, settings)
            end += len(lines)
            num_lines += lines.count(b"\n")
        return end

    def _read_lines(self, lines: bytes, num_before: int) -> None:
        """Count the videos in lines one by one."""
        for number, line in enumerate(io.BytesIO(lines), start=num_before + 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise self._damaged(number) from error
            if not isinstance(row, dict) or not isinstance(row.get("video"), str):
                raise self._damaged(number)
            self._check_source(row.get("model"), row.get("settings"))
            self.finished.add(row["video"], row.get("start", 0.0), row.get("end"), "error" in row)

    def _can_be_torn(self, rest: bytes, is_first: bool) -> bool:
        if len(rest) <= len(_ROW_START):
            return _ROW_START.startswith(rest)
        try:
            row = json.loads(rest)
        except ValueError:
            return _TORN_ROW.match(rest) is not None
        is_complete = isinstance(row, dict) and isinstance(row.get("video"), str)
        if is_complete:
            self._check_source(row.get("model"), row.get("settings"))
        return is_complete


class CsvResults(_LinesFile):
    """Results as CSV: one row a class; the last two columns hold the source."""

    _COLUMNS = (*CSV_COLUMNS, "model", "settings")

    def __init__(
        self, path: Path, top_k: int, source: Source, num_classes: int, named: Path | None = None
    ) -> None:
        self._num_ranks = min(top_k, num_classes)
        super().__init__(path, top_k, source, named)

    def _header(self) -> bytes:
        return csv_line(self._COLUMNS).encode()

    def _encode(self, prediction: Prediction) -> str:
        about = [self._source.model, self._source.settings]
        return "".join(csv_line([*row, *about]) for row in prediction_to_rows(prediction, self._top_k))

    def _read(self, content: BinaryIO) -> int:
        begin, num_lines = self._read_plain(content)
        content.seek(begin)
        end = begin  # of the last complete video
        rows: list[dict[str, str]] = []  # rows of the current video
        for number, (size, fields) in enumerate(csv_records(content), start=num_lines + 1):
            position = begin + size
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
            # Only the last video of the file can lack rows.
            if row["error"] or len(rows) == self._num_ranks:
                start, stop = float(row["start"] or 0), float(row["end"]) if row["end"] else None
                self.finished.add(row["video"], start, stop, bool(row["error"]))
                end, rows = position, []
        return end

    def _read_plain(self, content: BinaryIO) -> tuple[int, int]:
        """Count the videos up to the first row that needs a closer look; return its position and number."""
        header, rest = content.readline(), b""
        if header != self._header():
            return 0, 0
        end, num_lines = len(header), 1
        while block := content.read(_BLOCK_BYTES):
            rest += block
            lines = rest[: rest.rfind(b"\n") + 1]
            found = self.finished.add_csv(lines, self._COLUMNS, self._num_ranks)
            if found is None or not found[0]:
                break
            size, *named = found
            for model, settings in itertools.product(*named):
                self._check_source(model, settings)
            end, num_lines, rest = end + size, num_lines + lines.count(b"\n", 0, size), rest[size:]
        return end, num_lines

    def _can_be_torn(self, rest: bytes, is_first: bool) -> bool:
        return not is_first or self._header().startswith(rest)


def _unwritable(path: Path, error: OSError, hint: str = "") -> VidcliError:
    return VidcliError(
        f"--output {path}: cannot be written ({error.strerror})" + (f"; {hint}" if hint else "")
    )
