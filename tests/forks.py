"""Processes that start in a moment: forked from a server that has imported torch and vidcli once.

A new interpreter takes five seconds of a processor to import them. These processes take their command line,
streams, environment and folder as `subprocess` gives them, and end as a new one would. What concerns the
start of the interpreter itself, such as what it imports, its locale or closed streams, needs a real one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import pytest

import vidcli

_PRELOADED = [
    *("torch._dynamo", "vidcli.__main__", "vidcli.commands.outcome", "vidcli.commands.peers", "vidcli.train"),
    *("vidcli.predict", "vidcli.evaluate.measurement", "vidcli.console", "vidcli.report.gather"),
    *("timm", "torch.utils.tensorboard", __name__),
]
_NAMES = {0: "stdin", 1: "stdout", 2: "stderr"}


class Forked:
    """A process with the part of the interface of `subprocess.Popen` that tests use."""

    def __init__(
        self,
        arguments: Sequence[object],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        text: bool = True,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
    ) -> None:
        """Start it.

        Args:
            arguments: of Python, `-m vidcli COMMAND` or `-c SCRIPT`.
            cwd: its folder; None is that of this process.
            env: its environment; None is that of this process.
            text: whether pipes take and give text; bytes are not buffered.
            stdin: a file, `subprocess.PIPE`, or None for /dev/null.
            stdout: the same.
            stderr: the same, or `subprocess.STDOUT`.
        """
        self.stdin: Any = None
        self.stdout: Any = None
        self.stderr: Any = None
        given: list[Connection] = []
        for number, stream in enumerate((stdin, stdout, stderr)):
            if stream == subprocess.STDOUT:
                given.append(Connection(os.dup(given[1].fileno())))
            elif stream is None:
                given.append(Connection(os.open(os.devnull, os.O_RDWR)))
            elif stream == subprocess.PIPE:
                ends = os.pipe()
                mine, other = ends if number else ends[::-1]
                given.append(Connection(other))
                setattr(self, _NAMES[number], _open(mine, "r" if number else "w", text))
            else:
                place = stream if isinstance(stream, int) else stream.fileno()
                given.append(Connection(os.dup(place)))
        _ensure_server()
        forks = multiprocessing.get_context("forkserver")
        environment = dict(os.environ if env is None else env)  # as it is now, not when the server began
        words = [str(argument) for argument in arguments]
        self._process = forks.Process(target=_work, args=(words, str(cwd or Path.cwd()), environment, given))
        self._process.start()
        for connection in given:
            connection.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = 300) -> int:
        """Wait for its end and return the exit code."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        """Send a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = 300) -> tuple[Any, Any]:
        """Close its input, wait for its end, and return what it printed on stdout and stderr."""
        if self.stdin is not None and not self.stdin.closed:
            self.stdin.close()
        open_ = [s for s in (self.stdout, self.stderr) if s is not None and not s.closed]
        with ThreadPoolExecutor(2) as readers:
            reading = {id(stream): readers.submit(stream.read) for stream in open_}
            self.wait(timeout)
            told = [reading[id(s)].result() if id(s) in reading else None for s in (self.stdout, self.stderr)]
        self._close()
        return told[0], told[1]

    def _close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.wait()
        self._close()


def run_forked(
    arguments: Sequence[object], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end, and return exit code, stdout and stderr.

    Args:
        arguments: of Python, `-m vidcli COMMAND` or `-c SCRIPT`.
        cwd: its folder; None is that of this process.
        env: its environment; None is that of this process.
    """
    forked = Forked(arguments, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = forked.communicate()
    return subprocess.CompletedProcess(list(arguments), forked.wait(), out, err)


def _ensure_server() -> None:
    """Start the server, of the vidcli that this process has imported."""
    multiprocessing.set_forkserver_preload(_PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(vidcli.__file__).parents[1]))
        forkserver.ensure_running()


def _open(place: int, mode: str, text: bool) -> IO[Any]:
    if text:
        return os.fdopen(place, mode, encoding="utf-8")
    return os.fdopen(place, f"{mode}b", buffering=0)


def _work(arguments: list[str], folder: str, environment: Mapping[str, str], given: list[Connection]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    tempfile.tempdir = None  # the server knows its own
    for number, connection in enumerate(given):
        os.dup2(connection.fileno(), number)
        connection.close()
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (multiprocessing closed it)
    kind, what, *rest = arguments
    if kind == "-m":
        from vidcli.__main__ import main

        sys.argv = [what, *rest]
        main()
    else:
        # That of the server believes that it is on a file, which it could look for its place in.
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv = [kind, *rest]
        exec(what, {"__name__": "__main__"})
