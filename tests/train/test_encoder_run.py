"""Runs whose backbone is an encoder of transformers, from training to explanation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("transformers")

from tests.tiny_encoders import write_encoder
from vidcli.commands import app
from vidcli.config import Config
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.models import build_model, settle_clip
from vidcli.predict import Predictor
from vidcli.train import resume_run

CPU = torch.device("cpu")


@pytest.fixture
def settings(tmp_path: Path, small_config: Callable[..., Config]) -> Callable[..., Config]:
    """Build the settings of a small run of a tiny encoder in a folder of its own."""

    def build(kind: str, **changes: object) -> Config:
        encoder = {
            "model.backbone": f"hf:{write_encoder(tmp_path / kind, kind)}",
            "model.pretrained": True,
            "model.head": "attentive",
        }
        return small_config(encoder, **changes)

    return build


def run_command(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("kind", ["siglip", "videomae"])
def test_a_run_is_used_without_the_encoders_folder(
    kind: str, settings: Callable[..., Config], pair_data: Path, train_run: Any, tmp_path: Path
) -> None:
    run = train_run(settings(kind, train__epochs=2, train__layer_decay=0.8), pair_data)
    assert (tmp_path / kind).is_dir()
    shutil.rmtree(tmp_path / kind)
    items = of_split(load_items(pair_data), "test")
    video = str(items[0].path)
    answers = run_command("predict", video, "--model", run.folder, "--format", "json")
    assert json.loads(answers)["predictions"][0]["label"] in ("left", "right")
    why = tmp_path / "why"
    told = run_command(
        "explain", video, "--model", run.folder, "--out", why, "--maps", "grad-cam", "--format", "json"
    )
    frames = json.loads(told)["frames"]
    weights = [frame["weight"] for frame in frames]
    assert json.loads(told)["frame_method"] == "attention"
    assert len(weights) == 4
    assert sum(weights) == pytest.approx(1)
    if kind == "videomae":  # whose steps of time are two frames
        assert weights[0] == weights[1] != weights[2] == weights[3]
    run_command("timeline", video, "--model", run.folder, "--window", "0.5", "--format", "json")


def test_a_frozen_encoder_is_computed_once(
    settings: Callable[..., Config], pair_data: Path, train_run: Any
) -> None:
    config = settings("vjepa2", train__epochs=2, train__freeze_epochs=2, train__frozen_clips=2)
    start = build_model(settle_clip(config).model, 2).backbone.state_dict()
    run = train_run(config, pair_data)
    for name, value in start.items():
        assert torch.equal(run.weights()[f"backbone.{name}"], value), name
    items = of_split(load_items(pair_data), "val")
    predictions = list(Predictor.load(run.folder / "last.safetensors", CPU).predict_many(items))
    right = [
        prediction.class_names[int(np.argmax(prediction.probabilities))] == item.label
        for item, prediction in zip(items, predictions, strict=True)
    ]
    assert np.mean(right) == pytest.approx(run.rows[-1].val_top1)


def test_a_finished_run_needs_its_encoder_only_to_go_on(
    settings: Callable[..., Config], pair_data: Path, train_run: Any, tmp_path: Path
) -> None:
    run = train_run(settings("vit"), pair_data)
    _, rows = resume_run(run.folder, CPU, lambda event: None)
    assert rows == run.rows


def test_heads_are_compared_on_an_encoder(
    settings: Callable[..., Config], pair_data: Path, tmp_path: Path
) -> None:
    config = settings("dinov2")
    assignments = [
        f"--set={section}.{name}={value}"
        for section, values in config.model_dump(mode="json").items()
        for name, value in values.items()
        if value is not None and not isinstance(value, list | dict)
    ]
    told = run_command("train", pair_data, "--compare", "--json", "--out", tmp_path / "best", *assignments)
    heads = {row["head"] for row in json.loads(told)["heads"]}
    assert "attentive" in heads
    video = next((pair_data / "test").rglob("*.mp4"))
    run_command("predict", video, "--model", tmp_path / "best")


def test_a_dry_run_fetches_nothing(pair_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("asked the hub")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    done = CliRunner().invoke(
        app,
        [
            "train",
            str(pair_data),
            "--dry-run",
            "--set=model.backbone=hf:lab/tiny",
            "--set=model.pretrained=true",
        ],
    )
    assert done.exit_code != 0
    assert "config.json is not on this machine" in " ".join(done.output.split())
