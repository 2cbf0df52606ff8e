"""What nobody labelled in recordings, and tables of what was looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidcli.data.background import fill_background, gaps, read_labelled_spans, unknown_recordings
from vidcli.data.items import VideoItem
from vidcli.errors import DataError
from vidcli.video import encode_video


def row(start: float, end: float | None, label: str = "a", path: str = "a.mp4") -> VideoItem:
    return VideoItem(Path(path), label, "train", "day", start, end)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "day.mp4"
    encode_video(path, [np.zeros((32, 32, 3), np.uint8)] * 100, 10)
    return path


def test_gaps_are_what_no_row_covers_of_what_was_looked_at():
    rows = [row(2, 4), row(3, 5), row(8, None)]
    assert gaps(rows, [(0, 20)], 20) == [(0, 2), (5, 8)]
    assert gaps(rows, [(1, 6), (7.5, 9)], 20) == [(1, 2), (5, 6), (7.5, 8)]
    assert gaps(rows, [(2, 5.05)], 20) == []  # a sliver at the end is no gap
    assert gaps([row(2, 4)], [(3, 100)], 10) == [(4, 10)]


def test_background_has_the_split_and_group_of_its_recording(recording: Path):
    rows = [row(2, 4, path=str(recording)), row(0, None, "b", "clip.mp4")]
    filled, notes = fill_background(rows, "rest")
    assert filled[:2] == [rows[0], row(0, 2, "rest", str(recording))]
    assert filled[2] == row(4, 10, "rest", str(recording))
    assert filled[3:] == [rows[1]]  # a whole video is labelled whole
    told = "8 s of 1 recordings that nobody labelled are rest; data.labelled_spans names what was looked at"
    assert notes == [f"{told}, where not all was"]


def test_what_was_not_looked_at_is_no_background(recording: Path):
    filled, notes = fill_background([row(2, 4, path=str(recording))], "rest", {recording: [(1.0, 5.0)]})
    assert [(item.start_seconds, item.end_seconds) for item in filled[1:]] == [(1, 2), (4, 5)]
    assert notes == ["2 s of 1 recordings that nobody labelled are rest"]


def test_background_needs_a_name_of_its_own_and_a_recording():
    with pytest.raises(DataError, match="rows of the data have that label"):
        fill_background([row(2, 4, "rest")], "rest")
    with pytest.raises(DataError, match="no row is a span of a recording"):
        fill_background([row(0, None)], "rest")


def test_a_table_of_what_was_looked_at_is_read_by_the_usual_names(tmp_path: Path):
    table = tmp_path / "seen.csv"
    table.write_text("video;begin;stop\nday.mp4;0:05;10,5\nday.mp4;8;12\nother.mp4;1;2\n")
    spans = read_labelled_spans(table)
    assert spans == {tmp_path / "day.mp4": [(5, 12)], tmp_path / "other.mp4": [(1, 2)]}
    told = unknown_recordings(spans, [row(0, 1, path=str(tmp_path / "day.mp4"))])
    assert told is not None
    assert "names 1 videos that have no labelled row" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,start\na.mp4,1\n", "no column 'end'"),
        ("path,start,end\na.mp4,5,2\n", "line 2: end 2 is not after start 5"),
        ("path,start,end\na.mp4,x,2\n", "line 2: start 'x'"),
        ("path,start,end\na.mp4,,2\n", "line 2: start ''"),
        ("path,start,begin,onset,end\na.mp4,1,1,1,\n", "line 2: end ''"),
    ],
)
def test_a_wrong_table_is_told(tmp_path: Path, text: str, told: str):
    table = tmp_path / "seen.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=r"seen\.csv: ") as caught:
        read_labelled_spans(table)
    assert told in str(caught.value)


def test_a_missing_table_is_told(tmp_path: Path):
    with pytest.raises(DataError, match="no such table; expected a CSV with path, start and end"):
        read_labelled_spans(tmp_path / "none.csv")
