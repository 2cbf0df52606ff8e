"""Where frames are kept between epochs: in memory, on disk, or nowhere; and why."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from vidcli.config import Config
from vidcli.data.cache import DiskCache, MemoryCache
from vidcli.data.caches import find_cache
from vidcli.data.frames import FrameSource, decoding_settings
from vidcli.data.items import VideoItem
from vidcli.data.loader import map_ahead
from vidcli.errors import ConfigError, VideoError
from vidcli.runtime.launcher import num_local_processes
from vidcli.video import probe

_GIB = 2**30
# Of the memory that is free now: the rest is the model's, and that of whoever else is here.
MEMORY_SHARE = 0.5
# Left free on the disk: one that is full to the brim breaks more than a cache.
_DISK_RESERVE = _GIB


def choose_source(items: Sequence[VideoItem], config: Config, workers: int) -> tuple[FrameSource, list[str]]:
    """Return where the frames of these videos come from, and sentences that say so.

    `auto` takes the disk if all videos are there already, else memory if they fit half of what is
    free, else the disk, else nothing.

    Raises:
        ConfigError: `data.cache` is `memory` or `disk` and the frames do not fit `data.cache_gib`.
    """
    wanted = config.data.cache
    if config.data.decode == "keyframes":
        # Of keyframes alone, keeping all frames would take more than it saves.
        unused = [f"data.cache={wanted} has no effect with data.decode=keyframes"]
        return FrameSource(config), unused if wanted in ("memory", "disk") else []
    if wanted == "off":
        return FrameSource(config), []
    disk = DiskCache(
        find_cache("frames"),
        int(config.data.cache_gib * _GIB),
        decoding_settings(config),
        config.data.max_seconds,
    )
    packed, missing = _measure(items, config, None if wanted == "memory" else disk, workers)
    needed = packed + missing
    if needed > config.data.cache_gib * _GIB:
        text = f"the frames take {_gib(needed)}, more than data.cache_gib={config.data.cache_gib:g}"
        if wanted != "auto":
            raise ConfigError(f"data.cache={wanted}: {text}; raise it, or set data.cache=auto")
        return FrameSource(config), [f"frames are decoded anew in every epoch: {text}"]
    is_all_packed = packed > 0 and not missing
    fits_memory = needed <= MEMORY_SHARE * free_memory()
    if wanted == "memory" or (wanted == "auto" and fits_memory and not is_all_packed):
        return FrameSource(config, MemoryCache()), [f"frames are kept in memory: {_gib(needed)}"]
    return _on_disk(config, disk, packed, missing)


def _on_disk(config: Config, disk: DiskCache, packed: int, missing: int) -> tuple[FrameSource, list[str]]:
    obstacle = disk.prepare()
    if obstacle is None and missing + _DISK_RESERVE > (free := _free_disk(disk.folder)):
        obstacle = f"{disk.folder}: {_gib(free)} of disk are free, {_gib(missing)} more are needed"
    if obstacle is not None and missing:
        text = f"frames are decoded anew in every epoch: they cannot be kept on disk ({obstacle})"
        return FrameSource(config), [f"{text}; VIDCLI_CACHE names another folder"]
    there = f", {_gib(packed) if missing else 'all'} of it from earlier runs" if packed else ""
    return FrameSource(config, disk), [f"frames are kept in {disk.folder}: {_gib(packed + missing)}{there}"]


def _measure(
    items: Sequence[VideoItem], config: Config, disk: DiskCache | None, workers: int
) -> tuple[int, int]:
    """Return the bytes of all frames: of those on disk already, and an estimate for the others."""
    source = FrameSource(config)

    def measure(item: VideoItem) -> tuple[int, int]:
        size = disk.packed_bytes(item) if disk is not None else None
        if size is not None:
            return size, 0
        try:
            return 0, source.estimate_bytes(item, probe(item.path))
        except VideoError:
            return 0, 0  # named when it is decoded

    sizes = list(map_ahead(measure, items, workers, ahead=4 * workers))
    return sum(size[0] for size in sizes), sum(size[1] for size in sizes)


def free_memory() -> int:
    """Return the bytes of memory that this process may expect to get."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = pages // 2
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():  # Linux knows what is free but for what it can drop
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    free = min([free, *_container_memory()])
    # One process a GPU: each holds frames of its own.
    return free // num_local_processes()


def _container_memory() -> Iterator[int]:
    """Yield what is left of the memory limit of the container that this process runs in, if any."""
    root = Path("/sys/fs/cgroup")
    for limit, used, dropped in (
        (root / "memory.max", root / "memory.current", "inactive_file"),
        (root / "memory/memory.limit_in_bytes", root / "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            statistics = dict(
                line.split()
                for line in (used.parent / "memory.stat").read_text(encoding="utf-8").splitlines()
            )
            left = (
                int(limit.read_text(encoding="utf-8"))
                - int(used.read_text(encoding="utf-8"))
                + int(statistics[dropped])
            )
        except (OSError, ValueError, KeyError):
            continue  # no container, or one without a limit
        yield max(0, left)


def _free_disk(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _gib(size: int) -> str:
    return f"{size / _GIB:.2g} GiB" if size < 10 * _GIB else f"{size / _GIB:.0f} GiB"
