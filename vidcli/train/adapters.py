"""Low-rank adapters (LoRA): a transformer that stays as it is, and small matrices beside it that learn.

    W x  becomes  W x + (alpha / rank) B A x        A: rank x inputs, random; B: outputs x rank, zero at first

They stand beside the attention's projections of every block (Hu et al. 2021, arXiv:2106.09685). What is saved
as a model has them added to W, so that a model file is one like any other; the resume file keeps them apart.

Peft, which makes them, is imported where they are wanted and not before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vidcli.config import Config
from vidcli.errors import ConfigError
from vidcli.models import VideoModel, build_model
from vidcli.runtime.tensors import shapes_only
from vidcli.train.freezing import is_attention, transformer_blocks

_ADAPTER_PARTS = (".lora_A.", ".lora_B.")
_WRAPPED = ".base_layer."
_ADAPTER = "default"


def build_trained_model(config: Config, num_classes: int, load_weights: bool = True) -> VideoModel:
    """Build the model of a run as it is trained: with adapters where `train.lora` wants them.

    Args:
        config: all settings.
        num_classes: number of classes.
        load_weights: follow `model.pretrained` and `model.weights`.

    Raises:
        ConfigError: settings that do not fit together, weights that cannot be had, or no peft.
        CheckpointError: a weights file that is damaged or of another backbone.
    """
    if config.train.lora:
        _refuse_senseless(config)
    model = build_model(config.model, num_classes, load_weights)
    if config.train.lora:
        _insert_adapters(model.backbone, config)
    return model


def merged_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a model, with adapters added to the layers that they stand beside."""
    merged: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if any(part in name for part in _ADAPTER_PARTS):
            continue
        if name.endswith(f"{_WRAPPED}weight"):
            layer: Any = model.get_submodule(name.removesuffix(f"{_WRAPPED}weight"))
            value = value + layer.get_delta_weight(_ADAPTER).to(value)
        merged[name.replace(_WRAPPED, ".")] = value
    return merged


def _refuse_senseless(config: Config) -> None:
    train, model = config.train, config.model
    for name, value in (
        ("train.freeze_epochs", train.freeze_epochs),
        ("train.unfreeze_every", train.unfreeze_every),
    ):
        if value:
            raise ConfigError(
                f"train.lora={train.lora} with {name}={value}: adapters learn from the first epoch on, and "
                "the backbone beside them never does. Leave one of the two out."
            )
    if not model.pretrained and model.weights is None:
        raise ConfigError(
            f"train.lora={train.lora}: adapters change a trained backbone a little, and this one starts "
            "random. Set model.pretrained=true or model.weights=FILE, or train.lora=0."
        )


def _insert_adapters(backbone: nn.Module, config: Config) -> None:
    """Put adapters beside the attention's projections of a backbone, and freeze all else of it, in place.

    Raises:
        ConfigError: the backbone has none, or peft is not installed.
    """
    settings = config.train
    targets = _projections_of(config) if transformer_blocks(backbone) else []
    if not targets:
        raise ConfigError(
            f"train.lora={settings.lora}: {config.model.backbone} has no attention whose projections could "
            "be adapted. Choose a transformer, such as timm:vit_small_patch16_224 or "
            "hf:facebook/dinov2-small, or set train.lora=0."
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError(
            f"train.lora={settings.lora} needs peft, which is not installed. Install it with "
            "`pip install 'vidcli[hf]'`."
        ) from error
    adapters = LoraConfig(r=settings.lora, lora_alpha=settings.lora_alpha, target_modules=targets)
    inject_adapter_in_model(adapters, backbone)


def _projections_of(config: Config) -> list[str]:
    """Return the names of the linear layers of a backbone's attention that a clip passes through.

    A clip without numbers passes, to find out: some attention reads the weights of its projections without
    calling them, and an adapter beside such a layer would do nothing.
    """
    called = set[nn.Module]()
    with torch.random.fork_rng(devices=[]), shapes_only(), torch.no_grad():
        # Without differences, for which some networks need numbers to start from; names stay the same.
        settings = config.model.model_copy(update={"frame_differences": False})
        model = build_model(settings, 1, load_weights=False).eval()
        attended = {
            layer
            for block in transformer_blocks(model.backbone)
            for attention in block.children()
            if is_attention(attention)
            for layer in attention.modules()
        }
        names = {
            layer: name
            for name, layer in model.backbone.named_modules()
            if isinstance(layer, nn.Linear) and layer in attended
        }
        for layer in names:
            layer.register_forward_pre_hook(lambda found, _: called.add(found))
        model(torch.empty(1, config.clip.length, 3, *config.clip.size))
    return [name for layer, name in names.items() if layer in called]
