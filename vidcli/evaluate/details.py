"""Where a model is wrong: by group, length and size of the videos, and video by video."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from vidcli.arrays import Bool
from vidcli.data.items import LABEL_SEPARATOR, VideoItem, labels_of
from vidcli.errors import VideoError
from vidcli.evaluate.answer_table import FIXED_COLUMNS
from vidcli.evaluate.multilabel import probabilities_of_truth
from vidcli.evaluate.scores import bootstrap_interval, mean_log_loss
from vidcli.predict import Prediction
from vidcli.runtime.threads import map_ahead
from vidcli.sheets import csv_text, shown_cell
from vidcli.video import VideoInfo, probe

_Row = TypeVar("_Row", "Example", "SetExample")

NUM_EXAMPLES = 20
MIN_VIDEOS = 5
"""The fewest videos of a slice whose accuracy says anything."""
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
    """How often the model is right on videos that have something in common.

    Attributes:
        name: what they have in common.
        num_videos: videos of the slice, failed ones included.
        num_failed: videos that could not be decoded.
        accuracy: share of the videos that are right, as `is_right` says.
        interval: 95% bootstrap interval of the accuracy.
    """

    name: str
    num_videos: int
    num_failed: int
    accuracy: float
    interval: tuple[float, float]

    @property
    def is_small(self) -> bool:
        """Whether there are too few videos to say anything."""
        return self.num_videos < MIN_VIDEOS

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Slice:
        """Return the slice that `to_dict` described."""
        name = "exact_match" if "exact_match" in told else "top1"
        low, high = told[f"{name}_interval"]
        return cls(told["name"], told["num_videos"], told["num_failed"], told[name], (low, high))

    def to_dict(self, is_multi_label: bool) -> dict[str, Any]:
        """Return plain values, with the accuracy under the name that the whole evaluation has for it."""
        name = "exact_match" if is_multi_label else "top1"
        about = {"name": self.name, "num_videos": self.num_videos, "num_failed": self.num_failed}
        return about | {name: self.accuracy, f"{name}_interval": self.interval}


def merge_small(slices: Sequence[Slice], noun: str) -> tuple[tuple[Slice, ...], Slice | None]:
    """Return the slices with enough videos to say something, and all others merged into one.

    Args:
        slices: of one kind.
        noun: what one of them is, such as `group`.

    Returns:
        The large slices in their order, and the merged one under a name that counts the others; None where
        there are none.
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
    """One video and its prediction.

    Attributes:
        video: its path.
        start_seconds: where the labelled span starts.
        end_seconds: where it ends; None at the end of the file.
        label: the true class.
        predicted: the most probable class.
        probability: of the predicted class.
        true_probability: of the true class.
        margin: difference of the probabilities of the two most probable classes.
        track: the subject that it is about; None for the whole picture.
    """

    video: str
    start_seconds: float
    end_seconds: float | None
    label: str
    predicted: str
    probability: float
    true_probability: float
    margin: float
    track: str | None = None


@dataclass(frozen=True)
class SetExample:
    """One video with any number of classes, and the prediction of a multi-label model.

    Attributes:
        video: its path.
        start_seconds: where the labelled span starts.
        end_seconds: where it ends; None at the end of the file.
        label: the true classes, with `|` between them.
        predicted: the classes that it is given, with `|` between them.
        missed: true classes that it is not given, with `|` between them.
        added: classes that it is given and does not have, with `|` between them.
        loss: mean binary cross-entropy over the classes.
        margin: smallest distance of the probability of a class from its threshold.
        track: the subject that it is about; None for the whole picture.
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
    track: str | None = None


@dataclass(frozen=True)
class Details:
    """Accuracy by slice, and single videos.

    Attributes:
        is_multi_label: whether videos have any number of classes.
        by_group: the worst group first, but groups with too few videos last; empty where no video has a
            group.
        by_duration: by the length of the labelled span, the shortest first.
        by_resolution: by the size of upright frames, the smallest first.
        worst: wrong answers, the most probable first; for a multi-label model, the largest loss first.
        most_confused: answers with the smallest margin first, right or wrong.
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


def is_right(item: VideoItem, prediction: Prediction) -> bool:
    """Tell whether a prediction is right; that of a multi-label model has all classes and no others.

    Args:
        item: the labelled video.
        prediction: of that video.
    """
    if prediction.error is not None:
        return False
    return set(prediction.labels) == set(labels_of(item.label, prediction.thresholds is not None))


