"""How fast training goes: its parts, the whole, and a plain loop beside it.

    decode      the clips of an epoch out of the files, as it would be without a cache
    load        the clips of an epoch out of where the run keeps its frames, as batches
    model       forward, backward and update, again and again on one batch
    whole       `vidcli train` itself, epochs after the first, saving included
    reference   the loop of torchvision's reference scripts: every clip decoded from the start of its
                file in the workers of a DataLoader, then the same model, with memory as it is without us

All take turns, an epoch each, so that a busy machine slows all of them alike; ratios are medians of
the turns' own. The reference has our scaling inside the decoder and our fast transform, and the
number of workers that serves it best here: what is left is how the work is laid out.

Loading and a model on the CPU share the cores, so that the whole cannot reach the slower of them where
each keeps all cores busy: what the cores allow is told beside it, from the CPU time that each took.
"""

from __future__ import annotations

import itertools
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from vidcli.config import Config
from vidcli.data.check import CheckedVideos
from vidcli.data.dataset import ClipDataset
from vidcli.data.frames import FrameSource
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.loader import epoch_order, iter_batches
from vidcli.models import build_model, settle_clip
from vidcli.runtime.memory import usual_memory
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.sampling import Seconds
from vidcli.train import EpochDone, Event, Trainer
from vidcli.train.update import Updater
from vidcli.transforms import ClipTransform, build_sampler
from vidcli.video import decode_frames

Row: TypeAlias = dict[str, Any]
Turn: TypeAlias = Callable[[], None]

_EPOCHS_A_TURN = 2
"""Epochs of the whole run that are timed together. Before them goes one that is not: while the others had
their turns, its first batches were loaded."""


def pick_videos(items: Sequence[VideoItem], count: int) -> list[VideoItem]:
    """Return `count` of the videos, spread evenly over the classes; all where there are no more."""
    ordered = sorted(items, key=lambda item: (item.label, item.path, item.start_seconds))
    if count >= len(ordered):
        return ordered
    return [ordered[index] for index in np.linspace(0, len(ordered) - 1, count).round().astype(int)]


