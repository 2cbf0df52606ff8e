"""Models that need no training: torchvision's video networks with their Kinetics-400 weights.

Sampling and preprocessing are those that the published accuracy was measured with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from vidcli.config import ClipConfig, Config, ModelConfig
from vidcli.models.networks import weights_of_whole
from vidcli.models.registry import NETWORKS
from vidcli.models.trained_elsewhere import is_published
from vidcli.models.weights import fetch_published, refuse_other_weights
from vidcli.runtime.tensors import shapes_only

_DEFAULT_NETWORK = "mvit_v2_s"
"""The most accurate of them, at a third of the cost of the next."""

_SHORT_SIDE = 256
"""To which frames are scaled before the middle is cut out, where the proportions are kept."""


@dataclass(frozen=True)
class PublishedModel:
    """A whole model as published.

    Attributes:
        weights: state dict of the `VideoNetwork` that `config.model` describes.
        class_names: position is label.
        metrics: the published accuracy.
    """

    weights: Mapping[str, Tensor]
    config: Config
    class_names: tuple[str, ...]
    metrics: Mapping[str, float]


def load_published(name: str) -> PublishedModel:
    """Return a published model; its weights are downloaded once.

    Raises:
        ConfigError: the weights cannot be downloaded; says which file to place where.
        CheckpointError: the file is damaged or of another network.
        ValueError: no model is published under that name.
    """
    if not is_published(name):
        raise ValueError(f"no model is published as {name!r}")
    network = name.partition("-")[2] or _DEFAULT_NETWORK
    spec = NETWORKS[network]
    weights, file = fetch_published(spec.pretrained, network, f"--model {name}")
    with shapes_only():
        whole = spec.build().state_dict()
    refuse_other_weights(
        weights, whole, str(file), network, f"Delete the file and fetch {spec.pretrained.url} again."
    )
    top1, top5 = published_accuracy(network)
    return PublishedModel(
        weights_of_whole(weights, spec.build),
        Config(model=ModelConfig(backbone=network, pretrained=True), clip=published_clip(network)),
        tuple(spec.pretrained.meta["categories"]),
        {"kinetics400_top1": top1, "kinetics400_top5": top5},
    )


def published_clip(network: str) -> ClipConfig:
    """Return the sampling and preprocessing that a network's accuracy was measured with."""
    spec = NETWORKS[network]
    return ClipConfig(
        length=spec.length,
        size=(spec.size, spec.size),
        resize=spec.resize,
        crop_ratio=1.0 if spec.resize is not None else spec.size / _SHORT_SIDE,
        sampling="dense",
        stride_seconds=spec.stride_seconds,
        views=spec.views,
        mean=spec.mean,
        std=spec.std,
    )


def published_accuracy(network: str) -> tuple[float, float]:
    """Return top-1 and top-5 on the validation videos of Kinetics-400, 0 to 1, as published."""
    percent = NETWORKS[network].pretrained.meta["_metrics"]["Kinetics-400"]
    return percent["acc@1"] / 100, percent["acc@5"] / 100
