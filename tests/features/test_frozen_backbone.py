"""Features of a frozen backbone: the numbers, the cache, and what a change of anything does to it."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from vidcli.data.items import VideoItem
from vidcli.errors import ConfigError, DataError
from vidcli.features import frozen_backbone as module
from vidcli.features.frozen_backbone import FrozenBackbone
from vidcli.models import build_model, wake_residual_branches
from vidcli.predict import Predictor
from vidcli.sampling import shuffled_order

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def items(tmp_path, write_video):
    return [VideoItem(write_video(tmp_path / f"{n}.mp4", seed=n), "run") for n in range(3)]


def build(config, seed=0):
    torch.manual_seed(seed)
    model = build_model(config.model, 2)
    wake_residual_branches(model.backbone)
    return model.eval()


def freeze(config, seed=0):
    return FrozenBackbone(build(config, seed), config, CPU)


@pytest.mark.parametrize("shift", ["off", "on"])
def test_features_give_the_models_own_answers(items, small_config, shift):
    """The rest of the model, fed with features, answers as the whole does; shuffled as well."""
    config = small_config(model__shift=shift, clip__views=2, model__grid=2)
    model = build(config)
    found = FrozenBackbone(model, config, CPU).features_of(items)
    assert found.videos[0].ordered_VTF.shape == (2, 4, 128 * 4)
    for attribute, seed in (("ordered_VTF", None), ("shuffled_VTF", config.train.seed)):
        predictor = Predictor(model, config, ["a", "b"], CPU, shuffle_seed=seed)
        for video, prediction in zip(found.videos, predictor.predict_many(items), strict=True):
            with torch.inference_mode():
                cells = torch.from_numpy(getattr(video, attribute))
                probabilities = model.head(model.projection(cells)).double().softmax(-1).mean(0)
            np.testing.assert_allclose(probabilities, prediction.probabilities, rtol=1e-5)


def test_only_a_backbone_that_looks_aside_sees_the_shuffling(items, small_config):
    order = shuffled_order("0.mp4", 4, 0)
    assert order.tolist() != [0, 1, 2, 3]
    blind, aside = (
        freeze(small_config(model__shift=shift)).features_of(items).videos[0] for shift in ("off", "on")
    )
    assert np.array_equal(blind.shuffled_VTF, blind.ordered_VTF[:, order])
    assert not np.allclose(aside.shuffled_VTF, aside.ordered_VTF[:, order])


def test_the_second_time_nothing_is_decoded(items, small_config, monkeypatch):
    config = small_config()
    first = freeze(config).features_of(items)
    assert first.num_cached == 0

    def refuse(*args):
        raise AssertionError("decoded again")

    monkeypatch.setattr(module.FrameSource, "frames", refuse)
    second = freeze(config).features_of(items)
    assert second.num_cached == 3
    for before, after in zip(first.videos, second.videos, strict=True):
        assert np.array_equal(before.ordered_VTF, after.ordered_VTF)
        assert np.array_equal(before.shuffled_VTF, after.shuffled_VTF)


@pytest.mark.parametrize(
    "change", [{"clip.length": 3}, {"clip.size": 48}, {"clip.mean": "[0.1,0.1,0.1]"}, {"model.grid": 1}, {}]
)
def test_another_backbone_or_sampling_has_its_own_cache(items, small_config, change):
    freeze(small_config()).features_of(items)
    other = freeze(small_config(change), seed=0 if change else 1)
    assert other.features_of(items).num_cached == 0


def test_heads_and_their_training_share_the_cache(items, small_config):
    freeze(small_config()).features_of(items)
    other = freeze(small_config({"train.lr": 0.1, "train.epochs": 9, "model.dropout": 0}))
    assert other.features_of(items).num_cached == 3


def test_a_changed_or_damaged_file_is_computed_again(items, small_config, own_cache):
    config = small_config()
    before = freeze(config).features_of(items)
    os.utime(items[0].path, (1, 1))
    assert freeze(config).features_of(items).num_cached == 2
    for file in own_cache.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:100])
    after = freeze(config).features_of(items)
    assert after.num_cached == 0
    assert np.array_equal(before.videos[1].ordered_VTF, after.videos[1].ordered_VTF)
    assert freeze(config).features_of(items).num_cached == 3


def test_off_keeps_nothing(items, small_config, own_cache):
    assert freeze(small_config(data__cache="off")).features_of(items).num_cached == 0
    assert not own_cache.exists()


def test_a_folder_that_cannot_be_written_only_costs_time(items, small_config, own_cache):
    own_cache.parent.mkdir()
    own_cache.write_text("in the way")
    for _ in range(2):
        assert len(freeze(small_config()).features_of(items).videos) == 3


def test_old_features_are_deleted_beyond_the_limit(items, small_config, own_cache):
    old = freeze(small_config(clip__length=3))
    old.features_of(items)
    new = freeze(small_config())
    new.features_of(items)
    new.prune()
    assert old.folder.exists()
    size = sum(file.stat().st_size for file in own_cache.rglob("*.npy"))
    tight = freeze(small_config(data__cache_gib=0.6 * size / 2**30))
    tight.prune()
    assert new.folder == tight.folder
    assert len(list(new.folder.iterdir())) == 3
    assert not old.folder.exists()


def test_what_cannot_be_decoded_is_named(items, small_config, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    bad = [*items, VideoItem(tmp_path / "bad.mp4", "run")]
    found = freeze(small_config(data__max_unusable=0.5)).features_of(bad)
    assert [failure.path for failure in found.failures] == [str(tmp_path / "bad.mp4")]
    assert len(found.videos) == 3
    with pytest.raises(DataError, match=r"1 of 4 videos cannot be used.*\n.*bad\.mp4"):
        freeze(small_config()).features_of(bad)


def test_features_beyond_memory_are_refused(items, small_config):
    with pytest.raises(ConfigError, match=r"lower model\.grid"):
        freeze(small_config(data__cache_gib=1e-6)).features_of(items)
