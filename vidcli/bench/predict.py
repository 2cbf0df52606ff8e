"""How near prediction comes to what its two halves allow: decoding alone, the model alone, the whole.

The three take turns in one process. Decoding and a model on the CPU share the cores, so that the
whole cannot reach the slower half where both keep all cores busy: what the cores allow is shown
beside it, from the CPU time that each half took.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vidcli.data.items import VideoItem
from vidcli.errors import DataError, VideoError
from vidcli.predict import Predictor
from vidcli.runtime.threads import num_workers

Row: TypeAlias = dict[str, Any]

PHASES = ("decode", "model", "whole")
_KEPT_BYTES = 2**30


def bench_predict(predictor: Predictor, items: Sequence[VideoItem], rounds: int = 5) -> Iterator[Row]:
    """Measure every phase in turns; yield a row a round, and a summary last.

    Args:
        predictor: the model, on its device.
        items: the videos; those that cannot be decoded are left out and counted.
        rounds: turns of each phase, of which the median counts.

    Yields:
        Rows with `round` and clips a second of `decode`, `model` and `whole`. The summary holds the
        medians, `num_videos`, `num_failed`, `share_of_slower` (the whole, over the slower half) and
        `share_of_bound` (the whole, over what the slower half and the cores allow).

    Raises:
        DataError: no video can be decoded.
    """
    # The first pass warms the file cache, and keeps what the model is measured on.
    good: list[VideoItem] = []
    kept: list[Tensor] = []
    num_bytes = 0
    with closing(predictor.load_many(items)) as loaded:
        for item, views_VTCHW in zip(items, loaded, strict=True):
            if isinstance(views_VTCHW, VideoError):
                continue
            good.append(item)
            if num_bytes < _KEPT_BYTES:
                kept.append(views_VTCHW)
                num_bytes += views_VTCHW.nbytes
    if not good:
        raise DataError("none of these videos can be decoded; `vidcli predict` tells why")
    predictor.classify(kept[0])  # what is built at the first call is not measured
    phases: dict[str, Callable[[], object]] = {
        "decode": lambda: _exhaust(predictor.load_many(good)),
        "model": lambda: [predictor.classify(kept[n % len(kept)]) for n in range(len(good))],
        "whole": lambda: _exhaust(predictor.predict_many(good)),
    }
    rows: list[Row] = []
    cpu: dict[str, list[float]] = {name: [] for name in PHASES}
    for number in range(1, rounds + 1):
        row: Row = {"round": number}
        for name in PHASES:
            seconds, cpu_seconds = _time(phases[name])
            row[name] = round(len(good) / seconds, 2)
            cpu[name].append(cpu_seconds)
        rows.append(row)
        yield row
    yield _summarize(predictor, rows, cpu, len(good), len(items) - len(good))


def _time(function: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of a call; classify brings its result back, so a GPU is through."""
    cpu, start = time.process_time(), time.perf_counter()
    function()
    return time.perf_counter() - start, time.process_time() - cpu


def _exhaust(results: Iterator[object]) -> None:
    for _ in results:
        pass


def _summarize(
    predictor: Predictor, rows: Sequence[Row], cpu: dict[str, list[float]], num_videos: int, num_failed: int
) -> Row:
    median = {name: statistics.median(row[name] for row in rows) for name in PHASES}
    slower = min(median["decode"], median["model"])
    halves = statistics.median(cpu["decode"]) + statistics.median(cpu["model"])
    by_cores = num_workers(0) * num_videos / halves if halves else slower
    # Rounds differ as the machine is busy: the share of each is taken within it.
    share = statistics.median(row["whole"] / min(row["decode"], row["model"]) for row in rows)
    return {
        "device": str(predictor.device),
        "threads": torch.get_num_threads(),
        "num_videos": num_videos,
        "num_failed": num_failed,
        **{f"{name}_per_second": round(value, 2) for name, value in median.items()},
        "bound_per_second": round(min(slower, by_cores), 2),
        "share_of_slower": round(share, 3),
        "share_of_bound": round(median["whole"] / min(slower, by_cores), 3),
    }
