"""A few clips, what is said of them, and pages on them in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.review.evaluations import ANSWERS_A, ANSWERS_B, write_answers
from tests.serve.client import TOKEN, Client
from vidcli.review.clips import ClipList, read_clips
from vidcli.review.desk import Desk
from vidcli.review.journal import Journal
from vidcli.review.knowledge import Kernels
from vidcli.review.pages import build_page
from vidcli.review.playable import MediaShelf
from vidcli.review.retrain import Training
from vidcli.review.run_answers import RunsSeen, see_runs
from vidcli.serve.listening import build_server, listen

NUM_CLIPS = 6


def kernels_of(points_ND: Any) -> Kernels:
    """Return the kernels of points, the same for all panels and streams."""
    centred = points_ND - points_ND.mean(axis=0)
    kernel = centred @ centred.T
    kernel = kernel / kernel.diagonal().mean()
    return Kernels(
        dict.fromkeys([("scene", "appearance"), ("scene", "motion")], kernel), np.ones(len(kernel), bool), {}
    )


@pytest.fixture
def folder(write_video: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder of unlabelled clips."""
    for number in range(NUM_CLIPS):
        write_video(tmp_path / "clips" / f"{number}.mp4", num_frames=16, seed=number)
    return tmp_path / "clips"


@pytest.fixture
def clips(folder: Path) -> ClipList:
    return read_clips(folder, False, lambda text: None)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


@pytest.fixture
def journal(clips: ClipList, manifest: Path) -> Iterator[Journal]:
    with closing(Journal(clips, manifest, "Ada")) as journal:
        yield journal


@pytest.fixture
def desk(journal: Journal, clips: ClipList, manifest: Path, tmp_path: Path) -> Iterator[Desk]:
    """A desk whose clips are described already: by what is in two rooms."""
    (tmp_path / "copies").mkdir()
    arguments = ["--config=demo", "--set=train.epochs=1", "--device=cpu"]
    desk = Desk(
        clips,
        journal,
        MediaShelf(tmp_path / "copies"),
        lambda desk: Training(manifest, tmp_path / "runs", arguments, desk.wake),
    )
    points = np.random.default_rng(0).normal(size=(len(clips.items), 4))
    points[:, 0] += 5 * (np.arange(len(points)) % 2)

    def describe(progress: Callable[[int, int], None]) -> Kernels:
        progress(len(points), len(points))
        return kernels_of(points)

    desk.begin(describe)
    with closing(desk):
        yield desk


@contextmanager
def served(desk: Desk, runs: RunsSeen | None = None, first: str = "/") -> Iterator[Client]:
    """Answer in a thread."""
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = build_server(build_page(desk, TOKEN, port, runs, first), 5)
    life = threading.Thread(target=server.run, args=([listener],))
    life.start()
    yield Client(port, desk=desk)
    server.should_exit = True
    life.join(30)
    assert not life.is_alive()


@pytest.fixture
def client(desk: Desk) -> Iterator[Client]:
    with served(desk) as client:
        yield client


@pytest.fixture
def runs_client(desk: Desk, clips: ClipList, tmp_path: Path) -> Iterator[Client]:
    """A page that compares two runs."""
    tables = [
        (
            f"runs/{name}",
            write_answers(tmp_path / f"{name}.csv", [*zip(paths_of(clips), answers, strict=True)]),
        )
        for name, answers in (("a", ANSWERS_A), ("b", ANSWERS_B))
    ]
    with served(desk, see_runs(clips, tables, print), "/runs") as client:
        yield client


def paths_of(clips: ClipList) -> list[Path]:
    return [item.path for item in clips.items]
