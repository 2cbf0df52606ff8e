"""Two subjects of one picture: a model learns from windows around each, and answers each by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.sheets import csv_text
from vidcli.video import encode_video

FPS, SECONDS, BLOCK = 10, 24, 3
HEIGHT, WIDTH, SIDE = 64, 128, 18


def _doing(subject: int, seconds: float, seed: int) -> str:
    """Return what a subject does: both change every three seconds, each in its own way."""
    block = int(seconds // BLOCK)
    return ("flash", "turn")[int(np.random.default_rng([seed, subject]).integers(2, size=20)[block])]


def _place(subject: int, seconds: float) -> tuple[float, float]:
    """Return x and y of the middle of a subject: they go round each other, and so change sides."""
    angle = 2 * np.pi * seconds / 16 + np.pi * subject
    return 64 + 40 * np.cos(angle), 32 + 18 * np.sin(angle)


def _draw(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frames = np.full((FPS * SECONDS, HEIGHT, WIDTH, 3), 90.0)
    for number, frame in enumerate(frames):
        for subject in (0, 1):
            seconds = number / FPS
            x, y = _place(subject, seconds)
            doing = _doing(subject, seconds, seed)
            angle = 0.9 * number if doing == "turn" else 0.6
            along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
            across = -(columns - x) * np.sin(angle) + (rows - y) * np.cos(angle)
            shade = 230 if doing == "turn" or number % 2 else 130
            frame[(np.abs(along) < SIDE / 2) & (np.abs(across) < 4)] = shade
    return np.clip(frames + rng.normal(0, 3, frames.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with four recordings, `labels.csv` and `boxes.csv`; `b` leaves the last one early."""
    folder = tmp_path_factory.mktemp("subjects")
    labels, boxes = [], []
    for seed in range(4):
        path = folder / f"day{seed}.mp4"
        encode_video(path, _draw(seed), FPS, options={"crf": "18"})
        split = ("train", "train", "val", "test")[seed]
        for subject, name in enumerate("ab"):
            for start in range(0, SECONDS, BLOCK):
                doing = _doing(subject, start, seed)
                labels.append((path.name, doing, split, path.stem, start, start + BLOCK, name))
            last = FPS * 14 if (seed, name) == (3, "b") else FPS * SECONDS
            for frame in range(last):
                x, y = _place(subject, frame / FPS)
                boxes.append((path.name, frame, name, x - SIDE / 2, y - SIDE / 2, SIDE, SIDE))
    header = ("path", "label", "split", "group", "start", "end", "track")
    (folder / "labels.csv").write_text(csv_text([header, *labels]))
    (folder / "boxes.csv").write_text(csv_text([("video", "frame", "track", "x", "y", "w", "h"), *boxes]))
    return folder


SETTINGS = {
    "clip.length": 6,
    "clip.size": 32,
    "clip.sampling": "dense",
    "clip.stride_seconds": 0.1,
    "data.clips_per_span": 5,
    "data.workers": 2,
    "model.backbone": "compact_cnn",
    "model.shift": "off",
    "model.width": 24,
    "model.hidden": 24,
    "train.epochs": 5,
    "train.lr": 3e-3,
    "train.plots": False,
}


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def run(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    boxes = "--boxes", recordings / "boxes.csv"
    _run("train", recordings / "labels.csv", *boxes, *settings, "--out", out, "--device", "cpu")
    return out


def test_two_subjects_of_one_video_get_different_answers(recordings: Path, run: Path):
    boxes = "--boxes", recordings / "boxes.csv"
    lines = _run("timeline", recordings / "day3.mp4", *boxes, "--model", run, "--format", "json")
    first, second = map(json.loads, lines.splitlines())
    assert (first["track"], second["track"]) == ("a", "b")

    def share_right(timeline: dict, subject: int, end: float) -> float:
        moments = np.arange(0.5, end, 0.25)
        said = [
            next((s["label"] for s in timeline["segments"] if s["start"] <= at < s["end"]), "")
            for at in moments
        ]
        return float(
            np.mean([name == _doing(subject, at, 3) for name, at in zip(said, moments, strict=True)])
        )

    assert share_right(first, 0, 23) > 0.85
    assert share_right(second, 1, 13.5) > 0.85
    assert max(segment["end"] for segment in second["segments"]) == pytest.approx(14.0, abs=0.01)
