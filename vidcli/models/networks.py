"""Torchvision's video networks as whole models: the clip goes in at once, not a frame at a time.

Shape suffixes: B batch, T frames, C channels, H W pixels, D features of a clip, K classes.

    clip_BTCHW → permute → clip_BCTHW → network without its last layer → features_BD
      → dropout → linear → logits_BK

The network keeps torchvision's parameter names, so that its weight files load unchanged; the last
layer is our own, so that it fits any number of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vidcli.config import ModelConfig

_RGB_CHANNELS = 3


class VideoNetwork(nn.Module):
    """Classify clips with one of torchvision's video networks.

    Args:
        backbone: maps clip_BCTHW to features_BD.
        num_features: D.
        num_classes: K.
        config: dropout; kept as a whole for whoever asks what the model is.
    """

    def __init__(self, backbone: nn.Module, num_features: int, num_classes: int, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(num_features, num_classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """Return logits_BK.

        Raises:
            ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
        """
        logits_BK: Tensor = self.head(self.dropout(self.features(clip_BTCHW)))
        return logits_BK

    def features(self, clip_BTCHW: Tensor) -> Tensor:
        """Return features_BD, one vector a clip.

        Raises:
            ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
        """
        if clip_BTCHW.dim() != 5 or clip_BTCHW.shape[2] != _RGB_CHANNELS or clip_BTCHW.shape[1] < 1:
            raise ValueError(
                f"expected a clip (B, T, {_RGB_CHANNELS}, H, W) with T >= 1, got {tuple(clip_BTCHW.shape)}"
            )
        if not clip_BTCHW.is_floating_point():
            raise ValueError(f"expected a normalised float clip, got {clip_BTCHW.dtype}")
        features_BD: Tensor = self.backbone(clip_BTCHW.transpose(1, 2).contiguous())
        return features_BD


def build_without_last_layer(build: Callable[..., Any]) -> tuple[nn.Module, int]:
    """Build one of torchvision's video networks, random, without its last layer.

    Returns:
        The network, which maps clip_BCTHW to features_BD, and D.
    """
    network: nn.Module = build(weights=None)
    name, last = _last_layer(network)
    num_features = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    # With the dropout before it, if there is one: ours comes from the settings.
    setattr(network, name.partition(".")[0], nn.Identity())
    return network, num_features


def weights_of_whole(weights: Mapping[str, Tensor], build: Callable[..., Any]) -> dict[str, Tensor]:
    """Return torchvision's weights of a whole network under the names of `VideoNetwork`."""
    with torch.device("meta"):
        name, _ = _last_layer(build(weights=None))
    kept = {f"backbone.{key}": value for key, value in weights.items() if not key.startswith(f"{name}.")}
    # S3D's last layer is a convolution of one position: the same numbers as a linear layer.
    head = weights[f"{name}.weight"].flatten(1)
    return kept | {"head.weight": head, "head.bias": weights[f"{name}.bias"]}


def _last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv3d]:
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv3d))]
    return layers[-1]
