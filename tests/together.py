"""Commands in several processes that know of each other, as torchrun starts them, without its start-up.

What torchrun itself does, such as starting again, is tested with torchrun.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.forks import Forked


@dataclass(frozen=True)
class Together:
    """The processes of one command, by rank."""

    processes: list[Forked]
    folder: Path

    def finish(self) -> tuple[list[int], str, str]:
        """Wait for all; return their exit codes and what they have printed on stdout and stderr."""
        codes = [process.wait() for process in self.processes]
        out, err = ((self.folder / f"{name}.txt").read_text(encoding="utf-8") for name in ("out", "err"))
        return codes, out, err


def start_together(command: Sequence[object], folder: Path, num_processes: int) -> Together:
    """Start `vidcli COMMAND` in several processes, in a folder where they leave what they print."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
    with ExitStack() as files:
        out, err = (files.enter_context((folder / f"{name}.txt").open("ab")) for name in ("out", "err"))
        processes = [
            Forked(
                ["-m", "vidcli", *command],
                cwd=folder,
                env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=out,
                stderr=err,
            )
            for rank in range(num_processes)
        ]
    return Together(processes, folder)
