"""`vidcli train` as a process of its own, and how far it is."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vidcli.artifacts.run_folder import CHOICE_FILE
from vidcli.names import visible

_MAX_LINES = 200
_GRACE_SECONDS = 10.0


class Training:
    """One training at a time, started by a button."""

    def __init__(
        self, manifest: Path, runs: Path, arguments: Sequence[str], on_end: Callable[[], None]
    ) -> None:
        """Start nothing yet.

        Args:
            manifest: what is learnt from.
            runs: folder in which run directories are made.
            arguments: more of the command line of `vidcli train`.
            on_end: called when a training ended well.
        """
        self._manifest, self._runs, self._arguments, self._on_end = manifest, runs, list(arguments), on_end
        self._process: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._run = runs
        self._started = self._seconds = 0.0
        self._listener: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def is_running(self) -> bool:
        """Whether a training goes on."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> bool:
        """Start a training; return False where one goes on."""
        with self._lock:
            if self.is_running:
                return False
            self._run = self._runs / time.strftime("review-%Y-%m-%d_%H-%M-%S")
            self._lines, self._started = [], time.monotonic()
            command = [sys.executable, "-m", "vidcli", "train", str(self._manifest), "--out", str(self._run)]
            self._process = subprocess.Popen(
                [*command, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
            self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
            self._listener.start()
            return True

    def stop(self) -> None:
        """End the training as Ctrl-C does, and wait for its end."""
        with self._lock:
            if self._process is not None and self.is_running:
                self._process.terminate()
                try:
                    self._process.wait(_GRACE_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
        if self._listener is not None:
            self._listener.join(_GRACE_SECONDS)

    def to_dict(self) -> dict[str, Any] | None:
        """Return how far the last training is; None before the first."""
        if self._process is None:
            return None
        code = self._process.poll()
        seconds = time.monotonic() - self._started if code is None else self._seconds
        told: dict[str, Any] = {
            "running": code is None,
            "code": code,
            "seconds": round(seconds),
            "lines": self._lines[-8:],
            "run": str(self._run),
        }
        if code == 0:
            with suppress(OSError, ValueError, KeyError, TypeError):
                choice = json.loads((self._run / CHOICE_FILE).read_text(encoding="utf-8"))
                expected = choice["expected"]
                told |= {name: expected[name] for name in ("top1", "top1_interval")}
        return told

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if text := visible(line.rstrip()):
                    self._lines = [*self._lines, text][-_MAX_LINES:]
        code = process.wait()
        self._seconds = time.monotonic() - self._started
        if code == 0:
            self._on_end()
