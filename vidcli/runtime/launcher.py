"""What `torchrun` tells each process that it starts, read from the environment here and nowhere else.

    rank         number of this process among all, from 0      local rank   among those of its machine
    size         number of all processes                       local size   number on its machine

A process that was started without `torchrun` has rank 0 of 1. This module imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from vidcli.errors import ConfigError

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def num_processes() -> int:
    """Return the number of processes that `torchrun` started on all machines; 1 without it."""
    return max(1, _number("WORLD_SIZE"))


def num_local_processes() -> int:
    """Return the number of processes that `torchrun` started on this machine; 1 without it."""
    return max(1, _number("LOCAL_WORLD_SIZE"))


def local_rank() -> int:
    """Return the number of this process among those on its machine, from 0."""
    return _number("LOCAL_RANK")


def num_restarts() -> int:
    """Return how often `torchrun` has started these processes again."""
    return _number("TORCHELASTIC_RESTART_COUNT")


def may_restart() -> bool:
    """Tell whether `torchrun` would start these processes again if one failed."""
    return _number("TORCHELASTIC_MAX_RESTARTS") > 0


def rank_and_size(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return the rank of a process and the number of all; None for a process that works alone.

    Args:
        environment: the variables of the process.
    """
    rank, size = environment.get("RANK", ""), environment.get("WORLD_SIZE", "")
    if not (rank.isdecimal() and size.isdecimal()) or not int(rank) < int(size) or int(size) < 2:
        return None
    return int(rank), int(size)


def all_ranks() -> tuple[int, int, int, int]:
    """Return the rank, size, local rank and local size of this process, one of several.

    Raises:
        ConfigError: a variable is missing.
    """
    for name in _NAMES:
        if name not in os.environ:
            raise ConfigError(
                f"WORLD_SIZE={num_processes()} is set but {name!r} is not; start several processes with "
                "`torchrun --nproc-per-node N -m vidcli train ...`"
            )
    rank, size, rank_here, size_here = map(_number, _NAMES)
    return rank, size, rank_here, size_here


def _number(name: str) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else 0
