"""Descriptors of clips: what moves in them, what a network over time says of them, and clips cut short.

Shape suffixes: B batch, T frames, C channels, H W pixels, F features of a map in all of its cells, g cells a
side, t moments of a map over time, S parts of a clip, X any number of values.
"""

from __future__ import annotations

import torch
from torch import Tensor

ACTION_CELLS = 3
"""Cells a side of the maps of a network over time."""
NUM_PARTS = 4
"""Parts of a clip that are kept apart."""
SOFT = 1e-4
"""Added under square roots, so that they have a slope at zero."""
PACES = ((0.0, 1.0), (0.0, 0.85), (0.15, 1.0))
"""Spans that a clip is described as: the whole, and the same action cut short, which teaches other paces."""
NUM_PACES = len(PACES)


def describe_motion(cells_BTF: Tensor) -> Tensor:
    """Return what changes in the cells of a clip, (B, (S + 1) * F): in each part of it, and how much in all.

    Changes add up to zero over time in every cell. A still clip gives zeros.
    """
    change_BTF = cells_BTF - cells_BTF.mean(dim=1, keepdim=True)
    weights_ST = part_weights(change_BTF.shape[1]).to(change_BTF)
    in_parts_BX = (weights_ST @ change_BTF).flatten(1)
    amount_BF = change_BTF.abs().mean(dim=1)
    return torch.cat([_at_unit_length(in_parts_BX), _at_unit_length(amount_BF)], dim=1)


def describe_action(cells_BtF: Tensor, span: tuple[float, float]) -> Tensor:
    """Return what a map over time says of clips, (B, (g * g + S) * C): its mean in each cell, and its course.

    The course is how each part of the clip differs from the mean, over the whole picture.

    Args:
        cells_BtF: channels of the map in its cells, F = C * g * g, at each of its moments.
        span: where the clips begin and end, as shares of what the map covers.
    """
    weights_St = span_weights(cells_BtF.shape[1], span).to(cells_BtF)
    parts_BSF = weights_St @ cells_BtF
    mean_BF = parts_BSF.mean(dim=1)
    course_BSC = torch.unflatten(parts_BSF - mean_BF[:, None], 2, (-1, ACTION_CELLS**2)).mean(dim=3)
    return torch.cat([_at_unit_length(mean_BF), _at_unit_length(course_BSC.flatten(1))], dim=1)


def part_weights(length: int) -> Tensor:
    """Return the weights (S, T) that average the frames of each part of a clip.

    Parts differ by one frame where they cannot be equal. A clip of fewer frames than parts repeats frames, so
    that its descriptors are as many.

    Args:
        length: frames of the clip, T.
    """
    bounds = torch.arange(NUM_PARTS + 1) * length / NUM_PARTS
    starts = bounds[:-1].floor().long()
    ends = torch.maximum(bounds[1:].floor().long(), starts + 1)
    weights_ST = torch.zeros(NUM_PARTS, length)
    for part, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        weights_ST[part, start:end] = 1 / (end - start)
    return weights_ST


def span_weights(length: int, span: tuple[float, float]) -> Tensor:
    """Return the weights (S, t) that average the moments of each part of a span, by how much they overlap.

    Args:
        length: moments of the map, t.
        span: where the parts begin and end, as shares of what the map covers.
    """
    start, end = span
    bounds = (start + (end - start) * torch.arange(NUM_PARTS + 1) / NUM_PARTS) * length
    moments_t = torch.arange(length)
    last_St = torch.minimum(bounds[1:, None], moments_t + 1)
    overlap_St = (last_St - torch.maximum(bounds[:-1, None], moments_t)).clamp(min=0)
    return overlap_St / overlap_St.sum(dim=1, keepdim=True)


def cut_short(clip_BTCHW: Tensor, count: int) -> list[Tensor]:
    """Return clips, and the same clips without their beginning or their end.

    Args:
        clip_BTCHW: the clips.
        count: 1 for whole clips alone, up to `NUM_PACES`.
    """
    shown = [frames_of(span, clip_BTCHW.shape[1]) for span in PACES[:count]]
    return [clip_BTCHW if shown_T is None else clip_BTCHW[:, shown_T] for shown_T in shown]


def frames_of(span: tuple[float, float], length: int) -> Tensor | None:
    """Return the indices (T,) of the frames that show a span of a clip; None for all in order."""
    start, end = span
    if span == PACES[0]:
        return None
    moments_T = start + (torch.arange(length) + 0.5) / length * (end - start)
    return (moments_T * length - 0.5).round().long().clamp(0, length - 1)


def _at_unit_length(values_BX: Tensor) -> Tensor:
    """Return signed square roots, scaled to length one; zeros stay zeros."""
    roots_BX = values_BX / (values_BX.abs() + SOFT).sqrt()
    return roots_BX / (roots_BX.square().sum(dim=1, keepdim=True) + SOFT).sqrt()
