"""Runs in closed form: their files, what they choose, how they stop and go on."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.run_folder import CHOICE_FILE, CONFIG_FILE, METRICS_FILE, MODEL_FILE, RUN_FILES
from vidcli.commands import app
from vidcli.config import Config, load_config
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.errors import ConfigError, DataError
from vidcli.export import exporter, refit
from vidcli.predict import Predictor
from vidcli.runtime.compat import onnx_messages
from vidcli.runtime.processes import Group
from vidcli.train import ChoiceMade, Event, FeatureProgress, Notice, resume_run, start_run, training_videos
from vidcli.train.choice import STRENGTHS
from vidcli.train.closed_form import refuse_other_settings
from vidcli.train.stream_solver import StreamSolver

CPU = torch.device("cpu")
LITE0 = "timm:tf_efficientnet_lite0"


ALL_STREAMS = ("model.streams=appearance+motion+action", "model.frame_step=2", "clip.length=8")


def settings(*changes: str) -> Config:
    """Return the recipe `auto` for small frames of few moments, with a small random network."""
    network = ["model.backbone=timm:test_resnet", "model.pretrained=false", "model.frame_step=1"]
    network += ["model.streams=appearance+motion"]
    small = ["clip.size=96x32", "clip.length=6", "train.plots=false", "data.workers=2"]
    small += ["train.contender=off"]
    return load_config("auto", [*network, *small, *changes])


def train(data: Path, out: Path, *changes: str) -> tuple[Path, list[Event]]:
    events: list[Event] = []
    run, _ = start_run(settings(*changes), data, out, CPU, events.append)
    return run, events


@pytest.fixture(scope="module")
def four(motion_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The motion videos of four classes: 16 to train."""
    folder = tmp_path_factory.mktemp("four") / "data"
    for split in ("train", "val", "test"):
        for name in ("left", "right", "clockwise", "counter-clockwise"):
            shutil.copytree(motion_data / split / name, folder / split / name)
    return folder


