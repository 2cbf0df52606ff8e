"""Measure how long `vidcli predict` takes for one video from a cold start, beside importing torch alone.

Every turn is a process of its own. The files that it reads are in the memory of the system, as they are when
a command is repeated. Where other work takes the cores, processor time tells more than the clock does.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidcli.artifacts.run_folder import find_model
from vidcli.bench.timing import Row, order_of_turn
from vidcli.errors import DataError

TORCH = "import torch"
_IMPORTED_TORCH = re.compile(r"^import time:.*\| +torch$", re.MULTILINE)


@dataclass
class _Contender:
    """A command, and what its turns took.

    Attributes:
        model: as it was named; None where torch is imported and nothing else.
        arguments: of Python.
        imports_torch: whether the process imports torch.
        seconds: of each turn, by the clock.
        cpu_seconds: of each turn, of all its threads.
    """

    model: str | None
    arguments: list[str]
    imports_torch: bool = True
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)


def bench_start(models: Sequence[str | os.PathLike[str]], video: Path, rounds: int = 10) -> Iterator[Row]:
    """Measure every model; yield a row for each, and a summary last.

    Args:
        models: run directories, model files and exported folders.
        video: a short one.
        rounds: number of turns, of which medians count; one before them, not counted, fills caches.

    Yields:
        Rows with `model` (None where torch is imported alone), `imports_torch`, `seconds`, `cpu_seconds` and
        `of_torch`, its processor time over that of importing torch. The summary holds `video`, `rounds`,
        `torch_seconds`, `torch_cpu_seconds`, and `seconds` of the fastest model.

    Raises:
        DataError: a command fails.
        CheckpointError: there is no such model.
    """
    contenders = [_Contender(None, ["-c", TORCH])]
    for model in models:
        words = ["-m", "vidcli", "predict", str(video), "--model", str(find_model(model))]
        contenders.append(_Contender(str(model), words))
    for contender in contenders:
        told = _run(["-X", "importtime", *contender.arguments])
        contender.imports_torch = _IMPORTED_TORCH.search(told) is not None
    for turn in range(rounds):
        for contender in order_of_turn(contenders, turn):
            start, before = time.perf_counter(), _seconds_of_children()
            _run(contender.arguments)
            contender.seconds.append(time.perf_counter() - start)
            contender.cpu_seconds.append(_seconds_of_children() - before)
    alone = statistics.median(contenders[0].cpu_seconds)
    for contender in contenders:
        cpu_seconds = statistics.median(contender.cpu_seconds)
        yield {
            "model": contender.model,
            "imports_torch": contender.imports_torch,
            "seconds": round(statistics.median(contender.seconds), 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "of_torch": round(cpu_seconds / alone, 3) if alone else None,
        }
    yield {
        "video": str(video),
        "rounds": rounds,
        "torch_seconds": round(statistics.median(contenders[0].seconds), 3),
        "torch_cpu_seconds": round(alone, 3),
        "seconds": round(min(statistics.median(one.seconds) for one in contenders[1:]), 3),
    }


def _run(arguments: Sequence[str]) -> str:
    """Run Python, which may keep the bytecode it compiles, and return what it wrote to stderr."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise DataError(f"`{' '.join(arguments)}` fails, and cannot be measured: {lines[-1]}")
    return done.stderr


def _seconds_of_children() -> float:
    """Return the processor time of all processes that this one has started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system
