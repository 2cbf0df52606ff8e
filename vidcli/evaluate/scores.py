"""Scores of a model that gives each video one class: accuracy and others, overall and by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from vidcli.data.items import VideoItem
from vidcli.evaluate.comparison import find_baseline, is_better, judge
from vidcli.evaluate.reliability import (
    CalibrationScores,
    RiskCoverage,
    measure_calibration,
    measure_risk_coverage,
)
from vidcli.models.calibration import UNCALIBRATED, Calibration
from vidcli.predict import Prediction

_BOOTSTRAP_DRAWS = 10_000
_GROUP_DRAWS = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class.

    Attributes:
        label: name of the class.
        precision: share of the videos predicted to be of the class that are; None if it is never predicted.
        recall: share of the videos of the class that are predicted to be; None if there are none.
        f1: harmonic mean of the two; 0 where there is no such video at all.
        support: number of videos of the class.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float
    support: int


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one set of labelled videos.

    Attributes:
        top1: accuracy: share of videos whose best class is right. Failed videos are wrong.
        top1_interval: 95% interval of it, by a percentile bootstrap over videos.
        top5: share of videos with the right class among the best five; None with five classes or fewer.
        balanced_accuracy: mean recall over the classes that occur.
        macro_f1: mean F1 over the classes that occur or are predicted.
        loss: mean negative log probability of the true class, of the videos that did not fail;
            None if all did.
        num_videos: videos evaluated, failed ones included.
        num_failed: videos that could not be decoded.
        class_names: the name of each class, at the position of its label.
        per_class: scores of each class, by label.
        confusion: number of videos of each true class, a row, and predicted class, a column; failed videos
            are in no column.
        calibration: whether answers are as often right as their probabilities say; None if all failed.
        risk_coverage: how accurate the model is where it may abstain.
        baseline_top1: accuracy of always answering the most frequent class of these videos.
        verdict: one sentence that compares the accuracy with that.
    """

    top1: float
    top1_interval: tuple[float, float]
    top5: float | None
    balanced_accuracy: float
    macro_f1: float
    loss: float | None
    num_videos: int
    num_failed: int
    class_names: tuple[str, ...]
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: CalibrationScores | None
    risk_coverage: RiskCoverage
    baseline_top1: float
    verdict: str

    @property
    def chance_top1(self) -> float:
        """The accuracy of answering each class with the same probability."""
        return 1 / len(self.class_names)

    @property
    def is_better_than_guessing(self) -> bool:
        """Whether the interval of the accuracy lies above the baseline."""
        return is_better(self.top1_interval, self.baseline_top1)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli eval --json` prints them."""
        # Of a thousand classes the matrix has a million numbers, which take seconds to copy one by one.
        return {**asdict(replace(self, confusion=())), "confusion": self.confusion}


def evaluate(
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    class_names: Sequence[str],
    calibration: Calibration = UNCALIBRATED,
) -> Evaluation:
    """Score predictions against the true class names.

    Args:
        predictions: one a video, at least one.
        labels: the true class name of each video.
        class_names: the name of each class, at the position of its label.
        calibration: of the model; it is only reported.

    Raises:
        ValueError: there are no predictions, or a label is no class name.
    """
    if not predictions or len(predictions) != len(labels):
        raise ValueError("evaluate needs one label a prediction, and at least one")
    label_of = {name: label for label, name in enumerate(class_names)}
    unknown = sorted(set(labels) - set(label_of))
    if unknown:
        raise ValueError(f"labels that are no class names: {', '.join(unknown)}")
    num_classes = len(class_names)
    true_N = np.array([label_of[name] for name in labels])
    # The last column of the confusion counts failed videos.
    rank_N = np.array([_rank(p, label) for p, label in zip(predictions, true_N, strict=True)])
    guess_N = np.array([_guess(prediction, num_classes) for prediction in predictions])
    confusion_KK1 = np.zeros((num_classes, num_classes + 1), dtype=np.int64)
    np.add.at(confusion_KK1, (true_N, guess_N), 1)
    scores = _class_scores(confusion_KK1, class_names)
    correct_N = rank_N == 0
    top1, interval = float(correct_N.mean()), bootstrap_interval(correct_N)
    baseline = find_baseline(labels)
    return Evaluation(
        top1=top1,
        top1_interval=interval,
        top5=float((rank_N < 5).mean()) if num_classes > 5 else None,
        balanced_accuracy=float(np.mean([s.recall for s in scores if s.recall is not None])),
        macro_f1=float(np.mean([s.f1 for s in scores if s.support or s.precision is not None])),
        loss=mean_log_loss(
            [
                p.probabilities[y]
                for p, y in zip(predictions, true_N, strict=True)
                if p.probabilities is not None
            ]
        ),
        num_videos=len(predictions),
        num_failed=sum(prediction.error is not None for prediction in predictions),
        class_names=tuple(class_names),
        per_class=tuple(scores),
        confusion=tuple(tuple(int(n) for n in row[:-1]) for row in confusion_KK1),
        calibration=measure_calibration(predictions, true_N, calibration),
        risk_coverage=measure_risk_coverage(predictions, correct_N),
        baseline_top1=baseline.share,
        verdict=judge(top1, interval, baseline, len(predictions)),
    )


def bootstrap_interval(correct_N: npt.NDArray[np.bool_], seed: int = 0) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of an accuracy.

    The number of right outcomes among N drawn with replacement is binomial, so all draws are made from that
    distribution at once. Where all outcomes are equal, all draws are, and the bootstrap would claim
    certainty: the other end is then the exact (Clopper-Pearson) bound.

    Args:
        correct_N: whether each video is right, at least one.
        seed: of the draws.
    """
    draws = np.random.default_rng(seed).binomial(len(correct_N), correct_N.mean(), _BOOTSTRAP_DRAWS)
    tail = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(draws / len(correct_N), [tail, 1 - tail])
    bound = tail ** (1 / len(correct_N))
    if correct_N.all():
        low = bound
    elif not correct_N.any():
        high = 1 - bound
    return float(low), float(high)


def bootstrap_over_groups(
    values_N: npt.NDArray[np.float64], items: Sequence[VideoItem], seed: int
) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of a mean over videos, drawn in whole groups.

    Videos of one group tend to be right or wrong together. Drawn one by one, they would give an interval
    that is too narrow.

    Args:
        values_N: a number for each video.
        items: the videos; without groups, or with one, each is drawn by itself.
        seed: of the draws.
    """
    names = [item.group or str(item.path) for item in items]
    if len(set(names)) < 2:
        names = [str(index) for index in range(len(items))]
    _, unit_N = np.unique(names, return_inverse=True)
    sums_U = np.bincount(unit_N, weights=values_N)
    counts_U = np.bincount(unit_N)
    rng = np.random.default_rng(seed)
    draws = []
    tail = (1 - _CONFIDENCE) / 2
    for _ in range(_GROUP_DRAWS):
        drawn_U = rng.integers(len(sums_U), size=len(sums_U))
        draws.append(sums_U[drawn_U].sum() / counts_U[drawn_U].sum())
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _rank(prediction: Prediction, label: int) -> int:
    """Return how many classes are more probable than the true one; all of them for a failed video."""
    if prediction.probabilities is None:
        return len(prediction.class_names)
    order = np.argsort(-prediction.probabilities, kind="stable")
    return int(np.flatnonzero(order == label)[0])


def _guess(prediction: Prediction, failed: int) -> int:
    return failed if prediction.probabilities is None else int(np.argmax(prediction.probabilities))


def mean_log_loss(probabilities: npt.ArrayLike) -> float | None:
    """Return the mean negative log of the probabilities of what is true; None without any."""
    if not np.size(probabilities):
        return None
    return float(-np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)).mean())


def precision_recall_f1(
    hits: int, num_predicted: int, support: int
) -> tuple[float | None, float | None, float]:
    """Return precision, recall and F1 of a class; None, and 0 for F1, where they divide by nothing.

    Args:
        hits: videos of the class that are predicted to be of it.
        num_predicted: videos that are predicted to be of the class.
        support: videos of the class.
    """
    return (
        hits / num_predicted if num_predicted else None,
        hits / support if support else None,
        2 * hits / (support + num_predicted) if support + num_predicted else 0.0,
    )


def _class_scores(confusion_KK1: npt.NDArray[np.int64], class_names: Sequence[str]) -> list[ClassScore]:
    scores = []
    for label, name in enumerate(class_names):
        support, num_predicted = int(confusion_KK1[label].sum()), int(confusion_KK1[:, label].sum())
        values = precision_recall_f1(int(confusion_KK1[label, label]), num_predicted, support)
        scores.append(ClassScore(name, *values, support))
    return scores
