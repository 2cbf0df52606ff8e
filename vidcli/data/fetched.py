"""Local copies of models and manifests that lie afar, kept until they change there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vidcli.data.caches import find_cache, open_cache
from vidcli.runtime.files import write_whole
from vidcli.storage.addresses import StoredPath
from vidcli.storage.file_systems import describe_afar, fetch_afar

_CACHE = "fetched"
_NUM_DIGITS = 40


def fetch_file(path: StoredPath) -> Path:
    """Return a local copy of a file.

    Raises:
        StorageError: it is not there, or cannot be read.
        WriteError: the copy cannot be written.
    """
    return fetch_together([path]) / path.name


def fetch_together(paths: Sequence[StoredPath]) -> Path:
    """Return a local folder that holds a copy of each file, under its own name.

    Args:
        paths: files of different names.

    Raises:
        StorageError: one of them is not there, or cannot be read.
        WriteError: a copy cannot be written.
    """
    stored = [describe_afar(path) for path in paths]
    about = [(str(path), one.size, one.version) for path, one in zip(paths, stored, strict=True)]
    folder = open_cache(_CACHE) / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:_NUM_DIGITS]
    folder.mkdir(exist_ok=True)
    for path, one in zip(paths, stored, strict=True):
        copy = folder / path.name
        if not copy.is_file() or copy.stat().st_size != one.size:
            write_whole(copy, partial(fetch_afar, path))
    return folder


def is_fetched(path: Path) -> bool:
    """Tell whether a path is a copy that this program keeps."""
    return path.absolute().is_relative_to(find_cache(_CACHE).absolute())
