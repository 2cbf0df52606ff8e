from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vidcli.config import DataConfig
from vidcli.data.items import VideoItem
from vidcli.data.splits import assign_folds, assign_splits, folds_of_groups, of_split
from vidcli.data.stratified import Members, draw_in_turn, draw_single_videos
from vidcli.errors import DataError

DEFAULT = DataConfig()


def video(number: int, label: str = "run", split: str | None = None, group: str | None = None) -> VideoItem:
    return VideoItem(Path(f"{number}.mp4"), label, split, group)


def many(**num_of_class: int) -> list[VideoItem]:
    """Return items without groups: so many of each class."""
    labels = [label for label, count in num_of_class.items() for _ in range(count)]
    return [video(number, label) for number, label in enumerate(labels)]


def counts(items: list[VideoItem]) -> Counter[tuple[str, str | None]]:
    return Counter((item.label, item.split) for item in items)


def splits_of_groups(items: list[VideoItem]) -> dict[str | None, set[str | None]]:
    return {
        group: {item.split for item in items if item.group == group} for group in {i.group for i in items}
    }


@st.composite
def grouped_items(draw: st.DrawFn) -> list[VideoItem]:
    """Draw videos in groups of very unequal size, of classes of very unequal size."""
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from("aaaabbc"), st.none() | st.integers(0, 6)), min_size=1, max_size=60
        )
    )
    return [
        video(number, label, group=None if group is None else f"g{group // 2}")
        for number, (label, group) in enumerate(rows)
    ]


# --- drawn splits ---------------------------------------------------------------------------------


@given(grouped_items(), st.integers(0, 99), st.sampled_from([0.15, 0.4, 0.7]))
def test_groups_stay_whole_and_train_knows_every_class(
    items: list[VideoItem], seed: int, test_fraction: float
) -> None:
    num_units = sum(item.group is None for item in items) + len({i.group for i in items if i.group})
    assume(num_units >= 3)
    assigned = assign_splits(items, DataConfig(split_seed=seed, test_fraction=test_fraction))
    assert [(item.path, item.label, item.group) for item in assigned] == [
        (item.path, item.label, item.group) for item in items
    ]
    assert {item.split for item in assigned} <= {"train", "val", "test"}
    torn = {group for group, splits in splits_of_groups(assigned).items() if group and len(splits) > 1}
    assert torn == set()
    assert {item.label for item in of_split(assigned, "train")} == {item.label for item in items}


def test_shares_are_met_in_every_class() -> None:
    items = many(common=200, middle=40, rare=20)
    assigned = counts(assign_splits(items, DataConfig(val_fraction=0.1, test_fraction=0.2)))
    for label, total in (("common", 200), ("middle", 40), ("rare", 20)):
        assert assigned[label, "test"] == pytest.approx(0.2 * total, abs=1)
        assert assigned[label, "val"] == pytest.approx(0.1 * total, abs=1)


def test_shares_are_nearly_met_with_groups() -> None:
    rng = np.random.default_rng(0)
    items = [
        video(number, label, group=f"g{rng.integers(40)}")
        for number, label in enumerate(["a"] * 300 + ["b"] * 100)
    ]
    assigned = counts(assign_splits(items, DEFAULT))
    for label, total in (("a", 300), ("b", 100)):
        for split in ("val", "test"):
            assert 0.08 * total < assigned[label, split] < 0.22 * total


@pytest.mark.parametrize("seed", range(5))
def test_rare_classes_in_big_groups_are_stratified_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = [("common", group) for group in range(24) for _ in range(rng.integers(20, 60))]
    labels += [("rare", group) for group in range(0, 24, 3)]
    items = [video(number, label, group=f"g{group}") for number, (label, group) in enumerate(labels)]
    assigned = counts(assign_splits(items, DataConfig(val_fraction=0.25, test_fraction=0.25)))
    assert (assigned["rare", "train"], assigned["rare", "val"], assigned["rare", "test"]) == (4, 2, 2)


def test_a_big_group_does_not_overshoot() -> None:
    items = [video(number, group="big" if number >= 70 else None) for number in range(100)]
    assigned = counts(assign_splits(items, DEFAULT))
    assert assigned["run", "val"] == pytest.approx(15, abs=1)
    assert assigned["run", "test"] == pytest.approx(15, abs=1)


