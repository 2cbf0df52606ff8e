"""Measure how long the button Train of `vidcli review` takes, with the features of the page kept on disk.

    python scripts/retrain_seconds.py [--clips 500] [--size 128] [--rounds 2] [--folder DIR]

Motion videos of eight classes are made, described as the page describes them, and learnt from as the button
does. One JSON object goes to stdout: seconds to describe the clips at first and when features are kept, and
seconds of each training, from the start of its process to its end, and those of its processors.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vidcli.data.manifest import manifest_text, read_data
from vidcli.review.knowledge import SETTINGS, describe_clips
from vidcli.review.retrain import Training
from vidcli.runtime.files import write_text
from vidcli.synthetic import MOTION_CLASSES, MotionVideoOptions, write_motion_videos


def measure(folder: Path, num_clips: int, size: int, rounds: int) -> dict[str, Any]:
    """Return what was measured.

    Args:
        folder: for the videos, the labels and the runs.
        num_clips: videos to learn from.
        size: their height and width in pixels.
        rounds: number of trainings.
    """
    each = -(-num_clips // len(MOTION_CLASSES))
    if not (folder / "clips").exists():
        write_motion_videos(folder / "clips", each, 1, 1, options=MotionVideoOptions((size, size)))
    items = [item for item in read_data(folder / "clips").items if item.split == "train"][:num_clips]
    write_text(folder / "labels.csv", manifest_text(items))
    told: dict[str, Any] = {"clips": len(items), "threads": torch.get_num_threads()}
    for name in ("describe_seconds", "describe_again_seconds"):
        started = time.monotonic()
        describe_clips(items, torch.device("cpu"), print, _show)
        told[name] = round(time.monotonic() - started, 1)
    told |= {"train_seconds": [], "train_cpu_seconds": []}
    settings = [f"--set={text}" for text in SETTINGS]
    for number in range(rounds):
        training = Training(
            folder / "labels.csv", folder / f"runs{number}", ["--device=cpu", *settings], lambda: None
        )
        started, before = time.monotonic(), os.times()
        training.start()
        while training.is_running:
            time.sleep(0.1)
        told["train_seconds"].append(round(time.monotonic() - started, 1))
        training.stop()  # waits for what it printed last
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        told["train_cpu_seconds"].append(round(used, 1))
        last = training.to_dict()
        assert last is not None
        if last["code"] != 0:
            raise SystemExit("\n".join(last["lines"]))
    return told


def _show(done: int, total: int) -> None:
    print(f"\rdescribed {done}/{total}", end="", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line (`sys.argv` without `arguments`), measure, print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep videos and runs here")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="vidcli-retrain-") as made:
        print(json.dumps(measure(options.folder or Path(made), options.clips, options.size, options.rounds)))


if __name__ == "__main__":
    main()
