"""A run that was stopped and resumed ends with the bits of one that was not."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import vidcli
from tests.conftest import Run
from tests.forks import Forked
from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.resume_file import load_resume, save_resume
from vidcli.errors import CheckpointError, DataError, WriteError
from vidcli.predict import Predictor
from vidcli.runtime.signals import AskedToEnd
from vidcli.train import EpochDone, Notice, StepDone, resume_run, start_run
from vidcli.train.epoch import EpochLoop

CPU = torch.device("cpu")
# Everything that draws at random is on: dropout, crops, light, order, positions in the segments. So is
# all that has a memory or changes with the epoch.
CHANGES = {
    "train.epochs": 3,
    "train.batch_size": 3,
    "train.warmup_epochs": 1,
    "train.accumulate": 2,
    "train.class_balance": "sampling",
    "train.ema": 0.8,
    "train.freeze_epochs": 1,
    "train.unfreeze_every": 1,
    "train.backbone_lr_ratio": 0.5,
    "augment.crop_scale": 0.7,
    "augment.brightness": 0.2,
    "augment.randaugment": 1,
    "augment.speed": 0.5,
    "augment.mixup": 0.2,
    "augment.cutmix": 1.0,
    "model.dropout": 0.3,
}

TINY = {"model.backbone": "simple_cnn", "model.width": 8, "model.hidden": 8}


def interrupt(signum=signal.SIGINT):
    signal.raise_signal(signum)


def resume(folder):
    events = []
    _, rows = resume_run(folder, CPU, events.append)
    return rows, events


@pytest.fixture(scope="module")
def plain(small_config, two_classes, tmp_path_factory):
    """A run that never stopped, to read."""
    made = Run(tmp_path_factory.mktemp("plain") / "run")
    _, made.rows = start_run(small_config(CHANGES), two_classes, made.folder, CPU, made.events.append)
    return made


@pytest.fixture
def finished_like(plain, same_weights):
    """Compare a run that went on with one that never stopped."""

    def check(folder):
        for name in ("model.safetensors", "last.safetensors"):
            same_weights(dict(load_checkpoint(folder / name).weights), plain.weights(name))
        assert (folder / "metrics.jsonl").read_text() == plain.metrics()
        assert (folder / "splits.csv").read_text() == (plain.folder / "splits.csv").read_text()

    return check


@pytest.mark.parametrize("stop", [(1, 1), (1, 3), (2, 2), (3, 3)])
def test_interrupted_inside_an_epoch(stop, small_config, two_classes, train_run, finished_like, tmp_path):
    def on_event(event):
        if isinstance(event, StepDone) and (event.epoch, event.step) == stop:
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        train_run(small_config(CHANGES), two_classes, on_event=on_event)
    run = tmp_path / "run"
    state = load_resume(run / "resume.pt")
    assert (state["epoch"] + 1, state["step"]) == stop
    rows, events = resume(run)
    assert [row.epoch for row in rows] == [1, 2, 3]
    steps = [(event.epoch, event.step) for event in events if isinstance(event, StepDone)]
    assert steps == [(epoch, step) for epoch in (1, 2, 3) for step in (1, 2, 3) if (epoch, step) > stop]
    finished_like(run)


def test_interrupted_while_validating(
    small_config, two_classes, train_run, finished_like, tmp_path, monkeypatch
):
    real, calls = Predictor.predict_many, []

    def predict_many(self, videos):
        calls.append(len(calls) + 1)
        for number, prediction in enumerate(real(self, videos)):
            if calls[-1] == 2 and number == 1:
                interrupt()
            yield prediction

    monkeypatch.setattr(Predictor, "predict_many", predict_many)
    with pytest.raises(KeyboardInterrupt):
        train_run(small_config(CHANGES), two_classes)
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    resume(tmp_path / "run")
    finished_like(tmp_path / "run")


def test_a_second_signal_does_not_wait_for_the_end_of_the_step(
    small_config, pair_data, train_run, tmp_path, monkeypatch
):
    real, calls = EpochLoop._update_weights, []

    def impatient(self, *arguments):
        calls.append(arguments)
        if len(calls) == 2:
            interrupt(signal.SIGTERM)
            interrupt(signal.SIGINT)
        return real(self, *arguments)

    monkeypatch.setattr(EpochLoop, "_update_weights", impatient)
    with pytest.raises(AskedToEnd) as caught:
        train_run(small_config(CHANGES), pair_data)
    assert caught.value.exit_code == 130
    assert not (tmp_path / "run" / "resume.pt").exists()


@pytest.mark.parametrize("epoch", [1, 3])
def test_interrupted_between_epochs(epoch, small_config, two_classes, train_run, finished_like, tmp_path):
    def on_event(event):
        if isinstance(event, EpochDone) and event.row.epoch == epoch:
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        train_run(small_config(CHANGES), two_classes, on_event=on_event)
    resume(tmp_path / "run")
    finished_like(tmp_path / "run")


def test_interrupted_again_and_again(small_config, two_classes, train_run, finished_like, tmp_path):
    def stop_at_once(event):
        if isinstance(event, StepDone):
            interrupt()

    with pytest.raises(KeyboardInterrupt):
        train_run(small_config(CHANGES), two_classes, on_event=stop_at_once)
    for _ in range(8):  # nine steps in all, each in a life of its own
        with pytest.raises(KeyboardInterrupt):
            resume_run(tmp_path / "run", CPU, stop_at_once)
    resume(tmp_path / "run")
    finished_like(tmp_path / "run")


def test_killed_without_warning(small_config, two_classes, train_run, finished_like, tmp_path):
    class Killed(Exception):
        pass

    def on_event(event):
        if isinstance(event, StepDone) and (event.epoch, event.step) == (2, 2):
            raise Killed

    config = small_config(CHANGES)
    with pytest.raises(Killed):
        train_run(config, two_classes, on_event=on_event)
    assert load_resume(tmp_path / "run" / "resume.pt")["step"] == 0  # the end of epoch 1
    resume(tmp_path / "run")
    finished_like(tmp_path / "run")


class Died(BaseException):
    """Stands for a kill: nothing handles it."""


@pytest.mark.parametrize("complete", [False, True], ids=["before", "after"])
def test_killed_at_every_write(
    complete, small_config, pair_data, train_run, same_weights, tmp_path, monkeypatch
):
    config = small_config(
        CHANGES | TINY, train__epochs=2, train__batch_size=4, train__checkpoint_minutes=1e-9
    )
    plain = train_run(config, pair_data, "plain")
    real, calls = os.replace, itertools.count()
    die_at = None

    def replace(source, target):
        number = next(calls)
        if number == die_at and not complete:
            raise Died
        real(source, target)
        if number == die_at and complete:
            raise Died

    monkeypatch.setattr(os, "replace", replace)
    train_run(config, pair_data, "counted")
    num_writes = next(calls)
    # Settings and splits; a state after each of 4 steps and 4 validated videos an epoch at most; the
    # state, two models and the metrics of each epoch.
    assert num_writes > 2 + 2 * (2 + 4)
    for number in range(2 + complete, num_writes, 2):
        die_at, calls = number, itertools.count()
        run = tmp_path / f"run{number}"
        with pytest.raises(Died):
            train_run(config, pair_data, run.name)
        die_at = None
        if (run / "resume.pt").exists():
            resume(run)
        else:  # nothing was saved yet, and the same folder takes the run anew
            train_run(config, pair_data, run.name)
        for name in ("model.safetensors", "last.safetensors", "metrics.jsonl", "splits.csv"):
            assert (run / name).read_bytes() == (plain.folder / name).read_bytes(), (number, name)


def test_what_a_kill_left_half_written_is_removed(small_config, pair_data, train_run, tmp_path):
    def on_event(event):
        if isinstance(event, EpochDone):
            raise Died

    with pytest.raises(Died):
        train_run(small_config(CHANGES), pair_data, on_event=on_event)
    left = tmp_path / "run" / ".vidcli-0123456789abcdef.tmp.pt"
    left.write_bytes(b"half a state")
    resume(tmp_path / "run")
    assert not left.exists()


# --- killed from outside, at any moment -----------------------------------------------------------


def start_training(arguments, folder, log):
    with log.open("a") as stderr:
        return Forked(["-m", "vidcli", "train", *arguments, "--device", "cpu"], cwd=folder, stderr=stderr)


def position_of(run):
    path = run / "resume.pt"
    if not path.exists():
        return (0, 0)
    state = load_resume(path)
    return state["epoch"], state["step"]


@pytest.mark.parametrize(("num_kills", "epochs"), [(1, 5), pytest.param(3, 15, marks=pytest.mark.slow)])
def test_killed_by_the_system_at_random_moments(
    num_kills, epochs, small_config, pair_data, train_run, tmp_path
):
    steps = 3
    # Some seconds of steps, and a state after each, so that the kill may come at any line.
    config = small_config(CHANGES | TINY, train__epochs=epochs, train__checkpoint_minutes=1e-9)
    recipe, run, log = tmp_path / "recipe.yaml", tmp_path / "run", tmp_path / "log.txt"
    recipe.write_text(vidcli.config.config_to_yaml(config))
    plain = train_run(config, pair_data, "plain")
    rng = np.random.default_rng(0)
    arguments = [str(pair_data), "--config", str(recipe), "--out", str(run)]
    stopped_at = []
    for target in np.sort(rng.integers(1, epochs * steps * 3 // 4, num_kills)):
        child = start_training(arguments, tmp_path, log)
        try:
            while child.poll() is None:
                epoch, step = position_of(run)
                if epoch * steps + step >= target:
                    break
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.05))
        finally:
            child.kill()
        assert child.wait() == -signal.SIGKILL, log.read_text()
        stopped_at.append(position_of(run))
        arguments = [str(run), "--resume"]
    assert all(earlier <= later for earlier, later in itertools.pairwise(stopped_at))
    assert stopped_at[0] > (0, 0)
    assert stopped_at[-1][0] < epochs
    assert start_training(arguments, tmp_path, log).wait() == 0, log.read_text()
    for name in ("model.safetensors", "last.safetensors", "metrics.jsonl", "splits.csv"):
        assert (run / name).read_bytes() == (plain.folder / name).read_bytes(), (name, stopped_at)


# --- a disk that is full --------------------------------------------------------------------------


@pytest.fixture
def full_disk():
    """Let every file end at some bytes, as on a full disk, until the test gives room again."""
    resource = pytest.importorskip("resource")
    limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(num_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit if num_bytes is None else num_bytes, hard))

    yield fill
    fill(None)


@pytest.mark.parametrize(("room", "full_at"), [(0, (2, 1)), (5000, (2, 3)), (200_000, (2, 2))])
def test_a_disk_that_fills_up_loses_nothing(
    room, full_at, full_disk, small_config, two_classes, train_run, finished_like, tmp_path
):
    run, before = tmp_path / "run", {}

    def whole():
        return {p.name: p.read_bytes() for p in run.iterdir() if not p.name.startswith("events.")}

    def on_event(event):
        if isinstance(event, StepDone) and (event.epoch, event.step) == full_at:
            before.update(whole())
            full_disk(room)

    with pytest.raises(WriteError) as caught:
        train_run(small_config(CHANGES), two_classes, on_event=on_event)
    full_disk(None)
    assert re.search(
        r"safetensors: cannot be written \(.*All that was saved before is whole: make room or mend the "
        rf"folder, then go on with `vidcli train --resume {run}`",
        str(caught.value),
    )
    assert whole() == before
    resume(run)
    finished_like(run)


def test_a_disk_that_is_full_while_saving_inside_an_epoch(
    full_disk, small_config, two_classes, train_run, finished_like, tmp_path
):
    def on_event(event):
        if isinstance(event, StepDone) and event.epoch == 2:
            full_disk(20_000)
            interrupt()  # saves at once

    with pytest.raises(
        WriteError, match=r"resume\.pt: cannot be written \(.*File too large\).* then go on with"
    ):
        train_run(small_config(CHANGES), two_classes, on_event=on_event)
    full_disk(None)
    assert load_resume(tmp_path / "run" / "resume.pt")["step"] == 0
    resume(tmp_path / "run")
    finished_like(tmp_path / "run")


def test_a_disk_that_is_full_from_the_start(full_disk, small_config, pair_data, train_run, tmp_path):
    def on_event(event):
        if isinstance(event, StepDone):
            full_disk(0)

    with pytest.raises(WriteError, match="No state had been saved yet: make room or mend the folder"):
        train_run(small_config(), pair_data, on_event=on_event)
    full_disk(None)
    assert len(train_run(small_config(), pair_data).rows) == 1  # into the same folder


def test_the_state_is_saved_inside_long_epochs(small_config, pair_data, train_run, tmp_path, monkeypatch):
    ticks = itertools.count()  # a clock that moves a second a look, for a real one may stand still
    monkeypatch.setattr("vidcli.train.saver.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    saved = []

    def on_event(event):
        path = tmp_path / "run" / "resume.pt"
        if isinstance(event, StepDone):
            saved.append(load_resume(path)["step"] if path.exists() else None)

    config = small_config(CHANGES, train__epochs=1, train__checkpoint_minutes=1e-3)
    train_run(config, pair_data, on_event=on_event)
    assert saved == [None, 1, 2]


def test_a_finished_run_is_left_as_it_is(plain):
    before = {path.name: path.read_bytes() for path in plain.folder.iterdir()}
    rows, events = resume(plain.folder)
    assert rows == plain.rows
    assert not [event for event in events if isinstance(event, StepDone | EpochDone)]
    assert {path.name: path.read_bytes() for path in plain.folder.iterdir()} == before


# --- states that cannot be gone on from -----------------------------------------------------------


@pytest.fixture
def finished(quick_run, tmp_path):
    """A run that is over, which the test may damage."""
    return shutil.copytree(quick_run, tmp_path / "run")


@pytest.fixture
def of_own_data(small_config, pair_data, train_run):
    """A run that is over, on videos that the test may change."""
    return train_run(small_config(), pair_data).folder


def refuse(folder, error, match):
    before = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else None
    with pytest.raises(error, match=match):
        resume(folder)
    if before is not None:
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_damaged_state(finished, damage):
    path = finished / "resume.pt"
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "text": b"a text", "empty": b""}[damage])
    refuse(finished, CheckpointError, r"resume\.pt: is not a readable resume state")


def test_state_of_another_model(finished, small_config, motion_data, train_run):
    other = train_run(small_config(model__width=24), motion_data, "other").folder
    shutil.copy(other / "resume.pt", finished / "resume.pt")
    refuse(finished, CheckpointError, r"resume\.pt: does not fit this run")


def test_state_without_its_parts(finished):
    state = load_resume(finished / "resume.pt")
    del state["optimizer"]
    save_resume(finished / "resume.pt", state)
    refuse(finished, CheckpointError, r"does not fit this run \('optimizer'\)")


def test_no_state_at_all(finished, tmp_path):
    (finished / "resume.pt").unlink()
    refuse(finished, CheckpointError, r"run: holds no resume\.pt; expected the directory of a run")
    refuse(tmp_path / "nowhere", CheckpointError, r"nowhere: holds no resume\.pt")


def test_data_that_changed_is_refused_and_the_run_stays(of_own_data, pair_data, motion_data):
    # A longer file in place of the old one.
    victim = sorted((pair_data / "train" / "left").iterdir())[0]
    source = sorted((motion_data / "train" / "grow").iterdir())[0]
    victim.write_bytes(source.read_bytes() + b"\0" * 100)
    refuse(of_own_data, CheckpointError, r"belongs to other data; the videos of splits\.csv have changed")


def test_a_video_that_broke_since_is_refused_and_stays_in_the_splits(of_own_data, pair_data):
    sorted((pair_data / "val" / "left").iterdir())[0].write_bytes(b"not a video")
    refuse(of_own_data, CheckpointError, "belongs to other data")


def test_data_that_is_gone_is_named(of_own_data, pair_data):
    victim = sorted((pair_data / "train" / "left").iterdir())[0]
    victim.unlink()
    splits = (of_own_data / "splits.csv").read_text()
    events = []
    with pytest.raises(CheckpointError, match="belongs to other data"):
        resume_run(of_own_data, CPU, events.append)
    assert any(isinstance(e, Notice) and f"{victim}: no such file" in e.text for e in events)
    assert (of_own_data / "splits.csv").read_text() == splits


def test_too_much_data_that_is_gone_is_an_error(of_own_data, pair_data):
    for victim in list((pair_data / "train" / "left").iterdir())[:2]:
        victim.unlink()
    refuse(of_own_data, DataError, r"2 of 12 videos cannot be used(.|\n)*no such file")


# --- real signals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_ends_the_run(
    signum, code, small_config, pair_data, train_run, same_weights, tmp_path
):
    changes = CHANGES | TINY | {"train.epochs": 20}
    command = ["-m", "vidcli", "train", pair_data, "--device", "cpu", "--out", "run"]
    config = small_config(changes)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(vidcli.config.config_to_yaml(config))
    given = [*command, "--config", recipe]
    with Forked(given, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        lines = []
        for line in child.stderr:
            lines.append(line)
            if line.startswith("epoch  1/20"):
                child.send_signal(signum)
                break
        stdout, stderr = child.communicate(timeout=120)
    stderr = "".join(lines) + stderr
    assert child.returncode == code, stderr
    assert "interrupted; go on with `vidcli train --resume run`" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) < 20

    rows, events = resume(tmp_path / "run")
    assert len(rows) == 20
    assert not [event for event in events if isinstance(event, Notice) and "left out" in event.text]
    plain = train_run(config, pair_data, "plain")
    same_weights(dict(load_checkpoint(tmp_path / "run/model.safetensors").weights),
                 plain.weights("model.safetensors"))  # fmt: skip
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == plain.metrics()
