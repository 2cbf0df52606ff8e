"""Measure how fast a model computes in torch (eager and compiled), ONNX Runtime and OpenVINO.

All contenders run in one process and take turns, so that a busy machine slows all of them alike, and the
medians of the turns count. The memory of each is measured in a process of its own.

Shape suffixes: V views, T frames, C channels, H W pixels.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.exported import ExportedNetwork, load_network
from vidcli.artifacts.model_file import load_checkpoint, save_checkpoint
from vidcli.artifacts.run_folder import EXPORT_FILE, MODEL_FILE, find_model
from vidcli.bench.timing import Row, order_of_turn, seconds_a_call
from vidcli.config import Config, load_config
from vidcli.data.builtin import MotionDataOptions, make_motion_data
from vidcli.data.manifest import load_items
from vidcli.errors import VidcliError
from vidcli.export import ExportOptions, export_model
from vidcli.models import build_model
from vidcli.runtime.memory import resident_bytes
from vidcli.synthetic import MOTION_CLASSES, MotionVideoOptions

_PLAIN = ("model.shift=off", "model.frame_differences=false")
_AS_TRAINED = ("model.shift=on", "model.frame_differences=true", "model.grid=2")
NETWORKS = {
    "resnet18": ("model.backbone=resnet18", *_PLAIN),
    "resnet18_as_trained": ("model.backbone=resnet18", *_AS_TRAINED),
    "resnet50": ("model.backbone=resnet50", *_PLAIN),
}
"""Settings of the networks that are measured without a model: two plain ones, and one as recipes train it."""
_VERSION = 2
"""Of the exports: those of another one are not measured again."""
_TURN_SECONDS = 0.5
_EAGER = "torch eager"
_MEMORY_SCRIPT = """
import sys
from pathlib import Path
from vidcli.bench.infer_speed import build_contender
from vidcli.runtime.memory import resident_bytes
import torch
torch.set_num_threads(int(sys.argv[3]))
before = resident_bytes()
contender = build_contender(Path(sys.argv[1]), sys.argv[2])
contender.run(); contender.run()
print(resident_bytes() - before)
"""


@dataclass(frozen=True)
class Contender:
    """A model in a runtime.

    Attributes:
        model: name of the model.
        runtime: name of the runtime and, for an exported model, its precision.
        network: backbone, head and size of a clip.
        run: classifies one clip of random numbers.
    """

    model: str
    runtime: str
    network: str
    run: Callable[[], object]


def build_contender(path: Path, runtime: str) -> Contender:
    """Load a model for a runtime.

    Args:
        path: a model file or an exported folder.
        runtime: `torch eager`, `torch.compile` or `exported`.

    Raises:
        VidcliError: the model cannot be loaded.
    """
    network, about = load_network(path)
    clip_1TCHW = _random_clip(about.config)
    run: Callable[[], object]
    if isinstance(network, ExportedNetwork):
        runtime = f"{network.form} {network.precision}"
        run = partial(network, clip_1TCHW.numpy())
    else:
        answer = torch.compile(network) if runtime == "torch.compile" else network
        run = torch.inference_mode()(partial(answer, clip_1TCHW))
    name = path.parent.name if path.is_file() else path.name
    return Contender(name, runtime, _name_network(about.config), run)


def bench_infer(models: Sequence[Path], rounds: int = 5, with_compile: bool = True) -> Iterator[Row]:
    """Measure every model; yield a row for each in each runtime, and a summary last.

    Args:
        models: run directories, model files and exported folders.
        rounds: number of turns of each contender, of which the median counts.
        with_compile: measure `torch.compile` too, which takes a minute to compile.

    Yields:
        Rows with `model`, `network`, `runtime`, `milliseconds` a clip, `clips_per_second`,
        `memory_mib` in addition to that of the program, and `speedup` over torch eager of the same
        network; or `model`, `runtime` and `error`. The summary holds `speedup` and `runtime` of the
        fastest export, and `speedups`: the greatest of each network by precision.
    """
    contenders: list[tuple[Path, Contender]] = []
    for model in models:
        path = find_model(model)
        torch_runtimes = [_EAGER, *(["torch.compile"] if with_compile else [])]
        for runtime in ["exported"] if path.is_dir() else torch_runtimes:
            try:
                contender = build_contender(path, runtime)
                contender.run()  # compiles and allocates, and may fail
                contenders.append((path, contender))
            except Exception as error:  # a compiler that is missing may raise anything
                lines = (str(error).strip() or type(error).__name__).splitlines()
                yield {"model": str(model), "runtime": runtime, "error": lines[0]}
    times: list[list[float]] = [[] for _ in contenders]
    for turn in range(rounds):
        for index in order_of_turn(range(len(contenders)), turn):
            times[index].append(seconds_a_call(_TURN_SECONDS, contenders[index][1].run))
    medians = [statistics.median(values) for values in times]
    eager = {
        contender.network: median
        for (_, contender), median in zip(contenders, medians, strict=True)
        if contender.runtime == _EAGER
    }
    rows = []
    for (path, contender), median in zip(contenders, medians, strict=True):
        base = eager.get(contender.network)
        rows.append(
            {
                "model": contender.model,
                "network": contender.network,
                "runtime": contender.runtime,
                "milliseconds": round(median * 1000, 2),
                "clips_per_second": round(1 / median, 2),
                "memory_mib": _measure_memory(path, contender.runtime),
                "speedup": round(base / median, 2) if base else None,
            }
        )
        yield rows[-1]
    yield summarize(rows)


def summarize(rows: Sequence[Row]) -> Row:
    """Return the summary of all rows; only exports with a speedup over torch eager count."""
    exports = [row for row in rows if row["speedup"] and not row["runtime"].startswith("torch")]
    speedups: dict[str, dict[str, float]] = {}
    for row in exports:
        best = speedups.setdefault(row["network"], {})
        precision = row["runtime"].rpartition(" ")[2]
        best[precision] = max(best.get(precision, 0.0), row["speedup"])
    fastest = max(exports, key=lambda row: float(row["speedup"]), default=None)
    return {
        "speedup": fastest["speedup"] if fastest else None,
        "runtime": fastest["runtime"] if fastest else None,
        "speedups": speedups,
        "threads": torch.get_num_threads(),
    }


def make_bench_models(
    folder: Path, networks: Mapping[str, Sequence[str]], side: int, on_step: Callable[[str], None]
) -> list[Path]:
    """Return models with random weights and their exports in `folder`, and make those that are missing.

    Speed does not depend on weights.

    Args:
        folder: where to make them.
        networks: the settings of each model by name, such as `NETWORKS`.
        side: height and width of a clip in pixels.
        on_step: called with a sentence about each export that is made.
    """
    small = MotionVideoOptions(size=(64, 64), num_frames=16)
    data = make_motion_data(folder / "motion", MotionDataOptions(1, 1, 1, 0, small))
    items = load_items(data)
    made = []
    for name, settings in networks.items():
        run = folder / f"{name}_v{_VERSION}-{side}"
        made.append(run)
        config = load_config(None, ["clip.length=16", f"clip.size={side}", "model.head=gru", *settings])
        if not (run / MODEL_FILE).exists():
            run.mkdir(parents=True, exist_ok=True)
            torch.manual_seed(0)
            model = build_model(config.model, len(MOTION_CLASSES))
            checkpoint = Checkpoint(model.state_dict(), config, sorted(MOTION_CLASSES))
            save_checkpoint(run / MODEL_FILE, checkpoint)
        for form in ("onnx", "openvino"):
            for int8 in (False, True):
                made.append(run / f"{form}-{'int8' if int8 else 'float32'}")
                if not (made[-1] / EXPORT_FILE).exists():
                    on_step(f"making {made[-1]}")
                    options = ExportOptions(form, int8, max_drop=1.0)
                    export_model(
                        load_checkpoint(run / MODEL_FILE), items, made[-1], options, lambda text: None
                    )
    return made


def _random_clip(config: Config) -> Tensor:
    height, width = config.clip.size
    return torch.randn(1, config.clip.length, 3, height, width, generator=torch.Generator().manual_seed(0))


def _name_network(config: Config) -> str:
    """Return what tells networks apart that compute differently."""
    model, clip = config.model, config.clip
    backbone = ", ".join(
        [
            model.backbone,
            *([f"shift {model.shift}"] if model.shift != "off" else []),
            *(["differences"] if model.frame_differences else []),
        ]
    )
    return f"{backbone} + {model.head}, {clip.length}x{clip.size[0]}x{clip.size[1]}"


def _measure_memory(path: Path, runtime: str) -> float | None:
    """Return the MiB that a model takes when a new process loads it and computes twice; None if unknown."""
    if resident_bytes() is None:
        return None
    command = [sys.executable, "-c", _MEMORY_SCRIPT, str(path), runtime, str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise VidcliError(f"{path}: its memory cannot be measured ({done.stderr.strip().splitlines()[-1]})")
    return round(int(done.stdout.split()[-1]) / 2**20, 1)
