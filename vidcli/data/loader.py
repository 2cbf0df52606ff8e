"""Batches, loaded ahead by threads.

PyAV and torch release the interpreter lock while they decode and scale, so threads do the work of
processes here without copies, pickling or a fork beside torch. Each loads several clips of a batch, one
after the other, into their places in its memory, which a GPU can fetch by itself where there is one:
whoever trains only takes what is ready, and is woken once a batch, not once a clip.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from vidcli.data.dataset import ClipDataset, LabelledClip
from vidcli.errors import VideoError
from vidcli.runtime.threads import compute_alone

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


def batch_ends(num_clips: int, batch_size: int, fewest: int = 1) -> list[int]:
    """Return where each batch of an epoch ends.

        7 clips in batches of 3             3  6  7    the last may be smaller
        of 2 clips or more                  3  5  7    the one before gives it what it lacks
        5 clips in batches of 2, or more    2  5       or takes it in, where it has nothing to give

    Args:
        num_clips: drawn in the epoch.
        batch_size: clips a batch.
        fewest: clips of the smallest batch that may be, if there are as many.
    """
    ends = [*range(batch_size, num_clips, batch_size), num_clips] if num_clips else []
    if len(ends) > 1 and (missing := fewest - (ends[-1] - ends[-2])) > 0:
        if batch_size - missing >= fewest:
            ends[-2] -= missing
        else:
            del ends[-2]
    return ends


def iter_batches(
    dataset: ClipDataset,
    orders: Iterable[tuple[int, Sequence[int]]],
    batch_size: int,
    workers: int,
    first: int = 0,
    pin_memory: bool = False,
    gives_way: bool = False,
    rank: int = 0,
    num_ranks: int = 1,
    fewest: int = 1,
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
        gives_way: a model on the same cores comes first.
        rank: of this process, where several train together.
        num_ranks: how many do; each gets its part of every batch, of `num_ranks` clips one.
        fewest: clips of the smallest batch of all processes; see `batch_ends`.
    """

    is_left = threading.Event()

    def begin(part: list[Draw]) -> _Filling:
        clips_BTHWC = torch.empty((len(part), *dataset.clip_shape), pin_memory=pin_memory)
        pieces = np.array_split(np.arange(len(part)), max(1, min(num_pieces, len(part))))
        futures = [executor.submit(fill, part, piece.tolist(), clips_BTHWC) for piece in pieces]
        return _Filling(clips_BTHWC, futures)

    def fill(part: list[Draw], places: list[int], clips_BTHWC: Tensor) -> list[LabelledClip | VideoError]:
        loaded: list[LabelledClip | VideoError] = []
        for place in places:
            if is_left.is_set():
                break
            epoch, index, repeat = part[place]
            try:
                clip = dataset.load(index, epoch, repeat)
            except VideoError as error:
                loaded.append(error)
                continue
            clips_BTHWC[place].copy_(clip.clip_TCHW.permute(0, 2, 3, 1))
            loaded.append(replace(clip, clip_TCHW=clips_BTHWC[place].permute(0, 3, 1, 2)))
        return loaded

    executor = ThreadPoolExecutor(workers, "vidcli-load", compute_alone, (gives_way,))
    parts = iter_draws(orders, batch_size, first, rank, num_ranks, fewest)
    # Beside the batch that is asked for: two, and a clip for every thread.
    ahead = max(2, -(-workers * num_ranks // batch_size))
    filling: deque[_Filling] = deque()
    num_pieces = workers
    try:
        while True:
            filling.extend(map(begin, islice(parts, ahead + 1 - len(filling))))
            if not filling:
                return
            # All threads work on the batch that is needed first. Where batches lie ready one thread is
            # enough, and two would only take the interpreter lock from each other, and from who trains.
            is_ready = filling[0].is_ready
            num_pieces = max(1, num_pieces // 2) if is_ready else min(workers, 2 * num_pieces)
            asked = time.monotonic()
            batch = filling.popleft().finish(dataset.take_notices)
            yield replace(batch, seconds_waited=time.monotonic() - asked)
    finally:
        is_left.set()
        executor.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Filling:
    """A batch whose clips are being loaded.

    Attributes:
        clips_BTHWC: where they go.
        pieces: what becomes of each, clips in their order.
    """

    clips_BTHWC: Tensor
    pieces: list[Future[list[LabelledClip | VideoError]]]

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left to be waited for."""
        return all(piece.done() for piece in self.pieces)

    def finish(self, take_notices: Callable[[], list[str]]) -> Batch:
        """Wait for all clips and return the batch, without what failed."""
        results = [result for piece in self.pieces for result in piece.result()]
        places = [place for place, result in enumerate(results) if isinstance(result, LabelledClip)]
        clips = [result for result in results if isinstance(result, LabelledClip)]
        clips_BTHWC = self.clips_BTHWC if len(clips) == len(results) else self.clips_BTHWC[places]
        return Batch(
            clips_BTHWC.permute(0, 1, 4, 2, 3) if clips else torch.empty(0),
            torch.stack([torch.as_tensor(clip.label) for clip in clips]) if clips else torch.empty(0),
            [clip.index for clip in clips],
            [result for result in results if isinstance(result, VideoError)],
            take_notices(),
        )


def iter_draws(
    orders: Iterable[tuple[int, Sequence[int]]],
    batch_size: int,
    first: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
    fewest: int = 1,
) -> Iterator[list[Draw]]:
    """Yield which clips make each batch, or this process's part of it; see `iter_batches`."""
    for epoch, order in orders:
        draws = [(epoch, *draw) for draw in _number_repeats(order)]
        ends = batch_ends(len(draws), batch_size, fewest)
        for begin, end in list(pairwise([0, *ends]))[first:]:
            yield draws[begin:end][rank::num_ranks]
        first = 0


def _number_repeats(order: Sequence[int]) -> list[tuple[int, int]]:
    """Return each draw with the number of times the same video was drawn before."""
    counts: Counter[int] = Counter()
    draws = []
    for index in order:
        draws.append((index, counts[index]))
        counts[index] += 1
    return draws
