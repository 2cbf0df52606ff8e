"""Batches of clips, loaded by threads before they are needed.

Each thread loads several clips of a batch one after the other and writes them into the memory of the
batch, which a GPU can copy by itself. The training loop waits once a batch, not once a clip.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from vidcli.data.dataset import ClipDataset, LabelledClip
from vidcli.errors import VideoError
from vidcli.runtime.threads import compute_alone
from vidcli.transforms.augment import Changes

Draw: TypeAlias = tuple[int, int, int]
"""The epoch of a clip, the index of its video, and how often the video was drawn before in the epoch."""


@dataclass(frozen=True)
class Batch:
    """Clips of a batch with their labels, and the videos that could not be decoded.

    Attributes:
        clips_BTCHW: clips, float32 (B, T, C, H, W); or their pixels, uint8, if they are not finished.
        labels_B: labels, int64 (B,); in a multi-label data set float32 (B, K).
        indices: index of each clip's video.
        failures: errors of the videos that were left out.
        notices: notices of the frame cache since the batch before.
        seconds_waited: time that the training loop waited for the batch, in seconds.
        changes: for each clip that is not finished, what `ClipDataset.finish` is to make of its pixels.
        device_waited: tells the seconds that a GPU stood still until it had the batch; None for a CPU.
    """

    clips_BTCHW: Tensor
    labels_B: Tensor
    indices: list[int]
    failures: list[VideoError]
    notices: list[str]
    seconds_waited: float = 0.0
    changes: list[Changes] = field(default_factory=list)
    device_waited: Callable[[], float] | None = None


def epoch_order(num_videos: int, seed: int, epoch: int) -> list[int]:
    """Return the order of the videos in an epoch: a random permutation.

    Args:
        num_videos: number of videos.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
    """
    order: list[int] = np.random.default_rng([seed, epoch, num_videos]).permutation(num_videos).tolist()
    return order


def balanced_order(labels: Sequence[int], seed: int, epoch: int) -> list[int]:
    """Return an order of as many draws as there are videos, every class equally often.

    Of a large class, each epoch takes other videos. Of a small class, all videos are drawn equally often,
    give or take one.

    Args:
        labels: label of each video.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
    """
    rng = np.random.default_rng([seed, epoch, len(labels)])
    members = [np.flatnonzero(np.equal(labels, label)) for label in np.unique(labels)]
    # The remainder goes to classes that are drawn anew each epoch.
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

        7 clips in batches of 3                3  6  7    the last batch may be smaller
        7 clips in batches of 3, 2 at least    3  5  7    the batch before gives it the clip that it lacks
        5 clips in batches of 2, 2 at least    2  5       the batch before takes it in

    Args:
        num_clips: number of clips in the epoch.
        batch_size: number of clips in a batch.
        fewest: number of clips in the smallest batch that is allowed, if there are that many.
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
    finishes: bool = True,
) -> Generator[Batch, None, None]:
    """Yield the batches of epochs one after the other.

    The last batch of an epoch may be smaller. While it is in use, batches of the next epoch are loaded.
    A video that cannot be decoded is left out of its batch and named there. A batch of which nothing is
    left is still yielded, empty. A video that is drawn again in the epoch gives another clip each time.

    Args:
        dataset: videos.
        orders: number of each epoch, from 0, on which random draws depend, and the indices of its
            videos; read when the first batch of the epoch is loaded.
        batch_size: number of clips in a batch of all processes together.
        workers: number of threads that load clips.
        first: number of the first batch to yield, in the first epoch.
        pin_memory: put clips into page-locked memory, which a GPU can copy while it computes.
        gives_way: run the threads at a lower priority, because a model computes on the same cores.
        rank: number of this process among those that train together.
        num_ranks: number of these processes; each loads every `num_ranks`-th clip of a batch.
        fewest: number of clips in the smallest batch of all processes; see `batch_ends`.
        finishes: finish the clips; else batches hold pixels and changes.
    """
    parts = iter_draws(orders, batch_size, first, rank, num_ranks, fewest)
    # Beside the batch that is asked for: two, and enough for each thread to have a clip.
    num_ahead = max(2, -(-workers * num_ranks // batch_size))
    filling: deque[_Filling] = deque()
    num_pieces = workers
    filler = _Filler(dataset, workers, pin_memory, gives_way, finishes)
    try:
        while True:
            missing = num_ahead + 1 - len(filling)
            filling.extend(filler.begin(part, num_pieces) for part in islice(parts, missing))
            if not filling:
                return
            # All threads work on the batch that is needed first. While batches lie ready, one thread is
            # enough, and two would only take the interpreter lock from each other and from training.
            is_ready = filling[0].is_ready
            num_pieces = max(1, num_pieces // 2) if is_ready else min(workers, 2 * num_pieces)
            asked = time.monotonic()
            batch = filling.popleft().finish(dataset.take_notices)
            yield replace(batch, seconds_waited=time.monotonic() - asked)
    finally:
        filler.stop()


class _Filler:
    """Threads that load clips into the memory of their batches."""

    def __init__(
        self, dataset: ClipDataset, workers: int, pin_memory: bool, gives_way: bool, finishes: bool
    ) -> None:
        self._dataset, self._pin_memory, self._finishes = dataset, pin_memory, finishes
        self._executor = ThreadPoolExecutor(workers, "vidcli-load", compute_alone, (gives_way,))
        self._is_left = threading.Event()

    def begin(self, draws: list[Draw], num_pieces: int) -> _Filling:
        """Start loading a batch, divided into pieces that one thread each loads."""
        shape, dtype = (
            (len(draws), *self._dataset.clip_shape),
            torch.float32 if self._finishes else torch.uint8,
        )
        clips_BTHWC = torch.empty(shape, dtype=dtype, pin_memory=self._pin_memory)
        pieces = np.array_split(np.arange(len(draws)), max(1, min(num_pieces, len(draws))))
        futures = [self._executor.submit(self._fill, draws, piece.tolist(), clips_BTHWC) for piece in pieces]
        return _Filling(clips_BTHWC, futures)

    def stop(self) -> None:
        """Wait for the clips at hand and drop all others."""
        self._is_left.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _fill(
        self, draws: list[Draw], places: list[int], clips_BTHWC: Tensor
    ) -> list[LabelledClip | VideoError]:
        loaded: list[LabelledClip | VideoError] = []
        load = self._dataset.load if self._finishes else self._dataset.cut
        for place in places:
            if self._is_left.is_set():
                break
            epoch, index, repeat = draws[place]
            try:
                clip = load(index, epoch, repeat)
            except VideoError as error:
                loaded.append(error)
                continue
            clips_BTHWC[place].copy_(clip.clip_TCHW.permute(0, 2, 3, 1))
            loaded.append(replace(clip, clip_TCHW=clips_BTHWC[place].permute(0, 3, 1, 2)))
        return loaded


@dataclass(frozen=True)
class _Filling:
    """A batch whose clips are being loaded.

    Attributes:
        clips_BTHWC: memory of the clips.
        pieces: results of the pieces, each with its clips in order.
    """

    clips_BTHWC: Tensor
    pieces: list[Future[list[LabelledClip | VideoError]]]

    @property
    def is_ready(self) -> bool:
        """Whether all clips are loaded."""
        return all(piece.done() for piece in self.pieces)

    def finish(self, take_notices: Callable[[], list[str]]) -> Batch:
        """Wait for all clips and return the batch without the videos that failed."""
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
            changes=[clip.changes for clip in clips if clip.changes is not None],
        )


def iter_draws(
    orders: Iterable[tuple[int, Sequence[int]]],
    batch_size: int,
    first: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
    fewest: int = 1,
) -> Iterator[list[Draw]]:
    """Yield the draws of each batch, or of this process's part of it.

    Args:
        orders: as in `iter_batches`.
        batch_size: as in `iter_batches`.
        first: as in `iter_batches`.
        rank: as in `iter_batches`.
        num_ranks: as in `iter_batches`.
        fewest: as in `iter_batches`.
    """
    for epoch, order in orders:
        draws = [(epoch, *draw) for draw in _number_repeats(order)]
        ends = batch_ends(len(draws), batch_size, fewest)
        for begin, end in list(pairwise([0, *ends]))[first:]:
            yield draws[begin:end][rank::num_ranks]
        first = 0


def _number_repeats(order: Sequence[int]) -> list[tuple[int, int]]:
    """Return each index with the number of times that it occurred before."""
    counts: Counter[int] = Counter()
    draws = []
    for index in order:
        draws.append((index, counts[index]))
        counts[index] += 1
    return draws
