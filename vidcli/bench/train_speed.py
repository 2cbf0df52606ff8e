"""Measure how fast training is: its parts, the whole, and a plain training loop.

    decode      decode the clips of an epoch from the files, as without a cache
    load        load the batches of an epoch from where the run keeps its frames
    model       forward, backward and update, repeated on one batch
    whole       `vidcli train` itself: epochs after the first, saving included
    reference   the loop of torchvision's reference scripts: the workers of a DataLoader decode every clip
                from the start of its file, then the same model computes, with memory managed as usual

All of them take turns of an epoch, so that a busy machine slows all of them alike. Ratios are computed
within each turn, and their medians count. The reference uses the scaling and the transform of this package
and the best number of workers, so that only the organisation of the work differs.

Loading and a model on the CPU share the cores. If each keeps all cores busy, the whole cannot be as fast as
the slower of them; the speed that the cores allow, computed from their CPU times, is therefore shown too.
"""

from __future__ import annotations

import itertools
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from vidcli.bench.timing import Row, order_of_turn, time_call, wait_for
from vidcli.config import Config
from vidcli.data.check import CheckedVideos
from vidcli.data.dataset import ClipDataset
from vidcli.data.device_batches import finishes_clips, iter_finished
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.loader import epoch_order, iter_batches
from vidcli.models import settle_clip
from vidcli.runtime.memory import usual_memory
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.sampling import Seconds
from vidcli.train import EpochDone, Event, Trainer
from vidcli.train.adapters import build_trained_model
from vidcli.train.update import Updater
from vidcli.transforms import ClipTransform, build_sampler
from vidcli.video import decode_frames

Turn: TypeAlias = Callable[[], None]

_EPOCHS_A_TURN = 2
"""Epochs of the whole run that are timed together. The epoch before them is not timed, since its first
batches were loaded while the parts had their turns."""


