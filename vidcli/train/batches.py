"""The batches of a run: the order of its videos, cut into steps, as clips or as features of clips."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing

import torch
from torch import Tensor

from vidcli.config import Config
from vidcli.data.dataset import ClipDataset
from vidcli.data.loader import Batch, balanced_order, batch_ends, epoch_order, iter_batches
from vidcli.runtime.processes import ALONE, Group
from vidcli.runtime.threads import num_workers
from vidcli.train.frozen import FrozenFeatures


class RunBatches:
    """Gives each process its part of the batches of a run.

    Attributes:
        dataset: the training videos.
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
        self._config, self._device, self._group = config, device, group
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
        return iter_batches(
            self.dataset,
            orders,
            self._config.train.batch_size,
            num_workers(self._config.data.workers),
            first=step,
            pin_memory=self._device.type == "cuda",
            gives_way=self._device.type == "cpu",
            rank=group.rank,
            num_ranks=group.size,
            fewest=self.fewest_clips,
        )