def test_the_seed_decides() -> None:
    items = many(a=30, b=30)
    first, again, other = (assign_splits(items, DataConfig(split_seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("num_rare", [1, 2])
def test_rare_classes_stay_in_train(num_rare: int) -> None:
    for seed in range(10):
        assigned = counts(assign_splits(many(common=40, rare=num_rare), DataConfig(split_seed=seed)))
        assert assigned["rare", "train"] == num_rare


def test_a_class_of_one_group_stays_in_train_beside_any_other() -> None:
    # The shares alone would send the big group away from train, and class b with it.
    items = [video(number, "a", group="big") for number in range(12)] + [video(12, "b", group="big")]
    items += [video(20 + number, "a", group=f"g{number}") for number in range(3)]
    config = DataConfig(test_fraction=0.8, val_fraction=0.1)
    assigned = assign_splits(items, config)
    assert {item.split for item in assigned if item.group == "big"} == {"train"}


def test_spans_of_one_file_stay_together() -> None:
    items = [
        VideoItem(Path(f"{number}.mp4"), "ab"[number % 2], None, None, start, start + 1)
        for number in range(20)
        for start in (0.0, 1.0, 2.0)
    ]
    assigned = assign_splits(items, DEFAULT)
    assert {item.split for item in assigned} == {"train", "val", "test"}
    for path in {item.path for item in assigned}:
        assert len({item.split for item in assigned if item.path == path}) == 1


@pytest.mark.parametrize(
    ("fractions", "splits"),
    [
        ({"val_fraction": 0, "test_fraction": 0}, {"train"}),
        ({"val_fraction": 0, "test_fraction": 0.5}, {"train", "test"}),
        ({"val_fraction": 0.5, "test_fraction": 0}, {"train", "val"}),
    ],
)
def test_a_share_of_zero_makes_no_split(fractions: dict[str, float], splits: set[str]) -> None:
    assert {item.split for item in assign_splits(many(a=2, b=2), DataConfig(**fractions))} == splits
    # Two videos are enough where nobody asks for three splits.
    assert len(assign_splits(many(a=2), DataConfig(**fractions))) == 2


def test_too_few_groups_are_refused() -> None:
    items = [video(number, group=f"g{number % 2}") for number in range(10)]
    with pytest.raises(DataError, match="2 separate videos or groups are too few for train, test and val"):
        assign_splits(items, DEFAULT)


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(DataError, match="leave no videos to train on"):
        assign_splits(many(a=10), DataConfig(val_fraction=0.5, test_fraction=0.6))


# --- given splits ---------------------------------------------------------------------------------


def test_given_splits_are_kept() -> None:
    items = [video(1, "a", "train"), video(2, "a", "val"), video(3, "a", "test"), video(4, "a", "test")]
    assert assign_splits(items, DEFAULT) == items


def test_val_is_carved_from_train_alone_and_by_group() -> None:
    train = [video(number, "ab"[number % 2], "train", f"g{number // 4}") for number in range(80)]
    test = [video(100 + number, "ab"[number % 2], "test", "other") for number in range(10)]
    assigned = assign_splits([*test, *train], DataConfig(val_fraction=0.2))
    assert assigned[:10] == test
    assert {item.split for item in assigned[10:]} == {"train", "val"}
    assert len(of_split(assigned, "val")) == pytest.approx(16, abs=4)
    assert all(len(splits) == 1 for splits in splits_of_groups(assigned).values())


def test_no_val_is_carved_where_none_is_wanted() -> None:
    items = [video(1, "a", "train"), video(2, "a", "test")]
    assert assign_splits(items, DataConfig(val_fraction=0)) == items


def test_a_torn_group_is_refused() -> None:
    items = [video(1, "a", "train", "tim"), video(2, "a", "test", "tim"), video(3, "a", "val", "ann")]
    with pytest.raises(DataError, match="more than one split: tim"):
        assign_splits(items, DEFAULT)


@pytest.mark.parametrize("split", ["val", "test"])
def test_labels_that_train_lacks_are_refused(split: str) -> None:
    items = [video(1, "a", "train"), video(2, "b", "train"), video(3, "a", "val"), video(4, "new", split)]
    with pytest.raises(DataError, match=f"classes in {split} that train lacks: new"):
        assign_splits(items, DEFAULT)


@pytest.mark.parametrize("splits", [("test", "test"), ("val", "test")])
def test_data_without_train_is_refused(splits: tuple[str, str]) -> None:
    items = [video(number, "a", split) for number, split in enumerate(splits)]
    with pytest.raises(DataError, match="train split is empty"):
        assign_splits(items, DEFAULT)


# --- folds ----------------------------------------------------------------------------------------


def test_every_item_is_held_out_once_and_groups_stay_whole() -> None:
    items = [video(n, "run" if n % 2 else "jump", group=f"g{n // 4}") for n in range(40)]
    folds = assign_folds(items, 5, seed=0)
    assert Counter(folds) == dict.fromkeys(range(5), 8)
    assert all(len(set(folds[n : n + 4])) == 1 for n in range(0, 40, 4))
    assert folds == assign_folds(items, 5, seed=0) != assign_folds(items, 5, seed=1)


def test_folds_are_balanced_by_class() -> None:
    items = many(run=20, jump=10)
    folds = assign_folds(items, 5, seed=3)
    for fold in range(5):
        held_out = Counter(item.label for item, its in zip(items, folds, strict=True) if its == fold)
        assert held_out == {"run": 4, "jump": 2}


def test_few_groups_are_a_fold_each_and_one_is_refused() -> None:
    assert sorted(assign_folds([video(n, group=f"g{n}") for n in range(3)], 5, seed=0)) == [0, 1, 2]
    with pytest.raises(DataError, match="all videos are of one group"):
        assign_folds([video(n, group="g") for n in range(3)], 5, seed=0)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=200),
    st.integers(0, 9),
    st.sampled_from([0.1, 0.15, 0.5]),
)
def test_single_videos_are_drawn_as_if_in_turn(classes: list[int], seed: int, share: float) -> None:
    num = len(classes)
    members = Members(np.arange(num), np.array(classes), np.ones(num, np.int64), num, 5)
    order = np.random.default_rng(seed).permutation(num)
    shares = np.array([1 - 2 * share + 0.01, share, share - 0.01])
    with np.errstate(divide="ignore", invalid="ignore"):
        assert (
            draw_single_videos(members, order, shares).tolist()
            == draw_in_turn(members, order, shares).tolist()
        )


def test_groups_of_one_class_each_are_held_out_one_by_one() -> None:
    items = [VideoItem(Path(f"{n}.mp4"), "ab"[n % 2], group="ab"[n % 2]) for n in range(6)]
    assert assign_folds(items, 5, seed=0) == [0] * 6  # which would leave nothing to learn from
    assert folds_of_groups(items, 5, seed=0) == [0, 1] * 3
    others = [VideoItem(Path(f"{n}.mp4"), "ab"[n % 2], group=str(n // 2)) for n in range(8)]
    assert folds_of_groups(others, 3, seed=0) == assign_folds(others, 3, seed=0)
