"""Which videos a file of results holds, as columns: a million of them take some hundred megabytes less.

Shape suffixes: N rows of the file, M videos asked for.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from vidcli.arrays import Bool, Float64, Int64
from vidcli.data.items import VideoItem
from vidcli.data.video_table import TextColumn, VideoTable
from vidcli.names import visible

_BATCH_ROWS = 1 << 16
_PLAIN = "^[ -~]*$"
"""Text that `visible` leaves as it is."""
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("video", "error", "model", "settings")]
    + [(name, pa.float64()) for name in ("start", "end")]
)


class FinishedVideos:
    """Spans of videos with results, each as often as it has one, and which of them failed."""

    def __init__(self) -> None:
        self._videos: list[pa.Array] = []
        self._spans: list[tuple[Float64, Float64, Bool]] = []
        self._waiting: list[tuple[str, float, float, bool]] = []

    def add(self, video: str, start: float, end: float | None, has_failed: bool) -> None:
        """Add one result.

        Args:
            video: its path.
            start, end: the span in seconds; None is the end of the video.
            has_failed: the result is an error.
        """
        self._waiting.append((visible(video), start, np.nan if end is None else end, has_failed))
        if len(self._waiting) >= _BATCH_ROWS:
            self._keep_waiting()

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
        starts_N = pc.fill_null(rows["start"], 0.0).to_numpy()
        ends_N = pc.fill_null(rows["end"], np.nan).to_numpy()
        failed_N = pc.is_valid(rows["error"]).to_numpy()
        self._videos.append(_as_shown(rows["video"].combine_chunks()))
        self._spans.append((starts_N, ends_N, failed_N))
        models, settings = (set(pc.unique(column).to_pylist()) for column in needed[1:])
        return models, settings

    def extend(self, other: FinishedVideos) -> None:
        """Add all results of another file."""
        other._keep_waiting()
        self._videos += other._videos
        self._spans += other._spans

    def _keep_waiting(self) -> None:
        if self._waiting:
            videos, starts, ends, failed = zip(*self._waiting, strict=True)
            self._videos.append(pa.array(videos, pa.string()))
            self._spans.append((np.array(starts, np.float64), np.array(ends, np.float64), np.array(failed)))
            self._waiting = []

    def split(self, items: Sequence[VideoItem]) -> tuple[Sequence[VideoItem], int]:
        """Return the items that have no result yet, and how many of the others have failed."""
        self._keep_waiting()
        if not self._videos or not items:
            return items, 0
        table = VideoTable.of(items)
        starts_N, ends_N, failed_N = (np.concatenate(parts) for parts in zip(*self._spans, strict=True))
        asked = [_as_shown(chunk) for chunk in _text_chunks(table.paths)]
        # The chunks of one call share a dictionary.
        codes = pa.chunked_array([*self._videos, *asked], pa.string()).dictionary_encode()
        keys = np.concatenate([chunk.indices.to_numpy() for chunk in codes.chunks])
        spans = np.concatenate([starts_N, table.starts_N]), np.concatenate([ends_N, table.ends_N])
        if spans[0].any() or not np.isnan(spans[1]).all():
            bits = [keys.astype(np.int64), *(times.view(np.int64) for times in spans)]
            keys = np.unique(np.stack(bits), axis=1, return_inverse=True)[1].reshape(-1)
        done_N, asked_M = keys[: len(starts_N)], keys[len(starts_N) :]
        done_K = np.bincount(done_N, minlength=keys.max() + 1)
        failed_K = np.bincount(done_N, failed_N, len(done_K))
        left_M = done_K[asked_M] - _occurrences(asked_M)
        num_failed = int(np.count_nonzero((left_M > 0) & (left_M - 1 < failed_K[asked_M])))
        rows_M = np.flatnonzero(left_M <= 0)
        return (table.take(rows_M) if table is items else [items[row] for row in rows_M.tolist()]), num_failed


def _as_shown(videos: pa.Array) -> pa.Array:
    is_plain = pc.match_substring_regex(videos, _PLAIN)
    if pc.all(is_plain).as_py() is not False:
        return videos
    is_odd = pc.invert(is_plain)
    shown = [visible(name) for name in videos.filter(is_odd).to_pylist()]
    return pc.replace_with_mask(videos, is_odd, pa.array(shown, pa.string()))


def _text_chunks(paths: TextColumn) -> list[pa.Array]:
    """Return paths as text, in which broken characters are escaped as `visible` does."""
    names = (name if name.isascii() else visible(name) for name in map(str, paths))
    chunks: list[Any] = []
    block: list[str] = []
    for name in names:
        block.append(name)
        if len(block) == _BATCH_ROWS:
            chunks.append(pa.array(block, pa.string()))
            block = []
    return [*chunks, pa.array(block, pa.string())]


def _occurrences(keys_M: Int64) -> Int64:
    """Return for each key how often it came before."""
    order_M = np.argsort(keys_M, kind="stable")
    in_order = keys_M[order_M]
    first_M = np.searchsorted(in_order, in_order)
    before_M = np.empty(len(keys_M), np.int64)
    before_M[order_M] = np.arange(len(keys_M)) - first_M
    return before_M
