"""No batch, nor a part of one, is so small that BatchNorm sees a single value a channel."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vidcli.config import Config
from vidcli.data.dataset import ClipDataset
from vidcli.data.loader import batch_ends, iter_draws
from vidcli.errors import ConfigError, VideoError
from vidcli.models import build_model
from vidcli.train import Notice, StepDone, compare_heads, plan_run, resume_run
from vidcli.train.batchnorm import fewest_clips
from vidcli.train.update import Updater

CPU = torch.device("cpu")

# At stride 16 the map of a frame of 16x16 has one place.
LONELY = {"clip.length": 1, "clip.size": 16, "model.head": "mean", "train.batch_size": 3}


@pytest.fixture
def seven(pair_data: Path) -> Path:
    """Seven videos to train on: 3 + 3 + 1."""
    sorted((pair_data / "train" / "left").iterdir())[0].unlink()
    return pair_data


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clips passed through the model at once, each time in training."""
    sizes: list[int] = []
    real = Updater._compute

    def compute(self: Updater, clips: torch.Tensor, *rest: Any) -> Any:
        sizes.append(len(clips))
        return real(self, clips, *rest)

    monkeypatch.setattr(Updater, "_compute", compute)
    return sizes


# --- where batches end ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_clips", "batch_size", "fewest", "ends"),
    [
        (7, 3, 1, [3, 6, 7]),
        (7, 3, 2, [3, 5, 7]),
        (8, 3, 2, [3, 6, 8]),
        (5, 2, 2, [2, 5]),
        (3, 2, 2, [3]),
        (2, 2, 2, [2]),
        (4, 8, 2, [4]),
        (1, 3, 2, [1]),
        (0, 3, 2, []),
        (3, 1, 1, [1, 2, 3]),
    ],
)
def test_where_batches_end(num_clips: int, batch_size: int, fewest: int, ends: list[int]) -> None:
    assert batch_ends(num_clips, batch_size, fewest) == ends


def test_batches_hold_every_clip_once_and_go_on_from_any() -> None:
    for num_clips in range(2, 30):
        for batch_size in range(2, 12):
            ends = batch_ends(num_clips, batch_size, 2)
            orders = [(0, range(num_clips)), (1, range(num_clips))]
            all_draws = list(iter_draws(orders, batch_size, fewest=2))
            assert [index for draws in all_draws[: len(ends)] for _, index, _ in draws] == list(
                range(num_clips)
            )
            assert all(2 <= len(draws) <= batch_size + 1 for draws in all_draws)
            for first in range(len(ends)):
                assert list(iter_draws(orders, batch_size, first, fewest=2)) == all_draws[first:]
                # As when all processes compute the clips of one step.
                short = [(0, range(ends[first]))]
                assert next(iter_draws(short, batch_size, first, fewest=2)) == all_draws[first]


# --- which models need two ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fewest"),
    [
        ({}, 2),
        ({"clip.length": 2}, 1),
        ({"clip.size": 32}, 1),
        ({"model.backbone": "simple_cnn"}, 1),
        ({"train.freeze_batchnorm": True}, 1),
        ({"train.freeze_epochs": 1}, 1),
        ({"train.optimizer": "ridge"}, 1),
        ({"model.backbone": "resnet18", "clip.size": 32}, 2),
        ({"model.backbone": "r3d_18", "clip.length": 8}, 2),
        ({"model.backbone": "r3d_18", "clip.length": 16}, 1),
    ],
    ids=str,
)
def test_which_models_need_two_clips(
    changes: dict[str, Any], fewest: int, small_config: Callable[..., Config]
) -> None:
    config = small_config(LONELY | changes)
    model = build_model(config.model, 2)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert fewest_clips(model, config) == fewest
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({}, [3, 2, 2]),
        ({"train.batch_size": 2}, [2, 2, 3]),
        ({"train.batch_size": 6}, [5, 2]),
        ({"train.batch_size": 6, "train.accumulate": 6}, [3, 2, 2]),
        ({"train.class_balance": "sampling"}, [3, 2, 2]),
    ],
    ids=str,
)
def test_a_last_clip_is_never_alone(changes, sizes, small_config, seven, train_run, passes) -> None:
    run = train_run(small_config(LONELY | changes), seven)
    assert passes == sizes
    assert len(run.rows) == 1
    assert run.of(StepDone)[-1].num_steps == len(run.of(StepDone))
    told = any("needs two clips" in notice.text for notice in run.of(Notice))
    assert told == ("train.accumulate" in changes)


def test_models_that_can_keep_their_small_last_batch(small_config, seven, train_run, passes) -> None:
    train_run(small_config(LONELY, clip__length=2), seven)
    assert passes == [3, 3, 1]


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_such_a_run_goes_on_bit_for_bit(stop, small_config, seven, train_run, tmp_path) -> None:
    config = small_config(LONELY, train__epochs=2, model__dropout=0.3)
    plain = train_run(config, seven, "plain")
    steps = []

    def on_event(event: object) -> None:
        if isinstance(event, StepDone):
            steps.append(event)
            if len(steps) == stop:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train_run(config, seven, on_event=on_event)
    _, rows = resume_run(tmp_path / "run", CPU, lambda event: None)
    assert rows == plain.rows
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        plain.folder / "model.safetensors"
    ).read_bytes()


def test_batches_of_one_are_refused_before_the_first_epoch(small_config, seven, train_run, tmp_path) -> None:
    config = small_config(LONELY, train__batch_size=1)
    told = r"train\.batch_size=1: BatchNorm in compact_cnn gets one value .* set train\.batch_size=2 or more"
    with pytest.raises(ConfigError, match=told):
        train_run(config, seven)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=told):
        plan_run(config, seven, lambda event: None)
    assert len(train_run(small_config(LONELY, train__batch_size=1, clip__length=2), seven).rows) == 1


def test_a_dry_run_counts_the_same_steps(small_config, seven) -> None:
    for changes, steps in (
        ({}, 3),
        ({"train.batch_size": 2}, 3),
        ({"train.batch_size": 2, "clip.length": 2}, 4),
    ):
        assert plan_run(small_config(LONELY | changes), seven, lambda event: None).num_steps == steps


def test_a_clip_whose_batch_failed_is_left_out_and_named(
    small_config, seven, train_run, monkeypatch, passes
) -> None:
    real, loaded = ClipDataset.load, []

    def load(self: ClipDataset, index: int, epoch: int, repeat: int = 0) -> Any:
        loaded.append(index)
        if len(loaded) <= 2:  # two of the first batch of three
            raise VideoError(self.items[index].path, "broke")
        return real(self, index, epoch, repeat)

    monkeypatch.setattr(ClipDataset, "load", load)
    config = small_config(LONELY, data__workers=1, data__max_unusable=0.9)
    run = train_run(config, seven)
    assert passes == [2, 2]
    assert any("one clip is left out of this epoch" in notice.text for notice in run.of(Notice))


def test_comparing_heads_needs_no_second_clip(small_config, seven, tmp_path) -> None:
    for batch_size in (1, 3):
        config = small_config(LONELY, train__batch_size=batch_size)
        out = tmp_path / f"run{batch_size}"
        assert compare_heads(config, seven, "auto", out, CPU, lambda event: None).heads
        shutil.rmtree(out)
