"""The names a recipe may give, what each is, and which settings each one reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from vidcli.config import ModelConfig
from vidcli.errors import ConfigError, did_you_mean
from vidcli.models import families, heads, hf_architecture, hf_encoders, timm_networks
from vidcli.models.attentive import AttentiveHead
from vidcli.models.backbones import Backbone, build_compact_cnn, build_simple_cnn
from vidcli.models.hf_encoders import ClipEncoder, ImageEncoder
from vidcli.models.timm_networks import TimmBackbone
from vidcli.runtime.plain import shown

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINETICS_MEAN, KINETICS_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
HALF_MEAN, HALF_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
"""Channel statistics that published weights were trained with."""


@dataclass(frozen=True)
class BackboneSpec:
    """How to build a backbone.

    Attributes:
        build: from the number of input channels to a random backbone.
        description: one sentence.
        published_as: torchvision's name of it, or None where no weights are published.
        mean, std: channel statistics that those were trained with.
        takes_depth: whether `model.stochastic_depth` finds blocks to skip.
        takes_clips: whether whole clips go in, so that a step of time is not a frame.
    """

    build: Callable[[int], Backbone | TimmBackbone | ImageEncoder | ClipEncoder]
    description: str
    published_as: str | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    takes_depth: bool = False
    takes_clips: bool = False

    @property
    def pretrained(self) -> Any:
        """Torchvision's weights (url, get_state_dict), or None where none are published."""
        return None if self.published_as is None else families.published_weights(self.published_as)


@dataclass(frozen=True)
class NetworkSpec:
    """One of torchvision's video networks, used whole, and how its published weights were measured.

    Attributes:
        name: torchvision's, and ours.
        description: one sentence.
        mean, std: channel statistics that the published weights were trained with.
        size: pixels a side of a clip.
        resize: pixels (height, width) a frame is scaled to before its middle is cut out; None keeps
            the proportions, the short side at 256.
        length: frames a clip.
        stride_seconds: between them.
        views: clips a video, averaged, in the published accuracy.
        is_fixed: takes clips of exactly `length` and `size`, since it learnt their positions.
        traces_any_length: torch can trace it for clips of any length at once.
        min_length, min_size: what it takes otherwise.
    """

    name: str
    description: str
    mean: tuple[float, float, float] = KINETICS_MEAN
    std: tuple[float, float, float] = KINETICS_STD
    size: int = 224
    resize: tuple[int, int] | None = None
    length: int = 16
    stride_seconds: float = 1 / 15
    views: int = 5
    is_fixed: bool = False
    traces_any_length: bool = True
    min_length: int = 1
    min_size: int = 16

    @property
    def pretrained(self) -> Any:
        """Torchvision's weights (url, get_state_dict, meta)."""
        return families.published_weights(self.name)

    def build(self) -> nn.Module:
        """Build it whole, random."""
        return families.build_network(self.name)


@dataclass(frozen=True)
class HeadSpec:
    """How to build a head.

    Attributes:
        build: from the settings and the number of classes to a head.
        description: one sentence.
        settings: those of `ModelConfig` that it reads and not every head does.
        sees_order: whether the order of the frames changes its answer.
        keeps_cells: whether it takes the cells of a frame (B, T, P, E) one by one, P = `model.grid` squared.
    """

    build: Callable[[ModelConfig, int], nn.Module]
    description: str
    settings: frozenset[str] = frozenset()
    sees_order: bool = True
    keeps_cells: bool = False


def _torchvision(name: str, description: str) -> BackboneSpec:
    return BackboneSpec(
        partial(families.build_backbone, name),
        description,
        published_as=name,
        takes_depth=name.startswith(("efficientnet", "convnext")),
    )


def _timm(name: str) -> BackboneSpec:
    timm_networks.check_name(name)
    mean, std = timm_networks.statistics_of(name)
    return BackboneSpec(partial(timm_networks.build_backbone, name), f"{name} of timm.", mean=mean, std=std)


