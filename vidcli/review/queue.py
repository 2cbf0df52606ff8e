"""Which clips to look at next, and why.

Unlabelled clips are ranked by what a label would teach. Clips are drawn one by one, the one first whose label
would explain most of all unlabelled clips:

    value of a clip j = sum over clips i of weight_i x covariance_ij^2 / (variance_j + noise)

Variance and covariance are those of a Gaussian process given the labelled clips and those drawn before: the
sum is the variance that goes with the label (V-optimal design; Cohn et al. 1996). So the clips drawn are
unlike each other, and each is like many that are left. The weight of a clip grows with doubt, one less the
difference of its two highest probabilities (margin sampling, Scheffer et al. 2001), and with the probability
of classes that have few labels.

The kernel of the process is half the cosine of what the classifier reads, plus one half. Without lengths, no
kind of clip seems to hold more to explain because its descriptors are long; the half says that the mean
answer is not known either, so that of three kinds of clips two do not stand for the third.

Labelled clips are ranked by confident learning (`evaluate.what_helps`) on probabilities of classifiers that
did not learn from them, by the normalised margin: p(label) less the highest other.

Shape suffixes: N clips, M labelled clips, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vidcli.arrays import Bool, Float64, Int64
from vidcli.evaluate.what_helps import doubt_labels
from vidcli.review.knowledge import Kernels, Opinion
from vidcli.train.choice import mean_kernel

_NOISE = 0.1
"""Variance of a clip that its neighbours never explain, as a share of all of it."""
_ASIDE = 0.5
"""How much doubt and rarity count beside a clip that has neither."""
_UNLIKE = 0.25
"""Variance above which a clip is called unlike what is labelled: half of what the mean answer leaves."""
_MOST_RANKED = 2000
"""Unlabelled clips that are ranked at a time, drawn at random where there are more."""


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
    kernel_NN = mean_kernel(kernels.of_part, kernels.all_parts) if opinion is None else opinion.kernel_NN
    open_ = np.flatnonzero(is_open_N & kernels.is_usable_N)
    if len(open_) > _MOST_RANKED:
        open_ = np.sort(np.random.default_rng(0).permutation(open_)[:_MOST_RANKED])
    known = np.flatnonzero(np.array([label is not None for label in labels]) & kernels.is_usable_N)
    covariance_RR = covariance_given(kernel_NN, open_, known)
    doubt_N, rarity_N = _doubt_and_rarity(opinion, labels, len(kernel_NN))
    weight_R = 1 + _ASIDE * (doubt_N + rarity_N)[open_]
    left_R = np.full(len(open_), True)
    places = []
    for _ in range(min(count, len(open_))):
        variance_R = np.clip(covariance_RR.diagonal(), 0, None)
        value_R = np.square(covariance_RR) @ (weight_R * left_R) / (variance_R + _NOISE)
        best = int(np.where(left_R, value_R, -np.inf).argmax())
        novelty, position = float(variance_R[best]), int(open_[best])
        places.append(Place(position, _why(position, opinion, labels, novelty, rarity_N[position])))
        left_R[best] = False
        column_R = covariance_RR[:, best].copy()
        covariance_RR -= np.outer(column_R, column_R / (variance_R[best] + _NOISE))
    return places


def covariance_given(kernel_NN: Float64, open_R: Int64, known_M: Int64) -> Float64:
    """Return the covariance (R, R) of unlabelled clips, given labelled ones: at most 1, that of equal clips.

    Args:
        kernel_NN: products of what is read of all clips.
        open_R: the unlabelled clips.
        known_M: the labelled clips.
    """
    length_N = np.sqrt(np.maximum(kernel_NN.diagonal(), np.finfo(np.float64).tiny))

    def before(first: Int64, second: Int64) -> Float64:
        cosine = kernel_NN[np.ix_(first, second)] / length_N[first][:, None] / length_N[second]
        return np.asarray((1 + cosine) / 2)

    covariance_RR = before(open_R, open_R)
    if not len(known_M):
        return covariance_RR
    cross_RM = before(open_R, known_M)
    noisy_MM = before(known_M, known_M) + _NOISE * np.eye(len(known_M))
    return np.asarray(covariance_RR - cross_RM @ np.linalg.solve(noisy_MM, cross_RM.T))


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
    if novelty > _UNLIKE:
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
    doubts = doubt_labels(label_M, shares_MK)
    order = sorted(range(len(known)), key=lambda m: doubts.margin_N[m])
    places = []
    for m in order[:count]:
        other = int(doubts.other_N[m])
        told = f"labelled {names[label_M[m]]} ({shares_MK[m, label_M[m]]:.0%}), "
        told += "looks like" if doubts.margin_N[m] < 0 else "might be"
        told += f" {names[other]} ({shares_MK[m, other]:.0%})"
        sure = ", as surely as clips of that class" if doubts.is_confident_N[m] else ""
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
