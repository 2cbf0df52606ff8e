"""Two streams from one backbone, joined late: what a clip shows, and what moves in it.

    clip_BTCHW
      │ panels above each other (`clip.panels`) are taken apart
    frames_NCHW
      │ backbone: maps of its last three stages, and the map that it ends with
      ├─ appearance   mean and spread of that map over time, and the mean of the last stage in cells
      └─ motion       cells of each stage minus their mean over time, averaged over parts of the clip
    descriptors_BD
      │ linear
    logits_BK

What a clip shows (a place, a person, the light) is the same in all of its frames. Without its mean over time
only what changes is left, so that the motion stream cannot learn people or places by heart. Motion of a small
thing gives small changes: signed square roots at unit length keep it from drowning in that of large ones
(Perronnin et al. 2010). Two streams joined late are those of Simonyan and Zisserman 2014 (arXiv:1406.2199),
who computed optical flow for the second.

Shape suffixes: B batch, P panels, T frames, N = B * P * T, C channels, H W pixels, F channels of a map, h w
map, g cells a side, S parts of the clip, D descriptors, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.config import ModelConfig
from vidcli.errors import ConfigError
from vidcli.models.backbones import require_clip
from vidcli.models.folding import fold_batchnorm
from vidcli.models.timm_networks import TimmBackbone

_CELLS = (6, 6, 3)
"""Cells a side of the maps of the last three stages, the finest first."""
_NUM_PARTS = 4
"""Parts of a clip whose changes are kept apart."""
_FEW_FRAMES = 4
"""That a CPU computes at once: their maps stay in its cache (of Lite0 a frame takes 19 ms instead of 24)."""
_SOFT = 1e-4
"""Added under square roots, so that they have a slope at zero."""
_PACES = ((0.0, 1.0), (0.0, 0.85), (0.15, 1.0))
"""Spans that a clip is described as: the whole, and the same action cut short, which teaches other paces."""
NUM_PACES = len(_PACES)


class TwoStreamClassifier(nn.Module):
    """Classify clips by what they show and by what moves in them.

    Use `build_two_streams`.

    Args:
        backbone: of timm, with maps of several stages.
        num_classes: K.
        config: streams and panels.
    """

    sees_neighbours = False
    looks_aside = True
    exact_layers = ("head",)
    """In an exported graph, what stays in float in int8: descriptors differ by orders of magnitude."""
    _original: tuple[TwoStreamClassifier, ...] = ()  # in a tuple, so that it is no layer of this one
    _frames_at_once = 0  # that pass through the backbone; 0 for all

    def __init__(self, backbone: TimmBackbone, num_classes: int, config: ModelConfig) -> None:
        super().__init__()
        self.config, self.backbone = config, backbone
        self.head = nn.Linear(sum(descriptor_sizes(backbone, config).values()), num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def after_backbone(self) -> nn.Sequential:
        """What makes logits_BK of what `encode` returns: its layers are the model's own."""
        return nn.Sequential(self.head)

    def folded(self) -> TwoStreamClassifier:
        """Return a copy for inference that answers the same, up to rounding, and computes faster."""
        faster = copy.copy(self)
        faster._modules, faster._original = dict(self._modules), (self,)
        frames_NCHW = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        device = self.head.weight.device
        faster.backbone = fold_batchnorm(self.backbone, frames_NCHW.to(device))
        if device.type == "cpu":
            faster._frames_at_once = _FEW_FRAMES
        return faster.eval()

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """Return logits_BK.

        Raises:
            ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
        """
        logits_BK: Tensor = self.head(self.encode(clip_BTCHW))
        return logits_BK

    def encode(self, clip_BTCHW: Tensor) -> Tensor:
        """Return descriptors_BD, those of each panel and stream in the order of `descriptor_sizes`.

        Raises:
            ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
        """
        (descriptors_BD,) = self.encode_paces(clip_BTCHW, 1)
        return descriptors_BD

    def encode_paces(self, clip_BTCHW: Tensor, count: int) -> list[Tensor]:
        """Return descriptors_BD of clips, and of the same clips without their beginning or their end.

        The backbone sees each frame once.

        Args:
            clip_BTCHW: float clips.
            count: 1 for whole clips alone, up to `NUM_PACES`.

        Raises:
            ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
        """
        require_clip(clip_BTCHW)
        # Panels follow each other as clips, so that there is one network, also in an exported graph.
        num_panels = self.config.panels
        seen_in_all = self._see(torch.cat(clip_BTCHW.chunk(num_panels, dim=3)))
        by_panel = [values.view(num_panels, -1, *values.shape[1:]).unbind() for values in seen_in_all]
        panels = [*zip(*by_panel, strict=True)]
        described: list[Tensor] = []
        for shown_T in _frames_of_paces(clip_BTCHW.shape[1], count):
            parts = [
                part
                for seen, stream in zip(panels, self.config.stream_of_each_panel, strict=True)
                for part in self._describe(seen, stream, shown_T)
            ]
            described.append(torch.cat(parts, dim=1))
        return described

    def see_frames(self, frames_BTCHW: Tensor) -> Tensor:
        """Return what the backbone says of each frame of one panel, (B, T, F), for `describe_frames`."""
        return torch.cat(self._see(frames_BTCHW), dim=2)

    def describe_frames(self, seen_BTF: Tensor) -> Tensor:
        """Return descriptors_BD of clips of one panel, of whose frames `see_frames` told."""
        in_cells = _sizes_in_cells(self.backbone)
        seen = torch.split(seen_BTF, [*in_cells, self.backbone.num_features], dim=2)
        (stream,) = self.config.stream_of_each_panel
        return torch.cat([*self._describe([*seen], stream, None)], dim=1)

    def _see(self, panels_BTCHW: Tensor) -> list[Tensor]:
        """Return what the backbone says of each frame of clips: cells_BTF of stages, last_BTF."""
        length = panels_BTCHW.shape[1]
        frames_NCHW = panels_BTCHW.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        if self._frames_at_once:
            parts = [self._see_frames(few) for few in torch.split(frames_NCHW, self._frames_at_once)]
            rows = [torch.cat(of_all) for of_all in zip(*parts, strict=True)]
        else:
            rows = self._see_frames(frames_NCHW)
        return [rows_NF.view(-1, length, rows_NF.shape[1]) for rows_NF in rows]

    def _see_frames(self, frames_NCHW: Tensor) -> list[Tensor]:
        last_NFhw, stages = self.backbone.stages(frames_NCHW)
        rows = [
            F.adaptive_avg_pool2d(map_NFhw, side).flatten(1)
            for map_NFhw, side in zip(stages, _CELLS, strict=True)
        ]
        return [*rows, last_NFhw.mean(dim=(2, 3))]

    @staticmethod
    def _describe(seen: Sequence[Tensor], stream: str, shown_T: Tensor | None) -> Iterator[Tensor]:
        """Yield the descriptors of each stream of one panel.

        Args:
            seen: what `_see` returned.
            stream: `appearance`, `motion` or `both`.
            shown_T: indices of the frames of the clip; None takes all in order.
        """
        if shown_T is not None:
            seen = [values_BTF[:, shown_T] for values_BTF in seen]
        *cells, last_BTF = seen
        if stream != "motion":
            mean_BF = last_BTF.mean(dim=1)
            spread_BF = ((last_BTF - mean_BF[:, None]).square().mean(dim=1) + _SOFT**2).sqrt()
            yield torch.cat([mean_BF, spread_BF, cells[-1].mean(dim=1)], dim=1)
        if stream != "appearance":
            yield torch.cat([describe_motion(cells_BTF) for cells_BTF in cells], dim=1)


