"""Streams joined late: what a clip shows, what moves in it, and what a network over time knows of it.

    clip_BTCHW
      │ panels above each other (`clip.panels`) are taken apart
      ├─ frames_NCHW
      │    │ backbone: maps of its last three stages, and the map that it ends with
      │    ├─ appearance   mean and spread of that map over time, and the mean of the last stage in cells
      │    └─ motion       cells of each stage minus their mean over time, averaged over parts of the clip
      └─ clips
           │ I3D, which knows Kinetics: its last two maps
           └─ action       cells of both, averaged over the clip, and the course of their mean over its parts
    descriptors_BD
      │ linear
    logits_BK

What a clip shows (a place, a person, the light) is the same in all of its frames. Without its mean over time
only what changes is left, so that the motion stream cannot learn people or places by heart. Motion of a small
thing gives small changes: signed square roots at unit length keep it from drowning in that of large ones
(Perronnin et al. 2010). Streams joined late are those of Simonyan and Zisserman 2014 (arXiv:1406.2199),
who computed optical flow for the second.

Shape suffixes: B batch, P panels, T frames, N = B * P * T, C channels, H W pixels, F channels of a map, h w
map, t its moments, g cells a side, S parts of the clip, D descriptors, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.config import ModelConfig
from vidcli.errors import ConfigError
from vidcli.models.action_stream import ActionStream
from vidcli.models.backbones import require_clip
from vidcli.models.direct_convolution import convolve_directly
from vidcli.models.folding import fold_batchnorm
from vidcli.models.inception3d import MAP_CHANNELS, for_cpu
from vidcli.models.packaged_weights import Statistics
from vidcli.models.stream_descriptors import (
    ACTION_CELLS,
    NUM_PARTS,
    PACES,
    SOFT,
    describe_action,
    describe_motion,
    frames_of,
)
from vidcli.models.timm_networks import TimmBackbone

_CELLS = (6, 6, 3)
"""Cells a side of the maps of the last three stages, the finest first."""
_FEW_FRAMES = 4
"""That a CPU computes at once: their maps stay in its cache (a frame takes Lite0 5.6 ms instead of 8.1)."""


class MultiStreamClassifier(nn.Module):
    """Classify clips by what they show, by what moves in them, and by the actions in them.

    Use `build_multi_stream`.

    Args:
        backbone: of timm, with maps of several stages.
        num_classes: K.
        config: streams and panels.
        statistics: mean and spread of the channels of clips.

    Attributes:
        action: the network over time; None where no panel has that stream.
    """

    sees_neighbours = False
    looks_aside = True
    exact_layers = ("head",)
    """In an exported graph, what stays in float in int8: descriptors differ by orders of magnitude."""
    _original: tuple[MultiStreamClassifier, ...] = ()  # in a tuple, so that it is no layer of this one
    _frames_at_once = 0  # that pass through the backbone; 0 for all

    def __init__(
        self,
        backbone: TimmBackbone,
        num_classes: int,
        config: ModelConfig,
        statistics: tuple[Statistics, Statistics],
    ) -> None:
        super().__init__()
        self.config, self.backbone = config, backbone
        self.action = ActionStream(statistics) if config.sees_actions else None
        self.head = nn.Linear(sum(descriptor_sizes(backbone, config).values()), num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def after_backbone(self) -> nn.Sequential:
        """What makes logits_BK of what `encode` returns: its layers are the model's own."""
        return nn.Sequential(self.head)

    @property
    def without_head(self) -> nn.Module:
        """What descriptors depend on."""
        return self.backbone if self.action is None else nn.ModuleList([self.backbone, self.action])

    def folded(self) -> MultiStreamClassifier:
        """Return a copy for inference that answers the same, up to rounding, and computes faster."""
        faster = copy.copy(self)
        faster._modules, faster._original = dict(self._modules), (self,)
        frames_NCHW = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        device = self.head.weight.device
        faster.backbone = fold_batchnorm(self.backbone, frames_NCHW.to(device))
        if device.type == "cpu":
            convolve_directly(faster.backbone)
            faster._frames_at_once = _FEW_FRAMES
            if self.action is not None:
                faster.action = for_cpu(self.action)
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
        panels = clip_BTCHW.chunk(self.config.panels, dim=3)
        streams = self.config.streams_of_each_panel
        frames = slice(
            (min(self.config.frame_step, clip_BTCHW.shape[1]) - 1) // 2, None, self.config.frame_step
        )
        some_frames = [panel_BTCHW[:, frames] for panel_BTCHW in panels]
        of_frames = self._see_panels(self._see, some_frames, {"appearance", "motion"})
        of_clips: dict[int, list[Tensor]] = {}
        if self.action is not None:
            see_clips = partial(self.action.in_cells, one_by_one=self._frames_at_once > 0)
            of_clips = self._see_panels(see_clips, panels, {"action"})
        length = some_frames[0].shape[1]
        described: list[Tensor] = []
        for span in PACES[:count]:
            parts: list[Tensor] = []
            for panel, of_panel in enumerate(streams):
                if panel in of_frames:
                    parts += self._describe(of_frames[panel], of_panel, frames_of(span, length))
                if panel in of_clips:
                    parts.append(
                        torch.cat([describe_action(cells, span) for cells in of_clips[panel]], dim=1)
                    )
            described.append(torch.cat(parts, dim=1))
        return described

    def _see_panels(
        self, see: Callable[[Tensor], list[Tensor]], panels: Sequence[Tensor], streams: set[str]
    ) -> dict[int, list[Tensor]]:
        """Return what a network says of the panels that have some of these streams, by panel.

        Panels follow each other as clips, so that there is one network, also in an exported graph.
        """
        of_each = self.config.streams_of_each_panel
        wanted = [panel for panel, of_panel in enumerate(of_each) if streams & {*of_panel}]
        if not wanted:
            return {}
        seen = [
            values.view(len(wanted), -1, *values.shape[1:])
            for values in see(torch.cat([panels[panel] for panel in wanted]))
        ]
        return {panel: [values[place] for values in seen] for place, panel in enumerate(wanted)}

    def see_frames(self, frames_BTCHW: Tensor) -> Tensor:
        """Return what the backbone says of each frame of one panel, (B, T, F), for `describe_frames`."""
        return torch.cat(self._see(frames_BTCHW), dim=2)

    def describe_frames(self, seen_BTF: Tensor) -> Tensor:
        """Return descriptors_BD of clips of one panel, of whose frames `see_frames` told."""
        in_cells = _sizes_in_cells(self.backbone)
        seen = torch.split(seen_BTF, [*in_cells, self.backbone.num_features], dim=2)
        (streams,) = self.config.streams_of_each_panel
        return torch.cat([*self._describe([*seen], streams, None)], dim=1)

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
    def _describe(
        seen: Sequence[Tensor], streams: Collection[str], shown_T: Tensor | None
    ) -> Iterator[Tensor]:
        """Yield the descriptors of what one panel shows and of what moves in it.

        Args:
            seen: what `_see` returned.
            streams: of the panel.
            shown_T: indices of the frames of the clip; None takes all in order.
        """
        if shown_T is not None:
            seen = [values_BTF[:, shown_T] for values_BTF in seen]
        *cells, last_BTF = seen
        if "appearance" in streams:
            mean_BF = last_BTF.mean(dim=1)
            spread_BF = ((last_BTF - mean_BF[:, None]).square().mean(dim=1) + SOFT**2).sqrt()
            yield torch.cat([mean_BF, spread_BF, cells[-1].mean(dim=1)], dim=1)
        if "motion" in streams:
            yield torch.cat([describe_motion(cells_BTF) for cells_BTF in cells], dim=1)


