"""Commands in several processes that know of each other, as torchrun starts them, without its start-up.

They are forked from a server that has imported everything once: a second instead of seven. What
torchrun itself does, such as starting again, is tested with torchrun.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path


@dataclass(frozen=True)
class Together:
    """The processes of one command."""

    processes: list[BaseProcess]
    folder: Path

    def finish(self) -> tuple[list[int | None], str, str]:
        """Wait for all; return their exit codes and what they have printed on stdout and stderr."""
        for process in self.processes:
            process.join(timeout=300)
        out, err = ((self.folder / f"{name}.txt").read_text(encoding="utf-8") for name in ("out", "err"))
        return [process.exitcode for process in self.processes], out, err


def start_together(command: Sequence[object], folder: Path, num_processes: int) -> Together:
    """Start `vidcli COMMAND` in several processes, in a folder where they leave what they print."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(
        ["torch._dynamo", "vidcli.commands.outcome", "vidcli.commands.peers", __name__]
    )
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = dict(os.environ)  # as it is now, not as it was when the server began
    arguments = ([str(argument) for argument in command], folder, num_processes, port, environment)
    processes: list[BaseProcess] = [
        forks.Process(target=_work, args=(rank, *arguments)) for rank in range(num_processes)
    ]
    for process in processes:
        process.start()
    return Together(processes, folder)


def _work(
    rank: int, command: list[str], folder: Path, size: int, port: int, environment: Mapping[str, str]
) -> None:
    os.environ.update(environment)
    os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "localhost"})
    os.environ.update({"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "MASTER_PORT": str(port)})
    os.chdir(folder)
    for stream, name in ((1, "out.txt"), (2, "err.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), stream)
    from vidcli.commands import app

    app(command, prog_name="vidcli")
