"""Labelled videos inside tar files, as `vidcli pack` or WebDataset's own tools write them.

    shards/                        a folder that `vidcli pack` filled
    shards/000000.tar              one tar file
    'shards/{000000..000099}.tar'  a range, quoted, so that the shell leaves it alone
    s3://bucket/shards/            any of these at an address; over https not the folder

A tar file of another program holds samples: members whose names differ in their suffix only, of which one is
the video and `.cls`, `.txt` or `.json` (with "label") tells its class.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from vidcli.data.items import SPLITS, VideoItem
from vidcli.errors import DataError
from vidcli.runtime.plain import is_number, one_line, parse_json
from vidcli.storage.addresses import StoredPath, is_afar, path_of, text_of
from vidcli.storage.connections import StorageError
from vidcli.storage.file_systems import list_afar
from vidcli.storage.sources import open_source
from vidcli.storage.tar_members import TarIndex, read_index
from vidcli.video import VIDEO_SUFFIXES

SHARD_SUFFIX = ".tar"
PACK_RECORD = ".vidcli-pack.json"

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{},]+(?:,[^{},]+)+)\}")
_MAX_SHARDS = 1_000_000
_NUM_READERS = 8
_LABEL_SUFFIXES = (".cls", ".txt", ".json")
_MAX_LABEL_BYTES = 1 << 20


def names_shards(path: Path) -> bool:
    """Tell whether a path names tar files, or the folder of those that `vidcli pack` wrote."""
    if path.suffix == SHARD_SUFFIX:
        return not path.is_dir()
    return not is_afar(path) and (path / PACK_RECORD).is_file()


def read_shards(path: Path) -> list[VideoItem]:
    """Return the videos of tar files, in the order that they had when they were packed.

    Args:
        path: a tar file, a range of them, or the folder that holds them.

    Raises:
        DataError: one of the files is missing or no tar file, or none holds a video.
    """
    tars = _find_tars(path)
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        found = [row for rows in pool.map(_read_one, tars) for row in rows]
    if not found:
        raise DataError(f"{path}: holds no videos")
    found.sort(key=lambda row: row[0])  # keeps the order of equals
    return [item for _, item in found]


def expand_braces(text: str) -> Iterator[str]:
    """Yield the names that a pattern such as `{000..099}.tar` or `{a,b}.tar` stands for, as the shell does.

    Args:
        text: the pattern.
    """
    found = _BRACES.search(text)
    if found is None:
        yield text
        return
    if found[3] is not None:
        values: Iterator[str] = iter(found[3].split(","))
    else:
        first, last, width = int(found[1]), int(found[2]), len(found[1]) if found[1][0] == "0" else 0
        step = 1 if last >= first else -1
        values = (f"{number:0{width}}" for number in range(first, last + step, step))
    for value in values:
        yield from expand_braces(f"{text[: found.start()]}{value}{text[found.end() :]}")


def _find_tars(path: Path) -> list[Path]:
    if path.suffix == SHARD_SUFFIX:
        tars = [path_of(text) for text in islice(expand_braces(text_of(path)), _MAX_SHARDS + 1)]
        if len(tars) > _MAX_SHARDS:
            raise DataError(f"{path}: stands for more than {_MAX_SHARDS:,} tar files")
        return tars
    try:
        files: Sequence[Path] = list_afar(path) if isinstance(path, StoredPath) else sorted(path.iterdir())
    except StorageError as error:
        raise DataError(f"{path}: {error}") from error
    tars = [file for file in files if file.suffix == SHARD_SUFFIX]
    if not tars:
        raise DataError(f"{path}: holds no {SHARD_SUFFIX} files; write some with `vidcli pack`")
    return tars


def _read_one(tar: Path) -> list[tuple[int, VideoItem]]:
    """Return the videos of one tar file, each with its place among those of all."""
    try:
        stored = StoredPath(tar)
        with open_source(stored) as file:
            index = read_index(file)
            if index.rows:
                return [_item_of(tar, row) for row in index.rows]
            return [(0, item) for item in _read_samples(tar, index, file)]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{tar}: names its videos wrongly ({one_line(error)}); write it again") from error
    except OSError as error:
        raise DataError(f"{tar}: {getattr(error, 'strerror', None) or error}") from error


def _item_of(tar: Path, row: Any) -> tuple[int, VideoItem]:
    start, end, split, group = row.get("start", 0.0), row.get("end"), row.get("split"), row.get("group")
    is_right = (
        isinstance(row["label"], str)
        and is_number(start)
        and (end is None or is_number(end))
        and (split is None or split in SPLITS)
        and (group is None or isinstance(group, str))
    )
    if not is_right:
        raise ValueError(f"a row that is no labelled video: {row}")
    return int(row["place"]), VideoItem(_member(tar, row["path"]), row["label"], split, group, start, end)


def _read_samples(tar: Path, index: TarIndex, file: Any) -> Iterator[VideoItem]:
    """Yield the videos of a tar file of another program."""
    samples: dict[str, dict[str, str]] = defaultdict(dict)
    for name in index.spans:
        folder, _, last = name.rpartition("/")
        key, _, suffix = last.partition(".")
        samples[f"{folder}/{key}"][f".{suffix.lower()}"] = name
    for members in samples.values():
        video = next((name for suffix, name in members.items() if suffix in VIDEO_SUFFIXES), None)
        if video is None:
            continue
        label = ""
        for suffix in _LABEL_SUFFIXES:
            if not label and suffix in members:
                start, size = index.spans[members[suffix]]
                file.seek(start)
                label = _label_in(file.read(min(size, _MAX_LABEL_BYTES)).decode("utf-8"), suffix)
        yield VideoItem(_member(tar, video), label)


def _label_in(text: str, suffix: str) -> str:
    if suffix != ".json":
        return text.strip()
    values = parse_json(text)
    label = values.get("label") if isinstance(values, dict) else None
    return str(label) if isinstance(label, str | int) else ""


def _member(tar: Path, name: str) -> StoredPath:
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"a member called {name!r}")
    return StoredPath(StoredPath(tar), *parts)
