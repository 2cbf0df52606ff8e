"""The check before training: every video is decoded once, and what cannot be used is named and left out.

The check also chooses where frames are kept between epochs (in memory, on disk or nowhere), and fills that
place on the way.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vidcli.config import Config, DataConfig
from vidcli.data.frames import DiskCache, FrameSource, MemoryCache, decoding_settings
from vidcli.data.items import VideoItem
from vidcli.data.recording_cache import RecordingCache, stretches_of
from vidcli.data.store import Store
from vidcli.errors import ConfigError, DataError, VideoError
from vidcli.runtime.memory import MEMORY_SHARE, free_memory
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.sampling import Seconds
from vidcli.sheets import csv_text, shown_cell
from vidcli.video import probe

_GIB = 2**30
# Left free on the disk: a disk that is full to the last byte breaks more than a cache.
_DISK_RESERVE = _GIB
_NUM_NAMED = 20


@dataclass(frozen=True)
class CheckedVideos:
    """The outcome of a check.

    Attributes:
        usable: videos that can be decoded.
        failures: one error for each of the other videos.
        source: source of frames for the rest of the run.
        notices: sentences on where frames are kept, and on what went wrong there.
    """

    usable: list[VideoItem]
    failures: list[VideoError]
    source: FrameSource
    notices: list[str]


def check_videos(
    items: Sequence[VideoItem],
    config: Config,
    progress: Callable[[int, int], None] | None = None,
    share: Callable[[Sequence[VideoItem]], Sequence[VideoItem]] = list,
    merge: Callable[[list[VideoError | None]], list[VideoError | None]] = list,
) -> CheckedVideos:
    """Decode every video to its end once, which also fills the cache if there is one.

    A video whose frames are on disk since an earlier run is not decoded again.

    Args:
        items: videos of the train and val splits.
        config: clip and data settings.
        progress: called with the number of videos done and of all.
        share: returns this process's part of the videos, where several processes check them together.
        merge: returns the outcomes of all processes, in the order of `items`.

    Raises:
        DataError: more than `data.max_unusable` of the videos cannot be decoded; names them.
        ConfigError: `data.cache` is `memory` or `disk` and the frames do not fit `data.cache_gib`.
    """
    workers = num_workers(config.data.workers)
    source, notices = choose_source(items, config, workers)

    def whole(duration_seconds: float) -> Seconds:
        # First and last frame: everything between is decoded on the way.
        return np.array([0.0, duration_seconds])

    def attempt(item: VideoItem) -> VideoError | None:
        try:
            source.frames(item, whole)
        except VideoError as error:
            return error
        return None

    own = share(items)
    outcomes: list[VideoError | None] = []
    for error in map_ahead(attempt, own, workers, ahead=4 * workers):
        outcomes.append(error)
        if progress is not None:
            progress(len(outcomes), len(own))
    outcomes = merge(outcomes)
    usable = [item for item, error in zip(items, outcomes, strict=True) if error is None]
    failures = [error for error in outcomes if error is not None]
    refuse_unusable(failures, len(items), config.data)
    return CheckedVideos(usable, failures, source, notices + source.take_notices())


def refuse_unusable(failures: Sequence[VideoError], num_videos: int, data: DataConfig) -> None:
    """Raise an error that names the videos that cannot be decoded, if they are too many.

    Args:
        failures: one error a video that cannot be decoded.
        num_videos: number of all videos.
        data: settings of the run, among them the share that may be unusable.

    Raises:
        DataError: more than `data.max_unusable` of the videos cannot be decoded.
    """
    if len(failures) > data.max_unusable * num_videos:
        named = "\n".join(str(failure) for failure in failures[:_NUM_NAMED])
        more = f"\n… and {len(failures) - _NUM_NAMED} more" if len(failures) > _NUM_NAMED else ""
        raise DataError(
            f"{len(failures)} of {num_videos} videos cannot be used, more than data.max_unusable="
            f"{data.max_unusable:g} allows:\n{named}{more}"
        )


def failures_csv(failures: Sequence[VideoError]) -> str:
    """Return the videos that were left out, and why, as CSV."""
    rows = ((shown_cell(failure.path), shown_cell(failure.reason)) for failure in failures)
    return csv_text([("video", "error"), *rows])


def choose_source(items: Sequence[VideoItem], config: Config, workers: int) -> tuple[FrameSource, list[str]]:
    """Return the source of frames that fits the videos and the machine, and sentences on the choice.

    `data.cache=auto` chooses the disk if the frames of all videos are there already, else memory if they
    fit half of the free memory, else the disk if they fit there, else no cache.

    Args:
        items: videos of the train and val splits.
        config: clip and data settings.
        workers: number of threads that measure the videos.

    Raises:
        ConfigError: `data.cache` is `memory` or `disk` and the frames do not fit `data.cache_gib`.
    """
    wanted = config.data.cache
    if config.data.decode == "keyframes":
        # Keyframes are decoded so fast that keeping all frames would cost more than it saves.
        unused = [f"data.cache={wanted} has no effect with data.decode=keyframes"]
        return FrameSource(config), unused if wanted in ("memory", "disk") else []
    if wanted == "off":
        return FrameSource(config), []
    if (
        config.data.clips_per_span > 1
        and wanted != "disk"
        and all(one.end_seconds is not None for one in items)
    ):
        spans = [span for span, _ in stretches_of(items)]
        needed = sum(_measure(spans, config, None, workers))
        if needed <= min(MEMORY_SHARE * free_memory(), config.data.cache_gib * _GIB):
            cache = RecordingCache(items, FrameSource(config).decode_all)
            return FrameSource(config, cache), [f"frames of clips are kept in memory: {_gib(needed)}"]
    store = Store("frames", decoding_settings(config), config.data.cache_gib * _GIB)
    stored, missing = _measure(items, config, None if wanted == "memory" else store, workers)
    needed = stored + missing
    if needed > config.data.cache_gib * _GIB:
        text = f"the frames take {_gib(needed)}, more than data.cache_gib={config.data.cache_gib:g}"
        if wanted != "auto":
            raise ConfigError(f"data.cache={wanted}: {text}; raise it, or set data.cache=auto")
        return FrameSource(config), [f"frames are decoded anew in every epoch: {text}"]
    is_all_stored = stored > 0 and not missing
    fits_memory = needed <= MEMORY_SHARE * free_memory()
    if wanted == "memory" or (wanted == "auto" and fits_memory and not is_all_stored):
        return FrameSource(config, MemoryCache()), [f"frames are kept in memory: {_gib(needed)}"]
    return _on_disk(config, store, stored, missing)


def _on_disk(config: Config, store: Store, stored: int, missing: int) -> tuple[FrameSource, list[str]]:
    obstacle = store.prepare()
    if obstacle is None and missing + _DISK_RESERVE > (free := _free_disk(store.root)):
        obstacle = f"{store.root}: {_gib(free)} of disk are free, {_gib(missing)} more are needed"
    if obstacle is not None and missing:
        text = f"frames are decoded anew in every epoch: they cannot be kept on disk ({obstacle})"
        return FrameSource(config), [f"{text}; VIDCLI_CACHE names another folder"]
    there = f", {_gib(stored) if missing else 'all'} of it from earlier runs" if stored else ""
    told = f"frames are kept in {store.root}: {_gib(stored + missing)}{there}"
    return FrameSource(config, DiskCache(store)), [told]


def _measure(
    items: Sequence[VideoItem], config: Config, store: Store | None, workers: int
) -> tuple[int, int]:
    """Return the bytes of all frames: of those on disk already, and an estimate for the others."""
    source = FrameSource(config)

    def measure(item: VideoItem) -> tuple[int, int]:
        size = store.size_of(item) if store is not None else None
        if size is not None:
            return size, 0
        try:
            return 0, source.estimate_bytes(item, probe(item.path))
        except VideoError:
            return 0, 0  # named when it is decoded

    sizes = list(map_ahead(measure, items, workers, ahead=4 * workers))
    return sum(size[0] for size in sizes), sum(size[1] for size in sizes)


def _free_disk(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _gib(size: int) -> str:
    return f"{size / _GIB:.2g} GiB" if size < 10 * _GIB else f"{size / _GIB:.0f} GiB"
