"""Stochastic depth: in training a residual block is now and then skipped (Huang et al. 2016).

Shape suffixes: N frames of a batch (B * T), C channels, H W positions.

The share of skipped clips rises from none at the first block to the highest at the last
(arXiv:1603.09382). All frames of a clip skip together: torchvision's own layer would draw for each
frame, and a recurrent head would take the difference for motion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidcli.models.backbones import ResidualBlock


class ClipDepth(nn.Module):
    """Drop the residual branch of some clips in training, and scale up that of the others.

    `num_frames` is set by `VideoClassifier` before each forward, as with `ShiftedConv2d`.
    """

    def __init__(self, rate: float) -> None:
        """Keep the share of clips to drop, 0 to 1."""
        super().__init__()
        self.rate, self.num_frames = rate, 1

    def forward(self, branch_NCHW: Tensor) -> Tensor:
        """Return the branch, zero for the frames of dropped clips; as it is in evaluation."""
        if not self.training or self.rate == 0:
            return branch_NCHW
        num_clips = branch_NCHW.shape[0] // self.num_frames
        kept_B = torch.empty(num_clips, device=branch_NCHW.device, dtype=branch_NCHW.dtype)
        kept_B.bernoulli_(1 - self.rate).div_(1 - self.rate)
        return branch_NCHW * kept_B.repeat_interleave(self.num_frames).view(-1, 1, 1, 1)


def insert_stochastic_depth(backbone: nn.Module, highest_rate: float) -> int:
    """Give every residual block of a backbone that takes it its share of skipped clips, in place.

    Parameters stay as they are.

    Returns:
        how many places were found; none in most of torchvision's families.
    """
    places: list[tuple[nn.Module, str]] = []
    for module in list(backbone.modules()):
        if isinstance(module, ResidualBlock):
            places.append((module, "depth"))
        # By name, as only a network of torchvision has torchvision imported.
        places += [
            (module, name) for name, m in module.named_children() if type(m).__name__ == "StochasticDepth"
        ]
    for number, (parent, attribute) in enumerate(places):
        setattr(parent, attribute, ClipDepth(highest_rate * number / max(1, len(places) - 1)))
    return len(places)


def stochastic_depths(backbone: nn.Module) -> tuple[ClipDepth, ...]:
    """Return the layers that must know the number of frames; none where none were inserted."""
    return tuple(module for module in backbone.modules() if isinstance(module, ClipDepth))
