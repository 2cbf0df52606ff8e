"""Which parts of the backbone learn in which epoch.

In fine-tuning, a head with random weights sends large gradients into a backbone that is already trained.
So the backbone can be frozen at first, and its stages then start to learn one by one, the last one first
(Howard and Ruder 2018, arXiv:1801.06146):

    freeze_epochs 2, unfreeze_every 1, a backbone of three stages

    epoch      1      2      3      4      5
    stage 3    .      .      learns learns learns
    stage 2    .      .      .      learns learns
    stage 1    .      .      .      .      learns
"""

from __future__ import annotations

from torch import nn

from vidcli.config import Config, TrainConfig
from vidcli.models.timm_networks import TimmBackbone
from vidcli.runtime.compat import is_batchnorm

_MIN_STAGES = 3
_MIN_BLOCKS = 2


class Freezing:
    """Freeze the stages of a backbone that do not learn in an epoch, and BatchNorm where it is to stay."""

    def __init__(self, backbone: nn.Module, settings: TrainConfig) -> None:
        """Find the stages of a backbone.

        Args:
            backbone: a module without parameters has no stages.
            settings: which epochs each stage learns in. With `train.lora` none does: adapters learn alone.
        """
        self._stages = [] if settings.lora else backbone_stages(backbone)
        self._settings = settings
        self._norms = [module for module in backbone.modules() if is_batchnorm(module)]

    @property
    def num_stages(self) -> int:
        """Number of stages of the backbone, which can be unfrozen one by one."""
        return len(self._stages)

    @property
    def full_epoch(self) -> int:
        """The first epoch, counted from 0, in which the whole backbone learns."""
        waits = self._settings.unfreeze_every * (self.num_stages - 1)
        return self._settings.freeze_epochs + waits

    def apply(self, epoch: int) -> None:
        """Freeze what does not learn in an epoch, counted from 0, of a model in training mode.

        A frozen stage runs in evaluation mode: its BatchNorm statistics stay, and its dropout is off.
        """
        for number, stage in enumerate(self._stages):
            learns = number >= self.num_stages - self._num_learning(epoch)
            for module in stage:
                module.requires_grad_(learns)
                module.train(learns)
        if self._settings.freeze_batchnorm or self._settings.lora:
            for norm in self._norms:
                norm.eval()

    def _num_learning(self, epoch: int) -> int:
        if epoch < self._settings.freeze_epochs:
            return 0
        if not self._settings.unfreeze_every:
            return self.num_stages
        return 1 + (epoch - self._settings.freeze_epochs) // self._settings.unfreeze_every


def is_frozen(config: Config) -> bool:
    """Tell whether the backbone never learns in a run of these settings."""
    return config.train.freeze_epochs >= config.train.epochs


def backbone_stages(backbone: nn.Module) -> list[list[nn.Module]]:
    """Return the layers of a backbone in stages, first to last, which together hold all its parameters.

    Of a transformer each block is a stage; what comes before the first is one too, and what comes after the
    last belongs to it. Otherwise a stage is a top-level child and the BatchNorm after it. Where there are
    fewer than three children, the largest is taken apart: torchvision keeps a whole MobileNet or ConvNeXt in
    one child, and a network of timm stands whole behind one name. One with parameters of its own stays whole.
    """
    if (stages := _stages_of_transformer(backbone)) is not None:
        return stages
    children = _with_parameters(backbone)
    while 0 < len(children) < _MIN_STAGES:
        sizes = [sum(parameter.numel() for parameter in child.parameters()) for child in children]
        largest = sizes.index(max(sizes))
        parts = _with_parameters(children[largest])
        is_whole = any(True for _ in children[largest].parameters(recurse=False))
        if not parts or is_whole or not _is_in_order(children[largest], backbone):
            break
        children[largest : largest + 1] = parts
    stages = []
    for child in children:
        if stages and is_batchnorm(child):
            stages[-1].append(child)
        else:
            stages.append([child])
    return stages


def transformer_blocks(backbone: nn.Module) -> list[nn.Module]:
    """Return the blocks of a transformer in order, each with its attention; none of another network."""
    return [
        module
        for module in backbone.modules()
        if any(is_attention(child) for child in module.children()) and not is_attention(module)
    ]


def is_attention(module: nn.Module) -> bool:
    """Tell whether a module is the attention of a block; timm and transformers name theirs so."""
    return type(module).__name__.endswith(("Attention", "AttentionRope", "Attn", "XCA"))


def _stages_of_transformer(backbone: nn.Module) -> list[list[nn.Module]] | None:
    """Return the stages of a transformer whose blocks are in one list; None of another network."""
    lists = [
        (name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
        and len(module) >= _MIN_BLOCKS
        and all(any(is_attention(part) for part in block.children()) for block in module)
    ]
    if not lists:
        return None
    path, blocks = max(lists, key=lambda found: len(found[1]))
    before: list[nn.Module] = []
    after: list[nn.Module] = []
    parent = backbone
    for name in path.split("."):
        # Positions and class tokens are parameters of the network itself: a list makes them a module.
        if own := [*parent.parameters(recurse=False)]:
            before.append(nn.ParameterList(own))
        names = [other for other, _ in parent.named_children()]
        place = names.index(name)
        before += [parent.get_submodule(other) for other in names[:place]]
        after += [parent.get_submodule(other) for other in names[place + 1 :]]
        parent = parent.get_submodule(name)
    *first, last = blocks
    return [before, *([block] for block in first), [last, *after]]


def _is_in_order(module: nn.Module, backbone: nn.Module) -> bool:
    """Tell whether the children of a module follow each other: a sequence, or a whole network of timm."""
    is_network = isinstance(backbone, TimmBackbone) and module is backbone.network
    return is_network or isinstance(module, nn.Sequential)


def _with_parameters(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if any(True for _ in child.parameters())]
