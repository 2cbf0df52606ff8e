"""Curves, pictures and TensorBoard events of a run: they are there, true, and never in the way."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from vidcli import report
from vidcli.config import ClipConfig
from vidcli.train import EpochDone, Notice, StepDone, record, resume_run, trackers
from vidcli.train.events import EpochRow
from vidcli.train.record import RunRecord

CPU = torch.device("cpu")
PICTURES = ("curves.png", "samples.png", "confusion.png")


def scalars(folder):
    """Return what TensorBoard shows: {tag: [(step, value)]}."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def row(epoch, loss=0.5):
    return EpochRow(epoch, 0.1, loss, 0.5, loss, 0.5, None)


def test_a_run_draws_its_pictures(small_config, pair_data, train_run, monkeypatch):
    seen = {}
    for name in ("curves", "samples", "confusion"):
        real = getattr(report, f"draw_{name}")

        def note(*args, real=real, name=name):
            seen.setdefault(name, []).append(args)
            real(*args)

        monkeypatch.setattr(report, f"draw_{name}", note)
    run = train_run(small_config(train__epochs=2, train__plots=True, train__batch_size=3), pair_data)
    for name in PICTURES:
        assert (run.folder / name).read_bytes().startswith(b"\x89PNG")
    assert [event.text for event in run.of(Notice) if "could not" in event.text] == []
    rows, best_epoch, _ = seen["curves"][-1]
    assert [json.loads(line) for line in run.metrics().splitlines()] == rows
    best = [event.row.epoch for event in run.of(EpochDone) if event.best][-1]
    assert best_epoch == best
    assert len(seen["confusion"]) == sum(event.best for event in run.of(EpochDone))
    assert seen["confusion"][-1][0].top1 == run.rows[best - 1].val_top1
    ((clips, names, _, _),) = seen["samples"]
    assert clips.shape == (3, 4, 3, 32, 32)
    assert set(names) <= {"left", "right"}


def test_no_pictures_where_none_are_wanted(small_config, pair_data, train_run):
    run = train_run(small_config(train__plots=False), pair_data)
    assert [name for name in PICTURES if (run.folder / name).exists()] == []


def test_curves_of_short_epochs_are_drawn_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    clock, drawn = [0.0], []

    def draw(rows, best_epoch, path):
        clock[0] += 1.0  # drawing takes a second, an epoch three
        drawn.append(len(rows))
        path.write_bytes(b"png")

    monkeypatch.setattr(report, "draw_curves", draw)
    monkeypatch.setattr(record.time, "monotonic", lambda: clock[0])
    made = RunRecord(tmp_path, True, pytest.fail)
    rows = []
    for epoch in range(1, 31):
        clock[0] += 3.0
        rows.append(row(epoch))
        made.add_epoch(rows, epoch, epoch)
    made.close()
    made.close()
    assert drawn == [1, 8, 15, 22, 29, 30]


@pytest.mark.parametrize("name", ["curves", "samples", "confusion"])
def test_a_picture_that_fails_is_told_once_and_the_run_goes_on(
    name, small_config, pair_data, train_run, monkeypatch
):
    def fail(*args):
        args[-1].write_bytes(b"half a picture")
        raise ValueError("no such colour")

    monkeypatch.setattr(report, f"draw_{name}", fail)
    run = train_run(small_config(train__epochs=3, train__plots=True), pair_data)
    assert len(run.rows) == 3
    told = [event.text for event in run.of(Notice) if "could not" in event.text]
    assert told == [f"{name}.png: could not be made (no such colour); the run goes on without"]
    assert not (run.folder / f"{name}.png").exists()
    assert not list(run.folder.glob("*.tmp"))


