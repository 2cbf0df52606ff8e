"""Temperature scaling against plain references: a fine grid, and logits whose temperature is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vidcli.models.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    UNCALIBRATED,
    Calibration,
    fit_temperature,
    softmax,
)


def too_sure(
    factor: float, num_videos: int, num_views: int = 1, seed: int = 0
) -> tuple[list[np.ndarray], list[int]]:
    """Draw labels from the softmax of logits, and return the logits times `factor`."""
    rng = np.random.default_rng(seed)
    logits_NVK = rng.normal(0, 1.5, (num_videos, 1, 5)) + rng.normal(0, 0.3, (num_videos, num_views, 5))
    chances_NK = softmax(logits_NVK).mean(axis=1)
    labels = [int(rng.choice(5, p=chances_K)) for chances_K in chances_NK]
    return list(factor * logits_NVK), labels


def plain_loss(temperature: float, logits: list[np.ndarray], labels: list[int]) -> float:
    """Compute the softened cross-entropy from its definition, a number at a time."""
    total, num_videos = 0.0, len(labels)
    for views, label in zip(logits, labels, strict=True):
        sums = [0.0] * len(views[0])
        for view in views:
            odds = [math.exp(z / temperature) for z in view]
            for k, odd in enumerate(odds):
                sums[k] += odd / sum(odds) / len(views)
        for k, probability in enumerate(sums):
            true, rest = (num_videos + 1) / (num_videos + 2), 1 / (num_videos + 2) / (len(sums) - 1)
            total -= (true if k == label else rest) * math.log(probability)
    return total / num_videos


def test_probabilities_by_hand_and_averaged_over_views() -> None:
    logits_VK = np.array([[2.0, 0.0], [0.0, 0.0]])
    first = math.exp(1.0) / (math.exp(1.0) + 1)
    expected = [(first + 0.5) / 2, (1 - first + 0.5) / 2]
    np.testing.assert_allclose(Calibration(2.0).probabilities(logits_VK), expected, rtol=1e-15)


def test_a_temperature_of_one_changes_no_bit() -> None:
    logits_VK = np.random.default_rng(0).normal(size=(3, 7))
    np.testing.assert_array_equal(UNCALIBRATED.probabilities(logits_VK), softmax(logits_VK).mean(axis=0))


def test_huge_logits_do_not_overflow() -> None:
    np.testing.assert_array_equal(softmax(np.array([1e6, 0.0, -1e6])), [1.0, 0.0, 0.0])


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("num_views", [1, 3])
def test_a_known_temperature_is_found_again(factor: float, num_views: int) -> None:
    logits, labels = too_sure(factor, 4000, num_views)
    fitted = fit_temperature(logits, labels)
    assert fitted.temperature == pytest.approx(factor, rel=0.06)
    assert fitted.num_videos == 4000


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_smallest_loss_of_a_fine_grid(seed: int) -> None:
    logits, labels = too_sure(2.0, 30, num_views=2, seed=seed)
    found = fit_temperature(logits, labels).temperature
    grid = np.geomspace(MIN_TEMPERATURE, MAX_TEMPERATURE, 400)
    best = grid[int(np.argmin([plain_loss(t, logits, labels) for t in grid]))]
    assert found == pytest.approx(best, rel=0.016)  # one step of the grid
    assert plain_loss(found, logits, labels) <= plain_loss(best, logits, labels) + 1e-12


def test_ten_videos_all_right_do_not_make_a_model_certain() -> None:
    logits = [4.0 * np.eye(3)[[label]] for label in (0, 1, 2, 0, 1, 2, 0, 1, 2, 0)]
    fitted = fit_temperature(logits, [0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    # With equal logits the loss is smallest where the probability is that of the target.
    assert fitted.probabilities(logits[0])[0] == pytest.approx(11 / 12, abs=1e-4)


def test_logits_that_know_nothing_and_none_at_all() -> None:
    fitted = fit_temperature([np.zeros((1, 3))] * 4, [0, 1, 2, 0])
    np.testing.assert_allclose(fitted.probabilities(np.zeros((1, 3))), 1 / 3)
    assert fit_temperature([], []) == UNCALIBRATED


@pytest.mark.parametrize("given", [{"temperature": 0.0}, {"temperature": math.nan}, {"num_videos": -1}])
def test_a_calibration_that_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="temperature"):
        Calibration(**given)


def test_misuse() -> None:
    with pytest.raises(ValueError, match="one label a video"):
        fit_temperature([np.zeros((1, 2))], [])
