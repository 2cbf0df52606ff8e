"""Measure how much each place in the frames contributes to a prediction.

    gradients    integrated gradients of the class's logit, from the clip's mean picture to the clip
    grad-cam     gradient times activation on the backbone's last feature map

Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) distribute the difference between the logits
of a clip and of a baseline among the pixels, exactly. The baseline here is a clip that shows only the mean
picture, so that what is distributed is the contribution of changes over time.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) is coarse: a cell of the last map is 16 or 32 pixels wide
and also depends on its neighbours. If a frame backbone keeps a grid of features, each cell has a gradient of
its own, so that gradient and activation are multiplied cell by cell before the channels are summed (Draelos &
Carin 2020, arXiv:2011.08891).

Shape suffixes: B clips, T frames, N frames of a batch, C channels, H W pixels, D features, h w
feature map, K classes.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.arrays import Float32
from vidcli.errors import ConfigError
from vidcli.explain.frame_weights import spread_over_frames
from vidcli.models import VideoClassifier

MapMethod: TypeAlias = Literal["gradients", "grad-cam"]

_NUM_STEPS = 16
_SMOOTHING_DIVISOR = 10
_LEAST_LOGIT = 0.01
"""The least that all places together must add to a logit: 1% of the odds. Less would be noise."""


def map_frames(network: nn.Module, clip_TCHW: Tensor, label: int, method: MapMethod) -> Float32:
    """Return how much each pixel speaks for a class.

    Args:
        network: the model.
        clip_TCHW: the clip as the model reads it.
        label: the class to explain.
        method: `gradients` or `grad-cam`.

    Returns:
        Maps (T, H, W), 0 to 1. The largest value of the whole clip is 1, so that frames can be compared;
        all values are 0 if no place speaks for the class.

    Raises:
        ConfigError: the method is `grad-cam`, and the model has no single map of each frame: a whole video
            network, or two streams.
    """
    if method == "gradients":
        parts_Thw = maps_THW = _smooth(integrated_gradients(network, clip_TCHW, label).sum(dim=1))
    elif isinstance(network, VideoClassifier):
        parts_Thw = spread_over_frames(grad_cam(network, clip_TCHW, label), len(clip_TCHW))
        maps_THW = F.interpolate(parts_Thw[:, None], clip_TCHW.shape[-2:], mode="bicubic")[:, 0]
    else:
        raise ConfigError(
            "--maps grad-cam: needs one last map of each frame, which this model does not have; use gradients"
        )
    if float(parts_Thw.clamp(min=0).sum()) < _LEAST_LOGIT:
        return np.zeros(maps_THW.shape, dtype=np.float32)
    maps_THW = maps_THW.clamp(min=0).cpu()
    return np.asarray((maps_THW / maps_THW.max()).numpy(), dtype=np.float32)


def integrated_gradients(
    network: nn.Module, clip_TCHW: Tensor, label: int, num_steps: int = _NUM_STEPS
) -> Tensor:
    """Return the contribution of each value to a class's logit, (T, C, H, W).

    All contributions add up to the difference from the logit of a clip that shows only the mean picture.

    Args:
        network: the model.
        clip_TCHW: the clip as the model reads it.
        label: the class to explain.
        num_steps: number of clips between the baseline and the clip whose gradients are averaged.
    """
    still_TCHW = clip_TCHW.mean(dim=0, keepdim=True).expand_as(clip_TCHW)
    change_TCHW = clip_TCHW - still_TCHW
    total_TCHW = torch.zeros_like(clip_TCHW)
    for step in range(num_steps):
        share = (step + 0.5) / num_steps
        # Recurrent layers of cuDNN have no backward pass in evaluation mode.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            clip_BTCHW = (still_TCHW + share * change_TCHW)[None].detach().requires_grad_()
            (gradient_BTCHW,) = torch.autograd.grad(network(clip_BTCHW)[0, label], clip_BTCHW)
        total_TCHW += gradient_BTCHW[0]
    return total_TCHW * change_TCHW / num_steps


def grad_cam(network: VideoClassifier, clip_TCHW: Tensor, label: int) -> Tensor:
    """Return how much each cell of the backbone's feature map speaks for a class, (T, h, w), 0 or more.

    T is the number of steps of time, which may be fewer than frames where the backbone takes whole clips.

    Args:
        network: the model.
        clip_TCHW: the clip as the model reads it.
        label: the class to explain.
    """
    kept: list[Tensor] = []
    hook = network.backbone.register_forward_hook(lambda module, inputs, output: kept.append(output))
    try:
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            # The clip requires a gradient, so that there is one even if all weights are frozen.
            logits_BK = network(clip_TCHW[None].detach().requires_grad_())
            (map_NDhw,) = kept
            (gradient_NDhw,) = torch.autograd.grad(logits_BK[0, label], map_NDhw)
    finally:
        hook.remove()
    # The map of a backbone that takes whole clips has a dimension of clips before that of time.
    return (gradient_NDhw * map_NDhw.detach()).sum(dim=-3).clamp(min=0).float().flatten(0, -3)


def _smooth(maps_THW: Tensor) -> Tensor:
    """Average over squares of a tenth of a side, since gradients of single pixels are noisy."""
    side = max(1, round(min(maps_THW.shape[-2:]) / _SMOOTHING_DIVISOR)) // 2 * 2 + 1
    return F.avg_pool2d(maps_THW[:, None], side, 1, side // 2, count_include_pad=False)[:, 0]
