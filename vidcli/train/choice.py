"""Choose by cross-validation which descriptors a classifier reads, and how strongly it is regularised.

Every candidate learns from the same folds, of which groups are kept whole, and answers the videos that it has
not learnt from. The answers of all folds are scored together. Test videos take no part.

A video may have several rows to learn from: as it is, cut short, and all of these mirrored. Answers are given
for the first row of each, the video as it is. All candidates learn from these alone first; the best of them
then learn from all rows.

Shape suffixes: N rows, M videos, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, TypeAlias

import numpy as np

from vidcli.arrays import Bool, Float64, Int64
from vidcli.config import join_panels
from vidcli.evaluate.multilabel import average_precision
from vidcli.train.ridge import answer, solve

STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Regularisation that is tried; see `ridge.solve`."""

_MOST_COMPARED, MOST_FINALISTS = 32, 4
"""Combinations of parts that are tried with every strength, and that learn from all rows."""
_USUAL_STRENGTH = 1.0
"""With which all combinations are compared at first."""

Part: TypeAlias = tuple[str, str]
"""A panel and a stream: `appearance`, `motion` or `action`."""


@dataclass(frozen=True)
class Candidate:
    """What a classifier reads.

    Attributes:
        parts: panels and streams, in the order in which a network describes them.
        mirrored: whether it also learns from mirrored videos.
        strength: of the regularisation.
    """

    parts: tuple[Part, ...]
    mirrored: bool
    strength: float

    @property
    def panels(self) -> tuple[str, ...]:
        """The panels that it sees, from top to bottom."""
        return tuple(dict.fromkeys(panel for panel, _ in self.parts))

    @property
    def streams(self) -> str:
        """The value of `model.streams`: the streams of each panel, or those of all."""
        of_panels = [[stream for name, stream in self.parts if name == panel] for panel in self.panels]
        return join_panels(of_panels)


@dataclass(frozen=True)
class Trial:
    """A candidate, and how well it answers videos that it has not learnt from.

    Attributes:
        candidate: with the strength that does best.
        top1: share of right answers; of a multi-label model None.
        balanced_accuracy: mean recall of the classes; of a multi-label model None.
        mean_average_precision: of a multi-label model; None for others.
        logits_MK: scores of all videos, by the classifier that has not learnt from them.
    """

    candidate: Candidate
    top1: float | None
    balanced_accuracy: float | None
    mean_average_precision: float | None
    logits_MK: Float64

    @property
    def score(self) -> float:
        """What candidates are compared by."""
        if self.top1 is None or self.balanced_accuracy is None:
            return self.mean_average_precision or 0.0
        return (self.top1 + self.balanced_accuracy) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        candidate = self.candidate
        return {
            "panels": ",".join(candidate.panels),
            "streams": candidate.streams,
            "mirrored": candidate.mirrored,
            "strength": candidate.strength,
            "top1": self.top1,
            "balanced_accuracy": self.balanced_accuracy,
            "map": self.mean_average_precision,
        }


@dataclass(frozen=True)
class Choice:
    """What was tried.

    Attributes:
        trials: of the candidates that did well, the best first, each with the strength that does best.
        right_CM: whether each candidate that was tried, with each strength, answers each video right; no rows
            of a multi-label model.
    """

    trials: list[Trial]
    right_CM: Bool


