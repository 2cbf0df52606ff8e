"""Which frames of a clip an answer rests on.

    attention    how much attention each frame receives, where the head has attention
    occlusion    how much the class's log probability falls when a frame is held over by its neighbour

Attention is what the head itself weighs; occlusion asks the whole network, whatever its head, and
is the older idea (Zeiler & Fergus 2014, arXiv:1311.2901) along time instead of space.

Shape suffixes: B clips, T frames, C channels, H W pixels, K classes, E features a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Floats = npt.NDArray[np.float64]

_CLIPS_A_BATCH = 8


def weigh_frames(
    network: nn.Module, clip_TCHW: Tensor, label: int, multi_label: bool = False
) -> tuple[str, Floats]:
    """Return how the frames were weighed, `attention` or `occlusion`, and the weights (T,).

    Weights of attention sum to one. Those of occlusion are falls of log probability: negative for
    a frame that speaks against the class.
    """
    attention = getattr(getattr(network, "head", None), "frame_weights", None)
    features = getattr(network, "features", None)
    if attention is not None and features is not None:
        with torch.inference_mode():
            weights_BT: Tensor = attention(features(clip_TCHW[None]))
        return "attention", weights_BT[0].double().cpu().numpy()
    return "occlusion", occlude_frames(network, clip_TCHW, label, multi_label)


def occlude_frames(
    network: Callable[[Tensor], Tensor], clip_TCHW: Tensor, label: int, multi_label: bool = False
) -> Floats:
    """Return the fall of the class's log probability without each frame (T,)."""
    num_frames = clip_TCHW.shape[0]
    without = [delete_frames(clip_TCHW, [frame]) for frame in range(num_frames)]
    whole = log_probability(network, [clip_TCHW], label, multi_label)
    return np.asarray(whole[0] - log_probability(network, without, label, multi_label))


def delete_frames(clip_TCHW: Tensor, frames: Collection[int]) -> Tensor:
    """Return a clip in which frames are held over by the nearest that is left.

    Grey instead would add two sudden changes, which a network that reads motion takes for motion.

    Raises:
        ValueError: no frame would be left of more than one.
    """
    num_frames = clip_TCHW.shape[0]
    left = np.array([frame for frame in range(num_frames) if frame not in frames])
    if len(left) == 0:
        if num_frames > 1:
            raise ValueError("at least one frame must be left")
        return torch.zeros_like(clip_TCHW)  # the mean picture: nothing else can stand in
    nearest = [left[np.abs(left - frame).argmin()] for frame in range(num_frames)]
    return clip_TCHW[nearest]


@torch.inference_mode()
def log_probability(
    network: Callable[[Tensor], Tensor], clips: list[Tensor], label: int, multi_label: bool = False
) -> Floats:
    """Return the log probability of a class for each clip (B,), with `multi_label` whatever the others."""
    values = []
    for start in range(0, len(clips), _CLIPS_A_BATCH):
        logits_BK = network(torch.stack(clips[start : start + _CLIPS_A_BATCH])).double()
        logs_BK = F.logsigmoid(logits_BK) if multi_label else logits_BK.log_softmax(dim=1)
        values.append(logs_BK[:, label].cpu().numpy())
    return np.concatenate(values)
