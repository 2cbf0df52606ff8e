"""Where a model is wrong: by group, length and size of the videos, and which videos by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vidcli.data.loader import map_ahead
from vidcli.data.manifest import VideoItem
from vidcli.errors import VideoError
from vidcli.evaluate.scores import bootstrap_interval
from vidcli.predict import Prediction
from vidcli.video import VideoInfo, probe

NUM_EXAMPLES = 20
_UNKNOWN = "unknown"
# Upper ends in seconds, exclusive, and names.
_DURATIONS = (
    (1.0, "under 1 s"),
    (2.0, "1 to 2 s"),
    (5.0, "2 to 5 s"),
    (10.0, "5 to 10 s"),
    (30.0, "10 to 30 s"),
    (60.0, "30 to 60 s"),
    (300.0, "1 to 5 min"),
    (1800.0, "5 to 30 min"),
    (float("inf"), "over 30 min"),
)


@dataclass(frozen=True)
class Slice:
    """Accuracy of the videos that have something in common; the interval is a 95% bootstrap."""

    name: str
    num_videos: int
    num_failed: int
    top1: float
    top1_interval: tuple[float, float]


@dataclass(frozen=True)
class Example:
    """One video and what the model said of it.

    Attributes:
        probability: of the predicted class.
        true_probability: of the class it is.
        margin: by how much the most probable class leads the second.
    """

    video: str
    start_seconds: float
    end_seconds: float | None
    label: str
    predicted: str
    probability: float
    true_probability: float
    margin: float


@dataclass(frozen=True)
class Details:
    """Accuracy by slice, the worst first, and videos by name.

    Attributes:
        by_group: empty where no video names a group.
        by_duration, by_resolution: of the spans and upright frames, the shortest and smallest first.
        worst: wrong answers, the surest first.
        most_confused: answers whose first two classes are nearest to each other, right or wrong.
    """

    by_group: tuple[Slice, ...]
    by_duration: tuple[Slice, ...]
    by_resolution: tuple[Slice, ...]
    worst: tuple[Example, ...]
    most_confused: tuple[Example, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli eval --json` prints them."""
        return asdict(self)


def find_details(items: Sequence[VideoItem], predictions: Sequence[Prediction], workers: int) -> Details:
    """Read the headers of the videos and look where the predictions of them are wrong.

    Args:
        items: the labelled videos.
        predictions: one an item.
        workers: headers read at once.
    """
    infos = list(map_ahead(_probe_or_none, items, workers, ahead=4 * workers))
    pairs = list(zip(items, predictions, strict=True))
    groups = [item.group for item in items]
    has_groups = any(group is not None for group in groups)
    lengths = [_duration(item, info) for item, info in zip(items, infos, strict=True)]
    sizes = [None if info is None else info.upright_size for info in infos]
    by_group = _slices(pairs, groups, lambda group: str(group)) if has_groups else ()
    examples = [_example(item, prediction) for item, prediction in pairs if prediction.error is None]
    wrong = [example for example in examples if example.predicted != example.label]
    return Details(
        by_group=tuple(sorted(by_group, key=lambda row: (row.top1, -row.num_videos, row.name))),
        by_duration=_slices(pairs, [_duration_bucket(seconds) for seconds in lengths], _duration_name),
        by_resolution=_slices(pairs, sizes, lambda size: f"{size[1]}x{size[0]}"),
        worst=tuple(sorted(wrong, key=lambda row: (-row.probability, row.video))[:NUM_EXAMPLES]),
        most_confused=tuple(sorted(examples, key=lambda row: (row.margin, row.video))[:NUM_EXAMPLES]),
    )


def _probe_or_none(item: VideoItem) -> VideoInfo | None:
    try:
        return probe(item.path)
    except VideoError:
        return None  # its prediction says why


def _duration(item: VideoItem, info: VideoInfo | None) -> float | None:
    if info is None:
        return None
    end = info.duration_seconds if item.end_seconds is None else item.end_seconds
    return max(0.0, min(end, info.duration_seconds) - item.start_seconds)


def _duration_bucket(seconds: float | None) -> int | None:
    if seconds is None:
        return None
    return next(index for index, (end, _) in enumerate(_DURATIONS) if seconds < end)


def _duration_name(bucket: int) -> str:
    return _DURATIONS[bucket][1]


def _slices(
    pairs: Sequence[tuple[VideoItem, Prediction]], keys: Sequence[Any], name: Callable[[Any], str]
) -> tuple[Slice, ...]:
    """Score the videos of each key, in order of the keys; those without one come last."""
    correct_N = np.array([_is_right(item, prediction) for item, prediction in pairs])
    failed_N = np.array([prediction.error is not None for _, prediction in pairs])
    slices = []
    for key in [*sorted({key for key in keys if key is not None}), None]:
        inside = np.array([other == key for other in keys])
        if inside.any():
            slices.append(
                Slice(
                    _UNKNOWN if key is None else name(key),
                    int(inside.sum()),
                    int(failed_N[inside].sum()),
                    float(correct_N[inside].mean()),
                    bootstrap_interval(correct_N[inside]),
                )
            )
    return tuple(slices)


def _is_right(item: VideoItem, prediction: Prediction) -> bool:
    return prediction.label == item.label


def _example(item: VideoItem, prediction: Prediction) -> Example:
    (predicted, probability), *others = prediction.top(2)
    assert prediction.probabilities is not None
    true_probability = float(prediction.probabilities[list(prediction.class_names).index(item.label)])
    margin = probability - (others[0][1] if others else 0.0)
    return Example(
        prediction.video,
        item.start_seconds,
        item.end_seconds,
        item.label,
        predicted,
        probability,
        true_probability,
        margin,
    )
