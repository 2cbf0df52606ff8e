"""A run directory belongs to one process, from the first second of a run to its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.forks import Forked
from vidcli.artifacts.claim import RunClaim, refuse_taken
from vidcli.artifacts.run_folder import CONFIG_FILE
from vidcli.commands.app import app
from vidcli.config import config_to_yaml
from vidcli.errors import CheckpointError, VidcliError
from vidcli.runtime import locks
from vidcli.train import EpochDone, compare_heads, resume_run, start_run

CPU = torch.device("cpu")
LOCK = "run.lock"


def begin(out: Path | None, name: str = "name") -> Path:
    """Take a folder for a new run and leave a file in it, so that it stays."""
    with RunClaim() as claim:
        run = claim.begin(out, name)
        (run / CONFIG_FILE).write_text("train: {}\n")
        return run


def start(arguments: list[str], folder: Path) -> Forked:
    return Forked(["-m", "vidcli", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# --- the names of new runs ------------------------------------------------------------------------


def test_names_that_are_taken_get_numbers(in_tmp_path: Path) -> None:
    assert [begin(None) for _ in range(3)] == [Path("runs/name"), Path("runs/name-2"), Path("runs/name-3")]


def test_a_run_that_came_to_nothing_leaves_nothing(in_tmp_path: Path) -> None:
    with RunClaim() as claim:
        claim.begin(None, "name")
        assert Path("runs/name", LOCK).exists()
    assert list(in_tmp_path.iterdir()) == []
    empty = in_tmp_path / "empty"
    empty.mkdir()
    with RunClaim() as claim:
        claim.begin(empty, "name")
        assert (empty / LOCK).exists()
    assert list(empty.iterdir()) == []  # the user's own folder stays


def test_claims_at_the_same_moment_get_a_folder_each_or_are_refused(in_tmp_path: Path) -> None:
    def claim(out: Path | None) -> Path | None:
        held = RunClaim()
        claims.append(held)  # held until all have tried
        barrier.wait()
        try:
            return held.begin(out, "name")
        except CheckpointError:
            return None

    (in_tmp_path / "empty").mkdir()
    for out in [None, Path("new"), Path("empty")]:
        barrier, claims = threading.Barrier(8), []
        with ThreadPoolExecutor(8) as threads:
            taken = list(threads.map(claim, [out] * 8))
        assert len(set(taken)) == (8 if out is None else 2)
        assert taken.count(None) == (0 if out is None else 7)
        for held in claims:
            held.__exit__(None, None, None)


def test_processes_that_start_together_do_not_share_a_folder(small_config, pair_data, tmp_path) -> None:
    (tmp_path / "recipe.yaml").write_text(config_to_yaml(small_config()))
    common = ["train", str(pair_data), "--config", "recipe.yaml", "--device", "cpu", "--out", "run"]
    children = [start(common, tmp_path) for _ in range(2)]
    told = [child.communicate(timeout=120)[1] for child in children]
    assert sorted(child.returncode for child in children) == [0, 1]
    winner, loser = sorted(range(2), key=lambda number: children[number].returncode)
    # It looked while the other trained, or after that.
    assert (
        f"process {children[winner].pid} on" in told[loser]
        or "exists and is not an empty folder" in told[loser]
    )
    assert "choose another --out" in told[loser]
    assert "epoch" not in told[loser]


# --- what a new run may begin in ------------------------------------------------------------------


def test_an_empty_folder_is_taken_and_a_beginning_of_ours_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert begin(tmp_path / "run") == tmp_path / "run"
    assert (tmp_path / "run" / LOCK).read_text().startswith(f"vidcli run\nprocess {os.getpid()} on ")
    (tmp_path / "run" / "events.out.tfevents.1").write_text("x")
    assert begin(tmp_path / "run") == tmp_path / "run"


@pytest.mark.parametrize(
    "held",
    [
        {"config.yaml": "mine: 1\n"},
        {"splits.csv": "path,label\n"},
        {"config.yaml": "mine: 1\n", LOCK: ""},
        {"config.yaml": "mine: 1\n", LOCK: "of another program"},
        {LOCK: "of another program"},
        {LOCK: "vidcli run\n", "model.safetensors": "x"},
        {LOCK: "vidcli run\n", "notes.txt": "x"},
        {"sub/notes.txt": "x"},
    ],
    ids=str,
)
def test_a_folder_that_holds_something_is_refused_and_stays(held: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for name, text in held.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with RunClaim() as claim, pytest.raises(CheckpointError, match="exists and is not an empty folder"):
        claim.begin(folder, "name")
    found = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}
    assert found == held


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "link to a folder"])
def test_what_is_no_folder_is_refused_and_stays(kind: str, tmp_path: Path) -> None:
    out, target = tmp_path / "out", tmp_path / "target"
    if kind == "link to a folder":
        target.mkdir()
    elif kind != "dangling":
        target.write_text("mine")
    if kind == "file":
        target.rename(out)
    else:
        out.symlink_to(target)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    for attempt in (refuse_taken, begin):
        with pytest.raises(CheckpointError, match="exists and is not an empty folder"):
            attempt(out)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_planted_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(victim)
    with pytest.raises(CheckpointError):
        begin(tmp_path / "run")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / LOCK).symlink_to(victim)
    with RunClaim() as claim, pytest.raises(CheckpointError, match="cannot be written"):
        claim.resume(tmp_path / "old")
    assert victim.read_text() == "mine"


def test_of_two_claims_of_one_folder_one_holds(tmp_path: Path) -> None:
    with RunClaim() as first, RunClaim() as second:
        first.begin(tmp_path / "run", "name")
        told = rf"is being written by process {os.getpid()} on .*; choose another --out"
        with pytest.raises(CheckpointError, match=told):
            second.begin(tmp_path / "run", "name")
        assert not second.resume(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_whose_process_died_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).write_text("vidcli run\nprocess 1 on nowhere\n")
    begin(tmp_path / "run")


def test_without_locks_runs_go_on_and_a_folder_that_may_be_in_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "lock_open_file", lambda file: None)
    with RunClaim() as first, RunClaim() as second:
        first.begin(tmp_path / "run", "name")
        with pytest.raises(CheckpointError, match="is being written by process"):
            second.begin(tmp_path / "run", "name")
        assert second.resume(tmp_path / "run")


def test_compare_takes_its_folder_before_any_work(small_config, pair_data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("vidcli.train.compare.build_model", lambda *a, **k: pytest.fail("worked"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is not an empty folder"):
        compare_heads(small_config(), pair_data, "auto", tmp_path / "mine", CPU, lambda event: None)


def test_data_that_cannot_be_trained_on_leaves_no_folder(small_config, tmp_path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(VidcliError):
        start_run(small_config(), tmp_path / "none", tmp_path / "run", CPU, lambda event: None)
    assert not (tmp_path / "run").exists()


def test_a_place_is_tried_before_other_work_and_left_as_it_was(tmp_path: Path) -> None:
    refuse_taken(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    refuse_taken(tmp_path / "empty")
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="below: cannot be written"):
        refuse_taken(tmp_path / "file" / "below")


@pytest.mark.parametrize("command", [["demo"], ["train"], ["train", "--compare"]], ids=" ".join)
def test_commands_that_make_their_videos_first_look_at_the_place_before(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "splits.csv").write_text("mine")
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "mine"), "--device", "cpu"])
    assert result.exit_code == 1
    assert "mine: exists and is not an empty folder; choose another --out" in result.stderr
    assert not (tmp_path / "cache").exists()


# --- going on -------------------------------------------------------------------------------------


def test_a_run_in_progress_is_neither_resumed_nor_begun_again(small_config, pair_data, tmp_path) -> None:
    refused = []

    def on_event(event: object) -> None:
        if isinstance(event, EpochDone) and event.row.epoch == 1:
            for attempt in (
                lambda: resume_run(tmp_path / "run", CPU, lambda event: None),
                lambda: start_run(small_config(), pair_data, tmp_path / "run", CPU, lambda event: None),
            ):
                with pytest.raises(CheckpointError) as caught:
                    attempt()
                refused.append(str(caught.value))

    start_run(small_config(train__epochs=2), pair_data, tmp_path / "run", CPU, on_event)
    assert [f"is being written by process {os.getpid()} on" in text for text in refused] == [True, True]
    assert "wait for its end, or stop it; then the same command goes on" in refused[0]


def test_a_finished_run_is_read_without_its_lock(small_config, pair_data, train_run) -> None:
    run = train_run(small_config(), pair_data)
    with RunClaim() as claim:
        assert claim.resume(run.folder)
        assert resume_run(run.folder, CPU, lambda event: None)[1] == run.rows
    assert not (run.folder / LOCK).exists()
    assert resume_run(run.folder, CPU, lambda event: None)[1] == run.rows
    assert not (run.folder / LOCK).exists()  # nor is it written


def test_a_run_of_an_earlier_version_goes_on(small_config, pair_data, train_run, tmp_path) -> None:
    class Stopped(Exception):
        pass

    def stop(event: object) -> None:
        if isinstance(event, EpochDone):
            raise Stopped

    with pytest.raises(Stopped):
        train_run(small_config(train__epochs=2), pair_data, on_event=stop)
    (tmp_path / "run" / LOCK).unlink()
    assert len(resume_run(tmp_path / "run", CPU, lambda event: None)[1]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_killed_run_goes_on_at_once(small_config, pair_data, tmp_path) -> None:
    config = small_config(train__epochs=200, train__checkpoint_minutes=1e-9)
    (tmp_path / "recipe.yaml").write_text(config_to_yaml(config))
    child = start(["train", str(pair_data), "--config", "recipe.yaml", "--out", "run"], tmp_path)
    while child.poll() is None and not (tmp_path / "run" / "resume.pt").exists():
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert f"process {child.pid} on" in (tmp_path / "run" / LOCK).read_text()
    stopped = []

    def stop(event: object) -> None:
        stopped.append(event)
        if isinstance(event, EpochDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resume_run(tmp_path / "run", CPU, stop)
    assert stopped
    shutil.rmtree(tmp_path / "run")
