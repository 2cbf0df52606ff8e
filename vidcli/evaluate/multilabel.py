"""Scores of a multi-label model: how it ranks the videos of each class, and which classes it gives a video.

Average precision is the sum of precision over the steps in recall, without interpolation; videos of equal
probability are one step. A failed video comes last in every ranking and is given no class.

Shape suffixes: N videos, K classes, M distinct probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vidcli.arrays import Bool, Float64
from vidcli.data.items import VideoItem, labels_of
from vidcli.evaluate.comparison import find_baseline, is_better, judge
from vidcli.evaluate.reliability import CalibrationScores, measure_set_calibration
from vidcli.evaluate.scores import bootstrap_interval, mean_log_loss, precision_recall_f1
from vidcli.models.calibration import Calibration
from vidcli.predict import Prediction


@dataclass(frozen=True)
class LabelScore:
    """Scores of one class.

    Attributes:
        label: name of the class.
        average_precision: of the ranking of the videos by its probability; None where no video has it.
        threshold: probability from which on a video is given the class.
        precision: share of the videos given the class that have it; None if none is given it.
        recall: share of the videos with the class that are given it; None where no video has it.
        f1: harmonic mean of the two; 0 where there is no such video at all.
        support: number of videos with the class.
    """

    label: str
    average_precision: float | None
    threshold: float
    precision: float | None
    recall: float | None
    f1: float
    support: int


@dataclass(frozen=True)
class MultiLabelEvaluation:
    """Metrics of one set of videos with any number of classes each.

    Attributes:
        mean_average_precision: mAP, over the classes that occur; None where none does.
        exact_match: share of the videos that are given all their classes and no others.
        exact_match_interval: 95% percentile bootstrap over videos.
        micro_f1: of all (video, class) pairs together.
        macro_f1: mean F1 over the classes that occur or are predicted.
        loss: mean binary cross-entropy of the videos that did not fail; None if all did.
        num_videos: videos evaluated, failed ones included.
        num_failed: videos that could not be decoded.
        class_names: the name of each class, at the position of its label.
        per_class: scores of each class, by label.
        temperature: what the logits were divided by.
        fitted_on: number of validation videos that temperature and thresholds were fitted on.
        calibration: whether classes are there as often as their probabilities say; None if all failed.
        baseline_exact_match: exact match of always giving the most frequent set of classes.
        verdict: one sentence that compares the exact match with that.
    """

    mean_average_precision: float | None
    exact_match: float
    exact_match_interval: tuple[float, float]
    micro_f1: float
    macro_f1: float
    loss: float | None
    num_videos: int
    num_failed: int
    class_names: tuple[str, ...]
    per_class: tuple[LabelScore, ...]
    temperature: float
    fitted_on: int
    calibration: CalibrationScores | None
    baseline_exact_match: float
    verdict: str

    @property
    def is_better_than_guessing(self) -> bool:
        """Whether the interval of the exact match lies above the baseline."""
        return is_better(self.exact_match_interval, self.baseline_exact_match)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli eval --json` prints them."""
        return asdict(self)


def evaluate_multi_label(
    predictions: Sequence[Prediction], targets_NK: Bool, calibration: Calibration
) -> MultiLabelEvaluation:
    """Score predictions against the classes that each video has.

    Args:
        predictions: one a video, at least one.
        targets_NK: which classes each video has.
        calibration: of the model; its thresholds decide which classes a video is given.

    Raises:
        ValueError: there are no predictions or no thresholds, or the number of rows differs.
    """
    if not predictions or len(predictions) != len(targets_NK) or calibration.thresholds is None:
        raise ValueError("evaluate_multi_label needs a row of targets a prediction, and thresholds")
    class_names = predictions[0].class_names
    failed_N = np.array([prediction.probabilities is None for prediction in predictions])
    none_K = np.full(len(class_names), -1.0)
    scores_NK = np.stack([none_K if p.probabilities is None else p.probabilities for p in predictions])
    chosen_NK = scores_NK >= np.asarray(calibration.thresholds)
    chosen_NK[failed_N] = False
    right_N = (chosen_NK == targets_NK).all(axis=1) & ~failed_N
    per_class = tuple(
        _score_class(name, threshold, scores_NK[:, k], chosen_NK[:, k], targets_NK[:, k])
        for k, (name, threshold) in enumerate(zip(class_names, calibration.thresholds, strict=True))
    )
    precisions = [row.average_precision for row in per_class if row.average_precision is not None]
    f1s = [row.f1 for row in per_class if row.support or row.precision is not None]
    num_chosen = int(chosen_NK.sum() + targets_NK.sum())
    sets = [
        ", ".join(name for name, there in zip(class_names, row, strict=True) if there) for row in targets_NK
    ]
    baseline = find_baseline([names or "none" for names in sets])
    exact_match, interval = float(right_N.mean()), bootstrap_interval(right_N)
    return MultiLabelEvaluation(
        mean_average_precision=float(np.mean(precisions)) if precisions else None,
        exact_match=exact_match,
        exact_match_interval=interval,
        baseline_exact_match=baseline.share,
        verdict=judge(exact_match, interval, baseline, len(predictions), "all classes right for"),
        micro_f1=2 * int((chosen_NK & targets_NK).sum()) / num_chosen if num_chosen else 0.0,
        macro_f1=float(np.mean(f1s)) if f1s else 0.0,
        loss=mean_log_loss(probabilities_of_truth(scores_NK, targets_NK)[~failed_N]),
        num_videos=len(predictions),
        num_failed=int(failed_N.sum()),
        class_names=tuple(class_names),
        per_class=per_class,
        temperature=calibration.temperature,
        fitted_on=calibration.num_videos,
        calibration=measure_set_calibration(predictions, targets_NK, calibration),
    )


def targets_of(items: Sequence[VideoItem], class_names: Sequence[str]) -> Bool:
    """Return which classes each video has, (N, K).

    Args:
        items: the videos; every class of theirs is among `class_names`.
        class_names: the name of each class, at the position of its label.
    """
    label_of = {name: label for label, name in enumerate(class_names)}
    targets_NK = np.zeros((len(items), len(class_names)), dtype=bool)
    for row, item in enumerate(items):
        targets_NK[row, [label_of[name] for name in labels_of(item.label, multi_label=True)]] = True
    return targets_NK


def probabilities_of_truth(probabilities_NK: Float64, targets_NK: Bool) -> Float64:
    """Return the probability that a model gives to what is true: that a class is there, or that it is not.

    Args:
        probabilities_NK: of each class being there, of each video.
        targets_NK: which classes each video has.
    """
    return np.where(targets_NK, probabilities_NK, 1 - probabilities_NK)


def average_precision(scores_N: Float64, there_N: Bool) -> float | None:
    """Return the average precision of a ranking; None where no video has the class.

    Args:
        scores_N: what videos are ranked by, the highest first.
        there_N: whether each video has the class.
    """
    if not there_N.any():
        return None
    _, tie_N = np.unique(-scores_N, return_inverse=True)
    found_M = np.bincount(tie_N, weights=there_N)
    shown_M = np.bincount(tie_N)
    precision_M = np.cumsum(found_M) / np.cumsum(shown_M)
    return float((precision_M * found_M).sum() / there_N.sum())


def _score_class(name: str, threshold: float, scores_N: Float64, chosen_N: Bool, there_N: Bool) -> LabelScore:
    support = int(there_N.sum())
    values = precision_recall_f1(int((chosen_N & there_N).sum()), int(chosen_N.sum()), support)
    return LabelScore(name, average_precision(scores_N, there_N), threshold, *values, support)
