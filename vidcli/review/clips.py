"""The clips of a data set, and what is said of each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidcli.artifacts.run_folder import CONFIG_FILE, SPLITS_FILE
from vidcli.data.folders import subfolders
from vidcli.data.items import VideoItem
from vidcli.data.manifest import read_data
from vidcli.data.relocation import load_run_items
from vidcli.errors import DataError
from vidcli.names import is_text, name_subject, normal_name
from vidcli.predict.inputs import collect_items

_MAX_NAME = 200
_MAX_SEGMENTS = 10_000


@dataclass(frozen=True)
class Segment:
    """A labelled part of a recording; start and end are seconds from its first frame."""

    start_seconds: float
    end_seconds: float
    label: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"start": self.start_seconds, "end": self.end_seconds, "label": self.label}


@dataclass(frozen=True)
class Verdict:
    """What is said of a clip.

    Attributes:
        label: the class of the whole clip; None where it has none.
        is_flagged: something is wrong with the clip, so that it stays out of the manifest.
        segments: of a recording in which several things happen, in order; then `label` does not count.
        by_person: whether a person said so on the page; otherwise the data set did.
    """

    label: str | None = None
    is_flagged: bool = False
    segments: tuple[Segment, ...] = ()
    by_person: bool = False

    @property
    def labels(self) -> list[str]:
        """All classes that are named."""
        own = [segment.label for segment in self.segments]
        return own or ([] if self.label is None else [self.label])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "label": self.label,
            "flagged": self.is_flagged,
            "segments": [segment.to_dict() for segment in self.segments],
            "by_person": self.by_person,
        }


def parse_verdict(value: Mapping[str, Any]) -> Verdict:
    """Return a verdict from plain values that nobody has checked.

    Raises:
        ValueError: they are none; says which.
    """
    label, flagged, given = value.get("label"), value.get("flagged", False), value.get("segments", [])
    if not isinstance(flagged, bool) or not isinstance(given, list) or len(given) > _MAX_SEGMENTS:
        raise ValueError("expected a verdict: label, flagged (true or false) and a list of segments")
    segments = sorted((_parse_segment(segment) for segment in given), key=lambda s: s.start_seconds)
    for before, after in itertools.pairwise(segments):
        if after.start_seconds < before.end_seconds:
            raise ValueError(f"segments overlap at {after.start_seconds:g} s")
    by_person = value.get("by_person", True) is True
    return Verdict(None if label is None else parse_class(label), flagged, tuple(segments), by_person)


def _parse_segment(value: object) -> Segment:
    try:
        start, end = float(value["start"]), float(value["end"])  # type: ignore[index]
        label = parse_class(value["label"])  # type: ignore[index]
    except (TypeError, KeyError) as error:
        raise ValueError("expected segments with start, end and label") from error
    if not 0 <= start < end < float("inf"):
        raise ValueError(f"a segment from {start:g} to {end:g} s; expected a start before its end")
    return Segment(start, end, label)


def parse_class(name: object) -> str:
    """Return the name of a class, in composed form and without blanks around it.

    Raises:
        ValueError: it is none.
    """
    text = normal_name(name).strip() if isinstance(name, str) else ""
    if not text or not is_text(text) or not text.isprintable() or len(text) > _MAX_NAME:
        raise ValueError(f"expected the name of a class: 1 to {_MAX_NAME} visible characters")
    return text


@dataclass(frozen=True)
class ClipList:
    """The clips of a data set.

    Attributes:
        items: the clips; one without a label has an empty one.
        names: what each is called, which tells it from all others.
    """

    items: Sequence[VideoItem]
    names: Sequence[str]

    def given(self, position: int) -> Verdict:
        """Return what the data set itself says of a clip."""
        return Verdict(self.items[position].label or None)


def read_clips(data: Path, unlabelled: bool, tell: Callable[[str], object]) -> ClipList:
    """Read the clips of a data set, labelled or not.

    Args:
        data: a folder of videos, a folder of class folders, a manifest or a run.
        unlabelled: the folders of `data` are no classes.
        tell: called with a sentence about each kind of file that was left out.

    Raises:
        DataError: there are no clips.
    """
    if data.is_dir() and (data / SPLITS_FILE).is_file() and (data / CONFIG_FILE).is_file():
        items = load_run_items(data / SPLITS_FILE)
    elif not data.is_dir() or (not unlabelled and any(subfolders(data))):
        listing = read_data(data, missing_ok=True)
        items = listing.items
        for note in listing.notes:
            tell(note)
    else:
        items = collect_items(data, tell)
    missing = [item.path for item in items if not item.path.is_file()]
    gone = set(missing)
    items = [item for item in items if item.path not in gone]
    if missing:
        tell(f"{len(missing)} videos are missing and left out, such as {missing[0]}")
    if not items:
        raise DataError(f"{data}: holds no videos to review")
    return ClipList(items, _names_of(items))


def _names_of(items: Sequence[VideoItem]) -> list[str]:
    """Return what clips are called: the path from what all have in common, the subject, and the span."""
    paths = [str(item.path.absolute()) for item in items]
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = []
    for item, path in zip(items, paths, strict=True):
        name = name_subject(Path(os.path.relpath(path, root)).as_posix(), item.track)
        if item.start_seconds or item.end_seconds is not None:
            end = "" if item.end_seconds is None else f"{item.end_seconds:g}"
            name += f" {item.start_seconds:g}-{end} s"
        names.append(name)
    return names


def labelled_items(clips: ClipList, verdicts: Sequence[Verdict]) -> list[VideoItem]:
    """Return what there is to learn from: labelled clips and segments that nobody flagged.

    Args:
        clips: all clips.
        verdicts: what is said of each.
    """
    found: list[VideoItem] = []
    for item, verdict in zip(clips.items, verdicts, strict=True):
        if verdict.is_flagged:
            continue
        if verdict.segments:
            found += _segments_of(item, verdict.segments)
        elif verdict.label is not None:
            found.append(replace(item, label=verdict.label))
    return found


def _segments_of(item: VideoItem, segments: Iterable[Segment]) -> list[VideoItem]:
    return [
        replace(
            item, label=segment.label, start_seconds=segment.start_seconds, end_seconds=segment.end_seconds
        )
        for segment in segments
    ]
