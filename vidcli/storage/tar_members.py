"""Where the members of a tar file lie in it, from the index that `vidcli pack` writes or from its headers.

    __index__          JSON, a row a labelled video; WebDataset passes such names over
    000000.mp4         members, each at a multiple of 512 bytes
    000000.json

The index comes first, so that one short read of a tar file that lies afar tells all of them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vidcli.runtime.plain import one_line, parse_json
from vidcli.storage.file_systems import StorageError

INDEX_NAME = "__index__"
FORMAT = "vidcli shard 1"
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
                return _parse(_content(tar, first))
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


def _parse(content: bytes) -> TarIndex:
    described = parse_json(content.decode("utf-8"))
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ValueError(f"an index that is not of the format {FORMAT!r}")
    spans = {str(name): (int(start), int(size)) for name, (start, size) in described["members"].items()}
    return TarIndex(spans, described["videos"])
