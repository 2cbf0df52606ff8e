"""Calibration error and risk-coverage against sums written out from their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from vidcli.evaluate import evaluate
from vidcli.evaluate.reliability import (
    area_under_risk_coverage,
    expected_calibration_error,
    reliability_bins,
)
from vidcli.models.calibration import UNCALIBRATED, Calibration
from vidcli.predict import Prediction

AB = ("a", "b")


def answer(logit: float, calibration: Calibration = UNCALIBRATED) -> Prediction:
    """Return a prediction of two classes from the logits (logit, 0)."""
    logits_VK = np.array([[logit, 0.0]])
    return Prediction("x.mp4", AB, calibration.probabilities(logits_VK), logits_VK=logits_VK)


def failed() -> Prediction:
    return Prediction("x.mp4", AB, None, "is broken")


def plain_ece(confidences: list[float], correct: list[bool]) -> float:
    total = 0.0
    for index in range(15):
        inside = [
            (c, ok)
            for c, ok in zip(confidences, correct, strict=True)
            if index / 15 < c <= (index + 1) / 15 or (c == 0 and index == 0)
        ]
        if inside:
            mean = sum(c for c, _ in inside) / len(inside)
            right = sum(ok for _, ok in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(mean - right)
    return total


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_equals_its_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidences = rng.uniform(0.2, 1, 200)
    correct = rng.random(200) < confidences**2
    found = expected_calibration_error(reliability_bins(confidences, correct))
    assert found == pytest.approx(plain_ece(confidences.tolist(), correct.tolist()), abs=1e-12)


def test_bins_by_hand() -> None:
    bins = reliability_bins(np.array([0.0, 0.5, 0.95, 0.97, 1.0]), np.array([True, False, True, True, False]))
    assert [row.num_videos for row in bins] == [1, *[0] * 6, 1, *[0] * 6, 3]
    assert (bins[7].confidence, bins[7].accuracy) == (0.5, 0.0)
    assert bins[14].confidence == pytest.approx((0.95 + 0.97 + 1) / 3)
    assert bins[14].accuracy == pytest.approx(2 / 3)
    assert (bins[1].confidence, bins[1].accuracy) == (None, None)
    assert (bins[0].low, bins[14].high) == (0.0, 1.0)


def test_eval_tells_the_error_before_and_after_the_temperature() -> None:
    hot = Calibration(4.0, 9)
    predictions = [answer(4.0, hot)] * 4  # probability 0.73 now, 0.98 before
    scores = evaluate([*predictions, failed()], ["a", "a", "a", "b", "a"], AB, hot)
    assert scores.calibration is not None
    now, before = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(-4.0))
    assert scores.calibration.ece == pytest.approx(abs(now - 0.75))
    assert scores.calibration.ece_uncalibrated == pytest.approx(before - 0.75)
    assert (scores.calibration.temperature, scores.calibration.fitted_on) == (4.0, 9)
    assert sum(row.num_videos for row in scores.calibration.bins) == 4  # the failed one says nothing


def test_without_logits_or_answers_nothing_is_made_up() -> None:
    bare = Prediction("x.mp4", AB, np.array([0.6, 0.4]))
    scores = evaluate([bare], ["a"], AB)
    assert scores.calibration is not None
    assert scores.calibration.ece_uncalibrated is None
    assert evaluate([failed()], ["a"], AB).calibration is None


def test_risk_coverage_by_hand() -> None:
    # Surest first: right, wrong, right, right; then one that failed.
    predictions = [answer(4.0), answer(3.0), answer(2.0), answer(1.0), failed()]
    scores = evaluate(predictions, ["a", "b", "a", "a", "a"], AB)
    assert scores.risk_coverage.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    rows = {
        row.threshold: (row.num_answered, row.coverage, row.accuracy) for row in scores.risk_coverage.rows
    }
    assert rows[0.0] == (4, 0.8, 0.75)
    assert rows[0.8] == (3, pytest.approx(0.6), pytest.approx(2 / 3))  # 0.98, 0.95, 0.88
    assert rows[0.95] == (2, pytest.approx(0.4), 0.5)
    assert rows[0.99] == (0, 0.0, None)


def test_equal_confidence_counts_as_any_order_on_average() -> None:
    rng = np.random.default_rng(0)
    confidence = np.array([0.9, 0.7, 0.7, 0.7, 0.4])
    correct = np.array([True, False, True, False, True])

    def in_order(order: np.ndarray) -> float:
        return float(np.mean(np.cumsum(~correct[order]) / np.arange(1, 6)))

    orders = [np.r_[0, 1 + rng.permutation(3), 4] for _ in range(4000)]
    expected = np.mean([in_order(order) for order in orders])
    assert area_under_risk_coverage(confidence, correct) == pytest.approx(expected, abs=0.005)