@pytest.mark.parametrize("call", ["write", "flush", "open"])
def test_events_that_cannot_be_written_are_told_once(call, small_config, pair_data, train_run, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    if call == "write":
        monkeypatch.setattr(RecordWriter, "write", fail)
    elif call == "flush":
        monkeypatch.setattr(trackers.TensorBoardTracker, "flush", fail)
    else:
        monkeypatch.setattr(trackers, "TensorBoardTracker", fail)
    run = train_run(small_config(train__epochs=2), pair_data)
    assert len(run.rows) == 2
    (told,) = [event.text for event in run.of(Notice) if "TensorBoard" in event.text]
    assert "No space left on device" in told


# --- TensorBoard ----------------------------------------------------------------------------------


def test_events_hold_every_step_and_epoch(small_config, pair_data, train_run):
    run = train_run(small_config(train__epochs=2, train__batch_size=3), pair_data)
    shown = scalars(run.folder)
    assert [step for step, _ in shown["step/loss"]] == list(range(6))
    assert [step for step, _ in shown["step/lr"]] == list(range(6))
    assert max(value for _, value in shown["step/lr"]) > 0
    for name in ("train_loss", "val_top1", "lr"):
        values = [getattr(each, name) for each in run.rows]
        assert shown[f"epoch/{name}"] == [(3, np.float32(values[0])), (6, np.float32(values[1]))]
    # The mean of an epoch is that of its steps: batches of 3, 3 and 2.
    losses = [value for _, value in shown["step/loss"]]
    assert run.rows[0].train_loss == pytest.approx(np.average(losses[:3], weights=[3, 3, 2]), rel=1e-6)


@pytest.mark.parametrize(("saved_at", "killed_at"), [((1, 2), (2, 1)), ((1, 3), (2, 3)), ((2, 1), (3, 2))])
def test_events_of_a_run_that_went_on_are_those_of_one_that_did_not(
    saved_at, killed_at, small_config, pair_data, train_run, tmp_path
):
    """Interrupted at `saved_at`, gone on to `killed_at` unsaved, gone on from where it was saved."""
    config = small_config(train__epochs=3, train__batch_size=3)
    plain = scalars(train_run(config, pair_data, "plain").folder)

    class Killed(Exception):
        pass

    def interrupt(event):
        if isinstance(event, StepDone) and (event.epoch, event.step) == saved_at:
            signal.raise_signal(signal.SIGINT)

    def kill(event):
        if isinstance(event, StepDone) and (event.epoch, event.step) >= killed_at:
            raise Killed

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_run(config, pair_data, on_event=interrupt)
    state = (folder / "resume.pt").read_bytes()
    with pytest.raises(Killed):
        resume_run(folder, CPU, kill)
    time.sleep(0.01)
    (folder / "resume.pt").write_bytes(state)
    resume_run(folder, CPU, lambda event: None)
    assert scalars(folder) == plain


# --- the pictures themselves ----------------------------------------------------------------------

ODD_NAMES = ["a$b$", r"\alpha_{", "笑う", "läuft"]


def pixels_of(path):
    from matplotlib.image import imread

    return imread(path)


def test_samples_undo_the_normalisation(tmp_path, monkeypatch):
    strips = []
    real = report.strips._strip

    def note(*arguments):
        strips.append(real(*arguments))
        return strips[-1]

    monkeypatch.setattr(report.strips, "_strip", note)
    rng = np.random.default_rng(0)
    pixels_BTHWC = rng.integers(0, 256, (2, 3, 16, 24, 3), dtype=np.uint8)
    clip = ClipConfig(mean=(0.2, 0.3, 0.4), std=(0.1, 0.3, 0.5))  # as the network's weights ask for
    clips_BTCHW = torch.from_numpy((pixels_BTHWC / 255 - clip.mean) / clip.std).permute(0, 1, 4, 2, 3).float()
    report.draw_samples(clips_BTCHW, ["one", "two"], clip, tmp_path / "s.png")
    for strip, pixels_THWC in zip(strips, pixels_BTHWC, strict=True):
        frames = [strip[:16, 26 * number : 26 * number + 24] for number in range(3)]
        assert np.array_equal(np.stack(frames), pixels_THWC)


@pytest.mark.parametrize("num_frames", [1, 5, 40])
def test_samples_of_any_shape_and_name(num_frames, tmp_path):
    report.draw_samples(torch.zeros(4, num_frames, 3, 16, 32), ODD_NAMES, ClipConfig(), tmp_path / "s.tmp")
    assert pixels_of(tmp_path / "s.tmp").shape[2] == 4


def test_curves_without_validation_and_of_one_epoch(tmp_path):
    rows = [{"epoch": 1, "lr": 0.1, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": None,
             "val_top1": None, "val_balanced_accuracy": None}]  # fmt: skip
    report.draw_curves(rows, None, tmp_path / "c.png")
    assert pixels_of(tmp_path / "c.png").shape[2] == 4
