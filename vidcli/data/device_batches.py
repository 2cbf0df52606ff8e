"""Batches whose clips are finished on a GPU while it still computes the batch before.

threads      decode, crop and scale: uint8, in page-locked memory
side lane    copies a quarter of the bytes that a finished clip has, changes and normalises the clips
main lane    runs the model, and waits for nothing but the clips of its batch
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor

from vidcli.data.loader import Batch
from vidcli.errors import TrainError
from vidcli.runtime.lanes import Lanes
from vidcli.transforms.augment import Changes

Finish = Callable[[Tensor, Sequence[Changes]], Tensor]


def finishes_clips(device: torch.device) -> bool:
    """Tell whether a device finishes clips itself; for others, the threads that decode do."""
    return device.type == "cuda"


def iter_finished(
    batches: Generator[Batch, None, None], finish: Finish, device: torch.device
) -> Generator[Batch, None, None]:
    """Yield batches on a device, their clips finished there.

    A batch is asked for when the model's work on the one before has been handed over to the device, which is
    long before it is done.

    Args:
        batches: of pixels, with the changes that are to be made.
        finish: makes clips of pixels and changes.
        device: where the model computes.

    Raises:
        TrainError: the clips of a batch do not fit in the memory of the device.
    """
    lanes = Lanes(device)
    with closing(batches):
        while True:
            stop = lanes.start_watch()
            batch = next(batches, None)
            if batch is None:
                return
            if batch.indices:
                with lanes.aside():
                    clips_BTCHW = _finished(batch, finish, device)
                lanes.join(clips_BTCHW)
                batch = replace(batch, clips_BTCHW=clips_BTCHW, changes=[])
            yield replace(batch, device_waited=stop())


def _finished(batch: Batch, finish: Finish, device: torch.device) -> Tensor:
    try:
        return finish(batch.clips_BTCHW.to(device, non_blocking=True), batch.changes)
    except torch.OutOfMemoryError as error:
        raise TrainError(
            f"out of memory on {device}: {len(batch.indices)} clips do not fit beside the model; lower "
            "train.batch_size, clip.size or clip.length"
        ) from error
