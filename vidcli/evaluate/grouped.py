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
_CELLS_AT_ONCE = 4_000_000
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
        confusion_UKK1: number of answers of each group by true class and answer; the last column counts
            videos that failed.
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
        _, unit_N = np.unique(names, return_inverse=True)
        self.confusion_UKK1 = np.zeros((unit_N.max() + 1, num_classes, num_classes + 1), dtype=np.int64)
        np.add.at(self.confusion_UKK1, (unit_N, np.asarray(labels), np.asarray(guesses)), 1)

    @property
    def num_groups(self) -> int:
        """Number of groups, or of files where there are no groups."""
        return len(self.confusion_UKK1)

    def scores(self) -> dict[str, Interval]:
        """Return each of `METRICS` with its interval.

        Where all answers are right, or all wrong, all draws are equal, and the bootstrap would claim
        certainty: the other end is then the exact (Clopper-Pearson) bound for that many groups.
        """
        value_M, draws_DM = measure_confusion(self.confusion_UKK1.sum(0)), self._draws()
        bound = _TAIL ** (1 / self.num_groups)
        found = {}
        for column, name in enumerate(METRICS):
            value = float(value_M[column])
            low, high = np.quantile(draws_DM[:, column], [_TAIL, 1 - _TAIL])
            low, high = (bound, 1.0) if value == 1 else (0.0, 1 - bound) if value == 0 else (low, high)
            found[name] = Interval(value, float(low), float(high))
        return found

    def differences(self, others: GroupedAnswers) -> dict[str, Interval]:
        """Return each of `METRICS` less that of other answers to the same videos, with its interval.

        Raises:
            ValueError: the answers are not to the same groups and classes.
        """
        self._require_same(others)
        value_M = measure_confusion(self.confusion_UKK1.sum(0)) - measure_confusion(
            others.confusion_UKK1.sum(0)
        )
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
        gained_U = np.trace(self.confusion_UKK1, axis1=1, axis2=2) - np.trace(
            others.confusion_UKK1, axis1=1, axis2=2
        )
        gained_U = gained_U[gained_U != 0]
        if not len(gained_U):
            return 1.0
        observed = abs(int(gained_U.sum()))
        if len(gained_U) <= _MOST_EXACT:
            signs = np.array(list(itertools.product((1, -1), repeat=len(gained_U))))
            return float((np.abs(signs @ gained_U) >= observed).mean())
        signs = np.random.default_rng(0).choice((1, -1), size=(_FLIPS, len(gained_U)))
        return float((1 + (np.abs(signs @ gained_U) >= observed).sum()) / (1 + _FLIPS))

    def _draws(self) -> Float64:
        """Return the metrics of samples of groups, (D, M): the same samples for equal numbers of groups."""
        num_groups = self.num_groups
        rng = np.random.default_rng(0)
        counts_DU = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=_DRAWS)
        flat_UC = self.confusion_UKK1.reshape(num_groups, -1)
        at_once = max(1, _CELLS_AT_ONCE // flat_UC.shape[1])
        parts = [
            measure_confusion((counts_DU[start : start + at_once] @ flat_UC).reshape(-1, *self._shape))
            for start in range(0, _DRAWS, at_once)
        ]
        return np.concatenate(parts)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.confusion_UKK1.shape[1], self.confusion_UKK1.shape[2]

    def _require_same(self, others: GroupedAnswers) -> None:
        support_UK, others_UK = (answers.confusion_UKK1.sum(2) for answers in (self, others))
        if support_UK.shape != others_UK.shape or (support_UK != others_UK).any():
            raise ValueError("answers can be compared only where they are to the same videos")


def measure_confusion(confusion_KK1: Int64) -> Float64:
    """Return `METRICS` of a confusion matrix, or of many (..., K, K1), as (..., M).

    Args:
        confusion_KK1: numbers of answers by true class and answer; the last column counts failed videos.
    """
    hits_K = np.diagonal(confusion_KK1, axis1=-2, axis2=-1).astype(float)
    support_K, predicted_K = confusion_KK1.sum(-1), confusion_KK1[..., :-1].sum(-2)
    occurs_K, counts_K = support_K > 0, support_K + predicted_K > 0
    recall_K = hits_K / np.maximum(support_K, 1)
    f1_K = 2 * hits_K / np.maximum(support_K + predicted_K, 1)
    return np.stack(
        [
            hits_K.sum(-1) / np.maximum(support_K.sum(-1), 1),
            recall_K.sum(-1) / np.maximum(occurs_K.sum(-1), 1),
            f1_K.sum(-1) / np.maximum(counts_K.sum(-1), 1),
        ],
        axis=-1,
    )