def for_inference(network: nn.Module) -> nn.Module:
    """Return a network that answers as this one does, and faster where it can be.

    Args:
        network: may be changed in place, and be returned itself.
    """
    if isinstance(network, MultiStreamClassifier):
        return network.folded()
    convolve_directly(network)
    return network


def loaded_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network as they were loaded, also of one `for_inference`.

    What was folded differs in the last bits from one kind of processor to another.
    """
    if isinstance(network, MultiStreamClassifier) and network._original:
        (network,) = network._original
    return dict(network.state_dict())


def descriptor_sizes(backbone: TimmBackbone, config: ModelConfig) -> dict[tuple[int, str], int]:
    """Return how many descriptors each stream of each panel has, by panel and stream, in order.

    Args:
        backbone: of timm, with maps of several stages.
        config: streams and panels.
    """
    in_cells = _sizes_in_cells(backbone)
    sizes = {
        "appearance": 2 * backbone.num_features + in_cells[-1],
        "motion": (NUM_PARTS + 1) * sum(in_cells),
        "action": (ACTION_CELLS**2 + NUM_PARTS) * sum(MAP_CHANNELS),
    }
    return {
        (panel, stream): sizes[stream]
        for panel, streams in enumerate(config.streams_of_each_panel)
        for stream in streams
    }


def _sizes_in_cells(backbone: TimmBackbone) -> list[int]:
    """Return how many features a frame has in the cells of each of the last stages."""
    return [channels * side**2 for channels, side in zip(backbone.stage_channels, _CELLS, strict=True)]


def build_multi_stream(
    backbone: nn.Module, num_classes: int, config: ModelConfig, statistics: tuple[Statistics, Statistics]
) -> MultiStreamClassifier:
    """Build the classifier on a backbone.

    Args:
        backbone: the one that `config.backbone` names.
        num_classes: K.
        config: the `model` section of the settings.
        statistics: mean and spread of the channels of clips.

    Raises:
        ConfigError: the backbone has no maps of several stages.
    """
    if not isinstance(backbone, TimmBackbone) or len(backbone.stage_channels) < len(_CELLS):
        raise ConfigError(
            f"model.streams={config.streams}: needs maps of three stages, which model.backbone="
            f"{config.backbone} does not give. Set model.backbone=timm:NAME, such as "
            "timm:tf_efficientnet_lite0, or model.streams=off"
        )
    return MultiStreamClassifier(backbone, num_classes, config, statistics)
