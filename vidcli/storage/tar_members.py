"""Where the members of a tar file lie in it, from the index that `vidcli pack` writes or from its headers.

    __index__          JSON, a row a labelled video; WebDataset passes such names over
    000000.mp4         members, each at a multiple of 512 bytes
    000000.json

The index comes first, so that one short read of a tar file that lies afar tells all of them.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vidcli.runtime.plain import one_line, parse_json
from vidcli.storage.connections import StorageError

INDEX_NAME = "__index__"
FORMAT = "vidcli-shard-1"
_MAX_INDEX_BYTES = 1 << 28
_MAX_MEMBERS = 10_000_000


@dataclass(frozen=True)
class TarIndex:
    """What a tar file holds.

    Attributes:
        spans: place of the first byte and number of bytes of each member, by name.
        rows: the labelled videos as `vidcli pack` notes them; none in a tar file of another program.
    """

    spans: Mapping[str, tuple[int, int]]
    rows: Sequence[Mapping[str, Any]]


_indices: dict[Hashable, TarIndex] = {}


def read_index(file: BinaryIO) -> TarIndex:
    """Return what an open tar file holds.

    Raises:
        StorageError: it is no tar file, or its index is damaged.
    """
    try:
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            first = tar.next()
            if first is not None and first.name == INDEX_NAME:
                return _parse(_content(tar, first), first.offset_data + _padded(first.size))
            spans = {}
            while first is not None:
                if first.isreg():
                    spans[first.name.removeprefix("./")] = first.offset_data, first.size
                if len(spans) > _MAX_MEMBERS:
                    raise ValueError(f"more than {_MAX_MEMBERS} members")
                first = tar.next()
            return TarIndex(spans, ())
    except StorageError:
        raise
    except (tarfile.TarError, ValueError, KeyError, TypeError, OSError) as error:
        raise StorageError(f"is no whole tar file ({one_line(error)})") from error


def find_member(tar: Path, member: str, file: BinaryIO, version: Hashable) -> tuple[int, int]:
    """Return the place and the number of bytes of a member; the index is read once.

    Args:
        tar: the tar file.
        member: name of the member.
        file: the tar file, open.
        version: changes with its content.

    Raises:
        StorageError: the tar file is damaged, or has no such member.
    """
    key = tar, version
    if key not in _indices:
        _indices[key] = read_index(file)
    found = _indices[key].spans.get(member)
    if found is None:
        raise StorageError(f"no such file in {tar.name}")
    return found


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > _MAX_INDEX_BYTES:
        raise ValueError("its index is too large")
    opened = tar.extractfile(member)
    assert opened is not None
    return opened.read()


def _parse(content: bytes, end: int) -> TarIndex:
    """Return what an index says; the places in it count from its end.

    Raises:
        StorageError: it is damaged, or another program's.
    """
    try:
        return _index_of(parse_json(content.decode("utf-8")), end)
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"has an index that cannot be read ({one_line(error)})") from error


def _index_of(described: Any, end: int) -> TarIndex:
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ValueError(f"expected the format {FORMAT}")
    spans = {str(name): (end + int(start), int(size)) for name, (start, size) in described["members"].items()}
    rows = described["videos"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row["path"] in spans for row in rows):
        raise ValueError("an index that names videos which are not in it")
    return TarIndex(spans, rows)


def write_tar(target: Path, members: Mapping[str, Path | bytes], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a tar file that begins with its index; the same members make the same bytes.

    Args:
        target: the new file.
        members: files or content, by name.
        rows: the labelled videos, as JSON values.

    Raises:
        OSError: it cannot be written, or a file not be read.
    """
    spans: dict[str, tuple[int, int]] = {}
    place = tarfile.BLOCKSIZE
    for name, content in members.items():
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        spans[name] = place, size
        place += _padded(size) + tarfile.BLOCKSIZE
    index = json.dumps({"format": FORMAT, "members": spans, "videos": rows}, ensure_ascii=False).encode()
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in {INDEX_NAME: index, **members}.items():
            about = tarfile.TarInfo(name)
            with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as file:
                about.size = file.seek(0, io.SEEK_END)
                file.seek(0)
                tar.addfile(about, file)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
