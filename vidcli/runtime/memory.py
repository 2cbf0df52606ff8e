"""Memory: how much is free, and keeping freed memory in the process for the next step or video.

The C library gives large blocks back to the system as soon as they are freed, and the next one of that
size comes in pages that the system clears first, one fault each; on virtual machines, whose host may take
free pages away, with a wait each. A step of training on a CPU allocates and frees the same activations
every time, and every video its frames. What the process holds at most stays the same: it only holds on to it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vidcli.runtime.launcher import num_local_processes

MEMORY_SHARE = 0.5
"""Share of the free memory that may be filled: the rest is for the model and for other programs."""

# Parameters of mallopt(3) in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

_ASSUMED_FREE_BYTES = 4 << 30
_LARGEST_BLOCK = 1 << 30
_LARGEST_TRIM = (1 << 31) - 1
# What glibc itself ends at once a program has freed large blocks: its limit, and twice that.
_USUAL_BLOCK, _USUAL_TRIM = 32 << 20, 64 << 20


def keep_freed_memory() -> bool:
    """Let the C library keep freed blocks of up to 1 GiB, and 2 GiB in all, for what comes next.

    All threads share one heap then, for those of their own hold no block above 64 MiB, such as a clip of
    large frames. For the whole process and until it ends, so best called before it has threads. Elsewhere
    than with glibc, which is to say beyond Linux, nothing changes.

    Returns:
        whether it does.
    """
    glibc = _find_glibc()
    kept = {_ARENA_MAX: 1, _MMAP_THRESHOLD: _LARGEST_BLOCK, _TRIM_THRESHOLD: _LARGEST_TRIM}
    return glibc is not None and _tell(glibc, kept)


@contextmanager
def usual_memory() -> Iterator[None]:
    """Within this, let the C library give freed memory back as it does where nobody tells it otherwise.

    Memory that was kept goes back first; at the end freed memory is kept, as it was before. Holes between
    blocks in use are filled again and stay filled, so that this is a little faster than a process of its own;
    threads go on to share a heap.
    """
    glibc = _find_glibc()
    if glibc is None:
        yield
        return
    _tell(glibc, {_MMAP_THRESHOLD: _USUAL_BLOCK, _TRIM_THRESHOLD: _USUAL_TRIM})
    glibc.malloc_trim(0)
    try:
        yield
    finally:
        keep_freed_memory()


def resident_bytes() -> int | None:
    """Return the memory that this process holds now, or the most that it ever held; None if unknown."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_memory() -> int:
    """Return the bytes of memory that this process can expect to get.

    This is an equal share for each process that torchrun started on the machine. Half of the memory
    counts as free where the system does not tell, and 4 GiB where it does not even tell its size.
    """
    if not hasattr(os, "sysconf"):  # Windows
        free = _ASSUMED_FREE_BYTES
    else:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():  # Linux also counts memory as available that it can free at once
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    free = min([free, *_container_memory()])
    return free // num_local_processes()


def _container_memory() -> Iterator[int]:
    """Yield the bytes below the memory limit of the container that this process runs in, if any."""
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


def _tell(glibc: ctypes.CDLL, parameters: Mapping[int, int]) -> bool:
    """Set parameters of glibc's malloc; return whether it took them all."""
    return all(glibc.mallopt(name, value) for name, value in parameters.items())


def _find_glibc() -> ctypes.CDLL | None:
    """Return the C library of this process; None where it is another one."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