def for_inference(network: nn.Module) -> nn.Module:
    """Return a network that answers as this one does, and faster where it can be."""
    return network.folded() if isinstance(network, TwoStreamClassifier) else network


def loaded_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network as they were loaded, also of one `for_inference`.

    What was folded differs in the last bits from one kind of processor to another.
    """
    if isinstance(network, TwoStreamClassifier) and network._original:
        (network,) = network._original
    return dict(network.state_dict())


def describe_motion(cells_BTF: Tensor) -> Tensor:
    """Return what changes in the cells of a clip, (B, (S + 1) * F): in each part of it, and how much in all.

    Changes add up to zero over time in every cell. A still clip gives zeros.
    """
    change_BTF = cells_BTF - cells_BTF.mean(dim=1, keepdim=True)
    weights_ST = part_weights(change_BTF.shape[1]).to(change_BTF)
    in_parts_BX = (weights_ST @ change_BTF).flatten(1)
    amount_BF = change_BTF.abs().mean(dim=1)
    return torch.cat([_at_unit_length(in_parts_BX), _at_unit_length(amount_BF)], dim=1)


def part_weights(length: int) -> Tensor:
    """Return the weights (S, T) that average the frames of each part of a clip.

    Parts differ by one frame where they cannot be equal. A clip of fewer frames than parts repeats frames, so
    that its descriptors are as many.

    Args:
        length: frames of the clip, T.
    """
    bounds = torch.arange(_NUM_PARTS + 1) * length / _NUM_PARTS
    starts = bounds[:-1].floor().long()
    ends = torch.maximum(bounds[1:].floor().long(), starts + 1)
    weights_ST = torch.zeros(_NUM_PARTS, length)
    for part, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        weights_ST[part, start:end] = 1 / (end - start)
    return weights_ST


def cut_short(clip_BTCHW: Tensor, count: int) -> list[Tensor]:
    """Return clips, and the same clips without their beginning or their end.

    Args:
        clip_BTCHW: the clips.
        count: 1 for whole clips alone, up to `NUM_PACES`.
    """
    shown = _frames_of_paces(clip_BTCHW.shape[1], count)
    return [clip_BTCHW if shown_T is None else clip_BTCHW[:, shown_T] for shown_T in shown]


def _frames_of_paces(length: int, count: int) -> list[Tensor | None]:
    """Return the indices (T,) of the frames that show each span of a clip; None for all in order."""
    if count == 1:
        return [None]
    shown: list[Tensor | None] = []
    for start, end in _PACES[:count]:
        moments_T = start + (torch.arange(length) + 0.5) / length * (end - start)
        shown.append((moments_T * length - 0.5).round().long().clamp(0, length - 1))
    return shown


def _at_unit_length(values_BX: Tensor) -> Tensor:
    """Return signed square roots, scaled to length one; zeros stay zeros."""
    roots_BX = values_BX / (values_BX.abs() + _SOFT).sqrt()
    return roots_BX / (roots_BX.square().sum(dim=1, keepdim=True) + _SOFT).sqrt()


def descriptor_sizes(backbone: TimmBackbone, config: ModelConfig) -> dict[tuple[int, str], int]:
    """Return how many descriptors each stream of each panel has, by panel and stream, in order.

    Args:
        backbone: of timm, with maps of several stages.
        config: streams and panels.
    """
    in_cells = _sizes_in_cells(backbone)
    sizes = {
        "appearance": 2 * backbone.num_features + in_cells[-1],
        "motion": (_NUM_PARTS + 1) * sum(in_cells),
    }
    return {
        (panel, stream): size
        for panel, word in enumerate(config.stream_of_each_panel)
        for stream, size in sizes.items()
        if word in (stream, "both")
    }


def _sizes_in_cells(backbone: TimmBackbone) -> list[int]:
    """Return how many features a frame has in the cells of each of the last stages."""
    return [channels * side**2 for channels, side in zip(backbone.stage_channels, _CELLS, strict=True)]


def build_two_streams(backbone: nn.Module, num_classes: int, config: ModelConfig) -> TwoStreamClassifier:
    """Build the classifier on a backbone.

    Args:
        backbone: the one that `config.backbone` names.
        num_classes: K.
        config: the `model` section of the settings.

    Raises:
        ConfigError: the backbone has no maps of several stages.
    """
    if not isinstance(backbone, TimmBackbone) or len(backbone.stage_channels) < len(_CELLS):
        raise ConfigError(
            f"model.streams={config.streams}: needs maps of three stages, which model.backbone="
            f"{config.backbone} does not give. Set model.backbone=timm:NAME, such as "
            "timm:tf_efficientnet_lite0, or model.streams=off"
        )
    return TwoStreamClassifier(backbone, num_classes, config)
