"""Which videos are asked about: what the command line names, to paths."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vidcli.data.manifest import list_videos


def collect_videos(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the given files, and for a folder all videos below it, in order.

    A path that does not exist, or a folder without videos, is kept: it becomes a prediction with
    its error, and the rest goes on.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if not os.path.isdir(path):  # unlike Path.is_dir, no error where the name is too long for one
            found.append(path)
            continue
        found += list_videos(path) or [path]
    return found
