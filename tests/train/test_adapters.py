"""Adapters: what learns, what is saved, going on with a run, and what makes no sense."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from torch.nn import functional as F

pytest.importorskip("peft")
pytest.importorskip("transformers")

from tests.tiny_encoders import CLIP_KINDS, IMAGE_KINDS, write_encoder
from vidcli.artifacts.model_file import load_checkpoint
from vidcli.artifacts.resume_file import load_resume
from vidcli.config import Config, load_config
from vidcli.data.manifest import load_items
from vidcli.data.splits import of_split
from vidcli.errors import ConfigError
from vidcli.models import build_model, settle_clip
from vidcli.predict import Predictor
from vidcli.train import StepDone, resume_run
from vidcli.train.adapters import build_trained_model, merged_weights
from vidcli.train.advice import iter_advice
from vidcli.train.freezing import Freezing, backbone_stages, transformer_blocks
from vidcli.train.optimizer import build_optimizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def vit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny transformer of timm, such as a hub would give."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    safetensors.torch.save_file(timm.create_model("test_vit", pretrained=False).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {kind: write_encoder(root / kind, kind) for kind in IMAGE_KINDS | CLIP_KINDS}


def settings_of(backbone: str, **changes: object) -> Config:
    small: dict[str, object] = {
        "model.backbone": backbone,
        "model.pretrained": True,
        "model.frame_differences": False,
        "model.head": "attentive",
        "model.width": 16,
        "model.hidden": 16,
        "clip.length": 4,
        "clip.size": 32,
        "train.lora": 2,
        "train.lora_alpha": 8,
        "train.epochs": 2,
        "train.batch_size": 4,
        "train.plots": False,
    }
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return settle_clip(load_config(None, [f"{name}={value}" for name, value in (small | named).items()]))


def clips() -> torch.Tensor:
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [*IMAGE_KINDS, *CLIP_KINDS, "timm"])
def test_only_adapters_and_head_learn_and_are_merged(
    kind: str, folders: dict[str, Path], vit_file: Path
) -> None:
    if kind == "timm":
        config = settings_of("timm:test_vit", model__pretrained=False, model__weights=vit_file)
    else:
        config = settings_of(f"hf:{folders[kind]}")
    torch.manual_seed(0)
    plain = build_model(config.model, 3).eval()
    torch.manual_seed(0)
    model = build_trained_model(config, 3).eval()
    seen = clips() if kind in CLIP_KINDS else clips().flatten(0, 1)
    torch.testing.assert_close(model.backbone(seen), plain.backbone(seen))
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    of_backbone = {name for name in learning if name.startswith("backbone.")}
    assert of_backbone
    assert all(".lora_" in name for name in of_backbone)
    assert learning - of_backbone == {
        name for name, _ in model.named_parameters() if not name.startswith("backbone.")
    }
    optimizer = build_optimizer(model, config.train)
    for _ in range(2):  # B starts at zero, so that A learns from the second step on
        optimizer.zero_grad()
        F.cross_entropy(model(clips()), torch.tensor([0, 2])).backward()
        silent = [name for name in of_backbone if not model.get_parameter(name).grad.abs().max() > 0]
        optimizer.step()
    assert silent == []
    ordinary = build_model(config.model, 3).eval()
    ordinary.load_state_dict(merged_weights(model))
    difference = (ordinary(clips()) - model(clips())).abs().max()
    assert difference < 1e-5
    frozen = plain.state_dict()
    moved = [
        name
        for name, value in merged_weights(model).items()
        if name.startswith("backbone.") and not torch.equal(value, frozen[name])
    ]
    assert len(moved) == len(of_backbone) // 2


@pytest.mark.parametrize("kind", [*IMAGE_KINDS, *CLIP_KINDS])
def test_every_block_of_an_encoder_is_a_stage(kind: str, folders: dict[str, Path]) -> None:
    backbone = build_model(settings_of(f"hf:{folders[kind]}").model, 3).backbone
    stages = backbone_stages(backbone)
    assert len(stages) == 1 + 3
    held = [id(parameter) for stage in stages for part in stage for parameter in part.parameters()]
    assert sorted(held) == sorted(id(parameter) for parameter in backbone.parameters())
    blocks = transformer_blocks(backbone)
    assert [stage[0] for stage in stages[1:]] == blocks


def test_the_scale_is_alpha_by_rank(vit_file: Path) -> None:
    config = settings_of("timm:test_vit", model__pretrained=False, model__weights=vit_file)
    model = build_trained_model(config, 3)
    layer = model.backbone.network.blocks[0].attn.qkv
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    change = merged_weights(model)["backbone.network.blocks.0.attn.qkv.weight"] - layer.base_layer.weight
    expected = 8 / 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(change, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_a_run_goes_on_and_its_model_is_an_ordinary_one(
    ema: float,
    vit_file: Path,
    pair_data: Path,
    train_run: Callable[..., Any],
    same_weights: Callable[..., None],
    tmp_path: Path,
) -> None:
    config = settings_of(
        "timm:test_vit",
        model__pretrained=False,
        model__weights=vit_file,
        train__ema=ema,
        train__layer_decay=0.7,
        augment__crop_scale=0.7,
    )
    plain = train_run(config, pair_data, "plain")

    def interrupt(event: object) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (2, 1):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_run(config, pair_data, on_event=interrupt)
    run = tmp_path / "run"
    assert any(".lora_" in name for name in load_resume(run / "resume.pt")["model"])
    resume_run(run, CPU, lambda event: None)
    for name in ("model.safetensors", "last.safetensors"):
        same_weights(dict(load_checkpoint(run / name).weights), plain.weights(name))
    assert (run / "metrics.jsonl").read_text() == plain.metrics()
    ordinary = build_model(config.model, 2)
    assert set(plain.weights()) == set(ordinary.state_dict())
    last = plain.rows[-1]
    items = of_split(load_items(pair_data), "val")
    predictions = list(Predictor.load(plain.folder / "last.safetensors", CPU).predict_many(items))
    right = [
        prediction.class_names[int(np.argmax(prediction.probabilities))] == item.label
        for item, prediction in zip(items, predictions, strict=True)
    ]
    assert np.mean(right) == pytest.approx(last.val_top1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train__freeze_epochs": 1}, r"train\.lora=2 with train\.freeze_epochs=1.*Leave one"),
        ({"train__unfreeze_every": 1}, r"train\.lora=2 with train\.unfreeze_every=1"),
        ({"model__weights": "null"}, r"adapters change a trained backbone.*starts random"),
        ({"backbone": "compact_cnn"}, r"compact_cnn has no attention.*train\.lora=0"),
        ({"backbone": "resnet18", "model__frame_differences": True}, r"resnet18 has no attention"),
        ({"backbone": "timm:test_resnet"}, r"timm:test_resnet has no attention"),
    ],
)
def test_combinations_without_sense(changes: dict[str, object], told: str, vit_file: Path) -> None:
    start = {"backbone": "timm:test_vit", "model__pretrained": False, "model__weights": vit_file}
    config = settings_of(**start | changes)
    with pytest.raises(ConfigError, match=told):
        build_trained_model(config, 3, load_weights=False)


def test_without_peft_the_extra_is_named(vit_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    config = settings_of("timm:test_vit", model__pretrained=False, model__weights=vit_file)
    with pytest.raises(ConfigError, match=r"train\.lora=2 needs peft.*vidcli\[hf\]"):
        build_trained_model(config, 3)


@pytest.mark.parametrize(
    ("differences", "kind", "is_told"),
    [(True, "vit", True), (False, "vit", False), (True, "videomae", False)],
)
def test_differences_that_nobody_reads_are_told(
    differences: bool, kind: str, is_told: bool, folders: dict[str, Path]
) -> None:
    config = settings_of(f"hf:{folders[kind]}", model__frame_differences=differences)
    model = build_trained_model(config, 3)
    told = [*iter_advice(config, model, Freezing(model.backbone, config.train), has_validation=True)]
    assert any(text.startswith("model.frame_differences=true has no effect") for text in told) == is_told


def test_the_strength_of_no_adapters_has_no_effect(small_config: Callable[..., Config]) -> None:
    config = small_config(train__lora_alpha=4)
    model = build_trained_model(config, 3)
    told = [*iter_advice(config, model, Freezing(model.backbone, config.train), has_validation=True)]
    assert "train.lora_alpha has no effect with train.lora=0" in told