@pytest.fixture(scope="module")
def plain(motion_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A run on all of them without mirrored videos, to read, and what it told."""
    return train(motion_data, tmp_path_factory.mktemp("plain") / "run", "augment.flip=off")


@pytest.fixture(scope="module")
def whole(two_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two classes, to read."""
    return train(two_classes, tmp_path_factory.mktemp("whole") / "run")[0]


def test_a_run_learns_motion_and_leaves_the_usual_files(motion_data: Path, tmp_path: Path) -> None:
    network = [f"model.backbone={LITE0}", "model.pretrained=true", "model.streams=appearance+motion+action"]
    run, events = train(motion_data, tmp_path / "run", *network)
    assert {path.name for path in run.iterdir()} <= {*RUN_FILES, ".vidcli-card.json"}
    rows = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[-1]["val_top1"] > 0.3  # 8 classes

    choice = json.loads((run / CHOICE_FILE).read_text())
    best = choice["trials"][0]
    card = (run / "README.md").read_text()
    assert ("(ImageNet)" in card) == bool(re.search("appearance|motion", best["streams"]))
    assert ("I3D (Kinetics-400)" in card) == ("action" in best["streams"])
    assert "\n- gru\n" not in card
    # Classes of the built-in videos differ in motion alone.
    assert re.search("motion|action", best["streams"])
    assert [trial["top1"] + trial["balanced_accuracy"] for trial in choice["trials"]] == sorted(
        (trial["top1"] + trial["balanced_accuracy"] for trial in choice["trials"]), reverse=True
    )
    told = [event for event in events if isinstance(event, ChoiceMade)]
    assert len(told) == 2
    assert [len(choice.trials) for choice in told] == [4, 8]
    # The second choice owes as much to luck as both together.
    first, second = (choice.expected for choice in told)
    assert first is not None
    assert second is not None
    assert first.num_candidates == 511 + 32 * 5 + 4 * 5
    assert second.num_candidates > first.num_candidates + 8 * 5
    assert choice["expected"] == json.loads(json.dumps(asdict(second)))
    assert second.top1 < best["top1"] + 0.05
    assert load_config(str(run / CONFIG_FILE)).model.streams == best["streams"]


def test_the_model_file_predicts_what_was_validated(
    motion_data: Path, plain: tuple[Path, list[Event]]
) -> None:
    run, _ = plain
    items = of_split(load_items(motion_data), "val")
    answers = list(Predictor.load(run, CPU).predict_many(items))
    right = [answer.labels[0] == item.label for answer, item in zip(answers, items, strict=True)]
    assert np.mean(right) == pytest.approx(load_checkpoint(run / MODEL_FILE).metrics["val_top1"])


def test_the_same_seed_gives_the_same_model(two_classes: Path, tmp_path: Path) -> None:
    first, _ = train(two_classes, tmp_path / "a", "data.cache=off", "augment.flip=off")
    second, _ = train(two_classes, tmp_path / "b", "data.cache=off", "augment.flip=off")
    for name, value in load_checkpoint(first / MODEL_FILE).weights.items():
        assert torch.equal(load_checkpoint(second / MODEL_FILE).weights[name], value), name


def test_the_resolved_recipe_repeats_the_run(whole: Path, two_classes: Path, tmp_path: Path) -> None:
    resolved = load_config(str(whole / CONFIG_FILE))
    again, _ = start_run(resolved, two_classes, tmp_path / "again", CPU, lambda event: None)
    before, after = (load_checkpoint(model / MODEL_FILE) for model in (whole, again))
    assert (after.config.model, after.config.clip) == (before.config.model, before.config.clip)
    assert after.config.train.ridge == before.config.train.ridge
    scale = before.weights["head.weight"].abs().max()
    torch.testing.assert_close(
        after.weights["head.weight"] / scale, before.weights["head.weight"] / scale, atol=0.02, rtol=0
    )


@pytest.mark.parametrize("changes", [(), ALL_STREAMS], ids=["of frames", "all streams"])
def test_a_run_stopped_after_its_first_round_goes_on(
    changes: tuple[str, ...], whole: Path, two_classes: Path, tmp_path: Path
) -> None:
    whole = train(two_classes, tmp_path / "whole", *changes)[0] if changes else whole
    num_rounds = 0

    def stop_in_second_round(event: Event) -> None:
        nonlocal num_rounds
        num_rounds += isinstance(event, ChoiceMade)
        if num_rounds and isinstance(event, FeatureProgress) and event.done > 2:
            raise KeyboardInterrupt

    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        start_run(settings(*changes), two_classes, out, CPU, stop_in_second_round)
    assert Predictor.load(out, CPU).class_names  # a model stands already
    resume_run(out, CPU, lambda event: None)
    for name, value in load_checkpoint(whole / MODEL_FILE).weights.items():
        assert torch.equal(load_checkpoint(out / MODEL_FILE).weights[name], value), name
    for name in (CONFIG_FILE, MODEL_FILE, METRICS_FILE):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_no_time_for_mirrored_videos_is_told(two_classes: Path, tmp_path: Path) -> None:
    run, events = train(two_classes, tmp_path / "run", "train.minutes=1e-9")
    assert any(isinstance(event, Notice) and "mirrored videos are left out" in event.text for event in events)
    assert load_config(str(run / CONFIG_FILE)).train.epochs == 1
    resume_run(run, CPU, lambda event: pytest.fail(f"a finished run goes on: {event}"))


def test_many_videos_leave_a_first_model_early(
    four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_videos, "_LEAST_VIDEOS", 8)
    monkeypatch.setattr(training_videos, "_LEAST_OF_CLASS", 2)
    whole, _ = train(four, tmp_path / "whole", "augment.flip=off")

    def stop_before_the_last(event: Event) -> None:
        if isinstance(event, FeatureProgress) and event.done == event.total:
            raise KeyboardInterrupt

    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        start_run(settings("augment.flip=off"), four, out, CPU, stop_before_the_last)
    first = Predictor.load(out, CPU)
    assert first.class_names == Predictor.load(whole, CPU).class_names
    assert (out / MODEL_FILE).read_bytes() != (whole / MODEL_FILE).read_bytes()
    resume_run(out, CPU, lambda event: None)
    for name in (CONFIG_FILE, MODEL_FILE, METRICS_FILE):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_where_time_is_over_the_model_knows_a_fair_part(
    motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_videos, "_LEAST_VIDEOS", 20)
    monkeypatch.setattr(training_videos, "_LEAST_OF_CLASS", 1)
    run, events = train(motion_data, tmp_path / "run", "train.minutes=1e-9")
    (told,) = [event.text for event in events if isinstance(event, Notice) and "knows" in event.text]
    assert told.startswith("the model knows 20 of 32 training videos")
    assert "train.minutes=1e-09" in told
    rows = [json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1]
    assert load_config(str(run / CONFIG_FILE)).train.epochs == 1
    assert len(Predictor.load(run, CPU).class_names) == 8


def test_unreadable_videos_are_left_out_or_too_many(motion_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(motion_data, data)
    broken = sorted((data / "train").rglob("*.mp4"))
    broken[0].write_bytes(b"no video")
    run, events = train(data, tmp_path / "run", "augment.flip=off")
    assert any(isinstance(event, Notice) and broken[0].name in event.text for event in events)
    assert broken[0].name in (run / "unusable.csv").read_text()
    for path in broken[:8]:
        path.write_bytes(b"no video")
    with pytest.raises(DataError, match=r"8 of 32 videos cannot be used"):
        train(data, tmp_path / "other", "augment.flip=off")


def test_a_multi_label_set(motion_data: Path, tmp_path: Path) -> None:
    items = load_items(motion_data)
    lines = ["path,label,split"]
    lines += [f"{item.path},{item.label}|any,{item.split}" for item in items]
    manifest = tmp_path / "data.csv"
    manifest.write_text("\n".join(lines) + "\n")
    run, _ = train(manifest, tmp_path / "run", "data.multi_label=true", "train.class_balance=off")
    answers = list(Predictor.load(run, CPU).predict_many(of_split(items, "test")))
    assert np.mean(["any" in answer.labels for answer in answers]) == 1
    assert (
        np.mean([item.label in a.labels for item, a in zip(of_split(items, "test"), answers, strict=True)])
        > 0.2
    )


def test_one_video_of_each_class_is_enough(motion_data: Path, tmp_path: Path) -> None:
    for name in ("up", "down"):
        (tmp_path / "data" / name).mkdir(parents=True)
        shutil.copy(min((motion_data / "train" / name).iterdir()), tmp_path / "data" / name)
    run, events = train(tmp_path / "data", tmp_path / "run", "data.test_fraction=0")
    assert Predictor.load(run, CPU).class_names == ("down", "up")
    assert [event.num_folds for event in events if isinstance(event, ChoiceMade)] == [2, 2]


def test_settings_that_closed_form_cannot_follow() -> None:
    with pytest.raises(ConfigError, match=r"model\.streams, which is off"):
        refuse_other_settings(load_config(None, ["train.optimizer=ridge"]), Group())


def test_a_set_without_groups_is_told_what_its_test_score_is_worth(
    plain: tuple[Path, list[Event]], two_classes: Path, tmp_path: Path
) -> None:
    _, events = plain
    (choice,) = (event for event in events if isinstance(event, ChoiceMade))
    assert choice.by_look
    assert any(isinstance(event, Notice) and "no groups are named" in event.text for event in events)

    lines = ["path,label,split,group"]
    for number, item in enumerate(load_items(two_classes)):
        lines.append(f"{item.path},{item.label},{item.split},{item.split}{number % 4}")
    manifest = tmp_path / "data.csv"
    manifest.write_text("\n".join(lines) + "\n")
    _, events = train(manifest, tmp_path / "grouped", "augment.flip=off")
    (choice,) = (event for event in events if isinstance(event, ChoiceMade))
    assert not choice.by_look
    assert choice.num_folds == 4
    assert not any(isinstance(event, Notice) and "no groups are named" in event.text for event in events)


@pytest.fixture(scope="module")
def run_with_mirrored(four: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(four, tmp_path_factory.mktemp("export") / "run", "augment.flip=on")[0]


@pytest.fixture(scope="module")
def conversions() -> list[bytes]:
    """The model of `run_with_mirrored` in ONNX, once a test has converted it."""
    return []


@pytest.fixture
def converted_once(conversions: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert the model of `run_with_mirrored` for the first test that exports it: that takes seconds."""
    trace, to_onnx = exporter.trace, exporter.to_onnx

    def traced(*args: Any) -> Any:
        return None if conversions else trace(*args)

    def converted(program: Any) -> Any:
        if not conversions:
            conversions.append(to_onnx(program).SerializeToString())
        return onnx_messages().ModelProto.FromString(conversions[0])

    monkeypatch.setattr(exporter, "trace", traced)
    monkeypatch.setattr(exporter, "to_onnx", converted)


def answers_of(model: Path, data: Path) -> np.ndarray:
    items = of_split(load_items(data), "test")
    return np.stack([answer.probabilities for answer in Predictor.load(model, CPU).predict_many(items)])


@pytest.mark.usefixtures("converted_once")
def test_an_exported_model_gives_the_same_answers(
    run_with_mirrored: Path, four: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        app, ["export", "--model", str(run_with_mirrored), "--format", "onnx", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    exported, expected = (answers_of(model, four) for model in (tmp_path / "out", run_with_mirrored))
    np.testing.assert_allclose(exported, expected, atol=1e-3)


@pytest.fixture(scope="module")
def run_of_actions(two_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the network over time on two panels; that of single frames sees half of these."""
    pictures = ["clip.panels=window,follow", "model.panels=2", "clip.size=64x32", "clip.length=8"]
    network = ["model.streams=motion+action,action", "model.frame_step=2"]
    out = tmp_path_factory.mktemp("actions") / "run"
    return train(two_classes, out, *pictures, *network, "train.ridge=1", "augment.flip=off")[0]


def test_both_networks_go_into_one_model_file(run_of_actions: Path, two_classes: Path) -> None:
    model = load_checkpoint(run_of_actions / MODEL_FILE)
    assert model.config.model.streams == "motion+action,action"
    assert model.config.model.frame_step == 2
    items = of_split(load_items(two_classes), "val")
    answers = list(Predictor.load(run_of_actions, CPU).predict_many(items))
    right = [answer.labels[0] == item.label for answer, item in zip(answers, items, strict=True)]
    assert np.mean(right) == pytest.approx(model.metrics["val_top1"])


def test_a_video_is_answered_to_the_bit_alone_and_among_others(
    run_of_actions: Path, two_classes: Path
) -> None:
    items = of_split(load_items(two_classes), "val")
    predictor = Predictor.load(run_of_actions, CPU)
    for item, answer in zip(items, predictor.predict_many(items), strict=True):
        (alone,) = Predictor.load(run_of_actions, CPU).predict_many([item])
        assert (alone.probabilities == answer.probabilities).all()


@pytest.mark.parametrize("form", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
@pytest.mark.parametrize("int8", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_exports_of_both_networks_give_the_same_answers(
    run_of_actions: Path, two_classes: Path, tmp_path: Path, form: str, int8: bool
) -> None:
    given = ["export", "--model", run_of_actions, "--format", form, "--out", tmp_path / "out"]
    done = CliRunner().invoke(app, [*map(str, given), *(["--int8", "--max-drop", "1"] if int8 else [])])
    assert done.exit_code == 0, done.output
    exported, expected = (answers_of(model, two_classes) for model in (tmp_path / "out", run_of_actions))
    np.testing.assert_allclose(exported, expected, atol=0.2 if int8 else 1e-3)


@pytest.mark.usefixtures("converted_once")
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_the_last_layer_is_solved_for_what_an_int8_network_says(
    form: str, run_with_mirrored: Path, four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, tried = StreamSolver.learn, []

    def told(self: StreamSolver, items: Any, described: Any, strengths: Any = ()) -> Any:
        tried.append(tuple(strengths))
        return learn(self, items, described, strengths)

    monkeypatch.setattr(StreamSolver, "learn", told)
    given = ["export", "--model", run_with_mirrored, "--format", form, "--out", tmp_path / "out", "--int8"]
    done = CliRunner().invoke(app, [*map(str, given), "--max-drop", "1"])
    assert done.exit_code == 0, done.output
    about = json.loads((tmp_path / "out" / "vidcli.json").read_text())
    measured = about["export"]["measured"]
    assert tried == [(), STRENGTHS]  # the model's own before; after, rounding may want another one
    assert measured["validated_on"] == "train, cross-validated"
    assert measured["num_validated"] == 16
    assert about["calibration"] != load_checkpoint(run_with_mirrored / MODEL_FILE).calibration
    # A layer in the wrong order, or of other descriptors, would know no training video.
    items = of_split(load_items(four), "train")
    answers = Predictor.load(tmp_path / "out", CPU).predict_many(items)
    right = [answer.labels[0] == item.label for answer, item in zip(answers, items, strict=True)]
    assert np.mean(right) > 0.9


@pytest.mark.usefixtures("converted_once")
def test_int8_that_loses_more_than_allowed_is_refused(
    run_with_mirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.7, 0.9, 0.8, 0.9])  # that of int8 is asked for first
    monkeypatch.setattr(refit, "_score_of", lambda learnt: next(scores))
    given = ["export", "--model", run_with_mirrored, "--out", tmp_path / "out", "--int8"]
    done = CliRunner().invoke(app, [*map(str, given)])
    assert done.exit_code == 1
    told = " ".join(done.stderr.split())
    assert "int8 loses 0.2000 of 0.9000, more than --max-drop 0.005" in told
    assert "0.1000 with first convolutions and depthwise convolutions in float" in told
    assert not (tmp_path / "out").exists()