def predictions_csv(
    items: Sequence[VideoItem], predictions: Sequence[Prediction], class_names: Sequence[str]
) -> str:
    """Return the label, prediction and probabilities of each video as CSV, a row a video.

    Args:
        items: the labelled videos.
        predictions: one an item.
        class_names: of the model, a column each.
    """
    rows: list[list[object]] = [[*FIXED_COLUMNS, *class_names]]
    for item, prediction in zip(items, predictions, strict=True):
        best = prediction.top(1)
        name, probability = best[0] if best else ("", "")
        shown = [""] * len(class_names) if prediction.probabilities is None else prediction.probabilities
        if prediction.thresholds is not None:
            name = LABEL_SEPARATOR.join(prediction.labels)
        correct = str(is_right(item, prediction)).lower()
        end = "" if item.end_seconds is None else item.end_seconds
        about = [prediction.video, item.start_seconds, end, item.label, name, probability, correct]
        rows.append([*about, prediction.error or "", item.track or "", *shown])
    return csv_text([shown_cell(cell) for cell in row] for row in rows)


def find_details(items: Sequence[VideoItem], predictions: Sequence[Prediction], workers: int) -> Details:
    """Read the headers of the videos, and find where their predictions are wrong.

    Args:
        items: the labelled videos.
        predictions: one an item.
        workers: number of headers to read at once.
    """
    infos = list(map_ahead(_probe_or_none, items, workers, ahead=4 * workers))
    pairs = list(zip(items, predictions, strict=True))
    correct_N = np.array([is_right(item, prediction) for item, prediction in pairs])
    failed_N = np.array([prediction.error is not None for prediction in predictions])

    def slices(keys: Sequence[Any], name: Callable[[Any], str]) -> tuple[Slice, ...]:
        return _slices(correct_N, failed_N, keys, name)

    groups = [item.group for item in items]
    has_groups = any(group is not None for group in groups)
    lengths = [_duration(item, info) for item, info in zip(items, infos, strict=True)]
    sizes = [None if info is None else info.upright_size for info in infos]
    by_group = slices(groups, str) if has_groups else ()
    is_multi_label = any(prediction.thresholds is not None for prediction in predictions)
    known = [(*pair, bool(correct_N[row])) for row, pair in enumerate(pairs) if not failed_N[row]]
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
        by_duration=slices([_duration_bucket(seconds) for seconds in lengths], _duration_name),
        by_resolution=slices(sizes, lambda size: f"{size[1]}x{size[0]}"),
        worst=worst,
        most_confused=most_confused,
    )


def _named(
    answers: Sequence[tuple[VideoItem, Prediction, bool]],
    describe: Callable[[VideoItem, Prediction], _Row],
    badness: Callable[[_Row], float],
) -> tuple[tuple[_Row, ...], tuple[_Row, ...]]:
    """Return the wrong answers, the worst first, and all answers, the least decided first."""
    examples = [describe(item, prediction) for item, prediction, _ in answers]
    wrong = [row for row, (*_, correct) in zip(examples, answers, strict=True) if not correct]
    worst = sorted(wrong, key=lambda row: (-badness(row), row.video))
    most_confused = sorted(examples, key=lambda row: (row.margin, row.video))
    return tuple(worst[:NUM_EXAMPLES]), tuple(most_confused[:NUM_EXAMPLES])


def _probe_or_none(item: VideoItem) -> VideoInfo | None:
    try:
        return probe(item.path)
    except VideoError:
        return None  # the prediction of the video holds the error


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
    correct_N: Bool, failed_N: Bool, keys: Sequence[Any], name: Callable[[Any], str]
) -> tuple[Slice, ...]:
    """Score the videos of each key, in the order of the keys; videos without a key come last."""
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
        item.track,
    )


def _set_example(item: VideoItem, prediction: Prediction) -> SetExample:
    assert prediction.probabilities is not None
    assert prediction.thresholds is not None
    names = prediction.class_names
    there, told = labels_of(item.label, multi_label=True), prediction.labels
    there_K = np.array([name in there for name in names])
    loss = mean_log_loss(probabilities_of_truth(prediction.probabilities, there_K))
    assert loss is not None
    return SetExample(
        prediction.video,
        item.start_seconds,
        item.end_seconds,
        LABEL_SEPARATOR.join(name for name in names if name in there),
        LABEL_SEPARATOR.join(told),
        LABEL_SEPARATOR.join(name for name in names if name in there and name not in told),
        LABEL_SEPARATOR.join(name for name in told if name not in there),
        loss,
        float(np.abs(prediction.probabilities - np.asarray(prediction.thresholds)).min()),
        item.track,
    )
