"""Batches, loaded ahead by threads.

PyAV and torch release the interpreter lock while they decode and scale, so threads do the work of
processes here without copies, pickling or a fork beside torch. One more thread puts clips together,
into memory that a GPU can fetch by itself where there is one: whoever trains only takes what is ready.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, tee
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from vidcli.data.dataset import ClipDataset, LabelledClip
from vidcli.errors import VideoError

Input = TypeVar("Input")
Output = TypeVar("Output")

Draw: TypeAlias = tuple[int, int, int]
"""Of a clip: the epoch, the index of its video, and how often that was drawn before in the epoch."""


@dataclass(frozen=True)
class Batch:
    """Clips float32 (B, T, C, H, W), labels, video indices, and what failed to decode.

    Labels are int64 (B,), or of a multi-label data set float32 (B, K).

    Attributes:
        notices: what the frame cache had to tell meanwhile.
        seconds_waited: how long the batch was waited for.
    """

    clips_BTCHW: Tensor
    labels_B: Tensor
    indices: list[int]
    failures: list[VideoError]
    notices: list[str]
    seconds_waited: float = 0.0


def num_workers(configured: int) -> int:
    """Return the number of decoding threads: as configured, or one a core.

    Processes that torchrun started on one machine share its cores.
    """
    if configured:
        return configured
    # The affinity mask knows of job schedulers' limits; macOS and Windows have none.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def map_ahead(
    function: Callable[[Input], Output], inputs: Iterable[Input], workers: int, ahead: int
) -> Generator[Output, None, None]:
    """Yield `function(input)` in order, computing up to `ahead` results before they are asked for.

    An error of `function` is raised where its result would have come. Leaving the iterator early
    drops the work that has not begun.
    """
    executor = ThreadPoolExecutor(workers, thread_name_prefix="vidcli-decode")
    pending: deque[Future[Output]] = deque()
    try:
        for value in inputs:
            pending.append(executor.submit(function, value))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def epoch_order(num_videos: int, seed: int, epoch: int) -> list[int]:
    """Return the order of the videos in an epoch: a permutation drawn from (seed, epoch)."""
    order: list[int] = np.random.default_rng([seed, epoch, num_videos]).permutation(num_videos).tolist()
    return order


def balanced_order(labels: Sequence[int], seed: int, epoch: int) -> list[int]:
    """Return an order of as many draws as there are videos, every class equally often.

    Videos of large classes are left out in turns from epoch to epoch, those of small ones come
    again, all of a class equally often give or take one.

    Args:
        labels: of every video.
        seed: seed of the run.
        epoch: counted from 0.
    """
    rng = np.random.default_rng([seed, epoch, len(labels)])
    members = [np.flatnonzero(np.equal(labels, label)) for label in np.unique(labels)]
    # What does not divide goes to classes drawn anew each epoch.
    quotas = np.full(len(members), len(labels) // len(members))
    quotas[rng.permutation(len(members))[: len(labels) % len(members)]] += 1
    drawn: list[int] = []
    for of_class, quota in zip(members, quotas, strict=True):
        rounds = [rng.permutation(of_class) for _ in range(-(-quota // len(of_class)))]
        drawn += np.concatenate(rounds)[:quota].tolist()
    order: list[int] = rng.permutation(drawn).tolist()
    return order


def iter_batches(
    dataset: ClipDataset,
    orders: Iterable[tuple[int, Sequence[int]]],
    batch_size: int,
    workers: int,
    first: int = 0,
    pin_memory: bool = False,
    rank: int = 0,
    num_ranks: int = 1,
) -> Generator[Batch, None, None]:
    """Yield the batches of epochs, one after the other, from number `first` of the first on.

    The last one of an epoch may be smaller. While it is in use, those of the next are loaded. A video
    that cannot be decoded is left out of its batch and named there; a batch of which nothing is left
    is still yielded, empty. A video that is drawn again in the epoch gives another clip each time.

    Args:
        dataset: the videos.
        orders: of each epoch its number, from 0, on which random draws depend, and the indices of
            its videos; asked for when the epoch's first batch is loaded.
        batch_size: clips a batch.
        workers: threads that load clips.
        first: number of the first batch to yield, in the first epoch.
        pin_memory: put clips into page-locked memory, for copies to a GPU beside its work.
        rank: of this process, where several train together.
        num_ranks: how many do; each gets its part of every batch, of `num_ranks` clips one.
    """

    def load(draw: Draw) -> LabelledClip | VideoError:
        epoch, index, repeat = draw
        try:
            return dataset.load(index, epoch, repeat)
        except VideoError as error:
            return error

    def collated() -> Generator[Batch, None, None]:
        parts, counted = tee(iter_draws(orders, batch_size, first, rank, num_ranks))
        ahead = 2 * -(-batch_size // num_ranks)
        with closing(map_ahead(load, chain.from_iterable(parts), workers, ahead)) as loaded:
            for part in counted:
                yield _collate([next(loaded) for _ in part], dataset.take_notices(), pin_memory)

    with closing(collated()) as batches, ThreadPoolExecutor(1, thread_name_prefix="vidcli-collate") as thread:
        ready = thread.submit(next, batches, None)
        while True:
            asked = time.monotonic()
            batch = ready.result()
            if batch is None:
                return
            waited = time.monotonic() - asked
            ready = thread.submit(next, batches, None)
            yield replace(batch, seconds_waited=waited)


def iter_draws(
    orders: Iterable[tuple[int, Sequence[int]]],
    batch_size: int,
    first: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[list[Draw]]:
    """Yield which clips make each batch, or this process's part of it; see `iter_batches`."""
    start = first * batch_size
    for epoch, order in orders:
        draws = [(epoch, *draw) for draw in _number_repeats(order)]
        for begin in range(start, len(draws), batch_size):
            yield draws[begin : begin + batch_size][rank::num_ranks]
        start = 0


def _number_repeats(order: Sequence[int]) -> list[tuple[int, int]]:
    """Return each draw with the number of times the same video was drawn before."""
    counts: Counter[int] = Counter()
    draws = []
    for index in order:
        draws.append((index, counts[index]))
        counts[index] += 1
    return draws


def _collate(results: Sequence[LabelledClip | VideoError], notices: list[str], pin_memory: bool) -> Batch:
    clips = [result for result in results if isinstance(result, LabelledClip)]
    failures = [result for result in results if isinstance(result, VideoError)]
    return Batch(
        _stack([clip.clip_TCHW for clip in clips], pin_memory) if clips else torch.empty(0),
        torch.stack([torch.as_tensor(clip.label) for clip in clips]) if clips else torch.empty(0),
        [clip.index for clip in clips],
        failures,
        notices,
    )


def _stack(clips: Sequence[Tensor], pin_memory: bool) -> Tensor:
    """Copy clips (T, C, H, W) into one tensor (B, T, C, H, W), channels last in memory as they are."""
    length, channels, height, width = clips[0].shape
    stacked_BTHWC = torch.empty(
        (len(clips), length, height, width, channels), dtype=clips[0].dtype, pin_memory=pin_memory
    )
    for target_THWC, clip_TCHW in zip(stacked_BTHWC, clips, strict=True):
        target_THWC.copy_(clip_TCHW.permute(0, 2, 3, 1))
    return stacked_BTHWC.permute(0, 1, 4, 2, 3)
