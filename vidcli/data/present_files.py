"""Which of many paths are files, found with one look into each folder rather than one at each path.

Shape suffixes: N paths, M paths in one folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from itertools import islice

import numpy as np

from vidcli.arrays import Bool, Int32
from vidcli.data.video_table import TextColumn
from vidcli.storage.addresses import ADDRESS_PATTERN, StoredPath, path_of

_FEWEST = 16
"""Paths in a folder from which on it is listed."""
_SPARE = 8
"""Files of a folder for each path in it, beyond which each path is looked at instead."""


def find_missing(paths: TextColumn) -> Iterator[tuple[str, str]]:
    """Yield each path that is no regular file, in order, and what is wrong with it."""
    for row in np.flatnonzero(~are_files(paths)).tolist():
        path = str(paths[row])
        yield path, "is no regular file" if os.path.exists(path) else "no such file"


def are_files(paths: TextColumn) -> Bool:
    """Return which paths are regular files; what lies afar counts as one until it is opened."""
    are_files_N = paths.matches(ADDRESS_PATTERN)
    if are_files_N.any():
        local_M = np.flatnonzero(~are_files_N)
        are_files_N[local_M] = are_files(paths.take(local_M))
        return are_files_N
    folder_of_N, num_folders = _folders_of(paths)
    order_N = np.argsort(folder_of_N, kind="stable")
    bounds = np.searchsorted(folder_of_N[order_N], np.arange(num_folders + 1))
    by_folder = map(str, paths.take(order_N))
    for number in range(num_folders):
        rows_M = order_N[bounds[number] : bounds[number + 1]]
        own = list(islice(by_folder, len(rows_M)))
        folder = own[0][: own[0].rfind(os.sep) + 1]
        names = _list_files(folder or os.curdir, _SPARE * len(own)) if len(own) >= _FEWEST else frozenset()
        cut = len(folder)
        # A folder may list a name in another spelling than it takes.
        are_files_N[rows_M] = [path[cut:] in names or _is_file(path) for path in own]
    return are_files_N


def _is_file(text: str) -> bool:
    return os.path.isfile(text) or (isinstance(path := path_of(text), StoredPath) and path.exists())


def _folders_of(paths: TextColumn) -> tuple[Int32, int]:
    """Return the number of the folder of each path, and the number of folders."""
    number_of: dict[str, int] = {}
    numbers = (
        number_of.setdefault(path[: path.rfind(os.sep) + 1], len(number_of)) for path in map(str, paths)
    )
    return np.fromiter(numbers, np.int32, len(paths)), len(number_of)


def _list_files(folder: str, limit: int) -> Set[str]:
    """Return the names of the regular files of a folder; none if it holds too many or cannot be listed."""
    try:
        with os.scandir(folder) as listing:
            names = {found.name for found in islice(listing, limit) if found.is_file()}
            return names if next(listing, None) is None else frozenset()
    except OSError:
        return frozenset()
