"""The video classifier: a frame backbone, a projection and a head over time.

Shape suffixes: B batch, T frames, N = B * T, C channels, H W pixels, D backbone features, h w
feature map, g cells a side of the kept grid, E width (features a frame), K classes.

    clip_BTCHW                       float, RGB, normalised
      │ frame differences, if wanted: C is 6 then
    frames_NCHW                      every frame by itself; only a temporal shift looks aside
      │ backbone
    map_NDhw
      │ average pool: a coarse grid keeps where things are, which motion needs
    cells_NDgg, or cells_BTF
      │ linear, layer norm, GELU, dropout
    features_BTE, or features_BTPE of a head that looks at each of the P = g * g cells by itself
      │ head
    logits_BK
"""

from __future__ import annotations

import copy
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidcli.config import ModelConfig
from vidcli.models.attentive import CellTokens
from vidcli.models.backbones import RGB_CHANNELS, Backbone, first_convolution, require_clip
from vidcli.models.depth import ClipDepth, insert_stochastic_depth, stochastic_depths
from vidcli.models.folding import fold_batchnorm
from vidcli.models.hf_encoders import ClipEncoder, ImageEncoder
from vidcli.models.inception3d import load_kinetics
from vidcli.models.multi_stream import MultiStreamClassifier, build_multi_stream
from vidcli.models.networks import VideoNetwork, build_without_last_layer
from vidcli.models.registry import NetworkSpec, find_backbone, find_head
from vidcli.models.shift import (
    ShiftedConv2d,
    has_residual_blocks,
    insert_temporal_shift,
    shifted_convolutions,
)
from vidcli.models.timm_networks import TimmBackbone
from vidcli.models.weights import load_backbone_weights


