"""Is one model better than another on the same videos, or was it luck.

Sources: McNemar's exact test (McNemar 1947); the interval of a difference of paired shares is the
score interval with continuity-corrected correlation, method 10 of Newcombe 1998 (Statistics in
Medicine 17, 2635-2650), which holds for few videos and for shares of 0 and 1 too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Comparison:
    """Two models on the same videos; a video that a model failed on counts as wrong.

    Attributes:
        difference: accuracy of the model less that of the other.
        difference_interval: 95%, Newcombe's method 10.
        p_value: of McNemar's exact test: how often two equally good models would part at least so
            unevenly in the videos that only one of them gets right.
    """

    num_videos: int
    top1: float
    top1_against: float
    both_right: int
    only_model: int
    only_against: int
    both_wrong: int
    difference: float
    difference_interval: tuple[float, float]
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `vidcli eval --json` prints them."""
        return asdict(self)


def compare(correct_N: Sequence[bool], correct_against_N: Sequence[bool]) -> Comparison:
    """Compare right and wrong answers of two models, video by video.

    Raises:
        ValueError: not the same number of videos, or none.
    """
    if len(correct_N) != len(correct_against_N) or not len(correct_N):
        raise ValueError("compare needs two outcomes a video, and at least one video")
    pairs = [(bool(a), bool(b)) for a, b in zip(correct_N, correct_against_N, strict=True)]
    both, only_a, only_b = (pairs.count(kind) for kind in ((True, True), (True, False), (False, True)))
    neither = len(pairs) - both - only_a - only_b
    return Comparison(
        num_videos=len(pairs),
        top1=(both + only_a) / len(pairs),
        top1_against=(both + only_b) / len(pairs),
        both_right=both,
        only_model=only_a,
        only_against=only_b,
        both_wrong=neither,
        difference=(only_a - only_b) / len(pairs),
        difference_interval=paired_difference_interval(both, only_a, only_b, neither),
        p_value=mcnemar_exact(only_a, only_b),
    )


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Return the two-sided p-value: discordant pairs fall to either side like a fair coin."""
    num_discordant = only_a + only_b
    tail = sum(math.comb(num_discordant, k) for k in range(min(only_a, only_b) + 1))
    return float(min(1.0, 2 * tail / 2**num_discordant))


def paired_difference_interval(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """Return the 95% interval of the difference of two paired shares, a less b."""
    num_pairs = both + only_a + only_b + neither
    share_a, share_b = (both + only_a) / num_pairs, (both + only_b) / num_pairs
    low_a, high_a = wilson_interval(both + only_a, num_pairs)
    low_b, high_b = wilson_interval(both + only_b, num_pairs)
    phi = _corrected_correlation(both, only_a, only_b, neither)
    below_a, above_a, below_b, above_b = share_a - low_a, high_a - share_a, share_b - low_b, high_b - share_b
    down = math.sqrt(max(0.0, below_a**2 - 2 * phi * below_a * above_b + above_b**2))
    up = math.sqrt(max(0.0, above_a**2 - 2 * phi * above_a * below_b + below_b**2))
    difference = share_a - share_b
    return max(-1.0, difference - down), min(1.0, difference + up)


def wilson_interval(num_right: int, num_all: int) -> tuple[float, float]:
    """Return the 95% score interval of a share (Wilson 1927)."""
    share, z2 = num_right / num_all, _Z95**2
    centre = (share + z2 / (2 * num_all)) / (1 + z2 / num_all)
    half = _Z95 / (1 + z2 / num_all) * math.sqrt(share * (1 - share) / num_all + z2 / (4 * num_all**2))
    low = 0.0 if num_right == 0 else centre - half
    return low, 1.0 if num_right == num_all else centre + half


def _corrected_correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    product = both * neither - only_a * only_b
    half = (both + only_a + only_b + neither) / 2
    corrected = max(product - half, 0.0) if product > 0 else float(product)
    return corrected / math.sqrt(margins)
