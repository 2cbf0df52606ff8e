"""Can the probabilities be believed: calibration, and accuracy where the model may abstain.

Sources: expected calibration error over bins of equal width (Guo et al. 2017, arXiv:1706.04599);
risk-coverage curve and the area under it (Geifman et al. 2019, arXiv:1805.08206).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vidcli.models.calibration import UNCALIBRATED, Calibration, uncalibrated
from vidcli.predict import Prediction

NUM_BINS = 15
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

Floats = npt.NDArray[np.float64]
Outcomes = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ReliabilityBin:
    """The videos whose highest probability lies in (low, high]: its mean, and how many are right.

    Of a multi-label model they are (video, class) pairs, and right is a class that is there.
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
        ece: expected calibration error, top label, 15 bins: mean distance between probability and
            accuracy of a bin, weighted by its videos.
        ece_uncalibrated: the same with temperature 1; None where the logits are not known.
        bins: the reliability curve.
    """

    temperature: float
    fitted_on: int
    ece: float
    ece_uncalibrated: float | None
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class AbstentionRow:
    """What is left when answers below a threshold are withheld; accuracy is None where none is."""

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
        rows: at some thresholds.
    """

    aurc: float
    rows: tuple[AbstentionRow, ...]


def measure_calibration(
    predictions: Sequence[Prediction], true_N: npt.NDArray[np.int64], calibration: Calibration
) -> CalibrationScores | None:
    """Compare probabilities with outcomes, of the videos that did not fail; None if all did."""
    told = [(p, label) for p, label in zip(predictions, true_N, strict=True) if p.probabilities is not None]
    if not told:
        return None
    confidence_N, correct_N = _outcomes([(p.probabilities, label) for p, label in told])
    bins = reliability_bins(confidence_N, correct_N)
    bare = [(UNCALIBRATED.probabilities(p.logits_VK), label) for p, label in told if p.logits_VK is not None]
    return CalibrationScores(
        calibration.temperature,
        calibration.num_videos,
        expected_calibration_error(bins),
        expected_calibration_error(reliability_bins(*_outcomes(bare))) if len(bare) == len(told) else None,
        bins,
    )


def measure_set_calibration(
    predictions: Sequence[Prediction], targets_NK: Outcomes, calibration: Calibration
) -> CalibrationScores | None:
    """Compare the probability of each class with how often it is there, of a multi-label model.

    The error and the curve are of all (video, class) pairs of the videos that did not fail together,
    where `measure_calibration` has a pair a video; None if all failed.
    """
    told = [(p, row) for p, row in zip(predictions, targets_NK, strict=True) if p.probabilities is not None]
    if not told:
        return None
    there_M = np.concatenate([row for _, row in told])
    bins = reliability_bins(np.concatenate([p.probabilities for p, _ in told]), there_M)
    bare = uncalibrated(targets_NK.shape[1], multi_label=True)
    before = [bare.probabilities(p.logits_VK) for p, _ in told if p.logits_VK is not None]
    return CalibrationScores(
        calibration.temperature,
        calibration.num_videos,
        expected_calibration_error(bins),
        expected_calibration_error(reliability_bins(np.concatenate(before), there_M))
        if len(before) == len(told)
        else None,
        bins,
    )


def reliability_bins(confidence_N: Floats, correct_N: Outcomes) -> tuple[ReliabilityBin, ...]:
    """Sort outcomes into 15 bins of equal width by confidence."""
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


def measure_risk_coverage(predictions: Sequence[Prediction], correct_N: Outcomes) -> RiskCoverage:
    """Return how accurate the answers are at some thresholds, and over all of them."""
    confidence_N = np.array([-1.0 if p.probabilities is None else p.probabilities.max() for p in predictions])
    rows = []
    for threshold in THRESHOLDS:
        answered = confidence_N >= threshold
        accuracy = float(correct_N[answered].mean()) if answered.any() else None
        rows.append(AbstentionRow(threshold, int(answered.sum()), float(answered.mean()), accuracy))
    return RiskCoverage(area_under_risk_coverage(confidence_N, correct_N), tuple(rows))


def area_under_risk_coverage(confidence_N: Floats, correct_N: Outcomes) -> float:
    """Return the mean, over n = 1..N, of the expected share of errors among the n surest answers."""
    _, tie_N, size_M = np.unique(-confidence_N, return_inverse=True, return_counts=True)
    errors_M = np.bincount(tie_N, weights=~correct_N)
    # An answer among equally sure ones is wrong as often as those are on average.
    expected_N = np.repeat(errors_M / size_M, size_M)
    return float((np.cumsum(expected_N) / np.arange(1, len(expected_N) + 1)).mean())


def _outcomes(answers: Sequence[tuple[Floats | None, int]]) -> tuple[Floats, Outcomes]:
    """Return the highest probability of each answer, and whether its class is the true one."""
    known = [(probabilities, label) for probabilities, label in answers if probabilities is not None]
    confidence_N = np.array([probabilities.max() for probabilities, _ in known])
    correct_N = np.array([int(probabilities.argmax()) == label for probabilities, label in known])
    return confidence_N, correct_N
