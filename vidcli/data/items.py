"""A labelled video, and what every reader of data sets shares: splits, video files, long lists."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidcli.video import VIDEO_SUFFIXES

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
        label: class name; of a multi-label data set several, with `|` between them.
        split: train, val or test; None until it is assigned.
        group: videos of one group (a recording, a person) never part between splits.
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


def list_videos(folder: Path) -> list[Path]:
    """Return the video files below a folder, by suffix, in path order; hidden ones left out.

    Raises:
        OSError: a folder cannot be read.
    """
    found = []
    for root, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(root, name)
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    return found


def subfolders(folder: Path) -> Iterator[Path]:
    """Yield the folders directly inside of one, by name; hidden ones left out."""
    return (path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith("."))


def name_few(paths: Sequence[object]) -> str:
    """Return the first three, for a sentence that counts them all."""
    named = ", ".join(str(path) for path in paths[:3])
    return f"{named}, …" if len(paths) > 3 else named


def name_some(faults: Sequence[str]) -> str:
    """Return the first ten, a line each, and how many more there are."""
    more = f"\n… and {len(faults) - _NUM_NAMED} more" if len(faults) > _NUM_NAMED else ""
    return "\n".join(faults[:_NUM_NAMED]) + more


def _raise(error: OSError) -> None:
    raise error
