"""What is said of clips is checked, and becomes what there is to learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidcli.errors import DataError
from vidcli.review.clips import ClipList, Segment, Verdict, labelled_items, parse_verdict, read_clips


def test_a_verdict_comes_back_from_plain_values() -> None:
    verdict = Verdict(None, False, (Segment(0.0, 1.5, "a"), Segment(1.5, 2.0, "b")), True)
    assert parse_verdict(verdict.to_dict()) == verdict


def test_segments_are_sorted_and_names_composed() -> None:
    parts = [{"start": 2, "end": 3, "label": "b"}, {"start": 0, "end": 2, "label": " e\u0301 "}]
    assert [part.label for part in parse_verdict({"segments": parts}).segments] == ["\u00e9", "b"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"label": ""}, "name of a class"),
        ({"label": "a\nb"}, "name of a class"),
        ({"label": "x" * 201}, "name of a class"),
        ({"label": 3}, "name of a class"),
        ({"flagged": "yes"}, "expected a verdict"),
        ({"segments": {}}, "expected a verdict"),
        ({"segments": [{"start": 0}]}, "expected segments with"),
        ({"segments": [{"start": 2, "end": 1, "label": "a"}]}, "from 2 to 1 s"),
        ({"segments": [{"start": 0, "end": float("nan"), "label": "a"}]}, "to nan s"),
        (
            {"segments": [{"start": 0, "end": 2, "label": "a"}, {"start": 1, "end": 3, "label": "b"}]},
            "overlap",
        ),
    ],
)
def test_bad_verdicts_are_refused(value: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_verdict(value)


def test_a_flat_folder_is_unlabelled(clips: ClipList) -> None:
    assert [item.label for item in clips.items] == [""] * 6
    assert list(clips.names) == [f"{n}.mp4" for n in range(6)]


def test_class_folders_are_labels_unless_told_otherwise(
    write_video: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("left", "right"):
        write_video(tmp_path / name / "a.mp4")
    assert [read_clips(tmp_path, False, print).given(n).label for n in (0, 1)] == ["left", "right"]
    unlabelled = read_clips(tmp_path, True, print)
    assert unlabelled.given(0) == Verdict()
    assert list(unlabelled.names) == ["left/a.mp4", "right/a.mp4"]


def test_spans_of_a_manifest_have_names_of_their_own(folder: Path) -> None:
    table = folder / "spans.csv"
    table.write_text("path,label,start,end\n0.mp4,a,0,1\n0.mp4,b,1,\ngone.mp4,a,,\n", encoding="utf-8")
    told: list[str] = []
    assert list(read_clips(table, False, told.append).names) == ["0.mp4 0-1 s", "0.mp4 1- s"]
    assert "1 videos are missing" in told[-1]


def test_subjects_of_a_span_have_names_of_their_own(folder: Path) -> None:
    table = folder / "spans.csv"
    table.write_text(
        "path,label,start,end,track\n0.mp4,a,0,1,mouse 1\n0.mp4,b,0,1,mouse 2\n", encoding="utf-8"
    )
    names = read_clips(table, False, lambda text: None).names
    assert list(names) == ["0.mp4, mouse 1 0-1 s", "0.mp4, mouse 2 0-1 s"]


def test_nothing_to_review_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no videos"):
        read_clips(tmp_path, True, print)


def test_flagged_clips_are_left_out_and_segments_are_rows(clips: ClipList) -> None:
    verdicts = [Verdict() for _ in clips.items]
    verdicts[0] = Verdict("a", is_flagged=True)
    verdicts[1] = Verdict("b")
    verdicts[2] = Verdict(None, False, (Segment(0.0, 1.0, "a"), Segment(1.0, 2.0, "b")))
    found = [
        (item.path.name, item.label, item.start_seconds, item.end_seconds)
        for item in labelled_items(clips, verdicts)
    ]
    assert found == [("1.mp4", "b", 0.0, None), ("2.mp4", "a", 0.0, 1.0), ("2.mp4", "b", 1.0, 2.0)]
