"""A data set in numbers: classes, sizes, rates, durations, and the time that an epoch takes."""

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
    """The smallest, the median and the largest of some values."""

    min: float
    median: float
    max: float


@dataclass(frozen=True)
class Summary:
    """A data set in numbers.

    Large because it is the JSON object of `vidcli check`, whose keys are its attributes.

    Attributes:
        num_videos: number of items, of which several may be spans of one file.
        num_files: number of files.
        num_unusable: number of items with an error.
        num_found: number of errors, warnings and notes.
        splits_drawn: whether `train` would draw splits; `classes` and `splits` then count the drawn ones.
        classes: number of videos by class and split; the split is `all` if none can be drawn. A video
            with several classes counts for each of them.
        splits: number of videos by split.
        sizes: number of files by width and height of the frames, the most common first.
        rates: number of files by frames per second, the most common first.
        codecs: number of files by codec, the most common first.
        seconds: durations of the spans that items use; None if nothing can be decoded.
        total_seconds: sum of these durations.
        decode_seconds: time to decode every file once, one after the other.
        workers: number of decoding threads of a training.
        epoch_seconds: time to decode the training videos once with that many threads.
        advice: what to do, by kind of problem found.
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
        """Return the summary as JSON values."""
        return asdict(self)


def summarize(data: Inspected, findings: Sequence[Finding], workers: int) -> Summary:
    """Count the items of a data set.

    Args:
        data: the data set after every file was decoded.
        findings: its problems.
        workers: number of decoding threads of a training.
    """
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
    """Return the items with the splits that a training would draw, and whether it would draw any."""
    try:
        items = assign_splits(data.items, data.config.data)
    except DataError:
        return data.items, False
    return items, items != list(data.items)


def _common(data: Inspected, describe: Callable[[Any], Hashable]) -> dict[str, int]:
    counts = Counter(str(describe(report.info)) for report in data.files.values() if report.info is not None)
    return dict(counts.most_common())


def _epoch_seconds(data: Inspected, items: Sequence[VideoItem]) -> float:
    """Return the time to decode the videos of an epoch, one after the other."""
    total = 0.0
    for item, span in zip(items, data.spans, strict=True):
        report = data.files[item.path]
        if span is not None and report.decoded_seconds > 0 and item.split in (None, "train"):
            total += report.decode_seconds * span.duration_seconds / report.decoded_seconds
    return total
