"""One path from a file to its probabilities: eval, predict and validation say the same, to the last bit."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from vidcli.commands.app import app
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.evaluate import evaluate
from vidcli.models import build_model
from vidcli.models.calibration import UNCALIBRATED
from vidcli.predict import Prediction, Predictor, collect_videos
from vidcli.train import start_run
from vidcli.video import encode_video

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(motion_data, small_config, tmp_path_factory):
    """A run directory: eight classes, two views, little training."""
    folder = tmp_path_factory.mktemp("predict") / "run"
    start_run(small_config(clip__views=2, train__epochs=2), motion_data, folder, CPU, lambda event: None)
    return folder


@pytest.fixture(scope="module")
def videos(motion_data):
    return sorted((motion_data / "test").rglob("*.mp4"))


@pytest.fixture(scope="module")
def reference(run, videos):
    """The probabilities of each test video, asked for one at a time."""
    predictor = Predictor.load(run, CPU)
    return {str(video): predictor.predict(video).probabilities for video in videos}


def vidcli(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


def test_probabilities_are_a_distribution_that_differs_by_video(reference):
    table = np.stack(list(reference.values()))
    assert table.shape == (16, 8)
    assert table.dtype == np.float64
    assert np.all(table > 0)
    assert np.allclose(table.sum(axis=1), 1)
    assert len(np.unique(table, axis=0)) == 16


@pytest.mark.parametrize("order", ["given", "reversed", "twice"])
def test_neither_company_nor_order_changes_a_bit(run, videos, reference, order):
    asked = {"given": videos, "reversed": videos[::-1], "twice": [v for v in videos for _ in range(2)]}[order]
    predictions = list(Predictor.load(run, CPU).predict_many(asked))
    assert [prediction.video for prediction in predictions] == [str(video) for video in asked]
    for prediction in predictions:
        assert np.array_equal(prediction.probabilities, reference[prediction.video])


def test_model_file_run_folder_and_memory_agree(run, videos, reference):
    from_file = Predictor.load(run / "model.safetensors", CPU)
    model = build_model(from_file.config.model, 8)
    model.load_state_dict(from_file.network.state_dict())
    in_memory = Predictor(
        model, from_file.config, from_file.class_names, CPU, calibration=from_file.calibration
    )
    for predictor in (from_file, in_memory):
        assert np.array_equal(predictor.predict(videos[3]).probabilities, reference[str(videos[3])])


def test_eval_and_predict_print_the_same_bits(run, videos, reference, tmp_path):
    evaluated = vidcli("eval", "--model", run, "--out", tmp_path, "--device", "cpu", "--json")
    predicted = vidcli(
        "predict", *videos[::-1], "--model", run, "--device", "cpu", "--format", "json", "--top-k", 8
    )
    assert (evaluated.exit_code, predicted.exit_code) == (0, 0)
    with open(tmp_path / "predictions.csv", newline="") as file:
        of_eval = {row["video"]: row for row in csv.DictReader(file)}
    of_predict = [json.loads(line) for line in predicted.stdout.splitlines()]
    class_names = Predictor.load(run, CPU).class_names
    for answer in of_predict:
        exact = dict(zip(class_names, reference[answer["video"]].tolist(), strict=True))
        assert {row["label"]: row["probability"] for row in answer["predictions"]} == exact
        assert {name: float(of_eval[answer["video"]][name]) for name in class_names} == exact
    assert len(of_predict) == len(of_eval) == 16


def test_validation_numbers_are_those_of_eval(run, tmp_path):
    result = vidcli("eval", "--model", run, "--split", "val", "--out", tmp_path, "--device", "cpu", "--json")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: (row["val_top1"], -row["val_loss"]))
    scores = json.loads(result.stdout)
    assert (scores["top1"], scores["balanced_accuracy"]) == (best["val_top1"], best["val_balanced_accuracy"])
    # Validation selects by the loss of the bare logits; eval tells that of the calibrated ones.
    predictor = Predictor.load(run, CPU)
    assert predictor.calibration.num_videos == 16
    assert scores["loss"] < best["val_loss"]
    predictor.calibration = UNCALIBRATED
    items = [item for item in load_items(run / "splits.csv") if item.split == "val"]
    bare = evaluate(
        list(predictor.predict_many(items)), [item.label for item in items], predictor.class_names
    )
    assert bare.loss == best["val_loss"]


def test_a_bad_file_among_good_ones_is_an_error_and_the_rest_goes_on(run, videos, reference, tmp_path):
    broken, missing = tmp_path / "broken.mp4", tmp_path / "missing.mp4"
    broken.write_bytes(videos[0].read_bytes()[:200])
    predictions = list(Predictor.load(run, CPU).predict_many([videos[0], broken, missing, videos[1]]))
    assert [prediction.error is None for prediction in predictions] == [True, False, False, True]
    assert "not a video that can be opened" in predictions[1].error
    assert predictions[2].error == "no such file"
    assert predictions[1].probabilities is None
    assert predictions[1].top(5) == []
    assert np.array_equal(predictions[3].probabilities, reference[str(videos[1])])


# --- views, spans and order, seen by a model that keeps what it is given --------------------------


class Recorder(nn.Module):
    """Keep every batch; the logits of a view are its mean brightness and zero."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[torch.Tensor] = []

    def forward(self, views_VTCHW: torch.Tensor) -> torch.Tensor:
        self.batches.append(views_VTCHW)
        brightness_V = views_VTCHW.mean((1, 2, 3, 4))
        return torch.stack([brightness_V, torch.zeros_like(brightness_V)], dim=1)


