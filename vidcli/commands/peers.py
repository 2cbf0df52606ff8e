"""The processes that share one command under `torchrun`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from vidcli.console import Terminal, Verbosity
from vidcli.errors import PeerError
from vidcli.runtime.devices import choose_device
from vidcli.runtime.processes import Group, join_group


@contextmanager
def join_peers(device: str, terminal: Terminal, verb: str) -> Iterator[tuple[Group, torch.device, Terminal]]:
    """Join the other processes of this command, if any; only the main one speaks.

    Args:
        device: as --device says.
        terminal: of this process.
        verb: what the processes do together, such as `train`.

    Yields:
        The processes, the device of this one, and a terminal that is quiet in all but the main one.
    """
    chosen = choose_device(device)
    with join_group(chosen) as group:
        if group.is_main:
            if group.size > 1:
                terminal.say(f"{group.size} processes {verb} together")
            yield group, chosen, terminal
            return
        try:
            yield group, chosen, replace(terminal, verbosity=Verbosity.QUIET)
        except PeerError as error:
            raise SystemExit(error.exit_code) from None  # whoever failed has said so
