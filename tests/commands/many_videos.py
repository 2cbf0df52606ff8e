"""A trained model beside a folder of many videos."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from vidcli.config import Config
from vidcli.train import start_run


def make_many(folder: Path, motion_data: Path, config: Config, num_videos: int) -> Path:
    """Fill a folder with `run`, a trained model, and `many`, small videos of which number 60 is broken.

    Args:
        folder: to fill, which is returned.
        motion_data: videos to learn from, and to link.
        config: of the run.
        num_videos: number of videos.
    """
    start_run(config, motion_data, folder / "run", torch.device("cpu"), lambda event: None)
    sources = sorted((motion_data / "test").rglob("*.mp4"))
    (folder / "many").mkdir()
    for number in range(num_videos):
        os.link(sources[number % len(sources)], folder / f"many/{number:03}.mp4")
    (folder / "many/060.mp4").unlink()
    (folder / "many/060.mp4").write_bytes(b"no video")
    return folder
