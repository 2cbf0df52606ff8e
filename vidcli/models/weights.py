"""Backbone weights from torchvision's server, the Hugging Face hub, packages, or a local file.

Shape suffixes: D output channels of the first convolution, C its input channels.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import safetensors.torch
import torch
from torch import Tensor, nn

from vidcli.config import ModelConfig
from vidcli.errors import CheckpointError, ConfigError
from vidcli.models import hf_encoders, timm_networks
from vidcli.models.backbones import Backbone, first_convolution
from vidcli.models.hf_encoders import ClipEncoder, ImageEncoder
from vidcli.models.registry import find_backbone
from vidcli.models.timm_networks import TimmBackbone
from vidcli.runtime.tensors import load_plain_tensors

_NOT_BACKBONE = ("fc.", "classifier.", "head.", "projection.")
"""Prefixes of layers after the backbone, in torchvision's files and ours."""

_WRAPPERS = ("model", "state_dict")
"""Keys under which training scripts, torchvision's among them, store the weights."""

_PICKLE_SUFFIXES = (".pth", ".pt")

_MOTION_FILE = Path(__file__).with_name("motion.safetensors")
_MOTION_BACKBONE = "compact_cnn"
"""Learnt from generated videos alone (scripts/render_scenes.py); docs/experiments.md tells how."""


def load_backbone_weights(backbone: nn.Module, config: ModelConfig) -> None:
    """Fill a backbone from `model.weights` or, with `model.pretrained`, from published or built-in weights.

    Without either setting nothing happens. A file that knows only RGB fills the first three input
    channels; the others start at zero, so that the function is the file's until it learns more.

    Raises:
        ConfigError: the file is not there, there are no such weights, or no way to them.
        CheckpointError: the file is damaged, or of another backbone.
    """
    if config.weights is not None:
        path = Path(config.weights)
        weights, source = load_weights_file(path), str(path)
        if isinstance(backbone, TimmBackbone):
            weights = timm_networks.named_as_ours(weights, backbone)
        elif isinstance(backbone, ImageEncoder | ClipEncoder):
            weights = hf_encoders.named_as_ours(weights, backbone.architecture, source)
    elif config.pretrained == "motion":
        _refuse_without_motion(config)
        weights, source = load_weights_file(_MOTION_FILE), str(_MOTION_FILE)
    elif config.pretrained and isinstance(backbone, TimmBackbone):
        name = timm_networks.timm_name(config.backbone)
        assert name is not None
        weights, source = timm_networks.load_pretrained(name, backbone)
    elif config.pretrained and isinstance(backbone, ImageEncoder | ClipEncoder):
        name = hf_encoders.encoder_name(config.backbone)
        assert name is not None
        weights, source = hf_encoders.load_pretrained(name, backbone.architecture)
    elif config.pretrained:
        weights, source = download_pretrained(config.backbone)
    else:
        return
    if isinstance(backbone, Backbone | TimmBackbone | ImageEncoder):
        name, conv = first_convolution(backbone)
        key = f"{name}.weight"
        kernel = weights.get(key)
        if kernel is not None and kernel.dim() == 4 and kernel.shape[1] == 3 < conv.in_channels:
            zeros = kernel.new_zeros(kernel.shape[0], conv.in_channels - 3, *kernel.shape[2:])
            weights[key] = torch.cat([kernel, zeros], dim=1)
    refuse_other_weights(
        weights,
        backbone.state_dict(),
        source,
        config.backbone,
        "Set model.backbone to the network the file was saved from, or model.weights to another file.",
    )
    backbone.load_state_dict(weights, strict=False)


def _refuse_without_motion(config: ModelConfig) -> None:
    """Refuse `model.pretrained=motion` for a backbone that never learnt from the generated videos.

    Raises:
        ConfigError: says which settings it goes with.
    """
    needed = {
        "model.backbone": (config.backbone, config.backbone == _MOTION_BACKBONE, _MOTION_BACKBONE),
        "model.shift": (config.shift, config.shift != "off", "on"),
        "model.frame_differences": (config.frame_differences, config.frame_differences, "true"),
    }
    for name, (found, fits, wanted) in needed.items():
        if not fits:
            raise ConfigError(
                f"model.pretrained=motion: needs {name}={wanted} (now {str(found).lower()}). Set that, or "
                "model.pretrained=false to start at random."
            )


