"""Which parts of the backbone learn in which epoch.

For fine-tuning: a head that starts random sends large gradients into a backbone that knows
something already. So the backbone may wait, and then join a stage at a time, the last one first
(Howard and Ruder 2018, arXiv:1801.06146):

    freeze_epochs 2, unfreeze_every 1, a backbone of three stages

    epoch      1      2      3      4      5
    stage 3    .      .      learns learns learns
    stage 2    .      .      .      learns learns
    stage 1    .      .      .      .      learns
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from vidcli.config import TrainConfig

_MIN_STAGES = 3


class Freezing:
    """Set, epoch by epoch, what of a backbone learns and which statistics stay."""

    def __init__(self, backbone: nn.Module, settings: TrainConfig) -> None:
        """Find the stages of a backbone and follow the settings."""
        self._stages, self._settings = backbone_stages(backbone), settings
        self._norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]

    @property
    def num_stages(self) -> int:
        """Stages of the backbone that can be unfrozen one by one."""
        return len(self._stages)

    @property
    def full_epoch(self) -> int:
        """The first epoch, counted from 0, in which the whole backbone learns."""
        waits = self._settings.unfreeze_every * (self.num_stages - 1)
        return self._settings.freeze_epochs + waits

    def apply(self, epoch: int) -> None:
        """Prepare a model in training mode for an epoch, counted from 0.

        A stage that does not learn runs in evaluation mode: its statistics stay, and nothing in it
        is dropped.
        """
        for number, stage in enumerate(self._stages):
            learns = number >= self.num_stages - self._num_learning(epoch)
            for module in stage:
                module.requires_grad_(learns)
                module.train(learns)
        if self._settings.freeze_batchnorm:
            for norm in self._norms:
                norm.eval()

    def _num_learning(self, epoch: int) -> int:
        if epoch < self._settings.freeze_epochs:
            return 0
        if not self._settings.unfreeze_every:
            return self.num_stages
        return 1 + (epoch - self._settings.freeze_epochs) // self._settings.unfreeze_every


def has_batchnorm(backbone: nn.Module) -> bool:
    """Tell whether a backbone keeps running statistics."""
    return any(isinstance(module, _BatchNorm) for module in backbone.modules())


def backbone_stages(backbone: nn.Module) -> list[list[nn.Module]]:
    """Return the layers of a backbone in groups, first to last, that hold all its parameters.

    A group is a top-level child with its normalisation. Where there are fewer than three, the
    largest is taken apart: torchvision keeps all of a MobileNet or ConvNeXt in one child.
    """
    children = _with_parameters(backbone)
    while len(children) < _MIN_STAGES:
        sizes = [sum(parameter.numel() for parameter in child.parameters()) for child in children]
        largest = sizes.index(max(sizes))
        parts = _with_parameters(children[largest])
        if not parts or not isinstance(children[largest], nn.Sequential):
            break
        children[largest : largest + 1] = parts
    stages: list[list[nn.Module]] = []
    for child in children:
        if stages and isinstance(child, _BatchNorm):
            stages[-1].append(child)
        else:
            stages.append([child])
    return stages


def _with_parameters(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if any(True for _ in child.parameters())]
