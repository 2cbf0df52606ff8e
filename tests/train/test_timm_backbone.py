"""Runs whose backbone is one of timm's: frozen ImageNet weights, stages, export and explanation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.run_folder import MODEL_FILE
from vidcli.commands import app
from vidcli.config import load_config
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.models.registry import find_backbone
from vidcli.models.weights import load_backbone_weights
from vidcli.predict import Predictor
from vidcli.train import start_run
from vidcli.train.freezing import backbone_stages

CPU = torch.device("cpu")


@pytest.fixture
def run(pair_data: Path, tmp_path: Path) -> Path:
    """A run of a frozen network and a small head, two epochs of small clips."""
    network = ["model.backbone=timm:tf_efficientnet_lite0", "model.pretrained=true", "model.head=mean"]
    plain = ["model.shift=off", "model.frame_differences=false", "model.grid=1", "data.val_fraction=0"]
    changes = ["train.epochs=2", "train.freeze_epochs=2", "train.frozen_clips=1", "clip.length=2"]
    small = ["clip.size=48", "train.batch_size=4", "train.plots=false", "clip.focus=0.3"]
    config = load_config(None, [*network, *plain, *changes, *small])
    folder, _ = start_run(config, pair_data, tmp_path / "run", CPU, lambda event: None)
    return folder


def test_a_frozen_backbone_stays_what_imagenet_taught_it(run: Path, pair_data: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run / MODEL_FILE)
    plain = find_backbone(checkpoint.config.model.backbone).build(3)
    load_backbone_weights(plain, checkpoint.config.model)
    for name, value in plain.state_dict().items():
        assert torch.equal(checkpoint.weights[f"backbone.{name}"], value), name

    items = of_split(load_items(pair_data), "test")
    expected = [prediction.probabilities for prediction in Predictor.load(run, CPU).predict_many(items)]
    out = tmp_path / "onnx"
    done = CliRunner().invoke(
        app, ["export", "--model", str(run), "--format", "onnx", "--out", str(out), "--data", str(pair_data)]
    )
    assert done.exit_code == 0, done.output
    exported = [prediction.probabilities for prediction in Predictor.load(out, CPU).predict_many(items)]
    np.testing.assert_allclose(exported, expected, atol=1e-4)
    video = str(items[0].path)
    done = CliRunner().invoke(app, ["explain", video, "--model", str(run), "--out", str(tmp_path / "why")])
    assert done.exit_code == 0, done.output


def test_stages_hold_all_parameters_in_order() -> None:
    backbone = find_backbone("timm:tf_efficientnet_lite0").build(3)
    stages = backbone_stages(backbone)
    held = [parameter for stage in stages for module in stage for parameter in module.parameters()]
    assert len(stages) == 3
    assert [id(parameter) for parameter in held] == [id(parameter) for parameter in backbone.parameters()]


def test_blocks_of_a_transformer_are_stages() -> None:
    backbone = find_backbone("timm:test_vit").build(3)
    network = backbone.network
    first, *stages = backbone_stages(backbone)
    own, embedding, *_ = first
    assert {id(parameter) for parameter in own.parameters()} == {id(network.cls_token), id(network.pos_embed)}
    assert embedding is network.patch_embed
    assert [stage[0] for stage in stages] == [*network.blocks]
    assert network.norm in stages[-1]
    held = {id(parameter) for stage in (first, *stages) for part in stage for parameter in part.parameters()}
    assert held == {id(parameter) for parameter in backbone.parameters()}


def test_a_network_with_parameters_of_its_own_is_one_stage() -> None:
    with torch.device("meta"):
        backbone = find_backbone("timm:convit_tiny").build(3)
    assert backbone_stages(backbone) == [[backbone.network]]
