"""Encoders of transformers, tiny and random, in folders as the hub has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
_TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
_TEXT |= {"vocab_size": 8, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SMALL_VIVIT = {name: value for name, value in _SMALL.items() if name != "patch_size"}

IMAGE_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("ViTForImageClassification", _SMALL),
    "deit": ("DeiTForImageClassification", _SMALL),
    "dinov2": ("Dinov2ForImageClassification", _SMALL),
    "dinov2_with_registers": ("Dinov2WithRegistersForImageClassification", _SMALL),
    "dinov3_vit": ("DINOv3ViTModel", _SMALL | {"num_register_tokens": 4}),
    "clip": ("CLIPModel", {"vision_config": _SMALL, "text_config": _TEXT}),
    "siglip": ("SiglipModel", {"vision_config": _SMALL, "text_config": _TEXT}),
}
CLIP_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "videomae": ("VideoMAEForVideoClassification", _SMALL | {"num_frames": 4}),
    "timesformer": ("TimesformerForVideoClassification", _SMALL | {"num_frames": 4}),
    "vivit": (
        "VivitForVideoClassification",
        _SMALL_VIVIT | {"num_frames": 4, "tubelet_size": [2, 8, 8]},
    ),
    "vjepa2": (
        "VJEPA2ForVideoClassification",
        {
            "hidden_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "mlp_ratio": 2,
            "patch_size": 8,
            "crop_size": 32,
            "frames_per_clip": 4,
            "pred_hidden_size": 24,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
        },
    ),
}
"""By `model_type`: the class of a whole network, and the settings of a tiny one."""


def write_encoder(
    folder: Path, kind: str, preprocessor: dict[str, Any] | None = None, **changes: Any
) -> Path:
    """Write a tiny network of a kind, whole, as its publishers do; return the folder."""
    name, settings = (IMAGE_KINDS | CLIP_KINDS)[kind]
    network_class = getattr(transformers, name)
    torch.manual_seed(3)
    network = network_class(network_class.config_class(**settings | changes))
    with torch.no_grad():
        for parameter in network.parameters():  # nothing starts at zero, which would hide what it does
            parameter.add_(torch.randn_like(parameter) * 0.05)
    transformers.utils.logging.disable_progress_bar()
    network.save_pretrained(folder)
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder
