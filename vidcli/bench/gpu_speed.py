"""Measure whether a GPU waits: `bench gpu`, part by part, within eight minutes.

    machine    the device, its driver and the versions
    tests      the tests that need CUDA, where pytest and the tests are
    decode     by the CPU and by the device; writes the videos of the networks before
    networks   training and prediction of each, with frames in memory; see `gpu_parts`

Each part is a process with a time limit of its own. One that fails, hangs or is killed costs its own rows.
On a CPU everything runs with tiny shapes: this shows that it runs, and its figures mean nothing.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import torch

import vidcli
from vidcli.bench.gpu_parts import GpuJob
from vidcli.bench.timing import Row

GOAL = 0.9
"""Share of the speed on tensors that lie on the device already."""
_LIMITS = {"tests": 100, "decode": 95, "network": 85}
"""Seconds that the process of a part may take."""
_TINY_LIMIT = 600
"""The same on a CPU, which others may keep busy."""
_LIBRARIES = ("torch", "torchvision", "av", "timm", "transformers", "numpy")
_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped)")


@dataclass(frozen=True)
class _Network:
    """A network to measure, in full and tiny.

    Attributes:
        name: as it is shown.
        settings: as `--set` takes them.
        batch_size: clips a step.
        tiny: settings in place of those, for a CPU.
        encoder: changes to the config.json of VideoMAE that make it this network, and its tiny one.
    """

    name: str
    settings: tuple[str, ...]
    batch_size: int
    tiny: tuple[str, ...]
    encoder: tuple[Row, Row] | None = None


_LOOK = ("augment.crop_scale=0.5", "augment.brightness=0.2", "augment.contrast=0.2", "augment.saturation=0.2")
_FULL_CLIP = ("clip.size=224", "model.frame_differences=false")
_TINY_CLIP = ("clip.size=32", "clip.length=4", "model.frame_differences=false")
NETWORKS = (
    _Network(
        "resnet50-shift",
        ("model.backbone=resnet50", "model.shift=on", "model.head=mean", "clip.length=8", *_FULL_CLIP),
        32,
        ("model.backbone=mobilenet_v3_small", "model.shift=on", "model.head=mean", *_TINY_CLIP),
    ),
    _Network(
        "vit-s16-attentive",
        (
            "model.backbone=timm:vit_small_patch16_224",
            "model.head=attentive",
            "clip.length=8",
            *_FULL_CLIP,
        ),
        32,
        ("model.backbone=timm:test_vit", "model.head=attentive", *_TINY_CLIP),
    ),
    _Network(
        "videomae-b",
        ("model.head=mean", "clip.length=16", *_FULL_CLIP),
        16,
        ("model.head=mean", *_TINY_CLIP),
        (
            {},
            {
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 48,
                "image_size": 32,
                "patch_size": 8,
                "num_frames": 4,
            },
        ),
    ),
)


def bench_gpu(device: torch.device, tiny: bool) -> Iterator[Row]:
    """Measure every part; yield rows as they come, and a summary last.

    Args:
        device: where to compute.
        tiny: tiny shapes and short measurements, as a CPU needs them.

    Yields:
        Rows with `part` and what the part measures: `machine`, `tests`, `videos`, `decode`, and for each
        network `train` and `predict` with `per_second`, `resident_per_second`, `share` and
        `peak_memory_mib`; or `error`, or `skipped` with the reason. The summary holds `device`, `tiny`,
        `shares` (by part and network), `worst_share`, `goal`, `reaches_goal` (None without shares, and if
        tiny), `num_failed`, `num_skipped` and `seconds`.
    """
    started = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="vidcli-bench-") as folder:
        for row in _all_rows(device, tiny, Path(folder)):
            rows.append(row)
            yield row
    shares = {f"{row['part']} {row['network']}": row["share"] for row in rows if "share" in row}
    worst = min(shares.values(), default=None)
    yield {
        "device": str(device),
        "tiny": tiny,
        "shares": shares,
        "worst_share": worst,
        "goal": GOAL,
        "reaches_goal": None if worst is None or tiny else worst >= GOAL,
        "num_failed": sum("error" in row for row in rows),
        "num_skipped": sum("skipped" in row for row in rows),
        "seconds": round(time.monotonic() - started, 1),
    }


def _all_rows(device: torch.device, tiny: bool, folder: Path) -> Iterator[Row]:
    yield {"part": "machine", **describe_machine(device)}
    yield {"part": "tests", **run_tests(device)}
    plain = GpuJob("decode", str(device), str(folder / "videos"), *((0.2, 1) if tiny else (5.0, 2)))
    full = replace(plain, size=(256, 320), num_videos=8, decode_size=(720, 1280))
    yield from _rows_of(replace(plain, num_videos=2) if tiny else full, ("videos", "decode"), tiny)
    for network in NETWORKS:
        job = replace(
            plain,
            part="network",
            name=f"{network.name}-tiny" if tiny else network.name,
            settings=(*(network.tiny if tiny else network.settings), *_LOOK),
            batch_size=4 if tiny else network.batch_size,
            most_clips=4 if tiny else 256,
            encoder="" if network.encoder is None else _encoder_of(network.encoder[tiny]),
        )
        yield from _rows_of(job, ("train", "predict"), tiny)


def _encoder_of(changes: Row) -> str:
    return json.dumps({"model_type": "videomae", "architectures": ["VideoMAEModel"], **changes})


def _rows_of(job: GpuJob, parts: Sequence[str], tiny: bool = False) -> Iterator[Row]:
    """Yield the rows of a process, and an error for each part of which it gave none."""
    command = [sys.executable, "-m", "vidcli.bench.gpu_parts", job.json]
    missing = list(parts)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
        watch = _Limited(command, _TINY_LIMIT if tiny else _LIMITS[job.part], told)
        for line in watch.lines():
            row: Row = json.loads(line)
            missing.remove(row["part"])
            yield row
        reason = watch.reason(told)
    for part in missing:
        about = {"part": part} | ({"network": job.name} if job.name else {})
        yield about | {"error": reason}


class _Limited:
    """A process that is killed when it takes too long."""

    def __init__(self, command: Sequence[str], limit_seconds: float, told: IO[str]) -> None:
        self._command, self._limit, self._told = command, limit_seconds, told
        self._is_late = False
        self._code = 0

    def lines(self) -> Iterator[str]:
        """Run the process and yield the lines that it prints."""
        with subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._told,
            encoding="utf-8",
        ) as process:
            timer = threading.Timer(self._limit, self._end, (process,))
            timer.start()
            try:
                assert process.stdout is not None
                yield from process.stdout
            finally:
                timer.cancel()
                if process.poll() is None:
                    process.terminate()
            self._code = process.wait()

    def _end(self, process: subprocess.Popen[str]) -> None:
        self._is_late = True
        process.kill()

    def reason(self, told: IO[str]) -> str:
        """Return why the process has ended, from what it wrote to its standard error."""
        if self._is_late:
            return f"took longer than its {self._limit:g} s"
        told.seek(0)
        lines = [line.strip() for line in told if line.strip()]
        return f"ended with status {self._code}: {lines[-1] if lines else 'no reason told'}"


def describe_machine(device: torch.device) -> Row:
    """Return the device, its driver and memory, the processor and the versions of libraries."""
    versions: dict[str, str | None] = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    row: Row = {"device": str(device), "python": platform.python_version(), "versions": versions}
    if device.type != "cuda":
        return row | {"name": platform.processor() or platform.machine(), "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(device)
    return row | {
        "name": properties.name,
        "memory_mib": properties.total_memory // 2**20,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "driver": _driver(),
    }


def _driver() -> str | None:
    try:
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            encoding="utf-8",
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip().partition("\n")[0]


def run_tests(device: torch.device) -> Row:
    """Run the tests that need CUDA; return how many passed and failed, or why they were not run."""
    folder = Path(vidcli.__file__).parents[1] / "tests"
    if device.type != "cuda":
        return {"skipped": f"they need CUDA, and this computes on {device.type}"}
    if find_spec("pytest") is None:
        return {"skipped": "pytest is not installed: pip install 'vidcli[test]'"}
    files = [
        str(path)
        for path in sorted(folder.rglob("test_*.py"))
        if "mark.cuda" in path.read_text(encoding="utf-8")
    ]
    if not files:
        return {"skipped": f"there are no tests in {folder}; they are in the source, not in the wheel"}
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-m", "cuda", "-q", "-p", "no:cacheprovider"]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
        watch = _Limited([*command, "--rootdir", str(folder.parent), *files], _LIMITS["tests"], told)
        lines = [line.strip() for line in watch.lines() if line.strip()]
        reason = watch.reason(told)
    return counted_tests(lines, reason)


def counted_tests(lines: Sequence[str], reason: str) -> Row:
    """Return the row of tests, from what pytest printed.

    Args:
        lines: of its standard output, without empty ones.
        reason: why its process has ended.
    """
    counts = {word: int(number) for number, word in _COUNT.findall(lines[-1])} if lines else {}
    if not counts:
        return {"error": reason}
    row: Row = {"num_passed": counts.get("passed", 0), "num_failed": counts.get("failed", 0)}
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return row | ({"error": "; ".join(failed)} if failed else {})
