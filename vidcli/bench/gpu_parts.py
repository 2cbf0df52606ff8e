"""What `bench gpu` measures of one network, or of decoding, in a process of its own.

    train      steps on batches that travel from the frame cache, beside steps on one batch that lies on the
               device: the share that is left is what loading costs
    predict    videos from the frame cache, beside the same clips lying on the device
    decode     clips from a file, by the CPU and by the device

The process prints an object a line. What ends it, such as memory that is out of bounds, ends nothing else.
"""

from __future__ import annotations

import itertools
import json
import logging
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidcli.arrays import Frames
from vidcli.bench.sample_videos import moving_picture
from vidcli.bench.timing import Row, wait_for
from vidcli.config import Config, load_config
from vidcli.data.dataset import ClipDataset
from vidcli.data.frames import FrameSource, MemoryCache
from vidcli.data.items import class_names_of
from vidcli.data.loader import Batch
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.models import for_inference, settle_clip
from vidcli.predict import Prediction, Predictor
from vidcli.runtime.processes import ALONE
from vidcli.runtime.threads import map_ahead, num_workers
from vidcli.synthetic import MotionVideoOptions, write_motion_videos
from vidcli.train.adapters import build_trained_model
from vidcli.train.advice import Pace
from vidcli.train.epoch import RunBatches
from vidcli.train.optimizer import autocast_dtype
from vidcli.train.update import Updater
from vidcli.video import decode_frames, encode_video
from vidcli.video.open.hardware import find_hardware

_WARM_STEPS = 3
_SEARCH_SECONDS = 8.0
_MANY = 1000
_NUM_FRAMES = 16
_FPS = 25


@dataclass(frozen=True)
class GpuJob:
    """What a process measures.

    Attributes:
        part: `network`, or `decode`, which comes first and writes the videos of the networks too.
        device: where to compute.
        folder: where the videos are, or are to be written.
        seconds: how long each measurement lasts.
        rounds: number of turns of each measurement, of which the median counts.
        name: of the network.
        settings: of the network and its clips, as `--set` takes them.
        batch_size: clips a step, if that many fit.
        most_clips: clips up to which is tried what fits.
        encoder: the config.json of an encoder of transformers; empty for other networks.
        size: height and width in pixels of the videos of the networks.
        num_videos: videos of each class to write.
        decode_size: height and width in pixels of the video to decode.
    """

    part: str
    device: str
    folder: str
    seconds: float
    rounds: int = 2
    name: str = ""
    settings: tuple[str, ...] = ()
    batch_size: int = 1
    most_clips: int = 1
    encoder: str = ""
    size: tuple[int, int] = (64, 64)
    num_videos: int = 1
    decode_size: tuple[int, int] = (120, 160)

    @property
    def json(self) -> str:
        """The job as the argument of its process."""
        return json.dumps(asdict(self))


