"""Where a model is wrong: by group, length and size of the videos, and which videos by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from vidcli.data.items import LABEL_SEPARATOR, VideoItem, labels_of
from vidcli.errors import VideoError
from vidcli.evaluate.scores import bootstrap_interval
from vidcli.evaluate.table import is_right
from vidcli.predict import Prediction
from vidcli.runtime.threads import map_ahead
from vidcli.video import VideoInfo, probe

_Pair: TypeAlias = "tuple[VideoItem, Prediction]"
_Row = TypeVar("_Row", "Example", "SetExample")

NUM_EXAMPLES = 20
MIN_VIDEOS = 5
"""Videos of which a share of right answers says anything at all."""
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
    """How often the videos that have something in common are right; the interval is a 95% bootstrap.

    Right is the best class being the label; of a multi-label model, all classes and no others.
    """

    name: str
    num_videos: int
    num_failed: int
    accuracy: float
    interval: tuple[float, float]

    @property
    def is_small(self) -> bool:
        """It has too few videos to say anything by itself."""
        return self.num_videos < MIN_VIDEOS

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Slice:
        """Return what `to_dict` told, with either of its names for accuracy."""
        name = "exact_match" if "exact_match" in told else "top1"
        low, high = told[f"{name}_interval"]
        return cls(told["name"], told["num_videos"], told["num_failed"], told[name], (low, high))

    def to_dict(self, is_multi_label: bool) -> dict[str, Any]:
        """Return plain values, under the names that the whole evaluation has for them."""
        name = "exact_match" if is_multi_label else "top1"
        about = {"name": self.name, "num_videos": self.num_videos, "num_failed": self.num_failed}
        return about | {name: self.accuracy, f"{name}_interval": self.interval}


def merge_small(slices: Sequence[Slice], noun: str) -> tuple[tuple[Slice, ...], Slice | None]:
    """Return the slices with enough videos to say something, and all others as one.

    Args:
        slices: of one kind, in any order, which the first part keeps.
        noun: what one of them is, such as `group`.

    Returns:
        The large slices, and the others together under a name that counts them; None without any.
    """
    small = [row for row in slices if row.is_small]
    large = tuple(row for row in slices if not row.is_small)
    if not small:
        return large, None
    many, each = ("", "") if len(small) == 1 else ("s", " each")
    name = f"others ({len(small)} {noun}{many} with fewer than {MIN_VIDEOS} videos{each})"
    num_videos = sum(row.num_videos for row in small)
    num_right = sum(round(row.accuracy * row.num_videos) for row in small)
    correct_N = np.arange(num_videos) < num_right
    num_failed = sum(row.num_failed for row in small)
    accuracy = num_right / num_videos
    return large, Slice(name, num_videos, num_failed, accuracy, bootstrap_interval(correct_N))


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
class SetExample:
    """One video of any number of classes, and what a multi-label model said of it.

    Attributes:
        label, predicted: the classes, with `|` between them.
        missed, added: those that it has and was not given, and the other way round.
        loss: mean binary cross-entropy over the classes.
        margin: from the threshold to the probability of the class that is nearest to its own.
    """

    video: str
    start_seconds: float
    end_seconds: float | None
    label: str
    predicted: str
    missed: str
    added: str
    loss: float
    margin: float


@dataclass(frozen=True)
class Details:
    """Accuracy by slice, and videos by name.

    Attributes:
        is_multi_label: the videos have any number of classes.
        by_group: the worst first, but those with too few videos to be called that last; empty where
            no video names a group.
        by_duration, by_resolution: of the spans and upright frames, the shortest and smallest first.
        worst: wrong answers, the surest first; of sets of classes, the largest loss first.
        most_confused: answers whose first two classes are nearest to each other, right or wrong; of
            sets of classes, those with a class next to its threshold.
    """

    is_multi_label: bool
    by_group: tuple[Slice, ...]
    by_duration: tuple[Slice, ...]
    by_resolution: tuple[Slice, ...]
    worst: tuple[Example, ...] | tuple[SetExample, ...]
    most_confused: tuple[Example, ...] | tuple[SetExample, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli eval --json` prints them."""
        told: dict[str, Any] = {
            name: [row.to_dict(self.is_multi_label) for row in getattr(self, name)]
            for name in ("by_group", "by_duration", "by_resolution")
        }
        told["worst"] = [asdict(row) for row in self.worst]
        return told | {"most_confused": [asdict(row) for row in self.most_confused]}


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
    is_multi_label = any(prediction.thresholds is not None for prediction in predictions)
    known = [pair for pair in pairs if pair[1].error is None]
    worst: tuple[Example, ...] | tuple[SetExample, ...]
    most_confused: tuple[Example, ...] | tuple[SetExample, ...]
    if is_multi_label:
        worst, most_confused = _named(known, _set_example, lambda row: row.loss)
    else:
        worst, most_confused = _named(known, _example, lambda row: row.probability)
    return Details(
        is_multi_label=is_multi_label,
        by_group=tuple(
            sorted(by_group, key=lambda row: (row.is_small, row.accuracy, -row.num_videos, row.name))
        ),
        by_duration=_slices(pairs, [_duration_bucket(seconds) for seconds in lengths], _duration_name),
        by_resolution=_slices(pairs, sizes, lambda size: f"{size[1]}x{size[0]}"),
        worst=worst,
        most_confused=most_confused,
    )


def _named(
    pairs: Sequence[_Pair],
    describe: Callable[[VideoItem, Prediction], _Row],
    badness: Callable[[_Row], float],
) -> tuple[tuple[_Row, ...], tuple[_Row, ...]]:
    """Return the wrong answers, the worst first, and all answers, the least decided first."""
    examples = [describe(item, prediction) for item, prediction in pairs]
    wrong = [row for row, pair in zip(examples, pairs, strict=True) if not is_right(*pair)]
    worst = sorted(wrong, key=lambda row: (-badness(row), row.video))
    most_confused = sorted(examples, key=lambda row: (row.margin, row.video))
    return tuple(worst[:NUM_EXAMPLES]), tuple(most_confused[:NUM_EXAMPLES])


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


def _slices(pairs: Sequence[_Pair], keys: Sequence[Any], name: Callable[[Any], str]) -> tuple[Slice, ...]:
    """Score the videos of each key, in order of the keys; those without one come last."""
    correct_N = np.array([is_right(item, prediction) for item, prediction in pairs])
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


def _set_example(item: VideoItem, prediction: Prediction) -> SetExample:
    assert prediction.probabilities is not None
    assert prediction.thresholds is not None
    names = prediction.class_names
    there, told = labels_of(item.label, multi_label=True), prediction.labels
    there_K = np.array([name in there for name in names])
    said_K = np.where(there_K, prediction.probabilities, 1 - prediction.probabilities)
    return SetExample(
        prediction.video,
        item.start_seconds,
        item.end_seconds,
        LABEL_SEPARATOR.join(name for name in names if name in there),
        LABEL_SEPARATOR.join(told),
        LABEL_SEPARATOR.join(name for name in names if name in there and name not in told),
        LABEL_SEPARATOR.join(name for name in told if name not in there),
        float(-np.log(np.maximum(said_K, np.finfo(np.float64).tiny)).mean()),
        float(np.abs(prediction.probabilities - np.asarray(prediction.thresholds)).min()),
    )
