"""What decides what an encoder of transformers computes: its kind, and its architecture as plain values.

An architecture (`model.architecture`) is the part of a config.json that is about numbers and layers. It may
come from a stranger's model file: only the settings that a kind has of its own are taken, and their values
are checked before transformers sees them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vidcli.config import ClipConfig
from vidcli.errors import ConfigError, did_you_mean
from vidcli.models.hf_files import CONFIG_FILE, PREPROCESSOR_FILES, EncoderFiles
from vidcli.models.packaged_weights import Statistics
from vidcli.runtime.plain import is_number, one_line, shown

TYPE, VERSION = "model_type", "transformers_version"

_MAX_LAYERS, _MAX_NUMBER, _MAX_TEXT, _MAX_LIST = 128, 2**17, 100, 8
_GREY: tuple[Statistics, Statistics] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET: tuple[Statistics, Statistics] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP: tuple[Statistics, Statistics] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)


@dataclass(frozen=True)
class Family:
    """How one of transformers' kinds of encoder is used.

    Attributes:
        network: name of the class in transformers.
        description: one sentence.
        takes_clips: whether clips go in at once, not frames.
        num_prefix: tokens before those of the patches, registers not counted.
        interpolates: whether `interpolate_pos_encoding` lets it take frames of other sizes.
        time_is_last: whether tokens of one place follow each other, not those of one moment.
        last_norm: norm of the tokens that the network itself applies to the class token only.
        part: of the network that encodes, where there is more; empty is the whole.
        settings: of its architecture that are always so: what leaves unused layers out.
        arguments: of the class.
        statistics: mean and spread of the channels where no file tells them.
    """

    network: str
    description: str
    takes_clips: bool = False
    num_prefix: int = 1
    interpolates: bool = False
    time_is_last: bool = False
    last_norm: str = ""
    part: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    arguments: Mapping[str, object] = field(default_factory=dict)
    statistics: tuple[Statistics, Statistics] = _IMAGENET


_NO_POOLER = {"add_pooling_layer": False}

FAMILIES: dict[str, Family] = {
    "vit": Family(
        "ViTModel",
        "Image transformer of ImageNet, such as google/vit-base-patch16-224.",
        interpolates=True,
        arguments=_NO_POOLER,
        statistics=_GREY,
    ),
    "deit": Family(
        "DeiTModel",
        "Image transformer of ImageNet, distilled, such as facebook/deit-small-distilled-patch16-224.",
        num_prefix=2,
        interpolates=True,
        arguments=_NO_POOLER,
    ),
    "dinov2": Family("Dinov2Model", "Self-supervised image transformer, such as facebook/dinov2-small."),
    "dinov2_with_registers": Family(
        "Dinov2WithRegistersModel", "The same with registers, such as facebook/dinov2-with-registers-small."
    ),
    "dinov3_vit": Family(
        "DINOv3ViTModel",
        "Self-supervised image transformer, such as facebook/dinov3-vits16-pretrain-lvd1689m.",
    ),
    "clip_vision_model": Family(
        "CLIPVisionModel",
        "What sees in CLIP, such as openai/clip-vit-base-patch16.",
        interpolates=True,
        last_norm="post_layernorm",
        statistics=_CLIP,
    ),
    "siglip_vision_model": Family(
        "SiglipVisionModel",
        "What sees in SigLIP and SigLIP 2, such as google/siglip2-base-patch16-224; not its naflex networks.",
        num_prefix=0,
        interpolates=True,
        settings={"vision_use_head": False},
        statistics=_GREY,
    ),
    "videomae": Family(
        "VideoMAEModel",
        "Video transformer, such as MCG-NJU/videomae-base-finetuned-kinetics.",
        takes_clips=True,
        num_prefix=0,
    ),
    "timesformer": Family(
        "TimesformerModel",
        "Video transformer of time and space in turns, such as facebook/timesformer-base-finetuned-k400.",
        takes_clips=True,
        time_is_last=True,
        statistics=((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    ),
    "vivit": Family(
        "VivitModel",
        "Video transformer, such as google/vivit-b-16x2-kinetics400.",
        takes_clips=True,
        arguments=_NO_POOLER,
        statistics=_GREY,
    ),
    "vjepa2": Family(
        "VJEPA2Model",
        "Self-supervised video transformer, such as facebook/vjepa2-vitl-fpc64-256.",
        takes_clips=True,
        num_prefix=0,
        part="encoder",
        settings={"pred_num_hidden_layers": 0},
    ),
}
"""By `model_type` of their config.json."""

_VISION_PARTS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
"""Networks of pictures and text, and their part that sees."""

_NOT_ARCHITECTURE = frozenset({"stage_names", "out_features", "out_indices", "dtype"})


@dataclass(frozen=True)
class Encoder:
    """An encoder before it is built.

    Attributes:
        architecture: values of `model.architecture`.
        mean, std: channel statistics that its weights were trained with.
    """

    architecture: dict[str, Any]
    mean: Statistics
    std: Statistics


def describe_encoders() -> list[tuple[str, str, str]]:
    """Return the `model_type` of every kind as a config.json names it, what goes in, and a sentence."""
    named = {part: kind for kind, part in _VISION_PARTS.items()}
    return [
        (named.get(kind, kind), "clips" if family.takes_clips else "frames", family.description)
        for kind, family in FAMILIES.items()
    ]


def read_encoder(name: str, may_fetch: bool) -> Encoder:
    """Return the architecture and channel statistics of an encoder, from its files.

    Args:
        name: a local folder, or ORG/NAME of the hub.
        may_fetch: whether the files may be downloaded.

    Raises:
        ConfigError: they are missing or damaged, or the encoder is of a kind that is not supported.
    """
    files = EncoderFiles(name, may_fetch)
    found = files.read_json(CONFIG_FILE)
    if found is None:
        raise ConfigError(
            f"model.backbone=hf:{name}: its {CONFIG_FILE} is not on this machine. Set model.pretrained=true "
            "to let training fetch it with its weights (a dry run fetches nothing), or give a folder that "
            "holds them."
        )
    path, values = found
    if (part := _VISION_PARTS.get(str(values.get(TYPE)))) is not None:
        values = {**(values.get("vision_config") or {}), TYPE: part}
    try:
        architecture = complete_architecture({**values, VERSION: None})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    about = files.read_json(*PREPROCESSOR_FILES)
    if about is None:
        return Encoder(architecture, *FAMILIES[architecture[TYPE]].statistics)
    try:
        return Encoder(architecture, *_statistics_of(about[1]))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{about[0]}: holds channel statistics that cannot be ({error}).") from error


def complete_architecture(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides what an encoder computes, each value written out, without anything else.

    Args:
        values: of a config.json, or what this function returned.

    Raises:
        ConfigError: the encoder is of a kind that is not supported, or a value cannot be.
    """
    config = config_of(values)
    known = _names_of(type(config))
    complete = {name: value for name, value in config.to_dict().items() if name in known}
    complete = {name: list(value) if isinstance(value, tuple) else value for name, value in complete.items()}
    version = values.get(VERSION) or import_transformers().__version__
    return {TYPE: values[TYPE], VERSION: str(version)[:_MAX_TEXT]} | complete


