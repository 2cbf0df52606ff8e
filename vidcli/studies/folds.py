"""Which videos are held out when: every video once, whole groups together, test videos never."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidcli.config import Config, DataConfig
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.manifest import read_data
from vidcli.data.splits import assign_folds, assign_splits
from vidcli.errors import ConfigError, DataError
from vidcli.train.events import Notice
from vidcli.train.recording_spans import settle_spans

BY_GROUP = "group"
"""What `--folds` says where each group is held out in turn."""

MAX_FOLDS = 100
_NUM_PARTS = 4
"""A learning curve trains on one, two and four of so many parts."""


@dataclass(frozen=True)
class Fold:
    """One training of a cross-validation.

    Attributes:
        number: from 1.
        name: of its folder, such as `fold-1`.
        group: the group that is held out, where it is a single one by itself.
        train: the videos to train on; a recipe may hold some of them out for validation.
        held_out: the videos to answer.
        filled: a class that the run fills into gaps of recordings by itself; None for none.
    """

    number: int
    name: str
    group: str | None
    train: tuple[VideoItem, ...]
    held_out: tuple[VideoItem, ...]
    filled: str | None = None

    @property
    def strange_classes(self) -> list[str]:
        """The classes of held-out videos that no training video has: no answer to these can be right."""
        known = set(class_names_of(self.train))
        return [name for name in class_names_of(self.held_out) if name not in known]

    def manifest_items(self) -> list[VideoItem]:
        """Return what the run of this fold reads; held-out videos of classes that it learns are its test."""
        left_out = {*self.strange_classes, self.filled}
        tested = [replace(item, split="test") for item in self.held_out if item.label not in left_out]
        learnt = [replace(item, split="train") for item in self.train if item.label != self.filled]
        return [*learnt, *tested]


def check_folds(folds: str) -> str:
    """Return what `--folds` says, if that is a number of folds or `group`.

    Raises:
        ConfigError: it is neither.
    """
    if folds != BY_GROUP and not (folds.isdecimal() and 2 <= int(folds) <= MAX_FOLDS):
        raise ConfigError(
            f"--folds {folds}: expected a number from 2 to {MAX_FOLDS}, or group for one a group"
        )
    return folds


def read_studied(
    data: Path, config: Config, on_event: Callable[[Notice], None], all_splits: bool
) -> Sequence[VideoItem]:
    """Return the videos of a study, or its spans of recordings with what nobody labelled in them.

    Args:
        data: a folder, manifest or published data set.
        config: all settings, of the first recipe.
        on_event: called with notices.
        all_splits: take the test videos too.

    Raises:
        ConfigError: spans overlap, so that a moment has several classes.
        DataError: the data cannot be read, no test split can be drawn, or nothing is left.
    """
    listing = read_data(data, settings=config.data)
    for text in listing.notes:
        on_event(Notice(text))
    settled, rows = settle_spans(config, listing.items, lambda text: on_event(Notice(text)))
    if settled.data.multi_label and not config.data.multi_label:
        raise ConfigError(f"{data}: spans of different classes overlap; a study scores one class at a time")
    return studied_items(rows, config.data, all_splits)


def studied_items(items: Sequence[VideoItem], config: DataConfig, all_splits: bool) -> Sequence[VideoItem]:
    """Return the videos of a study: all but those of test, which are drawn as `train` draws them.

    Args:
        items: a data set, with or without splits.
        config: share and seed of a test split that is to be drawn.
        all_splits: take the test videos too.

    Raises:
        DataError: no test split can be drawn, or nothing is left.
    """
    if all_splits:
        chosen = list(items)
    else:
        drawn = assign_splits(items, config.model_copy(update={"val_fraction": 0.0}))
        chosen = [item for item in drawn if item.split != "test"]
    if len(class_names_of(chosen)) < 2:
        raise DataError("videos of fewer than two classes outside of the test split; nothing to learn")
    return [replace(item, split=None) for item in chosen]


def make_folds(items: Sequence[VideoItem], folds: str, seed: int, filled: str | None = None) -> list[Fold]:
    """Return the folds of a cross-validation.

    Args:
        items: the videos of the study.
        folds: a number of folds, or `group` for one a group.
        seed: of the random assignment to a number of folds.
        filled: the class that was filled into gaps of recordings, which each run does by itself.

    Raises:
        DataError: there are no groups to hold out, or only one.
    """
    if folds == BY_GROUP:
        lone = [item for item in items if item.group is None]
        if lone:
            raise DataError(
                f"--folds group: {len(lone)} videos have no group, such as {lone[0].path}; name groups in "
                "the manifest's group column or with data.folders, or give a number of folds"
            )
        names = sorted({str(item.group) for item in items})
        if len(names) < 2:
            raise DataError(f"--folds group: all videos are of the group {names[0]!r}; expected two or more")
        number_of = [names.index(str(item.group)) for item in items]
    else:
        names = []
        number_of = assign_folds(items, int(folds), seed)
    made = []
    for number in range(max(number_of) + 1):
        pairs = list(zip(items, number_of, strict=True))
        made.append(
            Fold(
                number + 1,
                f"fold-{number + 1}",
                names[number] if names else None,
                tuple(item for item, other in pairs if other != number),
                tuple(item for item, other in pairs if other == number),
                filled,
            )
        )
    return made


def smaller_folds(fold: Fold, seed: int) -> dict[float, Fold]:
    """Return folds that hold out the same videos and train on a quarter and a half of the groups, by share.

    The quarter is part of the half. It is the one with most classes, as groups differ in what they show.

    Args:
        fold: trains on all groups.
        seed: of the random choice of groups.

    Raises:
        DataError: there are too few groups to train on.
    """
    part_of = assign_folds(fold.train, _NUM_PARTS, seed)
    if max(part_of) + 1 < _NUM_PARTS:
        raise DataError(
            f"--learning-curve: {fold.name} trains on {max(part_of) + 1} separate groups or videos; "
            f"expected {_NUM_PARTS} or more, for a quarter and a half of them"
        )

    def classes_in(part: int) -> int:
        return len(class_names_of(i for i, other in zip(fold.train, part_of, strict=True) if other == part))

    order = sorted(range(_NUM_PARTS), key=lambda part: (-classes_in(part), part))
    smaller = {}
    for num_parts in (1, 2):
        share = num_parts / _NUM_PARTS
        chosen = set(order[:num_parts])
        train = tuple(i for i, part in zip(fold.train, part_of, strict=True) if part in chosen)
        smaller[share] = replace(fold, name=f"{fold.name}-{share:.0%}".replace("%", "pct"), train=train)
    return smaller
