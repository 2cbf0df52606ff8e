"""A labelled video, and what every reader of data sets shares: splits, class names, long lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidcli.names import normal_name, tell_alike, visible

SPLITS = ("train", "val", "test")
SPLIT_ALIASES = {
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
    "training": "train",
}
_NUM_NAMED = 10


@dataclass(frozen=True)
class VideoItem:
    """One labelled video, or a span of one.

    Attributes:
        label: class name, in composed Unicode form (NFC) however it was given; of a multi-label data
            set several, with `|` between them.
        split: train, val or test; None until it is assigned.
        group: videos of one group (a recording, a person) never part between splits; in NFC too.
        start_seconds, end_seconds: the span that is used; None is the end of the video.
        digest: of the file's content, noted when a run began; see `data.moved`.
    """

    path: Path
    label: str
    split: str | None = None
    group: str | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None
    digest: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", normal_name(self.label))
        if self.group is not None:
            object.__setattr__(self, "group", normal_name(self.group))


LABEL_SEPARATOR = "|"


def labels_of(label: str, multi_label: bool) -> tuple[str, ...]:
    """Return the class names in a label, each once: one, or what `|` parts; `|` alone means none."""
    if not multi_label:
        return (label,)
    names = (name.strip() for name in label.split(LABEL_SEPARATOR))
    return tuple(dict.fromkeys(name for name in names if name))


def class_names_of(items: Iterable[VideoItem], multi_label: bool = False) -> list[str]:
    """Return the class names that occur, in alphabetical order."""
    return sorted({name for item in items for name in labels_of(item.label, multi_label)})


def tell_alike_classes(items: Iterable[VideoItem], multi_label: bool = False) -> list[str]:
    """Return a sentence on each set of classes whose names a reader may take for one another."""
    return tell_alike(Counter(name for item in items for name in labels_of(item.label, multi_label)))


def name_few(paths: Sequence[object]) -> str:
    """Return the first three, for a sentence that counts them all."""
    named = ", ".join(visible(str(path)) for path in paths[:3])
    return f"{named}, …" if len(paths) > 3 else named


def name_some(faults: Sequence[str]) -> str:
    """Return the first ten, a line each, and how many more there are."""
    more = f"\n… and {len(faults) - _NUM_NAMED} more" if len(faults) > _NUM_NAMED else ""
    return "\n".join(map(visible, faults[:_NUM_NAMED])) + more
