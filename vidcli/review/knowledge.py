"""What a frozen network says of clips, and what a classifier learns from the labels so far.

The network and its settings are those of the recipe `auto`, so that `vidcli train` finds these features on
disk. The products of all pairs of clips (kernels) are all that is kept in memory: to learn from other labels
is to solve a small linear system (see `train.ridge`).

Shape suffixes: N clips, M labelled clips, K classes, D descriptors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Bool, Float64, Int64
from vidcli.config import Config, load_config
from vidcli.data.items import VideoItem
from vidcli.data.splits import folds_of_groups, number_units
from vidcli.errors import VideoError
from vidcli.features.descriptors import Descriptors
from vidcli.models import (
    MultiStreamClassifier,
    build_model,
    descriptor_sizes,
    leave_out_missing_action,
    settle_clip,
)
from vidcli.models.calibration import UNCALIBRATED, fit_temperature, softmax
from vidcli.models.stream_descriptors import NUM_PACES
from vidcli.predict.view_loader import ViewLoader
from vidcli.train.choice import Candidate, Examples, Part, Trial, mean_kernel, try_all
from vidcli.train.ridge import answer, leave_one_out, solve, standardise
from vidcli.train.training_videos import MOST_ROWS

SETTINGS = ("augment.flip=off", "train.contender=off")
"""What the page changes of the recipe, to be quick: no mirrored clips, no network trained from pixels."""
_VIEWS = {"whole": "scene", "window": "scene", "follow": "detail"}
"""What panels show. Frame and window say much the same and count as one, so that choosing is quick."""
_ACTION: Part = ("clip", "action")
"""What the network over time says, of all panels together."""
_AT_ONCE = 64
_FEWEST_TO_CHOOSE = 12
"""Labelled clips below which nothing is chosen by cross-validation."""
_MOST_FOLDS = 5


@dataclass(frozen=True)
class Kernels:
    """Products of all pairs of clips.

    Attributes:
        of_part: (N, N) by view and stream, each with a mean diagonal of 1; zeros for clips that failed.
        is_usable_N: whether a clip could be decoded.
        failures: why not, by position.
    """

    of_part: Mapping[Part, Float64]
    is_usable_N: Bool
    failures: Mapping[int, str]

    @property
    def all_parts(self) -> Candidate:
        """What is read before anything is chosen."""
        return Candidate(tuple(self.of_part), False, 1.0)


def describe_clips(
    items: Sequence[VideoItem],
    device: torch.device,
    tell: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Kernels:
    """Describe clips, or find on disk what was said of them.

    Args:
        items: the clips.
        device: where to compute.
        tell: called with a sentence if a network is missing that describes clips.
        progress: called with the number of clips done and of all; what it raises ends the work.
    """
    config, note = leave_out_missing_action(settle_clip(load_config("auto", SETTINGS)))
    if note:
        tell(note)
    torch.manual_seed(config.train.seed)
    network = build_model(config.model, 2).to(device).eval()
    assert isinstance(network, MultiStreamClassifier)
    progress(0, len(items))  # the page may have been closed meanwhile
    describer = Descriptors(network, config, ViewLoader(config).load, device)
    paces = NUM_PACES if NUM_PACES * len(items) <= MOST_ROWS else 1
    rows: list[Tensor] = []
    usable: list[int] = []
    failures: dict[int, str] = {}
    for start in range(0, len(items), _AT_ONCE):
        part = items[start : start + _AT_ONCE]
        told = partial(_tell_from, start, len(items), progress)
        found = describer.of(part, False, paces, told)
        for position, described in enumerate(found, start=start):
            if isinstance(described, VideoError):
                failures[position] = described.reason
            elif described is not None:
                rows.append(described[0])
                usable.append(position)
    return _kernels_of(rows, np.array(usable, np.int64), failures, len(items), network, config)


def _tell_from(start: int, total: int, progress: Callable[[int, int], None], done: int) -> bool:
    progress(start + done, total)
    return True


def _kernels_of(
    rows: Sequence[Tensor],
    usable: Int64,
    failures: Mapping[int, str],
    num_clips: int,
    network: MultiStreamClassifier,
    config: Config,
) -> Kernels:
    sizes = descriptor_sizes(network.backbone, config.model)
    views = [_VIEWS[panel] for panel in config.clip.panels]
    parts = [_ACTION if stream == "action" else (views[panel], stream) for panel, stream in sizes]
    kernels = {part: np.zeros((num_clips, num_clips)) for part in parts}
    if len(rows):
        columns = torch.split(torch.stack(list(rows)), list(sizes.values()), dim=1)
        for part, values in zip(parts, columns, strict=True):
            kernels[part][np.ix_(usable, usable)] += standardise(values).products() / parts.count(part)
    return Kernels(kernels, np.isin(np.arange(num_clips), usable), failures)


@dataclass(frozen=True)
class Opinion:
    """What a classifier that learnt from the labels so far thinks of every clip.

    Attributes:
        class_names: the classes that it knows.
        probabilities_NK: for a labelled clip by classifiers that did not learn from it.
        kernel_NN: of what the classifier reads.
        is_cross_validated: whether the classifier was chosen, and labelled clips were left out in turn.
        top1: share of the labelled clips that are right when their whole group is held out; None if none is.
    """

    class_names: Sequence[str]
    probabilities_NK: Float64
    kernel_NN: Float64
    is_cross_validated: bool
    top1: float | None


def learn(kernels: Kernels, items: Sequence[VideoItem], labels: Sequence[str | None]) -> Opinion | None:
    """Learn from the labels so far; return None where they are of fewer than two classes.

    Args:
        kernels: of the clips.
        items: the clips; their groups are kept whole in the cross-validation.
        labels: the class of each clip; None where nobody said.
    """
    known = [n for n, label in enumerate(labels) if label is not None and kernels.is_usable_N[n]]
    names = sorted({named for n in known if (named := labels[n]) is not None})
    if len(names) < 2:
        return None
    rows_M = np.array(known)
    label_M = np.array([names.index(str(labels[n])) for n in known])
    counts_K = np.bincount(label_M, minlength=len(names))
    weights_M = (1 / counts_K)[label_M]
    examples = Examples(
        np.where(np.eye(len(names))[label_M] == 1, 1.0, -1 / (len(names) - 1)),
        weights_M / weights_M.mean(),
        np.arange(len(known)),
        np.zeros(len(known), bool),
        _folds_of([replace(items[n], label=str(labels[n])) for n in known]),
        False,
    )
    candidate, calibration, held_out_MK, top1 = kernels.all_parts, UNCALIBRATED, None, None
    if len(known) >= _FEWEST_TO_CHOOSE and counts_K.max() < len(known):
        own = {part: kernel[np.ix_(rows_M, rows_M)] for part, kernel in kernels.of_part.items()}
        trials = try_all(own, examples).trials
        candidate, top1 = trials[0].candidate, trials[0].top1
        held_out_MK = _leave_each_out(own, examples, trials[: len(trials) // 2])
        calibration = fit_temperature([row[None] for row in held_out_MK], label_M.tolist())
    kernel_NN = mean_kernel(kernels.of_part, candidate)
    own_MM, weights = kernel_NN[np.ix_(rows_M, rows_M)], examples.weights_N
    solution = solve(own_MM, examples.targets_NK, weights, candidate.strength)
    logits_NK = answer(kernel_NN[:, rows_M], own_MM, weights, solution)
    if held_out_MK is not None:
        logits_NK[rows_M] = held_out_MK
    probabilities_NK = softmax(logits_NK / calibration.temperature)
    return Opinion(names, probabilities_NK, kernel_NN, held_out_MK is not None, top1)


def _leave_each_out(kernels: Mapping[Part, Float64], examples: Examples, trials: Sequence[Trial]) -> Float64:
    """Return the mean scores (M, K) of each labelled clip by classifiers that learnt from all others.

    Its neighbours in the same group count here: they say much of whether its label is right.
    """
    scores = [
        leave_one_out(
            mean_kernel(kernels, trial.candidate),
            examples.targets_NK,
            examples.weights_N,
            trial.candidate.strength,
        )
        for trial in trials
    ]
    return np.asarray(np.mean(scores, axis=0))


def _folds_of(items: Sequence[VideoItem]) -> Int64:
    """Return the fold of each clip; every clip is alone where there are too few groups to hold out."""
    if not number_units(items).any():
        return np.arange(len(items)) % _MOST_FOLDS
    return np.array(folds_of_groups(items, _MOST_FOLDS, 0))
