"""Solve for the linear layer after streams: choose which of them it reads, and how strongly to hold back.

Shape suffixes: M videos, R rows a video (as it is, then cut short), N rows of all, D descriptors, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Bool, Float64
from vidcli.config import Config, change_clip
from vidcli.data.items import VideoItem
from vidcli.data.splits import folds_of_groups, number_units
from vidcli.evaluate.multilabel import targets_of
from vidcli.models import MultiStreamClassifier, build_model, descriptor_sizes
from vidcli.models.calibration import Calibration, fit_multi_label, fit_temperature
from vidcli.train.choice import (
    MOST_FINALISTS,
    Candidate,
    Choice,
    Examples,
    Part,
    Trial,
    answers_of_halves,
    try_all,
)
from vidcli.train.choice_bias import Expected, expect
from vidcli.train.look_groups import group_by_look
from vidcli.train.ridge import Block, linear_layer, linear_scores, solve, standardise

_MOST_FOLDS, _MOST_FOLDS_OF_MANY, _MANY_VIDEOS = 10, 5, 400
_FEWEST_UNITS = 4
"""Groups or videos of which halves tell something."""
_MOST_SCORED = 600
"""Videos that the cross-validation looks at."""


@dataclass(frozen=True)
class Learnt:
    """What was learnt from the descriptors of all training videos.

    Attributes:
        config: all settings of the model, which reads no more than it needs.
        class_names: the name of each class, at the position of its label.
        network: the model, in evaluation mode.
        calibration: fitted to answers for videos that the answering classifier had not learnt from.
        choice: what was tried.
        expected: what new videos can expect of it; None of a multi-label model.
        scored: the videos that these were scored on, with the groups that were kept whole.
        grouped: all training videos in the same way.
        half_logits: scores (M, K) of these videos by the chosen candidate, learnt from one half of the groups
            each; none of a multi-label model.
        num_folds: of the cross-validation.
        train_loss: mean squared error of a video.
        train_accuracy: share of the videos that the model knows by now.
    """

    config: Config
    class_names: Sequence[str]
    network: MultiStreamClassifier
    calibration: Calibration
    choice: Choice
    expected: Expected | None
    scored: Sequence[VideoItem]
    grouped: Sequence[VideoItem]
    half_logits: Sequence[Float64]
    num_folds: int
    train_loss: float
    train_accuracy: float

    @property
    def trials(self) -> list[Trial]:
        """Of the candidates that did well, the chosen one first."""
        return self.choice.trials


class StreamSolver:
    """Learns from the descriptors of the training videos of one run."""

    def __init__(
        self,
        config: Config,
        class_names: Sequence[str],
        mirrored: Sequence[int] | None,
        describer: MultiStreamClassifier,
    ) -> None:
        """Keep what a model is made of.

        Args:
            config: all settings.
            class_names: the name of each class, at the position of its label.
            mirrored: the class that a mirror makes of each class; None where videos are not mirrored.
            describer: that described the videos.
        """
        self._config, self._names, self._mirrored = config, list(class_names), mirrored
        self._describer = describer
        self._folds: list[int] = []
        self._grouped: Sequence[VideoItem] = []
        self._tried_before: list[Bool] = []

    def learn(
        self, items: Sequence[VideoItem], described: list[Tensor], strengths: Sequence[float] = ()
    ) -> Learnt:
        """Choose what to read by cross-validation, and solve for all training videos.

        Args:
            items: the training videos.
            described: their descriptors (M, R, D), then perhaps those of the same videos mirrored.
            strengths: of the regularisation, to choose from while all is read; none follows the settings.
        """
        if not self._folds:
            self._choose_folds(items, described[0][:, 0])
        examples = self._examples(items, described[0].shape[1], len(described))
        rows_ND = torch.cat([of_all.transpose(0, 1).flatten(0, 1) for of_all in described])
        columns = torch.split(rows_ND, list(self.parts.values()), dim=1)
        blocks = {part: standardise(values) for part, values in zip(self.parts, columns, strict=True)}
        scored_M = self._scored_videos(len(items))
        some, rows = examples.restricted(scored_M)
        kernels = {part: block.of(rows).products() for part, block in blocks.items()}
        train, augment = self._config.train, self._config.augment
        only = strengths or ([train.ridge] if train.ridge else [])
        choice = try_all(kernels, some, only, only_mirrored=augment.flip == "on")
        best = choice.trials[0]
        network, config, scores_MK = self._solve(best.candidate, blocks, examples)
        num_videos = len(items)
        targets_MK = examples.targets_NK[:num_videos]
        logits = [row[None] for row in best.logits_MK]
        calibration = (
            fit_multi_label(logits, targets_MK[scored_M] == 1)
            if examples.is_multi_label
            else fit_temperature(logits, targets_MK[scored_M].argmax(axis=1).tolist())
        )
        right_M = (
            ((scores_MK > 0) == (targets_MK == 1)).all(axis=1)
            if examples.is_multi_label
            else scores_MK.argmax(axis=1) == targets_MK.argmax(axis=1)
        )
        error = float(np.square(scores_MK - targets_MK).mean())
        scored = list(compress(self._grouped, scored_M))
        units_M = number_units(scored)
        expected = None
        if not examples.is_multi_label:
            right_CM = np.concatenate([*self._tried_before, choice.right_CM])
            expected = expect(right_CM, targets_MK[scored_M].argmax(axis=1), units_M, train.seed)
        learns_halves = not examples.is_multi_label and units_M.max() + 1 >= _FEWEST_UNITS
        return Learnt(
            config,
            self._names,
            network,
            calibration,
            choice,
            expected,
            scored,
            self._grouped,
            answers_of_halves(kernels, some, best.candidate, units_M, train.seed) if learns_halves else [],
            len(set(self._folds)),
            error,
            float(right_M.mean()),
        )

    def narrowed(self, learnt: Learnt, described_MRD: Tensor) -> tuple[StreamSolver, Tensor]:
        """Return a solver with the same folds that reads what the best combinations do, and its descriptors.

        Args:
            learnt: what this solver has learnt from videos as they are.
            described_MRD: all descriptors of these.
        """
        read = {part for trial in learnt.trials[:MOST_FINALISTS] for part in trial.candidate.parts}
        columns = torch.split(described_MRD, list(self.parts.values()), dim=2)
        kept = {part: of for part, of in zip(self.parts, columns, strict=True) if part in read}
        config = _with_parts(self._config, Candidate(tuple(kept), False, 1.0))
        other = StreamSolver(config, self._names, self._mirrored, self._network_of(config))
        other._folds, other._grouped = self._folds, self._grouped
        other._tried_before = [learnt.choice.right_CM]
        return other, torch.cat([*kept.values()], dim=2)

    @property
    def describer(self) -> MultiStreamClassifier:
        """What describes videos for this solver."""
        return self._describer

    @property
    def config(self) -> Config:
        """The settings that videos are described with."""
        return self._config

    @property
    def parts(self) -> dict[Part, int]:
        """How many descriptors each part has, in order."""
        panels = self._config.clip.panels
        sizes = descriptor_sizes(self._describer.backbone, self._config.model)
        return {(panels[panel], stream): size for (panel, stream), size in sizes.items()}

    def _choose_folds(self, items: Sequence[VideoItem], plain_MD: Tensor) -> None:
        """Draw the folds of the cross-validation, with groups kept whole; without groups, by look."""
        seed = self._config.train.seed
        self._grouped = items
        first = self._config.model.streams_of_each_panel[0]
        shows_look = "appearance" in first and not self._config.data.multi_label
        if shows_look and all(item.group is None for item in items):
            labels_M = np.array([self._names.index(item.label) for item in items])
            features_MD = plain_MD[:, : self._describer.backbone.num_features].double().numpy()
            groups_M = group_by_look(features_MD, labels_M, seed)
            if len(np.unique(groups_M)) > 1:  # of very few videos there is one
                self._grouped = [
                    replace(item, group=f"look {group}") for item, group in zip(items, groups_M, strict=True)
                ]
        most = _MOST_FOLDS if len(items) < _MANY_VIDEOS else _MOST_FOLDS_OF_MANY
        self._folds = folds_of_groups(self._grouped, most, seed)

    def _scored_videos(self, num_videos: int) -> Bool:
        """Return which videos take part in the cross-validation: all, unless they are many."""
        scored_M = np.full(num_videos, num_videos <= _MOST_SCORED)
        rng = np.random.default_rng(self._config.train.seed)
        scored_M[rng.permutation(num_videos)[:_MOST_SCORED]] = True
        return scored_M

    def _examples(self, items: Sequence[VideoItem], num_paces: int, num_orientations: int) -> Examples:
        is_multi_label, num_videos = self._config.data.multi_label, len(items)
        there_MK = targets_of(items, self._names)
        there_NK = np.tile(there_MK, (num_paces, 1))
        if num_orientations > 1:
            assert self._mirrored is not None
            there_NK = np.concatenate([there_NK, there_NK[:, self._mirrored]])
        weights_N = np.ones(len(there_NK))
        if self._config.train.class_balance == "loss":
            weights_N = (1 / there_MK.sum(axis=0))[there_NK.argmax(axis=1)]
            weights_N /= weights_N.mean()
        rest = -1.0 if is_multi_label else -1 / (len(self._names) - 1)
        return Examples(
            np.where(there_NK, 1.0, rest),
            weights_N,
            np.tile(np.arange(num_videos), num_paces * num_orientations),
            np.arange(len(there_NK)) >= num_paces * num_videos,
            np.array(self._folds),
            is_multi_label,
        )

    def _solve(
        self, candidate: Candidate, blocks: Mapping[Part, Block], examples: Examples
    ) -> tuple[MultiStreamClassifier, Config, Float64]:
        """Return the network of a candidate, its settings, and its scores (M, K) of videos as they are."""
        rows_N = examples.rows_of(np.full(len(examples.folds_M), True), candidate.mirrored)
        weights_N = examples.weights_N[rows_N]
        read = [blocks[part].of(rows_N) for part in candidate.parts]
        # One kernel at a time: those of many videos are large.
        kernel_NN = np.zeros((len(rows_N), len(rows_N)))
        for block in read:
            kernel_NN += block.products() / len(read)
        solution = solve(kernel_NN, examples.targets_NK[rows_N], weights_N, candidate.strength)
        weight_KD, bias_K = linear_layer(read, weights_N, solution)
        config = narrowed(self._config, candidate)
        network = self._network_of(config)
        network.head.load_state_dict({"weight": weight_KD, "bias": bias_K})
        as_they_are = [block.of(np.arange(examples.num_videos)) for block in read]
        return network, config, linear_scores(as_they_are, weight_KD, bias_K)

    def _network_of(self, config: Config) -> MultiStreamClassifier:
        """Return the network of some settings, with the describer's weights before the last layer."""
        network = build_model(config.model, len(self._names), load_weights=False)
        assert isinstance(network, MultiStreamClassifier)
        network.backbone.load_state_dict(self._describer.backbone.state_dict())
        if network.action is not None and self._describer.action is not None:
            network.action.load_state_dict(self._describer.action.state_dict())
        return network.eval()


def narrowed(config: Config, candidate: Candidate) -> Config:
    """Return the settings of a model that reads no more than a candidate needs.

    Args:
        config: all settings of the run.
        candidate: that was chosen.
    """
    augment = config.augment.model_copy(update={"flip": "on" if candidate.mirrored else "off"})
    train = config.train.model_copy(update={"ridge": candidate.strength, "contender": "off"})
    return _with_parts(config, candidate).model_copy(update={"augment": augment, "train": train})


def _with_parts(config: Config, candidate: Candidate) -> Config:
    """Return the settings of pictures and streams that a candidate needs, with all else as it is."""
    clip, model = config.clip, config.model
    height, width = clip.size[0] // len(clip.panels), clip.size[1]
    clip = change_clip(clip, panels=candidate.panels, size=(height * len(candidate.panels), width))
    model = model.model_copy(update={"streams": candidate.streams, "panels": len(candidate.panels)})
    return config.model_copy(update={"clip": clip, "model": model})
