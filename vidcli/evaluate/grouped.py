"""Scores of videos that come in groups: intervals and differences are drawn in whole groups.

Videos of one group, such as a recording or a person, tend to be right or wrong together. Drawn one by one,
they would give intervals that are too narrow. Where there are no groups, each file is one.

Sources: the percentile bootstrap over clusters (Field and Welsh 2007, J. R. Statist. Soc. B 69, 369-390);
the sign-flip permutation test of paired differences (Fisher 1935).

Shape suffixes: N videos, U groups, K classes; K1 is K and one more for videos that failed; D draws, M
metrics.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidcli.arrays import Float64, Int64
from vidcli.data.items import VideoItem

METRICS = ("top1", "balanced_accuracy", "macro_f1")
FEW_GROUPS = 10
"""With fewer groups than this, intervals of a bootstrap over groups are too narrow."""

_DRAWS = 2000
_TAIL = 0.025
_NUMBERS_AT_ONCE = 4_000_000
_MOST_EXACT = 14
_FLIPS = 20_000


@dataclass(frozen=True)
class Interval:
    """A number with its 95% interval.

    Attributes:
        value: the number.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends of the interval."""
        return self.low, self.high


class GroupedAnswers:
    """Answers to labelled videos, counted by group.

    Attributes:
        confusion_KK1: number of answers by true class and answer; the last column counts videos that failed.
        num_groups: number of groups, or of files where there are no groups.
    """

    def __init__(
        self, items: Sequence[VideoItem], labels: Sequence[int], guesses: Sequence[int], num_classes: int
    ) -> None:
        """Count the answers.

        Args:
            items: a video for each answer; a video may be answered several times.
            labels: the true class of each.
            guesses: the answer to each; `num_classes` where it failed.
            num_classes: K.
        """
        names = [f"g{item.group}" if item.group is not None else f"f{item.path}" for item in items]
        units, self._unit_N = np.unique(names, return_inverse=True)
        self.num_groups = len(units)
        self._label_N, guess_N = np.asarray(labels), np.asarray(guesses)
        self._is_right_N = self._label_N == guess_N
        self._shape = num_classes, num_classes + 1
        self._cell_N = self._label_N * (num_classes + 1) + guess_N
        self.confusion_KK1 = self._count(np.ones((1, len(names)), dtype=np.int64))[0]

    def scores(self) -> dict[str, Interval]:
        """Return each of `METRICS` with its interval."""
        value_M, draws_DM = measure_confusion(self.confusion_KK1), self._draws()
        found = {}
        for column, name in enumerate(METRICS):
            value = float(value_M[column])
            found[name] = Interval(value, *ends_of_draws(value, draws_DM[:, column], self.num_groups))
        return found

    def differences(self, others: GroupedAnswers) -> dict[str, Interval]:
        """Return each of `METRICS` less that of other answers to the same videos, with its interval.

        Raises:
            ValueError: the answers are not to the same groups and classes.
        """
        self._require_same(others)
        value_M = measure_confusion(self.confusion_KK1) - measure_confusion(others.confusion_KK1)
        draws_DM = self._draws() - others._draws()  # the same groups are drawn for both
        ends = np.quantile(draws_DM, [_TAIL, 1 - _TAIL], axis=0)
        return {
            name: Interval(float(value_M[column]), float(ends[0, column]), float(ends[1, column]))
            for column, name in enumerate(METRICS)
        }

    def sign_flip_p(self, others: GroupedAnswers) -> float:
        """Return the two-sided p-value of the difference in right answers, group by group.

        It is the probability that two equally good sets of answers differ at least so much, if in each group
        either may have been the better one. With few groups it cannot be small: with five, not below 0.0625.

        Args:
            others: answers to the same videos.
        """
        self._require_same(others)
        gained_U = np.bincount(self._unit_N, self._is_right_N) - np.bincount(
            others._unit_N, others._is_right_N
        )
        gained_U = gained_U[gained_U != 0]
        if not len(gained_U):
            return 1.0
        observed = abs(gained_U.sum())
        if len(gained_U) <= _MOST_EXACT:
            signs = np.array(list(itertools.product((1, -1), repeat=len(gained_U))))
            return float((np.abs(signs @ gained_U) >= observed).mean())
        signs = np.random.default_rng(0).choice((1, -1), size=(_FLIPS, len(gained_U)))
        return float((1 + (np.abs(signs @ gained_U) >= observed).sum()) / (1 + _FLIPS))

    def _draws(self) -> Float64:
        """Return the metrics of samples of groups, (D, M): the same samples for equal numbers of groups."""
        rng = np.random.default_rng(0)
        at_once = max(1, _NUMBERS_AT_ONCE // max(len(self._cell_N), self.confusion_KK1.size))
        draws = []
        for start in range(0, _DRAWS, at_once):
            size = min(at_once, _DRAWS - start)
            times_DU = np.stack([self._draw_groups(rng) for _ in range(size)])
            draws.append(measure_confusion(self._count(times_DU[:, self._unit_N])))
        return np.concatenate(draws)

    def _draw_groups(self, rng: np.random.Generator) -> Int64:
        """Return how often each group is drawn."""
        drawn_U = rng.integers(self.num_groups, size=self.num_groups)
        return np.bincount(drawn_U, minlength=self.num_groups)

    def _count(self, weight_DN: Int64) -> Int64:
        """Return confusion matrices (D, K, K1) in which each answer counts as often as its weight says."""
        num_draws, num_cells = len(weight_DN), self._shape[0] * self._shape[1]
        cell_DN = self._cell_N + num_cells * np.arange(num_draws)[:, None]
        counts = np.bincount(cell_DN.ravel(), weight_DN.ravel(), minlength=num_draws * num_cells)
        return counts.astype(np.int64).reshape(num_draws, *self._shape)

    def _require_same(self, others: GroupedAnswers) -> None:
        """Refuse answers to other videos; the order of the answers does not matter."""
        ours, theirs = (
            np.sort(answers._unit_N * answers._shape[1] + answers._label_N) for answers in (self, others)
        )
        if self._shape != others._shape or not np.array_equal(ours, theirs):
            raise ValueError("answers can be compared only where they are to the same videos")


def ends_of_draws(value: float, draws_D: Float64, num_groups: int) -> tuple[float, float]:
    """Return the ends of the 95% interval of a share, by draws of a bootstrap over groups.

    Where all answers are right, or all wrong, all draws are equal, and the bootstrap would claim certainty:
    the other end is then the exact (Clopper-Pearson) bound for that many groups.

    Args:
        value: the share.
        draws_D: the share in each draw.
        num_groups: that draws are made of.
    """
    bound = _TAIL ** (1 / num_groups)
    if value in (0, 1):
        return (bound, 1.0) if value else (0.0, 1 - bound)
    low, high = np.quantile(draws_D, [_TAIL, 1 - _TAIL])
    return float(low), float(high)


def measure_confusion(confusion_KK1: Int64) -> Float64:
    """Return `METRICS` of a confusion matrix, or of many (..., K, K1), as (..., M).

    Args:
        confusion_KK1: numbers of answers by true class and answer; the last column counts failed videos.
    """
    hits_K = np.diagonal(confusion_KK1, axis1=-2, axis2=-1).astype(np.float64)
    support_K, predicted_K = confusion_KK1.sum(-1), confusion_KK1[..., :-1].sum(-2)
    occurs_K, counts_K = support_K > 0, support_K + predicted_K > 0
    recall_K = hits_K / np.maximum(support_K, 1)
    f1_K = 2 * hits_K / np.maximum(support_K + predicted_K, 1)
    return np.stack(
        [
            hits_K.sum(-1) / support_K.sum(-1),
            recall_K.sum(-1) / occurs_K.sum(-1),
            f1_K.sum(-1) / counts_K.sum(-1),
        ],
        axis=-1,
    )
