"""Whether a model is better than another, or than always giving the same answer, or was only lucky.

Sources: McNemar's exact test (McNemar 1947); the interval of a difference of paired shares is the
score interval with continuity-corrected correlation, method 10 of Newcombe 1998 (Statistics in
Medicine 17, 2635-2650), which holds for few videos and for shares of 0 and 1 too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Comparison:
    """Two models on the same videos; a video that a model failed on counts as wrong.

    Attributes:
        num_videos: videos evaluated.
        top1: share of them that the model gets right.
        top1_against: share of them that the other model gets right.
        both_right: videos that both models get right.
        only_model: videos that only the model gets right.
        only_against: videos that only the other model gets right.
        both_wrong: videos that neither gets right.
        difference: accuracy of the model less that of the other.
        difference_interval: 95% interval of the difference, by Newcombe's method 10.
        p_value: of McNemar's exact test: the probability that two equally good models share the videos that
            only one of them gets right at least so unevenly.
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

    Args:
        correct_N: whether the model is right, for each video.
        correct_against_N: whether the other model is right, for the same videos.

    Raises:
        ValueError: the numbers of videos differ, or there are none.
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
    """Return the two-sided p-value of McNemar's exact test.

    Args:
        only_a: videos that only model a gets right.
        only_b: videos that only model b gets right; of equal models, a fair coin decides which one it is.
    """
    num_discordant = only_a + only_b
    tail = sum(math.comb(num_discordant, k) for k in range(min(only_a, only_b) + 1))
    return float(min(1.0, 2 * tail / 2**num_discordant))


def paired_difference_interval(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """Return the 95% interval of the difference of two paired shares, a less b.

    Args:
        both: pairs that count for both.
        only_a: pairs that count for a.
        only_b: pairs that count for b.
        neither: pairs that count for neither.
    """
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
    """Return the 95% score interval of the share of `num_right` in `num_all` (Wilson 1927)."""
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


@dataclass(frozen=True)
class Baseline:
    """What always giving the same answer gets, without looking at the videos.

    Attributes:
        answer: the label that most of the videos have.
        share: share of the videos that have it.
    """

    answer: str
    share: float


def find_baseline(labels: Sequence[Hashable]) -> Baseline:
    """Return what always answering the most frequent label gets.

    Args:
        labels: one for each evaluated video, at least one.
    """
    answer, count = min(Counter(labels).items(), key=lambda pair: (-pair[1], str(pair[0])))
    return Baseline(str(answer), count / len(labels))


def is_better(interval: tuple[float, float], baseline: float) -> bool:
    """Tell whether a share of right answers is above a baseline by more than luck.

    Args:
        interval: 95% interval of the share.
        baseline: the share to compare with.
    """
    return interval[0] > baseline


def judge(
    share_right: float,
    interval: tuple[float, float],
    baseline: Baseline,
    num_videos: int,
    what: str = "right for",
) -> str:
    """Return one sentence: whether a model is better than one that always gives the same answer.

    Args:
        share_right: share of the videos that the model gets right.
        interval: 95% interval of that share.
        baseline: what always giving the same answer gets.
        num_videos: videos evaluated.
        what: the words before the share.
    """
    low, high = interval
    told = f"{what} {share_right:.3f} of {num_videos} videos, {low:.3f} to {high:.3f} with 95% certainty"
    same = f"always answering {baseline.answer!r} gets {baseline.share:.3f}"
    if is_better(interval, baseline.share):
        return f"better than guessing: {told}; {same}"
    if high < baseline.share:
        return f"worse than guessing: {told}; {same}"
    return f"no better than guessing: {told}; {same}, which lies within"