def check_clip(name: str, architecture: Mapping[str, Any], clip: ClipConfig) -> None:
    """Refuse clips of a length or size that an encoder cannot take.

    Args:
        name: of the encoder, for the message.
        architecture: of the encoder.
        clip: length and size.

    Raises:
        ConfigError: says what it takes.
    """
    config = config_of(architecture)
    given = f"{clip.length} frames of {clip.size[0]}x{clip.size[1]} pixels"
    if not family_of(architecture).takes_clips:
        down, across = pair_of(config.patch_size)
        if clip.size[0] % down or clip.size[1] % across:
            side = max(down, across) * round(224 / max(down, across))
            raise ConfigError(
                f"model.backbone=hf:{name} cuts frames into patches of {down}x{across} pixels, and clip.size="
                f"{clip.size[0]}x{clip.size[1]} is no multiple of that. Set clip.size={side}, say."
            )
        return
    step = tubelet_of(config)[0]
    is_vjepa = architecture[TYPE] == "vjepa2"
    length = config.frames_per_clip if is_vjepa else config.num_frames
    size = pair_of(config.crop_size if is_vjepa else config.image_size)
    # V-JEPA 2 rotates by the position and takes more or fewer moments than it was trained with.
    fits = clip.length % step == 0 if is_vjepa else clip.length == length
    if not fits or clip.size != size:
        raise ConfigError(
            f"model.backbone=hf:{name} takes clips of {f'a multiple of {step}' if is_vjepa else length} "
            f"frames of {size[0]}x{size[1]} pixels, whose positions it has learnt, not of {given}. Set "
            f"clip.length={min(length, 16)} and clip.size={size[0]}."
        )


