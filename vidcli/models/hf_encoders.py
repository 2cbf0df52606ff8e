"""Encoders of transformers as backbones: `model.backbone=hf:ORG/NAME` or `hf:FOLDER`.

Shape suffixes: B batch, T frames, N = B * T, C channels, H W pixels, L tokens, D features, h w
feature map, t steps of time (T frames, or T / 2 pairs of them).

    image encoder    frames_NCHW → tokens_NLD without class and register tokens → map_NDhw
    clip encoder     clip_BTCHW  → tokens_BLD without class token               → map_BtDhw

A model file holds the encoder's architecture (`model.architecture`), so that it needs neither folder nor
hub. Transformers is imported where an encoder is wanted and not before: it takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.errors import CheckpointError, ConfigError
from vidcli.models.hf_architecture import (
    config_of,
    family_of,
    import_transformers,
    pair_of,
    tubelet_of,
)
from vidcli.models.hf_files import CONFIG_FILE, EncoderFiles
from vidcli.runtime.plain import one_line

PREFIX = "hf:"

_OWN = "network."


class ImageEncoder(nn.Module):
    """An image encoder of transformers: frames_NCHW to map_NDhw.

    Attributes:
        num_features: D.
        architecture: what it was built from.
    """

    def __init__(self, network: nn.Module, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        self.architecture, config, family = architecture, config_of(architecture), family_of(architecture)
        self.network, self.num_features = network, int(config.hidden_size)
        self._family, self._patch, self._size = family, pair_of(config.patch_size), pair_of(config.image_size)
        self._num_prefix = family.num_prefix + int(getattr(config, "num_register_tokens", 0))

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        """Return map_NDhw; tokens go back to where their patches are."""
        height, width = frames_NCHW.shape[2:]
        resized = self._family.interpolates and (height, width) != self._size
        options = {"interpolate_pos_encoding": True} if resized else {}
        tokens_NLD = self.network(frames_NCHW, **options).last_hidden_state[:, self._num_prefix :]
        if self._family.last_norm:
            tokens_NLD = self.network.get_submodule(self._family.last_norm)(tokens_NLD)
        grid = (height // self._patch[0], width // self._patch[1])
        return torch.unflatten(tokens_NLD.transpose(1, 2), 2, grid)


class ClipEncoder(nn.Module):
    """A video encoder of transformers: clip_BTCHW to map_BtDhw.

    Attributes:
        num_features: D.
        architecture: what it was built from.
    """

    def __init__(self, network: nn.Module, architecture: Mapping[str, Any]) -> None:
        super().__init__()
        self.architecture, config, family = architecture, config_of(architecture), family_of(architecture)
        self.network, self.num_features = network, int(config.hidden_size)
        self._family, (self._step, *self._patch) = family, tubelet_of(config)
        self._has_norm = getattr(network, "layernorm", None) is not None

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """Return map_BtDhw; tokens go back to when and where their patches are."""
        num_frames, height, width = clip_BTCHW.shape[1], *clip_BTCHW.shape[3:]
        tokens_BLD = self.network(clip_BTCHW).last_hidden_state[:, self._family.num_prefix :]
        if not self._has_norm:
            # VideoMAE's own classifier normalises after its pool, so that nothing here ever did.
            tokens_BLD = F.layer_norm(tokens_BLD, tokens_BLD.shape[-1:])
        place = (height // self._patch[0], width // self._patch[1])
        if self._family.time_is_last:
            return torch.unflatten(tokens_BLD, 1, (*place, num_frames)).permute(0, 3, 4, 1, 2)
        return torch.unflatten(tokens_BLD, 1, (num_frames // self._step, *place)).permute(0, 1, 4, 2, 3)


def encoder_name(backbone: str) -> str | None:
    """Return which encoder `model.backbone` names; None where it names another kind."""
    return backbone.removeprefix(PREFIX) if backbone.startswith(PREFIX) else None


def build_encoder(architecture: Mapping[str, Any], in_channels: int) -> ImageEncoder | ClipEncoder:
    """Build an encoder, random.

    Args:
        architecture: what `hf_architecture.complete_architecture` returned, or a part of it.
        in_channels: C of the frames of an image encoder; clips have 3.

    Raises:
        ConfigError: there is no such encoder.
    """
    family, config = family_of(architecture), config_of(architecture)
    if not family.takes_clips:
        config.num_channels = in_channels
    try:
        network = getattr(import_transformers(), family.network)(config, **family.arguments)
    except (ValueError, TypeError, RuntimeError, KeyError, ArithmeticError) as error:
        raise ConfigError(f"model.architecture: there is no such encoder ({one_line(error)}).") from error
    if family.part:
        network = network.get_submodule(family.part)
    for module in network.modules():
        if "mask_token" in module._parameters:
            module.mask_token = None  # of the pretraining: it would never get a gradient
    return (ClipEncoder if family.takes_clips else ImageEncoder)(network, architecture)


def load_pretrained(name: str, architecture: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Return the weights of an encoder by the names of its parameters, and where they lie.

    Args:
        name: a local folder, or ORG/NAME of the hub, from which they are fetched where needed.
        architecture: of the encoder.

    Raises:
        ConfigError: there are no weights, or no way to them.
        CheckpointError: they are damaged, or of another network.
    """
    weights, source = EncoderFiles(name, may_fetch=True).load_weights()
    return named_as_ours(weights, architecture, source), source


def named_as_ours(
    weights: Mapping[str, Tensor], architecture: Mapping[str, Any], source: str
) -> dict[str, Tensor]:
    """Return weights as published under the names of a backbone of ours, without those of heads.

    Transformers knows the names that its networks had in earlier versions.

    Args:
        weights: by the names of transformers, or by ours.
        architecture: of the encoder.
        source: where they come from, for the message.

    Raises:
        CheckpointError: they are not those of such an encoder.
    """
    if weights and all(name.startswith(_OWN) for name in weights):
        return dict(weights)
    family = family_of(architecture)
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            network, about = getattr(import_transformers(), family.network).from_pretrained(
                None,
                config=config_of(architecture),
                state_dict=dict(weights),
                dtype=torch.float32,
                output_loading_info=True,
                **family.arguments,
            )
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{source}: not the weights of such an encoder ({one_line(error)}).") from error
    prefix = f"{family.part}." if family.part else ""
    missing = [name for name in about["missing_keys"] if name.startswith(prefix)]
    if missing := [name for name in missing if not name.endswith("mask_token")]:
        raise CheckpointError(
            f"{source}: not the weights of such an encoder: {len(missing)} are missing "
            f"({', '.join(sorted(missing)[:3])}). Fetch {CONFIG_FILE} and the weights from one place."
        )
    part = network.get_submodule(family.part) if family.part else network
    return {
        _OWN + name: value for name, value in part.state_dict().items() if not name.endswith("mask_token")
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting what it loads; what is wrong is told by exceptions of ours."""
    logging = import_transformers().utils.logging
    level, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bar:
            logging.enable_progress_bar()