@dataclass(frozen=True)
class Examples:
    """What there is to learn from.

    Attributes:
        targets_NK: 1 for a class that a row has, less for others.
        weights_N: how much each row counts.
        video_N: the video that each row is of; the first rows are the videos in order.
        is_mirrored_N: whether a row is of a mirrored video.
        folds_M: number of the fold of each video.
        is_multi_label: whether a video has any number of classes.
    """

    targets_NK: Float64
    weights_N: Float64
    video_N: Int64
    is_mirrored_N: Bool
    folds_M: Int64
    is_multi_label: bool

    def restricted(self, chosen_M: Bool) -> tuple[Examples, Int64]:
        """Return the examples of some videos alone, and the rows that these have here.

        Args:
            chosen_M: which videos.
        """
        rows = np.flatnonzero(chosen_M[self.video_N])
        number_M = np.cumsum(chosen_M) - 1
        examples = Examples(
            self.targets_NK[rows],
            self.weights_N[rows],
            number_M[self.video_N[rows]],
            self.is_mirrored_N[rows],
            self.folds_M[chosen_M],
            self.is_multi_label,
        )
        return examples, rows

    @property
    def num_videos(self) -> int:
        """M."""
        return len(self.folds_M)

    def plain(self) -> Examples:
        """Return the examples without all rows but the first of each video."""
        first = slice(self.num_videos)
        return replace(
            self,
            targets_NK=self.targets_NK[first],
            weights_N=self.weights_N[first],
            video_N=self.video_N[first],
            is_mirrored_N=self.is_mirrored_N[first],
        )

    def rows_of(self, chosen_M: Bool, mirrored: bool) -> Int64:
        """Return the rows of some videos to learn from.

        Args:
            chosen_M: which videos.
            mirrored: with the rows of these videos mirrored.
        """
        kept_N = chosen_M[self.video_N] & (mirrored | ~self.is_mirrored_N)
        return np.flatnonzero(kept_N)


def try_all(
    kernels: Mapping[Part, Float64],
    examples: Examples,
    only_strengths: Sequence[float] = (),
    only_mirrored: bool = False,
) -> Choice:
    """Try combinations of parts, with and without mirrored videos, and strengths.

    Which combinations do well is found by videos as they are, at first with one strength for all.

    Args:
        kernels: of the rows, by panel and stream, in order.
        examples: what there is to learn from.
        only_strengths: of the regularisation, for all parts together; where there are none, any combination
            of parts may be chosen, with any strength.
        only_mirrored: leave out candidates that do not learn from mirrored videos, if there are any.
    """
    read = [parts for count in range(1, len(kernels) + 1) for parts in combinations(kernels, count)]
    strengths = only_strengths or STRENGTHS
    if only_strengths:
        read = read[-1:]
    has_mirrored = bool(examples.is_mirrored_N.any())
    orientations = [False] if not has_mirrored else [True] if only_mirrored else [False, True]
    kinds = [Candidate(parts, False, 1.0) for parts in read]
    num_rows, num_videos = len(examples.video_N), examples.num_videos
    plain_kernels = {part: kernel[:num_videos, :num_videos] for part, kernel in kernels.items()}
    right: list[Bool] = []
    if len(kinds) > _MOST_COMPARED:
        screened = _best_of_each(kinds, plain_kernels, examples.plain(), (_USUAL_STRENGTH,), right)
        kinds = [trial.candidate for trial in screened[:_MOST_COMPARED]]
    if len(kinds) > MOST_FINALISTS and num_rows > num_videos:
        screened = _best_of_each(kinds, plain_kernels, examples.plain(), strengths, right)
        kinds = [trial.candidate for trial in screened[:MOST_FINALISTS]]
    turned = [replace(kind, mirrored=mirrored) for kind, mirrored in product(kinds, orientations)]
    trials = _best_of_each(turned, kernels, examples, strengths, right)
    return Choice(trials, np.array(right, bool).reshape(-1, num_videos))


def _best_of_each(
    kinds: Sequence[Candidate],
    kernels: Mapping[Part, Float64],
    examples: Examples,
    strengths: Sequence[float],
    right: list[Bool],
) -> list[Trial]:
    """Return a trial of each kind of candidate with the strength that does best, the best first.

    Which videos each of all answers right is added to `right`, unless they have any number of classes.
    """
    labels_M = examples.targets_NK[: examples.num_videos].argmax(axis=1)
    best: list[Trial] = []
    for kind in kinds:
        trials = _try_strengths(kind, kernels, examples, strengths)
        if not examples.is_multi_label:
            right += [trial.logits_MK.argmax(axis=1) == labels_M for trial in trials]
        best.append(max(trials, key=lambda trial: trial.score))
    return sorted(best, key=lambda trial: -trial.score)


