"""Measure how near prediction comes to the speed of its two parts: decoding alone and the model alone.

Decoding, the model, the whole, and the whole in a single thread take turns in one process. Decoding and a
model on the CPU share the cores. If both parts keep all cores busy, the whole cannot be as fast as the slower
part; the speed that the cores allow, computed from the CPU time of each part, is therefore shown too.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from vidcli.arrays import Float32
from vidcli.bench.timing import Row, time_call
from vidcli.data.items import VideoItem
from vidcli.errors import DataError, VideoError
from vidcli.predict import Predictor
from vidcli.predict.side_by_side import num_side_by_side
from vidcli.runtime.threads import map_ahead, num_workers

PHASES = ("decode", "model", "one_thread", "whole")
_KEPT_BYTES = 2**30
"""The most memory of the clips on which the model is measured."""


def bench_predict(predictor: Predictor, items: Sequence[VideoItem], rounds: int = 5) -> Iterator[Row]:
    """Measure every phase in turns; yield a row a round, and a summary last.

    Args:
        predictor: the model, on its device.
        items: the videos; those that cannot be decoded are left out and counted.
        rounds: number of turns of each phase, of which the median counts.

    Yields:
        Rows with `round` and the videos a second of `decode`, `model`, `one_thread` and `whole`. The summary
        holds the medians, `num_videos`, `num_failed`, `share_of_slower` (speed of the whole over that of the
        slower part), `share_of_bound` (speed of the whole over what the slower part and the cores allow),
        `times_one_thread` (speed of the whole over that of one thread) and `cpu_of_one_thread` (processor
        time of the whole over that of one thread).

    Raises:
        DataError: no video can be decoded.
    """
    # The first pass warms the file cache, and keeps clips on which the model is measured.
    good: list[VideoItem] = []
    kept: list[Float32 | Tensor] = []
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
    predictor.classify(kept[0])  # the first call, which may compile, is not measured
    clips = [kept[number % len(kept)] for number in range(len(good))]
    phases: dict[str, Callable[[], object]] = {
        "decode": lambda: _exhaust(predictor.load_many(good)),
        "model": lambda: _classify_all(predictor, clips),
        "one_thread": lambda: _predict_in_one_thread(predictor, good),
        "whole": lambda: _exhaust(predictor.predict_many(good)),
    }
    rows: list[Row] = []
    cpu: dict[str, list[float]] = {name: [] for name in PHASES}
    for number in range(1, rounds + 1):
        row: Row = {"round": number}
        for name in PHASES:
            seconds, cpu_seconds = time_call(phases[name])
            row[name] = round(len(good) / seconds, 2)
            cpu[name].append(cpu_seconds)
        rows.append(row)
        yield row
    yield _summarize(predictor, rows, cpu, len(good), len(items) - len(good))


def _classify_all(predictor: Predictor, clips: Sequence[Float32 | Tensor]) -> None:
    """Classify clips as `predict_many` does: side by side where it does that."""
    count = num_side_by_side(predictor, len(clips))
    if count == 1:
        for views_VTCHW in clips:
            predictor.classify(views_VTCHW)
    else:
        _exhaust(map_ahead(lambda views: predictor.classify(views, count), clips, count, 2 * count))


def _predict_in_one_thread(predictor: Predictor, items: Sequence[VideoItem]) -> None:
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for item in items:
            predictor.classify(predictor.views.load(item))
    finally:
        torch.set_num_threads(usual)


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
    # How busy the machine is differs between rounds, so shares are computed within each round.
    share = statistics.median(row["whole"] / min(row["decode"], row["model"]) for row in rows)
    times = statistics.median(row["whole"] / row["one_thread"] for row in rows)
    pairs = zip(cpu["whole"], cpu["one_thread"], strict=True)
    cpu_share = statistics.median(whole / alone if alone else 1.0 for whole, alone in pairs)
    return {
        "device": str(predictor.device),
        "threads": torch.get_num_threads(),
        "num_videos": num_videos,
        "num_failed": num_failed,
        **{f"{name}_per_second": round(value, 2) for name, value in median.items()},
        "bound_per_second": round(min(slower, by_cores), 2),
        "share_of_slower": round(share, 3),
        "share_of_bound": round(median["whole"] / min(slower, by_cores), 3),
        "times_one_thread": round(times, 3),
        "cpu_of_one_thread": round(cpu_share, 3),
    }
