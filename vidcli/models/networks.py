"""Torchvision's video networks as whole models: the clip goes in at once, not a frame at a time.

Shape suffixes: B batch, T frames, C channels, H W pixels, D features of a clip, K classes; of
attention masks d h w a map's sides, W windows, P places of one.

    clip_BTCHW → permute → clip_BCTHW → network without its last layer → features_BD
      → dropout → linear → logits_BK

The network keeps torchvision's parameter names, so that its weight files load unchanged; the last
layer is our own, so that it fits any number of classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vidcli.config import ModelConfig
from vidcli.models.backbones import require_clip
from vidcli.runtime.tensors import shapes_only


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
        logits_BK: Tensor = self.head(self.dropout(self.encode(clip_BTCHW)))
        return logits_BK

    @property
    def after_backbone(self) -> nn.Sequential:
        """What makes logits_BK of what `encode` returns: its layers are the model's own."""
        return nn.Sequential(self.dropout, self.head)

    def encode(self, clip_BTCHW: Tensor) -> Tensor:
        """Return features_BD: what the backbone says of every clip.

        Raises:
            ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
        """
        require_clip(clip_BTCHW)
        features_BD: Tensor = self.backbone(clip_BTCHW.transpose(1, 2).contiguous())
        return features_BD


def build_without_last_layer(build: Callable[[], nn.Module]) -> tuple[nn.Module, int]:
    """Build one of torchvision's video networks, random, without its last layer.

    Returns:
        The network, which maps clip_BCTHW to features_BD, and D.
    """
    network = build()
    name, last = _last_layer(network)
    num_features = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    # With the dropout before it, if there is one: ours comes from the settings.
    setattr(network, name.partition(".")[0], nn.Identity())
    return network, num_features


def weights_of_whole(weights: Mapping[str, Tensor], build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """Return torchvision's weights of a whole network under the names of `VideoNetwork`."""
    with shapes_only():
        name, _ = _last_layer(build())
    kept = {f"backbone.{key}": value for key, value in weights.items() if not key.startswith(f"{name}.")}
    # S3D's last layer is a convolution of one position: the same numbers as a linear layer.
    head = weights[f"{name}.weight"].flatten(1)
    return kept | {"head.weight": head, "head.bias": weights[f"{name}.bias"]}


def _last_layer(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv3d]:
    layers = [(name, m) for name, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv3d))]
    return layers[-1]


@contextmanager
def exportable_masks() -> Iterator[None]:
    """Let Video Swin networks tell the regions of shifted windows apart by comparing places.

    Torchvision writes numbers into slices, 27 a block and some of them empty, which OpenVINO does
    not take and other runtimes do over again for every clip.
    """
    from torchvision.models.video import swin_transformer

    original = swin_transformer._compute_attention_mask_3d
    swin_transformer._compute_attention_mask_3d = compare_regions
    try:
        yield
    finally:
        swin_transformer._compute_attention_mask_3d = original


def compare_regions(
    x: Tensor, size_dhw: Sequence[int], window_dhw: Sequence[int], shift_dhw: Sequence[int]
) -> Tensor:
    """Return the attention mask (windows, places, places): -100 between regions, 0 within one.

    Args:
        x: gives type and device.
        size_dhw: of the map, a multiple of the window's.
        window_dhw: places a side of a window.
        shift_dhw: by how many places the map was rolled.
    """
    region_dhw = torch.zeros((), dtype=torch.long, device=x.device)
    for axis, (size, window, shift) in enumerate(zip(size_dhw, window_dhw, shift_dhw, strict=True)):
        place = torch.arange(size, device=x.device)
        # Rolled, the last window of an axis holds what was at its two ends.
        region = (place >= size - window).long() + (place >= size - shift).long()
        region_dhw = 3 * region_dhw + region.view([-1 if other == axis else 1 for other in range(3)])
    (d, h, w), (window_d, window_h, window_w) = size_dhw, window_dhw
    by_window = region_dhw.view(d // window_d, window_d, h // window_h, window_h, w // window_w, window_w)
    region_WP = by_window.permute(0, 2, 4, 1, 3, 5).reshape(-1, window_d * window_h * window_w)
    differs_WPP = region_WP.unsqueeze(1) != region_WP.unsqueeze(2)
    return torch.where(differs_WPP, x.new_tensor(-100.0), x.new_tensor(0.0))
