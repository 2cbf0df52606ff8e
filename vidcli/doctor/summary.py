"""A data set in numbers: classes, sizes, rates, durations, and what an epoch will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.splits import assign_splits
from vidcli.doctor.findings import ADVICE, SEVERITIES, Finding, Inspected
from vidcli.errors import DataError


@dataclass(frozen=True)
class Spread:
    """Least, middle and greatest of a quantity."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Summary:
    """A data set in numbers.

    Attributes:
        num_videos: items, of which several may be spans of one file.
        num_found: errors, warnings and notes.
        num_unusable: items that have an error.
        splits_drawn: whether `train` would draw splits; the counts below are then those.
        classes: videos by class and split; the split `all` where none can be made. Where videos have
            several classes, each counts for all of its own.
        splits: videos by split.
        sizes, rates, codecs: files by what their frames are, the most common first.
        seconds: lengths of what the items use.
        decode_seconds: to decode every file once, one after the other.
        epoch_seconds: to decode the training videos once with `workers` threads.
        advice: what to do next, by kind of problem found.
    """

    num_videos: int
    num_files: int
    num_unusable: int
    num_found: dict[str, int]
    splits_drawn: bool
    classes: dict[str, dict[str, int]]
    splits: dict[str, int]
    sizes: dict[str, int]
    rates: dict[str, int]
    codecs: dict[str, int]
    seconds: Spread | None
    total_seconds: float
    decode_seconds: float
    workers: int
    epoch_seconds: float
    advice: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def summarize(data: Inspected, findings: Sequence[Finding], workers: int) -> Summary:
    """Return the numbers of a data set."""
    items, drawn = _with_splits(data)
    spans = [span for span in data.spans if span is not None]
    lengths = [span.duration_seconds for span in spans]
    bad = {index for found in findings if found.severity == "error" for index in found.items}
    names = class_names_of(items, data.config.data.multi_label)
    classes: dict[str, dict[str, int]] = {name: Counter() for name in names}
    for item in items:
        for name in data.classes(item):
            classes[name][item.split or "all"] += 1
    kinds = {found.kind for found in findings}
    return Summary(
        num_videos=len(items),
        num_files=len(data.files),
        num_unusable=len(bad),
        num_found={
            severity: sum(found.severity == severity for found in findings) for severity in SEVERITIES
        },
        splits_drawn=drawn,
        classes={name: dict(counts) for name, counts in classes.items()},
        splits=dict(Counter(item.split or "all" for item in items)),
        sizes=_common(data, lambda info: "{1}x{0}".format(*info.upright_size)),
        rates=_common(
            data, lambda info: "unknown" if info.fps is None else f"{info.fps:.2f}".rstrip("0").rstrip(".")
        ),
        codecs=_common(data, lambda info: info.codec),
        seconds=Spread(min(lengths), median(lengths), max(lengths)) if lengths else None,
        total_seconds=sum(lengths),
        decode_seconds=sum(report.decode_seconds for report in data.files.values()),
        workers=workers,
        epoch_seconds=_epoch_seconds(data, items) / workers,
        advice={kind: advice for kind, advice in ADVICE.items() if kind in kinds},
    )


def _with_splits(data: Inspected) -> tuple[Sequence[VideoItem], bool]:
    """Return the items with the splits of a run where it would draw any, and whether it would."""
    try:
        items = assign_splits(data.items, data.config.data)
    except DataError:
        return data.items, False
    return items, items != list(data.items)


def _common(data: Inspected, describe: Callable[[Any], Hashable]) -> dict[str, int]:
    counts = Counter(str(describe(report.info)) for report in data.files.values() if report.info is not None)
    return dict(counts.most_common())


def _epoch_seconds(data: Inspected, items: Sequence[VideoItem]) -> float:
    """Return the time to decode what an epoch uses, one video after the other."""
    total = 0.0
    for item, span in zip(items, data.spans, strict=True):
        report = data.files[item.path]
        if span is not None and report.decoded_seconds > 0 and item.split in (None, "train"):
            total += report.decode_seconds * span.duration_seconds / report.decoded_seconds
    return total
