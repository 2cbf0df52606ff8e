"""The share of time spent waiting for data is what it is, is told, and the remedy fits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidcli.config import Config
from vidcli.console.training_view import describe_waits
from vidcli.data.frames import FrameSource, MemoryCache
from vidcli.train import EpochDone, Notice, StepDone, Waits, advice
from vidcli.train.advice import Pace, waiting_notice


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(advice.time, "monotonic", lambda: self.now)


def test_the_share_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    epoch = Pace()
    clock.now += 8
    epoch.add(16, 0.5)
    assert epoch.clips_per_second == pytest.approx(2)
    assert epoch.waiting == pytest.approx(0.5 / 8)
    assert not epoch.is_held_up
    clock.now += 12
    epoch.add(16, 2.5)
    assert epoch.waiting == pytest.approx(0.15)
    assert epoch.is_held_up


def test_a_short_wait_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    epoch = Pace()
    clock.now += 1
    epoch.add(16, 0.9)
    assert epoch.waiting == pytest.approx(0.9)
    assert not epoch.is_held_up


@pytest.mark.parametrize(("waited", "is_device"), [(0.2, False), (2.5, True)])
def test_who_waits_for_whom(monkeypatch: pytest.MonkeyPatch, waited: float, is_device: bool) -> None:
    clock = Clock(monkeypatch)
    epoch = Pace()
    clock.now += 0.5
    assert epoch.waits("cuda") is None  # the start of an epoch tells nothing
    clock.now += 9.5
    epoch.add(16, waited)
    waits = epoch.waits("cuda")
    assert waits == Waits("cuda", waited / 10)
    assert waits.is_device == is_device
    shown = describe_waits(waits)
    assert shown == ("GPU waits for videos 25%" if is_device else "videos wait for GPU, busy 98%")
    assert describe_waits(Waits("cpu", 0.5)) == "model waits for videos 50%"


def test_the_end_of_an_epoch_tells_who_waited(
    small_config: Callable[..., Config],
    pair_data: Path,
    train_run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(advice, "_TOLERATED_SECONDS", 0.0)
    slow_down(monkeypatch, 0.2)
    (epoch,) = train_run(small_config(data__cache="off", train__epochs=1), pair_data).of(EpochDone)
    assert epoch.waits.device == "cpu"
    assert epoch.waits.is_device
    frozen = small_config(train__freeze_epochs=1, train__epochs=1, train__frozen_clips=1)
    (of_features,) = train_run(frozen, pair_data, "frozen").of(EpochDone)
    assert of_features.waits is None


def slow_down(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    plain = FrameSource.frames

    def slow(self: FrameSource, *args: Any) -> Any:
        time.sleep(seconds)
        return plain(self, *args)

    monkeypatch.setattr(FrameSource, "frames", slow)


def told(events: list[Any]) -> list[str]:
    return [e.text for e in events if isinstance(e, Notice) and "waiting for data" in e.text]


def test_waiting_is_told_at_each_step_and_a_remedy_once(
    small_config: Callable[..., Config],
    pair_data: Path,
    train_run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(advice, "_TOLERATED_SECONDS", 0.0)
    slow_down(monkeypatch, 0.2)
    config = small_config(data__cache="off", train__epochs=2, train__batch_size=4)
    run = train_run(config, pair_data)
    # In the second epoch the first clips are there: they were loaded beside the validation.
    steps = [step for step in run.of(StepDone) if step.epoch == 1]
    assert len(steps) == 2
    assert all(0.3 < step.waiting <= 1 for step in steps)
    (notice,) = told(run.events)
    assert "data.cache=disk" in notice
    assert "data.workers (now 2)" in notice


def test_the_remedy_fits_the_settings(small_config: Callable[..., Config]) -> None:
    def remedy(cached: bool = False, **settings: Any) -> str:
        config = small_config(**settings)
        return waiting_notice(0.256, config.data, FrameSource(config, MemoryCache() if cached else None))

    assert remedy(data__cache="off").startswith("26% of this epoch was spent waiting for data; what helps:")
    assert "data.cache=disk" in remedy(data__cache="off")
    assert "larger data.cache_gib" in remedy()
    assert "cache" not in remedy(cached=True)
    assert "cache" not in remedy(data__decode="keyframes")
