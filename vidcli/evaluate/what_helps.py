"""What would help a model most, from its answers to videos that it has not learnt from.

Labels are doubted by confident learning (Northcutt et al. 2021, arXiv:1911.00068): the probability of another
class reaches the mean of the videos that are labelled so.

Shape suffixes: N videos, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidcli.arrays import Bool, Float64, Int64
from vidcli.data.items import VideoItem
from vidcli.evaluate.grouped import GroupedAnswers, Interval

_LITTLE = 0.02
"""Of balanced accuracy: a gain that is not worth twice as many videos."""
_GOOD = 0.9
"""Balanced accuracy from which on only labels are told of."""
_PAIR_SHARE, _PAIR_COUNT = 0.25, 4
"""Of the wrong answers, and wrong answers: what the two classes of a pair must have."""
_GROUP_VIDEOS, _GROUP_GAP, _GROUP_CHANCE = 5, 0.2, 0.01
_DOUBT = -0.5
"""Probability of the label less that of another class, below which the label is told of."""
_NUM_NAMED = 3


@dataclass(frozen=True)
class Doubts:
    """How likely labels are wrong.

    Attributes:
        margin_N: probability of the label less the highest of the others; negative speaks against the label.
        other_N: the class with the highest probability but that of the label.
        is_confident_N: whether another class is as probable as it usually is for its own videos.
    """

    margin_N: Float64
    other_N: Int64
    is_confident_N: Bool


def doubt_labels(label_N: Int64, shares_NK: Float64) -> Doubts:
    """Return how likely each label is wrong.

    Args:
        label_N: the labels.
        shares_NK: probabilities by models that have not learnt from the video.
    """
    rows, num_classes = np.arange(len(label_N)), shares_NK.shape[1]
    own_N = shares_NK[rows, label_N]
    others_NK = shares_NK.copy()
    others_NK[rows, label_N] = -1
    usual_K = np.array(
        [own_N[label_N == k].mean() if (label_N == k).any() else 1.0 for k in range(num_classes)]
    )
    other_N = others_NK.argmax(axis=1)
    return Doubts(own_N - others_NK[rows, other_N], other_N, (others_NK >= usual_K).any(axis=1))


def iter_what_helps(
    items: Sequence[VideoItem],
    names: Sequence[str],
    shares_NK: Float64,
    half_shares: Sequence[Float64],
    groups_are_named: bool,
) -> Iterator[str]:
    """Yield a sentence for each thing that would help, the most certain first.

    Args:
        items: labelled videos, with the groups that were kept whole.
        names: the name of each class, at the position of its label.
        shares_NK: probabilities by models that have not learnt from the video or its group.
        half_shares: the same (N, K) by models that learnt from half of the groups.
        groups_are_named: whether groups have names that a reader knows.
    """
    label_N = np.array([names.index(item.label) for item in items])
    guess_N = shares_NK.argmax(axis=1)
    is_good = _balanced_accuracy(label_N, guess_N) >= _GOOD
    if half_shares and not is_good:
        whole = _answers(items, label_N, [shares_NK] * len(half_shares), len(names))
        halves = _answers(items, label_N, half_shares, len(names))
        yield judge_gain(whole.differences(halves)["balanced_accuracy"])
    if not is_good:
        yield from _confused_pair(label_N, guess_N, names)
    if groups_are_named and not is_good:
        yield from _poor_groups(items, guess_N == label_N)
    yield from _doubtful(items, label_N, shares_NK, names)


def judge_gain(gain: Interval) -> str:
    """Return one sentence: whether more videos would help.

    Args:
        gain: of balanced accuracy from half of the training groups to all of them.
    """
    told = (
        f"twice as many training groups changed balanced accuracy by {gain.value:+.3f} "
        f"({gain.low:+.3f} to {gain.high:+.3f} with 95% certainty)"
    )
    if gain.low > 0 and gain.value >= _LITTLE:
        return f"more data would help: {told}; expect somewhat less of the next doubling"
    if gain.high < _LITTLE:
        return f"more data of this kind would help little: {told}; try another recipe or better labels"
    return f"whether more data would help is not certain: {told}"


def _answers(
    items: Sequence[VideoItem], label_N: Int64, all_shares: Sequence[Float64], num_classes: int
) -> GroupedAnswers:
    """Return answers of several models to the same videos as those of one."""
    guesses = [guess for shares_NK in all_shares for guess in shares_NK.argmax(axis=1).tolist()]
    times = len(all_shares)
    return GroupedAnswers([*items] * times, label_N.tolist() * times, guesses, num_classes)


def _balanced_accuracy(label_N: Int64, guess_N: Int64) -> float:
    return float(np.mean([(guess_N[label_N == k] == k).mean() for k in np.unique(label_N)]))


def _confused_pair(label_N: Int64, guess_N: Int64, names: Sequence[str]) -> Iterator[str]:
    """Yield a sentence on the two classes that are taken for each other most, if they stand out."""
    counts_KK = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts_KK, (label_N, guess_N), 1)
    np.fill_diagonal(counts_KK, 0)
    num_wrong, both_KK = int(counts_KK.sum()), np.triu(counts_KK + counts_KK.T)
    first, second = divmod(int(both_KK.argmax()), len(names))
    count = int(both_KK[first, second])
    if len(names) > 2 and count >= max(_PAIR_COUNT, _PAIR_SHARE * num_wrong):
        yield (
            f"{names[first]} and {names[second]} are taken for each other most: {count} of {num_wrong} wrong "
            "answers; more videos of these two would help most, or one class for both"
        )


def _poor_groups(items: Sequence[VideoItem], is_right_N: Bool) -> Iterator[str]:
    """Yield a sentence on the group whose videos are answered far worse than those of the others."""
    group_N = np.array([item.group or "" for item in items])
    groups = [name for name in np.unique(group_N).tolist() if name]
    poor: list[tuple[float, str]] = []
    for name in groups:
        own_N, other_N = is_right_N[group_N == name], is_right_N[group_N != name]
        if len(own_N) < _GROUP_VIDEOS or not len(other_N) or other_N.mean() - own_N.mean() < _GROUP_GAP:
            continue
        chance = binomial_tail(int(own_N.sum()), len(own_N), float(other_N.mean()))
        if chance * len(groups) < _GROUP_CHANCE:
            poor.append((float(own_N.mean()), name))
    if poor:
        right, name = min(poor)
        rest = float(is_right_N[group_N != name].mean())
        others = f", and {len(poor) - 1} more like it" if len(poor) > 1 else ""
        yield (
            f"group {name} differs from the rest{others}: {right:.2f} of its videos are answered right, of "
            f"the others {rest:.2f}; more videos like these would help, or see whether they belong here"
        )


def binomial_tail(count: int, total: int, share: float) -> float:
    """Return the probability of so few hits.

    Args:
        count: the most hits that count as few.
        total: number of draws.
        share: probability of a hit in each.
    """
    return sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(count + 1))


def _doubtful(
    items: Sequence[VideoItem], label_N: Int64, shares_NK: Float64, names: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence on the labels that are wrong first, if any are: a poor model doubts right ones too."""
    doubts = doubt_labels(label_N, shares_NK)
    doubted = np.flatnonzero(doubts.is_confident_N & (doubts.margin_N < _DOUBT))
    if not len(doubted):
        return
    worst = doubted[np.argsort(doubts.margin_N[doubted], kind="stable")][:_NUM_NAMED]
    told = ", ".join(
        f"{Path(items[n].path).name} ({names[label_N[n]]}, looks like {names[doubts.other_N[n]]})"
        for n in worst.tolist()
    )
    yield f"if labels are wrong, look at these first: {told}; `vidcli review DATA` shows all in order"
