"""Folds: every video is held out once, groups stay whole, test videos stay away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from vidcli.config import DataConfig
from vidcli.data.items import VideoItem, class_names_of
from vidcli.errors import ConfigError, DataError
from vidcli.studies.folds import check_folds, make_folds, smaller_folds, studied_items


def videos(num_groups=8, split=None, classes="ab", each=2):
    return [
        VideoItem(Path(f"{g}-{c}-{n}.mp4"), c, split, f"g{g}")
        for g in range(num_groups)
        for c in classes
        for n in range(each)
    ]


@pytest.mark.parametrize("folds", ["2", "3", "8", "20", "group"])
def test_each_video_is_held_out_once_with_its_group(folds):
    items = videos()
    made = make_folds(items, folds, seed=0)
    assert Counter(item for fold in made for item in fold.held_out) == Counter(items)
    for fold in made:
        assert {item.group for item in fold.train}.isdisjoint(item.group for item in fold.held_out)
        assert len(fold.train) + len(fold.held_out) == len(items)
    assert [fold.number for fold in made] == list(range(1, len(made) + 1))
    assert len(made) == min(8, int(folds) if folds != "group" else 8)


def test_folds_of_groups_are_named_after_them():
    assert [fold.group for fold in make_folds(videos(3), "group", 0)] == ["g0", "g1", "g2"]
    assert {fold.group for fold in make_folds(videos(3), "2", 0)} == {None}


def test_test_videos_stay_away_unless_asked_for():
    items = [*videos(4, "train"), VideoItem(Path("t.mp4"), "a", "test"), VideoItem(Path("v.mp4"), "a", "val")]
    chosen = studied_items(items, DataConfig(), all_splits=False)
    assert {item.path.name for item in items} - {item.path.name for item in chosen} == {"t.mp4"}
    assert {item.split for item in chosen} == {None}
    assert len(studied_items(items, DataConfig(), all_splits=True)) == len(items)


def test_without_splits_the_test_videos_are_those_that_train_would_draw():
    from vidcli.data.splits import assign_splits

    items = videos(12)
    drawn = {item.path for item in assign_splits(items, DataConfig()) if item.split == "test"}
    chosen = {item.path for item in studied_items(items, DataConfig(), all_splits=False)}
    assert drawn
    assert chosen == {item.path for item in items} - drawn


def test_a_class_of_one_group_only_is_strange_where_that_is_held_out():
    items = [*videos(3), VideoItem(Path("rare.mp4"), "rare", None, "g0")]
    fold, *others = make_folds(items, "group", 0)
    assert fold.strange_classes == ["rare"]
    assert [other.strange_classes for other in others] == [[], []]
    told = fold.manifest_items()
    assert "rare" not in class_names_of(told)
    assert {item.split for item in told if item.group == "g0"} == {"test"}
    assert {item.split for item in told if item.group != "g0"} == {"train"}


@pytest.mark.parametrize("folds", ["1", "0", "-3", "many", "101", "", "2.5"])
def test_wrong_numbers_of_folds_are_refused(folds):
    with pytest.raises(ConfigError, match=r"expected a number from 2 to 100, or group"):
        check_folds(folds)
    assert check_folds("group") == "group"


def test_groups_that_are_not_there_cannot_be_held_out():
    lone = [VideoItem(Path("lone.mp4"), "a")]
    with pytest.raises(DataError, match=r"1 videos have no group, such as lone\.mp4; name groups"):
        make_folds(videos() + lone, "group", 0)
    with pytest.raises(DataError, match="all videos are of the group 'g0'; expected two or more"):
        make_folds(videos(1), "group", 0)
    with pytest.raises(DataError, match="one group"):
        make_folds(videos(1), "5", 0)


def test_one_class_is_too_few():
    with pytest.raises(DataError, match="fewer than two classes"):
        studied_items(videos(8, classes="a"), DataConfig(), all_splits=True)


def test_smaller_folds_are_parts_of_each_other():
    fold = make_folds(videos(10), "5", 0)[0]
    smaller = smaller_folds(fold, 0)
    quarter, half = smaller[0.25], smaller[0.5]
    assert (quarter.name, half.name) == ("fold-1-25pct", "fold-1-50pct")
    assert set(quarter.train) < set(half.train) < set(fold.train)
    assert quarter.held_out == half.held_out == fold.held_out
    assert len({i.group for i in quarter.train}) == 2
    assert len({i.group for i in half.train}) == 4
    for part, rest in ((quarter, half), (half, fold)):
        kept = {item.group for item in part.train}
        assert kept.isdisjoint(item.group for item in rest.train if item not in part.train)


def test_the_quarter_has_most_classes():
    items = videos(7, classes="a") + [VideoItem(Path(f"{n}.mp4"), n, None, "full") for n in "abcd"]
    fold = make_folds(items, "group", 0)[1]
    assert class_names_of(smaller_folds(fold, 0)[0.25].train) == ["a", "b", "c", "d"]


def test_a_learning_curve_needs_groups():
    fold = make_folds(videos(4), "group", 0)[0]
    with pytest.raises(DataError, match="fold-1 trains on 3 separate groups or videos; expected 4 or more"):
        smaller_folds(fold, 0)
