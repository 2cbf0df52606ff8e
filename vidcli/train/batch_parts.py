"""A batch that does not fit in memory: it is cut into parts that fit, or an error says what would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from vidcli.config import TrainConfig
from vidcli.data.loader import Batch
from vidcli.errors import TrainError
from vidcli.models import VideoModel
from vidcli.runtime.processes import Group
from vidcli.train.events import Event, Notice
from vidcli.train.update import Share, Updater


class BatchParts:
    """Choose how many parts batches are cut into, so that each part fits in memory.

    Attributes:
        number: parts of a batch: `train.accumulate`, or more where those do not fit in memory.
    """

    def __init__(
        self,
        update: Updater[VideoModel],
        settings: TrainConfig,
        group: Group,
        on_event: Callable[[Event], None],
        fewest_clips: int = 1,
    ) -> None:
        """Begin with the parts of the settings.

        Args:
            update: tells what fits in memory.
            settings: `accumulate` is the number of parts, and `auto_batch` lets it grow.
            group: the processes that train together.
            on_event: called when the number changes.
            fewest_clips: clips that the smallest part needs; see `batchnorm.fewest_clips`.
        """
        self.number, self._fewest_clips = settings.accumulate, fewest_clips
        if (most := settings.batch_size // fewest_clips) < self.number <= settings.batch_size:
            on_event(
                Notice(
                    f"train.accumulate={self.number}: batches pass in {most} parts at most, for BatchNorm "
                    "needs two clips or more at once"
                )
            )
        self._update, self._settings, self._group, self._on_event = update, settings, group, on_event
        self._agreed = group.size == 1 or not settings.auto_batch
        self._is_planned = False

    def fitting(self, num_clips: int) -> int:
        """Return the number of parts for a number of clips: as many as usual, but none of them too small."""
        return max(1, min(self.number, num_clips // self._fewest_clips))

    def agree(self, batch: Batch, share: Share) -> Share:
        """Find parts that fit in the memory of every process; at the first batch only.

        Later it would be too late: inside a step, processes wait for each other.

        Args:
            batch: the part of the batch that this process computes.
            share: as planned.

        Raises:
            TrainError: a single clip does not fit.
        """
        if not self._is_planned:
            self._is_planned = True
            share = self._plan(batch, share)
        if self._agreed:
            return share
        self._agreed = True
        fitting = self._find_number(batch, share.num_parts, self._update.fits)
        if fitting is None:
            raise self._too_large(batch, 1, None)
        most = max(self._group.gather(fitting))
        if most > share.num_parts:
            self._take(batch, most)
        return replace(share, num_parts=min(self._group.gather(self.fitting(len(batch.indices)))))

    def _plan(self, batch: Batch, share: Share) -> Share:
        """Cut batches whose parts would take more memory than a CPU has free."""
        smallest = max(1, len(batch.indices) // self._fewest_clips)
        number = self._find_number(batch, share.num_parts, self._update.has_room) or smallest
        most = max(self._group.gather(number))
        if most <= share.num_parts:
            return share
        self._take(batch, most)
        return replace(share, num_parts=min(self._group.gather(self.fitting(len(batch.indices)))))

    def cut(self, batch: Batch, share: Share) -> Share:
        """Return the share in smaller parts that fit, after a part did not.

        Args:
            batch: the part of the batch that this process computes.
            share: whose parts were too large.

        Raises:
            TrainError: a single clip does not fit, or the number of parts may not change; the message says
                what would fit.
        """
        num_clips = len(batch.indices)
        most = num_clips // self._fewest_clips
        fitting = None
        if share.num_parts < most:
            fitting = self._find_number(batch, 2 * share.num_parts, self._update.fits)
        # With several processes, the others already wait in this step, which cannot start again.
        if fitting is None or not self._settings.auto_batch or self._group.size > 1:
            raise self._too_large(batch, _largest_part(num_clips, share.num_parts), fitting)
        self._take(batch, fitting)
        return replace(share, num_parts=fitting)

    def _find_number(self, batch: Batch, first: int, fits: Callable[[Tensor, Tensor], bool]) -> int | None:
        """Return the first of `first`, its double, and so on whose parts fit; None if one clip does not."""
        num_clips = len(batch.indices)
        for number in _doubled(first, max(1, num_clips // self._fewest_clips)):
            size = _largest_part(num_clips, number)
            if fits(batch.clips_BTCHW[:size], batch.labels_B[:size]):
                return number
        return None

    def _take(self, batch: Batch, number: int) -> None:
        self.number = number
        num_clips = len(batch.indices)
        self._on_event(
            Notice(
                f"{num_clips} clips do not fit in memory at once: batches pass in {number} parts of at most "
                f"{_largest_part(num_clips, number)}, as with train.accumulate={number}"
            )
        )

    def _too_large(self, batch: Batch, num_tried: int, fitting: int | None) -> TrainError:
        num_clips = len(batch.indices)
        found = f"out of memory with {num_tried} clips at once"
        if batch.clips_BTCHW.dim() == 5:  # clips, not features
            num_frames, _, height, width = batch.clips_BTCHW.shape[1:]
            found = f"out of memory with {num_tried} clips of {num_frames} frames of {height}x{width} at once"
        if fitting is None:
            return TrainError(
                f"{found}, and fewer do not fit either: lower clip.size or clip.length, or take a smaller "
                "model.backbone"
            )
        size = _largest_part(num_clips, fitting)
        return TrainError(
            f"{found}; {size} fit. Set train.accumulate={fitting} to pass a batch in such parts, with the "
            f"same result, or train.auto_batch=true to let training find them; or take smaller batches with "
            f"train.batch_size={size * self._group.size}"
        )


def _largest_part(num_clips: int, number: int) -> int:
    return -(-num_clips // number)


def _doubled(number: int, highest: int) -> Iterator[int]:
    while number < highest:
        yield number
        number *= 2
    yield highest
