"""A trained network over the cells of a timeline, computed in NumPy: see `temporal_network`.

So timelines of exported models need no torch.

Shape suffixes: N cells, D inputs of a cell, C channels, K classes, M motions of a box, S cells of a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from vidcli.arrays import Float32, Float64
from vidcli.models.calibration import softmax

NUM_MOTIONS = 4
"""What is said of a box: how quickly it moves across and down, its size and its proportions."""
DILATIONS = (1, 2, 4, 8, 16, 32)
FIRST_SIZE = 5
REACH = FIRST_SIZE // 2 + sum(DILATIONS)
"""Cells on either side of one that its answer depends on."""

_LEAST = 1e-3
"""Probabilities below are taken for this."""
_SCALE = 0.5
_EPSILON = np.float32(1e-5)
# Abramowitz and Stegun 1964, 7.1.26: the error function within 1.5e-7, about the rounding of float32.
_ERF_SCALE = 0.3275911
_ERF_TERMS = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def shapes_of(num_classes: int, channels: int, uses_motion: bool) -> list[tuple[int, ...]]:
    """Return the shapes of the network's parameters in their order.

    Args:
        num_classes: K.
        channels: C.
        uses_motion: cells also say how the box of the subject moves.
    """
    num_inputs = num_classes + (NUM_MOTIONS if uses_motion else 0)
    norm = [(channels,), (channels,)]
    layer = [*norm, (channels, channels, 3), (channels,), (channels, channels, 1), (channels,)]
    first = [(channels, num_inputs, FIRST_SIZE), (channels,)]
    return [*first, *layer * len(DILATIONS), *norm, (num_classes, channels), (num_classes,)]


def seconds_seen(step_seconds: float) -> int:
    """Return how many seconds of cells that long the answer to one of them depends on."""
    return math.ceil((2 * REACH + 1) * step_seconds)


def cell_inputs(probabilities_NK: Float64, motion_NM: Float64 | None) -> Float32:
    """Return what a network sees of cells (N, D)."""
    logarithms_NK = _SCALE * np.log(np.maximum(probabilities_NK, _LEAST))
    parts = [logarithms_NK] if motion_NM is None else [logarithms_NK, motion_NM]
    return np.concatenate(parts, axis=1).astype(np.float32)


class CellRefiner:
    """A network that sees cells again, each in view of those around it."""

    def __init__(self, parameters: Sequence[Float32], uses_motion: bool) -> None:
        """Keep a network.

        Args:
            parameters: as `shapes_of` tells.
            uses_motion: cells also say how the box of the subject moves.
        """
        self._parameters, self._uses_motion = tuple(parameters), uses_motion
        self.num_classes = len(parameters[-1])

    def refine(self, probabilities_NK: Float64, motion_NM: Float64) -> Float64:
        """Return the probabilities (N, K) of cells, each in view of those around it.

        Args:
            probabilities_NK: as windows tell them.
            motion_NM: of the subject's box; not looked at by a network that does not use it.
        """
        own = iter(self._parameters)
        x_NC = _convolve(cell_inputs(probabilities_NK, motion_NM if self._uses_motion else None), own)
        for dilation in DILATIONS:
            changed_NC = _gelu(_convolve(_normalise(x_NC, own), own, dilation))
            x_NC = x_NC + _convolve(changed_NC, own)
        x_NC = _normalise(x_NC, own)
        logits_NK = x_NC @ next(own).T + next(own)
        return softmax(logits_NK.astype(np.float64))


def _convolve(x_ND: Float32, own: Iterator[Float32], dilation: int = 1) -> Float32:
    """Return the convolution over cells, as many as there were: those beyond either end are zero."""
    weight_CDS, bias_C = next(own), next(own)
    size, num_cells = weight_CDS.shape[2], len(x_ND)
    padding = size // 2 * dilation
    padded = np.pad(x_ND, ((padding, padding), (0, 0)))
    starts = range(0, size * dilation, dilation)
    sum_NC: Float32 = bias_C + sum(
        padded[start : start + num_cells] @ weight_CDS[..., place].T for place, start in enumerate(starts)
    )
    return sum_NC


def _normalise(x_NC: Float32, own: Iterator[Float32]) -> Float32:
    """Return each cell normalised by itself."""
    weight_C, bias_C = next(own), next(own)
    centred_NC = x_NC - x_NC.mean(axis=1, keepdims=True)
    deviations_N1 = np.sqrt((centred_NC**2).mean(axis=1, keepdims=True) + _EPSILON)
    normal_NC: Float32 = centred_NC / deviations_N1 * weight_C + bias_C
    return normal_NC


def _gelu(x: Float32) -> Float32:
    """Return x times the normal distribution's function of it (Hendrycks and Gimpel 2016)."""
    size: Float32 = np.abs(x) * np.float32(0.5**0.5)
    near: Float32 = np.reciprocal(1 + _ERF_SCALE * size)
    tail: Float32 = np.zeros_like(x)
    for term in _ERF_TERMS:
        tail += term
        tail *= near
    tail *= np.exp(-(size**2))  # 1 - erf(size)
    activated: Float32 = np.where(x < 0, x * tail, x * (2 - tail)) * np.float32(0.5)
    return activated
