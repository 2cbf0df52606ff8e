"""Calibrated probabilities: the one place where logits become probabilities.

    logits_VK / temperature -> softmax -> mean over views -> probabilities_K

A network that was trained to be right is usually too sure of itself. One number, the temperature,
is fitted on validation logits after training and divides the logits from then on; which class comes
first in a view never changes by it (Guo et al. 2017, arXiv:1706.04599).

Shape suffixes: N videos, V views, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
_NUM_COARSE = 61
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Calibration:
    """How a model's logits become probabilities.

    Attributes:
        temperature: what the logits are divided by.
        num_videos: validation videos that it was fitted on; 0 where it was not.
    """

    temperature: float = 1.0
    num_videos: int = 0

    def __post_init__(self) -> None:
        if not MIN_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE or self.num_videos < 0:
            raise ValueError(
                f"expected a temperature from {MIN_TEMPERATURE} to {MAX_TEMPERATURE}, got {self.temperature}"
            )

    def probabilities(self, logits_VK: Floats) -> Floats:
        """Return probabilities (K,), averaged over the views."""
        return np.asarray(softmax(logits_VK / self.temperature).mean(axis=0), dtype=np.float64)


UNCALIBRATED = Calibration()


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the last axis."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True), dtype=np.float64)


def fit_temperature(logits_NVK: Sequence[Floats], labels_N: Sequence[int]) -> Calibration:
    """Return the temperature with the smallest loss on labelled logits.

    The loss is the cross-entropy of the averaged probabilities with targets that give the true
    class (N + 1) / (N + 2) and the rest to the others (Platt 1999): with few videos, all of them
    right, a bare likelihood would ask for certainty.

    Args:
        logits_NVK: one array (V, K) a video; videos that failed are left out by the caller.
        labels_N: the true classes.

    Raises:
        ValueError: not one label a video.
    """
    if len(logits_NVK) != len(labels_N):
        raise ValueError("fit_temperature needs one label a video")
    if not len(labels_N):
        return UNCALIBRATED
    logits = np.stack([np.asarray(logits_VK, dtype=np.float64) for logits_VK in logits_NVK])
    targets_NK = _softened_targets(np.asarray(labels_N), logits.shape[-1])

    def loss(log_temperature: float) -> float:
        probabilities_NK = softmax(logits / np.exp(log_temperature)).mean(axis=1)
        tiny = np.finfo(np.float64).tiny
        return float(-(targets_NK * np.log(np.maximum(probabilities_NK, tiny))).sum(axis=1).mean())

    temperature = float(np.exp(_minimise(loss, np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))))
    return Calibration(min(max(temperature, MIN_TEMPERATURE), MAX_TEMPERATURE), len(labels_N))


def _softened_targets(labels_N: npt.NDArray[np.int64], num_classes: int) -> Floats:
    num_videos = len(labels_N)
    rest = 1 / (num_videos + 2) / max(1, num_classes - 1)
    targets_NK = np.full((num_videos, num_classes), rest)
    targets_NK[np.arange(num_videos), labels_N] = (num_videos + 1) / (num_videos + 2)
    return targets_NK


def _minimise(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function of one number is smallest: a coarse grid, then golden sections."""
    grid = np.linspace(low, high, _NUM_COARSE)
    best = int(np.argmin([function(float(point)) for point in grid]))
    left, right = float(grid[max(0, best - 1)]), float(grid[min(_NUM_COARSE - 1, best + 1)])
    inner = [right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)]
    values = [function(point) for point in inner]
    while right - left > 1e-6:
        if values[0] <= values[1]:
            right, inner[1], values[1] = inner[1], inner[0], values[0]
            inner[0] = right - _GOLDEN * (right - left)
            values[0] = function(inner[0])
        else:
            left, inner[0], values[0] = inner[0], inner[1], values[1]
            inner[1] = left + _GOLDEN * (right - left)
            values[1] = function(inner[1])
    return (left + right) / 2
