"""A batch that does not fit in memory: the size that fits is named, or used with the same result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vidcli.artifacts.resume_file import load_resume
from vidcli.errors import TrainError
from vidcli.models import VideoClassifier
from vidcli.train import EpochDone, Notice, StepDone, resume_run
from vidcli.train.update import Updater

CPU = torch.device("cpu")
# No dropout, which draws other masks for parts than for the whole.
EXACT = {
    "model.backbone": "simple_cnn", "model.dropout": 0, "train.epochs": 2, "train.batch_size": 8,
    "data.val_fraction": 0,
}  # fmt: skip


@pytest.fixture
def room_for(monkeypatch):
    """Let the model run out of memory in training with more clips than that at once."""
    real = VideoClassifier.forward

    def limit(num_clips, error=None):
        sizes = []

        def forward(self, clip_BTCHW):
            logits_BK = real(self, clip_BTCHW)
            if self.training:
                sizes.append(len(clip_BTCHW))
                if len(clip_BTCHW) > num_clips:
                    raise error or torch.OutOfMemoryError("CUDA out of memory.")
            return logits_BK

        monkeypatch.setattr(VideoClassifier, "forward", forward)
        return sizes

    yield limit
    monkeypatch.setattr(VideoClassifier, "forward", real)


def told(run):
    return [event.text for event in run.of(Notice) if "memory at once" in event.text]


@pytest.mark.parametrize(("room", "parts", "size"), [(4, 2, 4), (3, 4, 2), (1, 8, 1)])
def test_the_batch_is_cut_and_the_result_stays(
    room, parts, size, small_config, pair_data, train_run, room_for
):
    plain = train_run(small_config(EXACT), pair_data, "plain")
    sizes = room_for(room)
    run = train_run(small_config(EXACT, train__auto_batch=True), pair_data)
    (notice,) = told(run)
    assert notice == (
        f"8 clips do not fit in memory at once: batches pass in {parts} parts of at most {size}, as with "
        f"train.accumulate={parts}"
    )
    # Tried whole once, then sought, then never again.
    assert sizes[0] == 8
    assert sizes[-parts:] == [size] * parts
    assert sum(number > room for number in sizes) <= 4
    assert [row.train_loss for row in run.rows] == pytest.approx(
        [row.train_loss for row in plain.rows], abs=1e-5
    )
    for name, tensor in plain.weights().items():
        assert run.weights()[name].allclose(tensor, atol=1e-5), name


def test_statistics_are_those_of_the_parts_alone(small_config, pair_data, train_run, room_for, same_weights):
    """What failed half way leaves no trace in BatchNorm or in the random draws."""
    config = {"train.epochs": 2, "train.batch_size": 8, "model.dropout": 0.3}
    plain = train_run(small_config(config, train__accumulate=4), pair_data, "plain")
    room_for(2)
    run = train_run(small_config(config, train__auto_batch=True), pair_data)
    assert len(told(run)) == 1
    same_weights(run.weights(), plain.weights())


def test_the_parts_are_kept_by_a_run_that_goes_on(small_config, pair_data, train_run, room_for, tmp_path):
    class Died(BaseException):
        pass

    def die(event):
        if isinstance(event, EpochDone):
            raise Died

    room_for(2)
    with pytest.raises(Died):
        train_run(small_config(EXACT, train__auto_batch=True), pair_data, on_event=die)
    events, sizes = [], room_for(2)
    resume_run(tmp_path / "run", CPU, events.append)
    assert [event.epoch for event in events if isinstance(event, StepDone)] == [2]
    assert sizes == [2, 2, 2, 2]
    assert load_resume(tmp_path / "run" / "resume.pt")["num_parts"] == 4


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
    ],
    ids=["cuda", "mps", "cpu"],
)
def test_the_size_that_fits_is_named(error, small_config, pair_data, train_run, room_for):
    room_for(3, error)
    with pytest.raises(
        TrainError,
        match=r"out of memory with 8 clips of 4 frames of 32x32 at once; 2 fit\. Set train\.accumulate=4 .*"
        r"train\.auto_batch=true .*train\.batch_size=2$",
    ):
        train_run(small_config(EXACT), pair_data)


@pytest.mark.parametrize("auto_batch", [False, True])
def test_nothing_helps_where_a_single_clip_does_not_fit(
    auto_batch, small_config, pair_data, train_run, room_for
):
    room_for(0)
    with pytest.raises(TrainError, match=r"fewer do not fit either: lower clip\.size or clip\.length"):
        train_run(small_config(EXACT, train__auto_batch=auto_batch), pair_data)


def test_other_errors_are_no_want_of_memory(small_config, pair_data, train_run, room_for):
    room_for(3, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train_run(small_config(EXACT, train__auto_batch=True), pair_data)


def test_parts_are_never_too_small_for_batchnorm(small_config, pair_data, train_run, room_for):
    lonely = {"clip.length": 1, "clip.size": 16, "model.head": "mean", "data.val_fraction": 0}
    config = small_config(lonely, train__batch_size=8, train__auto_batch=True)
    sizes = room_for(2)
    train_run(config, pair_data)
    assert sizes[-4:] == [2, 2, 2, 2]
    sizes = room_for(1)
    with pytest.raises(TrainError, match="out of memory"):
        train_run(config, pair_data, "another")
    assert 1 not in sizes


@pytest.mark.parametrize(("clips", "parts"), [(5, 2), (1.5, 8), (0.5, 8)])
def test_on_a_cpu_a_batch_is_cut_before_it_takes_more_memory_than_is_free(
    clips, parts, small_config, pair_data, train_run, monkeypatch, same_weights
):
    plain = train_run(small_config(EXACT, train__accumulate=parts), pair_data, "plain")
    kept = 2**20
    monkeypatch.setattr("vidcli.train.step_memory.StepMemory.kept_bytes", lambda *_: kept)
    monkeypatch.setattr("vidcli.train.step_memory.free_memory", lambda: round(clips * kept * 1.25 / 0.8))
    run = train_run(small_config(EXACT), pair_data)
    (notice,) = told(run)
    assert f"batches pass in {parts} parts of at most {8 // parts}" in notice
    same_weights(plain.weights(), run.weights())


def test_with_memory_for_all_clips_nothing_is_measured(small_config, pair_data, train_run, monkeypatch):
    def fail(*_):
        raise AssertionError("was measured")

    monkeypatch.setattr("vidcli.train.step_memory.StepMemory.kept_bytes", fail)
    assert told(train_run(small_config(EXACT), pair_data)) == []


def test_what_a_forward_pass_keeps_is_counted_once(small_config):
    hidden = 5000
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, hidden), nn.ReLU(), nn.Linear(hidden, 2))
    update = Updater(model, small_config(), [1, 1], 1, CPU)
    update.start_epoch(0)
    before = [parameter.clone() for parameter in model.parameters()]
    kept = update._memory.kept_bytes(torch.rand(1, 12), torch.tensor([1]))
    # The ReLU's result, which is the second layer's input; the clip, and some numbers of the loss.
    assert 4 * (hidden + 12) <= kept <= 4 * (hidden + 12 + 20)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(map(torch.equal, before, model.parameters()))
