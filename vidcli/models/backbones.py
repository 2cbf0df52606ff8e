"""Frame backbones: from frames (N, C, H, W) to a feature map (N, D, h, w).

Shape suffixes: N frames of a batch (B * T), C channels, H W pixels, D features, h w feature map.

Every backbone is a plain sequence of layers without classifier and global pool. Those of
torchvision (`families`) keep torchvision's parameter names, so that its weight files load unchanged; timm's
(`timm_networks`) stand as they are behind one more name; those of ours, here, are made for training
from scratch on a CPU.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

RGB_CHANNELS = 3


def require_clip(clip_BTCHW: Tensor) -> None:
    """Refuse what no classifier of clips can take.

    Raises:
        ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
    """
    if clip_BTCHW.dim() != 5 or clip_BTCHW.shape[2] != RGB_CHANNELS or clip_BTCHW.shape[1] < 1:
        raise ValueError(
            f"expected a clip (B, T, {RGB_CHANNELS}, H, W) with T >= 1, got {tuple(clip_BTCHW.shape)}"
        )
    if not clip_BTCHW.is_floating_point():
        raise ValueError(f"expected a normalised float clip, got {clip_BTCHW.dtype}")


class Backbone(nn.Sequential):
    """A sequence of layers that maps frames_NCHW to map_NDhw; `num_features` is D."""

    def __init__(self, layers: OrderedDict[str, nn.Module], num_features: int) -> None:
        super().__init__(layers)
        self.num_features = num_features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip path, activated after the sum (He et al. 2015).

    The last normalisation starts with gain zero, so that a new network is the sequence of its
    skip paths and deepens as it learns (Goyal et al. 2017, arXiv:1706.02677). A skip path that
    halves the resolution averages before it projects and so uses every pixel (He et al. 2018,
    arXiv:1812.01187).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.depth: nn.Module = nn.Identity()  # where stochastic depth goes, if any
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.skip = nn.Sequential(
                # Rounding up, as the strided convolution does with an odd number of pixels.
                nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity(),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        for conv in (module for module in self.modules() if isinstance(module, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the activated sum of branch and skip path."""
        branch_NCHW = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x_NCHW)))))
        activated_NCHW: Tensor = self.relu(self.depth(branch_NCHW) + self.skip(x_NCHW))
        return activated_NCHW


@torch.no_grad()
def wake_residual_branches(backbone: nn.Module) -> None:
    """Give the last normalisation of our residual blocks a gain of one, as a random backbone needs.

    One that is not going to be trained would otherwise stay the sequence of its skip paths.
    """
    for module in backbone.modules():
        if isinstance(module, ResidualBlock):
            nn.init.ones_(module.bn2.weight)


def build_simple_cnn(in_channels: int) -> Backbone:
    """Build two stages of convolution 3x3, ReLU and max-pool: C-32-64, total stride 4."""
    layers = OrderedDict[str, nn.Module](
        conv1=nn.Conv2d(in_channels, 32, 3, padding=1),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(32, 64, 3, padding=1),
        relu2=nn.ReLU(inplace=True),
        pool2=nn.MaxPool2d(2),
    )
    for layer in layers.values():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return Backbone(layers, num_features=64)


def build_compact_cnn(in_channels: int) -> Backbone:
    """Build a residual CNN for training from scratch on a CPU: 24-48-96-128, total stride 16.

    Most multiplications are dense 3x3 convolutions at stride 4 and beyond: on a CPU those run
    several times faster a multiplication than depthwise ones, and a temporal shift there moves
    little memory.
    """
    stem = nn.Conv2d(in_channels, 24, 3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    layers = OrderedDict[str, nn.Module](
        stem=stem,
        bn=nn.BatchNorm2d(24),
        relu=nn.ReLU(inplace=True),
        pool=nn.MaxPool2d(2),
        stage1=ResidualBlock(24, 24, stride=1),
        stage2=ResidualBlock(24, 48, stride=2),
        stage3=ResidualBlock(48, 96, stride=2),
        stage4=ResidualBlock(96, 128, stride=1),
    )
    return Backbone(layers, num_features=128)


def first_convolution(backbone: nn.Module) -> tuple[str, nn.Conv2d]:
    """Return name and layer of the convolution that reads the frames."""
    return next((name, m) for name, m in backbone.named_modules() if isinstance(m, nn.Conv2d))