def bench_config(config: Config, rounds: int) -> Config:
    """Return the settings of the measured run: one epoch to warm up, then a turn a round.

    A frozen backbone works in every epoch of it, as it does in the parts beside it.
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
    """Measure the parts of training on videos that were checked, and so are in the cache.

    Args:
        checked: the usable videos, all of the train split, and where their frames come from.
        config: all settings, as `bench_config` returns them.
        run: an empty folder for the measured run.
        device: where to compute.
        rounds: turns of each part, of which medians count.
        progress: called with the number of turns done and of all.

    Returns:
        Rows with `part`, `clips_per_second` (the median), `turns` (all of them) and, where there are
        any, `workers`; then the summary: `clips_per_second` of the whole, `bound` (the slower of load
        and model), `share_of_bound`, `share_of_cores` (the whole, over what that and the cores allow),
        `times_reference`, `num_clips`, `batch_size`, `cache`.
    """
    items, count = checked.usable, len(checked.usable)
    parts: dict[str, Turn] = {
        "decode": _Decoding(items, config).turn,
        "load": _Loading(items, config, checked.source).turn,
        "model": _Model(items, config, checked.source, device).turn,
    }
    total = rounds * (len(parts) + 2) + 2 * len(_worker_counts())
    tell = progress or (lambda done, total: None)
    done = itertools.count(1)
    with closing(_Reference(items, config, device)) as reference:
        reference.choose_workers(lambda: tell(next(done), total))
        parts["reference"] = reference.turn
        turns: dict[str, list[float]] = {name: [] for name in (*parts, "whole")}
        cpu: dict[str, list[float]] = {name: [] for name in parts}
        started = 0.0

        def watch(event: Event) -> None:
            nonlocal started
            if not isinstance(event, EpochDone):
                return
            number, place = divmod(event.row.epoch - 1, 1 + _EPOCHS_A_TURN)
            if number and not place:
                turns["whole"].append(_EPOCHS_A_TURN * count / (time.monotonic() - started))
                # The order turns around, so that nobody always follows the same neighbour.
                for name in parts if number % 2 else reversed(parts):
                    cpu_started = time.process_time()
                    turns[name].append(count / _seconds_of(parts[name]))
                    cpu[name].append(time.process_time() - cpu_started)
                    tell(next(done), total)
                tell(next(done), total)
            if place == 1:
                started = time.monotonic()

        trainer = Trainer(config, items, checked.source, run, device, watch)
        trainer.describe(items)
        trainer.train()
    workers = {"decode": num_workers(config.data.workers), "load": num_workers(config.data.workers)}
    workers["reference"] = reference.workers
    return [*_rows(turns, workers), _summarize(turns, cpu, checked.source, config, count)]


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


def _seconds_of(turn: Turn) -> float:
    started = time.monotonic()
    turn()
    return time.monotonic() - started


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

    def __init__(self, items: Sequence[VideoItem], config: Config, source: FrameSource) -> None:
        self._config = config
        self._dataset = ClipDataset(items, class_names_of(items), config, flip=True, source=source)
        self._epoch = 0

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._epoch += 1
        order = epoch_order(len(self._dataset), self._config.train.seed, self._epoch)
        workers = num_workers(self._config.data.workers)
        batch_size = self._config.train.batch_size
        loading = iter_batches(self._dataset, [(self._epoch, order)], batch_size, workers)
        with closing(loading):
            for batch in loading:
                yield batch.clips_BTCHW, batch.labels_B

    def turn(self) -> None:
        for _ in self.batches():
            pass


class _Model:
    """Update a model of its own, on batches of the size of an epoch's that are all in memory."""

    def __init__(
        self, items: Sequence[VideoItem], config: Config, source: FrameSource, device: torch.device
    ) -> None:
        self._batches = list(_Loading(items, config, source).batches())
        # The first and, as it may be smaller, the last: memory for all would be memory for the data.
        self._batches[1:-1] = self._batches[:1] * len(self._batches[1:-1])
        names, counts = class_names_of(items), Counter(item.label for item in items)
        model = build_model(config.model, len(names)).to(device)
        self._update = Updater(model, config, [counts[name] for name in names], len(self._batches), device)
        self._device = device
        self._position = 0

    def turn(self) -> None:
        self._update.start_epoch(self._position // len(self._batches))
        for clips_BTCHW, labels_B in self._batches:
            self._update(clips_BTCHW, labels_B, self._position)
            self._position += 1
        _wait_for(self._device)


class _ReferenceClips(Dataset[tuple[Tensor, int]]):
    """A clip of each video as a plain data set gives it: decoded from the start of its file."""

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
    """Leave Ctrl-C, which the whole process group gets, to the process that will end the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _worker_counts() -> list[int]:
    cores = num_workers(0)  # more than these, torch itself advises against
    return sorted({max(1, cores // 2), cores})


class _Reference:
    """Train as torchvision's reference scripts do: a DataLoader, the model, SGD."""

    def __init__(self, items: Sequence[VideoItem], config: Config, device: torch.device) -> None:
        self._clips, self._device = _ReferenceClips(items, config), device
        self._batch_size = config.train.batch_size
        self._model = build_model(config.model, len(class_names_of(items))).to(device)
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
        self._loaders: dict[int, DataLoader[tuple[Tensor, int]]] = {}
        self.workers = 0

    def choose_workers(self, tell: Callable[[], None]) -> None:
        """Time an epoch with each number of workers, after one that starts them; keep the fastest."""
        seconds = {}
        for self.workers in _worker_counts():
            self._loaders[self.workers] = DataLoader(
                self._clips,
                self._batch_size,
                shuffle=True,
                num_workers=self.workers,
                persistent_workers=True,
                pin_memory=self._device.type == "cuda",
                # A fork beside threads may hang; how workers start is not in what is timed.
                multiprocessing_context="spawn",
                worker_init_fn=_ignore_interrupts,
            )
            for _ in range(2):
                seconds[self.workers] = _seconds_of(self.turn)
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
            float(loss.detach())  # which its log shows at every step
        _wait_for(self._device)

    def close(self) -> None:
        """End the workers."""
        self._loaders.clear()


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
