"""Train, validation and test sets that do not leak: stratified by class, groups kept whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vidcli.config import DataConfig
from vidcli.data.items import VideoItem, class_names_of, labels_of
from vidcli.errors import DataError


def assign_splits(items: Sequence[VideoItem], config: DataConfig) -> list[VideoItem]:
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
    given = {item.split for item in items}
    if given == {None}:
        assigned = _draw_test_then_val(items, config)
    elif "train" in given and "val" not in given and config.val_fraction > 0:
        train = [item for item in items if item.split == "train"]
        drawn = iter(_draw(train, {"val": config.val_fraction}, config.split_seed, config.multi_label))
        assigned = [next(drawn) if item.split == "train" else item for item in items]
    else:
        assigned = list(items)
    _check(assigned, config.multi_label)
    return assigned


def _draw_test_then_val(items: Sequence[VideoItem], config: DataConfig) -> list[VideoItem]:
    shares = {"test": config.test_fraction, "val": config.val_fraction}
    drawn = {split: share for split, share in shares.items() if share > 0}
    num_units = len(_units_of(items))
    if drawn and num_units < len(drawn) + 1:
        raise DataError(
            f"{num_units} separate videos or groups are too few for train, {' and '.join(drawn)}. Give "
            "splits in the manifest, or set data.val_fraction or data.test_fraction to 0"
        )
    if sum(drawn.values()) >= 1:
        raise DataError("data.val_fraction and data.test_fraction leave no videos to train on")
    assigned = list(items)
    left = 1.0
    for split, share in drawn.items():
        kept = [item for item in assigned if item.split in (None, "train")]
        if len(_units_of(kept)) < 2:
            break  # what is left is needed to train on
        given = iter(_draw(kept, {split: share / left}, config.split_seed, config.multi_label))
        assigned = [next(given) if item.split in (None, "train") else item for item in assigned]
        left -= share
    return [item if item.split is not None else replace(item, split="train") for item in assigned]


def _units_of(items: Sequence[VideoItem]) -> list[list[int]]:
    """Return the positions of the items of each group or ungrouped file, sorted by its name."""
    units: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        units[("group", item.group) if item.group is not None else ("video", str(item.path))].append(index)
    return [units[key] for key in sorted(units)]


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
    num_units = len({("group", item.group) if item.group else ("video", item.path) for item in items})
    if num_units < 2:
        raise DataError(
            "all videos are of one group: none can be held out from the others. Group them by what may "
            "repeat (a recording, a person), in the manifest's group column"
        )
    num_folds = min(num_folds, num_units)
    shares = {str(fold): 1 / num_folds for fold in range(1, num_folds)}
    drawn = _draw(items, shares, seed)  # what it calls train is fold 0
    names = [item.split or "" for item in drawn]
    number_of = {name: number for number, name in enumerate(sorted(set(names)))}
    return [number_of[name] for name in names]


def of_split(items: Sequence[VideoItem], split: str) -> list[VideoItem]:
    """Return the items of one split."""
    return [item for item in items if item.split == split]


def _draw(
    items: Sequence[VideoItem], fractions: Mapping[str, float], seed: int, multi_label: bool = False
) -> list[VideoItem]:
    """Assign each unit (a group, or a video without a group) to the split that then fits its share best.

    The largest units are assigned first, as in greedy bin packing, because a large recording that comes
    late would exceed the share of any split. The misfit is the squared distance from each split's target
    count, class by class, relative to the size of the class, so that rare classes count as much as
    common ones. The last unit of a class that train still lacks goes to train, whatever the shares.
    Spans of one file are one unit, because they share scene and camera.
    """
    unit_list = _units_of(items)
    if fractions and len(unit_list) < len(fractions) + 1:
        raise DataError(
            f"{len(unit_list)} separate videos or groups are too few for train, {' and '.join(fractions)}. "
            "Give splits in the manifest, or set data.val_fraction or data.test_fraction to 0"
        )
    # Videos without any class count as a class of their own here.
    names_of = [labels_of(item.label, multi_label) or ("",) for item in items]
    labels = sorted({name for names in names_of for name in names})
    column = {label: k for k, label in enumerate(labels)}

    def count(indices: Iterable[int]) -> npt.NDArray[np.int64]:
        found = [column[name] for index in indices for name in names_of[index]]
        return np.bincount(found, minlength=len(labels))

    # Only roughly by size: in the exact order, groups of different sizes would allow one assignment only.
    weight_U = np.random.default_rng(seed).uniform(0.5, 1.5, len(unit_list))
    order = sorted(range(len(unit_list)), key=lambda unit: -len(unit_list[unit]) * weight_U[unit])

    totals_K = count(range(len(items))).astype(float)
    names = ["train", *fractions]
    shares = np.array([1 - sum(fractions.values()), *fractions.values()])
    wanted_SK = shares[:, None] * totals_K
    counts_SK = np.zeros_like(wanted_SK)
    split_of: dict[int, str] = {}
    added_UK = np.array([count(unit) for unit in unit_list])
    waiting_K = np.count_nonzero(added_UK, axis=0)  # units of the class that have no split yet
    for unit in order:
        members, added_K = unit_list[unit], added_UK[unit]
        # How much the misfit grows if split s takes this unit; the others stay as they are.
        growth_S = (
            ((counts_SK + added_K - wanted_SK) ** 2 - (counts_SK - wanted_SK) ** 2) / totals_K**2
        ).sum(axis=1)
        last_chance_K = (added_K > 0) & (waiting_K == 1) & (counts_SK[0] == 0)
        chosen = 0 if last_chance_K.any() else int(np.argmin(growth_S))
        waiting_K -= added_K > 0
        counts_SK[chosen] += added_K
        split_of.update(dict.fromkeys(members, names[chosen]))
    return [replace(item, split=split_of[index]) for index, item in enumerate(items)]


def _check(items: Sequence[VideoItem], multi_label: bool) -> None:
    train_labels = set(class_names_of(of_split(items, "train"), multi_label))
    if not train_labels:
        raise DataError("no videos to train on: the train split is empty")
    for split in ("val", "test"):
        strangers = sorted(set(class_names_of(of_split(items, split), multi_label)) - train_labels)
        if strangers:
            raise DataError(
                f"classes in {split} that train lacks: {', '.join(strangers)}. Add training videos of "
                "them, or leave them out"
            )
    splits_of_group: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        if item.group is not None and item.split is not None:
            splits_of_group[item.group][item.split] += 1
    torn = [group for group, splits in splits_of_group.items() if len(splits) > 1]
    if torn:
        raise DataError(
            f"groups that appear in more than one split: {', '.join(torn[:10])}. Scores would be too good; "
            "keep each group in one split, or drop the group column"
        )
