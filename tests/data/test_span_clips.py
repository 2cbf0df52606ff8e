"""Clips that are cut from labelled spans: where they lie, and how many of which class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vidcli.config import Config, load_config
from vidcli.data.items import VideoItem
from vidcli.data.span_clips import (
    choose_evenly,
    cut_spans,
    join_overlaps,
    overlapping,
    require_dense,
    share_out,
)
from vidcli.errors import ConfigError
from vidcli.video import encode_video


def settings(*assignments: str) -> Config:
    usual = ["clip.sampling=dense", "clip.length=8", "clip.stride_seconds=0.25", "data.clips_per_span=4"]
    return load_config(None, [*usual, *assignments])


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cut") / "day.mp4"
    encode_video(path, [np.zeros((32, 32, 3), np.uint8)] * 200, 10)  # 20 s
    return path


def spans(path: Path, *rows: tuple[str, float, float], split: str = "train") -> list[VideoItem]:
    return [VideoItem(path, label, split, None, start, end) for label, start, end in rows]


def test_clips_across_borders_have_their_middle_in_the_span(recording: Path):
    rows = spans(recording, ("long", 4, 12), ("short", 15, 15.3), ("early", 0, 0.5), ("late", 19.5, 20))
    clips, notes = cut_spans(rows, settings())
    assert all(clip.end_seconds == clip.start_seconds + 2 for clip in clips)
    assert all(clip.start_seconds / 0.25 == round(clip.start_seconds / 0.25) for clip in clips)
    starts = {
        label: [c.start_seconds for c in clips if c.label == label]
        for label in Counter(row.label for row in rows)
    }
    assert starts["long"] == [4, 6, 8, 10]  # middles at 5, 7, 9 and 11 s
    assert starts["short"] == [14.25]
    assert set(starts["early"]) == {0}
    assert set(starts["late"]) == {18}
    (note,) = notes
    assert note.startswith(
        "train: 7 clips, of 2 s, across borders, from 4 spans of 1 recordings; one every 0.25"
    )
    assert note.endswith("at most 4 a span (early 1, late 1, long 4, short 1)")


def test_clips_inside_stay_inside_and_short_spans_are_whole(recording: Path):
    rows = spans(recording, ("long", 4.1, 12), ("short", 15, 15.3))
    clips, _ = cut_spans(rows, settings("data.across_borders=false"))
    assert clips[-1] == rows[1]
    assert len(clips) == 5
    assert all(clip.start_seconds >= 4.1 and clip.end_seconds <= 12 + 1e-9 for clip in clips[:4])


def test_test_spans_stay_and_validation_has_a_quarter_at_most(recording: Path):
    rows = spans(recording, ("a", 1, 9), ("b", 9, 19))
    rows += spans(recording, ("a", 1, 9), ("b", 9, 19), split="val")
    rows += spans(recording, ("a", 1, 9), split="test")
    clips, notes = cut_spans(rows, settings("data.max_clips=8", "data.clips_per_span=40"))
    counts = Counter((clip.split, clip.label) for clip in clips)
    assert counts == {
        ("train", "a"): 4,
        ("train", "b"): 4,
        ("val", "a"): 1,
        ("val", "b"): 1,
        ("test", "a"): 1,
    }
    assert clips[-1] == rows[-1]
    assert [note.split(" that")[0] for note in notes] == ["train: 8 clips of 72", "val: 2 clips of 72"]


def test_classes_and_recordings_get_equal_shares_and_background_its_own():
    clips = [
        VideoItem(Path(f"{path}.mp4"), label, "train", None, float(k), k + 1.0)
        for path, label, count in (("p", "a", 50), ("q", "a", 3), ("p", "b", 4), ("q", "rest", 90))
        for k in range(count)
    ]
    chosen = choose_evenly(clips, 40, "rest", 0.5)
    assert Counter(clip.label for clip in chosen) == {"a": 16, "b": 4, "rest": 20}
    assert Counter(str(clip.path) for clip in chosen if clip.label == "a") == {"p.mp4": 13, "q.mp4": 3}
    starts = [clip.start_seconds for clip in chosen if clip.label == "rest"]
    assert np.ptp(starts) > 80  # spread over all there is
    assert choose_evenly(clips, 1000, None, 0.3) == clips


def test_shares_are_equal_as_far_as_there_is_enough():
    assert share_out({"a": 100, "b": 3, "c": 100}, 43) == {"b": 3, "a": 20, "c": 20}
    assert share_out({"a": 1, "b": 2}, 100) == {"a": 1, "b": 2}
    assert share_out({}, 7) == {}


def test_clips_without_a_length_are_refused():
    with pytest.raises(ConfigError, match=r"set clip\.sampling=dense"):
        require_dense(load_config(None, ["data.clips_per_span=4"]))
    require_dense(settings())


def test_overlaps_become_rows_of_several_labels():
    path = Path("day.mp4")
    rows = spans(path, ("a", 0, 4), ("b", 2, 6), ("c", 8, 9))
    assert overlapping(rows) == (rows[0], rows[1])
    assert overlapping(rows[1:]) is None
    joined = join_overlaps(rows)
    assert [(one.label, one.start_seconds, one.end_seconds) for one in joined] == [
        ("a", 0, 2),
        ("a|b", 2, 4),
        ("b", 4, 6),
        ("c", 8, 9),
    ]
    to_the_end = [*rows, VideoItem(path, "a", "train", None, 8.5, None)]
    assert [(one.label, one.end_seconds) for one in join_overlaps(to_the_end)][-2:] == [
        ("a|c", 9),
        ("a", None),
    ]
