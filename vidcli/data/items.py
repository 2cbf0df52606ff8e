"""A labelled video, and what all readers of data sets share: split names, class names, lists in messages."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from vidcli.errors import DataError
from vidcli.names import name_subject, normal_name, tell_alike, visible

SPLITS = ("train", "val", "test")
SPLIT_ALIASES = {
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
    "training": "train",
}
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
"""What the names of manifests end with."""
_NUM_NAMED = 10


Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""
Seen: TypeAlias = tuple[Path, str | None, Box | None]
"""A video, the subject in it, and the part of its picture."""


@dataclass(frozen=True)
class VideoItem:
    """One labelled video, or a span of one.

    Attributes:
        path: video file.
        label: class name, in composed Unicode form (NFC) however it was given. In a multi-label data
            set: several class names with `|` between them.
        split: train, val or test; None until a split is assigned.
        group: name of a recording, a person or the like, in NFC; all videos of a group are in one split.
        start_seconds: start of the span that is used, in seconds from the start of the video.
        end_seconds: end of that span; None is the end of the video.
        digest: digest of the file's content when a run began; see `data.relocation`.
        track: name of the subject that it is about, of those in the picture; None is the whole picture.
        box: left, top, width and height of the part of the picture that is used, in pixels of the upright
            frame; None where that is not fixed.
    """

    path: Path
    label: str
    split: str | None = None
    group: str | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    digest: str | None = field(default=None, compare=False)
    track: str | None = None
    box: Box | None = None

    @property
    def seen(self) -> Seen:
        """The video and what is seen of it, which items of one subject share."""
        return self.path, self.track, self.box

    @property
    def name(self) -> str:
        """The path, and which subject of the picture it is about."""
        return name_subject(self.path, self.track)

    def __post_init__(self) -> None:
        for name, text in (("label", self.label), ("group", self.group), ("track", self.track)):
            if text is not None:
                object.__setattr__(self, name, normal_name(text))


class CountedVideos(Sequence[VideoItem]):
    """Videos that are kept as columns, of which one is asked for without making each item."""

    @abstractmethod
    def path_texts(self) -> Iterable[str]:
        """Return the path of each video."""

    @abstractmethod
    def label_counts(self) -> Mapping[str, int]:
        """Return the number of videos of each label."""

    @abstractmethod
    def have_tracks(self) -> bool:
        """Return whether any is about a subject."""


LABEL_SEPARATOR = "|"


def parse_box(text: str) -> Box:
    """Return the four numbers in a cell, parted by commas, semicolons or blanks.

    Raises:
        ValueError: it holds something else.
    """
    try:
        left, top, width, height = map(float, text.replace(",", " ").replace(";", " ").split())
    except ValueError:
        raise ValueError(f"box {text!r}; expected left, top, width and height in pixels") from None
    if not all(map(math.isfinite, (left, top, width, height))) or width <= 0 or height <= 0:
        raise ValueError(f"box {text!r}; expected a width and a height above 0")
    return left, top, width, height


def box_text(box: Box) -> str:
    """Return a box as `parse_box` reads it."""
    return " ".join(f"{side:.12g}" for side in box)


def labels_of(label: str, multi_label: bool) -> tuple[str, ...]:
    """Return the class names in a label, each once.

    Args:
        label: one class name; in a multi-label data set several with `|` between them, or `|` for none.
        multi_label: whether the data set is a multi-label one.
    """
    if not multi_label:
        return (label,)
    names = (name.strip() for name in label.split(LABEL_SEPARATOR))
    return tuple(dict.fromkeys(name for name in names if name))


def path_texts_of(items: Iterable[VideoItem]) -> Iterable[str]:
    """Return the path of each video."""
    return items.path_texts() if isinstance(items, CountedVideos) else (str(item.path) for item in items)


def have_tracks(items: Iterable[VideoItem]) -> bool:
    """Return whether any of the videos is about a subject in it."""
    if isinstance(items, CountedVideos):
        return items.have_tracks()
    return any(item.track is not None for item in items)


def label_counts_of(items: Iterable[VideoItem]) -> Mapping[str, int]:
    """Return the number of videos of each label, in the order in which the labels come first."""
    return items.label_counts() if isinstance(items, CountedVideos) else Counter(item.label for item in items)


def class_counts_of(items: Iterable[VideoItem], multi_label: bool = False) -> Counter[str]:
    """Return the number of videos of each class, in the order in which the classes come first."""
    counts: Counter[str] = Counter()
    for label, count in label_counts_of(items).items():
        counts.update(dict.fromkeys(labels_of(label, multi_label), count))
    return counts


def class_names_of(items: Iterable[VideoItem], multi_label: bool = False) -> list[str]:
    """Return the class names that occur, in alphabetical order."""
    return sorted(class_counts_of(items, multi_label))


def require_two_classes(items: Iterable[VideoItem], multi_label: bool) -> None:
    """Refuse to train on videos of fewer than two classes.

    Raises:
        DataError: there is one class.
    """
    labels = class_names_of(items, multi_label)
    if len(labels) < 2:
        raise DataError(
            f"one class ({', '.join(labels)}); a classifier needs two or more, each in a folder of its own "
            "or named in the manifest's label column"
        )


def tell_alike_classes(items: Iterable[VideoItem], multi_label: bool = False) -> list[str]:
    """Return one sentence for each set of classes whose names a reader may confuse."""
    return tell_alike(class_counts_of(items, multi_label))


def name_few(paths: Sequence[object]) -> str:
    """Return the first three paths as text, for a sentence that says how many there are."""
    named = ", ".join(visible(str(path)) for path in paths[:3])
    return f"{named}, …" if len(paths) > 3 else named


def name_some(faults: Sequence[str]) -> str:
    """Return the first ten faults, one a line, and the number of those left out."""
    more = f"\n… and {len(faults) - _NUM_NAMED} more" if len(faults) > _NUM_NAMED else ""
    return "\n".join(map(visible, faults[:_NUM_NAMED])) + more
