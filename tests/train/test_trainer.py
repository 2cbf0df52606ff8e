"""The loop learns, repeats itself bit for bit, and keeps what it should when things go wrong."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.resume_file import load_resume
from vidcli.config import load_config
from vidcli.data.manifest import load_items
from vidcli.errors import DataError, TrainError
from vidcli.models import settle_clip
from vidcli.train import EpochDone, Notice, StepDone, loss, validation

RUN_FILES = {
    ".vidcli-card.json", "README.md", "config.yaml", "environment.json", "last.safetensors",
    "metrics.jsonl", "model.safetensors", "resume.pt", "splits.csv",
}  # fmt: skip


def notices(run):
    return [event.text for event in run.of(Notice)]


def test_one_batch_is_overfit(small_config, pair_data, train_run):
    config = small_config(
        train__epochs=30, train__lr=1e-2, train__warmup_epochs=2, train__label_smoothing=0,
        model__width=32, model__hidden=32,
        train__weight_decay=0, model__dropout=0, data__val_fraction=0,
    )  # fmt: skip
    run = train_run(config, pair_data)
    assert run.rows[0].train_loss > 0.3
    assert run.rows[-1].train_loss < 0.02
    assert run.rows[-1].train_accuracy == 1.0


def test_the_seed_decides_every_bit(small_config, pair_data, train_run, same_weights):
    changes = {
        "train.epochs": 2, "train.batch_size": 3, "data.cache": "off", "data.workers": 1,
        "augment.crop_scale": 0.6, "augment.brightness": 0.3, "augment.randaugment": 2,
        "augment.hue": 0.2, "augment.erase": 0.5, "augment.speed": 0.5, "augment.mixup": 0.2,
    }  # fmt: skip
    first = train_run(small_config(changes), pair_data, "first")
    again = train_run(small_config(changes), pair_data, "again")
    threads = [train_run(small_config(changes, data__workers=n), pair_data, f"{n}") for n in (2, 5)]
    cached = train_run(small_config(changes, data__cache="memory"), pair_data, "cached")
    other = train_run(small_config(changes, train__seed=1), pair_data, "other")
    for run in (again, *threads, cached):
        same_weights(run.weights(), first.weights())
        assert run.metrics() == first.metrics()
    same_weights(other.weights(), first.weights(), same=False)


def test_a_run_directory_holds_all_that_it_should(small_config, pair_data, train_run):
    config = settle_clip(small_config(train__epochs=2))
    run = train_run(config, pair_data)
    names = {path.name for path in run.folder.iterdir()}
    (events,) = (name for name in names if name.startswith("events.out.tfevents."))
    assert names - {events} == RUN_FILES
    assert load_config(str(run.folder / "config.yaml")) == config
    items = load_items(run.folder / "splits.csv")
    assert sorted(items, key=lambda item: item.path) == sorted(
        load_items(pair_data), key=lambda item: item.path
    )
    assert [json.loads(line) for line in run.metrics().splitlines()] == [asdict(row) for row in run.rows]
    assert [row.epoch for row in run.rows] == [1, 2]
    assert load_resume(run.folder / "resume.pt")["epoch"] == 2
    for name in ("model.safetensors", "last.safetensors"):
        saved = load_checkpoint(run.folder / name)
        assert saved.config == config
        assert saved.class_names == ("left", "right")
        assert saved.build()(torch.zeros(1, 4, 3, 32, 32)).shape == (1, 2)


def test_events_count_steps_and_epochs(small_config, pair_data, train_run):
    run = train_run(small_config(train__epochs=2, train__batch_size=3), pair_data)
    steps = run.of(StepDone)
    assert [(step.epoch, step.step, step.num_steps) for step in steps] == [
        (epoch, step, 3) for epoch in (1, 2) for step in (1, 2, 3)
    ]
    assert steps[-1].seconds_left == 0 < steps[0].seconds_left
    assert all(step.clips_per_second > 0 for step in steps)
    assert [event.row for event in run.of(EpochDone)] == run.rows
    # The last step's running means are the epoch's.
    assert (steps[-1].loss, steps[-1].accuracy) == (run.rows[-1].train_loss, run.rows[-1].train_accuracy)


def test_mirroring_is_refused_aloud_where_classes_tell_a_side(small_config, pair_data, train_run):
    assert any(
        "not mirrored" in text and "left" in text for text in notices(train_run(small_config(), pair_data))
    )
    quiet = train_run(small_config(augment__flip="off"), pair_data, "quiet")
    assert not any("mirrored" in text for text in notices(quiet))


# --- best, last, early stopping -------------------------------------------------------------------


@pytest.fixture
def fake_validation(monkeypatch):
    """Let validation say given (top1, loss) pairs, an epoch each."""
    real = validation.evaluate

    def install(*scores):
        told = iter(scores)

        def evaluate(*args):
            top1, loss = next(told)
            return replace(real(*args), top1=top1, loss=loss)

        monkeypatch.setattr(validation, "evaluate", evaluate)

    return install


def test_best_is_kept_beside_last(small_config, pair_data, train_run, fake_validation, same_weights):
    # Ties in accuracy go to the smaller loss: epoch 3 beats 2, epoch 4 does not beat 3.
    fake_validation((0.5, 0.4), (0.75, 0.9), (0.75, 0.8), (0.75, 0.8), (0.25, 0.1))
    run = train_run(small_config(train__epochs=5), pair_data)
    assert [event.best for event in run.of(EpochDone)] == [True, True, True, False, False]
    best, last = (load_checkpoint(run.folder / name) for name in ("model.safetensors", "last.safetensors"))
    assert (best.metrics["epoch"], best.metrics["val_top1"], best.metrics["val_loss"]) == (3, 0.75, 0.8)
    assert last.metrics["epoch"] == 5
    same_weights(dict(best.weights), dict(last.weights), same=False)
    resumed = load_resume(run.folder / "resume.pt")["model"]
    same_weights(dict(sorted(resumed.items())), dict(sorted(last.weights.items())))


def test_patience_stops_early(small_config, pair_data, train_run, fake_validation):
    fake_validation((0.5, 1.0), (0.75, 1.0), (0.5, 1.0), (0.5, 0.5), (1.0, 0.0))
    run = train_run(small_config(train__epochs=9, train__patience=2), pair_data)
    assert [row.epoch for row in run.rows] == [1, 2, 3, 4]
    assert load_checkpoint(run.folder / "model.safetensors").metrics["epoch"] == 2


def test_without_validation_the_last_epoch_is_the_model(small_config, pair_data, train_run, same_weights):
    (pair_data / "val").rename(pair_data.parent / "unused")
    run = train_run(small_config(train__epochs=3, train__patience=1, data__val_fraction=0), pair_data)
    assert [row.val_top1 for row in run.rows] == [None, None, None]
    assert [event.best for event in run.of(EpochDone)] == [True, True, True]
    same_weights(run.weights("model.safetensors"), run.weights("last.safetensors"))
    assert load_checkpoint(run.folder / "model.safetensors").metrics["epoch"] == 3


# --- what can go wrong ----------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_and_names_the_batch(small_config, pair_data, train_run, monkeypatch):
    saved = {}

    def spoil(event):
        if isinstance(event, EpochDone):
            saved.update({path.name: path.read_bytes() for path in (pair_data.parent / "run").iterdir()})
            broken = SimpleNamespace(
                cross_entropy=lambda *args, **kw: functional.cross_entropy(*args, **kw) * math.nan
            )
            monkeypatch.setattr(loss, "functional", broken)

    with pytest.raises(TrainError, match=r"loss became nan in epoch 2, step 1\. Lower train\.lr") as caught:
        train_run(small_config(train__epochs=3, train__batch_size=2), pair_data, on_event=spoil)
    named = [line for line in str(caught.value).splitlines() if line.endswith(".mp4")]
    assert len(named) == 2
    assert set(named) <= {str(path) for path in (pair_data / "train").rglob("*.mp4")}
    assert {path.name: path.read_bytes() for path in (pair_data.parent / "run").iterdir()} == saved


def test_a_rate_that_is_far_too_high_is_found_out(small_config, pair_data, train_run):
    config = small_config(
        train__optimizer="sgd", train__lr=10, train__grad_clip=0, train__warmup_epochs=0,
        train__weight_decay=1, train__epochs=200, train__batch_size=8, model__backbone="simple_cnn",
    )  # fmt: skip
    with pytest.raises(TrainError, match=r"(not a number|loss became)(.|\n)* train\.lr \(now 10\)"):
        train_run(config, pair_data)


@pytest.mark.parametrize("loss", [math.nan, None])
def test_weights_that_validate_to_no_number_are_not_saved(
    small_config, pair_data, train_run, fake_validation, loss
):
    fake_validation((0.5, 1.0), (1.0, loss))
    with pytest.raises(TrainError, match="not one validation video could be scored in epoch 2"):
        train_run(small_config(train__epochs=3), pair_data)
    run = pair_data.parent / "run"
    assert load_checkpoint(run / "last.safetensors").metrics["epoch"] == 1
    assert load_resume(run / "resume.pt")["epoch"] == 1


def break_after_first_epoch(*paths):
    def on_event(event):
        if isinstance(event, EpochDone) and event.row.epoch == 1:
            for path in paths:
                path.write_bytes(b"no longer a video")

    return on_event


def test_a_video_that_breaks_while_training_is_named_and_left_out(small_config, pair_data, train_run):
    victim = sorted((pair_data / "train" / "left").iterdir())[0]
    config = small_config(train__epochs=3, train__batch_size=1, data__cache="off", data__max_unusable=0.2)
    run = train_run(config, pair_data, on_event=break_after_first_epoch(victim))
    assert [text for text in notices(run) if text.startswith("left out of this epoch")] == [
        f"left out of this epoch: {victim}: is not a video that can be opened (not a known video format)"
    ]
    # Seven clips are left: the accuracy is a multiple of 1/7.
    assert (run.rows[-1].train_accuracy * 7) % 1 == pytest.approx(0, abs=1e-9)
    assert [row.epoch for row in run.rows] == [1, 2, 3]


def test_too_many_videos_that_break_stop_the_run(small_config, pair_data, train_run):
    victims = sorted((pair_data / "train" / "left").iterdir())[:2]
    config = small_config(train__epochs=4, train__batch_size=1, data__cache="off", data__max_unusable=0.2)
    with pytest.raises(DataError, match="2 of 8 training videos can no longer be decoded") as caught:
        train_run(config, pair_data, on_event=break_after_first_epoch(*victims))
    assert all(str(victim) in str(caught.value) for victim in victims)
    # A few clips of the second epoch had been loaded before the videos broke.
    assert load_resume(pair_data.parent / "run" / "resume.pt")["epoch"] in (1, 2)


def test_videos_that_are_broken_at_the_start_are_named_and_left_out(small_config, pair_data, train_run):
    victim = sorted((pair_data / "val" / "left").iterdir())[0]
    victim.write_bytes(b"not a video")
    run = train_run(small_config(), pair_data)
    assert any(text.startswith(f"left out: {victim}: ") for text in notices(run))
    assert "1 of 12 videos cannot be used" in notices(run)
    assert victim not in {item.path for item in load_items(run.folder / "splits.csv")}


def test_bfloat16_trains_on_the_cpu(small_config, pair_data, train_run, same_weights):
    half = train_run(small_config(train__precision="bfloat16"), pair_data, "half")
    full = train_run(small_config(train__precision="float32"), pair_data, "full")
    same_weights(half.weights(), full.weights(), same=False)
    assert {tensor.dtype for tensor in half.weights().values()} <= {torch.float32, torch.int64}
    assert half.rows[0].train_loss == pytest.approx(full.rows[0].train_loss, rel=0.05)
