"""Join the results of the parts of a list (`predict --shard`), once all of them are there.

results-1of3.csv  results-2of3.csv  results-3of3.csv   ->   results.csv, as one machine would write it
"""

from __future__ import annotations

import glob
import itertools
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from vidcli.data.fetched import fetch_together
from vidcli.errors import DataError
from vidcli.predict.inputs import Shard
from vidcli.predict.parquet import read_about
from vidcli.predict.results import FORMAT_OF_SUFFIX
from vidcli.runtime.outputs import partial_file
from vidcli.sheets import csv_records
from vidcli.storage.addresses import is_afar
from vidcli.storage.connections import StorageError
from vidcli.storage.file_systems import list_afar
from vidcli.storage.sources import path_afar


def folder_of_parts(whole: Path) -> Path:
    """Return the folder where the parts of a file of results lie; of those at an address, that of copies.

    Raises:
        DataError: they cannot be fetched.
    """
    if not is_afar(whole):
        return whole.parent
    pattern = path_afar(whole).with_name(f"{glob.escape(whole.stem)}-*of*{glob.escape(whole.suffix)}*")
    try:
        return fetch_together(list_afar(pattern))
    except StorageError as error:
        raise DataError(f"{whole}: its parts cannot be fetched ({error})") from error


def find_parts(whole: Path, folder: Path | None = None) -> list[Path]:
    """Return the files of all parts of a file of results, in order.

    Args:
        whole: the file that they are to become, such as `results.csv`.
        folder: where they lie; None is beside it.

    Raises:
        DataError: there are none, some are missing or not written to their end, or they are of several
            divisions of the list.
    """
    folder = folder or whole.parent
    if whole.suffix.lower() not in FORMAT_OF_SUFFIX:
        raise DataError(f"{whole}: expected a file of results: {', '.join(FORMAT_OF_SUFFIX)}")
    pattern = re.compile(rf"{re.escape(whole.stem)}-(\d+)of(\d+){re.escape(whole.suffix)}(\.partial)?")
    found = [match for path in folder.glob("*") if (match := pattern.fullmatch(path.name))]
    counts = sorted({int(match[2]) for match in found})
    if not counts:
        raise DataError(
            f"{whole}: no parts of it are there, such as {Shard(1, 2).name_file(whole).name}; "
            "`vidcli predict --shard auto` writes them"
        )
    if len(counts) > 1:
        told = " and ".join(f"of {count}" for count in counts)
        raise DataError(f"{whole}: parts {told} are there; take away those that do not belong to the list")
    parts = [Shard(number + 1, counts[0]) for number in range(counts[0])]
    files = [folder / part.name_file(whole).name for part in parts]
    missing = [part.number for part, file in zip(parts, files, strict=True) if not file.is_file()]
    unfinished = [part.number for part, file in zip(parts, files, strict=True) if partial_file(file).exists()]
    for numbers, what in ((missing, "missing"), (unfinished, "not finished")):
        if numbers:
            shown = ", ".join(map(str, numbers[:10])) + (" and others" if len(numbers) > 10 else "")
            raise DataError(
                f"{whole}: of {counts[0]} parts {len(numbers)} are {what} ({shown}); run `vidcli predict "
                f"--shard {numbers[0]}/{counts[0]} --output {files[numbers[0] - 1].name}` with the list, the "
                "model and the options of the others"
            )
    return files


def join_parts(parts: Sequence[Path], target: Path) -> None:
    """Write the rows of all parts to one file.

    Args:
        parts: files of one format, in order.
        target: the file to write; its suffix tells the format.

    Raises:
        DataError: a part is damaged, of another model or other options, or has other columns than the first.
    """
    form = FORMAT_OF_SUFFIX[target.suffix.lower()]
    sources = {source: part for part in parts if (source := _source_of(part, form)) is not None}
    if len(sources) > 1:
        (one, first), (other, second) = [*sources.items()][:2]
        raise DataError(
            f"{second}: holds results of another model or other options than {first}: {' '.join(other)}, and "
            f"there {' '.join(one)}"
        )
    if form == "parquet":
        _join_parquet(parts, target)
        return
    header = b""
    with open(target, "wb") as joined:
        for part in parts:
            with open(part, "rb") as rows:
                if form == "csv":
                    own = rows.readline()
                    if header and own and own != header:
                        raise DataError(f"{part}: has other columns than {parts[0]}")
                    if own and not header:
                        header = own
                        joined.write(own)
                _copy_rows(rows, joined, part)


def _source_of(part: Path, form: str) -> tuple[str, str] | None:
    """Return what determines the numbers in a part: model and options; None for a part without rows.

    Raises:
        DataError: its first row cannot be read.
    """
    about: dict[str, Any] | None
    try:
        if form == "parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(part) as file:
                about = read_about(file) or {}
        elif form == "csv":
            with open(part, "rb") as rows:
                first_two = [fields for _, fields in itertools.islice(csv_records(rows), 2)]
            about = dict(zip(*first_two, strict=True)) if len(first_two) == 2 else None
        else:
            with open(part, encoding="utf-8") as rows:
                about = json.loads(next(rows, "null"))
        return None if about is None else (str(about["model"]), str(about["settings"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{part}: holds no results of `vidcli predict` ({error})") from error


def _copy_rows(rows: BinaryIO, joined: BinaryIO, part: Path) -> None:
    """Copy the rest of a file of lines.

    Raises:
        DataError: its last line has no end: it is being written, or was cut off.
    """
    start = joined.tell()
    shutil.copyfileobj(rows, joined)
    if joined.tell() == start:
        return
    rows.seek(-1, 2)
    if rows.read(1) != b"\n":
        raise DataError(f"{part}: ends inside a row; run that part again, which goes on with its file")


def _join_parquet(parts: Sequence[Path], target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer: pq.ParquetWriter | None = None
    try:
        for part in parts:
            try:
                with pq.ParquetFile(part) as file:
                    writer = writer or pq.ParquetWriter(target, file.schema_arrow)
                    for batch in file.iter_batches():
                        writer.write_batch(batch)
            except (pa.ArrowInvalid, ValueError) as error:
                raise DataError(f"{part}: cannot be joined to {parts[0]} ({error})") from error
    finally:
        if writer is not None:
            writer.close()