def recorded(config, video, shuffle_seed=None):
    model = Recorder()
    predictor = Predictor(model, config, ("bright", "dark"), CPU, shuffle_seed=shuffle_seed)
    prediction = predictor.predict(video)
    assert prediction.error is None
    return model.batches[0], prediction


def test_probabilities_are_averaged_over_views(small_config, videos):
    views_VTCHW, prediction = recorded(small_config(clip__views=3, clip__length=2), videos[0])
    assert views_VTCHW.shape == (3, 2, 3, 32, 32)
    brightness_V = views_VTCHW.double().mean((1, 2, 3, 4)).numpy()
    bright = np.mean(1 / (1 + np.exp(-brightness_V)))
    assert prediction.probabilities == pytest.approx([bright, 1 - bright], rel=1e-5)
    assert len(set(brightness_V)) == 3


def test_views_that_are_large_together_are_computed_in_turn(small_config, videos, monkeypatch):
    config = small_config(clip__views=3, clip__length=2)
    whole, expected = recorded(config, videos[0])
    monkeypatch.setattr("vidcli.predict.predictor.COMPUTED_BYTES", 2 * config.clip.num_bytes)
    monkeypatch.setattr("vidcli.predict.view_loader._LOADED_BYTES", config.clip.num_video_bytes)
    model = Recorder()
    predictor = Predictor(model, config, ("bright", "dark"), CPU)
    found = list(predictor.predict_many(videos[:3]))
    assert [len(batch) for batch in model.batches] == [2, 1] * 3
    assert torch.equal(torch.cat(model.batches[:2]), whole)
    assert found[0].probabilities == pytest.approx(expected.probabilities, rel=1e-6)


