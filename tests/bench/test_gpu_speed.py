"""`vidcli bench gpu` runs all of it on a CPU with tiny shapes, and goes on where a part fails."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tests.forks import Forked
from vidcli.bench import gpu_parts, gpu_speed
from vidcli.bench.gpu_parts import GpuJob
from vidcli.commands.app import app

CPU = torch.device("cpu")


_AS_A_PROGRAM = "import runpy; runpy.run_module('vidcli.bench.gpu_parts', run_name='__main__')"


def start(command: list[str], **streams: Any) -> Any:
    """Start the process of a part; those of networks are forks, which saves seconds."""
    assert command[:3] == [sys.executable, "-m", "vidcli.bench.gpu_parts"]
    if '"decode"' in command[3]:
        return subprocess.Popen(command, **streams)
    return Forked(["-c", _AS_A_PROGRAM, command[3]], stdout=streams["stdout"], stderr=streams["stderr"])


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        known = {name: getattr(subprocess, name) for name in ("PIPE", "DEVNULL")}
        patch.setattr(gpu_speed, "subprocess", SimpleNamespace(Popen=start, **known))
        result = CliRunner().invoke(app, ["bench", "gpu", "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.stdout + result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_part_is_an_object_and_the_summary_the_last(rows: list[dict[str, Any]]) -> None:
    *parts, summary = rows
    names = [f"{network.name}-tiny" for network in gpu_speed.NETWORKS]
    of_networks = [(part, name) for name in names for part in ("train", "predict")]
    assert [(row["part"], row.get("network")) for row in parts] == [
        ("machine", None), ("tests", None), ("videos", None), ("decode", None), *of_networks,
    ]  # fmt: skip
    machine, tests, videos, decode, *networks = parts
    assert machine["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert tests["skipped"] == "they need CUDA, and this computes on cpu"
    assert videos["num_videos"] == 16
    for row in networks:
        assert row["per_second"] > 0 < row["resident_per_second"]
        assert row["share"] == pytest.approx(row["per_second"] / row["resident_per_second"], abs=0.01)
        if row["part"] == "train":
            assert (row["batch_size"], row["largest_batch"], row["precision"]) == (4, 4, "float32")
            assert 0 <= row["busy_share"] <= 1
    assert decode["cpu_clips_per_second"] > 0
    assert (decode["device"], decode["why"]) == (None, "computing on the CPU")
    assert len(summary["shares"]) == 6
    assert summary["worst_share"] == min(summary["shares"].values())
    assert (summary["reaches_goal"], summary["num_failed"], summary["num_skipped"]) == (None, 0, 1)


def test_all_parts_together_fit_in_eight_minutes() -> None:
    limits = gpu_speed._LIMITS
    assert sum(limits.values()) + (len(gpu_speed.NETWORKS) - 1) * limits["network"] <= 8 * 60 - 20


def test_the_table_and_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = {
        "part": "train",
        "network": "n",
        "per_second": 93.0,
        "resident_per_second": 100.0,
        "share": 0.93,
    }
    made = [
        {"part": "machine", "device": "cuda"},
        trained | {"busy_share": 0.97, "peak_memory_mib": 900, "largest_batch": 64},
        trained | {"part": "predict", "peak_memory_mib": 80},
        {"part": "decode", "error": "took longer than its 50 s"},
    ]
    monkeypatch.setattr(gpu_speed, "_all_rows", lambda *asked: iter(made))
    shown = CliRunner().invoke(app, ["bench", "gpu", "--device", "cpu"], env={"COLUMNS": "100"})
    assert shown.exit_code == 1
    assert "decode: error: took longer than its 50 s" in shown.stderr
    for text in ("train n", "93.0", "100.0", "93%", "97%", "900", "64", "1 part failed, 0 skipped"):
        assert text in shown.stdout
    (*_, full) = gpu_speed.bench_gpu(CPU, tiny=False)
    assert (full["worst_share"], full["reaches_goal"], full["num_failed"]) == (0.93, True, 1)


def job(tmp_path: Path, **changes: Any) -> GpuJob:
    return replace(GpuJob("network", "cpu", str(tmp_path / "videos"), 0.1, 1, "n"), **changes)


def test_a_part_that_fails_leaves_the_others_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(of: GpuJob) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access\nmore of it")

    monkeypatch.setattr(gpu_parts, "measure_training", fail)
    monkeypatch.setattr(gpu_parts, "measure_prediction", lambda of: {"share": 1.0})
    assert list(gpu_parts.run_job(job(tmp_path))) == [
        {"part": "train", "network": "n", "error": "RuntimeError: CUDA error: an illegal memory access"},
        {"part": "predict", "network": "n", "share": 1.0},
    ]


def test_an_extra_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_parts, "find_spec", lambda name: None)
    for row in gpu_parts.run_job(job(tmp_path, encoder="{}")):
        assert row["skipped"] == "needs transformers: pip install 'vidcli[hf]'"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import time; time.sleep(60)", "took longer than its 1 s"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended with status -9: no reason told"),
        ("import sys; sys.exit('no room')", "ended with status 1: no room"),
    ],
)
def test_a_process_that_hangs_or_dies_costs_its_own_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    row = {"part": "train", "network": "n", "share": 0.9}
    script = f"print({json.dumps(row)!r}, flush=True); {script}"
    plain = gpu_speed._Limited

    def of_script(command: Any, limit: float, told: Any) -> Any:
        return plain([sys.executable, "-c", script], limit, told)

    monkeypatch.setattr(gpu_speed, "_Limited", of_script)
    monkeypatch.setitem(gpu_speed._LIMITS, "network", 1)
    started = time.monotonic()
    assert list(gpu_speed._rows_of(job(tmp_path), ("train", "predict"))) == [
        row,
        {"part": "predict", "network": "n", "error": reason},
    ]
    assert time.monotonic() - started < 30


def test_the_tests_are_counted() -> None:
    lines = ["..F", "FAILED tests/test_a.py::test_b - assert 1 == 2", "1 failed, 2 passed in 3.21s"]
    counted = gpu_speed.counted_tests(lines, "ended with status 1: ")
    assert counted == {
        "num_passed": 2,
        "num_failed": 1,
        "error": "FAILED tests/test_a.py::test_b - assert 1 == 2",
    }
    assert gpu_speed.counted_tests(["7 passed, 9 deselected in 1.0s"], "") == {
        "num_passed": 7,
        "num_failed": 0,
    }
    assert gpu_speed.counted_tests([], "took longer than its 100 s") == {
        "error": "took longer than its 100 s"
    }


def test_the_cuda_tests_are_found_and_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "vidcli"
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text(
        "import pytest\n@pytest.mark.cuda\ndef test_it(): pass\n@pytest.mark.cuda\ndef test_no(): assert 0\n"
    )
    (tmp_path / "tests" / "test_other.py").write_text("raise SystemExit('must not be read')\n")
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["cuda: CUDA"]\n')
    monkeypatch.setattr(gpu_speed.vidcli, "__file__", str(package / "__init__.py"))
    row = gpu_speed.run_tests(torch.device("cuda"))
    assert (row["num_passed"], row["num_failed"]) == (1, 1)
    assert "test_one.py::test_no" in row["error"]
    with tempfile.TemporaryDirectory() as empty:
        monkeypatch.setattr(gpu_speed.vidcli, "__file__", f"{empty}/vidcli/__init__.py")
        assert "in the source, not in the wheel" in gpu_speed.run_tests(torch.device("cuda"))["skipped"]


def test_the_search_for_what_fits_ends_where_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*gpu_speed.NETWORKS[0].tiny, "train.precision=float32")
    of_network = job(tmp_path, part="network", settings=settings)
    gpu_parts.write_videos(of_network)
    subject = gpu_parts._Subject(of_network)
    asked: list[int] = []

    def fits(update: Any, clips_BTCHW: torch.Tensor, labels_B: torch.Tensor) -> bool:
        asked.append(len(labels_B))
        return len(clips_BTCHW) <= 8

    monkeypatch.setattr(gpu_parts.Updater, "fits", fits)
    assert gpu_parts._largest_batch(subject, 64) == (8, 16)
    assert asked == [2, 4, 8, 16]
    assert gpu_parts._largest_batch(subject, 4) == (4, 4)
    monkeypatch.setattr(gpu_parts, "_SEARCH_SECONDS", 0.0)
    assert gpu_parts._largest_batch(subject, 64) == (1, 1)
