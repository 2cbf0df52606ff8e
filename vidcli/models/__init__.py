"""Frame backbones, sequence heads and the classifier made of the two.

    clip_BTCHW → backbone, a frame at a time → grid → features_BTE → head → logits_BK

Reading order: `classifier`, `backbones`, `shift`, `heads`, then `registry` (names), `weights`
(files and downloads) and `costs` (parameters and multiplications).

Shape suffixes of the whole package: B batch, T frames, N = B * T frames of a batch, C channels,
H W pixels, D backbone features, h w grid of a feature map, E width (features a frame), K classes.
"""

from __future__ import annotations

from vidcli.models.classifier import VideoClassifier, build_model
from vidcli.models.costs import BackboneCost, HeadCost, describe_backbones, describe_heads
from vidcli.models.registry import backbone_names, head_names, unused_settings

__all__ = [
    "BackboneCost",
    "HeadCost",
    "VideoClassifier",
    "backbone_names",
    "build_model",
    "describe_backbones",
    "describe_heads",
    "head_names",
    "unused_settings",
]
