"""Training in closed form: a frozen backbone describes every video once, and ridge regression does the rest.

    round 1   describe the videos; choose what to read by cross-validation; solve; save the model
    round 2   describe the videos as a mirror shows them, choose among twice as many candidates, solve, save

A round is what an epoch is elsewhere: a row in metrics.jsonl and a model that can be used. The second is left
out where mirrored videos are not wanted, or would take longer than `train.minutes` allows. Descriptors are
kept on disk, so that a run which was stopped goes on where it was.

Nothing is drawn at random but the folds of the cross-validation. All else follows from the videos.

Shape suffixes: M videos, R rows a video, N rows of all (the videos as they are, then others of the same
videos), D descriptors, K classes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidcli.arrays import Bool, Float64
from vidcli.artifacts.run_folder import CHOICE_FILE, CONFIG_FILE, UNUSABLE_FILE
from vidcli.config import Config, change_clip, config_to_yaml
from vidcli.data.check import failures_csv, refuse_unusable
from vidcli.data.items import VideoItem, class_names_of, require_two_classes
from vidcli.data.manifest import fingerprint
from vidcli.data.splits import assign_folds, of_split
from vidcli.errors import CheckpointError, ConfigError, DataError, VideoError
from vidcli.evaluate import evaluate
from vidcli.evaluate.multilabel import targets_of
from vidcli.evaluate.scores import bootstrap_over_groups
from vidcli.features.descriptors import Descriptors
from vidcli.models import TwoStreamClassifier, build_model, descriptor_sizes
from vidcli.models.calibration import Calibration, fit_multi_label, fit_temperature
from vidcli.predict import Prediction, Predictor
from vidcli.predict.predictor import ViewLoader
from vidcli.runtime.files import write_text
from vidcli.runtime.plain import one_line
from vidcli.runtime.processes import ALONE, Group
from vidcli.train.choice import Candidate, Examples, Part, Trial, mean_kernel, try_all
from vidcli.train.events import ChoiceMade, EpochDone, EpochRow, Event, FeatureProgress, Notice
from vidcli.train.record import RunRecord
from vidcli.train.ridge import Block, linear_layer, solve, standardise
from vidcli.train.saver import InterruptGuard, Saver
from vidcli.train.state import TrainState
from vidcli.train.validation import score
from vidcli.transforms import mirrored_classes

_MOST_FOLDS, _MOST_FOLDS_OF_MANY, _MANY_VIDEOS = 10, 5, 400
_MOST_SCORED = 600
"""Videos that the cross-validation looks at."""
_MOST_PACES, _MOST_ROWS = 3, 3000
"""Rows a video, and of all: the kernel of many rows takes long to solve, and many videos need no copies."""


def refuse_other_settings(config: Config, group: Group) -> None:
    """Refuse settings that closed-form training cannot follow.

    Args:
        config: all settings, of a run with `train.optimizer=ridge`.
        group: the processes that train together.

    Raises:
        ConfigError: there are such settings; says what to change.
    """
    if config.model.streams == "off":
        raise ConfigError(
            "train.optimizer=ridge solves the layer after model.streams, which is off. Set "
            "model.streams=both, or train.optimizer=adamw"
        )
    if group.size > 1:
        raise ConfigError(
            "train.optimizer=ridge trains in one process: leave torchrun out, or set train.optimizer=adamw"
        )


@dataclass(frozen=True)
class _Round:
    """What one round learnt.

    Attributes:
        config: all settings of its model, which reads no more than it needs.
        network: the model, in evaluation mode.
        calibration: fitted to answers for videos that the answering classifier had not learnt from.
        trials: all candidates, the chosen one first.
        train_loss: mean squared error of a row.
        train_accuracy: share of videos that the model knows by now.
    """

    config: Config
    network: TwoStreamClassifier
    calibration: Calibration
    trials: list[Trial]
    train_loss: float
    train_accuracy: float


class ClosedFormRun:
    """One run: its videos, their descriptors, and its directory."""

    def __init__(
        self,
        config: Config,
        items: Sequence[VideoItem],
        run: Path,
        device: torch.device,
        on_event: Callable[[Event], None],
    ) -> None:
        """Build the network; nothing is decoded or written yet.

        Args:
            config: all settings.
            items: the videos, each with its split.
            run: the run directory, an existing folder.
            device: where to compute.
            on_event: called with each event of the run.
        """
        self._config, self._items, self._run, self._device = config, list(items), run, device
        self._on_event = on_event
        self._names = class_names_of(of_split(items, "train"), config.data.multi_label)
        torch.manual_seed(config.train.seed)  # of a network without pretrained weights
        network = build_model(config.model, len(self._names)).to(device).eval()
        assert isinstance(network, TwoStreamClassifier)
        self._network = network
        self._describer = Descriptors(network, config, ViewLoader(config).load, device)
        self._guard = InterruptGuard(run, ALONE, on_event)
        self._state = TrainState()
        self._started = time.monotonic()
        self._folds: list[int] = []
        self._best_config = config

    @property
    def _mirrored(self) -> list[int] | None:
        """The class that a mirror makes of each class; None where videos are not to be mirrored."""
        return None if self._config.augment.flip == "off" else mirrored_classes(self._names)

    def restore(self) -> None:
        """Go back to the rounds that the run directory holds.

        Raises:
            CheckpointError: there is no state, or it is damaged or of other data.
        """
        saver = self._saver(self._config)
        saved = saver.load_resume()
        try:
            self._state = TrainState.from_dict(saved, self._config.train.epochs, 0)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{saver.resume_file}: does not fit this run ({one_line(error)})"
            ) from error

    def train(self) -> list[EpochRow]:
        """Learn in the rounds that are left and return the rows of all.

        Raises:
            KeyboardInterrupt: Ctrl-C; the model of the last round that ended stays.
            DataError: more videos fail than `data.max_unusable` allows, or all are of one group.
            WriteError: the run directory cannot be written.
        """
        state = self._state
        if state.epoch >= self._config.train.epochs:
            return state.rows
        with self._guard.explained_errors(), self._guard.before_epochs():
            described = self._describe(of_split(self._items, "train"), mirrored=False)
            items, plain_MRD = self._usable(described)
            if not state.rows:
                self._saver(self._config).describe(self._items, self._device)
            goes_on = True
            if state.epoch == 0:
                learnt = self._learn(items, [plain_MRD])
                goes_on = self._has_time_for_mirrored()
                self._finish(learnt, is_last=not goes_on)
            if goes_on:
                mirrored_MRD = _all_of(self._describe(items, mirrored=True))
                self._finish(self._learn(items, [plain_MRD, mirrored_MRD]), is_last=True)
        return state.rows

    def _has_time_for_mirrored(self) -> bool:
        """Tell whether to describe mirrored videos too; say so where there is no time for that."""
        if self._mirrored is None or self._config.train.epochs < 2:
            return False
        minutes, spent = self._config.train.minutes, (time.monotonic() - self._started) / 60
        if minutes and 2 * spent > minutes:
            self._on_event(
                Notice(
                    f"mirrored videos are left out: they would take {spent:.0f} more minutes, and "
                    f"train.minutes={minutes:g}"
                )
            )
            return False
        return True

    def _describe(self, items: Sequence[VideoItem], mirrored: bool) -> list[Tensor | VideoError]:
        num_orientations = 1 if self._mirrored is None else 2
        paces = _MOST_PACES if _MOST_PACES * num_orientations * len(items) <= _MOST_ROWS else 1
        return self._describer.of(
            items, mirrored, paces, lambda done, total: self._on_event(FeatureProgress(done, total))
        )

    def _usable(self, described: Sequence[Tensor | VideoError]) -> tuple[list[VideoItem], Tensor]:
        """Return the training videos that could be decoded, and their descriptors; leave out the others.

        Raises:
            DataError: more than `data.max_unusable` of them could not be.
        """
        items = of_split(self._items, "train")
        failures = [found for found in described if isinstance(found, VideoError)]
        for failure in failures:
            self._on_event(Notice(f"left out: {failure}"))
        refuse_unusable(failures, len(items), self._config.data)
        if failures:
            write_text(self._run / UNUSABLE_FILE, failures_csv(failures))
        kept = [item for item, found in zip(items, described, strict=True) if isinstance(found, Tensor)]
        gone = set(items) - set(kept)
        self._items = [item for item in self._items if item not in gone]
        self._names = class_names_of(kept, self._config.data.multi_label)
        require_two_classes(kept, self._config.data.multi_label)
        return kept, torch.stack([found for found in described if isinstance(found, Tensor)])

    def _learn(self, items: list[VideoItem], described: list[Tensor]) -> _Round:
        """Choose what to read by cross-validation, and solve for all training videos.

        Args:
            items: the training videos.
            described: their descriptors (M, R, D), then perhaps those of the same videos mirrored.
        """
        examples = self._examples(items, described[0].shape[1], len(described))
        rows_ND = torch.cat([of_all.transpose(0, 1).flatten(0, 1) for of_all in described])
        sizes = descriptor_sizes(self._network.backbone, self._config.model)
        columns = torch.split(rows_ND, list(sizes.values()), dim=1)
        blocks = {part: standardise(values) for part, values in zip(sizes, columns, strict=True)}
        scored_M = self._scored_videos(len(items))
        some, rows = examples.restricted(scored_M)
        trials = try_all({part: block.kernel_NN[np.ix_(rows, rows)] for part, block in blocks.items()}, some)
        best = trials[0]
        network, config, scores_NK = self._solve(best.candidate, blocks, examples)
        num_videos = len(items)
        targets_MK = examples.targets_NK[:num_videos]
        logits = [row[None] for row in best.logits_MK]
        calibration = (
            fit_multi_label(logits, targets_MK[scored_M] == 1)
            if examples.is_multi_label
            else fit_temperature(logits, targets_MK[scored_M].argmax(axis=1).tolist())
        )
        self._show_choice(list(compress(items, scored_M)), trials, calibration)
        right_M = (
            ((scores_NK[:num_videos] > 0) == (targets_MK == 1)).all(axis=1)
            if examples.is_multi_label
            else scores_NK[:num_videos].argmax(axis=1) == targets_MK.argmax(axis=1)
        )
        error = float(np.square(scores_NK[:num_videos] - targets_MK).mean())
        return _Round(config, network, calibration, trials, error, float(right_M.mean()))

    def _scored_videos(self, num_videos: int) -> Bool:
        """Return which videos take part in the cross-validation: all, unless they are many."""
        scored_M = np.full(num_videos, num_videos <= _MOST_SCORED)
        rng = np.random.default_rng(self._config.train.seed)
        scored_M[rng.permutation(num_videos)[:_MOST_SCORED]] = True
        return scored_M

    def _examples(self, items: list[VideoItem], num_paces: int, num_orientations: int) -> Examples:
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
        if not self._folds:
            most = _MOST_FOLDS if num_videos < _MANY_VIDEOS else _MOST_FOLDS_OF_MANY
            self._folds = assign_folds(items, most, self._config.train.seed)
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
    ) -> tuple[TwoStreamClassifier, Config, Float64]:
        """Return the network of a candidate, its settings, and its scores of the rows that it learnt from."""
        rows_N = examples.rows_of(np.full(len(examples.folds_M), True), candidate.mirrored)
        weights_N = examples.weights_N[rows_N]
        kernels = {part: block.kernel_NN for part, block in blocks.items()}
        kernel_NN = mean_kernel(kernels, candidate)[np.ix_(rows_N, rows_N)]
        solution = solve(kernel_NN, examples.targets_NK[rows_N], weights_N, candidate.strength)
        parts = [blocks[part] for part in candidate.parts(list(blocks))]
        read = [Block(b.values_ND[rows_N], b.mean_D, b.scale_D, b.kernel_NN) for b in parts]
        weight_KD, bias_K = linear_layer(read, weights_N, solution)
        config = narrowed(self._config, candidate)
        network = build_model(config.model, len(self._names), load_weights=False)
        assert isinstance(network, TwoStreamClassifier)
        network.backbone.load_state_dict(self._network.backbone.state_dict())
        network.head.load_state_dict({"weight": weight_KD, "bias": bias_K})
        values_ND = torch.cat([block.values_ND for block in read], dim=1)
        scores_NK = (values_ND.float() @ weight_KD.T + bias_K).double().numpy()
        return network.to(self._device).eval(), config, scores_NK

    def _show_choice(self, items: list[VideoItem], trials: list[Trial], calibration: Calibration) -> None:
        """Write and tell what was tried, and draw the confusion of videos not learnt from."""
        best = trials[0]
        interval: tuple[float, float] | None = None
        if not self._config.data.multi_label:
            predictions = [
                Prediction(str(item.path), self._names, calibration.probabilities(logits_K[None]))
                for item, logits_K in zip(items, best.logits_MK, strict=True)
            ]
            right = [p.labels[0] == item.label for item, p in zip(items, predictions, strict=True)]
            interval = bootstrap_over_groups(np.array(right, dtype=np.float64), items, 0)
            record = RunRecord(self._run, self._config.train.plots, self._on_event)
            record.draw_confusion(evaluate(predictions, [item.label for item in items], self._names))
        rows = [trial.to_dict() for trial in trials]
        folds = len(set(self._folds))
        told = {"folds": folds, "top1_interval": interval, "trials": rows}
        write_text(self._run / CHOICE_FILE, json.dumps(told, indent=1) + "\n")
        self._on_event(ChoiceMade(tuple(rows), folds, interval))

    def _finish(self, learnt: _Round, is_last: bool) -> None:
        """Validate and save the model of a round."""
        state = self._state
        config = learnt.config
        if is_last:
            train = config.train.model_copy(update={"epochs": state.epoch + 1})
            config = config.model_copy(update={"train": train})
        validation = None
        if val_items := of_split(self._items, "val"):
            predictor = Predictor(
                learnt.network, config, self._names, self._device, calibration=learnt.calibration
            )
            predictions = list(predictor.predict_many(val_items))
            validation = score(predictions, val_items, self._names, config.data.multi_label)
        row = EpochRow(
            epoch=state.epoch + 1,
            lr=0.0,
            train_loss=learnt.train_loss,
            train_accuracy=learnt.train_accuracy,
            **(validation.metrics() if validation is not None else {}),
        )
        is_best = state.end_epoch(row)
        self._best_config = config if is_best else self._best_config
        saver = self._saver(config)
        saver.save_epoch(learnt.network.state_dict(), learnt.calibration, state.rows, is_best)
        if is_last:
            write_text(self._run / CONFIG_FILE, config_to_yaml(self._best_config))
        saver.save_resume()
        self._on_event(EpochDone(row, is_best))

    def _saver(self, config: Config) -> Saver:
        digest = fingerprint(item for item in self._items if item.split != "test")
        return Saver(self._run, config, self._names, digest, self._guard, self._collect_state)

    def _collect_state(self) -> dict[str, Any]:
        return self._state.to_dict() | {"num_parts": 1}


def _all_of(described: Sequence[Tensor | VideoError]) -> Tensor:
    """Return the descriptors of videos that could be decoded before.

    Raises:
        DataError: one of them no longer can.
    """
    for found in described:
        if isinstance(found, VideoError):
            raise DataError(f"a video could be decoded and no longer can: {found}")
    return torch.stack([found for found in described if isinstance(found, Tensor)])


def narrowed(config: Config, candidate: Candidate) -> Config:
    """Return the settings of a model that reads no more than a candidate needs.

    Args:
        config: all settings of the run.
        candidate: that was chosen.
    """
    clip, model, augment = config.clip, config.model, config.augment
    if candidate.panels < model.panels:
        height, width = clip.size
        clip = change_clip(clip, whole_frame=False, size=(height // 2, width))
    model = model.model_copy(update={"streams": candidate.streams, "panels": candidate.panels})
    augment = augment.model_copy(update={"flip": "on" if candidate.mirrored else "off"})
    return config.model_copy(update={"clip": clip, "model": model, "augment": augment})
