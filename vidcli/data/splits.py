"""Train, validation and test sets that do not leak: stratified by class, groups kept whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vidcli.arrays import Int64
from vidcli.config import DataConfig
from vidcli.data.items import VideoItem, class_names_of, labels_of
from vidcli.data.stratified import Members, draw_in_turn, draw_single_videos
from vidcli.data.video_table import CodedColumn, VideoTable
from vidcli.errors import DataError


def assign_splits(items: Sequence[VideoItem], config: DataConfig) -> VideoTable:
    """Return the items in their order, each with a split.

    If no item has a split, test is drawn from all videos and then val from the rest, so that recipes
    with other shares for validation are tested on the same videos. If there is a train but no val split,
    val is drawn from train. Given splits are not changed in any other case.

    Args:
        items: videos, of which either all or none have a split.
        config: shares of the splits and the seed.

    Raises:
        DataError: nothing is left to train on, a group spans given splits, or a class of val or
            test does not occur in train.
    """
    table = VideoTable.of(items)
    given = table.splits.counts()
    if not given:
        table = _draw_test_then_val(table, config)
    elif "train" in given and "val" not in given and config.val_fraction > 0:
        train_M = np.flatnonzero(table.splits.mask("train"))
        table = _draw_from(table, _units_of(table), train_M, {"val": config.val_fraction}, config)
    _check(table, config.multi_label)
    return table


def _draw_test_then_val(items: VideoTable, config: DataConfig) -> VideoTable:
    shares = {"test": config.test_fraction, "val": config.val_fraction}
    drawn = {split: share for split, share in shares.items() if share > 0}
    units_N = _units_of(items)
    num_units = _num_units(units_N)
    if drawn and num_units < len(drawn) + 1:
        raise DataError(
            f"{num_units} separate videos or groups are too few for train, {' and '.join(drawn)}. Give "
            "splits in the manifest, or set data.val_fraction or data.test_fraction to 0"
        )
    if sum(drawn.values()) >= 1:
        raise DataError("data.val_fraction and data.test_fraction leave no videos to train on")
    items = items.with_splits(CodedColumn(np.zeros(len(items), np.int32), ("train",)))
    left = 1.0
    for split, share in drawn.items():
        kept_M = np.flatnonzero(items.splits.mask("train"))
        if _num_units(units_N[kept_M]) < 2:
            break  # what is left is needed to train on
        items = _draw_from(items, units_N, kept_M, {split: share / left}, config)
        left -= share
    return items


def _draw_from(
    items: VideoTable, units_N: Int64, rows_M: Int64, shares: Mapping[str, float], config: DataConfig
) -> VideoTable:
    """Draw splits for some of the rows, which are in train until then.

    Args:
        items: all videos.
        units_N: their units.
        rows_M: which of them to draw from.
        shares: share of each split.
        config: the seed, and whether a video has several classes.
    """
    labels = items.labels.take(rows_M)
    drawn_M, names = _draw(labels, units_N[rows_M], shares, config.split_seed, config.multi_label)
    values = [*items.splits.values, *(name for name in names if name not in items.splits.values)]
    codes_N = items.splits.codes_N.copy()
    codes_N[rows_M] = np.array([values.index(name) for name in names], np.int32)[drawn_M]
    return items.with_splits(CodedColumn(codes_N, values))


def _units_of(items: VideoTable) -> Int64:
    """Return the number of the unit of each item, which is a group or an ungrouped file.

    Units are numbered from 0 in the order of their names, groups first.
    """
    is_grouped_N = items.groups.codes_N >= 0
    if not is_grouped_N.any():
        return items.paths.ranks_N
    used, codes_G = np.unique(items.groups.codes_N[is_grouped_N], return_inverse=True)
    rank_G = np.argsort(np.argsort([items.groups.values[code] for code in used])) if len(used) else codes_G
    units_N = np.empty(len(items), np.int64)
    units_N[is_grouped_N] = rank_G[codes_G]
    units_N[~is_grouped_N] = len(used) + items.paths.take(np.flatnonzero(~is_grouped_N)).ranks_N
    return units_N


def number_units(items: Sequence[VideoItem]) -> Int64:
    """Return the number of the group of each video, or of the file where it has none, from 0."""
    return _units_of(VideoTable.of(items))


def _num_units(units_N: Int64) -> int:
    return int(np.count_nonzero(np.bincount(units_N)))


def assign_folds(items: Sequence[VideoItem], num_folds: int, seed: int) -> list[int]:
    """Return for each item the number of the fold that holds it out, from 0; groups are kept whole.

    There are fewer folds than asked for if there are fewer separate groups or videos, or if these
    do not spread over all folds.

    Args:
        items: videos.
        num_folds: number of folds.
        seed: seed of the random assignment.

    Raises:
        DataError: all videos are of one group, so that there cannot be two folds.
    """
    table = VideoTable.of(items)
    units_N = _units_of(table)
    num_units = _num_units(units_N)
    if num_units < 2:
        raise DataError(
            "all videos are of one group: none can be held out from the others. Group them by what may "
            "repeat (a recording, a person), in the manifest's group column"
        )
    num_folds = min(num_folds, num_units)
    shares = {str(fold): 1 / num_folds for fold in range(1, num_folds)}
    drawn_N, names = _draw(table.labels, units_N, shares, seed)  # what it calls train is fold 0
    used = sorted(names[code] for code in np.flatnonzero(np.bincount(drawn_N)).tolist())
    return [used.index(names[code]) for code in drawn_N.tolist()]


def folds_of_groups(items: Sequence[VideoItem], most: int, seed: int) -> list[int]:
    """Return folds as `assign_folds` does, of which there are two at least.

    Where each class is in groups of its own, all that can be drawn is one fold, which would leave nothing to
    learn from. Every group is held out by itself then, also if these are more than asked for.

    Args:
        items: videos.
        most: number of folds.
        seed: seed of the random assignment.

    Raises:
        DataError: all videos are of one group, so that there cannot be two folds.
    """
    folds = assign_folds(items, most, seed)
    return folds if any(folds) else number_units(items).tolist()


def of_split(items: Sequence[VideoItem], split: str) -> Sequence[VideoItem]:
    """Return the items of one split."""
    if isinstance(items, VideoTable):
        return items.of_split(split)
    return [item for item in items if item.split == split]


def _draw(
    labels: CodedColumn,
    units_N: Int64,
    fractions: Mapping[str, float],
    seed: int,
    multi_label: bool = False,
) -> tuple[Int64, list[str]]:
    """Assign each unit (a group, or a video without a group) to the split that then fits its share best.

    The largest units are assigned first, as in greedy bin packing, because a large recording that comes
    late would exceed the share of any split. The misfit is the squared distance from each split's target
    count, class by class, relative to the size of the class, so that rare classes count as much as
    common ones. The last unit of a class that train still lacks goes to train, whatever the shares.
    Spans of one file are one unit, because they share scene and camera.

    Args:
        labels: label of each video.
        units_N: number of the unit of each video, in the order of the units' names.
        fractions: share of each split but train.
        seed: seed of the random draw.
        multi_label: whether a video may have several classes.

    Returns:
        The position of each item's split among the names of splits, and these.
    """
    _, units_N, sizes_U = np.unique(units_N, return_inverse=True, return_counts=True)
    num_units = len(sizes_U)
    if fractions and num_units < len(fractions) + 1:
        raise DataError(
            f"{num_units} separate videos or groups are too few for train, {' and '.join(fractions)}. "
            "Give splits in the manifest, or set data.val_fraction or data.test_fraction to 0"
        )
    shares_S = np.array([1 - sum(fractions.values()), *fractions.values()])
    members = _count_members(labels, units_N, num_units, multi_label)
    # Only roughly by size: in the exact order, groups of different sizes would allow one assignment only.
    weight_U = np.random.default_rng(seed).uniform(0.5, 1.5, num_units)
    order_U = np.argsort(-sizes_U * weight_U, kind="stable")
    draw = draw_single_videos if members.are_single else draw_in_turn
    return draw(members, order_U, shares_S)[units_N], ["train", *fractions]


def _count_members(labels: CodedColumn, units_N: Int64, num_units: int, multi_label: bool) -> Members:
    """Count the videos of each class in each unit."""
    # Videos without any class count as a class of their own here.
    names_of = [labels_of(label, multi_label) or ("",) for label in labels.values]
    present = np.flatnonzero(np.bincount(labels.codes_N)).tolist()
    names = sorted({name for code in present for name in names_of[code]})
    column = {name: k for k, name in enumerate(names)}
    most = max((len(names_of[code]) for code in present), default=0)
    # Of the videos whose labels hold so many names, the class of the first name, of the second and so on.
    keys = []
    for place in range(most):
        class_of_label = np.array(
            [column.get(found[place], -1) if place < len(found) else -1 for found in names_of], np.int64
        )
        classes_N = class_of_label[labels.codes_N]
        keys.append((units_N * len(names) + classes_N)[classes_N >= 0])
    found, counts = np.unique(np.concatenate(keys), return_counts=True)
    return Members(found // len(names), found % len(names), counts, num_units, len(names))


def _check(items: VideoTable, multi_label: bool) -> None:
    train_labels = set(class_names_of(items.of_split("train"), multi_label))
    if not train_labels:
        raise DataError("no videos to train on: the train split is empty")
    for split in ("val", "test"):
        strangers = sorted(set(class_names_of(items.of_split(split), multi_label)) - train_labels)
        if strangers:
            raise DataError(
                f"classes in {split} that train lacks: {', '.join(strangers)}. Add training videos of "
                "them, or leave them out"
            )
    groups_N, splits_N = items.groups.codes_N, items.splits.codes_N
    is_known_N = (groups_N >= 0) & (splits_N >= 0)
    pairs = np.unique(np.stack([groups_N[is_known_N], splits_N[is_known_N]]), axis=1)
    codes, num_splits = np.unique(pairs[0], return_counts=True)
    torn = {items.groups.values[code] for code in codes[num_splits > 1].tolist()}
    if torn:
        named = [group for group in items.groups.counts() if group in torn]
        raise DataError(
            f"groups that appear in more than one split: {', '.join(named[:10])}. Scores would be too good; "
            "keep each group in one split, or drop the group column"
        )
