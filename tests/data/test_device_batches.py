"""Batches that a device finishes: the clips, labels and failures of those that threads finish."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vidcli.config import Config
from vidcli.data.dataset import ClipDataset
from vidcli.data.device_batches import finishes_clips, iter_finished
from vidcli.data.items import VideoItem, class_names_of
from vidcli.data.loader import Batch, iter_batches
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.errors import TrainError
from vidcli.predict import Predictor
from vidcli.train import EpochDone, StepDone, start_run

CPU = torch.device("cpu")
EVERY_CHANGE = {
    "augment.crop_scale": 0.5, "augment.crop_aspect": 1.5, "augment.brightness": 0.3,
    "augment.contrast": 0.3, "augment.saturation": 0.3, "augment.hue": 0.1,
    "augment.randaugment": 2, "augment.erase": 0.5,
}  # fmt: skip


@pytest.fixture
def dataset(motion_data: Path, small_config: Callable[..., Config], tmp_path: Path) -> ClipDataset:
    """Seven videos, of which one is broken, with every random change there is."""
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video at all")
    items = [*of_split(load_items(motion_data), "train")[::6], VideoItem(broken, "left")]
    return ClipDataset(items, class_names_of(items), small_config(EVERY_CHANGE), flip=True)


def unfinished(dataset: ClipDataset) -> Any:
    order = [(0, range(len(dataset))), (1, range(len(dataset)))]
    return iter_batches(dataset, order, batch_size=4, workers=2, finishes=False)


def test_a_device_makes_the_clips_that_threads_make(dataset: ClipDataset) -> None:
    order = [(0, range(len(dataset))), (1, range(len(dataset)))]
    by_threads = list(iter_batches(dataset, order, batch_size=4, workers=2))
    by_device = list(iter_finished(unfinished(dataset), dataset.finish, CPU))
    assert sum(len(batch.failures) for batch in by_device) == 2
    for ours, theirs in zip(by_device, by_threads, strict=True):
        assert (ours.indices, len(ours.failures)) == (theirs.indices, len(theirs.failures))
        assert torch.equal(ours.labels_B, theirs.labels_B)
        assert ours.clips_BTCHW.dtype == torch.float32
        assert ours.clips_BTCHW.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(ours.clips_BTCHW, theirs.clips_BTCHW, rtol=0, atol=1e-5)
        assert ours.device_waited is not None
        assert ours.device_waited() >= 0


def test_pixels_travel_as_bytes_in_the_order_of_the_model(dataset: ClipDataset) -> None:
    with closing(unfinished(dataset)) as batches:
        batch = next(batches)
    assert batch.clips_BTCHW.dtype == torch.uint8
    assert batch.clips_BTCHW.permute(0, 1, 3, 4, 2).is_contiguous()  # so that it is copied in one piece
    assert len(batch.changes) == len(batch.indices)


def test_a_batch_of_which_nothing_is_left_stays_empty(dataset: ClipDataset) -> None:
    last = len(dataset) - 1
    batches = iter_batches(dataset, [(0, [last, last])], batch_size=2, workers=1, finishes=False)
    (batch,) = iter_finished(batches, dataset.finish, CPU)
    assert (batch.indices, len(batch.failures)) == ([], 2)


def test_leaving_early_stops_the_threads(dataset: ClipDataset) -> None:
    batches = unfinished(dataset)
    with closing(iter_finished(batches, dataset.finish, CPU)) as finished:
        next(finished)
    with pytest.raises(StopIteration):
        next(batches)


def test_clips_that_do_not_fit_are_told(dataset: ClipDataset) -> None:
    def full(*of_batch: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(TrainError, match=r"4 clips do not fit beside the model; lower train.batch_size"):
        next(iter_finished(unfinished(dataset), full, CPU))


def test_only_cuda_finishes_clips() -> None:
    assert [finishes_clips(torch.device(name)) for name in ("cpu", "mps", "cuda", "cuda:1")] == [
        False, False, True, True,
    ]  # fmt: skip


def test_a_run_learns_the_same_wherever_clips_are_finished(
    small_config: Callable[..., Config],
    pair_data: Path,
    train_run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = small_config(EVERY_CHANGE | {"train.epochs": 2, "train.batch_size": 3, "augment.mixup": 0.2})
    plain = train_run(config, pair_data, "plain")
    finished: list[Batch] = []

    def watched(*args: Any) -> Any:
        for batch in iter_finished(*args):
            finished.append(batch)
            yield batch

    monkeypatch.setattr("vidcli.train.epoch.finishes_clips", lambda device: True)
    monkeypatch.setattr("vidcli.train.epoch.iter_finished", watched)
    by_device = train_run(config, pair_data, "device")
    assert len(finished) == len(by_device.of(StepDone)) == 6
    assert len(by_device.of(EpochDone)) == 2
    for ours, theirs in zip(by_device.rows, plain.rows, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-3)
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=1e-3)


@pytest.mark.cuda
def test_a_gpu_learns_and_answers_as_a_cpu_does(
    small_config: Callable[..., Config], pair_data: Path, tmp_path: Path
) -> None:
    config = small_config(
        EVERY_CHANGE | {"train.epochs": 2, "train.batch_size": 3}, train__precision="float32"
    )
    losses, logits = {}, {}
    videos = sorted((pair_data / "val").rglob("*.mp4"))
    for name in ("cpu", "cuda"):
        _, rows = start_run(config, pair_data, tmp_path / name, torch.device(name), lambda event: None)
        losses[name] = [value for row in rows for value in (row.train_loss, row.val_loss)]
        answers = Predictor.load(tmp_path / "cpu", torch.device(name)).predict_many(videos)
        logits[name] = np.concatenate([answer.logits_VK for answer in answers])
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], rtol=0.05)
    np.testing.assert_allclose(logits["cuda"], logits["cpu"], rtol=0, atol=1e-2)
