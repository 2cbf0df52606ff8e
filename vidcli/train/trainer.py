"""The training loop: steps, validation, and going on where a run stopped.

All that a run draws at random comes from its seed and its position (epoch, step, video), and all else that
matters is in its resume file. On a CPU, a run that was stopped and resumed therefore ends with the same
weights, bit for bit, as one that was not stopped.

    epoch        batches, and the steps of an epoch     validation   scores after each epoch
    update       a batch changes the weights            saver        files to go on from, interruptions
    batch_parts  a batch that does not fit in memory    record       files for people to look at
    state        where the run is
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from vidcli.artifacts.run_folder import is_over
from vidcli.config import Config
from vidcli.data.dataset import ClipDataset
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.manifest import fingerprint
from vidcli.data.splits import of_split
from vidcli.errors import CheckpointError, DataError
from vidcli.models import VideoModel
from vidcli.models.calibration import uncalibrated
from vidcli.predict import Predictor
from vidcli.runtime.files import remove_leftovers
from vidcli.runtime.plain import one_line
from vidcli.runtime.processes import ALONE, Group
from vidcli.train.adapters import build_trained_model, merged_weights
from vidcli.train.advice import iter_advice
from vidcli.train.batchnorm import fewest_clips, single_clips, synchronise_norms
from vidcli.train.epoch import EpochLoop, RunBatches
from vidcli.train.events import EpochDone, EpochRow, Event, FeatureProgress, Notice
from vidcli.train.frozen import FrozenFeatures, uses_features
from vidcli.train.optimizer import learning_rate
from vidcli.train.record import RunRecord
from vidcli.train.saver import InterruptGuard, Saver
from vidcli.train.state import TrainState
from vidcli.train.trackers import choose_trackers
from vidcli.train.update import Updater
from vidcli.train.validation import Validator
from vidcli.transforms import sided_class_names


class Trainer:
    """One run: its model, its state, and its directory."""

    def __init__(
        self,
        config: Config,
        items: Sequence[VideoItem],
        source: FrameSource,
        run: Path,
        device: torch.device,
        on_event: Callable[[Event], None],
        group: Group = ALONE,
    ) -> None:
        """Build the model; nothing is written before `describe` or `train`.

        Args:
            config: all settings.
            items: the usable videos, each with its split.
            source: where frames come from.
            run: the run directory, an existing folder.
            device: where to compute.
            on_event: called with each event of the run.
            group: the processes that train together; each has a trainer, and the main one's writes.
        """
        self.config, self._device, self._on_event, self._group = config, device, on_event, group
        multi_label = config.data.multi_label
        train_items, val_items = of_split(items, "train"), of_split(items, "val")
        names = self._class_names = class_names_of(train_items, multi_label)
        flip = _decides_to_flip(config, names, on_event)
        dataset = ClipDataset(train_items, names, config, flip, source)
        torch.manual_seed(config.train.seed)
        model = build_trained_model(config, len(names)).to(device)
        unsynchronised = synchronise_norms(model, group, device)
        fewest = fewest_clips(model, config)
        if config.train.batch_size < fewest:
            raise single_clips(config)
        self._batches = RunBatches(config, dataset, fewest, device, group)
        self._update = self._build_update(model)
        calibration = uncalibrated(len(names), multi_label)
        predictor = Predictor(
            self._update.evaluated_model, config, names, device, source, calibration=calibration
        )
        self._validator = Validator(val_items, names, multi_label, predictor, group)
        self._state = TrainState()
        self._guard = InterruptGuard(run, group, on_event)
        digest = _agree_on_data(items, group)
        self._saver = Saver(run, config, names, digest, self._guard, self._collect_state)
        self._record = RunRecord(run, config.train.plots and group.is_main, on_event, choose_trackers(config))
        self._epoch_loop = EpochLoop(
            config,
            names,
            self._batches,
            self._update,
            source,
            self._record,
            self._saver,
            on_event,
            group,
        )
        if unsynchronised is not None:
            on_event(Notice(unsynchronised))
        for text in iter_advice(config, model, self._update.freezing, bool(val_items)):
            on_event(Notice(text))

    def _build_update(self, model: VideoModel) -> Updater[VideoModel]:
        return Updater(
            model,
            self.config,
            self._batches.class_counts(len(self._class_names)),
            self._batches.num_steps,
            self._device,
            self._group,
            model.after_backbone if uses_features(self.config) else None,
        )

    def describe(self, items: Sequence[VideoItem]) -> None:
        """Write settings, splits and environment of a new run; a run that goes on has them already.

        Args:
            items: the usable videos, each with its split.
        """
        self._saver.describe(items, self._device)

    def restore(self) -> None:
        """Go back to the state that the run directory holds.

        Raises:
            CheckpointError: there is no state, or it is damaged, of another model or of other data.
        """
        saved = self._group.from_main(self._saver.load_resume)
        try:
            state = TrainState.from_dict(saved, self.config.train.epochs, self._batches.num_steps)
            self._update.load_state_dict(saved)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{self._saver.resume_file}: does not fit this run ({one_line(error)})"
            ) from error
        self._state, self._epoch_loop.parts.number = state, saved["num_parts"]

    def train(self) -> list[EpochRow]:
        """Train the epochs that are left and return the rows of all epochs.

        Raises:
            KeyboardInterrupt: Ctrl-C, or `AskedToEnd` by a signal; the state is saved first.
            WriteError: the run directory cannot be written; the message says how to go on.
            TrainError: the loss is no longer finite.
            PeerError: another process of the run has ended.
        """
        state = self._state
        if self._is_over():
            return state.rows
        if self._group.is_main:
            remove_leftovers(self._saver.run)
            self._record.open(
                state.position(self._batches.num_steps),
                state.rows[-1] if state.rows and state.step == 0 else None,
            )
        try:
            with self._guard.explained_errors():
                if uses_features(self.config):
                    self._compute_features()
                batches = self._batches.left(state.epoch, state.step)
                with self._guard.deferred_signals(), closing(batches):
                    while not self._is_over():
                        self._epoch_loop.run(state, batches)
                        self._finish_epoch()
        finally:
            self._record.close(self._is_over())
        return state.rows

    def _compute_features(self) -> None:
        """Compute the features of all videos once, where the backbone never learns."""
        model = self._update.evaluated_model
        features = FrozenFeatures(
            model,
            self.config,
            self._batches.dataset,
            self._validator.items,
            self._validator.predictor,
            self._device,
            self._group,
        )
        with self._guard.before_epochs():
            features.fill(
                lambda done, total: self._on_event(FeatureProgress(done, total)),
                lambda text: self._on_event(Notice(text)),
            )
        self._batches.features = features
        self._validator.use_features(model, features)

    def _finish_epoch(self) -> None:
        state, is_main = self._state, self._group.is_main
        self._update.end_epoch()
        validation = self._validator.validate(state.epoch + 1, self._saver.save_if_due)
        num_steps = self._batches.num_steps
        row = EpochRow(
            epoch=state.epoch + 1,
            lr=learning_rate(self.config.train, (state.epoch + 1) * num_steps - 1, num_steps),
            train_loss=state.totals.mean_loss,
            train_accuracy=state.totals.accuracy,
            **(validation.metrics() if validation is not None else {}),
        )
        if is_main and not self._saver.has_resume:
            self._saver.save_resume()  # so that a kill never leaves models without a state to go on from
        is_best = state.end_epoch(row)
        if is_main:
            weights = merged_weights(self._update.evaluated_model)
            self._saver.save_epoch(weights, self._validator.calibration, state.rows, is_best)
            best_epoch = state.best_epoch if self._validator.items else None
            self._record.add_epoch(state.rows, state.position(num_steps), best_epoch)
            if validation is not None and validation.scores is not None and is_best:
                self._record.draw_confusion(validation.scores)
            if self._is_over():
                self._record.draw_curves()
            self._saver.save_resume()
        self._on_event(EpochDone(row, is_best, self._epoch_loop.waits))
        self._guard.stop_if_asked()

    def _collect_state(self) -> dict[str, Any]:
        """Return all that the resume file holds, except the fingerprint of the data."""
        self._record.flush()  # so that the state is never ahead of the event file
        progress = self._state.to_dict() | {"num_parts": self._epoch_loop.parts.number}
        return self._update.state_dict() | progress

    def _is_over(self) -> bool:
        return is_over(self.config.train, self._state.epoch, self._state.stale_epochs)


def _agree_on_data(items: Sequence[VideoItem], group: Group) -> str:
    """Return the fingerprint of the videos to train and validate on, once all processes have the same.

    Raises:
        DataError: they have different videos.
    """
    own = fingerprint(item for item in items if item.split != "test")
    if len(set(group.gather(own))) > 1:
        raise DataError(
            "the machines of this run hold different videos under the same paths; give all of them the "
            "same data"
        )
    return own


def _decides_to_flip(config: Config, class_names: Sequence[str], on_event: Callable[[Event], None]) -> bool:
    """Tell whether clips may be mirrored; say so where class names such as "left" are against it."""
    if config.augment.flip != "auto":
        return config.augment.flip == "on"
    sided = sided_class_names(class_names)
    if sided:
        on_event(
            Notice(
                f"clips are not mirrored: class names tell a side ({', '.join(sided[:4])}); "
                "augment.flip=on mirrors all the same"
            )
        )
    return not sided
