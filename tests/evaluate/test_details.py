"""Slices and named videos, on files whose length and size are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vidcli.console import Terminal
from vidcli.console.evaluation_tables import print_details
from vidcli.console.terminal import Verbosity
from vidcli.data.items import VideoItem
from vidcli.evaluate import Details, Slice, bootstrap_interval, find_details, merge_small
from vidcli.predict import Prediction

ABC = ("a", "b", "c")


def says(item: VideoItem, name: str | None, probability: float = 0.8) -> Prediction:
    if name is None:
        return Prediction(str(item.path), ABC, None, "is broken")
    rest = (1 - probability) / 2
    return Prediction(str(item.path), ABC, np.array([probability if n == name else rest for n in ABC]))


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory, write_video: Callable[..., Path]) -> list[VideoItem]:
    """Three files: 0.5 s and 1 s of 48x32, 3 s of 32x48; the last twice, once as a span of 1 s."""
    folder = tmp_path_factory.mktemp("details")
    short = write_video(folder / "short.mp4", num_frames=4)
    second = write_video(folder / "second.mp4", num_frames=8)
    tall = write_video(folder / "tall.mp4", num_frames=24, height=48, width=32)
    return [
        VideoItem(short, "a", group="day"),
        VideoItem(second, "a", group="night"),
        VideoItem(tall, "b", group="night"),
        VideoItem(tall, "c", group="day", start_seconds=1.0, end_seconds=2.0),
    ]


def summary(details: Details, by: str) -> dict[str, tuple[int, int, float]]:
    return {row.name: (row.num_videos, row.num_failed, row.accuracy) for row in getattr(details, by)}


def test_slices(items: list[VideoItem]) -> None:
    predictions = [says(item, name) for item, name in zip(items, ["a", "b", "b", None], strict=True)]
    details = find_details(items, predictions, workers=2)
    assert summary(details, "by_group") == {"day": (2, 1, 0.5), "night": (2, 0, 0.5)}
    assert summary(details, "by_duration") == {
        "under 1 s": (1, 0, 1.0), "1 to 2 s": (2, 1, 0.0), "2 to 5 s": (1, 0, 1.0),
    }  # fmt: skip
    assert list(summary(details, "by_duration")) == ["under 1 s", "1 to 2 s", "2 to 5 s"]
    assert summary(details, "by_resolution") == {"48x32": (2, 0, 0.5), "32x48": (2, 1, 0.5)}
    low, high = details.by_duration[0].interval
    assert 0 < low < high == 1  # one video right proves little


def test_the_worst_group_comes_first_and_without_groups_there_are_none(items: list[VideoItem]) -> None:
    predictions = [says(item, name) for item, name in zip(items, ["b", "a", "b", "b"], strict=True)]
    assert [row.name for row in find_details(items, predictions, 1).by_group] == ["day", "night"]
    without = [replace(item, group=None) for item in items]
    assert find_details(without, predictions, 1).by_group == ()


def test_a_file_that_is_no_video_is_of_unknown_length_and_size(
    items: list[VideoItem], tmp_path: Path
) -> None:
    broken = VideoItem(tmp_path / "broken.mp4", "a")
    broken.path.write_bytes(b"no video")
    details = find_details([items[0], broken], [says(items[0], "a"), says(broken, None)], 1)
    assert summary(details, "by_duration") == {"under 1 s": (1, 0, 1.0), "unknown": (1, 1, 0.0)}
    assert summary(details, "by_resolution") == {"48x32": (1, 0, 1.0), "unknown": (1, 1, 0.0)}


def test_worst_and_most_confused_by_name(items: list[VideoItem]) -> None:
    answers = [("b", 0.5), ("b", 0.9), ("b", 0.4), (None, 0.0)]
    predictions = [says(item, *answer) for item, answer in zip(items, answers, strict=True)]
    details = find_details(items, predictions, 1)
    assert [(row.video, row.label, row.predicted, row.probability) for row in details.worst] == [
        (str(items[1].path), "a", "b", 0.9),
        (str(items[0].path), "a", "b", 0.5),
    ]
    assert details.worst[0].true_probability == pytest.approx(0.05)
    # By the lead of the first class over the second: 0.4 - 0.3, 0.5 - 0.25, 0.9 - 0.05.
    assert [Path(row.video).name for row in details.most_confused] == ["tall.mp4", "short.mp4", "second.mp4"]
    assert [row.margin for row in details.most_confused] == pytest.approx([0.1, 0.25, 0.85])


def test_the_subject_of_a_row_is_named(items: list[VideoItem]) -> None:
    both = [replace(items[0], track=name) for name in "ab"]
    details = find_details(both, [says(both[0], "b", 0.9), says(both[1], "a", 0.9)], 1)
    assert [row["track"] for row in details.to_dict()["worst"]] == ["a"]
    assert {row["track"] for row in details.to_dict()["most_confused"]} == {"a", "b"}


def test_at_most_twenty_are_named(items: list[VideoItem]) -> None:
    many = [items[0]] * 30
    details = find_details(many, [says(item, "b") for item in many], 1)
    assert (len(details.worst), len(details.most_confused)) == (20, 20)


def has(item: VideoItem, *probabilities: float) -> Prediction:
    return Prediction(str(item.path), ABC, np.array(probabilities), thresholds=(0.5, 0.4, 0.5))


def test_sets_of_classes(items: list[VideoItem]) -> None:
    labelled = [
        replace(item, label=label) for item, label in zip(items, ["a|b", "a", "|", "c|a"], strict=True)
    ]
    predictions = [
        has(labelled[0], 0.9, 0.45, 0.2),  # right
        has(labelled[1], 0.2, 0.7, 0.1),  # b for a
        has(labelled[2], 0.1, 0.1, 0.55),  # c for nothing
        Prediction("x", ABC, None, "is broken", thresholds=(0.5, 0.4, 0.5)),
    ]
    details = find_details(labelled, predictions, 1)
    assert details.is_multi_label
    assert [(row.video, row.label, row.predicted, row.missed, row.added) for row in details.worst] == [
        (str(items[1].path), "a", "b", "a", "b"),
        (str(items[2].path), "", "c", "", "c"),
    ]
    assert details.worst[0].loss == pytest.approx(-np.log([0.2, 0.3, 0.9]).mean())
    # Nearest to a threshold: 0.45 to 0.4, 0.55 to 0.5, 0.7 to 0.4.
    assert [row.margin for row in details.most_confused] == pytest.approx([0.05, 0.05, 0.3])
    assert summary(details, "by_group") == {"day": (2, 1, 0.5), "night": (2, 0, 0.0)}
    told = details.to_dict()
    assert told["by_group"][0]["exact_match"] == 0.0
    assert "top1" not in told["by_group"][0]
    assert set(told["by_group"][0]) == {
        "name", "num_videos", "num_failed", "exact_match", "exact_match_interval"
    }  # fmt: skip


# --- slices with few videos -----------------------------------------------------------------------


def of(name: str, num_right: int, num_videos: int, num_failed: int = 0) -> Slice:
    correct = np.arange(num_videos) < num_right
    return Slice(name, num_videos, num_failed, num_right / num_videos, bootstrap_interval(correct))


def test_a_group_of_few_videos_is_never_the_worst(items: list[VideoItem]) -> None:
    groups = ["many"] * 5 + ["few"] * 4 + ["better"] * 6
    named = [replace(items[0], group=group) for group in groups]
    answers = ["b", "b", "b", "a", "a", *["b"] * 4, *["a"] * 5, "b"]  # of the four, all are wrong
    predictions = [says(item, name) for item, name in zip(named, answers, strict=True)]
    details = find_details(named, predictions, 1)
    assert [row.name for row in details.by_group] == ["many", "better", "few"]
    assert len(details.to_dict()["by_group"]) == 3  # the JSON tells all


def test_small_slices_are_one_row_that_counts_them() -> None:
    rows = [of("a", 0, 4, 1), of("b", 3, 5), of("c", 2, 2, 1), of("d", 1, 9)]
    large, others = merge_small(rows, "group")
    assert [row.name for row in large] == ["b", "d"]
    assert others is not None
    assert others.name == "others (2 groups with fewer than 5 videos each)"
    assert (others.num_videos, others.num_failed, others.accuracy) == (6, 2, pytest.approx(2 / 6))
    assert others.interval == bootstrap_interval(np.array([True, True, False, False, False, False]))
    assert merge_small(rows[:1], "length")[1] is not None
    assert merge_small(rows[:1], "length")[1].name == "others (1 length with fewer than 5 videos)"  # type: ignore[union-attr]
    assert merge_small(rows[1::2], "size") == ((rows[1], rows[3]), None)


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_a_slice_is_read_as_it_was_told(is_multi_label: bool) -> None:
    row = of("day <1>", 3, 7, 1)
    assert Slice.from_dict(row.to_dict(is_multi_label)) == row


@pytest.mark.parametrize("num_groups", [3, 300])
def test_the_table_shows_small_groups_as_one_row(
    num_groups: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    small = tuple(of(f"person {number}", 0, 2) for number in range(num_groups))
    details = Details(False, (of("crowd", 6, 9), *small), (), (), (), ())
    print_details(Terminal.open(Verbosity.NORMAL), details)
    told = capsys.readouterr().out
    rows = [line for line in told.splitlines() if "crowd" in line or "others" in line or "person" in line]
    assert len(rows) == 2
    assert "crowd" in rows[0]
    assert f"others ({num_groups} groups with fewer than 5 videos each)" in rows[1]
    assert "eval.json tells each group by itself" in told
