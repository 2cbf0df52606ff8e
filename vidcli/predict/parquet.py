"""Files of predictions in Parquet.

Nothing can be appended to a Parquet file. Results are therefore gathered in a file of JSON lines beside it,
and added to it when the run is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from vidcli.errors import OutputError, WriteError
from vidcli.predict.prediction import Prediction
from vidcli.predict.results import JsonResults, ResultsFile, Source
from vidcli.runtime.files import digest_file, write_whole
from vidcli.runtime.outputs import partial_file

_METADATA_KEY = b"vidcli"
_BATCH_ROWS = 50_000


def read_about(file: pyarrow.parquet.ParquetFile) -> dict[str, Any] | None:
    """Return what a table of results says of its model and settings; None if it is none of ours.

    Raises:
        ValueError: what it says is damaged.
    """
    about: dict[str, Any] | None = json.loads((file.schema_arrow.metadata or {}).get(_METADATA_KEY, b"null"))
    return about


class ParquetResults(ResultsFile):
    """A Parquet file of predictions with one row a class, as in CSV.

    Rank, label and probability are null where a video failed. New results go to `FILE.partial`, which a
    killed run continues. A run that completes adds them to the Parquet file, which is valid at any moment.
    """

    def __init__(self, path: Path, top_k: int, source: Source, named: Path | None = None) -> None:
        super().__init__()
        self.path, self._source = path, source
        self._named = named or path  # in messages
        self._partial = partial_file(path)
        merged = self._read_finished()
        if merged and self._partial.is_file() and _digest(self._partial) == merged:
            self._partial.unlink()  # a run was killed after adding it, before removing it
        self._gathered = JsonResults(self._partial, top_k, source)
        self.finished.extend(self._gathered.finished)

    def write(self, prediction: Prediction) -> None:
        """Add the result of one video to the gathered ones."""
        self._gathered.write(prediction)

    def close(self, is_complete: bool) -> None:
        """Add the gathered results to the Parquet file, if the run is complete."""
        self._gathered.close(is_complete)
        if not is_complete:
            return
        try:
            write_whole(self.path, self._write_all)
        except WriteError as error:
            raise WriteError(
                f"--output {error}; all results are in {self._partial}, and the same command goes on"
            ) from error
        self._partial.unlink()

    def _read_finished(self) -> str:
        """Count the results in the Parquet file; return the digest of the gathered file that it took last."""
        if not self.path.exists() or not self.path.stat().st_size:
            return ""
        try:
            file = pyarrow.parquet.ParquetFile(self.path)
            about = read_about(file) if "track" in file.schema_arrow.names else None
        except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
            raise OutputError(
                f"--output {self._named}: is not a Parquet file ({error}); choose another file, or "
                "replace it with --overwrite"
            ) from error
        if about is None:
            raise OutputError(
                f"--output {self._named}: holds something else than results of `vidcli predict`; choose "
                "another file, or replace it with --overwrite"
            )
        self._source.check_continues(self._named, Source(about["model"], about["settings"]))
        with file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=["video", "rank", "error", "start", "end"]):
                rows = pa.Table.from_batches([batch])
                is_first = pc.equal(pc.fill_null(rows["rank"], 0), 1)
                self.finished.add_rows(rows.filter(pc.or_(pc.is_valid(rows["error"]), is_first)))
        return str(about["added"])

    def _write_all(self, target: Path) -> None:
        about = {
            "model": self._source.model,
            "settings": self._source.settings,
            "added": _digest(self._partial),
        }
        schema = pa.schema(
            [
                pa.field("video", pa.string(), nullable=False),
                pa.field("rank", pa.int32()),
                pa.field("label", pa.string()),
                pa.field("probability", pa.float64()),
                pa.field("error", pa.string()),
                pa.field("start", pa.float64(), nullable=False),
                pa.field("end", pa.float64()),
                pa.field("unknown", pa.bool_()),
                pa.field("chosen", pa.bool_()),
                pa.field("track", pa.string()),
            ],
            metadata={_METADATA_KEY: json.dumps(about).encode()},
        )
        with pyarrow.parquet.ParquetWriter(target, schema) as writer:
            if self.path.exists() and self.path.stat().st_size:
                with pyarrow.parquet.ParquetFile(self.path) as old:
                    for batch in old.iter_batches(_BATCH_ROWS):
                        writer.write_batch(batch)
            for rows in _batches(self._partial):
                writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))


def _batches(partial: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield the gathered results as lists of rows."""
    rows: list[dict[str, Any]] = []
    with open(partial, "rb") as file:
        for line in file:
            rows += _rows_of(json.loads(line))
            if len(rows) >= _BATCH_ROWS:
                yield rows
                rows = []
    if rows:
        yield rows


def _rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    about = {
        "video": _text(result["video"]),
        "error": result.get("error"),
        "start": result.get("start", 0.0),
        "end": result.get("end"),
        "unknown": result.get("unknown"),
        "track": result.get("track"),
    }
    if "error" in result:
        return [about]
    chosen = result.get("labels")
    return [
        about
        | {
            "rank": rank,
            "label": _text(best["label"]),
            "probability": best["probability"],
            "chosen": None if chosen is None else best["label"] in chosen,
        }
        for rank, best in enumerate(result["predictions"], start=1)
    ]


def _text(name: str) -> str:
    """Return a name whose broken characters are escaped, since Parquet holds valid text only."""
    return name.encode("utf-8", "backslashreplace").decode()


def _digest(path: Path) -> str:
    return digest_file(path)[:16]
