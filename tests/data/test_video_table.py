from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vidcli.data.items import VideoItem, class_counts_of
from vidcli.data.video_table import CodedColumn, TextColumn, VideoTable

ITEMS = [
    VideoItem(Path("b/é.mp4"), "run", "train", "g1", 0.5, 2.0, "00ff"),
    VideoItem(Path("a.mp4"), "jump", None, None, 0.0, None),
    VideoItem(Path("b/é.mp4"), "run", "test", "g2", 0.5, 2.0),
    VideoItem(Path(os.fsdecode(b"\xff.mp4")), "run", "train", "g1"),
]
TABLE = VideoTable.of(ITEMS)


def test_a_table_is_the_sequence_of_its_items() -> None:
    assert list(TABLE) == ITEMS
    assert [TABLE[row] for row in range(-4, 4)] == ITEMS * 2
    assert [item.digest for item in TABLE] == ["00ff", None, None, None]
    assert TABLE == ITEMS
    assert ITEMS == TABLE
    assert ITEMS[:3] != TABLE
    assert [*ITEMS[1:], ITEMS[0]] != TABLE
    with pytest.raises(IndexError):
        TABLE[4]


def test_rows_that_are_taken_of_taken_rows() -> None:
    assert TABLE[1:] == ITEMS[1:]
    assert TABLE[::-1][1:3] == ITEMS[::-1][1:3]
    assert TABLE.of_split("train") == [ITEMS[0], ITEMS[3]]
    assert TABLE.of_split("train")[1:].of_split("train") == [ITEMS[3]]
    assert len(TABLE.of_split("val")) == 0


def test_what_is_asked_of_all_rows() -> None:
    assert TABLE.label_counts() == {"run": 3, "jump": 1}
    assert list(TABLE[1:].label_counts()) == ["jump", "run"]
    assert class_counts_of(TABLE) == class_counts_of(ITEMS)
    assert TABLE.repeats() == [("b/é.mp4", 2)]
    assert TABLE[1:].repeats() == []


def test_spans_without_an_end_repeat_too() -> None:
    span = VideoItem(Path("a.mp4"), "run", start_seconds=1.0)
    assert VideoTable.of([span, VideoItem(Path("a.mp4"), "run"), span, span]).repeats() == [("a.mp4", 3)]


@pytest.mark.parametrize("count", [0, 1, 70_000])
def test_ranks_are_places_in_the_order_of_text(count: int) -> None:
    texts = [f"{number * 7919 % 50_021}" for number in range(count)]
    places = {text: place for place, text in enumerate(sorted(set(texts)))}
    assert TextColumn.of(texts).ranks_N.tolist() == [places[text] for text in texts]
    assert TextColumn.of(sorted(texts)).ranks_N.tolist() == [places[text] for text in sorted(texts)]


def test_text_that_is_none() -> None:
    column = CodedColumn.of(["a", None, "b", "a"])
    assert (list(column), column.counts()) == (["a", None, "b", "a"], {"a": 2, "b": 1})
    assert np.flatnonzero(column.mask(None)).tolist() == [1]
    assert not column.mask("c").any()
    assert list(TextColumn.of(["a", None])) == ["a", None]
