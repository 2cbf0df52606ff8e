"""What a score is worth: beside what always answering the same gets, in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Baseline:
    """The best that an answer gets which never looks at the videos.

    Attributes:
        answer: the label that most of the videos have.
        share: of the videos that have it.
    """

    answer: str
    share: float


def find_baseline(labels: Sequence[Hashable]) -> Baseline:
    """Return what always answering the most frequent label gets.

    Args:
        labels: of the evaluated videos, at least one.
    """
    answer, count = min(Counter(labels).items(), key=lambda pair: (-pair[1], str(pair[0])))
    return Baseline(str(answer), count / len(labels))


def is_better(interval: tuple[float, float], baseline: float) -> bool:
    """Tell whether a share of right answers is above a baseline by more than luck."""
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
        share_right: of the videos.
        interval: what the share may be in truth, 95%.
        baseline: what the same answer for all gets.
        num_videos: that were evaluated.
        what: the model did, such as `right for`.
    """
    low, high = interval
    told = f"{what} {share_right:.3f} of {num_videos} videos, {low:.3f} to {high:.3f} with 95% certainty"
    same = f"always answering {baseline.answer!r} gets {baseline.share:.3f}"
    if low > baseline.share:
        return f"better than guessing: {told}; {same}"
    if high < baseline.share:
        return f"worse than guessing: {told}; {same}"
    return f"no better than guessing: {told}; {same}, which lies within"
