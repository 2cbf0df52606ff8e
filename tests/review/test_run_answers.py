"""The answers of runs meet the clips of the page, whole and in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.review.evaluations import ANSWERS_A, ANSWERS_B, LABELS, NAMES, write_answers
from vidcli.data.items import VideoItem
from vidcli.errors import DataError
from vidcli.evaluate import compare, predictions_csv
from vidcli.predict import Prediction
from vidcli.review.clips import ClipList
from vidcli.review.run_answers import RunsSeen, find_answers, see_runs
from vidcli.runtime.outputs import OutputFolder


@pytest.fixture
def paths(clips: ClipList) -> list[Path]:
    return [item.path for item in clips.items]


@pytest.fixture
def see(clips: ClipList, tmp_path: Path) -> Callable[..., RunsSeen]:
    """Let runs answer: each has paths, answers and labels."""

    def see_these(*runs: tuple[list[Path], list[str | None], list[str]]) -> RunsSeen:
        tables = [
            (name, write_answers(tmp_path / f"{name}.csv", list(zip(paths, answers, strict=True)), labels))
            for name, (paths, answers, labels) in zip("AB", runs, strict=False)
        ]
        return see_runs(clips, tables, lambda note: None)

    return see_these


def test_two_runs_are_compared_video_by_video(
    see: Callable[..., RunsSeen], paths: list[Path], clips: ClipList
) -> None:
    # B has them in another order, and its run was trained where the data lay before.
    moved = [Path("/before") / path.parent.name / path.name for path in reversed(paths)]
    told = see((paths, ANSWERS_A, LABELS), (moved, ANSWERS_B[::-1], LABELS[::-1])).to_dict(clips)
    assert told["notes"] == []
    assert [video["id"] for video in told["videos"]] == list(range(6))
    assert [video["label"] for video in told["videos"]] == list(LABELS)
    for run, answers in enumerate((ANSWERS_A, ANSWERS_B)):
        assert tuple(video["answers"][run]["predicted"] for video in told["videos"]) == answers
    right = [[a == b for a, b in zip(answers, LABELS, strict=True)] for answers in (ANSWERS_A, ANSWERS_B)]
    assert told["comparison"] == compare(*right).to_dict()
    assert [run["num_right"] for run in told["runs"]] == [3, 3]


def test_an_answer_tells_the_best_classes_and_the_share_of_the_label(
    see: Callable[..., RunsSeen], paths: list[Path], clips: ClipList
) -> None:
    told = see((paths, ANSWERS_A, LABELS)).to_dict(clips)
    assert told["comparison"] is None
    wrong, failed = told["videos"][2]["answers"][0], told["videos"][5]["answers"][0]
    assert wrong["top"][0] == ["right", 0.6]
    assert wrong["share_of_label"] == 0.2
    assert (failed["predicted"], failed["error"], failed["top"]) == (None, "is damaged", [])


def test_what_one_run_alone_answered_is_said_and_left_out(
    see: Callable[..., RunsSeen], paths: list[Path], clips: ClipList
) -> None:
    seen = see((paths, ANSWERS_A, LABELS), (paths[1:], ANSWERS_B[1:], ["up", *LABELS[2:]]))
    assert [key[0] for key in seen.keys] == [1, 2, 3, 4, 5]
    assert seen.comparison is not None
    assert (seen.comparison.num_videos, seen.comparison.both_right) == (5, 0)
    assert seen.notes == [
        f"left out: 1 video that only A answered, such as {paths[0]}",
        f"1 video with another label for B, which does not count: {paths[1]}",
    ]


def test_videos_that_are_no_clips_count_and_are_said(
    see: Callable[..., RunsSeen], paths: list[Path], clips: ClipList
) -> None:
    gone = [Path("/gone/x.mp4"), *paths[1:]]
    seen = see((gone, ANSWERS_A, LABELS))
    assert seen.to_dict(clips)["videos"][0] | {"answers": []} == {
        "id": None, "name": "/gone/x.mp4", "label": "left", "answers": [],
    }  # fmt: skip
    assert "not to be played: 1 video" in seen.notes[0]


def test_runs_without_a_common_clip_are_refused(see: Callable[..., RunsSeen], paths: list[Path]) -> None:
    with pytest.raises(DataError, match="no clip of this page was evaluated by both"):
        see((paths[:3], ANSWERS_A[:3], LABELS[:3]), (paths[3:], ANSWERS_B[3:], LABELS[3:]))


def test_rows_that_cannot_be_told_apart_are_refused(see: Callable[..., RunsSeen], paths: list[Path]) -> None:
    with pytest.raises(DataError, match="several rows about the same video"):
        see(([paths[0]] * 2, ["left", "up"], ["left", "up"]))


def test_subjects_of_one_span_are_told_apart(clips: ClipList, paths: list[Path], tmp_path: Path) -> None:
    video = VideoItem(paths[0], "left", start_seconds=0.0, end_seconds=1.0)
    both = [replace(video, track=name) for name in "ab"]
    told = [
        Prediction(str(video.path), NAMES, np.array(shares)) for shares in ([0.6, 0.2, 0.2], [0.2, 0.6, 0.2])
    ]
    table = tmp_path / "predictions.csv"
    table.write_text(predictions_csv(both, told, NAMES), encoding="utf-8")
    page = ClipList(both[::-1], ["0.mp4, b", "0.mp4, a"])
    videos = see_runs(page, [("A", table)], lambda note: None).to_dict(page)["videos"]
    assert [(row["name"], row["answers"][0]["predicted"]) for row in videos] == [
        ("0.mp4, a", "left"),
        ("0.mp4, b", "right"),
    ]
    # A page without boxes shows the clip of both; one without the clip names them.
    alone = ClipList([video, *clips.items[1:]], ["0.mp4", *clips.names[1:]])
    assert [key[0] for key in see_runs(alone, [("A", table)], lambda note: None).keys] == [0, 0]
    seen = see_runs(ClipList(both[:1], ["0.mp4, a"]), [("A", table)], lambda note: None)
    assert [row["name"] for row in seen.to_dict(page)["videos"]][1] == f"{paths[0]}, b"


def test_an_evaluation_is_found_by_its_folder_or_file(tmp_path: Path) -> None:
    table = write_answers(tmp_path / "evaluated" / "predictions.csv", [(Path("a.mp4"), "left")], ["left"])
    assert find_answers(table, tmp_path, "test", or_own=False) == table
    assert find_answers(table.parent, tmp_path, "test", or_own=False) == table


def test_answers_to_the_data_come_before_those_to_the_own_videos(tmp_path: Path) -> None:
    run, data = tmp_path / "run", tmp_path / "data.csv"
    run.mkdir()
    (run / "model.safetensors").touch()
    data.touch()
    assert find_answers(run, data, "test", or_own=True) is None
    own = write_answers(run / "eval-test" / "predictions.csv", [(Path("a.mp4"), "left")], ["left"])
    assert find_answers(run, data, "test", or_own=False) is None
    assert find_answers(run, data, "test", or_own=True) == own
    with OutputFolder(
        run / "eval-test-data", "eval", ("predictions.csv",), subject=str(data.resolve())
    ) as folder:
        folder.write_text("predictions.csv", own.read_text(encoding="utf-8"))
    assert find_answers(run, data, "test", or_own=True) == run / "eval-test-data" / "predictions.csv"
