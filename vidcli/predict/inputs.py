"""Find the videos that a command line names, and the part of them that this process predicts.

    file                 the file itself; if it is missing or no video, its prediction holds the error
    folder               all videos below it, known by their suffix, in the order of their paths
    'day*/**/*.mp4'      the paths that match, in their order, unless a file has exactly that name
    table.csv, .tsv      the rows of a manifest, with their spans; also .parquet, .jsonl
    shards.tar           the videos of shards (`data.shards`)
    s3://bucket/...      any of these at an address, except a pattern over https

Files that this tool wrote are no input: results that a folder or a pattern holds too are left out.
"""

from __future__ import annotations

import codecs
import contextlib
import glob
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from vidcli.data.folders import FolderContents, is_of_vidcli, list_videos, look_through
from vidcli.data.items import TABLE_SUFFIXES, VideoItem, name_few
from vidcli.data.shards import names_shards
from vidcli.errors import ConfigError, DataError
from vidcli.runtime.files import open_regular, read_at_most
from vidcli.runtime.launcher import rank_and_size
from vidcli.storage.addresses import StoredPath, is_afar, names_afar, path_of
from vidcli.storage.connections import StorageError
from vidcli.storage.file_systems import list_afar
from vidcli.video import VIDEO_SUFFIXES

STDIN = "-"
_MAX_LIST_BYTES, _MAX_LIST_PATHS = 256 * 2**20, 2_000_000
_HEAD_BYTES = 2**16
_RESULTS_HEADERS = (
    b"video,rank,label,probability,",  # predict
    b"video,start,end,label,confidence,",  # timeline
    b"video,start,end,label,predicted,",  # eval
    b"video,error",  # what training left out
    b"recipe,path,start,end,label,",  # crossval
    b"path,label,group,rank,neighbour,",  # embed
)
_RESULTS_JSON = re.compile(
    rb'\s*\{\s*("video": |"top1": |"mean_average_precision": )|\{"severity": "\w+", "kind": |\{"summary": \{'
)
_OWN_VIDEO = "overlay.mp4"
_PARQUET_KEY = b"vidcli"
_SPREADSHEETS = (".csv", ".tsv")
_RESULTS_SUFFIXES = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".partial")

AUTO = "auto"
_SCHEDULERS = (
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", ""),
)
"""What holds the number of a part, the count of parts and the first number."""
_ABSENT = ("", "", "0")

Item = TypeVar("Item")


def collect_items(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    tell: Callable[[str], object] = lambda text: None,
) -> Sequence[VideoItem]:
    """Return the named videos, in order.

    A path that does not exist, a folder without videos or a pattern without a match is kept: its
    prediction will hold an error, and the others go on. Results of this tool are left out.

    Args:
        paths: files, folders, patterns and manifests, or a single one.
        tell: called with a sentence about each kind of file that was left out.

    Raises:
        DataError: a manifest cannot be read, or all paths are results.
    """
    items: list[VideoItem] = []
    results: list[Path] = []
    found = collect_videos(paths, tell)
    for path in found:
        if not names_shards(path) and is_results(path):
            results.append(path)
        elif names_shards(path) or (
            path.suffix.lower() in TABLE_SUFFIXES and (is_afar(path) or os.path.isfile(path))
        ):
            from vidcli.data.manifest import read_data  # Arrow, which `predict a.mp4` does without

            listing = read_data(path, missing_ok=True)
            for text in listing.notes:
                tell(text)
            if len(found) == 1:
                return listing.items  # as columns: a million items are half a gigabyte
            items += listing.items
        else:
            items.append(VideoItem(path, label=""))
    if results and not items:
        raise DataError(
            f"{results[0]}: holds results that vidcli wrote; expected videos, or a manifest of them"
        )
    if results:
        tell(f"{len(results)} results that vidcli wrote are passed over: {name_few(results)}")
    return items


def collect_videos(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    tell: Callable[[str], object] = lambda text: None,
) -> list[Path]:
    """Return files as they are, all videos below folders, and the paths that match patterns, in order.

    A path that does not exist, a folder that cannot be read or holds no videos, and a pattern without a
    match are kept.

    Args:
        paths: files, folders and patterns, or a single one.
        tell: called with a sentence about each kind of file in a folder that was left out.
    """
    found: list[Path] = []
    for given in [paths] if isinstance(paths, str | os.PathLike) else paths:
        path = path_of(given)
        if names_shards(path):
            found.append(path)
            continue
        if is_afar(path):
            found += _collect_afar(path)
            continue
        # Unlike Path.exists, these raise no error if the name is too long for a file.
        if _is_pattern(path) and not os.path.lexists(path):
            matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
        else:
            matches = [path]
        for match in matches or [path]:
            is_searched = os.path.isdir(match) and not is_results(match)
            contents = look_through(match, goes_on=True) if is_searched else FolderContents()
            for text in contents.notes():
                tell(text)
            found += [*contents.videos, *contents.unreadable] or [match]
    return found


def _collect_afar(path: Path) -> list[Path]:
    """Return the videos that an address names: itself, those below a folder, or those that match a pattern.

    Where that cannot be found out, the address is kept: opening it tells why.
    """
    assert isinstance(path, StoredPath)
    is_web = path.parts[0] == "https:"  # which has queries, and lists nothing
    is_pattern = not is_web and glob.has_magic(path.address)
    if is_web or (not is_pattern and path.suffix.lower() in (*VIDEO_SUFFIXES, *TABLE_SUFFIXES)):
        return [path]
    try:
        listed = list_afar(path)
    except StorageError:
        return [path]
    return [one for one in listed if is_pattern or one.suffix.lower() in VIDEO_SUFFIXES] or [path]