class VideoClassifier(nn.Module):
    """Classify clips of any number of frames.

    Use `build_model`, which builds the parts from settings.

    Args:
        backbone: maps frames_NCHW to map_NDhw; C is 6 when `config.frame_differences`. Or maps clip_BTCHW to
            map_BtDhw, with C of 3 always, t steps of time that stand for frames from there on.
        head: maps features_BTE to logits_BK.
        config: grid, width, dropout and frame_differences.
    """

    def __init__(
        self,
        backbone: Backbone | TimmBackbone | ImageEncoder | ClipEncoder,
        head: nn.Module,
        config: ModelConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self._takes_clips = isinstance(backbone, ClipEncoder)
        self.projection = _build_projection(backbone.num_features * config.grid**2, config)
        self.head = head
        self._frame_counters: tuple[ShiftedConv2d | ClipDepth, ...] = (
            *shifted_convolutions(backbone),
            *stochastic_depths(backbone),
        )

    @property
    def sees_neighbours(self) -> bool:
        """Whether the backbone sees the frames beside each frame: a temporal shift, or whole clips."""
        return self._takes_clips or bool(shifted_convolutions(self.backbone))

    def forward(self, clip_BTCHW: Tensor) -> Tensor:
        """Return logits_BK.

        Raises:
            ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
        """
        logits_BK: Tensor = self.head(self.features(clip_BTCHW))
        return logits_BK

    def features(self, clip_BTCHW: Tensor) -> Tensor:
        """Return features_BTE: what the head sees of every frame; (B, T, P, E) where it keeps the cells.

        Raises:
            ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
        """
        features_BTE: Tensor = self.projection(self.encode(clip_BTCHW))
        return features_BTE

    @property
    def looks_aside(self) -> bool:
        """Whether the cells of a frame know of its neighbours."""
        return self.sees_neighbours or self.config.frame_differences

    def folded(self, clip_BTCHW: Tensor) -> VideoClassifier:
        """Return a network that answers as this one does in evaluation, and faster: see `fold_batchnorm`.

        Args:
            clip_BTCHW: an example, to compare both on.
        """
        if not any(isinstance(module, nn.BatchNorm2d) for module in self.backbone.modules()):
            return self
        frames_NCHW = clip_BTCHW.flatten(0, 1)
        if self.config.frame_differences:
            frames_NCHW = torch.cat([frames_NCHW, torch.zeros_like(frames_NCHW)], dim=1)
        other = VideoClassifier(fold_batchnorm(self.backbone, frames_NCHW), self.head, self.config)
        other.projection = self.projection
        return other.eval()

    @torch.no_grad()
    def without_differences(self) -> VideoClassifier:
        """Return a network that answers as this one does for frames which begin a clip.

        Their differences are zero, which the convolution that reads frames need not multiply. It is this
        network itself where it takes no differences, or reads them otherwise.
        """
        name, conv = first_convolution(self.backbone)
        if not self.config.frame_differences or type(conv) is not nn.Conv2d or conv.groups > 1:
            return self
        tensors = (*self.backbone.parameters(), *self.backbone.buffers())
        backbone = copy.deepcopy(self.backbone, {id(tensor): tensor for tensor in tensors})  # not of these
        reader = backbone.get_submodule(name)
        reader.weight = nn.Parameter(conv.weight[:, :RGB_CHANNELS].clone(), requires_grad=False)
        other = VideoClassifier(
            backbone, self.head, self.config.model_copy(update={"frame_differences": False})
        )
        other.projection = self.projection
        return other.eval()

    @property
    def after_backbone(self) -> nn.Sequential:
        """What makes logits_BK of what `encode` returns: its layers are the model's own."""
        return nn.Sequential(self.projection, self.head)

    def encode(self, clip_BTCHW: Tensor) -> Tensor:
        """Return cells_BTF, F = D * g * g: what the backbone says of every frame, before anything of ours.

        Raises:
            ValueError: not a float tensor (B, T, 3, H, W) with at least one frame.
        """
        require_clip(clip_BTCHW)
        num_frames = clip_BTCHW.shape[1]
        if self._takes_clips:
            map_BtDhw = self.backbone(clip_BTCHW)
            return self._cells(map_BtDhw.flatten(0, 1), map_BtDhw.shape[1])
        for layer in self._frame_counters:
            layer.num_frames = num_frames
        if self.config.frame_differences:
            clip_BTCHW = torch.cat([clip_BTCHW, frame_differences(clip_BTCHW)], dim=2)
        # Channels last: convolutions on a CPU run about twice as fast, on a GPU they use tensor cores.
        frames_NCHW = clip_BTCHW.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self._cells(self.backbone(frames_NCHW), num_frames)

    def _cells(self, map_NDhw: Tensor, num_frames: int) -> Tensor:
        cells_NDgg = F.adaptive_avg_pool2d(map_NDhw, self.config.grid)
        cells_NF = cells_NDgg.flatten(1)
        return cells_NF.view(-1, num_frames, cells_NF.shape[1])


def frame_differences(clip_BTCHW: Tensor) -> Tensor:
    """Return the change since the previous frame, same shape; zero for the first."""
    change_BTCHW = clip_BTCHW[:, 1:] - clip_BTCHW[:, :-1]
    return torch.cat([torch.zeros_like(clip_BTCHW[:, :1]), change_BTCHW], dim=1)


class FeatureClassifier(nn.Module):
    """The part of a `VideoClassifier` after its backbone, with the same names of weights.

    Args:
        num_cells: F, the length of what a backbone says of a frame.
        num_classes: K.
        config: of the projection and the head.
    """

    def __init__(self, num_cells: int, num_classes: int, config: ModelConfig) -> None:
        super().__init__()
        self.head = find_head(config.head).build(config, num_classes)
        self.projection = _build_projection(num_cells, config)

    def forward(self, cells_BTF: Tensor) -> Tensor:
        """Return logits_BK."""
        logits_BK: Tensor = self.head(self.projection(cells_BTF))
        return logits_BK

    @torch.no_grad()
    def absorb_standardisation(self, mean_F: Tensor, std_F: Tensor) -> None:
        """Change the weights so that raw cells give what (cells - mean) / std gave before."""
        linear = next(layer for layer in self.projection if isinstance(layer, nn.Linear))
        step = len(mean_F) // linear.in_features  # cells of which the layer reads one at a time
        mean_F, std_F = mean_F[::step], std_F[::step]
        linear.weight.div_(std_F)
        linear.bias.sub_(linear.weight @ mean_F)


def standardisation(cells_NF: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Return mean_F and std_F of cells, float64; one for all cells of a feature where the head keeps cells.

    Args:
        cells_NF: what a backbone says of frames, float64.
        config: of the projection and the head.
    """
    if not find_head(config.head).keeps_cells:
        return cells_NF.mean(0), cells_NF.std(0)
    num_places = config.grid**2
    cells_DN = torch.unflatten(cells_NF, 1, (-1, num_places)).transpose(0, 1).flatten(1)
    return cells_DN.mean(1).repeat_interleave(num_places), cells_DN.std(1).repeat_interleave(num_places)


def _build_projection(num_cells: int, config: ModelConfig) -> nn.Sequential:
    if find_head(config.head).keeps_cells:
        # The tokens of attention need no activation: the head normalises them and has its own.
        return nn.Sequential(
            CellTokens(config.grid**2),
            nn.Linear(num_cells // config.grid**2, config.width),
            nn.LayerNorm(config.width),
            nn.Dropout(config.dropout),
        )
    linear = nn.Linear(num_cells, config.width)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.LayerNorm(config.width), nn.GELU(), nn.Dropout(config.dropout))


VideoModel: TypeAlias = VideoClassifier | VideoNetwork | MultiStreamClassifier
"""Each maps clip_BTCHW to logits_BK and has a `backbone` and a `head`."""


def build_model(config: ModelConfig, num_classes: int, load_weights: bool = True) -> VideoModel:
    """Build a classifier, or a whole video network; random parts follow torch's seed.

    Args:
        config: the `model` section of the settings.
        num_classes: K.
        load_weights: follow `model.pretrained` and `model.weights`. False for a checkpoint, whose
            own weights come next: nothing is downloaded, and the file need not exist any more.

    Raises:
        ConfigError: unknown backbone or head, settings that do not fit together, weights that
            cannot be had.
        CheckpointError: a weights file that is damaged or of another backbone.
        ValueError: num_classes is less than 1.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    head_spec = find_head(config.head)
    backbone_spec = find_backbone(config.backbone, config.architecture)
    if isinstance(backbone_spec, NetworkSpec):
        network, num_features = build_without_last_layer(backbone_spec.build)
        if load_weights:
            load_backbone_weights(network, config)
        return VideoNetwork(network, num_features, num_classes, config)
    if config.streams != "off":
        statistics = (backbone_spec.mean, backbone_spec.std)
        streams = build_multi_stream(backbone_spec.build(RGB_CHANNELS), num_classes, config, statistics)
        if load_weights:
            load_backbone_weights(streams.backbone, config)
            if streams.action is not None and config.pretrained is True:
                load_kinetics(streams.action)
        return streams
    head = head_spec.build(config, num_classes)
    has_differences = config.frame_differences and not backbone_spec.takes_clips
    backbone = backbone_spec.build(RGB_CHANNELS * (2 if has_differences else 1))
    if load_weights:
        load_backbone_weights(backbone, config)
    shifts = config.shift == "on" or (config.shift == "auto" and has_residual_blocks(backbone))
    if shifts and not backbone_spec.takes_clips:
        insert_temporal_shift(backbone)
    if config.stochastic_depth is not None:
        insert_stochastic_depth(backbone, config.stochastic_depth)
    return VideoClassifier(backbone, head, config)