def _hf(name: str, architecture: Mapping[str, Any] | None) -> BackboneSpec:
    if architecture is None:
        architecture = hf_architecture.read_encoder(name, may_fetch=False).architecture
    family = hf_architecture.family_of(architecture)
    mean, std = family.statistics
    return BackboneSpec(
        partial(hf_encoders.build_encoder, architecture),
        f"{name} of transformers.",
        mean=mean,
        std=std,
        takes_clips=family.takes_clips,
    )


BACKBONES: dict[str, BackboneSpec] = {
    "simple_cnn": BackboneSpec(
        build_simple_cnn, "Two stages of convolution, ReLU and max-pool: the smallest baseline."
    ),
    "compact_cnn": BackboneSpec(
        build_compact_cnn, "Small residual CNN, made for training from scratch on a CPU.", takes_depth=True
    ),
} | {
    name: _torchvision(name, description)
    for name, description in (
        ("resnet18", "ResNet of 18 layers: the usual start."),
        ("resnet34", "ResNet of 34 layers."),
        ("resnet50", "ResNet of 50 layers: what most video papers compare on."),
        ("resnet101", "ResNet of 101 layers."),
        ("mobilenet_v3_small", "Fewest multiplications: phones and CPUs."),
        ("mobilenet_v3_large", "Few multiplications, near ResNet-50's accuracy."),
        ("efficientnet_b0", "Few parameters; slow for its size on a GPU."),
        ("efficientnet_v2_s", "EfficientNet reshaped for fast training on a GPU."),
        ("regnet_y_400mf", "RegNet of 0.4 GMACs, with squeeze and excitation."),
        ("regnet_y_1_6gf", "RegNet of 1.6 GMACs, with squeeze and excitation."),
        ("convnext_tiny", "Modern CNN of ResNet-50's cost; start it pretrained."),
        ("convnext_small", "Modern CNN of twice ResNet-50's cost; start it pretrained."),
    )
}

_R3D: dict[str, Any] = {"size": 112, "resize": (128, 171)}
_MVIT: dict[str, Any] = {
    "mean": HALF_MEAN,
    "std": HALF_STD,
    "stride_seconds": 1 / 7.5,
    "is_fixed": True,
    "traces_any_length": False,
}
_SWIN: dict[str, Any] = {
    "mean": IMAGENET_MEAN,
    "std": IMAGENET_STD,
    "length": 32,
    "views": 12,
    "traces_any_length": False,  # how it cuts a clip into windows depends on the length
}

NETWORKS: dict[str, NetworkSpec] = {
    spec.name: spec
    for spec in (
        NetworkSpec("r3d_18", "ResNet-18 with 3-D convolutions.", **_R3D),
        NetworkSpec("mc3_18", "ResNet-18, 3-D in its first stage and 2-D after it: few parameters.", **_R3D),
        NetworkSpec("r2plus1d_18", "ResNet-18, space and time convolved in turns.", **_R3D),
        NetworkSpec(
            "s3d",
            "Inception with space and time apart: fewest parameters and multiplications.",
            resize=(256, 256),
            length=128,
            views=1,
            min_length=14,
            min_size=224,
        ),
        NetworkSpec("mvit_v1_b", "Multiscale vision transformer.", **_MVIT),
        NetworkSpec(
            "mvit_v2_s", "Multiscale vision transformer, improved: the most accurate of them.", **_MVIT
        ),
        NetworkSpec("swin3d_t", "Video Swin transformer, tiny.", **_SWIN),
        NetworkSpec("swin3d_s", "Video Swin transformer, small.", **_SWIN),
        NetworkSpec("swin3d_b", "Video Swin transformer, base.", **_SWIN),
    )
}

_RECURRENT = frozenset({"hidden", "layers", "bidirectional"})

