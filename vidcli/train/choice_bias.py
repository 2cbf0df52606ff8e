"""How well the candidate that was chosen answers new videos: without the luck of having been chosen.

The best of hundreds of candidates owes a part of its score to chance: the videos that all were compared on
happened to suit it. Therefore groups are drawn at random many times, with replacement. Each time the one that
does best on those drawn is looked up, and what it answers to the groups that were not drawn is counted.
Nothing is learnt anew (BBC-CV: Tsamardinos, Greasidou and Borboudakis 2018, Machine Learning 107:1895).

Shape suffixes: C candidates, M videos, U groups of videos, or videos where there are no groups, B draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidcli.arrays import Bool, Float64, Int64
from vidcli.evaluate.grouped import ends_of_draws

_NUM_DRAWS = 1000


@dataclass(frozen=True)
class Expected:
    """What to expect of new videos.

    Attributes:
        top1: share of right answers.
        balanced_accuracy: mean recall of the classes.
        top1_interval: 95% interval of the share, over groups.
        num_candidates: that the choice was among, C.
    """

    top1: float
    balanced_accuracy: float
    top1_interval: tuple[float, float]
    num_candidates: int


def expect(right_CM: Bool, labels_M: Int64, units_M: Int64, seed: int) -> Expected | None:
    """Return what new videos can expect; None of fewer than two groups.

    Args:
        right_CM: whether each candidate answers each video right, which it has not learnt from.
        labels_M: the true class of each video.
        units_M: number of the group of each video, from 0.
        seed: of the draws.
    """
    num_units = int(units_M.max()) + 1
    drawn_BU = np.random.default_rng(seed).multinomial(num_units, [1 / num_units] * num_units, _NUM_DRAWS)
    drawn_BU = drawn_BU[(drawn_BU == 0).any(axis=1)]
    if not len(drawn_BU):
        return None
    drawn_BM = drawn_BU[:, units_M]
    best_B = _scores(right_CM, labels_M, drawn_BM).argmax(axis=0)
    left_BM = drawn_BM == 0
    right_BM = right_CM[best_B] & left_BM
    top1_B = right_BM.sum(axis=1) / left_BM.sum(axis=1)
    recalls = [
        right_BM[:, labels_M == label].sum() / count
        for label in np.unique(labels_M)
        if (count := left_BM[:, labels_M == label].sum())
    ]
    top1 = float(right_BM.sum() / left_BM.sum())
    return Expected(top1, float(np.mean(recalls)), ends_of_draws(top1, top1_B, num_units), len(right_CM))


def _scores(right_CM: Bool, labels_M: Int64, drawn_BM: Int64) -> Float64:
    """Return what candidates are compared by, (C, B), on videos drawn several times or not at all."""
    points_CM, times_MB = right_CM.astype(np.float64), drawn_BM.T.astype(np.float64)
    recall_CB, classes_B = np.zeros((len(right_CM), len(drawn_BM))), np.zeros(len(drawn_BM))
    for label in np.unique(labels_M):
        of_class = labels_M == label
        count_B = times_MB[of_class].sum(axis=0)
        recall_CB += points_CM[:, of_class] @ times_MB[of_class] / np.maximum(count_B, 1)
        classes_B += count_B > 0
    top1_CB = points_CM @ times_MB / times_MB.sum(axis=0)
    return np.asarray(top1_CB + recall_CB / classes_B) / 2
