"""Two processes that train together give what one gives."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import torch

import vidcli
from tests.together import start_together
from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.resume_file import load_resume
from vidcli.artifacts.run_folder import LAST_FILE, RESUME_FILE
from vidcli.config import config_to_yaml
from vidcli.errors import ConfigError
from vidcli.runtime import processes as distributed
from vidcli.train import start_run

PACKAGE_FOLDER = str(Path(vidcli.__file__).parents[1])
# No BatchNorm, which torch synchronises on CUDA only, and no dropout, whose masks are each process's own.
EXACT = {"model.backbone": "simple_cnn", "model.width": 16, "model.dropout": 0, "train.epochs": 3}


@pytest.fixture
def torchrun(tmp_path):
    """Start `vidcli train` in several processes on the CPU; none is left when the test ends."""
    with ExitStack() as ends:

        def start(*arguments, options=(), processes=2):
            child = subprocess.Popen(
                [
                    sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
                    "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", *options,
                    "-m", "vidcli", "train", *map(str, arguments), "--device", "cpu",
                ],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": PACKAGE_FOLDER, "OMP_NUM_THREADS": "1"},
                text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            ends.enter_context(child)  # closes its pipes, whatever the test finds
            ends.callback(end, child)
            return child

        yield start


def end(child):
    """Kill a torchrun that still runs, with its workers."""
    if child.poll() is None:
        for pid in (child.pid, *workers_of(child)):  # torchrun first, or it starts workers again
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def finish(child):
    out, err = child.communicate(timeout=300)
    return child.returncode, out, err


def write_recipe(config, folder):
    path = folder / "recipe.yaml"
    path.write_text(config_to_yaml(config))
    return path


def rows_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_curves(run, other):
    rows, others = rows_of(run), rows_of(other)
    assert len(rows) == len(others)
    for row, plain in zip(rows, others, strict=True):
        assert row.keys() == plain.keys()
        for name, value in plain.items():
            # What does not apply to the task is None.
            same = value if value is None else pytest.approx(value, abs=1e-5, rel=1e-5)
            assert row[name] == same, name


@pytest.mark.parametrize(
    "changes",
    [
        # Eight videos: 3, 3 and 2, of which one process has 2, 2 and 1 and the other 1, 1 and 1.
        {"train.batch_size": 3, "augment.crop_scale": 0.6, "augment.mixup": 0.4, "augment.cutmix": 1.0},
        # 7 and 1: the last batch has fewer clips than there are processes. Passed in uneven parts.
        {
            "train.batch_size": 7, "train.accumulate": 2, "train.ema": 0.5, "train.freeze_epochs": 1,
            "augment.mixup": 1.0,
        },
        # Each process computes features of a part of the clips; both train on all of them.
        {"train.batch_size": 3, "train.freeze_epochs": 3, "train.frozen_clips": 2},
    ],
    ids=["uneven", "tail", "frozen"],
)  # fmt: skip
def test_two_processes_learn_what_one_learns(
    changes, small_config, pair_data, train_run, tmp_path, monkeypatch
):
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))
    config = small_config(EXACT | changes)
    run = tmp_path / "together"
    recipe = write_recipe(config, tmp_path)
    command = ("train", pair_data, "--config", recipe, "--out", run, "--device", "cpu")
    together = start_together(command, tmp_path, 2)
    # They have their environment already.
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "another"))
    plain = train_run(config, pair_data, "plain")
    codes, out, err = together.finish()
    assert codes == [0, 0], err
    assert_same_curves(run, plain.folder)
    one, two = (load_checkpoint(folder / LAST_FILE) for folder in (plain.folder, run))
    assert one.fingerprint == two.fingerprint
    for name, tensor in one.weights.items():
        assert two.weights[name].allclose(tensor, atol=1e-5), name
    # The main process alone speaks.
    assert out.splitlines() == [str(run)]
    assert len(re.findall("^epoch", err, re.MULTILINE)) == 3
    assert err.count("2 processes train together") == 1


# --- ending together, and starting again ----------------------------------------------------------


def wait_for(run, position, child):
    """Wait until the state of a run is at or after (epoch, step)."""
    path = run / RESUME_FILE
    while child.poll() is None:
        if path.exists():
            state = load_resume(path)
            if (state["epoch"], state["step"]) >= position:
                return
        time.sleep(0.01)
    pytest.fail(f"it ended before that: {child.communicate()[1]}")


def workers_of(child):
    """Return the process ids of the workers of a torchrun, by rank."""
    # Without a worker, ps finds nothing and ends with 1.
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(child.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in done.stdout.split()]


LONG = EXACT | {
    "train.batch_size": 3,
    "train.epochs": 20,
    "train.checkpoint_minutes": 1e-3,
    "model.dropout": 0.3,
}


def test_all_start_again_where_one_is_killed_and_ctrl_c_ends_all_and_the_run_goes_on(
    torchrun, small_config, pair_data, tmp_path
):
    run, plain = tmp_path / "run", tmp_path / "plain"
    recipe = write_recipe(small_config(LONG), tmp_path)
    child = torchrun(pair_data, "--config", recipe, "--out", run, options=("--max-restarts", "1"))
    wait_for(run, (2, 1), child)
    os.kill(workers_of(child)[0], signal.SIGKILL)
    wait_for(run, (5, 0), child)
    child.send_signal(signal.SIGINT)
    code, _, err = finish(child)
    assert code != 0
    assert err.count(f"started again by torchrun: going on with {run}") == 1
    assert err.count(f"interrupted; go on with `vidcli train --resume {run}`") == 1, err
    assert 5 <= len(rows_of(run)) < 20
    for folder, arguments in (
        (run, (run, "--resume")),
        (plain, (pair_data, "--config", recipe, "--out", plain)),
    ):
        place = tmp_path / f"told-{folder.name}"
        place.mkdir()
        codes, _, err = start_together(("train", *arguments, "--device", "cpu"), place, 2).finish()
        assert codes == [0, 0], err
    for name in ("model.safetensors", "last.safetensors", "metrics.jsonl"):
        assert (run / name).read_bytes() == (plain / name).read_bytes(), name


def test_a_scheduler_that_ends_one_process_ends_all_with_the_state_saved(small_config, pair_data, tmp_path):
    run = tmp_path / "run"
    recipe = write_recipe(small_config(LONG, train__checkpoint_minutes=60), tmp_path)
    command = ("train", pair_data, "--config", recipe, "--out", run, "--device", "cpu")
    together = start_together(command, tmp_path, 2)
    wait_for(run, (1, 0), together.processes[0])
    together.processes[1].terminate()  # the other agrees
    codes, _, err = together.finish()
    assert codes[1] == 143
    assert codes[0] != 0
    assert err.count(f"interrupted; go on with `vidcli train --resume {run}`") == 1, err
    state = load_resume(run / RESUME_FILE)
    assert (1, 0) <= (state["epoch"], state["step"]) < (20, 0)


@pytest.mark.slow  # the same as above, up to its end
def test_a_process_that_is_killed_starts_again_with_the_others(torchrun, small_config, pair_data, tmp_path):
    run = tmp_path / "run"
    recipe = write_recipe(small_config(LONG), tmp_path)
    arguments = (pair_data, "--config", recipe, "--out", run)
    child = torchrun(*arguments, options=("--max-restarts", "1"))
    wait_for(run, (2, 1), child)
    os.kill(workers_of(child)[0], signal.SIGKILL)
    code, out, err = finish(child)
    assert code == 0, err
    assert err.count(f"started again by torchrun: going on with {run}") == 1
    assert len(rows_of(run)) == 20
    assert out.splitlines() == [str(run)]


@pytest.mark.slow  # what ends the others is what ends them before all start again, as above
def test_without_restarts_one_that_is_killed_ends_all(torchrun, small_config, pair_data, tmp_path):
    run = tmp_path / "run"
    recipe = write_recipe(small_config(LONG), tmp_path)
    child = torchrun(pair_data, "--config", recipe, "--out", run)
    wait_for(run, (1, 0), child)
    workers = workers_of(child)
    os.kill(workers[1], signal.SIGKILL)
    code, _, _ = finish(child)
    assert code != 0
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_an_error_is_told_once_and_ends_all(tmp_path):
    command = ("train", tmp_path / "nowhere", "--device", "cpu")
    codes, _, err = start_together(command, tmp_path, 2).finish()
    assert all(codes)
    assert err.count("nowhere: no such") == 1, err


def test_restarts_need_a_run_to_go_on_with(small_config, pair_data, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "2")
    with pytest.raises(ConfigError, match="--max-restarts needs --out RUN"):
        start_run(small_config(), pair_data, None, torch.device("cpu"), lambda event: None)


# --- the parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_shares_hold_every_value_once(size, count, monkeypatch):
    values = list(range(count))
    groups = [distributed.Group(rank, size, rank, size) for rank in range(size)]
    shares = [group.share(values) for group in groups]
    assert sorted(value for share in shares for value in share) == values
    monkeypatch.setattr(distributed.Group, "gather", lambda self, own: [list(share) for share in shares])
    assert groups[0].gather_shares(shares[0]) == values


def test_an_environment_that_is_half_torchruns_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=2 is set but 'RANK' is not; .*torchrun"):
        distributed.join_group(torch.device("cpu")).__enter__()
