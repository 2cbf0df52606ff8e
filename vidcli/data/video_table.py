"""The videos of a data set as columns, so that millions of rows take tens of bytes each.

A `VideoTable` is a sequence of `VideoItem`, which are made when they are asked for. What is asked of all
rows (labels, splits, groups, equal files) is answered from the columns.

Shape suffix: N rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vidcli.arrays import Bool, Float64, Int32, Int64
from vidcli.data.items import Box, CountedVideos, VideoItem, box_text, parse_box
from vidcli.names import is_text
from vidcli.storage.addresses import path_of, text_of, without_secrets

_BLOCK_ROWS = 1 << 16


class TextColumn:
    """Text that differs from row to row, such as paths, in the bytes of the file system; None is no text."""

    def __init__(self, chunks: pa.ChunkedArray, rows_N: Int64 | None = None) -> None:
        """Keep text; `rows_N` chooses rows of it without a copy."""
        self._chunks, self._rows_N = chunks, rows_N

    @classmethod
    def of(cls, texts: Iterable[str | None]) -> TextColumn:
        """Keep texts, which may hold what is no valid UTF-8."""
        encoded = [None if text is None else os.fsencode(text) for text in texts]
        return cls(pa.chunked_array([pa.array(encoded, pa.large_binary())]))

    def __len__(self) -> int:
        return len(self._chunks) if self._rows_N is None else len(self._rows_N)

    def __getitem__(self, row: int) -> str | None:
        text = self._chunks[int(row if self._rows_N is None else self._rows_N[row])].as_py()
        return None if text is None else os.fsdecode(text)

    def __iter__(self) -> Iterator[str | None]:
        for block in self._blocks():
            try:
                yield from block.cast(pa.large_string()).to_pylist()
            except pa.ArrowInvalid:
                yield from (None if text is None else os.fsdecode(text) for text in block.to_pylist())

    def undecodable(self) -> list[str]:
        """Return the texts that are no valid UTF-8."""
        found: list[str] = []
        for block in self._blocks():
            try:
                block.cast(pa.large_string())
            except pa.ArrowInvalid:
                found += [text for text in map(str, TextColumn(block)) if not is_text(text)]
        return found

    def matches(self, pattern: str) -> Bool:
        """Return which rows match a regular expression of RE2."""
        found = [pc.match_substring_regex(block, pattern).to_numpy() for block in self._blocks()]
        return np.concatenate([*found, np.empty(0, bool)])

    def take(self, rows_N: Int64) -> TextColumn:
        """Return some of the rows."""
        return TextColumn(self._chunks, rows_N if self._rows_N is None else self._rows_N[rows_N])

    def _blocks(self) -> Iterator[pa.ChunkedArray]:
        return (self._block(start, start + _BLOCK_ROWS) for start in range(0, len(self), _BLOCK_ROWS))

    def _block(self, start: int, end: int) -> pa.ChunkedArray:
        if self._rows_N is None:
            return self._chunks[start:end]
        rows = self._rows_N[start:end]
        # Arrow joins the chunks that it takes from: where rows are in order, these are few.
        first, last = (int(rows.min()), int(rows.max())) if len(rows) else (0, -1)
        return self._chunks[first : last + 1].take(pa.array(rows - first))

    @cached_property
    def ranks_N(self) -> Int64:
        """The place of each text among all different texts in their order, from 0: equal ones share it."""
        order_N = np.arange(len(self))
        if not self._is_sorted():
            whole = self._chunks if self._rows_N is None else self._block(0, len(self))
            order_N = pc.sort_indices(whole).to_numpy().astype(np.int64)
        in_order = self if self._is_sorted() else self.take(order_N)
        is_new_N = np.ones(len(self), bool)
        for start in range(1, len(self), _BLOCK_ROWS):
            block = in_order._block(start - 1, start + _BLOCK_ROWS)
            is_new_N[start : start + len(block) - 1] = pc.not_equal(block[1:], block[:-1]).to_numpy()
        ranks_N = np.empty(len(self), np.int64)
        ranks_N[order_N] = np.cumsum(is_new_N) - 1
        return ranks_N

    def _is_sorted(self) -> bool:
        return all(
            pc.all(pc.less_equal(block[:-1], block[1:])).as_py() is not False
            for block in (
                self._block(max(0, start - 1), start + _BLOCK_ROWS)
                for start in range(0, len(self), _BLOCK_ROWS)
            )
        )


@dataclass(frozen=True)
class CodedColumn:
    """Text of which many rows share a few values.

    Attributes:
        codes_N: the position of each row's text in `values`; -1 where it has none.
        values: the texts, each once; some may stand in no row.
    """

    codes_N: Int32
    values: Sequence[str]

    @classmethod
    def of(cls, texts: Iterable[str | None]) -> CodedColumn:
        """Keep texts."""
        code_of: dict[str | None, int] = {None: -1}
        codes = [code_of.setdefault(text, len(code_of) - 1) for text in texts]
        return cls(np.array(codes, np.int32), [value for value in code_of if value is not None])

    def __getitem__(self, row: int) -> str | None:
        code = int(self.codes_N[row])
        return None if code < 0 else self.values[code]

    def __iter__(self) -> Iterator[str | None]:
        values = [*self.values, None]
        return (values[code] for code in self.codes_N.tolist())

    def take(self, rows_N: Int64) -> CodedColumn:
        """Return some of the rows."""
        return CodedColumn(self.codes_N[rows_N], self.values)

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each text, in the order in which the texts come first."""
        present, first, counts = np.unique(
            self.codes_N[self.codes_N >= 0], return_index=True, return_counts=True
        )
        return {self.values[present[at]]: int(counts[at]) for at in np.argsort(first)}

    def mask(self, text: str | None) -> Bool:
        """Return which rows have a text, or none of all."""
        code = -1 if text is None else next((at for at, value in enumerate(self.values) if value == text), -2)
        found_N: Bool = self.codes_N == code
        return found_N