def run_job(job: GpuJob) -> Iterator[Row]:
    """Measure; a part that fails is a row with `error`, one that cannot be done a row with `skipped`."""
    of_network = {"train": measure_training, "predict": measure_prediction}
    parts = of_network if job.part == "network" else {"videos": write_videos, "decode": measure_decoding}
    for name, measure in parts.items():
        about = {"part": name} | ({"network": job.name} if job.name else {})
        if job.encoder and find_spec("transformers") is None:
            yield about | {"skipped": "needs transformers: pip install 'vidcli[hf]'"}
            continue
        try:
            yield about | measure(job)
        except Exception as error:  # whatever it is, the next part may do well
            yield about | {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def write_videos(job: GpuJob) -> Row:
    """Write the videos that networks are measured on."""
    started = time.perf_counter()
    options = MotionVideoOptions(size=job.size, num_frames=32)
    write_motion_videos(job.folder, job.num_videos, 0, 0, options=options)
    return {"num_videos": 8 * job.num_videos, "seconds": round(time.perf_counter() - started, 1)}


class _Subject:
    """A network with random weights, and videos whose frames are in memory."""

    def __init__(self, job: GpuJob) -> None:
        settings = [*job.settings, f"train.epochs={_MANY}", "model.pretrained=false"]
        if job.encoder:
            folder = Path(job.folder).parent / job.name
            folder.mkdir(exist_ok=True)
            (folder / "config.json").write_text(job.encoder, encoding="utf-8")
            settings.append(f"model.backbone=hf:{folder}")
        self.config = settle_clip(load_config(None, settings))
        self.device = torch.device(job.device)
        self.items = of_split(load_items(Path(job.folder)), "train")
        self.names = class_names_of(self.items)
        self.source = FrameSource(self.config, MemoryCache())
        torch.manual_seed(0)
        self.model = build_trained_model(self.config, len(self.names)).to(self.device)
        dataset = self.dataset(self.config)
        indices = range(len(self.items))
        workers = num_workers(0)
        for _ in map_ahead(lambda index: dataset.cut(index, 0), indices, workers, 2 * workers):
            pass

    def dataset(self, config: Config) -> ClipDataset:
        return ClipDataset(self.items, self.names, config, True, self.source)

    def of_batch(self, batch_size: int) -> tuple[RunBatches, Updater]:  # type: ignore[type-arg]
        """Return the batches of a run and what updates the network by them."""
        train = self.config.train.model_copy(update={"batch_size": batch_size})
        config = self.config.model_copy(update={"train": train})
        batches = RunBatches(config, self.dataset(config), 1, self.device, ALONE)
        counts = Counter(item.label for item in self.items)
        of_classes = [counts[name] for name in self.names]
        update = Updater(self.model, config, of_classes, batches.num_steps, self.device)
        update.start_epoch(0)
        return batches, update


def measure_training(job: GpuJob) -> Row:
    """Measure steps of training on batches that travel, beside steps on one that lies on the device."""
    subject = _Subject(job)
    largest, tried = _largest_batch(subject, job.most_clips)
    batch_size = min(job.batch_size, largest)
    run, update = subject.of_batch(batch_size)
    position, pace = itertools.count(), Pace()
    _reset_memory(subject.device)

    def step(batch: Batch) -> int:
        update(batch.clips_BTCHW, batch.labels_B, next(position))
        return len(batch.indices)

    def load_and_step() -> int:
        batch = next(batches)
        count = step(batch)
        pace.add(count, batch.device_waited() if batch.device_waited else batch.seconds_waited)
        return count

    rates: dict[str, list[float]] = {"resident": [], "travelling": []}
    busy = []
    with closing(run.left(0, 0)) as batches:
        kept = next(batches)
        for _ in range(job.rounds):
            for _ in range(_WARM_STEPS):
                step(kept)
            rates["resident"].append(_rate(lambda: step(kept), job.seconds, subject.device))
            for _ in range(_WARM_STEPS):  # those that lay ready meanwhile
                load_and_step()
            pace = Pace()
            rates["travelling"].append(_rate(load_and_step, job.seconds, subject.device))
            busy.append(1 - pace.waiting)
    dtype = autocast_dtype(subject.config.train, subject.device) or torch.float32
    return {
        "precision": str(dtype).removeprefix("torch."),
        "batch_size": batch_size,
        "largest_batch": largest,
        "largest_batch_tried": tried,
        **_summary_of(rates),
        "busy_share": round(statistics.mean(busy), 3),
        "peak_memory_mib": _peak_mib(subject.device),
    }


def _largest_batch(subject: _Subject, most: int) -> tuple[int, int]:
    """Return the largest power of two of clips that pass through training at once, and of those tried."""
    _, update = subject.of_batch(1)
    clip = subject.config.clip
    size = tried = 1
    started = time.perf_counter()
    while 2 * size <= most and time.perf_counter() - started < _SEARCH_SECONDS:
        tried = 2 * size
        clips_BTCHW = torch.zeros(1, clip.length, 3, *clip.size, device=subject.device)
        clips_BTCHW = clips_BTCHW.expand(tried, -1, -1, -1, -1)
        labels_B = torch.zeros(tried, dtype=torch.int64, device=subject.device)
        if not (update.has_room(clips_BTCHW, labels_B) and update.fits(clips_BTCHW, labels_B)):
            break
        size = tried
    if subject.device.type == "cuda":
        torch.cuda.empty_cache()
    return size, tried


def measure_prediction(job: GpuJob) -> Row:
    """Measure prediction of videos from the frame cache, beside clips that lie on the device."""
    subject = _Subject(job)
    model = for_inference(subject.model)
    predictor = Predictor(model, subject.config, subject.names, subject.device, subject.source)
    kept = [
        (item, predictor.views.transform.finish(predictor.views.cut(item).to(subject.device)))
        for item in subject.items[:_NUM_FRAMES]
    ]
    rates: dict[str, list[float]] = {"resident": [], "travelling": []}
    _reset_memory(subject.device)

    def resident() -> Generator[Prediction, None, None]:
        begun: deque[Callable[[], Prediction]] = deque()
        for item, views in itertools.cycle(kept):
            begun.append(predictor.begin(item, views))
            if len(begun) > 1:
                yield begun.popleft()()

    for _ in range(job.rounds):
        rates["resident"].append(_rate_of(resident(), job.seconds, subject.device))
        travelling = predictor.predict_many(list(subject.items) * _MANY)
        rates["travelling"].append(_rate_of(travelling, job.seconds, subject.device))
    return {"precision": "float32", **_summary_of(rates), "peak_memory_mib": _peak_mib(subject.device)}


def measure_decoding(job: GpuJob) -> Row:
    """Measure 16 frames spread over a video, by the CPU and by the device, and how far these differ."""
    height, width = job.decode_size
    path = Path(job.folder).parent / "decode.mp4"
    options = {"crf": "20", "g": "50", "bf": "2"}
    encode_video(path, moving_picture(4 * _FPS, height, width), _FPS, "libx264", options=options)
    moments = (np.arange(_NUM_FRAMES) + 0.5) * 4 / _NUM_FRAMES
    workers = num_workers(0)

    def decode(hwaccel: str) -> Frames:
        frames: Frames = decode_frames(path, lambda duration: moments, hwaccel=hwaccel).frames  # type: ignore[arg-type]
        return frames

    def rate(hwaccel: str) -> float:
        clips = map_ahead(lambda number: decode(hwaccel), range(_MANY * _MANY), workers, 2 * workers)
        return round(_rate_of(clips, job.seconds, torch.device("cpu")), 2)

    row: Row = {"size": f"{width}x{height}", "workers": workers, "cpu_clips_per_second": rate("off")}
    heard = _Heard()
    logging.getLogger("vidcli.video").addHandler(heard)
    is_there = job.device.startswith("cuda") and find_hardware("cuda") is not None
    if is_there:
        difference = np.abs(decode("cuda").astype(np.int16) - decode("off"))
        is_there = not heard.messages  # of a file that the device cannot decode
    if not is_there:
        return row | {"device": None, "why": " ".join(heard.messages) or "computing on the CPU"}
    return row | {
        "device": "cuda",
        "device_clips_per_second": rate("cuda"),
        "mean_difference": round(float(difference.mean()), 4),
        "largest_difference": int(difference.max()),
    }


class _Heard(logging.Handler):
    """Keeps what decoding warns of."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _rate(step: Callable[[], int], seconds: float, device: torch.device) -> float:
    """Return how many clips a second steps compute that are repeated for a time."""
    wait_for(device)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        count += step()
    wait_for(device)
    return count / (time.perf_counter() - started)


def _rate_of(results: Generator[object, None, None], seconds: float, device: torch.device) -> float:
    """Return how many results a second a generator gives, after those that it begins with."""
    with closing(results):
        for _ in range(_WARM_STEPS):
            next(results)

        def take() -> int:
            next(results)
            return 1

        return _rate(take, seconds, device)


def _summary_of(rates: dict[str, Sequence[float]] | dict[str, list[float]]) -> Row:
    pairs = zip(rates["travelling"], rates["resident"], strict=True)
    return {
        "per_second": round(statistics.median(rates["travelling"]), 2),
        "resident_per_second": round(statistics.median(rates["resident"]), 2),
        "share": round(statistics.median(ours / most for ours, most in pairs), 3),
    }


def _reset_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_mib(device: torch.device) -> int | None:
    return torch.cuda.max_memory_allocated(device) // 2**20 if device.type == "cuda" else None


def _main() -> None:
    values: dict[str, Any] = json.loads(sys.argv[1])
    pairs = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    job = GpuJob(**values | pairs)
    for row in run_job(job):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    _main()
