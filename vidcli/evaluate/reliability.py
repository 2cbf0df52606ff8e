"""Whether probabilities can be believed: calibration, and accuracy where the model may abstain.

Sources: expected calibration error over bins of equal width (Guo et al. 2017, arXiv:1706.04599);
risk-coverage curve and the area under it (Geifman et al. 2019, arXiv:1805.08206).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vidcli.arrays import Bool, Float64
from vidcli.models.calibration import UNCALIBRATED, Calibration, uncalibrated
from vidcli.predict import Prediction

NUM_BINS = 15
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class ReliabilityBin:
    """The videos whose highest probability lies in (low, high].

    For a multi-label model, a bin holds (video, class) pairs instead, and a pair is right where the video
    has the class.

    Attributes:
        low: lower end, exclusive, except of the first bin.
        high: upper end, inclusive.
        num_videos: videos, or pairs, in the bin.
        confidence: mean of their probabilities; None for an empty bin.
        accuracy: share of them that are right; None for an empty bin.
    """

    low: float
    high: float
    num_videos: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class CalibrationScores:
    """How far the highest probability of a video is from how often it is right.

    Attributes:
        temperature: what the logits were divided by.
        fitted_on: validation videos that the temperature was fitted on; 0 where it was not.
        ece: expected calibration error of the best class over 15 bins: mean distance between the probability
            and the accuracy of a bin, weighted by its videos.
        ece_uncalibrated: the same with temperature 1; None where logits are not known.
        bins: the reliability curve.
    """

    temperature: float
    fitted_on: int
    ece: float
    ece_uncalibrated: float | None
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class AbstentionRow:
    """The answers that are left when those below a threshold are withheld.

    Attributes:
        threshold: the lowest probability of an answer.
        num_answered: videos with an answer.
        coverage: share of all videos with an answer.
        accuracy: share of the answers that are right; None where there are none.
    """

    threshold: float
    num_answered: int
    coverage: float
    accuracy: float | None


@dataclass(frozen=True)
class RiskCoverage:
    """Accuracy against the share of videos answered.

    Attributes:
        aurc: mean share of errors among the n surest answers, over all n; lower is better. Videos
            that failed come last, as errors; among equal probabilities the order is taken at random.
        rows: one a threshold.
    """

    aurc: float
    rows: tuple[AbstentionRow, ...]


def measure_calibration(
    predictions: Sequence[Prediction], true_N: npt.NDArray[np.int64], calibration: Calibration
) -> CalibrationScores | None:
    """Compare the highest probability of each video with how often it is right; None if all failed.

    Args:
        predictions: one a video.
        true_N: the label of each video.
        calibration: of the model.
    """

    def outcomes(told: Sequence[tuple[Float64, Any]]) -> tuple[Float64, Bool]:
        confidence_N = np.array([probabilities_K.max() for probabilities_K, _ in told])
        correct_N = np.array([int(probabilities_K.argmax()) == label for probabilities_K, label in told])
        return confidence_N, correct_N

    return _measure(predictions, true_N, calibration, UNCALIBRATED, outcomes)


def measure_set_calibration(
    predictions: Sequence[Prediction], targets_NK: Bool, calibration: Calibration
) -> CalibrationScores | None:
    """Compare the probability of each class with how often it is there; None if all videos failed.

    All (video, class) pairs count alike, where `measure_calibration` has one pair a video.

    Args:
        predictions: of a multi-label model, one a video.
        targets_NK: which classes each video has.
        calibration: of the model.
    """

    def outcomes(told: Sequence[tuple[Float64, Any]]) -> tuple[Float64, Bool]:
        return np.concatenate([pair[0] for pair in told]), np.concatenate([pair[1] for pair in told])

    plain = uncalibrated(targets_NK.shape[1], multi_label=True)
    return _measure(predictions, targets_NK, calibration, plain, outcomes)


def _measure(
    predictions: Sequence[Prediction],
    targets: npt.NDArray[Any],
    calibration: Calibration,
    plain: Calibration,
    outcomes: Callable[[Sequence[tuple[Float64, Any]]], tuple[Float64, Bool]],
) -> CalibrationScores | None:
    """Score the probabilities of the videos that did not fail, with and without calibration."""
    known = [pair for pair in zip(predictions, targets, strict=True) if pair[0].probabilities is not None]
    if not known:
        return None
    told = [(p.probabilities, target) for p, target in known if p.probabilities is not None]
    before = [(plain.probabilities(p.logits_VK), target) for p, target in known if p.logits_VK is not None]
    bins = reliability_bins(*outcomes(told))
    return CalibrationScores(
        calibration.temperature,
        calibration.num_videos,
        expected_calibration_error(bins),
        expected_calibration_error(reliability_bins(*outcomes(before))) if len(before) == len(told) else None,
        bins,
    )


def reliability_bins(confidence_N: Float64, correct_N: Bool) -> tuple[ReliabilityBin, ...]:
    """Sort outcomes into 15 bins of equal width.

    Args:
        confidence_N: probability of each answer, which says its bin.
        correct_N: whether each answer is right.
    """
    edges = np.linspace(0, 1, NUM_BINS + 1)
    bin_N = np.clip(np.searchsorted(edges, confidence_N, side="left") - 1, 0, NUM_BINS - 1)
    bins = []
    for index in range(NUM_BINS):
        inside = bin_N == index
        is_empty = not inside.any()
        bins.append(
            ReliabilityBin(
                float(edges[index]),
                float(edges[index + 1]),
                int(inside.sum()),
                None if is_empty else float(confidence_N[inside].mean()),
                None if is_empty else float(correct_N[inside].mean()),
            )
        )
    return tuple(bins)


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the mean distance between confidence and accuracy, weighted by the videos of a bin."""
    gaps = [
        row.num_videos * abs(row.confidence - row.accuracy)
        for row in bins
        if row.confidence is not None and row.accuracy is not None
    ]
    return float(sum(gaps) / sum(row.num_videos for row in bins))


def measure_risk_coverage(predictions: Sequence[Prediction], correct_N: Bool) -> RiskCoverage:
    """Return how accurate a model is where it answers only above a threshold.

    Args:
        predictions: one a video.
        correct_N: whether each is right.
    """
    confidence_N = np.array([-1.0 if p.probabilities is None else p.probabilities.max() for p in predictions])
    rows = []
    for threshold in THRESHOLDS:
        answered = confidence_N >= threshold
        accuracy = float(correct_N[answered].mean()) if answered.any() else None
        rows.append(AbstentionRow(threshold, int(answered.sum()), float(answered.mean()), accuracy))
    return RiskCoverage(area_under_risk_coverage(confidence_N, correct_N), tuple(rows))


def area_under_risk_coverage(confidence_N: Float64, correct_N: Bool) -> float:
    """Return the mean, over n = 1..N, of the expected share of errors among the n surest answers.

    Args:
        confidence_N: probability of each answer.
        correct_N: whether each answer is right.
    """
    _, tie_N, size_M = np.unique(-confidence_N, return_inverse=True, return_counts=True)
    errors_M = np.bincount(tie_N, weights=~correct_N)
    # Equally sure answers are in no order, so each counts with their mean share of errors.
    expected_N = np.repeat(errors_M / size_M, size_M)
    return float((np.cumsum(expected_N) / np.arange(1, len(expected_N) + 1)).mean())