def made_with(architecture: Mapping[str, Any] | None) -> str:
    """Return a sentence where an encoder was made with another version of transformers; else nothing."""
    if architecture is None:
        return ""
    found, version = architecture.get(VERSION), import_transformers().__version__
    if found == version:
        return ""
    return (
        f". It was made with transformers {one_line(found)}, and this is {version}, which may name weights "
        "otherwise: install that version"
    )


def import_transformers() -> Any:
    """Return the library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            "model.backbone=hf:... needs transformers, which is not installed. Install it with "
            "`pip install 'vidcli[hf]'`."
        ) from error
    return transformers


def family_of(values: Mapping[str, Any]) -> Family:
    """Return the kind that an architecture is of.

    Raises:
        ConfigError: it is not supported; names those that are.
    """
    kind = values.get(TYPE)
    if not isinstance(kind, str) or kind not in FAMILIES:
        known = [name for name, _, _ in describe_encoders()]
        near = did_you_mean(kind, known) if isinstance(kind, str) and len(kind) < _MAX_TEXT else ""
        raise ConfigError(
            f"{TYPE} {shown(kind)} is no encoder that can be a backbone.{near} There are: {', '.join(known)}."
        )
    return FAMILIES[kind]


def config_of(values: Mapping[str, Any]) -> Any:
    """Return transformers' configuration of an encoder, made of values that were checked.

    Raises:
        ConfigError: the kind is not supported, or a value cannot be.
    """
    family = family_of(values)
    config_class = getattr(import_transformers(), family.network).config_class
    kept = {name: values[name] for name in _names_of(config_class) if name in values}
    for name, value in kept.items():
        _check_value(name, value)
    try:
        return config_class(**kept | dict(family.settings))
    except Exception as error:  # its validators raise all kinds
        raise ConfigError(f"{values[TYPE]} cannot be configured so ({one_line(error)}).") from error


def _names_of(config_class: Any) -> set[str]:
    """Return the names of the settings that are a kind's own.

    What all kinds share is about how transformers uses a network: labels, files, kernels to download.
    """
    shared = set(import_transformers().PretrainedConfig().to_dict())
    own = {name for name in config_class().to_dict() if not name.startswith("_")}
    return own - shared - _NOT_ARCHITECTURE


def _check_value(name: str, value: object) -> None:
    values = value if isinstance(value, list | tuple) else [value]
    most = _MAX_LAYERS if name.endswith("layers") else _MAX_NUMBER
    for part in values:
        fits = (
            part is None
            or isinstance(part, bool)
            or (isinstance(part, str) and len(part) <= _MAX_TEXT)
            or (is_number(part) and 0 <= part <= most)
        )
        if not fits or len(values) > _MAX_LIST:
            raise ConfigError(f"{one_line(name)} {shown(value)} cannot be of an encoder.")


def _statistics_of(about: Mapping[str, Any]) -> tuple[Statistics, Statistics]:
    """Return mean and spread of the channels, for values from 0 to 1, of a preprocessor's settings.

    Raises:
        ValueError, TypeError: they are no numbers of three channels.
    """
    scale = 255 * (about.get("rescale_factor", 1 / 255) if about.get("do_rescale", True) else 1.0)
    shift = -1.0 if about.get("offset") else 0.0  # ViViT's own: from -1 to 1 before anything else
    normalises = about.get("do_normalize", True)
    mean = about.get("image_mean", (0.5,) * 3) if normalises else (0.0,) * 3
    std = about.get("image_std", (0.5,) * 3) if normalises else (1.0,) * 3
    if not all(is_number(value) for value in (scale, *mean, *std)) or scale <= 0:
        raise ValueError("expected numbers")
    (r, g, b), (red, green, blue) = [(m - shift) / scale for m in mean], [s / scale for s in std]
    if not all(0 <= value <= 1 for value in (r, g, b)) or not all(0 < s <= 1 for s in (red, green, blue)):
        raise ValueError("expected means from 0 to 1 and spreads up to 1")
    return (r, g, b), (red, green, blue)


def pair_of(value: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    """Return the pixels down and across that one number, or two, stand for."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def tubelet_of(config: Any) -> tuple[int, int, int]:
    """Return the frames and pixels of a patch of a clip encoder: time, down, across."""
    size = getattr(config, "tubelet_size", 1)  # TimeSformer's patches have no depth
    if isinstance(size, list | tuple):
        return size[0], size[1], size[2]
    return size, *pair_of(config.patch_size)
