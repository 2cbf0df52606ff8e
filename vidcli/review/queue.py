"""Which clips to look at next, and why.

Unlabelled clips are ranked by what a label would teach. Clips are drawn one by one, the one of the highest

    value = novelty x (doubt + rarity)

first. Novelty is the share of a clip that neither labelled clips nor those drawn before it explain: the
variance of a Gaussian process of the same kernel given all of them, as in Krause and Guestrin 2007
(arXiv:1206.5266). Doubt is one less the difference of the two highest probabilities (margin sampling,
Scheffer et al. 2001). Rarity is the probability of classes with few labels.

Labelled clips are ranked by confident learning (Northcutt et al. 2021, arXiv:1911.00068) on probabilities of
classifiers that did not learn from them: a clip is suspicious whose probability of another class reaches the
mean of the clips so labelled; the ranking is by the normalised margin, p(label) less the highest other.

Shape suffixes: N clips, M labelled clips, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidcli.arrays import Bool, Float64
from vidcli.review.knowledge import WHOLE, Kernels, Opinion
from vidcli.train.choice import mean_kernel

_NOISE = 0.1
"""Variance of a clip that its neighbours never explain, as a share of a mean clip's."""
_FEW_LABELS = 5.0


@dataclass(frozen=True)
class Place:
    """The place of a clip in a queue.

    Attributes:
        position: of the clip.
        reason: a sentence on why it is here.
    """

    position: int
    reason: str


def rank_unlabelled(
    kernels: Kernels, opinion: Opinion | None, labels: Sequence[str | None], is_open_N: Bool, count: int
) -> list[Place]:
    """Return the unlabelled clips of which a label would teach most, the best first.

    Args:
        kernels: of the clips.
        opinion: of the classifier; None before it knows two classes.
        labels: the class of each clip; None where nobody said.
        is_open_N: which clips to rank.
        count: how many places to return at most.
    """
    kernel_NN = mean_kernel(kernels.of_part, WHOLE)
    if opinion is not None:
        kernel_NN = opinion.kernel_NN
    left_N = is_open_N & kernels.is_usable_N
    diagonal_N = np.maximum(kernel_NN.diagonal(), 1e-9)
    residual = _Residual(kernel_NN)
    for position in np.flatnonzero([label is not None for label in labels] & kernels.is_usable_N):
        residual.explain(int(position))
    doubt_N, rarity_N = _doubt_and_rarity(opinion, labels, len(kernel_NN))
    places = []
    for _ in range(min(count, int(left_N.sum()))):
        novelty_N = np.clip(residual.variance_N / diagonal_N, 0, 1)
        value_N = np.where(left_N, novelty_N * (doubt_N + rarity_N), -np.inf)
        best = int(value_N.argmax())
        places.append(Place(best, _why(best, opinion, labels, novelty_N[best], rarity_N[best])))
        left_N[best] = False
        residual.explain(best)
    return places


class _Residual:
    """What of each clip is not explained yet, updated a clip at a time (a pivoted Cholesky factor)."""

    def __init__(self, kernel_NN: Float64) -> None:
        self._kernel_NN = kernel_NN
        self.variance_N = kernel_NN.diagonal().copy()
        self._columns: list[Float64] = []

    def explain(self, position: int) -> None:
        """Take a clip for labelled."""
        column_N = self._kernel_NN[:, position].copy()
        if self._columns:
            factor_NC = np.stack(self._columns, axis=1)
            column_N -= factor_NC @ factor_NC[position]
        column_N /= np.sqrt(max(self.variance_N[position], 0.0) + _NOISE)
        self._columns.append(column_N)
        self.variance_N = self.variance_N - np.square(column_N)


def _doubt_and_rarity(
    opinion: Opinion | None, labels: Sequence[str | None], num_clips: int
) -> tuple[Float64, Float64]:
    if opinion is None:
        return np.ones(num_clips), np.zeros(num_clips)
    ordered_NK = np.sort(opinion.probabilities_NK, axis=1)
    counts_K = np.array([labels.count(name) for name in opinion.class_names])
    lack_K = np.clip(counts_K.mean() / np.maximum(counts_K, 1) - 1, 0, 1)
    return 1 - (ordered_NK[:, -1] - ordered_NK[:, -2]), opinion.probabilities_NK @ lack_K


def _why(
    position: int, opinion: Opinion | None, labels: Sequence[str | None], novelty: float, rarity: float
) -> str:
    reasons = []
    if opinion is not None:
        first, second = np.argsort(-opinion.probabilities_NK[position])[:2]
        shares, names = opinion.probabilities_NK[position], opinion.class_names
        if shares[first] - shares[second] < 0.3:
            reasons.append(
                f"torn between {names[first]} ({shares[first]:.0%}) and {names[second]} "
                f"({shares[second]:.0%})"
            )
        if rarity > 0.3:
            reasons.append(f"perhaps {names[first]}, of which there are {labels.count(names[first])} labels")
    if novelty > 0.5:
        reasons.append("unlike what is labelled so far")
    return "; ".join(reasons) or "the most that is left to learn"


def rank_suspicious(
    opinion: Opinion | None, labels: Sequence[str | None], is_open_N: Bool, count: int
) -> list[Place]:
    """Return the labelled clips whose label is most likely wrong, the most suspicious first.

    Args:
        opinion: of the classifier; without cross-validation there is nothing to rank by.
        labels: the class of each clip; None where nobody said.
        is_open_N: which clips to rank.
        count: how many places to return at most.
    """
    if opinion is None or not opinion.is_cross_validated:
        return []
    names = list(opinion.class_names)
    known = [n for n, label in enumerate(labels) if label in names and is_open_N[n]]
    if not known:
        return []
    label_M = np.array([names.index(str(labels[n])) for n in known])
    shares_MK = opinion.probabilities_NK[known]
    own_M = shares_MK[np.arange(len(known)), label_M]
    others_MK = shares_MK.copy()
    others_MK[np.arange(len(known)), label_M] = -1
    margin_M = own_M - others_MK.max(axis=1)
    usual_K = np.array(
        [own_M[label_M == k].mean() if (label_M == k).any() else 1.0 for k in range(len(names))]
    )
    is_confident_M = (others_MK >= usual_K).any(axis=1)
    order = sorted(range(len(known)), key=lambda m: margin_M[m])
    places = []
    for m in order[:count]:
        other = int(others_MK[m].argmax())
        told = f"labelled {names[label_M[m]]} ({own_M[m]:.0%}), "
        told += "looks like" if margin_M[m] < 0 else "might be"
        told += f" {names[other]} ({others_MK[m, other]:.0%})"
        sure = ", as surely as clips of that class" if is_confident_M[m] else ""
        places.append(Place(known[m], told + sure))
    return places


def rank_disputed(
    pairs: Sequence[tuple[int, int]],
    names: Sequence[str],
    labels: Sequence[str | None],
    is_open_N: Bool,
    count: int,
) -> list[Place]:
    """Return labelled clips that may show the same as a clip with another label.

    Args:
        pairs: positions of clips that may be copies of each other.
        names: what each clip is called.
        labels: the class of each clip; None where nobody said.
        is_open_N: which clips to rank.
        count: how many places to return at most.
    """
    places: dict[int, Place] = {}
    for pair in pairs:
        for own, other in (pair, pair[::-1]):
            if None not in (labels[own], labels[other]) and labels[own] != labels[other] and is_open_N[own]:
                told = (
                    f"labelled {labels[own]}; may show the same as {names[other]}, labelled {labels[other]}"
                )
                places.setdefault(own, Place(own, told))
    return list(places.values())[:count]
