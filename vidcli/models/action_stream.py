"""What a network that knows actions says of clips, in cells.

Shape suffixes: B clips, T frames, C channels, H W pixels, F channels of a map in all of its cells, h w map, t
its moments, N frames of all clips.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vidcli.models.inception3d import KINETICS, Inception3d
from vidcli.models.packaged_weights import Statistics
from vidcli.models.stream_descriptors import ACTION_CELLS

_MOST_PIXELS = 160
"""A side of what the network sees at most: more frames tell more than more pixels."""


class ActionStream(Inception3d):
    """I3D for clips of other colours and any size.

    Args:
        statistics: mean and spread of the channels of clips.
    """

    _scale_CHW: Tensor
    _shift_CHW: Tensor

    def __init__(self, statistics: tuple[Statistics, Statistics]) -> None:
        super().__init__()
        mean_CHW, std_CHW = torch.tensor([*zip(*statistics, strict=True)]).T[..., None, None].unbind()
        known_mean_CHW, known_std_CHW = torch.tensor([KINETICS.mean, KINETICS.std])[..., None, None].unbind()
        self.register_buffer("_scale_CHW", std_CHW / known_std_CHW, persistent=False)
        self.register_buffer("_shift_CHW", (mean_CHW - known_mean_CHW) / known_std_CHW, persistent=False)

    def in_cells(self, clips_BTCHW: Tensor, one_by_one: bool) -> list[Tensor]:
        """Return cells_BtF of both maps of the network.

        Args:
            clips_BTCHW: normalised by the statistics.
            one_by_one: clip after clip, which a CPU computes as fast; no clip then changes the last bits of
                what is said of another.
        """
        length, height, width = clips_BTCHW.shape[1], *clips_BTCHW.shape[3:]
        frames_NCHW = clips_BTCHW.flatten(0, 1) * self._scale_CHW + self._shift_CHW
        if (larger := max(height, width) / _MOST_PIXELS) > 1:
            size = max(1, round(height / larger)), max(1, round(width / larger))
            frames_NCHW = (shrink_planes if one_by_one else _shrink)(frames_NCHW, size)
        clips_BCTHW = frames_NCHW.view(-1, length, *frames_NCHW.shape[1:]).transpose(1, 2)
        clips_BCTHW = clips_BCTHW.contiguous(memory_format=torch.channels_last_3d)
        maps = [self(some) for some in (torch.split(clips_BCTHW, 1) if one_by_one else [clips_BCTHW])]
        return [_in_cells(torch.cat(of_all)) for of_all in zip(*maps, strict=True)]


def shrink_planes(frames_NCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return frames at a smaller size, with the same bits however many threads there are.

    A CPU cuts what is large into as many pieces as it has threads, whose ends round otherwise; a channel of a
    frame of at most `_MOST_PIXELS` a side is left whole.

    Args:
        frames_NCHW: frames.
        size: height and width.
    """
    planes = frames_NCHW.flatten(0, 1)[:, None, None].unbind()
    return torch.cat([_shrink(plane_11HW, size) for plane_11HW in planes]).view(*frames_NCHW.shape[:2], *size)


def _shrink(frames_NCHW: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(frames_NCHW, size, mode="bilinear", align_corners=False)


def _in_cells(map_BFthw: Tensor) -> Tensor:
    """Return cells_BtF of a map over time."""
    num_clips = map_BFthw.shape[0]
    frames_NFhw = map_BFthw.transpose(1, 2).flatten(0, 1)
    cells_NF = F.adaptive_avg_pool2d(frames_NFhw, ACTION_CELLS).flatten(1)
    return cells_NF.view(num_clips, -1, cells_NF.shape[1])
