"""A small model, and servers of it in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.serve.client import TOKEN, Client
from vidcli.artifacts.description import Checkpoint
from vidcli.artifacts.model_file import save_checkpoint
from vidcli.config import Config
from vidcli.models import build_model
from vidcli.predict import Predictor
from vidcli.serve.api import Desk, build_app
from vidcli.serve.gate import Gate, Hosts
from vidcli.serve.inbox import Inbox
from vidcli.serve.listening import build_server, listen
from vidcli.serve.metrics import Metrics
from vidcli.serve.model_threads import ModelThreads

NAMES = ("left", "right", "up")


@pytest.fixture(scope="session")
def model(small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file; its weights were never trained, but give each video an answer of its own."""
    torch.manual_seed(0)
    config = small_config({"clip.sampling": "dense", "clip.stride_seconds": 0.125})
    path = tmp_path_factory.mktemp("serve") / "model.safetensors"
    save_checkpoint(path, Checkpoint(build_model(config.model, len(NAMES)).state_dict(), config, NAMES))
    return path


@pytest.fixture
def predictor(model: Path) -> Predictor:
    return Predictor.load(model, torch.device("cpu"))


@pytest.fixture
def video(write_video: Callable[..., Path], tmp_path: Path) -> Path:
    return write_video(tmp_path / "videos" / "a.mp4", num_frames=16)


@pytest.fixture
def start(predictor: Predictor, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Start servers in threads; they end with the test."""
    running = []

    def start_one(
        max_waiting: int = 32,
        max_bytes: int = 2**20,
        allow: tuple[Path, ...] = (),
        timeout: float = 60,
        clip_seconds: float | None = 0.5,
    ) -> Client:
        folder = tmp_path / f"inbox{len(running)}"
        folder.mkdir()
        metrics, thread = Metrics(), ModelThreads(max_waiting, 2, 4)
        inbox = Inbox(folder, max_bytes, allow, metrics)
        desk = Desk(predictor, clip_seconds, inbox, thread, metrics, timeout)
        listener = listen("127.0.0.1", 0)
        server = build_server(Gate(build_app(desk), TOKEN, Hosts("127.0.0.1"), metrics), timeout)
        life = threading.Thread(target=server.run, args=([listener],))
        life.start()
        running.append((server, life, thread))
        return Client(listener.getsockname()[1], inbox=folder, desk=desk)

    yield start_one
    for server, life, thread in running:
        server.should_exit = True
        life.join(30)
        thread.close()
        assert not life.is_alive()
