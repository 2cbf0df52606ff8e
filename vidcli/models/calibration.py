"""Calibrated probabilities: the one place where logits become probabilities.

    logits_VK / temperature -> softmax (multi-label: sigmoid) -> mean over views -> probabilities_K

A network that was trained to be right is usually too sure of itself. One number, the temperature,
is fitted on validation logits after training and divides the logits from then on; which class comes
first in a view never changes by it (Guo et al. 2017, arXiv:1706.04599).

Shape suffixes: N videos, V views, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vidcli.arrays import Bool, Float64, Int64

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
_NUM_COARSE = 61
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Calibration:
    """How a model's logits become probabilities.

    Attributes:
        temperature: what the logits are divided by.
        num_videos: validation videos that it was fitted on; 0 where it was not.
        thresholds: of a multi-label model, the probability from which each class counts as there;
            None where each video has one class.
    """

    temperature: float = 1.0
    num_videos: int = 0
    thresholds: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not MIN_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE or self.num_videos < 0:
            raise ValueError(
                f"expected a temperature from {MIN_TEMPERATURE} to {MAX_TEMPERATURE}, got {self.temperature}"
            )
        if self.thresholds is not None:  # a list where it comes from JSON
            object.__setattr__(self, "thresholds", tuple(self.thresholds))
            if not all(0 <= threshold <= 1 for threshold in self.thresholds):
                raise ValueError(f"expected thresholds from 0 to 1, got {self.thresholds}")

    def probabilities(self, logits_VK: Float64) -> Float64:
        """Return probabilities (K,), averaged over the views."""
        activation = softmax if self.thresholds is None else sigmoid
        return np.asarray(activation(logits_VK / self.temperature).mean(axis=0), dtype=np.float64)


UNCALIBRATED = Calibration()


def uncalibrated(num_classes: int, multi_label: bool) -> Calibration:
    """Return how logits become probabilities before anything is fitted."""
    return Calibration(thresholds=(0.5,) * num_classes) if multi_label else UNCALIBRATED


def sigmoid(logits: Float64) -> Float64:
    """Return the logistic function, without overflow."""
    odds = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1, odds) / (1 + odds), dtype=np.float64)


def softmax(logits: Float64) -> Float64:
    """Return the softmax over the last axis."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True), dtype=np.float64)


def fit_temperature(logits_NVK: Sequence[Float64], labels_N: Sequence[int]) -> Calibration:
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


def fit_multi_label(logits_NVK: Sequence[Float64], targets_NK: Bool) -> Calibration:
    """Return the temperature and the threshold of each class that fit labelled logits best.

    The temperature makes the binary cross-entropy smallest, with Platt's targets as in
    `fit_temperature`, class by class. The threshold of a class makes its F1 largest; of equally
    good ones it is the nearest to 0.5, which also stands where a class has no example.

    Args:
        logits_NVK: one array (V, K) a video; videos that failed are left out by the caller.
        targets_NK: which classes each video has.

    Raises:
        ValueError: not one row of targets a video.
    """
    if len(logits_NVK) != len(targets_NK):
        raise ValueError("fit_multi_label needs one row of targets a video")
    if not len(targets_NK):
        return uncalibrated(targets_NK.shape[1], multi_label=True)
    logits = np.stack([np.asarray(logits_VK, dtype=np.float64) for logits_VK in logits_NVK])
    num_there_K = targets_NK.sum(axis=0)
    there_K, absent_K = (num_there_K + 1) / (num_there_K + 2), 1 / (len(targets_NK) - num_there_K + 2)
    soft_NK = np.where(targets_NK, there_K, absent_K)

    def loss(log_temperature: float) -> float:
        p_NK = sigmoid(logits / np.exp(log_temperature)).mean(axis=1)
        tiny = np.finfo(np.float64).tiny
        told_NK = soft_NK * np.log(np.maximum(p_NK, tiny)) + (1 - soft_NK) * np.log(
            np.maximum(1 - p_NK, tiny)
        )
        return float(-told_NK.mean())

    temperature = float(np.exp(_minimise(loss, np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))))
    temperature = min(max(temperature, MIN_TEMPERATURE), MAX_TEMPERATURE)
    p_NK = sigmoid(logits / temperature).mean(axis=1)
    thresholds = [best_threshold(p_N, there_N) for p_N, there_N in zip(p_NK.T, targets_NK.T, strict=True)]
    return Calibration(temperature, len(targets_NK), tuple(thresholds))


def best_threshold(probabilities_N: Float64, there_N: Bool) -> float:
    """Return the threshold with the largest F1, of equally good ones the nearest to 0.5."""
    if not there_N.any():
        return 0.5
    values = np.unique(probabilities_N)
    candidates = np.unique([0.5, *((values[1:] + values[:-1]) / 2), values[0] / 2])
    chosen_MN = probabilities_N >= candidates[:, None]
    f1_M = 2 * (chosen_MN & there_N).sum(axis=1) / (chosen_MN.sum(axis=1) + there_N.sum())
    best = np.flatnonzero(f1_M >= f1_M.max() - 1e-12)
    return float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])


def _softened_targets(labels_N: Int64, num_classes: int) -> Float64:
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
