"""Frame backbones, sequence heads and the classifier made of the two.

    clip_BTCHW → backbone, a frame at a time → grid → features_BTE → head → logits_BK

What is imported from here is loaded when it is first asked for: its neighbours that need no torch
(`calibration`, `timeline_rules`) are imported without it.

Reading order: `classifier`, `backbones`, `families` (torchvision's), `timm_networks`, `hf_encoders`
(transformers', with `hf_architecture` and `hf_files`), `shift`, `heads`, `attentive` (one more head),
`networks` (whole video networks), then `registry` (names), `weights` (files and downloads), `preprocessing`
(what weights ask of a clip), `published` (models that need no training; their names are in
`trained_elsewhere`) and `costs` (parameters and multiplications).

Shape suffixes of the whole package: B batch, T frames, N = B * T frames of a batch, C channels,
H W pixels, D backbone features, h w grid of a feature map, E width (features a frame), K classes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidcli.models.backbones import wake_residual_branches
    from vidcli.models.classifier import FeatureClassifier, VideoClassifier, VideoModel, build_model
    from vidcli.models.costs import (
        BackboneCost,
        HeadCost,
        NetworkCost,
        describe_backbones,
        describe_heads,
        describe_networks,
    )
    from vidcli.models.hf_architecture import describe_encoders
    from vidcli.models.multi_stream import (
        MultiStreamClassifier,
        descriptor_sizes,
        for_inference,
        loaded_weights,
    )
    from vidcli.models.networks import VideoNetwork
    from vidcli.models.preprocessing import leave_out_missing_action, settle_clip
    from vidcli.models.published import PublishedModel, load_published
    from vidcli.models.registry import (
        backbone_names,
        head_names,
        heads_that_see_order,
        network_names,
        unused_settings,
    )
    from vidcli.models.trained_elsewhere import is_published, published_names

__all__ = [
    "BackboneCost",
    "FeatureClassifier",
    "HeadCost",
    "MultiStreamClassifier",
    "NetworkCost",
    "PublishedModel",
    "VideoClassifier",
    "VideoModel",
    "VideoNetwork",
    "backbone_names",
    "build_model",
    "describe_backbones",
    "describe_encoders",
    "describe_heads",
    "describe_networks",
    "descriptor_sizes",
    "for_inference",
    "head_names",
    "heads_that_see_order",
    "is_published",
    "leave_out_missing_action",
    "load_published",
    "loaded_weights",
    "network_names",
    "published_names",
    "settle_clip",
    "unused_settings",
    "wake_residual_branches",
]

_NAMES_OF = {
    "backbones": ("wake_residual_branches",),
    "classifier": ("FeatureClassifier", "VideoClassifier", "VideoModel", "build_model"),
    "costs": (
        "BackboneCost",
        "HeadCost",
        "NetworkCost",
        "describe_backbones",
        "describe_heads",
        "describe_networks",
    ),
    "hf_architecture": ("describe_encoders",),
    "networks": ("VideoNetwork",),
    "preprocessing": ("leave_out_missing_action", "settle_clip"),
    "published": ("PublishedModel", "load_published"),
    "trained_elsewhere": ("is_published", "published_names"),
    "registry": ("backbone_names", "head_names", "heads_that_see_order", "network_names", "unused_settings"),
    "multi_stream": ("MultiStreamClassifier", "descriptor_sizes", "for_inference", "loaded_weights"),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> Any:
    """Return what is imported from this package, and load the module that it lies in."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
