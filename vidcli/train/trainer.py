"""The optimisation loop: steps, validation, saving, and going on where it stopped.

Everything that a run draws at random comes from its seed and its position (epoch, video), and
everything else that matters is in the resume state. On a CPU a run that was stopped and resumed
therefore ends with the same weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from vidcli.artifacts.environment import describe_environment
from vidcli.artifacts.model_file import Checkpoint, save_checkpoint
from vidcli.artifacts.resume_file import load_resume, save_resume
from vidcli.artifacts.run_folder import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    LAST_FILE,
    METRICS_FILE,
    MODEL_FILE,
    RESUME_FILE,
    SPLITS_FILE,
)
from vidcli.config import Config, TrainConfig, config_to_yaml
from vidcli.data.dataset import ClipDataset
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem, class_names_of, labels_of
from vidcli.data.loader import Batch, balanced_order, batch_ends, epoch_order, iter_batches
from vidcli.data.manifest import fingerprint, manifest_text
from vidcli.data.relocation import with_digests
from vidcli.data.splits import of_split
from vidcli.errors import CheckpointError, DataError, PeerError, TrainError, VideoError, WriteError
from vidcli.evaluate import Evaluation
from vidcli.models import build_model
from vidcli.models.calibration import uncalibrated
from vidcli.predict import Prediction, Predictor
from vidcli.runtime.files import remove_leftovers, write_text
from vidcli.runtime.plain import one_line
from vidcli.runtime.processes import ALONE, Group, is_peer_failure, synchronise_norms
from vidcli.runtime.signals import AskedToEnd, deferred
from vidcli.runtime.threads import num_workers
from vidcli.train.advice import iter_advice
from vidcli.train.batch_parts import BatchParts
from vidcli.train.batchnorm import fewest_clips, single_clips
from vidcli.train.events import EpochDone, EpochRow, Event, FeatureProgress, Notice, StepDone
from vidcli.train.frozen import FeaturePredictor, FrozenFeatures, is_frozen, obstacle_to_features
from vidcli.train.pace import Pace, waiting_notice
from vidcli.train.record import RunRecord
from vidcli.train.resume_state import check_progress
from vidcli.train.schedule import learning_rate, seed_generators, step_seed
from vidcli.train.update import BatchTooLarge, Share, StepResult, Updater
from vidcli.train.validation import validate
from vidcli.transforms import sided_class_names


@dataclass
class _Totals:
    """Sums over the steps of an epoch."""

    loss: float = 0.0
    num_correct: int = 0
    num_clips: int = 0

    @property
    def mean_loss(self) -> float:
        return self.loss / max(1, self.num_clips)

    @property
    def accuracy(self) -> float:
        return self.num_correct / max(1, self.num_clips)


class Trainer:
    """One run: its model, its position, and its directory."""

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
            run: an existing, writable folder.
            device: where to compute.
            on_event: told what happens, while it happens.
            group: the processes that train together; each has a trainer, the main one's writes.
        """
        self._group = group
        self.config, self._settings, self._run, self._device = config, config.train, run, device
        self._on_event, self._source = on_event, source
        self._multi_label = config.data.multi_label
        self.class_names = class_names_of(of_split(items, "train"), self._multi_label)
        self._val_items = of_split(items, "val")
        self._dataset = ClipDataset(
            of_split(items, "train"), self.class_names, config, self._decide_flip(), source
        )
        torch.manual_seed(self._settings.seed)
        self.model = build_model(config.model, len(self.class_names)).to(device)
        unsynchronised = synchronise_norms(self.model, group, device)
        self._fewest_clips = fewest_clips(self.model, config)
        if self._settings.batch_size < self._fewest_clips:
            raise single_clips(config)
        self._ends = batch_ends(len(self._dataset), self._settings.batch_size, self._fewest_clips)
        self._num_steps = len(self._ends)
        self._labels = (
            [] if self._multi_label else [self._dataset.label(i) for i in range(len(self._dataset))]
        )
        class_counts = [self._labels.count(label) for label in range(len(self.class_names))]
        self._keeps_features = is_frozen(config) and obstacle_to_features(config) is None
        part = self.model.after_backbone if self._keeps_features else None
        self._update = Updater(self.model, config, class_counts, self._num_steps, device, group, part)
        self._calibration = uncalibrated(len(self.class_names), self._multi_label)
        self._predictor = Predictor(
            self._update.evaluated_model,
            config,
            self.class_names,
            device,
            source,
            calibration=self._calibration,
        )
        self._features: FrozenFeatures | None = None
        self._fingerprint = self._agree_on_data(items)
        self._epoch, self._step, self._totals = 0, 0, _Totals()
        self._rows: list[EpochRow] = []
        self._best: tuple[float, float] | None = None
        self._stale_epochs = 0
        self._failed_videos: set[str] = set()
        self._parts = BatchParts(self._update, self._settings, group, on_event, self._fewest_clips)
        self._saved_at = time.monotonic()
        self._told_of_waiting = False
        self._asked_by = 0  # the signal that asked this process to end
        self._record = RunRecord(run, self._settings.plots and group.is_main, on_event)
        if unsynchronised is not None:
            self._on_event(Notice(unsynchronised))
        for text in iter_advice(config, self.model, self._update.freezing, bool(self._val_items)):
            self._on_event(Notice(text))

    def _agree_on_data(self, items: Sequence[VideoItem]) -> str:
        own = fingerprint(item for item in items if item.split != "test")
        if len(set(self._group.gather(own))) > 1:
            raise DataError(
                "the machines of this run hold different videos under the same paths; give all of them the "
                "same data"
            )
        return own

    def describe(self, items: Sequence[VideoItem]) -> None:
        """Write settings, splits and environment of a new run; one that goes on has them."""
        write_text(self._run / CONFIG_FILE, config_to_yaml(self.config))
        write_text(self._run / SPLITS_FILE, manifest_text(with_digests(items)))
        made_with = json.dumps(describe_environment(str(self._device)), indent=1) + "\n"
        write_text(self._run / ENVIRONMENT_FILE, made_with)

    def restore(self) -> None:
        """Go back to the state that the run directory holds.

        Raises:
            CheckpointError: there is none, or it is of another model or data set.
        """
        path = self._run / RESUME_FILE
        state = self._group.from_main(lambda: load_resume(path))
        try:
            if state["fingerprint"] != self._fingerprint:
                raise CheckpointError(
                    f"{path}: belongs to other data; the videos of {SPLITS_FILE} have changed since. "
                    "Bring them back as they were, or start a new run"
                )
            check_progress(state, self._settings.epochs, self._num_steps)
            self._update.load_state_dict(state)
            self._epoch, self._step = state["epoch"], state["step"]
            self._totals = _Totals(**state["totals"])
            self._rows = [EpochRow(**row) for row in state["rows"]]
            self._best = tuple(state["best"]) if state["best"] is not None else None
            self._stale_epochs = state["stale_epochs"]
            self._failed_videos = set(state["failed_videos"])
            self._parts.number = state["num_parts"]
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path}: does not fit this run ({one_line(error)})") from error

    def train(self) -> list[EpochRow]:
        """Run the epochs that are left and return the rows of all.

        Raises:
            KeyboardInterrupt: Ctrl-C, or `AskedToEnd` by a signal; the state has been saved first.
            CheckpointError: the run directory can no longer be written; says how to go on.
            TrainError: the loss is no longer a number.
        """
        if self._is_over():
            return self._rows
        if self._group.is_main:
            remove_leftovers(self._run)
            ended = self._rows[-1] if self._rows and self._step == 0 else None
            self._record.open(self._position, ended)
        try:
            if self._keeps_features:
                self._compute_features()
            with deferred(self._note_signal), closing(self._batches_left()) as batches:
                while not self._is_over():
                    self._train_epoch(batches)
                    self._finish_epoch()
        except WriteError as error:
            raise WriteError(f"{error}{self._way_on()}") from error
        except RuntimeError as error:
            if self._group.size > 1 and is_peer_failure(error):
                raise PeerError from error
            raise
        finally:
            self._record.close()
        return self._rows

    def _way_on(self) -> str:
        """Say what is left to do when the run directory can no longer be written."""
        if not (self._run / RESUME_FILE).is_file():
            return ". No state had been saved yet: make room or mend the folder, and start again"
        return (
            ". All that was saved before is whole: make room or mend the folder, then go on with "
            f"`vidcli train --resume {self._run}`"
        )

    def _compute_features(self) -> None:
        """Let a backbone that never learns look at everything once, its weights being what they stay."""
        model = self._update.evaluated_model
        self._features = FrozenFeatures(
            model, self.config, self._dataset, self._val_items, self._predictor, self._device, self._group
        )
        try:
            self._features.fill(
                lambda done, total: self._on_event(FeatureProgress(done, total)),
                lambda text: self._on_event(Notice(text)),
            )
        except KeyboardInterrupt:
            way_on = "train --resume" if (self._run / RESUME_FILE).is_file() else "train DATA --out"
            self._on_event(
                Notice(f"interrupted before an epoch began; go on with `vidcli {way_on} {self._run}`")
            )
            raise
        self._predictor = FeaturePredictor(self._predictor, model, self._features)

    def _batches_left(self) -> Generator[Batch, None, None]:
        """Yield the batches of the run from its position on; each epoch's follow the last's at once."""
        orders = ((epoch, self._order(epoch)) for epoch in range(self._epoch, self._settings.epochs))
        return self._iter_batches(orders, self._group)

    def _iter_batches(
        self, orders: Iterable[tuple[int, Sequence[int]]], group: Group
    ) -> Generator[Batch, None, None]:
        """Yield a process's part of the batches of epochs, from this step of the first on."""
        if self._features is not None:
            return self._features.batches(orders, self._step, group.rank, group.size, self._fewest_clips)
        return iter_batches(
            self._dataset,
            orders,
            self._settings.batch_size,
            num_workers(self.config.data.workers),
            first=self._step,
            pin_memory=self._device.type == "cuda",
            gives_way=self._device.type == "cpu",
            rank=group.rank,
            num_ranks=group.size,
            fewest=self._fewest_clips,
        )

    def _train_epoch(self, batches: Iterator[Batch]) -> None:
        self._update.start_epoch(self._epoch)
        pace = Pace()
        for loaded in islice(batches, self._num_steps - self._step):
            for text in loaded.notices:
                self._on_event(Notice(text))
            batch, share = self._share_of_step(loaded)
            if share.num_clips:
                self._train_step(batch, share)
            self._step += 1
            pace.add(share.num_clips, loaded.seconds_waited)
            self._on_event(
                StepDone(
                    self._epoch + 1,
                    self._step,
                    self._num_steps,
                    self._totals.mean_loss,
                    self._totals.accuracy,
                    pace.clips_per_second,
                    self._seconds_left(pace.clips_per_second),
                    pace.waiting,
                )
            )
            self._save_if_due()
        if pace.is_held_up and not self._told_of_waiting:
            self._told_of_waiting = True
            self._on_event(Notice(waiting_notice(pace.waiting, self.config.data, self._source)))

    def _order(self, epoch: int) -> list[int]:
        if self._settings.class_balance == "sampling":
            return balanced_order(self._labels, self._settings.seed, epoch)
        return epoch_order(len(self._dataset), self._settings.seed, epoch)

    def _share_of_step(self, batch: Batch) -> tuple[Batch, Share]:
        """Return what of a step's batch this process computes, of which it has loaded `batch`."""
        rows = self._group.gather_numbers(len(batch.indices), len(batch.failures))
        counts = [int(row[0]) for row in rows]
        if any(row[1] for row in rows):
            self._report_failures(
                [failure for part in self._group.gather(batch.failures) for failure in part]
            )
        num_clips, fewest = sum(counts), min(counts)
        if 0 < num_clips < self._fewest_clips:
            text = (
                "one clip is left out of this epoch: all others of its batch failed, and BatchNorm needs two"
            )
            self._on_event(Notice(text))
            num_clips = 0
        if fewest >= self._fewest_clips or not num_clips:
            return batch, Share(num_clips, self._parts.fitting(fewest), sizes=tuple(counts))
        # Too few clips for a process each: all compute all of them, so that none is without.
        end = self._ends[self._step]
        with closing(self._iter_batches([(self._epoch, self._order(self._epoch)[:end])], ALONE)) as batches:
            whole = next(batches)
        return whole, Share(num_clips, self._parts.fitting(num_clips), self._group.size)

    def _train_step(self, batch: Batch, share: Share) -> None:
        if self._position == 0 and self._group.is_main:
            self._draw_samples(batch)
        result = self._update_weights(batch, share)
        if not math.isfinite(result.loss):
            indices = dict.fromkeys(index for part in self._group.gather(batch.indices) for index in part)
            names = "\n".join(str(self._dataset.items[index].path) for index in indices)
            diverged = TrainError(
                f"the loss became {result.loss} in epoch {self._epoch + 1}, step {self._step + 1}. Lower "
                f"train.lr (now {self._settings.lr:g}) or set train.grad_clip; the videos of this batch:\n"
                f"{names}"
            )
            raise self._group.of_all(diverged)
        rate = learning_rate(self._settings, self._position, self._num_steps)
        self._record.add_step(self._position, result.loss, rate)
        self._totals.loss += result.loss * share.num_clips
        self._totals.num_correct += result.num_correct
        self._totals.num_clips += share.num_clips

    def _draw_samples(self, batch: Batch) -> None:
        clips_BTCHW, indices = batch.clips_BTCHW, batch.indices
        if self._features is not None:
            clips_BTCHW, indices = self._features.first_clips(self._order(0))
        labels = [labels_of(self._dataset.items[index].label, self._multi_label) for index in indices]
        self._record.draw_samples(clips_BTCHW, labels, self.class_names, self.config.clip)

    def _update_weights(self, batch: Batch, share: Share) -> StepResult:
        share = self._parts.agree(batch, share)
        while True:
            # For dropout and its kin.
            seed_generators(step_seed(self._settings.seed, self._position, self._group.rank), self._device)
            with suppress(BatchTooLarge):
                return self._update(batch.clips_BTCHW, batch.labels_B, self._position, share)
            share = self._parts.cut(batch, share)

    def _finish_epoch(self) -> None:
        self._update.end_epoch()
        row, scores = self._validate()
        if self._group.is_main and not (self._run / RESUME_FILE).exists():
            self._save_resume()  # so that no kill leaves models that nothing can go on from
        # Ties in accuracy go to the smaller loss. Without validation the last epoch is the best.
        score = (
            (row.val_score, -row.val_loss)
            if row.val_score is not None and row.val_loss is not None
            else (float(row.epoch), 0.0)
        )
        best = self._best is None or score > self._best
        self._best = score if best else self._best
        self._stale_epochs = 0 if best else self._stale_epochs + 1
        self._rows.append(row)
        self._epoch, self._step, self._totals = self._epoch + 1, 0, _Totals()
        if self._group.is_main:
            self._write_epoch(row, scores, best)
        self._on_event(EpochDone(row, best))
        if signum := self._group.largest(self._asked_by)[0]:
            self._stop(signum)

    def _write_epoch(self, row: EpochRow, scores: Evaluation | None, best: bool) -> None:
        self._save_model(LAST_FILE, row)
        if best:
            self._save_model(MODEL_FILE, row)
        lines = "".join(json.dumps(asdict(row)) + "\n" for row in self._rows)
        write_text(self._run / METRICS_FILE, lines)
        self._record.add_epoch(self._rows, self._position, self._best_epoch if self._val_items else None)
        if scores is not None and best:
            self._record.draw_confusion(scores)
        if self._is_over():
            self._record.draw_curves()
        self._save_resume()

    def _validate(self) -> tuple[EpochRow, Evaluation | None]:
        """Return the row of the epoch, and what validation said where there is a val split."""
        scores = None
        val_loss = val_top1 = val_balanced = val_map = None
        if self._val_items:
            predictions = self._predict_val()
            found = validate(predictions, self._val_items, self.class_names, self._multi_label)
            scores, self._calibration = found.scores, found.calibration
            val_loss, val_map = found.loss, found.mean_average_precision
            val_top1, val_balanced = found.top1, found.balanced_accuracy
            if val_loss is None or not math.isfinite(val_loss):
                reason = next((p.error for p in predictions if p.error is not None), f"loss {val_loss}")
                unscored = TrainError(
                    f"not one validation video could be scored in epoch {self._epoch + 1} ({reason}); no "
                    f"model of this epoch is saved. If training diverged, lower train.lr (now "
                    f"{self._settings.lr:g}) or set train.grad_clip"
                )
                raise self._group.of_all(unscored)
        last_step = (self._epoch + 1) * self._num_steps - 1
        row = EpochRow(
            epoch=self._epoch + 1,
            lr=learning_rate(self._settings, last_step, self._num_steps),
            train_loss=self._totals.mean_loss,
            train_accuracy=self._totals.accuracy,
            val_loss=val_loss,
            val_top1=val_top1,
            val_balanced_accuracy=val_balanced,
            val_map=val_map,
        )
        return row, scores

    def _predict_val(self) -> list[Prediction]:
        predictions: list[Prediction] = []
        own = self._group.share(self._val_items)
        with closing(self._predictor.predict_many(own)) as predicted:
            # All processes go round equally often, for they agree on saving after each.
            for _ in range(-(-len(self._val_items) // self._group.size)):
                predictions += islice(predicted, 1)
                self._save_if_due()
        return self._group.gather_shares(predictions)

    def _report_failures(self, failures: Sequence[VideoError]) -> None:
        for failure in failures:
            if failure.path not in self._failed_videos:
                self._failed_videos.add(failure.path)
                self._on_event(Notice(f"left out of this epoch: {failure}"))
        if len(self._failed_videos) > self.config.data.max_unusable * len(self._dataset):
            if self._group.is_main:
                self._save_resume()
            too_many = DataError(
                f"{len(self._failed_videos)} of {len(self._dataset)} training videos can no longer be "
                f"decoded, more than data.max_unusable={self.config.data.max_unusable:g} allows: "
                + ", ".join(sorted(self._failed_videos)[:10])
            )
            raise self._group.of_all(too_many)

    def _decide_flip(self) -> bool:
        if self.config.augment.flip != "auto":
            return self.config.augment.flip == "on"
        sided = sided_class_names(self.class_names)
        if sided:
            self._on_event(
                Notice(
                    f"clips are not mirrored: class names tell a side ({', '.join(sided[:4])}); "
                    "augment.flip=on mirrors all the same"
                )
            )
        return not sided

    @property
    def _position(self) -> int:
        """Updates done, over the whole run."""
        return self._epoch * self._num_steps + self._step

    @property
    def _best_epoch(self) -> int:
        """The epoch of the best model so far."""
        return len(self._rows) - self._stale_epochs

    def _is_over(self) -> bool:
        return is_over(self._settings, self._epoch, self._stale_epochs)

    def _seconds_left(self, clips_per_second: float) -> float:
        clips_done = self._epoch * len(self._dataset) + self._totals.num_clips
        clips_left = self._settings.epochs * len(self._dataset) - clips_done
        return clips_left / max(clips_per_second, 1e-9)

    def _save_model(self, name: str, row: EpochRow) -> None:
        metrics = {key: value for key, value in asdict(row).items() if key != "lr"}
        saved = Checkpoint(
            self._update.evaluated_model.state_dict(),
            self.config,
            self.class_names,
            metrics,
            self._fingerprint,
            self._calibration,
        )
        save_checkpoint(self._run / name, saved)

    def _save_if_due(self) -> None:
        is_due = time.monotonic() - self._saved_at > 60 * self._settings.checkpoint_minutes
        # Processes agree; of different signals the one with the highest number counts.
        signum, saves = self._group.largest(self._asked_by, is_due and self._group.is_main)
        if (signum or saves) and self._group.is_main:
            self._save_resume()
        if signum:
            self._stop(signum)

    def _save_resume(self) -> None:
        self._record.flush()
        state: dict[str, Any] = {
            **self._update.state_dict(),
            "fingerprint": self._fingerprint,
            "epoch": self._epoch,
            "step": self._step,
            "totals": asdict(self._totals),
            "rows": [asdict(row) for row in self._rows],
            "best": list(self._best) if self._best is not None else None,
            "stale_epochs": self._stale_epochs,
            "failed_videos": sorted(self._failed_videos),
            "num_parts": self._parts.number,
        }
        save_resume(self._run / RESUME_FILE, state)
        self._saved_at = time.monotonic()

    def _note_signal(self, signum: int) -> None:
        self._asked_by = signum

    def _stop(self, signum: float) -> None:
        self._on_event(Notice(f"interrupted; go on with `vidcli train --resume {self._run}`"))
        raise AskedToEnd(int(signum))


def is_over(settings: TrainConfig, epochs_done: int, stale_epochs: int) -> bool:
    """Tell whether a run has nothing left to do.

    Args:
        settings: how long it goes on.
        epochs_done: whole ones.
        stale_epochs: the last ones that were not better than the best.
    """
    stopped_early = bool(settings.patience) and stale_epochs >= settings.patience
    return epochs_done >= settings.epochs or stopped_early
