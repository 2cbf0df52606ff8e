"""Which videos a file of results holds, as eight bytes each, so that it may hold millions.

A span of a video is known by a hash of 64 bits, whose secret each process draws anew (SipHash): that two of
ten million share one has a chance of less than one in 300,000.

Shape suffixes: N rows of the file, M videos asked for, B of these at once, K videos of some rows.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from vidcli.arrays import Bool, Float64, Int64
from vidcli.data.items import VideoItem
from vidcli.data.video_table import VideoTable
from vidcli.names import visible
from vidcli.storage.addresses import text_of

_BLOCK = 1 << 16
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("video", "error", "model", "settings")]
    + [(name, pa.float64()) for name in ("start", "end")]
)


class FinishedVideos:
    """Spans of videos with results, each as often as it has one, and which of them failed."""

    def __init__(self) -> None:
        self._keys: list[Int64] = []
        self._failed: list[Int64] = []
        self._waiting: list[tuple[int, bool]] = []

    def add(self, video: str, start: float, end: float | None, has_failed: bool) -> None:
        """Add one result.

        Args:
            video: its path.
            start, end: the span in seconds; None is the end of the video.
            has_failed: the result is an error.
        """
        self._waiting.append((_key(video, start, np.nan if end is None else end), has_failed))

    def add_json(self, lines: bytes) -> tuple[set[str], set[str]] | None:
        """Add the results in whole lines of JSON.

        Returns:
            The models and the settings that they name; None, and nothing is added, if any line needs a
            closer look.
        """
        options = pyarrow.json.ReadOptions(use_threads=False, block_size=len(lines) + 1)
        parse = pyarrow.json.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore")
        try:
            # The pool of the C library gives back what each block took.
            rows = pyarrow.json.read_json(io.BytesIO(lines), options, parse, pa.system_memory_pool())
        except pa.ArrowException:
            return None
        needed = [rows[name] for name in ("video", "model", "settings")]
        if len(rows) != lines.count(b"\n") or any(column.null_count for column in needed):
            return None
        self.add_rows(rows)
        models, settings = (set(pc.unique(column).to_pylist()) for column in needed[1:])
        return models, settings

    def add_rows(self, rows: pa.Table) -> None:
        """Add the results in columns video, start and end, and error, which is null where there is none."""
        starts_N = pc.fill_null(rows["start"], 0.0).to_numpy()
        ends_N = pc.fill_null(rows["end"], np.nan).to_numpy()
        failed_N = pc.is_valid(rows["error"]).to_numpy()
        self._add_keys(_keys(rows["video"].to_pylist(), starts_N, ends_N), failed_N)

    def add_csv(
        self, lines: bytes, columns: Sequence[str], num_ranks: int
    ) -> tuple[int, set[str], set[str]] | None:
        """Add the results in whole lines of CSV, of the videos that have all their rows there.

        Args:
            lines: without the header.
            columns: its names.
            num_ranks: rows of a video; one that failed has a single row.

        Returns:
            The number of bytes of these videos, and the models and the settings that they name; None, and
            nothing is added, if any line needs a closer look.
        """
        if b'"' in lines or b"'" in lines:  # what is quoted, and what `escape_cell` marks
            return None
        needed = ["video", "rank", "error", "start", "end", "model", "settings"]
        read = pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(lines) + 1, column_names=list(columns)
        )
        kept = pyarrow.csv.ConvertOptions(
            include_columns=needed, column_types=dict.fromkeys(needed, pa.string())
        )
        try:
            rows = pyarrow.csv.read_csv(io.BytesIO(lines), read, None, kept, pa.system_memory_pool())
            ranks_N, starts_N, ends_N = (
                pc.if_else(pc.equal(rows[name], ""), None, rows[name]).cast(pa.float64()).to_numpy()
                for name in ("rank", "start", "end")
            )
        except pa.ArrowException:
            return None
        num_lines = lines.count(b"\n")
        failed_N = pc.not_equal(rows["error"], "").to_numpy()
        last_K = np.flatnonzero(failed_N | (ranks_N == num_ranks))
        starts = np.concatenate([[0], last_K + 1, [len(rows)]])
        place_N = np.arange(len(rows)) + 1.0 - np.repeat(starts[:-1], np.diff(starts))
        if len(rows) != num_lines or not np.array_equal(ranks_N, np.where(failed_N, np.nan, place_N), True):
            return None
        end = 0 if not len(last_K) else len(lines)
        for _ in range(num_lines - int(last_K[-1]) - 1 if end else 0):
            end = lines.rindex(b"\n", 0, end - 1) + 1
        videos = rows["video"].take(pa.array(last_K)).to_pylist()
        self._add_keys(_keys(videos, np.nan_to_num(starts_N[last_K]), ends_N[last_K]), failed_N[last_K])
        models, settings = (set(pc.unique(rows[name]).to_pylist()) for name in needed[-2:])
        return end, models, settings

    def extend(self, other: FinishedVideos) -> None:
        """Add all results of another file."""
        self._keys += other._keys
        self._failed += other._failed
        self._waiting += other._waiting

    def split(self, items: Sequence[VideoItem]) -> tuple[Sequence[VideoItem], int]:
        """Return the items that have no result yet, and how many of the others have failed."""
        if self._waiting:
            keys, failed = zip(*self._waiting, strict=True)
            self._add_keys(np.array(keys, np.int64), np.array(failed))
            self._waiting = []
        if not items or not sum(map(len, self._keys)):
            return items, 0
        done_N, failed_N = (np.sort(np.concatenate(keys)) for keys in (self._keys, self._failed))
        self._keys, self._failed = [done_N], [failed_N]  # twice as much would be there else
        asked_M = _keys_of(items)
        before_M = _occurrences(asked_M)
        rows, num_failed = [], 0
        for start in range(0, len(asked_M), _BLOCK):  # what is between takes several times as much
            asked_B, before_B = (keys_M[start : start + _BLOCK] for keys_M in (asked_M, before_M))
            left_B = _count(done_N, asked_B) - before_B
            rows.append(start + np.flatnonzero(left_B <= 0))
            num_failed += int(np.count_nonzero((left_B > 0) & (left_B <= _count(failed_N, asked_B))))
        rows_M = np.concatenate(rows)
        if isinstance(items, VideoTable):
            return items.take(rows_M), num_failed
        return [items[row] for row in rows_M.tolist()], num_failed

    def _add_keys(self, keys_N: Int64, failed_N: Bool) -> None:
        self._keys.append(keys_N)
        self._failed.append(keys_N[failed_N])


def _count(sorted_N: Int64, asked_B: Int64) -> Int64:
    """Return how often each key is among sorted ones."""
    order_B = np.argsort(asked_B)  # neighbours are looked for in the same part of what is sorted
    in_order = asked_B[order_B]
    counts_B = np.empty(len(asked_B), np.int64)
    counts_B[order_B] = np.searchsorted(sorted_N, in_order, "right") - np.searchsorted(sorted_N, in_order)
    return counts_B


def _key(video: str, start: float, end: float) -> int:
    """Return what stands for a span; an end that is not a number is the end of the video."""
    name = video if video.isascii() and video.isprintable() else visible(video)
    is_whole = not start and end != end
    return hash(name) if is_whole else hash((name, start, None if end != end else end))


def _keys(videos: Iterable[str], starts_N: Float64, ends_N: Float64) -> Int64:
    return np.fromiter(map(_key, videos, map(float, starts_N), map(float, ends_N)), np.int64, len(starts_N))


def _keys_of(items: Sequence[VideoItem]) -> Int64:
    if isinstance(items, VideoTable):
        return _keys(map(str, items.paths), items.starts_N, items.ends_N)
    ends_M = np.array([np.nan if item.end_seconds is None else item.end_seconds for item in items])
    starts_M = np.array([item.start_seconds for item in items])
    return _keys((text_of(item.path) for item in items), starts_M, ends_M)


def _occurrences(keys_M: Int64) -> Int64:
    """Return for each key how often it came before."""
    in_order = np.sort(keys_M)
    if not (in_order[1:] == in_order[:-1]).any():
        return np.broadcast_to(np.int64(0), len(keys_M))
    order_M = np.argsort(keys_M, kind="stable")
    first_M = np.searchsorted(in_order, in_order)
    before_M = np.empty(len(keys_M), np.int64)
    before_M[order_M] = np.arange(len(keys_M)) - first_M
    return before_M
