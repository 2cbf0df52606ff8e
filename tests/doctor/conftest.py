"""Data sets with things wrong on purpose."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidcli.config import load_config
from vidcli.doctor import DataReport, check_data
from vidcli.synthetic import MotionVideoOptions, render_motion
from vidcli.video import encode_video

COLUMNS = ("path", "label", "split", "group", "start", "end", "track")


@pytest.fixture(scope="session")
def motion() -> Callable[..., np.ndarray]:
    """Return the frames of a built-in motion video; equal seeds show the same scene."""

    def render(name: str = "left", seed: int = 0, num_frames: int = 16, side: int = 64) -> np.ndarray:
        look = MotionVideoOptions(size=(side, side), num_frames=num_frames)
        return render_motion(name, np.random.default_rng(seed), look).frames

    return render


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Encode frames to a file, its folder made where needed, and return its path."""

    def encode(
        path: Path, frames: np.ndarray, fps: float = 12, codec: str = "libx264", **options: Any
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        given = {name: str(value) for name, value in options.items()}
        encode_video(path, [np.ascontiguousarray(frame) for frame in frames], fps, codec, options=given)
        return path

    return encode


@pytest.fixture(scope="session")
def check() -> Callable[..., DataReport]:
    """Check a data set with short clips and two threads."""

    def run(data: Path, **assignments: Any) -> DataReport:
        settings = {"clip.length": 8, "clip.size": 32, "data.workers": 2}
        settings |= {name.replace("__", "."): value for name, value in assignments.items()}
        return check_data(data, load_config(None, [f"{name}={value}" for name, value in settings.items()]))

    return run


@pytest.fixture(scope="session")
def clean_videos(tmp_path_factory, motion, write) -> list[Path]:
    """SPLIT/CLASS.mp4: left and up, in train, val and test; nothing is wrong with them."""
    folder = tmp_path_factory.mktemp("clean")
    return [
        write(folder / split / f"{name}.mp4", motion(name, seed=2 * number + position))
        for number, split in enumerate(("train", "val", "test"))
        for position, name in enumerate(("left", "up"))
    ]


@pytest.fixture
def write_manifest(tmp_path, clean_videos) -> Callable[..., Path]:
    """Write a manifest of the clean videos, changed where told, and of further rows."""

    def build(*rows: dict[str, Any], clean: dict[str, Any] | None = None) -> Path:
        table = [
            {"path": path, "label": path.stem, "split": path.parent.name} | (clean or {})
            for path in clean_videos
        ]
        with open(tmp_path / "manifest.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows([*table, *rows])
        return tmp_path / "manifest.csv"

    return build
