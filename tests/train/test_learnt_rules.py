"""Training on spans of recordings from end to end, and how their timelines are smoothed is learnt."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vidcli.artifacts.model_file import load_checkpoint, save_checkpoint
from vidcli.config import Config, load_config
from vidcli.data.items import VideoItem
from vidcli.data.manifest import load_items
from vidcli.errors import CheckpointError, VideoError
from vidcli.features.descriptors import Descriptors
from vidcli.features.recording_descriptors import RecordingDescriptors, find_stretches
from vidcli.models import MultiStreamClassifier, build_model
from vidcli.models.temporal_network import TemporalNetwork
from vidcli.models.temporal_weights import pack_network
from vidcli.models.timeline_rules import TimelineRules
from vidcli.predict import Predictor
from vidcli.predict.frame_networks import stream_network
from vidcli.predict.stream_windows import StreamWindows
from vidcli.predict.timeline import TimelineWork, classify_windows
from vidcli.predict.view_loader import ViewLoader
from vidcli.predict.window_plan import learnt_plan
from vidcli.synthetic import LongRecordingOptions, write_recordings
from vidcli.train import Notice, resume_run, start_run
from vidcli.train.learnt_rules import count_transitions
from vidcli.train.recording_spans import settle_spans

CPU = torch.device("cpu")
QUICK = [
    *(
        "data.background=rest",
        "data.max_clips=30",
        "data.context_windows=0",
        "clip.length=8",
        "clip.stride_seconds=0.1",
        "clip.size=32",
    ),
    *("model.streams=off", "model.backbone=simple_cnn", "model.pretrained=false", "model.width=16"),
    *("train.optimizer=adamw", "train.plots=false", "train.batch_size=8", "train.tracker=none"),
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long") / "recordings"
    return write_recordings(folder, 3, 4, LongRecordingOptions(minutes=0.5, size=(32, 32), fps=10))


def test_transitions_follow_from_spans():
    def span(label: str, start: float, end: float) -> VideoItem:
        return VideoItem(Path("day.mp4"), label, "train", None, start, end)

    spans = [span("a", 0, 4), span("b", 4, 5), span("a", 5, 9), span("c", 20, 22)]
    probable = count_transitions(("a", "b", "c"), spans, 0.5)
    np.testing.assert_allclose(probable.sum(axis=1), 1)
    np.testing.assert_allclose(np.diag(probable), [1 - 1 / 8, 1 / 2, 3 / 4])  # 4, 1 and 2 s of 0.5 s
    np.testing.assert_allclose(probable[0], [7 / 8, 1 / 8 * 1.5 / 2, 1 / 8 * 0.5 / 2])  # b once, c never


def test_a_run_keeps_spans_cuts_clips_and_learns_to_smooth(table: Path, tmp_path: Path):
    told: list[str] = []
    config = load_config(
        "recordings", [*QUICK, "train.epochs=1", f"subject.boxes={table.parent / 'boxes.csv'}"]
    )
    run, _ = start_run(
        config, table, tmp_path / "run", CPU, lambda e: told.append(e.text) if isinstance(e, Notice) else None
    )
    spans, clips = load_items(run / "spans.csv"), load_items(run / "splits.csv")
    assert {item.label for item in spans} == {item.label for item in clips if item.split != "val"}
    assert "rest" in {item.label for item in spans}
    learnt = [item for item in clips if item.split == "train"]
    assert len(learnt) <= 30
    assert {round(item.end_seconds - item.start_seconds, 6) for item in learnt} == {0.8}
    assert Counter(item.split for item in clips)["test"] == Counter(item.split for item in spans)["test"]
    assert any(text.startswith("train: ") and "clips" in text for text in told)
    (gain,) = [text for text in told if "on 1 validation recordings F1@50" in text]
    rules = load_checkpoint(run / "model.safetensors").rules
    assert rules is not None
    assert rules.step_seconds == pytest.approx(0.1)
    trials = json.loads((run / "smoothing.json").read_text())["trials"]
    assert len({(one["reading"], one["smoothing"]) for one in trials}) == 6
    scores = [one["macro_f1"] + one["f1@50"] for one in trials]
    assert scores == sorted(scores, reverse=True)
    assert f"{trials[0]['f1@50']:.3f}" in gain
    assert Predictor.load(run, CPU).rules == rules
    _, rows = resume_run(run, CPU, lambda event: None)  # it is over, and nothing is learnt again
    assert len(rows) == 1
    wrong = replace(
        load_checkpoint(run / "model.safetensors"), rules=TimelineRules(1.0, "mean", "duration", (1.0,))
    )
    save_checkpoint(tmp_path / "wrong.safetensors", wrong)
    with pytest.raises(CheckpointError, match="timeline rules of another number of classes"):
        load_checkpoint(tmp_path / "wrong.safetensors")


@pytest.mark.parametrize("is_better", [True, False])
def test_a_network_over_time_is_kept_where_it_gains(
    is_better: bool, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    boxes = table.parent / "boxes.csv"
    monkeypatch.setattr("vidcli.train.temporal_training._STEPS", 60)
    monkeypatch.setattr("vidcli.train.temporal_training._CHANNELS", 16)
    if not is_better:
        network = TemporalNetwork(7, 4, uses_motion=True)
        torch.nn.init.constant_(network.output.bias[1:2].detach(), 1000)  # one answer to everything
        monkeypatch.setattr(
            "vidcli.train.temporal_training.fit_temporal", lambda cells, seed: pack_network(network)
        )
    more = ["train.epochs=1", f"subject.boxes={boxes}", "data.context_windows=1000"]
    config = load_config("recordings", [*QUICK, *more])
    run, _ = start_run(
        config, table, tmp_path / "run", CPU, lambda e: told.append(e.text) if isinstance(e, Notice) else None
    )
    (gain,) = [text for text in told if "a network over time, which sees 14 s around a moment," in text]
    rules = load_checkpoint(run / "model.safetensors").rules
    assert rules is not None
    trials = json.loads((run / "smoothing.json").read_text())["trials"]
    assert {one["temporal"] for one in trials} == {True, False}
    assert (rules.temporal is not None) == trials[0]["temporal"] == is_better
    assert ("is kept: without it" if is_better else "is left out, since") in gain
    if is_better:
        assert rules.temporal is not None
        assert rules.temporal.uses_motion
        item = VideoItem(load_items(table)[-1].path, "", track="a")
        plan = learnt_plan(config, rules)
        assert plan is not None
        work = TimelineWork(Predictor.load(run, CPU), item, plan, 0.0, rules)
        work.run()
        plainly = TimelineWork(Predictor.load(run, CPU), item, plan, 0.0, replace(rules, temporal=None))
        plainly.run()
        seen_NK, plain_NK = (one.finish().probabilities_NK for one in (work, plainly))
        assert seen_NK.shape == plain_NK.shape
        assert seen_NK.max(axis=1).mean() > plain_NK.max(axis=1).mean() + 0.1


def stream_config(*more: str) -> Config:
    usual = ["clip.size=64", "clip.length=8", "clip.stride_seconds=0.1", "clip.mean=[0.5,0.5,0.5]"]
    return load_config("recordings", [*usual, "clip.std=[0.2,0.2,0.2]", "model.pretrained=false", *more])


@pytest.fixture(scope="module")
def streams() -> MultiStreamClassifier:
    torch.manual_seed(0)
    network = build_model(stream_config().model, 3).eval()
    assert isinstance(network, MultiStreamClassifier)
    torch.nn.init.normal_(network.head.weight)
    return network


def test_clips_of_a_stretch_are_described_as_each_by_itself(table: Path, streams: MultiStreamClassifier):
    config = stream_config("data.cache=off")
    path = load_items(table)[0].path
    clips = [VideoItem(path, "a", "train", None, start, start + 0.8) for start in (3.0, 0.5, 3.3, 20.0)]
    clips.append(VideoItem(path, "a", "train", None, 5.03, 5.4))  # off the grid and short
    stretches, alone = find_stretches(clips, config)
    assert [stretch.places for stretch in stretches] == [[1], [0, 2], [3]]
    assert alone == [4]
    load = ViewLoader(config).load
    done: list[int] = []
    describer = RecordingDescriptors(streams, config, load, CPU)
    found = describer.of(clips, False, 3, lambda count: not done.append(count))
    usual = Descriptors(streams, config, load, CPU).of(clips, False, 1, lambda count: True)
    assert done[-1] == len(clips)
    stopped = describer.of(clips, False, 1, lambda count: count < 2)
    assert [row is None for row in stopped].count(True) in (2, 3)  # one stretch holds two clips
    for one, other in zip(found, usual, strict=True):
        assert isinstance(one, torch.Tensor)
        assert isinstance(other, torch.Tensor)
        torch.testing.assert_close(one.float(), other.float(), atol=2e-3, rtol=2e-3)


def test_windows_that_share_frames_answer_as_whole_ones(table: Path, streams: MultiStreamClassifier):
    config = stream_config()
    predictor = Predictor(streams, config, ("a", "b", "c"), CPU)
    assert stream_network(predictor) is streams
    frames = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    windows = StreamWindows(predictor, 8, 2, streams)
    parts = frames[:5], frames[5:13], frames[13:]
    found = [row for part in parts for rows in windows.push(part) for row in rows]
    assert len(found) == 7
    for number, row in enumerate(found):
        clip = predictor.views.transform.array(frames[2 * number : 2 * number + 8])
        whole = predictor.calibration.probabilities(predictor.classify(clip[None]))
        np.testing.assert_allclose(row, whole, atol=1e-4)
    cropped = Predictor(streams, stream_config("clip.focus=0.5"), ("a", "b", "c"), CPU)
    assert stream_network(cropped) is None


def test_overlaps_become_several_labels_and_idle_settings_are_told():
    rows = [VideoItem(Path("day.mp4"), label, None, None, s, e) for label, s, e in (("a", 0, 4), ("b", 2, 6))]
    told: list[str] = []
    config, joined = settle_spans(load_config("recordings"), rows, told.append)
    assert config.data.multi_label
    assert [row.label for row in joined] == ["a", "a|b", "b"]
    assert told[0].startswith("day.mp4: a and b overlap at 2 s: a moment can have several classes")
    assert len(told) == 1
    told.clear()
    settle_spans(load_config(None, ["data.max_clips=7", "data.background_share=0.5"]), rows, told.append)
    assert "data.max_clips has no effect without data.clips_per_span" in told
    assert "data.background_share has no effect without data.background and clips_per_span" in told
    assert any("the recipe `recordings` cuts them into clips" in text for text in told)


def test_overlapping_spans_learn_thresholds_and_what_cannot_be_read_is_named(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = table.read_text().splitlines()
    videos = sorted(table.parent.glob("*.mp4"))
    extra = [
        f"{path.name},light,{split},{path.stem},1,9"
        for path, split in zip(videos, ("train", "val", "test"), strict=True)
    ]
    broken = videos[1].parent / "broken.mp4"
    broken.write_bytes(videos[1].read_bytes())
    extra += ["broken.mp4,light,val,broken,1,9", "broken.mp4,hop,val,broken,12,13"]
    both = table.parent / "both.csv"
    both.write_text("\n".join([*rows, *extra]) + "\n")
    told: list[str] = []

    def tell(event: object) -> None:
        if isinstance(event, Notice):
            told.append(event.text)

    def fail(predictor: object, video: VideoItem, *more: object) -> object:
        if video.path.name == "broken.mp4":
            raise VideoError(video.path, "ends early")
        return classify_windows(predictor, video, *more)

    monkeypatch.setattr("vidcli.train.learnt_rules.classify_windows", fail)
    config = load_config("recordings", [*QUICK, "train.epochs=1"])
    run, _ = start_run(config, both, tmp_path / "run", CPU, tell)
    checkpoint = load_checkpoint(run / "model.safetensors")
    assert checkpoint.config.data.multi_label
    assert checkpoint.rules is not None
    assert len(checkpoint.rules.thresholds) == len(checkpoint.class_names)
    assert len(json.loads((run / "smoothing.json").read_text())["trials"]) == 4
    assert any(text.endswith("broken.mp4: ends early") and text.startswith("left out") for text in told)
    assert any("on 1 validation recordings F1@50" in text for text in told)
