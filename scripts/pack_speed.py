"""Measure how much faster epochs are from packed shards than from 1080p sources.

    python scripts/pack_speed.py [--videos 8] [--seconds 5] [--epochs 3] [--set model.backbone=resnet18]

Videos of moving shapes on noise, 1920x1080, H.264 as cameras write it, are made and packed; the same model is
trained from both, without keeping frames. One JSON object goes to stdout: seconds of the median epoch from
each, their ratio, and the bytes.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from typer.testing import CliRunner

from vidcli.arrays import Frames
from vidcli.commands import app
from vidcli.config import load_config
from vidcli.train import start_run
from vidcli.train.events import EpochDone
from vidcli.video import encode_video

HEIGHT, WIDTH, FPS = 1080, 1920, 30
CODING = {"preset": "veryfast", "g": "250", "bf": "3", "crf": "23"}
BASE = (
    *("model.backbone=compact_cnn", "model.pretrained=false", "clip.length=16", "clip.size=112"),
    *("train.batch_size=4", "train.plots=false", "data.cache=off", "train.tracker=none"),
)


def write_sources(folder: Path, num_videos: int, num_seconds: float) -> None:
    """Write videos of two classes: a bright square goes to the left or to the right."""
    rng = np.random.default_rng(0)
    noise = rng.integers(90, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for number in range(num_videos):
        name = ("left", "right")[number % 2]
        top, speed = int(rng.integers(0, HEIGHT - 200)), (-8 if name == "left" else 8)
        frames = (draw(noise, top, speed * at) for at in range(int(num_seconds * FPS)))
        split = "val" if number >= num_videos - 4 else "train"
        (folder / split / name).mkdir(parents=True, exist_ok=True)
        encode_video(folder / split / name / f"{number:03}.mp4", frames, FPS, options=CODING)


def draw(noise: Frames, top: int, shift: int) -> Frames:
    """Return the noise moved to the side, with a square on it that moves along."""
    frame = np.roll(noise, shift, axis=1)
    left = (WIDTH // 2 + shift) % (WIDTH - 200)
    frame[top : top + 200, left : left + 200] = 255
    return frame


def time_epochs(data: Path, run: Path, assignments: list[str]) -> float:
    """Return the seconds of the median epoch, the first one left out: the check before it is no epoch."""
    ends: list[float] = []

    def note(event: object) -> None:
        if isinstance(event, EpochDone):
            ends.append(time.perf_counter())

    start_run(load_config(None, assignments), data, run, torch.device("cpu"), note)
    return float(statistics.median(np.diff(ends).tolist()))


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, pack, train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    given = parser.parse_args(arguments)
    assignments = [*BASE, f"train.epochs={given.epochs}", *given.assignments]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(folder / "sources", given.videos, given.seconds)
        packed = CliRunner().invoke(app, ["pack", str(folder / "sources"), "-o", str(folder / "shards")])
        print(packed.stderr, file=sys.stderr)
        sources = time_epochs(folder / "sources", folder / "a", assignments)
        shards = time_epochs(folder / "shards", folder / "b", assignments)
        sizes = [
            sum(path.stat().st_size for path in (folder / place).rglob(f"*{suffix}"))
            for place, suffix in (("sources", ".mp4"), ("shards", ".tar"))
        ]
    print(
        json.dumps(
            {
                "epoch_seconds_sources": round(sources, 2),
                "epoch_seconds_shards": round(shards, 2),
                "ratio": round(sources / shards, 2),
                "bytes_sources": sizes[0],
                "bytes_shards": sizes[1],
            }
        )
    )


if __name__ == "__main__":
    main()