@dataclass(frozen=True, eq=False)
class VideoTable(CountedVideos):
    """Labelled videos as columns; the attributes of `VideoItem`, a row each.

    Attributes:
        paths, labels, splits, groups, digests: text of each row; digests is None where none is known.
        starts_N: start of each span in seconds.
        ends_N: end of each span in seconds; not a number where it is the end of the video.
        tracks, boxes: subject of each row, and box as text; None where no row has one.
    """

    paths: TextColumn
    labels: CodedColumn
    splits: CodedColumn
    groups: CodedColumn
    starts_N: Float64
    ends_N: Float64
    digests: TextColumn | None = None
    tracks: CodedColumn | None = None
    boxes: CodedColumn | None = None

    @classmethod
    def of(cls, items: Sequence[VideoItem]) -> VideoTable:
        """Return the same videos as columns."""
        if isinstance(items, VideoTable):
            return items
        digests = (item.digest for item in items)
        return cls(
            TextColumn.of(text_of(item.path) for item in items),
            CodedColumn.of(item.label for item in items),
            CodedColumn.of(item.split for item in items),
            CodedColumn.of(item.group for item in items),
            np.array([item.start_seconds for item in items], np.float64),
            np.array(
                [np.nan if item.end_seconds is None else item.end_seconds for item in items], np.float64
            ),
            TextColumn.of(digests) if any(item.digest is not None for item in items) else None,
            _coded_or_none(item.track for item in items),
            _coded_or_none(None if item.box is None else box_text(item.box) for item in items),
        )

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> VideoItem: ...
    @overload
    def __getitem__(self, index: slice) -> VideoTable: ...
    def __getitem__(self, index: int | slice) -> VideoItem | VideoTable:
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        row = range(len(self))[index]
        path, label, end = self.paths[row], self.labels[row], float(self.ends_N[row])
        assert path is not None
        assert label is not None
        return VideoItem(
            path_of(path),
            label,
            self.splits[row],
            self.groups[row],
            float(self.starts_N[row]),
            None if np.isnan(end) else end,
            None if self.digests is None else self.digests[row],
            None if self.tracks is None else self.tracks[row],
            None if self.boxes is None else _box_of(self.boxes[row]),
        )

    def __iter__(self) -> Iterator[VideoItem]:
        ends: Iterable[float | None] = (None if end != end else end for end in map(float, self.ends_N))
        none: Iterable[str | None] = [None] * len(self)
        digests, tracks, boxes = (
            none if column is None else column for column in (self.digests, self.tracks, self.boxes)
        )
        starts = map(float, self.starts_N)
        columns = (self.paths, self.labels, self.splits, self.groups, starts, ends, digests, tracks, boxes)
        for path, label, split, group, start, end, digest, track, box in zip(*columns, strict=True):
            yield VideoItem(path_of(path), label, split, group, start, end, digest, track, _box_of(box))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, rows_N: Int64) -> VideoTable:
        """Return some of the rows, without a copy of their paths."""
        return VideoTable(
            self.paths.take(rows_N),
            self.labels.take(rows_N),
            self.splits.take(rows_N),
            self.groups.take(rows_N),
            self.starts_N[rows_N],
            self.ends_N[rows_N],
            None if self.digests is None else self.digests.take(rows_N),
            None if self.tracks is None else self.tracks.take(rows_N),
            None if self.boxes is None else self.boxes.take(rows_N),
        )

    def of_split(self, split: str) -> VideoTable:
        """Return the videos of one split."""
        return self.take(np.flatnonzero(self.splits.mask(split)))

    def with_splits(self, splits: CodedColumn) -> VideoTable:
        """Return the same videos with other splits."""
        return replace(self, splits=splits)

    def path_texts(self) -> Iterable[str]:
        """Return the path of each video."""
        return map(without_secrets, map(str, self.paths))

    def label_counts(self) -> Mapping[str, int]:
        """Return the number of videos of each label."""
        return self.labels.counts()

    def have_tracks(self) -> bool:
        """Return whether any row is about a subject."""
        return self.tracks is not None and bool((self.tracks.codes_N >= 0).any())

    def repeats(self) -> list[tuple[str, int]]:
        """Return the path of each span that is listed more than once, and how often."""
        hashes_N = np.sort(np.fromiter(map(hash, self.paths), np.int64, len(self)))
        if (hashes_N[1:] != hashes_N[:-1]).all():  # as is usual, and told in less memory than the order takes
            return []
        subjects = [column.codes_N for column in (self.boxes, self.tracks) if column is not None]
        columns: list[Any] = [*subjects, self.ends_N, self.starts_N, self.paths.ranks_N]
        order_N = np.lexsort(columns)
        keys = [column[order_N] for column in columns]
        is_new_N = np.ones(len(self), bool)
        is_new_N[1:] = np.any([~_equal(key[1:], key[:-1]) for key in keys], axis=0)
        first_M = np.flatnonzero(is_new_N)
        counts_M = np.diff([*first_M, len(self)])
        told = sorted((int(order_N[first_M[at]]), int(counts_M[at])) for at in np.flatnonzero(counts_M > 1))
        return [(without_secrets(str(self.paths[row])), count) for row, count in told]


def _coded_or_none(texts: Iterable[str | None]) -> CodedColumn | None:
    column = CodedColumn.of(texts)
    return column if column.values else None


@lru_cache(maxsize=4096)
def _box_of(text: str | None) -> Box | None:
    return None if text is None else parse_box(text)


def _equal(values: Any, others: Any) -> Any:
    return (values == others) | ((values != values) & (others != others))
