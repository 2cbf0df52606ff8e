"""Measure how much each frame of a clip contributes to a prediction.

    attention    the attention that each frame receives, if the head has attention
    occlusion    the fall of the class's log probability if a frame is replaced by its neighbour

Attention is the weight that the head itself gives to a frame. Occlusion measures the whole network with any
head; it is the method of Zeiler & Fergus 2014 (arXiv:1311.2901), applied to time instead of space.

Shape suffixes: B clips, T frames, C channels, H W pixels, K classes, E features a frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.arrays import Float64

_CLIPS_A_BATCH = 8


def weigh_frames(
    network: nn.Module, clip_TCHW: Tensor, label: int, multi_label: bool = False
) -> tuple[str, Float64]:
    """Measure the weight of each frame.

    Args:
        network: the model.
        clip_TCHW: the clip as the model reads it.
        label: the class to explain.
        multi_label: whether a clip can have several classes.

    Returns:
        The method, `attention` or `occlusion`, and the weights (T,). Weights of attention sum to one.
        Those of occlusion are negative for frames that speak against the class.
    """
    attention = getattr(getattr(network, "head", None), "frame_weights", None)
    features = getattr(network, "features", None)
    if attention is not None and features is not None:
        with torch.inference_mode():
            weights_BT: Tensor = attention(features(clip_TCHW[None]))
        weights_T = spread_over_frames(weights_BT[0], len(clip_TCHW)).double()
        return "attention", (weights_T / weights_T.sum()).cpu().numpy()
    return "occlusion", occlude_frames(network, clip_TCHW, label, multi_label)


def spread_over_frames(values: Tensor, num_frames: int) -> Tensor:
    """Return one value for each frame, of values of steps of time that may stand for several frames each.

    Args:
        values: of the steps, the first dimension.
        num_frames: frames of the clip.
    """
    return values[torch.arange(num_frames, device=values.device) * len(values) // num_frames]


def occlude_frames(
    network: Callable[[Tensor], Tensor], clip_TCHW: Tensor, label: int, multi_label: bool = False
) -> Float64:
    """Return the fall of the class's log probability without each frame (T,).

    Args:
        network: takes clips (B, T, C, H, W) to logits (B, K).
        clip_TCHW: the clip as the model reads it.
        label: the class to explain.
        multi_label: whether a clip can have several classes.
    """
    num_frames = clip_TCHW.shape[0]
    without = (delete_frames(clip_TCHW, [frame]) for frame in range(num_frames))
    whole = log_probability(network, [clip_TCHW], label, multi_label)
    return np.asarray(whole[0] - log_probability(network, without, label, multi_label))


def delete_frames(clip_TCHW: Tensor, frames: Collection[int]) -> Tensor:
    """Return a clip in which each of some frames is replaced by the nearest other frame.

    A grey frame instead would add two sudden changes, which a network may take for motion.

    Raises:
        ValueError: all of several frames are to be replaced.
    """
    num_frames = clip_TCHW.shape[0]
    left = np.array([frame for frame in range(num_frames) if frame not in frames])
    if len(left) == 0:
        if num_frames > 1:
            raise ValueError("at least one frame must be left")
        return torch.zeros_like(clip_TCHW)  # the mean picture, since there is no other frame
    nearest = [left[np.abs(left - frame).argmin()] for frame in range(num_frames)]
    return clip_TCHW[nearest]


@torch.inference_mode()
def log_probability(
    network: Callable[[Tensor], Tensor], clips: Iterable[Tensor], label: int, multi_label: bool = False
) -> Float64:
    """Return the log probability of a class for each clip (B,).

    Args:
        network: takes clips (B, T, C, H, W) to logits (B, K).
        clips: the clips (T, C, H, W), of which a few are in memory at a time.
        label: the class.
        multi_label: whether a clip can have several classes, so that each has a probability of its own.
    """
    values = []
    left = iter(clips)
    while batch := [*itertools.islice(left, _CLIPS_A_BATCH)]:
        logits_BK = network(torch.stack(batch)).double()
        logs_BK = F.logsigmoid(logits_BK) if multi_label else logits_BK.log_softmax(dim=1)
        values.append(logs_BK[:, label].cpu().numpy())
    return np.concatenate(values)
