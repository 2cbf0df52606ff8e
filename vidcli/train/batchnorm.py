"""How few clips BatchNorm can learn from: the variance of a single value is none.

In training it takes mean and variance of each channel over all clips, frames and places that pass
through at once. Where a map has one place, and a clip one frame, a clip alone is one value.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vidcli.config import Config
from vidcli.errors import ConfigError
from vidcli.models import VideoClassifier, VideoModel
from vidcli.train.frozen import is_frozen


def fewest_clips(model: VideoModel, config: Config) -> int:
    """Return how many clips have to pass through a model at once in training: 1, or 2 where one is too few.

    A clip of zeros tells, which goes through in evaluation mode; nothing changes.

    Args:
        model: on the device that it is trained on.
        config: the size of clips, and which statistics stay as they are.
    """
    clip = config.clip
    if isinstance(model, VideoClassifier) and clip.length > 1:
        return 1  # its backbone sees every frame as a picture of its own
    stays = config.train.freeze_batchnorm or is_frozen(config)
    kept = set(model.backbone.modules()) if stays else set()
    norms = [
        module
        for module in model.modules()
        # Synchronised ones count the clips of all processes.
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm) and module not in kept
    ]
    if not norms:
        return 1
    num_values: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        num_values.append(inputs[0].numel() // inputs[0].shape[1])

    hooks = [norm.register_forward_pre_hook(count) for norm in norms]
    was_training, device = model.training, next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, clip.length, 3, *clip.size, device=device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return 2 if 1 in num_values else 1


def single_clips(config: Config) -> ConfigError:
    """Return what to raise where all batches would be of one clip, which is too few."""
    height, width = config.clip.size
    return ConfigError(
        f"train.batch_size={config.train.batch_size}: BatchNorm in {config.model.backbone} gets one value a "
        f"channel of a clip of {config.clip.length} x {height}x{width}, and learns nothing from one; set "
        "train.batch_size=2 or more, or a larger clip.size or clip.length"
    )
