"""The training benchmark: that it measures what it names, and sums up what it measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from vidcli.bench import train_speed as bench
from vidcli.commands.app import app
from vidcli.config import Config
from vidcli.data.check import check_videos
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split

Configure = Callable[..., Config]
CPU = torch.device("cpu")


@pytest.fixture
def videos(motion_data: Path) -> list[VideoItem]:
    return bench.pick_videos(of_split(load_items(motion_data), "train"), 10)


def test_videos_are_picked_from_all_classes(motion_data: Path) -> None:
    train = of_split(load_items(motion_data), "train")
    assert len({item.label for item in bench.pick_videos(train, 8)}) == 8
    assert len(set(bench.pick_videos(train, 10))) == 10
    assert sorted(map(str, bench.pick_videos(train, 1000))) == sorted(map(str, train))


class _PlainLoop:
    """Stands in for the reference, whose workers take seconds to start."""

    workers = 1

    def __init__(self, items: list[VideoItem], config: Config, device: torch.device) -> None:
        self.turns = 0

    def choose_workers(self, tell: Callable[[], None]) -> None:
        tell()

    def turn(self) -> None:
        time.sleep(0.1)

    def close(self) -> None:
        pass


def test_rows_and_summary(
    videos: list[VideoItem], tmp_path: Path, small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_Reference", _PlainLoop)
    config = bench.bench_config(small_config(train__epochs=7, train__patience=1), rounds=3)
    shown: list[tuple[int, int]] = []
    *rows, summary = bench.bench_train(
        check_videos(videos, config),
        config,
        tmp_path,
        CPU,
        3,
        lambda done, total: shown.append((done, total)),
    )
    assert [row["part"] for row in rows] == ["decode", "load", "model", "whole", "reference"]
    speeds = {row["part"]: row["clips_per_second"] for row in rows}
    for row in rows:
        assert len(row["turns"]) == 3
        assert sorted(row["turns"])[1] == row["clips_per_second"]
    assert speeds["reference"] <= 100  # ten clips a tenth of a second
    assert summary["clips_per_second"] == speeds["whole"]
    assert summary["bound"] == min(("load", "model"), key=speeds.__getitem__)
    assert summary.keys() >= {"share_of_bound", "times_reference"}
    assert (summary["num_clips"], summary["batch_size"], summary["cache"]) == (10, 8, "memory")
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1 + 3 * 3  # one to warm up
    assert shown


def test_ratios_are_medians_of_the_turns_own(
    small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "num_workers", lambda configured: 2)

    class Source:
        cache = None

    turns = {"load": [100.0, 40.0, 90.0], "model": [20.0, 50.0, 30.0]}
    turns |= {"whole": [19.0, 40.0, 15.0], "reference": [19.0, 10.0, 5.0], "decode": [1.0, 1.0, 1.0]}
    # Ten clips need 1.25 s of two cores in the first turn: 16 a second. In the others the parts bound.
    cpu = {"load": [0.25, 0.01, 0.01], "model": [1.0, 0.01, 0.01]}
    summary = bench._summarize(turns, cpu, Source(), small_config(), 10)  # type: ignore[arg-type]
    assert summary["share_of_cores"] == 1.0  # of 19 / 16, 1.0 and 0.5
    assert summary["share_of_bound"] == 0.95  # of 0.95, 1.0 and 0.5
    assert summary["times_reference"] == 3.0  # of 1, 4 and 3
    assert summary["clips_per_second"] == 19.0
    assert (summary["bound"], summary["cache"]) == ("model", "off")


def test_the_reference_decodes_each_time_and_learns(
    videos: list[VideoItem], small_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_worker_counts", lambda: [1])
    reference = bench._Reference(videos, small_config(train__batch_size=4), CPU)
    before = [parameter.detach().clone() for parameter in reference._model.parameters()]
    told: list[int] = []
    reference.choose_workers(lambda: told.append(1))
    reference.turn()
    reference.close()
    assert (reference.workers, len(told)) == (1, 2)
    after = list(reference._model.parameters())
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    decoded = []
    plain = bench.decode_frames

    def counting(path: Path, *args: Any, **kwargs: Any) -> Any:
        decoded.append(kwargs["mode"])
        return plain(path, *args, **kwargs)

    monkeypatch.setattr(bench, "decode_frames", counting)
    first, second = (reference._clips[3] for _ in range(2))
    assert decoded == ["sequential", "sequential"]
    assert first[0].shape == (4, 3, 32, 32)
    assert first[1] == second[1]


def test_the_command_prints_objects_and_leaves_nothing_behind(
    motion_data: Path,
    in_tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "_Reference", _PlainLoop)
    command = ["bench", "train", str(motion_data), "--clips", "8", "--rounds", "1", "--device", "cpu", "-q"]
    for setting in ("clip.size=32", "clip.length=4", "model.width=16", "model.hidden=16"):
        command += ["--set", setting]
    printed = CliRunner().invoke(app, [*command, "--json"])
    assert printed.exit_code == 0, printed.stderr
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [row.get("part") for row in rows] == ["decode", "load", "model", "whole", "reference", None]
    assert {"clips_per_second", "share_of_bound"} <= rows[-1].keys()
    assert list(in_tmp_path.iterdir()) == []
    shown = CliRunner().invoke(app, command).stdout
    assert "vidcli train, epochs 2 on" in shown
    assert "whole, beside the plain loop" in shown