def load_weights_file(path: Path) -> dict[str, Tensor]:
    """Load the backbone's weights from a .safetensors or .pth file; no code in it is ever run.

    Of a whole video classifier's file only the part under `backbone.` is taken, of an image
    classifier's everything but the classifier.

    Raises:
        ConfigError: no such file, or of another kind.
        CheckpointError: the file is damaged or holds something else than tensors.
    """
    if not os.path.isfile(path):
        found = "is no regular file" if os.path.exists(path) else "no such file"
        raise ConfigError(f"model.weights={path}: {found}. Give the path of a weights file.")
    if path.suffix not in (".safetensors", *_PICKLE_SUFFIXES):
        raise ConfigError(f"model.weights={path}: expected a file that ends in .safetensors or .pth.")
    try:
        if path.suffix == ".safetensors":
            loaded: object = safetensors.torch.load_file(path)
        else:
            loaded = load_plain_tensors(path)
    except Exception as error:  # garbage makes the readers raise all kinds
        raise CheckpointError(
            f"{path}: cannot be read as weights ({_first_line(error)}). "
            "It is damaged, or holds more than tensors; fetch or save it again."
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(f"{path}: expected tensors by name (a state dict), found something else.")
    return _backbone_part({str(key): value for key, value in loaded.items()})


def download_pretrained(backbone: str) -> tuple[dict[str, Tensor], str]:
    """Return the published weights of a backbone and where they lie, from torch's cache or the network.

    Raises:
        ConfigError: none are published for this backbone, or they cannot be downloaded.
        CheckpointError: the file in the cache or on the server is damaged.
    """
    published = find_backbone(backbone).pretrained
    if published is None:
        raise ConfigError(
            f"model.pretrained: there are no published weights for {backbone}. Set model.pretrained=false, "
            "choose a backbone such as resnet18 or timm:tf_efficientnet_lite0, or give a file with "
            "model.weights=FILE."
        )
    weights, cached = fetch_published(
        published, backbone, "model.pretrained", ", or give a file with model.weights=FILE"
    )
    return _backbone_part(weights), str(cached)


def fetch_published(
    published: Any, name: str, asked_by: str, other_way: str = ""
) -> tuple[dict[str, Tensor], Path]:
    """Return all of torchvision's weights and their file, from torch's cache or else the network.

    The download shows a bar where stderr is a terminal, and its digest is checked.

    Args:
        published: torchvision's weights (url, get_state_dict).
        name: of the network, for messages.
        asked_by: setting or option that asks for them, for messages.
        other_way: what else could be done, for messages.

    Raises:
        ConfigError: they cannot be downloaded; says which file to place where.
        CheckpointError: the file in the cache or on the server is damaged.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(published.url).path).name
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch announces the download on stdout
            weights = published.get_state_dict(
                progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
            )
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(
            f"{asked_by}: cannot download the weights of {name} ({_first_line(error)}). "
            f"Download {published.url} elsewhere and place it at {cached}{other_way}."
        ) from error
    except Exception as error:  # garbage makes the reader raise all kinds
        raise CheckpointError(
            f"{cached}: not the weights of {name} ({_first_line(error)}). "
            f"Delete the file and fetch {published.url} again."
        ) from error
    return weights, cached


def refuse_other_weights(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str, name: str, advice: str
) -> None:
    """Refuse weights that do not fill a network exactly.

    Weights left over are as wrong as missing ones: all of ResNet-18's names are in ResNet-34.

    Args:
        weights: what was found.
        wanted: state dict of the network.
        source: where they come from, for the message.
        name: of the network, for the message.
        advice: what to do about it, for the message.

    Raises:
        CheckpointError: counts and names what does not fit.
    """
    counters = ".num_batches_tracked"  # old files do not have it
    faults = {
        "missing": [key for key in wanted if key not in weights and not key.endswith(counters)],
        "unknown": [key for key in weights if key not in wanted],
        "of another shape": [
            f"{key} {tuple(weights[key].shape)} instead of {tuple(value.shape)}"
            for key, value in wanted.items()
            if key in weights and weights[key].shape != value.shape
        ],
    }
    if any(faults.values()):
        found = "; ".join(
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in faults.items()
            if keys
        )
        raise CheckpointError(f"{source}: not weights of {name}: {found}. {advice}")


def _backbone_part(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = "backbone."
    if any(key.startswith(prefix) for key in weights):
        return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}
    return {key: value for key, value in weights.items() if not key.startswith(_NOT_BACKBONE)}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
