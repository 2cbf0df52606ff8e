"""What the tests of training share: a folder of two classes, and a run with its events."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from vidcli.artifacts.checkpoint import load_checkpoint
from vidcli.config import Config
from vidcli.train import EpochRow, Event, start_run

CPU = torch.device("cpu")


@dataclass
class Run:
    """A run directory, and what training told."""

    folder: Path
    rows: list[EpochRow] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def weights(self, name: str = "last.safetensors") -> dict[str, torch.Tensor]:
        return dict(load_checkpoint(self.folder / name).weights)

    def metrics(self) -> str:
        return (self.folder / "metrics.jsonl").read_text()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def pair_data(motion_data: Path, tmp_path: Path) -> Path:
    """A copy of the motion videos of two classes only: 8 to train, 4 to validate, 4 to test."""
    folder = tmp_path / "pair"
    for split in ("train", "val", "test"):
        for name in ("left", "right"):
            shutil.copytree(motion_data / split / name, folder / split / name)
    return folder


@pytest.fixture
def train_run(tmp_path: Path) -> Callable[..., Run]:
    """Train in a folder of the test's own; `on_event` sees each event after it is kept."""

    def run(
        config: Config, data: Path, name: str = "run", on_event: Callable[[Event], None] | None = None
    ) -> Run:
        made = Run(tmp_path / name)

        def keep(event: Event) -> None:
            made.events.append(event)
            if on_event is not None:
                on_event(event)

        _, made.rows = start_run(config, data, made.folder, CPU, keep)
        return made

    return run


def assert_same_weights(
    weights: dict[str, torch.Tensor], others: dict[str, torch.Tensor], same: bool = True
) -> None:
    """Compare bit for bit."""
    assert list(weights) == list(others)
    assert all(torch.equal(weights[name], others[name]) for name in weights) == same


@pytest.fixture
def same_weights() -> Callable[..., None]:
    return assert_same_weights