def is_results(path: Path) -> bool:
    """Tell whether this tool wrote a file or folder.

    A file is judged by its content or by the files beside it, a folder by the files in it. A folder with
    other videos is not of this tool, nor is a video or a manifest beside results.
    """
    try:
        if os.path.isdir(path):
            return is_of_vidcli(path) and all(video.name == _OWN_VIDEO for video in list_videos(path))
        suffix = path.suffix.lower()
        if (suffix in VIDEO_SUFFIXES and path.name != _OWN_VIDEO) or not os.path.isfile(path):
            return False
        if suffix in _RESULTS_SUFFIXES and _holds_results(path, suffix):
            return True
        return suffix not in _SPREADSHEETS and is_of_vidcli(path.parent)
    except OSError:
        return False


def _holds_results(path: Path, suffix: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _HEAD_BYTES))
        tail = file.read()
    if suffix == ".parquet":
        return head.startswith(b"PAR1") and _PARQUET_KEY in tail
    if suffix == ".csv":
        begin = head.removeprefix(codecs.BOM_UTF8).replace(b";", b",")  # as Excel saves it again
        return begin.startswith(_RESULTS_HEADERS)
    return _RESULTS_JSON.match(head) is not None


def explain_failure(path: Path, reason: str) -> str:
    """Return why a video cannot be decoded: for a pattern without a match, that nothing matches it."""
    is_unmatched = _is_pattern(path) and not os.path.lexists(path)
    return "no file matches this pattern" if is_unmatched else reason


def read_list(source: str) -> list[Path]:
    """Return the paths in a text file: one on each line, or separated by NUL as `find -print0` does.

    Args:
        source: a file, or `-` for standard input.

    Raises:
        DataError: the list cannot be read, holds no path, or holds too many.
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
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"--from-list {source}: begins like UTF-16, but is not valid ({error})"
            ) from error
    content = content.removeprefix(codecs.BOM_UTF8)
    if b"\0" in content:  # a program made the list: each name is exact
        paths = [path_of(os.fsdecode(name)) for name in content.split(b"\0") if name.strip()]
    else:
        # A name is bytes, which need not be valid text.
        paths = [_find_listed(os.fsdecode(line)) for line in content.splitlines() if line.strip()]
    if not paths:
        raise DataError(f"--from-list {source}: {name} names no videos; expected one path a line")
    return paths


def _find_listed(line: str) -> Path:
    """Return the path in a line: exactly what is written if it exists, else without blanks and quotes."""
    bare = line.strip()
    if names_afar(bare):
        return path_of(bare)
    is_quoted = len(bare) > 2 and bare[0] == bare[-1] and bare[0] in "\"'"
    candidates = [line, line.rstrip(), bare, *([bare[1:-1]] if is_quoted else [])]
    candidates += [unicodedata.normalize(form, candidates[-1]) for form in ("NFC", "NFD")]
    return path_of(next((name for name in candidates if os.path.lexists(name)), candidates[-3]))


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `count` equal parts."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError("a shard is numbered from 1 to count")

    def take(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this part of the items; the sizes of all parts differ by at most one."""
        return items[len(items) * (self.number - 1) // self.count : len(items) * self.number // self.count]

    def name_file(self, path: Path) -> Path:
        """Return the name of the file of this part: `results.csv` becomes `results-2of4.csv`."""
        return path.with_name(f"{path.stem}-{self.number}of{self.count}{path.suffix}")


def parse_shard(text: str) -> Shard:
    """Read the number and the count of a part, such as `2/4`; `auto` asks the job scheduler.

    Raises:
        ConfigError: the text has another form, the number exceeds the count, or no scheduler tells them.
    """
    if text.strip() == AUTO:
        return _shard_of_scheduler(os.environ)
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--shard {text}: expected I/N with I from 1 to N, such as 1/4, or auto")
    return Shard(int(match[1]), int(match[2]))


def shard_of_launcher(environment: Mapping[str, str]) -> Shard | None:
    """Return this process's part under `torchrun`; None outside of it or where it runs alone."""
    found = rank_and_size(environment)
    return None if found is None else Shard(found[0] + 1, found[1])


def _shard_of_scheduler(environment: Mapping[str, str]) -> Shard:
    """Return this process's part of a SLURM array, of an indexed job of Kubernetes, or under `torchrun`."""
    for names in _SCHEDULERS:
        given = {name: environment[name] for name in names if name in environment}
        if names[0] not in given:
            continue
        number, count, first = (
            given.get(name, default) for name, default in zip(names, _ABSENT, strict=True)
        )
        if number.isdecimal() and count.isdecimal() and first.isdecimal():
            place = int(number) - int(first)
            if 0 <= place < int(count):
                return Shard(place + 1, int(count))
        told = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ConfigError(
            f"--shard auto: {told} tell no part; expected {names[0]} to be one of {names[1]} neighbouring "
            f"numbers; set {names[1]}, or write --shard I/N"
        )
    launched = shard_of_launcher(environment)
    if launched is None:
        raise ConfigError(
            "--shard auto: found no SLURM_ARRAY_TASK_ID, no JOB_COMPLETION_INDEX and no RANK; expected a "
            "SLURM array, an indexed job of Kubernetes, or torchrun; else write --shard I/N"
        )
    return launched


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path))
