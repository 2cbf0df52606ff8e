"""BatchNorm in training: how many clips it needs at once, and its statistics over several processes.

It takes the mean and variance of each channel over all clips, frames and pixels that pass through at once,
and a single value has no variance. A clip of one frame whose feature map has one pixel is one value, so a
batch needs two such clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vidcli.config import Config
from vidcli.errors import ConfigError
from vidcli.models import VideoClassifier, VideoModel
from vidcli.runtime.compat import is_batchnorm
from vidcli.runtime.processes import Group
from vidcli.train.freezing import is_frozen


def fewest_clips(model: VideoModel, config: Config) -> int:
    """Return how few clips can pass through a model at once in training: 1, or 2 where BatchNorm needs two.

    A clip of zeros passes through in evaluation mode to find out; the model does not change.

    Args:
        model: on the device that it is trained on.
        config: all settings; they give the size of clips and what is frozen.
    """
    clip = config.clip
    if isinstance(model, VideoClassifier) and clip.length > 1:
        return 1  # the backbone takes the frames of a clip as a batch
    is_fixed = config.train.freeze_batchnorm or is_frozen(config) or config.train.optimizer == "ridge"
    fixed = set(model.backbone.modules()) if is_fixed else set()
    norms = [
        module
        for module in model.modules()
        # Synchronised ones count the clips of all processes.
        if is_batchnorm(module) and not isinstance(module, nn.SyncBatchNorm) and module not in fixed
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
    """Return the error to raise where every batch would be one clip, which is too few for BatchNorm."""
    height, width = config.clip.size
    return ConfigError(
        f"train.batch_size={config.train.batch_size}: BatchNorm in {config.model.backbone} gets one value a "
        f"channel of a clip of {config.clip.length} x {height}x{width}, and learns nothing from one; set "
        "train.batch_size=2 or more, or a larger clip.size or clip.length"
    )


def synchronise_norms(model: nn.Module, group: Group, device: torch.device) -> str | None:
    """Let BatchNorm take its statistics from the clips of all processes, in place; possible on CUDA only.

    Args:
        model: on `device`.
        group: the processes that train together.
        device: where this process computes.

    Returns:
        A sentence for the user where statistics are not synchronised; None otherwise.
    """
    if group.size == 1 or not has_batchnorm(model):
        return None
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return None
    return (
        f"{group.size} processes on the CPU: each normalises its own part of a batch (torch synchronises "
        "BatchNorm on CUDA only), so results differ a little from those of one process"
    )


def has_batchnorm(module: nn.Module) -> bool:
    """Tell whether a module holds BatchNorm, which keeps running statistics."""
    return any(is_batchnorm(part) for part in module.modules())


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Within this, clips that pass through a model in training change no statistics of its BatchNorm."""
    norms = [module for module in model.modules() if is_batchnorm(module) and module.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
