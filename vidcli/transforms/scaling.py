"""Scale frames, with torch where it is loaded and without it elsewhere, to the same bits.

    along the width, then along the height:    out[i] = sum over k of weight[i, k] * in[first[i] + k]

A pixel of the result is the weighted mean of those around its place, by a triangle that is as wide as two
pixels of the coarser side. Weights are whole numbers of 16 bits, as torch takes them for bytes, and each pass
ends with rounding.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vidcli.arrays import Frames, Int32, Int64

_MOST_BITS = 22
"""Of the fraction of a weight, in torch."""
_WEIGHT_LIMIT = 1 << 15


def squeeze(frames_THWC: Frames, height: int, width: int) -> Frames:
    """Return whole frames at another size, whatever their proportions.

    Args:
        frames_THWC: uint8.
        height: in pixels.
        width: in pixels.
    """
    if frames_THWC.shape[1:3] == (height, width):
        return frames_THWC
    if "torch" in sys.modules:
        return _squeeze_in_torch(frames_THWC, height, width)
    return _squeeze_in_numpy(frames_THWC, height, width)


def _squeeze_in_torch(frames_THWC: Frames, height: int, width: int) -> Frames:
    import torch
    from torch.nn import functional

    pixels_TCHW = torch.from_numpy(np.ascontiguousarray(frames_THWC)).permute(0, 3, 1, 2)
    # Torch scales bytes several times faster than floats.
    scaled_TCHW = functional.interpolate(pixels_TCHW, (height, width), mode="bilinear", antialias=True)
    squeezed: Frames = scaled_TCHW.permute(0, 2, 3, 1).contiguous().numpy()
    return squeezed


def _squeeze_in_numpy(frames_THWC: Frames, height: int, width: int) -> Frames:
    scaled = frames_THWC
    for axis, size in ((2, width), (1, height)):
        if scaled.shape[axis] != size:
            scaled = _scale_along(scaled, axis, size)
    return scaled


class _Taps(NamedTuple):
    """Which pixels of a line become a pixel of another length, and how much each counts.

    Attributes:
        places_KN: of the pixels, for each of the N new ones.
        weights_KN: whole numbers; those of a new pixel add up to about 2 to the power of `bits`.
        bits: of their fraction.
    """

    places_KN: Int64
    weights_KN: Int32
    bits: int


@lru_cache(maxsize=128)
def _taps(length: int, size: int) -> _Taps:
    """Return what makes `size` pixels of a line of `length`."""
    scale = length / size
    wide = max(scale, 1.0)
    centres_N = scale * (np.arange(size) + 0.5)
    firsts_N = np.maximum((centres_N - wide + 0.5).astype(np.int64), 0)
    ends_N = np.minimum((centres_N + wide + 0.5).astype(np.int64), length)
    places_KN = firsts_N + np.arange((ends_N - firsts_N).max())[:, None]
    distances_KN = np.abs((places_KN - centres_N + 0.5) * (1 / wide))
    shares_KN = np.where((places_KN < ends_N) & (distances_KN < 1), 1 - distances_KN, 0.0)
    shares_KN /= shares_KN.sum(axis=0)
    bits = next(b for b in range(_MOST_BITS + 1) if b == _MOST_BITS or _is_full(shares_KN.max(), b))
    weights_KN = np.floor(shares_KN * (1 << bits) + 0.5).astype(np.int32)
    return _Taps(np.minimum(places_KN, length - 1), weights_KN, bits)


def _is_full(largest: float, bits: int) -> bool:
    """Tell whether another bit would make the largest weight too large for 16."""
    return int(0.5 + largest * (1 << (bits + 1))) >= _WEIGHT_LIMIT


def _scale_along(pixels_THWC: Frames, axis: int, size: int) -> Frames:
    """Return frames of which one side has another size."""
    taps = _taps(pixels_THWC.shape[axis], size)
    shape = [1, 1, 1, 1]
    shape[axis] = size
    total: Int32 | None = None
    for places_N, weights_N in zip(taps.places_KN, taps.weights_KN, strict=True):
        part = pixels_THWC.take(places_N, axis=axis) * weights_N.reshape(shape)
        if total is None:
            total = part
        else:
            total += part
    assert total is not None
    total += 1 << (taps.bits - 1)
    total >>= taps.bits
    return total.clip(0, 255).astype(np.uint8)
