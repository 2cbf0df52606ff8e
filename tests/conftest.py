"""Small videos and settings that several test files share. Nothing here downloads anything."""

from __future__ import annotations

import functools
import gc
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.testing
from hypothesis import settings
from typer.main import get_command

from vidcli import report
from vidcli.artifacts.model_file import load_checkpoint
from vidcli.config import Config, load_config
from vidcli.synthetic import MotionVideoOptions, write_motion_videos
from vidcli.train import EpochRow, Event, start_run
from vidcli.video import encode_video

CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

# Networks this small gain nothing from a second thread, and lose much when the machine is busy.
torch.set_num_threads(1)

# A busy machine is no reason to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

QUICK_SETTINGS = {
    "clip.size": 32,
    "clip.length": 4,
    "data.workers": 2,
    "model.backbone": "compact_cnn",
    "model.head": "gru",
    "model.shift": "off",
    "model.frame_differences": False,
    "model.width": 16,
    "model.hidden": 16,
    "train.epochs": 1,
    "train.batch_size": 8,
    "train.plots": False,  # half a second each; tests/train/test_record.py draws them
}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave what is imported for all tests to be looked at for garbage once, not again and again.

    That are two million objects, and to walk through them takes a second. What libraries bring later is
    looked at seldom, too.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.set_threshold(2000, 10, 50)
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the tests out of the user's cache folder and away from the user's model."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("VIDCLI_CACHE", str(folder))
        patch.delenv("VIDCLI_MODEL", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")  # of the commands that tests start
        yield folder


@pytest.fixture(scope="session", autouse=True)
def commands_hear_signals() -> Iterator[None]:
    """Let the commands that tests start be ended, also where a shell runs the tests in the background.

    It has those ignore SIGINT, and nohup SIGHUP, and what is ignored is inherited; a handler is not.
    """
    usual = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    with ExitStack() as undo:
        for name, handler in usual.items():
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_IGN:
                undo.callback(signal.signal, number, signal.signal(number, handler))
        yield


@pytest.fixture(scope="session", autouse=True)
def command_line_is_built_once() -> Iterator[None]:
    """Spare each command that a test runs in its own process the tenth of a second to build them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", functools.cache(get_command))
        yield


@pytest.fixture(scope="session")
def motion_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder {train,val,test}/CLASS/*.mp4: 8 classes, 4 + 2 + 2 videos each, 8 frames of 32x32.

    Shared by the whole session: copy it before changing anything in it.
    """
    folder = tmp_path_factory.mktemp("data") / "motion"
    write_motion_videos(folder, 4, 2, 2, seed=0, options=MotionVideoOptions(size=(32, 32), num_frames=8))
    return folder


@pytest.fixture(scope="session")
def small_config() -> Callable[..., Config]:
    """Build settings that train in a second or two.

    Changes are given as a mapping, as keywords with `__` for the dot, or as both:
    `small_config({"train.lr": 0.1}, train__seed=3)`.
    """

    def build(changes: dict[str, Any] | None = None, **assignments: Any) -> Config:
        named = {name.replace("__", "."): value for name, value in assignments.items()}
        settings = QUICK_SETTINGS | (changes or {}) | named
        return load_config(None, [f"{name}={value}" for name, value in settings.items()])

    return build


@pytest.fixture(scope="session")
def _quick_run(
    motion_data: Path, small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("quick") / "run"
    start_run(small_config(), motion_data, folder, torch.device("cpu"), lambda event: None)
    return folder


@pytest.fixture(scope="module")
def quick_run(_quick_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on the motion videos with the quick settings: a copy for each file of tests."""
    return Path(shutil.copytree(_quick_run, tmp_path_factory.mktemp("of-file") / "run"))


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    """Write a video whose every frame differs, and return its path."""

    def write(
        path: Path, num_frames: int = 8, height: int = 32, width: int = 48, fps: float = 8, seed: int = 0
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Blocks of 8 pixels survive the coding; their colours change from frame to frame.
        rng = np.random.default_rng(seed)
        blocks = rng.integers(0, 256, (num_frames, -(-height // 8), -(-width // 8), 3), dtype=np.uint8)
        frames = blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]
        encode_video(path, [np.ascontiguousarray(frame) for frame in frames], fps)
        return path

    return write


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium without a window, driven by Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(SWITCHES))
        yield opened
        opened.close()


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `vidcli eval` write pictures that are none, for tests of all else: to draw takes half a second."""

    def write(scores: object, path: Path, *more: object) -> None:
        path.write_bytes(b"a picture")

    for name in ("draw_confusion", "draw_reliability"):
        monkeypatch.setattr(report, name, write)


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the test's own folder the working directory: `runs/` is relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@pytest.fixture(scope="session")
def two_classes(motion_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The motion videos of two classes only: 8 to train, 4 to validate, 4 to test.

    Shared by the whole session: take `pair_data` to change anything.
    """
    folder = tmp_path_factory.mktemp("data") / "two"
    for split in ("train", "val", "test"):
        for name in ("left", "right"):
            shutil.copytree(motion_data / split / name, folder / split / name)
    return folder


@pytest.fixture
def pair_data(two_classes: Path, tmp_path: Path) -> Path:
    """A copy of the motion videos of two classes."""
    shutil.copytree(two_classes, tmp_path / "pair")
    return tmp_path / "pair"


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

        _, made.rows = start_run(config, data, made.folder, torch.device("cpu"), keep)
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
