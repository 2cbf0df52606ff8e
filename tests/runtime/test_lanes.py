"""Work aside: at once on a CPU, in a stream of its own on a GPU; and how long the main lane stood still."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from vidcli.runtime.lanes import Lanes, start_fetching


def test_a_cpu_does_at_once_what_is_done_aside() -> None:
    lanes = Lanes(torch.device("cpu"))
    stop = lanes.start_watch()
    with lanes.aside():
        made = torch.ones(3) * 2
        time.sleep(0.02)
    lanes.join(made)
    seconds = stop()
    assert made.tolist() == [2, 2, 2]
    assert seconds() == seconds() >= 0.02


class FakeCuda:
    """Streams that write down what they are asked for, and events on a clock of their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[Any] = []
        self.clock = 0.0
        cuda = self

        class Stream:
            def __init__(self, device: torch.device) -> None:
                self.name = "side"

            def wait_stream(self, other: Stream) -> None:
                cuda.log.append((self.name, "waits for", other.name))

            def __enter__(self) -> None:
                cuda.log.append((self.name, "begins"))

            def __exit__(self, *error: object) -> None:
                cuda.log.append((self.name, "ends"))

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self, stream: Stream) -> None:
                assert stream.name == "main"
                self.at = cuda.clock

            def synchronize(self) -> None:
                cuda.log.append("synchronized")

            def elapsed_time(self, end: Event) -> float:
                return (end.at - self.at) * 1000

        main = Stream(torch.device("cpu"))
        main.name = "main"
        for name, value in {
            "Stream": Stream,
            "Event": Event,
            "stream": lambda stream: stream,
            "current_stream": lambda device: main,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)


def test_a_gpu_has_a_lane_for_it_and_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    lanes = Lanes(torch.device("cuda"))
    stop = lanes.start_watch()
    cuda.clock += 1.5
    with lanes.aside():
        cuda.log.append("copies")

    class Made:
        def record_stream(self, stream: Any) -> None:
            cuda.log.append(("used by", stream.name))

    lanes.join(Made())  # type: ignore[arg-type]
    seconds = stop()
    assert cuda.log == [
        ("side", "begins"), "copies", ("side", "ends"),
        ("main", "waits for", "side"), ("used by", "main"),
    ]  # fmt: skip
    assert seconds() == pytest.approx(1.5)
    assert cuda.log[-1] == "synchronized"  # only who asks for the time waits


@pytest.mark.cuda
def test_the_main_lane_uses_what_was_made_aside() -> None:
    device = torch.device("cuda")
    lanes = Lanes(device)
    stop = lanes.start_watch()
    with lanes.aside():
        made = torch.rand(2**22).pin_memory().to(device, non_blocking=True) * 0 + 2
    lanes.join(made)
    assert float(made.sum()) == 2**23
    assert stop()() > 0


@pytest.mark.cuda
def test_what_is_fetched_is_there_before_later_work_is_done() -> None:
    made = torch.arange(5, device="cuda")
    wait = start_fetching(made)
    busy = torch.rand(4096, 4096, device="cuda")
    for _ in range(200):
        busy = busy @ busy * 1e-3
    idle = torch.cuda.Event()  # type: ignore[no-untyped-call]
    idle.record()
    assert wait().tolist() == [0, 1, 2, 3, 4]
    assert not idle.query()


def test_what_is_on_a_cpu_needs_no_fetching() -> None:
    made = torch.arange(5)
    assert start_fetching(made)() is made
