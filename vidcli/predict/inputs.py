"""Which videos are asked about: what the command line names, to items; and this process's share.

file                 itself; where it is missing or no video, its prediction says so
folder               all videos below it, by suffix, in path order
'day*/**/*.mp4'      what matches, in path order; a file of exactly that name comes first
table.csv, .tsv      a manifest: its rows, with their spans
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from vidcli.data.manifest import VideoItem, list_videos, load_items
from vidcli.errors import ConfigError, DataError
from vidcli.runtime.files import open_regular, read_at_most

_TABLE_SUFFIXES = (".csv", ".tsv")
STDIN = "-"
_MAX_LIST_BYTES, _MAX_LIST_PATHS = 256 * 2**20, 2_000_000

Item = TypeVar("Item")


def collect_items(paths: Iterable[str | os.PathLike[str]]) -> list[VideoItem]:
    """Return the videos that are named, in order.

    A path that does not exist, a folder without videos or a pattern that nothing matches is kept: it
    becomes a prediction with its error, and the rest goes on.

    Raises:
        DataError: a manifest cannot be read.
    """
    items: list[VideoItem] = []
    for path in collect_videos(paths):
        if path.suffix.lower() in _TABLE_SUFFIXES and os.path.isfile(path):
            items += load_items(path, missing_ok=True)
        else:
            items.append(VideoItem(path, label=""))
    return items


def collect_videos(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the given files, for a folder all videos below it, and what a pattern matches, in order.

    A path that does not exist, a folder without videos or a pattern that nothing matches is kept.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        # Unlike Path.exists, these raise no error where the name is too long for one.
        if _is_pattern(path) and not os.path.lexists(path):
            matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        else:
            matches = [path]
        for match in matches or [path]:
            found += (list_videos(match) if os.path.isdir(match) else []) or [match]
    return found


def explain_failure(path: Path, reason: str) -> str:
    """Return why there is no video, in the words of what was asked: a pattern is no file."""
    is_unmatched = _is_pattern(path) and not os.path.lexists(path)
    return "no file matches this pattern" if is_unmatched else reason


def read_list(source: str) -> list[Path]:
    """Return the paths in a text file, one a line, or separated by NUL as `find -print0` does.

    Args:
        source: a file, or `-` for standard input.

    Raises:
        DataError: it cannot be read, holds no path, or more than a list does.
    """
    name = "standard input" if source == STDIN else source
    try:
        with contextlib.ExitStack() as closing:
            file: IO[bytes] = sys.stdin.buffer
            if source != STDIN:
                file = closing.enter_context(open_regular(source, takes_pipes=True))
            content = read_at_most(file, _MAX_LIST_BYTES, source)
    except OSError as error:
        raise DataError(f"--from-list {source}: cannot be read ({error.strerror})") from error
    if max(content.count(b"\0"), content.count(b"\n")) > _MAX_LIST_PATHS:
        raise DataError(f"--from-list {source}: holds more than {_MAX_LIST_PATHS} lines; use several lists")
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    # A name is bytes; what is no valid text stays what it is.
    paths = [Path(os.fsdecode(line)) for line in lines if line.strip()]
    if not paths:
        raise DataError(f"--from-list {source}: {name} names no videos; expected one path a line")
    return paths


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `count` equal parts."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError("a shard is numbered from 1 to count")

    def take(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this part of the items: the parts in order are the whole, sizes differ by one at most."""
        return items[len(items) * (self.number - 1) // self.count : len(items) * self.number // self.count]

    def name_file(self, path: Path) -> Path:
        """Return the name of this part's own file: `results.csv` becomes `results-2of4.csv`."""
        return path.with_name(f"{path.stem}-{self.number}of{self.count}{path.suffix}")


def parse_shard(text: str) -> Shard:
    """Read `2/4`.

    Raises:
        ConfigError: anything else, or a part that there is not.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard {text}: expected I/N with I from 1 to N, such as 1/4")
    return Shard(int(match[1]), int(match[2]))


def shard_of_launcher(environment: Mapping[str, str]) -> Shard | None:
    """Return this process's part under `torchrun`; None outside of it or where it runs alone."""
    rank, count = environment.get("RANK", ""), environment.get("WORLD_SIZE", "")
    if not (rank.isdecimal() and count.isdecimal()) or not int(rank) < int(count) or int(count) < 2:
        return None
    return Shard(int(rank) + 1, int(count))


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path))
