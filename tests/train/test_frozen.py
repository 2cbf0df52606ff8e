"""A backbone that never learns looks at each clip once, and the run is the one it would be anyway."""

from __future__ import annotations

import csv
import signal
from dataclasses import asdict

import numpy as np
import pytest
import torch

from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.run_folder import LAST_FILE, MODEL_FILE
from vidcli.data.dataset import ClipDataset
from vidcli.data.loader import iter_batches
from vidcli.data.manifest import load_items
from vidcli.errors import ConfigError, VideoError
from vidcli.models import VideoClassifier, VideoNetwork, build_model
from vidcli.predict import Predictor
from vidcli.train import FeatureProgress, Notice, StepDone, frozen, resume_run

CPU = torch.device("cpu")
FROZEN = {
    "train.epochs": 3, "train.freeze_epochs": 3, "train.batch_size": 3, "train.warmup_epochs": 1,
    "model.backbone": "simple_cnn", "model.dropout": 0.3, "augment.crop_scale": 0.6, "data.workers": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDCLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def looked_at(monkeypatch):
    """Note how many clips backbones have looked at."""
    seen = []
    real = VideoClassifier.encode

    def encode(self, clip_BTCHW):
        if clip_BTCHW.any():  # zeros only tell how large features are
            seen.append(len(clip_BTCHW))
        return real(self, clip_BTCHW)

    monkeypatch.setattr(VideoClassifier, "encode", encode)
    return seen


def notices(run):
    return [event.text for event in run.of(Notice)]


def assert_same_rows(rows, others):
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        for name, value in asdict(other).items():
            same = value if value is None else pytest.approx(value, abs=1e-5, rel=1e-5)
            assert asdict(row)[name] == same, name


@pytest.mark.parametrize(
    "changes",
    [
        {"model.backbone": "compact_cnn", "model.shift": "on", "train.ema": 0.5, "train.accumulate": 2},
        {"train.class_balance": "loss", "model.frame_differences": False, "clip.views": 2},
    ],
)
def test_with_enough_clips_it_is_the_run_without_features(changes, small_config, pair_data, train_run):
    plain = train_run(small_config(FROZEN | changes, train__frozen_clips=0), pair_data, "plain")
    kept = train_run(small_config(FROZEN | changes, train__frozen_clips=9), pair_data, "kept")
    assert_same_rows(kept.rows, plain.rows)
    for name, weights in plain.weights().items():
        torch.testing.assert_close(kept.weights()[name], weights, rtol=1e-4, atol=1e-5)
    assert kept.of(FeatureProgress)[-1] == FeatureProgress(8 + 4, 8 + 4)
    assert any("features of 3 clips a video are computed once" in text for text in notices(kept))
    assert not plain.of(FeatureProgress)


def test_each_clip_is_looked_at_once(small_config, pair_data, train_run, looked_at):
    changes = FROZEN | {"train.epochs": 6, "train.freeze_epochs": 6, "data.cache": "memory"}
    train_run(small_config(changes, train__frozen_clips=2), pair_data)
    assert sum(looked_at) == 8 * 2 + 4


def test_other_heads_find_the_features_on_disk(small_config, pair_data, train_run, looked_at, own_cache):
    first = train_run(small_config(FROZEN), pair_data, "first")
    looked_at.clear()
    again = train_run(small_config(FROZEN), pair_data, "again")
    # Without weights a random backbone's draws depend on the head's.
    changes = FROZEN | {"model.head": "mean", "model.weights": first.folder / MODEL_FILE}
    other = train_run(small_config(changes), pair_data, "other")
    assert not looked_at
    assert again.metrics() == first.metrics() != other.metrics()
    for changes in ({"train.seed": 1}, {"augment.contrast": 0.1}, {"clip.size": 48}):
        looked_at.clear()
        train_run(small_config(FROZEN | changes | {"train.frozen_clips": 1}), pair_data, str(changes))
        assert sum(looked_at) >= 8


def test_more_clips_go_on_from_those_that_are_there(small_config, pair_data, train_run, looked_at):
    changes = FROZEN | {"train.epochs": 7, "train.freeze_epochs": 7}
    first = train_run(small_config(changes, train__frozen_clips=4), pair_data, "four")
    looked_at.clear()
    plain = train_run(small_config(changes, train__frozen_clips=0), pair_data, "plain")
    looked_at.clear()
    more = train_run(small_config(changes, train__frozen_clips=6), pair_data, "six")
    assert sum(looked_at) == 8 * 2
    assert more.rows[:4] == first.rows[:4]
    assert_same_rows(more.rows[:6], plain.rows[:6])


def test_epochs_take_turns_and_repeats_take_the_next(small_config, pair_data, tmp_path):
    config = small_config(FROZEN, train__frozen_clips=2)
    items = [item for item in load_items(pair_data) if item.split == "train"]
    dataset = ClipDataset(items, ["left", "right"], config, flip=False)
    model = build_model(config.model, 2)
    features = frozen.FrozenFeatures(
        model, config, dataset, [], Predictor(model, config, ["left", "right"], CPU), CPU, frozen.Group()
    )
    features.fill(lambda done, total: None, lambda text: None)
    (shown, labels), clips = (
        zip(
            *((b.clips_BTCHW, b.labels_B) for b in features.batches([(2, [5, 0]), (3, [5, 5, 5])])),
            strict=True,
        ),
        [dataset.load(5, clip).clip_TCHW for clip in (0, 1)],
    )
    with torch.inference_mode():
        cells = [model.eval().encode(clip[None])[0] for clip in clips]
    assert torch.equal(shown[0][0], cells[0])
    assert [torch.equal(own, cells[n]) for own, n in zip(shown[1], (1, 0, 1), strict=True)] == [True] * 3
    assert [int(label) for label in labels[0]] == [dataset.label(5), dataset.label(0)]
    first, indices = features.first_clips([5, 5, 1])
    assert indices == [5, 5, 1]
    assert [torch.equal(first[n], clips[n]) for n in (0, 1)] == [True, True]
    ordinary = next(iter_batches(dataset, [(0, [5, 1])], 2, workers=1)).clips_BTCHW
    assert torch.equal(first[[0, 2]], ordinary)


@pytest.mark.parametrize("cache", ["auto", "memory"])
def test_a_run_that_stopped_ends_with_the_same_bits(cache, small_config, pair_data, train_run, same_weights):
    changes = {"train.frozen_clips": 2, "train.class_balance": "sampling", "train.ema": 0.8}
    changes = FROZEN | changes | {"data.cache": cache}
    config = small_config(changes)
    plain = train_run(config, pair_data, "plain")

    def stop(event):
        if isinstance(event, StepDone) and (event.epoch, event.step) == (2, 2):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_run(config, pair_data, "stopped", stop)
    folder = plain.folder.parent / "stopped"
    resume_run(folder, CPU, lambda event: None)
    for name in (LAST_FILE, MODEL_FILE):
        same_weights(dict(load_checkpoint(folder / name).weights), plain.weights(name))
    assert (folder / "metrics.jsonl").read_text() == plain.metrics()
    threads = train_run(small_config(changes, data__workers=3, data__cache="memory"), pair_data, "threads")
    same_weights(threads.weights(), plain.weights())


def test_stopped_while_computing_what_is_there_is_kept(small_config, pair_data, train_run, looked_at):
    def stop(event):
        if isinstance(event, FeatureProgress) and event.done == 5:
            signal.raise_signal(signal.SIGINT)

    config = small_config(FROZEN, train__frozen_clips=1)
    told = []
    with pytest.raises(KeyboardInterrupt):
        train_run(config, pair_data, on_event=lambda event: (told.append(event), stop(event)))
    assert "go on with `vidcli train DATA --out" in told[-1].text
    looked_at.clear()
    run = train_run(config, pair_data)  # in the same folder, in which nothing had been saved
    assert sum(looked_at) == 12 - 5
    assert len(run.rows) == 3


def test_the_model_is_whole_and_answers_as_validation_did(small_config, pair_data, train_run):
    run = train_run(small_config(FROZEN, train__plots=True), pair_data)
    torch.manual_seed(0)
    start = build_model(small_config(FROZEN).model, 2)
    for name, value in start.backbone.state_dict().items():
        assert torch.equal(run.weights()[f"backbone.{name}"], value)
    predictor = Predictor.load(run.folder / LAST_FILE, CPU)
    items = [item for item in load_items(pair_data) if item.split == "val"]
    answers = list(predictor.predict_many(items))
    assert np.mean([a.label == i.label for a, i in zip(answers, items, strict=True)]) == run.rows[-1].val_top1
    assert {"samples.png", "curves.png", "confusion.png"} <= {path.name for path in run.folder.iterdir()}


def test_several_classes_a_video(small_config, pair_data, train_run, tmp_path):
    manifest = tmp_path / "sets.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for number, item in enumerate(load_items(pair_data)):
            writer.writerow([item.path, item.label + "|odd" * (number % 2), item.split])
    changes = FROZEN | {"data.multi_label": True}
    plain = train_run(small_config(changes, train__frozen_clips=0), manifest, "plain")
    kept = train_run(small_config(changes), manifest, "kept")
    assert_same_rows(kept.rows, plain.rows)
    assert kept.rows[-1].val_map is not None


def test_a_whole_network_has_features_too(small_config):
    network = VideoNetwork(
        torch.nn.Sequential(torch.nn.Flatten(2), Mean()), 3, 2, small_config().model
    ).eval()
    clips = torch.randn(2, 4, 3, 5, 6)
    assert network.encode(clips).shape == (2, 3)
    assert torch.equal(network.after_backbone(network.encode(clips)), network(clips))


class Mean(torch.nn.Module):
    def forward(self, x):
        return x.mean(-1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"augment.mixup": 0.2}, "mix pixels"),
        ({"augment.cutmix": 1.0}, "mix pixels"),
        ({"data.cache": "off"}, "keeps nothing"),
        ({"train.freeze_epochs": 1, "train.frozen_clips": 2}, "train.frozen_clips has no effect unless"),
        ({"train.frozen_clips": 0}, None),
    ],
)
def test_why_it_cannot_be_is_told(changes, told, small_config, pair_data, train_run):
    run = train_run(small_config(FROZEN | {"train.epochs": 2} | changes), pair_data)
    assert not run.of(FeatureProgress)
    if told is None:
        assert not any("frozen, and yet" in text for text in notices(run))
    else:
        assert any(told in text for text in notices(run))


def test_features_beyond_memory_are_refused(small_config, pair_data, train_run, monkeypatch):
    monkeypatch.setattr(frozen, "free_memory", lambda: 100_000)
    with pytest.raises(ConfigError, match=r"features of 3 clips.*half of the .*lower train\.frozen_clips"):
        train_run(small_config(FROZEN), pair_data)


def test_what_can_no_longer_be_decoded_is_left_out(small_config, pair_data, train_run, monkeypatch):
    real = ClipDataset.load

    def load(self, index, epoch, repeat=0):
        if (index, epoch) == (2, 1):
            raise VideoError(str(self.items[index].path), "gone")
        return real(self, index, epoch, repeat)

    monkeypatch.setattr(ClipDataset, "load", load)
    run = train_run(small_config(FROZEN, data__max_unusable=0.2), pair_data)
    assert len([text for text in notices(run) if text.startswith("left out of this epoch")]) == 1
    assert len(run.rows) == 3
