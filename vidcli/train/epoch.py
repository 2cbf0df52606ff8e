"""The batches of a run, as clips or as features of clips, and the steps in which they change the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice

import torch
from torch import Tensor

from vidcli.config import Config
from vidcli.data.dataset import ClipDataset
from vidcli.data.device_batches import finishes_clips, iter_finished
from vidcli.data.frames import FrameSource
from vidcli.data.items import labels_of
from vidcli.data.loader import Batch, balanced_order, batch_ends, epoch_order, iter_batches
from vidcli.errors import DataError, TrainError, VideoError
from vidcli.models import VideoModel
from vidcli.runtime.processes import ALONE, Group
from vidcli.runtime.threads import num_workers
from vidcli.train.advice import Pace, waiting_notice
from vidcli.train.batch_parts import BatchParts
from vidcli.train.events import Event, Notice, StepDone, Waits
from vidcli.train.frozen import FrozenFeatures
from vidcli.train.optimizer import learning_rate
from vidcli.train.record import RunRecord
from vidcli.train.saver import Saver
from vidcli.train.state import TrainState
from vidcli.train.update import BatchTooLarge, Share, StepResult, Updater


class RunBatches:
    """Gives each process its part of the batches of a run.

    Attributes:
        dataset: the training videos.
        device: where batches are computed.
        fewest_clips: clips that have to pass through the model at once; a smaller last batch joins the one
            before it.
        num_steps: batches an epoch.
        features: what batches hold in place of clips; None for clips.
    """

    def __init__(
        self, config: Config, dataset: ClipDataset, fewest_clips: int, device: torch.device, group: Group
    ) -> None:
        """Cut an epoch into batches; nothing is loaded yet.

        Args:
            config: all settings.
            dataset: the training videos.
            fewest_clips: clips that have to pass through the model at once, 1 or 2.
            device: where batches are computed.
            group: the processes that share each batch.
        """
        self._config, self.device, self._group = config, device, group
        self.dataset, self.fewest_clips = dataset, fewest_clips
        self._ends = batch_ends(len(dataset), config.train.batch_size, fewest_clips)
        self.num_steps = len(self._ends)
        self._labels = [] if config.data.multi_label else [dataset.label(row) for row in range(len(dataset))]
        self.features: FrozenFeatures | None = None

    def class_counts(self, num_classes: int) -> list[int]:
        """Return the number of videos of each class, by label; zeros for a multi-label data set."""
        return [self._labels.count(label) for label in range(num_classes)]

    def left(self, epoch: int, step: int) -> Generator[Batch, None, None]:
        """Yield this process's part of the batches that are left of a run; epochs follow without a break.

        Args:
            epoch: the first one, counted from 0.
            step: the first one of that epoch, counted from 0.
        """
        orders = ((number, self._order(number)) for number in range(epoch, self._config.train.epochs))
        return self._iter_batches(orders, step, self._group)

    def whole(self, epoch: int, step: int) -> Batch:
        """Return a whole batch, of which `left` gives this process a part.

        Args:
            epoch: counted from 0.
            step: of that epoch, counted from 0.
        """
        order = self._order(epoch)[: self._ends[step]]
        with closing(self._iter_batches([(epoch, order)], step, ALONE)) as batches:
            return next(batches)

    def clips_of_first(self, batch: Batch) -> tuple[Tensor, list[int]]:
        """Return the clips (B, T, C, H, W) of a run's first batch, and the indices of their videos.

        Args:
            batch: the first one, of clips or of features.
        """
        if self.features is None:
            return batch.clips_BTCHW, batch.indices
        return self.features.first_clips(self._order(0))

    def _order(self, epoch: int) -> list[int]:
        """Return the indices of the videos of an epoch in the order of training."""
        settings = self._config.train
        if settings.class_balance == "sampling":
            return balanced_order(self._labels, settings.seed, epoch)
        return epoch_order(len(self.dataset), settings.seed, epoch)

    def _iter_batches(
        self, orders: Iterable[tuple[int, Sequence[int]]], step: int, group: Group
    ) -> Generator[Batch, None, None]:
        if self.features is not None:
            return self.features.batches(orders, step, group.rank, group.size, self.fewest_clips)
        finishes_there = finishes_clips(self.device)
        batches = iter_batches(
            self.dataset,
            orders,
            self._config.train.batch_size,
            num_workers(self._config.data.workers),
            first=step,
            pin_memory=self.device.type == "cuda",
            gives_way=self.device.type == "cpu",
            rank=group.rank,
            num_ranks=group.size,
            fewest=self.fewest_clips,
            finishes=not finishes_there,
        )
        return iter_finished(batches, self.dataset.finish, self.device) if finishes_there else batches


class EpochLoop:
    """Trains the steps that are left of an epoch, and keeps the state of the run up to date.

    Attributes:
        parts: how many parts a batch passes through the model in.
        waits: who waited for whom in the last epoch, as in `EpochDone`.
    """

    def __init__(
        self,
        config: Config,
        class_names: Sequence[str],
        batches: RunBatches,
        update: Updater[VideoModel],
        source: FrameSource,
        record: RunRecord,
        saver: Saver,
        on_event: Callable[[Event], None],
        group: Group,
    ) -> None:
        """Keep what the steps need.

        Args:
            config: all settings.
            class_names: the name of each class, at the position of its label.
            batches: of the run.
            update: changes the weights.
            source: where frames come from.
            record: told the loss and rate of each step.
            saver: saves the state of the run where it is time.
            on_event: called after each step, and with what the user should know.
            group: the processes that train together.
        """
        self._config, self._class_names, self._source = config, class_names, source
        self._group, self._on_event = group, on_event
        self._batches, self._update, self._record, self._saver = batches, update, record, saver
        self.parts = BatchParts(update, config.train, group, on_event, batches.fewest_clips)
        self.waits: Waits | None = None
        self._told_of_waiting = False

    def run(self, state: TrainState, batches: Iterator[Batch]) -> None:
        """Train the steps that are left of the epoch of a state, which moves on with each.

        Args:
            state: of the run.
            batches: this process's part of the batches from that state on.

        Raises:
            AskedToEnd: a signal asked the process to end; the state is saved first.
            DataError: more videos have failed than `data.max_unusable` allows.
            TrainError: the loss is no longer finite, or a single clip does not fit in memory.
        """
        num_steps = self._batches.num_steps
        self._update.start_epoch(state.epoch)
        pace = Pace()
        for loaded in islice(batches, num_steps - state.step):
            for text in loaded.notices:
                self._on_event(Notice(text))
            batch, share = self._share_of_step(state, loaded)
            if share.num_clips:
                self._train_step(state, batch, share)
            state.step += 1
            of_device = loaded.device_waited
            pace.add(share.num_clips, loaded.seconds_waited if of_device is None else of_device())
            self._on_event(
                StepDone(
                    state.epoch + 1,
                    state.step,
                    num_steps,
                    state.totals.mean_loss,
                    state.totals.accuracy,
                    pace.clips_per_second,
                    self._num_clips_left(state) / max(pace.clips_per_second, 1e-9),
                    pace.waiting,
                )
            )
            self._saver.save_if_due()
        self.waits = pace.waits(self._batches.device.type) if self._batches.features is None else None
        if pace.is_held_up and not self._told_of_waiting:
            self._told_of_waiting = True
            self._on_event(Notice(waiting_notice(pace.waiting, self._config.data, self._source)))

    def _share_of_step(self, state: TrainState, batch: Batch) -> tuple[Batch, Share]:
        """Return the clips of a step that this process computes, and which part of the step they are.

        Args:
            state: of the run.
            batch: the clips that this process has loaded.
        """
        rows = self._group.gather_numbers(len(batch.indices), len(batch.failures))
        counts = [int(row[0]) for row in rows]
        if any(row[1] for row in rows):
            failures = self._group.gather(batch.failures)
            self._report_failures(state, [failure for part in failures for failure in part])
        num_clips, fewest, needed = sum(counts), min(counts), self._batches.fewest_clips
        if 0 < num_clips < needed:
            self._on_event(
                Notice(
                    "one clip is left out of this epoch: all others of its batch failed, and BatchNorm needs "
                    "two"
                )
            )
            num_clips = 0
        if fewest >= needed or not num_clips:
            return batch, Share(num_clips, self.parts.fitting(fewest), sizes=tuple(counts))
        # There are too few clips for all processes, so each computes all of them.
        whole = self._batches.whole(state.epoch, state.step)
        return whole, Share(num_clips, self.parts.fitting(num_clips), self._group.size)

    def _train_step(self, state: TrainState, batch: Batch, share: Share) -> None:
        position = state.position(self._batches.num_steps)
        if position == 0 and self._group.is_main:
            self._draw_samples(batch)
        result = self._update_weights(batch, share, position)
        if not math.isfinite(result.loss):
            raise self._group.of_all(self._diverged(state, result.loss, batch))
        rate = learning_rate(self._config.train, position, self._batches.num_steps)
        self._record.add_step(position, result.loss, rate)
        state.totals.loss += result.loss * share.num_clips
        state.totals.num_correct += result.num_correct
        state.totals.num_clips += share.num_clips

    def _update_weights(self, batch: Batch, share: Share, position: int) -> StepResult:
        share = self.parts.agree(batch, share)
        while True:
            self._update.seed_draws(position)
            with suppress(BatchTooLarge):
                return self._update(batch.clips_BTCHW, batch.labels_B, position, share)
            share = self.parts.cut(batch, share)

    def _report_failures(self, state: TrainState, failures: Sequence[VideoError]) -> None:
        """Name the videos that failed for the first time.

        Raises:
            DataError: more videos have failed than `data.max_unusable` allows.
        """
        failed, num_videos = state.failed_videos, len(self._batches.dataset)
        for failure in failures:
            if failure.path not in failed:
                failed.add(failure.path)
                self._on_event(Notice(f"left out of this epoch: {failure}"))
        if len(failed) > self._config.data.max_unusable * num_videos:
            if self._group.is_main:
                self._saver.save_resume()
            too_many = DataError(
                f"{len(failed)} of {num_videos} training videos can no longer be decoded, more than "
                f"data.max_unusable={self._config.data.max_unusable:g} allows: "
                + ", ".join(sorted(failed)[:10])
            )
            raise self._group.of_all(too_many)

    def _diverged(self, state: TrainState, loss: float, batch: Batch) -> TrainError:
        """Return the error to raise for a loss that is not finite; it names the videos of the batch."""
        indices = dict.fromkeys(index for part in self._group.gather(batch.indices) for index in part)
        names = "\n".join(str(self._batches.dataset.items[index].path) for index in indices)
        return TrainError(
            f"the loss became {loss} in epoch {state.epoch + 1}, step {state.step + 1}. Lower "
            f"train.lr (now {self._config.train.lr:g}) or set train.grad_clip; the videos of this batch:\n"
            f"{names}"
        )

    def _draw_samples(self, batch: Batch) -> None:
        clips_BTCHW, indices = self._batches.clips_of_first(batch)
        items, multi_label = self._batches.dataset.items, self._config.data.multi_label
        labels = [labels_of(items[index].label, multi_label) for index in indices]
        self._record.draw_samples(clips_BTCHW, labels, self._class_names, self._config.clip)

    def _num_clips_left(self, state: TrainState) -> int:
        """Return the number of clips that are left of the run."""
        epochs_left = self._config.train.epochs - state.epoch
        return epochs_left * len(self._batches.dataset) - state.totals.num_clips
