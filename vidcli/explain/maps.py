"""Where in the frames an answer rests.

    grad-cam     gradient of the class's logit on the backbone's last feature map
    occlusion    fall of the class's log probability when a square of all frames is blurred away

A frame backbone whose features keep a grid has a gradient of its own for each cell; multiplied
with the activation cell by cell, before the channels are summed, the map shows what the logit was
computed from (Draelos & Carin 2020, arXiv:2011.08891). Grad-CAM proper (Selvaraju et al. 2017,
arXiv:1610.02391) averages the gradient over the grid first, which is the same where the network
averages the grid itself, and wrong where it does not. Whole video networks have no map for each
frame, and are asked by occlusion.

Shape suffixes: B clips, T frames, N frames of a batch, C channels, H W pixels, D features, h w
feature map, K classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.explain.frames import log_probability
from vidcli.models import VideoClassifier

Floats = npt.NDArray[np.float32]

_CELLS = 7
_BLUR_DIVISOR = 8


def map_frames(network: nn.Module, clip_TCHW: Tensor, label: int) -> tuple[str, Floats]:
    """Return how the maps were made, `grad-cam` or `occlusion`, and the maps (T, H, W), 0 to 1.

    The highest value of the whole clip is 1, so that frames can be compared.
    """
    if isinstance(network, VideoClassifier):
        method, map_Thw = "grad-cam", grad_cam(network, clip_TCHW, label)
    else:
        map_hw = occlude_squares(network, clip_TCHW, label)
        method, map_Thw = "occlusion", map_hw.expand(clip_TCHW.shape[0], -1, -1)
    maps_THW = F.interpolate(map_Thw[:, None], clip_TCHW.shape[-2:], mode="bicubic")[:, 0].clamp_(min=0)
    highest = float(maps_THW.max())
    return method, (maps_THW / highest if highest > 0 else maps_THW).numpy()


def grad_cam(network: VideoClassifier, clip_TCHW: Tensor, label: int) -> Tensor:
    """Return the part of each cell of the feature map in a class's logit, map_Thw, none negative."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    hook = network.backbone.register_forward_hook(keep)
    try:
        # Recurrent layers of cuDNN have no backward in evaluation mode.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            clip_BTCHW = clip_TCHW[None].detach().requires_grad_()
            network(clip_BTCHW)[0, label].backward()
    finally:
        hook.remove()
        network.zero_grad(set_to_none=True)
    (map_NDhw,) = kept
    assert map_NDhw.grad is not None
    return (map_NDhw.grad * map_NDhw.detach()).sum(dim=1).clamp_(min=0).float().cpu()


def occlude_squares(network: nn.Module, clip_TCHW: Tensor, label: int) -> Tensor:
    """Return the fall of a class's log probability without each of 7x7 squares, map_hw."""
    height, width = clip_TCHW.shape[-2:]
    small = F.interpolate(
        clip_TCHW, (max(1, height // _BLUR_DIVISOR), max(1, width // _BLUR_DIVISOR)), mode="area"
    )
    blurred_TCHW = F.interpolate(small, (height, width), mode="bilinear")
    rows = np.linspace(0, height, _CELLS + 1).round().astype(int)
    columns = np.linspace(0, width, _CELLS + 1).round().astype(int)
    whole = log_probability(network, [clip_TCHW], label)[0]
    falls = torch.zeros(_CELLS, _CELLS)
    for row in range(_CELLS):
        for column in range(_CELLS):
            occluded_TCHW = clip_TCHW.clone()
            square = (..., slice(rows[row], rows[row + 1]), slice(columns[column], columns[column + 1]))
            occluded_TCHW[square] = blurred_TCHW[square]
            falls[row, column] = float(whole - log_probability(network, [occluded_TCHW], label)[0])
    return falls.clamp_(min=0)