def pick_videos(items: Sequence[VideoItem], count: int) -> list[VideoItem]:
    """Return `count` videos, spread evenly over the classes; all if there are not more."""
    ordered = sorted(items, key=lambda item: (item.label, item.path, item.start_seconds))
    if count >= len(ordered):
        return ordered
    return [ordered[index] for index in np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def bench_config(config: Config, rounds: int) -> Config:
    """Return the settings of the measured run: an epoch to warm up, then the epochs of each round.

    A frozen backbone computes in every epoch, as it does in the other parts.
    """
    config = settle_clip(config)
    epochs = 1 + rounds * (1 + _EPOCHS_A_TURN)
    train = config.train.model_copy(
        update={"epochs": epochs, "patience": 0, "plots": False, "frozen_clips": 0}
    )
    return config.model_copy(update={"train": train})


def bench_train(
    checked: CheckedVideos,
    config: Config,
    run: Path,
    device: torch.device,
    rounds: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Measure the parts of training.

    Args:
        checked: the usable videos, all of the train split, whose frames are in the cache.
        config: all settings, as `bench_config` returns them.
        run: an empty folder for the measured run.
        device: where to compute.
        rounds: number of turns of each part, of which the medians count.
        progress: called with the number of turns that are done and the number of all turns.

    Returns:
        Rows with `part`, `clips_per_second` (the median), `turns` (the values of all turns) and
        `workers` (only for parts that have some); then the summary: `clips_per_second` of the whole,
        `bound` (the slower of load and model), `share_of_bound` (speed of the whole over that of the
        slower part), `share_of_cores` (speed of the whole over what the slower part and the cores
        allow), `times_reference`, `num_clips`, `batch_size`, `cache`.
    """
    items = checked.usable
    parts: dict[str, Turn] = {
        "decode": _Decoding(items, config).turn,
        "load": _Loading(items, config, checked.source, device).turn,
        "model": _Model(items, config, checked.source, device).turn,
    }
    total = rounds * (len(parts) + 2) + 2 * len(_worker_counts())
    tell = progress or (lambda done, total: None)
    done = itertools.count(1)
    with closing(_Reference(items, config, device)) as reference:
        reference.choose_workers(lambda: tell(next(done), total))
        parts["reference"] = reference.turn
        turns = _Turns(parts, len(items), lambda: tell(next(done), total))
        trainer = Trainer(config, items, checked.source, run, device, turns.watch)
        trainer.describe(items)
        trainer.train()
    workers = {"decode": num_workers(config.data.workers), "load": num_workers(config.data.workers)}
    workers["reference"] = reference.workers
    summary = _summarize(turns.speeds, turns.cpu_seconds, checked.source, config, len(items))
    return [*_rows(turns.speeds, workers), summary]


class _Turns:
    """Let the parts take their turns between the epochs of the measured run.

    Attributes:
        speeds: clips a second of each part and of the whole, a value for each turn.
        cpu_seconds: CPU time of each part, a value for each turn.
    """

    def __init__(self, parts: Mapping[str, Turn], num_clips: int, tell: Callable[[], None]) -> None:
        self._parts, self._num_clips, self._tell = parts, num_clips, tell
        self.speeds: dict[str, list[float]] = {name: [] for name in (*parts, "whole")}
        self.cpu_seconds: dict[str, list[float]] = {name: [] for name in parts}
        self._started = 0.0

    def watch(self, event: Event) -> None:
        """Time the epochs of the run that just ended, and give each part its turn after them."""
        if not isinstance(event, EpochDone):
            return
        turn, place = divmod(event.row.epoch - 1, 1 + _EPOCHS_A_TURN)
        if turn and not place:
            whole_seconds = time.monotonic() - self._started
            self.speeds["whole"].append(_EPOCHS_A_TURN * self._num_clips / whole_seconds)
            for name in order_of_turn(list(self._parts), turn - 1):
                seconds, cpu_seconds = time_call(self._parts[name])
                self.speeds[name].append(self._num_clips / seconds)
                self.cpu_seconds[name].append(cpu_seconds)
                self._tell()
            self._tell()
        if place == 1:
            self._started = time.monotonic()


def _rows(turns: dict[str, list[float]], workers: dict[str, int]) -> Iterator[Row]:
    for part in ("decode", "load", "model", "whole", "reference"):
        row: Row = {"part": part, "clips_per_second": round(statistics.median(turns[part]), 2)}
        row["turns"] = [round(speed, 2) for speed in turns[part]]
        yield row | ({"workers": workers[part]} if part in workers else {})


def _summarize(
    turns: dict[str, list[float]],
    cpu: dict[str, list[float]],
    source: FrameSource,
    config: Config,
    count: int,
) -> Row:
    bound = min(("load", "model"), key=lambda part: statistics.median(turns[part]))
    shares, of_cores, ratios = [], [], []
    for number, whole in enumerate(turns["whole"]):
        slower = min(turns[part][number] for part in ("load", "model"))
        by_cores = num_workers(0) * count / (cpu["load"][number] + cpu["model"][number])
        shares.append(whole / slower)
        of_cores.append(whole / min(slower, by_cores))
        ratios.append(whole / turns["reference"][number])
    return {
        "clips_per_second": round(statistics.median(turns["whole"]), 2),
        "share_of_bound": round(statistics.median(shares), 3),
        "share_of_cores": round(statistics.median(of_cores), 3),
        "bound": bound,
        "times_reference": round(statistics.median(ratios), 2),
        "num_clips": count,
        "batch_size": config.train.batch_size,
        "cache": source.cache.kind if source.cache is not None else "off",
    }


class _Decoding:
    """Decode a random clip of every video, without a cache and without a transform."""

    def __init__(self, items: Sequence[VideoItem], config: Config) -> None:
        self._items, self._source = items, FrameSource(config)
        self._sampler = build_sampler(config.clip.model_copy(update={"views": 1}))
        self._workers = num_workers(config.data.workers)
        self._rng = np.random.default_rng(0)

    def turn(self) -> None:
        seeds = self._rng.integers(2**31, size=len(self._items))

        def decode(index: int) -> None:
            rng = np.random.default_rng(seeds[index])
            self._source.frames(self._items[index], lambda seconds: self._sampler(seconds, rng))

        for _ in map_ahead(decode, range(len(self._items)), self._workers, ahead=4 * self._workers):
            pass


class _Loading:
    """Load the batches of an epoch from where the run keeps its frames."""

    def __init__(
        self, items: Sequence[VideoItem], config: Config, source: FrameSource, device: torch.device
    ) -> None:
        self._config, self._device = config, device
        self._dataset = ClipDataset(items, class_names_of(items), config, flip=True, source=source)
        self._epoch = 0

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._epoch += 1
        order = epoch_order(len(self._dataset), self._config.train.seed, self._epoch)
        workers = num_workers(self._config.data.workers)
        batch_size = self._config.train.batch_size
        loading = iter_batches(
            self._dataset,
            [(self._epoch, order)],
            batch_size,
            workers,
            pin_memory=self._device.type == "cuda",
            finishes=not finishes_clips(self._device),
        )
        if finishes_clips(self._device):
            loading = iter_finished(loading, self._dataset.finish, self._device)
        with closing(loading):
            for batch in loading:
                yield batch.clips_BTCHW, batch.labels_B

    def turn(self) -> None:
        for _ in self.batches():
            pass
        wait_for(self._device)


class _Model:
    """Update a model on batches in memory that have the sizes of the batches of an epoch."""

    def __init__(
        self, items: Sequence[VideoItem], config: Config, source: FrameSource, device: torch.device
    ) -> None:
        self._batches = list(_Loading(items, config, source, device).batches())
        # Only the first batch and the last, which may be smaller, are kept, to save memory.
        self._batches[1:-1] = self._batches[:1] * len(self._batches[1:-1])
        names, counts = class_names_of(items), Counter(item.label for item in items)
        model = build_trained_model(config, len(names)).to(device)
        self._update = Updater(model, config, [counts[name] for name in names], len(self._batches), device)
        self._device = device
        self._position = 0

    def turn(self) -> None:
        self._update.start_epoch(self._position // len(self._batches))
        for clips_BTCHW, labels_B in self._batches:
            self._update(clips_BTCHW, labels_B, self._position)
            self._position += 1
        wait_for(self._device)


class _ReferenceClips(Dataset[tuple[Tensor, int]]):
    """A plain data set of a clip of each video, decoded from the start of its file."""

    def __init__(self, items: Sequence[VideoItem], config: Config) -> None:
        self._items, self._config = items, config
        self._label_of = {name: label for label, name in enumerate(class_names_of(items))}
        self._sampler = build_sampler(config.clip.model_copy(update={"views": 1}))
        self._transform = ClipTransform(config.clip, config.augment, flip=True)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        item = self._items[index]
        rng = np.random.default_rng(int(torch.randint(2**31, ())))

        def plan(duration_seconds: float) -> Seconds:
            return self._sampler(duration_seconds, rng)

        frames_THWC = decode_frames(
            item.path,
            plan,
            self._transform.decode_size,
            item.start_seconds,
            item.end_seconds,
            mode="sequential",
        ).frames
        return self._transform(frames_THWC, rng), self._label_of[item.label]


def _ignore_interrupts(worker: int) -> None:
    """Ignore Ctrl-C in a worker: it reaches the main process too, which then ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _worker_counts() -> list[int]:
    cores = num_workers(0)  # torch advises against more workers than cores
    return sorted({max(1, cores // 2), cores})


class _Reference:
    """Train as torchvision's reference scripts do: a DataLoader, the model, SGD."""

    def __init__(self, items: Sequence[VideoItem], config: Config, device: torch.device) -> None:
        self._clips, self._device = _ReferenceClips(items, config), device
        self._batch_size = config.train.batch_size
        self._model = build_trained_model(config, len(class_names_of(items))).to(device)
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
        self._loaders: dict[int, DataLoader[tuple[Tensor, int]]] = {}
        self.workers = 0

    def choose_workers(self, tell: Callable[[], None]) -> None:
        """Time an epoch with each number of workers, after one that starts them; keep the best number."""
        seconds = {}
        for self.workers in _worker_counts():
            self._loaders[self.workers] = DataLoader(
                self._clips,
                self._batch_size,
                shuffle=True,
                num_workers=self.workers,
                persistent_workers=True,
                pin_memory=self._device.type == "cuda",
                # A fork beside threads may hang. The start of the workers is not timed.
                multiprocessing_context="spawn",
                worker_init_fn=_ignore_interrupts,
            )
            for _ in range(2):
                seconds[self.workers] = time_call(self.turn)[0]
                tell()
        self.workers = min(seconds, key=seconds.__getitem__)
        for workers in seconds:
            if workers != self.workers:
                del self._loaders[workers]

    def turn(self) -> None:
        with usual_memory():
            self._train()

    def _train(self) -> None:
        self._model.train()
        for clips_BTCHW, labels_B in self._loaders[self.workers]:
            logits_BK = self._model(clips_BTCHW.to(self._device, non_blocking=True))
            loss = functional.cross_entropy(logits_BK, labels_B.to(self._device, non_blocking=True))
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            float(loss.detach())  # the log of the reference scripts shows it at every step
        wait_for(self._device)

    def close(self) -> None:
        """End the workers."""
        self._loaders.clear()