HEADS: dict[str, HeadSpec] = {
    "mean": HeadSpec(
        heads.MeanHead, "Average of the frames, then a linear layer: ignores their order.", sees_order=False
    ),
    "rnn": HeadSpec(partial(heads.RecurrentHead, kind=nn.RNN), "Tanh recurrence, last state.", _RECURRENT),
    "lstm": HeadSpec(
        partial(heads.RecurrentHead, kind=nn.LSTM), "Long short-term memory, last state.", _RECURRENT
    ),
    "gru": HeadSpec(
        partial(heads.RecurrentHead, kind=nn.GRU),
        "Gated recurrent unit, last state: the usual start.",
        _RECURRENT,
    ),
    "attention": HeadSpec(
        heads.AttentionHead,
        "Dot-product attention between frames, averaged: ignores their order.",
        sees_order=False,
    ),
    "attention_rnn": HeadSpec(
        heads.AttentionRnnHead, "Dot-product attention, then a tanh recurrence.", _RECURRENT
    ),
    "transformer": HeadSpec(
        heads.TransformerHead,
        "Transformer layers with frame positions, averaged.",
        frozenset({"hidden", "layers", "attention_heads"}),
    ),
    "attentive": HeadSpec(
        AttentiveHead,
        "Learnt queries over all cells of all frames: the attentive probe.",
        frozenset({"hidden", "layers", "attention_heads", "queries"}),
        keeps_cells=True,
    ),
}


_OF_FRAME_NETWORKS = frozenset({"head", "shift", "frame_differences", "grid", "width"})
"""Settings of the projection and the head, which a whole video network does not have."""


def backbone_names() -> list[str]:
    """Return the frame networks that `model.backbone` may be, ours first, then by family and size."""
    return list(BACKBONES)


def network_names() -> list[str]:
    """Return the whole video networks that `model.backbone` may be as well."""
    return list(NETWORKS)


def head_names() -> list[str]:
    """Return what `model.head` may be."""
    return list(HEADS)


def heads_that_see_order() -> list[str]:
    """Return the heads whose answer depends on the order of the frames."""
    return [name for name, spec in HEADS.items() if spec.sees_order]


def find_backbone(name: str, architecture: Mapping[str, Any] | None = None) -> BackboneSpec | NetworkSpec:
    """Return the frame backbone or whole video network of that name.

    Args:
        name: one of ours or torchvision's, or `timm:` and one of timm's, or `hf:` and an encoder of
            transformers.
        architecture: of that encoder; None reads it from its files on this machine.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    if (of_timm := timm_networks.timm_name(name)) is not None:
        return _timm(of_timm)
    if (of_hf := hf_encoders.encoder_name(name)) is not None:
        return _hf(of_hf, architecture)
    known = BACKBONES | NETWORKS
    if name not in known:
        raise ConfigError(_unknown("model.backbone", name, known))
    return known[name]


def find_head(name: str) -> HeadSpec:
    """Return the head of that name.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    if name not in HEADS:
        raise ConfigError(_unknown("model.head", name, HEADS))
    return HEADS[name]


def unused_settings(config: ModelConfig) -> list[str]:
    """Return the settings, such as `model.layers`, that were changed and have no effect.

    Raises:
        ConfigError: the head is unknown.
    """
    read = find_head(config.head).settings
    optional = frozenset[str]().union(*(spec.settings for spec in HEADS.values()))
    has_head = config.backbone not in NETWORKS and config.streams == "off"
    idle = optional - read if has_head else _OF_FRAME_NETWORKS | optional
    idle |= {"panels", "frame_step"} if config.streams == "off" else {"dropout"}
    if hf_encoders.encoder_name(config.backbone) is None:
        idle |= {"architecture"}
    elif config.architecture and hf_architecture.family_of(config.architecture).takes_clips:
        idle |= {"shift", "frame_differences"}
    defaults = ModelConfig()
    unused = [
        f"model.{name}"
        for name in ModelConfig.model_fields
        if name in idle and getattr(config, name) != getattr(defaults, name)
    ]
    takes_depth = config.backbone in BACKBONES and BACKBONES[config.backbone].takes_depth
    if config.stochastic_depth is not None and not takes_depth:
        unused.append("model.stochastic_depth")
    if config.pretrained and config.weights is not None:
        unused.append("model.pretrained")  # the file replaces them
    return unused


def _unknown(setting: str, name: str, known: Mapping[str, Any]) -> str:
    near = did_you_mean(name, known) if len(name) < 100 else ""
    more = "; and timm:NAME, hf:ORG/NAME and hf:FOLDER" if setting == "model.backbone" else ""
    return f"unknown {setting} {shown(name)}.{near} There are: {', '.join(known)}{more}."