@pytest.fixture
def two_cores():
    """Let torch use two threads, as on a machine with two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Meeting(nn.Module):
    """A network that answers only two videos at a time, each with one thread."""

    def __init__(self, network):
        super().__init__()
        self.network, self.barrier, self.threads = network, threading.Barrier(2, timeout=30), set()

    def forward(self, views_VTCHW):
        self.barrier.wait()
        self.threads.add(torch.get_num_threads())
        return self.network(views_VTCHW)


def test_each_core_takes_a_video_of_its_own_and_changes_no_bit(two_cores, run, videos, reference, tmp_path):
    predictor = Predictor.load(run, CPU)
    predictor.network = Meeting(predictor.network)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    asked, seen = [*videos[:5], bad, *videos[5:]], []
    predictions = list(predictor.predict_many(asked, lambda item, views: seen.append((item.path, views))))
    assert [prediction.video for prediction in predictions] == [str(video) for video in asked]
    assert "not a video" in predictions.pop(5).error
    for prediction in predictions:
        assert np.array_equal(prediction.probabilities, reference[prediction.video])
    assert predictor.network.threads == {1}
    assert torch.get_num_threads() == 2
    assert [path for path, _ in seen] == videos
    assert all(np.array_equal(views, predictor.views.load(VideoItem(path, ""))) for path, views in seen[:2])


def test_a_device_that_is_given_pixels_answers_the_same_and_one_video_ahead(
    run, videos, tmp_path, monkeypatch
):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    asked, log = [*videos[:3], bad, *videos[3:5]], []
    plain = [prediction.logits_VK for prediction in Predictor.load(run, CPU).predict_many(asked)]
    # A device that is no CPU to all but torch.
    predictor = Predictor.load(run, CPU)
    finishing = predictor._begin_to_classify

    def begin(views_VTCHW, num_side_by_side):
        log.append(f"begun {views_VTCHW.dtype}")
        wait = finishing(views_VTCHW, num_side_by_side)
        return lambda: (log.append("read"), wait())[1]

    monkeypatch.setattr(predictor, "_begin_to_classify", begin)
    monkeypatch.setattr("vidcli.data.device_batches.finishes_clips", lambda device: True)
    monkeypatch.setattr("vidcli.predict.side_by_side.predicts_ahead", lambda predictor: True)
    seen = []
    predictions = list(predictor.predict_many(asked, lambda item, views: seen.append((item.path, views))))
    for ours, theirs in zip(predictions, plain, strict=True):
        assert (ours.logits_VK is None) == (theirs is None)
        assert theirs is None or np.array_equal(ours.logits_VK, theirs)
    assert "not a video" in predictions[3].error
    assert log[:3] == ["begun torch.uint8", "begun torch.uint8", "read"]
    assert log.count("read") == 5
    assert [path for path, _ in seen] == videos[:5]
    assert all(np.array_equal(views, predictor.views.load(VideoItem(path, ""))) for path, views in seen)


def test_models_side_by_side_leave_half_of_the_memory(two_cores, run, videos, reference, monkeypatch):
    monkeypatch.setattr("vidcli.predict.side_by_side.free_memory", lambda: 2**20)
    predictor = Predictor.load(run, CPU)
    threads = []
    predictor.network.register_forward_pre_hook(lambda *_: threads.append(torch.get_num_threads()))
    predictions = list(predictor.predict_many(videos))
    assert threads == [2] * len(videos)
    for prediction in predictions:
        assert np.array_equal(prediction.probabilities, reference[prediction.video])


def test_a_single_video_has_all_cores(two_cores, run, videos):
    predictor = Predictor.load(run, CPU)
    threads = []
    predictor.network.register_forward_pre_hook(lambda *_: threads.append(torch.get_num_threads()))
    predictor.predict(videos[0])
    assert threads == [2]


def test_shuffling_changes_the_order_of_frames_only(small_config, videos):
    config = small_config(clip__length=8)
    ordered = recorded(config, videos[0])[0][0]
    shuffled, _ = recorded(config, videos[0], shuffle_seed=3)
    again, _ = recorded(config, videos[0], shuffle_seed=3)
    other_seed, _ = recorded(config, videos[0], shuffle_seed=4)
    other_video, _ = recorded(config, videos[1], shuffle_seed=3)
    assert torch.equal(shuffled, again)

    def order_of(frames, among):
        return [next(i for i, wanted in enumerate(among) if torch.equal(frame, wanted)) for frame in frames]

    order = order_of(shuffled[0], ordered)
    assert sorted(order) == list(range(8))
    assert order != list(range(8))
    assert order_of(other_seed[0], ordered) != order
    assert order_of(other_video[0], recorded(config, videos[1])[0][0]) != order


def test_a_span_is_answered_as_a_video_of_its_own(small_config, tmp_path):
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (16, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    lossless = {"crf": "0"}
    encode_video(tmp_path / "both.mp4", blocks, 8, options=lossless)
    encode_video(tmp_path / "second.mp4", blocks[8:], 8, options=lossless)
    (tmp_path / "spans.csv").write_text("path,label,start,end\nboth.mp4,a,1.0,2.0\nboth.mp4,b,0,1.0\n")
    second_half, first_half = load_items(tmp_path / "spans.csv")
    config = small_config(clip__length=8)
    alone, prediction = recorded(config, tmp_path / "second.mp4")
    assert torch.equal(recorded(config, second_half)[0], alone)
    assert np.array_equal(recorded(config, second_half)[1].probabilities, prediction.probabilities)
    assert not torch.equal(recorded(config, first_half)[0], alone)


def test_a_span_outside_of_its_video_is_an_error(run, videos):
    prediction = Predictor.load(run, CPU).predict(VideoItem(videos[0], "left", start_seconds=50))
    assert "span from 50 s lies outside" in prediction.error


# --- small parts ----------------------------------------------------------------------------------


def test_top_breaks_ties_by_name_and_is_never_longer_than_the_classes():
    prediction = Prediction("v.mp4", ("a", "b", "c"), np.array([0.25, 0.5, 0.25]))
    assert prediction.top(2) == [("b", 0.5), ("a", 0.25)]
    assert [name for name, _ in prediction.top(9)] == ["b", "a", "c"]


def test_collected_videos(tmp_path, write_video):
    for name in ("b/two.mkv", "b/one.mp4", "a.avi", "notes.txt", ".hidden.mp4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    folder, missing = tmp_path / "in", Path("missing.mp4")
    assert collect_videos([missing, folder, folder / "notes.txt"]) == [
        missing, folder / "a.avi", folder / "b/one.mp4", folder / "b/two.mkv", folder / "notes.txt"
    ]  # fmt: skip
    (tmp_path / "empty").mkdir()
    assert collect_videos([folder, tmp_path / "empty"])[-1] == tmp_path / "empty"