def answers_of_halves(
    kernels: Mapping[Part, Float64], examples: Examples, candidate: Candidate, units_M: Int64, seed: int
) -> list[Float64]:
    """Return scores (M, K) of all videos by classifiers that have learnt from one half of the others each.

    Args:
        kernels: of the rows, by panel and stream.
        examples: what there is to learn from.
        candidate: what the classifiers read.
        units_M: number of the group of each video, or of the video where there are no groups, from 0.
        seed: of the halves.
    """
    order_U = np.random.default_rng(seed).permutation(units_M.max() + 1)
    half_M = order_U[units_M] % 2
    kernel_NN = mean_kernel(kernels, candidate)
    scores = [np.zeros((examples.num_videos, examples.targets_NK.shape[1])) for _ in range(2)]
    for fold in np.unique(examples.folds_M):
        held_out = np.flatnonzero(examples.folds_M == fold)
        for half, scores_MK in enumerate(scores):
            rows = examples.rows_of((examples.folds_M != fold) & (half_M == half), candidate.mirrored)
            if len(rows):
                scores_MK[held_out] = _answer(kernel_NN, examples, rows, held_out, candidate.strength)
    return scores


def _answer(kernel_NN: Float64, examples: Examples, rows: Int64, held_out: Int64, strength: float) -> Float64:
    """Return the scores (M, K) of some videos by a classifier that has learnt from some rows."""
    own_NN, weights_N = kernel_NN[np.ix_(rows, rows)], examples.weights_N[rows]
    solution = solve(own_NN, examples.targets_NK[rows], weights_N, strength)
    return answer(kernel_NN[np.ix_(held_out, rows)], own_NN, weights_N, solution)


def mean_kernel(kernels: Mapping[Part, Float64], candidate: Candidate) -> Float64:
    """Return the kernel (N, N) of what a candidate reads."""
    read = [kernels[part] for part in candidate.parts]
    return np.asarray(sum(read) / len(read))


def _try_strengths(
    kind: Candidate, kernels: Mapping[Part, Float64], examples: Examples, strengths: Sequence[float]
) -> list[Trial]:
    kernel_NN = mean_kernel(kernels, kind)
    num_videos, num_classes = len(examples.folds_M), examples.targets_NK.shape[1]
    logits = {strength: np.zeros((num_videos, num_classes)) for strength in strengths}
    for fold in np.unique(examples.folds_M):
        held_out = np.flatnonzero(examples.folds_M == fold)
        rows = examples.rows_of(examples.folds_M != fold, kind.mirrored)
        for strength in strengths:
            logits[strength][held_out] = _answer(kernel_NN, examples, rows, held_out, strength)
    targets_MK = examples.targets_NK[:num_videos] == 1
    return [
        _score(
            replace(kind, strength=strength),
            logits[strength],
            targets_MK,
            examples.is_multi_label,
        )
        for strength in strengths
    ]


def _score(candidate: Candidate, logits_MK: Float64, targets_MK: Bool, is_multi_label: bool) -> Trial:
    if is_multi_label:
        found = [average_precision(logits_MK[:, k], targets_MK[:, k]) for k in range(targets_MK.shape[1])]
        precisions = [precision for precision in found if precision is not None]
        return Trial(candidate, None, None, float(np.mean(precisions)), logits_MK)
    labels_M = targets_MK.argmax(axis=1)
    return Trial(candidate, *accuracies(logits_MK.argmax(axis=1) == labels_M, labels_M), None, logits_MK)


def accuracies(right_M: Bool, labels_M: Int64) -> tuple[float, float]:
    """Return the share of right answers, and the mean of the shares of each class.

    Args:
        right_M: whether each answer is right.
        labels_M: the true class of each.
    """
    recalls = [right_M[labels_M == label].mean() for label in np.unique(labels_M)]
    return float(right_M.mean()), float(np.mean(recalls))
